//! Overlay networks and services: names, and virtual addresses.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use bollard::models::{
    EndpointSpec, EndpointSpecModeEnum, NetworkAttachmentConfig, ServiceUpdateStatusStateEnum as State,
};

use crate::{
    harness::{case::Case, test::Test},
    swarm::service::{containers, task_of},
};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("ServiceDiscovery", service_discovery),
        Case::new("InternalLbProxy", internal_lb_proxy),
        Case::new("InternalLbEndpoints", internal_lb_endpoints),
        Case::new("DnsRoundRobin", dns_round_robin),
        Case::new("EncryptedOverlay", encrypted_overlay),
        Case::new("VirtualAddressKept", virtual_address_kept),
        Case::new("ServiceNetworksChange", networks_change),
        Case::new("ServiceAliases", aliases),
        Case::new("ServiceOnHostNetwork", host_network),
    ]
}

/// How long the DNS may lag behind the tasks. A task's name goes about one second after the task is told to
/// stop, since the agent waits that long when it cancels; the rest is for slow machines.
const DNS_WITHIN: Duration = Duration::from_secs(6);
/// How soon a name is not found that is gone. The engine asks the host's own name server for it; where that says
/// nothing, the resolver in the container waits five seconds before it says so (seen: 5.1 s).
const UNKNOWN_WITHIN: Duration = Duration::from_secs(11);
/// How long a fresh overlay may take to carry the first packet.
pub(crate) const OVERLAY_WITHIN: Duration = Duration::from_secs(15);

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
            let found = client.resolve(&name).await?;
            ensure!(found.len() == tasks.len(), "it has {found:?}");
            Ok(())
        })
        .await?;
    }
    Ok(())
}

/// The virtual address of a service spreads connections over all its tasks.
async fn internal_lb_proxy(t: Test) -> Result<()> {
    let network = t.network("net").await?;
    let service = t.service("web").on(&network).replicas(3).create().await?;
    let mut wanted = containers(&service.running(3).await?)?;
    wanted.sort_unstable();
    let client = t.client(&network).await?;
    let vip = t.until("the name resolves", DNS_WITHIN, || client.resolve(&service.name)).await?;
    ensure!(vip.len() == 1, "the name has {vip:?}, which is not one virtual address");
    let url = format!("http://{}/", service.name);
    let counts = t
        .until("the virtual address reaches every task", OVERLAY_WITHIN, || async {
            let counts = client.count(&url, 12).await?;
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
    let name = format!("tasks.{}", service.name);
    t.until("every address of the tasks answers as one of them", OVERLAY_WITHIN, || async {
        let answers = client.endpoints(&name).await?;
        let mut found: Vec<&String> = answers.values().collect();
        found.sort_unstable();
        ensure!(found.into_iter().eq(&wanted), "{answers:?} answered, wanted {wanted:?}");
        Ok(())
    })
    .await
}

/// Without a virtual address the name itself has the address of each task.
async fn dns_round_robin(t: Test) -> Result<()> {
    let network = t.network("net").await?;
    let endpoint = EndpointSpec { mode: Some(EndpointSpecModeEnum::DNSRR), ..Default::default() };
    let service = t.service("web").on(&network).replicas(3).with(|spec| spec.endpoint_spec = Some(endpoint));
    let service = service.create().await?;
    let mut wanted = containers(&service.running(3).await?)?;
    wanted.sort_unstable();
    let addresses = service.inspect().await?.endpoint.and_then(|endpoint| endpoint.virtual_ips).unwrap_or_default();
    ensure!(addresses.is_empty(), "it has a virtual address: {addresses:?}");
    let client = t.client(&network).await?;
    t.until("the name has the address of each task", OVERLAY_WITHIN, || async {
        let answers = client.endpoints(&service.name).await?;
        let mut found: Vec<&String> = answers.values().collect();
        found.sort_unstable();
        ensure!(found.into_iter().eq(&wanted), "{answers:?} answered, wanted {wanted:?}");
        Ok(())
    })
    .await
}

/// Tasks on all nodes reach one another through an overlay that is encrypted.
async fn encrypted_overlay(t: Test) -> Result<()> {
    let network = t.network_with("net", |request| {
        request.options = Some([("encrypted".to_owned(), String::new())].into());
    });
    let network = network.await?;
    let service = t.service("web").global().on(&network).create().await?;
    let mut wanted = containers(&service.running(t.cluster().usable().count()).await?)?;
    wanted.sort_unstable();
    let client = t.client(&network).await?;
    t.until("every task is reached", OVERLAY_WITHIN, || async {
        let counts = client.count(&format!("http://{}/", service.name), 4 * wanted.len()).await?;
        ensure!(counts.keys().eq(&wanted), "{counts:?} answered, wanted {wanted:?}");
        Ok(())
    })
    .await
}

/// The virtual address of a service is the same, and reaches its tasks, after they were all replaced.
async fn virtual_address_kept(t: Test) -> Result<()> {
    let network = t.network("net").await?;
    let service = t.service("web").on(&network).replicas(2).create().await?;
    service.running(2).await?;
    let client = t.client(&network).await?;
    let before = t.until("the name resolves", DNS_WITHIN, || client.resolve(&service.name)).await?;
    service.renew().await?;
    service.updated(State::COMPLETED).await?;
    let mut wanted = containers(&service.running(2).await?)?;
    wanted.sort_unstable();
    t.until("the address reaches the new tasks", OVERLAY_WITHIN, || async {
        let after = client.resolve(&service.name).await?;
        ensure!(after == before, "the address was {before:?}, and is {after:?}");
        let counts = client.count(&format!("http://{}/", service.name), 8).await?;
        ensure!(counts.keys().eq(&wanted), "{counts:?} answered, wanted {wanted:?}");
        Ok(())
    })
    .await
}

/// A service that is moved from one network to another is found on the other, and no longer on the first.
async fn networks_change(t: Test) -> Result<()> {
    let (first, second) = (t.network("first").await?, t.network("second").await?);
    let service = t.service("web").on(&first).create().await?;
    let (old, new) = tokio::try_join!(t.client(&first), t.client(&second))?;
    service.running(1).await?;
    let url = format!("http://{}/", service.name);
    t.until("it is found on the first", OVERLAY_WITHIN, || old.get(&url)).await?;
    let attachment = NetworkAttachmentConfig { target: Some(second.id.clone()), ..Default::default() };
    service.update(|spec| task_of(spec).networks = Some(vec![attachment.clone()])).await?;
    service.updated(State::COMPLETED).await?;
    t.until("it is found on the second", OVERLAY_WITHIN, || new.get(&url)).await?;
    t.until("it is not found on the first", UNKNOWN_WITHIN, || async {
        old.resolve(&service.name).await.map_or(Ok(()), |found| bail!("it has {found:?}"))
    })
    .await
}

/// A service is found by the other names that it has on a network.
async fn aliases(t: Test) -> Result<()> {
    let network = t.network("net").await?;
    let alias = t.name("alias");
    let service = t.service("web").on(&network).with(|spec| {
        for attachment in task_of(spec).networks.iter_mut().flatten() {
            attachment.aliases = Some(vec![alias.clone()]);
        }
    });
    let service = service.create().await?;
    let wanted = containers(&service.running(1).await?)?;
    let client = t.client(&network).await?;
    let url = format!("http://{alias}/");
    let who = t.until("the alias is found", OVERLAY_WITHIN, || client.get(&url)).await?;
    ensure!(who == wanted[0], "{who} answered, wanted {wanted:?}");
    Ok(())
}

/// A service on the host's own network has the host's name, and no address of its own.
async fn host_network(t: Test) -> Result<()> {
    let host = NetworkAttachmentConfig { target: Some("host".into()), ..Default::default() };
    let service = t.service("web").args(&["hang"]).with(|spec| task_of(spec).networks = Some(vec![host]));
    let service = service.create().await?;
    service.running(1).await?;
    let addresses = service.inspect().await?.endpoint.and_then(|endpoint| endpoint.virtual_ips).unwrap_or_default();
    ensure!(addresses.iter().all(|it| it.addr.is_none()), "it has a virtual address: {addresses:?}");
    Ok(())
}
