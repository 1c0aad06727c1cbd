//! Folds the runs of the shards into how they stand, and decides what is made or cancelled now: a pure function.

use std::{collections::BTreeSet, time::Duration};

use k8s_openapi::jiff::Timestamp;

use crate::{
    api::{E2ERunSpec, MadeRun, Shard, reason, shard_of_run},
    programme::{
        children::Child,
        stand::{is_over, standing, stop},
    },
};

/// What a plan is made from.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// `status.shards`: what is remembered of runs that are gone.
    pub before: Vec<MadeRun>,
    /// The runs that it made, and that are there.
    pub children: Vec<Child>,
    /// Names of runs that were made, and of which the API server says that they are not there.
    pub gone: BTreeSet<String>,
    /// When it was first seen.
    pub since: Option<Timestamp>,
}

/// What to do.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// Runs to make, each by its number among the shards.
    pub make: Vec<usize>,
    /// Runs to cancel, by name and UID.
    pub cancel: Vec<(String, String)>,
    /// The shards.
    pub shards: Vec<Shard>,
    /// How the run of each stands.
    pub stand: Vec<MadeRun>,
}

/// Decides.
#[must_use]
pub fn plan(name: &str, spec: &E2ERunSpec, seen: &Seen, now: Timestamp) -> Plan {
    let total = spec.shards.unwrap_or(1);
    let shards: Vec<Shard> = (1..=total).map(|index| Shard { index, total }).collect();
    let standing = |shard: &Shard| standing(&shard_of_run(name, *shard), &seen.before, &seen.children, &seen.gone);
    let stand: Vec<MadeRun> = shards.iter().map(standing).collect();
    let mut plan = Plan { shards, stand, ..Plan::default() };
    if spec.cancel {
        plan.cancel = stop(&mut plan.stand, &seen.children, reason::CANCELLED, "spec.cancel is set");
        return plan;
    }
    let unmade = |(number, one): (usize, &MadeRun)| (one.uid.is_none() && !is_over(one)).then_some(number);
    let make: Vec<usize> = plan.stand.iter().enumerate().filter_map(unmade).collect();
    let waited = seen.since.map(|since| Duration::try_from(now.duration_since(since)).unwrap_or_default());
    if !make.is_empty() && waited.is_some_and(|waited| waited >= spec.pending_timeout.get()) {
        let words = format!("spec.pendingTimeout ({}) was over", spec.pending_timeout);
        // Without it the run cannot pass.
        plan.cancel = stop(&mut plan.stand, &seen.children, reason::PENDING_TIMEOUT, &words);
        return plan;
    }
    plan.make = make;
    plan
}
