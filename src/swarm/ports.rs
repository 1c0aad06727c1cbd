//! Ports: which are published on a host, and where a service or a container listens.

use std::{
    collections::{BTreeSet, HashMap},
    fmt,
};

use bollard::{
    models::{
        ContainerInspectResponse, EndpointPortConfig, EndpointPortConfigProtocolEnum,
        EndpointPortConfigPublishModeEnum, PortSummary, PortSummaryTypeEnum, TaskState,
    },
    query_parameters::{
        InspectContainerOptions, InspectNetworkOptions, ListContainersOptionsBuilder, ListServicesOptions,
        ListTasksOptionsBuilder,
    },
};
use futures::Stream;

use super::{Engine, QUICK, SwarmError};

/// Where every container with a network of the swarm has an address that its host reaches.
const GATEWAY: &str = "docker_gwbridge";

/// A TCP address as a host sees it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// An IP address.
    pub address: String,
    /// The port.
    pub port: u16,
}

/// A TCP port that a host publishes for a container or a service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Published {
    /// Where it can be reached on the host.
    pub place: Place,
    /// Whose it is.
    pub of: Publisher,
}

/// Who publishes a port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Publisher {
    /// A container of the host.
    Container(String),
    /// A service, on every node.
    Service(String),
}

impl fmt::Display for Publisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Container(name) => f.write_str(name),
            Self::Service(name) => write!(f, "service {name}"),
        }
    }
}

/// What a host publishes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ports {
    /// What can be reached by TCP.
    pub tcp: BTreeSet<Published>,
    /// What else is published, in words: `53/udp of dns`.
    pub others: BTreeSet<String>,
    /// Whether nobody could tell what services publish: then nothing follows from its not being here.
    pub services_unknown: bool,
}

/// A container, as somebody who wants to reach it finds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reached {
    /// The host has none of that name.
    Nowhere,
    /// It does not run: its state, in Docker's word. Addresses that it had are others' by now.
    Stopped(String),
    /// The addresses at which the host reaches it, the best first.
    At(Vec<String>),
}

/// A port of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// What its containers listen on.
    pub target: u16,
    /// What every node of the swarm listens on.
    pub published: u16,
}

/// A task that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskPlace {
    /// The id of its node in the swarm.
    pub node: String,
    /// The id of its container.
    pub container: String,
}

impl Engine {
    /// What running containers of this host publish and, where it is a manager, services on every node.
    pub async fn published(&self) -> Result<Ports, SwarmError> {
        let running = ListContainersOptionsBuilder::new().all(false).build();
        let mut ports = Ports::default();
        for container in self.within(QUICK).list_containers(Some(running)).await? {
            let name = container.names.unwrap_or_default().into_iter().next().unwrap_or_default();
            ports.add_container(name.trim_start_matches('/'), &container.ports.unwrap_or_default());
        }
        match self.list_within(QUICK).list_services(None::<ListServicesOptions>).await.map_err(SwarmError::from) {
            Ok(services) => {
                for service in services {
                    let name = service.spec.and_then(|s| s.name).unwrap_or_default();
                    ports.add_service(&name, &service.endpoint.and_then(|e| e.ports).unwrap_or_default());
                }
            }
            // A worker has none.
            Err(SwarmError::NotAManager(_)) => {}
            // Its containers' ports are there all the same.
            Err(error) => {
                tracing::debug!(%error, "what services publish is not known");
                ports.services_unknown = true;
            }
        }
        Ok(ports)
    }

    /// Something whenever what is published may have changed.
    pub fn published_changes(&self) -> impl Stream<Item = ()> + Send + Unpin + use<> {
        let events = vec!["start", "die", "connect", "create", "update", "remove"];
        self.changes(&HashMap::from([("type", vec!["container", "service"]), ("event", events)]))
    }

    /// The TCP ports of a service that every node publishes; `None` where there is no such service.
    pub async fn service_ports(&self, name: &str) -> Result<Option<Vec<ServicePort>>, SwarmError> {
        let services = self.list_within(QUICK).list_services(None::<ListServicesOptions>).await?;
        let named = |s: &bollard::models::Service| {
            s.spec.as_ref().and_then(|s| s.name.as_deref()) == Some(name) || s.id.as_deref() == Some(name)
        };
        let found = services.into_iter().find(named);
        Ok(found.map(|s| s.endpoint.and_then(|e| e.ports).unwrap_or_default().iter().filter_map(everywhere).collect()))
    }

    /// Where tasks of a service run.
    pub async fn running_tasks(&self, service: &str) -> Result<Vec<TaskPlace>, SwarmError> {
        let filters = HashMap::from([("service", vec![service]), ("desired-state", vec!["running"])]);
        let options = ListTasksOptionsBuilder::new().filters(&filters).build();
        let tasks = self.list_within(QUICK).list_tasks(Some(options)).await?;
        let place = |task: bollard::models::Task| {
            let status = task.status.filter(|s| s.state == Some(TaskState::RUNNING))?;
            let container = status.container_status?.container_id.filter(|id| !id.is_empty())?;
            Some(TaskPlace { node: task.node_id?, container })
        };
        Ok(tasks.into_iter().filter_map(place).collect())
    }

    /// Where this host reaches a container, by its name or id.
    pub async fn container_addresses(&self, name: &str) -> Result<Reached, SwarmError> {
        let found = match self.within(QUICK).inspect_container(name, None::<InspectContainerOptions>).await {
            Ok(found) => found,
            Err(error) => match SwarmError::from(error) {
                SwarmError::NotFound(_) => return Ok(Reached::Nowhere),
                error => return Err(error),
            },
        };
        if !is_called(&found, name) {
            return Ok(Reached::Nowhere);
        }
        let state = found.state.unwrap_or_default();
        if state.running != Some(true) {
            let status = state.status.map(|status| status.to_string()).filter(|status| !status.is_empty());
            return Ok(Reached::Stopped(status.unwrap_or_else(|| "not running".to_owned())));
        }
        let own_network = found.host_config.and_then(|h| h.network_mode).unwrap_or_default();
        if own_network == "host" {
            return Ok(Reached::At(vec!["127.0.0.1".to_owned()]));
        }
        // Addresses in networks of the swarm are no host's to reach; where there are such, there is this one too.
        let id = found.id.unwrap_or_default();
        if let Ok(gateway) = self.within(QUICK).inspect_network(GATEWAY, None::<InspectNetworkOptions>).await
            && let Some(end) = gateway.containers.unwrap_or_default().remove(&id)
            && let Some((address, _)) = end.ipv4_address.as_deref().and_then(|a| a.split_once('/'))
        {
            return Ok(Reached::At(vec![address.to_owned()]));
        }
        let networks = found.network_settings.and_then(|s| s.networks).unwrap_or_default();
        let mut addresses: Vec<String> =
            networks.into_values().filter_map(|n| n.ip_address.filter(|a| !a.is_empty())).collect();
        addresses.sort();
        Ok(Reached::At(addresses))
    }
}

impl Ports {
    fn add_container(&mut self, name: &str, ports: &[PortSummary]) {
        for port in ports {
            let Some(public) = port.public_port.filter(|p| *p > 0) else { continue };
            match port.typ {
                None | Some(PortSummaryTypeEnum::TCP | PortSummaryTypeEnum::EMPTY) => {
                    let place = Place { address: reachable(port.ip.as_deref().unwrap_or_default()), port: public };
                    // An engine names IPv4 and IPv6 each: one of them is enough.
                    if place.address == "::1" && self.tcp.iter().any(|p| p.place.port == public) {
                        continue;
                    }
                    if place.address != "::1" {
                        self.tcp.retain(|p| p.place != Place { address: "::1".to_owned(), port: public });
                    }
                    self.tcp.insert(Published { place, of: Publisher::Container(name.to_owned()) });
                }
                Some(other) => {
                    self.others.insert(format!("{public}/{other} of {name}"));
                }
            }
        }
    }

    fn add_service(&mut self, name: &str, ports: &[EndpointPortConfig]) {
        for port in ports.iter().filter(|port| is_everywhere(port)) {
            let of = Publisher::Service(name.to_owned());
            if let Some(port) = everywhere(port) {
                let place = Place { address: "127.0.0.1".to_owned(), port: port.published };
                self.tcp.insert(Published { place, of });
            } else if let (Some(protocol), Some(published)) = (port.protocol, number(port.published_port)) {
                self.others.insert(format!("{published}/{protocol} of {of}"));
            }
        }
    }
}

/// Whether a container is meant by a word. An engine also takes the beginning of an id, however short: a word that is
/// meant for a name would find whichever container has such an id.
fn is_called(found: &ContainerInspectResponse, word: &str) -> bool {
    let id = found.id.as_deref().unwrap_or_default();
    found.name.as_deref().is_some_and(|name| name.trim_start_matches('/') == word)
        || id == word
        || word.len() >= SHORT_ID && id.starts_with(word)
}

/// What `docker ps` shows of an id.
const SHORT_ID: usize = 12;

/// From the host itself: every address is also its loopback one.
fn reachable(address: &str) -> String {
    match address {
        "" | "0.0.0.0" => "127.0.0.1".to_owned(),
        "::" => "::1".to_owned(),
        address => address.to_owned(),
    }
}

/// Whether every node publishes it; a port of mode `host` is its container's.
fn is_everywhere(port: &EndpointPortConfig) -> bool {
    port.publish_mode != Some(EndpointPortConfigPublishModeEnum::HOST)
}

/// A TCP port that every node publishes.
fn everywhere(port: &EndpointPortConfig) -> Option<ServicePort> {
    let is_tcp =
        !matches!(port.protocol, Some(EndpointPortConfigProtocolEnum::UDP | EndpointPortConfigProtocolEnum::SCTP));
    if !is_tcp || !is_everywhere(port) {
        return None;
    }
    Some(ServicePort { target: number(port.target_port)?, published: number(port.published_port)? })
}

fn number(port: Option<i64>) -> Option<u16> {
    u16::try_from(port?).ok().filter(|port| *port > 0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_published_is_reached_from_the_host_itself() {
        let mut ports = Ports::default();
        let summaries: Vec<PortSummary> = serde_json::from_value(json!([
            {"IP": "0.0.0.0", "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"},
            {"IP": "::", "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"},
            {"IP": "10.0.0.7", "PrivatePort": 81, "PublicPort": 8081, "Type": "tcp"},
            {"IP": "::", "PrivatePort": 82, "PublicPort": 8082, "Type": "tcp"},
            {"IP": "0.0.0.0", "PrivatePort": 53, "PublicPort": 53, "Type": "udp"},
            {"PrivatePort": 443, "Type": "tcp"},
        ]))
        .unwrap();
        ports.add_container("web", &summaries);
        let services: Vec<EndpointPortConfig> = serde_json::from_value(json!([
            {"Protocol": "tcp", "TargetPort": 80, "PublishedPort": 9000, "PublishMode": "ingress"},
            {"Protocol": "tcp", "TargetPort": 80, "PublishedPort": 9001, "PublishMode": "host"},
            {"Protocol": "udp", "TargetPort": 53, "PublishedPort": 9002, "PublishMode": "ingress"},
        ]))
        .unwrap();
        ports.add_service("api", &services);
        let found: Vec<String> =
            ports.tcp.iter().map(|p| format!("{}:{} {}", p.place.address, p.place.port, p.of)).collect();
        assert_eq!(found, ["10.0.0.7:8081 web", "127.0.0.1:8080 web", "127.0.0.1:9000 service api", "::1:8082 web"]);
        assert_eq!(ports.others.iter().collect::<Vec<_>>(), ["53/udp of web", "9002/udp of service api"]);
    }

    #[test]
    fn a_container_is_called_by_its_name_or_id_and_not_by_what_an_id_begins_with() {
        let id = "dbcafe0123456789abcdef0123456789abcdef0123456789abcdef0123456789";
        let found = ContainerInspectResponse {
            id: Some(id.to_owned()),
            name: Some("/web".to_owned()),
            ..ContainerInspectResponse::default()
        };
        for (word, is) in [("web", true), (id, true), ("dbcafe012345", true), ("db", false), ("dbcafe01234", false)] {
            assert_eq!(is_called(&found, word), is, "{word}");
        }
    }
}
