//! Machines that exist may be in a swarm already. It is adopted where it is exactly as the spec says;
//! else it is said by what it differs, and nothing is touched. Nothing is begun either before every
//! machine has said that it is in none.

use super::{Pass, Wait};
use crate::{
    api::label,
    cluster::{
        known::Known,
        member::{Heard, Member, Swarm},
        trouble::Trouble,
    },
    swarm::{LocalState, Node},
};

/// Whose swarm the machines are in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Survey {
    /// This cluster's.
    Ours,
    /// In none, all of them.
    Free,
    /// Not all were heard, or it is somebody else's.
    Waits,
}

/// Looks whose swarm it is. One that was begun or adopted stays ours.
pub fn survey(pass: &mut Pass<'_>) -> Survey {
    let begun = pass.journal.swarm.is_some() || pass.journal.swarm_id.is_some();
    if pass.world.given.is_none() || begun {
        return Survey::Ours;
    }
    let members = pass.members;
    // The swarm that is given up is left first by all that are in it still.
    let within = |m: &Member<'_>| m.engine.state().is_some_and(|state| state != LocalState::Inactive);
    if pass.journal.recovery.is_some() && members.iter().any(within) {
        return Survey::Ours;
    }
    super::given::shed(pass, false);
    let meant: Vec<&Member<'_>> = members.meant().filter(|m| pass.meant(m)).collect();
    // Machines that were taken just now are part of the next picture.
    let silent: Vec<_> = meant.iter().filter(|m| !m.engine.is_yes()).collect();
    if meant.len() < pass.slots.len() || !silent.is_empty() {
        silent.into_iter().for_each(|m| pass.waits(m.id, Wait::Unheard));
        return Survey::Waits;
    }
    if meant.iter().all(|m| m.engine.state() == Some(LocalState::Inactive)) {
        return Survey::Free;
    }
    let mut told = differences(pass, &meant);
    if told.is_empty() {
        pass.journal.adopted = true;
        return Survey::Ours;
    }
    told.sort();
    if let Some(slot) = pass.slots.first() {
        pass.plan.troubles.insert(*slot, Trouble::Differs(told));
    }
    Survey::Waits
}

/// By what the swarm that machines are in differs from the spec, each as a clause.
fn differences(pass: &Pass<'_>, meant: &[&Member<'_>]) -> Vec<String> {
    let mut told = Vec::new();
    for member in meant {
        let who = member.instance.id.as_str();
        let Known::Yes(engine) = member.engine else { continue };
        match engine.state {
            LocalState::Inactive => told.push(format!("{who} is in no swarm")),
            LocalState::Pending => told.push(format!("{who} is about to join a swarm")),
            LocalState::Locked => told.push(format!("{who} is locked: its swarm's unlock key has to be given to it")),
            LocalState::Error => told.push(format!("{who} has lost its swarm")),
            LocalState::Active => {}
        }
    }
    match &pass.members.swarm {
        Swarm::Heard(heard) => told.extend(against(pass, heard, meant)),
        _ if told.is_empty() => {
            told.push("none of its managers speaks for a majority, or none is on the list".to_owned());
        }
        _ => {}
    }
    told
}

/// What a manager's list of nodes has against the spec.
fn against(pass: &Pass<'_>, heard: &Heard<'_>, meant: &[&Member<'_>]) -> Vec<String> {
    let mut told = Vec::new();
    let swarm = pass.members.get(heard.via).and_then(|m| m.engine.yes()?.cluster_id.clone());
    for member in meant.iter().filter(|m| m.engine.state() == Some(LocalState::Active)) {
        let (who, role) = (member.instance.id.as_str(), member.id.slot.role);
        match listed(heard, member) {
            _ if member.elsewhere(swarm.as_ref()).is_some() => {
                told.push(format!("{who} is in another swarm than the others"));
            }
            None => told.push(format!("{who} is in another swarm than the others")),
            Some(node) if node.role != role => {
                told.push(format!("{who} is a {} there, and a {} in the spec", word(node.role), word(role)));
            }
            Some(_) => {}
        }
    }
    for node in heard.nodes {
        let is = |m: &&&Member<'_>| listed(heard, m).is_some_and(|n| n.id == node.id);
        if !meant.iter().any(|m| is(&m)) {
            told.push(format!("its node {} ({}) is none of the machines of the spec", node.hostname, node.id));
        }
        let of = node.labels.get(label::CLUSTER).filter(|of| **of != pass.world.name);
        told.extend(of.map(|of| {
            format!("its node {} belongs to SwarmCluster {of}, as its label {} says", node.hostname, label::CLUSTER)
        }));
    }
    told
}

/// The node that a machine says it is.
fn listed<'a>(heard: &Heard<'a>, member: &Member<'_>) -> Option<&'a Node> {
    let id = member.engine.yes()?.node_id.as_ref()?;
    heard.nodes.iter().find(|n| n.id == *id)
}

const fn word(role: crate::api::NodeRole) -> &'static str {
    match role {
        crate::api::NodeRole::Manager => "manager",
        crate::api::NodeRole::Worker => "worker",
    }
}

#[cfg(test)]
mod tests;
