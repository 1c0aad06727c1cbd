//! Two runs, or several rounds of each, compared: what became slower by a factor, and what became worse.
//!
//! It knows runs by their JUnit files alone, and nothing of a cluster.

mod read;
mod tell;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, ensure};

use crate::{
    cli::{CompareArgs, Files, Output},
    harness::exit,
};
use read::{Round, Verdict};

/// Compares, says what was found, and returns the exit code.
pub(crate) fn run(args: &CompareArgs) -> u8 {
    let sides = side(&args.before).and_then(|before| Ok((before, side(&args.now)?)));
    let (before, now) = match sides {
        Ok(sides) => sides,
        Err(error) => {
            eprintln!("e2e: {error:#}");
            return exit::COULD_NOT_RUN;
        }
    };
    let mut found = compare(&before, &now, args.factor, args.min.as_secs_f64());
    if args.slower_only {
        found = found.slower_only();
    }
    tell::say(&match args.output {
        Output::Text => tell::text(&found, args),
        Output::Json => tell::json(&found, args),
    });
    if found.is_good() { 0 } else { exit::CASES_FAILED }
}

/// All rounds of one side.
#[derive(Debug, Default)]
struct Side {
    rounds: usize,
    cases: BTreeMap<String, Vec<Round>>,
}

fn side(files: &Files) -> Result<Side> {
    ensure!(!files.0.is_empty(), "no file is named: e2e compare A.xml B.xml");
    let mut side = Side { rounds: files.0.len(), ..Side::default() };
    for file in &files.0 {
        for (name, round) in read::file(file)? {
            side.cases.entry(name).or_default().push(round);
        }
    }
    Ok(side)
}

impl Side {
    fn verdict(&self, case: &str) -> Seen {
        let rounds = self.cases.get(case).map(Vec::as_slice).unwrap_or_default();
        let worst = rounds.iter().map(|round| round.verdict).max().unwrap_or(Verdict::Passed);
        let times = rounds.iter().filter(|round| round.verdict == worst).count();
        Seen { worst, times, of: rounds.len() }
    }

    /// How long each thing took: the median over the rounds in which it was done. Nothing is the case as a whole.
    fn times(&self, case: &str) -> BTreeMap<Option<String>, f64> {
        let mut all = BTreeMap::<Option<String>, Vec<f64>>::new();
        let rounds = self.cases.get(case).into_iter().flatten().filter(|round| round.verdict != Verdict::Skipped);
        for round in rounds {
            all.entry(None).or_default().push(round.seconds);
            for (wait, time) in &round.waits {
                all.entry(Some(wait.clone())).or_default().push(time.longest.as_secs_f64());
            }
        }
        all.into_iter().map(|(what, times)| (what, median(times))).collect()
    }
}

/// The worst end of a case, and in how many of its rounds it was that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    worst: Verdict,
    times: usize,
    of: usize,
}

/// Something that took longer than before.
#[derive(Debug, Clone, PartialEq)]
struct Slower {
    case: String,
    /// Nothing for the case as a whole.
    wait: Option<String>,
    before: f64,
    now: f64,
}

impl Slower {
    fn factor(&self) -> f64 {
        factor(self.before, self.now)
    }
}

/// What was found.
#[derive(Debug, Default)]
struct Found {
    /// Rounds and cases of both sides.
    rounds: [usize; 2],
    cases: [usize; 2],
    slower: Vec<Slower>,
    worse: Vec<(String, Seen, Seen)>,
    better: Vec<(String, Seen, Seen)>,
    missing: Vec<String>,
    new: Vec<String>,
    /// All that both sides waited for, added up.
    all_waits: [f64; 2],
    waits_compared: usize,
    /// How many waits only one side has.
    waits_of_one: [usize; 2],
    /// The waits together are slower by the factor.
    all_slower: bool,
}

impl Found {
    /// Without how cases ended and which there are.
    fn slower_only(self) -> Self {
        let (worse, better, missing, new) = Default::default();
        Self { worse, better, missing, new, ..self }
    }

    fn is_good(&self) -> bool {
        self.slower.is_empty() && self.worse.is_empty() && self.missing.is_empty() && !self.all_slower
    }
}

fn compare(before: &Side, now: &Side, least: f64, min: f64) -> Found {
    let mut found = Found {
        rounds: [before.rounds, now.rounds],
        cases: [before.cases.len(), now.cases.len()],
        missing: before.cases.keys().filter(|case| !now.cases.contains_key(*case)).cloned().collect(),
        new: now.cases.keys().filter(|case| !before.cases.contains_key(*case)).cloned().collect(),
        ..Found::default()
    };
    let is_slower = |before: f64, now: f64| now - before >= min && factor(before, now) >= least;
    for case in before.cases.keys().filter(|case| now.cases.contains_key(*case)) {
        let (then, today) = (before.verdict(case), now.verdict(case));
        match today.worst.cmp(&then.worst) {
            std::cmp::Ordering::Greater => found.worse.push((case.clone(), then, today)),
            std::cmp::Ordering::Less => found.better.push((case.clone(), then, today)),
            std::cmp::Ordering::Equal => {}
        }
        let (then, today) = (before.times(case), now.times(case));
        // Of a case that one side skipped there is nothing to compare.
        if then.is_empty() || today.is_empty() {
            continue;
        }
        for what in then.keys().chain(today.keys()).collect::<BTreeSet<_>>() {
            let (Some(&before), Some(&now)) = (then.get(what), today.get(what)) else {
                found.waits_of_one[usize::from(!then.contains_key(what))] += 1;
                continue;
            };
            if what.is_some() {
                found.waits_compared += 1;
                found.all_waits = [found.all_waits[0] + before, found.all_waits[1] + now];
            }
            if is_slower(before, now) {
                found.slower.push(Slower { case: case.clone(), wait: what.clone(), before, now });
            }
        }
    }
    found.slower.sort_by(|one, other| other.factor().total_cmp(&one.factor()));
    found.all_slower = is_slower(found.all_waits[0], found.all_waits[1]);
    found
}

/// How many times as long; what took no time at all took a millisecond.
fn factor(before: f64, now: f64) -> f64 {
    now / before.max(0.001)
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    let middle = times.len() / 2;
    match times.len() {
        0 => 0.0,
        len if len % 2 == 1 => times[middle],
        _ => f64::midpoint(times[middle - 1], times[middle]),
    }
}

#[cfg(test)]
mod tests;
