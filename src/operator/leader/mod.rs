//! Leadership by a Lease: at most one operator works at a time.
//!
//! [`election`] decides; this file asks the API server. Every write is over the version that was read, under a name that
//! no other process has, so of two that write at once one is refused.

pub mod election;

use std::{
    pin::pin,
    time::{Duration, Instant},
};

use futures::StreamExt;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
    jiff::Timestamp,
};
use kube::{
    Api, Client, ResourceExt,
    api::{ObjectMeta, PostParams, WatchEvent, WatchParams},
};
use tokio::time::timeout;

use self::election::{Answer, Election, Moment, Next, Record, Timing};
use super::config::LeaseName;
use crate::{api::MANAGER, fence::Fence};

/// How long a Lease that was read or written may need to be released; after that it runs out by itself.
const RELEASE: Duration = Duration::from_secs(2);

/// Hears who holds the Lease, or what failed.
type Told = Box<dyn Fn(Result<Option<&str>, String>) + Send + Sync>;

/// Takes part in the election for this process.
pub struct Elector {
    leases: Api<Lease>,
    name: LeaseName,
    election: Election,
    timing: Timing,
    origin: Instant,
    /// The Lease as it was read or written last: what is not ours in it stays.
    lease: Option<Lease>,
    fence: Fence,
    /// Told after each look: who holds the Lease, or what failed.
    told: Told,
}

impl Elector {
    /// Somebody new. `told` hears after each look who holds the Lease, or what failed.
    #[must_use]
    pub fn new(
        client: Client,
        name: &LeaseName,
        fence: Fence,
        told: impl Fn(Result<Option<&str>, String>) + Send + Sync + 'static,
    ) -> Self {
        Self::timed(client, name, fence, told, Timing::DEFAULT)
    }

    fn timed(
        client: Client,
        name: &LeaseName,
        fence: Fence,
        told: impl Fn(Result<Option<&str>, String>) + Send + Sync + 'static,
        timing: Timing,
    ) -> Self {
        Self {
            leases: Api::namespaced(client, &name.namespace),
            name: name.clone(),
            election: Election::new(identity(), timing),
            timing,
            origin: Instant::now(),
            lease: None,
            fence,
            told: Box::new(told),
        }
    }

    /// What this process writes itself as.
    #[must_use]
    pub fn identity(&self) -> &str {
        self.election.me()
    }

    /// Waits until this process leads.
    ///
    /// # Errors
    /// It led and does not any more.
    pub async fn lead(&mut self) -> anyhow::Result<()> {
        self.fence.close();
        while self.election.leads_until().is_none() {
            self.step().await?;
        }
        Ok(())
    }

    /// Keeps the Lease, as long as it can: resolves when this process does not lead any more.
    pub async fn hold(&mut self) -> anyhow::Error {
        loop {
            if let Err(error) = self.step().await {
                return error;
            }
        }
    }

    /// Lets the others lead at once, where this process does. Its work must have ended.
    pub async fn release(mut self) {
        self.fence.close();
        let lease = self.name.to_string();
        let done = timeout(RELEASE, async {
            while let Some(left) = self.election.released() {
                let sent = self.now();
                match self.write(left).await {
                    Answer::Written(_) => return true,
                    // Maybe by a renewal of ours that was cut off: then it can be read.
                    _ => {
                        tokio::time::sleep(self.timing.retry / 20).await;
                        let read = self.read().await;
                        self.election.answered(read, sent, self.now());
                    }
                }
            }
            false
        });
        match done.await {
            Ok(true) => tracing::info!(lease, "released"),
            Ok(false) => {}
            Err(_) => tracing::warn!(lease, "not released in time: another operator leads when it has run out"),
        }
    }

    fn now(&self) -> Moment {
        self.origin.elapsed()
    }

    /// One thing after the other. An answer that would come too late is not waited for.
    async fn step(&mut self) -> anyhow::Result<()> {
        let sent = self.now();
        let request = self.timing.request;
        let most = self.election.leads_until().map_or(request, |until| request.min(until.saturating_sub(sent)));
        let answer = match self.election.next(sent) {
            Next::Read => timeout(most, self.read()).await,
            Next::Write(over) => {
                let mine = self.election.mine(over.as_ref());
                timeout(most, self.write(mine)).await
            }
            Next::Wait(until) => {
                self.wait(until.saturating_sub(sent)).await;
                return Ok(());
            }
            Next::Lost(why) => {
                self.fence.close();
                anyhow::bail!("Lease {} is lost ({why}): another operator may lead", self.name);
            }
        };
        self.election.answered(answer.unwrap_or(Answer::Unknown), sent, self.now());
        if let Some(until) = self.election.leads_until() {
            self.fence.open_until(self.origin + until);
        }
        Ok(())
    }

    /// A leader has only its own clock to wait for; the others look when the Lease changes, too.
    async fn wait(&mut self, time: Duration) {
        if self.election.leads_until().is_some() {
            tokio::time::sleep(time).await;
            return;
        }
        let version = self.lease.as_ref().and_then(ResourceExt::resource_version);
        let changed = async {
            if let Some(version) = version
                && changed(&self.leases, &self.name.name, &version).await
            {
                return;
            }
            std::future::pending::<()>().await;
        };
        if timeout(time, changed).await.is_ok() {
            self.election.woken(self.now());
        }
    }

    async fn read(&mut self) -> Answer {
        match self.leases.get_opt(&self.name.name).await {
            Ok(lease) => {
                let record = lease.as_ref().map(record);
                (self.told)(Ok(record.as_ref().and_then(|record| record.holder.as_deref())));
                self.lease = lease;
                Answer::Read(record)
            }
            Err(error) => self.failed("read", &error),
        }
    }

    async fn write(&mut self, record: Record) -> Answer {
        let params = PostParams { field_manager: Some(format!("{MANAGER}_{}", self.election.me())), dry_run: false };
        let lease = object(self.lease.clone(), &self.name.name, &record);
        let written = if record.version.is_empty() {
            self.leases.create(&params, &lease).await
        } else {
            self.leases.replace(&self.name.name, &params, &lease).await
        };
        match written {
            Ok(lease) => {
                let record = self::record(&lease);
                (self.told)(Ok(record.holder.as_deref()));
                self.lease = Some(lease);
                Answer::Written(record)
            }
            Err(kube::Error::Api(status))
                if status.is_conflict() || status.is_already_exists() || status.is_not_found() =>
            {
                tracing::debug!(lease = %self.name, "somebody else wrote first: {}", status.message);
                Answer::Conflict
            }
            Err(error) => self.failed("write", &error),
        }
    }

    fn failed(&self, what: &str, error: &kube::Error) -> Answer {
        let words = format!("cannot {what} Lease {}: {error}", self.name);
        tracing::warn!("{words}");
        (self.told)(Err(words));
        Answer::Unknown
    }
}

/// The whole object: over the one that was read, or a new one.
fn object(read: Option<Lease>, name: &str, record: &Record) -> Lease {
    let mut lease = read.filter(|_| !record.version.is_empty()).unwrap_or_else(|| Lease {
        metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() },
        ..Lease::default()
    });
    // Not ours to send back.
    lease.metadata.managed_fields = None;
    lease.metadata.resource_version = Some(record.version.clone()).filter(|version| !version.is_empty());
    let now = MicroTime(Timestamp::now());
    let spec = lease.spec.get_or_insert_with(LeaseSpec::default);
    if spec.holder_identity != record.holder || spec.acquire_time.is_none() {
        spec.acquire_time = Some(now.clone());
    }
    spec.holder_identity = Some(record.holder.clone().unwrap_or_default());
    spec.lease_duration_seconds = i32::try_from(record.duration.as_secs()).ok();
    spec.lease_transitions = Some(record.transitions);
    spec.renew_time = Some(now);
    lease
}

/// What a Lease says.
fn record(lease: &Lease) -> Record {
    let spec = lease.spec.clone().unwrap_or_default();
    let seconds = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
    Record {
        holder: spec.holder_identity.filter(|holder| !holder.is_empty()),
        duration: Duration::from_secs(seconds.unwrap_or_default()),
        transitions: spec.lease_transitions.unwrap_or_default(),
        version: lease.resource_version().unwrap_or_default(),
    }
}

/// Whether a Lease changed since this version; false where the API server does not tell.
async fn changed(leases: &Api<Lease>, name: &str, version: &str) -> bool {
    let params = WatchParams::default().fields(&format!("metadata.name={name}")).disable_bookmarks();
    match leases.watch(&params, version).await {
        Ok(events) => {
            let seen = pin!(events).next().await;
            matches!(seen, Some(Ok(WatchEvent::Added(_) | WatchEvent::Modified(_) | WatchEvent::Deleted(_))))
        }
        Err(error) => {
            tracing::debug!(%error, "a Lease cannot be watched: it is read every two seconds");
            false
        }
    }
}

/// A name that no other process has, and that says where this one runs: in a pod, the pod's.
fn identity() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = host.trim();
    let host = if host.is_empty() { MANAGER } else { host };
    format!("{host}_{:016x}", fastrand::u64(..))
}

#[cfg(test)]
mod tests;
