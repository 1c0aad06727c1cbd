//! The E2ERun controller: observe, plan, act, report.
//!
//! This file only drives; the steps are in files of their own. [`plan`] and [`verdict`] are
//! pure. A pass never waits for something that takes time: jobs in the background and the
//! connections to hosts wake the run when there is something to see.

mod act;
mod archive;
pub mod attempt;
mod container;
pub mod facts;
pub mod filter;
mod image;
mod jobs;
mod join;
mod keep;
mod lines;
mod observe;
mod own;
pub mod plan;
pub mod queue;
mod record;
mod registry;
mod report;
pub mod stage;
mod store;
pub mod variables;
pub mod verdict;
mod whole;

use std::{
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{StreamExt, channel::mpsc, stream};
use k8s_openapi::jiff::Timestamp;
use kube::{
    Api, Client, ResourceExt,
    runtime::{
        Controller,
        controller::Action,
        reflector::{ObjectRef, Store},
        watcher,
    },
};

pub use self::store::{Refused, junit, keep};
use self::{jobs::Jobs, keep::Keeper, lines::Lines, queue::Line};
use crate::{
    api::{E2ERun, Phase, SwarmCluster},
    events::Events,
    host::Hosts,
    metrics::metrics,
};

/// The pause after a pass that the API server or a host cut short.
const PAUSE: Duration = Duration::from_secs(2);

/// Wakes runs.
#[derive(Clone, Debug)]
pub struct Wake(mpsc::UnboundedSender<Woken>);

/// Who is woken.
#[derive(Debug)]
pub enum Woken {
    /// The runs on a cluster, by its UID, and those that have no cluster yet.
    Cluster(String),
    /// A run.
    Run(ObjectRef<E2ERun>),
}

impl Wake {
    /// A sender, and what the controller listens to.
    #[must_use]
    pub fn channel() -> (Self, mpsc::UnboundedReceiver<Woken>) {
        let (sender, receiver) = mpsc::unbounded();
        (Self(sender), receiver)
    }

    /// Has the runs on a cluster looked at soon.
    pub fn cluster(&self, uid: &str) {
        self.send(Woken::Cluster(uid.to_owned()));
    }

    fn run(&self, run: ObjectRef<E2ERun>) {
        self.send(Woken::Run(run));
    }

    fn send(&self, woken: Woken) {
        // Only fails when the controller has ended, and then there is nobody to wake.
        let _ = self.0.unbounded_send(woken);
    }
}

/// What the controller works with.
pub struct Context {
    client: Client,
    hosts: Hosts,
    events: Events,
    jobs: Jobs,
    lines: Lines,
    keeper: Keeper,
    line: Line,
    began: Instant,
}

impl Context {
    /// A context. `wake` is the one whose other end [`run`] is given.
    #[must_use]
    pub fn new(client: Client, hosts: Hosts, events: Events, wake: Wake) -> Self {
        Self {
            client,
            hosts,
            events,
            jobs: Jobs::new(wake),
            lines: Lines::default(),
            keeper: Keeper::default(),
            line: Line::default(),
            began: Instant::now(),
        }
    }
}

/// A pass that ended early.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server refused.
    #[error("API server: {0}")]
    Api(#[from] kube::Error),
}

/// Runs the controller until `shutdown` resolves and the passes under way have ended.
pub async fn run(
    context: Arc<Context>,
    runs: Api<E2ERun>,
    clusters: Api<SwarmCluster>,
    woken: mpsc::UnboundedReceiver<Woken>,
    shutdown: impl Future<Output = ()> + Send + Sync + 'static,
) {
    let line = context.line.clone().follow(runs.clone());
    let controller = Controller::new(runs, watcher::Config::default());
    let (store, of_cluster) = (controller.store(), controller.store());
    controller
        .watches(clusters, watcher::Config::default(), move |cluster| {
            let on = |run: &E2ERun| run.cluster_name() == cluster.name_any() && run.namespace() == cluster.namespace();
            unfinished(&of_cluster, on)
        })
        .reconcile_on(line)
        .reconcile_on(woken.flat_map(move |woken| {
            stream::iter(match woken {
                Woken::Run(run) => vec![run],
                Woken::Cluster(uid) => {
                    unfinished(&store, |run| record::Record::of(run).placed.is_none_or(|p| p.host.cluster == uid))
                }
            })
        }))
        .graceful_shutdown_on(shutdown)
        .run(
            |run, context| metrics().pass("E2ERun", reconcile(run, context)),
            |run, error, _| {
                tracing::warn!(run = run.name_any(), %error, "a pass failed");
                Action::requeue(PAUSE)
            },
            context,
        )
        .for_each(|_| std::future::ready(()))
        .await;
}

/// Whether a run has a container on this cluster, by its UID, that has not ended: its evidence is there only.
#[must_use]
pub fn holds(run: &E2ERun, cluster: &str) -> bool {
    run.is_taken_on()
        && !run.has_ended()
        && record::Record::of(run).placed.is_some_and(|placed| placed.host.cluster == cluster)
}

/// Whether a run is under way on this cluster: it has a place there, or a container that has not ended.
#[must_use]
pub fn is_under_way(run: &E2ERun, cluster: &SwarmCluster) -> bool {
    !run.has_ended() && queue::has_place(run, cluster) || holds(run, &cluster.uid().unwrap_or_default())
}

/// The runs that something is still to be done for.
fn unfinished(store: &Store<E2ERun>, wanted: impl Fn(&E2ERun) -> bool) -> Vec<ObjectRef<E2ERun>> {
    let open = |run: &E2ERun| {
        let phase = run.status.as_ref().and_then(|s| s.phase);
        !matches!(phase, Some(Phase::Complete | Phase::Failed)) || !run.finalizers().is_empty()
    };
    store.state().iter().filter(|run| open(run) && wanted(run)).map(|run| ObjectRef::from_obj(&**run)).collect()
}

/// One pass.
async fn reconcile(run: Arc<E2ERun>, context: Arc<Context>) -> Result<Action, Error> {
    // One that an operator took on which knew no shards is run whole, and let go.
    if run.is_divided() && !run.is_taken_on() {
        // Others run its cases: programme::shards.
        return Ok(Action::await_change());
    }
    let run = Arc::unwrap_or_clone(run).named();
    if let Some(action) = join::pass(&context, &run).await? {
        return Ok(action);
    }
    let seen = observe::observe(&context, &run).await?;
    let plan = plan::plan(&run.spec, &seen, Timestamp::now());
    let outcome = act::act(&context, &run, &seen, &plan).await?;
    report::report(&context, &run, &seen, &plan, &outcome).await?;
    let cut_short = outcome.failure.is_some() || outcome.behind;
    let again = if cut_short { Some(PAUSE) } else { plan.again };
    Ok(again.map_or_else(Action::await_change, Action::requeue))
}
