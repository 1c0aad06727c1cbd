//! What the plan promises, as tables.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::{
    cloud::{CloudError, Lack, Owner, Shortage},
    cluster::{journal::Launching, memory::LaunchMemory, template::template},
    swarm::{EngineInfo, LocalState, Node},
};

mod access;
mod crashes;

pub(in crate::cluster) const NOW: Timestamp = Timestamp::UNIX_EPOCH;

pub(super) fn spec(managers: u32, workers: u32) -> SwarmClusterSpec {
    serde_json::from_value(serde_json::json!({
        "managers": managers, "workers": workers,
        "provider": {"ec2": {"region": "us-east-1", "instanceTypes": ["a.large", "b.large"]}},
    }))
    .unwrap()
}

pub(in crate::cluster) fn instance(slot: &str, incarnation: u32, state: InstanceState) -> Instance {
    Instance {
        id: format!("i-{slot}-{incarnation}"),
        owner: Owner { uid: "u".into(), name: "ns/c".into() },
        slot: slot.into(),
        incarnation,
        state,
        state_reason: None,
        instance_type: "a.large".into(),
        spot: false,
        private_address: Some(format!("10.0.0.{}", incarnation + slot.bytes().map(u32::from).sum::<u32>())),
        public_address: None,
        zone: None,
        subnet: None,
        launched_at: None,
        login: None,
    }
}

pub(super) fn member(text: &str) -> MemberId {
    serde_json::from_value(serde_json::json!(text)).unwrap()
}

pub(super) fn engine(state: LocalState, node: Option<&str>, manages: bool) -> HostView {
    let engine = EngineInfo {
        version: "28.5.2".into(),
        node_id: node.map(str::to_owned),
        cluster_id: node.map(|_| "swarm".to_owned()),
        state,
        control_available: manages,
        managers: Vec::new(),
        error: None,
    };
    HostView { connected: true, engine: Some(engine), error: None, rotated: true, pinned: true }
}

pub(in crate::cluster) fn node(of: &str, role: NodeRole) -> Node {
    let host = member(of);
    Node {
        id: of.into(),
        hostname: of.into(),
        role,
        availability: crate::swarm::Availability::Active,
        ready: true,
        state: "ready".into(),
        leader: of == "m0.0",
        voter: role == NodeRole::Manager,
        reachable: role == NodeRole::Manager,
        address: String::new(),
        labels: [
            (label::CLUSTER.to_owned(), "ns/c".to_owned()),
            (label::SLOT.to_owned(), host.slot.to_string()),
            (label::INCARNATION.to_owned(), host.incarnation.to_string()),
        ]
        .into(),
        engine_version: "28.5.2".into(),
    }
}

pub(super) fn world(instances: Vec<Instance>) -> World {
    World { instances: Some(instances), name: "ns/c".into(), created_at: Some(NOW), ..World::default() }
}

/// A launch by this spec, whose engine has answered.
pub(super) fn launched(spec: &SwarmClusterSpec, incarnation: u32) -> Launching {
    let offering = Offering { instance_type: "a.large".into(), subnet: None, spot: false };
    Launching { incarnation, offering, booted: true, template: template(spec), ends: None }
}

/// One manager, one worker, all well.
pub(in crate::cluster) fn whole() -> (SwarmClusterSpec, World) {
    let mut world = world(vec![instance("m0", 0, InstanceState::Running), instance("w0", 0, InstanceState::Running)]);
    world.hosts = [
        (member("m0.0"), engine(LocalState::Active, Some("m0.0"), true)),
        (member("w0.0"), engine(LocalState::Active, Some("w0.0"), false)),
    ]
    .into();
    world.nodes = Some(vec![node("m0.0", NodeRole::Manager), node("w0.0", NodeRole::Worker)]);
    world.manager = Some(member("m0.0"));
    let (spec, swarm) = (spec(1, 1), Some(member("m0.0")));
    let launches = ["m0", "w0"].map(|slot| (slot.to_owned(), launched(&spec, 0))).into();
    world.journal = Some(Journal { launches, swarm, swarm_id: Some("swarm".into()), ..Journal::default() });
    (spec, world)
}

/// A node has been drained by us, and its tasks run elsewhere.
fn drained(world: &mut World, id: &str) {
    let node = world.nodes.as_mut().unwrap().iter_mut().find(|n| n.id == id).unwrap();
    node.availability = crate::swarm::Availability::Drain;
    node.labels.insert(label::DRAINING.into(), "active".into());
    world.drains.insert(id.into(), Drain { age: SignedDuration::ZERO, tasks: Some(0) });
}

#[test]
fn nothing_is_done_before_the_first_sweep() {
    let unknown = World { instances: None, ..world(vec![]) };
    assert_eq!(plan(&spec(3, 2), &unknown, NOW), Plan::default());
    assert_eq!(plan(&spec(3, 2), &World { deleting: true, ..unknown }, NOW), Plan::default());
}

#[test]
fn a_new_cluster_writes_its_intent_and_launches_every_slot() {
    let plan = plan(&spec(3, 2), &world(vec![]), NOW);
    let slots: Vec<_> = plan.save.unwrap().launches.into_keys().collect();
    assert_eq!(slots, ["m0", "m1", "m2", "w0", "w1"]);
    assert_eq!(plan.actions.len(), 5);
}

#[test]
fn a_whole_cluster_is_left_alone() {
    let (spec, world) = whole();
    let plan = plan(&spec, &world, NOW);
    assert_eq!((plan.save, plan.actions, plan.pins), (None, vec![], vec![]));
}

#[test]
fn an_ended_instance_is_replaced_by_the_next_incarnation() {
    let (spec, mut world) = whole();
    world.instances.as_mut().unwrap()[1].state = InstanceState::Terminated;
    let plan = plan(&spec, &world, NOW);
    assert!(matches!(plan.actions.as_slice(), [Action::Launch(f, _)] if *f == member("w0.1")), "{plan:?}");
}

#[test]
fn an_instance_that_ended_before_it_was_listed_is_replaced_too() {
    let mut world = world(vec![]);
    world.launches.ended.insert(member("m0.4"));
    let plan = plan(&spec(1, 0), &world, NOW);
    assert!(matches!(plan.actions.as_slice(), [Action::Launch(f, _)] if *f == member("m0.5")), "{plan:?}");
}

#[test]
fn the_swarm_is_begun_on_the_first_engine_that_answers_and_on_no_other_after_a_crash() {
    let running = ["m0", "m1", "m2"].map(|s| instance(s, 0, InstanceState::Running));
    let mut world = World { journal: Some(Journal::default()), ..world(running.into()) };
    world.hosts.insert(member("m1.0"), engine(LocalState::Inactive, None, false));
    let first = plan(&spec(3, 0), &world, NOW);
    assert_eq!(first.actions, [Action::Init(member("m1.0"))]);
    // The crash: m1 may or may not have begun; now m0 answers first.
    world.journal = first.save;
    world.hosts = [(member("m0.0"), engine(LocalState::Inactive, None, false))].into();
    assert_eq!(plan(&spec(3, 0), &world, NOW).actions, []);
    world.hosts.insert(member("m1.0"), engine(LocalState::Inactive, None, false));
    assert_eq!(plan(&spec(3, 0), &world, NOW).actions, [Action::Init(member("m1.0"))]);
}

#[test]
fn hosts_join_in_parallel_by_their_role() {
    let (_, mut world) = whole();
    world.instances.as_mut().unwrap().extend(["w1", "w2"].map(|s| instance(s, 0, InstanceState::Running)));
    for f in ["w1.0", "w2.0"] {
        world.hosts.insert(member(f), engine(LocalState::Inactive, None, false));
    }
    let actions = plan(&spec(1, 3), &world, NOW).actions;
    let joins: Vec<_> =
        actions.iter().filter(|a| matches!(a, Action::Join { via, .. } if *via == member("m0.0"))).collect();
    assert_eq!(joins.len(), 2, "{actions:?}");
}

#[test]
fn an_unlabelled_node_is_labelled_and_a_wrong_role_is_changed() {
    let (spec, mut world) = whole();
    world.nodes.as_mut().unwrap()[1].labels.clear();
    world.nodes.as_mut().unwrap()[1].role = NodeRole::Manager;
    let actions = plan(&spec, &world, NOW).actions;
    assert!(
        matches!(actions.as_slice(), [Action::Update { node, role: Some(NodeRole::Worker), labels, .. }] if node == "w0.0" && labels.len() == 3),
        "{actions:?}"
    );
}

#[test]
fn a_node_is_removed_only_when_its_instance_is_gone_and_it_is_down_and_ours() {
    let (spec, world) = whole();
    let with = |change: &dyn Fn(&mut Node)| {
        let mut world = world.clone();
        let mut old = node("w0.7", NodeRole::Worker);
        change(&mut old);
        world.nodes.as_mut().unwrap().push(old);
        plan(&spec, &world, NOW).actions
    };
    assert_eq!(with(&|n| n.ready = false), [Action::RemoveNode { via: member("m0.0"), node: "w0.7".into() }]);
    assert_eq!(with(&|_| {}), []);
    let foreign = |n: &mut Node| {
        n.ready = false;
        n.labels.clear();
    };
    assert_eq!(with(&foreign), []);
}

#[test]
fn a_manager_too_many_is_demoted_before_it_is_terminated() {
    let (_, mut world) = whole();
    world.instances.as_mut().unwrap().push(instance("m1", 0, InstanceState::Running));
    world.hosts.insert(member("m1.0"), engine(LocalState::Active, Some("m1.0"), true));
    world.nodes.as_mut().unwrap().push(node("m1.0", NodeRole::Manager));
    let via = member("m0.0");
    assert_eq!(plan(&spec(1, 1), &world, NOW).actions, [Action::Drain { via, node: "m1.0".into() }]);
    drained(&mut world, "m1.0");
    world.drains.get_mut("m1.0").unwrap().tasks = Some(1);
    assert_eq!(plan(&spec(1, 1), &world, NOW).actions, []);
    drained(&mut world, "m1.0");
    let actions = plan(&spec(1, 1), &world, NOW).actions;
    assert!(
        matches!(actions.as_slice(), [Action::Update { node, role: Some(NodeRole::Worker), .. }] if node == "m1.0"),
        "{actions:?}"
    );
    // Demoted, and still counted, whatever its engine says or does not.
    world.nodes.as_mut().unwrap()[2].role = NodeRole::Worker;
    for view in [engine(LocalState::Active, Some("m1.0"), false), HostView::default()] {
        world.hosts.insert(member("m1.0"), view);
        assert_eq!(plan(&spec(1, 1), &world, NOW).actions, []);
    }
    world.nodes.as_mut().unwrap()[2].voter = false;
    assert_eq!(plan(&spec(1, 1), &world, NOW).actions, [Action::Terminate(vec!["i-m1-0".into()])]);
}

#[test]
fn a_manager_too_many_stays_while_nobody_can_demote_it() {
    let (_, mut world) = whole();
    world.instances.as_mut().unwrap().extend(["m1", "w1"].map(|s| instance(s, 0, InstanceState::Running)));
    world.journal.as_mut().unwrap().swarm = Some(member("m0.0"));
    // No manager answers: who is heard to be in no swarm may go, of the others nobody knows.
    (world.nodes, world.manager) = (None, None);
    assert_eq!(plan(&spec(1, 1), &world, NOW).actions, []);
    world.hosts.insert(member("w1.0"), engine(LocalState::Inactive, None, false));
    assert_eq!(plan(&spec(1, 1), &world, NOW).actions, [Action::Terminate(vec!["i-w1-0".into()])]);
    // Not connected, but listed as a manager.
    world.nodes =
        Some(vec![node("m0.0", NodeRole::Manager), node("w0.0", NodeRole::Worker), node("m1.0", NodeRole::Manager)]);
    world.manager = Some(member("m0.0"));
    drained(&mut world, "m1.0");
    let actions = plan(&spec(1, 1), &world, NOW).actions;
    assert!(
        actions
            .iter()
            .any(|a| matches!(a, Action::Update { node, role: Some(NodeRole::Worker), .. } if node == "m1.0")),
        "{actions:?}"
    );
    assert!(
        !actions.iter().any(|a| matches!(a, Action::Terminate(ids) if ids.contains(&"i-m1-0".to_owned()))),
        "{actions:?}"
    );
}

#[test]
fn deletion_ends_instances_waits_for_their_end_and_then_releases() {
    let deleting = |state| {
        let world = World { deleting: true, ..world(vec![instance("m0", 0, state)]) };
        plan(&spec(1, 0), &world, NOW).actions
    };
    assert_eq!(deleting(InstanceState::Running), [Action::Terminate(vec!["i-m0-0".into()])]);
    assert_eq!(deleting(InstanceState::ShuttingDown), []);
    assert_eq!(deleting(InstanceState::Terminated), [Action::Release]);
}

#[test]
fn deletion_lets_runs_end_and_stays_connected_to_their_hosts_meanwhile() {
    let (spec, mut world) = whole();
    world.deleting = true;
    world.holders = vec!["nightly".into()];
    let held = plan(&spec, &world, NOW);
    assert_eq!(held.actions, []);
    assert_eq!(held.hosts.len(), world.instances.as_ref().unwrap().len());
    assert!(held.again_at.is_some_and(|at| at > NOW));
    world.holders.clear();
    assert!(matches!(plan(&spec, &world, NOW).actions.as_slice(), [Action::Terminate(_)]));
}

#[test]
fn a_paused_cluster_is_watched_and_an_expired_one_deleted() {
    let (mut spec, mut world) = whole();
    world.instances.as_mut().unwrap()[1].state = InstanceState::Terminated;
    spec.paused = true;
    let paused = plan(&spec, &world, NOW);
    assert_eq!((paused.actions, paused.hosts), (vec![], vec![member("m0.0")]));
    spec.ttl = Some("1h".parse().unwrap());
    let at = |seconds| plan(&spec, &world, NOW + SignedDuration::from_secs(seconds));
    // It is said ahead of time, once.
    assert_eq!(at(0).again_at, Some(NOW + SignedDuration::from_secs(3240)));
    let told = |plan: &Plan| plan.news.iter().map(|(reason, _)| *reason).collect::<Vec<_>>();
    assert_eq!((told(&at(0)), told(&at(3240))), (vec![], vec![reason::EXPIRES_SOON]));
    assert_eq!(at(3600).actions, [Action::Expire]);
    let warned = World { warned: Some(NOW + SignedDuration::from_secs(3600)), ..world.clone() };
    assert_eq!(told(&plan(&spec, &warned, NOW + SignedDuration::from_secs(3300))), Vec::<&str>::new());
}

#[test]
fn a_person_holds_a_cluster_for_as_long_as_the_operator_lets_them() {
    let (mut spec, mut world) = whole();
    let at = |seconds| NOW + SignedDuration::from_secs(seconds);
    // Held until, at most for so long after the end of the ttl, and when the cluster's time is over.
    let table = [(100, 1000, 3600), (4000, 1000, 4000), (9000, 1000, 4600), (9000, 0, 3600)];
    world.hold = Some((at(9000), SignedDuration::from_secs(1000)));
    assert_eq!(expiry(&spec, &world), None, "without a ttl there is nothing to put off");
    spec.ttl = Some("1h".parse().unwrap());
    for (until, longest, over) in table {
        world.hold = Some((at(until), SignedDuration::from_secs(longest)));
        assert_eq!(expiry(&spec, &world), Some(at(over)), "{until} {longest}");
    }
    assert_eq!(plan(&spec, &world, at(3600)).actions, [Action::Expire]);
}
