//! Objects as a user writes them, and changes to them.

use serde_json::{Value, json};

/// The least a SwarmCluster needs.
pub fn cluster() -> Value {
    json!({
        "apiVersion": "testkit.dev/v1alpha1",
        "kind": "SwarmCluster",
        "metadata": {"name": "foo"},
        "spec": {"provider": {"ec2": {"region": "us-east-1"}}},
    })
}

/// The least an E2ERun needs.
pub fn run() -> Value {
    json!({
        "apiVersion": "testkit.dev/v1alpha1",
        "kind": "E2ERun",
        "metadata": {"name": "nightly"},
        "spec": {"clusterRef": {"name": "foo"}, "image": "dockerswarm/e2e:latest"},
    })
}

/// The least an E2ESchedule needs.
pub fn schedule() -> Value {
    json!({
        "apiVersion": "testkit.dev/v1alpha1",
        "kind": "E2ESchedule",
        "metadata": {"name": "nightly"},
        "spec": {"schedule": "0 3 * * *", "runTemplate": {"spec": run()["spec"]}},
    })
}

/// The least an E2EMatrix needs.
pub fn matrix() -> Value {
    json!({
        "apiVersion": "testkit.dev/v1alpha1",
        "kind": "E2EMatrix",
        "metadata": {"name": "engines"},
        "spec": {"axes": {"image": ["suite:1", "suite:2"]}, "runTemplate": {"spec": run()["spec"]}},
    })
}

/// A change of `spec.provider.ec2`.
pub fn ec2(change: Value) -> Value {
    json!({"spec": {"provider": {"ec2": change}}})
}

/// A change that makes it a cluster on machines that exist: three managers and a worker, changed.
pub fn hosts(change: &Value) -> Value {
    let machine = |name: &str, n: u8, role: &str| json!({"name": name, "address": format!("10.0.0.{n}"), "role": role});
    let right = json!({
        "secretRef": {"name": "lab"},
        "machines": [
            machine("alpha", 1, "Manager"),
            machine("beta", 2, "Manager"),
            machine("gamma", 3, "Manager"),
            machine("delta", 4, "Worker"),
        ],
    });
    json!({"spec": {"provider": {"ec2": null, "hosts": merged(&right, change)}}})
}

/// The first of those machines, changed, by itself.
pub fn machine(change: &Value) -> Value {
    let alpha = json!({"name": "alpha", "address": "10.0.0.1", "role": "Manager"});
    hosts(&json!({"machines": [merged(&alpha, change)]}))
}

/// A JSON merge patch (RFC 7386), applied.
pub fn merged(to: &Value, patch: &Value) -> Value {
    let Value::Object(changes) = patch else { return patch.clone() };
    let mut result = to.as_object().cloned().unwrap_or_default();
    for (key, change) in changes {
        if change.is_null() {
            result.remove(key);
        } else {
            let changed = merged(result.get(key).unwrap_or(&Value::Null), change);
            result.insert(key.clone(), changed);
        }
    }
    Value::Object(result)
}
