//! A run that makes its cluster itself.

use super::*;

const HOLD: i64 = 1800;

fn own(policy: &str) -> E2ERunSpec {
    let mut json = serde_json::to_value(spec("Never")).unwrap();
    json["clusterRef"] = serde_json::json!({"name": "nightly-11111"});
    json["clusterTemplate"] = serde_json::json!({"spec": {"provider": {"ec2": {"region": "us-east-1"}}}});
    json["clusterPolicy"] = policy.into();
    if policy == "KeepOnFailure" {
        json["holdFor"] = "30m".into();
    }
    serde_json::from_value(json).unwrap()
}

/// That cluster, ready.
fn made() -> Observed {
    let mut seen = ready();
    seen.cluster.as_mut().unwrap().own = true;
    seen
}

/// The run has ended so long ago; its container is still there.
fn ended(passed: bool, ago: i64) -> Observed {
    let mut seen = with(&exited(i64::from(!passed)));
    seen.cluster.as_mut().unwrap().own = true;
    Observed { finished: true, passed, ended_at: Some(before(ago)), ..seen }
}

#[test]
fn it_makes_its_cluster_waits_for_it_and_says_what_keeps_it_from_being_ready() {
    type Change = fn(&mut Observed);
    let is = |s: &mut Observed, change: fn(&mut ClusterView)| change(s.cluster.as_mut().unwrap());
    let nothing: Change = |s| (s.cluster, s.hosts) = (None, BTreeMap::new());
    let plan_of = |change: &dyn Fn(&mut Observed)| {
        let mut seen = made();
        change(&mut seen);
        plan(&own("Delete"), &seen, now())
    };
    let make = plan_of(&nothing);
    assert_eq!(make.steps, [Step::MakeCluster]);
    assert!(matches!(&make.says, Says::Waiting(w) if w.contains("nightly-11111 is being made")), "{:?}", make.says);
    let booting = plan_of(&|s| is(s, |c| c.not_ready = Some("booting".into())));
    assert!(matches!(&booting.says, Says::Waiting(w) if w.contains("booting")) && booting.steps == [Step::Vacate]);
    assert_eq!(plan_of(&|_| {}).steps, [Step::Launch(id("m1", 0))]);

    type End<'a> = (fn(&mut ClusterView), &'a str, &'a str);
    let ends: [End<'_>; 3] = [
        (|c| c.own = false, reason::CLUSTER_NAME_TAKEN, "was not made by this run"),
        (|c| c.deleting = true, reason::CLUSTER_GONE, "was deleted before"),
        (
            |c| (c.not_ready, c.stalled) = (Some("x".into()), Some("no such AMI".into())),
            reason::CLUSTER_FAILED,
            "does not become ready: no such AMI",
        ),
    ];
    for (change, why, words) in ends {
        let plan = plan_of(&|s| is(s, change));
        let (reason, message) = end(&plan).unwrap();
        assert!(reason == why && message.contains(words) && plan.steps.is_empty(), "{reason}: {message}");
    }
    // What others made is only waited for.
    let mut theirs = ready();
    theirs.cluster.as_mut().unwrap().not_ready = Some("no such AMI".into());
    theirs.cluster.as_mut().unwrap().stalled = Some("no such AMI".into());
    assert!(matches!(plan(&spec("Never"), &theirs, now()).says, Says::Waiting(_)));
    // Cancelled or overdue, it makes none.
    let mut late = made();
    nothing(&mut late);
    late.record.since.insert(Stage::Pending, before(3600));
    assert_eq!(end(&plan(&own("Delete"), &late, now())).map(|(r, _)| r), Some(reason::PENDING_TIMEOUT));
    let cancelled = E2ERunSpec { cancel: true, ..own("Delete") };
    assert!(plan(&cancelled, &late, now()).steps.is_empty());
}

#[test]
fn its_cluster_goes_as_its_policy_says_and_the_run_after_it() {
    let delete = |why: &str| vec![Step::DeleteCluster(UID.into(), why.into()), Step::Release];
    let clean = vec![Step::Vacate, Step::Remove(id("m1", 0), "c1".into())];
    let released = [&clean[..], &[Step::Release]].concat();
    let cases = [
        ("Delete", true, 1, delete("the run has ended")),
        ("Delete", false, 1, delete("the run has ended")),
        ("KeepOnFailure", true, 1, delete("the tests passed")),
        ("KeepOnFailure", false, 1, clean),
        ("KeepOnFailure", false, HOLD, delete("spec.holdFor (30m) is over")),
        ("Keep", true, HOLD, released.clone()),
        ("Keep", false, HOLD, released.clone()),
    ];
    for (policy, passed, ago, steps) in cases {
        assert_eq!(plan(&own(policy), &ended(passed, ago), now()).steps, steps, "{policy} {passed} {ago}");
        let deleted = Observed { deleting: true, ..ended(passed, ago) };
        assert_eq!(plan(&own(policy), &deleted, now()).steps, delete("the run is being deleted"), "{policy}");
        // What it did not make, and what goes already, it leaves alone.
        for change in [|c: &mut ClusterView| c.own = false, |c: &mut ClusterView| c.deleting = true] {
            let mut other = Observed { deleting: true, ..ended(passed, ago) };
            change(other.cluster.as_mut().unwrap());
            assert_eq!(plan(&own(policy), &other, now()).steps, released, "{policy}");
        }
    }
}

#[test]
fn a_cluster_that_is_kept_keeps_its_run_until_its_time_is_over() {
    let mut seen = ended(false, 600);
    host(&mut seen, "m1").container = Some(None);
    seen.cluster.as_mut().unwrap().place = Place::Unknown;
    let kept = plan(&own("KeepOnFailure"), &seen, now());
    assert_eq!((kept.steps, kept.again), (vec![], Some(Duration::from_secs(1200))));
    assert_eq!(kept.enters, Some((Stage::Kept, before(600))));
    // What cannot be removed goes with the cluster, and is no longer somebody's to remove.
    let mut away = ended(false, 600);
    *host(&mut away, "m1") = HostView { error: Some("refused".into()), ..HostView::default() };
    away.record.since.insert(Stage::Cleaning, before(3600));
    assert_eq!(plan(&own("KeepOnFailure"), &away, now()).steps, [Step::Vacate]);
}

#[test]
fn a_run_that_is_deleted_at_any_moment_deletes_what_it_made() {
    let delete = [Step::DeleteCluster(UID.into(), "the run is being deleted".into()), Step::Release];
    let deleted = |seen: Observed| plan(&own("Keep"), &Observed { deleting: true, ..seen }, now()).steps;
    let mut booting = made();
    booting.cluster.as_mut().unwrap().not_ready = Some("booting".into());
    booting.hosts.clear();
    assert_eq!(deleted(booting), delete);
    assert_eq!(deleted(made()), delete);
    let mut active = with(&ContainerState::Running);
    active.cluster.as_mut().unwrap().own = true;
    // Its container has its grace; where nobody can look at it for all of that time, it goes with the cluster.
    assert_eq!(deleted(active.clone()), [Step::Stop(Cut::Deleted, id("m1", 0), "c1".into())]);
    *host(&mut active, "m1") = HostView { error: Some("refused".into()), ..HostView::default() };
    assert_eq!(deleted(active.clone()), []);
    active.record.since.insert(Stage::Leaving, before(360));
    assert_eq!(deleted(active), delete);
    let none = Observed { cluster: None, hosts: BTreeMap::new(), ..made() };
    assert_eq!(deleted(none), [Step::Release]);
}
