//! What is known of the instances: the last listing, and what was done since it began.
//!
//! A cloud's listing is late. What we did ourselves is therefore kept beside it for a grace
//! period: an instance we launched stays though it is not listed yet, and one we told to end
//! is ending though it is still listed as running. So does one that a listing lacks which was in
//! those before: what ends is listed as ended first, and what is taken for gone is replaced.
//! How long one is missing is counted by the time over which listings came, not by a clock: while
//! none succeeds, or nobody lists, nobody is missed. Pure: the caller brings the time.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use crate::cloud::{Instance, InstanceState, Owner};

/// For how much of the listings' own time an instance may be missing after it was launched or last listed.
const UNLISTED: Duration = Duration::from_secs(120);

/// The most that the listings' time goes on from one of them to the next, which is a little more than the longest
/// pause between two that succeed. Of what was before, nobody knows what a listing would have shown.
const TIMELY: Duration = Duration::from_secs(30);

/// How long listings may show an instance as running that was told to end. After that it is
/// believed, so that it is told again: the first call may have met an instance the cloud did not know yet.
const STILL_RUNNING: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
pub(super) struct View {
    clock: Listened,
    entries: BTreeMap<String, Entry>,
}

/// The time over which listings came that succeeded.
#[derive(Debug, Default)]
struct Listened {
    so_far: Duration,
    /// When the last of them began.
    last: Option<Instant>,
}

impl Listened {
    /// What it shows at a moment after the last listing.
    fn at(&self, moment: Instant) -> Duration {
        let since = self.last.map_or(Duration::ZERO, |last| moment.saturating_duration_since(last));
        self.so_far + since.min(TIMELY)
    }

    /// A listing that began then succeeded.
    fn listed(&mut self, started: Instant) -> Duration {
        self.so_far = self.at(started);
        self.last = Some(self.last.map_or(started, |last| last.max(started)));
        self.so_far
    }
}

#[derive(Debug)]
struct Entry {
    instance: Instance,
    /// When we launched it, or else when the last listing began that had it: by the listings' time.
    seen: Duration,
    /// When we told it to end.
    ending: Option<Instant>,
}

impl Entry {
    fn ended_by(mut self, ending: Option<Instant>) -> Self {
        self.ending = ending;
        if ending.is_some() {
            self.instance.state = self.instance.state.max(InstanceState::ShuttingDown);
        }
        self
    }
}

impl View {
    /// Whether there was a listing.
    pub(super) fn synced(&self) -> bool {
        self.clock.last.is_some()
    }

    /// For how long listings have come, all in all: what is waited for in listings is waited for by this clock.
    pub(super) fn listened(&self, now: Instant) -> Duration {
        self.clock.at(now)
    }

    /// The instances of a cluster.
    pub(super) fn of(&self, uid: &str) -> Vec<Instance> {
        self.entries.values().map(|e| &e.instance).filter(|i| i.owner.uid == uid).cloned().collect()
    }

    /// Who has instances that have not ended.
    pub(super) fn owners(&self) -> Vec<Owner> {
        let live = self.entries.values().map(|e| &e.instance).filter(|i| !i.state.is_ended());
        live.map(|i| i.owner.clone()).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Whether some instance is about to change by itself.
    pub(super) fn is_transient(&self) -> bool {
        self.entries.values().any(|e| e.instance.state.is_transient())
    }

    /// An instance was launched.
    pub(super) fn note(&mut self, instance: Instance, now: Instant) {
        let seen = self.clock.at(now);
        // A listing that shows it already knows more.
        self.entries.entry(instance.id.clone()).or_insert(Entry { instance, seen, ending: None });
    }

    /// Instances were told to end.
    pub(super) fn note_terminating(&mut self, ids: &[String], now: Instant) {
        for id in ids {
            if let Some(entry) = self.entries.remove(id) {
                self.entries.insert(id.clone(), entry.ended_by(Some(now)));
            }
        }
    }

    /// Takes in the listing of a sweep that began at `started`. Returns whose instances changed.
    pub(super) fn sweep(&mut self, listed: Vec<Instance>, started: Instant) -> BTreeSet<Owner> {
        let now = self.clock.listed(started);
        let mut before = std::mem::take(&mut self.entries);
        let mut changed = BTreeSet::new();
        for instance in listed {
            let old = before.remove(&instance.id);
            let ending = old.as_ref().and_then(|e| e.ending).filter(|at| started < *at + STILL_RUNNING);
            let seen = old.as_ref().map_or(now, |e| e.seen.max(now));
            let entry = Entry { instance, seen, ending: None }.ended_by(ending);
            if old.is_none_or(|e| e.instance != entry.instance) {
                changed.insert(entry.instance.owner.clone());
            }
            self.entries.insert(entry.instance.id.clone(), entry);
        }
        for (id, entry) in before {
            // An ended one leaves the cloud's lists for good.
            let ended = entry.instance.state == InstanceState::Terminated;
            if !ended && now < entry.seen + UNLISTED {
                self.entries.insert(id, entry);
            } else {
                changed.insert(entry.instance.owner);
            }
        }
        changed
    }
}
