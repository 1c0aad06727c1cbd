//! Who is given up, when, and when another one is due: as tables.

use super::{
    super::{
        HostView, plan,
        tests::{NOW, engine, filler, instance, node, seen, spec},
    },
    *,
};
use crate::{api::NodeRole, cloud::Offering, cluster::memory::Clock, swarm::LocalState};

type Change<'a> = &'a dyn Fn(&mut SwarmClusterSpec, &mut Observed);

const LIMIT: SignedDuration = SignedDuration::from_mins(5);

fn at(seconds: i64) -> Timestamp {
    NOW + SignedDuration::from_secs(seconds)
}

fn by_call() -> StateReason {
    StateReason { code: "Client.UserInitiatedShutdown".into(), message: "User initiated shutdown".into() }
}

fn spot() -> StateReason {
    StateReason { code: "Server.SpotInstanceTermination".into(), message: "Spot instance termination".into() }
}

fn launching(incarnation: u32, booted: bool, spec: &SwarmClusterSpec) -> Launching {
    let offering = Offering { instance_type: "a.large".into(), subnet: None, spot: false };
    Launching { incarnation, offering, booted, template: template(spec) }
}

/// A cluster of one manager, whose only instance has not answered for so long.
fn waiting(age: SignedDuration) -> (SwarmClusterSpec, Observed) {
    let spec = spec(1, 0);
    let mut seen = seen(vec![instance("m0", 0, InstanceState::Running)]);
    seen.clocks.insert("i-m0-0".into(), Clock::after(false, age));
    seen.hosts.insert(filler("m0.0"), HostView { error: Some("refused".into()), ..HostView::default() });
    let launches = [("m0".to_owned(), launching(0, false, &spec))].into();
    seen.intent = Some(Intent { launches, ..Intent::default() });
    (spec, seen)
}

fn terminates(plan: &Plan) -> bool {
    plan.actions.iter().any(|a| matches!(a, Action::Terminate(_)))
}

#[test]
fn a_host_that_is_no_engine_in_time_is_asked_for_its_last_words_and_then_replaced() {
    let (spec, mut seen) = waiting(LIMIT - SignedDuration::from_secs(7));
    let early = plan(&spec, &seen, NOW);
    assert_eq!((early.actions, early.again_at), (vec![], Some(at(7))));

    seen.clocks.insert("i-m0-0".into(), Clock::after(false, LIMIT));
    assert_eq!(plan(&spec, &seen, NOW).actions, [Action::Examine("i-m0-0".into())]);

    seen.consoles.insert("i-m0-0".into(), "its console ends with: panic".into());
    let late = plan(&spec, &seen, NOW);
    assert_eq!(late.actions, [Action::Terminate(vec!["i-m0-0".into()])]);
    let losses = late.save.clone().unwrap().losses["m0"].clone();
    assert_eq!((losses.count, losses.incarnation, losses.at), (1, 0, NOW));
    let words = losses.cause.to_string();
    assert_eq!(words, "was no engine within 5m (refused), and its console ends with: panic");

    // The crash: whatever is remembered is gone, and what is written down is done.
    seen.intent = late.save;
    (seen.clocks, seen.consoles) = Default::default();
    let again = plan(&spec, &seen, at(1));
    assert_eq!((again.save, again.actions), (None, vec![Action::Terminate(vec!["i-m0-0".into()])]));

    // It is on its way out: another one, at once.
    seen.instances.as_mut().unwrap()[0].state = InstanceState::ShuttingDown;
    let next = plan(&spec, &seen, at(2));
    assert!(matches!(next.actions.as_slice(), [Action::Launch(f, _)] if *f == filler("m0.1")), "{next:?}");
    assert_eq!(next.save.unwrap().losses["m0"].count, 1);
}

#[test]
fn nobody_is_given_up_who_may_be_a_node_or_cannot_be_judged() {
    let late = |change: Change<'_>| {
        let (mut spec, mut seen) = waiting(LIMIT * 10);
        seen.consoles.insert("i-m0-0".into(), "its console says nothing".into());
        change(&mut spec, &mut seen);
        plan(&spec, &seen, NOW)
    };
    assert!(terminates(&late(&|_, _| {})));
    let keeps: [(&str, Change<'_>); 8] = [
        ("its engine answers now", &|_, seen| {
            seen.hosts.insert(filler("m0.0"), engine(LocalState::Inactive, None, false));
        }),
        ("it was an engine", &|_, seen| seen.intent.as_mut().unwrap().launches.get_mut("m0").unwrap().booted = true),
        ("an earlier version launched it", &|_, seen| {
            let old = serde_json::json!({"launches": {"m0": {"incarnation": 0, "instanceType": "a.large"}}});
            seen.intent = serde_json::from_value(old).unwrap();
        }),
        ("nothing is written down of it", &|_, seen| seen.intent = Some(Intent::default())),
        ("the cluster is paused", &|spec, _| spec.paused = true),
        ("it is stopped", &|_, seen| seen.instances.as_mut().unwrap()[0].state = InstanceState::Stopped),
        ("this process has just begun to look", &|_, seen| seen.clocks.clear()),
        ("nobody looked for long", &|_, seen| seen.clocks.get_mut("i-m0-0").unwrap().timely = false),
    ];
    for (why, change) in keeps {
        assert!(!terminates(&late(change)), "{why}");
    }
}

#[test]
fn an_engine_is_written_down_before_its_host_joins_and_ends_the_row() {
    let (spec, mut seen) = waiting(SignedDuration::ZERO);
    let cause = Cause::not_booted(spec.boot_timeout, None, "");
    let mut earlier = Intent::default();
    lose(&spec, filler("m0.7"), "i-1", cause, NOW, &mut earlier, &mut Plan::default());
    seen.intent.as_mut().unwrap().losses = earlier.losses;
    seen.hosts.insert(filler("m0.0"), engine(LocalState::Inactive, None, false));
    let plan = plan(&spec, &seen, NOW);
    let saved = plan.save.unwrap();
    assert!(saved.launches["m0"].booted && saved.losses.is_empty(), "{saved:?}");
    assert_eq!(plan.actions, [Action::Init(filler("m0.0"))]);
}

#[test]
fn a_host_that_is_given_up_does_not_join() {
    let (mut spec, mut seen) = waiting(LIMIT);
    spec.workers = 1;
    seen.instances.as_mut().unwrap().push(instance("w0", 0, InstanceState::Running));
    seen.hosts.insert(filler("m0.0"), engine(LocalState::Active, Some("m0.0"), true));
    seen.hosts.insert(filler("w0.0"), engine(LocalState::Inactive, None, false));
    (seen.nodes, seen.manager) = (Some(vec![node("m0.0", NodeRole::Manager)]), Some(filler("m0.0")));
    let intent = seen.intent.as_mut().unwrap();
    intent.launches.insert("w0".into(), launching(0, false, &spec));
    lose(&spec, filler("w0.0"), "i-w0-0", Cause::Outdated, NOW, intent, &mut Plan::default());
    let actions = plan(&spec, &seen, NOW).actions;
    assert_eq!(actions, [Action::Terminate(vec!["i-w0-0".into()])]);
}

/// Lets the manager's instances come to nothing in this way, one after the other, and tells when
/// each was launched, counted from the loss before.
fn pauses(lost: impl Fn(&SwarmClusterSpec, u32, &mut Observed, Timestamp), rounds: u32) -> Vec<i64> {
    let (spec, mut seen) = waiting(SignedDuration::ZERO);
    let mut now = NOW;
    let mut pauses = Vec::new();
    for n in 0..rounds {
        lost(&spec, n, &mut seen, now);
        let since = now;
        let launched = loop {
            let plan = plan(&spec, &seen, now);
            seen.intent = plan.save.clone().or(seen.intent);
            let stalls = plan.troubles.values().any(Trouble::stalls);
            assert_eq!(stalls, n + 1 >= 3, "after {} in a row: {:?}", n + 1, plan.troubles);
            match plan.actions.as_slice() {
                [Action::Launch(f, _)] => break *f,
                _ => now = plan.again_at.unwrap(),
            }
        };
        assert_eq!(launched.incarnation, n + 1);
        pauses.push(now.duration_since(since).as_secs());
        now += SignedDuration::from_secs(60);
    }
    pauses
}

#[test]
fn one_that_fails_again_and_again_is_tried_ever_more_slowly() {
    let ends = |_: &SwarmClusterSpec, n: u32, seen: &mut Observed, _: Timestamp| {
        let ended = Instance { state_reason: Some(spot()), ..instance("m0", n, InstanceState::Terminated) };
        seen.instances = Some(vec![ended]);
    };
    assert_eq!(pauses(ends, 6), [0, 30, 120, 600, 600, 600]);
    // It ended before it was ever listed.
    let never_listed = |_: &SwarmClusterSpec, n: u32, seen: &mut Observed, _: Timestamp| {
        let host = Filler { incarnation: n, ..filler("m0.0") };
        seen.instances = Some(vec![]);
        seen.launches.ended.insert(host);
    };
    assert_eq!(pauses(never_listed, 5), [0, 30, 120, 600, 600]);
}

#[test]
fn a_changed_spec_is_tried_at_once() {
    let (mut spec, mut seen) = waiting(SignedDuration::ZERO);
    let intent = seen.intent.as_mut().unwrap();
    for n in 0..4 {
        lose(
            &spec,
            Filler { incarnation: n, ..filler("m0.0") },
            "i-1",
            Cause::ended(false, None),
            NOW,
            intent,
            &mut Plan::default(),
        );
    }
    intent.launches.insert("m0".into(), launching(3, false, &spec));
    seen.instances = Some(vec![instance("m0", 3, InstanceState::Terminated)]);
    let waits = plan(&spec, &seen, at(1));
    assert_eq!((waits.actions.len(), waits.again_at), (0, Some(at(600))));
    assert!(waits.troubles.values().all(Trouble::stalls));
    // More workers are no correction.
    spec.workers = 1;
    assert_eq!(plan(&spec, &seen, at(1)).actions.len(), 1);
    spec.workers = 0;
    spec.engine = serde_json::from_value(serde_json::json!({"daemonJson": {"debug": true}})).unwrap();
    let corrected = plan(&spec, &seen, at(1));
    assert!(matches!(corrected.actions.as_slice(), [Action::Launch(f, _)] if *f == filler("m0.4")), "{corrected:?}");
    assert!(!corrected.troubles.values().any(Trouble::stalls), "{:?}", corrected.troubles);
    // A clock that was set back by a year does not make it a year.
    spec.engine = None;
    let back = plan(&spec, &seen, NOW - SignedDuration::from_hours(24 * 365));
    assert_eq!(back.again_at, Some(NOW - SignedDuration::from_hours(24 * 365) + SignedDuration::from_secs(600)));
}

#[test]
fn one_that_boots_by_a_spec_that_failed_and_was_corrected_is_not_waited_for() {
    let (mut spec, mut seen) = waiting(SignedDuration::from_secs(10));
    spec.engine = serde_json::from_value(serde_json::json!({"daemonJson": {"debug": true}})).unwrap();
    assert!(!terminates(&plan(&spec, &seen, NOW)), "nothing has failed yet");
    let intent = seen.intent.as_mut().unwrap();
    lose(&spec, filler("m0.9"), "i-1", Cause::ended(false, None), NOW, intent, &mut Plan::default());
    let plan = plan(&spec, &seen, NOW);
    assert!(terminates(&plan), "{plan:?}");
    assert_eq!(plan.lost.values().map(|l| &l.cause).collect::<Vec<_>>(), [&Cause::Outdated]);
}

#[test]
fn what_we_end_ourselves_is_no_loss() {
    // A slot that was given up by a smaller spec, and is asked for again.
    let (mut spec, mut seen) = waiting(SignedDuration::ZERO);
    seen.hosts.insert(filler("m0.0"), engine(LocalState::Inactive, None, false));
    spec.workers = 1;
    let ended = Instance { state_reason: Some(by_call()), ..instance("w0", 0, InstanceState::Terminated) };
    seen.instances.as_mut().unwrap().push(ended);
    let plan = plan(&spec, &seen, NOW);
    assert!(plan.lost.is_empty(), "{:?}", plan.lost);
    assert!(plan.actions.iter().any(|a| matches!(a, Action::Launch(f, _) if *f == filler("w0.1"))), "{plan:?}");
}

#[test]
fn how_long_an_engine_must_hold_to_end_a_row_depends_on_what_began_it() {
    for (booted, why, minutes) in [(false, spot(), 0), (false, by_call(), 0), (true, by_call(), 1), (true, spot(), 10)]
    {
        let (spec, mut seen) = waiting(SignedDuration::ZERO);
        seen.hosts.insert(filler("m0.0"), engine(LocalState::Active, Some("m0.0"), true));
        let intent = seen.intent.as_mut().unwrap();
        let cause = Cause::ended(booted, Some(&why));
        lose(&spec, filler("m0.9"), "i-1", cause, NOW, intent, &mut Plan::default());
        let row = |seen: &Observed| plan(&spec, seen, NOW).save.is_some_and(|i| i.losses.contains_key("m0"));
        if minutes > 0 {
            let almost = SignedDuration::from_secs(minutes * 60 - 1);
            seen.clocks.insert("i-m0-0".into(), Clock::after(true, almost));
            assert!(row(&seen), "{booted} {why:?}");
        }
        seen.clocks.insert("i-m0-0".into(), Clock::after(true, SignedDuration::from_mins(minutes)));
        assert!(!row(&seen), "{booted} {why:?}");
    }
}

#[test]
fn a_missing_public_address_is_told_and_not_waited_for() {
    let public = |change: Change<'_>| {
        let (mut spec, mut seen) = waiting(LIMIT);
        spec.provider.ec2.as_mut().unwrap().connect_to = AddressKind::Public;
        seen.consoles.insert("i-m0-0".into(), String::new());
        seen.instances.as_mut().unwrap()[0].subnet = Some("subnet-1".into());
        change(&mut spec, &mut seen);
        plan(&spec, &seen, NOW)
    };
    let told = public(&|_, _| {});
    assert!(!terminates(&told));
    let trouble = &told.troubles[&filler("m0.0").slot];
    let words = trouble.words("c-m0", &[]);
    assert!(trouble.stalls() && words.contains("i-m0-0 has no public address in subnet subnet-1"), "{words}");
    // Its engine answers all the same, by the address it was connected to before.
    let answers = public(&|_, seen| {
        seen.hosts.insert(filler("m0.0"), engine(LocalState::Active, Some("m0.0"), true));
    });
    assert_eq!(answers.troubles.len(), 1);
    let fine: [Change<'_>; 3] = [
        &|_, seen| seen.instances.as_mut().unwrap()[0].public_address = Some("203.0.113.7".into()),
        &|spec, _| spec.provider.ec2.as_mut().unwrap().connect_to = AddressKind::Private,
        &|_, seen| seen.clocks.get_mut("i-m0-0").unwrap().age = SignedDuration::from_secs(1),
    ];
    for change in fine {
        let troubles = public(change).troubles;
        assert!(!troubles.values().any(|t| matches!(t, Trouble::NoPublicAddress { .. })), "{troubles:?}");
    }
}
