//! Instances that do not become engines, and those that end by themselves: when each is given
//! up, and when another one is due.
//!
//! A host is only given up while it is written down that its engine has never answered. That is
//! written before a host joins, so one that is given up is certainly no node: no question to a
//! manager is needed, and no vote is lost. What was not heard of a host that was an engine once
//! is another matter, and never ends it.

use std::collections::BTreeMap;

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::{Action, Filled, Observed, Plan};
use crate::{
    api::{AddressKind, SwarmClusterSpec},
    cloud::{Instance, InstanceState, StateReason},
    cluster::{
        intent::{Filler, Intent, Launching},
        losses::{Cause, Losses},
        memory::LaunchMemory,
        slot::Slot,
        template::{template, terms},
        trouble::Trouble,
    },
};

/// How long an instance may run before its public address is missed: EC2 lists it a moment later.
const ADDRESSED: SignedDuration = SignedDuration::from_secs(20);

/// Writes down who is an engine, and gives up who is not within its time.
pub fn judge(
    spec: &SwarmClusterSpec,
    seen: &Observed,
    fillers: &BTreeMap<Slot, Filled<'_>>,
    now: Timestamp,
    intent: &mut Intent,
    plan: &mut Plan,
) {
    let mut given_up = Vec::new();
    for filled in Slot::all(spec).filter_map(|s| fillers.get(&s)) {
        let (host, instance) = (filled.filler, filled.instance);
        let key = host.slot.to_string();
        if intent.lost(host) {
            given_up.push(instance.id.clone());
            continue;
        }
        let trouble = unaddressed(spec, seen, instance);
        let unaddressed = trouble.is_some();
        plan.troubles.extend(trouble.map(|t| (host.slot, t)));
        if seen.hosts.get(&host).is_some_and(|h| h.engine.is_some()) {
            rise(seen, instance, &key, intent);
            continue;
        }
        if unaddressed {
            continue;
        }
        // What is not written down to have never answered may be a node.
        let Some(launching) = intent.launching(host).filter(|l| !l.booted).cloned() else { continue };
        let Some(cause) = verdict(spec, seen, filled, &launching, intent, plan, now) else { continue };
        lose(spec, host, &instance.id, cause, now, intent, plan);
        given_up.push(instance.id.clone());
    }
    if !given_up.is_empty() {
        plan.actions.push(Action::Terminate(given_up));
    }
}

/// An engine answers: it is one from now on, and with that a row of losses ends, at once or in time.
fn rise(seen: &Observed, instance: &Instance, slot: &str, intent: &mut Intent) {
    if let Some(launching) = intent.launches.get_mut(slot).filter(|l| l.incarnation == instance.incarnation) {
        launching.booted = true;
    }
    let up = seen.clocks.get(&instance.id).filter(|c| c.up).map_or(SignedDuration::ZERO, |c| c.age);
    if intent.losses.get(slot).is_some_and(|l| up >= l.cause.disproved_after()) {
        intent.losses.remove(slot);
    }
}

/// Why a host that has never been an engine is given up now, if it is.
fn verdict(
    spec: &SwarmClusterSpec,
    seen: &Observed,
    filled: &Filled<'_>,
    launching: &Launching,
    intent: &Intent,
    plan: &mut Plan,
    now: Timestamp,
) -> Option<Cause> {
    let (host, instance) = (filled.filler, filled.instance);
    if instance.state >= InstanceState::Stopping {
        return None;
    }
    // Where this spec's first try failed, one by a corrected spec need not wait for the second's end.
    if intent.losses.contains_key(&host.slot.to_string()) && launching.template != template(spec) {
        return Some(Cause::Outdated);
    }
    let clock = seen.clocks.get(&instance.id)?;
    let limit = SignedDuration::try_from(spec.boot_timeout.get()).unwrap_or(SignedDuration::MAX);
    if clock.age < limit {
        plan.wake_at(now.checked_add(limit - clock.age).unwrap_or(now));
        return None;
    }
    if !clock.timely {
        return None;
    }
    // First its last words: with the instance they are gone.
    let Some(console) = seen.consoles.get(&instance.id) else {
        plan.actions.push(Action::Examine(instance.id.clone()));
        return None;
    };
    let error = seen.hosts.get(&host).and_then(|h| h.error.as_deref());
    Some(Cause::not_booted(spec.boot_timeout, error, console))
}

/// An instance that cannot be reached because it has no address of the kind that is asked for.
fn unaddressed(spec: &SwarmClusterSpec, seen: &Observed, instance: &Instance) -> Option<Trouble> {
    let kind = spec.provider.ec2.as_ref()?.connect_to;
    let runs = instance.state == InstanceState::Running;
    let long = seen.clocks.get(&instance.id).is_some_and(|c| c.age >= ADDRESSED);
    let missing = kind == AddressKind::Public && instance.public_address.is_none() && runs && long;
    missing.then(|| Trouble::NoPublicAddress { instance: instance.id.clone(), subnet: instance.subnet.clone() })
}

/// Counts an instance that ended though nobody of us ended it. What we end is not meant any
/// more, or written down as lost, before we do.
pub fn note_ended(
    spec: &SwarmClusterSpec,
    instances: &[Instance],
    launches: &LaunchMemory,
    slot: Slot,
    now: Timestamp,
    intent: &mut Intent,
    plan: &mut Plan,
) {
    let Some(launching) = intent.launches.get(&slot.to_string()).cloned() else { return };
    let host = Filler { slot, incarnation: launching.incarnation };
    if !intent.lost(host) {
        let listed = instances.iter().find(|i| i.slot.parse() == Ok(slot) && i.incarnation == host.incarnation);
        let unlisted = StateReason { code: String::new(), message: "it had ended before it was listed".to_owned() };
        let (id, why) = match listed {
            Some(instance) => (instance.id.as_str(), instance.state_reason.as_ref()),
            None if launches.ended.contains(&host) => ("", Some(&unlisted)),
            None => return,
        };
        let cause = Cause::ended(launching.booted, why);
        lose(spec, host, id, cause, now, intent, plan);
    }
}

/// When the next instance of a slot is due, where the last one was lost.
#[must_use]
pub fn due(spec: &SwarmClusterSpec, intent: &Intent, slot: Slot, now: Timestamp) -> Option<Timestamp> {
    intent.losses.get(&slot.to_string()).map(|l| l.next(&terms(spec), now))
}

/// Writes a loss down, to be told.
fn lose(
    spec: &SwarmClusterSpec,
    host: Filler,
    id: &str,
    cause: Cause,
    now: Timestamp,
    intent: &mut Intent,
    plan: &mut Plan,
) {
    let key = host.slot.to_string();
    let loss =
        Losses { count: 0, incarnation: host.incarnation, instance: id.to_owned(), cause, at: now, spec: terms(spec) };
    let losses = Losses::more(intent.losses.get(&key), loss);
    plan.lost.insert(host.slot, losses.clone());
    intent.losses.insert(key, losses);
}

#[cfg(test)]
mod tests;
