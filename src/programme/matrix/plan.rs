//! Folds the runs of a matrix into how it stands, and decides what is made or cancelled now: a pure function.

use std::{collections::BTreeSet, time::Duration};

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::combine::{combinations, names};
use crate::{
    api::{Combination, E2EMatrixSpec, MadeRun, Phase, reason},
    programme::{
        children::Child,
        stand::{is_cancelled, is_over, is_under_way, standing, stop},
    },
};

/// The longest that a look is put off: timers do not see that a clock was set.
const LOOK: Duration = Duration::from_mins(10);

/// What a plan is made from.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// `status.combinations`: what is remembered of runs that are gone.
    pub before: Vec<MadeRun>,
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
    pub stand: Vec<MadeRun>,
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
    let stand: Vec<_> =
        names(name, &all).iter().map(|run| standing(run, &seen.before, &seen.children, &seen.gone)).collect();
    let plan = Plan { all, stand, expired, again, ..Plan::default() };
    match stopped(spec, &plan.stand) {
        Some(why) => {
            let mut plan = plan;
            plan.cancel = stop(&mut plan.stand, &seen.children, reason::CANCELLED, &why);
            plan
        }
        None => go_on(spec, plan),
    }
}

/// Why no more is run, in words.
fn stopped(spec: &E2EMatrixSpec, stand: &[MadeRun]) -> Option<String> {
    if spec.cancel {
        return Some("spec.cancel is set".to_owned());
    }
    let failed = |one: &&MadeRun| one.phase == Phase::Failed && !is_cancelled(one);
    let first = stand.iter().find(failed).filter(|_| spec.fail_fast)?;
    Some(format!("{} failed (spec.failFast)", first.run))
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

#[cfg(test)]
mod tests;
