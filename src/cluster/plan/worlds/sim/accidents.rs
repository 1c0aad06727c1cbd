//! What happens to a world that no plan of ours has decided.

use super::*;
use crate::api::AmiSelector;

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
    /// EC2 takes it back, and says so two minutes ahead.
    TakeBack,
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
    /// The operator dies in its next pass, and another one begins.
    Crash,
    /// An hour goes by in which nobody looks: the cloud lists what has ended no more.
    Age,
    /// A run begins, and goes on until nothing more happens.
    Run,
    /// Another size is asked for.
    Scale(u32, u32),
    /// Other machines are asked for.
    Change(u8),
}

impl Sim {
    /// Something happens to the nth machine that lives.
    pub fn happen(&mut self, accident: Accident, nth: usize) {
        self.calm = 0;
        match accident {
            Accident::Run => {
                self.runs = true;
                return;
            }
            Accident::Scale(managers, workers) => {
                (self.spec.managers, self.spec.workers) = (managers, workers);
                return;
            }
            Accident::Change(template) => return self.change(template),
            Accident::Crash => {
                self.dies = true;
                return;
            }
            Accident::Age => {
                self.now += 3600;
                return self.machines.retain(|_, m| !m.buried);
            }
            Accident::Forget => return self.forget(),
            Accident::Heal => return self.machines.values_mut().for_each(|m| m.reached = true),
            Accident::Skip => return,
            _ => {}
        }
        let live: Vec<MemberId> =
            self.machines.iter().filter(|(_, m)| m.state == InstanceState::Running).map(|(id, _)| *id).collect();
        let Some(id) = live.get(nth % live.len().max(1)).copied() else { return };
        let node = self.machines[&id].node.clone();
        let spoken_for = node.as_ref().is_some_and(|(swarm, _)| self.quorum(*swarm));
        let runs = self.machines[&id].runs && self.machines[&id].boots();
        let machine = self.machines.get_mut(&id).unwrap();
        machine.removed = false;
        match (accident, node) {
            (Accident::Die, _) => machine.state = InstanceState::Terminated,
            (Accident::TakeBack, _) => _ = machine.ends.get_or_insert(self.now + 120),
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
                        let machine = self.machines.get_mut(&id).unwrap();
                        machine.removed = machine.runs && machine.reached;
                    }
                    _ => {}
                }
            }
            _ => {}
        }
    }

    /// Those whose time is over end.
    pub(super) fn take_back(&mut self) -> Result<(), String> {
        let due = |m: &Machine| !m.state.is_ended() && m.ends.is_some_and(|at| at <= self.now);
        let due: Vec<MemberId> = self.machines.iter().filter(|(_, m)| due(m)).map(|(id, _)| *id).collect();
        let with: Vec<usize> = self.ours.iter().copied().filter(|swarm| self.quorum(*swarm)).collect();
        for id in due {
            self.may_be_missed(id)?;
            self.machines.get_mut(&id).unwrap().state = InstanceState::Terminated;
        }
        with.into_iter().try_for_each(|swarm| self.may_lose_quorum(swarm))
    }

    /// The operator begins anew.
    pub(super) fn forget(&mut self) {
        self.memory = Memory::default();
        self.notices.clear();
    }

    /// Another template is asked for.
    fn change(&mut self, template: u8) {
        self.template = template;
        let ec2 = self.spec.provider.ec2.as_mut().unwrap();
        ec2.ami = (template > 0).then(|| AmiSelector { name: Some(format!("t{template}")), ..AmiSelector::default() });
    }
}
