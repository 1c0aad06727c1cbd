//! What a pass has observed, as plain facts: everything a decision depends on.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::{
    access::Access,
    journal::Journal,
    member::{Member, MemberId},
    memory::{Clock, LaunchMemory},
    roster::Given,
    slot::Slot,
};
use crate::{
    cloud::{Instance, Offering, Shortage, notice::Notice},
    swarm::{EngineInfo, Node},
};

/// Everything the decision depends on.
#[derive(Clone, Debug, Default)]
pub struct World {
    /// What is written down; `None` before there is anything.
    pub journal: Option<Journal>,
    /// Instances with this cluster's UID, ended ones included; `None` before the first sweep.
    pub instances: Option<Vec<Instance>>,
    /// The machines that there are, where they are neither made nor ended; `None` where they are.
    pub given: Option<Given>,
    /// Who may reach the hosts.
    pub access: Access,
    /// Hosts by slot and incarnation, as far as they are wanted and reached.
    pub hosts: BTreeMap<MemberId, HostView>,
    /// The nodes, as a manager with a majority lists them; `None` where none does.
    pub nodes: Option<Vec<Node>>,
    /// That manager.
    pub manager: Option<MemberId>,
    /// Why no manager lists the nodes, where one is there.
    pub swarm_error: Option<String>,
    /// Managers that answered, and that no majority stands behind.
    pub leaderless: BTreeSet<MemberId>,
    /// Hosts whose join is under way in this process: what their engines said before may be over.
    pub joining: BTreeSet<MemberId>,
    /// By node, how far those that give up their tasks are.
    pub drains: BTreeMap<String, Drain>,
    /// For how long no manager has spoken for a majority, as far as this process looked in time.
    pub silence: Option<Clock>,
    /// What spot instances were told of their end, as far as they can be asked.
    pub notices: BTreeMap<MemberId, Notice>,
    /// What launches ended in, of late.
    pub launches: LaunchMemory,
    /// The offerings of this cluster that its account does not get, of late.
    pub shortages: BTreeMap<Offering, Shortage>,
    /// By the instance's id, for how long it has been an engine or has not.
    pub clocks: BTreeMap<String, Clock>,
    /// By the instance's id, for how long it has been well as a node or has not.
    pub health: BTreeMap<String, Clock>,
    /// By the instance's id, why one that was stopped cannot be started, in the cloud's words.
    pub unstarted: BTreeMap<String, String>,
    /// By the instance's id, what its console says, where that was asked for.
    pub consoles: BTreeMap<String, String>,
    /// Slots that a person wants to be left as they are.
    pub kept: BTreeSet<Slot>,
    /// Runs that are under way on the cluster, where machines are to be replaced.
    pub runs: Vec<String>,
    /// When the object was created.
    pub created_at: Option<Timestamp>,
    /// Until when a person holds it, and how long after the end of its ttl that counts at most.
    pub hold: Option<(Timestamp, SignedDuration)>,
    /// The end of its time that was warned of already.
    pub warned: Option<Timestamp>,
    /// Whether deletion was asked for.
    pub deleting: bool,
    /// For how long this process has seen that it was.
    pub leaving: SignedDuration,
    /// The runs that its removal waits for, where it is being deleted.
    pub holders: Vec<String>,
    /// `namespace/name`.
    pub name: String,
    /// Every host that was an engine has been heard, or had its time to answer: before that,
    /// silence says nothing.
    pub looked: bool,
}

impl World {
    /// The instance that is this machine, as far as it lives; of two with the same tags the older id.
    #[must_use]
    pub fn instance(&self, id: MemberId) -> Option<&Instance> {
        let slot = id.slot.to_string();
        let this = |i: &&Instance| !i.state.is_ended() && i.slot == slot && i.incarnation == id.incarnation;
        self.instances.iter().flatten().filter(this).min_by(|a, b| a.id.cmp(&b.id))
    }

    /// Whether an engine is to be installed on a machine that exists, for it is reached and none answers.
    #[must_use]
    pub fn installs(&self, member: &Member<'_>) -> bool {
        let bare = member.host.is_some_and(|h| h.connected && h.engine.is_none());
        bare && self.given.as_ref().is_some_and(|g| g.install)
    }
}

/// A host, as seen over its connection.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HostView {
    /// The connection is up.
    pub connected: bool,
    /// The engine, where it answers.
    pub engine: Option<EngineInfo>,
    /// Why it is not connected or does not answer.
    pub error: Option<String>,
    /// It presented the host key of its own, not the one that user-data gave away.
    pub rotated: bool,
    /// Its own host key is written down as the only one to expect.
    pub pinned: bool,
}

/// How far a node that gives up its tasks is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drain {
    /// For how long this process has seen it drained.
    pub age: SignedDuration,
    /// How many tasks it still has, or do not run elsewhere yet; `None` where no manager told.
    pub tasks: Option<usize>,
}
