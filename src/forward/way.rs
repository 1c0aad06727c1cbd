//! The way to one host: SSH connections, one for each that goes over it.

use std::{
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::host::{Host, HostError, Pipe, Target};

/// Connections kept for the next who needs one.
const IDLE: usize = 4;

/// The way to one host.
pub struct Way {
    name: String,
    target: Target,
    idle: Mutex<Vec<Host>>,
    /// Connections are made one at a time: sshd drops bursts of them.
    turn: tokio::sync::Mutex<()>,
}

/// There is no stream.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NoWay(String);

impl NoWay {
    pub(super) fn nowhere() -> Self {
        Self("there is no host to reach it by".to_owned())
    }
}

/// A stream, and the connection that it has for itself.
pub struct Opened {
    pub pipe: Pipe,
    pub host: Host,
}

impl Way {
    /// To the host of that name; nothing is connected yet.
    #[must_use]
    pub fn new(name: &str, target: Target) -> Self {
        Self { name: name.to_owned(), target, idle: Mutex::default(), turn: tokio::sync::Mutex::default() }
    }

    /// The host's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A connection of its own, which is nobody else's; [`give_back`](Self::give_back) takes it for the next.
    ///
    /// # Errors
    /// When the host cannot be reached.
    pub async fn connect(&self) -> Result<Host, NoWay> {
        while let Some(host) = self.idle().pop() {
            if !host.is_closed() {
                return Ok(host);
            }
        }
        let _turn = self.turn.lock().await;
        Host::connect_from_afar_for_bulk(&self.target).await.map_err(|e| NoWay(format!("{}: {e}", self.name)))
    }

    /// A stream to the first of these addresses at which something listens.
    pub(super) async fn open(&self, places: &[(String, u16)]) -> Result<Opened, NoWay> {
        let mut host = self.connect().await?;
        let mut last = NoWay::nowhere();
        let mut at = 0;
        let mut again = true;
        while let Some((address, port)) = places.get(at) {
            match host.open_tcp(address, *port).await {
                Ok(pipe) => return Ok(Opened { pipe, host }),
                // One that was idle may have ended unseen.
                Err(HostError::Lost { .. }) if again => {
                    again = false;
                    host = self.connect().await?;
                }
                Err(error) => {
                    last = NoWay(format!("{}: {error}", self.name));
                    at += 1;
                }
            }
        }
        self.give_back(host);
        Err(last)
    }

    /// Keeps a connection for the next.
    pub fn give_back(&self, host: Host) {
        let mut idle = self.idle();
        if idle.len() < IDLE && !host.is_closed() {
            idle.push(host);
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Host>> {
        // Nothing panics while it holds this lock.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Way({})", self.name)
    }
}
