//! What a suite counts, and whether its cases bear it out.

use super::{
    super::text,
    words::{self, Told},
};

/// What was seen within a suite, those within it included.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// Cases.
    pub(super) cases: u64,
    /// Of them, those that were skipped.
    pub(super) skipped: u64,
    /// Of them, those that passed.
    pub(super) passed: u64,
    /// Everything that says that something failed, tries that were done again included.
    pub(super) failures: u64,
    /// A suite in it counts what its cases do not bear out, and that was said.
    pub(super) told: bool,
    /// Suites in it count so many cases more than they show, and what is to be said of the first one.
    pub(super) short: Option<(u64, String)>,
}

impl Seen {
    /// Takes in what was seen in a suite within.
    pub(super) fn add(&mut self, inner: Self) {
        if let Some((count, said)) = inner.short {
            let (before, first) = self.short.take().unwrap_or((0, said));
            self.short = Some((before.saturating_add(count), first));
        }
        self.cases += inner.cases;
        self.skipped += inner.skipped;
        self.passed += inner.passed;
        self.failures += inner.failures;
        self.told |= inner.told;
    }
}

/// What a suite's attributes say of its cases.
#[derive(Clone, Debug, Default)]
pub(super) struct Declared {
    tests: Option<u64>,
    skipped: u64,
    /// The greatest number that is named like a failure, and the sum where they may be different ones.
    failures: u64,
    sum: u64,
    /// Says that it failed, and not how often.
    failed: Option<String>,
    /// What cannot be read.
    unreadable: Option<String>,
    /// Counts other things than cases: assertions, as Catch2 does, or parts of a case.
    assertions: bool,
}

impl Declared {
    /// The tests that it counts are not cases: pytest counts each subtest that passed, and writes none of them.
    pub(super) const fn counts_parts(&mut self) {
        self.assertions = true;
    }

    /// Whether the tests that it counts are cases.
    pub(super) const fn counts_cases(&self) -> bool {
        !self.assertions
    }

    /// What is told of one is told of all.
    fn unreadable(&mut self, name: &str, value: &str) {
        self.unreadable.get_or_insert_with(|| format!("{name}={:?}", text::bounded(value, 200)));
    }

    /// Takes in an attribute; its name in lower case.
    pub(super) fn attribute(&mut self, name: &str, value: &str) {
        let number = value.trim().parse::<f64>().ok().filter(|n| n.is_finite() && *n >= 0.0).map(|n| n as u64);
        match name {
            "tests" => match number {
                Some(tests) => self.tests = Some(self.tests.unwrap_or(0).max(tests)),
                None if words::nothing(value) => {}
                None => self.unreadable(name, value),
            },
            "skipped" | "disabled" | "ignored" | "skips" | "notrun" | "pending" => {
                self.skipped = self.skipped.saturating_add(number.unwrap_or(0));
            }
            "hostname" => self.assertions |= value == "tbd",
            _ if words::like_failure(name) => match number {
                Some(count) => {
                    self.failures = self.failures.max(count);
                    // Some tools write one number under both names.
                    self.sum = if count == self.sum { count } else { self.sum.saturating_add(count) };
                }
                None if words::nothing(value) => {}
                None if matches!(name, "failures" | "errors") => self.unreadable(name, value),
                None => self.failed = Some(format!("{name}={:?}", text::bounded(value, 200))),
            },
            _ if words::told(name, value) == Some(Told::Failed) => {
                self.failed = Some(format!("{name}={:?}", text::bounded(value, 200)));
            }
            _ => {}
        }
    }

    /// What the cases do not bear out, in words that go on after the suite's name. `direct` are the
    /// cases that ran in the suite itself.
    pub(super) fn doubts(&self, seen: &Seen, direct: u64) -> Vec<String> {
        let mut doubts: Vec<String> =
            self.unreadable.iter().map(|what| format!("counts in no number: {what}")).collect();
        if let Some(failed) = self.failed.as_ref().filter(|_| seen.failures == 0) {
            doubts.push(format!("says {failed} and shows no failure"));
        }
        if seen.told {
            return doubts;
        }
        if self.sum > seen.failures && (self.failures > seen.failures || self.sum != self.failures) {
            let shown = if seen.failures == 0 { "none".to_owned() } else { seen.failures.to_string() };
            doubts.push(format!("counts {} and shows {shown}", many(self.sum, "failure")));
        }
        let Some(tests) = self.tests.filter(|_| !self.assertions) else { return doubts };
        if direct > tests.saturating_add(seen.failures) {
            doubts.push(format!("counts {} and shows {direct}", many(tests, "case")));
        } else if tests > 0 && self.skipped >= tests && seen.skipped == 0 && seen.passed > 0 {
            doubts.push(format!(
                "counts all of its {} as skipped and shows {} that passed",
                many(tests, "case"),
                seen.passed
            ));
        }
        doubts
    }

    /// How many cases the suite, or the suites in it, count and do not show, and what is to be said of it. Those
    /// that were skipped may be left out, and the one who counts them may be a suite around.
    pub(super) fn short(&self, seen: &Seen, suite: &str) -> Option<(u64, String)> {
        let unlisted = self.skipped.saturating_sub(seen.skipped);
        let within = seen.short.clone().filter(|(count, _)| *count > unlisted);
        within.or_else(|| {
            let tests = self.tests.filter(|_| !self.assertions && !seen.told)?;
            // One case may fail in several ways, each of which some tools count.
            let shown = seen.cases.saturating_add(unlisted).saturating_add(seen.failures);
            let said = || format!("{suite} counts {} and shows {}", many(tests, "case"), seen.cases);
            tests.checked_sub(shown).filter(|count| *count > 0).map(|count| (count, said()))
        })
    }
}

fn many(count: u64, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What it is, its attributes, what was seen, what ran in the suite itself, and what is said.
    type Row = (&'static str, &'static [(&'static str, &'static str)], Seen, u64, &'static str);

    #[test]
    fn counts_that_disagree_are_said_and_habits_of_tools_are_not() {
        let seen =
            |cases, skipped, failures| Seen { cases, skipped, failures, passed: cases - skipped, ..Seen::default() };
        let table: [Row; 19] = [
            ("right", &[("tests", "3"), ("failures", "1"), ("skipped", "1")], seen(3, 1, 1), 2, ""),
            ("more tests", &[("tests", "40")], seen(12, 0, 0), 12, "counts 40 cases and shows 12"),
            ("fewer tests", &[("tests", "1")], seen(3, 0, 0), 3, "counts 1 case and shows 3"),
            ("tests of Ginkgo 1, that leave out what is skipped", &[("tests", "1")], seen(3, 2, 0), 1, ""),
            ("skipped ones that are not listed", &[("tests", "40"), ("skipped", "38")], seen(2, 0, 0), 2, ""),
            (
                "all skipped, none marked",
                &[("tests", "3"), ("skipped", "3")],
                seen(3, 0, 0),
                3,
                "counts all of its 3 cases as skipped and shows 3 that passed",
            ),
            ("a failure and none", &[("failures", "1")], seen(1, 0, 0), 1, "counts 1 failure and shows none"),
            ("an error and none", &[("errors", "2")], seen(1, 0, 0), 1, "counts 2 failures and shows none"),
            ("both", &[("failures", "1"), ("errors", "2")], seen(1, 0, 1), 1, "counts 3 failures and shows 1"),
            ("Mocha's one number twice", &[("failures", "1"), ("errors", "1")], seen(1, 0, 1), 1, ""),
            (
                "pytest's case that passed with an error after it",
                &[("tests", "2"), ("errors", "1")],
                seen(1, 0, 1),
                1,
                "",
            ),
            ("no number", &[("failures", "many")], seen(1, 0, 0), 1, "counts in no number: failures=\"many\""),
            ("empty", &[("failures", ""), ("errors", "None")], seen(1, 0, 0), 1, ""),
            ("failed", &[("failed", "1")], seen(1, 0, 0), 1, "counts 1 failure and shows none"),
            ("status", &[("status", "failed")], seen(1, 0, 0), 1, "says status=\"failed\" and shows no failure"),
            ("success", &[("success", "False")], seen(1, 0, 0), 1, "says success=\"False\" and shows no failure"),
            ("Catch2's assertions", &[("hostname", "tbd"), ("tests", "9")], seen(1, 0, 0), 1, ""),
            ("floats", &[("tests", "1.0"), ("failures", "0.0")], seen(1, 0, 0), 1, ""),
            (
                "enormous",
                &[("tests", "99999999999999999999999")],
                seen(1, 0, 0),
                1,
                "counts 18446744073709551615 cases and shows 1",
            ),
        ];
        for (what, attributes, seen, direct, expected) in table {
            let mut declared = Declared::default();
            attributes.iter().for_each(|(name, value)| declared.attribute(name, value));
            let short = declared.short(&seen, "s").map(|(_, said)| said.trim_start_matches("s ").to_owned());
            let doubts: Vec<String> = declared.doubts(&seen, direct).into_iter().chain(short).collect();
            assert_eq!(doubts.join("; "), expected, "{what}");
        }
    }
}
