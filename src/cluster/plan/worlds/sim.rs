//! A cloud, hosts, engines and a raft that do what they are told.

mod accidents;
mod hands;
mod promises;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

pub use accidents::Accident;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use promises::LAST;

use super::{
    super::{
        Action, HostView, Lost, Plan, Trouble, Wait, World, lost, plan,
        tests::{NOW, instance, spec},
    },
    bugs::Bug,
};
use crate::{
    api::{NodeRole, SwarmClusterSpec, UpdateSpec},
    cloud::{InstanceState, StateReason, notice::Notice},
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

/// The time from one pass to the next, in seconds, and in the last moments of one that is taken back.
const STEP: (i64, i64) = (20, 5);

/// How many passes a world may take to converge: two hours and some more.
const PASSES: usize = 400;

/// The template by which no machine ever becomes an engine.
pub const BAD: u8 = 3;

/// A machine.
#[derive(Clone, Debug)]
struct Machine {
    state: InstanceState,
    runs: bool,
    reached: bool,
    /// What it was launched by; by [`BAD`] it boots for ever.
    template: u8,
    /// A person removed its node, and nothing else is wrong with it.
    removed: bool,
    /// The operator has seen that it ended.
    buried: bool,
    /// When EC2 takes it back, and in how many passes something could have been done about that.
    ends: Option<i64>,
    chances: u32,
    /// The swarm it is in, and the node it is there.
    node: Option<(usize, String)>,
}

impl Machine {
    fn boots(&self) -> bool {
        self.template != BAD
    }
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
    /// The template that is asked for now.
    template: u8,
    kept: Option<Slot>,
    /// The operator dies in the next pass, half of its actions done.
    dies: bool,
    /// What this operator has heard of machines that are taken back.
    notices: BTreeMap<MemberId, Notice>,
    /// A run is under way.
    runs: bool,
    /// For how many passes in a row all that vote answer and are reached, and one of them goes in a moment.
    calm: u32,
}

impl Sim {
    pub fn new((managers, workers): (u32, u32), update: UpdateSpec, kept: Option<Slot>, bug: Option<Bug>) -> Self {
        Self {
            spec: SwarmClusterSpec { update, ..spec(managers, workers) },
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
            template: 0,
            kept,
            dies: false,
            notices: BTreeMap::new(),
            runs: false,
            calm: 0,
        }
    }

    fn alive(&self, swarm: usize, id: &str) -> bool {
        self.machines.values().any(|m| {
            m.state == InstanceState::Running
                && m.runs
                && m.boots()
                && m.node.as_ref().is_some_and(|(s, n)| *s == swarm && n == id)
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
            instance.spot = true;
            let taken_back = m.state.is_ended() && m.ends.is_some_and(|at| at <= self.now);
            instance.state_reason = taken_back.then(|| StateReason {
                code: "Server.SpotInstanceTermination".into(),
                message: "Spot instance termination".into(),
            });
            instance
        });
        let mut world = World {
            journal: self.journal.clone(),
            instances: Some(listed.collect()),
            name: "ns/c".into(),
            created_at: Some(NOW),
            deleting: self.deleting,
            looked: true,
            kept: self.kept.into_iter().collect(),
            runs: self.runs.then(|| "nightly".to_owned()).into_iter().collect(),
            ..World::default()
        };
        for (id, machine) in self.machines.iter().filter(|(_, m)| m.state == InstanceState::Running) {
            let heard = machine.runs && machine.reached && machine.boots();
            let engine = heard.then(|| self.engine(machine));
            let error = (!heard).then(|| "no answer".to_owned());
            world.hosts.insert(*id, HostView { connected: heard, engine, error, rotated: true, pinned: true });
        }
        self.listen();
        world.notices.clone_from(&self.notices);
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

    /// Asks all that are reached whether they are taken back. That somebody is stays known.
    fn listen(&mut self) {
        let lives = |id: &MemberId| self.machines.get(id).is_some_and(|m| m.state == InstanceState::Running);
        self.notices.retain(|id, notice| notice.interruption.is_some() && lives(id));
        let reached = |m: &Machine| m.state == InstanceState::Running && m.runs && m.reached;
        for (id, machine) in self.machines.iter().filter(|(_, m)| reached(m)) {
            let notice = Notice { interruption: machine.ends.map(moment), rebalance: None };
            self.notices.entry(*id).or_insert(notice);
        }
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
            managers: Vec::new(),
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
        let ends = self.machines.values().filter(|m| !m.state.is_ended()).filter_map(|m| m.ends);
        let near = ends.map(|at| at - self.now).any(|left| (1..=STEP.0 + LAST).contains(&left));
        self.now += if near { STEP.1 } else { STEP.0 };
        // Raft does at once what it is told.
        self.raft();
        self.take_back()?;
        self.raft();
        let mut world = self.observe();
        if let Some(bug) = self.bug {
            bug.blind(&self.spec, &mut world);
        }
        let mut plan = plan(&self.spec, &world, moment(self.now));
        if let Some(bug) = self.bug {
            bug.spoil(&self.spec, &world, &mut plan);
        }
        if let Some(journal) = &plan.save {
            self.journal = Some(journal.clone());
        }
        self.count_chances(&world, &plan);
        self.calm = if self.is_calm() { self.calm + 1 } else { 0 };
        self.machines.values_mut().filter(|m| m.state.is_ended()).for_each(|m| m.buried = true);
        let lives = if self.dies { plan.actions.len() / 2 } else { plan.actions.len() };
        if std::mem::take(&mut self.dies) {
            self.forget();
        }
        for action in &plan.actions[..lives] {
            self.take(action).map_err(|words| format!("{words} by {action:?} in {plan:?} of {world:?}"))?;
        }
        Ok(plan)
    }

    /// Passes until nothing is left to do, or it is said why not.
    pub fn settle(&mut self) -> Result<(), String> {
        let mut last = Plan::default();
        self.runs = false;
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
            if last.actions.is_empty() && last.save.is_none() && self.whole(&last, &members) && self.clean(&members) {
                return Ok(());
            }
            // By this template nothing ever comes: that is said, and what was there before is there.
            if self.template == BAD && last.troubles.values().any(Trouble::stalls) {
                return Ok(());
            }
        }
        // Where the only one who could tell is not heard, or a person keeps what is sick, that is said.
        let told = |w: &Wait| matches!(w, Wait::Begun | Wait::Unheard);
        let kept = last.waits.values().any(|w| *w == Wait::Kept);
        if last.actions.is_empty() && !last.waits.is_empty() && (last.waits.values().all(told) || kept) {
            return Ok(());
        }
        Err(format!("it does not converge: {last:?} of {:?}", self.observe()))
    }

    /// Every slot has a machine that is well and as the spec asks for, and there are no others; but
    /// for what a person keeps, and for an only manager where none may come beside it.
    fn whole(&self, last: &Plan, members: &Members<'_>) -> bool {
        let live = self.machines.values().filter(|m| !m.state.is_ended()).count();
        let fine = |slot: &Slot| {
            let Some(member) = members.holder(*slot) else { return false };
            let alone = last.waits.get(&member.id) == Some(&Wait::Alone) && self.spec.update.max_surge == 0;
            let asked_for = alone || self.machines[&member.id].template == self.template;
            self.kept == Some(*slot) || member.healthy() && asked_for
        };
        let enough = last.slots.len() >= Slot::all(&self.spec).count();
        enough && live == last.slots.len() && last.slots.iter().all(fine)
    }

    /// Nobody is in the swarm who is no host.
    fn clean(&self, members: &Members<'_>) -> bool {
        match &members.swarm {
            Swarm::Heard(heard) => heard.ghosts.is_empty(),
            _ => false,
        }
    }

    /// Whether machines are asked for that never come.
    pub const fn asks_for_bad(&self) -> bool {
        self.template == BAD
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
}

/// The instance of a machine.
pub fn name(id: MemberId) -> String {
    format!("i-{}-{}", id.slot, id.incarnation)
}

fn moment(seconds: i64) -> Timestamp {
    NOW + SignedDuration::from_secs(seconds)
}

fn address(id: MemberId) -> String {
    let role = if id.slot.role == NodeRole::Manager { 0 } else { 1 };
    format!("10.{role}.{}.{}", id.slot.index, id.incarnation)
}
