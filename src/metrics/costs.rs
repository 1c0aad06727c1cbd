//! What clusters cost, by the namespace that they are in.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError, atomic::AtomicU64},
};

use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use crate::api::{ClusterCost, SwarmCluster, Usd};

/// What clusters cost.
pub struct Costs {
    hourly: Family<Place, Gauge<f64, AtomicU64>>,
    accrued: Family<Place, Counter<f64, AtomicU64>>,
    unpriced: Family<Place, Gauge>,
    known: Mutex<HashMap<String, Known>>,
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

    fn known(&self) -> MutexGuard<'_, HashMap<String, Known>> {
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
        let before = known.get(&uid).and_then(|known| known.accrued);
        // A clock that was set back counts nothing a second time.
        let accrued = cost.accrued_by(now).map(|by_now| before.map_or(by_now, |before| by_now.max(before)));
        known.insert(uid, Known { namespace: namespace.clone(), hourly: cost.hourly, accrued });
        // Of one that was not known a moment ago, what it cost until then was counted by nobody, or by a process before this one.
        if let (Some(before), Some(accrued)) = (before, accrued) {
            let place = Place { cluster_namespace: namespace.clone() };
            self.accrued.get_or_create(&place).inc_by(dollars(accrued.beyond(before)));
        }
        self.tell(&known, namespace);
    }

    /// A cluster is gone, or nothing is said any more of what it costs.
    pub fn forget(&self, uid: &str) {
        let mut known = self.known();
        if let Some(before) = known.remove(uid) {
            self.tell(&known, before.namespace);
        }
    }

    /// Sums up a namespace. One without clusters has no series.
    fn tell(&self, known: &HashMap<String, Known>, namespace: String) {
        let here: Vec<Option<Usd>> = known.values().filter(|k| k.namespace == namespace).map(|k| k.hourly).collect();
        let place = Place { cluster_namespace: namespace };
        if here.is_empty() {
            self.hourly.remove(&place);
            self.unpriced.remove(&place);
            return;
        }
        let unpriced = here.iter().filter(|hourly| hourly.is_none()).count();
        self.hourly.get_or_create(&place).set(dollars(here.into_iter().flatten().sum()));
        self.unpriced.get_or_create(&place).set(i64::try_from(unpriced).unwrap_or(i64::MAX));
    }
}

/// As a metric has it: a float, which is near enough to watch, and not to account by.
fn dollars(amount: Usd) -> f64 {
    amount.millionths() as f64 / 1e6
}
