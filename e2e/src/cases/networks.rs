//! Overlay networks: names, virtual addresses, and containers that no service manages.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};

use crate::{
    harness::{
        case::{Case, Need},
        test::Test,
    },
    swarm::{container::Container, service::containers},
};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("ServiceDiscovery", service_discovery).needs(Need::Here),
        Case::new("AttachableNetwork", attachable_network),
        Case::new("InternalLbProxy", internal_lb_proxy).needs(Need::Here),
        Case::new("InternalLbEndpoints", internal_lb_endpoints).needs(Need::Here),
    ]
}

/// How long the DNS may lag behind the tasks. A task's name goes about one second after the task is told to
/// stop, since the agent waits that long when it cancels; the rest is for slow machines.
const DNS_WITHIN: Duration = Duration::from_secs(6);
/// How long a fresh overlay may take to carry the first packet.
const OVERLAY_WITHIN: Duration = Duration::from_secs(15);

/// The addresses a container on the network gets for a name.
async fn addresses(from: &Container, name: &str) -> Result<BTreeSet<IpAddr>> {
    let said = from.run(&["test-service-discovery", name, "--within", "1s"]).await?;
    Ok(said.lines().filter_map(|line| line.trim().parse().ok()).collect())
}

/// `tasks.NAME` gives the address of each task, and follows the service as it is scaled.
async fn service_discovery(t: Test) -> Result<()> {
    let network = t.network("net").await?;
    let service = t.service("web").on(&network).replicas(3).create().await?;
    let client = t.client(&network).await?;
    let name = format!("tasks.{}", service.name);
    for replicas in [3, 4, 2] {
        service.scale(replicas).await?;
        let tasks = service.running(replicas as usize).await?;
        t.until(&format!("{name} has {replicas} addresses"), DNS_WITHIN, || async {
            let found = addresses(&client, &name).await?;
            ensure!(found.len() == tasks.len(), "it has {found:?}");
            Ok(())
        })
        .await?;
    }
    Ok(())
}

/// A container that no service manages finds services, and is found by their tasks.
async fn attachable_network(t: Test) -> Result<()> {
    let network = t.network("net").await?;
    let service = t.service("web").on(&network).create().await?;
    service.running(1).await?;
    let alone = t.container("alone", &network).await?;
    t.until("the container reaches the service", OVERLAY_WITHIN, || async {
        alone.run(&["health", &format!("http://{}/", service.name)]).await
    })
    .await?;
    // The service's task is asked, through the network, to look the container up and to call it.
    let name = &alone.name;
    let ask = format!("http://{}/fanout?url=http://{name}/", service.name);
    let counts = t
        .until("the service reaches the container", OVERLAY_WITHIN, || async { alone.run(&["get", &ask]).await })
        .await?;
    let counts: BTreeMap<String, usize> = serde_json::from_str(counts.trim()).context("the answer is no JSON")?;
    ensure!(counts == [(alone.hostname(), 1)].into(), "{counts:?} answered to {name}");
    Ok(())
}

/// The virtual address of a service spreads connections over all its tasks.
async fn internal_lb_proxy(t: Test) -> Result<()> {
    let network = t.network("net").await?;
    let service = t.service("web").on(&network).replicas(3).create().await?;
    let mut wanted = containers(&service.running(3).await?)?;
    wanted.sort_unstable();
    let client = t.client(&network).await?;
    let vip = addresses(&client, &service.name).await?;
    ensure!(vip.len() == 1, "the name has {vip:?}, which is not one virtual address");
    let ask = format!("http://127.0.0.1/fanout?url=http://{}/&count=12", service.name);
    let counts = t
        .until("the virtual address reaches every task", OVERLAY_WITHIN, || async {
            let counts: BTreeMap<String, usize> = serde_json::from_str(client.run(&["get", &ask]).await?.trim())?;
            ensure!(counts.keys().eq(&wanted), "{counts:?} answered, wanted {wanted:?}");
            Ok(counts)
        })
        .await?;
    ensure!(counts.values().all(|&n| n >= 2), "12 requests were not spread: {counts:?}");
    Ok(())
}

/// Each address of `tasks.NAME` is one task's own, and answers as that task.
async fn internal_lb_endpoints(t: Test) -> Result<()> {
    let network = t.network("net").await?;
    let service = t.service("web").on(&network).replicas(3).create().await?;
    let mut wanted = containers(&service.running(3).await?)?;
    wanted.sort_unstable();
    let client = t.client(&network).await?;
    let ask = format!("http://127.0.0.1/endpoints?name=tasks.{}", service.name);
    t.until("every address of the tasks answers as one of them", OVERLAY_WITHIN, || async {
        let answers: BTreeMap<IpAddr, String> = serde_json::from_str(client.run(&["get", &ask]).await?.trim())?;
        let mut found: Vec<&String> = answers.values().collect();
        found.sort_unstable();
        ensure!(found.into_iter().eq(&wanted), "{answers:?} answered, wanted {wanted:?}");
        Ok(())
    })
    .await
}
