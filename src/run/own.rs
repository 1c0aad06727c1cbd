//! The cluster that a run makes from `spec.clusterTemplate`: made, known again, and deleted. When, is not decided here.

use std::collections::BTreeMap;

use kube::{
    Api, Client, Resource, ResourceExt,
    api::{DeleteParams, ObjectMeta, PostParams, Preconditions},
};

use crate::{
    api::{ClusterPolicy, ClusterTemplate, E2ERun, MANAGER, SwarmCluster, label},
    refusal::Refusal,
};

/// What becomes of the cluster that a run made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposal {
    /// It is deleted, for this reason.
    Delete(&'static str),
    /// It is kept for a time.
    Hold,
    /// It is kept.
    Keep,
}

/// Decides what becomes of it, once the run has ended or is being deleted.
#[must_use]
pub const fn dispose(policy: ClusterPolicy, deleting: bool, passed: bool) -> Disposal {
    match (policy, deleting, passed) {
        (_, true, _) => Disposal::Delete("the run is being deleted"),
        (ClusterPolicy::Delete, ..) => Disposal::Delete("the run has ended"),
        (ClusterPolicy::KeepOnFailure, _, true) => Disposal::Delete("the tests passed"),
        (ClusterPolicy::KeepOnFailure, _, false) => Disposal::Hold,
        (ClusterPolicy::Keep, ..) => Disposal::Keep,
    }
}

/// Whether this run made the cluster. What it did not make, it never deletes.
#[must_use]
pub fn is_of(cluster: &SwarmCluster, run: &E2ERun) -> bool {
    run.uid().is_some_and(|uid| cluster.owner_references().iter().any(|o| o.uid == uid))
}

/// Makes the cluster of a run; where one of its name is there, the next look tells whose that is.
///
/// # Errors
/// Where the API server does not answer as it should: then it is tried again.
pub async fn make(
    client: &Client,
    run: &E2ERun,
    template: &ClusterTemplate,
) -> Result<Result<(), Refusal>, kube::Error> {
    let clusters: Api<SwarmCluster> = Api::namespaced(client.clone(), &run.namespace().unwrap_or_default());
    let cluster = cluster(run, template);
    let params = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
    match clusters.create(&params, &cluster).await {
        Ok(_) => Ok(Ok(())),
        Err(kube::Error::Api(status)) => match status.code {
            409 => Ok(Ok(())),
            _ => Refusal::of(&status, "SwarmClusters").map(Err).ok_or(kube::Error::Api(status)),
        },
        Err(error) => Err(error),
    }
}

/// Deletes the cluster of this UID; one that is gone, or another one of its name, is left as it is.
///
/// # Errors
/// Where the API server refuses.
pub async fn delete(client: &Client, run: &E2ERun, uid: &str) -> Result<(), kube::Error> {
    let clusters: Api<SwarmCluster> = Api::namespaced(client.clone(), &run.namespace().unwrap_or_default());
    let this = Preconditions { uid: Some(uid.to_owned()), resource_version: None };
    match clusters.delete(run.spec.cluster(), &DeleteParams::default().preconditions(this)).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if [404, 409].contains(&status.code) => Ok(()),
        Err(error) => Err(error),
    }
}

/// The object.
fn cluster(run: &E2ERun, template: &ClusterTemplate) -> SwarmCluster {
    let own = BTreeMap::from([
        ("app.kubernetes.io/managed-by".to_owned(), MANAGER.to_owned()),
        (label::RUN_UID.to_owned(), run.uid().unwrap_or_default()),
    ]);
    let mut labels = template.metadata.labels.clone();
    labels.extend(own);
    let mut cluster = SwarmCluster::new(run.spec.cluster(), template.spec.clone());
    cluster.metadata = ObjectMeta {
        name: Some(run.spec.cluster().to_owned()),
        labels: Some(labels),
        annotations: Some(template.metadata.annotations.clone()),
        // With it the cluster goes even where the run was torn away from us.
        owner_references: run.controller_owner_ref(&()).map(|owner| vec![owner]),
        ..ObjectMeta::default()
    };
    cluster
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_cluster_is_kept_only_where_the_spec_says_so_and_the_run_is_there() {
        use ClusterPolicy::{Delete, Keep, KeepOnFailure};
        let cases = [
            (Delete, true, Some("has ended")),
            (Delete, false, Some("has ended")),
            (KeepOnFailure, true, Some("passed")),
            (KeepOnFailure, false, None),
            (Keep, true, None),
            (Keep, false, None),
        ];
        for (policy, passed, deleted) in cases {
            match (dispose(policy, false, passed), deleted) {
                (Disposal::Delete(why), Some(words)) => assert!(why.contains(words), "{policy:?} {passed}: {why}"),
                (kept, None) => assert_eq!(kept == Disposal::Hold, policy == KeepOnFailure, "{policy:?} {passed}"),
                (kept, Some(_)) => panic!("{policy:?} {passed}: {kept:?}"),
            }
            assert!(matches!(dispose(policy, true, passed), Disposal::Delete(why) if why.contains("being deleted")));
        }
    }

    #[test]
    fn what_a_run_made_is_known_by_its_uid_and_not_by_its_name() {
        let run = |uid: &str| -> E2ERun {
            let run: E2ERun = serde_json::from_value(json!({
                "metadata": {"name": "nightly", "namespace": "ci", "uid": uid},
                "spec": {"image": "suite:1", "clusterTemplate": {
                    "metadata": {"labels": {"team": "net", "testkit.dev/run-uid": "x"}, "annotations": {"why": "x"}},
                    "spec": {"managers": 3, "provider": {"ec2": {"region": "us-east-1"}}},
                }},
            }))
            .unwrap();
            run.named()
        };
        let (mine, other) = (run("11111111-2222"), run("33333333-4444"));
        let made = cluster(&mine, mine.spec.cluster_template.as_ref().unwrap());
        assert_eq!((made.name_any().as_str(), made.spec.managers), ("nightly-11111111", 3));
        assert_eq!((&*made.labels()["team"], &*made.labels()[label::RUN_UID]), ("net", "11111111-2222"));
        assert_eq!(made.annotations()["why"], "x");
        assert!(is_of(&made, &mine) && !is_of(&made, &other));
    }
}
