//! What clusters cost, by the namespace that they are in.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError, atomic::AtomicU64},
    time::{Duration, Instant},
};

use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use crate::api::{ClusterCost, SwarmCluster, Usd};

/// How long what was counted of a namespace is told after its last cluster is gone: whoever asks from time to time has heard
/// all of it by then, and namespaces that are made for a day are no series for the life of the process.
pub(super) const KEPT: Duration = Duration::from_secs(3600);

/// What clusters cost.
pub struct Costs {
    hourly: Family<Place, Gauge<f64, AtomicU64>>,
    accrued: Family<Place, Counter<f64, AtomicU64>>,
    unpriced: Family<Place, Gauge>,
    known: Mutex<All>,
}

#[derive(Default)]
struct All {
    /// By the cluster's UID.
    clusters: HashMap<String, Known>,
    /// Since when there is no cluster any more in a namespace where there were some.
    left: HashMap<String, Instant>,
}

/// Not `namespace`: that is the operator's own, which Prometheus adds.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Place {
    cluster_namespace: String,
}

struct Known {
    namespace: String,
    hourly: Option<Usd>,
    /// What it had cost when it was last looked at.
    accrued: Option<Usd>,
}

impl Costs {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let all = Self {
            hourly: Family::default(),
            accrued: Family::default(),
            unpriced: Family::default(),
            known: Mutex::default(),
        };
        registry.register(
            "cost_usd_per_hour",
            "What the machines of clusters cost an hour, by the clusters' namespace",
            all.hourly.clone(),
        );
        registry.register(
            "cost_usd",
            "What the machines of clusters have cost since this process saw them, by the clusters' namespace",
            all.accrued.clone(),
        );
        registry.register(
            "clusters_unpriced",
            "Clusters of which a price is missing, by their namespace",
            all.unpriced.clone(),
        );
        all
    }

    fn known(&self) -> MutexGuard<'_, All> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A cluster has cost this by now; `None` where there is nothing to say of that.
    pub fn note(&self, cluster: &SwarmCluster, cost: Option<&ClusterCost>, now: Timestamp) {
        let (uid, namespace) = (cluster.uid().unwrap_or_default(), cluster.namespace().unwrap_or_default());
        let Some(cost) = cost else {
            self.forget(&uid);
            return;
        };
        let mut known = self.known();
        let before = known.clusters.get(&uid).and_then(|known| known.accrued);
        // A clock that was set back counts nothing a second time.
        let accrued = cost.accrued_by(now).map(|by_now| before.map_or(by_now, |before| by_now.max(before)));
        known.clusters.insert(uid, Known { namespace: namespace.clone(), hourly: cost.hourly, accrued });
        // Of one that was not known a moment ago, what it cost until then was counted by nobody, or by a process before this one.
        if let (Some(before), Some(accrued)) = (before, accrued) {
            let place = Place { cluster_namespace: namespace.clone() };
            self.accrued.get_or_create(&place).inc_by(dollars(accrued.beyond(before)));
        }
        self.tell(&mut known, namespace);
    }

    /// A cluster is gone, or nothing is said any more of what it costs.
    pub fn forget(&self, uid: &str) {
        let mut known = self.known();
        if let Some(before) = known.clusters.remove(uid) {
            self.tell(&mut known, before.namespace);
        }
    }

    /// Forgets what was counted of namespaces that have had no cluster for long enough.
    pub(super) fn prune(&self, now: Instant) {
        self.known().left.retain(|namespace, since| {
            let told = now.saturating_duration_since(*since) < KEPT;
            if !told {
                self.accrued.remove(&Place { cluster_namespace: namespace.clone() });
            }
            told
        });
    }

    /// Sums up a namespace. One without clusters has no series but that of what was counted, for a while.
    fn tell(&self, known: &mut All, namespace: String) {
        let here = known.clusters.values().filter(|k| k.namespace == namespace);
        let here: Vec<Option<Usd>> = here.map(|k| k.hourly).collect();
        let place = Place { cluster_namespace: namespace.clone() };
        if here.is_empty() {
            self.hourly.remove(&place);
            self.unpriced.remove(&place);
            known.left.insert(namespace, Instant::now());
            return;
        }
        known.left.remove(&namespace);
        let unpriced = here.iter().filter(|hourly| hourly.is_none()).count();
        self.hourly.get_or_create(&place).set(dollars(here.into_iter().flatten().sum()));
        self.unpriced.get_or_create(&place).set(i64::try_from(unpriced).unwrap_or(i64::MAX));
    }
}

/// As a metric has it: a float, which is near enough to watch, and not to account by.
fn dollars(amount: Usd) -> f64 {
    amount.millionths() as f64 / 1e6
}
