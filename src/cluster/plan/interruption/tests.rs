//! What is done about a machine that is taken back, and what is said, as tables. That it ends well is for the worlds to find out.

use super::{
    super::{
        Action, Drain, MemberId, Plan, World, plan,
        tests::{NOW, engine, instance, launched, member, node, whole},
    },
    *,
};
use crate::{
    api::{NodeState, SwarmCluster, SwarmClusterSpec, UpdateSpec, label, reason, type_},
    cloud::{StateReason, notice::Notice},
    cluster::{act::Outcome, known::Known, member::Members, status::status},
    swarm::{Availability, LocalState},
};

fn at(seconds: i64) -> Timestamp {
    NOW + SignedDuration::from_secs(seconds)
}

fn told(seconds: i64) -> Notice {
    Notice { interruption: Some(at(seconds)), rebalance: None }
}

/// A manager and a worker, both well. One of them is taken back in so many seconds.
fn taken_back(whose: &str, seconds: i64) -> (SwarmClusterSpec, World) {
    let (spec, mut world) = whole();
    world.instances.as_mut().unwrap().iter_mut().for_each(|i| i.spot = true);
    world.notices = [("m0.0", Notice::default()), ("w0.0", Notice::default())].map(|(m, n)| (member(m), n)).into();
    world.notices.insert(member(whose), told(seconds));
    (spec, world)
}

/// What was decided is written down, and known by the next pass.
fn goes_on(plan: &Plan, world: &mut World) {
    if let Some(journal) = &plan.save {
        world.journal = Some(journal.clone());
    }
}

fn launches(plan: &Plan) -> Vec<MemberId> {
    let launch = |a: &Action| if let Action::Launch(id, _) = a { Some(*id) } else { None };
    plan.actions.iter().filter_map(launch).collect()
}

/// The successor of this machine is a node, and well.
fn succeeded(world: &mut World, next: &str) {
    let id = member(next);
    let manages = id.slot.role == NodeRole::Manager;
    world.instances.as_mut().unwrap().push(instance(&id.slot.to_string(), id.incarnation, InstanceState::Running));
    world.hosts.insert(id, engine(LocalState::Active, Some(next), manages));
    world.nodes.as_mut().unwrap().push(node(next, id.slot.role));
    world.journal.as_mut().unwrap().launching_mut(id).unwrap().booted = true;
}

#[test]
fn a_successor_is_launched_at_once_and_the_other_goes_once_that_is_ready() {
    for whose in ["w0", "m0"] {
        let (spec, mut world) = taken_back(&format!("{whose}.0"), 118);
        let next = format!("{whose}.1");
        let heard = plan(&spec, &world, NOW);
        assert_eq!(launches(&heard), [member(&next)], "{heard:?}");
        assert_eq!(heard.actions.len(), 1, "nobody goes before: {heard:?}");
        assert_eq!(heard.save.as_ref().unwrap().launches[whose].ends, Some(at(118)));
        let id = format!("i-{whose}-0");
        let words =
            format!("c-{whose}'s instance {id} is taken back by EC2 at 00:01:58 UTC: its successor is launched");
        assert_eq!(heard.taken_back, [(id, words)].into());
        // Nothing has to be heard of it again, by whichever operator, and it is told once.
        goes_on(&heard, &mut world);
        world.notices.clear();
        succeeded(&mut world, &next);
        let takes = plan(&spec, &world, at(40));
        assert_eq!((takes.actions.len(), takes.taken_back.len()), (0, 0), "{takes:?}");
        assert_eq!(takes.save.as_ref().unwrap().launches[whose].incarnation, 1);
        goes_on(&takes, &mut world);
        let goes = plan(&spec, &world, at(40));
        let drain = Action::Drain { via: member("m0.0"), node: format!("{whose}.0") };
        assert_eq!(goes.actions, [drain], "{whose}");
        // It ends, by EC2 or by us: that is no loss.
        world.instances.as_mut().unwrap().retain(|i| i.id != format!("i-{whose}-0"));
        world.hosts.remove(&member(&format!("{whose}.0")));
        world.manager = Some(member(if whose == "m0" { "m0.1" } else { "m0.0" }));
        let after = plan(&spec, &world, at(120));
        assert!(launches(&after).is_empty() && after.lost.is_empty(), "{after:?}");
    }
}

#[test]
fn a_manager_gives_up_its_vote_before_its_end_whoever_uses_it() {
    // Two votes, of which one is about to go: a run is under way, and the old one has its tasks still.
    let (spec, mut world) = taken_back("m0.0", 118);
    goes_on(&plan(&spec, &world, NOW), &mut world);
    succeeded(&mut world, "m0.1");
    goes_on(&plan(&spec, &world, at(40)), &mut world);
    world.runs = vec!["nightly".into()];
    let waits = plan(&spec, &world, at(80));
    assert_eq!((waits.actions.len(), waits.waits.get(&member("m0.0"))), (0, Some(&Wait::Runs)), "{waits:?}");
    let down = plan(&spec, &world, at(88));
    let demote = Action::Update {
        via: member("m0.0"),
        node: "m0.0".into(),
        labels: Default::default(),
        role: Some(NodeRole::Worker),
    };
    assert_eq!(down.actions, [demote]);
    // Without a vote it is left to the run, and to EC2.
    for old in world.nodes.as_mut().unwrap().iter_mut().filter(|n| n.id == "m0.0") {
        (old.role, old.voter, old.leader) = (NodeRole::Worker, false, false);
    }
    world.hosts.get_mut(&member("m0.0")).unwrap().engine.as_mut().unwrap().control_available = false;
    world.manager = Some(member("m0.1"));
    let left = plan(&spec, &world, at(92));
    assert_eq!((left.actions.len(), left.waits.get(&member("m0.0"))), (0, Some(&Wait::Runs)), "{left:?}");
    world.runs.clear();
    let drain = Action::Drain { via: member("m0.1"), node: "m0.0".into() };
    assert_eq!(plan(&spec, &world, at(92)).actions, [drain]);
}

/// So many managers, all well.
fn managers(count: u32) -> (SwarmClusterSpec, World) {
    let (mut spec, mut world) = whole();
    spec.managers = count;
    for slot in (1..count).map(|index| format!("m{index}")) {
        let id = format!("{slot}.0");
        world.instances.as_mut().unwrap().push(instance(&slot, 0, InstanceState::Running));
        world.hosts.insert(member(&id), engine(LocalState::Active, Some(&id), true));
        world.nodes.as_mut().unwrap().push(node(&id, NodeRole::Manager));
        world.journal.as_mut().unwrap().launches.insert(slot, launched(&spec, 0));
    }
    world.instances.as_mut().unwrap().iter_mut().for_each(|i| i.spot = true);
    world.notices = world.hosts.keys().map(|id| (*id, Notice::default())).collect();
    (spec, world)
}

#[test]
fn managers_that_would_take_the_majority_with_them_give_up_their_votes() {
    type Change<'a> = &'a dyn Fn(&mut World);
    let gone = |world: &mut World, id: &str| {
        let node = world.nodes.as_mut().unwrap().iter_mut().find(|n| n.id == id).unwrap();
        (node.role, node.voter, node.reachable) = (NodeRole::Worker, false, false);
    };
    let silent = |world: &mut World, id: &str| {
        let node = world.nodes.as_mut().unwrap().iter_mut().find(|n| n.id == id).unwrap();
        (node.ready, node.reachable) = (false, false);
    };
    // How many managers there are, which of them are taken back and in how many seconds, what else is so, and who gives up its
    // vote in this pass: one at a time, the leader (m0) last.
    type Row<'a> = (&'a str, u32, &'a [(&'a str, i64)], Change<'a>, &'a [&'a str]);
    let table: [Row<'_>; 14] = [
        ("one of three", 3, &[("m1", 20)], &|_| {}, &[]),
        ("two of three", 3, &[("m0", 20), ("m1", 20)], &|_| {}, &["m1.0"]),
        ("there is time for their successors", 3, &[("m0", 31), ("m1", 31)], &|_| {}, &[]),
        ("the other one stays for longer", 3, &[("m0", 20), ("m1", 60)], &|_| {}, &[]),
        ("a run is under way", 3, &[("m0", 20), ("m1", 20)], &|w| w.runs = vec!["nightly".into()], &["m1.0"]),
        ("the next one", 3, &[("m0", 15), ("m1", 15)], &|w| gone(w, "m1.0"), &["m0.0"]),
        (
            "both have, and are given none again",
            3,
            &[("m0", 10), ("m1", 10)],
            &|w| {
                gone(w, "m0.0");
                gone(w, "m1.0");
                w.manager = Some(member("m2.0"));
            },
            &[],
        ),
        ("all of them", 3, &[("m0", 20), ("m1", 20), ("m2", 20)], &|_| {}, &[]),
        ("the only one", 1, &[("m0", 20)], &|_| {}, &[]),
        ("a person keeps one", 3, &[("m0", 20), ("m1", 20)], &|w| _ = w.kept.insert(member("m1.0").slot), &["m0.0"]),
        ("who would stay does not answer", 3, &[("m0", 20), ("m1", 20)], &|w| silent(w, "m2.0"), &[]),
        ("two of five", 5, &[("m1", 20), ("m2", 20)], &|_| {}, &[]),
        ("two of five, and a third is dead", 5, &[("m1", 20), ("m2", 20)], &|w| silent(w, "m4.0"), &["m1.0"]),
        ("three of five", 5, &[("m1", 20), ("m2", 20), ("m3", 20)], &|_| {}, &["m1.0"]),
    ];
    for (what, count, taken, change, demoted) in table {
        let (spec, mut world) = managers(count);
        for (slot, seconds) in taken {
            world.notices.insert(member(&format!("{slot}.0")), told(*seconds));
        }
        change(&mut world);
        let plan = plan(&spec, &world, NOW);
        let roles = plan.actions.iter().filter_map(|a| match a {
            Action::Update { node, role: Some(role), .. } => Some((node.as_str(), *role)),
            _ => None,
        });
        let wanted: Vec<_> = demoted.iter().map(|id| (*id, NodeRole::Worker)).collect();
        assert_eq!(roles.collect::<Vec<_>>(), wanted, "{what}: {plan:?}");
    }
}

#[test]
fn nobody_is_given_a_vote_who_is_taken_back_in_a_moment() {
    // Of three managers the last one has not joined; with a second vote the first one could not be without it.
    let join = |seconds: i64| {
        let (spec, mut world) = managers(2);
        world.hosts.insert(member("m1.0"), engine(LocalState::Inactive, None, false));
        world.nodes.as_mut().unwrap().retain(|n| n.id != "m1.0");
        world.notices.insert(member("m1.0"), told(seconds));
        plan(&spec, &world, NOW).actions.iter().any(|a| matches!(a, Action::Join { .. }))
    };
    assert_eq!([60, 31, 30, 1].map(join), [true, true, false, false]);
}

#[test]
fn who_is_taken_back_and_what_is_done_about_it() {
    type Change<'a> = &'a dyn Fn(&mut SwarmClusterSpec, &mut World);
    // What is so, and what is launched.
    let table: [(&str, Change<'_>, &[&str]); 8] = [
        ("nothing else", &|_, _| {}, &["w0.1"]),
        (
            "there is no room for one more in an update",
            &|s, _| s.update = UpdateSpec { max_surge: 0, max_unavailable: 1 },
            &["w0.1"],
        ),
        ("a run is under way", &|_, w| w.runs = vec!["nightly".into()], &["w0.1"]),
        ("a person keeps it", &|_, w| _ = w.kept.insert(member("w0.0").slot), &[]),
        ("it is not asked for any more", &|s, _| s.workers = 0, &[]),
        ("the cluster is paused", &|s, _| s.paused = true, &[]),
        ("it was not asked, or does not tell", &|_, w| w.notices.clear(), &[]),
        (
            "EC2 only recommends to replace it",
            &|_, w| _ = w.notices.insert(member("w0.0"), Notice { interruption: None, rebalance: Some(NOW) }),
            &[],
        ),
    ];
    for (what, change, launched) in table {
        let (mut spec, mut world) = taken_back("w0.0", 120);
        change(&mut spec, &mut world);
        let plan = plan(&spec, &world, NOW);
        let expected: Vec<_> = launched.iter().map(|m| member(m)).collect();
        assert_eq!(launches(&plan), expected, "{what}: {plan:?}");
    }
}

#[test]
fn what_was_not_heard_is_unknown() {
    let (_, mut world) = taken_back("w0.0", 100);
    let of = |world: &World, id: &str| Members::join(world).get(member(id)).unwrap().ends;
    assert_eq!((of(&world, "m0.0"), of(&world, "w0.0")), (Known::No, Known::Yes(at(100))));
    world.notices.clear();
    assert_eq!((of(&world, "m0.0"), of(&world, "w0.0")), (Known::Unknown, Known::Unknown));
    // One on demand is asked for nothing.
    world.instances.as_mut().unwrap()[0].spot = false;
    assert_eq!(of(&world, "m0.0"), Known::No);
    world.journal.as_mut().unwrap().launches.get_mut("w0").unwrap().ends = Some(at(70));
    assert_eq!(of(&world, "w0.0"), Known::Yes(at(70)));
}

#[test]
fn it_is_over_in_two_minutes_whatever_the_clocks_say() {
    for (said, ends) in [(60, 60), (120, 120), (4000, 120), (-500, -500)] {
        let (spec, world) = taken_back("w0.0", said);
        let journal = plan(&spec, &world, NOW).save.unwrap();
        assert_eq!(journal.launches["w0"].ends, Some(at(ends)), "{said}");
    }
}

#[test]
fn a_worker_gives_up_its_tasks_before_the_end_though_nobody_is_ready() {
    let drain = Action::Drain { via: member("m0.0"), node: "w0.0".into() };
    // Seconds that are left; whether it is told to.
    for (left, drains) in [(100, false), (31, false), (30, true), (1, true), (-10, true)] {
        let (spec, world) = taken_back("w0.0", left);
        let plan = plan(&spec, &world, NOW);
        assert_eq!(plan.actions.contains(&drain), drains, "{left}: {plan:?}");
        assert_eq!(plan.again_at.is_some(), !drains || plan.again_at == Some(at(1)), "{left}: {plan:?}");
    }
    // Told so once, it is not given tasks again; and not where a run is under way, or nobody else could have them.
    let (spec, mut world) = taken_back("w0.0", 20);
    let given_up = &mut world.nodes.as_mut().unwrap()[1];
    given_up.availability = Availability::Drain;
    given_up.labels.insert(label::DRAINING.into(), "active".into());
    world.drains.insert("w0.0".into(), Drain { age: SignedDuration::ZERO, tasks: Some(0) });
    let drained = plan(&spec, &world, NOW);
    assert_eq!(drained.actions.len(), 1, "only its successor is launched: {drained:?}");
    let (spec, mut world) = taken_back("w0.0", 20);
    world.runs = vec!["nightly".into()];
    assert!(!plan(&spec, &world, NOW).actions.contains(&drain));
    // The vote of a manager is not touched before another one has it.
    let (spec, world) = taken_back("m0.0", 20);
    assert_eq!(launches(&plan(&spec, &world, NOW)), [member("m0.1")]);
    assert_eq!(plan(&spec, &world, NOW).actions.len(), 1);
}

#[test]
fn a_successor_that_is_taken_back_too_gives_way_to_another_one() {
    let (spec, mut world) = taken_back("w0.0", 100);
    let heard = plan(&spec, &world, NOW);
    goes_on(&heard, &mut world);
    world.instances.as_mut().unwrap().push(instance("w0", 1, InstanceState::Running));
    world.notices.insert(member("w0.1"), told(110));
    let again = plan(&spec, &world, NOW);
    assert_eq!(launches(&again), [member("w0.2")], "{again:?}");
    assert!(again.actions.contains(&Action::Terminate(vec!["i-w0-1".into()])), "{again:?}");
    assert!(again.taken_back["i-w0-1"].ends_with("another one is launched in its stead"), "{:?}", again.taken_back);
}

#[test]
fn a_successor_is_of_another_kind_where_the_spec_has_one() {
    let (mut spec, world) = taken_back("w0.0", 100);
    let types = |plan: &Plan| {
        let types = plan.actions.iter().filter_map(|a| match a {
            Action::Launch(_, offering) => Some(offering.instance_type.clone()),
            _ => None,
        });
        types.collect::<Vec<_>>()
    };
    assert_eq!(types(&plan(&spec, &world, NOW)), ["b.large"], "EC2 takes back one that is an a.large");
    spec.provider.ec2.as_mut().unwrap().instance_types = vec!["a.large".into()];
    assert_eq!(types(&plan(&spec, &world, NOW)), ["a.large"]);
}

#[test]
fn that_it_is_taken_back_is_no_fault_of_the_slot() {
    let spot =
        StateReason { code: "Server.SpotInstanceTermination".into(), message: "Spot instance termination".into() };
    // Whether it was announced, whether it had been an engine, and how many seconds later the next one is due: each time.
    for (announced, booted, pause) in [(true, true, 0), (true, false, 30), (false, true, 0), (false, false, 30)] {
        let (spec, mut world) = whole();
        for n in 0..6 {
            let made = world.journal.as_mut().unwrap().launches.get_mut("w0").unwrap();
            *made = crate::cluster::journal::Launching { booted, ends: announced.then_some(NOW), ..launched(&spec, n) };
            let ended = instance("w0", n, InstanceState::Terminated);
            let ended = crate::cloud::Instance { state_reason: (!announced).then(|| spot.clone()), ..ended };
            world.instances.as_mut().unwrap().truncate(1);
            world.instances.as_mut().unwrap().push(ended);
            world.hosts.remove(&member("w0.0"));
            world.nodes.as_mut().unwrap().truncate(1);
            let first = plan(&spec, &world, NOW);
            let lost = &first.lost[&member("w0.0").slot];
            assert_eq!((lost.count, lost.cause.is_taken_back()), (0, true), "{announced} {booted} {n}");
            assert!(!first.troubles.values().any(|t| t.stalls()), "{:?}", first.troubles);
            assert_eq!(first.troubles.len(), 1, "it is told all the same");
            assert_eq!(launches(&first).is_empty(), pause > 0, "{first:?}");
            goes_on(&first, &mut world);
            assert_eq!(launches(&plan(&spec, &world, at(pause))).len(), 1, "{announced} {booted} {n}");
        }
    }
}

#[test]
fn the_object_says_who_is_taken_back_and_how_far_its_successor_is() {
    let said = |spec: &SwarmClusterSpec, world: &World| {
        let cluster = SwarmCluster::new("c", spec.clone());
        let status = status(&cluster, world, &plan(spec, world, NOW), &Outcome::default(), NOW);
        let ready = status.conditions.iter().find(|c| c.type_ == type_::READY).cloned().unwrap();
        (ready.status, ready.reason, ready.message, status.nodes)
    };
    let begins = "c-w0's instance i-w0-0 is taken back by EC2 at 00:01:40 UTC: ";
    let (spec, mut world) = taken_back("w0.0", 100);
    let (ready, why, message, nodes) = said(&spec, &world);
    assert_eq!((ready.as_str(), why.as_str()), ("False", reason::SPOT_INTERRUPTION));
    assert_eq!(message, format!("{begins}its successor is launched"));
    let words = nodes[1].message.as_deref().unwrap();
    assert_eq!(
        (nodes[1].state, words),
        (NodeState::Ready, "EC2 takes it back at 00:01:40 UTC: another one takes its place")
    );

    goes_on(&plan(&spec, &world, NOW), &mut world);
    succeeded(&mut world, "w0.1");
    world.hosts.get_mut(&member("w0.1")).unwrap().engine = None;
    world.nodes.as_mut().unwrap().truncate(2);
    world.journal.as_mut().unwrap().successors.get_mut("w0").unwrap().booted = false;
    let (ready, _, message, _) = said(&spec, &world);
    assert_eq!((ready.as_str(), message), ("False", format!("{begins}its successor i-w0-1 is Booting")));

    world.hosts.insert(member("w0.1"), engine(LocalState::Active, Some("w0.1"), false));
    world.nodes.as_mut().unwrap().push(node("w0.1", NodeRole::Worker));
    goes_on(&plan(&spec, &world, NOW), &mut world);
    let (ready, _, message, _) = said(&spec, &world);
    let goes = "i-w0-1 has taken its place, and it goes: its tasks are being taken elsewhere";
    assert_eq!((ready.as_str(), message), ("False", format!("{begins}{goes}")));

    // What a person keeps, and what EC2 only recommends, keep no cluster from being ready.
    let (spec, mut kept) = taken_back("w0.0", 100);
    kept.kept.insert(member("w0.0").slot);
    let (ready, _, _, nodes) = said(&spec, &kept);
    assert_eq!(ready, "True");
    assert!(nodes[1].message.as_deref().is_some_and(|m| m.contains("testkit.dev/keep")), "{nodes:?}");
    kept.kept.clear();
    kept.notices.insert(member("w0.0"), Notice { interruption: None, rebalance: Some(NOW) });
    let (ready, _, _, nodes) = said(&spec, &kept);
    assert_eq!(ready, "True");
    assert!(nodes[1].message.as_deref().is_some_and(|m| m.starts_with("EC2 recommends")), "{nodes:?}");
}
