//! What the object says: status and conditions as a pure function of what was seen, planned and done.

use std::collections::BTreeSet;

use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};

use super::{
    act::{Failure, Outcome},
    plan::{self, Filled, Observed, Plan},
    slot::Slot,
};
use crate::{
    api::{
        AddressKind, NodeRole, NodeState, NodeStatus, SwarmCluster, SwarmClusterSpec, SwarmClusterStatus, condition,
        label, reason, set, type_,
    },
    cloud::{CloudError, Instance, InstanceState},
    swarm::LocalState,
};

/// Writes the status.
#[must_use]
pub fn status(
    cluster: &SwarmCluster,
    seen: &Observed,
    plan: &Plan,
    outcome: &Outcome,
    now: Timestamp,
) -> SwarmClusterStatus {
    let spec = &cluster.spec;
    let nodes = nodes(cluster, seen);
    let verdict = verdict(spec, seen, plan, outcome, &nodes);
    let ready = |role| nodes.iter().filter(|n| n.role == role && n.state == NodeState::Ready).count();
    let versions: BTreeSet<&str> = nodes.iter().filter_map(|n| n.engine_version.as_deref()).collect();
    let versions: Vec<&str> = versions.into_iter().collect();
    let generation = cluster.metadata.generation;
    let mut conditions = cluster.status.as_ref().map(|s| s.conditions.clone()).unwrap_or_default();
    let mut put = |type_, holds, reason: &str, message: &str| {
        set(&mut conditions, condition(type_, holds, reason, message, generation, now));
    };
    put(type_::READY, verdict.ready, verdict.reason, &verdict.message);
    put(type_::RECONCILING, verdict.reconciling, verdict.reason, &verdict.message);
    put(type_::STALLED, verdict.stalled, verdict.reason, &verdict.message);
    let slots = nodes.iter().filter(|n| n.state != NodeState::Terminating);
    let launched = slots.clone().filter(|n| n.state != NodeState::Missing).count();
    let joined = slots.clone().filter(|n| n.node_id.is_some()).count();
    let wanted = slots.count();
    for (type_, done, what) in [(type_::LAUNCHED, launched, "launched"), (type_::JOINED, joined, "nodes of the swarm")]
    {
        let reason = if done == wanted { "All" } else { "Some" };
        put(type_, done == wanted && !seen.deleting, reason, &format!("{done} of {wanted} are {what}"));
    }
    SwarmClusterStatus {
        observed_generation: generation,
        conditions,
        managers: Some(format!("{}/{}", ready(NodeRole::Manager), spec.managers)),
        workers: Some(format!("{}/{}", ready(NodeRole::Worker), spec.workers)),
        engine_version: (!versions.is_empty()).then(|| versions.join(",")),
        endpoint: nodes.iter().find(|n| n.leader).and_then(|n| n.address.clone()),
        ssh_secret: seen.intent.is_some().then(|| cluster.ssh_secret_name()),
        expires_at: plan::expiry(spec, seen).map(Time),
        nodes,
    }
}

struct Verdict {
    ready: bool,
    reconciling: bool,
    stalled: bool,
    reason: &'static str,
    message: String,
}

/// One sentence on the whole, the most telling thing first.
fn verdict(spec: &SwarmClusterSpec, seen: &Observed, plan: &Plan, outcome: &Outcome, nodes: &[NodeStatus]) -> Verdict {
    let busy = |reason, message| Verdict { ready: false, reconciling: true, stalled: false, reason, message };
    if let Some((failure, what)) = outcome.failures.first() {
        let (reason, stalled) = judge(failure);
        let message = format!("{what}: {failure}{}", remedy(failure));
        return Verdict { ready: false, reconciling: !stalled, stalled, reason, message };
    }
    let of = |state| nodes.iter().filter(move |n| n.state == state);
    let names = |state| of(state).map(|n| n.name.as_str()).collect::<Vec<_>>().join(", ");
    if seen.deleting {
        let left = of(NodeState::Terminating).count();
        return busy(reason::DELETING, format!("removing the cluster: {left} instances are left"));
    }
    let all_ready = nodes.iter().all(|n| n.state == NodeState::Ready);
    if spec.paused {
        let message = "spec.paused is true: nothing is changed until it is false".to_owned();
        return Verdict { ready: all_ready, reconciling: false, stalled: false, reason: reason::PAUSED, message };
    }
    if let Some((slot, words)) = plan.starved.iter().next() {
        let n = plan.starved.len();
        return busy(
            reason::NO_CAPACITY,
            format!(
                "{n} instances (first {slot}) wait for capacity, and are asked for again every minute; more entries in spec.provider.ec2.instanceTypes or other subnets would help. EC2 says: {words}"
            ),
        );
    }
    if of(NodeState::Missing).next().is_some() {
        return busy(reason::LAUNCHING, format!("launching {}", names(NodeState::Missing)));
    }
    if of(NodeState::Down).next().is_some() {
        let no_quorum = seen.nodes.is_none() && seen.swarm_error.is_some();
        let reason = if no_quorum { reason::NO_QUORUM } else { reason::NODE_NOT_READY };
        let why = of(NodeState::Down).find_map(|n| n.message.as_deref()).unwrap_or("down");
        return busy(reason, format!("{} not ready: {why}", names(NodeState::Down)));
    }
    if of(NodeState::Booting).next().is_some() {
        let why = of(NodeState::Booting).find_map(|n| n.message.as_deref()).unwrap_or("the engine does not answer yet");
        return busy(reason::BOOTING, format!("waiting for {}: {why}", names(NodeState::Booting)));
    }
    if !all_ready || !plan.actions.is_empty() || !plan.pins.is_empty() {
        let waiting: Vec<&str> =
            nodes.iter().filter(|n| n.state != NodeState::Ready).map(|n| n.name.as_str()).collect();
        let message = match waiting.as_slice() {
            [] => "labelling nodes and removing what is not asked for any more".to_owned(),
            some => format!("joining {}", some.join(", ")),
        };
        return busy(reason::JOINING, message);
    }
    let message = format!("{} managers and {} workers are ready", spec.managers, spec.workers);
    Verdict { ready: true, reconciling: false, stalled: false, reason: reason::READY, message }
}

/// The reason of a failure, and whether only a person can end it.
fn judge(failure: &Failure) -> (&'static str, bool) {
    match failure {
        Failure::Cloud(error) => match error {
            CloudError::Capacity(_) => (reason::NO_CAPACITY, false),
            CloudError::Quota(_) => (reason::QUOTA, true),
            CloudError::Unauthorized { .. } => (reason::UNAUTHORIZED, true),
            CloudError::Invalid(_) => (reason::INVALID_SPEC, true),
            CloudError::Throttled(_) => (reason::THROTTLED, false),
            CloudError::Ended | CloudError::Unavailable(_) => (reason::CLOUD_ERROR, false),
        },
        Failure::Host(_) => (reason::HOST_ERROR, false),
        Failure::Spec(_) => (reason::INVALID_SPEC, true),
        Failure::Unsupported(_) => (reason::UNSUPPORTED, true),
    }
}

/// What a person can do about a failure. The operator tries again by itself in every case.
fn remedy(failure: &Failure) -> &'static str {
    let Failure::Cloud(error) = failure else { return "" };
    match error {
        CloudError::Quota(_) => ". Raise the quota of the account, or remove instances; this is tried again by itself",
        CloudError::Unauthorized { .. } => {
            ". Add the permission to the operator's IAM policy (deploy/iam-policy.json has all it needs); this is tried again by itself"
        }
        CloudError::Invalid(_) => ". Correct spec.provider.ec2, or make what it names; this is tried again by itself",
        CloudError::Throttled(_) => ". This is tried again by itself",
        _ => "",
    }
}

/// Every slot and every instance beside the slots.
fn nodes(cluster: &SwarmCluster, seen: &Observed) -> Vec<NodeStatus> {
    let none = Vec::new();
    let instances = seen.instances.as_ref().unwrap_or(&none);
    let fillers = plan::fillers(instances);
    let name = |slot: &str| format!("{}-{slot}", cluster.metadata.name.as_deref().unwrap_or_default());
    let kind = cluster.spec.provider.ec2.as_ref().map(|e| e.connect_to).unwrap_or_default();
    let mut nodes: Vec<NodeStatus> = Slot::all(&cluster.spec)
        .map(|slot| match fillers.get(&slot) {
            Some(filled) if !seen.deleting => filled_slot(name(&slot.to_string()), kind, filled, seen),
            _ => NodeStatus { name: name(&slot.to_string()), ..blank(slot.role, NodeState::Missing) },
        })
        .filter(|n| !(seen.deleting && n.state == NodeState::Missing))
        .collect();
    let shown: BTreeSet<_> = nodes.iter().filter_map(|n| n.instance_id.clone()).collect();
    let others = instances.iter().filter(|i| !shown.contains(&i.id) && i.state != InstanceState::Terminated);
    nodes.extend(others.map(|i| {
        let role = i.slot.parse::<Slot>().map_or(NodeRole::Worker, |s| s.role);
        NodeStatus { name: name(&i.slot), ..with_instance(blank(role, NodeState::Terminating), kind, i) }
    }));
    nodes
}

/// A slot with an instance.
fn filled_slot(name: String, kind: AddressKind, filled: &Filled<'_>, seen: &Observed) -> NodeStatus {
    let mut node = with_instance(blank(filled.filler.slot.role, NodeState::Booting), kind, filled.instance);
    node.name = name;
    if filled.instance.state >= InstanceState::Stopping {
        node.state = NodeState::Down;
        node.message = Some("the instance is stopped: start it, or terminate it to have it replaced".to_owned());
        return node;
    }
    let host = seen.hosts.get(&filled.filler);
    let engine = host.and_then(|h| h.engine.as_ref());
    let labelled = |n: &&crate::swarm::Node| {
        n.labels.get(label::SLOT) == Some(&filled.filler.slot.to_string())
            && n.labels.get(label::INCARNATION) == Some(&filled.filler.incarnation.to_string())
    };
    let listed = seen.nodes.iter().flatten();
    let member = match engine.and_then(|e| e.node_id.as_ref()) {
        Some(id) => listed.clone().find(|n| n.id == *id),
        None => listed.clone().find(labelled),
    };
    if let Some(member) = member {
        node.node_id = Some(member.id.clone());
        node.engine_version = Some(member.engine_version.clone()).filter(|v| !v.is_empty());
        node.leader = member.leader;
        let reachable = member.role == NodeRole::Worker || member.reachable;
        node.state = if member.ready && reachable && member.role == node.role && engine.is_some() {
            NodeState::Ready
        } else if labelled(&member) {
            NodeState::Down
        } else {
            NodeState::Joining
        };
        if node.state == NodeState::Down {
            let why = host.and_then(|h| h.error.clone());
            node.message = Some(why.unwrap_or_else(|| format!("the swarm says it is {}", member.state)));
        }
        return node;
    }
    node.message = host.and_then(|h| h.error.clone());
    if let Some(engine) = engine {
        node.engine_version = Some(engine.version.clone());
        node.state = NodeState::Joining;
        node.message = engine.error.clone().filter(|e| !e.is_empty());
        if engine.state == LocalState::Active && seen.nodes.is_none() {
            node.node_id = engine.node_id.clone();
            if let Some(error) = &seen.swarm_error {
                node.state = NodeState::Down;
                node.message = Some(error.clone());
            }
        }
    }
    node
}

fn blank(role: NodeRole, state: NodeState) -> NodeStatus {
    NodeStatus {
        name: String::new(),
        role,
        state,
        leader: false,
        instance_id: None,
        instance_type: None,
        address: None,
        private_address: None,
        node_id: None,
        engine_version: None,
        message: None,
    }
}

fn with_instance(mut node: NodeStatus, kind: AddressKind, instance: &Instance) -> NodeStatus {
    node.instance_id = Some(instance.id.clone());
    node.instance_type = Some(instance.instance_type.clone());
    node.address = address(instance, kind).map(str::to_owned);
    node.private_address.clone_from(&instance.private_address);
    node
}

/// The address to connect to.
#[must_use]
pub fn address(instance: &Instance, kind: AddressKind) -> Option<&str> {
    match kind {
        AddressKind::Private => instance.private_address.as_deref(),
        AddressKind::Public => instance.public_address.as_deref(),
    }
}
