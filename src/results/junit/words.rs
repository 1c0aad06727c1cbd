//! What names and words mean. Every element and every word that could tell of a case's end is
//! of one of these kinds, so that none is passed over for want of a rule.

/// What an element is, by its name alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    /// `testsuites` and `testsuite`.
    Suites,
    Suite,
    Case,
    /// `failure`, `error`.
    Failure,
    /// An earlier try that failed, of a case that passed in the end.
    Flaky,
    /// A later try that failed too.
    Rerun,
    Skipped,
    Out,
    Err,
    Properties,
    Property,
    /// Tells in its text how a case ended: `<status>failed</status>`.
    Status,
    /// Named like a failure, and none of those that JUnit has.
    LikeFailure,
    /// Named like a case, and not the one that JUnit has.
    LikeCase,
    Other,
}

/// A tag's name without the prefix of its namespace, in lower case.
pub(super) fn local(name: &str) -> String {
    name.rsplit(':').next().unwrap_or(name).to_lowercase()
}

/// The kind of an element, by its local name in lower case.
pub(super) fn sort(name: &str) -> Sort {
    match name {
        "testsuites" => Sort::Suites,
        "testsuite" => Sort::Suite,
        "testcase" => Sort::Case,
        "failure" | "error" => Sort::Failure,
        "flakyfailure" | "flakyerror" => Sort::Flaky,
        "rerunfailure" | "rerunerror" => Sort::Rerun,
        "skipped" | "skip" | "disabled" | "ignored" | "pending" | "notrun" => Sort::Skipped,
        "system-out" => Sort::Out,
        "system-err" => Sort::Err,
        "properties" => Sort::Properties,
        "property" => Sort::Property,
        "status" | "result" | "outcome" | "verdict" | "success" | "passed" => Sort::Status,
        "test" | "case" | "test-case" | "test_case" | "testmethod" | "test-method" | "scenario" | "spec" => {
            Sort::LikeCase
        }
        _ if like_failure(name) => Sort::LikeFailure,
        _ => Sort::Other,
    }
}

/// Whether a name or a word speaks of a failure.
pub(super) fn like_failure(name: &str) -> bool {
    ["fail", "error", "exception", "panic", "crash", "abort", "fatal", "broken", "timedout"]
        .iter()
        .any(|word| name.contains(word))
}

/// What a word tells of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    Passed,
    Failed,
    Skipped,
    /// Nothing, as an empty word.
    Nothing,
    /// Something that is not known here.
    Unknown,
}

/// What the attribute of a case tells; `None` for one that is not about its end.
pub(super) fn told(name: &str, value: &str) -> Option<Told> {
    let value = value.trim().to_lowercase();
    let holds = match value.as_str() {
        "true" | "yes" | "1" => Some(true),
        "false" | "no" | "0" => Some(false),
        _ => None,
    };
    match name {
        "status" | "result" | "outcome" | "verdict" => Some(word(&value)),
        // Other things have a state too.
        "state" | "conclusion" => Some(word(&value)).filter(|told| *told != Told::Unknown),
        "success" | "successful" | "passed" => {
            Some(holds.map_or_else(|| word(&value), |yes| if yes { Told::Passed } else { Told::Failed }))
        }
        "executed" => Some(if holds == Some(false) { Told::Skipped } else { Told::Nothing }),
        "skipped" | "disabled" | "ignored" => Some(if holds == Some(true) { Told::Skipped } else { Told::Nothing }),
        _ if like_failure(name) => Some(if nothing(&value) { Told::Nothing } else { Told::Failed }),
        _ => None,
    }
}

/// What a word tells that stands alone.
pub(super) fn word(word: &str) -> Told {
    let plain: String = word.chars().filter(|c| c.is_alphanumeric()).collect::<String>().to_lowercase();
    match plain.as_str() {
        "" => Told::Nothing,
        "passed" | "pass" | "success" | "successful" | "succeeded" | "ok" | "okay" | "run" | "completed"
        | "complete" | "done" | "executed" | "finished" | "green" | "true" | "expected" | "warning" | "fixed" => {
            Told::Passed
        }
        "notrun" | "notexecuted" | "skipped" | "skip" | "disabled" | "ignored" | "ignore" | "pending" | "todo"
        | "suppressed" | "untested" | "excluded" | "deselected" | "filtered" | "blocked" | "unsupported" => {
            Told::Skipped
        }
        "timeout" | "killed" | "interrupted" | "undefined" | "red" | "false" | "unexpected" | "inconclusive" | "ko"
        | "nok" | "notok" | "bad" | "ambiguous" | "stopped" | "cancelled" | "canceled" | "unsuccessful" => Told::Failed,
        "xfail" | "xfailed" | "expectedfailure" | "expectedfail" => Told::Skipped,
        other if like_failure(other) => Told::Failed,
        _ => Told::Unknown,
    }
}

/// Whether the value of something that is named like a failure says that there is none.
pub(super) fn nothing(value: &str) -> bool {
    let value = value.trim();
    matches!(value.to_lowercase().as_str(), "" | "0" | "false" | "no" | "none" | "null" | "n/a" | "-")
        || value.parse::<f64>().is_ok_and(|n| n == 0.0)
}

/// Looks through loose text, line by line, for words of a failure.
#[derive(Debug, Default)]
pub(super) struct Loose {
    line: String,
    /// Something but spaces was there.
    pub(super) any: bool,
}

/// The most of a line that is looked at.
const LINE: usize = 1024;

impl Loose {
    /// Appends; the first line that looks like a failure.
    pub(super) fn push(&mut self, text: &str) -> Option<String> {
        let mut found = None;
        let mut lines = text.split('\n').peekable();
        while let Some(part) = lines.next() {
            self.any |= !part.trim().is_empty();
            super::super::text::push_bounded(&mut self.line, part, LINE);
            if lines.peek().is_some() {
                found = found.or_else(|| self.end());
            }
        }
        found
    }

    /// Ends the line; gives it where it looks like a failure.
    pub(super) fn end(&mut self) -> Option<String> {
        let line = super::super::text::name(&std::mem::take(&mut self.line), LINE);
        speaks_of_failure(&line).then_some(line)
    }
}

/// Whether a line says that something failed, and not that nothing did.
pub(in crate::results) fn speaks_of_failure(line: &str) -> bool {
    let lower = line.to_lowercase();
    if !like_failure(&lower) && !lower.contains("traceback") && !lower.contains("err!") {
        return false;
    }
    let mut words: Vec<(Option<char>, &str)> = Vec::new();
    let mut before = None;
    let mut start = None;
    for (at, c) in lower.char_indices().chain([(lower.len(), ' ')]) {
        match (c.is_alphanumeric(), start) {
            (true, None) => start = Some(at),
            (false, Some(from)) => {
                words.push((before, &lower[from..at]));
                start = None;
                before = Some(c);
            }
            (false, None) => before = Some(c),
            (true, Some(_)) => {}
        }
    }
    let is = |word: Option<&(Option<char>, &str)>, wanted: &[&str]| word.is_some_and(|(_, w)| wanted.contains(w));
    words.iter().enumerate().any(|(at, (joined, word))| {
        let speaks = like_failure(word) || matches!(*word, "traceback" | "err");
        // An option or a part of a path is no sentence.
        let part = matches!(joined, Some('-' | '_' | '/' | '.' | '='));
        let before = at.checked_sub(1).and_then(|i| words.get(i));
        speaks
            && !part
            && !is(before, &["0", "no", "without", "zero"])
            && !is(words.get(at + 1), &["0", "none", "zero"])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_its_sort() {
        for (name, expected) in [
            ("testsuite", Sort::Suite),
            ("J:TestCase", Sort::Case),
            ("ERROR", Sort::Failure),
            ("flakyFailure", Sort::Flaky),
            ("rerunError", Sort::Rerun),
            ("assertionFailure", Sort::LikeFailure),
            ("failed", Sort::LikeFailure),
            ("exception", Sort::LikeFailure),
            ("test", Sort::LikeCase),
            ("system-err", Sort::Err),
            ("attachments", Sort::Other),
        ] {
            assert_eq!(sort(&local(name)), expected, "{name}");
        }
    }

    #[test]
    fn every_word_of_a_case_tells_something_or_is_unknown() {
        for (name, value, expected) in [
            ("status", "passed", Some(Told::Passed)),
            ("status", "run", Some(Told::Passed)),
            ("status", "FAILED", Some(Told::Failed)),
            ("status", "timed_out", Some(Told::Failed)),
            ("status", "panicked", Some(Told::Failed)),
            ("status", "not_run", Some(Told::Skipped)),
            ("status", "", Some(Told::Nothing)),
            ("status", "weird", Some(Told::Unknown)),
            ("result", "failure", Some(Told::Failed)),
            ("result", "completed", Some(Told::Passed)),
            ("success", "False", Some(Told::Failed)),
            ("executed", "False", Some(Told::Skipped)),
            ("failures", "0", Some(Told::Nothing)),
            ("failures", "1", Some(Told::Failed)),
            ("error-message", "", Some(Told::Nothing)),
            ("error-message", "boom", Some(Told::Failed)),
            ("state", "enabled", None),
            ("state", "failed", Some(Told::Failed)),
            ("name", "failed", None),
        ] {
            assert_eq!(told(name, value), expected, "{name}={value}");
        }
    }

    #[test]
    fn a_line_that_denies_a_failure_is_none() {
        for (line, expected) in [
            ("FAIL: everything", true),
            ("npm ERR! code 1", true),
            ("1 failed, 3 passed", true),
            ("Traceback (most recent call last):", true),
            ("panic: runtime error", true),
            ("AssertionError: no", true),
            ("3 passed, 0 failed", false),
            ("failures: 0, errors: 0", false),
            ("no errors", false),
            ("> pytest --maxfail=1 --fail-fast", false),
            ("Done in 3s & more", false),
            ("wrote /tmp/errors.txt", false),
        ] {
            assert_eq!(speaks_of_failure(line), expected, "{line}");
        }
    }
}
