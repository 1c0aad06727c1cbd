//! The controller of E2ERuns with `spec.shards`: an E2ERun for each part of the cases, then one verdict and one JUnit of
//! all. Observe, plan, act, gather, report; this file only drives.

mod durations;
mod gather;
mod plan;
mod report;
mod verdict;

use std::{collections::BTreeMap, future::Future, sync::Arc};

use futures::{StreamExt, future::ready};
use k8s_openapi::jiff::Timestamp;
use kube::{
    Api, Client, Resource, ResourceExt,
    runtime::{
        Controller, WatchStreamExt,
        controller::Action,
        reflector,
        reflector::reflector as kept,
        watcher::{self, Event},
    },
};

use self::{
    plan::{Plan, Seen},
    report::Said,
};
use super::{
    Context, Error, PAUSE, SOON,
    children::{self, Mark},
    stand::{self, Outcome, is_over},
};
use crate::{
    api::{E2ERun, RunTemplate, TemplateMetadata, label, type_},
    events::Events,
    metrics::metrics,
};

/// Runs the controller until `shutdown` resolves and the passes under way have ended. `runs` is asked for twice: those
/// that are divided have no label to be asked for by.
pub async fn run(
    client: Client,
    events: Events,
    runs: Api<E2ERun>,
    shutdown: impl Future<Output = ()> + Send + Sync + 'static,
) {
    let (divided, of_divided) = reflector::store();
    let all = watcher::watcher(runs.clone(), watcher::Config::default()).default_backoff();
    let all = kept(of_divided, all.filter(|event| ready(event.as_ref().map_or(true, is_of_divided))));
    let (shards, of_shards) = reflector::store();
    let watched = watcher::watcher(runs, watcher::Config::default().labels(label::SHARD_OF)).default_backoff();
    let context = Context { client, events, runs: shards };
    Controller::for_stream(all.applied_objects(), divided)
        .owns_stream(kept(of_shards, watched.modify(children::lighten)).touched_objects())
        .graceful_shutdown_on(shutdown)
        .run(
            |run, context| metrics().pass("E2ERun", reconcile(run, context)),
            |run, error, _| {
                tracing::warn!(run = run.name_any(), %error, "a pass failed");
                Action::requeue(PAUSE)
            },
            Arc::new(context),
        )
        .for_each(|_| ready(()))
        .await;
}

/// Whether an event of a watch tells of a run that is divided, or of none. The field never changes.
fn is_of_divided(event: &Event<E2ERun>) -> bool {
    match event {
        Event::Apply(run) | Event::Delete(run) | Event::InitApply(run) => run.is_divided(),
        Event::Init | Event::InitDone => true,
    }
}

/// One pass.
async fn reconcile(run: Arc<E2ERun>, context: Arc<Context>) -> Result<Action, Error> {
    // Of one that is deleted the shards are its own: Kubernetes deletes them. One that was taken on as a whole is run so.
    if run.is_taken_on() || run.has_ended() || run.metadata.deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    let Some(mut seen) = observe(&run, &context).await? else { return Ok(Action::requeue(SOON)) };
    let (name, runs) = (run.name_any(), children::runs(&context.client, &run.namespace().unwrap_or_default()));
    let mut plan = plan::plan(&name, &run.spec, &seen, Timestamp::now());
    if stand::gives_up(&seen.before, &plan.stand) {
        seen.children = children::listed(&runs, (label::SHARD_OF, &name), &run.uid().unwrap_or_default()).await?;
        plan = plan::plan(&name, &run.spec, &seen, Timestamp::now());
    }
    if is_first(&run, &plan) {
        let by = durations::prepare(&context.client, &run).await?;
        report::report(&context, &run, plan.stand, &Said::Divides { by }).await?;
        // The shards are made by the pass that reads that.
        return Ok(Action::await_change());
    }
    let (outcome, failed) = act(&context, &run, &plan).await;
    let stand = outcome.told(plan.stand);
    let said = if stand.iter().all(is_over) {
        // A watch may not have told yet what the last pass wrote.
        if runs.get_opt(&name).await?.is_none_or(|now| now.uid() != run.uid() || now.has_ended()) {
            return Ok(Action::await_change());
        }
        // Nothing else is to be done for this run meanwhile, so a pass may take its time.
        gather::gather(&context.client, &run, &stand, Timestamp::now()).await?
    } else {
        Said::Goes { waits: outcome.waits(), children: &seen.children }
    };
    let again = said.again().or(outcome.again());
    report::report(&context, &run, stand, &said).await?;
    if let Some(error) = failed {
        return Err(error.into());
    }
    Ok(again.map_or_else(Action::await_change, Action::requeue))
}

/// Whether no shard was made, and it is not written down by what they are to divide their cases.
fn is_first(run: &E2ERun, plan: &Plan) -> bool {
    let decided = run.status.as_ref().is_some_and(|status| status.balanced_by.is_some());
    !decided && !plan.make.is_empty() && plan.stand.iter().all(|one| one.uid.is_none())
}

/// The object, what the watch of its runs tells, and by a look of its own whether one is gone that was there.
async fn observe(run: &E2ERun, context: &Context) -> Result<Option<Seen>, Error> {
    let namespace = run.namespace().unwrap_or_default();
    let Some(children) = context.children(&namespace, &run.uid().unwrap_or_default()) else { return Ok(None) };
    let status = run.status.clone().unwrap_or_default();
    let runs = children::runs(&context.client, &namespace);
    let gone = stand::gone(&runs, (label::SHARD_OF, &run.name_any()), &status.shards, &children).await?;
    // By our own clock, as that of the next passes.
    let since = status.conditions.iter().find(|c| c.type_ == type_::RECONCILING && c.status == "True");
    let since = since.map(|c| c.last_transition_time.0);
    Ok(Some(Seen { before: status.shards, children, gone, since }))
}

/// Carries out a plan, with the first error there was.
async fn act(context: &Context, run: &E2ERun, plan: &Plan) -> (Outcome, Option<kube::Error>) {
    let runs = children::runs(&context.client, &run.namespace().unwrap_or_default());
    let make = plan.make.iter().filter_map(|number| Some((*number, shard_of(run, plan, *number)?)));
    Outcome::of(&runs, &plan.cancel, make).await
}

/// The run of a shard. What belongs to the whole of the run is not its own.
fn shard_of(run: &E2ERun, plan: &Plan, number: usize) -> Option<E2ERun> {
    let (shard, stand) = (plan.shards.get(number)?, plan.stand.get(number)?);
    let mut spec = run.spec.clone();
    (spec.shards, spec.shard, spec.dedupe_key, spec.cancel) = (None, Some(*shard), None, false);
    if run.status.as_ref().and_then(|status| status.balanced_by.as_ref()).is_some_and(|by| by.cases > 0) {
        spec.env.push(run.durations());
    }
    let mark = Mark {
        owner: run.controller_owner_ref(&()).unwrap_or_default(),
        labels: BTreeMap::from([(label::SHARD_OF.to_owned(), run.name_any())]),
        annotations: BTreeMap::new(),
    };
    Some(children::run(&stand.run, &RunTemplate { metadata: TemplateMetadata::default(), spec }, mark))
}

#[cfg(test)]
mod tests;
