//! How a run ended, and what is known of its container's time when that is judged.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Excused;
use crate::{
    api::{CaseFailure, E2ERunSpec, reason},
    host::HostId,
    run::{attempt::Attempt, facts::Container},
};

/// How a run ended.
#[derive(Clone, Debug, PartialEq)]
pub struct End {
    /// The tests passed.
    pub complete: bool,
    /// The reason, one of [`reason`].
    pub reason: &'static str,
    /// What happened and what to do, in words.
    pub message: String,
    /// Cases that passed, failed and were skipped, where there are results.
    pub counts: Option<Counts>,
    /// The first cases that failed, without those in quarantine.
    pub failures: Vec<CaseFailure>,
    /// What `spec.quarantine` kept from making it red.
    pub excused: Option<Excused>,
    /// The container and where it was, where one was looked at.
    pub container: Option<(HostId, Container)>,
    /// When the container started, by our clock, and for how long it ran.
    pub ran: Option<(Timestamp, Duration)>,
    /// The ConfigMap that keeps the results, once it is written.
    pub results: Option<String>,
    /// What its last attempt says by itself, where the end is that of several together: the reason, and in words.
    pub own: Option<(&'static str, String)>,
    /// The cases that may be run again, as their tool knows them, or why they may not; where cases failed and
    /// `spec.retries` says so.
    pub again: Option<Result<Vec<String>, String>>,
    /// The host that was to have the container, where there is none.
    pub on: Option<HostId>,
    /// The attempts of the run, where there are several.
    pub attempts: Vec<Attempt>,
}

/// How many cases ended how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Passed.
    pub passed: u32,
    /// Failed.
    pub failed: u32,
    /// Skipped.
    pub skipped: u32,
    /// Failed, and passed when they were tried again.
    pub flaky: u32,
    /// Failed, and in quarantine; in no other count.
    #[serde(default)]
    pub quarantined: u32,
}

impl Counts {
    /// How many there are.
    #[must_use]
    pub const fn total(&self) -> usize {
        self.passed as usize
            + self.failed as usize
            + self.skipped as usize
            + self.flaky as usize
            + self.quarantined as usize
    }
}

/// Why a container was told to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cut {
    /// `spec.timeout` passed.
    Deadline,
    /// `spec.cancel` was set.
    Cancelled,
    /// The run is being deleted.
    Deleted,
    /// Its cluster is being deleted.
    ClusterGone,
}

/// What is known of a container's time, beside what it left.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Course {
    /// Why it was told to end; `None` where it ended by itself.
    pub cut: Option<Cut>,
    /// It ended by itself, and too late: nobody was there to stop it.
    pub overdue: bool,
    /// Its engine was lost while it ran, in words.
    pub disturbed: Option<String>,
    /// When it started, by our clock, and for how long it ran.
    pub ran: Option<(Timestamp, Duration)>,
}

impl Cut {
    /// What it makes of the run.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Deadline => reason::DEADLINE_EXCEEDED,
            Self::Cancelled | Self::Deleted => reason::CANCELLED,
            Self::ClusterGone => reason::CLUSTER_GONE,
        }
    }

    /// Why the container is told to end, as a clause.
    #[must_use]
    pub fn why(self, spec: &E2ERunSpec) -> String {
        match self {
            Self::Deadline => format!("the container ran longer than spec.timeout ({}) and was stopped", spec.timeout),
            Self::Cancelled => "the run was cancelled by spec.cancel".to_owned(),
            Self::Deleted => "the run is being deleted".to_owned(),
            Self::ClusterGone => {
                format!("SwarmCluster {} is being deleted while the container runs", spec.cluster())
            }
        }
    }

    /// What to do then, as a sentence to follow.
    #[must_use]
    pub const fn remedy(self) -> &'static str {
        match self {
            Self::Deadline | Self::Cancelled | Self::Deleted => "",
            Self::ClusterGone => ". Create another E2ERun",
        }
    }
}

impl End {
    /// The end of a run without a container to look at.
    #[must_use]
    pub const fn without_container(reason: &'static str, message: String) -> Self {
        Self {
            complete: false,
            reason,
            message,
            counts: None,
            failures: Vec::new(),
            excused: None,
            container: None,
            ran: None,
            results: None,
            own: None,
            again: None,
            on: None,
            attempts: Vec::new(),
        }
    }
}
