//! The swarm under test: connecting to it, and what it is made of when the suite starts.
//!
//! A refusal to run comes from here, before any case. Nothing here changes the swarm.

use std::net::{IpAddr, UdpSocket};

use bollard::{
    Docker,
    models::{LocalNodeState, Node, NodeSpecAvailabilityEnum, NodeState},
    query_parameters::InspectContainerOptions,
};

use crate::cli::EngineArgs;

const DEFAULT_HOST: &str = "unix:///var/run/docker.sock";

/// The image for a suite that runs in no container, from a laptop.
const DEFAULT_IMAGE: &str = "dockerswarm/e2e:latest";

/// The engine the suite talks to and the nodes of its swarm.
#[derive(Debug, Clone)]
pub(crate) struct Cluster {
    pub(crate) docker: Docker,
    /// What the suite's services run.
    pub(crate) image: String,
    pub(crate) engine_version: String,
    /// Where the engine is: unix:///PATH or tcp://HOST:PORT.
    pub(crate) host: String,
    /// Major and minor version of the API in use.
    pub(crate) api: (usize, usize),
    /// Addresses of the nodes answer from here: this process runs on one of them, or was told so.
    pub(crate) on_a_node: bool,
    /// The node whose engine the suite talks to.
    pub(crate) node: String,
    /// The container this process runs in, if that is one of this engine's.
    pub(crate) container: Option<String>,
    pub(crate) nodes: Vec<Member>,
}

/// One node of the swarm.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    pub(crate) id: String,
    pub(crate) hostname: String,
    pub(crate) address: String,
    pub(crate) manager: bool,
    pub(crate) leader: bool,
    /// A manager that the others reach.
    pub(crate) reachable: bool,
    pub(crate) state: String,
    pub(crate) availability: String,
    pub(crate) engine: String,
    /// Ready and active: tasks are placed here.
    pub(crate) usable: bool,
}

/// Why no case can run.
#[derive(Debug)]
pub(crate) enum Unfit {
    /// The engine does not answer.
    NoEngine(String),
    /// The engine answers but manages no swarm.
    NoManager(String),
}

impl Cluster {
    /// Connects, agrees on an API version, and looks at the swarm.
    pub(crate) async fn connect(args: &EngineArgs) -> Result<Self, Unfit> {
        // An empty variable is none, as for the docker command.
        let host = if args.host.is_empty() { DEFAULT_HOST } else { &args.host };
        let no_engine = |error: bollard::errors::Error| {
            Unfit::NoEngine(format!(
                "no answer from the Docker Engine at {host}: {}; mount its socket \
                 (-v /var/run/docker.sock:/var/run/docker.sock) or set DOCKER_HOST",
                chain(&error)
            ))
        };
        let docker = Docker::connect_with_host(host).map_err(no_engine)?;
        let docker = docker.negotiate_version().await.map_err(no_engine)?;
        let info = docker.info().await.map_err(no_engine)?;
        let swarm = info.swarm.unwrap_or_default();
        let name = info.name.unwrap_or_default();
        if swarm.local_node_state != Some(LocalNodeState::ACTIVE) {
            let state = swarm.local_node_state.map_or_else(|| "unknown".to_owned(), |state| state.to_string());
            let said =
                swarm.error.filter(|said| !said.is_empty()).map_or_else(String::new, |said| format!(" ({said})"));
            return Err(Unfit::NoManager(format!(
                "swarm mode of the engine on {name:?} is {state}{said}; these tests need it: docker swarm init"
            )));
        }
        if swarm.control_available != Some(true) {
            return Err(Unfit::NoManager(format!(
                "the engine on {name:?} is a worker of its swarm; run the tests on a manager"
            )));
        }
        let nodes = docker.list_nodes(None).await.map_err(|error| {
            Unfit::NoManager(format!("the manager on {name:?} cannot list the nodes of its swarm: {}", chain(&error)))
        })?;
        let version = docker.client_version();
        let (container, own_image) = own(&docker).await.unzip();
        let asked = args.image.clone().filter(|image| !image.is_empty());
        Ok(Self {
            image: asked.or(own_image).unwrap_or_else(|| DEFAULT_IMAGE.to_owned()),
            container,
            host: host.to_owned(),
            engine_version: info.server_version.unwrap_or_default(),
            api: (version.major_version, version.minor_version),
            on_a_node: args.nodes_answer_here || swarm.node_addr.is_some_and(|address| is_ours(&address)),
            node: swarm.node_id.unwrap_or_default(),
            nodes: nodes.into_iter().map(Member::from).collect(),
            docker,
        })
    }

    /// The nodes tasks are placed on.
    pub(crate) fn usable(&self) -> impl Iterator<Item = &Member> {
        self.nodes.iter().filter(|node| node.usable)
    }

    /// The host name of a node, or its id when it is unknown.
    pub(crate) fn hostname<'a>(&'a self, id: &'a str) -> &'a str {
        self.nodes.iter().find(|node| node.id == id).map_or(id, |node| &node.hostname)
    }
}

impl From<Node> for Member {
    fn from(node: Node) -> Self {
        let description = node.description.unwrap_or_default();
        let status = node.status.unwrap_or_default();
        let spec = node.spec.unwrap_or_default();
        let usable =
            status.state == Some(NodeState::READY) && spec.availability == Some(NodeSpecAvailabilityEnum::ACTIVE);
        // A manager that was given no address of its own says 0.0.0.0; its manager address is the real one.
        let manager_address = node.manager_status.as_ref().and_then(|manager| manager.addr.clone());
        let address = match (status.addr, manager_address) {
            (Some(address), _) if !address.is_empty() && address != "0.0.0.0" => address,
            (_, Some(address)) => address.rsplit_once(':').map_or(address.clone(), |(host, _)| host.to_owned()),
            (address, None) => address.unwrap_or_default(),
        };
        Self {
            id: node.id.unwrap_or_default(),
            hostname: description.hostname.unwrap_or_default(),
            address,
            manager: node.manager_status.is_some(),
            leader: node.manager_status.as_ref().is_some_and(|manager| manager.leader == Some(true)),
            reachable: node
                .manager_status
                .is_some_and(|manager| manager.reachability == Some(bollard::models::Reachability::REACHABLE)),
            state: status.state.map(|state| state.to_string()).unwrap_or_default(),
            availability: spec.availability.map(|availability| availability.to_string()).unwrap_or_default(),
            engine: description.engine.and_then(|engine| engine.engine_version).unwrap_or_default(),
            usable,
        }
    }
}

/// The container this process runs in and its image, if that is one of this engine's.
async fn own(docker: &Docker) -> Option<(String, String)> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
    let container = docker.inspect_container(own_container(&mounts)?, None::<InspectContainerOptions>).await.ok()?;
    container.id.zip(container.config?.image)
}

/// The id of the container, from its mounts: the engine puts files such as /etc/hosts there, from a folder that
/// the id names. The host name would not do: with the host's network it is the node's.
fn own_container(mounts: &str) -> Option<&str> {
    let (_, rest) = mounts.lines().find(|line| line.contains(" /etc/hosts "))?.split_once("/containers/")?;
    let id = rest.split('/').next()?;
    (id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(id)
}

/// Whether an address is one of this machine's: only then can a socket be bound to it.
fn is_ours(address: &str) -> bool {
    address.parse::<IpAddr>().is_ok_and(|address| UdpSocket::bind((address, 0)).is_ok())
}

/// An error with all its causes. Those of HTTP clients say little in their first sentence.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_finds_its_id_among_its_mounts() {
        let id = "3f".repeat(32);
        let mounts = format!(
            "620 618 0:59 / /proc rw - proc proc rw\n\
             630 618 8:1 /var/lib/docker/containers/{id}/hosts /etc/hosts rw,relatime - ext4 /dev/sda1 rw\n"
        );
        assert_eq!(own_container(&mounts), Some(&*id));
    }

    #[test]
    fn a_machine_is_no_container() {
        assert_eq!(own_container("630 618 8:1 /hosts /etc/hosts rw - ext4 /dev/sda1 rw\n"), None);
    }

    #[test]
    fn a_manager_without_an_address_of_its_own_has_that_of_its_manager() {
        let node = Node {
            status: Some(bollard::models::NodeStatus { addr: Some("0.0.0.0".into()), ..Default::default() }),
            manager_status: Some(bollard::models::ManagerStatus {
                addr: Some("10.1.2.3:2377".into()),
                ..Default::default()
            }),
            ..Default::default()
        };
        assert_eq!(Member::from(node).address, "10.1.2.3");
    }
}
