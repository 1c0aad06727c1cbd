//! Says where a run is: one patch of status a pass where it changed, and an Event for a transition.

use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};
use kube::{
    Api, Resource, ResourceExt,
    api::{Patch, PatchParams},
};
use serde_json::json;

use super::{
    Context,
    act::Outcome,
    attempt::{self, Attempt},
    facts::{Container, ContainerState, Observed},
    own::{self, Disposal},
    plan::{Plan, Says},
    verdict::{End, took},
};
use crate::{
    api::{
        AttemptStatus, Conditions, E2ERun, E2ERunStatus, MANAGER, Phase, RunCost, Sharing, condition, reason, set,
        text, type_,
    },
    events::Severity,
    host::HostId,
    metrics::metrics,
};

/// The most characters of a message: a person reads no more.
const MESSAGE: usize = 1024;
/// The most characters of an id, and of what a registry knows an image by.
const IDS: usize = 512;

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
    let now = Timestamp::now();
    let Some(new) = status(run, seen, plan, outcome, now) else { return Ok(()) };
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
    metrics().run(run.status.as_ref(), &new);
    announce(context, run, &new).await;
    if let Some(excused) = plan.ends().and_then(|end| end.excused.as_ref()) {
        tell(context, run, Severity::Warning, reason::QUARANTINED, &excused.words).await;
    }
    if let Some(words) = plan.ends().and_then(|end| kept(run, seen, end.complete, now)) {
        tell(context, run, Severity::Normal, reason::CLUSTER_KEPT, &words).await;
    }
    Ok(())
}

/// What a person has to know of the cluster that the run made and that is kept after its end.
fn kept(run: &E2ERun, seen: &Observed, passed: bool, now: Timestamp) -> Option<String> {
    seen.own_cluster(&run.spec)?;
    let name = run.spec.cluster();
    match own::dispose(run.spec.policy(), seen.deleting, passed) {
        Disposal::Hold => {
            let until = whole(now).0.checked_add(run.spec.held_for().get()).unwrap_or(Timestamp::MAX);
            Some(format!(
                "SwarmCluster {name} is kept until {until}, for spec.holdFor ({}): to delete it before, delete the E2ERun",
                run.spec.held_for()
            ))
        }
        Disposal::Keep => Some(format!("SwarmCluster {name} is kept until the E2ERun is deleted")),
        Disposal::Delete(_) => None,
    }
}

/// The same end, and what becomes of the cluster, within what a message takes.
fn with_cluster(mut end: End, words: Option<String>) -> End {
    if let Some(words) = words {
        let most = MESSAGE.saturating_sub(words.chars().count() + 2);
        end.message = format!("{}. {words}", text::line(&end.message, most));
    }
    end
}

/// One Event a change of the verdict's reason.
async fn announce(context: &Context, run: &E2ERun, new: &E2ERunStatus) {
    let verdict = |s: &E2ERunStatus| s.conditions.iter().find(|c| c.type_ == type_::READY).cloned();
    let Some(now) = verdict(new) else { return };
    if run.status.as_ref().and_then(verdict).is_some_and(|old| old.reason == now.reason) {
        return;
    }
    tracing::info!(run = run.name_any(), reason = now.reason, "{}", now.message);
    let warned = [reason::HOST_ERROR, reason::NOT_KEPT, reason::CONFIG_MISSING];
    let bad = new.phase == Some(Phase::Failed) || warned.contains(&now.reason.as_str());
    let severity = if bad { Severity::Warning } else { Severity::Normal };
    context.events.publish(&run.object_ref(&()), severity, "Run", &now.reason, &now.message, None).await;
}

/// An Event about what is no part of the verdict.
pub async fn tell(context: &Context, run: &E2ERun, severity: Severity, reason: &str, words: &str) {
    context.events.publish(&run.object_ref(&()), severity, "Run", reason, words, None).await;
}

/// The status after a pass; `None` where there is nothing to say.
fn status(run: &E2ERun, seen: &Observed, plan: &Plan, outcome: &Outcome, now: Timestamp) -> Option<E2ERunStatus> {
    if seen.finished {
        return None;
    }
    let old = run.status.clone().unwrap_or_default();
    let located = outcome
        .container
        .clone()
        .or_else(|| seen.hosts.iter().find_map(|(id, h)| h.container.clone().flatten().map(|c| (id.clone(), c))));
    let fatal = outcome.failure.as_ref().zip(outcome.fatal);
    match (fatal, &plan.says) {
        (Some((words, (reason, remedy))), _) => {
            let end = End::without_container(reason, format!("{words}. {remedy}"));
            let this = Attempt::of(&end, None).with_record(&seen.record, now);
            Some(ended(run, old, &attempt::conclude(&seen.record.attempts, this, end), now))
        }
        (None, Says::Ended(end)) => {
            let container = end.container.clone().or(located);
            let end = with_cluster((**end).clone(), kept(run, seen, end.complete, now));
            let status = ended(run, old, &End { container, ..end }, now);
            let cost = cost(run, seen, &status);
            Some(with_time_in_line(seen, E2ERunStatus { cost, ..status }))
        }
        (None, says) => {
            let since = seen.record.began().or(outcome.begun).or(seen.record.started());
            // What is between two attempts has no container.
            let between = outcome.container.is_none() && seen.record.placed.is_none();
            let old = if between && seen.record.number() > 1 { without_container(old) } else { old };
            let attempts = attempts(run, &seen.record.attempts);
            progress(run, old, says, Running { located, since, attempt: seen.record.number() }, outcome, now)
                .map(|status| with_time_in_line(seen, E2ERunStatus { attempts, ..status }))
        }
    }
}

/// For how long it waited in line, where it did and that is over.
fn with_time_in_line(seen: &Observed, mut status: E2ERunStatus) -> E2ERunStatus {
    status.queued = seen.record.queued().map(took);
    status
}

/// What a run cost that has ended: its cluster for as long as its container ran. Where others may have been beside it,
/// nobody knows whose part is whose, and nothing is said.
fn cost(run: &E2ERun, seen: &Observed, status: &E2ERunStatus) -> Option<RunCost> {
    // Shards of one run are beside each other, unless each has a cluster of its own.
    let divided = run.divided_from().is_some() && run.spec.cluster_template.is_none();
    let alone = run.spec.sharing == Sharing::Exclusive && !divided;
    let hourly = seen.cluster.as_ref().filter(|_| alone)?.hourly?;
    Some(RunCost::of(hourly, status.started_at.as_ref()?.0, status.finished_at.as_ref()?.0))
}

/// The attempts, as status tells them.
fn attempts(run: &E2ERun, attempts: &[Attempt]) -> Vec<AttemptStatus> {
    let node = |id: &HostId| node(run, id);
    attempts.iter().zip(1..).map(|(attempt, number)| attempt.status(number, node)).collect()
}

fn without_container(old: E2ERunStatus) -> E2ERunStatus {
    E2ERunStatus { manager: None, container_id: None, ..old }
}

/// The container of a run that goes on.
struct Running {
    located: Option<(HostId, Container)>,
    since: Option<Timestamp>,
    attempt: usize,
}

/// The status of a run that goes on.
fn progress(
    run: &E2ERun,
    old: E2ERunStatus,
    says: &Says,
    found: Running,
    outcome: &Outcome,
    now: Timestamp,
) -> Option<E2ERunStatus> {
    let running = found.located.filter(|(_, c)| !matches!(c.state, ContainerState::Created { .. }));
    let on = || running.as_ref().map(|(id, _)| format!("the container runs on {}", node(run, id)));
    if outcome.behind {
        return None;
    }
    let (why, message) = match says {
        // Reading is over in a moment: what was said last stands.
        Says::Nothing | Says::Collecting(None) if outcome.failure.is_none() => return None,
        Says::Nothing | Says::Collecting(None) | Says::Ended(_) => (reason::HOST_ERROR, String::new()),
        Says::Waiting(words) => (reason::WAITING_FOR_CLUSTER, words.clone()),
        Says::Queued(words) => (reason::QUEUED, words.clone()),
        Says::Lacking(words) => (reason::CONFIG_MISSING, words.clone()),
        Says::Image(words) => (reason::PULLING_IMAGE, words.clone()),
        Says::Active(Some(words)) => (reason::HOST_ERROR, words.clone()),
        Says::Active(None) => (reason::RUNNING, on().unwrap_or_else(|| "the container is being started".to_owned())),
        Says::Stopping(words) => (reason::STOPPING, words.clone()),
        Says::Collecting(Some(words)) => (reason::HOST_ERROR, words.clone()),
        Says::Storing(words) => (
            reason::NOT_KEPT,
            format!("the results cannot be kept: {words}. It is tried again, and the container stays"),
        ),
        Says::Deleting(words) => (reason::DELETING, words.clone()),
    };
    let (why, message) = match &outcome.failure {
        Some(words) => (reason::HOST_ERROR, format!("{words}. It is tried again")),
        None => (why, message),
    };
    let message = if found.attempt > 1 { format!("attempt {}: {message}", found.attempt) } else { message };
    let mut new = base(run, &old, Verdict { ready: false, reconciling: true, reason: why, message: &message }, now);
    new.phase = match (says, old.phase) {
        (Says::Active(_) | Says::Stopping(_) | Says::Collecting(_) | Says::Storing(_), _) => Some(Phase::Running),
        (Says::Waiting(_) | Says::Queued(_) | Says::Lacking(_) | Says::Image(_), _) => Some(Phase::Pending),
        (_, phase) => phase.or(Some(Phase::Pending)),
    };
    // A manager out of reach does not make the run forget what it was.
    (new.manager, new.container_id, new.started_at) = (old.manager, old.container_id, old.started_at);
    new.image_id = old.image_id;
    if let Some((id, container)) = &running {
        tell_container(run, &mut new, id, container);
        new.started_at = found.since.map(whole).or(new.started_at);
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
    new.image_id = old.image_id;
    if let Some((id, container)) = &end.container {
        tell_container(run, &mut new, id, container);
    }
    if let Some((started, ran)) = end.ran {
        new.started_at = Some(whole(started));
        new.finished_at = started.checked_add(ran).ok().map(whole);
        new.duration = Some(took(ran));
    }
    new.finished_at = new.finished_at.or_else(|| old.finished_at.clone()).or_else(|| Some(whole(now)));
    if let Some(counts) = end.counts {
        (new.passed, new.failed) = (Some(counts.passed), Some(counts.failed));
        (new.flaky, new.skipped) = (Some(counts.flaky), Some(counts.skipped));
        new.quarantined = (!run.spec.quarantine.is_empty()).then_some(counts.quarantined);
    }
    new.failures.clone_from(&end.failures);
    new.results.clone_from(&end.results);
    new.attempts = attempts(run, &end.attempts);
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
        message: Some(text::line(message, MESSAGE)),
        cluster: Some(run.spec.cluster().to_owned()),
        ..E2ERunStatus::default()
    }
}

fn tell_container(run: &E2ERun, status: &mut E2ERunStatus, id: &HostId, container: &Container) {
    status.manager = Some(node(run, id));
    // As its engine says, on whose host tests were root.
    status.container_id = Some(text::line(&container.id, IDS));
    let image = container.image.as_deref().map(|image| text::line(image, IDS)).filter(|image| !image.is_empty());
    status.image_id = image.or_else(|| status.image_id.take());
    if let ContainerState::Exited(exit) = &container.state {
        status.exit_code = Some(exit.code);
    }
}

fn node(run: &E2ERun, id: &HostId) -> String {
    format!("{}-{}", run.spec.cluster(), id.slot)
}

/// Whole seconds: what the API server keeps of a time, so that what is read back compares equal.
fn whole(at: Timestamp) -> Time {
    Time(Timestamp::from_second(at.as_second()).unwrap_or(at))
}

/// The end as JSON, to be kept with the results.
#[must_use]
pub fn summary(run: &E2ERun, end: &End) -> serde_json::Value {
    let status = ended(run, E2ERunStatus::default(), end, Timestamp::UNIX_EPOCH);
    json!({
        "run": format!("{}/{}", run.namespace().unwrap_or_default(), run.name_any()),
        "cluster": run.spec.cluster(),
        "image": run.spec.image,
        "imageID": status.image_id,
        "result": status.phase,
        "reason": end.reason,
        "message": end.message,
        "counts": end.counts,
        "failures": end.failures,
        "quarantine": end.excused.as_ref().map_or(&[][..], |excused| &excused.by),
        "exitCode": status.exit_code,
        "startedAt": status.started_at,
        "finishedAt": status.finished_at,
        "duration": status.duration,
        "manager": status.manager,
        "containerID": status.container_id,
        "attempt": end.container.as_ref().map(|(_, container)| container.attempt),
    })
}

#[cfg(test)]
mod tests;
