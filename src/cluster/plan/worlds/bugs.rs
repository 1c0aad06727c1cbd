//! Bugs that are planted into what the plan sees or says: each has to be found by some world.

use super::super::{Action, Plan, World};
use crate::{
    api::{NodeRole, SwarmClusterSpec},
    cluster::{
        member::{Heard, Members},
        template::template,
    },
    swarm::LocalState,
};

/// A planted bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// A host that left is joined again beside its old vote.
    RejoinAtOnce,
    /// Managers join as soon as they can, whoever answers.
    JoinWithoutMargin,
    /// Everybody's role is set right at once.
    RolesAtOnce,
    /// Old nodes keep their votes.
    GhostsStay,
    /// A node is removed before its host is gone.
    RemoveTheLiving,
    /// What is not meant is ended at once.
    EndAtOnce,
    /// An engine that is not heard counts as one that is no manager.
    SilenceIsNo,
    /// Whoever is not heard is replaced, quorum or not.
    ReplaceWithoutQuorum,
    /// The sick are waited for.
    WaitForTheSick,
    /// Without a manager that speaks, a new swarm is begun.
    BeginAgain,
    /// The swarm's id is forgotten.
    ForgetTheSwarm,
    /// An engine that is in trouble leaves at once.
    LeaveAtOnce,
    /// An instance that is stopped is left so.
    LeaveStopped,
    /// What was used once is used again.
    SameAgain,
    /// Nothing is written down.
    NothingIsSaved,
    /// Who was told to give up its tasks is never let go.
    DrainForEver,
    /// A demotion that cannot be is waited for.
    NeverCallOff,
    /// A host that a manager removed is not joined again.
    ForgetTheRemoved,
    /// Deletion ends before the instances do.
    ReleaseEarly,
    /// Roles that people changed stay so.
    RolesStay,
    /// All workers that are outdated make room at once.
    DrainAllOutdated,
    /// Two managers that are outdated are demoted at once.
    TwoManagersAtOnce,
    /// A machine goes when its successor comes, and not when that is ready.
    EndBeforeReady,
    /// A successor stays when the spec is changed back.
    NeverUndo,
    /// Whatever the spec says, machines are as it asks for.
    NeverRoll,
    /// Whatever the spec says, machines are not as it asks for.
    RollForEver,
    /// A step that failed is tried again at once, for ever, and never told.
    ForgetLosses,
    /// What a person keeps is replaced all the same.
    ReplaceTheKept,
    /// What EC2 says of its taking machines back is not heard.
    IgnoreNotices,
    /// Who is taken back gives up its tasks at once.
    DrainOnNotice,
    /// Who is taken back ends at once.
    EndOnNotice,
    /// More machines come beside the others than there is room for.
    SurgeWithoutBound,
    /// Who is taken back keeps its vote to the end.
    VoteToTheEnd,
}

/// All of them.
pub const ALL: [Bug; 33] = [
    Bug::RejoinAtOnce,
    Bug::JoinWithoutMargin,
    Bug::RolesAtOnce,
    Bug::GhostsStay,
    Bug::RemoveTheLiving,
    Bug::EndAtOnce,
    Bug::SilenceIsNo,
    Bug::ReplaceWithoutQuorum,
    Bug::WaitForTheSick,
    Bug::BeginAgain,
    Bug::ForgetTheSwarm,
    Bug::LeaveAtOnce,
    Bug::LeaveStopped,
    Bug::SameAgain,
    Bug::NothingIsSaved,
    Bug::DrainForEver,
    Bug::NeverCallOff,
    Bug::ForgetTheRemoved,
    Bug::ReleaseEarly,
    Bug::RolesStay,
    Bug::DrainAllOutdated,
    Bug::TwoManagersAtOnce,
    Bug::EndBeforeReady,
    Bug::NeverUndo,
    Bug::NeverRoll,
    Bug::RollForEver,
    Bug::ForgetLosses,
    Bug::ReplaceTheKept,
    Bug::IgnoreNotices,
    Bug::DrainOnNotice,
    Bug::EndOnNotice,
    Bug::SurgeWithoutBound,
    Bug::VoteToTheEnd,
];

impl Bug {
    /// What it makes of what is seen.
    pub fn blind(self, spec: &SwarmClusterSpec, world: &mut World) {
        let launches = world.journal.iter_mut().flat_map(|j| j.launches.values_mut().chain(j.successors.values_mut()));
        match self {
            Self::NeverRoll => launches.for_each(|l| l.template = template(spec)),
            Self::RollForEver => launches.for_each(|l| drop(l.template.insert("ami".into(), String::new()))),
            Self::ForgetLosses => world.journal.iter_mut().for_each(|j| j.losses.clear()),
            Self::ReplaceTheKept => world.kept.clear(),
            Self::IgnoreNotices => world.notices.clear(),
            Self::SilenceIsNo => {
                let silent: Vec<_> =
                    world.hosts.iter().filter(|(_, h)| h.engine.is_none()).map(|(id, _)| *id).collect();
                for node in world.nodes.iter_mut().flatten() {
                    let of = |key| node.labels.get(key).cloned().unwrap_or_default();
                    let id = format!("{}.{}", of(crate::api::label::SLOT), of(crate::api::label::INCARNATION));
                    if silent.iter().any(|m| m.to_string() == id) {
                        node.voter = false;
                        node.role = NodeRole::Worker;
                    }
                }
            }
            Self::WaitForTheSick => world.health.clear(),
            Self::BeginAgain if world.nodes.is_none() => {
                world.hosts.retain(|_, h| h.engine.as_ref().is_some_and(|e| e.state == LocalState::Inactive));
                world.journal.iter_mut().for_each(|j| (j.swarm, j.swarm_id) = (None, None));
            }
            Self::GhostsStay => {
                let ghosts: Vec<String> = Members::join(world).heard().into_iter().flat_map(names).collect();
                world.nodes.iter_mut().for_each(|all| all.retain(|n| !ghosts.contains(&n.id)));
            }
            _ => {}
        }
    }

    /// What it makes of what is decided.
    pub fn spoil(self, spec: &SwarmClusterSpec, world: &World, plan: &mut Plan) {
        let members = Members::join(world);
        let via = members.heard().map(|h| h.via);
        let inactive = |m: &&crate::cluster::member::Member<'_>| m.engine.state() == Some(LocalState::Inactive);
        let managers = members.holders().filter(inactive).filter(|m| m.id.slot.role == NodeRole::Manager);
        match self {
            Self::RejoinAtOnce => {
                let back = managers.filter(|m| !m.stale.is_empty());
                plan.actions.extend(back.filter_map(|m| Some(Action::Join { host: m.id, via: via?, remotes: vec![] })));
            }
            Self::JoinWithoutMargin => {
                plan.actions
                    .extend(managers.filter_map(|m| Some(Action::Join { host: m.id, via: via?, remotes: vec![] })));
            }
            Self::RolesAtOnce => {
                let wrong = members.holders().filter_map(|m| {
                    let (node, role) = (m.node.yes()?, m.id.slot.role);
                    let wanted = plan.slots.contains(&m.id.slot) && node.role == role;
                    let role = if plan.slots.contains(&m.id.slot) { role } else { NodeRole::Worker };
                    let update = Action::Update {
                        via: via?,
                        node: node.id.clone(),
                        labels: Default::default(),
                        role: Some(role),
                    };
                    (!wanted).then_some(update)
                });
                let wrong: Vec<_> = wrong.collect();
                plan.actions.extend(wrong);
            }
            Self::RemoveTheLiving => {
                let leaving = members.iter().filter(|m| !plan.slots.contains(&m.id.slot)).filter_map(|m| m.node.yes());
                let remove = leaving.filter_map(|n| Some(Action::RemoveNode { via: via?, node: n.id.clone() }));
                let remove: Vec<_> = remove.collect();
                plan.actions.extend(remove);
            }
            Self::EndAtOnce => {
                let gone = members.iter().filter(|m| !plan.slots.is_empty() && !plan.slots.contains(&m.id.slot));
                let ends = gone.map(|m| Action::Terminate(vec![m.instance.id.clone()])).collect::<Vec<_>>();
                plan.actions.extend(ends);
            }
            Self::ReplaceWithoutQuorum if via.is_none() => {
                let silent = members.holders().filter(|m| m.host.is_some_and(|h| h.engine.is_none()));
                plan.actions.extend(silent.map(|m| Action::Terminate(vec![m.instance.id.clone()])));
            }
            Self::ForgetTheSwarm => plan.save.iter_mut().for_each(|j| (j.swarm, j.swarm_id) = (None, None)),
            Self::LeaveAtOnce => {
                let odd = members.holders().filter(|m| m.engine.state() == Some(LocalState::Active) && !m.healthy());
                plan.actions.extend(odd.map(|m| Action::Leave(m.id)));
            }
            Self::LeaveStopped => plan.actions.retain(|a| !matches!(a, Action::Start(_))),
            Self::SameAgain => {
                for action in &mut plan.actions {
                    if let Action::Launch(id, _) = action {
                        id.incarnation = id.incarnation.saturating_sub(1);
                    }
                }
            }
            Self::NothingIsSaved => plan.save = None,
            Self::DrainForEver => plan.actions.retain(|a| {
                !matches!(a, Action::Terminate(_) | Action::Update { role: Some(NodeRole::Worker), .. })
                    || spec.workers == 0
            }),
            Self::NeverCallOff => plan.actions.retain(|a| match a {
                Action::Update { node, role: Some(NodeRole::Manager), .. } => {
                    !world.nodes.iter().flatten().any(|n| n.id == *node && n.voter)
                }
                _ => true,
            }),
            Self::ForgetTheRemoved => plan.actions.retain(|a| !matches!(a, Action::Leave(_))),
            Self::ReleaseEarly if world.deleting => plan.actions = vec![Action::Release],
            Self::DrainAllOutdated => {
                let workers = plan.outdated.keys().filter(|id| id.slot.role == NodeRole::Worker);
                let nodes = workers.filter_map(|id| members.get(*id)?.node.yes());
                let drains: Vec<_> =
                    nodes.filter_map(|n| Some(Action::Drain { via: via?, node: n.id.clone() })).collect();
                plan.actions.extend(drains);
            }
            Self::TwoManagersAtOnce => {
                let managers = plan.outdated.keys().filter(|id| id.slot.role == NodeRole::Manager);
                let nodes = managers.filter_map(|id| members.get(*id)?.node.yes()).take(2);
                let demote = |node: String, via| Action::Update {
                    via,
                    node,
                    labels: Default::default(),
                    role: Some(NodeRole::Worker),
                };
                let all: Vec<_> = nodes.filter_map(|n| Some(demote(n.id.clone(), via?))).collect();
                plan.actions.extend(all.into_iter().filter(|_| plan.outdated.len() > 1));
            }
            Self::EndBeforeReady => {
                let before = members.iter().filter(|m| m.succeeds).filter_map(|m| members.holder(m.id.slot));
                let ends: Vec<_> = before.map(|m| Action::Terminate(vec![m.instance.id.clone()])).collect();
                plan.actions.extend(ends);
            }
            Self::DrainOnNotice => {
                let goes = members.holders().filter(|m| m.ends.is_yes() && plan.slots.contains(&m.id.slot));
                let nodes = goes.filter(|m| m.id.slot.role == NodeRole::Worker).filter_map(|m| m.node.yes());
                let drains = nodes.filter_map(|n| Some(Action::Drain { via: via?, node: n.id.clone() }));
                let drains: Vec<_> = drains.collect();
                plan.actions.extend(drains);
            }
            Self::EndOnNotice => {
                let goes = members.holders().filter(|m| m.ends.is_yes());
                let ends: Vec<_> = goes.map(|m| Action::Terminate(vec![m.instance.id.clone()])).collect();
                plan.actions.extend(ends);
            }
            Self::VoteToTheEnd => {
                let goes =
                    |id: &str| members.iter().any(|m| m.ends.is_yes() && m.node.yes().is_some_and(|n| n.id == id));
                let keeps =
                    |a: &Action| matches!(a, Action::Update { node, role: Some(NodeRole::Worker), .. } if goes(node));
                plan.actions.retain(|a| !keeps(a));
            }
            Self::NeverUndo => {
                let before = world.journal.iter().flat_map(|j| &j.successors);
                if let Some(journal) = &mut plan.save {
                    for (slot, next) in before {
                        let over = journal.launches.get(slot).is_some_and(|l| l.incarnation == next.incarnation);
                        if !over {
                            journal.successors.entry(slot.clone()).or_insert_with(|| next.clone());
                        }
                    }
                }
                let succeeds: Vec<_> = members.iter().filter(|m| m.succeeds).map(|m| m.instance.id.clone()).collect();
                plan.actions
                    .retain(|a| !matches!(a, Action::Terminate(ids) if ids.iter().all(|i| succeeds.contains(i))));
            }
            Self::SurgeWithoutBound => {
                let launches: Vec<_> = plan.outdated.keys().filter(|_| plan.save.is_none()).copied().collect();
                for id in launches {
                    let next = super::super::MemberId { incarnation: id.incarnation + 1, ..id };
                    let offering = super::super::launch::offerings(spec, id.slot.role)[0][0].clone();
                    plan.actions.push(Action::Launch(next, offering));
                }
            }
            Self::RolesStay => plan
                .actions
                .retain(|a| !matches!(a, Action::Update { labels, role: Some(_), .. } if !labels.is_empty())),
            _ => {}
        }
    }
}

fn names(heard: &Heard<'_>) -> Vec<String> {
    heard.ghosts.iter().map(|n| n.id.clone()).collect()
}
