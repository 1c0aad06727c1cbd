//! Where a port that somebody named is, and the ways there.

use std::sync::Arc;

use super::spec::{Spec, Where};
use crate::{
    api::{NodeRole, NodeState, NodeStatus, SwarmCluster},
    cli::{
        Context,
        failure::Failure,
        hosts::{REACHABLE, Reach, THROUGH, nodes},
        kubernetes::Kubernetes,
    },
    forward::{Destination, Way},
    host::Host,
    swarm::{Engine, Reached, SwarmError, TaskPlace},
};

/// Finds ports of one cluster.
pub struct Resolver {
    cluster: SwarmCluster,
    ways: Vec<(NodeStatus, Arc<Way>)>,
}

impl Resolver {
    /// Of the nodes that can be logged in to.
    pub async fn new(context: &Context, kubernetes: &Kubernetes, cluster: SwarmCluster) -> Result<Self, Failure> {
        let reach = Reach::of(context, kubernetes, &cluster).await?;
        let mut ways = Vec::new();
        for node in nodes::of(&cluster)? {
            if let Ok(target) = reach.target(node) {
                ways.push((node.clone(), Arc::new(Way::new(&node.name, target))));
            }
        }
        // Those that are well and lead are asked first.
        ways.sort_by_key(|(n, _)| (n.state != NodeState::Ready, n.role != NodeRole::Manager, !n.leader));
        if ways.is_empty() {
            return Err(nodes::not_ready(&cluster, "no node of it can be reached yet"));
        }
        Ok(Self { cluster, ways })
    }

    /// The destination, and how it is shown.
    pub async fn find(&self, spec: &Spec) -> Result<(Destination, String), Failure> {
        let port = spec.port;
        let shown = spec.at.as_ref().map_or_else(|| port.to_string(), |at| format!("{at}:{port}"));
        let destination = match &spec.at {
            None => self.everywhere(port).await?,
            Some(Where::Node(word)) => self.of_node(word, port).await?,
            Some(Where::Service(name)) => match self.of_service(name, port).await? {
                Some(found) => found,
                None => return Err(self.nothing("service", name)),
            },
            Some(Where::Container(node, name)) => match self.of_container(node.as_deref(), name, port).await? {
                Some(found) => found,
                None => return Err(self.nothing("container", name)),
            },
            Some(Where::Any(word)) => {
                if nodes::one(&self.cluster, Some(word)).is_ok() {
                    self.of_node(word, port).await?
                } else if let Some(found) = self.of_service(word, port).await? {
                    found
                } else if let Some(found) = self.of_container(None, word, port).await? {
                    found
                } else {
                    return Err(self.nothing("node, service or container", word));
                }
            }
        };
        Ok((destination, shown))
    }

    fn nothing(&self, what: &str, name: &str) -> Failure {
        let cluster = self.cluster.metadata.name.as_deref().unwrap_or_default();
        Failure::new(format!("cluster {cluster:?} has no {what} {name:?}"))
            .help(format!("kubectl testkit ssh {cluster} -- docker service ls"))
            .help(format!("kubectl testkit exec {cluster} -- docker ps"))
    }

    /// What every node publishes, by any manager.
    async fn everywhere(&self, port: u16) -> Result<Destination, Failure> {
        let (way, host) = self.manager().await?;
        way.give_back(host);
        let managers = self.ways.iter().filter(|(n, _)| n.role == NodeRole::Manager);
        Ok(Destination::new(managers.map(|(n, way)| (way.clone(), of_host(n, port))).collect()))
    }

    async fn of_node(&self, word: &str, port: u16) -> Result<Destination, Failure> {
        let node = nodes::one(&self.cluster, Some(word))?;
        let way = self.way(&node.name)?;
        way.give_back(connected(way).await?);
        Ok(Destination::new(vec![(way.clone(), of_host(node, port))]))
    }

    /// What the service publishes as this port, or for it; else where its containers listen.
    async fn of_service(&self, name: &str, port: u16) -> Result<Option<Destination>, Failure> {
        let (way, host) = self.manager().await?;
        let engine = Engine::new(&host);
        let failed = |e: SwarmError| Failure::new(format!("{} was asked for service {name:?}: {e}", way.name()));
        let ports = engine.service_ports(name).await;
        let tasks = engine.running_tasks(name).await;
        way.give_back(host);
        let Some(ports) = ports.map_err(failed)? else { return Ok(None) };
        let published = ports.iter().find(|p| p.target == port).or_else(|| ports.iter().find(|p| p.published == port));
        if let Some(published) = published {
            return self.everywhere(published.published).await.map(Some);
        }
        let mut ways = Vec::new();
        for TaskPlace { node, container } in tasks.map_err(failed)? {
            let Some((_, way)) = self.ways.iter().find(|(n, _)| n.node_id.as_ref() == Some(&node)) else { continue };
            let Ok(host) = way.connect().await else { continue };
            if let Ok(Reached::At(addresses)) = Engine::new(&host).container_addresses(&container).await {
                ways.push((way.clone(), at(addresses, port)));
            }
            way.give_back(host);
        }
        if ways.is_empty() {
            return Err(Failure::new(format!("no task of service {name:?} runs on a node that can be reached")));
        }
        Ok(Some(Destination::new(ways)))
    }

    async fn of_container(&self, node: Option<&str>, name: &str, port: u16) -> Result<Option<Destination>, Failure> {
        let only = match node {
            Some(word) => Some(&nodes::one(&self.cluster, Some(word))?.name),
            None => None,
        };
        let asked = self.ways.iter().filter(|(n, _)| only.is_none_or(|name| *name == n.name)).map(async |(_, way)| {
            let host = connected(way).await?;
            let found = Engine::new(&host).container_addresses(name).await;
            way.give_back(host);
            let found = found.map_err(|e| Failure::new(format!("{} was asked for its containers: {e}", way.name())))?;
            Ok::<_, Failure>((way, found))
        });
        let (mut found, mut failures) = (Vec::new(), Vec::new());
        for answer in futures::future::join_all(asked).await {
            match answer {
                Ok((way, Reached::At(addresses))) => found.push((way.clone(), at(addresses, port))),
                Ok((_, Reached::Nowhere)) => {}
                Ok((way, Reached::Stopped(state))) => failures.push(
                    Failure::new(format!("container {name:?} on {} is {state}", way.name()))
                        .help(format!("docker start {name}, on {}", way.name())),
                ),
                Err(failure) => failures.push(failure),
            }
        }
        match (found.len(), failures.pop()) {
            // Who does not answer may have it.
            (0, Some(failure)) => Err(failure),
            (0, None) => Ok(None),
            (1, _) => Ok(Some(Destination::new(found))),
            _ => {
                let names: Vec<&str> = found.iter().map(|(way, _)| way.name()).collect();
                Err(Failure::new(format!("more than one node has a container {name:?}: {}", names.join(", ")))
                    .help(format!("say which is meant: {}/{name}:{port}", names.first().copied().unwrap_or("NODE"))))
            }
        }
    }

    /// A manager that lets us in.
    async fn manager(&self) -> Result<(&Arc<Way>, Host), Failure> {
        let mut last = nodes::not_ready(&self.cluster, "no manager of it can be reached yet");
        for (_, way) in self.ways.iter().filter(|(n, _)| n.role == NodeRole::Manager) {
            match connected(way).await {
                Ok(host) => return Ok((way, host)),
                Err(failure) => last = failure,
            }
        }
        Err(last)
    }

    fn way(&self, name: &str) -> Result<&Arc<Way>, Failure> {
        let found = self.ways.iter().find(|(n, _)| n.name == name).map(|(_, way)| way);
        found.ok_or_else(|| nodes::not_ready(&self.cluster, &format!("{name} cannot be logged in to yet")))
    }
}

async fn connected(way: &Way) -> Result<Host, Failure> {
    way.connect().await.map_err(|e| Failure::new(format!("no connection to {e}")).help(REACHABLE).help(THROUGH))
}

/// A port of the host itself: most listen on every address, some on the loopback one or on the network's alone.
fn of_host(node: &NodeStatus, port: u16) -> Vec<(String, u16)> {
    std::iter::once("127.0.0.1".to_owned()).chain(node.private_address.clone()).map(|address| (address, port)).collect()
}

fn at(addresses: Vec<String>, port: u16) -> Vec<(String, u16)> {
    addresses.into_iter().map(|address| (address, port)).collect()
}
