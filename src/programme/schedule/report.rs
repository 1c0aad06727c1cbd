//! Says what a schedule did and what comes next: one patch of status where it changed, and Events.

use k8s_openapi::jiff::Timestamp;
use kube::{Api, Resource, ResourceExt};

use super::plan::{COUNTED, Plan, Says, Seen, Start};
use crate::{
    api::{E2ESchedule, E2EScheduleStatus, reason, text},
    events::Severity,
    metrics::metrics,
    programme::{Context, REFUSED, children::Child},
    status::{Over, Verdict, announce, judged, whole, write},
};

/// The most names in a status.
const NAMES: usize = 20;
/// The most characters of a message.
const MESSAGE: usize = 1024;
/// What the Events are about.
const ACTION: &str = "Schedule";

/// What became of a plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// A run was made, by name.
    pub made: Option<(String, Start)>,
    /// A run that was to be made was there.
    pub found: Option<(String, Start)>,
    /// The API server does not take a run, in words.
    pub refused: Option<(String, Start)>,
}

/// Writes status and Events.
///
/// # Errors
/// Where the API server refuses.
pub async fn report(
    context: &Context,
    schedule: &E2ESchedule,
    seen: &Seen,
    plan: &Plan,
    outcome: &Outcome,
) -> Result<(), kube::Error> {
    let about = schedule.object_ref(&());
    if let Some((name, start)) = &outcome.made {
        metrics().start(true);
        let words = format!("made E2ERun {name} for {:.0}{}", start.due, skipped(start));
        context.events.publish(&about, Severity::Normal, ACTION, reason::RUN_CREATED, &words, None).await;
    }
    if let Some(start) = &plan.missed {
        metrics().start(false);
        let words = missed(schedule, start);
        context.events.publish(&about, Severity::Warning, ACTION, reason::MISSED, &words, None).await;
    }
    let old = schedule.status.clone().unwrap_or_default();
    let new = status(schedule, seen, plan, outcome, Timestamp::now());
    if old == new {
        return Ok(());
    }
    let schedules: Api<E2ESchedule> =
        Api::namespaced(context.client.clone(), &schedule.namespace().unwrap_or_default());
    write(&schedules, schedule, &new, Over::WhatWasRead).await?;
    announce(&context.events, schedule, &old.conditions, &new.conditions, ACTION).await;
    Ok(())
}

/// What was left out before a start, in words.
fn skipped(start: &Start) -> String {
    match start.skipped {
        0 => String::new(),
        1 => "; the start before it was missed".to_owned(),
        COUNTED.. => format!("; more than {COUNTED} starts before it were missed"),
        many => format!("; {many} starts before it were missed"),
    }
}

/// A start that is too late, in words.
fn missed(schedule: &E2ESchedule, start: &Start) -> String {
    let deadline = schedule.spec.starting_deadline_seconds.unwrap_or_default();
    format!("no run was made for {:.0} within spec.startingDeadlineSeconds ({deadline}){}", start.due, skipped(start))
}

/// The status after a pass.
fn status(schedule: &E2ESchedule, seen: &Seen, plan: &Plan, outcome: &Outcome, now: Timestamp) -> E2EScheduleStatus {
    let old = schedule.status.clone().unwrap_or_default();
    let verdict = verdict(seen, plan, outcome);
    let made = outcome.made.as_ref().or(outcome.found.as_ref());
    let mut active: Vec<String> = seen.children.iter().filter(|c| c.is_active()).map(|c| c.name.clone()).collect();
    active.extend(made.map(|(name, _)| name.clone()));
    active.sort();
    active.dedup();
    let many = u32::try_from(active.len()).unwrap_or(u32::MAX);
    active.truncate(NAMES);
    let passed = |child: &Child| child.ended.filter(|end| end.passed).map(|end| end.at);
    let successful = seen.children.iter().filter_map(passed).max().map(whole);
    E2EScheduleStatus {
        observed_generation: schedule.metadata.generation,
        conditions: judged(&old.conditions, &verdict, schedule.metadata.generation, now),
        message: Some(text::line(&verdict.message, MESSAGE)),
        active_runs: Some(many),
        active,
        last_schedule_time: made.map(|(_, start)| start.due).or(plan.last).map(whole),
        last_successful_time: successful.max(old.last_successful_time),
        last_missed_time: plan.missed.map(|start| whole(start.due)).or(old.last_missed_time),
        next_schedule_time: plan.next.map(whole),
    }
}

fn verdict(seen: &Seen, plan: &Plan, outcome: &Outcome) -> Verdict<'static> {
    let right = |reason, message| Verdict { ready: true, reconciling: false, reason, message };
    if let Some((words, start)) = &outcome.refused {
        let message = format!(
            "the run of {:.0} cannot be made: {words}. It is tried again every {} s",
            start.due,
            REFUSED.as_secs()
        );
        return Verdict { ready: false, reconciling: true, reason: reason::RUN_NOT_MADE, message };
    }
    match &plan.says {
        Says::Invalid(words) => {
            Verdict { ready: false, reconciling: false, reason: reason::INVALID_SPEC, message: words.clone() }
        }
        Says::Suspended => right(reason::SUSPENDED, "no run is made while spec.suspend is true".to_owned()),
        Says::Blocked(due) => {
            let on: Vec<&str> = seen.children.iter().filter(|c| c.is_active()).map(|c| &*c.name).take(3).collect();
            let message = format!(
                "the run of {due:.0} is made when {} has ended, for spec.concurrencyPolicy is Forbid",
                on.join(", ")
            );
            right(reason::RUN_ACTIVE, message)
        }
        Says::Scheduled => {
            let next = plan.next.map_or_else(|| "none is due any more".to_owned(), |at| format!("due {at:.0}"));
            right(reason::SCHEDULED, format!("the next run is {next}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::{is_true, type_};

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn schedule() -> E2ESchedule {
        serde_json::from_value(json!({
            "metadata": {"name": "nightly", "generation": 2},
            "spec": {"schedule": "0 3 * * *", "startingDeadlineSeconds": 60, "runTemplate": {"spec": {"clusterRef": {"name": "foo"}, "image": "suite:1"}}},
        }))
        .unwrap()
    }

    #[test]
    fn each_state_is_said_as_kstatus_reads_it() {
        let seen = Seen { created: at("2026-11-01T00:00:00Z"), last: None, missed: None, children: Vec::new() };
        let start = Start { due: at("2026-11-28T03:00:00Z"), skipped: 0 };
        let says = |says| Plan { says, next: Some(at("2026-11-29T03:00:00Z")), ..Plan::default() };
        let refused = Outcome { refused: Some(("quota".to_owned(), start)), ..Outcome::default() };
        for (plan, outcome, reason, words, true_types) in [
            (
                says(Says::Scheduled),
                Outcome::default(),
                reason::SCHEDULED,
                "due 2026-11-29T03:00:00Z",
                &[type_::READY][..],
            ),
            (says(Says::Suspended), Outcome::default(), reason::SUSPENDED, "spec.suspend", &[type_::READY]),
            (says(Says::Blocked(start.due)), Outcome::default(), reason::RUN_ACTIVE, "Forbid", &[type_::READY]),
            (says(Says::Invalid("no".into())), Outcome::default(), reason::INVALID_SPEC, "no", &[type_::STALLED]),
            (says(Says::Scheduled), refused, reason::RUN_NOT_MADE, "quota", &[type_::RECONCILING]),
        ] {
            let said = status(&schedule(), &seen, &plan, &outcome, at("2026-11-28T03:00:01Z"));
            assert!(said.message.as_ref().unwrap().contains(words), "{said:?}");
            assert!(said.conditions.iter().all(|c| c.reason == reason && c.observed_generation == Some(2)), "{said:?}");
            for type_ in [type_::READY, type_::RECONCILING, type_::STALLED] {
                assert_eq!(is_true(&said.conditions, type_), true_types.contains(&type_), "{reason} {type_}");
            }
        }
    }

    #[test]
    fn what_was_made_ended_and_missed_is_kept() {
        let child = |name: &str, ended: Option<(bool, &str)>| Child {
            name: name.to_owned(),
            uid: name.to_owned(),
            created: at("2026-11-01T00:00:00Z"),
            scheduled: None,
            phase: crate::api::Phase::Running,
            ended: ended.map(|(passed, time)| crate::programme::children::Ended { passed, at: at(time) }),
            cancelled: false,
            deleting: false,
            joined: false,
            outcome: crate::programme::children::Outcome::default(),
        };
        let children = vec![
            child("b", None),
            child("passed", Some((true, "2026-11-28T02:00:00Z"))),
            child("failed", Some((false, "2026-11-28T02:30:00Z"))),
        ];
        let seen = Seen { created: at("2026-11-01T00:00:00Z"), last: None, missed: None, children };
        let start = Start { due: at("2026-11-28T03:00:00Z"), skipped: 0 };
        let outcome = Outcome { made: Some(("a".to_owned(), start)), ..Outcome::default() };
        let mut schedule = schedule();
        let said = status(&schedule, &seen, &Plan::default(), &outcome, at("2026-11-28T03:00:01Z"));
        assert_eq!((said.active_runs, said.active.clone()), (Some(2), vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(said.last_schedule_time, Some(whole(start.due)));
        assert_eq!(said.last_successful_time, Some(whole(at("2026-11-28T02:00:00Z"))));
        // All runs are gone, and a start is missed.
        schedule.status = Some(said.clone());
        let late = Start { due: at("2026-11-29T03:00:00Z"), skipped: 2 };
        let plan = Plan { missed: Some(late), last: Some(start.due), ..Plan::default() };
        let none = Seen { children: Vec::new(), ..seen };
        let after = status(&schedule, &none, &plan, &Outcome::default(), at("2026-11-29T04:00:00Z"));
        assert_eq!(
            (after.last_schedule_time, after.last_successful_time),
            (said.last_schedule_time, said.last_successful_time)
        );
        assert_eq!((after.last_missed_time, after.active_runs), (Some(whole(late.due)), Some(0)));
        assert!(missed(&schedule, &late).ends_with("(60); 2 starts before it were missed"));
    }
}
