//! The managers of the cluster, and which of them is asked.
//!
//! Two of them are connected, where there are two: a home that everybody is sent to, since
//! images and containers are an engine's own, and one that takes over. While the home is
//! silent or has no swarm, new streams begin at the other one; when it is given up, the other
//! one becomes the home.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::{StreamExt, stream::FuturesUnordered};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout_at},
};

use super::{
    Status,
    link::{Link, Manager, Own},
};
use crate::host::{HostError, Pipe};

/// So many managers are connected at a time.
const CONNECTED: usize = 2;
/// How long a connection waits for a manager before it is told that there is none.
const WAIT: Duration = Duration::from_secs(10);
/// A manager that has not let us in after so long is not waited for alone: the next one is tried beside it.
const HESITATES: Duration = Duration::from_secs(2);
/// Between rounds of attempts while managers are missing.
const AGAIN: Duration = Duration::from_secs(1);
/// Before a stream is asked for again where nothing about the links has changed.
const ONCE_MORE: Duration = Duration::from_millis(100);

/// What happens, for whoever looks on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// New connections go to this manager now.
    Uses {
        /// The manager.
        manager: String,
        /// The one before it and what was wrong with it.
        instead_of: Option<(String, String)>,
    },
    /// A manager was given up; its streams ended with an error.
    Lost {
        /// The manager.
        manager: String,
        /// Why.
        why: String,
    },
    /// A manager cannot be connected; said once until something changes.
    NotConnected {
        /// The manager.
        manager: String,
        /// Why.
        why: String,
    },
}

/// No manager answers.
#[derive(Clone, Debug, thiserror::Error)]
#[error("no manager of {cluster} answers{}", .why.as_deref().map(|w| format!(": {w}")).unwrap_or_default())]
pub struct NoManager {
    cluster: String,
    why: Option<String>,
}

type Say = Box<dyn Fn(Event) + Send + Sync>;

/// The managers of a cluster. Dropped, all connections end.
pub struct Managers {
    cluster: String,
    inner: Arc<Inner>,
    keeper: tokio::task::JoinHandle<()>,
}

struct Inner {
    wanted: watch::Receiver<Vec<Manager>>,
    say: Say,
    state: Mutex<State>,
    /// A link is new, or not what it was.
    changed: Arc<watch::Sender<()>>,
}

#[derive(Default)]
struct State {
    links: Vec<Arc<Link>>,
    home: Option<Arc<Link>>,
    /// The one that was asked last.
    used: Option<Arc<Link>>,
    troubles: Vec<(String, String)>,
}

/// A stream and what it leads to.
pub struct Opened<T> {
    pub stream: T,
    pub link: Arc<Link>,
}

impl Managers {
    /// Connects to the managers in the order they are given, and follows changes of the list.
    #[must_use]
    pub fn new(
        cluster: &str,
        wanted: watch::Receiver<Vec<Manager>>,
        say: impl Fn(Event) + Send + Sync + 'static,
    ) -> Arc<Self> {
        let inner = Arc::new(Inner { wanted, say: Box::new(say), state: Mutex::default(), changed: Arc::default() });
        let keeper = tokio::spawn(keep(inner.clone()));
        Arc::new(Self { cluster: cluster.to_owned(), inner, keeper })
    }

    /// Waits until a manager is connected.
    ///
    /// # Errors
    /// When none is after ten seconds.
    pub async fn ready(&self) -> Result<String, NoManager> {
        self.pick().await.map(|link| link.name.clone())
    }

    /// What this is attached to.
    #[must_use]
    pub fn status(&self) -> Status {
        let manager = self.inner.state().used.as_ref().map(|link| link.name.clone());
        Status { cluster: self.cluster.clone(), manager }
    }

    /// A stream that shares a connection with others.
    pub async fn shared(&self) -> Result<Opened<Pipe>, NoManager> {
        self.open(|link| async move { link.shared().await }).await
    }

    /// A stream with a connection of its own.
    pub async fn own(&self) -> Result<Opened<Own>, NoManager> {
        self.open(|link| async move { link.own().await }).await
    }

    async fn open<T, F>(&self, open: impl Fn(Arc<Link>) -> F) -> Result<Opened<T>, NoManager>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, HostError>> + Send + 'static,
    {
        let deadline = Instant::now() + WAIT;
        let mut last = None;
        let mut changes = self.inner.changed.subscribe();
        loop {
            changes.mark_unchanged();
            let link = self.pick().await?;
            // A task of its own: a stream that is opened too late is closed there.
            let mut first = tokio::spawn(open(link.clone()));
            let slow = async {
                link.suspect().await;
                match self.inner.best(Some(&link)) {
                    Some(other) => other,
                    None => std::future::pending().await,
                }
            };
            let answer = tokio::select! {
                answer = &mut first => (answer, link.clone()),
                other = slow => {
                    let mut second = tokio::spawn(open(other.clone()));
                    tokio::select! {
                        answer = &mut first => (answer, link.clone()),
                        answer = &mut second => (answer, other),
                    }
                }
            };
            match answer {
                (Ok(Ok(stream)), link) => return Ok(Opened { stream, link }),
                (Ok(Err(error)), link) => {
                    tracing::debug!(manager = link.name, %error, "no stream");
                    last = Some(error.to_string());
                }
                (Err(_), _) => {}
            }
            if Instant::now() >= deadline {
                return Err(NoManager { cluster: self.cluster.clone(), why: last });
            }
            tokio::select! {
                _ = changes.changed() => {}
                () = sleep(ONCE_MORE) => {}
            }
        }
    }

    /// The manager to ask, waited for where there is none.
    async fn pick(&self) -> Result<Arc<Link>, NoManager> {
        let deadline = Instant::now() + WAIT;
        let mut changes = self.inner.changed.subscribe();
        loop {
            if let Some(link) = self.inner.best(None) {
                self.inner.use_from_now(&link);
                return Ok(link);
            }
            if timeout_at(deadline, changes.changed()).await.is_err() {
                let why = self.inner.state().troubles.last().map(|(_, why)| why.clone());
                let why = why.unwrap_or_else(|| format!("none has let us in for {} s", WAIT.as_secs()));
                return Err(NoManager { cluster: self.cluster.clone(), why: Some(why) });
            }
        }
    }
}

impl Inner {
    /// The best link there is: alive before suspect, with a swarm before without, the home before others.
    fn best(&self, avoid: Option<&Arc<Link>>) -> Option<Arc<Link>> {
        let state = self.state();
        let home = state.home.as_ref();
        let usable = state.links.iter().filter(|l| !l.is_dead() && avoid.is_none_or(|a| !Arc::ptr_eq(a, l)));
        let good = |l: &&Arc<Link>| (!l.is_suspect(), l.has_swarm(), home.is_some_and(|h| Arc::ptr_eq(h, l)));
        // The first of equals, in the order they came.
        let mut best: Option<&Arc<Link>> = None;
        for link in usable {
            if best.is_none_or(|b| good(&link) > good(&b)) {
                best = Some(link);
            }
        }
        best.cloned()
    }

    fn use_from_now(&self, link: &Arc<Link>) {
        let same = |other: &Option<Arc<Link>>| other.as_ref().is_some_and(|o| Arc::ptr_eq(o, link));
        let before = {
            let mut state = self.state();
            // A home that is silent or without a swarm may come back, and has people's images and containers; a dead one is none.
            if state.home.as_ref().is_none_or(|home| home.is_dead()) {
                state.home = Some(link.clone());
            }
            if same(&state.used) {
                return;
            }
            state.used.replace(link.clone())
        };
        let instead_of = before.map(|b| (b.name.clone(), b.reason()));
        (self.say)(Event::Uses { manager: link.name.clone(), instead_of });
    }

    /// Takes the dead links away, and sends people to the best of the others.
    fn settle(&self) {
        let dead = {
            let mut state = self.state();
            let (dead, alive) = std::mem::take(&mut state.links).into_iter().partition(|l: &Arc<Link>| l.is_dead());
            state.links = alive;
            dead
        };
        for link in dead {
            (self.say)(Event::Lost { manager: link.name.clone(), why: link.reason() });
        }
        if self.state().used.is_some()
            && let Some(best) = self.best(None)
        {
            self.use_from_now(&best);
        }
    }

    /// One attempt at one manager.
    async fn connect(&self, manager: Manager) {
        let link = match Link::connect(&manager, self.changed.clone()).await {
            Ok(link) => link,
            Err(error) => return self.trouble(&manager.name, error.to_string()),
        };
        let (dead, changed) = (link.dead().clone(), self.changed.clone());
        tokio::spawn(async move {
            dead.cancelled().await;
            changed.send_replace(());
        });
        let mut state = self.state();
        state.troubles.retain(|(m, _)| *m != manager.name);
        state.links.push(link);
        drop(state);
        self.changed.send_replace(());
    }

    /// The managers that are wanted and not connected.
    fn missing(&self) -> Vec<Manager> {
        let wanted = self.wanted.borrow().clone();
        let state = self.state();
        wanted.into_iter().filter(|m| state.links.iter().all(|l| l.name != m.name)).collect()
    }

    fn connected(&self) -> usize {
        self.state().links.len()
    }

    fn trouble(&self, manager: &str, why: String) {
        let said = {
            let mut state = self.state();
            let said = state.troubles.iter().any(|(m, w)| m == manager && *w == why);
            state.troubles.retain(|(m, _)| m != manager);
            state.troubles.push((manager.to_owned(), why.clone()));
            said
        };
        if !said {
            (self.say)(Event::NotConnected { manager: manager.to_owned(), why });
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds this lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps two managers connected.
async fn keep(inner: Arc<Inner>) {
    let mut wanted = inner.wanted.clone();
    let mut changes = inner.changed.subscribe();
    loop {
        tokio::select! {
            () = connect_missing(&inner, &mut changes) => {}
            Ok(()) = wanted.changed() => continue,
        }
        let short = inner.connected() < CONNECTED && !inner.missing().is_empty();
        tokio::select! {
            _ = changes.changed() => {}
            changed = wanted.changed() => if changed.is_err() { std::future::pending::<()>().await },
            () = sleep(AGAIN), if short => {}
        }
    }
}

/// One round: each missing manager once, in their order, until enough are connected. A host that takes a
/// connection and then says nothing must not hide those that would answer.
async fn connect_missing(inner: &Inner, changes: &mut watch::Receiver<()>) {
    let mut waiting = inner.missing().into_iter();
    let mut attempts = FuturesUnordered::new();
    let mut next = true;
    loop {
        changes.mark_unchanged();
        inner.settle();
        if inner.connected() >= CONNECTED {
            return;
        }
        if next {
            attempts.extend(waiting.next().map(|manager| inner.connect(manager)));
        }
        next = tokio::select! {
            attempt = attempts.next() => match attempt {
                Some(()) => true,
                None => return,
            },
            () = sleep(HESITATES), if waiting.len() > 0 => true,
            _ = changes.changed() => false,
        };
    }
}

impl Drop for Managers {
    fn drop(&mut self) {
        self.keeper.abort();
        for link in self.inner.state().links.drain(..) {
            link.cut("it is not needed any more");
        }
    }
}

impl fmt::Debug for Managers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Managers").field("links", &self.inner.state().links).finish()
    }
}
