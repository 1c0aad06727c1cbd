//! Whether a container whose cases failed came to its last one, as far as that can be seen from outside. Pure.
//!
//! That those which failed pass at another try says nothing of those that were never run, and of these no result tells.

use super::{
    facts::{ContainerState, Exit},
    verdict::Course,
};
use crate::{
    api::{CaseFilter, Tool, text},
    results::{self, Outcome},
};

/// Exit codes from here on are those of a shell for what it could not run, and for signals.
const NOT_THE_TOOLS: i64 = 126;
/// Options by which tools end at a failure: pytest, Go, Jest, mocha, PHPUnit, Robot, cargo and Playwright have them.
const STOPPING: [&str; 17] = [
    "-x",
    "--exitfirst",
    "--maxfail",
    "-failfast",
    "--failfast",
    "-test.failfast",
    "--test.failfast",
    "--fail-fast",
    "--bail",
    "-bail",
    "--stop-on-failure",
    "--stop-on-error",
    "--stop-on-defect",
    "--exitonfailure",
    "--sw",
    "--stepwise",
    "--max-failures",
];
/// What tools say at their end when they left cases out for a failure: nextest, and Playwright.
const STOPPED: [&str; 2] = [" not run due to ", "Testing stopped early after "];
/// What pytest has around the words by which it says that it stops, and around no others.
const INTERRUPTED: &str = "!!!";

/// Why cases may be left that were not run, for the end of the container or of what ran in it; `None` where nothing says so.
pub fn cut_short(
    state: &ContainerState,
    course: &Course,
    args: &[String],
    filter: &CaseFilter,
    outcome: &Outcome,
    log: &[u8],
) -> Option<String> {
    let ContainerState::Exited(Exit { code, out_of_memory, .. }) = state else {
        return Some("the container did not end by itself".to_owned());
    };
    if *out_of_memory || course.disturbed.is_some() || !(0..NOT_THE_TOOLS).contains(code) {
        return Some(format!(
            "the container was cut short (exit code {code}), so that cases may be left that were not run"
        ));
    }
    if filter.tool == Some(Tool::Pytest) && *code != 1 {
        // <https://docs.pytest.org/en/stable/reference/exit-codes.html>
        return Some(format!("pytest ended with {code}, by which it says more than that cases failed"));
    }
    stopped(args, filter.tool, outcome, log)
}

/// Why what ran in the container may have left cases out; `None` where nothing says so.
pub fn stopped(args: &[String], tool: Option<Tool>, outcome: &Outcome, log: &[u8]) -> Option<String> {
    let args = tools(args);
    if let Some(option) = args.iter().find(|arg| stops(arg)) {
        return Some(format!("with {option} cases are left that were not run"));
    }
    if tool == Some(Tool::Nextest) && !args.iter().any(|arg| arg == "--no-fail-fast") {
        return Some("cargo nextest ends at a failure: give it --no-fail-fast in spec.args".to_owned());
    }
    let log = String::from_utf8_lossy(log);
    let interrupts = |line: &&str| line.len() > 6 && line.starts_with(INTERRUPTED) && line.ends_with(INTERRUPTED);
    let interrupted = log.lines().map(str::trim).find(interrupts).map(|line| line.trim_matches('!'));
    if let Some(words) = STOPPED.iter().copied().find(|words| log.contains(words)).or(interrupted) {
        return Some(format!("cases are left that were not run: the log says \"{}\"", text::line(words.trim(), 200)));
    }
    let (case, _) = outcome.failures().find(|(_, said)| ended_all(tool, said))?;
    Some(format!("{case} may have ended the program of tests, so that cases may be left that were not run"))
}

/// Whether a case may have ended all those after it: a program of tests in Go ends by a panic, by a fault of its runtime,
/// or without a word. Where words are left out, that may be among them.
fn ended_all(tool: Option<Tool>, said: &str) -> bool {
    said.lines().any(|line| results::ends_all(line.trim_start()))
        || said.contains("it did not end")
        || tool == Some(Tool::GoTest) && said.contains("[testkit: ")
}

/// Without a shell and its own options, as in `bash -x /run.sh`: `-x` is another word to pytest.
fn tools(args: &[String]) -> &[String] {
    const SHELLS: [&str; 5] = ["sh", "bash", "dash", "ash", "zsh"];
    let Some((program, rest)) = args.split_first() else { return args };
    if !SHELLS.contains(&program.rsplit('/').next().unwrap_or_default()) {
        return args;
    }
    let options = rest.iter().take_while(|arg| arg.starts_with('-')).count();
    rest.get(options..).unwrap_or_default()
}

/// Whether an argument has a tool end at a failure; with a value of nothing it does not.
fn stops(arg: &str) -> bool {
    let (option, value) = arg.split_once('=').unwrap_or((arg, ""));
    STOPPING.contains(&option) && !["false", "0"].contains(&value)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use k8s_openapi::jiff::SignedDuration;

    use super::*;

    #[test]
    fn what_a_shell_is_told_is_no_word_to_the_tool() {
        let of = |words: &str| {
            let args: Vec<String> = words.split(' ').map(str::to_owned).collect();
            stopped(&args, Some(Tool::Pytest), &Outcome::default(), b"").is_some()
        };
        assert_eq!(["/bin/bash -ex /run.sh", "sh -x run", "pytest"].map(of), [false; 3]);
        assert_eq!(["/bin/bash -e /run.sh -x", "pytest -x", "python -m pytest -x"].map(of), [true; 3]);
    }

    #[test]
    fn what_left_cases_out_is_not_made_good_by_those_that_failed() {
        let exited = |code, out_of_memory| {
            ContainerState::Exited(Exit { ran: SignedDuration::ZERO, code, out_of_memory, error: None })
        };
        let (calm, disturbed) = (Course::default(), Course { disturbed: Some("gone".into()), ..Course::default() });
        type Row<'a> = (ContainerState, &'a Course, Tool, &'a [&'a str], &'a str, &'a str, Option<&'a str>);
        let table: [Row<'_>; 23] = [
            (exited(2, false), &calm, Tool::Pytest, &[], "", "", Some("pytest ended with 2")),
            (exited(1, false), &calm, Tool::Pytest, &["--sw"], "", "", Some("--sw")),
            (
                exited(1, false),
                &calm,
                Tool::Jest,
                &[],
                "",
                "!!! Interrupted: Test failed !!!",
                Some("Interrupted: Test failed"),
            ),
            (
                exited(1, false),
                &calm,
                Tool::Jest,
                &[],
                "",
                "Testing stopped early after 1 maximum allowed failures.",
                Some("stopped early"),
            ),
            (exited(1, false), &calm, Tool::Pytest, &["tests", "-v"], "assert 1 == 2", "1 failed", None),
            (exited(101, false), &calm, Tool::Libtest, &[], "thread 'a' panicked at a.rs:1", "", None),
            (exited(100, false), &calm, Tool::Nextest, &["--no-fail-fast"], "", "", None),
            (exited(100, false), &calm, Tool::Nextest, &[], "", "", Some("--no-fail-fast")),
            (exited(137, false), &calm, Tool::Pytest, &[], "", "", Some("137")),
            (exited(126, false), &calm, Tool::Pytest, &[], "", "", Some("126")),
            (exited(1, true), &calm, Tool::Pytest, &[], "", "", Some("cut short")),
            (exited(1, false), &disturbed, Tool::Pytest, &[], "", "", Some("cut short")),
            (ContainerState::Running, &calm, Tool::Pytest, &[], "", "", Some("by itself")),
            (exited(1, false), &calm, Tool::Pytest, &["-x"], "", "", Some("-x")),
            (exited(1, false), &calm, Tool::Pytest, &["--maxfail=2"], "", "", Some("--maxfail=2")),
            (exited(1, false), &calm, Tool::GoTest, &["-failfast=false"], "", "", None),
            (exited(1, false), &calm, Tool::Jest, &["--bail"], "", "", Some("--bail")),
            (
                exited(1, false),
                &calm,
                Tool::Pytest,
                &[],
                "",
                "!!!!! stopping after 1 failures !!!!!",
                Some("stopping after"),
            ),
            (
                exited(4, false),
                &calm,
                Tool::Libtest,
                &[],
                "",
                "3/7 tests were not run due to test failure",
                Some("not run"),
            ),
            (exited(2, false), &calm, Tool::GoTest, &[], "--- FAIL: TestB\npanic: boom", "", Some("b may have ended")),
            (
                exited(2, false),
                &calm,
                Tool::GoTest,
                &[],
                "fatal error: all goroutines are asleep",
                "",
                Some("b may have ended"),
            ),
            (exited(1, false), &calm, Tool::GoTest, &[], "it did not end", "", Some("b may have ended")),
            (
                exited(1, false),
                &calm,
                Tool::GoTest,
                &[],
                "a [testkit: 9 bytes are left out here] b",
                "",
                Some("b may have"),
            ),
        ];
        for (state, course, tool, args, said, log, wanted) in table {
            let args: Vec<String> = args.iter().map(ToString::to_string).collect();
            let filter = CaseFilter { tool: Some(tool), ..CaseFilter::default() };
            let xml = format!("<testsuite><testcase name=\"b\"><failure>{said}</failure></testcase></testsuite>");
            let outcome = Outcome::of_files(&BTreeMap::from([("a.xml".to_owned(), xml.into_bytes())]));
            assert_eq!(outcome.failed(), 1);
            let got = cut_short(&state, course, &args, &filter, &outcome, log.as_bytes());
            match wanted {
                None => assert_eq!(got, None, "{args:?} {said} {log}"),
                Some(words) => assert!(got.as_ref().is_some_and(|g| g.contains(words)), "{words}: {got:?}"),
            }
        }
    }
}
