//! Which slots are meant.

use std::collections::BTreeSet;

use crate::{
    api::{NodeRole, SwarmClusterSpec, label},
    cluster::{
        journal::Journal,
        member::{Member, Members},
        slot::Slot,
        template::differing,
    },
};

/// The slots a spec asks for, managers first: those that are there, as many as it asks for, and
/// then the lowest that are free. Where fewer are asked for, the dead ones go first, those that
/// are on their way out already stay so, then those that EC2 takes back, then the outdated go, and the leader last. Those that a
/// person keeps do not go.
pub fn slots(
    spec: &SwarmClusterSpec,
    members: &Members<'_>,
    journal: &Journal,
    kept_by_hand: &BTreeSet<Slot>,
) -> Vec<Slot> {
    let mut slots = Vec::new();
    for role in [NodeRole::Manager, NodeRole::Worker] {
        let count = usize::try_from(spec.count(role)).unwrap_or(usize::MAX);
        let held = members.holders().map(|m| m.id.slot);
        let meant = journal.launches.keys().filter_map(|slot| slot.parse().ok());
        let there: BTreeSet<Slot> = held.chain(meant).filter(|s: &Slot| s.role == role).collect();
        let mut kept: Vec<Slot> = there.iter().copied().collect();
        if kept.len() > count {
            let keeps = |slot: &Slot| kept_by_hand.contains(slot) && members.holder(*slot).is_some();
            let worth = |m: &Member<'_>| worth(m, spec, journal);
            kept.sort_by_key(|slot| (!keeps(slot), members.holder(*slot).map_or(Worth::Missing, worth), *slot));
            kept.truncate(count.max(kept.iter().filter(|s| keeps(s)).count()));
        }
        let free = (0..).map(|index| Slot { role, index }).filter(|s| !there.contains(s));
        let more = count.saturating_sub(kept.len());
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
    Outdated,
    TakenBack,
    Unsure,
    Leaving,
    Missing,
}

fn worth(member: &Member<'_>, spec: &SwarmClusterSpec, journal: &Journal) -> Worth {
    let Some(node) = member.node.yes() else { return Worth::Unsure };
    if node.labels.contains_key(label::DRAINING) || node.role != member.id.slot.role {
        Worth::Leaving
    } else if !member.healthy() {
        Worth::Unsure
    } else if member.ends.is_yes() {
        Worth::TakenBack
    } else if node.leader {
        Worth::Leader
    } else if journal.launching(member.id).is_some_and(|l| !differing(l, member.id.slot.role, spec).is_empty()) {
        Worth::Outdated
    } else {
        Worth::Healthy
    }
}
