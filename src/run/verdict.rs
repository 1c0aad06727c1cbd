//! Judges a run that ended: pure functions of how its container ended, what its results say
//! and the end of its log. Whatever is in doubt has not passed.

use k8s_openapi::jiff::Timestamp;
use serde::Serialize;

use super::facts::{Container, ContainerState};
use crate::{
    api::{CaseFailure, E2ERunSpec, reason},
    host::HostId,
    results::Outcome,
};

/// The most failing cases status tells of, and the most characters of each (etcd holds 1.5 MiB an object).
const FAILURES: (usize, usize) = (20, 1024);

/// How a run ended.
#[derive(Clone, Debug, PartialEq)]
pub struct End {
    /// Every case passed or was skipped.
    pub complete: bool,
    /// The reason, one of [`reason`].
    pub reason: &'static str,
    /// What happened and what to do, in words.
    pub message: String,
    /// Cases that passed, failed and were skipped, where there are results.
    pub counts: Option<Counts>,
    /// The first cases that failed.
    pub failures: Vec<CaseFailure>,
    /// The container and where it was, where one was looked at.
    pub container: Option<(HostId, Container)>,
    /// The ConfigMap that keeps the results, once it is written.
    pub results: Option<String>,
}

/// How many cases ended how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Passed.
    pub passed: u32,
    /// Failed.
    pub failed: u32,
    /// Skipped.
    pub skipped: u32,
}

/// Why a container was not left to end by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// `spec.timeout` passed.
    Deadline,
    /// Its cluster is being deleted.
    ClusterGone,
}

impl End {
    /// The end of a run without a container to look at.
    #[must_use]
    pub const fn without_container(reason: &'static str, message: String) -> Self {
        Self { complete: false, reason, message, counts: None, failures: Vec::new(), container: None, results: None }
    }

    /// When it ended, as the engine says.
    #[must_use]
    pub fn finished(&self) -> Option<Timestamp> {
        match &self.container.as_ref()?.1.state {
            ContainerState::Exited(exit) => Some(exit.finished),
            ContainerState::Created { .. } | ContainerState::Running { .. } => None,
        }
    }
}

/// Judges what a container left.
#[must_use]
pub fn judge(spec: &E2ERunSpec, at: (HostId, Container), cut: Option<Cut>, outcome: &Outcome, log: &[u8]) -> End {
    let (reason, message) = verdict(spec, &at.1.state, cut, outcome, log);
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let read = !outcome.cases.is_empty() || outcome.junit.is_some();
    End {
        complete: reason == reason::PASSED,
        reason,
        message,
        counts: read.then(|| Counts {
            passed: count(outcome.passed()),
            failed: count(outcome.failed()),
            skipped: count(outcome.skipped()),
        }),
        failures: outcome
            .failures()
            .take(FAILURES.0)
            .map(|(name, message)| CaseFailure {
                name: shorten(name, FAILURES.1),
                message: shorten(message, FAILURES.1),
            })
            .collect(),
        container: Some(at),
        results: None,
    }
}

/// The reason and the words, the most telling thing first.
fn verdict(
    spec: &E2ERunSpec,
    state: &ContainerState,
    cut: Option<Cut>,
    outcome: &Outcome,
    log: &[u8],
) -> (&'static str, String) {
    let (passed, failed, all) = (outcome.passed(), outcome.failed(), outcome.cases.len());
    let so_far = format!("{passed} {} had passed and {failed} failed", cases(passed));
    match cut {
        Some(Cut::Deadline) => {
            let message =
                format!("the container ran longer than spec.timeout ({}) and was stopped; {so_far}", spec.timeout);
            return (reason::DEADLINE_EXCEEDED, message);
        }
        Some(Cut::ClusterGone) => {
            let message = format!(
                "SwarmCluster {} is being deleted while the container runs; {so_far}. Create another E2ERun",
                spec.cluster_ref.name
            );
            return (reason::CLUSTER_GONE, message);
        }
        None => {}
    }
    let ContainerState::Exited(exit) = state else {
        return (reason::CONTAINER_FAILED, "the container has not ended".to_owned());
    };
    let code = match (exit.out_of_memory, &exit.error) {
        (true, _) => {
            format!("exit code {}, a process was killed for want of memory: take a bigger instance type", exit.code)
        }
        (false, Some(error)) => format!("exit code {}: {error}", exit.code),
        (false, None) => format!("exit code {}", exit.code),
    };
    let problems = outcome.problems.join("; ");
    if failed > 0 {
        let names: Vec<_> = outcome.failures().map(|(name, _)| shorten(name, 100)).take(10).collect();
        let more = if failed > names.len() { ", …" } else { "" };
        let doubts =
            if problems.is_empty() { String::new() } else { format!(" (and results are missing: {problems})") };
        let memory = if exit.out_of_memory { format!(" ({code})") } else { String::new() };
        return (
            reason::CASES_FAILED,
            format!("{failed} of {all} {} failed: {}{more}{doubts}{memory}", cases(all), names.join(", ")),
        );
    }
    if !problems.is_empty() {
        return (
            reason::NO_RESULTS,
            format!("the results cannot be read completely: {problems} ({code}){}", said(log)),
        );
    }
    if all == 0 {
        let what =
            if outcome.junit.is_some() { "the JUnit in /results has no case" } else { "no JUnit (*.xml) in /results" };
        return (reason::NO_RESULTS, format!("{what}, {code}{}", said(log)));
    }
    if exit.code != 0 {
        return (reason::CONTAINER_FAILED, format!("no case failed, but the container ended with {code}{}", said(log)));
    }
    let skipped = outcome.skipped();
    let and = if skipped > 0 { format!(", {skipped} skipped") } else { String::new() };
    (reason::PASSED, format!("{passed} {} passed{and}", cases(passed)))
}

/// The last lines of a log.
fn said(log: &[u8]) -> String {
    let text = String::from_utf8_lossy(&log[log.len().saturating_sub(4096)..]);
    let lines: Vec<&str> = text.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
    if lines.is_empty() {
        return "; it wrote nothing".to_owned();
    }
    let last = lines[lines.len().saturating_sub(5)..].join(" | ");
    let from = last.char_indices().rev().nth(499).map_or(0, |(at, _)| at);
    format!("; it said last: {}", &last[from..])
}

const fn cases(count: usize) -> &'static str {
    if count == 1 { "case" } else { "cases" }
}

/// At most `most` characters.
#[must_use]
pub fn shorten(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests;
