//! Overlay networks and containers that no service manages; and networks as objects.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use bollard::models::{
    EndpointIpamConfig, EndpointSettings, Ipam, IpamConfig, NetworkConnectRequest, NetworkCreateRequest,
    NetworkDisconnectRequest,
};
use hyper::Method;
use serde_json::{Value, json};

use super::{catalog::refusal, networks::OVERLAY_WITHIN};
use crate::{
    harness::{
        case::{Case, Need},
        test::Test,
        until::Never,
    },
    swarm::{
        container::{ATTACHED_WITHIN, Container, gave_up},
        raw,
    },
};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("AttachableNetwork", attachable_network),
        Case::new("AttachableAlias", alias),
        Case::new("AttachableAddressReleased", address_released).timeout(Duration::from_secs(400)),
        Case::new("AttachableRemoved", removed),
        Case::new("AttachableAliasBeforeStart", alias_before_start),
        Case::new("AttachableInterfaceName", interface_name).needs(Need::Api(1, 48)),
        Case::new("NetworkIpam", ipam),
        Case::new("NetworkNameTaken", name_taken),
        Case::new("NetworkInUse", in_use),
        Case::new("NetworkRefused", refused),
    ]
}

/// How long it may take to see that an address is refused: as an attachment that is given up, and where the swarm took as
/// long to attach a container beside, it is asked again.
const REFUSED_WITHIN: Duration = ATTACHED_WITHIN;

/// How long a network may be in use by containers that are gone.
const FREE_WITHIN: Duration = Duration::from_secs(45);

/// How long a network that was removed may still be listed.
const GONE_WITHIN: Duration = Duration::from_secs(5);

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

/// A container is found by its name and by the other names it has on a network, joins it only once, and can leave and
/// come again.
async fn alias(t: Test) -> Result<()> {
    let network = t.network("net").await?;
    let (alias, other) = (t.name("alias"), t.name("other-alias"));
    let named = |alias: &str| EndpointSettings { aliases: Some(vec![alias.to_owned()]), ..Default::default() };
    let alone = t.container_with("alone", &network, named(&alias)).await?;
    let second = t.container_with("second", &network, named(&other)).await?;
    for (asks, name, wanted) in [(&second, &alias, &alone), (&second, &alone.name, &alone), (&alone, &other, &second)] {
        let url = format!("http://{name}/");
        let ask = ["get", &url];
        let who = t.until("the alias is found", OVERLAY_WITHIN, || asks.run(&ask)).await?;
        ensure!(who.trim() == wanted.hostname(), "{who} answered as {name}");
    }
    let url = format!("http://{alias}/");
    let ask = ["get", &url];
    let join = NetworkConnectRequest { container: alone.id.clone(), endpoint_config: Some(named(&alias)) };
    let before = alone.inspect().await?;
    let again = t.docker().connect_network(&network.name, join).await;
    // Older engines notice later, when the endpoint is made.
    let (status, words) = match t.cluster().api {
        api if api >= (1, 42) => (409, "is already attached to network"),
        _ => (403, "already exists in network"),
    };
    refusal(again.map_err(Into::into), status, words).context("it joins the network twice")?;
    let after = alone.inspect().await?;
    ensure!(after == before, "what was refused changed it: {before:?}, then {after:?}");
    let come_again = async |it: &Container| {
        let leave = NetworkDisconnectRequest { container: it.id.clone(), force: None };
        t.docker().disconnect_network(&network.name, leave).await.context("the container cannot leave the network")?;
        let join = NetworkConnectRequest { container: it.id.clone(), endpoint_config: Some(named(&alias)) };
        t.docker().connect_network(&network.name, join).await.context("the container cannot come back")?;
        Ok::<_, anyhow::Error>(it.hostname())
    };
    let came = match come_again(&alone).await {
        // Another one has another try.
        Err(error) if gave_up(&error) => come_again(&t.container_with("third", &network, named(&alias)).await?).await,
        end => end,
    };
    let came = came?;
    t.until("the alias is found again", OVERLAY_WITHIN, || async {
        let who = second.run(&ask).await?;
        ensure!(who.trim() == came, "{who} answers, wanted {came}");
        Ok(())
    })
    .await
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
    // The engine waits until the swarm has attached the container, and gives up. It does so too where the swarm is slow:
    // therefore one that asks for no address is attached meanwhile. That one stays, so that the node is on the network.
    let refused = t.until("the address is refused while another is given", REFUSED_WITHIN, || async {
        let second = async { (t.container_once("second", &network, at()).await, Instant::now()) };
        let beside =
            async { (t.container_with("beside", &network, EndpointSettings::default()).await, Instant::now()) };
        let ((second, refused_at), (beside, given_at)) = tokio::join!(second, beside);
        let Err(refused) = second else { return Err(Never("two containers have one address".into()).into()) };
        if !gave_up(&refused) {
            return Err(Never(format!("refused for another reason: {refused:#}")).into());
        }
        let beside = beside?;
        if given_at > refused_at {
            beside.remove().await?;
            bail!("the swarm was as slow with a container that asked for no address");
        }
        Ok(beside)
    });
    let beside = refused.await?;
    first.remove().await?;
    let third = t.container_with("third", &network, at()).await;
    let third = third.context("another container does not get the address")?;
    let has = third.inspect().await?.network_settings.and_then(|it| it.networks).unwrap_or_default();
    let has = has.get(&network.name).and_then(|it| it.ip_address.clone());
    ensure!(has.as_deref() == Some(address.as_str()), "it has {has:?}, wanted {address}");
    third.remove().await?;
    beside.remove().await?;
    t.until("the network is free", FREE_WITHIN, || async { Ok(t.docker().remove_network(&network.id).await?) }).await
}

/// A network stays attachable once a container is on it, and can be removed at once when that is gone.
async fn removed(t: Test) -> Result<()> {
    let network = t.network("net").await?;
    let attachable = async || {
        let told = t.docker().inspect_network(&network.id, None).await?.attachable;
        ensure!(told == Some(true), "it says that it is attachable: {told:?}");
        Ok(())
    };
    attachable().await?;
    // By the network's id.
    let alone = t.container("alone", &network).await?;
    attachable().await?;
    alone.remove().await?;
    t.docker().remove_network(&network.id).await.context("the network that nobody is on is not removed")?;
    t.until("the network is gone", GONE_WITHIN, || async {
        let left = t.docker().list_networks(None).await?.into_iter().find(|it| it.id.as_ref() == Some(&network.id));
        left.map_or(Ok(()), |left| bail!("it is listed as {left:?}"))
    })
    .await
}

/// A container that is not started yet can be given other names on its network; as clients before API 1.44 are told,
/// it has them and its own short id.
async fn alias_before_start(t: Test) -> Result<()> {
    let network = t.network("net").await?;
    let api = t.cluster().api.min((1, 43));
    for which in ["first", "second"] {
        t.attached(&format!("container {which} starts"), || async {
            let (name, alias, cluster) = (t.name(which), t.name("alias"), t.cluster().clone());
            let body = json!({
                "Image": cluster.image, "Cmd": ["test-server"], "Labels": t.labels(),
                "NetworkingConfig": { "EndpointsConfig": { network.name.as_str(): {} } },
            });
            let create = async move {
                let path = format!("/containers/create?name={name}");
                raw::ask_at(&cluster.host, api, Method::POST, &path, Some(&body)).await
            };
            let id = t.make(create).await?["Id"].as_str().context("the container has no id")?.to_owned();
            let ask = async |method, path: &str, body: Option<&Value>| {
                raw::ask_at(&t.cluster().host, api, method, path, body).await
            };
            let join = json!({ "Container": id, "EndpointConfig": { "Aliases": [alias] } });
            ask(Method::POST, &format!("/networks/{}/connect", network.name), Some(&join)).await?;
            ask(Method::POST, &format!("/containers/{id}/start"), None).await?;
            let found = ask(Method::GET, &format!("/containers/{id}/json"), None).await?;
            let found = &found["NetworkSettings"]["Networks"][network.name.as_str()]["Aliases"];
            ensure!(*found == json!([alias, id[..12]]), "its other names are {found}, wanted {alias} and its short id");
            Ok(())
        })
        .await?;
    }
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

/// Tasks have addresses of the subnet that their network was given, and the network goes on to tell what it was given.
async fn ipam(t: Test) -> Result<()> {
    let own = t.subnet().await?;
    let options = Some([("foo".to_owned(), "bar".to_owned())].into());
    let ipam = Ipam { options, ..subnet(&own.to_string()) };
    let network = t.network_with("net", |request| request.ipam = Some(ipam)).await?;
    let kept = async || {
        let options = t.docker().inspect_network(&network.id, None).await?.ipam.and_then(|ipam| ipam.options);
        let options = options.unwrap_or_default();
        let has = |key: &str, value: &str| options.get(key).map(String::as_str) == Some(value);
        // The engine adds that addresses are given one after the other.
        ensure!(has("foo", "bar") && has("com.docker.network.ipam.serial", "true"), "its options are {options:?}");
        Ok(())
    };
    t.until("the network tells what it was given", OVERLAY_WITHIN, kept).await?;
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
    kept().await
}

/// Two networks cannot have one name, whether they are the swarm's or the engine's; but the beginning of the id of one
/// can be the name of another.
async fn name_taken(t: Test) -> Result<()> {
    let net = async |driver: &str, name: Option<&str>| {
        t.network_with("net", |request| {
            request.driver = Some(driver.into());
            request.name = name.map_or_else(|| request.name.clone(), str::to_owned);
            // No engine lets containers of others on its own networks.
            request.attachable = (driver == "overlay").then_some(true);
        })
        .await
    };
    for driver in ["overlay", "bridge"] {
        let first = net(driver, None).await?;
        for other in ["overlay", "bridge"] {
            let again = net(other, Some(&first.name)).await.map(|_| ());
            refusal(again, 409, &format!("network with name {} already exists", first.name))?;
        }
        net("overlay", Some(&first.id[..12])).await.context("the beginning of another's id is no name")?;
    }
    Ok(())
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
    let mut cases: Vec<(Change, u16, &str)> = vec![
        (|request| request.ingress = Some(true), 400, "ingress network cannot be attachable"),
        (|request| (request.ingress, request.attachable) = (Some(true), None), 409, "is already present"),
        (|request| request.driver = Some("no-such-driver".into()), 404, "plugin \"no-such-driver\" not found"),
        (|request| request.ipam = Some(subnet("198.18.0.0/33")), 400, "invalid subnet 198.18.0.0/33"),
    ];
    if t.cluster().api >= (1, 48) {
        let words = "IPv4 cannot be disabled in a Swarm scoped network";
        cases.push((|request| request.enable_ipv4 = Some(false), 400, words));
    }
    let mut wrong = Vec::new();
    for (change, status, words) in cases {
        let end = t.network_with("bad", change).await.map(|_| ());
        wrong.extend(refusal(end, status, words).err().map(|error| format!("{error:#}")));
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("; "));
    Ok(())
}

fn subnet(subnet: &str) -> Ipam {
    let config = IpamConfig { subnet: Some(subnet.into()), ..Default::default() };
    Ipam { config: Some(vec![config]), ..Default::default() }
}
