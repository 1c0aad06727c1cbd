//! Everything that leads to one node: the shared connection, the pool of own ones, and signs of life.

mod signs;

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    sync::{Notify, watch},
    time::sleep,
};
use tokio_util::sync::CancellationToken;

pub use signs::TICK;

use super::rhythm::Rhythm;
use crate::host::{ConnectError, Host, HostError, Pipe, Target};

const SOCKET: &str = "/var/run/docker.sock";

/// Streams that are open before they are needed, so that a request does not wait for one.
const READY: usize = 2;
/// The daemon closes a connection that asks nothing for five minutes; one that is older than this is not given out.
const FRESH: Duration = Duration::from_secs(60);
/// Own connections kept for the next who needs one.
const IDLE: usize = 4;

/// A stream that was opened in advance is good for what must not be sent twice, where a sign of life is no older.
const JUST_NOW: Duration = Duration::from_millis(150);

/// A node of the cluster, and how to log in there.
#[derive(Clone, Debug)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// How to reach it.
    pub target: Target,
    /// Whether it is a manager: others know nothing of the swarm.
    pub manager: bool,
    /// Whether it was the leader when last heard of.
    pub leader: bool,
}

/// What leads to one node.
pub struct Link {
    pub name: String,
    target: Target,
    manager: bool,
    control: Host,
    /// Milliseconds since the last sign of life, in which this process was awake to hear one.
    silence: AtomicU64,
    rhythm: Mutex<Rhythm>,
    /// Streams over which much is sent.
    uploads: AtomicUsize,
    /// Whether its engine takes connections.
    engine: AtomicBool,
    swarm: AtomicBool,
    dead: CancellationToken,
    why: OnceLock<String>,
    ready: Mutex<Vec<(Instant, Pipe)>>,
    taken: Notify,
    idle: Mutex<Vec<Host>>,
    /// Own connections are made one at a time: sshd drops bursts of them.
    turn: tokio::sync::Mutex<()>,
}

/// A stream with a connection of its own.
pub struct Own {
    pub pipe: Pipe,
    pub host: Host,
}

impl Link {
    /// Connects. The caller ends it with [`cut`](Self::cut).
    pub async fn connect(
        node: &Node,
        first_bytes: Duration,
        changed: Arc<watch::Sender<()>>,
    ) -> Result<Arc<Self>, ConnectError> {
        let control = Host::connect_from_afar(&node.target, first_bytes).await?;
        // How long the way is must be known before silence is judged.
        let mut rhythm = Rhythm::default();
        let asked = Instant::now();
        if control.ping().await.is_ok() {
            rhythm.heard_after(asked.elapsed());
        }
        let link = Arc::new(Self {
            name: node.name.clone(),
            target: node.target.clone(),
            manager: node.manager,
            control,
            silence: AtomicU64::new(0),
            rhythm: Mutex::new(rhythm),
            uploads: AtomicUsize::new(0),
            engine: AtomicBool::new(true),
            // Until it has answered.
            swarm: AtomicBool::new(false),
            dead: CancellationToken::new(),
            why: OnceLock::new(),
            ready: Mutex::default(),
            taken: Notify::new(),
            idle: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
        });
        let dead = link.dead.clone();
        let tasks = {
            let link = link.clone();
            async move {
                tokio::join!(
                    link.age(),
                    link.watch(),
                    link.prepare(),
                    link.keep_a_spare(),
                    link.ask_after_the_engine(&changed)
                )
            }
        };
        tokio::spawn(async move { dead.run_until_cancelled(tasks).await });
        Ok(link)
    }

    /// A stream that shares the connection. What must not be sent twice is not sent where nobody may read it:
    /// with `surely`, the node has just given a sign of life.
    pub async fn shared(&self, surely: bool) -> Result<Pipe, HostError> {
        let hears = if surely { self.silent() < JUST_NOW } else { !self.is_suspect() };
        let ready = if hears { self.take_ready() } else { None };
        self.taken.notify_one();
        match ready {
            Some(pipe) => Ok(pipe),
            None => self.opened(self.within(self.control.open_pipe(SOCKET)).await),
        }
    }

    /// A stream with a connection of its own.
    pub async fn own(&self) -> Result<Own, HostError> {
        while let Some(host) = self.take_idle() {
            if !host.is_closed()
                && let Ok(pipe) = self.within(host.open_pipe(SOCKET)).await
            {
                return Ok(Own { pipe, host });
            }
        }
        let host = self.within(self.another()).await?;
        let pipe = self.opened(self.within(host.open_pipe(SOCKET)).await)?;
        Ok(Own { pipe, host })
    }

    /// Whether the engine took a stream is worth knowing.
    fn opened<T>(&self, stream: Result<T, HostError>) -> Result<T, HostError> {
        match &stream {
            Ok(_) => {
                self.heard();
                self.engine.store(true, Ordering::Relaxed);
            }
            Err(HostError::NotOpened { .. }) => self.engine.store(false, Ordering::Relaxed),
            Err(_) => {}
        }
        stream
    }

    /// Gives the connection back for the next one.
    pub fn give_back(&self, own: Own) {
        let Own { pipe, host } = own;
        drop(pipe);
        host.gather(false);
        let mut idle = lock(&self.idle);
        if idle.len() < IDLE && !host.is_closed() && !self.dead.is_cancelled() {
            idle.push(host);
        }
    }

    /// Something came from there, or something that waited was taken there.
    pub fn heard(&self) {
        self.silence.store(0, Ordering::Relaxed);
    }

    /// Much is sent there while what this gives is kept.
    pub fn uploads(self: &Arc<Self>) -> Upload {
        self.uploads.fetch_add(1, Ordering::Relaxed);
        Upload(self.clone())
    }

    /// Whether nothing new should begin there.
    pub fn is_suspect(&self) -> bool {
        self.silent() >= lock(&self.rhythm).suspect() || self.is_dead()
    }

    /// How long an answer may take before it is asked for elsewhere.
    pub fn late(&self) -> Duration {
        lock(&self.rhythm).late()
    }

    /// How long the way there is.
    pub fn round_trip(&self) -> Duration {
        lock(&self.rhythm).round_trip()
    }

    /// Whether it is a manager.
    pub fn is_manager(&self) -> bool {
        self.manager
    }

    /// Whether its engine takes connections, as far as is known.
    pub fn has_engine(&self) -> bool {
        self.engine.load(Ordering::Relaxed)
    }

    /// Whether it was part of a working swarm when last asked.
    pub fn has_swarm(&self) -> bool {
        self.swarm.load(Ordering::Relaxed)
    }

    /// Whether it was given up.
    pub fn is_dead(&self) -> bool {
        self.dead.is_cancelled()
    }

    /// Fires when it is given up.
    pub fn dead(&self) -> &CancellationToken {
        &self.dead
    }

    /// Why nothing should begin there, in words.
    pub fn reason(&self) -> String {
        match self.why.get() {
            Some(why) => why.clone(),
            None if self.is_suspect() => format!("no sign of life for {:.1} s", self.silent().as_secs_f32()),
            None => "it was let go".to_owned(),
        }
    }

    /// Gives it up: every stream there ends with an error.
    pub fn cut(&self, why: &str) {
        let _ = self.why.set(why.to_owned());
        self.dead.cancel();
        self.control.close();
        lock(&self.idle).clear();
        lock(&self.ready).clear();
    }

    fn silent(&self) -> Duration {
        Duration::from_millis(self.silence.load(Ordering::Relaxed))
    }

    async fn within<T, E: Into<HostError>>(&self, step: impl Future<Output = Result<T, E>>) -> Result<T, HostError> {
        tokio::select! {
            done = step => done.map_err(Into::into),
            () = self.dead.cancelled() => Err(HostError::Lost { address: self.name.clone(), reason: self.reason() }),
        }
    }

    async fn another(&self) -> Result<Host, ConnectError> {
        let _turn = self.turn.lock().await;
        Host::connect_from_afar_for_bulk(&self.target).await
    }

    fn take_idle(&self) -> Option<Host> {
        lock(&self.idle).pop()
    }

    fn take_ready(&self) -> Option<Pipe> {
        let mut ready = lock(&self.ready);
        while let Some((since, mut pipe)) = ready.pop() {
            if since.elapsed() < FRESH && !pipe.drain.is_over() {
                return Some(pipe);
            }
        }
        None
    }

    /// Keeps streams open before they are needed.
    async fn prepare(&self) {
        loop {
            lock(&self.ready).retain_mut(|(since, pipe)| since.elapsed() < FRESH && !pipe.drain.is_over());
            while lock(&self.ready).len() < READY {
                match self.control.open_pipe(SOCKET).await {
                    // The one that waits longest is given out last, and made anew by time.
                    Ok(pipe) => lock(&self.ready).insert(0, (Instant::now(), pipe)),
                    Err(error) => {
                        tracing::debug!(node = self.name, %error, "no stream in advance");
                        break;
                    }
                }
            }
            tokio::select! {
                () = self.taken.notified() => {}
                () = sleep(FRESH / 4) => {}
            }
        }
    }

    /// The first who needs a connection of its own finds one.
    async fn keep_a_spare(&self) {
        match self.another().await {
            // Under those that were used: they are better.
            Ok(host) => lock(&self.idle).insert(0, host),
            Err(error) => tracing::debug!(node = self.name, %error, "no connection in advance"),
        }
    }
}

/// Much is sent over a link; dropped, no more.
pub struct Upload(Arc<Link>);

impl Drop for Upload {
    fn drop(&mut self) {
        self.0.uploads.fetch_sub(1, Ordering::Relaxed);
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Link({}{})", self.name, if self.is_dead() { ", dead" } else { "" })
    }
}

/// Nothing panics while it holds one of these locks, and what they guard is whole at any time.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
