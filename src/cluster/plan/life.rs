//! The life of a member while the swarm speaks: joined, labelled, given its role; and out again by
//! drained, without a vote, ended. One step a pass, each seen by the managers before the next.

use k8s_openapi::jiff::SignedDuration;

use super::{
    Action, Pass, Wait, boot,
    gate::{Gate, alive},
    given, health, interruption, labels, roll,
};
use crate::{
    api::{NodeRole, label},
    cloud::InstanceState,
    cluster::{
        known::Known,
        losses::Cause,
        member::{Heard, Member, MemberId, Swarm},
    },
    swarm::{Availability, LocalState, Node},
};

/// How long tasks may take to run elsewhere before their node goes all the same.
const DRAINED: SignedDuration = SignedDuration::from_secs(60);

/// How long an engine must have been in a swarm that does not know it before it is taken out.
const FORGOTTEN: SignedDuration = SignedDuration::from_secs(10);

/// The next step of every member.
pub fn tend(pass: &mut Pass<'_>, heard: &Heard<'_>) {
    let gate = &mut Gate::of(pass.world, pass.members, heard);
    let mut doomed = health::doomed(pass);
    for id in std::mem::take(&mut pass.rolling) {
        if !doomed.iter().any(|(other, _)| *other == id) {
            doomed.push((id, Cause::Outdated));
        }
    }
    call_off(pass, heard, &doomed, gate);
    lay(pass, heard, gate);
    part(pass, heard, &doomed, gate);
    let leaves = |pass: &Pass<'_>, m: &Member<'_>| !pass.meant(m);
    for member in pass.members.meant() {
        if leaves(pass, member) || doomed.iter().any(|(id, _)| *id == member.id) {
            continue;
        }
        match member.node {
            // No successor is ready, and it is over all the same.
            Known::Yes(node) if node.ready && interruption::imminent(pass, member) => {
                drained(pass, heard, member.id, node);
            }
            _ if interruption::parts(pass, member) => {}
            Known::Yes(node) => settle(pass, heard, member, node, gate),
            Known::No | Known::Unknown => welcome(pass, heard, member, gate),
        }
    }
    let leader = |m: &Member<'_>| m.node.yes().is_some_and(|n| n.leader);
    let ready = |m: &Member<'_>| m.node.yes().is_some_and(|n| n.ready);
    // Those that are lost are being ended already.
    let goes = |m: &&Member<'_>| leaves(pass, m) && !pass.journal.lost(m.id);
    let mut leaving: Vec<_> = pass.members.iter().filter(goes).map(|m| (m, None)).collect();
    leaving.extend(doomed.into_iter().filter_map(|(id, cause)| Some((pass.members.get(id)?, Some(cause)))));
    leaving.sort_by_key(|(m, _)| (leader(m), ready(m), m.id));
    for (member, cause) in leaving {
        retire(pass, heard, member, cause, gate);
    }
    for stray in &pass.members.strays {
        let votes = |n: &&Node| n.voter && Some(&n.address) == stray.private_address.as_ref();
        if !heard.nodes.iter().any(|n| votes(&n)) {
            pass.take(Action::Terminate(vec![stray.id.clone()]));
        }
    }
}

/// Ends machines that are not meant while there is no manager to ask: those that certainly are no node.
pub fn shed(pass: &mut Pass<'_>) {
    if pass.world.given.is_some() {
        return given::shed(pass, true);
    }
    let strays = pass.members.strays.iter().filter(|_| !matches!(pass.members.swarm, Swarm::Silent));
    let mut ends: Vec<String> = strays.map(|s| s.id.clone()).collect();
    let members = pass.members;
    let goes = |m: &&Member<'_>| !pass.journal.lost(m.id) && !pass.meant(m);
    for member in members.iter().filter(goes).collect::<Vec<_>>() {
        if member.node.is_no() && !pass.world.joining.contains(&member.id) {
            ends.push(member.instance.id.clone());
        } else {
            pass.waits(member.id, Wait::Unheard);
        }
    }
    if !ends.is_empty() {
        pass.take(Action::Terminate(ends));
    }
}

/// A demotion that the voters cannot bear is never carried out, and holds up every other change.
fn call_off(pass: &mut Pass<'_>, heard: &Heard<'_>, doomed: &[(MemberId, Cause)], gate: &Gate) {
    let manages = |n: &Node| n.role == NodeRole::Worker && n.voter;
    // Those that are meant to be managers are given back their role anyway.
    let meant = |n: &Node| {
        let is_it = |m: &Member<'_>| m.node.yes().is_some_and(|of| of.id == n.id);
        let stays = |m: &Member<'_>| pass.meant(m) && !doomed.iter().any(|(id, _)| *id == m.id);
        pass.members.meant().any(|m| is_it(m) && stays(m) && m.id.slot.role == NodeRole::Manager)
    };
    let stuck: Vec<&Node> =
        heard.nodes.iter().filter(|n| manages(n) && !meant(n) && !gate.bears(alive(n, heard))).collect();
    for node in stuck {
        pass.take(role(heard, node, NodeRole::Manager));
    }
}

/// Lays ghosts: first their vote, then the node.
fn lay(pass: &mut Pass<'_>, heard: &Heard<'_>, gate: &mut Gate) {
    for ghost in &heard.ghosts {
        // Its machine is on its way out: it is no node any more when the managers say so.
        let gone = !ghost.ready || pass.members.iter().any(|m| m.stale.iter().any(|n| n.id == ghost.id));
        if !gone {
            continue;
        }
        // A manager that raft does not know, as after a new cluster was forced, is removed as it is: swarmkit cannot
        // demote it ("can't find manager in raft memberlist"), and keeps nobody who has no vote.
        if !ghost.voter {
            pass.take(Action::RemoveNode { via: heard.via, node: ghost.id.clone() });
        } else if ghost.role == NodeRole::Manager && gate.remove(ghost, heard).is_ok() {
            pass.take(role(heard, ghost, NodeRole::Worker));
        }
    }
}

/// Managers that are taken back in a moment give up their votes where that keeps the majority, and are given none.
fn part(pass: &mut Pass<'_>, heard: &Heard<'_>, doomed: &[(MemberId, Cause)], gate: &mut Gate) {
    let parts =
        |m: &&Member<'_>| pass.meant(m) && interruption::parts(pass, m) && !doomed.iter().any(|(id, _)| *id == m.id);
    let mut parts: Vec<_> = pass.members.meant().filter(parts).collect();
    parts.sort_by_key(|m| (m.node.yes().is_some_and(|n| n.leader), m.id));
    for member in parts {
        let Known::Yes(node) = member.node else { continue };
        match (node.role, node.voter) {
            (NodeRole::Manager, true) if interruption::steps_down(pass, heard, member) => {
                match gate.remove(node, heard) {
                    Ok(()) => pass.take(role(heard, node, NodeRole::Worker)),
                    Err(why) => pass.waits(member.id, why),
                }
            }
            (NodeRole::Manager, false) => pass.take(role(heard, node, NodeRole::Worker)),
            // It cannot be any more, and would hold up every other change.
            (NodeRole::Worker, true) if !gate.bears(alive(node, heard)) => {
                pass.take(role(heard, node, NodeRole::Manager));
            }
            _ => {}
        }
    }
}

/// Has a host join that is in no swarm, and takes it out of one that does not know it.
fn welcome(pass: &mut Pass<'_>, heard: &Heard<'_>, member: &Member<'_>, gate: &mut Gate) {
    let Known::Yes(engine) = member.engine else { return };
    match engine.state {
        LocalState::Inactive => {}
        LocalState::Pending | LocalState::Locked => return,
        LocalState::Active | LocalState::Error => return forgotten(pass, member),
    }
    if member.instance.state != InstanceState::Running {
        return;
    }
    let haunted =
        !member.stale.is_empty() || heard.ghosts.iter().any(|g| g.voter) && member.id.slot.role == NodeRole::Manager;
    let may = match member.id.slot.role {
        _ if haunted => Err(Wait::Ghost),
        // A join under way is not asked for twice, and is counted already.
        NodeRole::Manager if !pass.world.joining.contains(&member.id) => gate.add(),
        NodeRole::Manager | NodeRole::Worker => Ok(()),
    };
    match may {
        Ok(()) => pass.take(Action::Join { host: member.id, via: heard.via, remotes: remotes(pass, heard) }),
        Err(why) => pass.waits(member.id, why),
    }
}

/// A worker whose node somebody removed: only where the managers certainly know of none, and not at once.
fn forgotten(pass: &mut Pass<'_>, member: &Member<'_>) {
    if pass.world.given.is_some() && given::foreign(&pass.journal, pass.members, member) {
        return;
    }
    let manages = member.engine.yes().is_some_and(|e| e.control_available || e.cluster_id.is_some());
    let long = pass.world.health.get(&member.instance.id).filter(|c| !c.up && c.timely);
    match long {
        Some(clock) if member.node.is_no() && !manages && clock.age >= FORGOTTEN => pass.take(Action::Leave(member.id)),
        Some(clock) if clock.age < FORGOTTEN => pass.wake_in(FORGOTTEN - clock.age),
        _ => {}
    }
}

/// Addresses of managers that answer, the one that speaks first.
fn remotes(pass: &Pass<'_>, heard: &Heard<'_>) -> Vec<String> {
    let leads = |m: &&Member<'_>| m.engine.yes().is_some_and(|e| e.control_available) && m.votes().is_yes();
    let others = pass.members.holders().filter(leads).filter(|m| m.id != heard.via);
    pass.members.get(heard.via).into_iter().chain(others).filter_map(|m| m.instance.private_address.clone()).collect()
}

/// Brings a node's labels, tasks and role to what its slot asks for.
fn settle(pass: &mut Pass<'_>, heard: &Heard<'_>, member: &Member<'_>, node: &Node, gate: &mut Gate) {
    let wanted = member.id.slot.role;
    let change = match (node.role, wanted) {
        (now, wanted) if now == wanted => Ok(None),
        // It has its vote still: the demotion is called off.
        (NodeRole::Worker, NodeRole::Manager) if node.voter => Ok(Some(NodeRole::Manager)),
        (NodeRole::Worker, _) if !node.ready || !member.engine.is_yes() => Ok(None),
        (NodeRole::Worker, _) if heard.ghosts.iter().any(|g| g.voter) => Err(Wait::Ghost),
        (NodeRole::Worker, _) => gate.add().map(|()| Some(NodeRole::Manager)),
        (NodeRole::Manager, _) if !node.voter => Ok(Some(NodeRole::Worker)),
        (NodeRole::Manager, _) => gate.remove(node, heard).map(|()| Some(NodeRole::Worker)),
    };
    if let Err(why) = change {
        pass.waits(member.id, why);
    }
    let role = change.ok().flatten();
    let labels = labels(pass.world, member.id);
    // Only its engine settles which node it is: a label on another one would make it so.
    let unlabelled = member.engine.is_yes() && labels.iter().any(|(k, v)| node.labels.get(k) != Some(v));
    if role.is_some() || unlabelled {
        pass.take(Action::Update { via: heard.via, node: node.id.clone(), labels, role });
    } else if node.labels.contains_key(label::DRAINING) {
        pass.take(Action::Activate { via: heard.via, node: node.id.clone() });
    }
}

/// Out of the cluster: drained, without a vote, ended.
fn retire(pass: &mut Pass<'_>, heard: &Heard<'_>, member: &Member<'_>, cause: Option<Cause>, gate: &mut Gate) {
    let steps_down = interruption::steps_down(pass, heard, member);
    if let Some(why) = roll::stays(pass, member).filter(|_| cause.is_none() && !steps_down) {
        return pass.waits(member.id, why);
    }
    let node = match member.node {
        Known::Yes(node) => node,
        Known::No if pass.world.joining.contains(&member.id) => return pass.waits(member.id, Wait::Unheard),
        Known::No => return end(pass, heard, member, cause),
        Known::Unknown => return pass.waits(member.id, Wait::Unheard),
    };
    let votes = node.role == NodeRole::Manager || node.voter;
    if steps_down && !votes && cause.is_none() && !pass.world.runs.is_empty() {
        // What a run has there it has until EC2 ends it.
        return pass.waits(member.id, Wait::Runs);
    }
    if node.ready && !(steps_down && votes) && !drained(pass, heard, member.id, node) {
        return;
    }
    match (node.role, node.voter) {
        (NodeRole::Manager, false) => pass.take(role(heard, node, NodeRole::Worker)),
        (NodeRole::Manager, true) => match gate.remove(node, heard) {
            Ok(()) => pass.take(role(heard, node, NodeRole::Worker)),
            Err(why) => pass.waits(member.id, why),
        },
        // Demoted, and raft has not let it go yet.
        (NodeRole::Worker, true) => pass.waits(member.id, Wait::Turn),
        (NodeRole::Worker, false) => end(pass, heard, member, cause),
    }
}

/// Whether a node has given up its tasks, or has had its time to; tells it to otherwise.
fn drained(pass: &mut Pass<'_>, heard: &Heard<'_>, id: MemberId, node: &Node) -> bool {
    let takes = |n: &&Node| n.id != node.id && n.ready && n.availability == Availability::Active;
    if !heard.nodes.iter().any(|n| takes(&n)) {
        // Nobody could run them.
        return true;
    }
    if node.availability != Availability::Drain || !node.labels.contains_key(label::DRAINING) {
        pass.take(Action::Drain { via: heard.via, node: node.id.clone() });
        pass.waits(id, Wait::Draining);
        return false;
    }
    match pass.world.drains.get(&node.id) {
        Some(drain) if drain.tasks == Some(0) || drain.age >= DRAINED => true,
        _ => {
            pass.wake_in(SignedDuration::from_secs(1));
            pass.waits(id, Wait::Draining);
            false
        }
    }
}

/// Ends a machine that has no vote. One that is given up is written down as lost first.
fn end(pass: &mut Pass<'_>, heard: &Heard<'_>, member: &Member<'_>, cause: Option<Cause>) {
    if pass.world.given.is_some() {
        return given::part(pass, heard, member);
    }
    if let Some(cause) = cause {
        boot::lose(pass, member.id, &member.instance.id, cause);
    }
    pass.take(Action::Terminate(vec![member.instance.id.clone()]));
}

fn role(heard: &Heard<'_>, node: &Node, role: NodeRole) -> Action {
    Action::Update { via: heard.via, node: node.id.clone(), labels: Default::default(), role: Some(role) }
}
