//! Quorum is sacred: what may change among the voters now.
//!
//! It counts what the managers' raft says, not what we meant to do: a node is a voter while raft
//! lists it, whatever role its spec has. There is one change of voters in flight a cluster, and
//! none begins unless a majority of those that would then vote answers today, whatever becomes
//! of the one that is changed.

use super::Wait;
use crate::{
    api::NodeRole,
    cluster::member::{Heard, Members},
    cluster::world::World,
    swarm::{LocalState, Node},
};

/// What the voters are, and whether a change of them is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gate {
    /// How many have a vote.
    pub voters: usize,
    /// How many of them answer.
    pub alive: usize,
    /// Whether a change is in flight.
    pub busy: bool,
}

/// How many make a majority.
pub const fn majority(voters: usize) -> usize {
    voters / 2 + 1
}

impl Gate {
    /// What raft says.
    pub fn of(world: &World, members: &Members<'_>, heard: &Heard<'_>) -> Self {
        let voters = heard.nodes.iter().filter(|n| n.voter);
        let changing = |n: &Node| changes(n) && !heard.ghosts.iter().any(|g| g.id == n.id && !g.voter);
        let joining = members.iter().any(|m| {
            let under_way = m.engine.state() == Some(LocalState::Pending) || world.joining.contains(&m.id);
            m.id.slot.role == NodeRole::Manager && under_way && !m.votes().is_yes()
        });
        Self {
            voters: voters.clone().count(),
            alive: voters.filter(|n| alive(n, heard)).count(),
            busy: joining || heard.nodes.iter().any(changing),
        }
    }

    /// Whether one more may get a vote now.
    ///
    /// Out of a single voter there is no safe way: with two, both are needed. So those that are
    /// to come may come at once, for the state of two to be over soon.
    pub fn add(&mut self) -> Result<(), Wait> {
        if self.voters <= 1 {
            return Ok(());
        }
        self.change(self.alive >= majority(self.voters + 1))
    }

    /// Whether this voter may lose its vote now.
    pub fn remove(&mut self, node: &Node, heard: &Heard<'_>) -> Result<(), Wait> {
        self.change(self.bears(alive(node, heard)))
    }

    /// Whether raft can be without one more voter, and lets it go: swarm itself refuses otherwise,
    /// and tries for ever.
    pub const fn bears(&self, alive: bool) -> bool {
        self.voters > 1 && self.alive - alive as usize >= majority(self.voters - 1)
    }

    fn change(&mut self, safe: bool) -> Result<(), Wait> {
        if self.busy {
            return Err(Wait::Turn);
        }
        if !safe {
            return Err(Wait::Margin);
        }
        self.busy = true;
        Ok(())
    }
}

/// Whether a voter answers. A ghost does not, whatever raft has noticed by now.
pub fn alive(node: &Node, heard: &Heard<'_>) -> bool {
    node.reachable && !heard.ghosts.iter().any(|g| g.id == node.id)
}

/// Whether raft and the node's spec do not agree yet.
fn changes(node: &Node) -> bool {
    match node.role {
        // One that is down gets no vote.
        NodeRole::Manager => !node.voter && node.ready,
        NodeRole::Worker => node.voter,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_leaves_a_majority_whatever_becomes_of_it() {
        // Voters, how many answer; whether one may be added, one that answers removed, a dead one removed.
        let table = [
            (1, 1, true, false, false),
            (2, 2, true, true, true),
            (3, 3, true, true, true),
            (3, 2, false, false, true),
            (4, 4, true, true, true),
            (4, 3, true, true, true),
            (5, 5, true, true, true),
            (5, 4, true, true, true),
            (5, 3, false, false, true),
            (7, 4, false, false, true),
        ];
        for (voters, alive, add, living, dead) in table {
            let gate = Gate { voters, alive, busy: false };
            assert_eq!({ gate }.add().is_ok(), add, "{voters} {alive}");
            assert_eq!((gate.bears(true), gate.bears(false)), (living, dead), "{voters} {alive}");
        }
    }

    #[test]
    fn one_change_at_a_time() {
        let mut gate = Gate { voters: 3, alive: 3, busy: false };
        assert_eq!((gate.add(), gate.add()), (Ok(()), Err(Wait::Turn)));
        // All but the first voter may come at once.
        let mut gate = Gate { voters: 1, alive: 1, busy: false };
        assert_eq!((gate.add(), gate.add()), (Ok(()), Ok(())));
    }
}
