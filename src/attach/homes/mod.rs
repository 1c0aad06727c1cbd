//! Where the attach is at home, and where a question goes: pure. What is seen and the time go in, places come out.
//!
//! - What an engine has is asked at home, and nowhere else. While home does not answer it is waited for.
//! - Home is **given up** when there has been no connection to it for [`AWAY`] (a connection counts as lost after
//!   three seconds of silence), or when the cluster has that node no more. What waited for it ends with an error,
//!   and a manager that answers is home from then on.
//! - Attach **goes back** to its first home when that has answered for [`STEADY`] and nothing is under way
//!   at the other one that is an engine's.
//! - A home that was named or pinned is never given up for another: what it has fails until it is back.
//! - What the swarm has is asked of any manager that answers, of the leader where there is a choice.

#[cfg(test)]
mod model;
mod question;
#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, time::Duration};

pub use question::{Next, Place, Question, Trouble};

/// Without a connection to it (or an answer of its engine) for so long, home is given up.
pub const AWAY: Duration = Duration::from_secs(7);
/// The first home has answered for so long before the attach goes back to it.
pub const STEADY: Duration = Duration::from_secs(10);

/// What is seen of a connected node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sight {
    pub name: String,
    /// It is a manager, so that the swarm can be asked there.
    pub manager: bool,
    /// It was the leader when last heard of.
    pub leader: bool,
    /// It gave a sign of life just now.
    pub hears: bool,
    /// Its engine takes connections.
    pub engine: bool,
    /// It was part of a working swarm when last asked.
    pub swarm: bool,
}

/// What changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Home is here now.
    Home {
        node: String,
        /// The one before, where there was one.
        instead_of: Option<String>,
        /// Whether this is the return to the first one.
        back: bool,
    },
    /// Home is given up, and there is no other one.
    GivenUp { node: String },
    /// The home that was given up without another one is there again.
    Again { node: String },
}

/// Whether home may move.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Pin {
    /// To another manager, by the rules above.
    #[default]
    Free,
    /// It stays where it is first.
    First,
    /// It is this node.
    At(String),
}

/// Where things are asked.
#[derive(Debug, Default)]
pub struct Homes {
    pin: Pin,
    sights: Vec<Sight>,
    home: Option<String>,
    /// Where the attach was at home before anything went wrong.
    first: Option<String>,
    /// Counts how often home was given up or changed: what belongs to another term is over.
    term: u64,
    /// Since when home has not been there.
    away: Option<Duration>,
    /// Since when the first home has answered without a gap, while another one is home.
    steady: Option<Duration>,
    given_up: bool,
    /// The engines at which something may have been made.
    made: BTreeSet<String>,
    /// Why the last home was given up.
    why: String,
}

impl Homes {
    /// Home is the first node that is seen, or the one that is named.
    pub fn new(pin: Pin) -> Self {
        Self { pin, ..Self::default() }
    }

    /// Whether these sights are news.
    pub fn would_see_anew(&self, sights: &[Sight]) -> bool {
        self.sights != sights
    }

    /// Takes in what is seen now, in the order of preference, of the nodes that the cluster has. The clock is one
    /// that stands still while this process does. `busy` says that something of an engine's is under way at home.
    pub fn look(&mut self, now: Duration, sights: Vec<Sight>, wanted: &[String], busy: bool) -> Vec<Change> {
        self.sights = sights;
        let Some(home) = self.home.clone() else { return self.settle_first() };
        let mut changes = Vec::new();
        if self.sight(&home).is_some_and(|s| s.engine) {
            self.away = None;
            if std::mem::take(&mut self.given_up) {
                changes.push(Change::Again { node: home.clone() });
            }
        } else {
            let since = *self.away.get_or_insert(now);
            let gone = !wanted.contains(&home);
            if gone || now.saturating_sub(since) >= AWAY {
                changes.extend(self.give_up(&home, gone));
            }
        }
        if self.first.as_ref().is_some_and(|first| !wanted.contains(first)) && self.pin == Pin::Free {
            self.first.clone_from(&self.home);
        }
        changes.extend(self.go_back(now, busy));
        changes
    }

    fn settle_first(&mut self) -> Vec<Change> {
        let fits = |s: &&Sight| match &self.pin {
            Pin::At(name) => s.name == *name,
            Pin::Free | Pin::First => s.manager && s.hears,
        };
        let Some(node) = self.sights.iter().find(fits).map(|s| s.name.clone()) else { return Vec::new() };
        (self.home, self.first) = (Some(node.clone()), Some(node.clone()));
        self.term += 1;
        vec![Change::Home { node, instead_of: None, back: false }]
    }

    fn give_up(&mut self, home: &str, gone: bool) -> Option<Change> {
        self.why = match (gone, self.sight(home)) {
            (true, _) => format!("{home} is no node of the cluster any more"),
            (_, Some(_)) => format!("the engine of {home} did not answer for {} s", AWAY.as_secs()),
            (_, None) => format!("there was no connection to {home} for {} s", AWAY.as_secs()),
        };
        let good = |s: &&Sight| s.name != home && s.manager && s.hears && s.engine;
        let free = self.pin == Pin::Free;
        let next = self.sights.iter().find(good).filter(|_| free).map(|s| s.name.clone());
        match next {
            Some(next) => Some(self.move_to(next, false)),
            None if self.given_up => None,
            None => {
                self.given_up = true;
                self.term += 1;
                Some(Change::GivenUp { node: home.to_owned() })
            }
        }
    }

    fn go_back(&mut self, now: Duration, busy: bool) -> Option<Change> {
        let first = self.first.clone().filter(|first| self.home.as_ref() != Some(first));
        let well = |first: &String| self.sight(first).is_some_and(|s| s.hears && s.engine);
        let Some(first) = first.filter(well) else {
            self.steady = None;
            return None;
        };
        let since = *self.steady.get_or_insert(now);
        let due = now.saturating_sub(since) >= STEADY && !busy;
        due.then(|| {
            self.why = format!("{first} is back, and home again");
            self.move_to(first, true)
        })
    }

    fn move_to(&mut self, node: String, back: bool) -> Change {
        let instead_of = self.home.replace(node.clone());
        self.term += 1;
        (self.away, self.steady, self.given_up) = (None, None, false);
        Change::Home { node, instead_of, back }
    }

    /// Where home is.
    pub fn home(&self) -> Option<&str> {
        self.home.as_deref()
    }

    /// The nodes there should be a connection to before any other: home, and the one to go back to.
    pub fn needs(&self) -> impl Iterator<Item = &str> {
        let named = match &self.pin {
            Pin::At(name) => Some(name),
            Pin::Free | Pin::First => None,
        };
        [named, self.home.as_ref(), self.first.as_ref()].into_iter().flatten().map(String::as_str)
    }

    /// Something was asked of this engine that may have made something there.
    pub fn made_at(&mut self, node: &str) {
        if !self.made.contains(node) {
            self.made.insert(node.to_owned());
        }
    }

    /// What an error about an engine's own things has to say besides: where those are that were made elsewhere.
    pub fn note(&self) -> Option<String> {
        let elsewhere: Vec<_> = self.made.iter().map(String::as_str).filter(|n| self.home() != Some(n)).collect();
        (!elsewhere.is_empty()).then(|| format!("containers made so far are on {}", elsewhere.join(" and ")))
    }

    /// Why the last home was given up.
    pub fn why(&self) -> &str {
        &self.why
    }

    /// Why what waited for an earlier home is over, and where to go on.
    fn over(&self) -> String {
        let mut words = vec![self.why.clone()];
        words.extend(self.note());
        words.push(match (&self.home, self.given_up) {
            (Some(home), true) => format!("what {home} has can be asked when it is back"),
            (Some(home), false) => format!("new ones are made on {home}"),
            (None, _) => String::new(),
        });
        words.join("; ")
    }

    /// The manager to ask about the swarm: one that answers before one that does not, the leader before others.
    fn manager(&self, avoid: Option<&str>) -> Option<&str> {
        self.best(avoid, |s| s.manager.then_some((s.hears, s.swarm, s.leader)))
    }

    /// The same, but home before the leader.
    fn manager_at_home(&self, avoid: Option<&str>) -> Option<&str> {
        self.best(avoid, |s| s.manager.then_some((s.hears, s.swarm, self.home() == Some(&s.name), s.leader)))
    }

    /// Whoever answers, home before others.
    fn anyone(&self, avoid: Option<&str>) -> Option<&str> {
        self.best(avoid, |s| Some((s.hears && s.engine, self.home() == Some(&s.name), s.manager)))
    }

    /// The first of the best.
    fn best<K: Ord>(&self, avoid: Option<&str>, rank: impl Fn(&Sight) -> Option<K>) -> Option<&str> {
        let mut best: Option<(K, &str)> = None;
        for sight in self.sights.iter().filter(|s| Some(s.name.as_str()) != avoid) {
            if let Some(rank) = rank(sight)
                && best.as_ref().is_none_or(|(most, _)| rank > *most)
            {
                best = Some((rank, &sight.name));
            }
        }
        best.map(|(_, name)| name)
    }

    fn sight(&self, node: &str) -> Option<&Sight> {
        self.sights.iter().find(|s| s.name == node)
    }
}
