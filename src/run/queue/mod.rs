//! Who may use a cluster: the runs that have a place on it, and those that wait in line. This file
//! decides, and is pure; [`Line`] knows who waits, [`Guests`] writes places on the cluster.
//!
//! A place is written on the SwarmCluster, against the version that was read: whoever takes one
//! has seen all others. It is kept from before anything is done on the hosts for the run until
//! nothing of the run runs there any more.

mod guests;
mod line;

pub use guests::{Change, Guests, change, has_place};
use k8s_openapi::jiff::Timestamp;
pub use line::{Leads, Line, TAKEN_ON};
use serde::{Deserialize, Serialize};

use crate::api::Sharing;

/// The most names that a message has.
const NAMES: usize = 3;

/// A run that has a place on a cluster, or waits for one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guest {
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// Who may be beside it.
    pub sharing: Sharing,
    /// The UID of the run of whose shards it is one: they are one run, and may be beside each other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<String>,
}

impl Guest {
    /// Whether the two may use a cluster at the same time.
    fn is_fine_beside(&self, other: &Self) -> bool {
        let shared = |guest: &Self| guest.sharing == Sharing::Shared;
        shared(self) && shared(other) || self.of.is_some() && self.of == other.of
    }
}

/// Where a run stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Place {
    /// It has its place.
    Held,
    /// It is its turn.
    Free,
    /// It is not its turn.
    Behind(Behind),
    /// That is not known yet.
    #[default]
    Unknown,
}

/// What is before a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Behind {
    /// The runs that have the cluster; where nobody has it, those that are first in line.
    pub runs: Vec<String>,
    /// Its number in the line, from 1.
    pub number: usize,
}

/// Those in line that get a place now: each that may be beside all who have one, and all before it. Whoever waits is
/// never overtaken: a shared run that comes after an exclusive one waits with it, so that this one has its turn.
#[must_use]
pub fn admit<'a>(holders: &[Guest], line: &'a [Guest]) -> &'a [Guest] {
    let fits = |(before, next): (usize, &Guest)| holders.iter().chain(&line[..before]).all(|g| g.is_fine_beside(next));
    let many = line.iter().enumerate().take_while(|(before, next)| fits((*before, next))).count();
    &line[..many]
}

/// Where the run of this UID stands.
#[must_use]
pub fn place(uid: &str, holders: &[Guest], line: &[Guest]) -> Place {
    if holders.iter().any(|h| h.uid == uid) {
        return Place::Held;
    }
    // Who has a place is in line no more, whatever was told of it so far.
    let line: Vec<Guest> = line.iter().filter(|w| holders.iter().all(|h| h.uid != w.uid)).cloned().collect();
    let Some(before) = line.iter().position(|w| w.uid == uid) else { return Place::Unknown };
    if before < admit(holders, &line).len() {
        return Place::Free;
    }
    let ahead = if holders.is_empty() { &line[..before] } else { holders };
    Place::Behind(Behind { runs: ahead.iter().map(|g| g.name.clone()).collect(), number: before + 1 })
}

impl Behind {
    /// In words, for a person. The time is when it got into line.
    #[must_use]
    pub fn words(&self, cluster: &str, since: Timestamp) -> String {
        let (named, more) = self.runs.split_at(self.runs.len().min(NAMES));
        let more = if more.is_empty() { String::new() } else { format!(" and {} more", more.len()) };
        let (named, place) = (named.join(", "), ordinal(self.number));
        format!("waits behind {named}{more}; {place} in line for SwarmCluster {cluster} since {since:.0}")
    }
}

/// `1st`, `2nd`, `11th`.
fn ordinal(number: usize) -> String {
    let suffix = match (number % 100, number % 10) {
        (11..=13, _) => "th",
        (_, 1) => "st",
        (_, 2) => "nd",
        (_, 3) => "rd",
        _ => "th",
    };
    format!("{number}{suffix}")
}

#[cfg(test)]
mod tests;
