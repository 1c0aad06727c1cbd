//! Local TCP ports that lead to ports as a host sees them, over SSH.
//!
//! **No stream delays another**: a reader that stops stops its whole SSH connection (see [`crate::attach`] for why), so
//! each local connection has one of its own while it lasts, from a pool. Nothing here prints or knows of Kubernetes or
//! Docker.

mod carry;
mod way;

use std::{
    fmt, io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};

use self::way::Opened;
pub use self::way::{NoWay, Way};
use crate::host::race;

/// How long one way is tried alone before the next is tried beside it.
const HEAD_START: std::time::Duration = std::time::Duration::from_secs(1);

/// What happens to the connections of a local port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Somebody connected.
    Connected,
    /// A connection ended before its time: why.
    Broken(String),
}

/// A host, and the addresses with their ports to try from there, the best first.
pub type Route = (Arc<Way>, Vec<(String, u16)>);

/// Where a local port leads to: ways that are as good as each other, and on each the addresses to try there.
#[derive(Clone)]
pub struct Destination {
    routes: Arc<[Route]>,
    /// Which of the ways was good last.
    good: Arc<AtomicUsize>,
}

impl Destination {
    /// The best of them first.
    #[must_use]
    pub fn new(routes: Vec<Route>) -> Self {
        Self { routes: routes.into(), good: Arc::default() }
    }

    /// A stream there, by the first way that is one: a host that is dead and does not say so costs its head start, and
    /// once only, since the way that was good is tried first from then on.
    async fn open(&self) -> Result<(Opened, &Arc<Way>), NoWay> {
        let first = self.good.load(Ordering::Relaxed);
        let count = self.routes.len();
        let order: Vec<usize> = (0..count).map(|at| (first + at) % count).collect();
        let mut attempts = Vec::new();
        for at in &order {
            if let Some((way, places)) = self.routes.get(*at) {
                attempts.push(async move { way.open(places).await.map(|opened| (opened, way)) });
            }
        }
        match race::first(attempts, HEAD_START).await {
            Ok((at, found)) => {
                self.good.store(order.get(at).copied().unwrap_or_default(), Ordering::Relaxed);
                Ok(found)
            }
            Err(mut errors) => Err(errors.pop().unwrap_or_else(NoWay::nowhere)),
        }
    }
}

impl fmt::Debug for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.routes.iter()).finish()
    }
}

/// A local port that leads somewhere. Dropped, it is closed, and so are its connections.
#[derive(Debug)]
pub struct Forward {
    local: SocketAddr,
    task: JoinHandle<io::Error>,
}

impl Forward {
    /// Listens; port 0 stands for any that is free.
    ///
    /// # Errors
    /// When the port cannot be had.
    pub async fn begin(
        local: SocketAddr,
        to: Destination,
        say: impl Fn(Event) + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(local).await?;
        let local = listener.local_addr()?;
        Ok(Self { local, task: tokio::spawn(serve(listener, to, Arc::new(say))) })
    }

    /// Where it listens.
    #[must_use]
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// Gives the local port up: when this is done, another one may have it.
    pub async fn close(mut self) {
        self.task.abort();
        let _ = (&mut self.task).await;
    }

    /// Waits until it takes no more connections, which is never as long as all is well; why.
    pub async fn ended(&mut self) -> String {
        match (&mut self.task).await {
            Ok(error) => error.to_string(),
            Err(_) => "it was stopped".to_owned(),
        }
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, to: Destination, say: Arc<dyn Fn(Event) + Send + Sync>) -> io::Error {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((local, _)) => {
                    say(Event::Connected);
                    let (to, say) = (to.clone(), say.clone());
                    connections.spawn(async move {
                        if let Err(why) = connect(local, &to).await {
                            say(Event::Broken(why));
                        }
                    });
                }
                Err(error) if crate::attach::is_passing(&error) => {
                    tracing::warn!(%error, "a local connection was not accepted");
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                }
                Err(error) => return error,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connect(local: TcpStream, to: &Destination) -> Result<(), String> {
    let _ = local.set_nodelay(true);
    let (opened, way) = match to.open().await {
        Ok(opened) => opened,
        Err(error) => {
            carry::reset(&local);
            return Err(error.to_string());
        }
    };
    let Opened { pipe, host } = opened;
    carry::carry(local, pipe).await.map_err(|e| e.to_string())?;
    way.give_back(host);
    Ok(())
}
