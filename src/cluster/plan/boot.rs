//! Instances that do not become engines, and those that end by themselves: when each is given
//! up, and when another one is due.
//!
//! A host is only given up while it is written down that its engine has never answered. That is
//! written before a host joins, so one that is given up is certainly no node: no question to a
//! manager is needed, and no vote is lost. What was not heard of a host that was an engine once
//! is another matter, and never ends it.

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::{Action, Pass, health};
use crate::{
    api::AddressKind,
    cloud::{Instance, InstanceState, Lack, StateReason},
    cluster::{
        journal::Launching,
        losses::{Cause, Losses},
        member::{Member, MemberId},
        slot::Slot,
        template::{differing, terms},
        trouble::Trouble,
    },
};

/// How long an instance may run before its public address is missed: EC2 lists it a moment later.
const ADDRESSED: SignedDuration = SignedDuration::from_secs(20);

/// Writes down who is an engine, and gives up who is not within its time.
pub fn judge(pass: &mut Pass<'_>) {
    let mut given_up = Vec::new();
    let members = pass.members;
    let slots = pass.slots.clone();
    for member in members.meant().filter(|m| slots.contains(&m.id.slot)) {
        let (host, instance, slot) = (member.id, member.instance, member.id.slot);
        if pass.journal.lost(host) {
            given_up.push(instance.id.clone());
            continue;
        }
        if instance.state == InstanceState::Stopped {
            if let Some(cause) = unstartable(pass, member) {
                lose(pass, host, &instance.id, cause);
                given_up.push(instance.id.clone());
            }
            continue;
        }
        let trouble = unaddressed(pass, instance);
        let unaddressed = trouble.is_some();
        pass.plan.troubles.extend(trouble.map(|t| (slot, t)));
        if member.engine.is_yes() {
            rise(pass, member);
            continue;
        }
        if unaddressed || pass.world.kept.contains(&slot) {
            continue;
        }
        // What is not written down to have never answered may be a node.
        let Some(launching) = pass.journal.launching(host).filter(|l| !l.booted).cloned() else { continue };
        let Some(cause) = verdict(pass, member, &launching) else { continue };
        lose(pass, host, &instance.id, cause);
        given_up.push(instance.id.clone());
    }
    if !given_up.is_empty() {
        pass.take(Action::Terminate(given_up));
    }
}

/// Why an instance that is stopped is given up, where it was never an engine.
fn unstartable(pass: &mut Pass<'_>, member: &Member<'_>) -> Option<Cause> {
    let never = pass.journal.launching(member.id).is_some_and(|l| !l.booted);
    let may = never && !pass.world.kept.contains(&member.id.slot);
    may.then(|| health::given_up(pass, member)).flatten()
}

/// Starts who is stopped and is not given up.
pub fn restart(pass: &mut Pass<'_>) {
    let stopped = |m: &&Member<'_>| m.instance.state == InstanceState::Stopped && pass.wanted(m.id);
    let ids: Vec<_> = pass.members.meant().filter(stopped).map(|m| m.instance.id.clone()).collect();
    if !ids.is_empty() {
        pass.take(Action::Start(ids));
    }
}

/// An engine answers: it is one from now on, and with that a row of losses ends, at once or in time.
fn rise(pass: &mut Pass<'_>, member: &Member<'_>) {
    let (journal, slot) = (&mut pass.journal, member.id.slot.to_string());
    if let Some(launching) = journal.launching_mut(member.id) {
        launching.booted = true;
    }
    // Of successors, their predecessor tells nothing.
    let tells = journal.succeeds(member.id) || !journal.successors.contains_key(&slot);
    let up = pass.world.clocks.get(&member.instance.id).filter(|c| c.up).map_or(SignedDuration::ZERO, |c| c.age);
    if tells && journal.losses.get(&slot).is_some_and(|l| up >= l.cause.disproved_after()) {
        journal.losses.remove(&slot);
    }
}

/// Why a host that has never been an engine is given up now, if it is.
fn verdict(pass: &mut Pass<'_>, member: &Member<'_>, launching: &Launching) -> Option<Cause> {
    let (host, instance) = (member.id, member.instance);
    if instance.state >= InstanceState::Stopping {
        return None;
    }
    // Where this spec's first try failed, one by a corrected spec need not wait for the second's end.
    if pass.journal.losses.contains_key(&host.slot.to_string())
        && !differing(launching, host.slot.role, pass.spec).is_empty()
    {
        return Some(Cause::Outdated);
    }
    let clock = pass.world.clocks.get(&instance.id)?;
    let limit = SignedDuration::try_from(pass.spec.boot_timeout.get()).unwrap_or(SignedDuration::MAX);
    if clock.age < limit {
        pass.wake_in(limit - clock.age);
        return None;
    }
    if !clock.timely {
        return None;
    }
    // First its last words: with the instance they are gone.
    let Some(console) = pass.world.consoles.get(&instance.id) else {
        pass.take(Action::Examine(instance.id.clone()));
        return None;
    };
    let error = member.host.and_then(|h| h.error.as_deref());
    Some(Cause::not_booted(pass.spec.boot_timeout, error, console))
}

/// An instance that cannot be reached because it has no address of the kind that is asked for.
fn unaddressed(pass: &Pass<'_>, instance: &Instance) -> Option<Trouble> {
    let kind = pass.spec.provider.ec2.as_ref()?.connect_to;
    let runs = instance.state == InstanceState::Running;
    let long = pass.world.clocks.get(&instance.id).is_some_and(|c| c.age >= ADDRESSED);
    let missing = kind == AddressKind::Public && instance.public_address.is_none() && runs && long;
    missing.then(|| Trouble::NoPublicAddress { instance: instance.id.clone(), subnet: instance.subnet.clone() })
}

/// Counts an instance that ended though nobody of us ended it. What we end is not meant any
/// more, or written down as lost, before we do.
pub fn note_ended(pass: &mut Pass<'_>, instances: &[Instance], slot: Slot, launching: &Launching) {
    let host = MemberId { slot, incarnation: launching.incarnation };
    if !pass.journal.lost(host) {
        let listed = instances.iter().find(|i| i.slot.parse() == Ok(slot) && i.incarnation == host.incarnation);
        let unlisted = StateReason { code: String::new(), message: "it had ended before it was listed".to_owned() };
        let (id, why) = match listed {
            Some(instance) => (instance.id.as_str(), instance.state_reason.as_ref()),
            None if pass.world.launches.ended.contains(&host) => ("", Some(&unlisted)),
            None => return,
        };
        let cause = match launching.ends {
            Some(_) => Cause::taken_back(launching.booted),
            None => Cause::ended(launching.booted, why),
        };
        lose(pass, host, id, cause);
        if let Some((why, lack)) = why.and_then(|why| Some((why, Lack::of_end(&why.code)?))) {
            pass.lacks(&launching.offering, lack, format!("{id} ended: {why}"));
        }
    }
}

/// When the next instance of a slot is due, where the last one was lost.
#[must_use]
pub fn due(pass: &Pass<'_>, slot: Slot) -> Option<Timestamp> {
    pass.journal.losses.get(&slot.to_string()).map(|l| l.next(&terms(pass.spec, &pass.world.access), pass.now))
}

/// Writes a loss down, to be told.
pub fn lose(pass: &mut Pass<'_>, host: MemberId, id: &str, cause: Cause) {
    let key = host.slot.to_string();
    let (at, spec) = (pass.now, terms(pass.spec, &pass.world.access));
    let loss = Losses { count: 0, incarnation: host.incarnation, instance: id.to_owned(), cause, at, spec };
    let losses = Losses::more(pass.journal.losses.get(&key), loss);
    pass.plan.lost.insert(host.slot, losses.clone());
    pass.journal.losses.insert(key, losses);
}

#[cfg(test)]
mod tests;
