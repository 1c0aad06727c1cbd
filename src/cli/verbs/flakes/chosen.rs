//! Which runs are read: the last ones of each suite that ended by themselves. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;
use kube::ResourceExt;

use super::history::{Key, Past, Suite};
use crate::api::E2ERun;

/// The last runs of each suite that ended.
#[derive(Debug, Default)]
pub struct Chosen {
    last: usize,
    suites: BTreeMap<Key, Runs>,
    cut_off: usize,
}

/// The last runs of a suite, by when they ended, and how many there are before these.
#[derive(Debug, Default)]
struct Runs {
    last: BTreeMap<(Timestamp, String), Past>,
    older: usize,
}

impl Chosen {
    /// None yet; of each suite so many, the last ones.
    pub fn new(last: usize) -> Self {
        Self { last, ..Self::default() }
    }

    /// Takes a run into account.
    pub fn take(&mut self, run: &E2ERun) {
        let Some(past) = past(run) else { return };
        if run.was_cut_off() {
            self.cut_off += 1;
            return;
        }
        let runs = self.suites.entry((past.namespace.clone(), past.suite.clone())).or_default();
        runs.last.insert((past.ended, past.name.clone()), past);
        if runs.last.len() > self.last {
            runs.last.pop_first();
            runs.older += 1;
        }
    }

    /// The suites with their runs, and how many runs were cut off.
    pub fn finish(self) -> (BTreeMap<Key, Suite>, usize) {
        let of = |(key, runs): (Key, Runs)| (key, Suite::of(runs.last.into_values().collect(), runs.older));
        (self.suites.into_iter().map(of).collect(), self.cut_off)
    }
}

/// A run that ended, and whose cases are its own.
fn past(run: &E2ERun) -> Option<Past> {
    let status = run.with_cases()?;
    let ended = status.finished_at.as_ref().or(run.metadata.creation_timestamp.as_ref())?.0;
    let counts = [status.passed, status.failed, status.flaky, status.skipped, status.quarantined];
    Some(Past {
        namespace: run.namespace().unwrap_or_default(),
        name: run.name_any(),
        uid: run.uid().unwrap_or_default(),
        suite: run.suite().to_owned(),
        image: status.image_id.clone(),
        ended,
        results: status.results.clone(),
        counted: counts.into_iter().flatten().map(|count| usize::try_from(count).unwrap_or(usize::MAX)).sum(),
        quarantine: run.spec.quarantine.clone(),
    })
}
