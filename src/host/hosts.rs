//! The hosts that are wanted, and how far each connection is.

use std::{
    any::Any,
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::Semaphore;

use super::{Host, HostError, HostId, Target, Trust, keeper, login::Patience};

/// At most so many connections for bulk data a host.
const BULK: usize = 8;
/// How long to wait for one of them.
const BULK_WAIT: Duration = Duration::from_secs(20);

/// What is told of every change of a host's state.
pub type Wake = Arc<dyn Fn(&HostId) + Send + Sync>;

/// How far the connection to a host is.
#[derive(Clone, Debug)]
pub enum HostState {
    /// It is being made.
    Connecting {
        /// Since when.
        since: Instant,
        /// Why the last attempt failed.
        last_error: Option<String>,
    },
    /// It is there.
    Up(Up),
}

/// A host with a connection.
#[derive(Clone, Debug)]
pub struct Up {
    /// The control connection: for control traffic only.
    pub host: Host,
    /// Whether the engine has answered.
    pub engine: bool,
    /// Whether the host has shown its own key, not the boot key.
    pub rotated: bool,
}

/// Keeps one control connection to every host that is wanted.
#[derive(Clone)]
pub struct Hosts(Arc<Inner>);

struct Inner {
    wake: Wake,
    entries: Mutex<BTreeMap<HostId, Entry>>,
}

struct Entry {
    target: Target,
    slot: Arc<Slot>,
    keeper: tokio::task::JoinHandle<()>,
}

/// What the keeper of a host writes and everybody else reads.
pub struct Slot {
    id: HostId,
    wake: Wake,
    state: Mutex<HostState>,
    bulk: Arc<Semaphore>,
    one_at_a_time: tokio::sync::Mutex<()>,
}

impl Slot {
    pub const fn id(&self) -> &HostId {
        &self.id
    }

    pub fn set(&self, state: HostState) {
        *lock(&self.state) = state;
        (self.wake)(&self.id);
    }

    pub fn get(&self) -> HostState {
        lock(&self.state).clone()
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.keeper.abort();
        if let HostState::Up(up) = self.slot.get() {
            up.host.close();
        }
        self.slot.bulk.close();
    }
}

impl Hosts {
    /// No hosts yet. `wake` is called at every change of a host's state, and must be quick.
    #[must_use]
    pub fn new(wake: Wake) -> Self {
        Self(Arc::new(Inner { wake, entries: Mutex::default() }))
    }

    /// Wants a host. One that is wanted already stays as it is, unless it is to be reached in another way.
    pub fn ensure(&self, id: HostId, target: Target) {
        let mut entries = lock(&self.0.entries);
        if let Some(entry) = entries.get_mut(&id)
            && entry.target.leads_to_the_same(&target)
        {
            entry.target = target;
            return;
        }
        let slot = Arc::new(Slot {
            id: id.clone(),
            wake: self.0.wake.clone(),
            state: Mutex::new(HostState::Connecting { since: Instant::now(), last_error: None }),
            bulk: Arc::new(Semaphore::new(BULK)),
            one_at_a_time: tokio::sync::Mutex::default(),
        });
        let keeper = tokio::spawn(keeper::keep(slot.clone(), target.clone()));
        let replaced = entries.insert(id, Entry { target, slot, keeper });
        drop(entries);
        drop(replaced);
    }

    /// Lets go of all hosts of a cluster but these.
    pub fn retain(&self, cluster: &str, wanted: &[HostId]) {
        let mut entries = lock(&self.0.entries);
        let unwanted: Vec<_> =
            entries.keys().filter(|id| id.cluster == cluster && !wanted.contains(id)).cloned().collect();
        let gone: Vec<_> = unwanted.iter().filter_map(|id| entries.remove(id)).collect();
        drop(entries);
        for entry in gone {
            tracing::debug!(host = ?entry.slot.id, "not wanted any more");
        }
    }

    /// How far a host is; `None` for one that is not wanted.
    #[must_use]
    pub fn state(&self, id: &HostId) -> Option<HostState> {
        lock(&self.0.entries).get(id).map(|e| e.slot.get())
    }

    /// Every wanted host of a cluster.
    #[must_use]
    pub fn of_cluster(&self, cluster: &str) -> Vec<(HostId, HostState)> {
        let entries = lock(&self.0.entries);
        let first = HostId { cluster: cluster.to_owned(), slot: String::new(), incarnation: 0 };
        let all = entries.range(first..).take_while(|(id, _)| id.cluster == cluster);
        all.map(|(id, entry)| (id.clone(), entry.slot.get())).collect()
    }

    /// Another connection to a host that is up, for logs, images and other streams: what stalls
    /// on it stalls nothing else. Keep it no longer than needed.
    pub async fn bulk(&self, id: &HostId) -> Result<Host, HostError> {
        let (slot, target) = {
            let entries = lock(&self.0.entries);
            let entry = entries.get(id).ok_or(HostError::NotConnected(None))?;
            (entry.slot.clone(), entry.target.clone())
        };
        let target = match slot.get() {
            HostState::Connecting { last_error, .. } => return Err(HostError::NotConnected(last_error)),
            HostState::Up(up) => Target { trust: Trust::Pinned(up.host.presented().clone()), ..target },
        };
        let permit = tokio::time::timeout(BULK_WAIT, slot.bulk.clone().acquire_owned()).await;
        let permit = permit.map_err(|_| HostError::Busy(BULK))?.map_err(|_| HostError::NotConnected(None))?;
        let keep: Box<dyn Any + Send + Sync> = Box::new(permit);
        let _turn = slot.one_at_a_time.lock().await;
        Ok(Host::connect_with(&target, Patience::BULK.for_a_long_way(), Some(keep)).await?)
    }
}

impl fmt::Debug for Hosts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(lock(&self.0.entries).keys()).finish()
    }
}

/// Nothing panics while it holds one of these locks, and what they guard is whole at any time.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
