//! Machines, engines and a swarm that do what they are told, for clusters on machines that exist.

use std::collections::BTreeMap;

use super::super::{
    tests::{NOW, engine, node},
    *,
};
use crate::{
    cloud::Owner,
    cluster::{
        memory::Clock,
        roster::{self, Given},
    },
    swarm::{Availability, LocalState, Node},
};

/// A machine: by its address.
#[derive(Clone, Debug, Default)]
pub struct Box {
    /// The node it is, in the swarm.
    pub node: Option<String>,
    /// It does not answer.
    pub silent: bool,
    /// It has no engine.
    pub bare: bool,
    /// It is in a swarm of somebody else's.
    pub elsewhere: bool,
    /// There it is a worker, which does not know the swarm's id.
    pub toils: bool,
}

/// All of them, and the one swarm.
pub struct Lab {
    pub spec: SwarmClusterSpec,
    pub journal: Option<Journal>,
    pub boxes: BTreeMap<String, Box>,
    pub nodes: Vec<Node>,
    pub deleting: bool,
    pub leaving: SignedDuration,
    pub released: bool,
    /// For how long who is not well has not been.
    pub ailing: SignedDuration,
    /// Runs that are under way.
    pub runs: Vec<String>,
    /// Every action that was taken.
    pub done: Vec<Action>,
    made: u32,
}

/// Such as `alpha@10.0.0.1 Manager`.
pub fn spec(list: &[&str], install: bool) -> SwarmClusterSpec {
    let machine = |text: &&str| {
        let (who, role) = text.split_once(' ').unwrap();
        let (name, address) = who.split_once('@').unwrap();
        serde_json::json!({"name": name, "address": address, "role": role})
    };
    let machines: Vec<_> = list.iter().map(machine).collect();
    let hosts = serde_json::json!({"machines": machines, "secretRef": {"name": "lab"}, "installEngine": install});
    serde_json::from_value(serde_json::json!({"provider": {"hosts": hosts}})).unwrap()
}

/// Three managers and a worker.
pub const FOUR: [&str; 4] = ["a@10.0.0.1 Manager", "b@10.0.0.2 Manager", "c@10.0.0.3 Manager", "d@10.0.0.4 Worker"];

impl Lab {
    pub fn new(list: &[&str]) -> Self {
        let mut lab = Self {
            spec: spec(list, false),
            journal: None,
            boxes: BTreeMap::new(),
            nodes: Vec::new(),
            deleting: false,
            leaving: SignedDuration::ZERO,
            released: false,
            ailing: SignedDuration::ZERO,
            runs: Vec::new(),
            done: Vec::new(),
            made: 0,
        };
        lab.ask(list);
        lab
    }

    /// Another list of machines.
    pub fn ask(&mut self, list: &[&str]) {
        self.spec = spec(list, false);
        for (machine, _) in Given::of(self.spec.provider.hosts.as_ref().unwrap()).machines {
            self.boxes.entry(machine.private_address).or_default();
        }
    }

    /// A person's own hand: this machine becomes a node, as this.
    pub fn by_hand(&mut self, address: &str, role: NodeRole) {
        self.made += 1;
        let id = format!("n{}", self.made);
        let mut new = node("m0.0", role);
        (new.id, new.hostname, new.address) = (id.clone(), format!("h{}", self.made), address.to_owned());
        new.leader = self.nodes.is_empty();
        new.labels.clear();
        self.nodes.push(new);
        self.boxes.entry(address.to_owned()).or_default().node = Some(id);
    }

    fn owner(&self) -> Owner {
        Owner { uid: "u".into(), name: "ns/c".into() }
    }

    /// Those who vote, and how many of them answer each other.
    pub fn voters(&self) -> (usize, usize) {
        let lives = |n: &&Node| self.boxes.values().any(|b| b.node.as_ref() == Some(&n.id) && !b.silent);
        let voters = self.nodes.iter().filter(|n| n.voter);
        (voters.clone().count(), voters.filter(lives).count())
    }

    pub fn world(&self) -> World {
        let unknown = Journal::default();
        let journal = self.journal.as_ref().unwrap_or(&unknown);
        let instances = roster::instances(journal, &self.owner());
        let mut world = World {
            journal: self.journal.clone(),
            given: Some(Given::of(self.spec.provider.hosts.as_ref().unwrap())),
            name: "ns/c".into(),
            created_at: Some(NOW),
            looked: true,
            deleting: self.deleting,
            leaving: self.leaving,
            runs: self.runs.clone(),
            ..World::default()
        };
        let (voters, alive) = self.voters();
        for i in &instances {
            let id = MemberId { slot: i.slot.parse().unwrap(), incarnation: i.incarnation };
            let Some(of) = self.boxes.get(i.private_address.as_deref().unwrap()) else { continue };
            let listed = of.node.as_ref().and_then(|id| self.nodes.iter().find(|n| n.id == *id));
            let manages = listed.is_some_and(|n| n.voter);
            let mut view = match (&of.node, of.silent, of.bare) {
                (_, true, _) => HostView { error: Some("no answer".into()), ..HostView::default() },
                (_, _, true) => HostView { connected: true, rotated: true, ..HostView::default() },
                (None, ..) if !of.elsewhere => engine(LocalState::Inactive, None, false),
                (node, ..) => engine(LocalState::Active, Some(node.as_deref().unwrap_or("other")), manages),
            };
            if let Some(info) = &mut view.engine {
                info.cluster_id = (manages && alive >= majority(voters)).then(|| "swarm".to_owned());
                info.managers = self.nodes.iter().filter(|n| n.voter).map(|n| n.address.clone()).collect();
                if of.elsewhere {
                    info.cluster_id = (!of.toils).then(|| "another".to_owned());
                    info.control_available = !of.toils;
                    info.managers = vec!["10.9.9.9".to_owned()];
                }
            }
            let well = view.engine.is_some() && !of.elsewhere && (of.node.is_none() || listed.is_some_and(|n| n.ready));
            let mut clock = Clock::new(well, std::time::Instant::now());
            (clock.age, clock.timely) = (self.ailing, true);
            world.health.insert(i.id.clone(), clock);
            world.clocks.insert(i.id.clone(), clock);
            if manages && alive >= majority(voters) && !of.silent && world.manager.is_none() {
                world.manager = Some(id);
                world.nodes = Some(self.nodes.clone());
            }
            world.hosts.insert(id, view);
        }
        for n in self.nodes.iter().filter(|n| n.labels.contains_key(label::DRAINING)) {
            world.drains.insert(n.id.clone(), Drain { age: SignedDuration::ZERO, tasks: Some(0) });
        }
        world.instances = Some(instances);
        world
    }

    /// One pass.
    pub fn pass(&mut self) -> Plan {
        let world = self.world();
        let plan = plan(&self.spec, &world, NOW);
        if let Some(journal) = &plan.save {
            self.journal = Some(journal.clone());
        }
        for action in plan.actions.clone() {
            self.take(&action);
            self.done.push(action);
        }
        for (address, of) in &self.boxes {
            for n in self.nodes.iter_mut().filter(|n| n.address == *address) {
                let lives = of.node.as_ref() == Some(&n.id) && !of.silent;
                n.ready = lives;
                n.reachable = n.voter && lives;
            }
        }
        plan
    }

    /// Passes until nothing is done any more; the last plan.
    pub fn settle(&mut self) -> Plan {
        for _ in 0..60 {
            let before = self.journal.clone();
            let plan = self.pass();
            let (voters, alive) = self.voters();
            assert!(self.deleting || voters == 0 || alive >= majority(voters), "the majority is lost: {:?}", self.done);
            if self.released || plan.actions.is_empty() && self.journal == before {
                return plan;
            }
        }
        panic!("it does not come to rest: {:?}", self.done);
    }

    fn address(&self, id: MemberId) -> String {
        let taken = self.journal.as_ref().unwrap().taken.iter().find(|t| t.id == id);
        taken.unwrap_or_else(|| panic!("{id} is no machine")).machine.private_address.clone()
    }

    fn change(&mut self, node: &str, edit: impl Fn(&mut Node)) {
        self.nodes.iter_mut().filter(|n| n.id == node).for_each(edit);
    }

    fn take(&mut self, action: &Action) {
        match action {
            Action::Init(host) => {
                assert!(self.nodes.is_empty(), "a second swarm is begun");
                let address = self.address(*host);
                self.by_hand(&address, NodeRole::Manager);
            }
            Action::Join { host, .. } => {
                let address = self.address(*host);
                assert_eq!(self.boxes[&address].node, None);
                self.by_hand(&address, host.slot.role);
            }
            Action::Leave(host) => {
                let of = self.boxes.get_mut(
                    &self
                        .journal
                        .as_ref()
                        .unwrap()
                        .taken
                        .iter()
                        .find(|t| t.id == *host)
                        .unwrap()
                        .machine
                        .private_address,
                );
                of.unwrap().node = None;
            }
            Action::Update { node, labels, role, .. } => self.change(node, |n| {
                n.labels.extend(labels.clone());
                if let Some(role) = role {
                    (n.role, n.voter) = (*role, *role == NodeRole::Manager);
                    n.reachable = n.voter && n.ready;
                }
            }),
            Action::Drain { node, .. } => self.change(node, |n| {
                n.availability = Availability::Drain;
                n.labels.insert(label::DRAINING.into(), "active".into());
            }),
            Action::Activate { node, .. } => self.change(node, |n| {
                n.availability = Availability::Active;
                n.labels.remove(label::DRAINING);
            }),
            Action::RemoveNode { node, .. } => self.nodes.retain(|n| n.id != *node),
            Action::Unlabel { node, .. } => self.change(node, |n| n.labels.clear()),
            Action::Release => self.released = true,
            Action::Install(host) => {
                let address = self.address(*host);
                self.boxes.get_mut(&address).unwrap().bare = false;
            }
            other => panic!("{other:?} is done to a machine that exists"),
        }
    }
}
