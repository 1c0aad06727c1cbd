//! A cloud, hosts, engines and a raft that do what they are told.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use super::{
    super::{
        Action, HostView, Lost, Plan, Wait, World, lost, plan,
        tests::{NOW, instance, spec},
    },
    bugs::Bug,
};
use crate::{
    api::{NodeRole, SwarmClusterSpec},
    cloud::{CloudError, InstanceState},
    cluster::{
        journal::Journal,
        member::{MemberId, Members, Swarm},
        memory::Memory,
        observe,
        plan::{Drain, majority},
        slot::Slot,
    },
    swarm::{Availability, EngineInfo, LocalState, Node},
};

/// The time from one pass to the next, in seconds.
const STEP: i64 = 20;

/// How many passes a world may take to converge: an hour and some more.
const PASSES: usize = 250;

/// What happens to a machine or to the operator.
#[derive(Clone, Copy, Debug)]
pub enum Accident {
    /// Its instance ends.
    Die,
    /// It stands still.
    Freeze,
    /// It goes on.
    Thaw,
    /// Its instance is stopped.
    Stop,
    /// `docker swarm leave --force` on it.
    Leave,
    /// A person makes it a worker.
    Demote,
    /// A person makes it a manager.
    Promote,
    /// A person removes its node.
    Remove,
    /// A person drains it.
    Drain,
    /// `docker swarm leave --force` and `docker swarm init` on it.
    Elsewhere,
    /// The operator cannot reach it.
    CutOff,
    /// The operator reaches everybody again.
    Heal,
    /// The operator begins anew.
    Forget,
    /// Nothing.
    Skip,
    /// Another size is asked for.
    Scale(u32, u32),
}

/// A machine.
#[derive(Clone, Debug)]
struct Machine {
    state: InstanceState,
    runs: bool,
    reached: bool,
    /// The swarm it is in, and the node it is there.
    node: Option<(usize, String)>,
}

#[derive(Clone, Debug)]
struct Member {
    role: NodeRole,
    voter: bool,
    labels: BTreeMap<String, String>,
    availability: Availability,
    address: String,
}

/// The world.
pub struct Sim {
    spec: SwarmClusterSpec,
    journal: Option<Journal>,
    memory: Memory,
    machines: BTreeMap<MemberId, Machine>,
    /// Each with its nodes; those that people made count as well.
    swarms: Vec<BTreeMap<String, Member>>,
    /// Which of them we began.
    ours: BTreeSet<usize>,
    now: i64,
    epoch: Instant,
    made: u32,
    used: BTreeSet<MemberId>,
    bug: Option<Bug>,
    deleting: bool,
}

impl Sim {
    pub fn new(managers: u32, workers: u32, bug: Option<Bug>) -> Self {
        Self {
            spec: spec(managers, workers),
            journal: None,
            memory: Memory::default(),
            machines: BTreeMap::new(),
            swarms: Vec::new(),
            ours: BTreeSet::new(),
            now: 0,
            epoch: Instant::now(),
            made: 0,
            used: BTreeSet::new(),
            bug,
            deleting: false,
        }
    }

    fn alive(&self, swarm: usize, id: &str) -> bool {
        self.machines.values().any(|m| {
            m.state == InstanceState::Running && m.runs && m.node.as_ref().is_some_and(|(s, n)| *s == swarm && n == id)
        })
    }

    /// The voters of a swarm, and how many of them answer.
    fn votes(&self, swarm: usize) -> (usize, usize) {
        let voters = self.swarms[swarm].iter().filter(|(_, n)| n.voter);
        (voters.clone().count(), voters.filter(|(id, _)| self.alive(swarm, id)).count())
    }

    fn quorum(&self, swarm: usize) -> bool {
        let (all, alive) = self.votes(swarm);
        all > 0 && alive >= majority(all)
    }

    /// Something happens to the nth machine that lives.
    pub fn happen(&mut self, accident: Accident, nth: usize) {
        match accident {
            Accident::Scale(managers, workers) => {
                (self.spec.managers, self.spec.workers) = (managers, workers);
                return;
            }
            Accident::Forget => return self.memory = Memory::default(),
            Accident::Heal => return self.machines.values_mut().for_each(|m| m.reached = true),
            Accident::Skip => return,
            _ => {}
        }
        let live: Vec<MemberId> =
            self.machines.iter().filter(|(_, m)| m.state == InstanceState::Running).map(|(id, _)| *id).collect();
        let Some(id) = live.get(nth % live.len().max(1)).copied() else { return };
        let node = self.machines[&id].node.clone();
        let spoken_for = node.as_ref().is_some_and(|(swarm, _)| self.quorum(*swarm));
        let runs = self.machines[&id].runs;
        let machine = self.machines.get_mut(&id).unwrap();
        match (accident, node) {
            (Accident::Die, _) => machine.state = InstanceState::Terminated,
            (Accident::Stop, _) => machine.state = InstanceState::Stopped,
            (Accident::Freeze, _) => machine.runs = false,
            (Accident::Thaw, _) => machine.runs = true,
            (Accident::CutOff, _) => machine.reached = false,
            (Accident::Leave, _) if runs => machine.node = None,
            (Accident::Elsewhere, _) if runs => {
                let address = address(id);
                self.made += 1;
                let name = format!("n{}", self.made);
                self.machines.get_mut(&id).unwrap().node = Some((self.swarms.len(), name.clone()));
                let founder = Member {
                    role: NodeRole::Manager,
                    voter: true,
                    labels: BTreeMap::new(),
                    availability: Availability::Active,
                    address,
                };
                self.swarms.push([(name, founder)].into());
            }
            (_, Some((swarm, node))) if spoken_for => {
                let (voters, _) = self.votes(swarm);
                let Some(member) = self.swarms[swarm].get_mut(&node) else { return };
                match accident {
                    Accident::Demote if voters > 1 => member.role = NodeRole::Worker,
                    Accident::Promote => member.role = NodeRole::Manager,
                    Accident::Drain => member.availability = Availability::Drain,
                    // Swarm refuses to remove a manager.
                    Accident::Remove if !member.voter && member.role == NodeRole::Worker => {
                        self.swarms[swarm].remove(&node);
                    }
                    _ => {}
                }
            }
            _ => {}
        }
    }

    /// What swarmkit's role manager does by itself.
    fn raft(&mut self) {
        for swarm in 0..self.swarms.len() {
            for id in self.swarms[swarm].keys().cloned().collect::<Vec<_>>() {
                if !self.quorum(swarm) {
                    break;
                }
                let (voters, alive) = self.votes(swarm);
                let lives = self.alive(swarm, &id);
                let Some(member) = self.swarms[swarm].get_mut(&id) else { continue };
                match (member.role, member.voter) {
                    (NodeRole::Manager, false) if lives => member.voter = true,
                    (NodeRole::Worker, true) if voters > 1 && alive - usize::from(lives) >= majority(voters - 1) => {
                        member.voter = false;
                    }
                    _ => {}
                }
            }
        }
    }

    fn observe(&mut self) -> World {
        let listed = self.machines.iter().map(|(id, m)| {
            let mut instance = instance(&id.slot.to_string(), id.incarnation, m.state);
            instance.private_address = Some(address(*id));
            instance
        });
        let mut world = World {
            journal: self.journal.clone(),
            instances: Some(listed.collect()),
            name: "ns/c".into(),
            created_at: Some(NOW),
            deleting: self.deleting,
            looked: true,
            ..World::default()
        };
        for (id, machine) in self.machines.iter().filter(|(_, m)| m.state == InstanceState::Running) {
            let heard = machine.runs && machine.reached;
            let engine = heard.then(|| self.engine(machine));
            let error = (!heard).then(|| "no answer".to_owned());
            world.hosts.insert(*id, HostView { connected: heard, engine, error, rotated: true, pinned: true });
        }
        let known = self.journal.as_ref().and_then(|j| j.swarm_id.clone());
        for (id, view) in &world.hosts {
            let Some((swarm, _)) = self.machines[id].node.as_ref().filter(|_| view.engine.is_some()) else { continue };
            let manages = view.engine.as_ref().is_some_and(|e| e.control_available);
            let ours = known.as_ref().map_or(self.ours.contains(swarm), |k| *k == format!("s{swarm}"));
            if !manages || !ours {
                continue;
            }
            if self.quorum(*swarm) {
                (world.manager, world.nodes) = (Some(*id), Some(self.nodes(*swarm)));
                world.leaderless.clear();
                break;
            }
            world.leaderless.insert(*id);
            world.swarm_error = Some("no leader".into());
        }
        let engines = world.hosts.iter().filter(|(_, h)| h.engine.is_some()).map(|(id, _)| *id).collect();
        let now = self.epoch + Duration::from_secs(u64::try_from(self.now).unwrap());
        self.memory.look(world.instances.as_ref().unwrap(), &engines, false, now);
        let (well, drains) = observe::wellness(&world);
        self.memory.judge(&well, &drains, world.nodes.is_some(), false, now);
        world.clocks.clone_from(&self.memory.clocks);
        world.health.clone_from(&self.memory.health);
        world.silence = self.memory.silence;
        world.launches = self.memory.launches.clone();
        let drains = self.memory.drains.iter().map(|(n, c)| (n.clone(), Drain { age: c.age, tasks: Some(0) }));
        world.drains = drains.collect();
        for id in world.clocks.keys() {
            world.consoles.insert(id.clone(), "its console says nothing".into());
        }
        world
    }

    fn engine(&self, machine: &Machine) -> EngineInfo {
        let member = machine.node.as_ref().map(|(s, n)| (*s, n, self.swarms[*s].get(n)));
        let votes = member.as_ref().is_some_and(|(_, _, m)| m.is_some_and(|m| m.voter));
        let swarm = member.as_ref().map(|(s, ..)| *s);
        EngineInfo {
            version: "28.5.2".into(),
            node_id: member.as_ref().map(|(_, n, _)| (*n).clone()),
            cluster_id: swarm.filter(|s| votes && self.quorum(*s)).map(|s| format!("s{s}")),
            state: if member.is_some() { LocalState::Active } else { LocalState::Inactive },
            control_available: votes,
            error: None,
        }
    }

    fn nodes(&self, swarm: usize) -> Vec<Node> {
        let leader =
            self.swarms[swarm].iter().find(|(id, n)| n.voter && self.alive(swarm, id)).map(|(id, _)| id.clone());
        let node = |(id, n): (&String, &Member)| Node {
            id: id.clone(),
            hostname: id.clone(),
            role: n.role,
            availability: n.availability,
            ready: self.alive(swarm, id),
            state: "as it is".into(),
            leader: leader.as_ref() == Some(id),
            voter: n.voter,
            reachable: n.voter && self.alive(swarm, id),
            address: n.address.clone(),
            labels: n.labels.clone(),
            engine_version: "28.5.2".into(),
        };
        self.swarms[swarm].iter().map(node).collect()
    }

    /// One pass of the operator.
    pub fn pass(&mut self) -> Result<Plan, String> {
        self.now += STEP;
        self.raft();
        let mut world = self.observe();
        if let Some(bug) = self.bug {
            bug.blind(&mut world);
        }
        let now = NOW + k8s_openapi::jiff::SignedDuration::from_secs(self.now);
        let mut plan = plan(&self.spec, &world, now);
        if let Some(bug) = self.bug {
            bug.spoil(&self.spec, &world, &mut plan);
        }
        if let Some(journal) = &plan.save {
            self.journal = Some(journal.clone());
        }
        for action in &plan.actions {
            self.take(action).map_err(|words| format!("{words} by {action:?} in {plan:?} of {world:?}"))?;
        }
        Ok(plan)
    }

    /// Passes until nothing is left to do, or it is said why not.
    pub fn settle(&mut self) -> Result<(), String> {
        let mut last = Plan::default();
        for _ in 0..PASSES {
            last = self.pass()?;
            let world = self.observe();
            let members = Members::join(&world);
            if let Some(lost) = lost(&self.spec, &world, &members) {
                // Said, and left alone: but for a swarm of which nothing is left, which is begun anew.
                let gone = lost == Lost::Over && members.iter().all(|m| m.node.is_no());
                if !gone
                    && last
                        .actions
                        .iter()
                        .all(|a| matches!(a, Action::Launch(..) | Action::Start(_) | Action::Terminate(_)))
                {
                    return Ok(());
                }
            }
            let whole = Slot::all(&self.spec).count() == members.iter().filter(|m| m.healthy()).count();
            if last.actions.is_empty() && last.save.is_none() && whole && self.clean(&members) {
                return Ok(());
            }
        }
        // Where the only one who could tell is not heard, that is said.
        let told = |w: &Wait| matches!(w, Wait::Begun | Wait::Unheard);
        if last.actions.is_empty() && !last.waits.is_empty() && last.waits.values().all(told) {
            return Ok(());
        }
        Err(format!("it does not converge: {last:?} of {:?}", self.observe()))
    }

    /// Nobody is in the swarm who is no host.
    fn clean(&self, members: &Members<'_>) -> bool {
        match &members.swarm {
            Swarm::Heard(heard) => heard.ghosts.is_empty(),
            _ => false,
        }
    }

    /// Deletion ends with nothing.
    pub fn delete(&mut self) -> Result<(), String> {
        self.deleting = true;
        for _ in 0..5 {
            if self.pass()?.actions == [Action::Release] {
                let left = self.machines.values().filter(|m| !m.state.is_ended()).count();
                return if left == 0 { Ok(()) } else { Err(format!("{left} machines are left")) };
            }
        }
        Err("deletion does not end".to_owned())
    }

    fn take(&mut self, action: &Action) -> Result<(), String> {
        match action {
            Action::Launch(id, _) => {
                if self.used.contains(id) && !self.machines.contains_key(id) {
                    return Err(format!("{id} is used again"));
                }
                self.used.insert(*id);
                let fresh = Machine { state: InstanceState::Running, runs: true, reached: true, node: None };
                if self.machines.entry(*id).or_insert(fresh).state.is_ended() {
                    self.memory.launches.note(*id, &offering(action), &CloudError::Ended, NOW);
                }
            }
            Action::Start(ids) => self.each(ids, |machine| machine.state = InstanceState::Running),
            Action::Terminate(ids) => {
                for id in ids {
                    self.may_end(id)?;
                }
                self.each(ids, |machine| machine.state = InstanceState::Terminated);
            }
            Action::Init(id) => {
                let taken = |m: &Machine| {
                    !m.state.is_ended()
                        && m.node
                            .as_ref()
                            .is_some_and(|(s, n)| self.ours.contains(s) && self.swarms[*s].contains_key(n))
                };
                if self.machines.values().any(taken) {
                    return Err("a second swarm is begun".to_owned());
                }
                if self.machines[id].node.is_none() {
                    self.ours = [self.swarms.len()].into();
                    self.swarms.push(BTreeMap::new());
                    self.enter(*id, self.swarms.len() - 1, true);
                }
            }
            Action::Join { host, via, .. } => {
                let Some((swarm, _)) = self.machines[via].node.clone() else { return Ok(()) };
                if self.machines[host].node.is_none() && self.quorum(swarm) {
                    let before = self.swarms[swarm].clone();
                    self.enter(*host, swarm, false);
                    self.bears(swarm, &before)?;
                }
            }
            Action::Leave(id) => {
                let machine = &self.machines[id];
                if let Some((swarm, node)) = machine.node.clone()
                    && self.ours.contains(&swarm)
                    && self.swarms[swarm].get(&node).is_some_and(|n| n.voter)
                {
                    return Err("a voter leaves by force".to_owned());
                }
                self.machines.get_mut(id).unwrap().node = None;
            }
            Action::Update { via, node, labels, role } => {
                let Some((swarm, _)) = self.machines[via].node.clone() else { return Ok(()) };
                let before = self.swarms[swarm].clone();
                if let Some(member) = self.swarms[swarm].get_mut(node) {
                    member.labels.extend(labels.clone());
                    member.role = role.unwrap_or(member.role);
                }
                self.bears(swarm, &before)?;
            }
            Action::Drain { via, node } => self.edit(via, node, |member| {
                member.labels.insert(crate::api::label::DRAINING.into(), "active".into());
                member.availability = Availability::Drain;
            }),
            Action::Activate { via, node } => self.edit(via, node, |member| {
                member.labels.remove(crate::api::label::DRAINING);
                member.availability = Availability::Active;
            }),
            Action::RemoveNode { via, node } => {
                let Some((swarm, _)) = self.machines[via].node.clone() else { return Ok(()) };
                if self.alive(swarm, node) {
                    return Err(format!("a living node {node} is removed"));
                }
                if self.swarms[swarm].get(node).is_some_and(|n| !n.voter) {
                    self.swarms[swarm].remove(node);
                }
            }
            Action::Examine(_) | Action::Expire | Action::Release => {}
            Action::Force(_) => return Err("nobody asked for it".to_owned()),
        }
        Ok(())
    }

    /// No machine of a living voter is ended, nor that of any voter while there is no quorum.
    fn may_end(&self, instance: &str) -> Result<(), String> {
        let Some((id, machine)) = self.machines.iter().find(|(id, _)| name(**id) == instance) else { return Ok(()) };
        let Some((swarm, node)) = machine.node.as_ref().filter(|_| !self.deleting) else { return Ok(()) };
        let votes = self.ours.contains(swarm) && self.swarms[*swarm].get(node).is_some_and(|n| n.voter);
        if votes && (!self.quorum(*swarm) || self.alive(*swarm, node)) {
            return Err(format!("the voter {id} is ended"));
        }
        Ok(())
    }

    /// Whether a change of the nodes leaves a majority that answers, whatever becomes of those it
    /// concerns. Out of a single voter there is no such way.
    fn bears(&self, swarm: usize, before: &BTreeMap<String, Member>) -> Result<(), String> {
        let now = &self.swarms[swarm];
        let changed = |id: &String| before.get(id).map(|n| n.role) != now.get(id).map(|n| n.role);
        if !now.keys().any(changed) || before.values().filter(|n| n.voter).count() <= 1 {
            return Ok(());
        }
        let then = now.iter().filter(|(id, n)| n.role == NodeRole::Manager && (n.voter || self.alive(swarm, id)));
        let kept = now.iter().filter(|(id, n)| n.role == NodeRole::Manager && n.voter && self.alive(swarm, id)).count();
        let called_off = now.iter().all(|(id, n)| !changed(id) || n.voter && n.role == NodeRole::Manager);
        let then = then.count();
        if kept >= majority(then) || called_off { Ok(()) } else { Err(format!("{kept} of {then} voters would answer")) }
    }

    fn enter(&mut self, id: MemberId, swarm: usize, first: bool) {
        self.made += 1;
        let node = format!("n{}", self.made);
        let member = Member {
            role: if first { NodeRole::Manager } else { id.slot.role },
            voter: first,
            labels: BTreeMap::new(),
            availability: Availability::Active,
            address: address(id),
        };
        self.swarms[swarm].insert(node.clone(), member);
        self.machines.get_mut(&id).unwrap().node = Some((swarm, node));
    }

    fn edit(&mut self, via: &MemberId, node: &str, change: impl Fn(&mut Member)) {
        if let Some((swarm, _)) = self.machines[via].node.clone() {
            self.swarms[swarm].get_mut(node).into_iter().for_each(change);
        }
    }

    fn each(&mut self, ids: &[String], change: impl Fn(&mut Machine)) {
        self.machines.iter_mut().filter(|(id, _)| ids.contains(&name(**id))).for_each(|(_, machine)| change(machine));
    }
}

/// The instance of a machine.
pub fn name(id: MemberId) -> String {
    format!("i-{}-{}", id.slot, id.incarnation)
}

fn address(id: MemberId) -> String {
    let role = if id.slot.role == NodeRole::Manager { 0 } else { 1 };
    format!("10.{role}.{}.{}", id.slot.index, id.incarnation)
}

fn offering(action: &Action) -> crate::cloud::Offering {
    match action {
        Action::Launch(_, offering) => offering.clone(),
        _ => unreachable!("only a launch has one"),
    }
}
