//! The swarm's members: what an engine says of itself, what a manager says of all, and how both change.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
};

use bollard::{
    models::{
        LocalNodeState, NodeSpec, NodeSpecAvailabilityEnum, NodeSpecRoleEnum, NodeState, Reachability,
        SwarmInitRequest, SwarmJoinRequest, SystemInfo, TaskState,
    },
    query_parameters::{
        DeleteNodeOptionsBuilder, LeaveSwarmOptionsBuilder, ListNodesOptions, ListTasksOptions,
        UpdateNodeOptionsBuilder,
    },
};
use futures::Stream;

use super::{Engine, QUICK, SwarmError, WORK};
use crate::api::{NodeRole, label};

const LISTEN: &str = "0.0.0.0:2377";
/// States in which a task has ended, whatever becomes of its service.
const ENDED: [TaskState; 6] = [
    TaskState::COMPLETE,
    TaskState::SHUTDOWN,
    TaskState::FAILED,
    TaskState::REJECTED,
    TaskState::REMOVE,
    TaskState::ORPHANED,
];
/// How often a change of a node is tried again when somebody else changed it meanwhile.
const TRIES: usize = 5;

/// What an engine says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineInfo {
    /// The engine's version.
    pub version: String,
    /// Its id as a node, while it is one.
    pub node_id: Option<String>,
    /// The swarm's id; managers know it.
    pub cluster_id: Option<String>,
    /// How its membership is.
    pub state: LocalState,
    /// Whether it is a manager that can be asked.
    pub control_available: bool,
    /// Where the managers are that it knows of, without their ports.
    pub managers: Vec<String>,
    /// Why it cannot join, or lost the swarm.
    pub error: Option<String>,
}

/// An engine's membership in a swarm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LocalState {
    /// In none.
    Inactive,
    /// Joining.
    Pending,
    /// A member.
    Active,
    /// A member that lost its swarm, or could not join.
    Error,
    /// A manager that needs its unlock key.
    Locked,
}

/// What a manager says of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its id.
    pub id: String,
    /// Its host name.
    pub hostname: String,
    /// What it is meant to be.
    pub role: NodeRole,
    /// Whether it takes tasks.
    pub availability: Availability,
    /// Whether the managers hear of it.
    pub ready: bool,
    /// The same in Docker's words, with its reason.
    pub state: String,
    /// Whether it leads the managers.
    pub leader: bool,
    /// Whether raft counts its vote, whatever role it is meant to have.
    pub voter: bool,
    /// Whether the other managers reach it; `false` for those without a vote.
    pub reachable: bool,
    /// Its address; empty where the managers do not know it.
    pub address: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// The version of its engine.
    pub engine_version: String,
}

/// Whether a node takes tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Availability {
    /// It does.
    Active,
    /// It keeps those it has.
    Pause,
    /// It gives up those it has.
    Drain,
}

impl Availability {
    /// As Docker writes it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Pause => "pause",
            Self::Drain => "drain",
        }
    }
}

/// What lets a node into a swarm.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// A swarm's join tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tokens {
    /// Lets in managers.
    pub manager: Token,
    /// Lets in workers.
    pub worker: Token,
}

/// Where a swarm takes the subnets of its overlay networks from, the ingress network among them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressPools {
    /// CIDR blocks.
    pub pools: Vec<String>,
    /// The prefix length of a subnet.
    pub subnet_size: u32,
}

/// How to join a swarm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinRequest {
    /// Managers' addresses, with or without a port.
    pub remote: Vec<String>,
    /// What lets it in, and as what.
    pub token: Token,
    /// The address the others reach this node by.
    pub advertise: String,
}

impl Engine {
    /// What the engine says of itself.
    pub async fn info(&self) -> Result<EngineInfo, SwarmError> {
        Ok(self.within(QUICK).info().await?.into())
    }

    /// Every node, as this manager knows them.
    pub async fn nodes(&self) -> Result<Vec<Node>, SwarmError> {
        let nodes = self.list_within(QUICK).list_nodes(None::<ListNodesOptions>).await?;
        Ok(nodes.into_iter().map(Node::from).collect())
    }

    /// Begins a swarm with this node as its manager; without pools, with Docker's own. Its id.
    pub async fn init(&self, advertise: &str, pools: Option<&AddressPools>) -> Result<String, SwarmError> {
        let request = SwarmInitRequest {
            listen_addr: Some(LISTEN.to_owned()),
            advertise_addr: Some(advertise.to_owned()),
            default_addr_pool: pools.map(|p| p.pools.clone()),
            subnet_size: pools.map(|p| p.subnet_size),
            ..SwarmInitRequest::default()
        };
        Ok(self.within(WORK).init_swarm(request).await?)
    }

    /// The join tokens; managers know them.
    pub async fn tokens(&self) -> Result<Tokens, SwarmError> {
        let tokens = self.within(QUICK).inspect_swarm().await?.join_tokens.unwrap_or_default();
        match (tokens.manager, tokens.worker) {
            (Some(manager), Some(worker)) => Ok(Tokens { manager: Token(manager), worker: Token(worker) }),
            _ => Err(SwarmError::Refused("the engine shows no join tokens".to_owned())),
        }
    }

    /// Joins a swarm. `Ok` says that it has joined or is about to: an engine that takes longer
    /// than 20 s goes on in the background.
    pub async fn join(&self, request: &JoinRequest) -> Result<(), SwarmError> {
        let request = SwarmJoinRequest {
            listen_addr: Some(LISTEN.to_owned()),
            advertise_addr: Some(request.advertise.clone()),
            remote_addrs: Some(request.remote.clone()),
            join_token: Some(request.token.0.clone()),
            ..SwarmJoinRequest::default()
        };
        match self.within(WORK).join_swarm(request).await.map_err(SwarmError::from) {
            Err(SwarmError::Refused(words)) if words.contains("will continue in the background") => Ok(()),
            other => other,
        }
    }

    /// Adds labels to a node, or changes them. Others stay.
    pub async fn label(&self, node: &str, labels: &BTreeMap<String, String>) -> Result<(), SwarmError> {
        self.change(node, |spec| {
            let own = spec.labels.get_or_insert_default();
            own.extend(labels.iter().map(|(k, v)| (k.clone(), v.clone())));
        })
        .await
    }

    /// Takes labels off a node. Others stay.
    pub async fn unlabel(&self, node: &str, keys: &[&str]) -> Result<(), SwarmError> {
        self.change(node, |spec| {
            if let Some(labels) = spec.labels.as_mut() {
                labels.retain(|key, _| !keys.contains(&key.as_str()));
            }
        })
        .await
    }

    /// Makes a node a manager.
    pub async fn promote(&self, node: &str) -> Result<(), SwarmError> {
        self.change(node, |spec| spec.role = Some(NodeSpecRoleEnum::MANAGER)).await
    }

    /// Makes a node a worker.
    pub async fn demote(&self, node: &str) -> Result<(), SwarmError> {
        self.change(node, |spec| spec.role = Some(NodeSpecRoleEnum::WORKER)).await
    }

    /// Moves a node's tasks elsewhere, and notes on it that we did so and what it was before.
    pub async fn drain(&self, node: &str) -> Result<(), SwarmError> {
        self.change(node, |spec| {
            let before = spec.availability.replace(NodeSpecAvailabilityEnum::DRAIN);
            let before = before.map_or_else(|| "active".to_owned(), |a| a.to_string());
            spec.labels.get_or_insert_default().entry(label::DRAINING.to_owned()).or_insert(before);
        })
        .await
    }

    /// Lets a node that was drained so be what it was before.
    pub async fn activate(&self, node: &str) -> Result<(), SwarmError> {
        self.change(node, |spec| {
            if let Some(before) = spec.labels.as_mut().and_then(|labels| labels.remove(label::DRAINING)) {
                spec.availability = Some(match before.as_str() {
                    "pause" => NodeSpecAvailabilityEnum::PAUSE,
                    "drain" => NodeSpecAvailabilityEnum::DRAIN,
                    _ => NodeSpecAvailabilityEnum::ACTIVE,
                });
            }
        })
        .await
    }

    /// How many tasks keep a node from being drained: those it still has, and those of any
    /// service that are on their way to run somewhere.
    pub async fn tasks_left(&self, node: &str) -> Result<usize, SwarmError> {
        let tasks = self.list_within(QUICK).list_tasks(None::<ListTasksOptions>).await?;
        let left = tasks.into_iter().filter(|task| {
            let state = task.status.as_ref().and_then(|s| s.state).unwrap_or(TaskState::NEW);
            // What is attached to a network by a single container is listed as well, and is no service's.
            let here = task.node_id.as_deref() == Some(node) && task.service_id.as_ref().is_some_and(|s| !s.is_empty());
            let wanted = task.desired_state == Some(TaskState::RUNNING);
            !ENDED.contains(&state) && (here || wanted && state != TaskState::RUNNING)
        });
        Ok(left.count())
    }

    /// Makes this manager the only one of its swarm, with all that it knows of it.
    pub async fn force_new_cluster(&self, advertise: &str) -> Result<(), SwarmError> {
        let request = SwarmInitRequest {
            listen_addr: Some(LISTEN.to_owned()),
            advertise_addr: Some(advertise.to_owned()),
            force_new_cluster: Some(true),
            ..SwarmInitRequest::default()
        };
        self.within(WORK).init_swarm(request).await?;
        Ok(())
    }

    /// Strikes a node off the list. One that is not on it is fine.
    pub async fn remove(&self, node: &str, force: bool) -> Result<(), SwarmError> {
        let options = DeleteNodeOptionsBuilder::new().force(force).build();
        match self.within(QUICK).delete_node(node, Some(options)).await.map_err(SwarmError::from) {
            Err(SwarmError::NotFound(_)) => Ok(()),
            other => other,
        }
    }

    /// Leaves the swarm. One that is in none is fine.
    pub async fn leave(&self, force: bool) -> Result<(), SwarmError> {
        let options = LeaveSwarmOptionsBuilder::new().force(force).build();
        match self.within(WORK).leave_swarm(Some(options)).await.map_err(SwarmError::from) {
            Err(SwarmError::Refused(words) | SwarmError::NotAManager(words))
                if words.contains("not part of a swarm") =>
            {
                Ok(())
            }
            other => other,
        }
    }

    /// Something for every change of a node that this manager hears of, until the connection or
    /// the engine ends. Changes that come while nobody looks are one.
    pub fn node_events(&self) -> impl Stream<Item = ()> + Send + Unpin + use<> {
        self.changes(&HashMap::from([("type", vec!["node"])]))
    }

    /// Changes a node's spec, if that changes anything.
    async fn change(&self, node: &str, edit: impl Fn(&mut NodeSpec)) -> Result<(), SwarmError> {
        let docker = self.within(QUICK);
        let mut tries = 0;
        loop {
            let found = docker.inspect_node(node).await?;
            let before = found.spec.unwrap_or_default();
            let mut spec = before.clone();
            edit(&mut spec);
            if spec == before {
                return Ok(());
            }
            let version = found.version.and_then(|v| v.index).unwrap_or_default();
            let options = UpdateNodeOptionsBuilder::new().version(i64::try_from(version).unwrap_or_default()).build();
            tries += 1;
            match docker.update_node(node, spec, options).await.map_err(SwarmError::from) {
                Err(SwarmError::Conflict(_)) if tries < TRIES => {}
                other => return other,
            }
        }
    }
}

impl From<SystemInfo> for EngineInfo {
    fn from(info: SystemInfo) -> Self {
        let swarm = info.swarm.unwrap_or_default();
        let some = |text: Option<String>| text.filter(|t| !t.is_empty());
        Self {
            version: info.server_version.unwrap_or_default(),
            node_id: some(swarm.node_id),
            cluster_id: swarm.cluster.and_then(|c| some(c.id)),
            state: match swarm.local_node_state {
                None | Some(LocalNodeState::EMPTY | LocalNodeState::INACTIVE) => LocalState::Inactive,
                Some(LocalNodeState::PENDING) => LocalState::Pending,
                Some(LocalNodeState::ACTIVE) => LocalState::Active,
                Some(LocalNodeState::ERROR) => LocalState::Error,
                Some(LocalNodeState::LOCKED) => LocalState::Locked,
            },
            control_available: swarm.control_available.unwrap_or_default(),
            managers: swarm.remote_managers.into_iter().flatten().filter_map(|m| some(m.addr)).map(host).collect(),
            error: some(swarm.error),
        }
    }
}

/// A node's address. Its own manager tells of itself as 0.0.0.0; the address it votes by is known then.
fn address(own: Option<String>, votes_by: Option<String>) -> String {
    let usable = |a: &String| !a.is_empty() && a != "0.0.0.0" && a != "::";
    own.filter(usable).or(votes_by.map(host).filter(usable)).unwrap_or_default()
}

/// An address without its port.
fn host(address: String) -> String {
    let host = address.rsplit_once(':').map(|(host, _)| host.trim_matches(['[', ']']).to_owned());
    host.unwrap_or(address)
}

impl From<bollard::models::Node> for Node {
    fn from(node: bollard::models::Node) -> Self {
        let (spec, status) = (node.spec.unwrap_or_default(), node.status.unwrap_or_default());
        let (description, manager) = (node.description.unwrap_or_default(), node.manager_status);
        let state = status.state.unwrap_or(NodeState::UNKNOWN);
        let reason = status.message.filter(|m| !m.is_empty());
        Self {
            id: node.id.unwrap_or_default(),
            hostname: description.hostname.unwrap_or_default(),
            role: match spec.role {
                Some(NodeSpecRoleEnum::MANAGER) => NodeRole::Manager,
                _ => NodeRole::Worker,
            },
            availability: match spec.availability {
                Some(NodeSpecAvailabilityEnum::DRAIN) => Availability::Drain,
                Some(NodeSpecAvailabilityEnum::PAUSE) => Availability::Pause,
                _ => Availability::Active,
            },
            ready: state == NodeState::READY,
            state: reason.map_or_else(|| state.to_string(), |r| format!("{state} ({r})")),
            leader: manager.as_ref().and_then(|m| m.leader).unwrap_or_default(),
            voter: manager.is_some(),
            reachable: manager.as_ref().and_then(|m| m.reachability) == Some(Reachability::REACHABLE),
            address: address(status.addr, manager.and_then(|m| m.addr)),
            labels: spec.labels.unwrap_or_default().into_iter().collect(),
            engine_version: description.engine.and_then(|e| e.engine_version).unwrap_or_default(),
        }
    }
}
