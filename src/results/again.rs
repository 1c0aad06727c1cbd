//! Two attempts of one run, told as one: what failed in the first one was run again by name in the second.
//!
//! A failure is only taken back by a case of the same suite, class and name that passed, and where several have one
//! name, by as many as there were, for it is not known which of them it was. What the second attempt does not show has
//! failed still; what it shows beside that counts as well.

use std::{
    collections::{BTreeSet, HashMap, hash_map::RandomState},
    hash::BuildHasher,
    mem,
};

use super::{
    Outcome,
    case::{Element, Part, Record, Sink, Verdict, verdict},
    collect::Collector,
    reading::DOCUMENT,
    retold::{Cases, Retold, read_packed},
    text,
};

/// What a suite counts as failed, which is not what its cases show any more.
const COUNTS: [&str; 3] = ["failures", "errors", "failed"];
/// How many bytes of failures of the second attempt are held; of those beyond only the message's begin.
const WORDS: (usize, usize) = (2 << 20, 200);

/// The outcome of both attempts. `before` is the document that was kept of the first one, as gzip has it, and `failed`
/// are the own names of all its cases that failed.
#[must_use]
pub fn again(before: &[u8], failed: &[String], retry: &Outcome) -> Outcome {
    let failed: BTreeSet<&str> = failed.iter().map(String::as_str).collect();
    let own = retry.junit.as_ref().map_or(&[][..], |junit| junit.packed());
    let mut tries = Tries::default();
    read_packed(own, &mut Cases(|record: Record| tries.saw(record)));
    read_packed(
        before,
        &mut Cases(|record: Record| {
            if record.case.verdict != Verdict::Skipped
                && let Some(tried) = tries.of(&record)
            {
                tried.needed += 1;
            }
        }),
    );
    let mut collector = Collector::new(Some(DOCUMENT));
    collector.begin("");
    let change = |record: &mut Record| {
        let open = is_open(record, &failed);
        if let Some(tried) = tries.of(record) {
            tried.known = true;
            fold(record, open, tried);
        }
        // It is told apart from what its tool tried again: it has failed, whatever else has its name.
        record.whole_name &= !open;
    };
    if !read_packed(before, &mut Retold { to: &mut collector, counts: &COUNTS, change }) {
        collector.carried("the results of the attempt before cannot be read".to_owned());
    }
    collector.end();
    collector.begin("");
    read_packed(own, &mut Beside { tries: &mut tries, to: &mut collector });
    collector.end();
    retry.problems.iter().for_each(|problem| collector.carried(problem.clone()));
    if retry.left_out.total() > 0 {
        collector.carried(format!("{} cases of the retry are not listed", retry.left_out.total()));
    }
    Outcome { formats: retry.formats.clone(), ..collector.finish() }
}

/// Whether a case failed before, and no try of its tool took that back.
fn is_open(record: &Record, failed: &BTreeSet<&str>) -> bool {
    matches!(record.case.verdict, Verdict::Failed(_)) && failed.contains(record.case.own_name())
}

/// What the second attempt says of a name.
#[derive(Default)]
struct Tried {
    passed: usize,
    failed: usize,
    skipped: usize,
    /// What failed of it.
    parts: Vec<Part>,
    /// How many cases of this name have to pass.
    needed: usize,
    /// The first attempt has it.
    known: bool,
}

/// What the second attempt says, by hashes of names.
#[derive(Default)]
struct Tries {
    names: RandomState,
    all: HashMap<u64, Tried>,
    held: usize,
}

impl Tries {
    fn key(&self, record: &Record) -> Option<u64> {
        let case = &record.case;
        record.whole_name.then(|| self.names.hash_one((&*case.suite, &*case.class, case.own_name())))
    }

    fn of(&mut self, record: &Record) -> Option<&mut Tried> {
        let key = self.key(record)?;
        self.all.get_mut(&key)
    }

    fn saw(&mut self, record: Record) {
        let Some(key) = self.key(&record) else { return };
        let tried = self.all.entry(key).or_default();
        match record.case.verdict {
            // Its tool tried it again by itself.
            Verdict::Passed | Verdict::Flaky(_) => tried.passed += 1,
            Verdict::Skipped => tried.skipped += 1,
            Verdict::Failed(_) => {
                tried.failed += 1;
                for mut part in record.parts {
                    if self.held > WORDS.0 {
                        part.message = text::bounded(&part.message, WORDS.1).to_owned();
                        part.text = String::new();
                    }
                    self.held += part.message.len() + part.text.len();
                    tried.parts.push(part);
                }
            }
        }
    }
}

/// What becomes of a case of the first attempt.
fn fold(record: &mut Record, open: bool, tried: &mut Tried) {
    if tried.failed > 0 {
        // Told once: a name that failed again in several cases did so in each of them.
        let again = mem::take(&mut tried.parts);
        if matches!(record.case.verdict, Verdict::Failed(_)) {
            record.parts.extend(again.into_iter().map(|part| as_(part, later)));
        } else {
            record.parts.retain(|part| part.element != Element::Skipped);
            let none = || vec![Part::new(Element::Failure, "it failed when it was run again")];
            record.parts.extend(if again.is_empty() { none() } else { again });
        }
    } else if open && tried.skipped == 0 && tried.passed >= tried.needed.max(1) {
        record.parts = mem::take(&mut record.parts).into_iter().map(|part| as_(part, flaky)).collect();
    } else {
        return;
    }
    record.case.verdict = verdict(&record.parts);
}

fn as_(part: Part, of: fn(Element) -> Element) -> Part {
    Part { element: of(part.element), ..part }
}

/// A failure of a case that passed in the end.
const fn flaky(element: Element) -> Element {
    match element {
        Element::Failure | Element::RerunFailure => Element::FlakyFailure,
        Element::Error | Element::RerunError => Element::FlakyError,
        other => other,
    }
}

/// A failure of a later try.
const fn later(element: Element) -> Element {
    match element {
        Element::Failure | Element::FlakyFailure => Element::RerunFailure,
        Element::Error | Element::FlakyError => Element::RerunError,
        other => other,
    }
}

/// Passes on what the second attempt alone says.
struct Beside<'a> {
    tries: &'a mut Tries,
    to: &'a mut Collector,
}

impl Sink for Beside<'_> {
    fn suite(&mut self, _: &str, _: &[(String, String)], _: bool) {}
    fn property(&mut self, _: &str, _: &str) {}
    fn output(&mut self, _: bool, _: &str) {}
    fn end_suite(&mut self) {}

    fn problem(&mut self, problem: String) {
        self.to.problem(problem);
    }

    fn carried(&mut self, problem: String) {
        self.to.carried(problem);
    }

    fn case(&mut self, record: Record) {
        if self.tries.of(&record).is_none_or(|tried| !tried.known) {
            self.to.case(record);
        }
    }
}

#[cfg(test)]
#[path = "again_tests.rs"]
mod tests;
