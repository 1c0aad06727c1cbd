//! Ports: which are published on a host, and where a service or a container listens.

use std::collections::{BTreeSet, HashMap};

use bollard::{
    models::{
        EndpointPortConfig, EndpointPortConfigProtocolEnum, EndpointPortConfigPublishModeEnum, PortSummary,
        PortSummaryTypeEnum, TaskState,
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
    pub of: String,
}

/// What a host publishes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ports {
    /// What can be reached by TCP.
    pub tcp: BTreeSet<Published>,
    /// What else is published, in words: `53/udp of dns`.
    pub others: BTreeSet<String>,
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
        match self.within(QUICK).list_services(None::<ListServicesOptions>).await.map_err(SwarmError::from) {
            Ok(services) => {
                for service in services {
                    let name = service.spec.and_then(|s| s.name).unwrap_or_default();
                    ports.add_service(&name, &service.endpoint.and_then(|e| e.ports).unwrap_or_default());
                }
            }
            // A worker, or a swarm that cannot tell: its containers' ports are there all the same.
            Err(error) => tracing::debug!(%error, "no services"),
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
        let services = self.within(QUICK).list_services(None::<ListServicesOptions>).await?;
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
        let tasks = self.within(QUICK).list_tasks(Some(options)).await?;
        let place = |task: bollard::models::Task| {
            let status = task.status.filter(|s| s.state == Some(TaskState::RUNNING))?;
            let container = status.container_status?.container_id.filter(|id| !id.is_empty())?;
            Some(TaskPlace { node: task.node_id?, container })
        };
        Ok(tasks.into_iter().filter_map(place).collect())
    }

    /// The addresses at which this host reaches a container, the best first; `None` where there is no such container.
    pub async fn container_addresses(&self, name: &str) -> Result<Option<Vec<String>>, SwarmError> {
        let found = match self.within(QUICK).inspect_container(name, None::<InspectContainerOptions>).await {
            Ok(found) => found,
            Err(error) => match SwarmError::from(error) {
                SwarmError::NotFound(_) => return Ok(None),
                error => return Err(error),
            },
        };
        let own_network = found.host_config.and_then(|h| h.network_mode).unwrap_or_default();
        if own_network == "host" {
            return Ok(Some(vec!["127.0.0.1".to_owned()]));
        }
        // Addresses in networks of the swarm are no host's to reach; where there are such, there is this one too.
        let id = found.id.unwrap_or_default();
        if let Ok(gateway) = self.within(QUICK).inspect_network(GATEWAY, None::<InspectNetworkOptions>).await
            && let Some(end) = gateway.containers.unwrap_or_default().remove(&id)
            && let Some((address, _)) = end.ipv4_address.as_deref().and_then(|a| a.split_once('/'))
        {
            return Ok(Some(vec![address.to_owned()]));
        }
        let networks = found.network_settings.and_then(|s| s.networks).unwrap_or_default();
        let mut addresses: Vec<String> =
            networks.into_values().filter_map(|n| n.ip_address.filter(|a| !a.is_empty())).collect();
        addresses.sort();
        Ok(Some(addresses))
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
                    self.tcp.insert(Published { place, of: name.to_owned() });
                }
                Some(other) => {
                    self.others.insert(format!("{public}/{other} of {name}"));
                }
            }
        }
    }

    fn add_service(&mut self, name: &str, ports: &[EndpointPortConfig]) {
        for port in ports.iter().filter_map(everywhere) {
            let place = Place { address: "127.0.0.1".to_owned(), port: port.published };
            self.tcp.insert(Published { place, of: format!("service {name}") });
        }
    }
}

/// From the host itself: every address is also its loopback one.
fn reachable(address: &str) -> String {
    match address {
        "" | "0.0.0.0" => "127.0.0.1".to_owned(),
        "::" => "::1".to_owned(),
        address => address.to_owned(),
    }
}

/// A TCP port that every node publishes; those of mode `host` are their container's.
fn everywhere(port: &EndpointPortConfig) -> Option<ServicePort> {
    let is_tcp =
        !matches!(port.protocol, Some(EndpointPortConfigProtocolEnum::UDP | EndpointPortConfigProtocolEnum::SCTP));
    let of_host = port.publish_mode == Some(EndpointPortConfigPublishModeEnum::HOST);
    let number = |n: Option<i64>| u16::try_from(n?).ok().filter(|n| *n > 0);
    (is_tcp && !of_host)
        .then(|| Some(ServicePort { target: number(port.target_port)?, published: number(port.published_port)? }))?
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
        assert_eq!(ports.others.iter().collect::<Vec<_>>(), ["53/udp of web"]);
    }
}
