//! What can go wrong with a host, and what to do about each.

use std::time::Duration;

/// Why there is no connection.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ConnectError {
    /// Nothing listens there (yet): a host that boots does this.
    #[error("{address} refuses connections: {message} (sshd is not up yet, or a firewall rejects us)")]
    Refused {
        /// Where to.
        address: String,
        /// The system's words.
        message: String,
    },
    /// No way leads there (yet).
    #[error("{address} cannot be reached: {message} (check that it is up, its security group and the route to it)")]
    Unreachable {
        /// Where to.
        address: String,
        /// The system's words.
        message: String,
    },
    /// No answer in time.
    #[error("{address} does not answer: {during} took longer than {} s (check that it is up, and its security group)", limit.as_secs_f32())]
    Timeout {
        /// Where to.
        address: String,
        /// What took so long.
        during: &'static str,
        /// How long is too long.
        limit: Duration,
    },
    /// The host is not the one we expect, or has not read its host key yet.
    #[error(
        "{address} presents {presented}, not the host key that is expected ({expected}): first boot has not installed it yet, or this is another machine"
    )]
    HostKeyMismatch {
        /// Where to.
        address: String,
        /// What it showed.
        presented: String,
        /// What it should have shown.
        expected: String,
    },
    /// It does not let us in (yet).
    #[error(
        "{address} does not accept the cluster's key for {user}: first boot has not installed it yet, or authorized_keys was changed"
    )]
    AuthFailed {
        /// Where to.
        address: String,
        /// As whom.
        user: String,
    },
    /// It hung up before we were in: it restarts, or it has had too many attempts from us.
    #[error(
        "{address} hung up while logging in: {message} (sshd restarts, or refuses us for a while after failed attempts)"
    )]
    HungUp {
        /// Where to.
        address: String,
        /// What was seen.
        message: String,
    },
    /// The way ends at a jump host.
    #[error("the jump host {jump}: {why}")]
    Jump {
        /// Which one, as it was named.
        jump: String,
        /// Why.
        why: JumpError,
    },
    /// The host was tried at several of its addresses.
    #[error("{first}; nor by its other address: {others}")]
    AtNone {
        /// What the address to connect to gave.
        first: Box<Self>,
        /// What the others gave, in words.
        others: String,
    },
}

/// Why the way ends at a jump host.
#[derive(Clone, Debug, thiserror::Error)]
pub enum JumpError {
    /// There is no connection to it.
    #[error(transparent)]
    Connect(Box<ConnectError>),
    /// It hung up before it showed who it is. That may pass.
    #[error(
        "{place} hung up at once: {message} (its sshd drops some of many that come together, MaxStartups, or keeps this address out for a while)"
    )]
    Dropped {
        /// Where it is.
        place: String,
        /// What was seen.
        message: String,
    },
    /// It is not the host that the user knows.
    #[error("{place} presents {presented}, which is not what known_hosts has for it")]
    Key {
        /// Where it is.
        place: String,
        /// What it showed.
        presented: String,
    },
    /// It does not let the user in.
    #[error("{place} lets {user} in by none of these: {tried}")]
    Login {
        /// Where it is.
        place: String,
        /// As whom.
        user: String,
        /// The keys that were offered, in words.
        tried: String,
    },
    /// It does not connect to the next host.
    #[error("it opens no connection to {to}: {message}")]
    Passage {
        /// Where to.
        to: String,
        /// Its words.
        message: String,
    },
}

impl ConnectError {
    /// One error for those of all addresses of a host.
    pub(super) fn of_several(errors: Vec<Self>) -> Self {
        let mut errors = errors.into_iter();
        let nowhere = || Self::Unreachable { address: "a host".to_owned(), message: "it has no address".to_owned() };
        let first = errors.next().unwrap_or_else(nowhere);
        let others: Vec<String> = errors.map(|e| e.to_string()).collect();
        match others.as_slice() {
            [] => first,
            others => Self::AtNone { first: Box::new(first), others: others.join("; ") },
        }
    }

    /// Whether a jump host may only have had too many visitors at once.
    pub(super) fn may_pass(&self) -> bool {
        matches!(self, Self::Jump { why: JumpError::Dropped { .. }, .. })
    }

    /// What the address to connect to gave.
    #[must_use]
    pub fn at_first(&self) -> &Self {
        match self {
            Self::AtNone { first, .. } => first.at_first(),
            error => error,
        }
    }
}

/// Why something on a connected host did not work.
#[derive(Clone, Debug, thiserror::Error)]
pub enum HostError {
    /// There is no connection; it is being made, or must be asked for.
    #[error("not connected{}", .0.as_deref().map(|e| format!(": {e}")).unwrap_or_default())]
    NotConnected(Option<String>),
    /// The connection is gone.
    #[error("the connection to {address} was lost: {reason}")]
    Lost {
        /// Where to.
        address: String,
        /// What was seen.
        reason: String,
    },
    /// The host does not open what we ask for.
    #[error("{address} does not open {what}: {reason}")]
    NotOpened {
        /// Where.
        address: String,
        /// A socket's path, or a session.
        what: String,
        /// sshd's words.
        reason: String,
    },
    /// A command wrote more than we keep.
    #[error("the command on {address} wrote more than {limit} bytes")]
    TooMuchOutput {
        /// Where.
        address: String,
        /// The bound.
        limit: usize,
    },
    /// All connections for bulk data are taken.
    #[error(
        "{0} connections for logs and images of this host are in use already: try again when one of them has ended"
    )]
    Busy(usize),
    /// No other connection could be made.
    #[error(transparent)]
    Connect(#[from] ConnectError),
}
