//! Machines that exist: taken, waited for, and let go. None is made or ended, and none takes the
//! place of another one.

use std::net::IpAddr;

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::{Action, HELD, Pass, Plan, Wait, World, health};
use crate::{
    api::{SwarmClusterSpec, label, reason},
    cluster::{
        journal::{Journal, Recovering},
        known::Known,
        member::{Heard, Member, MemberId, Members},
        roster::{self, Given, Taken},
        trouble::Trouble,
    },
    swarm::LocalState,
};

/// How long an engine that is there has to answer before one is installed.
const ANSWERS: SignedDuration = SignedDuration::from_secs(3);

/// What was taken is written down first: what follows from it is decided by the picture that has it.
pub fn took(mut pass: Pass<'_>) -> Plan {
    pass.wake_at(pass.now);
    Plan { save: Some(pass.journal), ..pass.plan }
}

/// Tells whose place on the list has changed, where that is not taken up yet.
pub fn compare(pass: &mut Pass<'_>, given: &Given) {
    let old = |t: &&Taken| roster::fills(&pass.journal, t.id) && !given.asks_for(t);
    let old: Vec<MemberId> = pass.journal.taken.iter().filter(old).map(|t| t.id).collect();
    for id in old {
        pass.plan.outdated.insert(id, vec!["machines".to_owned()]);
        pass.waits(id, Wait::Runs);
    }
}

/// Looks after the machines: has engines installed, and says who is sick for long.
pub fn tend(pass: &mut Pass<'_>) {
    let members = pass.members;
    let meant: Vec<&Member<'_>> = members.meant().filter(|m| pass.meant(m)).collect();
    for member in meant {
        let installs = pass.world.installs(member);
        if installs {
            install(pass, member);
        }
        ail(pass, member, installs);
    }
}

/// Has an engine installed on a machine that is reached and has not answered in time.
fn install(pass: &mut Pass<'_>, member: &Member<'_>) {
    match pass.world.clocks.get(&member.instance.id).filter(|c| !c.up) {
        Some(clock) if clock.age >= ANSWERS => pass.take(Action::Install(member.id)),
        Some(clock) => pass.wake_in(ANSWERS - clock.age),
        None => {}
    }
}

/// Waits for a machine that is not well, and says so when that takes long.
fn ail(pass: &mut Pass<'_>, member: &Member<'_>, installs: bool) {
    let Some(what) = health::ailment(member, pass.journal.swarm_id.as_ref()) else { return };
    pass.waits(member.id, Wait::Given);
    let most = |d: crate::api::Duration| SignedDuration::try_from(d.get()).unwrap_or(SignedDuration::MAX);
    // An engine that is being installed has the time that a machine has to become one.
    let boots = if installs { most(pass.spec.boot_timeout) } else { SignedDuration::ZERO };
    let limit = most(pass.spec.unhealthy_after).max(boots);
    match pass.world.health.get(&member.instance.id).filter(|c| !c.up) {
        Some(clock) if clock.age < limit => pass.wake_in(limit - clock.age),
        Some(clock) if clock.timely => {
            let machine = member.instance.id.clone();
            pass.plan.troubles.insert(member.id.slot, Trouble::Sick { machine, what });
        }
        _ => {}
    }
}

/// Whether a machine is in a swarm of somebody else's, which it is not made to leave. A worker does not know which swarm
/// it is in, but where its managers are.
pub fn foreign(journal: &Journal, members: &Members<'_>, member: &Member<'_>) -> bool {
    let Known::Yes(engine) = member.engine else { return false };
    match (&engine.cluster_id, &journal.swarm_id) {
        (Some(theirs), Some(ours)) => theirs != ours,
        // The one that is given up has no leader any more, and only a leader tells the id.
        (Some(_), None) => journal.recovery == Some(Recovering::Anew),
        (None, _) if engine.control_available => false,
        (None, _) => {
            let here =
                |at: &String| members.iter().filter_map(|m| m.instance.private_address.as_ref()).any(|a| same(a, at));
            !engine.managers.is_empty() && !engine.managers.iter().any(here)
        }
    }
}

/// Whether these are one address: those of IPv6 are written in several ways.
fn same(a: &str, b: &str) -> bool {
    let ip = |text: &str| text.parse::<IpAddr>().ok();
    a == b || ip(a).is_some_and(|a| ip(b) == Some(a))
}

/// A machine that is not asked for any more and has no vote leaves the swarm, and is let go then.
pub fn part(pass: &mut Pass<'_>, heard: &Heard<'_>, member: &Member<'_>) {
    match (member.node, member.engine.state()) {
        (Known::Yes(_), Some(LocalState::Active | LocalState::Error)) => pass.take(Action::Leave(member.id)),
        // Its engine is not heard: the managers let the node go, and it learns that when it comes back.
        (Known::Yes(node), _) => {
            pass.take(Action::RemoveNode { via: heard.via, node: node.id.clone() });
        }
        _ if !member.stale.is_empty() => pass.waits(member.id, Wait::Ghost),
        _ => let_go(pass, member),
    }
}

/// Lets machines go that are not asked for any more while there is no manager to ask. That somebody took
/// one off the list is the word that it does not come back: only one that says it is a node is waited for,
/// where it may be one of ours.
pub fn shed(pass: &mut Pass<'_>, begun: bool) {
    let members = pass.members;
    let goes: Vec<_> = members.iter().filter(|m| !pass.meant(m)).collect();
    for member in goes {
        let node = member.engine.state().is_some_and(|s| s != LocalState::Inactive);
        if begun && (node || pass.world.joining.contains(&member.id)) {
            pass.waits(member.id, Wait::Unheard);
        } else {
            let_go(pass, member);
        }
    }
}

fn let_go(pass: &mut Pass<'_>, member: &Member<'_>) {
    roster::let_go(&mut pass.journal, member.id);
    // A connection that nobody needs is closed at the next look.
    pass.wake_at(pass.now);
}

/// Deletion: runs are let come to an end; a swarm that was formed here is dissolved, one that was
/// adopted is left as it is but for our labels; then the object goes. Who is not heard is waited for, for
/// as long as a sick machine is, and then told of.
#[must_use]
pub fn removal(spec: &SwarmClusterSpec, world: &World, now: Timestamp) -> Plan {
    let members = Members::join(world);
    let mut plan = Plan { hosts: members.iter().map(|m| m.id).collect(), ..Plan::default() };
    if !world.holders.is_empty() {
        plan.again_at = now.checked_add(HELD).ok();
        return plan;
    }
    let unknown = Journal::default();
    let journal = world.journal.as_ref().unwrap_or(&unknown);
    let adopted = journal.adopted || journal.swarm.is_none() && journal.swarm_id.is_none();
    let silent = if adopted { hand_back(world, &members, &mut plan) } else { dissolve(journal, &members, &mut plan) };
    if !plan.actions.is_empty() {
        return plan;
    }
    let limit = SignedDuration::try_from(spec.unhealthy_after.get()).unwrap_or(SignedDuration::MAX);
    if silent.is_empty() {
        plan.actions.push(Action::Release);
    } else if world.leaving >= limit {
        let what = if adopted {
            "it keeps the labels testkit.dev/… of its nodes, and another SwarmCluster does not adopt it before they are removed (docker node update --label-rm)"
        } else {
            "its engine may still be in the swarm that was dissolved: run docker swarm leave --force there"
        };
        plan.news
            .push((reason::LEFT_BEHIND, format!("{} was not heard when the cluster went: {what}", silent.join(", "))));
        plan.actions.push(Action::Release);
    } else {
        plan.again_at = now.checked_add(limit - world.leaving).ok();
    }
    plan
}

/// Everybody leaves; who could not be told to.
fn dissolve(journal: &Journal, members: &Members<'_>, plan: &mut Plan) -> Vec<String> {
    let mut silent = Vec::new();
    for member in members.iter() {
        match member.engine.state() {
            None => {
                plan.waits.insert(member.id, Wait::Unheard);
                silent.push(member.instance.id.clone());
            }
            Some(LocalState::Inactive) => {}
            Some(_) if foreign(journal, members, member) => {}
            Some(_) => plan.actions.push(Action::Leave(member.id)),
        }
    }
    silent
}

/// Takes our labels off the nodes; what could not be told to.
fn hand_back(world: &World, members: &Members<'_>, plan: &mut Plan) -> Vec<String> {
    // Of a swarm that never was ours there is nothing to take back.
    if world.journal.as_ref().is_none_or(|j| j.swarm_id.is_none()) {
        return Vec::new();
    }
    let Some(heard) = members.heard() else { return vec!["the swarm".to_owned()] };
    let via = heard.via;
    for node in heard.nodes.iter().filter(|n| n.labels.get(label::CLUSTER) == Some(&world.name)) {
        let node_id = node.id.clone();
        plan.actions.push(if node.labels.contains_key(label::DRAINING) {
            Action::Activate { via, node: node_id }
        } else {
            Action::Unlabel { via, node: node_id }
        });
    }
    Vec::new()
}

#[cfg(test)]
pub mod lab;
#[cfg(test)]
mod tests;
