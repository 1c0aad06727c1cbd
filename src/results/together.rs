//! What the shards of a run left, told as one. Each case is told once: by the shard in which it went worst, and that
//! several ran it is a problem, for then the image has not divided its cases.

use std::{
    collections::{HashMap, hash_map::RandomState},
    hash::BuildHasher,
};

use super::{
    Document, Tally,
    case::{Record, Sink, Verdict},
    collect::Collector,
    reading::DOCUMENT,
    retold::{Cases, read_packed},
    text,
};

/// How many names of cases are compared, 16 bytes each: there are fewer in any suite that is divided.
const COMPARED: usize = 400_000;
/// The most cases that are named, and the most bytes of each name.
const NAMED: (usize, usize) = (3, 100);
/// The property of a suite that says which shard ran it.
const SHARD: &str = "testkit.shard";

/// What is kept of a shard.
#[derive(Clone, Copy, Debug)]
pub struct Part<'a> {
    /// Its number.
    pub number: u32,
    /// Its JUnit, as gzip has it; empty where there is none.
    pub junit: &'a [u8],
}

/// What the shards left.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Together {
    /// Everything as one JUnit document; `None` where there was no suite and no case.
    pub junit: Option<Document>,
    /// What was not accounted for, one sentence each.
    pub problems: Vec<String>,
    /// That several shards have run the same cases, in words.
    pub overlap: Option<String>,
    /// Of the cases that the shards count, those that another shard counts as well.
    pub counted_again: Tally,
}

/// Puts together what at most 32 shards left.
#[must_use]
pub fn together(parts: &[Part<'_>]) -> Together {
    let mut seen = Seen::default();
    for (at, part) in parts.iter().enumerate() {
        read_packed(part.junit, &mut Cases(|record: Record| seen.saw(at, &record)));
    }
    let mut all =
        All { collector: Collector::new(Some(DOCUMENT)), counted_again: Tally::default(), twice: 0, named: Vec::new() };
    for (at, part) in parts.iter().enumerate() {
        all.collector.begin("");
        let told =
            read_packed(part.junit, &mut Tell { at, parts, written: Vec::new(), seen: &mut seen, all: &mut all });
        if !told && !part.junit.is_empty() {
            all.collector.carried(format!("the results of shard {} cannot be read", part.number));
        }
        all.collector.end();
    }
    let overlap = all.overlap();
    overlap.iter().for_each(|words| all.collector.carried(words.clone()));
    let outcome = all.collector.finish();
    Together { junit: outcome.junit, problems: outcome.problems, overlap, counted_again: all.counted_again }
}

/// Which cases there are, by hashes of their names.
#[derive(Default)]
struct Seen {
    names: RandomState,
    all: HashMap<u64, Ran>,
}

/// A case.
struct Ran {
    /// The shards that have run it, a bit each.
    by: u32,
    /// The first one in which it went worst, and how that was.
    worst: (u8, u8),
    /// It was named.
    told: bool,
}

impl Seen {
    /// A name of which a part is missing tells no case from another.
    fn key(&self, record: &Record) -> Option<u64> {
        let case = &record.case;
        // Two files may have cases of one name.
        let file = record.attributes.iter().find(|(key, _)| key == "file").map(|(_, file)| file);
        record.whole_name.then(|| self.names.hash_one((&*case.suite, &*case.class, case.own_name(), file)))
    }

    fn saw(&mut self, at: usize, record: &Record) {
        let Some(key) = self.key(record) else { return };
        if self.all.len() >= COMPARED && !self.all.contains_key(&key) {
            return;
        }
        let at = u8::try_from(at).unwrap_or(u8::MAX);
        let this = (at, rank(&record.case.verdict));
        let ran = self.all.entry(key).or_insert(Ran { by: 0, worst: this, told: false });
        ran.by |= 1_u32.checked_shl(at.into()).unwrap_or(0);
        if this.1 > ran.worst.1 {
            ran.worst = this;
        }
    }

    /// The case, where several shards have run it.
    fn twice(&mut self, record: &Record) -> Option<&mut Ran> {
        let key = self.key(record)?;
        self.all.get_mut(&key).filter(|ran| ran.by.count_ones() > 1)
    }
}

const fn rank(verdict: &Verdict) -> u8 {
    match verdict {
        Verdict::Skipped => 0,
        Verdict::Passed => 1,
        Verdict::Flaky(_) => 2,
        Verdict::Failed(_) => 3,
    }
}

/// What is told so far.
struct All {
    collector: Collector,
    counted_again: Tally,
    /// How many cases several shards have run, and the first ones in words.
    twice: usize,
    named: Vec<String>,
}

impl All {
    fn overlap(&self) -> Option<String> {
        let many = match self.twice {
            0 => return None,
            1 => "1 case was".to_owned(),
            many => format!("{many} cases were"),
        };
        Some(format!("{many} run by several shards: {}", self.named.join(", ")))
    }
}

/// Tells of the cases of a shard.
struct Tell<'a> {
    at: usize,
    parts: &'a [Part<'a>],
    /// The suites that are open: whether each is one in the document.
    written: Vec<bool>,
    seen: &'a mut Seen,
    all: &'a mut All,
}

impl Tell<'_> {
    fn number(&self) -> u32 {
        self.parts.get(self.at).map_or(0, |part| part.number)
    }
}

impl Sink for Tell<'_> {
    fn suite(&mut self, name: &str, attributes: &[(String, String)], wrapper: bool) {
        self.all.collector.suite(name, attributes, wrapper);
        if !wrapper && !self.written.contains(&true) {
            self.all.collector.property(SHARD, &self.number().to_string());
        }
        self.written.push(!wrapper);
    }

    fn property(&mut self, name: &str, value: &str) {
        self.all.collector.property(name, value);
    }

    fn output(&mut self, err: bool, said: &str) {
        self.all.collector.output(err, said);
    }

    fn end_suite(&mut self) {
        self.written.pop();
        self.all.collector.end_suite();
    }

    fn problem(&mut self, problem: String) {
        self.carried(problem);
    }

    fn carried(&mut self, problem: String) {
        self.all.collector.carried(format!("shard {}: {problem}", self.number()));
    }

    fn case(&mut self, record: Record) {
        if let Some(ran) = self.seen.twice(&record) {
            if usize::from(ran.worst.0) != self.at {
                self.all.counted_again.add(&record.case.verdict);
                return;
            }
            if !std::mem::replace(&mut ran.told, true) {
                self.all.twice += 1;
                if self.all.named.len() < NAMED.0 {
                    let by = |(at, part): (usize, &Part<'_>)| (ran.by >> at & 1 == 1).then(|| part.number.to_string());
                    let by: Vec<String> = self.parts.iter().enumerate().filter_map(by).collect();
                    let name = text::bounded(&record.case.name, NAMED.1);
                    self.all.named.push(format!("{name} (shards {})", by.join(", ")));
                }
            }
        }
        self.all.collector.case(record);
    }
}

#[cfg(test)]
#[path = "together_tests.rs"]
mod tests;
