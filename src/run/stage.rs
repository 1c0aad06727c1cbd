//! The stages of a run, and how long each may take.
//!
//! A plan that waits is made with a [`Clock`], and a clock is only given for a stage whose time
//! is not over: what waits without a deadline cannot be written. All times here are the
//! operator's: the clocks of hosts are never compared with it.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::record::Record;
use crate::api::E2ERunSpec;

/// How long a container may take from being made to running: Docker itself gives a start far less,
/// and a host that is out of memory or disk for longer than this does not get better by waiting.
const STARTING: Duration = Duration::from_mins(2);
/// What an engine may take beyond `spec.gracePeriod` to kill a container and to say so: it gives the kernel 10 s itself.
const KILLING: Duration = Duration::from_secs(30);
/// How long reading what a container left may take, with its turn among others and all tries.
const COLLECTING: Duration = Duration::from_mins(10);
/// How long a person has to make room for the results, from the first refusal on.
pub const STORING: Duration = Duration::from_mins(10);
/// How long the container of a run that ended is waited for: a host that reboots is back long before.
const CLEANING: Duration = Duration::from_hours(1);
/// The same where the run itself is being deleted, and somebody waits.
const LEAVING: Duration = Duration::from_mins(5);
/// What is written as later than this is not from a clock of ours.
const FUTURE: Duration = Duration::from_mins(5);

/// A stage of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Stage {
    /// It waits for its cluster. Counted from when the operator first saw the run, whatever comes between.
    Pending,
    /// It waits in line behind other runs. How long that takes is told; what it may take is a part of pending's time.
    Queued,
    /// The cluster is ready, and the image is not on every node.
    Image,
    /// The container is being made and started.
    Starting,
    /// The container runs.
    Running,
    /// The container was told to end.
    Stopping,
    /// What it left is being read.
    Collecting,
    /// What it left was read, and could not be kept yet.
    Storing,
    /// The run ended, and its container is to be removed.
    Cleaning,
    /// The run is being deleted, and its container is to be removed.
    Leaving,
    /// The run failed, and the cluster that it made is kept.
    Kept,
}

impl Stage {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Pending,
        Self::Queued,
        Self::Image,
        Self::Starting,
        Self::Running,
        Self::Stopping,
        Self::Collecting,
        Self::Storing,
        Self::Cleaning,
        Self::Leaving,
        Self::Kept,
    ];

    /// How long it may take.
    #[must_use]
    pub const fn limit(self, spec: &E2ERunSpec) -> Duration {
        match self {
            Self::Pending | Self::Queued => spec.pending_timeout.get(),
            Self::Image => spec.image_pull_timeout.get(),
            Self::Starting => STARTING,
            Self::Running => spec.timeout.get(),
            Self::Stopping => spec.grace_period.get().saturating_add(KILLING),
            Self::Collecting => COLLECTING,
            Self::Storing => STORING,
            Self::Cleaning => CLEANING,
            Self::Leaving => LEAVING,
            Self::Kept => spec.held_for().get(),
        }
    }

    /// The annotation that says when it began.
    #[must_use]
    pub const fn annotation(self) -> &'static str {
        match self {
            Self::Pending => "testkit.dev/pending-since",
            Self::Queued => "testkit.dev/queued-since",
            Self::Image => "testkit.dev/image-missing-since",
            Self::Starting => "testkit.dev/starting-since",
            Self::Running => "testkit.dev/running-since",
            Self::Stopping => "testkit.dev/stopping-since",
            Self::Collecting => "testkit.dev/collecting-since",
            Self::Storing => "testkit.dev/storing-since",
            Self::Cleaning => "testkit.dev/cleaning-since",
            Self::Leaving => "testkit.dev/leaving-since",
            Self::Kept => "testkit.dev/kept-since",
        }
    }
}

/// The longest that a run keeps the cluster it runs on from being removed: to stop, to be read, to be kept.
#[must_use]
pub fn parting(spec: &E2ERunSpec) -> Duration {
    [Stage::Stopping, Stage::Collecting, Stage::Storing].map(|stage| stage.limit(spec)).iter().sum()
}

/// The time of a stage, which is not over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    stage: Stage,
    left: Duration,
    begins: Option<Timestamp>,
}

impl Clock {
    /// The clock of a stage that began when the record says or, where that says nothing, at
    /// `begins`. `None` where its time is over.
    #[must_use]
    pub fn of(stage: Stage, record: &Record, spec: &E2ERunSpec, begins: Timestamp, now: Timestamp) -> Option<Self> {
        let ours = |at: &Timestamp| elapsed(now, *at) <= FUTURE;
        let written = record.since.get(&stage).copied().filter(ours);
        // All attempts have the time of one together.
        let first = record.began().filter(|at| stage == Stage::Running && ours(at));
        let from = first.or(written).unwrap_or(begins);
        let left = stage.limit(spec).checked_sub(elapsed(from, now)).filter(|l| !l.is_zero())?;
        Some(Self { stage, left, begins: written.is_none().then_some(begins) })
    }

    /// How long the stage may still take.
    #[must_use]
    pub const fn left(&self) -> Duration {
        self.left
    }

    /// What is to be written down, where it is not yet: the stage, and when it began.
    #[must_use]
    pub fn enters(&self) -> Option<(Stage, Timestamp)> {
        Some((self.stage, self.begins?))
    }
}

/// From one moment to another of the same clock; nothing where that was turned back.
#[must_use]
pub fn elapsed(from: Timestamp, to: Timestamp) -> Duration {
    Duration::try_from(to.duration_since(from)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use k8s_openapi::jiff::SignedDuration;

    use super::*;

    fn spec() -> E2ERunSpec {
        serde_json::from_value(serde_json::json!({"clusterRef": {"name": "foo"}, "image": "e2e", "timeout": "30m"}))
            .unwrap()
    }

    #[test]
    fn every_stage_ends() {
        let now = Timestamp::from_second(1_000_000).unwrap();
        for stage in Stage::ALL {
            let limit = stage.limit(&spec());
            assert!(!limit.is_zero(), "{stage:?}");
            let at = |passed: Duration| {
                let since = [(stage, now - SignedDuration::try_from(passed).unwrap())].into();
                Clock::of(stage, &Record { since, ..Record::default() }, &spec(), now, now)
            };
            assert_eq!(at(Duration::ZERO).map(|c| (c.left(), c.enters())), Some((limit, None)), "{stage:?}");
            assert_eq!(at(limit - Duration::from_secs(1)).map(|c| c.left()), Some(Duration::from_secs(1)), "{stage:?}");
            assert_eq!(at(limit), None, "{stage:?}");
        }
    }

    #[test]
    fn what_is_not_written_begins_and_what_nobody_can_have_written_does_not_count() {
        let now = Timestamp::from_second(1_000_000).unwrap();
        let clock = Clock::of(Stage::Running, &Record::default(), &spec(), now, now).unwrap();
        assert_eq!(clock.enters(), Some((Stage::Running, now)));
        let since = [(Stage::Running, now + SignedDuration::from_hours(9))].into();
        let clock = Clock::of(Stage::Running, &Record { since, ..Record::default() }, &spec(), now, now).unwrap();
        assert_eq!(clock.enters(), Some((Stage::Running, now)), "a time that is to come would never be over");
    }

    #[test]
    fn no_two_stages_share_an_annotation() {
        let all: std::collections::BTreeSet<_> = Stage::ALL.iter().map(|s| s.annotation()).collect();
        assert_eq!(all.len(), Stage::ALL.len());
    }
}
