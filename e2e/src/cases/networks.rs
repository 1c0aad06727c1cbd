//! Overlay networks and services: names, and virtual addresses.

use std::{collections::BTreeSet, net::IpAddr, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};
use bollard::{
    models::{
        EndpointSpec, EndpointSpecModeEnum, NetworkAttachmentConfig, ServiceSpecUpdateConfig as Update,
        ServiceSpecUpdateConfigOrderEnum as Order, ServiceUpdateStatusStateEnum as State,
    },
    query_parameters::InspectNetworkOptions,
};
use hyper::Method;

use crate::{
    cluster::Member,
    harness::{
        case::{Case, Need},
        test::Test,
    },
    swarm::{
        ask::Client,
        network::Network,
        raw,
        service::{container_of, containers, task_of},
    },
};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("ServiceDiscovery", service_discovery),
        Case::new("InternalLbProxy", internal_lb_proxy),
        Case::new("InternalLbEndpoints", internal_lb_endpoints),
        Case::new("DnsRoundRobin", dns_round_robin),
        Case::new("EncryptedOverlay", encrypted_overlay).needs(Need::Nodes(2)),
        Case::new("VirtualAddressKept", virtual_address_kept),
        Case::new("ServiceNetworksChange", networks_change),
        Case::new("ServiceLeavesNetwork", leaves_network).needs(Need::Here),
        Case::new("ServiceAliases", aliases),
        Case::new("ServiceOnHostNetwork", host_network),
    ]
}

/// How soon a name is not found that is gone. The engine asks the host's own name server for it; where that says
/// nothing, the resolver in the container waits five seconds before it says so (seen: 5.1 s).
const UNKNOWN_WITHIN: Duration = Duration::from_secs(11);
/// How long nodes may take to agree on what is in a network: to carry the first packet, and to know a name. They tell one
/// another addresses and names by gossip, over UDP; what was lost of it is told when two nodes exchange all they know, every
/// 30 seconds (networkdb has it from memberlist's `PushPullInterval`). Seen once in five rounds: nothing in 15 s, on a node
/// that had just come to the network; and once in four a name that was not known there after 6 s.
pub(crate) const OVERLAY_WITHIN: Duration = Duration::from_secs(30 + 15);

/// `tasks.NAME` gives the address of each task, and follows the service as it is scaled.
async fn service_discovery(t: Test) -> Result<()> {
    let network = t.network("net").await?;
    let service = t.service("web").on(&network).replicas(3).create().await?;
    let client = t.client(&network).await?;
    let name = format!("tasks.{}", service.name);
    for replicas in [3, 4, 2] {
        service.scale(replicas).await?;
        let tasks = service.running(replicas as usize).await?;
        t.until(&format!("{name} has {replicas} addresses"), OVERLAY_WITHIN, || async {
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
    let vip = t.until("the name resolves", OVERLAY_WITHIN, || client.resolve(&service.name)).await?;
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

/// How soon what a node was seen to send is in the log of the task that looks.
const SEEN_WITHIN: Duration = Duration::from_secs(20);

/// Tasks on all nodes reach one another through an overlay that is encrypted, and what they say is not on the wire; on
/// an overlay that is not, it is.
async fn encrypted_overlay(t: Test) -> Result<()> {
    let encrypted = t.network_with("encrypted", |request| {
        request.options = Some([("encrypted".to_owned(), String::new())].into());
    });
    let (encrypted, plain) = (encrypted.await?, t.network("plain").await?);
    let nodes = t.usable().await?;
    let [here, there, ..] = &nodes[..] else { bail!("it takes two nodes") };
    let on = |node: &Member| format!("node.id=={}", node.id);
    // What is said is in the answers alone, which go from the one node to the other.
    let (secret, open) = (t.name("secret"), t.name("open"));
    let says = |what: &str, text: &str| {
        t.service(what).with(|spec| container_of(spec).env = Some(vec![format!("TEXT={text}")]))
    };
    let host = NetworkAttachmentConfig { target: Some("host".into()), ..Default::default() };
    let watch = t.service("watch").args(&["capture", &secret, &open]).constraint(&on(here));
    let watch = watch.with(|spec| task_of(spec).networks = Some(vec![host]));
    let client = t.service("client").on(&encrypted).on(&plain).askable().constraint(&on(there));
    let (all, one, watch, client) = tokio::try_join!(
        says("secret", &secret).global().on(&encrypted).create(),
        says("open", &open).constraint(&on(here)).on(&plain).create(),
        watch.create(),
        client.create(),
    )?;
    let tasks = all.running(nodes.len()).await?;
    tokio::try_join!(one.running(1), watch.running(1), client.running(1))?;
    let mut wanted = containers(&tasks)?;
    wanted.sort_unstable();
    let client = Client::of(client);
    t.until("every task is reached", OVERLAY_WITHIN, || async {
        let counts = client.count(&format!("http://{}/", all.name), 4 * wanted.len()).await?;
        ensure!(counts.keys().eq(&wanted), "{counts:?} answered, wanted {wanted:?}");
        Ok(())
    })
    .await?;
    // The whole log: the last line is all that was seen so far.
    let seen = async || {
        let log = watch.log().await?;
        let last = log.lines().rfind(|line| line.starts_with("esp=")).with_context(|| format!("nothing: {log:?}"))?;
        let number = |text: Option<&str>| text.and_then(|text| text.parse::<usize>().ok()).unwrap_or_default();
        let (esp, plain) = last.split_once(" plain=").with_context(|| format!("this: {last}"))?;
        let mut plain = plain.split(',').map(Some).map(number);
        Ok::<_, anyhow::Error>((number(esp.strip_prefix("esp=")), plain.next(), plain.next()))
    };
    t.until("the node is watched", SEEN_WITHIN, &seen).await?;
    let each = 4 * wanted.len();
    client.reach(&format!("http://{}/env?name=TEXT", all.name), each).await?;
    // After that, and in this order on the wire: when this was seen, so was that.
    let url = format!("http://{}/env?name=TEXT", one.name);
    t.until("the open text is reached", OVERLAY_WITHIN, || client.reach(&url, 1)).await?;
    let (esp, secret, _) = t
        .until("the open text is seen on the wire", SEEN_WITHIN, || async {
            let seen = seen().await?;
            ensure!(seen.2 > Some(0), "seen were, encrypted, secret and open: {seen:?}");
            Ok(seen)
        })
        .await?;
    t.note(format_args!("of {esp} encrypted packets, none had the secret"));
    ensure!(secret == Some(0), "what is said on the encrypted network was on the wire {secret:?} times");
    ensure!(esp > 0, "nothing on the wire was encrypted");
    Ok(())
}

/// The virtual address of a service is the same, and reaches its tasks, after they were all replaced by others that
/// ran before they ended.
async fn virtual_address_kept(t: Test) -> Result<()> {
    let network = t.network("net").await?;
    let update = Update { order: Some(Order::START_FIRST), ..Default::default() };
    let service = t.service("web").on(&network).replicas(2).with(|spec| spec.update_config = Some(update));
    let service = service.create().await?;
    service.running(2).await?;
    let client = t.client(&network).await?;
    let before = t.until("the name resolves", OVERLAY_WITHIN, || client.resolve(&service.name)).await?;
    let told = service.inspect().await?.endpoint.and_then(|endpoint| endpoint.virtual_ips).unwrap_or_default();
    let told = told.iter().find(|it| it.network_id.as_ref() == Some(&network.id)).and_then(|it| it.addr.as_deref());
    let told = told.and_then(|it| it.split('/').next()).context("it is told to have no address there")?;
    ensure!(before.iter().map(ToString::to_string).eq([told]), "it has {before:?}, and is told to have {told}");
    let reached = async || client.get(&format!("http://{told}/")).await;
    t.until("the address is reached", OVERLAY_WITHIN, reached).await?;
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

/// A service that leaves one of its networks is found on the other, and no longer on the first; it can join a third.
async fn networks_change(t: Test) -> Result<()> {
    let (first, second, third) = (t.network("first").await?, t.network("second").await?, t.network("third").await?);
    let service = t.service("web").on(&first).on(&second).create().await?;
    let (old, new) = tokio::try_join!(t.client(&first), t.client(&second))?;
    let url = format!("http://{}/", service.name);
    // The networks that its task is on, by its own account.
    let on = async |wanted: &[&Network]| {
        let task = service.running(1).await?.remove(0).id.unwrap_or_default();
        let task = raw::ask(t.cluster(), Method::GET, &format!("/tasks/{task}"), None).await?;
        let on = task["NetworksAttachments"].as_array().cloned().unwrap_or_default();
        let on: BTreeSet<_> = on.iter().filter_map(|it| it["Network"]["ID"].as_str()).collect();
        let wanted: BTreeSet<_> = wanted.iter().map(|it| &*it.id).collect();
        ensure!(on == wanted, "its task is on {on:?}, wanted {wanted:?}");
        Ok(())
    };
    let change = async |wanted: &[&Network]| {
        let networks =
            wanted.iter().map(|it| NetworkAttachmentConfig { target: Some(it.id.clone()), ..Default::default() });
        let networks: Vec<_> = networks.collect();
        service.update(|spec| task_of(spec).networks = Some(networks.clone())).await?;
        service.updated(State::COMPLETED).await?;
        on(wanted).await
    };
    on(&[&first, &second]).await?;
    t.until("it is found on the first", OVERLAY_WITHIN, || old.get(&url)).await?;
    change(&[&second]).await?;
    t.until("it is found on the second", OVERLAY_WITHIN, || new.get(&url)).await?;
    t.until("it is not found on the first", UNKNOWN_WITHIN, || async { unknown(old.resolve(&service.name).await) })
        .await?;
    change(&[&second, &third]).await
}

/// The name has no addresses, and that is why there is no answer.
fn unknown(found: Result<BTreeSet<IpAddr>>) -> Result<()> {
    match found {
        Ok(found) => bail!("it has {found:?}"),
        Err(error) if format!("{error:#}").contains("cannot resolve") => Ok(()),
        Err(error) => Err(error),
    }
}

/// A node keeps nothing on a network that the last service there has left, and the network can be removed.
async fn leaves_network(t: Test) -> Result<()> {
    let network = t.network("net").await?;
    let here = format!("node.id=={}", t.cluster().node);
    let service = t.service("web").on(&network).constraint(&here).create().await?;
    service.running(1).await?;
    let endpoints = async |wanted: usize| {
        // Of this engine's own endpoints; any manager could answer for the scope of the swarm.
        let options = InspectNetworkOptions { verbose: true, scope: None };
        let found = t.docker().inspect_network(&network.id, Some(options)).await?.containers.unwrap_or_default();
        let names: Vec<_> = found.values().filter_map(|it| it.name.clone()).collect();
        ensure!(names.len() == wanted, "there are {wanted} endpoints to be, and are {names:?}");
        Ok(())
    };
    t.until("its task and its balancer are there", OVERLAY_WITHIN, || endpoints(2)).await?;
    service.update(|spec| task_of(spec).networks = Some(Vec::new())).await?;
    service.updated(State::COMPLETED).await?;
    t.until("nobody is there", OVERLAY_WITHIN, || endpoints(0)).await?;
    t.docker().remove_network(&network.id).await.context("a network that nobody is on is not removed")
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
    // Any port that is free: the host's are not the suite's.
    let service = t.service("web").args(&["test-server", "--listen", "127.0.0.1:0"]);
    let service = service.with(|spec| task_of(spec).networks = Some(vec![host])).create().await?;
    let task = service.running(1).await?.remove(0);
    let name = t.cluster().hostname(task.node_id.as_deref().unwrap_or_default());
    t.until("it says the host's name", OVERLAY_WITHIN, || async {
        let log = service.log().await?;
        ensure!(log.contains(&format!("{name}: serving")), "the host is {name}: {log:?}");
        Ok(())
    })
    .await?;
    let addresses = service.inspect().await?.endpoint.and_then(|endpoint| endpoint.virtual_ips).unwrap_or_default();
    ensure!(addresses.iter().all(|it| it.addr.is_none()), "it has a virtual address: {addresses:?}");
    Ok(())
}
