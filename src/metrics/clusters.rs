//! Clusters by state, and how long they took to be ready.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

use super::seconds;
use crate::api::{SwarmCluster, SwarmClusterStatus, is_true, reason, type_};

/// Bounds of the time to be ready, in seconds: a minute or so with an image that has an engine, some with one that has not.
const READY: [f64; 10] = [15.0, 30.0, 45.0, 60.0, 90.0, 120.0, 180.0, 300.0, 600.0, 1800.0];

/// All states: each has a value from the beginning.
const STATES: [&str; 5] = ["deleting", "paused", "ready", "reconciling", "stalled"];

/// Clusters by state.
pub struct Clusters {
    states: Family<State, Gauge>,
    ready: Histogram,
    known: Mutex<HashMap<String, Known>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct State {
    state: &'static str,
}

struct Known {
    state: &'static str,
    /// Was seen from its beginning, and is not ready yet.
    new: bool,
}

impl Clusters {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let all = Self { states: Family::default(), ready: Histogram::new(READY), known: Mutex::default() };
        for state in STATES {
            drop(all.states.get_or_create(&State { state }));
        }
        registry.register("clusters", "SwarmClusters that are served, by state", all.states.clone());
        registry.register(
            "cluster_ready_seconds",
            "How long clusters took from their creation until they were ready the first time",
            all.ready.clone(),
        );
        all
    }

    fn known(&self) -> MutexGuard<'_, HashMap<String, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A cluster has this status now.
    pub fn note(&self, cluster: &SwarmCluster, status: &SwarmClusterStatus, now: Timestamp) {
        let uid = cluster.uid().unwrap_or_default();
        let state = state(status);
        let mut known = self.known();
        let before = known.remove(&uid);
        // Of one that a process before this one saw, nobody knows whether it was ready already.
        let mut new = before.as_ref().map_or(cluster.status.is_none(), |before| before.new);
        if new && state == "ready" {
            new = false;
            if let Some(created) = cluster.creation_timestamp() {
                let took = now.duration_since(created.0);
                self.ready.observe(seconds(Duration::try_from(took).unwrap_or_default()));
            }
        }
        self.change(before.map(|before| before.state), Some(state));
        known.insert(uid, Known { state, new });
    }

    /// A cluster is gone.
    pub fn forget(&self, uid: &str) {
        let before = self.known().remove(uid);
        self.change(before.map(|before| before.state), None);
    }

    fn change(&self, from: Option<&'static str>, to: Option<&'static str>) {
        if from == to {
            return;
        }
        if let Some(state) = from {
            self.states.get_or_create(&State { state }).dec();
        }
        if let Some(state) = to {
            self.states.get_or_create(&State { state }).inc();
        }
    }
}

/// In one word.
fn state(status: &SwarmClusterStatus) -> &'static str {
    let why = status.conditions.iter().find(|c| c.type_ == type_::READY).map(|c| c.reason.as_str());
    match why {
        Some(reason::DELETING) => "deleting",
        _ if is_true(&status.conditions, type_::STALLED) => "stalled",
        Some(reason::PAUSED) => "paused",
        _ if is_true(&status.conditions, type_::READY) => "ready",
        _ => "reconciling",
    }
}
