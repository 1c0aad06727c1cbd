//! Decides what a run needs next: a pure function of the spec, what was observed and the time.
//!
//! No I/O, no clock. A container is created where every manager was looked at and none has it,
//! and started only after it is written down on the run: so it starts at most once, whatever
//! happens to the operator in between. Whatever a plan waits for has a stage, and so a deadline
//! ([`Clock`]).

mod active;
mod image;
mod leave;
mod pending;
mod retry;

use std::time::Duration;

pub use image::{digest_of, known_as};
use k8s_openapi::jiff::Timestamp;

use super::{
    attempt::Attempt,
    facts::{Container, HostView, Observed},
    queue::Place,
    record::Placed,
    stage::{Clock, Stage, elapsed},
    verdict::{Course, Cut, End},
};
use crate::{api::E2ERunSpec, host::HostId};

/// A look again where nothing announces the change: an image that a person loads.
const SOON: Duration = Duration::from_secs(1);
/// A look again in case a wake-up was lost.
const FALLBACK: Duration = Duration::from_secs(60);

/// One idempotent step.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Put the finalizer on the run.
    Hold,
    /// Take it off: nothing of the run is left outside of Kubernetes.
    Release,
    /// Write down that the time of these stages does not count any more.
    Forget(Vec<Stage>),
    /// Make the cluster of the run's own.
    MakeCluster,
    /// Delete the cluster of the run's own, of this UID, for this reason.
    DeleteCluster(String, String),
    /// Take a place on the cluster. The steps after it are not taken where it is somebody else's turn by now.
    Take,
    /// Write down that the run has a place on the cluster, for its container is there.
    Claim,
    /// Give up the place on the cluster.
    Vacate,
    /// Pull the image on a host, in the background.
    Pull(HostId),
    /// Copy the image from another host, in the background.
    Copy {
        /// One that has it.
        from: HostId,
        /// One that has not.
        to: HostId,
    },
    /// Give a host the very image that another one has, in the background.
    Align {
        /// One whose image counts.
        from: HostId,
        /// One that has another image of that name.
        to: HostId,
    },
    /// Create the container, write it down, start and follow it.
    Launch(HostId),
    /// Write an existing container down, and start it if it never ran.
    Adopt(HostId, Container),
    /// Write down that this attempt ended, and begin another one.
    Again(Box<Attempt>, String),
    /// Write down that the container's engine was lost while it ran.
    Disturbed(String),
    /// Wake the run when the container ends, in the background.
    Follow(HostId, String),
    /// Write down why the container has to end, and stop it, in the background.
    Stop(Cut, HostId, String),
    /// Keep what the container leaves, and judge it, in the background.
    Keep(HostId, Container, Course),
    /// Remove the container.
    Remove(HostId, String),
    /// Remove the container if that can be done, for the last time.
    TryRemove(HostId, String),
    /// Say that the container is left behind.
    Abandon(String),
}

/// What status says.
#[derive(Clone, Debug, PartialEq)]
pub enum Says {
    /// Nothing yet, or any more.
    Nothing,
    /// It waits for its cluster.
    Waiting(String),
    /// It waits in line behind other runs.
    Queued(String),
    /// It waits for what its environment is made of.
    Lacking(String),
    /// It waits for its image.
    Image(String),
    /// Its container is being started or runs; the words say what is in the way.
    Active(Option<String>),
    /// Its container was told to end.
    Stopping(String),
    /// What it left is being read; the words say what is in the way.
    Collecting(Option<String>),
    /// What it left cannot be kept.
    Storing(String),
    /// It ended.
    Ended(Box<End>),
    /// It is being deleted, and this is in the way.
    Deleting(String),
}

/// What follows.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// To be taken in order. Those for several hosts are independent of each other.
    pub steps: Vec<Step>,
    /// What status says.
    pub says: Says,
    /// The stage that begins with this plan, and when: to be written down.
    pub enters: Option<(Stage, Timestamp)>,
    /// When to look again, whatever happens.
    pub again: Option<Duration>,
}

impl Plan {
    /// Nothing is left to be done.
    const fn done() -> Self {
        Self { steps: Vec::new(), says: Says::Nothing, enters: None, again: None }
    }

    /// A plan that waits for something, within the time of a stage.
    fn wait(clock: Clock, steps: Vec<Step>, says: Says, again: Duration) -> Self {
        Self { steps, says, enters: clock.enters(), again: Some(again.min(clock.left())) }
    }

    /// The run has ended this way.
    fn ended(end: End) -> Self {
        Self { steps: Vec::new(), says: Says::Ended(Box::new(end)), enters: None, again: Some(SOON) }
    }

    /// The end of the run, where this is it.
    #[must_use]
    pub fn ends(&self) -> Option<&End> {
        match &self.says {
            Says::Ended(end) => Some(end),
            _ => None,
        }
    }

    /// The same, of an attempt that was to have its container on this host.
    fn end_on(on: &HostId, reason: &'static str, message: String) -> Self {
        Self::ended(End { on: Some(on.clone()), ..End::without_container(reason, message) })
    }

    fn end(reason: &'static str, message: impl Into<String>) -> Self {
        Self::ended(End::without_container(reason, message.into()))
    }
}

/// What a plan is made of.
#[derive(Clone, Copy)]
struct Look<'a> {
    spec: &'a E2ERunSpec,
    seen: &'a Observed,
    now: Timestamp,
}

impl Look<'_> {
    /// The time of a stage that is entered now, if it is not yet. `None` where it is over.
    fn clock(&self, stage: Stage) -> Option<Clock> {
        let begins = match stage {
            // Not seen to start by us: then from before it did.
            Stage::Running => self.seen.record.started().unwrap_or(self.now),
            // What was said when it ended is what counts.
            Stage::Kept => self.seen.ended_at.unwrap_or(self.now),
            _ => self.now,
        };
        Clock::of(stage, &self.seen.record, self.spec, begins, self.now)
    }

    /// A stage's limit, for people.
    fn limit(&self, stage: Stage) -> crate::api::Duration {
        crate::api::Duration::from_secs(stage.limit(self.spec).as_secs())
    }

    fn cluster(&self) -> &str {
        self.spec.cluster()
    }

    fn node(&self, slot: &str) -> String {
        format!("{}-{slot}", self.cluster())
    }

    /// The run's place on the cluster is written there.
    fn has_place(&self) -> bool {
        self.seen.cluster.as_ref().is_some_and(|c| c.place == Place::Held)
    }

    /// How long it is since the operator first saw the run.
    fn waited(&self) -> Duration {
        self.seen.record.since.get(&Stage::Pending).map_or(Duration::ZERO, |since| elapsed(*since, self.now))
    }

    /// What is written where a container is there and the run's place is not: others have to see it.
    fn claim(&self) -> Vec<Step> {
        let missing = self.seen.cluster.as_ref().is_some_and(|c| !c.deleting) && !self.has_place();
        missing.then_some(Step::Claim).into_iter().collect()
    }

    /// Why a step failed when it was last taken, as a clause.
    fn trouble(&self) -> String {
        self.seen.trouble.as_ref().map_or_else(String::new, |words| format!(": {words}"))
    }

    /// The container, wherever it is.
    fn locate(&self) -> Option<(&HostId, &Container)> {
        self.seen.hosts.iter().find_map(|(id, host)| host.container.as_ref()?.as_ref().map(|c| (id, c)))
    }

    /// The containers of attempts before, wherever they are seen.
    fn left(&self) -> Vec<(HostId, String)> {
        let of =
            |(id, host): (&HostId, &HostView)| host.left.iter().map(|c| (id.clone(), c.clone())).collect::<Vec<_>>();
        self.seen.hosts.iter().flat_map(of).collect()
    }

    /// The host a container was placed on.
    fn view(&self, placed: &Placed) -> Option<&HostView> {
        self.seen.hosts.get(&placed.host)
    }

    /// Why a container that was placed is not in sight.
    fn why_unseen(&self, placed: &Placed) -> &str {
        self.view(placed).and_then(|v| v.error.as_deref()).unwrap_or("not connected yet")
    }

    /// Another instance is where the container was placed.
    fn replaced(&self, placed: &Placed) -> bool {
        self.seen.hosts.keys().any(|h| h.slot == placed.host.slot && h.incarnation > placed.host.incarnation)
    }

    /// What a person asks for that the container has to end for.
    fn asked(&self) -> Option<Cut> {
        let cluster_goes = self.seen.cluster.as_ref().is_some_and(|c| c.deleting);
        [(self.seen.deleting, Cut::Deleted), (self.spec.cancel, Cut::Cancelled), (cluster_goes, Cut::ClusterGone)]
            .into_iter()
            .find_map(|(asked, cut)| asked.then_some(cut))
    }

    /// Why the container has to end, if it has to.
    fn cut(&self) -> Option<Cut> {
        let late = || self.clock(Stage::Running).is_none().then_some(Cut::Deadline);
        self.seen.record.cut.or_else(|| self.asked()).or_else(late)
    }
}

/// Decides.
#[must_use]
pub fn plan(spec: &E2ERunSpec, seen: &Observed, now: Timestamp) -> Plan {
    let look = Look { spec, seen, now };
    retry::after(&look, attempt(&look))
}

/// What is next for the attempt that is under way.
fn attempt(look: &Look<'_>) -> Plan {
    let seen = look.seen;
    if seen.deleting || seen.finished {
        return leave::leave(look);
    }
    if !seen.finalizer {
        let says = Says::Nothing;
        return Plan { steps: vec![Step::Hold], says, enters: None, again: Some(FALLBACK) };
    }
    match (&seen.record.placed, look.locate()) {
        (Some(placed), located) => active::active(look, placed, located),
        // Created, and the operator ended before it was written down; or the annotation was removed.
        (None, Some((host, container))) => active::adopt(look, host, container),
        (None, None) => pending::pending(look),
    }
}

#[cfg(test)]
mod deadlines;
#[cfg(test)]
mod tests;
