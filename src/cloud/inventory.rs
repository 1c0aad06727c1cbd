//! The one list of instances that all clusters of an account and region share.
//!
//! One background task sweeps the cloud for everybody: often while an instance is about to
//! change, seldom otherwise, so that the calls an installation makes do not grow with its
//! clusters. Whoever's instances changed is woken. What is decided about a listing is in
//! [`view`], without clock or task; nothing here knows what the instances are for.

mod view;

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::{Notify, watch};
use tokio_util::sync::{CancellationToken, DropGuard};
use view::View;

use super::{Cloud, CloudError, Instance, Owner};

/// Told which cluster has something new to look at.
pub type Wake = Arc<dyn Fn(&Owner) + Send + Sync>;

/// How often to look.
#[derive(Clone, Copy, Debug)]
struct Pace {
    /// From one sweep to the next while an instance is about to change, and the least there ever is.
    fast: Duration,
    /// The same while nothing is.
    idle: Duration,
    /// The longest pause after failures.
    most: Duration,
}

const PACE: Pace = Pace { fast: Duration::from_secs(1), idle: Duration::from_secs(20), most: Duration::from_secs(60) };

/// A handle on the shared list. The last one dropped ends the sweeps.
#[derive(Clone)]
pub struct Inventory {
    shared: Arc<Shared>,
    _sweeps: Arc<DropGuard>,
}

struct Shared {
    cloud: Cloud,
    wake: Wake,
    pace: Pace,
    state: Mutex<State>,
    hurry: Notify,
    synced: watch::Sender<bool>,
}

#[derive(Default)]
struct State {
    view: View,
    last_error: Option<CloudError>,
    /// Who asked since the sweeps last went from failing to working or back.
    interested: HashSet<Owner>,
}

impl Inventory {
    /// Starts to sweep a cloud at once. To be called within a Tokio runtime.
    #[must_use]
    pub fn new(cloud: Cloud, wake: Wake) -> Self {
        Self::with_pace(cloud, wake, PACE)
    }

    fn with_pace(cloud: Cloud, wake: Wake, pace: Pace) -> Self {
        let shared = Arc::new(Shared {
            cloud,
            wake,
            pace,
            state: Mutex::default(),
            hurry: Notify::new(),
            synced: watch::channel(false).0,
        });
        let stop = CancellationToken::new();
        tokio::spawn(stop.clone().run_until_cancelled_owned(Arc::clone(&shared).sweep()));
        Self { shared, _sweeps: Arc::new(stop.drop_guard()) }
    }

    /// A list that is known from the start, and that no sweep changes.
    #[must_use]
    pub fn given(cloud: Cloud, instances: Vec<Instance>) -> Self {
        let mut state = State::default();
        state.view.sweep(instances, Instant::now());
        let shared = Shared {
            cloud,
            wake: Arc::new(|_| {}),
            pace: PACE,
            state: Mutex::new(state),
            hurry: Notify::new(),
            synced: watch::channel(true).0,
        };
        Self { shared: Arc::new(shared), _sweeps: Arc::new(CancellationToken::new().drop_guard()) }
    }

    /// The instances of a cluster, ended ones included; `None` until a sweep has succeeded,
    /// when nothing may be concluded. Who asks is woken when sweeps begin to succeed or to fail.
    #[must_use]
    pub fn snapshot(&self, owner: &Owner) -> Option<Vec<Instance>> {
        let mut state = self.shared.state();
        state.interested.insert(owner.clone());
        state.view.synced().then(|| state.view.of(&owner.uid))
    }

    /// Every cluster that has an instance which has not ended; `None` until a sweep has succeeded.
    #[must_use]
    pub fn owners(&self) -> Option<Vec<Owner>> {
        let state = self.shared.state();
        state.view.synced().then(|| state.view.owners())
    }

    /// For how long sweeps have succeeded, one after the other, since this inventory began: what is to be listed at
    /// the latest some time after it was done is waited for by this clock, and not while nobody can list.
    #[must_use]
    pub fn listened(&self) -> Duration {
        self.shared.state().view.listened(Instant::now())
    }

    /// Why the last sweep failed.
    #[must_use]
    pub fn last_error(&self) -> Option<CloudError> {
        self.shared.state().last_error.clone()
    }

    /// Returns once a sweep has succeeded.
    pub async fn synced(&self) {
        // The sender lives as long as we do: this cannot fail.
        let _ = self.shared.synced.subscribe().wait_for(|synced| *synced).await;
    }

    /// Adds an instance that was just launched: the cloud may take a while to list it.
    pub fn note(&self, instance: Instance) {
        self.shared.state().view.note(instance, Instant::now());
        self.poke();
    }

    /// Takes instances for ending that were just told to: the cloud may list them as running for a while.
    pub fn note_terminating(&self, ids: &[String]) {
        self.shared.state().view.note_terminating(ids, Instant::now());
        self.poke();
    }

    /// Asks for a sweep soon.
    pub fn poke(&self) {
        self.shared.hurry.notify_one();
    }
}

impl std::fmt::Debug for Inventory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inventory").finish_non_exhaustive()
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // No invariant spans a panic: every change of the state is a single assignment.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn sweep(self: Arc<Self>) {
        let mut failures = 0u32;
        loop {
            let started = Instant::now();
            let (mut due, in_haste) = match self.cloud.list().await {
                Ok(listed) => {
                    failures = 0;
                    let soon = self.listed(listed, started);
                    (started + if soon { self.pace.fast } else { self.pace.idle }, started + self.pace.fast)
                }
                Err(error) => {
                    let pause = backoff(self.pace, failures, fastrand::f64());
                    failures = failures.saturating_add(1);
                    tracing::warn!(%error, again_in = ?pause, "listing instances failed");
                    self.failed(error);
                    // Haste would only add to what is wrong.
                    let due = Instant::now() + pause;
                    (due, due)
                }
            };
            loop {
                tokio::select! {
                    () = tokio::time::sleep_until(due.into()) => break,
                    () = self.hurry.notified() => due = due.min(in_haste),
                }
            }
        }
    }

    /// Takes in a listing and wakes whom it concerns; whether to look again soon.
    fn listed(&self, listed: Vec<Instance>, started: Instant) -> bool {
        let (woken, soon) = {
            let mut state = self.state();
            let recovered = state.last_error.take().is_some() || !state.view.synced();
            let mut woken: HashSet<Owner> = state.view.sweep(listed, started).into_iter().collect();
            if recovered {
                woken.extend(std::mem::take(&mut state.interested));
            }
            (woken, state.view.is_transient())
        };
        self.synced.send_replace(true);
        woken.iter().for_each(|owner| (self.wake)(owner));
        soon
    }

    fn failed(&self, error: CloudError) {
        let woken = {
            let mut state = self.state();
            let news = state.last_error.as_ref() != Some(&error);
            state.last_error = Some(error);
            if news { std::mem::take(&mut state.interested) } else { HashSet::new() }
        };
        woken.iter().for_each(|owner| (self.wake)(owner));
    }
}

/// The pause after the given number of earlier failures in a row: doubling, and between half
/// and all of it by `chance` (0 to 1), so that many operators do not come back at once.
fn backoff(pace: Pace, failures: u32, chance: f64) -> Duration {
    let whole = pace.fast.saturating_mul(1u32 << failures.min(16)).min(pace.most);
    whole.mul_f64(0.5 + chance / 2.0)
}

#[cfg(test)]
mod tests;
