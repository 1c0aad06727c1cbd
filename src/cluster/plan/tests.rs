//! What the plan promises, as tables and as a world that crashes at any moment.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::cloud::Owner;

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

fn spec(managers: u32, workers: u32) -> SwarmClusterSpec {
    serde_json::from_value(serde_json::json!({
        "managers": managers, "workers": workers,
        "provider": {"ec2": {"region": "us-east-1", "instanceTypes": ["a.large", "b.large"]}},
    }))
    .unwrap()
}

fn instance(slot: &str, incarnation: u32, state: InstanceState) -> Instance {
    Instance {
        id: format!("i-{slot}-{incarnation}"),
        owner: Owner { uid: "u".into(), name: "ns/c".into() },
        slot: slot.into(),
        incarnation,
        state,
        state_reason: None,
        instance_type: "a.large".into(),
        private_address: Some(format!("10.0.0.{}", incarnation + slot.bytes().map(u32::from).sum::<u32>())),
        public_address: None,
        zone: None,
        subnet: None,
        launched_at: None,
    }
}

fn filler(text: &str) -> Filler {
    serde_json::from_value(serde_json::json!(text)).unwrap()
}

fn engine(state: LocalState, node: Option<&str>, manages: bool) -> HostView {
    let engine = EngineInfo {
        version: "28.5.2".into(),
        node_id: node.map(str::to_owned),
        cluster_id: node.map(|_| "swarm".to_owned()),
        state,
        control_available: manages,
        error: None,
    };
    HostView { connected: true, engine: Some(engine), error: None, rotated: true, pinned: true }
}

fn node(of: &str, role: NodeRole) -> Node {
    let host = filler(of);
    Node {
        id: of.into(),
        hostname: of.into(),
        role,
        availability: crate::swarm::Availability::Active,
        ready: true,
        state: "ready".into(),
        leader: of == "m0.0",
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

fn seen(instances: Vec<Instance>) -> Observed {
    Observed { instances: Some(instances), name: "ns/c".into(), created_at: Some(NOW), ..Observed::default() }
}

/// One manager, one worker, all well.
fn whole() -> (SwarmClusterSpec, Observed) {
    let mut seen = seen(vec![instance("m0", 0, InstanceState::Running), instance("w0", 0, InstanceState::Running)]);
    seen.hosts = [
        (filler("m0.0"), engine(LocalState::Active, Some("m0.0"), true)),
        (filler("w0.0"), engine(LocalState::Active, Some("w0.0"), false)),
    ]
    .into();
    seen.nodes = Some(vec![node("m0.0", NodeRole::Manager), node("w0.0", NodeRole::Worker)]);
    seen.manager = Some(filler("m0.0"));
    seen.intent = Some(Intent::default());
    (spec(1, 1), seen)
}

#[test]
fn nothing_is_done_before_the_first_sweep() {
    let unknown = Observed { instances: None, ..seen(vec![]) };
    assert_eq!(plan(&spec(3, 2), &unknown, NOW), Plan::default());
    assert_eq!(plan(&spec(3, 2), &Observed { deleting: true, ..unknown }, NOW), Plan::default());
}

#[test]
fn a_new_cluster_writes_its_intent_and_launches_every_slot() {
    let plan = plan(&spec(3, 2), &seen(vec![]), NOW);
    let slots: Vec<_> = plan.save.unwrap().launches.into_keys().collect();
    assert_eq!(slots, ["m0", "m1", "m2", "w0", "w1"]);
    assert_eq!(plan.actions.len(), 5);
}

#[test]
fn a_whole_cluster_is_left_alone() {
    let (spec, seen) = whole();
    let plan = plan(&spec, &seen, NOW);
    assert_eq!((plan.save, plan.actions, plan.pins), (None, vec![], vec![]));
}

#[test]
fn an_ended_instance_is_replaced_by_the_next_incarnation() {
    let (spec, mut seen) = whole();
    seen.instances.as_mut().unwrap()[1].state = InstanceState::Terminated;
    let plan = plan(&spec, &seen, NOW);
    assert!(matches!(plan.actions.as_slice(), [Action::Launch(f, _)] if *f == filler("w0.1")), "{plan:?}");
}

#[test]
fn an_instance_that_ended_before_it_was_listed_is_replaced_too() {
    let mut seen = seen(vec![]);
    seen.launches.ended.insert(filler("m0.4"));
    let plan = plan(&spec(1, 0), &seen, NOW);
    assert!(matches!(plan.actions.as_slice(), [Action::Launch(f, _)] if *f == filler("m0.5")), "{plan:?}");
}

#[test]
fn without_capacity_the_next_type_is_taken_and_without_any_it_waits() {
    let mut seen = seen(vec![]);
    let later = NOW + SignedDuration::from_secs(60);
    let full = |t: &str| (Offering { instance_type: t.into(), subnet: None }, (later, format!("no {t}")));
    seen.launches.exhausted.extend([full("a.large")]);
    // m0 was asked for as a.large, and the answer is not known: nothing else may be asked for.
    seen.intent = plan(&spec(1, 0), &super::tests::seen(vec![]), NOW).save;
    let again = plan(&spec(1, 0), &seen, NOW);
    assert!(matches!(again.actions.as_slice(), [Action::Launch(_, o)] if o.instance_type == "a.large"), "{again:?}");
    seen.launches.refused.insert((filler("m0.0"), full("a.large").0));
    let second = plan(&spec(1, 0), &seen, NOW);
    assert!(matches!(second.actions.as_slice(), [Action::Launch(_, o)] if o.instance_type == "b.large"), "{second:?}");
    seen.launches.exhausted.extend([full("b.large")]);
    let none = plan(&spec(1, 0), &seen, NOW);
    assert_eq!((none.actions.len(), none.again_at, none.starved.len()), (0, Some(later), 1));
    assert_eq!(plan(&spec(1, 0), &seen, later).actions.len(), 1);
}

#[test]
fn the_swarm_is_begun_on_the_first_engine_that_answers_and_on_no_other_after_a_crash() {
    let running = ["m0", "m1", "m2"].map(|s| instance(s, 0, InstanceState::Running));
    let mut seen = seen(running.into());
    seen.hosts.insert(filler("m1.0"), engine(LocalState::Inactive, None, false));
    let first = plan(&spec(3, 0), &seen, NOW);
    assert_eq!(first.actions, [Action::Init(filler("m1.0"))]);
    // The crash: m1 may or may not have begun; now m0 answers first.
    seen.intent = first.save;
    seen.hosts = [(filler("m0.0"), engine(LocalState::Inactive, None, false))].into();
    assert_eq!(plan(&spec(3, 0), &seen, NOW).actions, []);
    seen.hosts.insert(filler("m1.0"), engine(LocalState::Inactive, None, false));
    assert_eq!(plan(&spec(3, 0), &seen, NOW).actions, [Action::Init(filler("m1.0"))]);
}

#[test]
fn hosts_join_in_parallel_by_their_role() {
    let (_, mut seen) = whole();
    seen.instances.as_mut().unwrap().extend(["w1", "w2"].map(|s| instance(s, 0, InstanceState::Running)));
    for f in ["w1.0", "w2.0"] {
        seen.hosts.insert(filler(f), engine(LocalState::Inactive, None, false));
    }
    let actions = plan(&spec(1, 3), &seen, NOW).actions;
    let joins: Vec<_> =
        actions.iter().filter(|a| matches!(a, Action::Join { via, .. } if *via == filler("m0.0"))).collect();
    assert_eq!(joins.len(), 2, "{actions:?}");
}

#[test]
fn an_unlabelled_node_is_labelled_and_a_wrong_role_is_changed() {
    let (spec, mut seen) = whole();
    seen.nodes.as_mut().unwrap()[1].labels.clear();
    seen.nodes.as_mut().unwrap()[1].role = NodeRole::Manager;
    let actions = plan(&spec, &seen, NOW).actions;
    assert!(
        matches!(actions.as_slice(), [Action::Update { node, role: Some(NodeRole::Worker), labels, .. }] if node == "w0.0" && labels.len() == 3),
        "{actions:?}"
    );
}

#[test]
fn a_node_is_removed_only_when_its_instance_is_gone_and_it_is_down_and_ours() {
    let (spec, seen) = whole();
    let with = |change: &dyn Fn(&mut Node)| {
        let mut seen = seen.clone();
        let mut old = node("w0.7", NodeRole::Worker);
        change(&mut old);
        seen.nodes.as_mut().unwrap().push(old);
        plan(&spec, &seen, NOW).actions
    };
    assert_eq!(with(&|n| n.ready = false), [Action::RemoveNode { via: filler("m0.0"), node: "w0.7".into() }]);
    assert_eq!(with(&|_| {}), []);
    let foreign = |n: &mut Node| {
        n.ready = false;
        n.labels.clear();
    };
    assert_eq!(with(&foreign), []);
}

#[test]
fn a_manager_too_many_is_demoted_before_it_is_terminated() {
    let (_, mut seen) = whole();
    seen.instances.as_mut().unwrap().push(instance("m1", 0, InstanceState::Running));
    seen.hosts.insert(filler("m1.0"), engine(LocalState::Active, Some("m1.0"), true));
    seen.nodes.as_mut().unwrap().push(node("m1.0", NodeRole::Manager));
    let actions = plan(&spec(1, 1), &seen, NOW).actions;
    assert!(
        matches!(actions.as_slice(), [Action::Update { node, role: Some(NodeRole::Worker), .. }] if node == "m1.0"),
        "{actions:?}"
    );
    // Demoted, and still counted.
    seen.nodes.as_mut().unwrap()[2].role = NodeRole::Worker;
    assert_eq!(plan(&spec(1, 1), &seen, NOW).actions, []);
    seen.hosts.insert(filler("m1.0"), engine(LocalState::Active, Some("m1.0"), false));
    assert_eq!(plan(&spec(1, 1), &seen, NOW).actions, [Action::Terminate(vec!["i-m1-0".into()])]);
}

#[test]
fn a_manager_too_many_stays_while_nobody_can_demote_it() {
    let (_, mut seen) = whole();
    seen.instances.as_mut().unwrap().extend(["m1", "w1"].map(|s| instance(s, 0, InstanceState::Running)));
    seen.intent.as_mut().unwrap().swarm = Some(filler("m0.0"));
    // No manager answers: a worker may go, a manager would take its vote with it.
    (seen.nodes, seen.manager) = (None, None);
    assert_eq!(plan(&spec(1, 1), &seen, NOW).actions, [Action::Terminate(vec!["i-w1-0".into()])]);
    // Not connected, but listed as a manager.
    seen.nodes =
        Some(vec![node("m0.0", NodeRole::Manager), node("w0.0", NodeRole::Worker), node("m1.0", NodeRole::Manager)]);
    seen.manager = Some(filler("m0.0"));
    let actions = plan(&spec(1, 1), &seen, NOW).actions;
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
        let seen = Observed { deleting: true, ..seen(vec![instance("m0", 0, state)]) };
        plan(&spec(1, 0), &seen, NOW).actions
    };
    assert_eq!(deleting(InstanceState::Running), [Action::Terminate(vec!["i-m0-0".into()])]);
    assert_eq!(deleting(InstanceState::ShuttingDown), []);
    assert_eq!(deleting(InstanceState::Terminated), [Action::Release]);
}

#[test]
fn a_paused_cluster_is_watched_and_an_expired_one_deleted() {
    let (mut spec, mut seen) = whole();
    seen.instances.as_mut().unwrap()[1].state = InstanceState::Terminated;
    spec.paused = true;
    let paused = plan(&spec, &seen, NOW);
    assert_eq!((paused.actions, paused.hosts), (vec![], vec![filler("m0.0")]));
    spec.ttl = Some("1h".parse().unwrap());
    let at = |seconds| plan(&spec, &seen, NOW + SignedDuration::from_secs(seconds));
    assert_eq!(at(0).again_at, Some(NOW + SignedDuration::from_secs(3600)));
    assert_eq!(at(3600).actions, [Action::Expire]);
}

/// A cloud and engines that do what they are told, with the awkwardness of the real ones: an
/// instance is not listed at once, launches are refused, the operator dies between any two steps.
#[derive(Default)]
struct World {
    /// By token (slot, incarnation, type): the instance.
    launched: BTreeMap<(Filler, String), Instance>,
    listed: BTreeSet<String>,
    swarms: BTreeMap<Filler, u32>,
    begun: u32,
    intent: Option<Intent>,
    memory: LaunchMemory,
}

impl World {
    fn live(&self, slot: Slot) -> usize {
        self.launched.iter().filter(|((f, _), i)| f.slot == slot && !i.state.is_ended()).count()
    }

    fn observe(&self) -> Observed {
        let instances: Vec<_> = self.launched.values().filter(|i| self.listed.contains(&i.id)).cloned().collect();
        let up = fillers(&instances).into_values().map(|f| f.filler).collect::<Vec<_>>();
        let mut seen = Observed { intent: self.intent.clone(), launches: self.memory.clone(), ..seen(instances) };
        for host in up {
            let id = host.to_string();
            let view = match self.swarms.get(&host) {
                Some(_) => engine(LocalState::Active, Some(&id), host.slot.role == NodeRole::Manager),
                None => engine(LocalState::Inactive, None, false),
            };
            seen.hosts.insert(host, view);
        }
        seen.manager =
            self.swarms.keys().copied().find(|f| f.slot.role == NodeRole::Manager && seen.hosts.contains_key(f));
        if seen.manager.is_some() {
            seen.nodes = Some(self.swarms.keys().map(|f| node(&f.to_string(), f.slot.role)).collect());
        }
        seen
    }

    fn take(&mut self, action: &Action, refused: &str) {
        if let Action::Launch(filler, offering) = action {
            self.memory.attempt(*filler, offering);
        }
        match action {
            // A token that made an instance is answered with it, whatever the capacity is by now.
            Action::Launch(filler, offering)
                if offering.instance_type == refused && !self.launched.contains_key(&(*filler, refused.to_owned())) =>
            {
                self.memory.note(*filler, offering, &CloudError::Capacity("full".into()), NOW);
            }
            Action::Launch(filler, offering) => {
                let fresh = instance(&filler.slot.to_string(), filler.incarnation, InstanceState::Running);
                let key = (*filler, offering.instance_type.clone());
                let id = format!("{}-{}", fresh.id, offering.instance_type);
                let known = self.launched.entry(key).or_insert(Instance { id, ..fresh });
                if known.state.is_ended() {
                    self.memory.note(*filler, offering, &CloudError::Ended, NOW);
                }
            }
            Action::Init(host) => {
                self.begun += 1;
                self.swarms.insert(*host, self.begun);
            }
            Action::Join { host, via, .. } => {
                let swarm = self.swarms[via];
                self.swarms.insert(*host, swarm);
            }
            other => panic!("nothing asks for {other:?}"),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    /// Whatever is lost on the way, there is never a second instance for a slot nor a second
    /// swarm, and the cluster gets whole.
    #[test]
    fn a_crash_at_any_moment_changes_nothing(
        managers in prop::sample::select(vec![1u32, 3]),
        workers in 0u32..3,
        steps in prop::collection::vec((0usize..6, any::<bool>(), any::<bool>(), any::<bool>()), 1..30),
    ) {
        let spec = spec(managers, workers);
        let mut world = World::default();
        for (survives, lists, crashes, full) in steps {
            let plan = plan(&spec, &world.observe(), NOW);
            if let Some(intent) = plan.save {
                world.intent = Some(intent);
            }
            for action in plan.actions.iter().take(if crashes { survives } else { usize::MAX }) {
                world.take(action, if full { "a.large" } else { "" });
            }
            if crashes {
                world.memory = LaunchMemory::default();
            }
            if lists {
                world.listed = world.launched.values().map(|i| i.id.clone()).collect();
            }
            for slot in Slot::all(&spec) {
                prop_assert!(world.live(slot) <= 1, "two instances for {slot}");
            }
            prop_assert!(world.begun <= 1, "two swarms");
        }
        for _ in 0..8 {
            world.listed = world.launched.values().map(|i| i.id.clone()).collect();
            let plan = plan(&spec, &world.observe(), NOW);
            world.intent = plan.save.or(world.intent);
            plan.actions.iter().for_each(|a| world.take(a, ""));
        }
        prop_assert_eq!(world.swarms.len(), (managers + workers) as usize);
        prop_assert_eq!(plan(&spec, &world.observe(), NOW).actions, vec![]);
    }
}
