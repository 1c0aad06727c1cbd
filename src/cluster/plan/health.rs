//! Hosts that were engines and are not well any more: what ails each, and who is replaced for it.
//!
//! Time runs by the operator's clock alone, from when this process first saw the ailment, and a
//! look that comes late counts no more than one in time: an operator that was stopped blames no
//! host for it. Nobody is replaced unless a manager speaks for a majority.

use k8s_openapi::jiff::SignedDuration;

use super::{Pass, Wait};
use crate::{
    api::NodeRole,
    cloud::InstanceState,
    cluster::{
        known::Known,
        losses::Cause,
        member::{Member, MemberId},
    },
    swarm::LocalState,
};

/// What is wrong with a machine that is to be a node, as the end of a sentence that begins with
/// its name; `None` while nothing is, or while it is on its way.
#[must_use]
pub fn ailment(member: &Member<'_>, swarm_id: Option<&String>) -> Option<String> {
    if let Some(why) = member.unstarted {
        return Some(format!("was stopped, and is not started: {why}"));
    }
    let listed = member.node.yes();
    let role = member.id.slot.role;
    let Known::Yes(engine) = member.engine else {
        if member.engine.is_no() || member.instance.state != InstanceState::Running {
            return None;
        }
        let what = match member.host {
            Some(host) if host.connected => "is reached, but its engine does not answer",
            _ => "cannot be reached",
        };
        let swarm = match listed {
            Some(node) if node.ready => ", though the swarm still hears it",
            Some(_) => ", and the swarm does not hear it either",
            None => "",
        };
        let why = member.host.and_then(|h| h.error.as_deref()).map(|e| format!(" ({e})")).unwrap_or_default();
        return Some(format!("{what}{swarm}{why}"));
    };
    if let Some(other) = member.elsewhere(swarm_id) {
        return Some(format!("is in another swarm ({other})"));
    }
    let error = engine.error.as_deref().unwrap_or("it gives no reason");
    match (engine.state, listed) {
        (LocalState::Inactive, _) => None,
        (LocalState::Pending, _) => Some(format!("does not get into the swarm: {error}")),
        (LocalState::Error, _) => Some(format!("has lost the swarm: {error}")),
        (LocalState::Locked, _) => Some("is locked: the swarm's unlock key has to be given to it".to_owned()),
        (LocalState::Active, Some(node)) if !node.ready => {
            Some(format!("is a node that the swarm says is {}", node.state))
        }
        (LocalState::Active, Some(node)) if role == NodeRole::Manager && node.role == role => {
            match (node.voter, node.reachable) {
                (true, true) => None,
                (true, false) => Some("is a manager that the others do not reach".to_owned()),
                (false, _) => Some("is to be a manager and gets no vote".to_owned()),
            }
        }
        (LocalState::Active, Some(_)) => None,
        (LocalState::Active, None) if member.node.is_no() => Some("is in a swarm that does not know it".to_owned()),
        (LocalState::Active, None) => None,
    }
}

/// Who is replaced now, and why: of each role the first of those that have ailed too long, and
/// nobody while one of its role is on its way. Those that the swarm does not hear come first:
/// without them the voters bear more.
pub fn doomed(pass: &mut Pass<'_>) -> Vec<(MemberId, Cause)> {
    if pass.world.given.is_some() {
        return Vec::new();
    }
    let limit = SignedDuration::try_from(pass.spec.unhealthy_after.get()).unwrap_or(SignedDuration::MAX);
    let swarm_id = pass.journal.swarm_id.clone();
    let members = pass.members;
    let mut ailing: Vec<_> = members.meant().filter(|m| pass.meant(m)).collect();
    ailing.sort_by_key(|m| m.node.yes().is_some_and(|n| n.ready));
    let mut doomed: Vec<(MemberId, Cause)> = Vec::new();
    for member in ailing {
        let Some(what) = ailment(member, swarm_id.as_ref()) else { continue };
        let Some(clock) = pass.world.health.get(&member.instance.id).filter(|c| !c.up) else { continue };
        let role = member.id.slot.role;
        if pass.world.kept.contains(&member.id.slot) {
            pass.waits(member.id, Wait::Kept);
        } else if clock.age < limit {
            pass.wake_in(limit - clock.age);
            pass.waits(member.id, Wait::Patience);
        } else if !clock.timely {
            pass.waits(member.id, Wait::Patience);
        } else if doomed.iter().any(|(id, _)| id.slot.role == role) || coming(pass, role) {
            pass.waits(member.id, Wait::Budget);
        } else {
            doomed.push((member.id, Cause::unhealthy(pass.spec.unhealthy_after, &what)));
        }
    }
    doomed
}

/// Why one that has never been an engine, and so is certainly no node, is given up now: no manager need be asked.
pub fn given_up(pass: &mut Pass<'_>, member: &Member<'_>) -> Option<Cause> {
    let what = ailment(member, pass.journal.swarm_id.as_ref())?;
    let clock = pass.world.health.get(&member.instance.id).filter(|c| !c.up)?;
    let limit = SignedDuration::try_from(pass.spec.unhealthy_after.get()).unwrap_or(SignedDuration::MAX);
    if clock.age < limit {
        pass.wake_in(limit - clock.age);
        return None;
    }
    clock.timely.then(|| Cause::unhealthy(pass.spec.unhealthy_after, &what))
}

/// Whether a machine of this role is on its way to become a node. One that waits at the gate, for
/// a vote or to lose one, is not: who is replaced may be what it waits for.
fn coming(pass: &Pass<'_>, role: NodeRole) -> bool {
    let swarm_id = pass.journal.swarm_id.as_ref();
    pass.slots.iter().filter(|s| s.role == role).any(|slot| match pass.members.holder(*slot) {
        None => true,
        Some(member) => match member.engine.state() {
            None => ailment(member, swarm_id).is_none(),
            Some(LocalState::Pending) => true,
            Some(_) => pass.world.joining.contains(&member.id),
        },
    })
}

#[cfg(test)]
mod tests;
