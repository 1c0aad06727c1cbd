//! Who gives way to whom, and why not yet, as tables. That it ends well is for the worlds to find out.

use super::{
    super::{
        Action, MemberId, Plan, World, plan,
        tests::{NOW, engine, instance, launched, member, node, whole},
    },
    *,
};
use crate::{
    api::{NodeRole, NodeState, SwarmCluster, SwarmClusterSpec, reason, type_},
    cloud::InstanceState,
    cluster::{act::Outcome, losses::Losses, status::status},
    swarm::LocalState,
};

/// A cluster of one manager and one worker that is whole, and a spec that asks for other machines since.
fn changed() -> (SwarmClusterSpec, World) {
    let (mut spec, world) = whole();
    spec.engine = serde_json::from_value(serde_json::json!({"daemonJson": {"debug": true}})).unwrap();
    (spec, world)
}

/// What is launched, and as which machine.
fn launches(plan: &Plan) -> Vec<MemberId> {
    let launch = |a: &Action| if let Action::Launch(id, _) = a { Some(*id) } else { None };
    plan.actions.iter().filter_map(launch).collect()
}

/// The worker's successor has been launched, and is so far.
fn succeeded(spec: &SwarmClusterSpec, world: &mut World, ready: bool) {
    world.instances.as_mut().unwrap().push(instance("w0", 1, InstanceState::Running));
    let next = launched(spec, 1);
    world.journal.as_mut().unwrap().successors.insert("w0".into(), next);
    if ready {
        world.hosts.insert(member("w0.1"), engine(LocalState::Active, Some("w0.1"), false));
        world.nodes.as_mut().unwrap().push(node("w0.1", NodeRole::Worker));
    } else {
        world.hosts.insert(member("w0.1"), engine(LocalState::Inactive, None, false));
    }
}

#[test]
fn workers_come_first_and_what_is_not_done_yet_is_told() {
    let (spec, world) = changed();
    let plan = plan(&spec, &world, NOW);
    assert_eq!(launches(&plan), [member("w0.1")], "{plan:?}");
    assert_eq!(plan.actions.len(), 1, "nobody goes before: {plan:?}");
    let saved = plan.save.unwrap();
    assert_eq!(saved.successors["w0"].incarnation, 1);
    assert_eq!(saved.launches["w0"].incarnation, 0);
    assert_eq!(plan.waits[&member("m0.0")], Wait::Workers);
    assert_eq!(plan.outdated[&member("w0.0")], ["engine.daemonJson"]);
}

#[test]
fn a_successor_joins_and_takes_over_once_it_is_ready_and_only_then_its_predecessor_goes() {
    let (spec, mut world) = changed();
    succeeded(&spec, &mut world, false);
    let joins = plan(&spec, &world, NOW);
    assert!(matches!(joins.actions.as_slice(), [Action::Join { host, .. }] if *host == member("w0.1")), "{joins:?}");

    let (spec, mut world) = changed();
    succeeded(&spec, &mut world, true);
    let takes = plan(&spec, &world, NOW);
    assert_eq!(takes.actions, []);
    let journal = takes.save.unwrap();
    assert!(journal.successors.is_empty() && journal.launches["w0"].incarnation == 1, "{journal:?}");
    world.journal = Some(journal);
    let goes = plan(&spec, &world, NOW);
    assert!(goes.actions.contains(&Action::Drain { via: member("m0.0"), node: "w0.0".into() }), "{goes:?}");
    assert_eq!(launches(&goes), [], "the manager waits until it is gone");
    world.nodes.as_mut().unwrap().retain(|n| n.id != "w0.0");
    world.instances.as_mut().unwrap().retain(|i| i.id != "i-w0-0");
    world.hosts.remove(&member("w0.0"));
    assert_eq!(launches(&plan(&spec, &world, NOW)), [member("m0.1")]);
}

#[test]
fn one_that_took_over_and_is_lost_at_once_gives_the_slot_back_to_its_predecessor() {
    let (spec, mut world) = changed();
    succeeded(&spec, &mut world, true);
    world.journal = plan(&spec, &world, NOW).save;
    world.instances.as_mut().unwrap()[2].state = InstanceState::Terminated;
    world.hosts.remove(&member("w0.1"));
    let back = plan(&spec, &world, NOW);
    assert_eq!(launches(&back), [member("w0.2")], "{back:?}");
    let journal = back.save.unwrap();
    assert_eq!((journal.launches["w0"].incarnation, journal.successors["w0"].incarnation), (0, 2));
    assert!(journal.predecessors.is_empty() && back.outdated.contains_key(&member("w0.0")), "{journal:?}");
    // By a spec that was changed back it is as asked for, and stays.
    let (before, _) = whole();
    let stays = plan(&before, &world, NOW);
    assert_eq!((launches(&stays), stays.outdated.len()), (vec![], 0), "{stays:?}");
}

#[test]
fn a_spec_that_is_changed_back_ends_the_successor_and_leaves_the_other_alone() {
    let (spec, mut world) = changed();
    succeeded(&spec, &mut world, false);
    let (before, _) = whole();
    let undone = plan(&before, &world, NOW);
    assert_eq!(undone.actions, [Action::Terminate(vec!["i-w0-1".into()])]);
    let journal = undone.save.unwrap();
    assert!(journal.successors.is_empty() && journal.spent["w0"] == 1, "{journal:?}");
    // Asked for once more, another one comes: no incarnation is used again.
    world.journal = Some(journal);
    world.instances.as_mut().unwrap()[2].state = InstanceState::Terminated;
    world.hosts.remove(&member("w0.1"));
    assert_eq!(launches(&plan(&spec, &world, NOW)), [member("w0.2")]);
}

#[test]
fn nothing_begins_that_may_not_and_it_is_said_why() {
    type Change<'a> = &'a dyn Fn(&mut SwarmClusterSpec, &mut World);
    // What is so, whose wait is looked at, and which it is.
    let table: [(&str, Change<'_>, &str, Wait); 5] = [
        ("a run is under way", &|_, world| world.runs = vec!["nightly".into()], "w0.0", Wait::Runs),
        (
            "a person keeps it",
            &|_, world| world.kept.extend(["w0.0", "m0.0"].map(|m| member(m).slot)),
            "w0.0",
            Wait::Kept,
        ),
        (
            "it is not well itself",
            &|_, world| {
                world.nodes.as_mut().unwrap()[1].ready = false;
                world.hosts.get_mut(&member("w0.0")).unwrap().engine = None;
            },
            "w0.0",
            Wait::Unready,
        ),
        (
            "the only manager cannot go first",
            &|spec, world| {
                spec.update = crate::api::UpdateSpec { max_surge: 0, max_unavailable: 1 };
                world.journal.as_mut().unwrap().launches.insert("w0".into(), launched(spec, 0));
            },
            "m0.0",
            Wait::Alone,
        ),
        (
            "another one's successor came to nothing",
            &|spec, world| {
                let journal = world.journal.as_mut().unwrap();
                journal.launches.insert("w0".into(), launched(spec, 0));
                let cause = Cause::not_booted(spec.boot_timeout, None, "");
                let (at, spec) = (NOW, terms(spec, &world.access));
                let lost = Losses { count: 1, incarnation: 1, instance: "i".into(), cause, at, spec };
                journal.losses.insert("w0".into(), lost);
            },
            "m0.0",
            Wait::Failed,
        ),
    ];
    for (what, change, whose, why) in table {
        let (mut spec, mut world) = changed();
        change(&mut spec, &mut world);
        let plan = plan(&spec, &world, NOW);
        assert_eq!(plan.waits.get(&member(whose)), Some(&why), "{what}: {plan:?}");
        assert_eq!(plan.actions, [], "{what}");
    }
}

#[test]
fn without_room_for_one_more_a_worker_goes_first() {
    let (mut spec, mut world) = changed();
    spec.update = crate::api::UpdateSpec { max_surge: 0, max_unavailable: 1 };
    let plan_of = |world: &World| plan(&spec, world, NOW);
    let goes = plan_of(&world);
    assert_eq!(goes.actions, [Action::Drain { via: member("m0.0"), node: "w0.0".into() }]);
    let node = &mut world.nodes.as_mut().unwrap()[1];
    node.availability = crate::swarm::Availability::Drain;
    node.labels.insert(label::DRAINING.into(), "active".into());
    let drained = super::super::Drain { age: k8s_openapi::jiff::SignedDuration::ZERO, tasks: Some(0) };
    world.drains.insert("w0.0".into(), drained);
    let ends = plan_of(&world);
    assert_eq!(ends.actions, [Action::Terminate(vec!["i-w0-0".into()])]);
    assert_eq!(ends.save.unwrap().losses["w0"].cause, Cause::Outdated);
    // Changed back before it is ended, it is given its tasks again.
    let (before, _) = whole();
    let undone = plan(&before, &world, NOW);
    assert_eq!(undone.actions, [Action::Activate { via: member("m0.0"), node: "w0.0".into() }]);
}

#[test]
fn a_version_that_takes_more_into_account_replaces_nobody_for_it() {
    let (spec, mut world) = changed();
    // Launched by a version that wrote nothing of it down, or whose journal was lost.
    let journal = world.journal.as_mut().unwrap();
    journal.launches.get_mut("m0").unwrap().template.clear();
    journal.launches.remove("w0");
    let seen = plan(&spec, &world, NOW);
    assert_eq!((seen.actions.len(), seen.outdated.len()), (0, 0), "{seen:?}");
    // From then on a change is one.
    world.journal = seen.save;
    let (before, _) = whole();
    assert_eq!(launches(&plan(&before, &world, NOW)), [member("w0.1")]);
}

#[test]
fn the_object_says_how_far_it_is_and_what_is_waited_for() {
    let said = |spec: &SwarmClusterSpec, world: &World| {
        let cluster = SwarmCluster::new("c", spec.clone());
        let status = status(&cluster, world, &plan(spec, world, NOW), &Outcome::default(), NOW);
        let ready = status.conditions.iter().find(|c| c.type_ == type_::READY).cloned().unwrap();
        (status, ready)
    };
    let (spec, world) = changed();
    let (status, ready) = said(&spec, &world);
    assert_eq!((status.updated, status.outdated), (Some(0), Some(2)));
    assert_eq!((ready.status.as_str(), ready.reason.as_str()), ("False", reason::UPDATING));
    assert!(ready.message.contains("0 of 2 machines") && ready.message.contains("c-w0 differs in engine.daemonJson"));
    let waits = status.nodes[0].message.as_deref().unwrap();
    assert!(waits.contains("engine.daemonJson") && waits.contains("workers are replaced before managers"), "{waits}");

    // The successor has the name of its slot, and counts for nothing before it took it over.
    let mut coming = world.clone();
    succeeded(&spec, &mut coming, false);
    let (status, ready) = said(&spec, &coming);
    let nodes: Vec<_> = status.nodes.iter().map(|n| (n.name.as_str(), n.state)).collect();
    assert_eq!(nodes, [("c-m0", NodeState::Ready), ("c-w0", NodeState::Ready), ("c-w0", NodeState::Joining)]);
    assert_eq!((status.workers.as_deref(), status.outdated), (Some("1/1"), Some(2)));
    assert!(
        ready.message.contains("i-w0-1") && ready.message.contains("takes the place of i-w0-0"),
        "{}",
        ready.message
    );

    // What a person keeps does not keep the cluster from being ready, and is said.
    let mut kept = world;
    kept.kept.extend(["w0.0", "m0.0"].map(|m| member(m).slot));
    let (status, ready) = said(&spec, &kept);
    assert_eq!((ready.status.as_str(), status.outdated), ("True", Some(2)), "{}", ready.message);
    assert!(ready.message.contains("2 of them as an earlier spec asked for"), "{}", ready.message);
    assert!(status.nodes[1].message.as_deref().is_some_and(|m| m.contains("testkit.dev/keep")), "{:?}", status.nodes);
}
