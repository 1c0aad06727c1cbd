//! Spot instances that EC2 takes back. It says so two minutes ahead at most, and that time is used: a successor is
//! launched at once, beside whatever else is being replaced and over the budget of updates, since the machine goes in any
//! case; it takes over and the other one drains as after any change of the spec. What is not done half a minute
//! before the end is not waited for: a worker gives up its tasks then, and what is left EC2 ends. For managers the rule is: a
//! successor first; in that half minute nobody is given a vote any more who goes, and who has one gives it up where the
//! successor votes, or where the majority would go with those that go, whatever run is under way.
//!
//! That a machine is taken back is no fault of its slot: nothing of it counts as a loss.

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::{
    Pass, Wait,
    gate::{alive, majority},
};
use crate::{
    api::NodeRole,
    cloud::{InstanceState, notice::AHEAD},
    cluster::member::{Heard, Member, MemberId},
};

/// How long before its end a worker gives up its tasks though no successor is ready: time for tasks to stop (Docker
/// gives them 10 s unless told otherwise), to be placed elsewhere and to start.
const LAST: SignedDuration = SignedDuration::from_secs(30);

/// Writes down and tells who is taken back. By then it is not asked again: nobody takes that back.
pub fn hear(pass: &mut Pass<'_>) {
    // Whatever the clocks of EC2 and the operator make of each other, it is no longer until then.
    let latest = pass.now.checked_add(AHEAD).unwrap_or(pass.now);
    for member in pass.members.iter() {
        let Some(at) = member.ends.yes() else { continue };
        if let Some(made) = pass.journal.written_mut(member.id).filter(|made| made.ends.is_none()) {
            made.ends = Some(at.min(latest));
            let words = words(pass, member, at.min(latest));
            pass.plan.taken_back.insert(member.instance.id.clone(), words);
        }
        if let Some(last) = end(pass, member).and_then(|at| at.checked_sub(LAST).ok()).filter(|last| *last > pass.now) {
            pass.wake_at(last);
        }
    }
}

/// What is told of it when it is first heard.
fn words(pass: &Pass<'_>, member: &Member<'_>, at: Timestamp) -> String {
    let slot = member.id.slot;
    let name = pass.world.name.rsplit('/').next().unwrap_or_default();
    let then = if !pass.slots.contains(&slot) {
        "it is on its way out already"
    } else if pass.world.kept.contains(&slot) {
        "it is left alone until then, for it is named by the annotation testkit.dev/keep"
    } else if member.holds {
        "its successor is launched"
    } else if member.succeeds {
        "another one is launched in its stead"
    } else {
        "it is on its way out already"
    };
    format!("{name}-{slot}'s instance {} is taken back by EC2 at {}: {then}", member.instance.id, clock(at))
}

/// A moment as a person reads it who has two minutes.
pub fn clock(at: Timestamp) -> String {
    at.strftime("%H:%M:%S UTC").to_string()
}

/// Has successors launched for those that fill a slot.
pub fn rescue(pass: &mut Pass<'_>) {
    // In the pass in which another one takes over, the picture does not know of it yet.
    let written = |id: MemberId| {
        let made = pass.journal.launches.get(&id.slot.to_string());
        made.is_some_and(|made| made.incarnation == id.incarnation)
    };
    let goes = |m: &&Member<'_>| m.ends.is_yes() && m.instance.state < InstanceState::Stopping;
    let goes = pass.members.holders().filter(goes).map(|m| m.id).filter(|id| pass.wanted(*id) && written(*id));
    let goes: Vec<MemberId> = goes.collect();
    for id in goes {
        if pass.world.kept.contains(&id.slot) {
            pass.waits(id, Wait::Kept);
        } else if pass.journal.successors.contains_key(&id.slot.to_string()) {
            pass.waits(id, Wait::Succeeded);
        } else {
            pass.succeeding.insert(id.slot);
        }
    }
}

/// Whether a worker is taken back so soon that its tasks go elsewhere now, whoever is there.
pub fn imminent(pass: &Pass<'_>, member: &Member<'_>) -> bool {
    let free = pass.world.runs.is_empty() && !pass.world.kept.contains(&member.id.slot);
    member.id.slot.role == NodeRole::Worker && free && soon(pass, member)
}

/// Whether a manager is taken back so soon that nothing of its vote waits for anything any more.
pub fn parts(pass: &Pass<'_>, member: &Member<'_>) -> bool {
    let slot = member.id.slot;
    slot.role == NodeRole::Manager && !pass.world.kept.contains(&slot) && soon(pass, member)
}

/// Whether such a manager gives up its vote now, before its tasks and whoever uses it. Its successor has one: when EC2 ends
/// it while both vote, the majority of one voter more has to do without it. Or the majority would go with it.
pub fn steps_down(pass: &Pass<'_>, heard: &Heard<'_>, member: &Member<'_>) -> bool {
    let next = pass.members.holder(member.id.slot).filter(|next| next.id != member.id);
    let succeeded = next.is_some_and(|next| next.healthy() && next.votes().is_yes());
    parts(pass, member) && (succeeded || majority_goes(pass, heard))
}

/// Whether those that answer would be no majority any more without those that are taken back in a moment, and would be one
/// if these had no vote.
fn majority_goes(pass: &Pass<'_>, heard: &Heard<'_>) -> bool {
    let goes = |id: &str| pass.members.iter().any(|m| m.node.yes().is_some_and(|n| n.id == id) && soon(pass, m));
    let voters = heard.nodes.iter().filter(|n| n.voter);
    let stay = voters.clone().filter(|n| alive(n, heard) && !goes(&n.id)).count();
    stay > 0 && stay < majority(voters.count())
}

/// Whether it is over in a moment.
fn soon(pass: &Pass<'_>, member: &Member<'_>) -> bool {
    end(pass, member).is_some_and(|at| at.duration_since(pass.now) <= LAST)
}

/// When a machine is taken back, where that was heard.
fn end(pass: &Pass<'_>, member: &Member<'_>) -> Option<Timestamp> {
    pass.journal.written(member.id).and_then(|made| made.ends).or(member.ends.yes())
}

#[cfg(test)]
mod tests;
