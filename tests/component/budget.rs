//! The budget of `deploy/samples`, as a real API server keeps to it.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use serde::Deserialize as _;
use serde_json::{Value, json};

use super::{
    api_server::Namespace,
    objects::{cluster, ec2, hosts, merged},
};

/// How long an API server may take until a policy holds: it gives no sign of that.
const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn a_cluster_that_costs_more_than_the_budget_has_is_refused() {
    let namespace = Namespace::new("budget");
    let before = merged(&cluster(), &json!({"metadata": {"name": "before"}, "spec": {"workers": 20}}));
    namespace.apply(&before).unwrap();
    install(&namespace);
    let large = merged(&cluster(), &json!({"spec": {"managers": 3, "workers": 10}}));
    let since = Instant::now();
    while namespace.try_apply(&large).is_ok() {
        assert!(since.elapsed() < PATIENCE, "the policy does not hold after {PATIENCE:?}");
        sleep(Duration::from_millis(200));
    }

    let table: [(&str, Value, Option<&str>); 7] = [
        ("12 machines", json!({"spec": {"managers": 3, "workers": 9}}), None),
        (
            "13 machines",
            json!({"spec": {"managers": 3, "workers": 10}}),
            Some("its 13 machines may cost 0.5408 USD an hour, and a cluster in this namespace at most 0.50"),
        ),
        (
            "13 cheaper ones",
            merged(&ec2(json!({"instanceTypes": ["t3a.medium"]})), &json!({"spec": {"workers": 12}})),
            None,
        ),
        (
            "one that may be dearer",
            merged(&ec2(json!({"instanceTypes": ["t3a.medium", "t3.medium"]})), &json!({"spec": {"workers": 12}})),
            Some("its 13 machines may cost 0.5408 USD an hour"),
        ),
        (
            "a type without a price",
            ec2(json!({"instanceTypes": ["t3.medium", "m7i.large"]})),
            Some("no price for m7i.large: write other instanceTypes"),
        ),
        ("machines of one's own", hosts(&json!({})), None),
        ("none but the least", json!({}), None),
    ];
    for (what, change, words) in table {
        match (namespace.try_apply(&merged(&cluster(), &change)), words) {
            (Ok(_), None) => {}
            (Err(said), Some(words)) => assert!(said.contains(words), "{what}: {said}"),
            (Ok(_), Some(words)) => panic!("{what} is taken, in place of: {words}"),
            (Err(said), None) => panic!("{what} is refused: {said}"),
        }
    }

    // One from before is left in peace, as long as nobody has it cost something else.
    namespace.patch("swarmcluster/before", &json!({"metadata": {"annotations": {"testkit.dev/keep": "w0"}}})).unwrap();
    let said = namespace.patch("swarmcluster/before", &json!({"spec": {"workers": 19}})).unwrap_err();
    assert!(said.contains("its 20 machines may cost 0.832 USD an hour"), "{said}");

    // Without the amounts no cluster comes, and those that are there can be let go.
    namespace.delete("configmap/testkit-budget").unwrap();
    let since = Instant::now();
    while namespace.try_apply(&cluster()).is_ok() {
        assert!(since.elapsed() < PATIENCE, "clusters are taken without a budget");
        sleep(Duration::from_millis(200));
    }
    namespace.patch("swarmcluster/before", &json!({"metadata": {"finalizers": []}})).unwrap();
}

/// The sample, for this namespace in place of those that it names.
fn install(namespace: &Namespace) {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/samples/budget/budget.yaml");
    let sample = std::fs::read_to_string(path).unwrap();
    let sample = sample.replace("namespace: testkit-system", &format!("namespace: {}", namespace.name()));
    let sample = sample.replace("values: [ci]", &format!("values: [{}]", namespace.name()));
    for part in serde_yaml_ng::Deserializer::from_str(&sample) {
        let object = Value::deserialize(part).unwrap();
        // What a quota holds is Kubernetes' own, and takes a controller that counts.
        if object["kind"] != "ResourceQuota" {
            namespace.apply(&object).unwrap();
        }
    }
}
