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

use bollard::Docker;

pub use containers::{Container, ContainerSpec, ContainerSummary};
pub use error::SwarmError;
pub use images::{Image, Login};
pub use nodes::{AddressPools, Availability, EngineInfo, JoinRequest, LocalState, Node, Token, Tokens};
pub use ports::{Place, Ports, Published, Publisher, Reached, ServicePort, TaskPlace};
pub use stats::Usage;

use crate::host::Host;

/// Questions: an engine that is well answers within milliseconds.
const QUICK: Duration = Duration::from_secs(10);
/// Work the engine does before it answers: Docker itself gives a join 20 s.
const WORK: Duration = Duration::from_secs(60);
/// Images, logs and waiting take as long as they take; a host that dies is noticed by its connection.
const ENDLESS: Duration = Duration::from_secs(7 * 24 * 3600);

/// The Docker Engine of a host. Cheap to make: what it keeps is kept with the connection.
#[derive(Clone)]
pub struct Engine {
    docker: Docker,
    address: String,
}

impl Engine {
    /// The engine at the other end of a connection. Logs, images and whatever else is long or
    /// slow to be read must go over a connection of its own, [`Hosts::bulk`](crate::host::Hosts::bulk).
    #[must_use]
    pub fn new(host: &Host) -> Self {
        Self { docker: host.attached(transport::docker), address: host.address().to_owned() }
    }

    fn within(&self, limit: Duration) -> Docker {
        self.docker.clone().with_timeout(limit)
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Engine({})", self.address)
    }
}
