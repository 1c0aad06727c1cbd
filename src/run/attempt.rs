//! The attempts of a run, and what follows from them: a pure fold of policy and attempts into what to start next, or
//! the verdict. An attempt is one execution of the container; what it goes through is [`super::plan`].

use std::{collections::BTreeSet, time::Duration};

use k8s_openapi::jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    record::Record,
    verdict::{Counts, End, took},
};
use crate::{
    api::{AttemptOutcome, AttemptStatus, CaseFailure, Retries, reason, text},
    host::HostId,
};

/// The most characters of what is written of an attempt.
const WORDS: usize = 256;
/// How an attempt ends that nothing came of.
const NOT_BEGUN: [&str; 3] = [reason::PENDING_TIMEOUT, reason::IMAGE_UNAVAILABLE, reason::DEADLINE_EXCEEDED];

/// An attempt that ended: what is written of it before the next one is begun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// What its end speaks of.
    pub outcome: AttemptOutcome,
    /// The reason, one of [`reason`].
    pub reason: String,
    /// In words.
    pub message: String,
    /// The manager it was on, or was to be on.
    pub host: Option<HostId>,
    /// Its container.
    pub container: Option<String>,
    /// What image that was made of: what its registry knows it by, or its id.
    #[serde(default)]
    pub image: Option<String>,
    /// When that started, and for how many milliseconds it ran.
    pub ran: Option<(Timestamp, u64)>,
    /// The cases of this attempt and of those before together.
    pub counts: Option<Counts>,
    /// The cases that have failed in all attempts so far, as their tool knows them: the next ones run these alone.
    pub failed: Vec<String>,
    /// The ConfigMap with what it left.
    pub results: Option<String>,
}

/// Whose an end is.
#[must_use]
pub fn outcome_of(why: &str) -> AttemptOutcome {
    match why {
        reason::INFRASTRUCTURE => AttemptOutcome::Infrastructure,
        reason::PASSED
        | reason::CASES_FAILED
        | reason::NO_RESULTS
        | reason::NO_CASES
        | reason::CONTAINER_FAILED
        | reason::OOM_KILLED
        | reason::DEADLINE_EXCEEDED => AttemptOutcome::Test,
        // Nobody is helped by doing again what somebody wrote, or ended.
        _ => AttemptOutcome::Configuration,
    }
}

/// What there is beside the policy and the attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chances {
    /// The time of the run is not over.
    pub time: bool,
    /// Nobody has told the run to end, nor its cluster.
    pub wanted: bool,
    /// There is a manager on which the run was not lost yet.
    pub elsewhere: bool,
}

/// What follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The cases that failed are run again.
    FailedCases,
    /// The same is begun again elsewhere.
    Elsewhere,
    /// It is over: the last attempt's end is the run's.
    Verdict,
}

/// What follows after the last of these attempts.
#[must_use]
pub fn next(policy: &Retries, attempts: &[Attempt], chances: Chances) -> Next {
    let Some((last, before)) = attempts.split_last() else { return Next::Verdict };
    if !chances.time || !chances.wanted {
        return Next::Verdict;
    }
    let used = before.iter().filter(|a| a.outcome == last.outcome).count();
    let left = |most: u32| used < usize::try_from(most).unwrap_or(usize::MAX);
    match last.outcome {
        AttemptOutcome::Test if !last.failed.is_empty() && left(policy.failed_cases) => Next::FailedCases,
        AttemptOutcome::Infrastructure if chances.elsewhere && left(policy.infrastructure) => Next::Elsewhere,
        _ => Next::Verdict,
    }
}

/// The cases that the next attempt is to run, as their tool knows them; `None` for all.
#[must_use]
pub fn only(attempts: &[Attempt]) -> Option<&[String]> {
    attempts.iter().rev().map(|a| a.failed.as_slice()).find(|failed| !failed.is_empty())
}

/// The last attempt that told of the tests: what later ones add to.
#[must_use]
pub fn base(attempts: &[Attempt]) -> Option<&Attempt> {
    attempts.iter().rfind(|a| a.outcome == AttemptOutcome::Test)
}

/// The hosts on which the run was lost.
#[must_use]
pub fn lost(attempts: &[Attempt]) -> BTreeSet<&HostId> {
    let lost = attempts.iter().filter(|a| a.outcome == AttemptOutcome::Infrastructure);
    lost.filter_map(|a| a.host.as_ref()).collect()
}

/// When the first container started.
#[must_use]
pub fn began(attempts: &[Attempt]) -> Option<Timestamp> {
    attempts.iter().filter_map(|a| Some(a.ran?.0)).min()
}

impl Attempt {
    /// What is to be remembered of an attempt that ended this way, on this host.
    #[must_use]
    pub fn of(end: &End, host: Option<HostId>) -> Self {
        let own = end.own.as_ref();
        let (why, words) = own.map_or((end.reason, &end.message), |(why, words)| (*why, words));
        let outcome = outcome_of(why);
        let again = end.again.as_ref().and_then(|again| again.as_ref().ok());
        Self {
            outcome,
            reason: why.to_owned(),
            message: text::line(words, WORDS),
            host,
            container: end.container.as_ref().map(|(_, container)| container.id.clone()),
            image: end.container.as_ref().and_then(|(_, container)| container.image.clone()),
            ran: end.ran.map(|(at, ran)| (at, u64::try_from(ran.as_millis()).unwrap_or(u64::MAX))),
            counts: end.counts,
            failed: again.filter(|_| outcome == AttemptOutcome::Test).cloned().unwrap_or_default(),
            results: end.results.clone(),
        }
    }

    /// It, with what is written down of its container, where that was lost before anybody looked at its end.
    #[must_use]
    pub fn with_record(mut self, record: &Record, now: Timestamp) -> Self {
        if let Some(placed) = &record.placed {
            self.container.get_or_insert_with(|| placed.container.clone());
            let ran = |at| (at, u64::try_from(super::stage::elapsed(at, now).as_millis()).unwrap_or(u64::MAX));
            self.ran = self.ran.or_else(|| record.started().map(ran));
        }
        self
    }

    /// It as status tells it. `node` names a host.
    #[must_use]
    pub fn status(&self, number: usize, node: impl Fn(&HostId) -> String) -> AttemptStatus {
        let whole = |at: Timestamp| Timestamp::from_second(at.as_second()).unwrap_or(at);
        AttemptStatus {
            number: u32::try_from(number).unwrap_or(u32::MAX),
            outcome: self.outcome,
            reason: self.reason.clone(),
            message: self.message.clone(),
            manager: self.host.as_ref().map(node),
            started_at: self.ran.map(|(at, _)| k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(whole(at))),
            duration: self.ran.map(|(_, ran)| took(Duration::from_millis(ran))),
            results: self.results.clone(),
        }
    }
}

/// The attempts with one more. The names of failed cases stand with the last one that has them.
#[must_use]
pub fn with(before: &[Attempt], last: Attempt) -> Vec<Attempt> {
    let mut all = before.to_vec();
    if !last.failed.is_empty() {
        all.iter_mut().for_each(|attempt| attempt.failed.clear());
    }
    all.push(last);
    all
}

/// The end of a run whose last attempt ended this way: with what those before have said.
#[must_use]
pub fn conclude(before: &[Attempt], last: Attempt, end: End) -> End {
    let mut end = verdict(before, &last, end);
    if !before.is_empty() {
        end.attempts = with(before, last);
    }
    end
}

fn verdict(before: &[Attempt], last: &Attempt, mut end: End) -> End {
    if let Some(Err(why)) = &end.again {
        end.message = format!("{}. They are not run again: {why}", end.message);
    }
    let Some(begun) = (!before.is_empty()).then(|| began(before)) else { return end };
    let number = before.len() + 1;
    if let Some(began) = begun {
        let ended = end.ran.and_then(|(at, ran)| at.checked_add(ran).ok()).or_else(|| ends(before));
        let ran = ended.map(|ended| super::stage::elapsed(began, ended));
        end.ran = ran.map(|ran| (began, ran));
    }
    let lost = before.last().filter(|a| a.outcome == AttemptOutcome::Infrastructure && base(before).is_none());
    if let Some(lost) = lost.filter(|_| end.container.is_none() && NOT_BEGUN.contains(&end.reason)) {
        // It is for the loss that there is no verdict: nothing else was in the way of the first attempt.
        end.reason = reason::INFRASTRUCTURE;
        end.message = format!("{}; attempt {number} did not begin: {}", lost.message, end.message);
        return end;
    }
    let told = base(before).filter(|_| last.outcome != AttemptOutcome::Test || end.counts.is_none());
    if let Some(base) = told {
        // What failed before has failed still.
        end.complete = false;
        (end.counts, end.results) = (base.counts, base.results.clone());
        let said = || "it failed, and did not pass when it was run again".to_owned();
        end.failures =
            base.failed.iter().take(20).map(|name| CaseFailure { name: name.clone(), message: said() }).collect();
        if ![reason::CANCELLED, reason::CLUSTER_GONE, reason::NOT_KEPT].contains(&end.reason) {
            end.reason = reason::CASES_FAILED;
        }
        end.message = format!("{}; then attempt {number}: {}", base.message, end.message);
        return end;
    }
    match &end.own {
        Some((reason::PASSED, _)) if !end.complete => {
            end.message = format!("{}: attempt {number} does not show that each of them passes", end.message);
        }
        Some((why, words)) if !end.complete && ![reason::CASES_FAILED, end.reason].contains(why) => {
            end.message = format!("{}; attempt {number}: {words}", end.message);
        }
        _ => end.message = format!("{} (attempt {number})", end.message),
    }
    end
}

fn ends(attempts: &[Attempt]) -> Option<Timestamp> {
    attempts.iter().filter_map(|a| a.ran?.0.checked_add(Duration::from_millis(a.ran?.1)).ok()).max()
}

#[cfg(test)]
#[path = "attempt_tests.rs"]
mod tests;
