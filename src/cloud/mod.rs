//! Clouds: where instances come from.
//!
//! [`CloudProvider`] is all the controllers know of a cloud: a few idempotent calls with
//! typed errors. [`ec2`] serves it with Amazon's API, [`hosts`] with machines that exist,
//! [`memory`] within the process. The
//! [`Inventory`] is the one list of instances all clusters of an account and region share, and
//! [`Shortages`] what they were refused.
//! No type of an SDK leaves this room, and nothing here knows of a swarm or of Kubernetes.

pub mod ec2;
pub mod hosts;
mod inventory;
pub mod memory;
pub mod notice;
mod registry;
mod shortages;

use std::{future::Future, pin::Pin, sync::Arc};

pub use hosts::Machine;
pub use inventory::{Inventory, Wake};
use k8s_openapi::jiff::Timestamp;
pub use registry::{Account, Clouds, StaticCredentials};
use serde::{Deserialize, Serialize};
pub use shortages::{Lack, Offering, Shortage, Shortages};

use crate::api::AmiSelector;

/// A future of a cloud's answer.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, CloudError>> + Send + 'a>>;

/// A cloud account in one region.
///
/// Every call may be repeated: a second one with the same arguments finds what the first one
/// made. A call returns what the cloud says at once and never waits for a state.
pub trait CloudProvider: Send + Sync + 'static {
    /// The id of the account, as soon as an answer has told it: two credentials may be of one. No call is made for it.
    fn account(&self) -> Option<String> {
        None
    }

    /// Every instance of this installation that the cloud still lists, ended ones included, in one sweep of paginated calls.
    fn list(&self) -> Answer<'_, Vec<Instance>>;

    /// The network of a cluster: finds or makes its security group with exactly the rules asked for.
    fn ensure_network<'a>(&'a self, owner: &'a Owner, network: &'a NetworkSpec) -> Answer<'a, Network>;

    /// Removes what [`ensure_network`](Self::ensure_network) made, unless something still uses it.
    fn delete_network<'a>(&'a self, owner: &'a Owner) -> Answer<'a, Removal>;

    /// Launches the instance of a slot, or returns the one an earlier call with the same arguments launched.
    fn launch<'a>(&'a self, launch: &'a Launch) -> Answer<'a, Instance>;

    /// Starts an instance that is stopped. One that is not stopped is left as it is.
    fn start<'a>(&'a self, id: &'a str) -> Answer<'a, ()>;

    /// Ends instances and removes their volumes. Ids the cloud does not know (any more) are fine.
    fn terminate<'a>(&'a self, ids: &'a [String]) -> Answer<'a, ()>;

    /// Security groups of this installation, by the UID of the cluster they belong to: for the garbage collector.
    fn list_networks(&self) -> Answer<'_, Vec<OwnedNetwork>>;

    /// What an instance wrote to its console, at most the last 64 KiB, for reports of hosts that do not come up.
    fn console<'a>(&'a self, id: &'a str) -> Answer<'a, String>;
}

/// Any cloud.
pub type Cloud = Arc<dyn CloudProvider>;

/// The cluster a cloud object belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Owner {
    /// The SwarmCluster's UID: what ownership is decided by.
    pub uid: String,
    /// `namespace/name`, for people who look at the cloud's console.
    pub name: String,
}

/// Who may reach a cluster's hosts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkSpec {
    /// CIDR blocks that may reach SSH (TCP 22).
    pub access_cidrs: Vec<String>,
    /// The subnets the instances will be in; empty for the default VPC's.
    pub subnets: Vec<String>,
}

/// A cluster's network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// The id of the cluster's security group.
    pub security_group: String,
    /// The IPv4 blocks of the VPC it is in, such as `10.0.0.0/16`: all that are associated with it.
    pub cidrs: Vec<String>,
}

/// What became of the removal of a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Removal {
    /// Nothing of it is left.
    Gone,
    /// It stays for now. What uses it, each in words, such as
    /// `network interface eni-0123 of instance i-4567 (foo-m0)`; at least one.
    InUse(Vec<String>),
}

/// A network the cloud holds for some cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedNetwork {
    /// The cluster it belongs to.
    pub owner: Owner,
    /// The security group's id.
    pub id: String,
}

/// What a slot's instance is launched with. Two equal values are one instance.
#[derive(Clone, PartialEq, Eq)]
pub struct Launch {
    /// The cluster.
    pub owner: Owner,
    /// The slot, such as `m0`.
    pub slot: String,
    /// The name people see in the cloud's console, such as `foo-m0`.
    pub name: String,
    /// Which instance of the slot this is.
    pub incarnation: u32,
    /// The image.
    pub image: AmiSelector,
    /// The instance type.
    pub instance_type: String,
    /// The subnet; `None` for a default one.
    pub subnet: Option<String>,
    /// Ask for a public address, whatever the subnet gives by itself; false leaves it to the subnet.
    pub public_address: bool,
    /// Every security group.
    pub security_groups: Vec<String>,
    /// Spot instead of on-demand.
    pub spot: bool,
    /// The root volume, where the image's own does not do.
    pub volume: Option<crate::api::Volume>,
    /// The instance profile's name.
    pub instance_profile: Option<String>,
    /// The script that runs as root at first boot. Holds a host key: never shown.
    pub user_data: String,
}

impl std::fmt::Debug for Launch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Launch")
            .field("name", &self.name)
            .field("incarnation", &self.incarnation)
            .field("instance_type", &self.instance_type)
            .field("subnet", &self.subnet)
            .finish_non_exhaustive()
    }
}

/// An instance, as the cloud lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// The cloud's id.
    pub id: String,
    /// The cluster it belongs to, by its tags.
    pub owner: Owner,
    /// The slot it was launched for, by its tags.
    pub slot: String,
    /// Which instance of the slot it is, by its tags.
    pub incarnation: u32,
    /// How far it is.
    pub state: InstanceState,
    /// Why it is in this state, in the cloud's words.
    pub state_reason: Option<StateReason>,
    /// Its type.
    pub instance_type: String,
    /// A spot instance, which the cloud may take back.
    pub spot: bool,
    /// Its address within the VPC.
    pub private_address: Option<String>,
    /// Its public address.
    pub public_address: Option<String>,
    /// The availability zone.
    pub zone: Option<String>,
    /// The subnet it is in.
    pub subnet: Option<String>,
    /// When it was launched.
    pub launched_at: Option<Timestamp>,
    /// How it is logged in to, where it was not made by us: else as root, at one of its addresses.
    pub login: Option<Login>,
}

/// How a machine is logged in to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Login {
    /// An IP address or a name.
    pub address: String,
    /// The port of sshd.
    pub port: u16,
    /// The user.
    pub user: String,
    /// The host that is gone through, which the same key opens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<Box<Self>>,
}

/// Why an instance is in the state it is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateReason {
    /// EC2's code, such as `Server.SpotInstanceTermination`: `Client.` is what the account did or
    /// ordered, `Server.` what the cloud did by itself. Empty where the cloud gives only words.
    pub code: String,
    /// The cloud's words, without the code.
    pub message: String,
}

impl std::fmt::Display for StateReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.message.as_str(), self.code.as_str()) {
            (words, "") => f.write_str(words),
            ("", code) => f.write_str(code),
            (words, code) => write!(f, "{words} ({code})"),
        }
    }
}

/// The states of an EC2 instance, in the order of its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum InstanceState {
    /// It is being started.
    Pending,
    /// It runs (its engine may not answer yet).
    Running,
    /// It is being stopped.
    Stopping,
    /// It is stopped, with its disk.
    Stopped,
    /// It is being removed.
    ShuttingDown,
    /// It is gone; the cloud lists it for about an hour.
    Terminated,
}

impl InstanceState {
    /// Whether the instance will never run again.
    #[must_use]
    pub const fn is_ended(self) -> bool {
        matches!(self, Self::ShuttingDown | Self::Terminated)
    }

    /// Whether the state is about to change by itself, so that a look soon is worth it.
    #[must_use]
    pub const fn is_transient(self) -> bool {
        matches!(self, Self::Pending | Self::Stopping | Self::ShuttingDown)
    }
}

/// What the caller can do about a cloud's refusal. Each carries the cloud's own words.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum CloudError {
    /// No capacity for this instance type (in this zone) now: another type may do.
    #[error("no capacity: {0}")]
    Capacity(String),
    /// The account's quota is used up: a person must raise it, or something must end.
    #[error("quota exceeded: {0}")]
    Quota(String),
    /// The credentials lack a permission, such as `ec2:RunInstances`.
    #[error("not authorized{}: {message}", permission.as_deref().map(|p| format!(" to perform {p}")).unwrap_or_default())]
    Unauthorized {
        /// The action the credentials need.
        permission: Option<String>,
        /// The cloud's words.
        message: String,
    },
    /// The spec asks for something that does not exist or is not possible: no such image, subnet, type.
    #[error("{0}")]
    Invalid(String),
    /// An earlier launch with the same arguments made an instance that has ended: take the next incarnation.
    #[error("the instance of an earlier attempt has ended")]
    Ended,
    /// Too many requests: come back later.
    #[error("throttled: {0}")]
    Throttled(String),
    /// Not now, and nothing was made: what it hangs on is changing or being looked into. Worth another try.
    #[error("{0}")]
    Refused(String),
    /// The cloud failed or cannot be reached, and what it has done is not known: worth another try.
    #[error("{0}")]
    Unavailable(String),
}

impl CloudError {
    /// Whether the launch that was answered so has certainly made no instance, so that what is
    /// launched next may be something else. This speaks of one call: of an earlier one with the
    /// same arguments that had no answer, only the listing tells.
    #[must_use]
    pub const fn made_nothing(&self) -> bool {
        // Every variant by its name: a new one has to say which it is.
        match self {
            Self::Capacity(_)
            | Self::Quota(_)
            | Self::Unauthorized { .. }
            | Self::Invalid(_)
            | Self::Throttled(_)
            | Self::Refused(_) => true,
            Self::Ended | Self::Unavailable(_) => false,
        }
    }

    /// The same of a question that is asked before a launch: whatever became of it, nothing was launched by now.
    #[must_use]
    pub(crate) fn before_a_launch(self) -> Self {
        if let Self::Unavailable(words) = self { Self::Refused(words) } else { self }
    }
}
