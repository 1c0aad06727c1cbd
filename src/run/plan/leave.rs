//! A run that ended or is being deleted: its container is stopped and removed, then the finalizer.

use super::{
    FALLBACK, Look, Plan, SOON, Says, Step,
    active::{course, stop},
};
use crate::{
    host::HostId,
    run::{
        facts::{Container, ContainerState, Kept},
        own::{self, Disposal},
        record::Placed,
        stage::{Clock, Stage},
        verdict::Cut,
    },
};

/// What is next for a run that goes.
pub fn leave(look: &Look<'_>) -> Plan {
    let seen = look.seen;
    if !seen.finalizer {
        return Plan::done();
    }
    let left = look.left();
    if left.is_empty() {
        return go(look);
    }
    // What attempts before the last one have left.
    let stage = if seen.deleting { Stage::Leaving } else { Stage::Cleaning };
    if let Some(clock) = look.clock(stage) {
        let steps = left.into_iter().map(|(host, container)| Step::Remove(host, container)).collect();
        return vacating(look, Plan::wait(clock, steps, Says::Nothing, SOON));
    }
    let mut plan = go(look);
    if plan.steps.contains(&Step::Release) {
        plan.steps.splice(0..0, left.into_iter().map(|(host, container)| Step::TryRemove(host, container)));
    }
    plan
}

fn go(look: &Look<'_>) -> Plan {
    let seen = look.seen;
    let located = look.locate();
    if let Some(plan) = located.filter(|_| !seen.finished).and_then(|(host, container)| part(look, host, container)) {
        return plan;
    }
    // A container that is not in sight has its grace as well.
    if !seen.finished && located.is_none() && seen.record.placed.is_some() {
        let plan = clean(look, None);
        if !plan.steps.contains(&Step::Release) {
            return plan;
        }
    }
    // Its containers go with the cluster.
    let delete = |uid: String, why: String| last(vec![Step::DeleteCluster(uid, why), Step::Release]);
    match disposal(look) {
        Some((uid, Disposal::Delete(why))) => delete(uid, why.to_owned()),
        Some((uid, Disposal::Hold)) => match look.clock(Stage::Kept) {
            Some(clock) => hold(look, located, clock),
            None => delete(uid, format!("spec.holdFor ({}) is over", look.spec.held_for())),
        },
        Some((_, Disposal::Keep)) | None => vacating(look, clean(look, located)),
    }
}

/// What becomes of the cluster that the run made, and its UID; `None` where there is none, or it goes already.
fn disposal(look: &Look<'_>) -> Option<(String, Disposal)> {
    let seen = look.seen;
    let cluster = seen.own_cluster(look.spec)?;
    Some((cluster.uid.clone(), own::dispose(look.spec.policy(), seen.deleting, seen.passed)))
}

/// The cluster is kept, and the run with it: its container is removed, and what cannot be removed goes with the cluster.
fn hold(look: &Look<'_>, located: Option<(&HostId, &Container)>, clock: Clock) -> Plan {
    let mut plan = vacating(look, clean(look, located));
    plan.steps.retain(|step| !matches!(step, Step::Release | Step::Abandon(_) | Step::TryRemove(..)));
    if !plan.steps.is_empty() {
        return plan;
    }
    // While its place is not given up, the time in which that must be done goes on beside the one of the cluster.
    let again = if look.has_place() { FALLBACK } else { clock.left() };
    let kept = Plan::wait(clock, vec![], plan.says, again);
    Plan { enters: plan.enters.or(kept.enters), ..kept }
}

/// The place on the cluster is given up as soon as nothing of the run runs there: before a container that has ended is removed.
fn vacating(look: &Look<'_>, mut plan: Plan) -> Plan {
    if look.has_place() {
        let runs = look.locate().is_some_and(|(_, container)| container.state == ContainerState::Running);
        let removes = |step: &Step| matches!(step, Step::Remove(..)) && !runs || *step == Step::Release;
        if let Some(at) = plan.steps.iter().position(removes) {
            plan.steps.insert(at, Step::Vacate);
        }
    }
    plan
}

/// The container is removed, and then the run is let go.
fn clean(look: &Look<'_>, located: Option<(&HostId, &Container)>) -> Plan {
    let seen = look.seen;
    let stage = if seen.deleting { Stage::Leaving } else { Stage::Cleaning };
    if let Some((host, container)) = located {
        let (host, id) = (host.clone(), container.id.clone());
        return match look.clock(stage) {
            Some(clock) => Plan::wait(clock, vec![Step::Remove(host, id), Step::Release], Says::Nothing, SOON),
            None => last(vec![Step::TryRemove(host, id), Step::Release]),
        };
    }
    // Never written down, so never started: what may be left is a container that never ran, or one of an attempt before.
    let before = || {
        let last = seen.record.attempts.last()?;
        Some(Placed { host: last.host.clone()?, container: last.container.clone()?, at: look.now })
    };
    let Some(placed) = &seen.record.placed.clone().or_else(before) else { return last(vec![Step::Release]) };
    let cluster = seen.cluster.as_ref().filter(|c| c.uid == placed.host.cluster);
    let Some(cluster) = cluster else { return last(vec![Step::Release]) };
    let view = look.view(placed);
    // The end of the cluster is the end of the container.
    let gone = cluster.deleting || view.is_none() && !cluster.slots.contains(&placed.host.slot);
    if view.is_some_and(|v| v.container == Some(None)) || look.replaced(placed) || gone {
        return last(vec![Step::Release]);
    }
    let (node, why) = (look.node(&placed.host.slot), look.why_unseen(placed));
    let Some(clock) = look.clock(stage) else {
        let words = format!(
            "the container {} is left on {node}, which cannot be reached ({why}): remove it there, or delete the SwarmCluster",
            placed.container
        );
        return last(vec![Step::Abandon(words), Step::Release]);
    };
    let words = format!("waiting for {node} to remove the container ({why}), for {} at most", look.limit(stage));
    let says = if seen.deleting && !seen.finished { Says::Deleting(words) } else { Says::Nothing };
    Plan::wait(clock, vec![], says, FALLBACK)
}

/// The steps after which nothing is left to do.
fn last(steps: Vec<Step>) -> Plan {
    Plan { steps, says: Says::Nothing, enters: None, again: Some(SOON) }
}

/// The end of a container whose run is deleted before it ended: it is stopped as always, and what it
/// leaves is kept for whoever follows the run. `None` where it can go.
fn part(look: &Look<'_>, host: &HostId, container: &Container) -> Option<Plan> {
    match (&container.state, &look.seen.kept) {
        (ContainerState::Created { .. }, _) => None,
        (ContainerState::Running, _) => stop(look, host, container, look.seen.record.cut.unwrap_or(Cut::Deleted)),
        (ContainerState::Exited(_), Some(Kept::Done(end))) => Some(Plan::ended((**end).clone())),
        // A namespace that is being deleted takes nothing in any more.
        (ContainerState::Exited(_), Some(Kept::Unread(_) | Kept::Unstored(..))) => None,
        (ContainerState::Exited(_), None) => {
            let clock = look.clock(Stage::Collecting)?;
            let keep = Step::Keep(host.clone(), container.clone(), course(look, container));
            Some(Plan::wait(clock, vec![keep], Says::Collecting(None), SOON * 5))
        }
    }
}
