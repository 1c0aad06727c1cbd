//! Joins under way, and engines that are being installed. That takes seconds or minutes, and a host
//! that comes up meanwhile need not wait for the others: each runs on its own, once at a time, and wakes
//! its cluster at its end. Losing all of it costs nothing: an engine says itself whether it is there, and
//! whether it is in the swarm.

use std::{
    collections::{BTreeSet, HashMap},
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::{Wake, member::MemberId};
use crate::{host::HostId, swarm::SwarmError};

/// The joins of all clusters.
pub type Joins = Jobs<SwarmError>;

/// What takes its time on hosts, of all clusters: one thing a host.
pub struct Jobs<E> {
    all: Arc<Mutex<HashMap<HostId, State<E>>>>,
    wake: Wake,
    rest: Duration,
}

enum State<E> {
    Running,
    Failed(E, Instant),
}

impl<E> Clone for Jobs<E> {
    fn clone(&self) -> Self {
        Self { all: Arc::clone(&self.all), wake: self.wake.clone(), rest: self.rest }
    }
}

impl<E: Clone + Send + 'static> Jobs<E> {
    /// None yet. What fails is told for so long before it is tried again, and once at least.
    #[must_use]
    pub fn new(wake: Wake, rest: Duration) -> Self {
        Self { all: Arc::default(), wake, rest }
    }

    /// Starts a job unless one is under way on the host.
    ///
    /// # Errors
    /// Why the last one failed; the next call after its rest starts another.
    pub fn ensure(&self, host: HostId, job: impl Future<Output = Result<(), E>> + Send + 'static) -> Result<(), E> {
        {
            let mut all = self.lock();
            match all.insert(host.clone(), State::Running) {
                None => {}
                Some(State::Running) => return Ok(()),
                Some(State::Failed(error, at)) => {
                    all.remove(&host);
                    if at.elapsed() < self.rest {
                        all.insert(host, State::Failed(error.clone(), at));
                    }
                    return Err(error);
                }
            }
        }
        let jobs = self.clone();
        tokio::spawn(async move {
            let result = job.await;
            {
                let mut all = jobs.lock();
                // A host that was forgotten meanwhile stays forgotten.
                let known = all.remove(&host).is_some();
                if let (Err(error), true) = (result, known) {
                    all.insert(host.clone(), State::Failed(error, Instant::now()));
                }
            }
            jobs.wake.send(&host.cluster);
        });
        Ok(())
    }

    /// On whom one is under way.
    #[must_use]
    pub fn under_way(&self, cluster: &str) -> BTreeSet<MemberId> {
        let all = self.lock();
        let running = all.iter().filter(|(host, state)| host.cluster == cluster && matches!(state, State::Running));
        running.filter_map(|(h, _)| Some(MemberId { slot: h.slot.parse().ok()?, incarnation: h.incarnation })).collect()
    }

    /// Forgets the failures of a cluster that is gone.
    pub fn forget(&self, cluster: &str) {
        self.lock().retain(|host, _| host.cluster != cluster);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<HostId, State<E>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;

    use super::*;

    #[tokio::test]
    async fn a_failure_is_told_for_its_rest_and_once_at_least() {
        for (rest, told) in [(Duration::ZERO, 1), (Duration::from_secs(3600), 3)] {
            let (wake, mut woken) = Wake::channel();
            let jobs = Jobs::<String>::new(wake, rest);
            let host = HostId { cluster: "u".into(), slot: "m0".into(), incarnation: 0 };
            let fails = || async { Err("no".to_owned()) };
            jobs.ensure(host.clone(), fails()).unwrap();
            woken.next().await;
            let again = (0..3).filter(|_| jobs.ensure(host.clone(), fails()).is_err()).count();
            assert_eq!(again, told, "{rest:?}");
        }
    }
}
