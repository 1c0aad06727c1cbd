use std::collections::BTreeMap;

use k8s_openapi::jiff::Timestamp;

use super::*;

fn container(running: bool, started_at: Option<Timestamp>, error: &str) -> ContainerState {
    let container = swarm::Container {
        id: "c1".to_owned(),
        name: "c".to_owned(),
        running,
        exit_code: 128,
        oom_killed: false,
        error: error.to_owned(),
        started_at,
        finished_at: None,
        labels: BTreeMap::new(),
        started: Vec::new(),
    };
    of_engine(container).state
}

#[test]
fn a_start_that_was_cut_off_is_taken_again_and_one_that_was_refused_is_not() {
    // What engine 28.5 says after an operator was killed while it asked for the start.
    assert_eq!(container(false, None, "Canceled: context canceled"), ContainerState::Created { error: None });
    assert_eq!(container(false, None, ""), ContainerState::Created { error: None });
    let refused = "exec: \"/bin/nope\": no such file or directory";
    assert_eq!(container(false, None, refused), ContainerState::Created { error: Some(refused.to_owned()) });
}

#[test]
fn what_ran_is_never_taken_for_new() {
    let since = Timestamp::from_second(5).unwrap();
    assert_eq!(container(true, Some(since), ""), ContainerState::Running);
    let ended = container(false, Some(since), "context canceled");
    assert!(matches!(ended, ContainerState::Exited(Exit { code: 128, error: Some(_), .. })), "{ended:?}");
}

#[test]
fn of_a_hosts_clock_only_a_difference_is_taken() {
    for (started, finished, ran) in [(5, 65, 60), (2_400, 2_460, 60), (2_400, 60, -2_340)] {
        let at = |second| Timestamp::from_second(second).unwrap();
        let container = swarm::Container {
            id: "c1".to_owned(),
            name: "c".to_owned(),
            running: false,
            exit_code: 0,
            oom_killed: false,
            error: String::new(),
            started_at: Some(at(started)),
            finished_at: Some(at(finished)),
            labels: BTreeMap::new(),
            started: Vec::new(),
        };
        let ContainerState::Exited(exit) = of_engine(container).state else { panic!("it ended") };
        assert_eq!(exit.ran.as_secs(), ran);
    }
}

fn cluster(ready: &str, spoken_of: i64) -> SwarmCluster {
    let mut cluster: SwarmCluster = serde_json::from_value(serde_json::json!({
        "metadata": {"name": "foo", "namespace": "ci", "uid": "u1"},
        "spec": {"managers": 3, "workers": 1, "provider": {"ec2": {"region": "us-east-1"}}},
        "status": {
            "conditions": [{"type": "Ready", "status": ready, "reason": "R", "message": "joining foo-w0",
                "observedGeneration": spoken_of, "lastTransitionTime": "2026-01-01T00:00:00Z"}],
            "nodes": [{"name": "foo-m0", "role": "Manager", "state": "Ready"},
                {"name": "foo-m1", "role": "Manager", "state": "Terminating"},
                {"name": "foo-m2", "role": "Manager", "state": "Ready", "leader": true}],
        },
    }))
    .unwrap();
    cluster.metadata.generation = Some(2);
    cluster
}

#[test]
fn a_cluster_is_ready_when_it_says_so_of_its_present_spec() {
    let seen = view(&cluster("True", 2));
    assert_eq!((seen.not_ready, seen.leader.as_deref()), (None, Some("m2")));
    // Those it has; while it tells of none, those of its spec.
    assert_eq!(seen.slots, ["m0", "m2"]);
    let mut silent = cluster("True", 2);
    silent.status.as_mut().unwrap().nodes.clear();
    assert_eq!(view(&silent).slots, ["m0", "m1", "m2", "w0"]);
    assert_eq!(view(&cluster("False", 2)).not_ready.as_deref(), Some("joining foo-w0"));
    assert!(view(&cluster("True", 1)).not_ready.is_some());
    let stalled = |ready: &str, spoken_of, why: &str| {
        let mut cluster = cluster(ready, spoken_of);
        let conditions = &mut cluster.status.as_mut().unwrap().conditions;
        let mut stalled = conditions[0].clone();
        (stalled.type_, stalled.status, stalled.reason) = ("Stalled".to_owned(), "True".to_owned(), why.to_owned());
        conditions.push(stalled);
        view(&cluster).stalled
    };
    for stays in ["BootFailed", "NoAccessCIDRs"] {
        assert_eq!(stalled("False", 2, stays).as_deref(), Some("joining foo-w0"), "{stays}");
    }
    let (ready, earlier) = (stalled("True", 2, "BootFailed"), stalled("False", 1, "BootFailed"));
    assert_eq!((ready, earlier, view(&cluster("False", 2)).stalled), (None, None, None));
    for passes in ["QuotaExceeded", "Unauthorized", "NoQuorum"] {
        assert_eq!(stalled("False", 2, passes), None, "{passes}");
    }
}
