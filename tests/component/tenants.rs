//! What a user of one namespace tries on others, and beyond what a role gives.

use serde_json::json;

use super::{
    api_server::Namespace,
    objects::{cluster, ec2, hosts, merged, run},
    refusals::{Wrong, refuses},
};

/// Names by which something else than a Secret or a ConfigMap beside the object might be read.
const NAMES: [&str; 6] = ["other/lab", "../../other/secrets/lab", "lab?x=y", "..", "lab%2Flab", "Lab"];

#[test]
fn no_spec_names_an_object_of_another_namespace() {
    let clusters = NAMES.iter().flat_map(|name| -> [Wrong; 2] {
        let named = json!({"name": name});
        [
            (
                "a key of machines",
                hosts(&json!({"secretRef": named})),
                &["spec.provider.hosts.secretRef.name", "same namespace"],
            ),
            (
                "credentials",
                ec2(json!({"credentials": named})),
                &["spec.provider.ec2.credentials.name", "same namespace"],
            ),
        ]
    });
    let mut clusters: Vec<Wrong> = clusters.collect();
    clusters.push((
        "a namespace beside the name",
        hosts(&json!({"secretRef": {"name": "lab", "namespace": "other"}})),
        &["unknown field \"spec.provider.hosts.secretRef.namespace\""],
    ));
    refuses(&cluster(), &clusters);

    let runs = NAMES.iter().flat_map(|name| -> [Wrong; 4] {
        let named = json!({"name": name});
        let key = json!({"name": name, "key": "k"});
        [
            ("a cluster", json!({"spec": {"clusterRef": named}}), &["spec.clusterRef.name", "same namespace"]),
            (
                "variables",
                json!({"spec": {"envFrom": [{"configMapRef": named}]}}),
                &["spec.envFrom[0].configMapRef.name", "same namespace"],
            ),
            (
                "a variable",
                json!({"spec": {"env": [{"name": "T", "valueFrom": {"secretKeyRef": key}}]}}),
                &["spec.env[0].valueFrom.secretKeyRef.name", "same namespace"],
            ),
            (
                "a login at a registry",
                json!({"spec": {"imagePullSecrets": [named]}}),
                &["spec.imagePullSecrets[0].name", "same namespace"],
            ),
        ]
    });
    refuses(&run(), &runs.collect::<Vec<Wrong>>());
}

#[test]
fn a_status_that_is_not_the_operators_is_not_stored() {
    let namespace = Namespace::new("forged");
    let passed = json!({"status": {"phase": "Complete", "passed": 7, "conditions": [{
        "type": "Complete", "status": "True", "reason": "CasesPassed", "message": "all of them",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }]}});
    let created = namespace.apply(&merged(&run(), &passed)).unwrap();
    namespace.patch("e2erun/nightly", &passed).unwrap();
    let patched = namespace.apply(&run()).unwrap();
    for stored in [created, patched] {
        assert!(stored["status"]["phase"].is_null() && stored["status"]["passed"].is_null(), "{stored}");
        assert!(!stored["status"].to_string().contains("CasesPassed"), "{stored}");
    }
}
