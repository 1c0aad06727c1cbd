//! Says how a matrix stands: one summary of its runs, in one patch of status where it changed, and Events.

use k8s_openapi::jiff::Timestamp;
use kube::{Api, ResourceExt};

use super::plan::Plan;
use crate::{
    api::{E2EMatrix, E2EMatrixStatus, MadeRun, Phase, condition, reason, set, text, type_},
    programme::{
        Context,
        stand::{Outcome, is_cancelled, is_over},
    },
    status::{Over, Verdict, announce, judged, whole, write},
};

/// The most names in a message.
const NAMES: usize = 5;
/// The most characters of a message.
const MESSAGE: usize = 1024;
/// What the Events are about.
const ACTION: &str = "Matrix";

/// Writes status and Events.
///
/// # Errors
/// Where the API server refuses.
pub async fn report(context: &Context, matrix: &E2EMatrix, plan: &Plan, outcome: &Outcome) -> Result<(), kube::Error> {
    let old = matrix.status.clone().unwrap_or_default();
    let new = status(matrix, plan, outcome, Timestamp::now());
    if old == new {
        return Ok(());
    }
    let matrices: Api<E2EMatrix> = Api::namespaced(context.client.clone(), &matrix.namespace().unwrap_or_default());
    write(&matrices, matrix, &new, Over::WhatWasRead).await?;
    announce(&context.events, matrix, &old.conditions, &new.conditions, ACTION).await;
    Ok(())
}

/// How many runs stand how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    all: usize,
    passed: usize,
    failed: usize,
    cancelled: usize,
    running: usize,
}

impl Counts {
    fn of(stand: &[MadeRun]) -> Self {
        let many = |of: &dyn Fn(&MadeRun) -> bool| stand.iter().filter(|one| of(one)).count();
        let cancelled = many(&is_cancelled);
        Self {
            all: stand.len(),
            passed: many(&|one| one.phase == Phase::Complete),
            failed: many(&|one| one.phase == Phase::Failed) - cancelled,
            cancelled,
            running: many(&|one| one.uid.is_some() && !is_over(one)),
        }
    }

    const fn ended(&self) -> usize {
        self.passed + self.failed + self.cancelled
    }
}

/// The status after a pass.
fn status(matrix: &E2EMatrix, plan: &Plan, outcome: &Outcome, now: Timestamp) -> E2EMatrixStatus {
    let old = matrix.status.clone().unwrap_or_default();
    let generation = matrix.metadata.generation;
    let combinations = outcome.told(plan.stand.clone());
    let counts = Counts::of(&combinations);
    let verdict = verdict(plan, outcome, &combinations, counts);
    let mut conditions = judged(&old.conditions, &verdict, generation, now);
    let ended = !verdict.reconciling;
    if ended {
        let type_ = if verdict.ready { type_::COMPLETE } else { type_::FAILED };
        set(&mut conditions, condition(type_, true, verdict.reason, &verdict.message, generation, now));
    }
    let number = |many: usize| u32::try_from(many).ok();
    E2EMatrixStatus {
        observed_generation: generation,
        conditions,
        phase: Some(match (ended, verdict.ready, counts.running + counts.ended()) {
            (true, true, _) => Phase::Complete,
            (true, false, _) => Phase::Failed,
            (false, _, 0) => Phase::Pending,
            (false, ..) => Phase::Running,
        }),
        message: Some(text::line(&verdict.message, MESSAGE)),
        ended: Some(format!("{}/{}", counts.ended(), counts.all)),
        runs_passed: number(counts.passed),
        runs_failed: number(counts.failed),
        runs_cancelled: number(counts.cancelled),
        finished_at: old.finished_at.or_else(|| ended.then(|| whole(now))),
        combinations,
    }
}

fn verdict(plan: &Plan, outcome: &Outcome, stand: &[MadeRun], counts: Counts) -> Verdict<'static> {
    let over = |ready, reason, message| Verdict { ready, reconciling: false, reason, message };
    let on = |reason, message| Verdict { ready: false, reconciling: true, reason, message };
    let Counts { all, passed, failed, cancelled, running } = counts;
    if let Some(words) = &plan.invalid {
        return over(false, reason::INVALID_SPEC, words.clone());
    }
    if let Some(message) = outcome.waits() {
        return on(reason::RUN_NOT_MADE, message);
    }
    if counts.ended() < all {
        let waiting = all - counts.ended() - running;
        let message = format!(
            "of {all} runs {passed} passed, {failed} failed, {cancelled} are cancelled, {running} go on, {waiting} wait"
        );
        return on(reason::RUNNING, message);
    }
    match (failed, cancelled) {
        (0, 0) => over(true, reason::RUNS_PASSED, format!("all {all} runs passed")),
        (0, _) => {
            over(false, reason::CANCELLED, format!("of {all} runs {passed} passed, and {cancelled} were cancelled"))
        }
        _ => over(false, reason::RUNS_FAILED, failures(stand, counts)),
    }
}

/// Which runs failed, and why.
fn failures(stand: &[MadeRun], counts: Counts) -> String {
    let why = |one: &MadeRun| format!("{} ({})", one.run, one.reason.as_deref().unwrap_or("Failed"));
    let failed = stand.iter().filter(|one| one.phase == Phase::Failed && !is_cancelled(one));
    let named: Vec<String> = failed.take(NAMES).map(why).collect();
    let more = match counts.failed - named.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let cancelled = match counts.cancelled {
        0 => String::new(),
        many => format!("; {many} were cancelled"),
    };
    format!("{} of {} runs failed: {}{more}{cancelled}", counts.failed, counts.all, named.join(", "))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;
    use crate::api::is_true;

    fn matrix() -> E2EMatrix {
        serde_json::from_value(json!({
            "metadata": {"name": "m", "generation": 1},
            "spec": {"axes": {"image": ["a", "b"]}, "runTemplate": {"spec": {"clusterRef": {"name": "foo"}, "image": "suite:1"}}},
        }))
        .unwrap()
    }

    fn stand(run: &str, made: bool, phase: Phase, why: &str) -> MadeRun {
        serde_json::from_value(json!({
            "run": run, "uid": made.then_some("u"), "phase": phase, "reason": (!why.is_empty()).then_some(why), "message": "x".repeat(300),
        }))
        .unwrap()
    }

    #[test]
    fn each_state_is_said_as_kstatus_reads_it() {
        use Phase::{Complete, Failed, Pending, Running};
        let now = Timestamp::UNIX_EPOCH;
        let passed = || stand("m-a", true, Complete, reason::PASSED);
        let failed = || stand("m-b", true, Failed, reason::CASES_FAILED);
        let cancelled = || stand("m-c", false, Failed, reason::CANCELLED);
        let waits = || stand("m-d", false, Pending, "");
        let runs = || stand("m-e", true, Running, "");
        for (all, phase, ended, reason, words, true_types) in [
            (vec![waits(), waits()], Pending, "0/2", reason::RUNNING, "2 wait", &[type_::RECONCILING][..]),
            (vec![runs(), waits()], Running, "0/2", reason::RUNNING, "1 go on, 1 wait", &[type_::RECONCILING]),
            (vec![failed(), runs()], Running, "1/2", reason::RUNNING, "1 failed", &[type_::RECONCILING]),
            (vec![passed(), passed()], Complete, "2/2", reason::RUNS_PASSED, "all 2", &[type_::READY, type_::COMPLETE]),
            (
                vec![passed(), failed()],
                Failed,
                "2/2",
                reason::RUNS_FAILED,
                "1 of 2 runs failed: m-b (CasesFailed)",
                &[type_::STALLED, type_::FAILED],
            ),
            (
                vec![failed(), cancelled()],
                Failed,
                "2/2",
                reason::RUNS_FAILED,
                "; 1 were cancelled",
                &[type_::STALLED, type_::FAILED],
            ),
            (
                vec![passed(), cancelled()],
                Failed,
                "2/2",
                reason::CANCELLED,
                "1 were cancelled",
                &[type_::STALLED, type_::FAILED],
            ),
        ] {
            let said = status(&matrix(), &Plan { stand: all, ..Plan::default() }, &Outcome::default(), now);
            assert_eq!((said.phase, said.ended.as_deref()), (Some(phase), Some(ended)), "{said:?}");
            assert!(said.message.as_ref().unwrap().contains(words), "{words}: {said:?}");
            assert!(said.conditions.iter().all(|c| c.reason == reason), "{said:?}");
            assert_eq!(said.finished_at.is_some(), [Complete, Failed].contains(&phase));
            for type_ in [type_::READY, type_::RECONCILING, type_::STALLED, type_::COMPLETE, type_::FAILED] {
                assert_eq!(is_true(&said.conditions, type_), true_types.contains(&type_), "{reason} {type_}");
            }
        }
    }

    #[test]
    fn what_the_api_server_said_is_told() {
        let all =
            || Plan { stand: vec![stand("m-a", false, Phase::Pending, ""); 2], make: vec![0, 1], ..Plan::default() };
        let outcome = Outcome {
            made: BTreeMap::from([(0, "u1".to_owned())]),
            refused: BTreeMap::from([(1, "spec.image: wrong".to_owned())]),
            not_now: None,
        };
        let said = status(&matrix(), &all(), &outcome, Timestamp::UNIX_EPOCH);
        assert_eq!((said.phase, said.runs_failed), (Some(Phase::Running), Some(1)));
        assert_eq!(said.combinations[0].uid.as_deref(), Some("u1"));
        assert_eq!(said.combinations[1].message.as_deref(), Some("spec.image: wrong"));
        assert_eq!(said.combinations[0].message.as_ref().unwrap().chars().count(), 200, "it is bounded");
        let outcome = Outcome { not_now: Some("no".to_owned()), ..Outcome::default() };
        let said = status(&matrix(), &all(), &outcome, Timestamp::UNIX_EPOCH);
        assert!(
            is_true(&said.conditions, type_::RECONCILING) && said.message.unwrap().contains("no. It is tried again")
        );
        let invalid = Plan { invalid: Some("nothing".to_owned()), ..Plan::default() };
        let said = status(&matrix(), &invalid, &Outcome::default(), Timestamp::UNIX_EPOCH);
        assert_eq!((said.phase, said.ended.as_deref()), (Some(Phase::Failed), Some("0/0")));
        assert!(is_true(&said.conditions, type_::FAILED));
    }

    #[test]
    fn a_full_matrix_is_small_enough() {
        let one = MadeRun { run: "n".repeat(63), ..stand("", true, Phase::Failed, reason::PENDING_TIMEOUT) };
        let plan = Plan { stand: vec![one; crate::api::MOST], ..Plan::default() };
        let said = status(&matrix(), &plan, &Outcome::default(), Timestamp::UNIX_EPOCH);
        let size = serde_json::to_string(&said).unwrap().len();
        assert!(size < 40_000, "{size} bytes");
    }
}
