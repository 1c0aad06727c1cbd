//! Folds the runs of a matrix into how it stands, and decides what is made or cancelled now: a pure function.

use std::{collections::BTreeSet, time::Duration};

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::combine::{combinations, names};
use crate::{
    api::{Combination, CombinationStatus, E2EMatrixSpec, Phase, reason},
    programme::children::Child,
};

/// The longest that a look is put off: timers do not see that a clock was set.
const LOOK: Duration = Duration::from_mins(10);

/// What a plan is made from.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// `status.combinations`: what is remembered of runs that are gone.
    pub before: Vec<CombinationStatus>,
    /// The runs that it made, and that are there.
    pub children: Vec<Child>,
    /// Names of runs that were made, and of which the API server says that they are not there.
    pub gone: BTreeSet<String>,
    /// When the last run ended, once all have.
    pub finished: Option<Timestamp>,
}

/// What to do.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// Runs to make, each by its number among the combinations.
    pub make: Vec<usize>,
    /// Runs to cancel, by name and UID.
    pub cancel: Vec<(String, String)>,
    /// The combinations, as `status` has them by number.
    pub all: Vec<Combination>,
    /// How each of them stands.
    pub stand: Vec<CombinationStatus>,
    /// It cannot be run at all, in words.
    pub invalid: Option<String>,
    /// Its time after its end is over.
    pub expired: bool,
    /// When to look again, where nothing wakes it before.
    pub again: Option<Duration>,
}

/// Decides.
#[must_use]
pub fn plan(name: &str, spec: &E2EMatrixSpec, seen: &Seen, now: Timestamp) -> Plan {
    let (expired, again) = expiry(spec, seen, now);
    let all = match combinations(spec) {
        Ok(all) => all,
        Err(words) => return Plan { invalid: Some(words), expired, again, ..Plan::default() },
    };
    let stand: Vec<_> = names(name, &all).iter().map(|run| standing(run, seen)).collect();
    let plan = Plan { all, stand, expired, again, ..Plan::default() };
    match stopped(spec, &plan.stand) {
        Some(why) => stop(plan, &seen.children, &why),
        None => go_on(spec, plan),
    }
}

/// How the run of this name stands. What has ended stays so, whatever becomes of the object.
fn standing(run: &str, seen: &Seen) -> CombinationStatus {
    let before = seen.before.iter().find(|one| one.run == run);
    if let Some(ended) = before.filter(|one| is_over(one)) {
        return ended.clone();
    }
    if let Some(child) = seen.children.iter().find(|child| child.name == run) {
        return of_child(child);
    }
    match before {
        Some(made) if made.uid.is_some() && seen.gone.contains(run) => CombinationStatus {
            phase: Phase::Failed,
            reason: Some(reason::CANCELLED.to_owned()),
            message: Some("the run was deleted before it ended".to_owned()),
            ..made.clone()
        },
        // The watch does not tell of it yet.
        Some(made) if made.uid.is_some() => made.clone(),
        _ => CombinationStatus::new(run),
    }
}

fn of_child(child: &Child) -> CombinationStatus {
    let outcome = child.outcome.clone();
    let passed = child.ended.is_some_and(|end| end.passed);
    CombinationStatus {
        run: child.name.clone(),
        uid: Some(child.uid.clone()),
        phase: child.phase,
        reason: child.ended.and(Some(outcome.reason)),
        message: child.ended.filter(|_| !passed).and(Some(outcome.message)),
        passed: outcome.passed,
        failed: outcome.failed,
        flaky: outcome.flaky,
    }
}

/// Whether it has ended, or is not made any more.
#[must_use]
pub const fn is_over(one: &CombinationStatus) -> bool {
    matches!(one.phase, Phase::Complete | Phase::Failed)
}

/// Whether it did not come to its own end.
#[must_use]
pub fn is_cancelled(one: &CombinationStatus) -> bool {
    one.phase == Phase::Failed && one.reason.as_deref() == Some(reason::CANCELLED)
}

/// Whether it is there, and has not ended.
const fn is_under_way(one: &CombinationStatus) -> bool {
    one.uid.is_some() && !is_over(one)
}

/// Why no more is run, in words.
fn stopped(spec: &E2EMatrixSpec, stand: &[CombinationStatus]) -> Option<String> {
    if spec.cancel {
        return Some("spec.cancel is set".to_owned());
    }
    let failed = |one: &&CombinationStatus| one.phase == Phase::Failed && !is_cancelled(one);
    let first = stand.iter().find(failed).filter(|_| spec.fail_fast)?;
    Some(format!("{} failed (spec.failFast)", first.run))
}

/// Those that go on are cancelled, and the others are not made.
fn stop(mut plan: Plan, children: &[Child], why: &str) -> Plan {
    for one in plan.stand.iter_mut().filter(|one| one.uid.is_none() && !is_over(one)) {
        one.phase = Phase::Failed;
        one.reason = Some(reason::CANCELLED.to_owned());
        one.message = Some(format!("it was not made: {why}"));
    }
    let under_way: BTreeSet<&str> =
        plan.stand.iter().filter(|one| is_under_way(one)).map(|one| one.run.as_str()).collect();
    plan.cancel = children
        .iter()
        .filter(|child| under_way.contains(child.name.as_str()) && !child.cancelled && !child.deleting)
        .map(|child| (child.name.clone(), child.uid.clone()))
        .collect();
    plan
}

/// As many are made as may be at once.
fn go_on(spec: &E2EMatrixSpec, mut plan: Plan) -> Plan {
    let under_way = plan.stand.iter().filter(|one| is_under_way(one)).count();
    let room = spec.at_once().saturating_sub(under_way);
    let waiting = plan.stand.iter().enumerate().filter(|(_, one)| one.uid.is_none() && !is_over(one));
    plan.make = waiting.map(|(number, _)| number).take(room).collect();
    plan
}

/// Whether it is deleted now, or when to look at that again.
fn expiry(spec: &E2EMatrixSpec, seen: &Seen, now: Timestamp) -> (bool, Option<Duration>) {
    let Some((ttl, finished)) = spec.ttl_after_finished.zip(seen.finished) else { return (false, None) };
    let until = SignedDuration::try_from(ttl.get()).ok().and_then(|ttl| finished.checked_add(ttl).ok());
    let left = until.map(|until| Duration::try_from(until.duration_since(now)).unwrap_or_default());
    match left {
        Some(Duration::ZERO) => (true, None),
        left => (false, left.map(|left| left.min(LOOK))),
    }
}

impl CombinationStatus {
    /// One whose run is to be made.
    fn new(run: &str) -> Self {
        Self {
            run: run.to_owned(),
            uid: None,
            phase: Phase::Pending,
            reason: None,
            message: None,
            passed: None,
            failed: None,
            flaky: None,
        }
    }
}

#[cfg(test)]
mod tests;
