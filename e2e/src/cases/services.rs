//! Services as objects: listed, created, scaled, updated.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};
use bollard::{
    models::{ServiceSpecUpdateConfig, ServiceUpdateStatusStateEnum, Task},
    query_parameters::ListServicesOptions,
};

use crate::{
    harness::{case::Case, test::Test},
    swarm::service::{by_node, container_of, nanos},
};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("ServicesList", services_list),
        Case::new("ServicesCreate", services_create),
        Case::new("ServicesScale", services_scale),
        Case::new("ServicesGlobal", services_global),
        Case::new("ServicesRollingUpdateSucceed", rolling_update_succeed),
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

/// A service that is created runs, and is what was asked for.
async fn services_create(t: Test) -> Result<()> {
    let service = t.service("web").replicas(2).create().await?;
    let tasks = service.running(2).await?;
    ensure!(tasks.iter().all(|task| task.service_id.as_ref() == Some(&service.id)), "a task of another service");
    let spec = service.inspect().await?.spec.context("the service has no spec")?;
    ensure!(spec.name.as_ref() == Some(&service.name), "it is called {:?}", spec.name);
    let replicas = spec.mode.and_then(|mode| mode.replicated).and_then(|it| it.replicas);
    ensure!(replicas == Some(2), "it has {replicas:?} replicas, asked for were 2");
    Ok(())
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

const REPLICAS: usize = 6;
const PARALLELISM: usize = 2;
const DELAY: Duration = Duration::from_secs(5);

/// Six replicas are replaced two at a time, five seconds apart, and never more than two are missing.
async fn rolling_update_succeed(t: Test) -> Result<()> {
    let update = ServiceSpecUpdateConfig {
        parallelism: Some(PARALLELISM as i64),
        delay: Some(nanos(DELAY)),
        ..Default::default()
    };
    let service = t.service("rolling").replicas(6).with(|spec| spec.update_config = Some(update)).create().await?;
    let old = service.running(REPLICAS).await?;
    service.update(|spec| container_of(spec).env = Some(vec!["GENERATION=2".into()])).await?;

    let mut fewest = REPLICAS;
    let mut new = BTreeMap::new();
    let start = tokio::time::Instant::now();
    let seen = (&mut fewest, &mut new);
    let seen = std::sync::Mutex::new(seen);
    t.until("the update is complete", Duration::from_secs(120), || async {
        let running: Vec<Task> = service.tasks().await?.into_iter().filter(crate::swarm::task::runs).collect();
        if let Ok(mut seen) = seen.lock() {
            *seen.0 = running.len().min(*seen.0);
            for task in running.iter().filter(|task| !old.iter().any(|it| it.id == task.id)) {
                seen.1.entry(task.id.clone()).or_insert_with(|| start.elapsed());
            }
        }
        let status = service.inspect().await?.update_status.unwrap_or_default();
        match status.state {
            Some(ServiceUpdateStatusStateEnum::COMPLETED) => Ok(()),
            state => bail!("the update is {state:?} ({}); {} run", status.message.unwrap_or_default(), running.len()),
        }
    })
    .await?;
    service.running(REPLICAS).await?;

    let mut times: Vec<Duration> = new.into_values().collect();
    times.sort_unstable();
    t.note(format_args!("new tasks ran after {times:?}; at least {fewest} ran all the time"));
    ensure!(times.len() == REPLICAS, "{} of {REPLICAS} tasks were replaced", times.len());
    ensure!(fewest >= REPLICAS - PARALLELISM, "only {fewest} of {REPLICAS} ran at one moment");
    // A pair starts once the delay is over that began when the pair before it ran. Looks at the tasks are up to
    // half a second apart, and so may be the moments seen.
    for (before, after) in times.iter().zip(&times[PARALLELISM..]) {
        let apart = after.saturating_sub(*before);
        ensure!(apart + Duration::from_secs(1) >= DELAY, "tasks followed {apart:?} after those before: {times:?}");
    }
    Ok(())
}
