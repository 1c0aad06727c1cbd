//! What the operator counts, as Prometheus reads it. `docs/metrics.md` has every name with its meaning; they are stable.
//!
//! One registry a process, at the bottom of all rooms: to observe something is one line where it happens.

mod clusters;
mod costs;

use std::{
    fmt,
    future::Future,
    sync::LazyLock,
    time::{Duration, Instant},
};

use clusters::Clusters;
use costs::Costs;
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram, info::Info},
    registry::Registry,
};

use crate::api::{E2ERunStatus, Phase, type_};

/// How [`Metrics::text`] is written: OpenMetrics.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Bounds of passes, in seconds.
const PASSES: [f64; 9] = [0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0];

static PROCESS: LazyLock<Metrics> = LazyLock::new(Metrics::new);

/// Those of this process.
#[must_use]
pub fn metrics() -> &'static Metrics {
    &PROCESS
}

/// Everything that is counted.
pub struct Metrics {
    registry: Registry,
    /// Clusters by state, and how long they took to be ready.
    pub clusters: Clusters,
    /// What clusters cost.
    pub costs: Costs,
    leader: Gauge,
    passes: Family<Kind, Histogram, fn() -> Histogram>,
    failed: Family<Kind, Counter>,
    runs: Family<Verdict, Counter>,
    starts: Family<Start, Counter>,
    calls: Family<Operation, Counter>,
    errors: Family<Refusal, Counter>,
    throttles: Family<Operation, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Build {
    version: &'static str,
}

/// A kind of custom resource.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    kind: &'static str,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Verdict {
    verdict: &'static str,
    reason: String,
}

/// What became of a start of a schedule.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Start {
    result: &'static str,
}

impl Start {
    const MADE: Self = Self { result: "made" };
    const MISSED: Self = Self { result: "missed" };
}

/// A call of a cloud's.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Operation {
    operation: String,
}

/// One that failed, with the cloud's code.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Refusal {
    operation: String,
    code: String,
}

impl Metrics {
    fn new() -> Self {
        let mut registry = Registry::with_prefix("testkit");
        registry.register("build", "What runs here", Info::new(Build { version: env!("CARGO_PKG_VERSION") }));
        let all = Self {
            clusters: Clusters::new(&mut registry),
            costs: Costs::new(&mut registry),
            leader: Gauge::default(),
            passes: Family::new_with_constructor(|| Histogram::new(PASSES)),
            failed: Family::default(),
            runs: Family::default(),
            starts: Family::default(),
            calls: Family::default(),
            errors: Family::default(),
            throttles: Family::default(),
            registry: Registry::default(),
        };
        registry.register("leader", "1 where this process works, 0 where it stands by", all.leader.clone());
        registry.register("reconcile_seconds", "How long passes took, by kind", all.passes.clone());
        registry.register("reconcile_errors", "Passes that ended with an error, by kind", all.failed.clone());
        registry.register("runs", "Runs that ended, by verdict and reason", all.runs.clone());
        registry.register(
            "schedule_starts",
            "Starts of schedules that were due, by what became of them",
            all.starts.clone(),
        );
        registry.register("aws_calls", "Requests that were sent to AWS, by operation", all.calls.clone());
        registry.register("aws_errors", "Requests that AWS refused or did not answer", all.errors.clone());
        registry.register("aws_throttles", "Requests that AWS refused as too many", all.throttles.clone());
        for result in [Start::MADE, Start::MISSED] {
            drop(all.starts.get_or_create(&result));
        }
        for kind in ["SwarmCluster", "E2ERun", "E2ESchedule", "E2EMatrix"] {
            drop(all.passes.get_or_create(&Kind { kind }));
            drop(all.failed.get_or_create(&Kind { kind }));
        }
        Self { registry, ..all }
    }

    /// All of it, as OpenMetrics.
    #[must_use]
    pub fn text(&self) -> String {
        self.costs.prune(Instant::now());
        let mut text = String::new();
        // Writing into a String does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }

    /// Whether this process works.
    pub fn leads(&self, leads: bool) {
        self.leader.set(leads.into());
    }

    /// One pass over an object of this kind.
    ///
    /// # Errors
    /// Those of the pass.
    pub async fn pass<T, E>(
        &self,
        kind: &'static str,
        pass: impl Future<Output = Result<T, E>> + Send,
    ) -> Result<T, E> {
        let began = Instant::now();
        let result = pass.await;
        self.passes.get_or_create(&Kind { kind }).observe(began.elapsed().as_secs_f64());
        if result.is_err() {
            self.failed.get_or_create(&Kind { kind }).inc();
        }
        result
    }

    /// A run has this status now, and had that one before: counted when it ends.
    pub fn run(&self, before: Option<&E2ERunStatus>, now: &E2ERunStatus) {
        let over = |status: &E2ERunStatus| matches!(status.phase, Some(Phase::Complete | Phase::Failed));
        if !over(now) || before.is_some_and(over) {
            return;
        }
        let verdict = if now.phase == Some(Phase::Complete) { type_::COMPLETE } else { type_::FAILED };
        let reason = now.conditions.iter().find(|c| c.type_ == verdict).map(|c| c.reason.clone()).unwrap_or_default();
        self.runs.get_or_create(&Verdict { verdict, reason }).inc();
    }

    /// A start of a schedule was due: its run was made, or missed.
    pub fn start(&self, made: bool) {
        self.starts.get_or_create(if made { &Start::MADE } else { &Start::MISSED }).inc();
    }

    /// A request was sent to the cloud; where it failed, with what code, and whether that means "too many".
    pub fn call(&self, operation: &str, failure: Option<(&str, bool)>) {
        let operation = operation.to_owned();
        let of = Operation { operation: operation.clone() };
        self.calls.get_or_create(&of).inc();
        if let Some((code, throttled)) = failure {
            self.errors.get_or_create(&Refusal { operation, code: code.to_owned() }).inc();
            if throttled {
                self.throttles.get_or_create(&of).inc();
            }
        }
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

/// A length of time as a metric has it.
fn seconds(time: Duration) -> f64 {
    time.as_secs_f64()
}

#[cfg(test)]
mod tests;
