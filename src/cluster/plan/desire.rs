//! Which slots are meant.

use std::collections::BTreeSet;

use crate::{
    api::{NodeRole, SwarmClusterSpec, label},
    cluster::{
        journal::Journal,
        member::{Member, Members},
        slot::Slot,
    },
};

/// The slots a spec asks for, managers first: those that are there, as many as it asks for, and
/// then the lowest that are free. Where fewer are asked for, the dead ones go first, those that
/// are on their way out already stay so, and the leader goes last.
pub fn slots(spec: &SwarmClusterSpec, members: &Members<'_>, journal: &Journal) -> Vec<Slot> {
    let mut slots = Vec::new();
    for (role, count) in [(NodeRole::Manager, spec.managers), (NodeRole::Worker, spec.workers)] {
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        let held = members.holders().map(|m| m.id.slot);
        let meant = journal.launches.keys().filter_map(|slot| slot.parse().ok());
        let there: BTreeSet<Slot> = held.chain(meant).filter(|s: &Slot| s.role == role).collect();
        let mut kept: Vec<Slot> = there.iter().copied().collect();
        if kept.len() > count {
            kept.sort_by_key(|slot| (members.holder(*slot).map_or(Worth::Missing, worth), *slot));
            kept.truncate(count);
        }
        let free = (0..).map(|index| Slot { role, index }).filter(|s| !there.contains(s));
        let more = count - kept.len();
        kept.extend(free.take(more));
        kept.sort();
        slots.extend(kept);
    }
    slots
}

/// What is lost with a member, the most first.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Worth {
    Leader,
    Healthy,
    Unsure,
    Leaving,
    Missing,
}

fn worth(member: &Member<'_>) -> Worth {
    let Some(node) = member.node.yes() else { return Worth::Unsure };
    if node.labels.contains_key(label::DRAINING) || node.role != member.id.slot.role {
        Worth::Leaving
    } else if !member.healthy() {
        Worth::Unsure
    } else if node.leader {
        Worth::Leader
    } else {
        Worth::Healthy
    }
}
