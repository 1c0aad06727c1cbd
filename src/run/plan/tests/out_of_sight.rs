//! A container that nobody sees, or whose engine or clock cannot be relied on.

use super::*;

#[test]
fn a_container_out_of_sight_is_lost_only_when_that_is_certain() {
    type Change = fn(&mut Observed);
    let down: Change = |s| *host(s, "m1") = HostView { error: Some("refused".into()), ..HostView::default() };
    let cases: [(&str, Change, Option<&str>); 8] = [
        ("removed", |s| host(s, "m1").container = Some(None), Some(reason::CONTAINER_LOST)),
        ("not connected yet", |s| s.hosts.clear(), None),
        ("down", down, None),
        ("its engine silent", |s| (host(s, "m1").container, host(s, "m1").error) = (None, Some("silent".into())), None),
        (
            "replaced",
            |s| {
                s.hosts.remove(&id("m1", 0));
                s.hosts.insert(id("m1", 1), HostView::default());
            },
            Some(reason::INFRASTRUCTURE),
        ),
        (
            "shrunk",
            |s| {
                s.hosts.remove(&id("m1", 0));
                s.cluster.as_mut().unwrap().slots = vec!["m0".into()];
            },
            Some(reason::CONTAINER_LOST),
        ),
        ("cluster gone", |s| (s.cluster, s.hosts) = (None, BTreeMap::new()), Some(reason::CLUSTER_GONE)),
        (
            "another cluster of its name",
            |s| (s.cluster.as_mut().unwrap().uid, s.hosts) = ("other".into(), BTreeMap::new()),
            Some(reason::CLUSTER_GONE),
        ),
    ];
    for (what, change, reason) in cases {
        let mut seen = with(&ContainerState::Running);
        change(&mut seen);
        let plan = plan(&spec("Never"), &seen, now());
        assert_eq!(plan.steps, [], "{what}");
        assert_eq!(end(&plan).map(|(r, _)| r), reason, "{what}: {:?}", plan.says);
    }
}

/// Who has just taken over says of no host that it cannot be reached, while connections come up: what the one before said stands.
#[test]
fn one_that_has_just_begun_says_nothing_of_a_host_that_it_did_not_try() {
    type Change = fn(&mut Observed);
    let cases: [(&str, Change); 3] = [
        ("not connected yet", |s| s.hosts.clear()),
        ("connected, and not asked yet", |s| host(s, "m1").container = None),
        ("refused", |s| *host(s, "m1") = HostView { error: Some("refused".into()), ..HostView::default() }),
    ];
    for (what, change) in cases {
        for stage in [Stage::Running, Stage::Collecting] {
            let mut seen = with(&ContainerState::Running);
            seen.record.since.insert(stage, before(1));
            change(&mut seen);
            for fresh in [true, false] {
                seen.fresh = fresh;
                let says = plan(&spec("Never"), &seen, now()).says;
                let nothing = matches!(says, Says::Nothing | Says::Collecting(None));
                assert_eq!(nothing, fresh, "{what}, {stage:?}: {says:?}");
            }
        }
    }
}

/// An engine that is dead does not keep a run for ever, and what comes back too late is no pass.
#[test]
fn a_container_out_of_sight_has_no_more_time_than_another() {
    let unseen = |stages: &[(Stage, i64)], cut| {
        let mut seen = with(&ContainerState::Running);
        *host(&mut seen, "m1") = HostView { error: Some("silent".into()), ..HostView::default() };
        seen.record.since.extend(stages.iter().map(|(stage, ago)| (*stage, before(*ago))));
        seen.record.cut = cut;
        seen
    };
    let in_time = unseen(&[(Stage::Running, 1799)], None);
    assert!(matches!(plan(&spec("Never"), &in_time, now()).says, Says::Active(Some(_))));
    let late = plan(&spec("Never"), &unseen(&[(Stage::Running, 1800)], None), now());
    assert_eq!(late.steps, [Step::Stop(Cut::Deadline, id("m1", 0), "c1".into())]);
    let lost = plan(&spec("Never"), &unseen(&[(Stage::Stopping, 75)], Some(Cut::Deadline)), now());
    let (reason, message) = end(&lost).unwrap();
    assert!(
        reason == reason::INFRASTRUCTURE
            && message.contains("spec.timeout (30m) is over")
            && message.contains("silent")
    );
    let cancelled = plan(&spec("Never"), &unseen(&[(Stage::Stopping, 75)], Some(Cut::Cancelled)), now());
    assert_eq!(end(&cancelled).map(|(r, _)| r), Some(reason::CANCELLED));
    let unread = plan(&spec("Never"), &unseen(&[(Stage::Collecting, 600)], None), now());
    assert_eq!(end(&unread).map(|(r, _)| r), Some(reason::INFRASTRUCTURE));
}

/// Of a host's clock only how long the container ran is taken, and that only where it can be.
#[test]
fn the_clock_of_a_host_changes_no_verdict() {
    // By our clock it started so long ago; what its host says it ran; what is told; whether that is late.
    // Where the start was noticed late it is told as it must have been: nothing ends after its end was noticed.
    let cases = [
        (20, 23, 23, false),
        (20, 20, 20, false),
        (20, 20 + 2400, 20, false),
        (20, 20 - 2400, 20, false),
        (1801, 1799, 1799, false),
        (1801, 1801, 1801, true),
        (9000, 60, 60, false),
        (9000, 8990, 8990, true),
        (9000, -2340, 9000, true),
    ];
    for (ours, theirs, told, overdue) in cases {
        let ran = SignedDuration::from_secs(theirs);
        let mut seen = with(&ContainerState::Exited(Exit { ran, code: 0, out_of_memory: false, error: None }));
        seen.record.since.insert(Stage::Running, before(ours));
        let plan = plan(&spec("Never"), &seen, now());
        let [Step::Keep(.., course)] = plan.steps.as_slice() else { panic!("{plan:?}") };
        assert_eq!(
            course.ran,
            Some((before(ours.max(i64::try_from(told).unwrap())), Duration::from_secs(told))),
            "{ours} {theirs}"
        );
        assert_eq!(course.overdue, overdue, "{ours} {theirs}");
    }
}

#[test]
fn an_engine_that_was_lost_is_remembered() {
    let mut seen = with(&ContainerState::Running);
    seen.cut_off = Some("the answer was cut off".into());
    let disturbed = Step::Disturbed("the answer was cut off".into());
    let follow = Step::Follow(id("m1", 0), "c1".into());
    assert_eq!(plan(&spec("Never"), &seen, now()).steps, [disturbed.clone(), follow.clone()]);
    let mut away = seen.clone();
    *host(&mut away, "m1") = HostView { error: Some("silent".into()), ..HostView::default() };
    assert_eq!(plan(&spec("Never"), &away, now()).steps, [disturbed]);
    seen.record.disturbed = seen.cut_off.take();
    assert_eq!(plan(&spec("Never"), &seen, now()).steps, [follow]);
    let mut ended = with(&exited(3));
    ended.record.disturbed = seen.record.disturbed;
    let plan = plan(&spec("Never"), &ended, now());
    assert!(matches!(plan.steps.as_slice(), [Step::Keep(.., course)] if course.disturbed.is_some()), "{plan:?}");
}
