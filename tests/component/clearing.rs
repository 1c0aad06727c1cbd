//! The end of an installation, as `testkit-operator delete-clusters` brings it about.

use std::{
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::{
    api_server::Namespace,
    objects::{cluster, matrix, merged, run, schedule},
};

const PATIENCE: Duration = Duration::from_secs(90);

fn program() -> PathBuf {
    let beside = || std::env::current_exe().unwrap().parent().unwrap().with_file_name("testkit-operator");
    option_env!("CARGO_BIN_EXE_testkit-operator").map_or_else(beside, PathBuf::from)
}

fn named(object: &Value) -> String {
    format!("{}/{}", object["kind"].as_str().unwrap().to_lowercase(), object["metadata"]["name"].as_str().unwrap())
}

/// As a cluster that has machines: somebody has to undo them first.
fn held() -> Value {
    merged(&cluster(), &json!({"metadata": {"finalizers": ["test.testkit.dev/held"]}}))
}

fn begun(space: &Namespace) -> Child {
    let mut command = Command::new(program());
    command.args(["--namespace", space.name(), "delete-clusters"]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

fn until_deleted(space: &Namespace, name: &str) {
    let deadline = Instant::now() + PATIENCE;
    while space.get(name).unwrap()["metadata"]["deletionTimestamp"].is_null() {
        assert!(Instant::now() < deadline, "{name} is not deleted");
        thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn clusters_and_what_makes_them_go_and_it_ends_when_they_are_gone() {
    let (space, other) = (Namespace::new("clearing"), Namespace::new("not-clearing"));
    let objects = [schedule(), matrix(), run(), held()];
    for object in &objects {
        space.apply(object).unwrap();
    }
    other.apply(&cluster()).unwrap();

    let mut child = begun(&space);
    let foo = named(&objects[3]);
    until_deleted(&space, &foo);
    for gone in &objects[..3] {
        assert!(space.get(&named(gone)).is_err(), "{} goes before clusters do", named(gone));
    }
    assert!(child.try_wait().unwrap().is_none(), "it waits for {foo}");
    space.patch(&foo, &json!({"metadata": {"finalizers": null}})).unwrap();
    assert!(child.wait().unwrap().success());
    assert!(space.get(&foo).is_err());
    other.get(&named(&cluster())).unwrap();
}

#[test]
fn what_is_made_meanwhile_stays_and_is_no_success() {
    let space = Namespace::new("clearing-late");
    space.apply(&held()).unwrap();
    let mut child = begun(&space);
    let foo = named(&held());
    until_deleted(&space, &foo);
    space.apply(&run()).unwrap();
    space.patch(&foo, &json!({"metadata": {"finalizers": null}})).unwrap();
    assert!(!child.wait().unwrap().success());
    assert!(space.get(&named(&run())).unwrap()["metadata"]["deletionTimestamp"].is_null());
}
