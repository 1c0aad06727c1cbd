//! Hosts: machines we reach over SSH.
//!
//! A [`Host`] is one multiplexed SSH connection with a pinned host key: commands and streams
//! to unix sockets. [`Hosts`] keeps one control connection to each host that is wanted: one
//! attempt at a time with back-off, rotation of the host key that user-data gave away, a wait
//! for the engine, and a wake-up for whoever asked at every change. No type of the SSH library
//! leaves this room, and nothing here knows of Docker's API.

mod backoff;
mod connection;
mod engine;
mod error;
mod hosts;
mod keeper;
mod keys;
mod login;
mod pipe;
mod rotation;
mod session;

use std::fmt;

pub use connection::{ExecOutput, Host, SocketStream};
pub use error::{ConnectError, HostError};
pub use hosts::{HostState, Hosts, Up};
pub use keys::{ClientKey, HostKey, HostPin, HostSeed, KeyError};
pub use pipe::{Closed, Drain, Feed, Pipe};
pub use session::{Said, Session, SessionInput, Terminal};

/// Which machine: a slot of a cluster, and which instance fills it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostId {
    /// The SwarmCluster's UID.
    pub cluster: String,
    /// The slot, such as `m0`.
    pub slot: String,
    /// Which instance of the slot.
    pub incarnation: u32,
}

impl fmt::Display for HostId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.slot, self.incarnation)
    }
}

impl fmt::Debug for HostId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{self}", self.cluster)
    }
}

/// Where a host is, how to log in, and which host key to expect.
#[derive(Clone, Debug)]
pub struct Target {
    /// An IP address or a name.
    pub address: String,
    /// The port of sshd.
    pub port: u16,
    /// The user to log in as.
    pub user: String,
    /// The key to log in with.
    pub client_key: ClientKey,
    /// The host key to expect.
    pub trust: Trust,
}

/// Which host key to expect.
#[derive(Clone, Debug)]
pub enum Trust {
    /// This one and no other.
    Pinned(HostPin),
    /// The boot key that user-data installed, which is then replaced by the host's own; or the
    /// own one, where an earlier connection has replaced it already.
    Rotate {
        /// What user-data installed, and containers on the host may know.
        boot: HostPin,
        /// What replaces it.
        own: HostKey,
    },
}

impl Target {
    /// A host as the operator sees it: with its own key and, until that was seen in place, the boot key.
    #[must_use]
    pub fn operator(address: &str, client_key: ClientKey, own: HostKey, boot: Option<HostKey>) -> Self {
        let trust = match boot {
            Some(boot) => Trust::Rotate { boot: boot.pin(), own },
            None => Trust::Pinned(own.pin()),
        };
        Self { address: address.to_owned(), port: 22, user: "root".to_owned(), client_key, trust }
    }

    /// A host whose key is known already.
    #[must_use]
    pub fn pinned(address: &str, client_key: ClientKey, pin: HostPin) -> Self {
        let trust = Trust::Pinned(pin);
        Self { address: address.to_owned(), port: 22, user: "root".to_owned(), client_key, trust }
    }

    /// The same host by the key that is its own for good.
    fn rotated(&self) -> Self {
        Self { trust: Trust::Pinned(self.trust.own()), ..self.clone() }
    }

    /// Whether a connection made for the one target is good for the other.
    fn leads_to_the_same(&self, other: &Self) -> bool {
        self.address == other.address
            && self.port == other.port
            && self.user == other.user
            && self.client_key == other.client_key
            && self.trust.own() == other.trust.own()
    }
}

impl Trust {
    /// The key that is the host's own for good.
    fn own(&self) -> HostPin {
        match self {
            Self::Pinned(pin) => pin.clone(),
            Self::Rotate { own, .. } => own.pin(),
        }
    }

    fn accepts(&self, presented: &HostPin) -> bool {
        match self {
            Self::Pinned(pin) => presented == pin,
            Self::Rotate { boot, own } => presented == boot || *presented == own.pin(),
        }
    }
}
