//! Overlay networks and containers that no service manages; and networks as objects.

use std::{collections::BTreeMap, net::IpAddr};

use anyhow::{Context as _, Result, ensure};
use bollard::models::{
    EndpointIpamConfig, EndpointSettings, Ipam, IpamConfig, NetworkConnectRequest, NetworkCreateRequest,
    NetworkDisconnectRequest,
};

use super::{
    catalog::{ANY, refusal},
    networks::OVERLAY_WITHIN,
};
use crate::{
    harness::{
        case::{Case, Need},
        test::Test,
    },
    swarm::container::ATTACHED_WITHIN,
};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("AttachableNetwork", attachable_network),
        Case::new("AttachableAlias", alias),
        Case::new("AttachableAddressReleased", address_released),
        Case::new("AttachableInterfaceName", interface_name).needs(Need::Api(1, 48)),
        Case::new("NetworkIpam", ipam),
        Case::new("NetworkNameTaken", name_taken),
        Case::new("NetworkInUse", in_use),
        Case::new("NetworkRefused", refused),
    ]
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

/// A container is found by the other name it has on a network, joins it only once, and can leave and come again.
async fn alias(t: Test) -> Result<()> {
    let network = t.network("net").await?;
    let alias = t.name("alias");
    let endpoint = EndpointSettings { aliases: Some(vec![alias.clone()]), ..Default::default() };
    let alone = t.container_with("alone", &network, endpoint.clone()).await?;
    let url = format!("http://{alias}/");
    let ask = ["get", &url];
    let who = t.until("the alias is found", OVERLAY_WITHIN, || alone.run(&ask)).await?;
    ensure!(who.trim() == alone.hostname(), "{who} answered");
    let join = NetworkConnectRequest { container: alone.id.clone(), endpoint_config: Some(endpoint) };
    let again = t.docker().connect_network(&network.name, join.clone()).await;
    // The status is another in older engines.
    let again = again.err().context("it joins the network twice")?;
    ensure!(again.to_string().contains("already"), "it is refused for another reason: {again}");
    let leave = NetworkDisconnectRequest { container: alone.id.clone(), force: None };
    t.docker().disconnect_network(&network.name, leave).await.context("the container cannot leave the network")?;
    t.docker().connect_network(&network.name, join).await.context("the container cannot come back")?;
    t.until("the alias is found again", OVERLAY_WITHIN, || alone.run(&ask)).await?;
    Ok(())
}

/// A container that cannot have its address leaves nothing taken, and the address can be had when it is free.
async fn address_released(t: Test) -> Result<()> {
    let own = t.subnet().await?;
    let network = t.network_with("net", |request| request.ipam = Some(subnet(&own.to_string()))).await?;
    let address = own.hosts().nth(76).context("the subnet is too small")?.to_string();
    let at = || {
        let ipam_config = EndpointIpamConfig { ipv4_address: Some(address.clone()), ..Default::default() };
        EndpointSettings { ipam_config: Some(ipam_config), ..Default::default() }
    };
    let first = t.container_with("first", &network, at()).await?;
    let second = t.container_with("second", &network, at()).await;
    t.note(second.err().map(|error| format!("{error:#}")).context("two containers have one address")?);
    first.remove().await?;
    t.until("another container gets the address", ATTACHED_WITHIN, || t.container_with("third", &network, at()))
        .await?;
    Ok(())
}

/// A container's interface on an overlay has the name that was asked for.
async fn interface_name(t: Test) -> Result<()> {
    let network = t.network("net").await?;
    let option = ("com.docker.network.endpoint.ifname".to_owned(), "e2e-if".to_owned());
    let endpoint = EndpointSettings { driver_opts: Some([option].into()), ..Default::default() };
    let alone = t.container_with("alone", &network, endpoint).await?;
    let interfaces = alone.run(&["get", "http://127.0.0.1/file?path=/proc/net/dev"]).await?;
    ensure!(interfaces.contains("e2e-if:"), "its interfaces are {interfaces}");
    Ok(())
}

/// Tasks have addresses of the subnet that their network was given.
async fn ipam(t: Test) -> Result<()> {
    let own = t.subnet().await?;
    let network = t.network_with("net", |request| request.ipam = Some(subnet(&own.to_string()))).await?;
    let service = t.service("web").on(&network).create().await?;
    service.running(1).await?;
    let client = t.client(&network).await?;
    let name = format!("tasks.{}", service.name);
    let found = t.until("the task has an address", OVERLAY_WITHIN, || client.resolve(&name)).await?;
    let within = |it: &IpAddr| matches!(it, IpAddr::V4(it) if own.contains(it));
    ensure!(found.iter().all(within), "it has {found:?}, the subnet is {own}");
    let told = t.docker().inspect_network(&network.id, None).await?.ipam.and_then(|ipam| ipam.config);
    let told: Vec<_> = told.unwrap_or_default().into_iter().filter_map(|config| config.subnet).collect();
    ensure!(told == [own.to_string()], "the network says {told:?}");
    Ok(())
}

/// Two networks of the swarm cannot have one name.
async fn name_taken(t: Test) -> Result<()> {
    let first = t.network("net").await?;
    let again = t.network_with("net", |request| request.name.clone_from(&first.name)).await;
    refusal(again.map(|_| ()), 409, "already exists")
}

/// A network that a service is on is not removed.
async fn in_use(t: Test) -> Result<()> {
    let network = t.network("net").await?;
    let service = t.service("web").replicas(0).on(&network).create().await?;
    let removed = t.docker().remove_network(&network.id).await;
    let words = format!("in use by service {}", service.id);
    refusal(removed.map_err(Into::into), 400, &words)
}

/// What no network of a swarm can be is refused, with the reason.
async fn refused(t: Test) -> Result<()> {
    type Change = fn(&mut NetworkCreateRequest);
    let mut cases: Vec<(Change, &str)> = vec![
        (|request| request.ingress = Some(true), "attachable"),
        (|request| (request.ingress, request.attachable) = (Some(true), None), "ingress"),
        (|request| request.driver = Some("no-such-driver".into()), "no-such-driver"),
        (|request| request.ipam = Some(subnet("198.18.0.0/33")), ""),
    ];
    if t.cluster().api >= (1, 48) {
        cases.push((|request| request.enable_ipv4 = Some(false), "IPv4 cannot be disabled"));
    }
    for (change, words) in cases {
        refusal(t.network_with("bad", change).await.map(|_| ()), ANY, words)?;
    }
    Ok(())
}

fn subnet(subnet: &str) -> Ipam {
    let config = IpamConfig { subnet: Some(subnet.into()), ..Default::default() };
    Ipam { config: Some(vec![config]), ..Default::default() }
}
