//! Decides what to do next: a pure function of the spec, what was observed and the time.
//!
//! Truth is the cloud's tags, the engines and the spec. The one thing remembered is the
//! [`Intent`], written before an instance is launched or a swarm is begun, so that after a
//! crash the same step is taken again and not another one.

mod boot;
mod launch;
mod shrink;
mod swarm;

use std::collections::BTreeMap;

use k8s_openapi::jiff::{SignedDuration, Timestamp};
pub use launch::offerings;

use super::{
    intent::{Filler, Intent},
    losses::Losses,
    memory::{Clock, LaunchMemory},
    slot::Slot,
    template::terms,
    trouble::Trouble,
};
use crate::{
    api::{NodeRole, SwarmClusterSpec, label},
    cloud::{Instance, InstanceState, Offering, Shortage},
    swarm::{EngineInfo, Node},
};

/// Everything the decision depends on.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// What was about to be done, from the cluster's Secret; `None` before the Secret exists.
    pub intent: Option<Intent>,
    /// Instances with this cluster's UID, ended ones included; `None` before the first sweep.
    pub instances: Option<Vec<Instance>>,
    /// Hosts by slot and incarnation, as far as they are wanted and reached.
    pub hosts: BTreeMap<Filler, HostView>,
    /// The nodes, as a manager with a quorum lists them.
    pub nodes: Option<Vec<Node>>,
    /// That manager.
    pub manager: Option<Filler>,
    /// Why no manager lists the nodes, where one is there.
    pub swarm_error: Option<String>,
    /// What launches ended in, of late.
    pub launches: LaunchMemory,
    /// The offerings of this cluster that its account does not get, of late.
    pub shortages: BTreeMap<Offering, Shortage>,
    /// By the instance's id, for how long it has been an engine or has not.
    pub clocks: BTreeMap<String, Clock>,
    /// By the instance's id, what its console says, where that was asked for.
    pub consoles: BTreeMap<String, String>,
    /// When the object was created and, if it is, deleted.
    pub created_at: Option<Timestamp>,
    /// Whether deletion was asked for.
    pub deleting: bool,
    /// `namespace/name`.
    pub name: String,
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

/// One idempotent step. Those of a plan are independent of each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Launch the instance of a slot.
    Launch(Filler, Offering),
    /// Read the console of an instance that is about to be given up.
    Examine(String),
    /// End instances.
    Terminate(Vec<String>),
    /// Begin the swarm on this host.
    Init(Filler),
    /// Join a host to the swarm.
    Join {
        /// The host.
        host: Filler,
        /// A manager that gives the token.
        via: Filler,
        /// Addresses of managers to join through.
        remotes: Vec<String>,
    },
    /// Take a host whose engine reports a failed swarm out of it.
    Leave(Filler),
    /// Bring a node's labels and role to what its slot asks for.
    Update {
        /// A manager.
        via: Filler,
        /// The node.
        node: String,
        /// Labels to set.
        labels: BTreeMap<String, String>,
        /// Role to set, where it differs.
        role: Option<NodeRole>,
    },
    /// Remove a node whose instance is gone.
    RemoveNode {
        /// A manager.
        via: Filler,
        /// The node.
        node: String,
    },
    /// Delete the object: its time is over.
    Expire,
    /// Remove the network of a cluster that has no instance any more and, when nothing uses it, let the object go.
    Release,
}

/// What to do, and what to write down before it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// The intent to write before any action, where it changes.
    pub save: Option<Intent>,
    /// What to do then.
    pub actions: Vec<Action>,
    /// The hosts to keep connections to.
    pub hosts: Vec<Filler>,
    /// Hosts whose own key is to be written down.
    pub pins: Vec<Filler>,
    /// When to look again though nothing woke us.
    pub again_at: Option<Timestamp>,
    /// What keeps slots from being filled.
    pub troubles: BTreeMap<Slot, Trouble>,
    /// What was found to be lost just now.
    pub lost: BTreeMap<Slot, Losses>,
}

impl Plan {
    /// Has the cluster looked at again then at the latest.
    fn wake_at(&mut self, at: Timestamp) {
        self.again_at = Some(self.again_at.map_or(at, |before| before.min(at)));
    }
}

/// Decides.
#[must_use]
pub fn plan(spec: &SwarmClusterSpec, seen: &Observed, now: Timestamp) -> Plan {
    let Some(instances) = &seen.instances else { return Plan::default() };
    if seen.deleting {
        return removal(instances);
    }
    let mut plan = Plan::default();
    if let Some(expiry) = expiry(spec, seen) {
        if expiry <= now {
            return Plan { actions: vec![Action::Expire], ..Plan::default() };
        }
        plan.wake_at(expiry);
    }
    let fillers = fillers(instances);
    plan.hosts = fillers.values().map(|i| i.filler).collect();
    let unpinned = |f: &&Filler| seen.hosts.get(f).is_some_and(|h| h.rotated && !h.pinned);
    plan.pins = plan.hosts.iter().filter(unpinned).copied().collect();
    if spec.paused {
        return plan;
    }
    let mut intent = seen.intent.clone().unwrap_or_default();
    boot::judge(spec, seen, &fillers, now, &mut intent, &mut plan);
    launch::launch(spec, seen, instances, &fillers, now, &mut intent, &mut plan);
    shrink::shrink(spec, seen, instances, &fillers, &mut plan);
    tell_losses(spec, &fillers, &intent, &mut plan);
    // A host that is given up must not become a node meanwhile: it would take its vote along.
    let sound = fillers.into_iter().filter(|(_, f)| !intent.lost(f.filler)).collect();
    match (&seen.nodes, seen.manager) {
        (Some(nodes), Some(via)) => swarm::tend(spec, seen, instances, &sound, nodes, via, &mut plan),
        _ => swarm::begin(spec, seen, &sound, &mut intent, &mut plan),
    }
    if seen.intent.as_ref() != Some(&intent) {
        plan.save = Some(intent);
    }
    plan
}

/// Tells of losses until another instance has made up for them.
fn tell_losses(spec: &SwarmClusterSpec, fillers: &BTreeMap<Slot, Filled<'_>>, intent: &Intent, plan: &mut Plan) {
    let terms = terms(spec);
    for slot in Slot::all(spec) {
        let booted = fillers.get(&slot).is_some_and(|f| intent.launching(f.filler).is_none_or(|l| l.booted));
        let Some(losses) = intent.losses.get(&slot.to_string()).filter(|l| !booted && l.count > 0) else { continue };
        let trouble = Trouble::Lost { losses: losses.clone(), stalls: losses.stalls(&terms) };
        plan.troubles.entry(slot).or_insert(trouble);
    }
}

/// When the cluster's time is over.
#[must_use]
pub fn expiry(spec: &SwarmClusterSpec, seen: &Observed) -> Option<Timestamp> {
    let ttl = SignedDuration::try_from(spec.ttl?.get()).ok()?;
    seen.created_at?.checked_add(ttl).ok()
}

/// An instance that fills its slot.
#[derive(Clone, Debug)]
pub struct Filled<'a> {
    /// Slot and incarnation.
    pub filler: Filler,
    /// The instance.
    pub instance: &'a Instance,
}

/// The instance that fills each slot: of those that live, the latest incarnation.
#[must_use]
pub fn fillers(instances: &[Instance]) -> BTreeMap<Slot, Filled<'_>> {
    let mut filled: BTreeMap<Slot, Filled<'_>> = BTreeMap::new();
    for instance in instances.iter().filter(|i| !i.state.is_ended()) {
        let Ok(slot) = instance.slot.parse::<Slot>() else { continue };
        let filler = Filler { slot, incarnation: instance.incarnation };
        match filled.get(&slot) {
            // Of two with the same tags, which only a foreign hand can make, the older id stays.
            Some(old) if (old.filler.incarnation, &instance.id) >= (filler.incarnation, &old.instance.id) => {}
            _ => {
                filled.insert(slot, Filled { filler, instance });
            }
        }
    }
    filled
}

/// Deletion: instances first, then the network they use, then the object.
fn removal(instances: &[Instance]) -> Plan {
    let mut plan = Plan::default();
    let live: Vec<_> = instances.iter().filter(|i| !i.state.is_ended()).map(|i| i.id.clone()).collect();
    if !live.is_empty() {
        plan.actions.push(Action::Terminate(live));
    } else if instances.iter().all(|i| i.state == InstanceState::Terminated) {
        // The network goes only when nothing uses it, so an instance that no list shows yet
        // keeps the object, and is found by a later sweep.
        plan.actions.push(Action::Release);
    }
    plan
}

/// The labels of a host's node.
#[must_use]
pub fn labels(seen: &Observed, host: Filler) -> BTreeMap<String, String> {
    [
        (label::CLUSTER, seen.name.clone()),
        (label::SLOT, host.slot.to_string()),
        (label::INCARNATION, host.incarnation.to_string()),
    ]
    .map(|(k, v)| (k.to_owned(), v))
    .into()
}

#[cfg(test)]
mod tests;
