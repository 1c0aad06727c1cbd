//! What no decision may do, whatever the world is like.

use super::*;
use crate::api::label;

/// How long before its end one that is taken back goes in a moment, in seconds.
pub(super) const LAST: i64 = 30;
/// So many passes are enough for those that go to give up their votes, one after the other.
const ENOUGH: u32 = 5;

impl Sim {
    /// No machine of a living voter is ended, nor that of any voter while there is no quorum.
    pub(super) fn may_end(&self, instance: &str) -> Result<(), String> {
        let Some((id, machine)) = self.machines.iter().find(|(id, _)| name(**id) == instance) else { return Ok(()) };
        if self.deleting {
            return Ok(());
        }
        let works = machine.state == InstanceState::Running && machine.runs && machine.reached;
        if works && self.kept == Some(id.slot) {
            return Err(format!("{id} is ended, and a person keeps it"));
        }
        // Out of a swarm that does not know it, it can join again.
        let wanted = self.machines.len() > 1 && self.asks_for(id.slot) && machine.template == self.template;
        let wanted = wanted && machine.ends.is_none();
        if machine.removed && works && wanted && self.ours.iter().any(|swarm| self.quorum(*swarm)) {
            return Err(format!("{id} is ended, whose node a person removed"));
        }
        let Some((swarm, node)) = machine.node.as_ref() else { return Ok(()) };
        if self.ours.contains(swarm) {
            self.may_miss(*swarm, node)?;
        }
        let votes = self.ours.contains(swarm) && self.swarms[*swarm].get(node).is_some_and(|n| n.voter);
        if votes && (!self.quorum(*swarm) || self.alive(*swarm, node)) {
            return Err(format!("the voter {id} is ended"));
        }
        Ok(())
    }

    /// Whether a change of the nodes leaves a majority that answers, whatever becomes of those it
    /// concerns. Out of a single voter there is no such way.
    pub(super) fn bears(&self, swarm: usize, before: &BTreeMap<String, Member>) -> Result<(), String> {
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

    /// Whether this slot is surely one of those that are asked for.
    fn asks_for(&self, slot: Slot) -> bool {
        Slot::all(&self.spec).any(|s| s == slot)
            && self.machines.keys().all(|id| Slot::all(&self.spec).any(|s| s == id.slot))
    }

    /// The machine that is this node, where it works and the operator hears it.
    fn works(&self, swarm: usize, node: &str) -> Option<MemberId> {
        let is_it = |m: &&Machine| m.node.as_ref().is_some_and(|(s, n)| *s == swarm && n == node);
        let mut all = self.machines.iter().filter(|(_, m)| is_it(m));
        all.find(|(_, m)| m.reached).map(|(id, _)| *id).filter(|_| self.alive(swarm, node))
    }

    /// A slot that a person keeps is missed whatever we do, where nobody in it works.
    fn missed(&self, swarm: usize, role: NodeRole) -> usize {
        let Some(kept) = self.kept.filter(|k| k.role == role) else { return 0 };
        let nodes = self.swarms[swarm].keys();
        usize::from(!nodes.into_iter().any(|n| self.works(swarm, n).is_some_and(|id| id.slot == kept)))
    }

    /// A worker that takes tasks may only stop to where enough others do.
    pub(super) fn may_miss(&self, swarm: usize, node: &str) -> Result<(), String> {
        let Some(id) = self.works(swarm, node).filter(|id| id.slot.role == NodeRole::Worker) else { return Ok(()) };
        let takes = |n: &Member| n.role == NodeRole::Worker && !n.voter && !n.labels.contains_key(label::DRAINING);
        if !self.swarms[swarm].get(node).is_some_and(takes) {
            return Ok(());
        }
        if self.kept == Some(id.slot) {
            return Err(format!("{id} is drained, and a person keeps it"));
        }
        // Half a minute before it is taken back.
        if self.goes(&self.machines[&id]) {
            return Ok(());
        }
        let of_worker = |n: &str| {
            let mut machines =
                self.machines.iter().filter(|(_, m)| m.node.as_ref().is_some_and(|(s, of)| *s == swarm && of == n));
            machines.any(|(id, _)| id.slot.role == NodeRole::Worker)
        };
        // One that a person made a manager runs its tasks all the same.
        let runs = |n: &Member| !n.labels.contains_key(label::DRAINING);
        let others =
            self.swarms[swarm].iter().filter(|(n, m)| *n != node && runs(m) && self.alive(swarm, n) && of_worker(n));
        let (others, may) = (others.count(), usize::try_from(self.spec.update.max_unavailable).unwrap());
        let wanted = usize::try_from(self.spec.workers).unwrap();
        let enough = others + may + self.missed(swarm, NodeRole::Worker) >= wanted;
        if enough { Ok(()) } else { Err(format!("{others} of {wanted} workers would be left without {id}")) }
    }

    /// A manager that votes may only be demoted where enough others vote, and one at a time at most is missed.
    pub(super) fn may_step_down(&self, swarm: usize, node: &str) -> Result<(), String> {
        let Some(id) = self.works(swarm, node).filter(|id| id.slot.role == NodeRole::Manager) else { return Ok(()) };
        let votes = |n: &Member| n.voter && n.role == NodeRole::Manager;
        if !self.swarms[swarm].get(node).is_some_and(votes) {
            return Ok(());
        }
        if self.kept == Some(id.slot) {
            return Err(format!("{id} is demoted, and a person keeps it"));
        }
        // Half a minute before it is taken back, where its successor votes, or those that stay are no majority: it is missed in
        // any case, and with its vote so is a part of the majority.
        let soon = self.goes(&self.machines[&id]);
        let succeeds = |n: &str| self.works(swarm, n).is_some_and(|next| next.slot == id.slot && next != id);
        let succeeded = || self.swarms[swarm].iter().any(|(n, m)| n != node && votes(m) && succeeds(n));
        if soon && (succeeded() || self.staying(swarm) < majority(self.votes(swarm).0)) {
            return Ok(());
        }
        let others = self.swarms[swarm].iter().filter(|(n, m)| *n != node && votes(m) && self.alive(swarm, n)).count();
        let wanted = usize::try_from(self.spec.managers).unwrap();
        let may = usize::from(self.spec.update.max_surge == 0) + self.missed(swarm, NodeRole::Manager);
        if others + may >= wanted {
            Ok(())
        } else {
            Err(format!("{others} of {wanted} managers would be left without {id}"))
        }
    }

    /// Whether a machine is taken back in a moment.
    fn goes(&self, machine: &Machine) -> bool {
        machine.ends.is_some_and(|at| at - self.now <= LAST)
    }

    /// How many voters answer, and are not taken back in a moment.
    fn staying(&self, swarm: usize) -> usize {
        let is_it = |m: &Machine, node: &str| m.node.as_ref().is_some_and(|(s, n)| *s == swarm && n == node);
        let stays = |node: &str| !self.machines.values().any(|m| is_it(m, node) && self.goes(m));
        self.swarms[swarm].iter().filter(|(id, n)| n.voter && self.alive(swarm, id) && stays(id)).count()
    }

    /// Whether all that vote answer and are reached, and one of them is taken back in a moment, but others are not.
    pub(super) fn is_calm(&self) -> bool {
        let reached = |swarm: usize, id: &str| self.works(swarm, id).is_some_and(|of| self.kept != Some(of.slot));
        self.ours.iter().all(|swarm| {
            let mut voters = self.swarms[*swarm].iter().filter(|(_, n)| n.voter);
            let staying = self.staying(*swarm);
            voters.all(|(id, _)| reached(*swarm, id)) && staying > 0 && staying < self.votes(*swarm).0
        })
    }

    /// Those that are taken back may only take the majority with them where nothing could be done about it.
    pub(super) fn may_lose_quorum(&self, swarm: usize) -> Result<(), String> {
        if self.quorum(swarm) || self.calm < ENOUGH || self.votes(swarm).1 == 0 {
            return Ok(());
        }
        Err(format!("in {} passes nobody that is taken back gave up its vote: {:?}", self.calm, self.votes(swarm)))
    }

    /// Counts the passes in which a successor of one that is taken back could have been asked for.
    pub(super) fn count_chances(&mut self, world: &World, plan: &Plan) {
        let members = Members::join(world);
        let journal = plan.save.as_ref().or(world.journal.as_ref());
        let calm = |slot: Slot| journal.is_some_and(|j| !j.losses.contains_key(&slot.to_string()));
        for id in self.notices.iter().filter(|(_, n)| n.interruption.is_some()).map(|(id, _)| *id) {
            let fills = members.get(id).is_some_and(|m| m.holds) && plan.slots.contains(&id.slot);
            if fills && world.nodes.is_some() && self.kept != Some(id.slot) && calm(id.slot) {
                self.machines.get_mut(&id).unwrap().chances += 1;
            }
        }
    }

    /// One that is taken back may only end without a successor where none could be asked for in time. One pass may be cut off.
    pub(super) fn may_be_missed(&self, id: MemberId) -> Result<(), String> {
        let succeeded = self.used.iter().any(|other| other.slot == id.slot && other.incarnation > id.incarnation);
        let chances = self.machines[&id].chances;
        if succeeded || chances < 3 {
            return Ok(());
        }
        Err(format!("{id} is taken back, and in {chances} passes nobody was launched for it"))
    }

    /// Beside the machine of a slot another one may only come where the budget has room for it, and none where one is as it should be.
    pub(super) fn may_come(&self, id: MemberId) -> Result<(), String> {
        let live = |of: &MemberId, m: &Machine| *of != id && !m.state.is_ended() && of.slot.role == id.slot.role;
        let others = self.machines.iter().filter(|(of, m)| live(of, m));
        let beside = others.clone().any(|(of, _)| of.slot == id.slot);
        let well = |of: &MemberId, m: &Machine| {
            let node = m.node.as_ref().filter(|(s, n)| self.ours.contains(s) && self.quorum(*s) && self.alive(*s, n));
            let role = node.and_then(|(s, n)| Some(self.swarms[*s].get(n)?.role));
            let stays = m.template == self.template && m.ends.is_none() && m.reached && self.kept != Some(of.slot);
            let fills = self.journal.as_ref().is_some_and(|j| j.launching(*of).is_some());
            of.slot == id.slot && fills && stays && role == Some(of.slot.role)
        };
        if let Some((of, _)) = others.clone().find(|(of, m)| well(of, m)).filter(|_| !self.machines.contains_key(&id)) {
            return Err(format!("{id} comes, and {of} is well"));
        }
        let (asked, surge) = match id.slot.role {
            NodeRole::Manager => (self.spec.managers, self.spec.update.max_surge.min(1)),
            NodeRole::Worker => (self.spec.workers, self.spec.update.max_surge),
        };
        // Beside one that is taken back one comes in any case, and of such a slot all count as one.
        let going: BTreeSet<Slot> = others.clone().filter(|(_, m)| m.ends.is_some()).map(|(of, _)| of.slot).collect();
        let count = others.filter(|(of, _)| !going.contains(&of.slot)).count() + going.len();
        let most = usize::try_from(asked + surge).unwrap();
        if beside && !going.contains(&id.slot) && count + 1 > most {
            return Err(format!("{id} comes beside, and there are {most} already"));
        }
        Ok(())
    }
}
