//! What a pass sees of a run: plain facts without an opinion. No I/O and no decision.

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::jiff::Timestamp;

use super::record::Record;
use crate::host::HostId;

/// Everything the decision depends on.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// Deletion was asked for.
    pub deleting: bool,
    /// Our finalizer is on the object.
    pub finalizer: bool,
    /// The end is on the object. The one thing read from status: once its container is
    /// removed nothing else tells that a run has ended (as with a Job).
    pub finished: bool,
    /// What was written down before it was done.
    pub record: Record,
    /// The cluster, where there is one of that name.
    pub cluster: Option<ClusterView>,
    /// The hosts of that cluster.
    pub hosts: BTreeMap<HostId, HostView>,
}

/// The cluster, as its object tells it.
#[derive(Clone, Debug, Default)]
pub struct ClusterView {
    /// Its UID.
    pub uid: String,
    /// It is being deleted.
    pub deleting: bool,
    /// Why it is not ready; `None` where it is.
    pub not_ready: Option<String>,
    /// The slots it has, such as `m0`.
    pub slots: Vec<String>,
    /// The slot of the leader.
    pub leader: Option<String>,
}

/// A host, as its engine tells it.
#[derive(Clone, Debug, Default)]
pub struct HostView {
    /// Its engine answers.
    pub up: bool,
    /// Why it does not, or what it refused.
    pub error: Option<String>,
    /// For how long this process has tried to connect to it in vain.
    pub out_of_reach: Option<Duration>,
    /// Whether the run's image is there, where that was asked.
    pub image: Option<bool>,
    /// The run's container, where that was asked: `Some(None)` for none.
    pub container: Option<Option<Container>>,
    /// What became of bringing the image here.
    pub bringing: Bringing,
}

/// A container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// Its id.
    pub id: String,
    /// How far it is.
    pub state: ContainerState,
}

/// How far a container is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ContainerState {
    /// It never ran. The error is that of an attempt to start it.
    Created {
        /// In the engine's words.
        error: Option<String>,
    },
    /// It runs.
    Running {
        /// Since when.
        since: Timestamp,
    },
    /// It ended.
    Exited(Exit),
}

/// How a container ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    /// When it had started.
    pub started: Timestamp,
    /// When it ended.
    pub finished: Timestamp,
    /// Its exit code.
    pub code: i64,
    /// The kernel killed it, or a process in it, for want of memory.
    pub out_of_memory: bool,
    /// What the engine has to say.
    pub error: Option<String>,
}

/// How far the image is on its way to a host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Bringing {
    /// Nothing was tried.
    #[default]
    Idle,
    /// It is on its way.
    Busy,
    /// It was brought.
    Done,
    /// It could not be had, in the words of the engine.
    Failed {
        /// The words.
        words: String,
        /// Whether it is time to try again.
        due: bool,
    },
}
