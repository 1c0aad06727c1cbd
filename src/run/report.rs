//! Says where a run is: one patch of status a pass where it changed, and an Event for a transition.

use std::time::Duration;

use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};
use kube::{
    Api, Resource, ResourceExt,
    api::{Patch, PatchParams},
    runtime::events::{Event, EventType},
};
use serde_json::json;

use super::{
    Context,
    act::Outcome,
    facts::{Container, ContainerState, Observed},
    plan::{Plan, Stage},
    verdict::{End, shorten},
};
use crate::{
    api::{Conditions, E2ERun, E2ERunStatus, MANAGER, Phase, condition, event_note, reason, set, type_},
    host::HostId,
};

/// Writes status, and an Event where the verdict changed.
///
/// # Errors
/// Where the API server refuses.
pub async fn report(
    context: &Context,
    run: &E2ERun,
    seen: &Observed,
    plan: &Plan,
    outcome: &Outcome,
) -> Result<(), kube::Error> {
    if let Some(failure) = &outcome.failure {
        tracing::warn!(run = run.name_any(), "{failure}");
    }
    let Some(new) = status(run, seen, plan, outcome, Timestamp::now()) else { return Ok(()) };
    if run.status.as_ref() == Some(&new) {
        return Ok(());
    }
    let runs: Api<E2ERun> = Api::namespaced(context.client.clone(), &run.namespace().unwrap_or_default());
    let patch = json!({
        "apiVersion": E2ERun::api_version(&()),
        "kind": E2ERun::kind(&()),
        // Of this run, and not of another one under its name.
        "metadata": {"uid": run.uid()},
        "status": new,
    });
    let params = PatchParams::apply(MANAGER).force();
    match runs.patch_status(&run.name_any(), &params, &Patch::Apply(patch)).await {
        Ok(_) => {}
        Err(kube::Error::Api(status)) if status.is_not_found() => return Ok(()),
        Err(error) => return Err(error),
    }
    announce(context, run, &new).await;
    Ok(())
}

/// One Event a change of the verdict's reason.
async fn announce(context: &Context, run: &E2ERun, new: &E2ERunStatus) {
    let verdict = |s: &E2ERunStatus| s.conditions.iter().find(|c| c.type_ == type_::READY).cloned();
    let Some(now) = verdict(new) else { return };
    if run.status.as_ref().and_then(verdict).is_some_and(|old| old.reason == now.reason) {
        return;
    }
    tracing::info!(run = run.name_any(), reason = now.reason, "{}", now.message);
    let bad = new.phase == Some(Phase::Failed) || now.reason == reason::HOST_ERROR;
    let event = Event {
        type_: if bad { EventType::Warning } else { EventType::Normal },
        action: "Run".to_owned(),
        reason: now.reason,
        note: Some(event_note(&now.message)),
        secondary: None,
    };
    // An Event that cannot be written must not hold up the run.
    if let Err(error) = context.recorder.publish(&event, &run.object_ref(&())).await {
        tracing::warn!(%error, "writing an Event failed");
    }
}

/// The status after a pass; `None` where there is nothing to say.
fn status(run: &E2ERun, seen: &Observed, plan: &Plan, outcome: &Outcome, now: Timestamp) -> Option<E2ERunStatus> {
    if seen.finished && !seen.deleting {
        return None;
    }
    let old = run.status.clone().unwrap_or_default();
    let located = outcome
        .container
        .clone()
        .or_else(|| seen.hosts.iter().find_map(|(id, h)| h.container.clone().flatten().map(|c| (id.clone(), c))));
    let fatal = outcome.failure.as_ref().filter(|_| outcome.fatal);
    let fatal = fatal.map(|words| {
        End::without_container(
            reason::CONTAINER_FAILED,
            format!("{words}. Create another E2ERun with a corrected spec"),
        )
    });
    match (&outcome.end, fatal, &plan.stage) {
        (Some(end), _, _) => Some(ended(run, old, end, now)),
        (None, Some(end), _) => Some(ended(run, old, &end, now)),
        (None, None, Stage::Ended(end)) => Some(ended(run, old, &End { container: located, ..(**end).clone() }, now)),
        (None, None, stage) => progress(run, old, stage, located, outcome.failure.as_deref(), now),
    }
}

/// The status of a run that goes on.
fn progress(
    run: &E2ERun,
    old: E2ERunStatus,
    stage: &Stage,
    located: Option<(HostId, Container)>,
    failure: Option<&str>,
    now: Timestamp,
) -> Option<E2ERunStatus> {
    let running = located.filter(|(_, c)| !matches!(c.state, ContainerState::Created { .. }));
    let on = || running.as_ref().map(|(id, _)| format!("the container runs on {}", node(run, id)));
    let (why, message) = match stage {
        Stage::Silent if failure.is_none() => return None,
        Stage::Silent | Stage::Ended(_) => (reason::HOST_ERROR, String::new()),
        Stage::Waiting(words) => (reason::WAITING_FOR_CLUSTER, words.clone()),
        Stage::Image(words) => (reason::PULLING_IMAGE, words.clone()),
        Stage::Active(Some(words)) => (reason::HOST_ERROR, words.clone()),
        Stage::Active(None) => (reason::RUNNING, on().unwrap_or_else(|| "the container is being started".to_owned())),
        Stage::Deleting(words) => (reason::DELETING, words.clone()),
    };
    let (why, message) = match failure {
        Some(words) => (reason::HOST_ERROR, format!("{words}. It is tried again")),
        None => (why, message),
    };
    let mut new = base(run, &old, Verdict { ready: false, reconciling: true, reason: why, message: &message }, now);
    new.phase = match (stage, old.phase) {
        (Stage::Active(_), _) => Some(Phase::Running),
        (Stage::Waiting(_) | Stage::Image(_), _) => Some(Phase::Pending),
        (_, phase) => phase.or(Some(Phase::Pending)),
    };
    // A manager out of reach does not make the run forget what it was.
    (new.manager, new.container_id, new.started_at) = (old.manager, old.container_id, old.started_at);
    if let Some((id, container)) = &running {
        tell_container(run, &mut new, id, container);
    }
    Some(new)
}

/// The status of a run that ended.
fn ended(run: &E2ERun, old: E2ERunStatus, end: &End, now: Timestamp) -> E2ERunStatus {
    let verdict = Verdict { ready: end.complete, reconciling: false, reason: end.reason, message: &end.message };
    let mut new = base(run, &old, verdict, now);
    let type_ = if end.complete { type_::COMPLETE } else { type_::FAILED };
    set(&mut new.conditions, condition(type_, true, end.reason, &end.message, run.metadata.generation, now));
    new.phase = Some(if end.complete { Phase::Complete } else { Phase::Failed });
    (new.manager, new.container_id, new.started_at) = (old.manager, old.container_id, old.started_at);
    if let Some((id, container)) = &end.container {
        tell_container(run, &mut new, id, container);
    }
    new.finished_at = new.finished_at.or_else(|| old.finished_at.clone()).or_else(|| Some(whole(now)));
    if let Some(counts) = end.counts {
        (new.passed, new.failed, new.skipped) = (Some(counts.passed), Some(counts.failed), Some(counts.skipped));
    }
    new.failures.clone_from(&end.failures);
    new.results.clone_from(&end.results);
    new
}

#[derive(Clone, Copy)]
struct Verdict<'a> {
    ready: bool,
    reconciling: bool,
    reason: &'a str,
    message: &'a str,
}

fn base(run: &E2ERun, old: &E2ERunStatus, verdict: Verdict<'_>, now: Timestamp) -> E2ERunStatus {
    let generation = run.metadata.generation;
    let mut conditions: Conditions = old.conditions.clone();
    let Verdict { ready, reconciling, reason, message } = verdict;
    for (type_, value) in [
        (type_::READY, ready),
        (type_::RECONCILING, reconciling),
        // kstatus knows no other word for an object that will not get any further.
        (type_::STALLED, !ready && !reconciling),
    ] {
        set(&mut conditions, condition(type_, value, reason, message, generation, now));
    }
    E2ERunStatus {
        observed_generation: generation,
        conditions,
        message: Some(shorten(message, 1024)),
        ..E2ERunStatus::default()
    }
}

fn tell_container(run: &E2ERun, status: &mut E2ERunStatus, id: &HostId, container: &Container) {
    status.manager = Some(node(run, id));
    status.container_id = Some(container.id.clone());
    match &container.state {
        ContainerState::Created { .. } => {}
        ContainerState::Running { since } => status.started_at = Some(whole(*since)),
        ContainerState::Exited(exit) => {
            status.started_at = Some(whole(exit.started));
            status.finished_at = Some(whole(exit.finished));
            status.exit_code = Some(exit.code);
            status.duration = Some(took(exit.finished.duration_since(exit.started).unsigned_abs()));
        }
    }
}

fn node(run: &E2ERun, id: &HostId) -> String {
    format!("{}-{}", run.spec.cluster_ref.name, id.slot)
}

/// Whole seconds: what the API server keeps of a time, so that what is read back compares equal.
fn whole(at: Timestamp) -> Time {
    Time(Timestamp::from_second(at.as_second()).unwrap_or(at))
}

/// A length of time for people.
fn took(time: Duration) -> String {
    if time < Duration::from_secs(10) {
        return format!("{:.1}s", time.as_secs_f64());
    }
    crate::api::Duration::from_secs(time.as_secs()).to_string()
}

/// The end as JSON, to be kept with the results.
#[must_use]
pub fn summary(run: &E2ERun, end: &End) -> serde_json::Value {
    let status = ended(run, E2ERunStatus::default(), end, Timestamp::UNIX_EPOCH);
    json!({
        "run": format!("{}/{}", run.namespace().unwrap_or_default(), run.name_any()),
        "cluster": run.spec.cluster_ref.name,
        "image": run.spec.image,
        "result": status.phase,
        "reason": end.reason,
        "message": end.message,
        "counts": end.counts,
        "failures": end.failures,
        "exitCode": status.exit_code,
        "startedAt": status.started_at,
        "finishedAt": status.finished_at,
        "manager": status.manager,
        "containerID": status.container_id,
    })
}

#[cfg(test)]
mod tests;
