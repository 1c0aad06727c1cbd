//! What became of each case over the runs of a suite, and what follows from that. Pure.

use std::{cmp::Reverse, collections::HashMap};

use jiff::Timestamp;

use super::state::{State, state};
use crate::{
    api::{CaseNames, Quarantined},
    results::{Case, Outcome, Verdict},
};

/// The most cases of a suite that are followed. A suite has a few thousand; whoever makes up new names in each run has
/// no more memory of this program than for these.
const CASES: usize = 50_000;

/// The namespace and the name of a suite.
pub type Key = (String, String);

/// A run that has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Past {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// The suite it is of.
    pub suite: String,
    /// What its image was, by digest or id, where that is known.
    pub image: Option<String>,
    /// When it ended.
    pub ended: Timestamp,
    /// The ConfigMap with its results, where it left any.
    pub results: Option<String>,
    /// How many cases its status counts.
    pub counted: usize,
    /// The cases that it has in quarantine.
    pub quarantine: Vec<Quarantined>,
}

/// What became of a case in a run. Of several of one name the worst counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mark {
    /// It was not run.
    Skipped,
    /// It passed.
    Passed,
    /// It failed, and then it passed.
    Flaky,
    /// It failed.
    Failed,
}

impl Mark {
    /// All, with what stands for each in a row of marks, and the word for it.
    pub const ALL: [(Self, char, &str); 4] = [
        (Self::Passed, '.', "passed"),
        (Self::Failed, 'F', "failed"),
        (Self::Flaky, '~', "flaky"),
        (Self::Skipped, 's', "skipped"),
    ];
    /// What stands for a run that does not have the case.
    pub const NONE: char = '-';

    /// What stands for it in a row, and the word for it.
    pub fn shown(self) -> (char, &'static str) {
        Self::ALL.into_iter().find(|(mark, ..)| *mark == self).map_or((Self::NONE, ""), |(_, sign, word)| (sign, word))
    }

    const fn of(verdict: &Verdict) -> Self {
        match verdict {
            Verdict::Passed => Self::Passed,
            Verdict::Flaky(_) => Self::Flaky,
            Verdict::Failed(_) => Self::Failed,
            Verdict::Skipped => Self::Skipped,
        }
    }
}

/// A case by all of its names.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity {
    /// As it is listed.
    pub name: String,
    /// The suite of the JUnit.
    pub suite: String,
    /// Its class there.
    pub class: String,
    /// Where in `name` its own name begins.
    own: usize,
}

impl Identity {
    fn of(case: &Case) -> Self {
        let own = case.name.len() - case.own_name().len();
        Self { name: case.name.clone(), suite: case.suite.to_string(), class: case.class.to_string(), own }
    }

    /// What of this quarantine speaks of it.
    pub fn quarantined<'a>(&self, quarantine: &'a [Quarantined]) -> Option<&'a Quarantined> {
        let own = self.name.get(self.own..).unwrap_or_default();
        let names = CaseNames { suite: &self.suite, class: &self.class, own, listed: &self.name };
        Quarantined::of(quarantine, names)
    }
}

/// What became of a case in one run, and how many seconds that took.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Seen {
    /// The run, by its place.
    pub run: usize,
    /// What became of it.
    pub mark: Mark,
    /// For how long it ran.
    pub seconds: Option<f32>,
}

/// The last runs of a suite, and the cases that they had.
#[derive(Debug, Default)]
pub struct Suite {
    /// The runs, the oldest first.
    pub runs: Vec<Past>,
    /// Runs before these.
    pub older: usize,
    /// Which of the runs have results that were read.
    read: Vec<bool>,
    cases: HashMap<Identity, Vec<Seen>>,
    /// Cases for which there was no room.
    pub left_out: usize,
}

/// The story of a case that was not always green.
#[derive(Clone, Debug)]
pub struct Story<'a> {
    /// The runs it is of.
    pub suite: &'a Suite,
    /// The case.
    pub case: &'a Identity,
    /// What became of it, the oldest first.
    pub seen: &'a [Seen],
    /// What there is to say of it.
    pub state: State,
    /// The last run in which it failed, if only at first, by its place.
    pub last_failed: usize,
}

impl Suite {
    /// Those of these runs, the oldest first.
    pub fn of(runs: Vec<Past>, older: usize) -> Self {
        Self { read: vec![false; runs.len()], runs, older, ..Self::default() }
    }

    /// How many runs' results were read.
    pub fn read(&self) -> usize {
        self.read.iter().filter(|read| **read).count()
    }

    /// Takes in what a run, by its place, left.
    pub fn add(&mut self, run: usize, outcome: &Outcome) {
        if let Some(read) = self.read.get_mut(run) {
            *read = true;
        }
        for case in &outcome.cases {
            let identity = Identity::of(case);
            if self.cases.len() >= CASES && !self.cases.contains_key(&identity) {
                self.left_out += 1;
                continue;
            }
            let mark = Mark::of(&case.verdict);
            let seconds = case.time.map(|time| time.as_secs_f32());
            let all = self.cases.entry(identity).or_default();
            // Runs are read in any order, and each of them at once.
            match all.iter_mut().rfind(|seen| seen.run == run) {
                Some(seen) if seen.mark >= mark => {}
                Some(seen) => *seen = Seen { run, mark, seconds },
                None => all.push(Seen { run, mark, seconds }),
            }
        }
    }

    /// The runs are read: what became of each case is in their order.
    pub fn finish(&mut self) {
        self.cases.values_mut().for_each(|all| all.sort_by_key(|seen| seen.run));
    }

    /// The cases that were not always green.
    pub fn stories(&self) -> impl Iterator<Item = Story<'_>> {
        self.cases.iter().filter_map(|(case, seen)| {
            let state = state(seen, |run| self.runs.get(run)?.image.as_deref())?;
            let bad = |seen: &&Seen| seen.mark >= Mark::Flaky;
            let last_failed = seen.iter().filter(bad).map(|seen| seen.run).max()?;
            Some(Story { suite: self, case, seen, state, last_failed })
        })
    }
}

impl Story<'_> {
    /// In how many runs it ended so.
    pub fn count(&self, mark: Mark) -> usize {
        self.seen.iter().filter(|seen| seen.mark == mark).count()
    }

    /// A mark for each of the last so many runs that were read, the oldest first.
    pub fn marks(&self, most: usize) -> String {
        let read: Vec<usize> =
            (0..self.suite.runs.len()).filter(|run| self.suite.read.get(*run) == Some(&true)).collect();
        let last = &read[read.len().saturating_sub(most)..];
        let mark =
            |run: &usize| self.seen.iter().find(|seen| seen.run == *run).map_or(Mark::NONE, |seen| seen.mark.shown().0);
        last.iter().map(mark).collect()
    }

    /// How long it takes, of those that lie in the middle, where it was run and that is told.
    pub fn median_seconds(&self) -> Option<f32> {
        let ran = self.seen.iter().filter(|seen| seen.mark != Mark::Skipped);
        let mut all: Vec<f32> = ran.filter_map(|seen| seen.seconds).collect();
        all.sort_by(f32::total_cmp);
        let (low, high) = (all.get(all.len().checked_sub(1)? / 2)?, all.get(all.len() / 2)?);
        Some(f32::midpoint(*low, *high))
    }

    /// What of the quarantine of the suite's last run speaks of it.
    pub fn quarantine(&self) -> Option<&Quarantined> {
        self.case.quarantined(&self.suite.runs.last()?.quarantine)
    }

    /// The run at a place.
    pub fn run(&self, place: usize) -> Option<&Past> {
        self.suite.runs.get(place)
    }

    /// How many of a thousand runs of the case are bad ones.
    fn badness(&self) -> usize {
        let bad = self.count(Mark::Failed) + self.count(Mark::Flaky);
        bad * 1000 / (bad + self.count(Mark::Passed)).max(1)
    }
}

/// The worst first: broken, then flaky, then fixed ones; of each those that fail most often, and then those that failed last.
pub fn worst_first(stories: &mut [Story<'_>]) {
    stories.sort_by_cached_key(|story| {
        let last = story.run(story.last_failed).map(|run| run.ended);
        (story.state.rank(), Reverse(story.badness()), Reverse(last), story.case.clone())
    });
}

#[cfg(test)]
mod tests;
