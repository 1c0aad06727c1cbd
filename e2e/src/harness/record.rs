//! What became of each case: gathered while the harness library prints, since it keeps neither times nor output.

use std::{collections::BTreeMap, time::Duration};

use super::waits::Wait;

/// The end of one case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    Passed,
    Failed { message: String, details: String },
    Skipped { reason: String },
}

/// One case that was asked for.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) name: String,
    pub(crate) took: Duration,
    pub(crate) outcome: Outcome,
    /// What the case said while it ran.
    pub(crate) output: String,
    /// What it waited for.
    pub(crate) waits: BTreeMap<String, Wait>,
}
