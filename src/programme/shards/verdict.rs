//! Judges a run by its shards: a pure function of how each ended, and of what they left together. It has passed where
//! each has passed, or had no case to run while another one had.

use std::collections::BTreeSet;

use crate::{
    api::{CaseFailure, E2ERunSpec, Tool, reason, text},
    results::{Tally, Together},
};

/// The most failing cases status tells of.
const FAILURES: usize = 20;
/// The most names of cases, of shards, and of problems in a message.
const NAMED: (usize, usize, usize) = (10, 5, 5);

/// How a shard ended.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ended {
    /// Its number.
    pub number: u32,
    /// The name of its run.
    pub run: String,
    /// It is `Complete`.
    pub passed: bool,
    /// Why it ended so, one of [`reason`].
    pub reason: String,
    /// The same in words.
    pub message: String,
    /// The exit code of its container.
    pub exit_code: Option<i64>,
    /// The cases that it counts; `None` where it counts none.
    pub counts: Option<Tally>,
    /// The first of those that failed.
    pub failures: Vec<CaseFailure>,
    /// It has counted cases, and the results are not there any more.
    pub lost: bool,
    /// What image it ran: what its registry knows it by, or its id.
    pub image: Option<String>,
}

/// How the run ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// The tests passed.
    pub passed: bool,
    /// Why, one of [`reason`].
    pub reason: String,
    /// The same in words.
    pub message: String,
    /// The cases of all shards, each counted once; `None` where none of them counts any.
    pub counts: Option<Tally>,
    /// The first cases that failed.
    pub failures: Vec<CaseFailure>,
}

/// Judges.
#[must_use]
pub fn verdict(spec: &E2ERunSpec, shards: &[Ended], together: &Together) -> Verdict {
    let counts = counts(shards, together.counted_again);
    let mut failures: Vec<CaseFailure> = Vec::new();
    for failure in shards.iter().flat_map(|shard| &shard.failures) {
        if failures.len() < FAILURES && failures.iter().all(|known| known.name != failure.name) {
            failures.push(failure.clone());
        }
    }
    let judge = Judge { spec, shards, together, counts: counts.unwrap_or_default(), failures: &failures };
    let (why, message) = judge.verdict();
    Verdict { passed: why == reason::PASSED, reason: why.to_owned(), message, counts, failures }
}

/// The cases of all shards, without those that another one has counted.
fn counts(shards: &[Ended], again: Tally) -> Option<Tally> {
    let mut all = shards.iter().filter_map(|shard| shard.counts).reduce(|a, b| Tally {
        passed: a.passed + b.passed,
        flaky: a.flaky + b.flaky,
        failed: a.failed + b.failed,
        skipped: a.skipped + b.skipped,
    })?;
    all.passed = all.passed.saturating_sub(again.passed);
    all.flaky = all.flaky.saturating_sub(again.flaky);
    all.failed = all.failed.saturating_sub(again.failed);
    all.skipped = all.skipped.saturating_sub(again.skipped);
    Some(all)
}

struct Judge<'a> {
    spec: &'a E2ERunSpec,
    shards: &'a [Ended],
    together: &'a Together,
    counts: Tally,
    failures: &'a [CaseFailure],
}

impl Judge<'_> {
    /// The reason and the words, the most telling thing first.
    fn verdict(&self) -> (&str, String) {
        let cancelled = |shard: &&Ended| shard.reason == reason::CANCELLED;
        if self.spec.cancel && self.shards.iter().any(|shard| cancelled(&shard)) {
            return (reason::CANCELLED, format!("the run was cancelled by spec.cancel; {}", self.so_far()));
        }
        let red: Vec<&Ended> = self.shards.iter().filter(|shard| !shard.passed && !self.had_none(shard)).collect();
        let Tally { passed, flaky, failed, skipped } = self.counts;
        let all = self.counts.total();
        if failed > 0 {
            let named: Vec<_> = self.failures.iter().take(NAMED.0).map(|f| text::line(&f.name, 100)).collect();
            let more = if failed > named.len() { ", …" } else { "" };
            let others: Vec<&Ended> = red.into_iter().filter(|shard| shard.reason != reason::CASES_FAILED).collect();
            let overlap = self.together.overlap.as_ref().map_or_else(String::new, |words| format!("; {words}"));
            let message = format!(
                "{failed} of {all} {} failed: {}{more}{}{overlap}",
                cases(all),
                named.join(", "),
                self.also("; and", &others)
            );
            return (reason::CASES_FAILED, message);
        }
        // One that was ended says less than one that ended by itself.
        let first = red.iter().find(|shard| !cancelled(shard)).or(red.first()).copied();
        if let Some(first) = first {
            let others: Vec<&Ended> = red.into_iter().filter(|shard| shard.number != first.number).collect();
            let message = format!(
                "shard {} of {} ({}): {}{}",
                first.number,
                self.shards.len(),
                first.run,
                first.message,
                self.also("; so did not pass", &others)
            );
            return (&first.reason, message);
        }
        if let Some((one, other)) = self.images() {
            let message = format!(
                "{} was another image for one shard than for another ({one}, {other}), so that nobody may have run a case that only one of them has: write it with its digest",
                self.spec.image
            );
            return (reason::NO_RESULTS, message);
        }
        if let Some(overlap) = &self.together.overlap {
            let message = format!(
                "{overlap}. The image is to run the cases of its shard alone: by TESTKIT_SHARD_INDEX and TESTKIT_SHARD_TOTAL, or by arguments such as --shard=$(TESTKIT_SHARD_INDEX)/$(TESTKIT_SHARD_TOTAL) in spec.args"
            );
            return (reason::SHARDS_OVERLAP, message);
        }
        if let Some(problems) = self.problems() {
            return (reason::NO_RESULTS, format!("the results cannot be read completely: {problems}"));
        }
        let many = self.shards.len();
        if passed + flaky == 0 && !self.spec.results.allow_empty {
            let message = format!(
                "no case was run in any of {many} shards ({skipped} skipped). Where that is as it should be, set spec.results.allowEmpty"
            );
            return (reason::NO_CASES, message);
        }
        let mut and = if flaky > 0 { format!(", {flaky} at a second try only") } else { String::new() };
        if skipped > 0 {
            and.push_str(&format!(", {skipped} skipped"));
        }
        let none = match self.shards.iter().filter(|shard| self.had_none(shard)).count() {
            0 => String::new(),
            none => format!(", of which {none} had none to run"),
        };
        (reason::PASSED, format!("{passed} {} passed{and}, in {many} shards{none}", cases(passed)))
    }

    /// Whether a shard had no case to run, and nothing else was wrong with it.
    fn had_none(&self, shard: &Ended) -> bool {
        // Some tools have an exit code of their own for that.
        let own = self.spec.retries.filter.as_ref().and_then(|filter| filter.tool).and_then(without_cases);
        let well = shard.exit_code == Some(0) || own.is_some() && shard.exit_code == own;
        !shard.passed && shard.reason == reason::NO_CASES && well
    }

    /// Two images that are certainly not the same: one image has different ids on engines of different kinds, and one digest.
    fn images(&self) -> Option<(&str, &str)> {
        let known = self.shards.iter().filter_map(|shard| shard.image.as_deref()).filter(|image| image.contains('@'));
        let all: BTreeSet<&str> = known.collect();
        Some((all.first().copied()?, all.last().copied()?)).filter(|(first, last)| first != last)
    }

    /// Others that did not pass either.
    fn also(&self, how: &str, others: &[&Ended]) -> String {
        if others.is_empty() {
            return String::new();
        }
        let named: Vec<_> = others.iter().take(NAMED.1).map(|s| format!("{} ({})", s.number, s.reason)).collect();
        let more = if others.len() > named.len() { ", …" } else { "" };
        format!("{how} shard{} {}{more}", if others.len() == 1 { "" } else { "s" }, named.join(", "))
    }

    fn so_far(&self) -> String {
        let Tally { passed, failed, .. } = self.counts;
        format!("{passed} {} had passed and {failed} failed", cases(passed))
    }

    fn problems(&self) -> Option<String> {
        let lost = self.shards.iter().filter(|shard| shard.lost);
        let lost = lost.map(|shard| format!("those of shard {} ({}) are not there any more", shard.number, shard.run));
        let all: Vec<String> = lost.chain(self.together.problems.iter().map(|p| text::line(p, 200))).collect();
        let more = all.len().saturating_sub(NAMED.2);
        let more = if more > 0 { format!("; and {more} more") } else { String::new() };
        (!all.is_empty()).then(|| format!("{}{more}", all[..all.len().min(NAMED.2)].join("; ")))
    }
}

/// The exit code of a tool that had no case to run.
const fn without_cases(tool: Tool) -> Option<i64> {
    match tool {
        // <https://docs.pytest.org/en/stable/reference/exit-codes.html>
        Tool::Pytest => Some(5),
        // NO_TESTS_RUN of nextest's NextestExitCode.
        Tool::Nextest => Some(4),
        Tool::GoTest | Tool::Jest | Tool::Libtest => None,
    }
}

const fn cases(count: usize) -> &'static str {
    if count == 1 { "case" } else { "cases" }
}
