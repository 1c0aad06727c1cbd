//! Ends what no slot asks for, without taking a vote along.

use std::collections::{BTreeMap, BTreeSet};

use super::{Action, Filled, Observed, Plan, labels};
use crate::{
    api::{NodeRole, SwarmClusterSpec},
    cloud::Instance,
    cluster::{intent::Filler, slot::Slot},
    swarm::Node,
};

/// Ends what no slot asks for; a manager is demoted first, one at a time, and stays while
/// nobody can demote it: ended as it is, it would take its vote with it.
pub fn shrink(
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

fn managers(nodes: &[Node]) -> usize {
    nodes.iter().filter(|n| n.role == NodeRole::Manager).count()
}
