//! Decides what to do next: a pure function of the spec, what was observed and the time.
//!
//! Truth is the cloud's tags, the engines and the spec. The one thing remembered is the
//! [`Intent`], written before an instance is launched or a swarm is begun, so that after a
//! crash the same step is taken again and not another one.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::{
    intent::{Filler, Intent},
    slot::Slot,
};
use crate::{
    api::{NodeRole, SwarmClusterSpec, label},
    cloud::{CloudError, Instance, InstanceState},
    swarm::{EngineInfo, LocalState, Node},
};

/// How long an instance type that had no capacity is passed over. AWS asks for "a few
/// minutes"; a pool of test clusters prefers to look again sooner.
pub const CAPACITY_PAUSE: SignedDuration = SignedDuration::from_secs(60);

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

/// What the process remembers of launches, so that it does not ask in vain. Losing it costs calls, never an instance.
#[derive(Clone, Debug, Default)]
pub struct LaunchMemory {
    /// Offerings without capacity: until when, and in whose words.
    pub exhausted: BTreeMap<Offering, (Timestamp, String)>,
    /// Launches that were refused for want of capacity, so that certainly no instance was made.
    pub refused: BTreeSet<(Filler, Offering)>,
    /// Fillers whose instance had ended before it was ever listed.
    pub ended: BTreeSet<Filler>,
}

/// An instance type in a subnet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Offering {
    /// The type.
    pub instance_type: String,
    /// The subnet; `None` for the cloud's choice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subnet: Option<String>,
}

/// One idempotent step. Those of a plan are independent of each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Launch the instance of a slot.
    Launch(Filler, Offering),
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
    /// Slots that wait for capacity, with the cloud's words.
    pub starved: BTreeMap<Slot, String>,
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
        plan.again_at = Some(expiry);
    }
    let fillers = fillers(instances);
    plan.hosts = fillers.values().map(|i| i.filler).collect();
    let unpinned = |f: &&Filler| seen.hosts.get(f).is_some_and(|h| h.rotated && !h.pinned);
    plan.pins = plan.hosts.iter().filter(unpinned).copied().collect();
    if spec.paused {
        return plan;
    }
    let mut intent = seen.intent.clone().unwrap_or_default();
    launch(spec, seen, instances, &fillers, now, &mut intent, &mut plan);
    shrink(spec, seen, instances, &fillers, &mut plan);
    match (&seen.nodes, seen.manager) {
        (Some(nodes), Some(via)) => tend(spec, seen, instances, &fillers, nodes, via, &mut plan),
        _ => begin(spec, seen, &fillers, &mut intent, &mut plan),
    }
    if seen.intent.as_ref() != Some(&intent) {
        plan.save = Some(intent);
    }
    plan
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

/// Launches what is missing.
fn launch(
    spec: &SwarmClusterSpec,
    seen: &Observed,
    instances: &[Instance],
    fillers: &BTreeMap<Slot, Filled<'_>>,
    now: Timestamp,
    intent: &mut Intent,
    plan: &mut Plan,
) {
    let offerings = offerings(spec);
    for (n, slot) in Slot::all(spec).enumerate().filter(|(_, s)| !fillers.contains_key(s)) {
        let ended = instances.iter().filter(|i| i.slot.parse() == Ok(slot)).map(|i| i.incarnation);
        let ended = ended.chain(seen.launches.ended.iter().filter(|f| f.slot == slot).map(|f| f.incarnation)).max();
        let meant = intent.launches.get(&slot.to_string()).cloned();
        let incarnation = ended.map_or(0, |e| e + 1).max(meant.as_ref().map_or(0, |m| m.incarnation));
        let filler = Filler { slot, incarnation };
        // A launch that was refused made no instance, so another offering may take its place.
        // One whose answer is not known may have made one: the same is asked for again.
        let refused = |o: &Offering| seen.launches.refused.contains(&(filler, o.clone()));
        let open = |o: &Offering| seen.launches.exhausted.get(o).is_none_or(|(until, _)| *until <= now);
        let offering = meant
            .filter(|m| m.incarnation == incarnation && !refused(&m.offering))
            .map(|m| m.offering)
            .or_else(|| pick(&offerings, n, open));
        let Some(offering) = offering else {
            let refusals = offerings.iter().flatten().filter_map(|o| seen.launches.exhausted.get(o));
            if let Some((until, words)) = refusals.min_by_key(|(until, _)| *until) {
                plan.starved.insert(slot, words.clone());
                plan.again_at = Some(plan.again_at.map_or(*until, |at| at.min(*until)));
            }
            continue;
        };
        intent.launches.insert(slot.to_string(), super::intent::Launching { incarnation, offering: offering.clone() });
        plan.actions.push(Action::Launch(filler, offering));
    }
    let wanted: BTreeSet<String> = Slot::all(spec).map(|s| s.to_string()).collect();
    intent.launches.retain(|slot, _| wanted.contains(slot));
}

/// Instance types in order of preference; within a type, every subnet.
fn offerings(spec: &SwarmClusterSpec) -> Vec<Vec<Offering>> {
    let Some(ec2) = &spec.provider.ec2 else { return Vec::new() };
    let subnets: Vec<Option<String>> = match ec2.subnets.as_slice() {
        [] => vec![None],
        some => some.iter().cloned().map(Some).collect(),
    };
    let offer = |t: &String| subnets.iter().map(|s| Offering { instance_type: t.clone(), subnet: s.clone() }).collect();
    ec2.instance_types.iter().map(offer).collect()
}

/// The first type with capacity; the nth slot begins at the nth subnet, so that they spread.
fn pick(offerings: &[Vec<Offering>], nth: usize, open: impl Fn(&Offering) -> bool) -> Option<Offering> {
    offerings.iter().find_map(|of_type| {
        let start = nth % of_type.len().max(1);
        of_type[start..].iter().chain(&of_type[..start]).find(|o| open(o)).cloned()
    })
}

/// Ends what no slot asks for; a manager is demoted first, one at a time, and stays while
/// nobody can demote it: ended as it is, it would take its vote with it.
fn shrink(
    spec: &SwarmClusterSpec,
    seen: &Observed,
    instances: &[Instance],
    fillers: &BTreeMap<Slot, Filled<'_>>,
    plan: &mut Plan,
) {
    let wanted: BTreeSet<Slot> = Slot::all(spec).collect();
    let keeps = |i: &Instance| fillers.iter().any(|(slot, f)| wanted.contains(slot) && f.instance.id == i.id);
    let mut surplus = Vec::new();
    let mut demoted = false;
    for instance in instances.iter().filter(|i| !i.state.is_ended() && !keeps(i)) {
        match farewell(seen, instance) {
            Farewell::End => surplus.push(instance.id.clone()),
            Farewell::Demote { via, node } if !demoted => {
                demoted = true;
                let role = Some(NodeRole::Worker);
                plan.actions.push(Action::Update { via, node, labels: BTreeMap::new(), role });
            }
            Farewell::Demote { .. } | Farewell::Wait => {}
        }
    }
    if !surplus.is_empty() {
        plan.actions.push(Action::Terminate(surplus));
    }
}

/// How an instance that no slot asks for goes.
enum Farewell {
    /// Now.
    End,
    /// As a worker, which it is made first.
    Demote { via: Filler, node: String },
    /// When it is no manager any more, or somebody can say whether it is.
    Wait,
}

fn farewell(seen: &Observed, instance: &Instance) -> Farewell {
    let host = instance.slot.parse().ok().map(|slot: Slot| Filler { slot, incarnation: instance.incarnation });
    let engine = host.and_then(|h| seen.hosts.get(&h)).and_then(|h| h.engine.as_ref());
    let (Some(nodes), Some(via)) = (&seen.nodes, seen.manager) else {
        let begun = seen.intent.as_ref().is_some_and(|i| i.swarm.is_some());
        let may_manage = host.is_some_and(|h| h.slot.role == NodeRole::Manager);
        return if begun && may_manage { Farewell::Wait } else { Farewell::End };
    };
    let is_it = |n: &&Node| match engine.and_then(|e| e.node_id.as_ref()) {
        Some(id) => n.id == *id,
        None => host.is_some_and(|h| labels(seen, h).iter().all(|(k, v)| n.labels.get(k) == Some(v))),
    };
    match nodes.iter().find(is_it) {
        Some(node) if node.role == NodeRole::Manager && managers(nodes) > 1 => {
            Farewell::Demote { via, node: node.id.clone() }
        }
        // Demoted, and the managers have not let it go yet.
        Some(node) if node.role == NodeRole::Worker && engine.is_some_and(|e| e.control_available) => Farewell::Wait,
        _ => Farewell::End,
    }
}

/// Begins the swarm on the first manager whose engine answers, unless one may have been begun already.
fn begin(
    spec: &SwarmClusterSpec,
    seen: &Observed,
    fillers: &BTreeMap<Slot, Filled<'_>>,
    intent: &mut Intent,
    plan: &mut Plan,
) {
    let engine = |f: &Filler| seen.hosts.get(f).and_then(|h| h.engine.as_ref());
    let current: Vec<Filler> = Slot::all(spec).filter_map(|s| fillers.get(&s)).map(|f| f.filler).collect();
    if current.iter().filter_map(engine).any(|e| e.state != LocalState::Inactive) {
        return;
    }
    let managers: Vec<Filler> = current.into_iter().filter(|f| f.slot.role == NodeRole::Manager).collect();
    let answering = managers.iter().copied().find(|f| engine(f).is_some());
    let chosen = match intent.swarm {
        Some(begun) if managers.contains(&begun) => engine(&begun).map(|_| begun),
        // The host it was begun on is gone: only when every other manager says that it is in
        // no swarm is there none.
        Some(_) if managers.iter().any(|f| engine(f).is_none()) => None,
        _ => answering,
    };
    if let Some(host) = chosen {
        intent.swarm = Some(host);
        plan.actions.push(Action::Init(host));
    }
}

/// Joins hosts, labels nodes and removes those whose instance is gone.
fn tend(
    spec: &SwarmClusterSpec,
    seen: &Observed,
    instances: &[Instance],
    fillers: &BTreeMap<Slot, Filled<'_>>,
    nodes: &[Node],
    via: Filler,
    plan: &mut Plan,
) {
    let engine = |f: &Filler| seen.hosts.get(f).and_then(|h| h.engine.as_ref());
    let leads = |f: &Filler| engine(f).is_some_and(|e| e.control_available);
    let remotes: Vec<String> = std::iter::once(&via)
        .chain(fillers.values().map(|f| &f.filler).filter(|f| **f != via && leads(f)))
        .filter_map(|f| fillers.get(&f.slot)?.instance.private_address.clone())
        .collect();
    for filled in Slot::all(spec).filter_map(|s| fillers.get(&s)) {
        let host = filled.filler;
        let Some(engine) = engine(&host) else { continue };
        match engine.state {
            LocalState::Inactive => plan.actions.push(Action::Join { host, via, remotes: remotes.clone() }),
            LocalState::Error => plan.actions.push(Action::Leave(host)),
            LocalState::Pending | LocalState::Active | LocalState::Locked => {}
        }
        let Some(node) = nodes.iter().find(|n| Some(&n.id) == engine.node_id.as_ref()) else { continue };
        let labels = labels(seen, host);
        let role = (node.role != host.slot.role).then_some(host.slot.role);
        if role.is_some() || labels.iter().any(|(k, v)| node.labels.get(k) != Some(v)) {
            plan.actions.push(Action::Update { via, node: node.id.clone(), labels, role });
        }
    }
    for node in nodes.iter().filter(|n| !n.ready && is_orphan(n, instances)) {
        let node_id = node.id.clone();
        plan.actions.push(match node.role {
            NodeRole::Worker => Action::RemoveNode { via, node: node_id },
            NodeRole::Manager => {
                Action::Update { via, node: node_id, labels: BTreeMap::new(), role: Some(NodeRole::Worker) }
            }
        });
    }
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

/// Whether a node was one of ours and its instance has ended. A node without our labels is somebody else's.
fn is_orphan(node: &Node, instances: &[Instance]) -> bool {
    let (Some(slot), Some(incarnation)) = (node.labels.get(label::SLOT), node.labels.get(label::INCARNATION)) else {
        return false;
    };
    !instances.iter().any(|i| !i.state.is_ended() && i.slot == *slot && i.incarnation.to_string() == *incarnation)
}

fn managers(nodes: &[Node]) -> usize {
    nodes.iter().filter(|n| n.role == NodeRole::Manager).count()
}

/// What a refusal means for the next plan.
impl LaunchMemory {
    /// Forgets an earlier refusal: the launch is asked for again.
    pub fn attempt(&mut self, filler: Filler, offering: &Offering) {
        self.refused.remove(&(filler, offering.clone()));
    }

    /// Remembers how a launch failed.
    pub fn note(&mut self, filler: Filler, offering: &Offering, error: &CloudError, now: Timestamp) {
        match error {
            CloudError::Capacity(words) => {
                let until = now.checked_add(CAPACITY_PAUSE).unwrap_or(now);
                self.exhausted.insert(offering.clone(), (until, words.clone()));
                self.refused.insert((filler, offering.clone()));
            }
            CloudError::Ended => {
                self.ended.insert(filler);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
