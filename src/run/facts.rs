//! What a pass sees of a run: plain facts without an opinion. No I/O and no decision.

use std::collections::BTreeMap;

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::{
    queue::{Guests, Place},
    record::Record,
    variables::{Lack, Variables},
    verdict::End,
};
use crate::{
    api::{E2ERunSpec, Usd},
    host::HostId,
    swarm::Image,
};

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
    /// It ended, and the tests passed.
    pub passed: bool,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// This process has only begun to look: that it does not see a host says nothing of the host yet.
    pub fresh: bool,
    /// What was written down before it was done.
    pub record: Record,
    /// What became of keeping what its container left, as far as this process tried.
    pub kept: Option<Kept>,
    /// What failed when a step was taken last, in words.
    pub trouble: Option<String>,
    /// How following its container was cut off, in words.
    pub cut_off: Option<String>,
    /// The variables of its container, or why there are none, where it has no container yet.
    pub variables: Option<Result<Variables, Lack>>,
    /// The cluster, where there is one of that name.
    pub cluster: Option<ClusterView>,
    /// The hosts of that cluster.
    pub hosts: BTreeMap<HostId, HostView>,
}

/// What became of keeping what a container left.
#[derive(Clone, Debug, PartialEq)]
pub enum Kept {
    /// It is kept, and judged.
    Done(Box<End>),
    /// It cannot be read, in words.
    Unread(String),
    /// It was read and judged, and cannot be stored, in words.
    Unstored(Box<End>, String),
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
    /// Why it will not become ready unless somebody changes something.
    pub stalled: Option<String>,
    /// The run made it.
    pub own: bool,
    /// Who has a place on it.
    pub guests: Guests,
    /// Where the run stands among those.
    pub place: Place,
    /// The slots it has, such as `m0`.
    pub slots: Vec<String>,
    /// The slot of the leader.
    pub leader: Option<String>,
    /// What it costs an hour, where that is known.
    pub hourly: Option<Usd>,
}

impl Observed {
    /// The cluster that the run made, as long as it is not deleted.
    #[must_use]
    pub fn own_cluster(&self, spec: &E2ERunSpec) -> Option<&ClusterView> {
        self.cluster.as_ref().filter(|c| spec.cluster_template.is_some() && c.own && !c.deleting)
    }
}

/// A host, as its engine tells it.
#[derive(Clone, Debug, Default)]
pub struct HostView {
    /// Its engine answers.
    pub up: bool,
    /// Why it does not, or what it refused.
    pub error: Option<String>,
    /// The run's image, where that was asked: `Some(None)` for none.
    pub image: Option<Option<Image>>,
    /// What it runs on, such as `linux/amd64`, where that was asked.
    pub platform: Option<String>,
    /// What became of giving this host the very image that another one has.
    pub aligning: Bringing,
    /// The container of the run's present attempt, where that was asked: `Some(None)` for none.
    pub container: Option<Option<Container>>,
    /// The containers of the run's attempts before, by id, where that was asked.
    pub left: Vec<String>,
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
    /// What image it was made of.
    pub image: Option<String>,
    /// Which attempt of its run it is.
    pub attempt: usize,
    /// How its image is told which cases to run, as the image itself says.
    pub filter: Option<String>,
    /// What it is started with: the words of its program and its arguments, those that its image has included.
    pub started: Vec<String>,
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
    Running,
    /// It ended.
    Exited(Exit),
}

/// How a container ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    /// How long it ran by its host's clock; less than nothing where that was turned back. When that
    /// was is not told: the clocks of hosts are not compared with ours.
    pub ran: SignedDuration,
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
