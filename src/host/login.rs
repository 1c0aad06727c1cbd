//! Logging in: one attempt, from the TCP connection to a session that knows when it ends.
//!
//! Nothing here tries twice; when to try again is decided elsewhere.

use std::{
    io,
    net::Shutdown,
    sync::{Arc, OnceLock},
    time::Duration,
};

use russh::{
    client::{self, DisconnectReason},
    keys::{Algorithm, PrivateKeyWithHashAlg, PublicKeyOrCertificate},
};
use tokio::{net::TcpStream, time::timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{ConnectError, HostPin, Target, Trust};

/// A step of logging in.
pub const TCP: &str = "the TCP connection";
const HANDSHAKE: &str = "the SSH handshake";
const LOGIN: &str = "logging in";

/// A host with many things to start takes its time for the key exchange.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(15);
const LOGIN_LIMIT: Duration = Duration::from_secs(15);

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

/// A booting host answers at some moment, which a SYN retransmitted after 1, 3, 7 s misses.
const SOON: Duration = Duration::from_secs(1);
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

    /// The same, with as long for the TCP connection as from afar.
    pub fn patiently(self) -> Self {
        self.first_bytes_within(PATIENTLY)
    }

    fn limit(self) -> Duration {
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
pub struct Grip(std::net::TcpStream);

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
    pub presented: HostPin,
    pub ending: Ending,
}

/// Connects, judges the host key, and logs in.
pub async fn login(target: &Target, patience: Patience) -> Result<Login, ConnectError> {
    let (stream, grip) = dial(target, patience).await?;
    let ending = Ending::default();
    let presented = Arc::new(OnceLock::new());
    let watcher = Watcher {
        trust: target.trust.clone(),
        presented: presented.clone(),
        ending: ending.clone(),
        patience,
        _gone: ending.gone.clone().drop_guard(),
    };
    let handshake = client::connect_stream(Arc::new(config(patience)), stream, watcher);
    let mut handle = within(HANDSHAKE_LIMIT, HANDSHAKE, target, handshake)
        .await?
        .map_err(|error| handshake_error(target, &presented, error))?;
    let key = PrivateKeyWithHashAlg::new(target.client_key.private(), None);
    let login = handle.authenticate_publickey(&target.user, key);
    let answer = within(LOGIN_LIMIT, LOGIN, target, login).await?.map_err(|e| hung_up(target, e.to_string()))?;
    if !answer.success() {
        // The library answers "failure" for a connection that ended as well.
        if handle.is_closed() {
            return Err(hung_up(target, ending.reason()));
        }
        return Err(ConnectError::AuthFailed { address: place(target), user: target.user.clone() });
    }
    let presented = presented.get().cloned().ok_or_else(|| hung_up(target, "no host key was seen".to_owned()))?;
    Ok(Login { handle, grip, presented, ending })
}

/// Judges the host key, and tells when and why the session ended.
pub struct Watcher {
    trust: Trust,
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
        let accepted = self.trust.accepts(&pin);
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
        let _ = self.ending.why.set(why);
        self.ending.gone.cancel();
        Ok(())
    }
}

fn config(patience: Patience) -> client::Config {
    let mut config = client::Config {
        keepalive_interval: Some(patience.interval),
        keepalive_max: patience.unanswered,
        window_size: patience.window,
        channel_buffer_size: patience.pieces,
        nodelay: true,
        ..client::Config::default()
    };
    config.preferred.key = [Algorithm::Ed25519].as_slice().to_vec().into();
    // AES is done in hardware at both ends.
    config.preferred.cipher =
        vec![russh::cipher::AES_256_GCM, russh::cipher::CHACHA20_POLY1305, russh::cipher::AES_256_CTR].into();
    config
}

/// The TCP connection, and a grip on it.
async fn dial(target: &Target, patience: Patience) -> Result<(TcpStream, Grip), ConnectError> {
    let failed = |error: &io::Error| {
        let (address, message) = (place(target), plain(error));
        match error.kind() {
            io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset => {
                ConnectError::Refused { address, message }
            }
            _ => ConnectError::Unreachable { address, message },
        }
    };
    let connect = TcpStream::connect((target.address.as_str(), target.port));
    let stream = within(patience.tcp, TCP, target, connect).await?.map_err(|e| failed(&e))?;
    let set_up = || {
        stream.set_nodelay(true)?;
        // Keep-alives are not sent while a write waits; the kernel notices instead.
        socket2::SockRef::from(&stream).set_tcp_user_timeout(Some(patience.limit()))?;
        socket2::SockRef::from(&stream).try_clone()
    };
    let socket = set_up().map_err(|e| failed(&e))?;
    Ok((stream, Grip(socket.into())))
}

async fn within<T>(
    limit: Duration,
    during: &'static str,
    target: &Target,
    step: impl Future<Output = T>,
) -> Result<T, ConnectError> {
    timeout(limit, step).await.map_err(|_| ConnectError::Timeout { address: place(target), during, limit })
}

fn handshake_error(target: &Target, presented: &OnceLock<HostPin>, error: russh::Error) -> ConnectError {
    let mismatch = |presented: String| ConnectError::HostKeyMismatch {
        address: place(target),
        presented,
        expected: target.trust.own().fingerprint(),
    };
    match error {
        russh::Error::UnknownKey => {
            mismatch(presented.get().map_or_else(|| "a certificate".to_owned(), HostPin::fingerprint))
        }
        russh::Error::NoCommonAlgo { kind: russh::AlgorithmKind::Key, theirs, .. } => mismatch(theirs.join(", ")),
        other => hung_up(target, other.to_string()),
    }
}

fn hung_up(target: &Target, message: String) -> ConnectError {
    ConnectError::HungUp { address: place(target), message }
}

pub fn place(target: &Target) -> String {
    if target.port == 22 { target.address.clone() } else { format!("{}:{}", target.address, target.port) }
}

/// The system's words without its numbers.
fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_lowercase()
}
