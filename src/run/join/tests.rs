use serde_json::{Value, json};

use super::*;

fn run(name: &str, more: &Value) -> E2ERun {
    let mut run = json!({
        "metadata": {"name": name, "namespace": "ci", "uid": format!("u-{name}"), "generation": 1},
        "spec": {"clusterRef": {"name": "foo"}, "image": "suite:1", "dedupeKey": "main-1"},
    });
    for (part, change) in more.as_object().unwrap() {
        match run[part].as_object_mut() {
            Some(fields) => fields.extend(change.as_object().unwrap().clone()),
            None => run[part] = change.clone(),
        }
    }
    serde_json::from_value(run).unwrap()
}

fn ended(type_: &str, why: &str) -> Value {
    let condition = |type_: &str| json!({"type": type_, "status": "True", "reason": why, "message": "words", "lastTransitionTime": "2026-01-01T00:00:00Z"});
    let ready = json!({"type": "Ready", "status": "False", "reason": why, "message": "words", "lastTransitionTime": "2026-01-01T00:00:00Z"});
    json!({"status": {
        "conditions": [ready, condition(type_)], "phase": type_, "message": "3 cases failed", "passed": 4, "failed": 3, "queued": "5m",
        "results": "first-results", "cluster": "foo", "manager": "foo-m0", "failures": [{"name": "one", "message": "no"}],
    }})
}

#[test]
fn a_verdict_is_taken_over_and_what_has_none_is_left() {
    let joined = Joined { name: "first".to_owned(), uid: "u-first".to_owned() };
    for (what, there, fate) in [
        ("it goes on", Some(run("first", &json!({}))), Fate::Waits),
        ("it passed", Some(run("first", &ended("Complete", reason::PASSED))), Fate::TakesOver),
        ("it failed", Some(run("first", &ended("Failed", reason::CASES_FAILED))), Fate::TakesOver),
        (
            "nobody cancels what has failed",
            Some(run(
                "first",
                &json!({"spec": {"cancel": true}, "status": ended("Failed", reason::CASES_FAILED)["status"]}),
            )),
            Fate::TakesOver,
        ),
        ("it is being cancelled", Some(run("first", &json!({"spec": {"cancel": true}}))), Fate::Leaves),
        ("it was cancelled", Some(run("first", &ended("Failed", reason::CANCELLED))), Fate::Leaves),
        (
            "it is being deleted",
            Some(run("first", &json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}))),
            Fate::Leaves,
        ),
        ("it is gone", None, Fate::Leaves),
        (
            "a run of another key has passed",
            Some(run(
                "first",
                &json!({"spec": {"dedupeKey": "main-0"}, "status": ended("Complete", reason::PASSED)["status"]}),
            )),
            Fate::Leaves,
        ),
        ("another one has its name", Some(run("first", &json!({"metadata": {"uid": "u-other"}}))), Fate::Leaves),
    ] {
        assert_eq!(Fate::of(&joined, "main-1", there.as_ref()), fate, "{what}");
    }
}

#[test]
fn what_is_said_points_at_the_other_one() {
    let now = Timestamp::UNIX_EPOCH;
    let joined = Joined { name: "first".to_owned(), uid: "u-first".to_owned() };
    let second = run("second", &json!({}));
    let said = waits(&second, &joined, "main-1", now);
    assert_eq!((said.joined.as_deref(), said.phase), (Some("first"), Some(Phase::Pending)));
    assert!(is_true(&said.conditions, type_::RECONCILING) && !is_true(&said.conditions, type_::READY));
    assert!(said.message.unwrap().contains("E2ERun first") && said.conditions.len() == 3);

    for (type_, why, holds) in [
        ("Complete", reason::PASSED, [type_::READY, type_::COMPLETE]),
        ("Failed", reason::CASES_FAILED, [type_::STALLED, type_::FAILED]),
    ] {
        let status = taken_over(&second, &run("first", &ended(type_, why)), now);
        for each in [type_::READY, type_::RECONCILING, type_::STALLED, type_::COMPLETE, type_::FAILED] {
            assert_eq!(is_true(&status.conditions, each), holds.contains(&each), "{type_}: {each}");
        }
        assert!(status.conditions.iter().all(|c| c.reason == why && c.observed_generation == Some(1)));
        assert_eq!((status.passed, status.failed, status.queued.clone()), (Some(4), Some(3), None));
        assert_eq!((status.results.as_deref(), status.joined.as_deref()), (Some("first-results"), Some("first")));
        assert_eq!(status.message.as_deref(), Some("as E2ERun first: 3 cases failed"));
        assert_eq!(status.failures.len(), 1);
    }
}

#[test]
fn what_is_written_is_read() {
    let joined = Joined { name: "first".to_owned(), uid: "u-first".to_owned() };
    let with = |text: &str| run("second", &json!({"metadata": {"annotations": {JOINED: text}}}));
    assert_eq!(Joined::of(&with(&json!(joined).to_string())), Some(joined));
    assert_eq!(Joined::of(&with("mangled")), None);
    assert_eq!(Joined::of(&run("second", &json!({}))), None);
}
