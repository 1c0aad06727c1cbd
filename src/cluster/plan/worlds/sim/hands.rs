//! What the world makes of what is decided.

use super::*;
use crate::cloud::CloudError;

impl Sim {
    pub(super) fn take(&mut self, action: &Action) -> Result<(), String> {
        match action {
            Action::Launch(id, _) => {
                if self.used.contains(id) && !self.machines.contains_key(id) {
                    return Err(format!("{id} is used again"));
                }
                self.may_come(*id)?;
                self.used.insert(*id);
                let fresh = Machine {
                    state: InstanceState::Running,
                    runs: true,
                    reached: true,
                    template: self.template,
                    removed: false,
                    buried: false,
                    ends: None,
                    chances: 0,
                    node: None,
                };
                if self.machines.entry(*id).or_insert(fresh).state.is_ended() {
                    self.memory.launches.note(*id, &offering(action), &CloudError::Ended, Duration::ZERO);
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
                let machine = self.machines.get_mut(id).unwrap();
                (machine.node, machine.removed) = (None, false);
            }
            Action::Update { via, node, labels, role } => {
                let Some((swarm, _)) = self.machines[via].node.clone() else { return Ok(()) };
                let before = self.swarms[swarm].clone();
                if *role == Some(NodeRole::Worker) {
                    self.may_step_down(swarm, node)?;
                }
                if let Some(member) = self.swarms[swarm].get_mut(node) {
                    member.labels.extend(labels.clone());
                    member.role = role.unwrap_or(member.role);
                }
                self.bears(swarm, &before)?;
            }
            Action::Drain { via, node } => {
                if let Some((swarm, _)) = self.machines[via].node.clone() {
                    self.may_miss(swarm, node)?;
                }
                self.edit(via, node, |member| {
                    member.labels.insert(crate::api::label::DRAINING.into(), "active".into());
                    member.availability = Availability::Drain;
                });
            }
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
            Action::Force(_) | Action::Install(_) | Action::Unlabel { .. } => {
                return Err("nobody asked for it".to_owned());
            }
        }
        Ok(())
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

fn offering(action: &Action) -> crate::cloud::Offering {
    match action {
        Action::Launch(_, offering) => offering.clone(),
        _ => unreachable!("only a launch has one"),
    }
}
