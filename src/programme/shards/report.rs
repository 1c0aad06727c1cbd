//! Says how a run stands that is divided: one patch of status where it changed, and Events.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;

use super::verdict::Verdict;
use crate::{
    api::{BalancedBy, E2ERun, E2ERunStatus, MadeRun, Phase, condition, reason, set, text, type_},
    metrics::metrics,
    programme::{
        Context,
        children::{self, Child},
        stand::{is_over, is_under_way},
    },
    run::{stage::elapsed, verdict::took},
    status::{self, Over, announce, judged, whole, write},
};

/// The most characters of a message.
const MESSAGE: usize = 1024;
/// What the Events are about.
const ACTION: &str = "Run";

/// What there is to say.
#[derive(Clone, Debug, PartialEq)]
pub enum Said<'a> {
    /// None is made yet: by what they will divide the cases is written down first.
    Divides {
        /// That.
        by: BalancedBy,
    },
    /// Not all shards have ended.
    Goes {
        /// Why those that are missing are not made, in words.
        waits: Option<String>,
        /// The runs.
        children: &'a [Child],
    },
    /// All have, and what they left cannot be kept.
    Unkept {
        /// Why, in words.
        words: String,
        /// When it is tried again.
        again: Duration,
    },
    /// All have.
    Ended(Box<Gathered>),
}

/// The end.
#[derive(Clone, Debug, PartialEq)]
pub struct Gathered {
    /// How it went.
    pub verdict: Verdict,
    /// When the first container started.
    pub started: Option<Timestamp>,
    /// When the last shard ended.
    pub finished: Option<Timestamp>,
    /// The image, where all have run the same one.
    pub image: Option<String>,
    /// The ConfigMap with all results.
    pub results: Option<String>,
}

impl Said<'_> {
    /// When to look again.
    #[must_use]
    pub const fn again(&self) -> Option<Duration> {
        match self {
            Self::Unkept { again, .. } => Some(*again),
            Self::Divides { .. } | Self::Goes { .. } | Self::Ended(_) => None,
        }
    }
}

impl Gathered {
    /// What the status of each shard has beside the verdict.
    #[must_use]
    pub fn of(shards: &[E2ERunStatus], verdict: Verdict, now: Timestamp) -> Self {
        let images: Vec<_> = shards.iter().filter_map(|status| status.image_id.as_ref()).collect();
        let same = images.first().filter(|first| images.iter().all(|image| image == *first));
        let finished = shards.iter().filter_map(|status| status.finished_at.as_ref()).map(|at| at.0).max();
        Self {
            verdict,
            started: shards.iter().filter_map(|status| status.started_at.as_ref()).map(|at| at.0).min(),
            finished: finished.or(Some(now)),
            image: same.map(ToString::to_string),
            results: None,
        }
    }
}

/// Writes status and Events.
///
/// # Errors
/// Where the API server refuses.
pub async fn report(context: &Context, run: &E2ERun, stand: Vec<MadeRun>, said: &Said<'_>) -> Result<(), kube::Error> {
    let old = run.status.clone().unwrap_or_default();
    let new = status(run, stand, said, Timestamp::now());
    if old == new {
        return Ok(());
    }
    let runs = children::runs(&context.client, &run.namespace().unwrap_or_default());
    write(&runs, run, &new, Over::WhatWasRead).await?;
    metrics().run(run.status.as_ref(), &new);
    announce(&context.events, run, &old.conditions, &new.conditions, ACTION).await;
    Ok(())
}

/// The status after a pass.
pub(super) fn status(run: &E2ERun, stand: Vec<MadeRun>, said: &Said<'_>, now: Timestamp) -> E2ERunStatus {
    let on = |reason, message| status::Verdict { ready: false, reconciling: true, reason, message };
    let old = run.status.as_ref().map(|status| status.conditions.clone()).unwrap_or_default();
    let base = |verdict: &status::Verdict<'_>, phase| E2ERunStatus {
        observed_generation: run.metadata.generation,
        conditions: judged(&old, verdict, run.metadata.generation, now),
        phase: Some(phase),
        message: Some(text::line(&verdict.message, MESSAGE)),
        cluster: run.spec.cluster_ref.as_ref().map(|cluster| cluster.name.clone()),
        ..E2ERunStatus::default()
    };
    let mut balanced_by = run.status.as_ref().and_then(|status| status.balanced_by.clone());
    let new = match said {
        Said::Divides { by } => {
            balanced_by = Some(by.clone());
            base(&on(reason::RUNNING, progress(&stand, &[])), Phase::Pending)
        }
        Said::Goes { waits, children } => {
            let begun = stand.iter().any(|one| is_over(one) || one.phase == Phase::Running);
            let phase = if begun { Phase::Running } else { Phase::Pending };
            match waits {
                Some(words) => base(&on(reason::RUN_NOT_MADE, words.clone()), phase),
                None => base(&on(reason::RUNNING, progress(&stand, children)), phase),
            }
        }
        Said::Unkept { words, .. } => {
            let message = format!("the results cannot be kept: {words}. It is tried again");
            base(&on(reason::NOT_KEPT, message), Phase::Running)
        }
        Said::Ended(end) => ended(run, end, base, now),
    };
    E2ERunStatus { shards: stand, balanced_by, ..new }
}

fn ended(
    run: &E2ERun,
    end: &Gathered,
    base: impl Fn(&status::Verdict<'_>, Phase) -> E2ERunStatus,
    now: Timestamp,
) -> E2ERunStatus {
    let Verdict { passed, reason, message, counts, failures } = &end.verdict;
    let (type_, phase) = if *passed { (type_::COMPLETE, Phase::Complete) } else { (type_::FAILED, Phase::Failed) };
    let verdict = status::Verdict { ready: *passed, reconciling: false, reason, message: message.clone() };
    let mut new = base(&verdict, phase);
    set(&mut new.conditions, condition(type_, true, reason, message, run.metadata.generation, now));
    let count = |of: fn(&crate::results::Tally) -> usize| counts.as_ref().and_then(|all| u32::try_from(of(all)).ok());
    (new.passed, new.failed) = (count(|all| all.passed), count(|all| all.failed));
    (new.flaky, new.skipped) = (count(|all| all.flaky), count(|all| all.skipped));
    new.failures.clone_from(failures);
    new.started_at = end.started.map(whole);
    new.finished_at = end.finished.map(whole);
    new.duration = end.started.zip(end.finished).map(|(from, to)| took(elapsed(from, to)));
    new.image_id.clone_from(&end.image);
    new.results.clone_from(&end.results);
    new
}

/// How far the shards are. Where none has begun, what the first of them waits for.
fn progress(stand: &[MadeRun], children: &[Child]) -> String {
    let many = |of: &dyn Fn(&MadeRun) -> bool| stand.iter().filter(|one| of(one)).count();
    let (passed, failed) = (many(&|one| one.phase == Phase::Complete), many(&|one| one.phase == Phase::Failed));
    let running = many(&|one| is_under_way(one) && one.phase == Phase::Running);
    let all = stand.len();
    let waiting = all - passed - failed - running;
    let words = format!("of {all} shards {passed} passed, {failed} did not, {running} run, {waiting} wait");
    let first = children.iter().filter(|child| child.is_active() && !child.outcome.message.is_empty());
    match first.min_by_key(|child| stand.iter().position(|one| one.run == child.name)) {
        Some(child) if running + passed + failed == 0 => {
            format!("{words}: {} {}", child.name, child.outcome.message)
        }
        _ => words,
    }
}
