//! Launches what is missing: as what, and when.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::jiff::Timestamp;

use super::{Action, Pass, boot};
use crate::{
    api::{NodeRole, SwarmClusterSpec},
    cloud::{Instance, Lack, Offering, Shortage},
    cluster::{journal::Launching, member::MemberId, slot::Slot, template::template, trouble::Trouble},
};

/// Launches what is missing, and what is to take the place of another one.
pub fn launch(pass: &mut Pass<'_>, instances: &[Instance]) {
    for (n, slot) in pass.slots.clone().into_iter().enumerate() {
        let key = slot.to_string();
        if pass.members.holder(slot).is_none() {
            let meant = pass.journal.launches.get(&key).cloned();
            let launching = fill(pass, instances, (n, slot), meant);
            pass.journal.launches.extend(launching.map(|l| (key, l)));
            continue;
        }
        let meant = pass.journal.successors.get(&key).cloned();
        let there = |l: &Launching| pass.members.get(MemberId { slot, incarnation: l.incarnation }).is_some();
        let asked = meant.as_ref().map_or_else(|| pass.succeeding.contains(&slot), |l| !there(l));
        // One that took over in this very pass holds its slot in the next.
        if asked {
            let launching = fill(pass, instances, (n, slot), meant);
            pass.journal.successors.extend(launching.map(|l| (key, l)));
        }
    }
    forget(pass, instances);
}

/// Launches an instance for the nth slot: what was written down for it, or else something that is to be had now.
fn fill(
    pass: &mut Pass<'_>,
    instances: &[Instance],
    (n, slot): (usize, Slot),
    meant: Option<Launching>,
) -> Option<Launching> {
    let (offerings, now) = (offerings(pass.spec, slot.role), pass.now);
    let incarnation = incarnation(pass, instances, slot, meant.as_ref());
    let member = MemberId { slot, incarnation };
    if let Some(meant) = &meant {
        boot::note_ended(pass, instances, slot, meant);
    }
    let begun = meant.as_ref().is_some_and(|m| m.incarnation == incarnation);
    if let Some(due) = boot::due(pass, slot).filter(|due| !begun && *due > now) {
        pass.wake_at(due);
        return None;
    }
    // A launch that was refused made no instance, so whatever the spec says now may take its
    // place. One whose answer is not known may have made one: the same is asked for again.
    let shortages = pass.shortages.clone();
    let open = |o: &Offering| shortages.get(o).is_none_or(|s| s.until <= now);
    let launches = &pass.world.launches;
    let kept = meant.filter(|m| m.incarnation == incarnation && !launches.refused(member, &m.offering));
    let launching = kept.or_else(|| {
        // Of what EC2 just takes back it has none left.
        let scarce = |o: &Offering| pass.journal.taken_back().any(|l| l.offering == *o);
        let offering = pick(&offerings, n, |o| open(o) && !scarce(o)).or_else(|| pick(&offerings, n, open))?;
        Some(Launching { incarnation, offering, booted: false, template: template(pass.spec), ends: None })
    });
    match &launching {
        Some(launching) => pass.take(Action::Launch(member, launching.offering.clone())),
        None => {
            if let Some(shortage) = decisive(offerings.iter().flatten(), &shortages) {
                pass.wake_at(soonest(offerings.iter().flatten(), &shortages).unwrap_or(shortage.until));
                pass.plan.troubles.insert(slot, Trouble::Short(shortage.clone()));
            }
        }
    }
    launching
}

/// Which instance of a slot is launched next: the one that was written down and may not be there
/// yet, else one that never was. An instance whose engine has answered was there, and is not any more.
fn incarnation(pass: &Pass<'_>, instances: &[Instance], slot: Slot, meant: Option<&Launching>) -> u32 {
    let key = slot.to_string();
    let meant_for = meant.map(|l| l.incarnation);
    let listed = instances.iter().filter(|i| i.slot.parse() == Ok(slot)).map(|i| i.incarnation);
    let ended = pass.world.launches.ended.iter().filter(|m| m.slot == slot).map(|m| m.incarnation);
    let spent = pass.journal.spent.get(&key).copied();
    let over = meant.filter(|l| l.booted).map(|l| l.incarnation);
    let written = [&pass.journal.launches, &pass.journal.successors].into_iter().filter_map(|of| of.get(&key));
    let others = written.map(|l| l.incarnation).filter(|i| Some(*i) != meant_for);
    let lost = pass.journal.losses.get(&key).map(|l| l.incarnation);
    let used = listed.chain(ended).chain(spent).chain(over).chain(others).chain(lost);
    used.max().map_or(0, |last| last.saturating_add(1)).max(meant_for.unwrap_or_default())
}

/// Forgets what was meant for slots that are not asked for any more, but for the incarnations that were used. What a
/// machine was launched by stays for as long as the machine does: on its way out it may be asked for again, and must
/// not be taken for one that is as the spec asks for by then.
fn forget(pass: &mut Pass<'_>, instances: &[Instance]) {
    let wanted: BTreeSet<String> = pass.slots.iter().map(ToString::to_string).collect();
    let there = |slot: &String, launching: &Launching| {
        let of_it = |i: &&Instance| i.slot == *slot && i.incarnation == launching.incarnation;
        instances.iter().filter(of_it).any(|i| !i.state.is_ended())
    };
    let journal = &mut pass.journal;
    let written = journal.launches.iter().chain(&journal.successors);
    for (slot, launching) in written.filter(|(slot, _)| !wanted.contains(*slot)) {
        let spent = journal.spent.entry(slot.clone()).or_default();
        *spent = (*spent).max(launching.incarnation);
    }
    journal.launches.retain(|slot, launching| wanted.contains(slot) || there(slot, launching));
    journal.successors.retain(|slot, _| wanted.contains(slot));
    journal.predecessors.retain(|slot, _| wanted.contains(slot));
    journal.losses.retain(|slot, _| wanted.contains(slot));
}

/// All that may be launched for any slot.
pub fn all_offerings(spec: &SwarmClusterSpec) -> impl Iterator<Item = Offering> {
    let of = |role| offerings(spec, role).into_iter().flatten();
    of(NodeRole::Manager).chain(of(NodeRole::Worker))
}

/// For a slot of this role: instance types in order of preference; within a type, every subnet.
#[must_use]
pub fn offerings(spec: &SwarmClusterSpec, role: NodeRole) -> Vec<Vec<Offering>> {
    let Some(ec2) = &spec.provider.ec2 else { return Vec::new() };
    let subnets: Vec<Option<String>> = match ec2.subnets.as_slice() {
        [] => vec![None],
        some => some.iter().cloned().map(Some).collect(),
    };
    let offer = |t: &String| {
        subnets
            .iter()
            .map(|s| Offering { instance_type: t.clone(), subnet: s.clone(), spot: ec2.spot_for(role) })
            .collect()
    };
    ec2.instance_types.iter().map(offer).collect()
}

/// The first type that is to be had; the nth slot begins at the nth subnet, so that they spread.
fn pick(offerings: &[Vec<Offering>], nth: usize, open: impl Fn(&Offering) -> bool) -> Option<Offering> {
    offerings.iter().find_map(|of_type| {
        let start = nth % of_type.len().max(1);
        of_type[start..].iter().chain(&of_type[..start]).find(|o| open(o)).cloned()
    })
}

/// Of several shortages the one to tell: capacity where that is one of them, for it passes by
/// itself; else the one of the type that is preferred.
fn decisive<'a>(
    offerings: impl Iterator<Item = &'a Offering> + Clone,
    shortages: &BTreeMap<Offering, Shortage>,
) -> Option<&Shortage> {
    let mut all = offerings.filter_map(|o| shortages.get(o));
    let first = all.next()?;
    Some(std::iter::once(first).chain(all).find(|s| s.lack == Lack::Capacity).unwrap_or(first))
}

/// When the first of these is tried again.
fn soonest<'a>(
    offerings: impl Iterator<Item = &'a Offering>,
    shortages: &BTreeMap<Offering, Shortage>,
) -> Option<Timestamp> {
    offerings.filter_map(|o| shortages.get(o)).map(|s| s.until).min()
}

#[cfg(test)]
mod tests;
