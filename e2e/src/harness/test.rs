//! What a case is handed: the cluster, names and labels of its own, a log, and waiting.
//!
//! Everything a case makes is made through here or with its names and labels, or it is not removed.

use std::{
    collections::HashMap,
    fmt::Display,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use bollard::Docker;
use tokio::{
    sync::{OnceCell, Semaphore},
    time::error::Elapsed,
};

use super::{hosts::Hosts, until, waits::Waits};
use crate::{cluster::Cluster, swarm::container::Container};

/// The label with the run's UUID, on everything the suite makes.
pub(crate) const RUN: &str = "dev.testkit.e2e.run";
/// The label with the name of the case.
pub(crate) const CASE: &str = "dev.testkit.e2e.case";
/// The label with the second since 1970 at which the run started.
pub(crate) const STARTED: &str = "dev.testkit.e2e.started";

/// How many objects a case makes at once at most.
const AT_ONCE: u32 = 64;

/// One run of the suite.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) id: String,
    pub(crate) started: jiff::Timestamp,
    pub(crate) cluster: Cluster,
    pub(crate) nocapture: bool,
    /// Nothing where nobody said how to reach them.
    pub(crate) hosts: Option<Arc<Hosts>>,
    made: AtomicUsize,
}

impl Run {
    pub(crate) fn new(cluster: Cluster, hosts: Option<Hosts>, nocapture: bool) -> Self {
        let (id, started) = (uuid::Uuid::new_v4().to_string(), jiff::Timestamp::now());
        Self { id, started, cluster, nocapture, hosts: hosts.map(Arc::new), made: AtomicUsize::new(0) }
    }

    /// A number that this run has used for nothing else.
    pub(crate) fn number(&self) -> usize {
        self.made.fetch_add(1, Ordering::Relaxed)
    }

    /// The labels of everything this run makes.
    pub(crate) fn labels(&self) -> HashMap<String, String> {
        [(RUN, self.id.clone()), (STARTED, self.started.as_second().to_string())]
            .map(|(key, value)| (key.to_owned(), value))
            .into()
    }
}

/// A running case. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Test(Arc<State>);

#[derive(Debug)]
struct State {
    run: Arc<Run>,
    case: &'static str,
    start: Instant,
    output: Mutex<String>,
    waiting: Mutex<Option<String>>,
    waits: Waits,
    subnets: AtomicUsize,
    /// Id and name of the container from which is asked where this process is on no node.
    outside: OnceCell<(String, String)>,
    /// What is being made holds a permit; clean-up takes all of them first, and then there are none.
    making: Arc<Semaphore>,
}

impl Test {
    pub(crate) fn new(run: Arc<Run>, case: &'static str) -> Self {
        let start = Instant::now();
        let (output, waiting, outside, subnets) = Default::default();
        let waits = Waits::new(run.cluster.nodes.iter().map(|node| node.hostname.clone()).collect());
        let making = Arc::new(Semaphore::new(AT_ONCE as usize));
        Self(Arc::new(State { run, case, start, output, waiting, waits, subnets, outside, making }))
    }

    /// The swarm under test.
    pub(crate) fn cluster(&self) -> &Cluster {
        &self.0.run.cluster
    }

    /// The engine's API.
    pub(crate) fn docker(&self) -> &Docker {
        &self.0.run.cluster.docker
    }

    /// Power over the nodes' hosts. A case that needs it is skipped where there is none.
    pub(crate) fn hosts(&self) -> Result<Arc<Hosts>> {
        self.0.run.hosts.clone().context("there is no command for hosts")
    }

    pub(crate) fn run_id(&self) -> &str {
        &self.0.run.id
    }

    pub(crate) fn case(&self) -> &'static str {
        self.0.case
    }

    /// How many subnets the case had before this one.
    pub(crate) fn nth_subnet(&self) -> usize {
        self.0.subnets.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.0.start.elapsed()
    }

    /// A name nothing else on the cluster has: the run's UUID, a number, and what it is for.
    pub(crate) fn name(&self, what: &str) -> String {
        format!("e2e-{}-{}-{what}", self.0.run.id, self.0.run.number())
    }

    /// The labels of everything this case makes.
    pub(crate) fn labels(&self) -> HashMap<String, String> {
        let mut labels = self.0.run.labels();
        labels.insert(CASE.into(), self.0.case.into());
        labels
    }

    /// The end of a node label's name: the case, and the second at which the run started.
    pub(crate) fn mark(&self) -> String {
        format!("{}.{}", self.0.case, self.0.run.started.as_second())
    }

    /// The one container from which this case asks, made when it is first needed.
    pub(crate) async fn outside_container(
        &self,
        start: impl AsyncFnOnce() -> Result<Container>,
    ) -> Result<(String, String)> {
        let made = self.0.outside.get_or_try_init(async || start().await.map(|made| (made.id, made.name))).await?;
        Ok(made.clone())
    }

    /// Filters that find what this case made.
    pub(crate) fn ours(&self) -> Vec<String> {
        vec![format!("{RUN}={}", self.0.run.id), format!("{CASE}={}", self.0.case)]
    }

    /// Says something: into the case's output, and to standard error with `--nocapture`.
    pub(crate) fn note(&self, what: impl Display) {
        let line = format!("+{:.1}s {what}\n", self.elapsed().as_secs_f64());
        if self.0.run.nocapture {
            eprint!("[{}] {line}", self.0.case);
        }
        lock(&self.0.output).push_str(&line);
    }

    /// What was said so far.
    pub(crate) fn output(&self) -> String {
        lock(&self.0.output).clone()
    }

    /// What the case was waiting for when it was last heard of, and why that did not hold.
    pub(crate) fn waiting(&self) -> Option<String> {
        lock(&self.0.waiting).clone()
    }

    /// Waits until `look` is `Ok`, notes how long that took, and fails with what it said last.
    pub(crate) async fn until<T, F>(&self, what: &str, within: Duration, look: impl FnMut() -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let missed = |error: &anyhow::Error| *lock(&self.0.waiting) = Some(format!("{what}: {error:#}"));
        let (value, took) = self.0.waits.until(what, within, missed, look).await?;
        *lock(&self.0.waiting) = None;
        self.note(format_args!("{what} (after {:.2}s)", took.as_secs_f64()));
        Ok(value)
    }

    /// Waits for something that comes by itself, and not longer than this.
    pub(crate) async fn within<T>(
        &self,
        what: &str,
        limit: Duration,
        future: impl Future<Output = T>,
    ) -> Result<T, Elapsed> {
        let start = Instant::now();
        let end = tokio::time::timeout(limit, future).await;
        self.0.waits.add(what, limit, start.elapsed());
        end
    }

    /// What was waited for, and for how long.
    pub(crate) fn waits(&self) -> &Waits {
        &self.0.waits
    }

    /// Fails as soon as `look` does not hold, and is content when it held for so long: for what must not happen.
    pub(crate) async fn stays<F>(&self, what: &str, time: Duration, look: impl FnMut() -> F) -> Result<()>
    where
        F: Future<Output = Result<()>>,
    {
        until::stays(what, time, look).await?;
        self.note(format_args!("{what} (for {time:?})"));
        Ok(())
    }

    /// Makes something on the cluster. The request runs to its end even when the case does not, so that no
    /// object appears after the clean-up looked for it.
    pub(crate) async fn make<T: Send + 'static>(
        &self,
        request: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        let Ok(permit) = self.0.making.clone().acquire_owned().await else {
            bail!("the case is over: nothing is made any more");
        };
        tokio::spawn(async move {
            let made = request.await;
            drop(permit);
            made
        })
        .await?
    }

    /// From here on nothing is made; returns when what was under way is there.
    pub(crate) async fn stop_making(&self) {
        let _all = self.0.making.acquire_many(AT_ONCE).await;
        self.0.making.close();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
