use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::jiff::SignedDuration;

use super::*;
use crate::{
    api::is_true,
    run::{
        facts::{ClusterView, Exit, HostView},
        stage::Stage,
        verdict::Counts,
    },
};

fn run() -> E2ERun {
    let mut run: E2ERun = serde_json::from_value(serde_json::json!({
        "metadata": {"name": "nightly", "namespace": "ci", "uid": "u1", "generation": 1},
        "spec": {"clusterRef": {"name": "foo"}, "image": "suite:1"},
    }))
    .unwrap();
    run.metadata.generation = Some(1);
    run
}

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millisecond(millis).unwrap()
}

fn host() -> HostId {
    HostId { cluster: "u".into(), slot: "m2".into(), incarnation: 1 }
}

fn saying(says: Says) -> Plan {
    Plan { steps: vec![], says, enters: None, again: None }
}

fn seen(state: Option<ContainerState>) -> Observed {
    let container = Some(state.map(|state| Container {
        id: "c1".into(),
        state,
        image: Some("suite@sha256:ab".into()),
        attempt: 1,
        filter: None,
        started: Vec::new(),
    }));
    Observed { hosts: BTreeMap::from([(host(), HostView { container, ..HostView::default() })]), ..Observed::default() }
}

/// What the API server gives back of a status.
fn stored(status: E2ERunStatus) -> E2ERunStatus {
    serde_json::from_value(serde_json::to_value(status).unwrap()).unwrap()
}

#[test]
fn what_has_not_changed_is_not_written() {
    let running = ContainerState::Running;
    let exit = Exit { ran: SignedDuration::from_millis(3_500), code: 1, out_of_memory: false, error: None };
    let container = Container {
        id: "c1".into(),
        state: ContainerState::Exited(exit),
        image: None,
        attempt: 1,
        filter: None,
        started: Vec::new(),
    };
    let end = End {
        counts: Some(Counts { passed: 1, failed: 1, skipped: 0, flaky: 0, quarantined: 0 }),
        container: Some((host(), container)),
        ran: Some((at(5_250), Duration::from_millis(3_500))),
        results: Some("nightly-results".into()),
        ..End::without_container(reason::CASES_FAILED, "1 of 2 cases failed: b".into())
    };
    let cases = [
        (saying(Says::Waiting("no cluster".into())), Outcome::default()),
        (saying(Says::Image("pulling".into())), Outcome::default()),
        (saying(Says::Active(None)), Outcome::default()),
        (saying(Says::Active(None)), Outcome { failure: Some("refused".into()), ..Outcome::default() }),
        (saying(Says::Stopping("its time is up".into())), Outcome::default()),
        (saying(Says::Storing("no room".into())), Outcome::default()),
        (saying(Says::Ended(Box::new(end))), Outcome::default()),
    ];
    let mut run = run();
    for (plan, outcome) in cases {
        let sight = seen(Some(running.clone()));
        let first = status(&run, &sight, &plan, &outcome, at(10_100)).unwrap();
        run.status = Some(stored(first));
        let again = status(&run, &sight, &plan, &outcome, at(99_900)).unwrap();
        assert_eq!(run.status.as_ref(), Some(&again), "{plan:?}");
    }
    let last = run.status.unwrap();
    assert_eq!((last.phase, last.exit_code, last.duration.as_deref()), (Some(Phase::Failed), Some(1), Some("3.5s")));
    assert_eq!((last.manager.as_deref(), last.container_id.as_deref()), (Some("foo-m2"), Some("c1")));
    assert_eq!(last.image_id.as_deref(), Some("suite@sha256:ab"));
    assert_eq!((last.passed, last.failed, last.skipped), (Some(1), Some(1), Some(0)));
    assert!(is_true(&last.conditions, type_::FAILED) && is_true(&last.conditions, type_::STALLED));
    assert!(!is_true(&last.conditions, type_::COMPLETE) && !is_true(&last.conditions, type_::READY));
    assert!(last.conditions.iter().all(|c| c.observed_generation == Some(1)));
}

#[test]
fn a_finished_run_is_never_written_again() {
    let finished = Observed { finished: true, deleting: true, ..seen(None) };
    let plan = saying(Says::Nothing);
    let failed = Outcome { failure: Some("the container could not be removed".into()), ..Outcome::default() };
    for outcome in [Outcome::default(), failed] {
        assert_eq!(status(&run(), &finished, &plan, &outcome, at(0)), None);
    }
}

#[test]
fn a_manager_out_of_reach_does_not_make_the_run_forget() {
    let mut run = run();
    let mut running = seen(Some(ContainerState::Running));
    running.record.since.insert(Stage::Running, at(5_000));
    run.status = status(&run, &running, &saying(Says::Active(None)), &Outcome::default(), at(6_000)).map(stored);
    let away = saying(Says::Active(Some("foo-m2 cannot be reached".into())));
    let new = status(&run, &Observed::default(), &away, &Outcome::default(), at(7_000)).unwrap();
    assert_eq!(
        (new.phase, new.manager.as_deref(), new.container_id.as_deref()),
        (Some(Phase::Running), Some("foo-m2"), Some("c1"))
    );
    assert_eq!(new.started_at, Some(Time(at(5_000))));
    assert_eq!(new.message.as_deref(), Some("foo-m2 cannot be reached"));
}

#[test]
fn complete_is_ready() {
    let end = End { complete: true, reason: reason::PASSED, ..End::without_container("", "2 cases passed".into()) };
    let plan = saying(Says::Ended(Box::new(end)));
    let new = status(&run(), &seen(None), &plan, &Outcome::default(), at(0)).unwrap();
    assert_eq!(new.phase, Some(Phase::Complete));
    for (type_, value) in
        [(type_::READY, true), (type_::COMPLETE, true), (type_::RECONCILING, false), (type_::STALLED, false)]
    {
        assert_eq!(is_true(&new.conditions, type_), value, "{type_}");
    }
    assert!(new.conditions.iter().all(|c| c.type_ != type_::FAILED));
}

#[test]
fn a_refusal_for_good_ends_the_run() {
    let fatal = Some((reason::INVALID_SPEC, "Correct the spec"));
    let outcome = Outcome { failure: Some("invalid mount".into()), fatal, ..Outcome::default() };
    let new = status(&run(), &seen(None), &saying(Says::Active(None)), &outcome, at(0)).unwrap();
    assert_eq!(new.phase, Some(Phase::Failed));
    assert_eq!(new.message.as_deref(), Some("invalid mount. Correct the spec"));
    assert_eq!(new.conditions[0].reason, reason::INVALID_SPEC);
}

#[test]
fn results_that_cannot_be_kept_are_said_while_there_is_time() {
    let plan = saying(Says::Storing("ConfigMap nightly-results is there already".into()));
    let exit = Exit { ran: SignedDuration::from_secs(1), code: 0, out_of_memory: false, error: None };
    let new = status(&run(), &seen(Some(ContainerState::Exited(exit))), &plan, &Outcome::default(), at(0)).unwrap();
    assert_eq!((new.phase, new.conditions[0].reason.as_str()), (Some(Phase::Running), reason::NOT_KEPT));
    assert!(new.message.unwrap().contains("nightly-results is there already"));
}

#[test]
fn reading_what_is_left_is_not_worth_a_word() {
    let plan = saying(Says::Collecting(None));
    assert_eq!(status(&run(), &seen(Some(ContainerState::Running)), &plan, &Outcome::default(), at(0)), None);
}

#[test]
fn a_cluster_that_is_kept_is_said_with_its_time_however_long_the_rest_is() {
    let of = |policy: &str| -> E2ERun {
        let mut spec = serde_json::json!({
            "image": "suite:1", "clusterPolicy": policy,
            "clusterTemplate": {"spec": {"provider": {"ec2": {"region": "us-east-1"}}}},
        });
        if policy == "KeepOnFailure" {
            spec["holdFor"] = "30m".into();
        }
        let metadata = serde_json::json!({"name": "nightly", "namespace": "ci", "uid": "3f2a19c0-x", "generation": 1});
        let run: E2ERun = serde_json::from_value(serde_json::json!({"metadata": metadata, "spec": spec})).unwrap();
        run.named()
    };
    let own = |own| ClusterView { own, ..ClusterView::default() };
    let cases = [
        ("KeepOnFailure", false, own(true), Some("kept until 1970-01-01T00:30:05Z, for spec.holdFor (30m)")),
        ("KeepOnFailure", true, own(true), None),
        ("KeepOnFailure", false, own(false), None),
        ("KeepOnFailure", false, ClusterView { deleting: true, ..own(true) }, None),
        ("Delete", false, own(true), None),
        ("Keep", true, own(true), Some("kept until the E2ERun is deleted")),
    ];
    for (policy, complete, cluster, words) in cases {
        let end = End { complete, ..End::without_container(reason::CASES_FAILED, "x".repeat(5000)) };
        let seen = Observed { cluster: Some(cluster), ..Observed::default() };
        let new =
            status(&of(policy), &seen, &saying(Says::Ended(Box::new(end))), &Outcome::default(), at(5_900)).unwrap();
        assert_eq!(new.cluster.as_deref(), Some("nightly-3f2a19c0"));
        let message = new.message.unwrap();
        assert!(message.starts_with("xxx") && message.chars().count() <= 1024, "{message}");
        assert_eq!(message.contains("SwarmCluster nightly-3f2a19c0 is kept"), words.is_some(), "{policy}: {message}");
        assert!(words.is_none_or(|words| message.contains(words)), "{policy}: {message}");
    }
}

#[test]
fn waiting_in_line_is_pending_and_its_time_is_told_when_it_is_over() {
    let run = run();
    let mut seen = Observed::default();
    seen.record.since.insert(Stage::Queued, at(10_000));
    let line = saying(Says::Queued("waits behind run-a; 2nd in line".into()));
    let new = status(&run, &seen, &line, &Outcome::default(), at(20_000)).unwrap();
    assert_eq!((new.phase, new.conditions[0].reason.as_str()), (Some(Phase::Pending), reason::QUEUED));
    assert_eq!((new.queued, new.cluster.as_deref()), (None, Some("foo")));
    seen.record.since.insert(Stage::Starting, at(202_000));
    let new = status(&run, &seen, &saying(Says::Active(None)), &Outcome::default(), at(203_000)).unwrap();
    assert_eq!(new.queued.as_deref(), Some("3m12s"));
    // Somebody else was quicker: what was said stands.
    let behind = Outcome { behind: true, ..Outcome::default() };
    assert_eq!(status(&run, &seen, &saying(Says::Active(None)), &behind, at(204_000)), None);
}

#[test]
fn a_run_that_had_its_cluster_to_itself_tells_what_that_cost() {
    let template = serde_json::json!({"spec": {"provider": {"ec2": {"region": "us-east-1"}}}});
    let (there, own) =
        (serde_json::json!({"clusterRef": {"name": "foo"}}), serde_json::json!({"clusterTemplate": template}));
    let of = |spec: &serde_json::Value, sharing: &str, shard: bool| -> E2ERun {
        let mut spec = spec.clone();
        (spec["image"], spec["sharing"]) = ("suite:1".into(), sharing.into());
        let parent = serde_json::json!([{"apiVersion": "testkit.dev/v1alpha1", "kind": "E2ERun", "name": "p", "uid": "p", "controller": true}]);
        if shard {
            spec["shard"] = serde_json::json!({"index": 1, "total": 2});
        }
        let owners = if shard { parent } else { serde_json::json!([]) };
        let metadata =
            serde_json::json!({"name": "nightly", "namespace": "ci", "uid": "u1", "ownerReferences": owners});
        let run: E2ERun = serde_json::from_value(serde_json::json!({"metadata": metadata, "spec": spec})).unwrap();
        run.named()
    };
    let half_an_hour = Some((at(5_250), Duration::from_millis(1_800_000)));
    let table = [
        (of(&there, "Exclusive", false), Some("0.36"), half_an_hour, Some("0.18")),
        (of(&own, "Exclusive", false), Some("0.36"), half_an_hour, Some("0.18")),
        (of(&own, "Exclusive", true), Some("0.36"), half_an_hour, Some("0.18")),
        (of(&there, "Exclusive", true), Some("0.36"), half_an_hour, None),
        (of(&there, "Shared", false), Some("0.36"), half_an_hour, None),
        (of(&there, "Exclusive", false), None, half_an_hour, None),
        (of(&there, "Exclusive", false), Some("0.36"), None, None),
    ];
    for (run, hourly, ran, amount) in table {
        let hourly = hourly.map(|text| text.parse().unwrap());
        let seen = Observed { cluster: Some(ClusterView { hourly, ..ClusterView::default() }), ..Observed::default() };
        let end = End { ran, ..End::without_container(reason::CASES_FAILED, "1 of 2 cases failed".into()) };
        let new = status(&run, &seen, &saying(Says::Ended(Box::new(end))), &Outcome::default(), at(9_000)).unwrap();
        let told = new.cost.map(|cost| (cost.amount.to_string(), cost.currency));
        assert_eq!(told, amount.map(|amount| (amount.to_owned(), "USD".to_owned())), "{run:?}");
    }
}

#[test]
fn no_message_steers_a_terminal_or_is_without_a_bound() {
    let wild = format!("\u{1b}[31mred\u{7}\n{}", "x".repeat(5000));
    let end = End::without_container(reason::CONTAINER_FAILED, wild.clone());
    for says in [Says::Waiting(wild.clone()), Says::Stopping(wild.clone()), Says::Ended(Box::new(end))] {
        let new = status(&run(), &seen(None), &saying(says), &Outcome::default(), at(0)).unwrap();
        let texts = new.conditions.iter().map(|c| c.message.clone()).chain(new.message);
        for text in texts {
            assert!(text.starts_with("red ") && text.chars().count() <= 1024, "{text:?}");
        }
    }
    let mut seen = seen(Some(ContainerState::Running));
    let found = seen.hosts.values_mut().next().and_then(|host| host.container.as_mut()?.as_mut()).unwrap();
    (found.id, found.image) = (wild.clone(), Some(wild));
    let new = status(&run(), &seen, &saying(Says::Active(None)), &Outcome::default(), at(0)).unwrap();
    for text in [new.container_id, new.image_id] {
        assert!(text.as_ref().is_some_and(|t| t.starts_with("red ") && t.chars().count() <= 512), "{text:?}");
    }
}
