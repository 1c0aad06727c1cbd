//! Docker Engine and Swarm, spoken to over a host's Docker socket.
//!
//! What the controllers ask of an engine: look, init, join, label, promote, demote, drain,
//! remove; images and containers for the runs. No type of the Docker client leaves this room,
//! and nothing here decides anything.
//!
//! The Docker client logs answers, join tokens among them, at its debug level: a subscriber
//! must never let `bollard` below `info` through.

mod containers;
mod error;
mod events;
mod images;
mod nodes;
mod ports;
mod stats;
mod transport;

use std::{fmt, time::Duration};

use bollard::{Docker, errors::Error};
use futures::{Stream, StreamExt as _, TryStreamExt as _, stream::BoxStream};

pub use containers::{Container, ContainerSpec, ContainerSummary};
pub use error::SwarmError;
pub use images::{Image, Login};
pub use nodes::{AddressPools, Availability, EngineInfo, JoinRequest, LocalState, Node, Token, Tokens};
pub use ports::{Place, Ports, Published, Publisher, Reached, ServicePort, TaskPlace};
pub use stats::Usage;

use self::transport::{Ask, Grant};
use crate::host::Host;

/// The most bytes of an answer that is one document, such as what an engine says of a container: some ten KiB are usual.
const DOCUMENT: u64 = 8 << 20;
/// The same of a list of all that a swarm runs: some KiB each.
const LIST: u64 = 32 << 20;
/// The most bytes of one piece of a stream: engines send the lines of a log in pieces of 16 KiB, and events are shorter.
const PIECE: u64 = 512 << 10;
/// Questions: an engine that is well answers within milliseconds.
const QUICK: Duration = Duration::from_secs(10);
/// Work the engine does before it answers: Docker itself gives a join 20 s.
const WORK: Duration = Duration::from_secs(60);
/// Images, logs and waiting take as long as they take; a host that dies is noticed by its connection.
const ENDLESS: Duration = Duration::from_secs(7 * 24 * 3600);

/// The Docker Engine of a host. Cheap to make: what it keeps is kept with the connection.
#[derive(Clone)]
pub struct Engine {
    ask: Ask,
    address: String,
}

impl Engine {
    /// The engine at the other end of a connection. Logs, images and whatever else is long or
    /// slow to be read must go over a connection of its own, [`Hosts::bulk`](crate::host::Hosts::bulk).
    #[must_use]
    pub fn new(host: &Host) -> Self {
        Self { ask: host.attached(transport::of_host), address: host.address().to_owned() }
    }

    /// For what is answered with a document.
    fn within(&self, limit: Duration) -> Docker {
        transport::docker(&self.ask, Grant::new(DOCUMENT)).with_timeout(limit)
    }

    /// For what is answered with a list of all that a swarm runs.
    fn list_within(&self, limit: Duration) -> Docker {
        transport::docker(&self.ask, Grant::new(LIST)).with_timeout(limit)
    }

    /// What is answered with a stream of any length: no piece of it is too long to be held.
    fn stream<T, S>(&self, limit: Duration, ask: impl FnOnce(Docker) -> S) -> BoxStream<'static, Result<T, SwarmError>>
    where
        S: Stream<Item = Result<T, Error>> + Send + 'static,
    {
        let grant = Grant::new(PIECE);
        let pieces = ask(transport::docker(&self.ask, grant.clone()).with_timeout(limit));
        Box::pin(pieces.inspect(move |_| grant.renew()).map_err(SwarmError::from))
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Engine({})", self.address)
    }
}
