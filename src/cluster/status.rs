//! What the object says: status and conditions as a pure function of what was seen, planned and done.

mod verdict;

use std::collections::BTreeSet;

use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};

use super::{
    act::Outcome,
    plan::{self, Filled, Observed, Plan},
    slot::Slot,
};
use crate::{
    api::{
        AddressKind, NodeRole, NodeState, NodeStatus, SwarmCluster, SwarmClusterStatus, condition, label, set, type_,
    },
    cloud::{Instance, InstanceState},
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
    let verdict = verdict::verdict(cluster, seen, plan, outcome, &nodes);
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
    for (type_, done, what) in [(type_::LAUNCHED, launched, "launched"), (type_::JOINED, joined, "in the swarm")] {
        let reason = if done == wanted { "All" } else { "Some" };
        put(
            type_,
            done == wanted && !seen.deleting,
            reason,
            &format!("{done} of {wanted} {} {what}", if wanted == 1 { "is" } else { "are" }),
        );
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
    if engine.is_none() && node.address.is_none() && filled.instance.state == InstanceState::Running {
        node.message = Some("the instance has no address of the kind spec.provider.ec2.connectTo asks for".to_owned());
    }
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
