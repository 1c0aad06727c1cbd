//! Logging in: one attempt, from the TCP connection to a session that knows when it ends.
//!
//! Nothing here tries twice; when to try again is decided elsewhere.

use std::{
    net::Shutdown,
    sync::{Arc, OnceLock},
    time::Duration,
};

use russh::{
    client::{self, DisconnectReason},
    keys::{Algorithm, PrivateKeyWithHashAlg, PublicKeyOrCertificate},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{sleep, timeout},
};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{
    ConnectError, HostPin, Jump, Target, race,
    way::{self, Hop, Way},
};

/// A step of logging in.
pub const TCP: &str = "the TCP connection";
const HANDSHAKE: &str = "the SSH handshake";
pub const LOGIN: &str = "logging in";

/// A host with many things to start takes its time for the key exchange.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(15);
/// And as many round trips as it may be: versions, key exchange, new keys, and some of them lost.
const HANDSHAKE_TRIPS: u32 = 6;
pub const LOGIN_LIMIT: Duration = Duration::from_secs(15);
pub const LOGIN_TRIPS: u32 = 4;

/// How long the address that is said to be the host's is tried alone (RFC 8305 has 250 ms), where none is known to be good.
const HEAD_START: Duration = Duration::from_millis(250);
/// The same for one that was good before, and through jump hosts.
const HEAD_START_OF_KNOWN: Duration = Duration::from_secs(3);

/// The waits before a jump host that dropped a connection is asked again. Half of each is by chance: who was dropped together
/// does not come together again.
const AFTER_A_DROP: [Duration; 4] =
    [Duration::from_millis(250), Duration::from_millis(500), Duration::from_secs(1), Duration::from_secs(2)];

/// How long a peer may be silent, and how much it may send ahead.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Keep-alives after this much silence.
    interval: Duration,
    /// How many may stay unanswered.
    unanswered: usize,
    /// The window of a channel, in bytes. The library gives credit back once half of it is used,
    /// so half of it a round trip is what is sure to flow.
    window: u32,
    /// How many pieces (of at most 32 KiB) of a channel wait for their reader.
    pieces: usize,
    /// What the TCP connection may take.
    tcp: Duration,
}

/// What the first look at a host may take: a host that is not there is told soon.
const SOON: Duration = Duration::from_secs(1);
/// Where a second was not enough: the way may be long.
const LATER: Duration = Duration::from_secs(5);
/// Time for the first bytes over a way that takes seconds, and for SYNs that are lost (sent again after 1, 3, 7 s).
const PATIENTLY: Duration = Duration::from_secs(10);

impl Patience {
    /// Control traffic: a dead host is noticed within 6 s, and one that starves for 5 is not taken for dead.
    pub const CONTROL: Self =
        Self { interval: Duration::from_secs(2), unanswered: 2, window: 2 << 20, pieces: 100, tcp: SOON };
    /// Bulk data keeps a host busy: more patience. OpenSSH keeps 2 MiB on the way (its `CHAN_TCP_WINDOW_DEFAULT`);
    /// half of this window is more than that.
    pub const BULK: Self =
        Self { interval: Duration::from_secs(6), unanswered: 4, window: 6 << 20, pieces: 32, tcp: SOON };
    /// A person's machine may be far away, and behind a slow uplink that keeps seconds of data before a sign of life.
    pub const FAR: Self = Self { interval: Duration::from_secs(6), unanswered: 4, ..Self::CONTROL };

    /// The same, with so long for the TCP connection.
    pub fn first_bytes_within(self, tcp: Duration) -> Self {
        Self { tcp, ..self }
    }

    /// The same for a host that has not answered the first time.
    pub fn for_a_long_way(self) -> Self {
        self.first_bytes_within(LATER)
    }

    /// The same, with as long for the TCP connection as from afar.
    pub fn patiently(self) -> Self {
        self.first_bytes_within(PATIENTLY)
    }

    /// What the TCP connection may take.
    pub const fn tcp(self) -> Duration {
        self.tcp
    }

    /// How long a peer may be silent.
    pub fn limit(self) -> Duration {
        self.interval * (u32::try_from(self.unanswered).unwrap_or(u32::MAX).saturating_add(1))
    }
}

/// How a connection ended.
#[derive(Clone, Debug, Default)]
pub struct Ending {
    pub gone: CancellationToken,
    pub why: Arc<OnceLock<String>>,
}

impl Ending {
    pub fn reason(&self) -> String {
        self.why.get().cloned().unwrap_or_else(|| "it was closed".to_owned())
    }
}

/// A second hold on a TCP connection: dropped, it ends the connection from below. That works
/// as well when the session waits for a reader, or in the middle of a handshake.
pub struct Grip(pub std::net::TcpStream);

impl Grip {
    /// Whether the kernel may wait for more before it sends (RFC 896): less work for much data, later for little.
    pub fn gather(&self, more: bool) {
        let _ = self.0.set_nodelay(!more);
    }

    /// Ends the connection now.
    pub fn release(&self) {
        let _ = self.0.shutdown(Shutdown::Both);
    }
}

impl Drop for Grip {
    fn drop(&mut self) {
        self.release();
    }
}

/// A session that let us in.
pub struct Login {
    pub handle: client::Handle<Watcher>,
    pub grip: Grip,
    pub place: String,
    pub presented: HostPin,
    pub ending: Ending,
    /// The sessions with the jump hosts that carry this one.
    pub hops: Vec<Hop>,
}

/// A session with a host whose key is the one expected.
pub struct Met {
    pub handle: client::Handle<Watcher>,
    pub presented: HostPin,
    pub ending: Ending,
    place: String,
    /// What the way there takes, roughly a round trip.
    pub trip: Duration,
}

/// Who is expected at the other end of a stream.
#[derive(Clone, Debug)]
pub struct Expected {
    /// Where it is, for messages.
    pub place: String,
    /// The host keys that prove it.
    pub keys: Vec<HostPin>,
    /// What a connection that ends is said to be.
    pub ending: Ending,
    /// The jump host it is, if it is one.
    pub jump: Option<String>,
}

/// Connects, judges the host key, and logs in. Of several addresses of the host that one is taken which proves its key
/// first; the next time it is tried first.
pub async fn login(target: &Target, patience: Patience) -> Result<Login, ConnectError> {
    let addresses = target.addresses();
    // Through others each attempt is a login at the first of them too, and takes many round trips before anything answers.
    let through_others = addresses.in_order.iter().any(|(_, _, via)| !via.is_empty());
    let head_start = if addresses.known || through_others { HEAD_START_OF_KNOWN } else { HEAD_START };
    let mut attempts = Vec::new();
    for (_, address, via) in &addresses.in_order {
        attempts.push(meet(target, address, via, patience));
    }
    let (at, (met, grip, hops)) = race::first(attempts, head_start).await.map_err(ConnectError::of_several)?;
    if let Some((index, ..)) = addresses.in_order.get(at) {
        target.is_good_at(*index);
    }
    let Met { mut handle, presented, ending, place, trip } = met;
    let key = PrivateKeyWithHashAlg::new(target.client_key.private(), None);
    let login = handle.authenticate_publickey(&target.user, key);
    let limit = LOGIN_LIMIT + trip * LOGIN_TRIPS;
    let answer = within(limit, LOGIN, &place, login).await?.map_err(|e| hung_up(&place, e.to_string()))?;
    if !answer.success() {
        // The library answers "failure" for a connection that ended as well.
        if handle.is_closed() {
            return Err(hung_up(&place, ending.reason()));
        }
        return Err(ConnectError::AuthFailed { address: place, user: target.user.clone() });
    }
    Ok(Login { handle, grip, place, presented, ending, hops })
}

/// The host at one of its addresses.
async fn meet(
    target: &Target,
    address: &str,
    via: &[Jump],
    patience: Patience,
) -> Result<(Met, Grip, Vec<Hop>), ConnectError> {
    let (way, ending) = way_there(via, (address, target.port), patience).await?;
    let expected = Expected { place: place(address, target.port), keys: target.trust.keys(), ending, jump: None };
    let met = shake_hands(way.stream, expected, way.trip, patience).await.map_err(|error| match error {
        Unmet::Key(presented) => ConnectError::HostKeyMismatch {
            address: place(address, target.port),
            presented,
            expected: target.trust.own().fingerprint(),
        },
        Unmet::Dropped(message) => hung_up(&place(address, target.port), message),
        Unmet::Other(error) => error,
    })?;
    Ok((met, way.grip, way.hops))
}

/// The way to an address, and what will have ended it. A jump host that drops us is tried a few times.
async fn way_there(
    via: &[Jump],
    (address, port): (&str, u16),
    patience: Patience,
) -> Result<(Way, Ending), ConnectError> {
    let mut pauses = AFTER_A_DROP.into_iter();
    loop {
        // Of its own: what ended an attempt is not what ends the next.
        let ending = Ending::default();
        let error = match way::to(via, address, port, patience, &ending).await {
            Ok(way) => return Ok((way, ending)),
            Err(error) => error,
        };
        match pauses.next() {
            Some(pause) if error.may_pass() => sleep(pause.mul_f64(0.5 + fastrand::f64() / 2.0)).await,
            _ => return Err(error),
        }
    }
}

/// Why a host was not met.
pub enum Unmet {
    /// It showed another key: which.
    Key(String),
    /// It hung up before it showed one: its words, or what was seen.
    Dropped(String),
    Other(ConnectError),
}

/// The SSH handshake over a stream, with whoever is expected there.
pub async fn shake_hands(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    expected: Expected,
    trip: Duration,
    patience: Patience,
) -> Result<Met, Unmet> {
    let Expected { place, keys, ending, jump } = expected;
    let presented = Arc::new(OnceLock::new());
    let config = config(patience, &keys);
    let watcher = Watcher {
        keys,
        presented: presented.clone(),
        ending: ending.clone(),
        jump,
        patience,
        _gone: ending.gone.clone().drop_guard(),
    };
    let handshake = client::connect_stream(Arc::new(config), stream, watcher);
    let limit = HANDSHAKE_LIMIT + trip * HANDSHAKE_TRIPS;
    let handle = within(limit, HANDSHAKE, &place, handshake)
        .await
        .map_err(Unmet::Other)?
        .map_err(|error| unmet(&place, &presented, error))?;
    let no_key = || Unmet::Other(hung_up(&place, "no host key was seen".to_owned()));
    let presented = presented.get().cloned().ok_or_else(no_key)?;
    Ok(Met { handle, presented, ending, place, trip })
}

/// Judges the host key, and tells when and why the session ended.
pub struct Watcher {
    keys: Vec<HostPin>,
    /// The jump host that is watched, if it is one.
    jump: Option<String>,
    presented: Arc<OnceLock<HostPin>>,
    ending: Ending,
    patience: Patience,
    /// The session drops its handler last of all, also where it does not call `disconnected`.
    _gone: DropGuard,
}

impl client::Handler for Watcher {
    type Error = russh::Error;

    async fn check_server_key(&mut self, shown: &PublicKeyOrCertificate) -> Result<bool, Self::Error> {
        let PublicKeyOrCertificate::PublicKey { key, .. } = shown else { return Ok(false) };
        let pin = HostPin::of(key.clone());
        let accepted = self.keys.contains(&pin);
        let _ = self.presented.set(pin);
        Ok(accepted)
    }

    async fn disconnected(&mut self, reason: DisconnectReason<Self::Error>) -> Result<(), Self::Error> {
        let why = match reason {
            DisconnectReason::ReceivedDisconnect(info) => format!("sshd said: {}", info.message),
            DisconnectReason::Error(russh::Error::KeepaliveTimeout) => {
                format!("no sign of life for {} s", self.patience.limit().as_secs())
            }
            DisconnectReason::Error(russh::Error::Disconnect | russh::Error::HUP) => "the host closed it".to_owned(),
            DisconnectReason::Error(error) => error.to_string(),
        };
        // What ended first is why the rest did.
        let _ = self.ending.why.set(match &self.jump {
            Some(jump) => format!("the jump host {jump}: {why}"),
            None => why,
        });
        self.ending.gone.cancel();
        Ok(())
    }
}

fn config(patience: Patience, keys: &[HostPin]) -> client::Config {
    let mut config = client::Config {
        keepalive_interval: Some(patience.interval),
        keepalive_max: patience.unanswered,
        window_size: patience.window,
        channel_buffer_size: patience.pieces,
        nodelay: true,
        ..client::Config::default()
    };
    // A host that has several keys is asked for one that is known.
    let mut kinds: Vec<Algorithm> = keys.iter().map(HostPin::kind).collect();
    kinds.dedup();
    config.preferred.key = kinds.into();
    // AES is done in hardware at both ends.
    config.preferred.cipher =
        vec![russh::cipher::AES_256_GCM, russh::cipher::CHACHA20_POLY1305, russh::cipher::AES_256_CTR].into();
    config
}

/// Does a step, within a limit.
pub async fn within<T>(
    limit: Duration,
    during: &'static str,
    place: &str,
    step: impl Future<Output = T>,
) -> Result<T, ConnectError> {
    timeout(limit, step).await.map_err(|_| ConnectError::Timeout { address: place.to_owned(), during, limit })
}

fn unmet(place: &str, presented: &OnceLock<HostPin>, error: russh::Error) -> Unmet {
    match error {
        russh::Error::UnknownKey => {
            Unmet::Key(presented.get().map_or_else(|| "a certificate".to_owned(), HostPin::fingerprint))
        }
        russh::Error::NoCommonAlgo { kind: russh::AlgorithmKind::Key, theirs, .. } => Unmet::Key(theirs.join(", ")),
        russh::Error::Disconnect | russh::Error::HUP | russh::Error::IO(_) if presented.get().is_none() => {
            Unmet::Dropped(error.to_string())
        }
        other => Unmet::Other(hung_up(place, other.to_string())),
    }
}

pub fn hung_up(place: &str, message: String) -> ConnectError {
    ConnectError::HungUp { address: place.to_owned(), message }
}

/// An address as people write it.
pub fn place(address: &str, port: u16) -> String {
    match port {
        22 => address.to_owned(),
        port if address.contains(':') => format!("[{address}]:{port}"),
        port => format!("{address}:{port}"),
    }
}
