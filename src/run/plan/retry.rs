//! What follows on the end of an attempt: another one, or the end of the run.

use super::{FALLBACK, Look, Plan, SOON, Says, Step};
use crate::{
    api::{AttemptOutcome, reason},
    host::HostId,
    run::{
        attempt::{self, Attempt, Chances, Next},
        stage::Stage,
    },
};

/// The most names of cases that an Event tells of.
const NAMES: usize = 10;

/// The plan, or what follows where it ends the attempt.
pub fn after(look: &Look<'_>, plan: Plan) -> Plan {
    let Says::Ended(end) = plan.says else { return plan };
    let before = &look.seen.record.attempts;
    let host = look.seen.record.placed.as_ref().map(|placed| &placed.host).or(end.on.as_ref()).cloned();
    let this = Attempt::of(&end, host).with_record(&look.seen.record, look.now);
    let all = attempt::with(before, this.clone());
    let chances = Chances {
        time: look.clock(Stage::Running).is_some(),
        wanted: look.asked().is_none() && look.seen.record.cut.is_none(),
        elsewhere: elsewhere(look, &all),
    };
    match attempt::next(&look.spec.retries, &all, chances) {
        Next::Verdict => {
            let end = attempt::conclude(before, this, *end);
            Plan { says: Says::Ended(Box::new(end)), ..plan }
        }
        next => {
            let words = words(look, &this, next);
            let steps = vec![Step::Again(Box::new(this), words)];
            Plan { steps, says: Says::Nothing, enters: None, again: Some(SOON) }
        }
    }
}

/// Whether there is a manager, or will be one, on which the run was not lost. One that is not connected to is another one.
fn elsewhere(look: &Look<'_>, attempts: &[Attempt]) -> bool {
    let lost = attempt::lost(attempts);
    // Where it was lost is not known: then neither is what would be another one.
    if attempts.iter().any(|a| a.outcome == AttemptOutcome::Infrastructure && a.host.is_none()) {
        return false;
    }
    let Some(cluster) = &look.seen.cluster else { return false };
    let newest = |slot: &String| look.seen.hosts.keys().rfind(|id| id.slot == *slot);
    let lost_slot = |slot: &String| lost.iter().any(|id| id.slot == *slot);
    let fresh = |slot: &String| newest(slot).map_or(!lost_slot(slot), |id| !lost.contains(id));
    cluster.slots.iter().filter(|slot| slot.starts_with('m')).any(fresh)
}

/// What is told of it.
fn words(look: &Look<'_>, ended: &Attempt, next: Next) -> String {
    let (number, message) = (look.seen.record.number(), &ended.message);
    let (named, more) = ended.failed.split_at(ended.failed.len().min(NAMES));
    let more = if more.is_empty() { String::new() } else { format!(" and {} more", more.len()) };
    let on = ended.host.as_ref().map_or_else(String::new, |host: &HostId| format!(" on {}", look.node(&host.slot)));
    match next {
        Next::FailedCases => {
            format!("attempt {number}{on}: {message}. Attempt {} runs {}{more} again", number + 1, named.join(", "))
        }
        Next::Elsewhere | Next::Verdict => {
            format!(
                "attempt {number}{on} was lost: {message}. Attempt {} begins on another manager, or on the machine that takes its place",
                number + 1
            )
        }
    }
}

/// What is next for a later attempt without a container: what the first one would do, but within the time of the run,
/// on the same cluster, and only once nothing is left of those before.
pub fn pending(look: &Look<'_>, mut plan: Plan) -> Plan {
    if plan.ends().is_some() {
        return plan;
    }
    let record = &look.seen.record;
    let Some(clock) = look.clock(Stage::Running) else {
        let words = format!("spec.timeout ({}) was over before attempt {} started", look.spec.timeout, record.number());
        return Plan::end(reason::DEADLINE_EXCEEDED, words);
    };
    let of = |a: &Attempt| a.host.as_ref().map(|host| host.cluster.clone());
    let uid = record.attempts.iter().find_map(of);
    let same = |uid: &String| look.seen.cluster.as_ref().is_some_and(|c| c.uid == *uid && !c.deleting);
    if uid.is_some_and(|uid| !same(&uid)) {
        let words = format!("SwarmCluster {} was deleted between two attempts: create another E2ERun", look.cluster());
        return Plan::end(reason::CLUSTER_GONE, words);
    }
    let left = look.left();
    if !left.is_empty() {
        // Never two at once: what is left of an attempt goes before the next one is made.
        plan.steps.retain(|step| !matches!(step, Step::Launch(_) | Step::Adopt(..)));
        // After all else: what cannot be removed keeps no place from being given up.
        plan.steps.extend(left.into_iter().map(|(host, container)| Step::Remove(host, container)));
        plan.again = plan.again.map(|again| again.min(SOON));
    }
    let running = record.began().map_or(FALLBACK, |_| clock.left());
    plan.again = plan.again.map(|again| again.min(running));
    plan
}
