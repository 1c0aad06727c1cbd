//! Work that outlasts a pass: bringing an image, following a container, stopping one, keeping what it left. Each
//! job runs once at a time and wakes its run when it ends. Losing all of it costs a second
//! try: no decision rests on it alone.

use std::{
    collections::HashMap,
    fmt::Display,
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use futures::future::AbortHandle;
use kube::{ResourceExt, runtime::reflector::ObjectRef};

use super::{Wake, facts::Bringing};
use crate::{api::E2ERun, host::HostId};

/// The pause after the first failure, and the longest one.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(15));

/// What is done.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Work {
    /// Bring the image to a host.
    Image(HostId),
    /// Give a host the very image that another one has.
    Align(HostId),
    /// Wait for the end of the container.
    Follow,
    /// Stop the container.
    Stop,
    /// Read and keep what the container left.
    Keep,
    /// The steps of a pass: not done here, but what failed of them is remembered.
    Steps,
}

/// The jobs of all runs.
#[derive(Clone)]
pub struct Jobs {
    all: Arc<Mutex<HashMap<Key, Job>>>,
    wake: Wake,
}

/// A run's UID and what is done for it.
type Key = (String, Work);

#[derive(Default)]
struct Job {
    running: Option<AbortHandle>,
    done: bool,
    failures: u32,
    failed: Option<(String, Instant)>,
}

impl Jobs {
    /// None yet.
    #[must_use]
    pub fn new(wake: Wake) -> Self {
        Self { all: Arc::default(), wake }
    }

    /// Starts a job, unless it is under way or failed a moment ago.
    pub fn ensure<E: Display>(
        &self,
        run: &E2ERun,
        work: Work,
        job: impl Future<Output = Result<(), E>> + Send + 'static,
    ) {
        let key = (run.uid().unwrap_or_default(), work);
        let (job, handle) = futures::future::abortable(job);
        {
            let mut all = self.lock();
            let entry = all.entry(key.clone()).or_default();
            let resting = entry.failed.as_ref().is_some_and(|(_, until)| Instant::now() < *until);
            if entry.running.is_some() || resting {
                return;
            }
            entry.running = Some(handle);
        }
        let (jobs, object) = (self.clone(), ObjectRef::from_obj(run));
        tokio::spawn(async move {
            // Aborted: the run is forgotten, and its entry with it.
            let Ok(result) = job.await else { return };
            jobs.ended(&key, result.map_err(|e| e.to_string()));
            jobs.wake.run(object);
        });
    }

    /// How far an image is on its way to a host.
    #[must_use]
    pub fn bringing(&self, uid: &str, work: &Work) -> Bringing {
        let all = self.lock();
        let Some(job) = all.get(&(uid.to_owned(), work.clone())) else { return Bringing::Idle };
        match &job.failed {
            _ if job.running.is_some() && job.failed.is_none() => Bringing::Busy,
            // The words of the last try stay until the next one ends.
            Some((words, until)) => {
                let due = job.running.is_none() && Instant::now() >= *until;
                Bringing::Failed { words: words.clone(), due }
            }
            None if job.done => Bringing::Done,
            None => Bringing::Idle,
        }
    }

    /// Whether this process ever began a job.
    #[must_use]
    pub fn knows(&self, uid: &str, work: &Work) -> bool {
        self.lock().contains_key(&(uid.to_owned(), work.clone()))
    }

    /// What a job that is done again said when it failed last.
    #[must_use]
    pub fn failed(&self, uid: &str, work: &Work) -> Option<String> {
        let all = self.lock();
        Some(all.get(&(uid.to_owned(), work.clone()))?.failed.as_ref()?.0.clone())
    }

    /// Remembers how the steps of a pass went.
    pub fn note(&self, uid: &str, failure: Option<&str>) {
        let key = (uid.to_owned(), Work::Steps);
        let mut all = self.lock();
        match failure {
            Some(words) => all.entry(key).or_default().failed = Some((words.to_owned(), Instant::now())),
            None => drop(all.remove(&key)),
        }
    }

    /// Ends and forgets everything that is done for a run.
    pub fn forget(&self, uid: &str) {
        self.lock().retain(|(run, _), job| {
            let keep = run != uid;
            if let (false, Some(running)) = (keep, &job.running) {
                running.abort();
            }
            keep
        });
    }

    fn ended(&self, key: &Key, result: Result<(), String>) {
        let mut all = self.lock();
        let Some(job) = all.get_mut(key) else { return };
        job.running = None;
        job.done = result.is_ok();
        match result {
            Ok(()) => (job.failures, job.failed) = (0, None),
            Err(words) => {
                let pause = (PAUSES.0 * 2u32.saturating_pow(job.failures.min(8))).min(PAUSES.1);
                job.failures = job.failures.saturating_add(1);
                job.failed = Some((words, Instant::now() + pause));
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Job>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
