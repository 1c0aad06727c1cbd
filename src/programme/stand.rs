//! How the runs stand that an object makes, and what is done about them: what all that make several runs have in common.
//! That status is memory as well as output, since a run that has ended may be deleted.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use kube::{Api, ResourceExt};

use super::{
    REFUSED,
    children::{self, Child, Made},
};
use crate::api::{E2ERun, MadeRun, Phase, reason, text};

/// The most characters of a message that is kept of a run.
const MESSAGE: usize = 200;

/// How the run of this name stands. What has ended stays so, whatever becomes of the object.
#[must_use]
pub fn standing(run: &str, before: &[MadeRun], children: &[Child], gone: &BTreeSet<String>) -> MadeRun {
    let before = before.iter().find(|one| one.run == run);
    if let Some(ended) = before.filter(|one| is_over(one)) {
        return ended.clone();
    }
    if let Some(child) = children.iter().find(|child| child.name == run) {
        return of_child(child);
    }
    match before {
        Some(made) if made.uid.is_some() && gone.contains(run) => MadeRun {
            phase: Phase::Failed,
            reason: Some(reason::CANCELLED.to_owned()),
            message: Some("the run was deleted before it ended".to_owned()),
            ..made.clone()
        },
        // The watch does not tell of it yet.
        Some(made) if made.uid.is_some() => made.clone(),
        _ => MadeRun::new(run),
    }
}

fn of_child(child: &Child) -> MadeRun {
    let outcome = child.outcome.clone();
    let passed = child.ended.is_some_and(|end| end.passed);
    MadeRun {
        run: child.name.clone(),
        uid: Some(child.uid.clone()),
        phase: child.phase,
        reason: child.ended.and(Some(outcome.reason)),
        message: child.ended.filter(|_| !passed).and(Some(outcome.message)),
        passed: outcome.passed,
        failed: outcome.failed,
        flaky: outcome.flaky,
        skipped: outcome.skipped,
    }
}

/// Whether it has ended, or is not made any more.
#[must_use]
pub const fn is_over(one: &MadeRun) -> bool {
    matches!(one.phase, Phase::Complete | Phase::Failed)
}

/// Whether it did not come to its own end.
#[must_use]
pub fn is_cancelled(one: &MadeRun) -> bool {
    one.phase == Phase::Failed && one.reason.as_deref() == Some(reason::CANCELLED)
}

/// Whether it is there, and has not ended.
#[must_use]
pub const fn is_under_way(one: &MadeRun) -> bool {
    one.uid.is_some() && !is_over(one)
}

/// Those that are not made yet are not made any more, for this reason; which of the others are to be cancelled, by name
/// and UID.
#[must_use]
pub fn stop(stand: &mut [MadeRun], children: &[Child], why: &str, words: &str) -> Vec<(String, String)> {
    for one in stand.iter_mut().filter(|one| one.uid.is_none() && !is_over(one)) {
        one.phase = Phase::Failed;
        one.reason = Some(why.to_owned());
        one.message = Some(format!("it was not made: {words}"));
    }
    let under_way: BTreeSet<&str> = stand.iter().filter(|one| is_under_way(one)).map(|one| one.run.as_str()).collect();
    children
        .iter()
        .filter(|child| under_way.contains(child.name.as_str()) && !child.cancelled && !child.deleting)
        .map(|child| (child.name.clone(), child.uid.clone()))
        .collect()
}

impl MadeRun {
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
            skipped: None,
        }
    }
}

/// Of the runs that were made and are in no watch, the names of those that are not there: what a watch does not tell yet
/// is not gone. One that lost the label by which it is watched is given it again.
///
/// # Errors
/// Where the API server does not answer.
pub async fn gone(
    runs: &Api<E2ERun>,
    (label, maker): (&str, &str),
    before: &[MadeRun],
    children: &[Child],
) -> Result<BTreeSet<String>, kube::Error> {
    let mut gone = BTreeSet::new();
    let known = |one: &MadeRun| children.iter().any(|child| child.name == one.run);
    for one in before.iter().filter(|one| is_under_way(one) && !known(one)) {
        match runs.get_metadata_opt(&one.run).await?.filter(|run| run.uid() == one.uid) {
            None => drop(gone.insert(one.run.clone())),
            Some(run) if run.labels().get(label).is_none_or(|is| is != maker) => {
                let uid = one.uid.as_deref().unwrap_or_default();
                // What is wrong with one run is in the way of no other.
                if let Err(error) = children::label(runs, &one.run, uid, (label, maker)).await {
                    tracing::warn!(run = one.run, label, %error, "a run lost its label, and cannot be given it again");
                }
            }
            Some(_) => {}
        }
    }
    Ok(gone)
}

/// Whether a plan gives up a run of which it is not known that it was made. A watch may not have told that it was.
#[must_use]
pub fn gives_up(before: &[MadeRun], stand: &[MadeRun]) -> bool {
    let was_over = |run: &str| before.iter().any(|one| one.run == run && is_over(one));
    stand.iter().any(|one| one.uid.is_none() && is_over(one) && !was_over(&one.run))
}

/// What became of runs that were to be made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The UIDs of those that were made, by number.
    pub made: BTreeMap<usize, String>,
    /// Those that the API server refuses for what is in them, in words.
    pub refused: BTreeMap<usize, String>,
    /// No run is made now, in words: the operator may not, there is no room for more, or others are in the way.
    pub not_now: Option<String>,
}

impl Outcome {
    /// Cancels runs, by name and UID, and makes others, with the first error there was: what goes wrong with one run is in
    /// the way of no other. Each step may be repeated.
    pub async fn of(
        runs: &Api<E2ERun>,
        cancel: &[(String, String)],
        make: impl Iterator<Item = (usize, E2ERun)>,
    ) -> (Self, Option<kube::Error>) {
        let mut failed = None;
        for (name, uid) in cancel {
            failed = failed.or(children::cancel(runs, name, uid).await.err());
        }
        let (outcome, not_made) = Self::making(runs, make).await;
        (outcome, failed.or(not_made))
    }

    /// Makes these runs, until one cannot be made now: what holds for one holds for all. With the error, where the API
    /// server did not answer as it should.
    async fn making(runs: &Api<E2ERun>, make: impl Iterator<Item = (usize, E2ERun)>) -> (Self, Option<kube::Error>) {
        let mut outcome = Self::default();
        for (number, run) in make {
            match children::make(runs, &run).await {
                Ok(Made::Now(uid) | Made::Before(uid)) => drop(outcome.made.insert(number, uid)),
                Ok(Made::Refused(words)) => drop(outcome.refused.insert(number, words)),
                Ok(Made::NotNow(words)) => {
                    outcome.not_now = Some(words);
                    break;
                }
                Err(error) => return (outcome, Some(error)),
            }
        }
        (outcome, None)
    }

    /// How the runs stand after that.
    #[must_use]
    pub fn told(&self, mut stand: Vec<MadeRun>) -> Vec<MadeRun> {
        for (number, one) in stand.iter_mut().enumerate() {
            if let Some(uid) = self.made.get(&number) {
                one.uid = Some(uid.clone());
            }
            if let Some(words) = self.refused.get(&number) {
                one.phase = Phase::Failed;
                one.reason = Some(reason::RUN_NOT_MADE.to_owned());
                one.message = Some(words.clone());
            }
            one.message = one.message.as_ref().map(|words| text::line(words, MESSAGE));
        }
        stand
    }

    /// That none is made now, in words.
    #[must_use]
    pub fn waits(&self) -> Option<String> {
        let words = self.not_now.as_ref()?;
        Some(format!("runs cannot be made: {words}. It is tried again every {} s", REFUSED.as_secs()))
    }

    /// When to try again.
    #[must_use]
    pub fn again(&self) -> Option<Duration> {
        self.not_now.as_ref().map(|_| REFUSED)
    }
}
