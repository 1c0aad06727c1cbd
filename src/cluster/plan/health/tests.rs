//! Who is replaced that was stopped and cannot be started, as a table.

use super::{
    super::{
        HostView, World, plan,
        tests::{NOW, engine, instance, launched, member, node, spec, world},
    },
    *,
};
use crate::{
    api::SwarmClusterSpec,
    cluster::{journal::Journal, memory::Clock, plan::Action},
};

const LIMIT: SignedDuration = SignedDuration::from_mins(2);

/// Machines of which one was stopped, and was refused to be started for this long.
struct Stopped {
    spec: SwarmClusterSpec,
    world: World,
    id: MemberId,
}

impl Stopped {
    /// One of these managers and workers, all of them nodes.
    fn new(managers: u32, workers: u32, stopped: &str) -> Self {
        let spec = spec(managers, workers);
        let of = |role: char, n: u32| (0..n).map(move |i| format!("{role}{i}"));
        let slots: Vec<String> = of('m', managers).chain(of('w', workers)).collect();
        let id = member(&format!("{stopped}.0"));
        let mut world = world(slots.iter().map(|s| instance(s, 0, InstanceState::Running)).collect());
        let nodes = slots.iter().map(|s| {
            let manages = s.starts_with('m');
            let name = format!("{s}.0");
            world.hosts.insert(member(&name), engine(LocalState::Active, Some(&name), manages));
            node(&name, if manages { NodeRole::Manager } else { NodeRole::Worker })
        });
        world.nodes = Some(nodes.collect());
        world.manager = Some(member("m0.0"));
        let launches = slots.iter().map(|s| (s.clone(), launched(&spec, 0))).collect();
        let (swarm, swarm_id) = (Some(member("m0.0")), Some("swarm".to_owned()));
        world.journal = Some(Journal { launches, swarm, swarm_id, ..Journal::default() });
        let mut this = Self { spec, world, id };
        this.instance().state = InstanceState::Stopped;
        this.silence(stopped);
        this.refused("no capacity", LIMIT);
        this
    }

    fn instance(&mut self) -> &mut crate::cloud::Instance {
        let slot = self.id.slot.to_string();
        self.world.instances.as_mut().unwrap().iter_mut().find(|i| i.slot == slot).unwrap()
    }

    /// Nobody hears this machine.
    fn silence(&mut self, slot: &str) {
        let id = format!("{slot}.0");
        self.world.hosts.insert(member(&id), HostView::default());
        let node = self.world.nodes.as_mut().unwrap().iter_mut().find(|n| n.id == id).unwrap();
        (node.ready, node.reachable) = (false, false);
    }

    fn refused(&mut self, why: &str, age: SignedDuration) {
        let id = self.instance().id.clone();
        self.world.unstarted.insert(id.clone(), why.to_owned());
        self.world.health.insert(id, Clock::after(false, age));
    }

    /// What is done: each instance that is started, ended, or loses its vote.
    fn does(&self) -> Vec<String> {
        let told = |action: &Action| match action {
            Action::Start(ids) => format!("start {}", ids.join(" ")),
            Action::Terminate(ids) => format!("end {}", ids.join(" ")),
            Action::Update { node, role: Some(NodeRole::Worker), .. } => format!("demote {node}"),
            other => format!("{other:?}"),
        };
        plan(&self.spec, &self.world, NOW).actions.iter().map(told).collect()
    }
}

#[test]
fn one_that_cannot_be_started_is_replaced_where_the_voters_bear_it() {
    type Change = fn(&mut Stopped);
    let table: [(&str, u32, &str, Change, &[&str]); 10] = [
        ("a worker", 1, "w0", |_| {}, &["end i-w0-0"]),
        ("not for long", 1, "w0", |s| s.refused("none", LIMIT - SignedDuration::from_secs(1)), &["start i-w0-0"]),
        ("it was not refused", 1, "w0", |s| s.world.unstarted.clear(), &["start i-w0-0"]),
        ("a person keeps it", 1, "w0", |s| s.world.kept = [s.id.slot].into(), &["start i-w0-0"]),
        ("nobody looked", 1, "w0", |s| s.world.health.get_mut("i-w0-0").unwrap().timely = false, &["start i-w0-0"]),
        ("a start is under way", 1, "w0", |s| s.instance().state = InstanceState::Pending, &["end i-w0-0"]),
        ("one manager of three", 3, "m1", |_| {}, &["demote m1.0", "start i-m1-0"]),
        ("the majority would be lost", 3, "m1", |s| s.silence("m2"), &["start i-m1-0"]),
        ("the only manager", 1, "m0", |s| (s.world.nodes, s.world.manager) = (None, None), &["start i-m0-0"]),
        (
            "it was never an engine, and there is no swarm",
            1,
            "m0",
            |s| {
                (s.world.nodes, s.world.manager) = (None, None);
                let journal = s.world.journal.as_mut().unwrap();
                journal.launches.get_mut("m0").unwrap().booted = false;
                (journal.swarm, journal.swarm_id) = (None, None);
                s.world.hosts.clear();
            },
            &["end i-m0-0"],
        ),
    ];
    for (why, managers, stopped, change, expected) in table {
        let mut world = Stopped::new(managers, 1, stopped);
        change(&mut world);
        assert_eq!(world.does(), expected, "{why}");
    }
}

#[test]
fn what_keeps_one_from_being_started_is_on_the_loss() {
    let plan = plan_of(&Stopped::new(1, 1, "w0"));
    let words: Vec<_> = plan.lost.values().map(|l| l.cause.to_string()).collect();
    assert_eq!(words, ["was stopped, and is not started: no capacity, and was given up after 2m"]);
}

fn plan_of(stopped: &Stopped) -> super::super::Plan {
    plan(&stopped.spec, &stopped.world, NOW)
}
