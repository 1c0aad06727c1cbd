//! Decides what a schedule does now: a pure function of its spec, its runs, and the time.

use std::time::Duration;

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::calendar::Calendar;
use crate::{
    api::{ConcurrencyPolicy, E2EScheduleSpec},
    programme::children::Child,
};

/// Times are not believed that are further ahead of the clock than this: then the clock was wrong, not the schedule.
/// Less is how far clocks of two machines are apart, one of which worked before.
const AHEAD: SignedDuration = SignedDuration::from_hours(1);
/// What is due is made up for within this where it is not known what was made: as much as a pass may come late.
const LATELY: SignedDuration = SignedDuration::from_mins(1);
/// The longest that a pass is put off: timers do not see that a clock was set.
const LOOK: Duration = Duration::from_mins(1);
/// How many missed starts are counted, as a CronJob counts them.
pub const COUNTED: usize = 100;

/// What a plan is made from.
#[derive(Clone, Debug)]
pub struct Seen {
    /// When the schedule was created.
    pub created: Timestamp,
    /// `status.lastScheduleTime`: read back, as with a CronJob. The runs themselves may be deleted.
    pub last: Option<Timestamp>,
    /// `status.lastMissedTime`.
    pub missed: Option<Timestamp>,
    /// The runs that it made, and that are there.
    pub children: Vec<Child>,
}

/// What to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Make the run of this time.
    pub make: Option<Start>,
    /// The start of this time is missed.
    pub missed: Option<Start>,
    /// Runs to cancel, by name and UID.
    pub cancel: Vec<(String, String)>,
    /// Runs to delete, by name and UID.
    pub delete: Vec<(String, String)>,
    /// The time for which a run was last made, before this plan.
    pub last: Option<Timestamp>,
    /// When the next run is due.
    pub next: Option<Timestamp>,
    /// What to say.
    pub says: Says,
    /// When to look again, where nothing wakes the schedule before.
    pub again: Option<Duration>,
}

/// A start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// When it is due.
    pub due: Timestamp,
    /// How many were due before it and were not made, of which [`COUNTED`] are counted.
    pub skipped: usize,
}

/// How it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Says {
    /// Runs are made when they are due.
    #[default]
    Scheduled,
    /// `spec.suspend`.
    Suspended,
    /// The run of this time waits for those that are there.
    Blocked(Timestamp),
    /// The spec cannot be followed.
    Invalid(String),
}

/// Decides.
#[must_use]
pub fn plan(spec: &E2EScheduleSpec, seen: &Seen, now: Timestamp) -> Plan {
    let since = Since::of(seen, now);
    let plan = Plan { delete: outdated(spec, &seen.children), last: since.made.or(seen.last), ..Plan::default() };
    let calendar = match Calendar::of(spec, now) {
        Ok(calendar) => calendar,
        Err(words) => return Plan { says: Says::Invalid(words), ..plan },
    };
    if spec.suspend {
        return Plan { says: Says::Suspended, ..plan };
    }
    let since = since.time;
    let deadline = spec.starting_deadline_seconds.map(|s| SignedDuration::from_secs(s.into()));
    let in_time = deadline.map_or(since, |deadline| since.max(now.saturating_sub(deadline).unwrap_or(since)));
    let next = calendar.next(since.max(now));
    let again = next.map(|next| Duration::try_from(next.duration_since(now)).unwrap_or_default().min(LOOK));
    let plan = Plan { next, again, cancel: replaced(spec, &seen.children), ..plan };
    let start = |due| Start { due, skipped: calendar.count(since, due, COUNTED) };
    let Some(due) = calendar.latest(in_time, now) else {
        let late = calendar.latest(since, in_time).filter(|due| seen.missed.is_none_or(|told| *due > told));
        return Plan { missed: late.map(start), ..plan };
    };
    match spec.concurrency_policy {
        ConcurrencyPolicy::Forbid if seen.children.iter().any(Child::is_active) => {
            Plan { says: Says::Blocked(due), ..plan }
        }
        _ => Plan { make: Some(start(due)), ..plan },
    }
}

/// Runs that another one has taken the place of. Only when that one is there: where it is refused, nothing is replaced.
fn replaced(spec: &E2EScheduleSpec, children: &[Child]) -> Vec<(String, String)> {
    let newest = children.iter().map(|child| child.created).max();
    let older = |child: &&Child| child.is_active() && Some(child.created) < newest;
    let told = |child: &&Child| child.cancelled || child.deleting;
    let all = children.iter().filter(|_| spec.concurrency_policy == ConcurrencyPolicy::Replace).filter(older);
    all.filter(|child| !told(child)).map(|child| (child.name.clone(), child.uid.clone())).collect()
}

/// From when on starts are looked for.
#[derive(Clone, Copy, Debug)]
struct Since {
    /// The last start that can be believed to have been one.
    made: Option<Timestamp>,
    /// That, or the creation.
    time: Timestamp,
}

impl Since {
    fn of(seen: &Seen, now: Timestamp) -> Self {
        let latest_believable = now.saturating_add(AHEAD).unwrap_or(now);
        let believed = |time: &Timestamp| *time <= latest_believable;
        let starts: Vec<Timestamp> =
            seen.children.iter().filter_map(|child| child.scheduled).chain(seen.last).collect();
        let made = starts.iter().copied().filter(believed).max();
        let known = made.max(Some(seen.created).filter(believed));
        let all_believed = starts.iter().chain([&seen.created]).all(believed);
        let lately = now.saturating_sub(LATELY).unwrap_or(now);
        let time = if all_believed { known.unwrap_or(now) } else { known.map_or(lately, |known| known.max(lately)) };
        Self { made, time }
    }
}

/// The runs that have ended and are more than are to be kept, the oldest first: by when they were made, which the clock of
/// the API server says of all. Those that have joined another one go before it.
fn outdated(spec: &E2EScheduleSpec, children: &[Child]) -> Vec<(String, String)> {
    let of = |passed: bool, limit: u32| {
        let of = |child: &&Child| !child.deleting && child.ended.is_some_and(|end| end.passed == passed);
        let mut ended: Vec<&Child> = children.iter().filter(of).collect();
        ended.sort_by_key(|child| (!child.joined, child.created, child.name.clone()));
        let surplus = ended.len().saturating_sub(limit as usize);
        ended.into_iter().take(surplus).map(|child| (child.name.clone(), child.uid.clone()))
    };
    of(true, spec.successful_runs_history_limit).chain(of(false, spec.failed_runs_history_limit)).collect()
}

/// The name of the run of a time: by it a run is made once, whoever makes it.
#[must_use]
pub fn name(schedule: &str, due: Timestamp) -> String {
    format!("{schedule}-{}", due.as_second() / 60)
}

#[cfg(test)]
mod tests;
