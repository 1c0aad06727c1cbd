use serde_json::json;
use watcher::Event::{Apply, Delete, Init, InitApply, InitDone};

use super::*;
use crate::api::FINALIZER;

/// A run of the cluster `foo`, created in this second; `more` is merged into the object.
fn run(name: &str, second: u32, more: &serde_json::Value) -> E2ERun {
    let mut run = json!({
        "metadata": {"name": name, "namespace": "ci", "uid": format!("u-{name}"), "finalizers": [FINALIZER],
            "annotations": {}, "creationTimestamp": format!("2026-01-01T00:00:{second:02}Z")},
        "spec": {"clusterRef": {"name": "foo"}, "image": "suite:1"},
    });
    for (pointer, value) in more.as_object().into_iter().flatten() {
        match pointer.as_str() {
            "finalizers" | "annotations" | "deletionTimestamp" => run["metadata"][pointer] = value.clone(),
            "status" => run["status"] = value.clone(),
            field => run["spec"][field] = value.clone(),
        }
    }
    serde_json::from_value(run).unwrap()
}

fn placed() -> serde_json::Value {
    let container = json!({"cluster": "u1", "slot": "m0", "incarnation": 0, "id": "c1", "at": "2026-01-01T00:00:00Z"});
    json!({"annotations": {"testkit.dev/container": container.to_string()}})
}

fn failed() -> serde_json::Value {
    json!({"status": {"conditions": [{"type": "Failed", "status": "True", "reason": "R", "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z"}]}})
}

fn names(guests: &[Guest]) -> Vec<&str> {
    guests.iter().map(|g| g.name.as_str()).collect()
}

fn woken(of: &[ObjectRef<E2ERun>]) -> Vec<&str> {
    let mut names: Vec<_> = of.iter().map(|o| o.name.as_str()).collect();
    names.sort_unstable();
    names
}

/// Three in line, by their age and then by their name.
fn line() -> Line {
    let line = Line::default();
    for event in [Init, InitApply(run("b", 2, &json!({}))), InitApply(run("c", 1, &json!({}))), InitDone] {
        line.take_in(&event);
    }
    line.take_in(&Apply(run("a", 2, &json!({}))));
    line
}

#[test]
fn the_line_is_by_age_and_then_by_name() {
    let line = line();
    assert_eq!(names(&line.waiting("ci", "foo", "u-a")), ["c", "a", "b"]);
    assert!(line.waiting("ci", "bar", "u-a").is_empty() && line.waiting("other", "foo", "u-a").is_empty());
    line.take_in(&Apply(run("x", 0, &json!({"clusterRef": {"name": "bar"}}))));
    assert_eq!(names(&line.waiting("ci", "bar", "u-a")), ["x"]);
}

#[test]
fn others_are_woken_by_what_makes_room_and_by_nothing_else() {
    let deleting = json!({"deletionTimestamp": "2026-01-01T00:00:00Z"});
    let cases = [
        (Apply(run("c", 1, &json!({"cancel": true}))), vec!["a", "b"]),
        (Apply(run("c", 1, &deleting)), vec!["a", "b"]),
        (Apply(run("c", 1, &failed())), vec!["a", "b"]),
        (Delete(run("c", 1, &json!({}))), vec!["a", "b"]),
        // It begins; it changes; another one comes.
        (Apply(run("c", 1, &placed())), vec![]),
        (Apply(run("c", 1, &json!({"annotations": {"testkit.dev/pending-since": "x"}}))), vec![]),
        (Apply(run("d", 0, &json!({}))), vec![]),
    ];
    for (event, wakes) in cases {
        assert_eq!(woken(&line().take_in(&event)), wakes, "{event:?}");
    }
    let line = line();
    for event in [Init, InitApply(run("b", 2, &json!({}))), InitApply(run("a", 2, &json!({})))] {
        assert!(line.take_in(&event).is_empty());
    }
    assert_eq!(woken(&line.take_in(&InitDone)), ["a", "b"]);
    assert_eq!(names(&line.waiting("ci", "foo", "u-a")), ["a", "b"]);
}

#[test]
fn who_is_asked_for_before_it_is_known_is_woken_when_it_is() {
    let line = line();
    assert!(line.waiting("ci", "foo", "u-d").is_empty());
    assert_eq!(woken(&line.take_in(&Apply(run("d", 9, &json!({}))))), ["d"]);
    assert_eq!(names(&line.waiting("ci", "foo", "u-d")), ["c", "a", "b", "d"]);
}

#[test]
fn a_run_that_cannot_be_taken_on_keeps_nobody_waiting_for_ever() {
    let line = line();
    let unheld = |more: &str| run("first", 0, &json!({"finalizers": [], "annotations": {"seen": more}}));
    line.take_in(&Apply(unheld("once")));
    let (now, late) = (Instant::now(), Instant::now() + TAKEN_ON);
    assert_eq!(names(&line.waiting_at("ci", "foo", "u-a", now)), ["first", "c", "a", "b"]);
    assert_eq!(names(&line.waiting_at("ci", "foo", "u-a", late)), ["c", "a", "b"]);
    // Neither a change of it nor a new list makes it young again.
    line.take_in(&Apply(unheld("twice")));
    for event in [Init, InitApply(unheld("thrice")), InitApply(run("a", 2, &json!({}))), InitDone] {
        line.take_in(&event);
    }
    assert_eq!(names(&line.waiting_at("ci", "foo", "u-a", late)), ["a"]);
    // Once it is held it has its place in line, which is that of its age.
    line.take_in(&Apply(run("first", 0, &json!({}))));
    assert_eq!(names(&line.waiting_at("ci", "foo", "u-a", late)), ["first", "a"]);
}

/// A run of one key that was not taken on.
fn keyed(name: &str, second: u32, more: &serde_json::Value) -> E2ERun {
    let mut all = json!({"dedupeKey": "main-1", "finalizers": []});
    all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    run(name, second, &all)
}

fn joined(name: &str) -> serde_json::Value {
    json!({"annotations": {"testkit.dev/joined": json!({"name": name, "uid": format!("u-{name}")}).to_string()}})
}

fn follows(name: &str) -> Leads {
    Leads::Other(Joined { name: name.to_owned(), uid: format!("u-{name}") })
}

#[test]
fn of_one_key_one_run_is_run() {
    let line = Line::default();
    let leads = |name: &str| line.leads("ci", "main-1", &format!("u-{name}"));
    assert_eq!(leads("b"), Leads::Unknown);
    assert_eq!(woken(&line.take_in(&Apply(keyed("b", 2, &json!({}))))), ["b"]);
    assert_eq!(leads("b"), Leads::Itself);
    // It comes later in the same second, and would be before it by name: what was told stands.
    line.take_in(&Apply(keyed("a", 2, &json!({}))));
    assert_eq!((leads("a"), leads("b")), (follows("b"), Leads::Itself));
    line.take_in(&Apply(keyed("a", 2, &joined("b"))));
    line.take_in(&Apply(keyed("b", 2, &json!({"finalizers": [FINALIZER]}))));
    line.take_in(&Apply(keyed("c", 3, &joined("b"))));
    assert_eq!(leads("c"), follows("b"));
    assert_eq!(names(&line.waiting("ci", "foo", "u-b")), ["b"], "who joined wants no place");
    // Another key, none, another namespace.
    line.take_in(&Apply(run("d", 1, &json!({"dedupeKey": "main-2", "finalizers": []}))));
    assert_eq!(line.leads("ci", "main-2", "u-d"), Leads::Itself);
    // It was cancelled, deleted, or has ended: those that joined look, and the oldest of them is next.
    for gone in [
        Apply(keyed("b", 2, &json!({"finalizers": [FINALIZER], "cancel": true}))),
        Apply(keyed("b", 2, &failed())),
        Delete(keyed("b", 2, &json!({}))),
    ] {
        line.take_in(&Apply(keyed("b", 2, &json!({"finalizers": [FINALIZER]}))));
        let mut told = woken(&line.take_in(&gone)).into_iter().map(str::to_owned).collect::<Vec<_>>();
        told.dedup();
        assert_eq!(told, ["a", "c", "d"], "{gone:?}, which makes room for d, too");
    }
    assert_eq!((leads("c"), leads("a")), (follows("a"), Leads::Itself));
}

#[test]
fn an_operator_that_begins_finds_who_is_run() {
    let line = Line::default();
    let held = keyed("z", 9, &json!({"finalizers": [FINALIZER]}));
    for event in [Init, InitApply(keyed("a", 1, &json!({}))), InitApply(held), InitDone] {
        line.take_in(&event);
    }
    assert_eq!(line.leads("ci", "main-1", "u-a"), follows("z"), "it was taken on, though it is younger");
}

#[test]
fn two_never_join_each_other() {
    // Of one second, and the operator that told the one with the earlier name to join is gone.
    let line = Line::default();
    for event in [Init, InitApply(keyed("z", 1, &json!({}))), InitApply(keyed("a", 1, &joined("z"))), InitDone] {
        line.take_in(&event);
    }
    assert_eq!(line.leads("ci", "main-1", "u-z"), Leads::Itself);
    assert_eq!(line.leads("ci", "main-1", "u-a"), follows("z"));
}

#[test]
fn who_joins_another_one_makes_room_on_its_cluster() {
    let line = line();
    line.take_in(&Apply(keyed("k", 0, &json!({}))));
    assert_eq!(woken(&line.take_in(&Apply(keyed("k", 0, &joined("x"))))), ["a", "b", "c"]);
}

#[test]
fn a_run_that_cannot_be_taken_on_leads_nobody_for_ever() {
    let line = Line::default();
    line.take_in(&Apply(keyed("first", 0, &json!({}))));
    line.take_in(&Apply(keyed("second", 1, &json!({}))));
    let (now, late) = (Instant::now(), Instant::now() + TAKEN_ON);
    assert_eq!(line.leads_at("ci", "main-1", "u-second", now), follows("first"));
    assert_eq!(line.leads_at("ci", "main-1", "u-second", late), Leads::Itself);
}

#[test]
fn a_run_is_on_its_cluster_until_it_is_let_go() {
    let line = line();
    assert!(line.running("ci", "foo", "u1").is_empty() && line.holds("ci", "foo", "u-c"));
    line.take_in(&Apply(run("c", 1, &placed())));
    assert_eq!(names(&line.running("ci", "foo", "u1")), ["c"]);
    assert!(line.running("ci", "foo", "another of its name").is_empty());
    assert_eq!(names(&line.waiting("ci", "foo", "u-a")), ["a", "b"]);
    let mut ended = failed();
    ended["annotations"] = placed()["annotations"].clone();
    line.take_in(&Apply(run("c", 1, &ended)));
    assert!(line.running("ci", "foo", "u1").is_empty() && line.holds("ci", "foo", "u-c"));
    ended["finalizers"] = json!([]);
    assert_eq!(woken(&line.take_in(&Apply(run("c", 1, &ended)))), ["a", "b"]);
    assert!(!line.holds("ci", "foo", "u-c"));
}
