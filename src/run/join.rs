//! Runs of one `spec.dedupeKey`: one of them is run, and the others take over its verdict.
//!
//! Who joins is not taken on: it has no finalizer, no place in line and no cluster, and its time does not begin. So
//! nothing is to be given up when it is deleted, or when it has to run by itself after all. Who was taken on never joins.

use k8s_openapi::jiff::Timestamp;
use kube::{
    Api, ResourceExt,
    api::{Patch, PatchParams},
    runtime::controller::Action,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    Context, Error,
    queue::{Leads, TAKEN_ON},
};
use crate::{
    api::{E2ERun, E2ERunStatus, Phase, condition, is_true, reason, set, text, type_},
    metrics::metrics,
    status::{self, Over, Verdict},
};

/// Which run this one joined: written before status says so.
const JOINED: &str = "testkit.dev/joined";
/// The most characters of a message.
const MESSAGE: usize = 1024;

/// A run that another one joined.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Joined {
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
}

impl Joined {
    /// Reads the annotation. What a person mangled counts as not written.
    #[must_use]
    pub fn of(run: &E2ERun) -> Option<Self> {
        run.annotations().get(JOINED).and_then(|text| serde_json::from_str(text).ok())
    }
}

/// What becomes of a run that has joined another one, of which this is there by now.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Fate {
    /// That one goes on.
    Waits,
    /// That one has a verdict.
    TakesOver,
    /// That one will have none: it was cancelled or deleted.
    Leaves,
}

impl Fate {
    fn of(joined: &Joined, key: &str, there: Option<&E2ERun>) -> Self {
        // What is written is anybody's who may change the object: a run of another key has not this one's verdict.
        let same =
            |run: &&E2ERun| run.uid().as_ref() == Some(&joined.uid) && run.spec.dedupe_key.as_deref() == Some(key);
        let Some(run) = there.filter(same) else { return Self::Leaves };
        let ready = run.status.as_ref().and_then(|s| s.conditions.iter().find(|c| c.type_ == type_::READY));
        match run.has_ended() {
            true if ready.is_some_and(|c| c.reason == reason::CANCELLED) => Self::Leaves,
            true => Self::TakesOver,
            false if run.spec.cancel || run.metadata.deletion_timestamp.is_some() => Self::Leaves,
            false => Self::Waits,
        }
    }
}

/// A pass of a run that has joined another one, or does so now; `None` where it is run by itself.
///
/// # Errors
/// Where the API server refuses.
pub async fn pass(context: &Context, run: &E2ERun) -> Result<Option<Action>, Error> {
    let Some(key) = &run.spec.dedupe_key else { return Ok(None) };
    if run.is_taken_on() || run.spec.cancel || run.metadata.deletion_timestamp.is_some() {
        return Ok(None);
    }
    let before = Joined::of(run);
    if run.has_ended() {
        return Ok(before.map(|_| Action::await_change()));
    }
    let runs: Api<E2ERun> = Api::namespaced(context.client.clone(), &run.namespace().unwrap_or_default());
    if let Some(joined) = &before {
        let there = runs.get_opt(&joined.name).await?;
        match (Fate::of(joined, key, there.as_ref()), there) {
            // It was never taken on: then nothing tells of it any more.
            (Fate::Waits, Some(leader)) if !leader.is_taken_on() && context.line.given_up(&joined.uid) => {}
            (Fate::Waits, leader) => {
                say(context, &runs, run, waits(run, joined, key, Timestamp::now())).await?;
                let begins = leader.is_some_and(|leader| leader.is_taken_on());
                return Ok(Some(if begins { Action::await_change() } else { Action::requeue(TAKEN_ON) }));
            }
            (Fate::TakesOver, Some(leader)) => {
                say(context, &runs, run, taken_over(run, &leader, Timestamp::now())).await?;
                return Ok(Some(Action::await_change()));
            }
            (Fate::TakesOver | Fate::Leaves, _) => {}
        }
    }
    let namespace = run.namespace().unwrap_or_default();
    match context.line.leads(&namespace, key, &run.uid().unwrap_or_default()) {
        Leads::Itself => {
            if before.is_none() {
                return Ok(None);
            }
            write(&runs, run, None).await?;
            Ok(Some(Action::await_change()))
        }
        // It is woken when it is known.
        Leads::Unknown => Ok(Some(Action::await_change())),
        Leads::Other(joined) => {
            write(&runs, run, Some(&joined)).await?;
            Ok(Some(Action::await_change()))
        }
    }
}

/// Writes down which run this one joined, or that it joined none. The pass that this wakes says so.
async fn write(runs: &Api<E2ERun>, run: &E2ERun, joined: Option<&Joined>) -> Result<(), kube::Error> {
    let written = joined.map(|joined| json!(joined).to_string());
    let patch = Patch::Merge(json!({"metadata": {"uid": run.uid(), "annotations": {JOINED: written}}}));
    match runs.patch_metadata(&run.name_any(), &PatchParams::default(), &patch).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        Err(error) => Err(error),
    }
}

/// Writes a status where it is another one, and an Event where the reason is.
async fn say(context: &Context, runs: &Api<E2ERun>, run: &E2ERun, new: E2ERunStatus) -> Result<(), kube::Error> {
    if run.status.as_ref() == Some(&new) {
        return Ok(());
    }
    status::write(runs, run, &new, Over::Whatever).await?;
    metrics().run(run.status.as_ref(), &new);
    let old = run.status.as_ref().map_or(&[][..], |s| &s.conditions);
    status::announce(&context.events, run, old, &new.conditions, "Run").await;
    Ok(())
}

/// The status of a run that waits for the verdict of another one.
fn waits(run: &E2ERun, joined: &Joined, key: &str, now: Timestamp) -> E2ERunStatus {
    let message =
        format!("E2ERun {} is run for this one, which takes over its verdict (spec.dedupeKey: {key})", joined.name);
    E2ERunStatus {
        phase: Some(Phase::Pending),
        cluster: Some(run.spec.cluster().to_owned()),
        joined: Some(joined.name.clone()),
        ..judged(run, &Verdict { ready: false, reconciling: true, reason: reason::DEDUPLICATED, message }, now)
    }
}

/// The status of a run whose verdict is that of another one. The evidence is where that one has it.
fn taken_over(run: &E2ERun, leader: &E2ERun, now: Timestamp) -> E2ERunStatus {
    let of = leader.status.clone().unwrap_or_default();
    let passed = is_true(&of.conditions, type_::COMPLETE);
    let why = of.conditions.iter().find(|c| c.type_ == type_::READY).map_or(reason::PASSED, |c| c.reason.as_str());
    let message = format!("as E2ERun {}: {}", leader.name_any(), of.message.as_deref().unwrap_or_default());
    let mut said = judged(run, &Verdict { ready: passed, reconciling: false, reason: why, message }, now);
    let (type_, message) = (if passed { type_::COMPLETE } else { type_::FAILED }, said.message.clone());
    let end = condition(type_, true, why, &message.unwrap_or_default(), run.metadata.generation, now);
    set(&mut said.conditions, end);
    E2ERunStatus {
        observed_generation: said.observed_generation,
        conditions: said.conditions,
        message: said.message,
        joined: Some(leader.name_any()),
        // What became of its line and its cluster is its own, and it cost nothing beside the other one.
        queued: None,
        cost: None,
        ..of
    }
}

/// A status of this verdict.
fn judged(run: &E2ERun, verdict: &Verdict<'_>, now: Timestamp) -> E2ERunStatus {
    let old = run.status.as_ref().map(|s| s.conditions.clone()).unwrap_or_default();
    E2ERunStatus {
        observed_generation: run.metadata.generation,
        conditions: status::judged(&old, verdict, run.metadata.generation, now),
        message: Some(text::line(&verdict.message, MESSAGE)),
        ..E2ERunStatus::default()
    }
}

#[cfg(test)]
mod tests;
