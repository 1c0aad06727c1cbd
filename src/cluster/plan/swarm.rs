//! The swarm itself: where it is begun, who joins it, and what its nodes are to be.

use std::collections::BTreeMap;

use super::{Action, Filled, Observed, Plan, labels};
use crate::{
    api::{NodeRole, SwarmClusterSpec, label},
    cloud::Instance,
    cluster::{
        intent::{Filler, Intent},
        slot::Slot,
    },
    swarm::{LocalState, Node},
};

/// Begins the swarm on the first manager whose engine answers, unless one may have been begun already.
pub fn begin(
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
pub fn tend(
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

/// Whether a node was one of ours and its instance has ended. A node without our labels is somebody else's.
fn is_orphan(node: &Node, instances: &[Instance]) -> bool {
    let (Some(slot), Some(incarnation)) = (node.labels.get(label::SLOT), node.labels.get(label::INCARNATION)) else {
        return false;
    };
    !instances.iter().any(|i| !i.state.is_ended() && i.slot == *slot && i.incarnation.to_string() == *incarnation)
}
