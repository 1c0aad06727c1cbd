//! Gathers what readers give into one outcome, in bounded memory: cases beyond the bound are
//! counted, and those that failed have room of their own.

use std::{collections::HashMap, mem};

use super::{
    Outcome, Tally,
    case::{Case, Record, Sink, Verdict},
    text,
    write::Merged,
};

/// How many cases are listed that failed, and that did not, and how many bytes they hold at most.
const FAILED: (usize, usize) = (5_000, 4 << 20);
const OTHERS: (usize, usize) = (20_000, 3 << 20);
/// How many bytes of a failure's words are listed once so many bytes are held.
const SHORTER: [(usize, usize); 2] = [(1 << 20, 1000), (2 << 20, 200)];
/// How many problems are told, and how much of each. The others are counted.
const PROBLEMS: (usize, usize) = (20, 600);

/// What was gathered so far.
pub(super) struct Collector {
    /// The file that is read.
    file: String,
    failed: Listed,
    others: Listed,
    tally: Tally,
    /// The next case's place.
    next: u32,
    /// The cases of this file that failed, by all of their names.
    tries: HashMap<String, Tries>,
    /// The file and what is wrong with it.
    problems: Vec<(String, String)>,
    more_problems: usize,
    document: Option<Merged>,
}

/// Cases with their places.
#[derive(Default)]
struct Listed {
    cases: Vec<(u32, Option<Case>)>,
    bytes: usize,
}

/// How often a case failed, and whether it passed after that.
#[derive(Default)]
struct Tries {
    /// Which of those that failed.
    failed: Vec<usize>,
    passed: Option<(u32, Case)>,
    /// It is no case that was tried again until it passed: it came once more after that.
    other: bool,
}

impl Listed {
    fn has_room(&self, most: (usize, usize)) -> bool {
        self.cases.len() < most.0 && self.bytes < most.1
    }

    fn push(&mut self, place: u32, mut case: Case) -> usize {
        if let Verdict::Failed(words) | Verdict::Flaky(words) = &mut case.verdict {
            for (held, most) in SHORTER {
                if self.bytes > held {
                    *words = text::bounded(words, most).to_owned();
                }
            }
        }
        self.bytes += case.size();
        self.cases.push((place, Some(case)));
        self.cases.len() - 1
    }
}

impl Collector {
    /// One that keeps a document of at most `most` compressed bytes, if any.
    pub(super) fn new(most: Option<usize>) -> Self {
        Self {
            file: String::new(),
            failed: Listed::default(),
            others: Listed::default(),
            tally: Tally::default(),
            next: 0,
            tries: HashMap::new(),
            problems: Vec::new(),
            more_problems: 0,
            document: most.map(Merged::new),
        }
    }

    /// A file begins.
    pub(super) fn begin(&mut self, file: &str) {
        self.file = text::name(file, 200);
    }

    /// The file ends: a case that failed and then passed in it was flaky.
    pub(super) fn end(&mut self) {
        for (_, tries) in mem::take(&mut self.tries) {
            let Some((place, passed)) = tries.passed else { continue };
            if tries.other {
                self.pass(place, passed);
                continue;
            }
            let mut said = None;
            for (nth, at) in tries.failed.iter().enumerate() {
                self.tally.failed -= 1;
                let Some((_, case)) = self.failed.cases.get_mut(*at) else { continue };
                match case {
                    Some(Case { verdict, .. }) if nth == 0 => {
                        if let Verdict::Failed(words) = verdict {
                            *verdict = Verdict::Flaky(mem::take(words));
                        }
                    }
                    _ => drop(case.take()),
                }
                said = Some(());
            }
            self.tally.flaky += usize::from(said.is_some());
        }
        self.file.clear();
    }

    /// Whether there is a case.
    pub(super) const fn is_empty(&self) -> bool {
        self.next == 0
    }

    /// The cases that failed and are listed.
    pub(super) fn failures(&self) -> impl Iterator<Item = &Case> {
        self.failed
            .cases
            .iter()
            .filter_map(|(_, case)| case.as_ref())
            .filter(|c| matches!(c.verdict, Verdict::Failed(_)))
    }

    fn pass(&mut self, place: u32, case: Case) {
        match case.verdict {
            Verdict::Skipped => self.tally.skipped += 1,
            Verdict::Flaky(_) => self.tally.flaky += 1,
            _ => self.tally.passed += 1,
        }
        if self.others.has_room(OTHERS) {
            self.others.push(place, case);
        }
    }

    fn fail(&mut self, place: u32, case: Case, key: Option<String>) {
        self.tally.failed += 1;
        let at = self.failed.has_room(FAILED).then(|| self.failed.push(place, case));
        let Some(key) = key else { return };
        match at {
            Some(at) => {
                let tries = self.tries.entry(key).or_default();
                tries.other |= tries.passed.is_some();
                tries.failed.push(at);
            }
            None => {
                if let Some(tries) = self.tries.get_mut(&key) {
                    tries.other = true;
                }
            }
        }
    }

    /// The outcome.
    pub(super) fn finish(mut self) -> Outcome {
        self.end();
        let problems = self.take_problems();
        let mut listed = self.failed.cases;
        listed.append(&mut self.others.cases);
        listed.sort_by_key(|(place, _)| *place);
        let cases: Vec<Case> = listed.into_iter().filter_map(|(_, case)| case).collect();
        let mut left_out = self.tally;
        cases.iter().for_each(|case| left_out.take(&case.verdict));
        let mut outcome = Outcome { cases, problems, left_out, ..Outcome::default() };
        outcome.junit = self.document.and_then(|document| document.finish(&outcome));
        outcome
    }

    /// What is not accounted for, in words. What a document carries from the one it was made of is said once.
    fn take_problems(&mut self) -> Vec<String> {
        let all = mem::take(&mut self.problems);
        let carried = |problem: &str| all.iter().any(|(file, text)| file.is_empty() && text.ends_with(problem));
        let mut told: Vec<String> = Vec::new();
        for (file, text) in &all {
            let said = if file.is_empty() { text.clone() } else { format!("{file}: {text}") };
            if (file.is_empty() || !carried(text)) && !told.contains(&said) {
                told.push(said);
            }
        }
        if self.more_problems > 0 {
            told.push(format!("and {} more of such", self.more_problems));
        }
        told
    }
}

impl Sink for Collector {
    fn suite(&mut self, name: &str, attributes: &[(String, String)], wrapper: bool) {
        if let Some(document) = &mut self.document {
            document.suite(name, attributes, wrapper);
        }
    }

    fn property(&mut self, name: &str, value: &str) {
        if let Some(document) = &mut self.document {
            document.property(name, value);
        }
    }

    fn output(&mut self, err: bool, said: &str) {
        if let Some(document) = &mut self.document {
            document.output(err, said);
        }
    }

    fn end_suite(&mut self) {
        if let Some(document) = &mut self.document {
            document.end_suite();
        }
    }

    fn case(&mut self, record: Record) {
        if let Some(document) = &mut self.document {
            document.case(&record);
        }
        let place = self.next;
        self.next = self.next.saturating_add(1);
        let (whole_name, case) = (record.whole_name, record.case);
        let failed = matches!(case.verdict, Verdict::Failed(_));
        // Only those that failed are remembered, so nothing is to be found while there is none.
        let key = (whole_name && (failed || !self.tries.is_empty()))
            .then(|| format!("{}\0{}\0{}", case.suite, case.class, case.own_name()));
        if failed {
            return self.fail(place, case, key);
        }
        let tries = key.filter(|_| case.verdict == Verdict::Passed).and_then(|key| self.tries.get_mut(&key));
        match tries {
            Some(tries) if tries.passed.is_none() => tries.passed = Some((place, case)),
            Some(tries) => {
                tries.other = true;
                self.pass(place, case);
            }
            None => self.pass(place, case),
        }
    }

    fn problem(&mut self, problem: String) {
        if self.problems.iter().any(|(file, text)| *file == self.file && *text == problem) {
            return;
        }
        if self.problems.len() >= PROBLEMS.0 {
            self.more_problems += 1;
            return;
        }
        let text = text::bounded(&text::clean(&problem), PROBLEMS.1).to_owned();
        self.problems.push((self.file.clone(), text));
    }

    fn carried(&mut self, problem: String) {
        let file = mem::take(&mut self.file);
        self.problem(problem);
        self.file = file;
    }
}
