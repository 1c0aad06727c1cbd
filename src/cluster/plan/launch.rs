//! Launches what is missing: as what, and when.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::jiff::Timestamp;

use super::{Action, Filled, Observed, Plan, boot};
use crate::{
    api::SwarmClusterSpec,
    cloud::{Instance, Lack, Offering, Shortage},
    cluster::{
        intent::{Filler, Intent, Launching},
        slot::Slot,
        template::template,
        trouble::Trouble,
    },
};

/// Launches what is missing.
pub fn launch(
    spec: &SwarmClusterSpec,
    seen: &Observed,
    instances: &[Instance],
    fillers: &BTreeMap<Slot, Filled<'_>>,
    now: Timestamp,
    intent: &mut Intent,
    plan: &mut Plan,
) {
    let offerings = offerings(spec);
    let template = template(spec);
    for (n, slot) in Slot::all(spec).enumerate().filter(|(_, s)| !fillers.contains_key(s)) {
        let ended = instances.iter().filter(|i| i.slot.parse() == Ok(slot)).map(|i| i.incarnation);
        let ended = ended.chain(seen.launches.ended.iter().filter(|f| f.slot == slot).map(|f| f.incarnation)).max();
        let meant = intent.launches.get(&slot.to_string()).cloned();
        let incarnation = ended.map_or(0, |e| e + 1).max(meant.as_ref().map_or(0, |m| m.incarnation));
        let filler = Filler { slot, incarnation };
        boot::note_ended(spec, instances, &seen.launches, slot, now, intent, plan);
        let begun = meant.as_ref().is_some_and(|m| m.incarnation == incarnation);
        if let Some(due) = boot::due(spec, intent, slot, now).filter(|due| !begun && *due > now) {
            plan.wake_at(due);
            continue;
        }
        // A launch that was refused made no instance, so whatever the spec says now may take its
        // place. One whose answer is not known may have made one: the same is asked for again.
        let open = |o: &Offering| seen.shortages.get(o).is_none_or(|s| s.until <= now);
        let kept = meant.filter(|m| m.incarnation == incarnation && !seen.launches.refused(filler, &m.offering));
        let launching = kept.or_else(|| {
            let offering = pick(&offerings, n, open)?;
            Some(Launching { incarnation, offering, booted: false, template: template.clone() })
        });
        let Some(launching) = launching else {
            if let Some(shortage) = decisive(offerings.iter().flatten(), &seen.shortages) {
                plan.wake_at(soonest(&seen.shortages).unwrap_or(shortage.until));
                plan.troubles.insert(slot, Trouble::Short(shortage.clone()));
            }
            continue;
        };
        plan.actions.push(Action::Launch(filler, launching.offering.clone()));
        intent.launches.insert(slot.to_string(), launching);
    }
    let wanted: BTreeSet<String> = Slot::all(spec).map(|s| s.to_string()).collect();
    intent.launches.retain(|slot, _| wanted.contains(slot));
    intent.losses.retain(|slot, _| wanted.contains(slot));
}

/// Instance types in order of preference; within a type, every subnet.
#[must_use]
pub fn offerings(spec: &SwarmClusterSpec) -> Vec<Vec<Offering>> {
    let Some(ec2) = &spec.provider.ec2 else { return Vec::new() };
    let subnets: Vec<Option<String>> = match ec2.subnets.as_slice() {
        [] => vec![None],
        some => some.iter().cloned().map(Some).collect(),
    };
    let offer = |t: &String| {
        subnets.iter().map(|s| Offering { instance_type: t.clone(), subnet: s.clone(), spot: ec2.spot }).collect()
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

fn soonest(shortages: &BTreeMap<Offering, Shortage>) -> Option<Timestamp> {
    shortages.values().map(|s| s.until).min()
}

#[cfg(test)]
mod tests;
