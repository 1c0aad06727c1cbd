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
mod jump;
mod keeper;
mod keys;
mod known_hosts;
mod login;
mod pipe;
pub mod race;
mod rotation;
mod session;
mod turn;
mod way;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

pub use connection::{ExecOutput, Host, SocketStream};
pub use error::{ConnectError, HostError, JumpError};
pub use hosts::{HostState, Hosts, Up};
pub use jump::Jump;
pub use keys::{ClientKey, HostKey, HostPin, HostSeed, KeyError};
pub use known_hosts::{KnownHostError, known_host, known_hosts, written};
pub use pipe::{Closed, Drain, Feed, Pipe};
pub use session::{Said, Session, SessionInput, Terminal};

/// Which machine: a slot of a cluster, and which instance fills it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
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
    /// The hosts to go through to the address, the first of them from here.
    pub via: Vec<Jump>,
    /// Other addresses that may be the same host's: whichever leads to its key first is taken.
    pub also: Vec<Place>,
    /// Which of the addresses was good last.
    pub good: Good,
}

/// An address of a host, and the way there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// An IP address or a name.
    pub address: String,
    /// The hosts to go through, the first of them from here.
    pub via: Vec<Jump>,
}

/// Which of a host's addresses was good last: the same for all copies of a target.
#[derive(Clone, Debug)]
pub struct Good(Arc<AtomicUsize>);

impl Default for Good {
    /// None yet.
    fn default() -> Self {
        Self(Arc::new(AtomicUsize::new(usize::MAX)))
    }
}

/// The addresses of a host.
struct Addresses<'a> {
    /// Where each stands in the target, and the way there, the best first.
    in_order: Vec<(usize, &'a str, &'a [Jump])>,
    /// Whether the first one was good before.
    known: bool,
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
        Self::of(address, client_key, trust)
    }

    /// A host whose key is known already.
    #[must_use]
    pub fn pinned(address: &str, client_key: ClientKey, pin: HostPin) -> Self {
        Self::of(address, client_key, Trust::Pinned(pin))
    }

    fn of(address: &str, client_key: ClientKey, trust: Trust) -> Self {
        Self {
            address: address.to_owned(),
            port: 22,
            user: "root".to_owned(),
            client_key,
            trust,
            via: Vec::new(),
            also: Vec::new(),
            good: Good::default(),
        }
    }

    fn addresses(&self) -> Addresses<'_> {
        let first = (self.address.as_str(), self.via.as_slice());
        let others = self.also.iter().map(|place| (place.address.as_str(), place.via.as_slice()));
        let all = std::iter::once(first).chain(others).enumerate();
        let mut in_order: Vec<_> = all.map(|(at, (address, via))| (at, address, via)).collect();
        let good = self.good.0.load(Ordering::Relaxed);
        in_order.sort_by_key(|(at, ..)| *at != good);
        Addresses { known: in_order.first().is_some_and(|(at, ..)| *at == good), in_order }
    }

    fn is_good_at(&self, address: usize) {
        self.good.0.store(address, Ordering::Relaxed);
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
            && self.also == other.also
            && self.via == other.via
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

    /// The keys that prove the host.
    fn keys(&self) -> Vec<HostPin> {
        match self {
            Self::Pinned(pin) => vec![pin.clone()],
            Self::Rotate { boot, own } => vec![boot.clone(), own.pin()],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_that_was_good_is_tried_first_by_every_copy() {
        let pin =
            HostSeed::generate().host_key(&HostId { cluster: String::new(), slot: String::new(), incarnation: 0 });
        let jump = Jump::given("c", 22, "me", pin.pin(), ClientKey::generate());
        let also = vec![Place { address: "b".to_owned(), via: vec![jump] }];
        let target = Target { also, ..Target::pinned("a", ClientKey::generate(), pin.pin()) };
        let order = |target: &Target| {
            let found = target.addresses();
            let step = |(_, address, via): &(usize, &str, &[Jump])| format!("{address}{} ", via.len());
            (found.in_order.iter().map(step).collect::<String>(), found.known)
        };
        assert_eq!(order(&target), ("a0 b1 ".to_owned(), false));
        target.clone().is_good_at(1);
        assert_eq!(order(&target), ("b1 a0 ".to_owned(), true));
    }
}
