//! The swarm as a whole: begun, adopted, lost, and made anew where the spec says so.
//!
//! Its id is written down when it is first seen, before anybody joins. From then on no other
//! swarm is followed, and none is begun while a machine may be in this one.

use k8s_openapi::jiff::SignedDuration;

use super::{Action, Pass, Wait, World, boot, given};
use crate::{
    api::{NodeRole, Recovery, SwarmClusterSpec, reason},
    cluster::{
        journal::Recovering,
        known::Known,
        losses::Cause,
        member::{Heard, Member, MemberId, Members, Swarm},
    },
    swarm::{EngineInfo, LocalState},
};

/// How a swarm is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// No machine that is left can have a vote.
    Over,
    /// Managers answer, and have no majority.
    Leaderless,
    /// No manager answers: it may be the swarm that is lost, or the way to it.
    Unheard,
}

/// Whether the swarm is lost, as far as that can be told; `None` while it may be about to speak.
#[must_use]
pub fn lost(spec: &SwarmClusterSpec, world: &World, members: &Members<'_>) -> Option<Lost> {
    if !matches!(members.swarm, Swarm::Silent) || !world.looked {
        return None;
    }
    // The swarm that given machines were found in is somebody else's until it is adopted.
    let ours =
        world.journal.as_ref().is_some_and(|j| j.swarm.is_some() || j.swarm_id.is_some() || j.recovery.is_some());
    if world.given.is_some() && !ours {
        return None;
    }
    if members.iter().all(|m| cannot_vote(m)) {
        return Some(Lost::Over);
    }
    let limit = SignedDuration::try_from(spec.unhealthy_after.get()).unwrap_or(SignedDuration::MAX);
    let long = world.silence.as_ref().is_some_and(|c| c.age >= limit && c.timely);
    match (long, world.leaderless.is_empty()) {
        (false, _) => None,
        (true, false) => Some(Lost::Leaderless),
        (true, true) => Some(Lost::Unheard),
    }
}

/// Whether a machine certainly has no vote, by what its own engine says.
fn cannot_vote(member: &Member<'_>) -> bool {
    let worker = |e: &EngineInfo| e.state == LocalState::Active && !e.control_available;
    member.node.is_no() || member.engine.yes().is_some_and(worker) && member.id.slot.role == NodeRole::Worker
}

/// Writes down which swarm this is.
pub fn adopt(pass: &mut Pass<'_>, heard: &Heard<'_>) {
    if pass.journal.swarm_id.is_none() {
        let engine = pass.members.get(heard.via).and_then(|m| m.engine.yes());
        pass.journal.swarm_id = engine.and_then(|e| e.cluster_id.clone());
        pass.journal.swarm = pass.journal.swarm.or(Some(heard.via));
    }
    pass.journal.recovery = None;
    pass.journal.restored = false;
}

/// Begins the swarm on the first manager whose engine answers, unless one may have been begun already.
pub fn begin(pass: &mut Pass<'_>) {
    let members = pass.members;
    let ready = |m: &&Member<'_>| m.engine.state() == Some(LocalState::Inactive);
    let wanted: Vec<&Member<'_>> = members.holders().filter(|m| pass.wanted(m.id)).collect();
    let chosen = match pass.journal.swarm {
        Some(begun) if members.get(begun).is_some() => wanted.into_iter().filter(ready).find(|m| m.id == begun),
        begun => {
            // What was begun, or may have been before the journal was lost, is over only when
            // every machine says that it is in no swarm.
            let doubt = begun.is_some() || pass.journal.restored;
            if let Some(unheard) = members.iter().find(|m| doubt && !m.node.is_no()) {
                return pass.waits(unheard.id, Wait::Unheard);
            }
            wanted.into_iter().filter(ready).find(|m| m.id.slot.role == NodeRole::Manager)
        }
    };
    if let (None, Some(begun)) = (chosen, pass.journal.swarm.filter(|b| members.get(*b).is_some())) {
        pass.waits(begun, Wait::Begun);
    }
    if let Some(member) = chosen {
        pass.journal.swarm = Some(member.id);
        (pass.journal.recovery, pass.journal.restored, pass.journal.adopted) = (None, false, false);
        pass.take(Action::Init(member.id));
    }
}

/// A swarm that nobody speaks for: made anew where the spec says how, left alone otherwise.
pub fn recover(pass: &mut Pass<'_>) {
    let members = pass.members;
    if pass.journal.recovery.is_none() {
        let Some(lost) = lost(pass.spec, pass.world, members) else { return };
        if members.iter().all(|m| m.node.is_no()) {
            // It ended with its last machine: there is nothing of it that another one could take.
            let id = pass.journal.swarm_id.take().unwrap_or_default();
            pass.journal.swarm = None;
            let words =
                format!("no machine is left of swarm {id}, nor anything that was in it: a new, empty one is begun");
            pass.plan.news.push((reason::SWARM_LOST, words));
            return begin(pass);
        }
        pass.journal.recovery = match (pass.spec.recovery, lost) {
            (Recovery::ForceNewCluster, Lost::Leaderless) => survivor(pass).map(|host| Recovering::From { host }),
            (Recovery::Recreate, Lost::Leaderless | Lost::Over) => Some(Recovering::Anew),
            _ => None,
        };
        match &pass.journal.recovery {
            None => return,
            Some(Recovering::From { host }) => {
                let words =
                    format!("the swarm has no majority of managers: it goes on with what {} knows of it", host.slot);
                pass.plan.news.push((reason::SWARM_LOST, words));
            }
            Some(Recovering::Anew) => {
                let words = "the swarm is lost: its hosts leave it, and a new, empty one is begun".to_owned();
                pass.plan.news.push((reason::SWARM_LOST, words));
                (pass.journal.swarm, pass.journal.swarm_id) = (None, None);
            }
        }
    }
    match pass.journal.recovery.clone() {
        Some(Recovering::From { host }) if members.get(host).is_none() => pass.journal.recovery = None,
        Some(Recovering::From { host }) => force(pass, host),
        Some(Recovering::Anew) => dissolve(pass),
        None => {}
    }
}

/// The manager to go on from. How far each one's raft is cannot be asked: the first that answers.
fn survivor(pass: &Pass<'_>) -> Option<MemberId> {
    let answers = |m: &&Member<'_>| pass.wanted(m.id) && pass.world.leaderless.contains(&m.id);
    pass.members.holders().find(answers).map(|m| m.id)
}

/// One manager goes on alone, once no other can come back with its vote.
fn force(pass: &mut Pass<'_>, host: MemberId) {
    let others = |m: &&Member<'_>| m.id != host && !cannot_vote(m);
    let mut alone = true;
    for member in pass.members.iter().filter(others) {
        alone = false;
        cut_off(pass, member);
    }
    if alone && pass.members.get(host).is_some_and(|m| m.engine.is_yes()) {
        pass.take(Action::Force(host));
    }
}

/// Everybody leaves.
fn dissolve(pass: &mut Pass<'_>) {
    for member in pass.members.iter().filter(|m| !m.node.is_no()) {
        cut_off(pass, member);
    }
}

/// Takes a machine out of the lost swarm: by its engine, or where that is not heard, with the machine.
fn cut_off(pass: &mut Pass<'_>, member: &Member<'_>) {
    let foreign = pass.world.given.is_some() && given::foreign(&pass.journal, pass.members, member);
    match member.engine {
        Known::Yes(_) if foreign => pass.waits(member.id, Wait::Given),
        Known::Yes(_) => pass.take(Action::Leave(member.id)),
        Known::No => {}
        // Only its owner can say that it does not come back: by taking it off the list.
        Known::Unknown if pass.world.given.is_some() => pass.waits(member.id, Wait::Unheard),
        Known::Unknown => {
            let what = "did not answer when the lost swarm it may be in was given up";
            if !pass.journal.lost(member.id) {
                boot::lose(pass, member.id, &member.instance.id, Cause::unhealthy(pass.spec.unhealthy_after, what));
            }
            pass.take(Action::Terminate(vec![member.instance.id.clone()]));
        }
    }
}
