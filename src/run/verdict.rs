//! Judges a run that ended: pure functions of how its container ended, what its results say
//! and the end of its log. Whatever is in doubt has not passed.

mod end;
mod fault;
mod quarantine;

use std::{ops::RangeInclusive, time::Duration};

pub use end::{Counts, Course, Cut, End};
pub use fault::{no_platform, of_start};
use k8s_openapi::jiff::Timestamp;
use quarantine::Quarantine;
pub use quarantine::{Excused, strangers};

use super::{
    facts::{Container, ContainerState, Exit},
    filter, whole,
};
use crate::{
    api::{self, CaseFailure, E2ERunSpec, ResultsFormat, Tool, reason, text},
    host::HostId,
    results::Outcome,
};

/// The most failing cases status tells of, and the most characters of each (etcd holds 1.5 MiB an object).
const FAILURES: (usize, usize) = (20, 1024);
/// The most problems that are told of.
const PROBLEMS: usize = 5;

/// Judges what a container left; `now` is the time by which quarantines hold or have ended.
#[must_use]
pub fn judge(
    spec: &E2ERunSpec,
    at: (HostId, Container),
    course: &Course,
    outcome: &Outcome,
    log: &[u8],
    now: Timestamp,
) -> End {
    let filter = filter::of(spec, at.1.filter.as_deref());
    let tool = filter.as_ref().ok().and_then(|filter| filter.tool);
    // What a failure has kept from being run is not made good by its being known.
    let stopped = whole::stopped(&at.1.started, tool, outcome, log).filter(|_| !spec.quarantine.is_empty());
    let items = if stopped.is_some() { &[][..] } else { &spec.quarantine };
    let quarantine = Quarantine::of(items, outcome, now);
    let (reason, message) = Judge { spec, course, outcome, log, quarantine: &quarantine, tool }.verdict(&at.1.state);
    let void = stopped.map_or_else(String::new, |why| format!(". The quarantine does not hold: {why}"));
    let cases_failed = reason == reason::CASES_FAILED && spec.retries.failed_cases > 0;
    let names = || {
        let filter = filter.as_ref().map_err(Clone::clone)?;
        match whole::cut_short(&at.1.state, course, &at.1.started, filter, outcome, log) {
            Some(words) => Err(words),
            None => filter::failed(outcome, filter, |case| !quarantine.excuses(case)),
        }
    };
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let read = !outcome.cases.is_empty() || outcome.junit.is_some();
    End {
        complete: reason == reason::PASSED,
        counts: read.then(|| Counts {
            passed: count(outcome.passed()),
            failed: count(quarantine.failed()),
            skipped: count(outcome.skipped()),
            flaky: count(outcome.flaky()),
            quarantined: count(quarantine.excused()),
        }),
        failures: quarantine
            .failures()
            .take(FAILURES.0)
            .map(|(name, message)| CaseFailure {
                name: text::line(name, FAILURES.1),
                message: text::lines(message, FAILURES.1),
            })
            .collect(),
        again: cases_failed.then(names),
        container: Some(at),
        ran: course.ran,
        excused: quarantine.warning(),
        ..End::without_container(reason, format!("{message}{}{void}", quarantine.words()))
    }
}

/// The end of several attempts together, which is no pass where the last one by itself is none: what excuses the cases
/// of one before does not excuse its exit code.
#[must_use]
pub fn all_of_it(end: End) -> End {
    match &end.own {
        Some((why, words)) if end.complete && *why != reason::PASSED => {
            End { complete: false, reason: why, message: words.clone(), ..end }
        }
        _ => end,
    }
}

type Verdict = (&'static str, String);

struct Judge<'a> {
    spec: &'a E2ERunSpec,
    course: &'a Course,
    outcome: &'a Outcome,
    log: &'a [u8],
    quarantine: &'a Quarantine<'a>,
    /// What ran in the container, where that is told.
    tool: Option<Tool>,
}

impl Judge<'_> {
    /// The reason and the words, the most telling thing first.
    fn verdict(&self, state: &ContainerState) -> Verdict {
        if let Some(cut) = self.course.cut {
            let message = format!("{}; {}{}", cut.why(self.spec), self.left(cut, state), cut.remedy());
            return (cut.reason(), message);
        }
        let ContainerState::Exited(exit) = state else {
            return (reason::INFRASTRUCTURE, "the container has not ended, and nobody told it to".to_owned());
        };
        if self.course.overdue {
            let ran = self.course.ran.map_or_else(String::new, |(_, ran)| format!(" after {}", took(ran)));
            let message = format!(
                "the container ended by itself{ran}, which is longer than spec.timeout ({}): it could not be stopped in time{}; {}",
                self.spec.timeout,
                self.disturbance(),
                self.so_far()
            );
            return (reason::DEADLINE_EXCEEDED, message);
        }
        let by_results = match self.spec.results.format {
            ResultsFormat::Auto => self.by_results(exit),
            ResultsFormat::ExitCode => None,
        };
        by_results.unwrap_or_else(|| self.by_exit_code(exit))
    }

    /// What the results say against a pass, or for one.
    fn by_results(&self, exit: &Exit) -> Option<Verdict> {
        let (failed, skipped) = (self.quarantine.failed(), self.outcome.skipped());
        let (all, flaky, excused) = (self.outcome.total(), self.outcome.flaky(), self.quarantine.excused());
        let problems = self.problems();
        if failed > 0 {
            let names: Vec<_> = self.quarantine.failures().map(|(name, _)| text::line(name, 100)).take(10).collect();
            let more = if failed > names.len() { ", …" } else { "" };
            let doubts = problems.map_or_else(String::new, |p| format!(" (and results are missing: {p})"));
            let memory = if exit.out_of_memory { format!(" ({})", self.code(exit)) } else { String::new() };
            // Beside very many that are in quarantine there may be none that is listed.
            let names =
                if names.is_empty() { "they are not listed".to_owned() } else { format!("{}{more}", names.join(", ")) };
            let message =
                format!("{failed} of {all} {} failed: {names}{doubts}{memory}{}", cases(all), self.disturbance());
            return Some((reason::CASES_FAILED, message));
        }
        let explained = exit.code == 0 || self.is_explained(exit);
        if !explained && all > 0 && problems.is_none() {
            return None;
        }
        if let Some(problems) = problems {
            let message =
                format!("the results cannot be read completely: {problems} ({}){}", self.code(exit), self.said());
            return Some(self.unless_broken(exit, reason::NO_RESULTS, message));
        }
        let path = &self.spec.results.path;
        let empty = match (all, self.outcome.junit.is_some()) {
            (0, false) => {
                Some((reason::NO_RESULTS, format!("no results of a form that is read, in {path} or in the log")))
            }
            (0, true) => Some((reason::NO_CASES, format!("the results in {path} have no case"))),
            // A quarantine is of what runs beside others: by itself it shows nothing.
            _ if self.outcome.passed() + flaky == 0 && excused > 0 => Some((
                reason::NO_CASES,
                format!(
                    "no case was run that counts: of {all} {excused} failed in quarantine, and {skipped} were skipped"
                ),
            )),
            _ if self.outcome.passed() + flaky == 0 => {
                Some((reason::NO_CASES, format!("no case was run: all {all} were skipped")))
            }
            _ => None,
        };
        match empty {
            Some((_, what)) if explained && self.spec.results.allow_empty => {
                Some((reason::PASSED, format!("{what}, which spec.results.allowEmpty allows")))
            }
            Some((reason::NO_CASES, what)) => {
                let message = format!(
                    "{what}, {}. Where that is as it should be, set spec.results.allowEmpty{}",
                    self.code(exit),
                    self.said()
                );
                Some(self.unless_broken(exit, reason::NO_CASES, message))
            }
            Some((why, what)) => {
                Some(self.unless_broken(exit, why, format!("{what}, {}{}", self.code(exit), self.said())))
            }
            None => {
                let passed = self.outcome.passed();
                let mut and = if flaky > 0 { format!(", {flaky} at a second try only") } else { String::new() };
                if skipped > 0 {
                    and.push_str(&format!(", {skipped} skipped"));
                }
                Some((reason::PASSED, format!("{passed} {} passed{and}", cases(passed))))
            }
        }
    }

    /// Whether an exit code that is not 0 says no more than that cases failed which are in quarantine. What broke beside
    /// them ends a program otherwise: by a signal, by a fault of the host or for want of memory.
    fn is_explained(&self, exit: &Exit) -> bool {
        self.quarantine.excused() > 0
            && says_failed(self.tool, exit.code)
            && !exit.out_of_memory
            && exit.error.is_none()
            && self.course.disturbed.is_none()
            && fault::of_log(&last_lines(self.log)).is_none()
    }

    /// What the exit code says, where no result says more.
    fn by_exit_code(&self, exit: &Exit) -> Verdict {
        match self.spec.results.format {
            ResultsFormat::ExitCode if exit.code == 0 && !exit.out_of_memory => {
                (reason::PASSED, "the container ended with exit code 0".to_owned())
            }
            ResultsFormat::ExitCode => {
                let message = format!("the container ended with {}{}", self.code(exit), self.said());
                self.unless_broken(exit, reason::CONTAINER_FAILED, message)
            }
            ResultsFormat::Auto => {
                let none = if self.quarantine.excused() > 0 { "no case failed that counts" } else { "no case failed" };
                let message = format!("{none}, but the container ended with {}{}", self.code(exit), self.said());
                self.unless_broken(exit, reason::CONTAINER_FAILED, message)
            }
        }
    }

    /// A run without a failed case that did not pass: for the sake of its tests, or of what they ran on.
    fn unless_broken(&self, exit: &Exit, reason: &'static str, message: String) -> Verdict {
        if let Some((reason, remedy)) = fault::of_log(&last_lines(self.log)) {
            return (reason, format!("{message}. {remedy}"));
        }
        if exit.out_of_memory {
            return (reason::OOM_KILLED, message);
        }
        if self.course.disturbed.is_some() {
            let why = self.disturbance();
            return (reason::INFRASTRUCTURE, format!("{message}{why}. See to the host, then create another E2ERun"));
        }
        (reason, message)
    }

    fn disturbance(&self) -> String {
        let disturbed = self.course.disturbed.as_ref();
        disturbed.map_or_else(String::new, |words| format!(" (the engine was lost while the container ran: {words})"))
    }

    /// What there is of a container that was told to end.
    fn left(&self, cut: Cut, state: &ContainerState) -> String {
        let grace = self.spec.grace_period;
        let how = match state {
            ContainerState::Exited(exit) if exit.code == KILLED => {
                format!("it did not end within spec.gracePeriod ({grace}) and was killed")
            }
            ContainerState::Exited(exit) => format!("it ended with exit code {}", exit.code),
            ContainerState::Created { .. } | ContainerState::Running => {
                "its engine could not end it, and it still runs".to_owned()
            }
        };
        if self.spec.results.format == ResultsFormat::ExitCode {
            return how;
        }
        if self.outcome.cases.is_empty() && self.outcome.junit.is_none() {
            let problems = self.problems().map_or_else(String::new, |p| format!(" ({p})"));
            let advice = match cut {
                Cut::Deadline => ". To have them, let the tests write what they have at SIGTERM, or raise spec.timeout",
                Cut::Cancelled | Cut::Deleted | Cut::ClusterGone => "",
            };
            return format!("{how}, and left no results{problems}{advice}");
        }
        format!("{}; {how}", self.so_far())
    }

    fn so_far(&self) -> String {
        if self.spec.results.format == ResultsFormat::ExitCode {
            return "no case is counted".to_owned();
        }
        let (passed, failed) = (self.outcome.passed(), self.quarantine.failed());
        let problems = self.problems().map_or_else(String::new, |p| format!(" (and results are missing: {p})"));
        format!("{passed} {} had passed and {failed} failed{problems}", cases(passed))
    }

    fn problems(&self) -> Option<String> {
        let all = &self.outcome.problems;
        let more = all.len().saturating_sub(PROBLEMS);
        let told: Vec<_> = all.iter().take(PROBLEMS).map(|p| text::line(p, 200)).collect();
        let more = if more > 0 { format!("; and {more} more") } else { String::new() };
        (!all.is_empty()).then(|| format!("{}{more}", told.join("; ")))
    }

    fn code(&self, exit: &Exit) -> String {
        let code = exit.code;
        match (exit.out_of_memory, self.spec.memory(), &exit.error) {
            (true, Some(limit), _) => format!(
                "exit code {code}, a process was killed for want of memory: spec.resources.limits.memory is {limit}, give it more"
            ),
            (true, None, _) => {
                format!("exit code {code}, a process was killed for want of memory: take a bigger instance type")
            }
            (false, _, Some(error)) => format!("exit code {code}: {error}"),
            (false, _, None) => format!("exit code {code}"),
        }
    }

    /// What the log ends with.
    fn said(&self) -> String {
        match last_lines(self.log) {
            lines if lines.is_empty() => "; it wrote nothing".to_owned(),
            lines => {
                let last = lines.join(" | ");
                let from = last.char_indices().rev().nth(499).map_or(0, |(at, _)| at);
                format!("; it said last: {}", &last[from..])
            }
        }
    }
}

/// The exit codes by which test programs say that cases failed, of whom some count them. From 125 on they are those of
/// shells and engines that could not run a program, and of signals.
const FAILED: RangeInclusive<i64> = 1..=124;

/// Whether by this exit code a tool says that cases failed, and nothing else.
fn says_failed(tool: Option<Tool>, code: i64) -> bool {
    match tool {
        Some(Tool::Pytest | Tool::GoTest | Tool::Jest) => code == 1,
        Some(Tool::Nextest) => code == 100,
        // That of Rust's harness, and that of programs which take its arguments, as the e2e suite does.
        Some(Tool::Libtest) => code == 101 || code == 1,
        None => FAILED.contains(&code),
    }
}

/// The exit code of a container that was killed.
const KILLED: i64 = 137;

/// The last lines of a log that say something, fit to be shown.
fn last_lines(log: &[u8]) -> Vec<String> {
    let end = String::from_utf8_lossy(&log[log.len().saturating_sub(4096)..]).into_owned();
    let lines: Vec<String> =
        end.lines().map(|l| text::line(l, 500).trim_end().to_owned()).filter(|l| !l.is_empty()).collect();
    lines[lines.len().saturating_sub(5)..].to_vec()
}

const fn cases(count: usize) -> &'static str {
    if count == 1 { "case" } else { "cases" }
}

/// A length of time for people.
#[must_use]
pub fn took(time: Duration) -> String {
    if time < Duration::from_secs(10) {
        return format!("{:.1}s", time.as_secs_f64());
    }
    api::Duration::from_secs(time.as_secs()).to_string()
}

#[cfg(test)]
mod tests;
