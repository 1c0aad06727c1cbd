//! The E2EMatrix controller: observe, plan, act, report. This file only drives.

mod combine;
mod plan;
mod report;

use std::{collections::BTreeMap, future::Future, sync::Arc};

use futures::StreamExt;
use k8s_openapi::jiff::Timestamp;
use kube::{
    Api, Client, Resource, ResourceExt,
    runtime::{Controller, WatchStreamExt, controller::Action, reflector, reflector::reflector as kept, watcher},
};

use self::plan::{Plan, Seen};
use super::{
    Context, Error, PAUSE, SOON,
    children::{self, Mark},
    stand::{self, Outcome},
};
use crate::{
    api::{E2EMatrix, E2ERun, label},
    events::Events,
    metrics::metrics,
};

/// Runs the controller until `shutdown` resolves and the passes under way have ended.
pub async fn run(
    client: Client,
    events: Events,
    matrices: Api<E2EMatrix>,
    runs: Api<E2ERun>,
    shutdown: impl Future<Output = ()> + Send + Sync + 'static,
) {
    let (store, writer) = reflector::store();
    let watched = watcher(runs, watcher::Config::default().labels(label::MATRIX)).default_backoff();
    let context = Context { client, events, runs: store };
    Controller::new(matrices, watcher::Config::default())
        .owns_stream(kept(writer, watched.modify(children::lighten)).touched_objects())
        .graceful_shutdown_on(shutdown)
        .run(
            |matrix, context| metrics().pass("E2EMatrix", reconcile(matrix, context)),
            |matrix, error, _| {
                tracing::warn!(matrix = matrix.name_any(), %error, "a pass failed");
                Action::requeue(PAUSE)
            },
            Arc::new(context),
        )
        .for_each(|_| std::future::ready(()))
        .await;
}

/// One pass.
async fn reconcile(matrix: Arc<E2EMatrix>, context: Arc<Context>) -> Result<Action, Error> {
    if matrix.metadata.deletion_timestamp.is_some() {
        // Its runs are its own: Kubernetes deletes them.
        return Ok(Action::await_change());
    }
    let Some(mut seen) = observe(&matrix, &context).await? else { return Ok(Action::requeue(SOON)) };
    let name = matrix.name_any();
    let mut plan = plan::plan(&name, &matrix.spec, &seen, Timestamp::now());
    if stand::gives_up(&seen.before, &plan.stand) {
        let runs = children::runs(&context.client, &matrix.namespace().unwrap_or_default());
        seen.children = children::listed(&runs, (label::MATRIX, &name), &matrix.uid().unwrap_or_default()).await?;
        plan = plan::plan(&name, &matrix.spec, &seen, Timestamp::now());
    }
    if plan.expired {
        delete(&context, &matrix).await?;
        return Ok(Action::await_change());
    }
    let (outcome, failed) = act(&context, &matrix, &plan).await;
    report::report(&context, &matrix, &plan, &outcome).await?;
    if let Some(error) = failed {
        return Err(error.into());
    }
    Ok(plan.again.into_iter().chain(outcome.again()).min().map_or_else(Action::await_change, Action::requeue))
}

/// The object, what the watch of its runs tells, and by a look of its own whether one is gone that was there.
async fn observe(matrix: &E2EMatrix, context: &Context) -> Result<Option<Seen>, Error> {
    let namespace = matrix.namespace().unwrap_or_default();
    let uid = matrix.uid().unwrap_or_default();
    let Some(children) = context.children(&namespace, &uid) else { return Ok(None) };
    let status = matrix.status.clone().unwrap_or_default();
    let runs = children::runs(&context.client, &namespace);
    let gone = stand::gone(&runs, (label::MATRIX, &matrix.name_any()), &status.combinations, &children).await?;
    let finished = status.finished_at.map(|t| t.0);
    Ok(Some(Seen { before: status.combinations, children, gone, finished }))
}

/// Carries out a plan, with the first error there was.
async fn act(context: &Context, matrix: &E2EMatrix, plan: &Plan) -> (Outcome, Option<kube::Error>) {
    let runs = children::runs(&context.client, &matrix.namespace().unwrap_or_default());
    let make = plan.make.iter().filter_map(|number| Some((*number, run_of(matrix, plan, *number)?)));
    Outcome::of(&runs, &plan.cancel, make).await
}

/// The run of a combination.
fn run_of(matrix: &E2EMatrix, plan: &Plan, number: usize) -> Option<E2ERun> {
    let (combination, stand) = (plan.all.get(number)?, plan.stand.get(number)?);
    let mark = Mark {
        owner: matrix.controller_owner_ref(&()).unwrap_or_default(),
        labels: BTreeMap::from([(label::MATRIX.to_owned(), matrix.name_any())]),
        annotations: BTreeMap::new(),
    };
    Some(children::run(&stand.run, &combine::applied(&matrix.spec.run_template, combination), mark))
}

/// Its time is over: it goes, and its runs with it.
async fn delete(context: &Context, matrix: &E2EMatrix) -> Result<(), Error> {
    let matrices: Api<E2EMatrix> = Api::namespaced(context.client.clone(), &matrix.namespace().unwrap_or_default());
    Ok(children::delete(&matrices, &matrix.name_any(), &matrix.uid().unwrap_or_default()).await?)
}
