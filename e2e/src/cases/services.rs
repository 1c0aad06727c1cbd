//! Services as objects: listed, created, scaled.

use anyhow::{Context as _, Result, ensure};
use bollard::query_parameters::{InspectServiceOptions, ListServicesOptions};

use crate::{
    harness::{case::Case, test::Test},
    swarm::service::by_node,
};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("ServicesList", services_list),
        Case::new("ServicesCreate", services_create),
        Case::new("ServicesScale", services_scale),
        Case::new("ServicesGlobal", services_global),
    ]
}

/// A list filtered by label has the service that was made, and no other.
async fn services_list(t: Test) -> Result<()> {
    let list = async || {
        let filters = Some([("label".to_owned(), t.ours())].into());
        let services = t.docker().list_services(Some(ListServicesOptions { filters, ..Default::default() })).await?;
        Ok::<Vec<_>, anyhow::Error>(services.into_iter().filter_map(|service| service.id).collect())
    };
    let before = list().await?;
    ensure!(before.is_empty(), "services are listed before one is made: {before:?}");
    let service = t.service("listed").create().await?;
    let after = list().await?;
    ensure!(after == [service.id.clone()], "listed are {after:?}, made was {}", service.id);
    Ok(())
}

/// A service that is created runs, and is what was asked for; when it is removed, so are its tasks. What it did not
/// say is told where that is asked for, by its id and its name.
async fn services_create(t: Test) -> Result<()> {
    let service = t.service("web").replicas(2).create().await?;
    let tasks = service.running(2).await?;
    ensure!(tasks.iter().all(|task| task.service_id.as_ref() == Some(&service.id)), "a task of another service");
    let spec = service.inspect().await?.spec.context("the service has no spec")?;
    ensure!(spec.name.as_ref() == Some(&service.name), "it is called {:?}", spec.name);
    let replicas = spec.mode.and_then(|mode| mode.replicated).and_then(|it| it.replicas);
    ensure!(replicas == Some(2), "it has {replicas:?} replicas, asked for were 2");
    ensure!(spec.update_config.is_none(), "unasked, it tells defaults: {:?}", spec.update_config);
    for which in [&service.id, &service.name] {
        let defaults = Some(InspectServiceOptions { insert_defaults: true });
        let spec = t.docker().inspect_service(which, defaults).await?.spec.unwrap_or_default();
        ensure!(spec.update_config.is_some(), "asked as {which}, it tells no defaults");
    }
    service.remove().await
}

/// A service scaled from 1 to 3 and back runs so many tasks.
async fn services_scale(t: Test) -> Result<()> {
    let service = t.service("web").replicas(1).create().await?;
    service.running(1).await?;
    service.scale(3).await?;
    service.running(3).await?;
    service.scale(1).await?;
    service.running(1).await?;
    Ok(())
}

/// A global service has one task on every node.
async fn services_global(t: Test) -> Result<()> {
    let nodes = t.cluster().usable().count();
    let service = t.service("everywhere").global().create().await?;
    let placed = by_node(&service.running(nodes).await?);
    ensure!(placed.len() == nodes && placed.values().all(|&n| n == 1), "not one on each node: {placed:?}");
    Ok(())
}
