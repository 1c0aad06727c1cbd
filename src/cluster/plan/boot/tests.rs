//! Who is given up, when, and when another one is due: as tables.

use super::{
    super::{
        HostView, Plan, World, plan,
        tests::{NOW, engine, instance, member, node, spec, world},
    },
    *,
};
use crate::{
    api::{NodeRole, SwarmClusterSpec},
    cloud::Offering,
    cluster::{journal::Journal, member::Members, memory::Clock, template::template},
    swarm::LocalState,
};

/// As the plan writes a loss down, outside of one.
fn lose(spec: &SwarmClusterSpec, host: MemberId, id: &str, cause: Cause, now: Timestamp, journal: &mut Journal) {
    let world = World::default();
    let members = &Members::join(&world);
    let mut pass = Pass::new(spec, &world, members, vec![], now, std::mem::take(journal));
    super::lose(&mut pass, host, id, cause);
    *journal = pass.journal;
}

type Change<'a> = &'a dyn Fn(&mut SwarmClusterSpec, &mut World);

const LIMIT: SignedDuration = SignedDuration::from_mins(5);

fn at(seconds: i64) -> Timestamp {
    NOW + SignedDuration::from_secs(seconds)
}

fn by_call() -> StateReason {
    StateReason { code: "Client.UserInitiatedShutdown".into(), message: "User initiated shutdown".into() }
}

fn broken() -> StateReason {
    StateReason { code: "Server.InternalError".into(), message: "Internal error on launch".into() }
}

fn launching(incarnation: u32, booted: bool, spec: &SwarmClusterSpec) -> Launching {
    let offering = Offering { instance_type: "a.large".into(), subnet: None, spot: false };
    Launching { incarnation, offering, booted, template: template(spec), ends: None }
}

/// A cluster of one manager, whose only instance has not answered for so long.
fn waiting(age: SignedDuration) -> (SwarmClusterSpec, World) {
    let spec = spec(1, 0);
    let mut world = world(vec![instance("m0", 0, InstanceState::Running)]);
    world.clocks.insert("i-m0-0".into(), Clock::after(false, age));
    world.hosts.insert(member("m0.0"), HostView { error: Some("refused".into()), ..HostView::default() });
    let launches = [("m0".to_owned(), launching(0, false, &spec))].into();
    world.journal = Some(Journal { launches, ..Journal::default() });
    (spec, world)
}

fn terminates(plan: &Plan) -> bool {
    plan.actions.iter().any(|a| matches!(a, Action::Terminate(_)))
}

#[test]
fn a_host_that_is_no_engine_in_time_is_asked_for_its_last_words_and_then_replaced() {
    let (spec, mut world) = waiting(LIMIT - SignedDuration::from_secs(7));
    let early = plan(&spec, &world, NOW);
    assert_eq!((early.actions, early.again_at), (vec![], Some(at(7))));

    world.clocks.insert("i-m0-0".into(), Clock::after(false, LIMIT));
    assert_eq!(plan(&spec, &world, NOW).actions, [Action::Examine("i-m0-0".into())]);

    world.consoles.insert("i-m0-0".into(), "its console ends with: panic".into());
    let late = plan(&spec, &world, NOW);
    assert_eq!(late.actions, [Action::Terminate(vec!["i-m0-0".into()])]);
    let losses = late.save.clone().unwrap().losses["m0"].clone();
    assert_eq!((losses.count, losses.incarnation, losses.at), (1, 0, NOW));
    let words = losses.cause.to_string();
    assert_eq!(words, "was no engine within 5m (refused), and its console ends with: panic");

    // The crash: whatever is remembered is gone, and what is written down is done.
    world.journal = late.save;
    (world.clocks, world.consoles) = Default::default();
    let again = plan(&spec, &world, at(1));
    assert_eq!((again.save, again.actions), (None, vec![Action::Terminate(vec!["i-m0-0".into()])]));

    // It is on its way out: another one, at once.
    world.instances.as_mut().unwrap()[0].state = InstanceState::ShuttingDown;
    let next = plan(&spec, &world, at(2));
    assert!(matches!(next.actions.as_slice(), [Action::Launch(f, _)] if *f == member("m0.1")), "{next:?}");
    assert_eq!(next.save.unwrap().losses["m0"].count, 1);
}

#[test]
fn nobody_is_given_up_who_may_be_a_node_or_cannot_be_judged() {
    let late = |change: Change<'_>| {
        let (mut spec, mut world) = waiting(LIMIT * 10);
        world.consoles.insert("i-m0-0".into(), "its console says nothing".into());
        change(&mut spec, &mut world);
        plan(&spec, &world, NOW)
    };
    assert!(terminates(&late(&|_, _| {})));
    let keeps: [(&str, Change<'_>); 8] = [
        ("its engine answers now", &|_, world| {
            world.hosts.insert(member("m0.0"), engine(LocalState::Inactive, None, false));
        }),
        ("it was an engine", &|_, world| world.journal.as_mut().unwrap().launches.get_mut("m0").unwrap().booted = true),
        ("an earlier version launched it", &|_, world| {
            let old = serde_json::json!({"launches": {"m0": {"incarnation": 0, "instanceType": "a.large"}}});
            world.journal = serde_json::from_value(old).unwrap();
        }),
        ("nothing is written down of it", &|_, world| world.journal = Some(Journal::default())),
        ("the cluster is paused", &|spec, _| spec.paused = true),
        ("it is stopped", &|_, world| world.instances.as_mut().unwrap()[0].state = InstanceState::Stopped),
        ("this process has just begun to look", &|_, world| world.clocks.clear()),
        ("nobody looked for long", &|_, world| world.clocks.get_mut("i-m0-0").unwrap().timely = false),
    ];
    for (why, change) in keeps {
        assert!(!terminates(&late(change)), "{why}");
    }
}

#[test]
fn an_engine_is_written_down_before_its_host_joins_and_ends_the_row() {
    let (spec, mut world) = waiting(SignedDuration::ZERO);
    let cause = Cause::not_booted(spec.boot_timeout, None, "");
    let mut earlier = Journal::default();
    lose(&spec, member("m0.7"), "i-1", cause, NOW, &mut earlier);
    world.journal.as_mut().unwrap().losses = earlier.losses;
    world.hosts.insert(member("m0.0"), engine(LocalState::Inactive, None, false));
    let plan = plan(&spec, &world, NOW);
    let saved = plan.save.unwrap();
    assert!(saved.launches["m0"].booted && saved.losses.is_empty(), "{saved:?}");
    assert_eq!(plan.actions, [Action::Init(member("m0.0"))]);
}

#[test]
fn a_host_that_is_given_up_does_not_join() {
    let (mut spec, mut world) = waiting(LIMIT);
    spec.workers = 1;
    world.instances.as_mut().unwrap().push(instance("w0", 0, InstanceState::Running));
    world.hosts.insert(member("m0.0"), engine(LocalState::Active, Some("m0.0"), true));
    world.hosts.insert(member("w0.0"), engine(LocalState::Inactive, None, false));
    (world.nodes, world.manager) = (Some(vec![node("m0.0", NodeRole::Manager)]), Some(member("m0.0")));
    let journal = world.journal.as_mut().unwrap();
    journal.launches.insert("w0".into(), launching(0, false, &spec));
    lose(&spec, member("w0.0"), "i-w0-0", Cause::Outdated, NOW, journal);
    let actions = plan(&spec, &world, NOW).actions;
    assert_eq!(actions, [Action::Terminate(vec!["i-w0-0".into()])]);
}

/// Lets the manager's instances come to nothing in this way, one after the other, and tells when
/// each was launched, counted from the loss before.
fn pauses(lost: impl Fn(&SwarmClusterSpec, u32, &mut World, Timestamp), rounds: u32) -> Vec<i64> {
    let (spec, mut world) = waiting(SignedDuration::ZERO);
    let mut now = NOW;
    let mut pauses = Vec::new();
    for n in 0..rounds {
        lost(&spec, n, &mut world, now);
        let since = now;
        let launched = loop {
            let plan = plan(&spec, &world, now);
            world.journal = plan.save.clone().or(world.journal);
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
    let ends = |_: &SwarmClusterSpec, n: u32, world: &mut World, _: Timestamp| {
        let ended = Instance { state_reason: Some(broken()), ..instance("m0", n, InstanceState::Terminated) };
        world.instances = Some(vec![ended]);
    };
    assert_eq!(pauses(ends, 6), [0, 30, 120, 600, 600, 600]);
    // It ended before it was ever listed.
    let never_listed = |_: &SwarmClusterSpec, n: u32, world: &mut World, _: Timestamp| {
        let host = MemberId { incarnation: n, ..member("m0.0") };
        world.instances = Some(vec![]);
        world.launches.ended.insert(host);
    };
    assert_eq!(pauses(never_listed, 5), [0, 30, 120, 600, 600]);
}

#[test]
fn a_changed_spec_is_tried_at_once() {
    let (mut spec, mut world) = waiting(SignedDuration::ZERO);
    let journal = world.journal.as_mut().unwrap();
    for n in 0..4 {
        lose(&spec, MemberId { incarnation: n, ..member("m0.0") }, "i-1", Cause::ended(false, None), NOW, journal);
    }
    journal.launches.insert("m0".into(), launching(3, false, &spec));
    world.instances = Some(vec![instance("m0", 3, InstanceState::Terminated)]);
    let waits = plan(&spec, &world, at(1));
    assert_eq!((waits.actions.len(), waits.again_at), (0, Some(at(600))));
    assert!(waits.troubles.values().all(Trouble::stalls));
    // More workers are no correction.
    spec.workers = 1;
    assert_eq!(plan(&spec, &world, at(1)).actions.len(), 1);
    spec.workers = 0;
    spec.engine = serde_json::from_value(serde_json::json!({"daemonJson": {"debug": true}})).unwrap();
    let corrected = plan(&spec, &world, at(1));
    assert!(matches!(corrected.actions.as_slice(), [Action::Launch(f, _)] if *f == member("m0.4")), "{corrected:?}");
    assert!(!corrected.troubles.values().any(Trouble::stalls), "{:?}", corrected.troubles);
    // A clock that was set back by a year does not make it a year.
    spec.engine = None;
    let back = plan(&spec, &world, NOW - SignedDuration::from_hours(24 * 365));
    assert_eq!(back.again_at, Some(NOW - SignedDuration::from_hours(24 * 365) + SignedDuration::from_secs(600)));
}

#[test]
fn one_that_boots_by_a_spec_that_failed_and_was_corrected_is_not_waited_for() {
    let (mut spec, mut world) = waiting(SignedDuration::from_secs(10));
    spec.engine = serde_json::from_value(serde_json::json!({"daemonJson": {"debug": true}})).unwrap();
    assert!(!terminates(&plan(&spec, &world, NOW)), "nothing has failed yet");
    let journal = world.journal.as_mut().unwrap();
    lose(&spec, member("m0.9"), "i-1", Cause::ended(false, None), NOW, journal);
    let plan = plan(&spec, &world, NOW);
    assert!(terminates(&plan), "{plan:?}");
    assert_eq!(plan.lost.values().map(|l| &l.cause).collect::<Vec<_>>(), [&Cause::Outdated]);
}

#[test]
fn what_we_end_ourselves_is_no_loss() {
    // A slot that was given up by a smaller spec, and is asked for again.
    let (mut spec, mut world) = waiting(SignedDuration::ZERO);
    world.hosts.insert(member("m0.0"), engine(LocalState::Inactive, None, false));
    spec.workers = 1;
    let ended = Instance { state_reason: Some(by_call()), ..instance("w0", 0, InstanceState::Terminated) };
    world.instances.as_mut().unwrap().push(ended);
    let plan = plan(&spec, &world, NOW);
    assert!(plan.lost.is_empty(), "{:?}", plan.lost);
    assert!(plan.actions.iter().any(|a| matches!(a, Action::Launch(f, _) if *f == member("w0.1"))), "{plan:?}");
}

#[test]
fn how_long_an_engine_must_hold_to_end_a_row_depends_on_what_began_it() {
    for (booted, why, minutes) in
        [(false, broken(), 0), (false, by_call(), 0), (true, by_call(), 1), (true, broken(), 10)]
    {
        let (spec, mut world) = waiting(SignedDuration::ZERO);
        world.hosts.insert(member("m0.0"), engine(LocalState::Active, Some("m0.0"), true));
        let journal = world.journal.as_mut().unwrap();
        let cause = Cause::ended(booted, Some(&why));
        lose(&spec, member("m0.9"), "i-1", cause, NOW, journal);
        let row = |world: &World| plan(&spec, world, NOW).save.is_some_and(|i| i.losses.contains_key("m0"));
        if minutes > 0 {
            let almost = SignedDuration::from_secs(minutes * 60 - 1);
            world.clocks.insert("i-m0-0".into(), Clock::after(true, almost));
            assert!(row(&world), "{booted} {why:?}");
        }
        world.clocks.insert("i-m0-0".into(), Clock::after(true, SignedDuration::from_mins(minutes)));
        assert!(!row(&world), "{booted} {why:?}");
    }
}

#[test]
fn a_missing_public_address_is_told_and_not_waited_for() {
    let public = |change: Change<'_>| {
        let (mut spec, mut world) = waiting(LIMIT);
        spec.provider.ec2.as_mut().unwrap().connect_to = AddressKind::Public;
        world.consoles.insert("i-m0-0".into(), String::new());
        world.instances.as_mut().unwrap()[0].subnet = Some("subnet-1".into());
        change(&mut spec, &mut world);
        plan(&spec, &world, NOW)
    };
    let told = public(&|_, _| {});
    assert!(!terminates(&told));
    let trouble = &told.troubles[&member("m0.0").slot];
    let words = trouble.words("c-m0", &[]);
    assert!(trouble.stalls() && words.contains("i-m0-0 has no public address in subnet subnet-1"), "{words}");
    // Its engine answers all the same, by the address it was connected to before.
    let answers = public(&|_, world| {
        world.hosts.insert(member("m0.0"), engine(LocalState::Active, Some("m0.0"), true));
    });
    assert_eq!(answers.troubles.len(), 1);
    let fine: [Change<'_>; 3] = [
        &|_, world| world.instances.as_mut().unwrap()[0].public_address = Some("203.0.113.7".into()),
        &|spec, _| spec.provider.ec2.as_mut().unwrap().connect_to = AddressKind::Private,
        &|_, world| world.clocks.get_mut("i-m0-0").unwrap().age = SignedDuration::from_secs(1),
    ];
    for change in fine {
        let troubles = public(change).troubles;
        assert!(!troubles.values().any(|t| matches!(t, Trouble::NoPublicAddress { .. })), "{troubles:?}");
    }
}
