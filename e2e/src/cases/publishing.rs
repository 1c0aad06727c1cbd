//! Published ports: what the routing mesh does with connections from outside.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};
use bollard::{
    models::{EndpointPortConfig, ServiceSpec, ServiceUpdateStatusStateEnum as State},
    query_parameters::InspectNetworkOptions,
};

use super::{catalog::refusal, networks::OVERLAY_WITHIN};
use crate::{
    harness::{case::Case, test::Test, until::Never},
    swarm::{
        ask::base,
        service::{PORT, Service, container_of, containers},
        task,
    },
};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("NetworkExternalLb", network_external_lb),
        Case::new("ExternalLbReplicated", external_lb_replicated),
        Case::new("ExternalLbGlobal", external_lb_global),
        Case::new("HostModePublish", host_mode),
        // Three updates that replace the task, and what answers after each.
        Case::new("PublishedPortChanges", port_changes).timeout(Duration::from_secs(300)),
        Case::new("PublishedPortTaken", port_taken),
        Case::new("PublishedTwice", published_twice),
        Case::new("IngressKept", ingress_kept),
    ]
}

/// How long after its tasks run a published port may refuse, or reach fewer of them than there are, and answer after they
/// went: the mesh is a network of all nodes, and a node hears of tasks on others as on any overlay. An engine needs a few
/// hundred milliseconds; seen once in six rounds: nothing in 8 s, on a node that the task was not on.
pub(crate) const MESH_WITHIN: Duration = OVERLAY_WITHIN;
/// The same of a port of the task's own node, which nobody has to tell it; the time is for slow machines.
pub(crate) const OWN_PORT_WITHIN: Duration = Duration::from_secs(8);

/// The published port reaches exactly the containers of the service, each at least twice.
async fn network_external_lb(t: Test) -> Result<()> {
    let service = t.service("web").replicas(3).published().create().await?;
    let wanted = containers(&service.running(3).await?)?;
    let node = t.cluster().usable().next().context("no node is ready and active")?;
    reaches_all(&t, &service, &node.address, &wanted).await
}

/// Every node's port reaches every replica, also where none runs.
async fn external_lb_replicated(t: Test) -> Result<()> {
    let service = t.service("web").replicas(2).published().create().await?;
    let wanted = containers(&service.running(2).await?)?;
    for node in t.cluster().usable() {
        reaches_all(&t, &service, &node.address, &wanted).await?;
    }
    Ok(())
}

/// Every node's port reaches the task of every node.
async fn external_lb_global(t: Test) -> Result<()> {
    let service = t.service("web").global().published().create().await?;
    let wanted = containers(&service.running(t.cluster().usable().count()).await?)?;
    for node in t.cluster().usable() {
        reaches_all(&t, &service, &node.address, &wanted).await?;
    }
    Ok(())
}

/// Waits until a node's port has reached each container, and from then on takes no error: as many requests as
/// make a fair share of four reach exactly the containers, each at least twice.
async fn reaches_all(t: &Test, service: &Service, node: &str, wanted: &[String]) -> Result<()> {
    let url = format!("http://{node}:{}/", service.port().await?);
    t.until(&format!("{url} reaches all {} containers", wanted.len()), MESH_WITHIN, || async {
        let counts = t.count(&url, 2 * wanted.len()).await?;
        match counts.keys().find(|name| !wanted.contains(name)) {
            Some(other) => bail!(Never(format!("{other} answered, which is none of {wanted:?}"))),
            None => ensure!(counts.len() == wanted.len(), "{counts:?} answered, wanted {wanted:?}"),
        }
        Ok(())
    })
    .await?;
    let counts = t.count(&url, 4 * wanted.len()).await.context("the port worked, and then did not")?;
    t.note(format_args!("{url}: {counts:?}"));
    ensure!(
        counts.len() == wanted.len() && counts.keys().all(|name| wanted.contains(name)),
        "{counts:?} answered, wanted {wanted:?}"
    );
    ensure!(counts.values().all(|&n| n >= 2), "{} requests were not spread: {counts:?}", 4 * wanted.len());
    Ok(())
}

/// A port that is published on the host is that of the host's own task.
async fn host_mode(t: Test) -> Result<()> {
    let service = t.service("web").global().askable().create().await?;
    let tasks = service.running(t.cluster().usable().count()).await?;
    let nodes = t.usable().await?;
    for task in &tasks {
        let url = format!("{}/", base(task, &nodes)?);
        t.until(&format!("{url} answers"), OWN_PORT_WITHIN, || t.get(&url)).await?;
        let counts = t.count(&url, 4).await?;
        let own = task::container(task).unwrap_or_default();
        ensure!(counts == [(own.clone(), 4)].into(), "{url}: {counts:?} answered, the task there is {own}");
    }
    Ok(())
}

/// The port on which a server listens that is told another than the usual one.
const OTHER: u16 = 8083;

/// A port that is published for a service that had none answers, and also when it is asked for once more. When it is
/// changed, and that of the container with it, the new one answers and the one of before no longer; one that is taken
/// away is gone. One port for two ports of the container is refused, and changes nothing.
async fn port_changes(t: Test) -> Result<()> {
    let service = t.service("web").create().await?;
    service.running(1).await?;
    let node = t.usable().await?.into_iter().next().context("no node is ready and active")?;
    let [first, other] = free_ports(&t).await?;
    let answers = async |port: u16| t.get(&format!("http://{}:{port}/", node.address)).await;
    change(&service, PORT, &[first]).await?;
    t.until("the port answers", MESH_WITHIN, || answers(first)).await?;
    service.update(|spec| publish(spec, PORT, &[first])).await?;
    published(&service, PORT, &[first]).await?;
    // Nobody listens on the port of before any more.
    service
        .update(|spec| {
            publish(spec, OTHER, &[other]);
            container_of(spec).args = Some(vec!["test-server".into(), "--listen".into(), format!("0.0.0.0:{OTHER}")]);
        })
        .await?;
    service.updated(State::COMPLETED).await?;
    published(&service, OTHER, &[other]).await?;
    service.running(1).await?;
    t.until("the new port answers", MESH_WITHIN, || answers(other)).await?;
    t.until("the old port refuses", MESH_WITHIN, || refuses(answers(first))).await?;
    let twice = service.update(|spec| {
        publish(spec, OTHER, &[other, other]);
        let mut ports = spec.endpoint_spec.iter_mut().flat_map(|it| it.ports.iter_mut().flatten());
        ports.next().into_iter().for_each(|it| it.target_port = Some(20));
    });
    refusal(twice.await, 400, "EndpointSpec: duplicate published ports provided")?;
    published(&service, OTHER, &[other]).await?;
    change(&service, OTHER, &[]).await?;
    t.until("no port is left", MESH_WITHIN, || refuses(answers(other))).await
}

/// A port of the swarm is one service's.
async fn port_taken(t: Test) -> Result<()> {
    let service = t.service("web").replicas(0).published().create().await?;
    let port = service.port().await?;
    let again = t.service("again").replicas(0).with(|spec| publish(spec, PORT, &[port])).create().await;
    refusal(again.map(|_| ()), 400, "already in use")
}

/// One port of a container can be published as two, and as others that the swarm chooses. The first goes on to answer
/// when others are added, as both do when another service has them after this one is gone.
async fn published_twice(t: Test) -> Result<()> {
    // The task of before goes first: on a node that hears of the next one while it is there, engines up to 28.5 at
    // least lose the ports that both have (moby#41364).
    let service = t.service("web").published().create().await?;
    service.running(1).await?;
    let first = service.port().await?;
    let node = t.usable().await?.into_iter().next().context("no node is ready and active")?;
    let answer = async |service: &Service, ports: &[u16]| {
        let wanted = containers(&service.running(1).await?)?;
        for port in ports {
            let url = format!("http://{}:{port}/", node.address);
            t.until(&format!("port {port} answers"), MESH_WITHIN, || async {
                let who = t.get(&url).await?;
                ensure!(who == wanted[0], "{who} answered, wanted {wanted:?}");
                Ok(())
            })
            .await?;
        }
        Ok::<_, anyhow::Error>(())
    };
    answer(&service, &[first]).await?;
    let [second] = free_ports(&t).await?;
    ensure!(second != first, "two services have port {first}");
    let ports = [first, second];
    // The swarm chooses a port for those that say none.
    change(&service, PORT, &[ports[0], ports[1], 0, 0]).await?;
    let told = service.inspect().await?.endpoint.and_then(|it| it.ports).unwrap_or_default();
    let told: BTreeSet<_> = told.iter().filter_map(|it| u16::try_from(it.published_port?).ok()).collect();
    ensure!(
        told.len() == 4 && ports.iter().all(|it| told.contains(it)),
        "its ports are {told:?}, wanted {ports:?} of 4"
    );
    answer(&service, &told.into_iter().collect::<Vec<_>>()).await?;
    service.remove().await?;
    let successor = t.service("successor").with(|spec| publish(spec, PORT, &ports)).create().await?;
    answer(&successor, &ports).await
}

/// How long the network of published ports is watched after the last task that used it is gone.
const KEPT_FOR: Duration = Duration::from_secs(10);

/// The network of published ports stays when the service that used it and all its tasks are gone, and takes the next.
async fn ingress_kept(t: Test) -> Result<()> {
    for (what, watched) in [("first", KEPT_FOR), ("second", Duration::ZERO)] {
        let service = t.service(what).published().create().await?;
        let wanted = containers(&service.running(1).await?)?;
        let node = t.usable().await?.into_iter().next().context("no node is ready and active")?;
        reaches_all(&t, &service, &node.address, &wanted).await?;
        service.remove().await?;
        t.stays("the ingress network is whole", watched, || ingress(&t)).await?;
    }
    Ok(())
}

/// There is a network of published ports, with this node and its balancer on it.
async fn ingress(t: &Test) -> Result<()> {
    let options = InspectNetworkOptions { verbose: true, scope: Some("swarm".into()) };
    let ingress = t.docker().inspect_network("ingress", Some(options)).await.context("no ingress network")?;
    ensure!(ingress.ingress == Some(true), "the network is no ingress");
    ensure!(ingress.peers.is_some_and(|peers| !peers.is_empty()), "it has no peers, not even this node");
    ensure!(ingress.containers.is_some_and(|it| it.contains_key("ingress-sbox")), "it has lost its balancer");
    Ok(())
}

/// Ports of the swarm that are free: those of other services which are removed.
async fn free_ports<const N: usize>(t: &Test) -> Result<[u16; N]> {
    let (mut ports, mut holders) = ([0; N], Vec::new());
    for port in &mut ports {
        let holder = t.service("holder").replicas(0).published().create().await?;
        *port = holder.port().await?;
        holders.push(holder);
    }
    ensure!(ports.iter().collect::<BTreeSet<_>>().len() == N, "two services have one port: {ports:?}");
    for holder in holders {
        t.docker().delete_service(&holder.id).await.context("cannot remove the service that held a port")?;
    }
    Ok(ports)
}

/// Publishes a port of the container as these instead of those of before. The tasks are replaced for it.
async fn change(service: &Service, target: u16, ports: &[u16]) -> Result<()> {
    service.update(|spec| publish(spec, target, ports)).await?;
    service.updated(State::COMPLETED).await?;
    published(service, target, ports).await?;
    service.running(1).await.map(|_| ())
}

/// The service says that these are its ports.
async fn published(service: &Service, target: u16, ports: &[u16]) -> Result<()> {
    let told = service.inspect().await?.spec.and_then(|spec| spec.endpoint_spec?.ports).unwrap_or_default();
    let told: Vec<_> = told.iter().map(|it| (it.target_port, it.published_port.unwrap_or_default())).collect();
    let wanted: Vec<_> = ports.iter().map(|&port| (Some(i64::from(target)), i64::from(port))).collect();
    ensure!(told == wanted, "its ports are told as {told:?}, wanted {wanted:?}");
    Ok(())
}

/// With 0 the swarm chooses.
fn publish(spec: &mut ServiceSpec, target: u16, ports: &[u16]) {
    let ports = ports.iter().map(|&port| EndpointPortConfig {
        target_port: Some(target.into()),
        published_port: (port > 0).then_some(port.into()),
        ..Default::default()
    });
    spec.endpoint_spec.get_or_insert_default().ports = Some(ports.collect());
}

/// Nobody takes the connection.
pub(super) async fn refuses(answer: impl Future<Output = Result<String>>) -> Result<()> {
    match answer.await {
        Ok(who) => bail!("{who} answers"),
        Err(error) if format!("{error:#}").contains("cannot connect to") => Ok(()),
        Err(error) => Err(error),
    }
}
