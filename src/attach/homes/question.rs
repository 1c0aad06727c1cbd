//! The life of one question: where it is asked, whether it is asked again, and when it has failed. Pure.

use super::Homes;
use crate::attach::routes::{Owner, Repeat};

/// How often a question that changes nothing is sent before its failure is the answer.
pub const AGAIN: u32 = 4;

/// A question, from its first byte to its answer.
#[derive(Clone, Debug)]
pub struct Question {
    owner: Owner,
    repeat: Repeat,
    /// The term of the home it was asked in: an engine's own thing is asked of no other home.
    term: Option<u64>,
    sent: u32,
    /// Where it was sent last.
    at: Option<String>,
    /// Something of its answer came.
    answered: bool,
}

/// Where to send it now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// To this node.
    At(String),
    /// Nowhere yet: who has it is waited for.
    Wait,
    /// Nowhere any more, for this reason.
    Over(String),
}

/// What befell it on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The node gives no sign of life, or the answer is later than it should be.
    Late,
    /// The stream ended before its answer did.
    Ended,
}

/// What becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Its answer is waited for where it is.
    Stay,
    /// It is sent once more.
    Again,
    /// It has failed: it may have been done, and what it was is not known here.
    Failed,
}

impl Question {
    /// A question that nobody was asked yet.
    pub fn new(owner: Owner, repeat: Repeat) -> Self {
        Self { owner, repeat, term: None, sent: 0, at: None, answered: false }
    }

    /// Where it goes as things are.
    pub fn place(&mut self, homes: &Homes) -> Place {
        // Who was asked in vain is not asked again while there is another one.
        let avoid = self.at.as_deref().filter(|_| self.sent > 0);
        let other = match self.owner {
            Owner::Engine => return self.at_home(homes),
            Owner::Swarm => homes.manager(avoid).or_else(|| homes.manager(None)),
            Owner::SwarmAndHome => homes.manager_at_home(avoid).or_else(|| homes.manager_at_home(None)),
            Owner::Anyone => homes.anyone(avoid).or_else(|| homes.anyone(None)),
        };
        other.map_or(Place::Wait, |name| Place::At(name.to_owned()))
    }

    fn at_home(&mut self, homes: &Homes) -> Place {
        let Some(home) = homes.home() else { return Place::Wait };
        if *self.term.get_or_insert(homes.term) != homes.term || homes.given_up {
            return Place::Over(homes.over());
        }
        match homes.sight(home) {
            Some(sight) if sight.hears && sight.engine => Place::At(home.to_owned()),
            _ => Place::Wait,
        }
    }

    /// Another node that may be asked while this one is silent; none for what an engine has.
    pub fn elsewhere(&self, homes: &Homes, silent: &str) -> Option<String> {
        let other = match self.owner {
            Owner::Engine => None,
            Owner::Swarm | Owner::SwarmAndHome => homes.manager(Some(silent)),
            Owner::Anyone => homes.anyone(Some(silent)),
        };
        let answers = |name: &&str| homes.sight(name).is_some_and(|s| s.hears);
        other.filter(answers).map(str::to_owned)
    }

    /// From now on it may have been done there.
    pub fn sent(&mut self, node: &str) {
        self.sent += 1;
        self.at = Some(node.to_owned());
    }

    /// Something of its answer came: it is asked of nobody else any more.
    pub fn answered(&mut self) {
        self.answered = true;
    }

    /// Whether something of its answer came.
    pub fn is_answered(&self) -> bool {
        self.answered
    }

    /// What an engine has.
    pub fn is_an_engines(&self) -> bool {
        self.owner == Owner::Engine
    }

    /// Whether it may have changed something.
    pub fn changes_something(&self) -> bool {
        self.repeat == Repeat::Once
    }

    /// Where it was sent last.
    pub fn at(&self) -> &str {
        self.at.as_deref().unwrap_or_default()
    }

    /// What becomes of it after this.
    pub fn after(&self, trouble: Trouble, homes: &Homes) -> Next {
        let may_go_again = self.repeat == Repeat::Again && !self.answered && self.sent < AGAIN;
        match trouble {
            Trouble::Late if self.answered => Next::Stay,
            Trouble::Late if may_go_again && self.elsewhere(homes, self.at()).is_some() => Next::Again,
            Trouble::Late => Next::Stay,
            Trouble::Ended if may_go_again => Next::Again,
            Trouble::Ended => Next::Failed,
        }
    }
}
