//! The E2ESchedule controller: observe, plan, act, report. This file only drives.

mod calendar;
mod plan;
mod report;

use std::{collections::BTreeMap, future::Future, sync::Arc, time::Duration};

use futures::StreamExt;
use k8s_openapi::jiff::Timestamp;
use kube::{
    Api, Client, Resource, ResourceExt,
    api::ListParams,
    runtime::{
        Controller, WatchStreamExt,
        controller::Action,
        reflector::{self, reflector},
        watcher,
    },
};

use self::{
    plan::{Plan, Seen, Start},
    report::Outcome,
};
use super::{
    Context, Error, PAUSE, REFUSED, SOON,
    children::{self, Child, Made, Mark},
};
use crate::{
    api::{ConcurrencyPolicy, E2ERun, E2ESchedule, SCHEDULED_AT, label},
    events::Events,
    metrics::metrics,
};

/// Runs the controller until `shutdown` resolves and the passes under way have ended.
pub async fn run(
    client: Client,
    events: Events,
    schedules: Api<E2ESchedule>,
    runs: Api<E2ERun>,
    shutdown: impl Future<Output = ()> + Send + Sync + 'static,
) {
    let (store, writer) = reflector::store();
    let watched = watcher(runs, watcher::Config::default().labels(label::SCHEDULE)).default_backoff();
    let context = Context { client, events, runs: store };
    Controller::new(schedules, watcher::Config::default())
        .owns_stream(reflector(writer, watched.modify(children::lighten)).touched_objects())
        .graceful_shutdown_on(shutdown)
        .run(
            |schedule, context| metrics().pass("E2ESchedule", reconcile(schedule, context)),
            |schedule, error, _| {
                tracing::warn!(schedule = schedule.name_any(), %error, "a pass failed");
                Action::requeue(PAUSE)
            },
            Arc::new(context),
        )
        .for_each(|_| std::future::ready(()))
        .await;
}

/// One pass.
async fn reconcile(schedule: Arc<E2ESchedule>, context: Arc<Context>) -> Result<Action, Error> {
    if schedule.metadata.deletion_timestamp.is_some() {
        // Its runs are its own: Kubernetes deletes them.
        return Ok(Action::await_change());
    }
    let Some(mut seen) = observe(&schedule, &context) else { return Ok(Action::requeue(SOON)) };
    let mut plan = plan::plan(&schedule.spec, &seen, Timestamp::now());
    if plan.make.is_some() && schedule.spec.concurrency_policy == ConcurrencyPolicy::Forbid {
        // A watch may be late by minutes where its connection is half dead, and a run made beside another is not unmade.
        seen.children = asked(&context, &schedule).await?;
        plan = plan::plan(&schedule.spec, &seen, Timestamp::now());
    }
    let (outcome, failed) = act(&context, &schedule, &plan).await;
    report::report(&context, &schedule, &seen, &plan, &outcome).await?;
    if let Some(error) = failed {
        return Err(error.into());
    }
    Ok(again(&plan, &outcome).map_or_else(Action::await_change, Action::requeue))
}

/// When to look again.
fn again(plan: &Plan, outcome: &Outcome) -> Option<Duration> {
    let refused = outcome.refused.is_some().then_some(REFUSED);
    plan.again.into_iter().chain(refused).min()
}

/// All that is read is the object itself and what the watch of its runs tells.
fn observe(schedule: &E2ESchedule, context: &Context) -> Option<Seen> {
    let uid = schedule.uid().unwrap_or_default();
    let children = context.children(&schedule.namespace().unwrap_or_default(), &uid)?;
    let status = schedule.status.clone().unwrap_or_default();
    let created = schedule.creation_timestamp().map_or(Timestamp::UNIX_EPOCH, |t| t.0);
    let (last, missed) = (status.last_schedule_time.map(|t| t.0), status.last_missed_time.map(|t| t.0));
    Some(Seen { created, last, missed, children })
}

/// The runs that it made, as the API server tells now.
async fn asked(context: &Context, schedule: &E2ESchedule) -> Result<Vec<Child>, Error> {
    let runs = children::runs(&context.client, &schedule.namespace().unwrap_or_default());
    let uid = schedule.uid().unwrap_or_default();
    let of = ListParams::default().labels(&format!("{}={}", label::SCHEDULE, schedule.name_any()));
    let all = runs.list(&of).await?;
    Ok(all.iter().filter(|run| children::is_of(run, &uid)).map(Child::of).collect())
}

/// Carries out a plan, with the first error there was: what goes wrong with one run is in the way of no other. Each step
/// may be repeated.
async fn act(context: &Context, schedule: &E2ESchedule, plan: &Plan) -> (Outcome, Option<kube::Error>) {
    let runs = children::runs(&context.client, &schedule.namespace().unwrap_or_default());
    let (mut outcome, mut failed) = (Outcome::default(), None);
    for (name, uid) in &plan.cancel {
        failed = failed.or(children::cancel(&runs, name, uid).await.err());
    }
    if let Some(start) = &plan.make {
        let run = run_of(schedule, start);
        match children::make(&runs, &run).await {
            Ok(Made::Now(_)) => outcome.made = Some((run.name_any(), *start)),
            Ok(Made::Before(_)) => outcome.found = Some((run.name_any(), *start)),
            Ok(Made::Refused(words) | Made::NotNow(words)) => outcome.refused = Some((words, *start)),
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    for (name, uid) in &plan.delete {
        failed = failed.or(children::delete(&runs, name, uid).await.err());
    }
    (outcome, failed)
}

/// The run of a start.
fn run_of(schedule: &E2ESchedule, start: &Start) -> E2ERun {
    let mark = Mark {
        owner: schedule.controller_owner_ref(&()).unwrap_or_default(),
        labels: BTreeMap::from([(label::SCHEDULE.to_owned(), schedule.name_any())]),
        annotations: BTreeMap::from([(SCHEDULED_AT.to_owned(), start.due.to_string())]),
    };
    children::run(&plan::name(&schedule.name_any(), start.due), &schedule.spec.run_template, mark)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_run_is_named_by_its_time_and_belongs_to_its_schedule() {
        let schedule: E2ESchedule = serde_json::from_value(json!({
            "metadata": {"name": "nightly", "namespace": "ci", "uid": "u1"},
            "spec": {"schedule": "0 3 * * *", "runTemplate": {
                "metadata": {"labels": {"team": "net", "testkit.dev/schedule": "x"}, "annotations": {"why": "x"}},
                "spec": {"clusterRef": {"name": "foo"}, "image": "suite:1"},
            }},
        }))
        .unwrap();
        let due: Timestamp = "2026-11-28T03:00:00Z".parse().unwrap();
        let run = run_of(&schedule, &Start { due, skipped: 0 });
        assert_eq!(run.name_any(), "nightly-29930580");
        assert_eq!((&*run.labels()["team"], &*run.labels()[label::SCHEDULE]), ("net", "nightly"));
        assert_eq!((&*run.annotations()["why"], &*run.annotations()[SCHEDULED_AT]), ("x", "2026-11-28T03:00:00Z"));
        assert!(children::is_of(&run, "u1") && !children::is_of(&run, "u2"));
        assert_eq!(run.spec, schedule.spec.run_template.spec);
        assert_eq!(Child::of(&run).scheduled, Some(due), "what is written is read");
        // With the longest name that a schedule may have, for as long as minutes have eight digits (to 2160).
        assert!(plan::name(&"n".repeat(52), due).len() <= 63);
    }
}
