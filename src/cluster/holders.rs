//! The runs that a cluster's removal waits for: their containers are told to end, and what these
//! leave is kept before the machines go. How long that takes is bounded by the runs' own stages
//! and, in case nobody looks after them, here once more.

use std::time::{Duration, Instant};

use kube::{Api, Resource, ResourceExt, api::ListParams};

use super::{Context, words};
use crate::{
    api::{E2ERun, SwarmCluster},
    run,
};

/// What a run may take beyond the limits of its stages: the pauses between looks at it.
const MARGIN: Duration = Duration::from_mins(1);

/// The names of the runs that hold a cluster which is being deleted, in order; none for any other.
pub async fn holders(context: &Context, cluster: &SwarmCluster) -> Vec<String> {
    if cluster.meta().deletion_timestamp.is_none() {
        return Vec::new();
    }
    let uid = cluster.uid().unwrap_or_default();
    let waited = context.remember(&uid, |memory| memory.leaving.get_or_insert_with(Instant::now).elapsed());
    let runs: Api<E2ERun> = Api::namespaced(context.client.clone(), &cluster.namespace().unwrap_or_default());
    match runs.list(&ListParams::default()).await {
        Ok(all) => names(&all.items, &uid, waited),
        // Not heard is not "none"; but nor may it hold the machines for ever.
        Err(_) if waited > run::stage::STORING + MARGIN => Vec::new(),
        Err(error) => vec![format!("(the E2ERuns cannot be listed: {})", words::of(&error))],
    }
}

/// Those of these runs that hold the cluster after so long.
fn names(runs: &[E2ERun], uid: &str, waited: Duration) -> Vec<String> {
    let holds = |run: &&E2ERun| run::holds(run, uid) && waited <= run::stage::parting(&run.spec) + MARGIN;
    let mut names: Vec<_> = runs.iter().filter(holds).map(ResourceExt::name_any).collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn run(name: &str, cluster: &str, finalizers: &[&str], ended: bool) -> E2ERun {
        let container =
            json!({"cluster": cluster, "slot": "m0", "incarnation": 0, "id": "c1", "at": "2026-01-01T00:00:00Z"});
        let failed = json!({"type": "Failed", "status": if ended { "True" } else { "False" }, "reason": "R", "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z"});
        serde_json::from_value(json!({
            "metadata": {"name": name, "finalizers": finalizers, "annotations": {"testkit.dev/container": container.to_string()}},
            "spec": {"clusterRef": {"name": "foo"}, "image": "suite:1", "gracePeriod": "30s"},
            "status": {"conditions": [failed]},
        }))
        .unwrap()
    }

    #[test]
    fn only_runs_with_a_container_that_has_not_ended_hold_and_not_for_ever() {
        let mut waiting = run("waiting", "u1", &["testkit.dev/cleanup"], false);
        waiting.metadata.annotations = None;
        let runs = [
            run("runs", "u1", &["testkit.dev/cleanup"], false),
            run("another-cluster", "u2", &["testkit.dev/cleanup"], false),
            run("released", "u1", &[], false),
            run("ended", "u1", &["testkit.dev/cleanup"], true),
            waiting,
        ];
        assert_eq!(names(&runs, "u1", Duration::ZERO), ["runs"]);
        let most = Duration::from_secs(30 + 30) + Duration::from_mins(10 + 10 + 1);
        assert_eq!(names(&runs, "u1", most), ["runs"]);
        assert!(names(&runs, "u1", most + Duration::from_secs(1)).is_empty());
    }
}
