//! `deploy/iam-policy.json` allows what the EC2 room calls, and nothing else.

#![allow(clippy::unwrap_used, reason = "a test says what it expects by failing")]

use std::{collections::BTreeSet, fs, path::Path};

use serde_json::Value;

const POLICY: &str = "deploy/iam-policy.json";

#[test]
fn the_policy_allows_what_is_called_and_nothing_else() {
    let mut called: BTreeSet<String> =
        sources().iter().flat_map(|source| calls(source)).map(|c| permission(&c)).collect();
    assert!(called.contains("ec2:RunInstances"), "calls are not recognized any more: {called:?}");
    // Part of calls that make something with tags.
    called.insert("ec2:CreateTags".to_owned());

    let allowed: BTreeSet<String> = statements().iter().flat_map(|s| strings(&s["Action"])).collect();
    assert_eq!(allowed, called, "{POLICY} (left) and src/cloud/ec2 (right) differ: correct the policy and docs/aws.md");
}

#[test]
fn whatever_changes_something_is_bound_to_our_tag() {
    // What a launch or a group is made from exists already and is not changed by it.
    let free = ["LaunchFromAndInto", "MakeThemInAVpc", "Look", "FindPublicImages"];
    for statement in statements() {
        let name = statement["Sid"].as_str().unwrap_or_default().to_owned();
        let bound = statement["Condition"]["StringEquals"].as_object().is_some_and(|all| {
            all.iter().any(|(key, value)| key.ends_with("Tag/testkit.dev/installation") && value == "INSTALLATION")
        });
        assert!(bound || free.contains(&name.as_str()), "statement {name} of {POLICY} is not bound to an installation");
        assert!(
            strings(&statement["Action"]).iter().all(|a| !a.contains('*')),
            "statement {name} of {POLICY} has a wildcard action"
        );
    }
}

#[test]
fn the_policy_is_for_every_partition() {
    for statement in statements() {
        for resource in strings(&statement["Resource"]) {
            assert!(resource == "*" || resource.starts_with("arn:*:"), "{resource} of {POLICY} is of one partition");
        }
    }
}

fn statements() -> Vec<Value> {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(POLICY)).unwrap();
    let policy: Value = serde_json::from_str(&text).unwrap();
    policy["Statement"].as_array().unwrap().clone()
}

fn strings(value: &Value) -> Vec<String> {
    match value {
        Value::Array(all) => all.iter().flat_map(strings).collect(),
        other => other.as_str().map(str::to_owned).into_iter().collect(),
    }
}

fn sources() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cloud/ec2");
    // Its folders have tests only.
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file());
    files.map(|file| fs::read_to_string(file).unwrap()).collect()
}

/// A call of another service than EC2 is named with it.
fn permission(call: &str) -> String {
    if call.contains(':') { call.to_owned() } else { format!("ec2:{call}") }
}

/// Every call names its action where its failure is made.
fn calls(source: &str) -> Vec<String> {
    source.split("Failure::of(\"").skip(1).filter_map(|rest| rest.split('"').next()).map(str::to_owned).collect()
}
