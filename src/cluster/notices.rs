//! Spot instances are listened to: each host that is one is asked over its connection whether EC2 takes it back.
//!
//! EC2 tells nobody but the instance, two minutes ahead at most, so it is asked as often as EC2 recommends, by a job of
//! its own that wakes the cluster when there is something new. A question is a stream through the connection that the
//! operator has anyway and a hundred bytes; nothing runs on the host for it. Losing all of it costs nothing: what was
//! told is told again.

use std::{
    collections::{BTreeMap, HashMap},
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use k8s_openapi::jiff::Timestamp;
use tokio::{task::AbortHandle, time::timeout};

use super::{Wake, member::MemberId};
use crate::{
    cloud::notice::{ADDRESS, Metadata, Notice},
    host::{Host, HostId},
};

/// How often a host is asked: as EC2's user guide recommends.
const EVERY: Duration = Duration::from_secs(5);

/// Every so many questions, it is also asked whether it is recommended to be replaced, on which nothing is done.
const SELDOM: u32 = 12;

/// How long the metadata service may take. It is on the host, and answers in milliseconds.
const PATIENCE: Duration = Duration::from_secs(3);

/// What the hosts of all clusters were told of their end.
#[derive(Clone)]
pub struct Notices {
    all: Arc<Mutex<HashMap<HostId, Told>>>,
    wake: Wake,
}

#[derive(Default)]
struct Told {
    /// `None` where nobody can be asked now.
    notice: Option<Notice>,
    job: Option<AbortHandle>,
}

impl Drop for Told {
    fn drop(&mut self) {
        if let Some(job) = &self.job {
            job.abort();
        }
    }
}

impl Notices {
    /// None yet.
    #[must_use]
    pub fn new(wake: Wake) -> Self {
        Self { all: Arc::default(), wake }
    }

    /// Asks a host from now on, unless that is done already, for as long as its connection lasts.
    pub fn follow(&self, id: &HostId, host: &Host) {
        let mut all = self.lock();
        let told = all.entry(id.clone()).or_default();
        let asked = told.job.as_ref().is_some_and(|job| !job.is_finished());
        // An interruption is not taken back.
        if !asked && told.notice.is_none_or(|n| n.interruption.is_none()) {
            told.job = Some(tokio::spawn(self.clone().listen(id.clone(), host.clone())).abort_handle());
        }
    }

    /// What those hosts of a cluster were told that could be asked.
    #[must_use]
    pub fn of(&self, cluster: &str) -> BTreeMap<MemberId, Notice> {
        let all = self.lock();
        let heard = all.iter().filter(|(id, _)| id.cluster == cluster).filter_map(|(id, told)| {
            let member = MemberId { slot: id.slot.parse().ok()?, incarnation: id.incarnation };
            Some((member, told.notice?))
        });
        heard.collect()
    }

    /// Lets go of all hosts of a cluster but these.
    pub fn retain(&self, cluster: &str, wanted: &[HostId]) {
        self.lock().retain(|id, _| id.cluster != cluster || wanted.contains(id));
    }

    async fn listen(self, id: HostId, host: Host) {
        let open = || async { host.open_tcp_stream(ADDRESS.0, ADDRESS.1).await.map_err(io::Error::other) };
        let (mut metadata, closed) = (Metadata::new(open), host.closed());
        let mut silent = false;
        let (mut asked, mut rebalance) = (0u32, None);
        loop {
            let question = async {
                let interruption = metadata.interruption().await?;
                if asked.is_multiple_of(SELDOM) {
                    rebalance = metadata.rebalance().await?;
                }
                Ok::<_, crate::cloud::notice::NoticeError>(Notice { interruption, rebalance })
            };
            let answer = tokio::select! {
                answer = timeout(PATIENCE, question) => answer,
                () = closed.cancelled() => break,
            };
            let (notice, why) = match answer {
                Ok(Ok(notice)) => (Some(notice), String::new()),
                Ok(Err(error)) => (None, error.to_string()),
                Err(_) => (None, format!("it does not answer within {} s", PATIENCE.as_secs())),
            };
            if notice.is_none() && !silent {
                tracing::warn!(host = ?id, why, "its metadata service does not tell whether it is taken back");
            }
            silent = notice.is_none();
            self.note(&id, notice);
            if notice.is_some_and(|n| n.interruption.is_some()) {
                return;
            }
            asked = asked.wrapping_add(1);
            tokio::select! {
                () = tokio::time::sleep(EVERY) => {}
                () = closed.cancelled() => break,
            }
        }
        self.note(&id, None);
    }

    /// Takes in what a host was told, and wakes its cluster where that is new.
    fn note(&self, id: &HostId, notice: Option<Notice>) {
        {
            let mut all = self.lock();
            // One that was let go of meanwhile stays so.
            let Some(told) = all.get_mut(id).filter(|told| told.notice != notice) else { return };
            tell(id, told.notice, notice);
            told.notice = notice;
        }
        self.wake.send(&id.cluster);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<HostId, Told>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// For the log.
fn tell(id: &HostId, before: Option<Notice>, now: Option<Notice>) {
    let news = |of: fn(Notice) -> Option<Timestamp>| now.and_then(of).filter(|at| before.and_then(of) != Some(*at));
    if let Some(at) = news(|n| n.interruption) {
        tracing::info!(host = ?id, %at, "EC2 takes it back");
    }
    if let Some(since) = news(|n| n.rebalance) {
        tracing::info!(host = ?id, %since, "EC2 recommends to replace it; nothing is done about that");
    }
}
