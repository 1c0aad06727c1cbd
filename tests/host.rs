//! Connections to hosts, against a real sshd that each test starts for itself.
//!
//! It runs in a mount namespace of its own, in which `/etc/ssh` and `/run` are the test's:
//! what is done to a host's files is done as on a host. Needs root and openssh-server;
//! without them the tests say so and pass.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says what it expects by failing")]

#[path = "host/forward.rs"]
mod forward;
#[path = "host/jump.rs"]
mod jump;
#[path = "host/sshd.rs"]
mod sshd;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use sshd::{Sshd, serve_engine};
use testkit::host::{
    ClientKey, ConnectError, Host, HostError, HostId, HostPin, HostSeed, HostState, Hosts, Target, Up,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixListener,
    sync::Notify,
};

/// Hosts, and a bell that rings at every change.
struct Watched {
    hosts: Hosts,
    bell: Arc<Notify>,
}

impl Watched {
    fn new() -> Self {
        let bell = Arc::new(Notify::new());
        let ring = bell.clone();
        Self { hosts: Hosts::new(Arc::new(move |_| ring.notify_one())), bell }
    }

    /// Waits for a state that is told by the bell alone: a change that does not ring is a failure.
    async fn until(&self, id: &HostId, what: &str, wanted: impl Fn(&HostState) -> bool) -> HostState {
        let wait = async {
            loop {
                if let Some(state) = self.hosts.state(id).filter(|s| wanted(s)) {
                    return state;
                }
                self.bell.notified().await;
            }
        };
        let patience = Duration::from_secs(90);
        let done = tokio::time::timeout(patience, wait).await;
        done.unwrap_or_else(|_| panic!("{what}: not within {patience:?}, but {:?}", self.hosts.state(id)))
    }

    async fn up(&self, id: &HostId, what: &str, wanted: impl Fn(&Up) -> bool) -> Up {
        match self.until(id, what, |s| matches!(s, HostState::Up(up) if wanted(up))).await {
            HostState::Up(up) => up,
            HostState::Connecting { .. } => unreachable!("just matched"),
        }
    }
}

fn id() -> HostId {
    HostId { cluster: "uid".to_owned(), slot: "m0".to_owned(), incarnation: 1 }
}

/// A cluster's keys, and the target of its one host.
struct Cluster {
    seed: HostSeed,
    client: ClientKey,
}

impl Cluster {
    fn new() -> Self {
        Self { seed: HostSeed::generate(), client: ClientKey::generate() }
    }

    fn boot_key(&self) -> String {
        self.seed.boot_key(&id()).to_openssh().clone()
    }

    fn own_key(&self) -> String {
        self.seed.host_key(&id()).to_openssh().clone()
    }

    fn at(&self, port: u16, rotated: bool) -> Target {
        let boot = (!rotated).then(|| self.seed.boot_key(&id()));
        Target { port, ..Target::operator("127.0.0.1", self.client.clone(), self.seed.host_key(&id()), boot) }
    }

    /// A host that was rotated before.
    fn sshd(&self) -> Option<Sshd> {
        Sshd::new(&self.own_key(), &self.client.public_line("test")).map(Sshd::started)
    }

    /// A host as user-data leaves it.
    fn fresh(&self) -> Option<Sshd> {
        Sshd::new(&self.boot_key(), &self.client.public_line("test"))
    }
}

#[tokio::test]
async fn commands_take_input_and_give_back_all_there_is() {
    let cluster = Cluster::new();
    let Some(sshd) = cluster.sshd() else { return };
    let host = Host::connect(&cluster.at(sshd.port, true)).await.unwrap();

    let output = host.exec("cat; echo to-stderr >&2; exit 3", Some(Bytes::from_static(b"to-stdout"))).await.unwrap();
    assert_eq!(
        (output.status, &output.stdout[..], &output.stderr[..]),
        (Some(3), &b"to-stdout"[..], &b"to-stderr\n"[..])
    );

    let much = Bytes::from(vec![b'x'; 3 << 20]);
    assert_eq!(host.exec("cat", Some(much.clone())).await.unwrap().stdout, much);

    // A command that does not read what it is given.
    let output = host.exec("exit 7", Some(much)).await.unwrap();
    assert_eq!(output.status, Some(7));
    assert_eq!(host.exec("kill -KILL $$", None).await.unwrap().status, None);
    let endless = host.exec("yes", None).await.unwrap_err();
    assert!(matches!(endless, HostError::TooMuchOutput { .. }), "{endless}");
    assert!(host.exec("true", None).await.unwrap().success(), "the connection outlives all of that");
}

#[tokio::test]
async fn another_host_key_is_refused() {
    let cluster = Cluster::new();
    let Some(sshd) = cluster.sshd() else { return };
    let stranger = Cluster::new();
    let target = Target { client_key: cluster.client.clone(), ..stranger.at(sshd.port, false) };
    let error = Host::connect(&target).await.unwrap_err();
    let presented = HostPin::from_openssh(&cluster.seed.host_key(&id()).public_line()).unwrap().fingerprint();
    assert!(matches!(&error, ConnectError::HostKeyMismatch { presented: p, .. } if *p == presented), "{error}");
    assert!(!sshd.log().contains("Accepted publickey"), "no login was tried");
}

#[tokio::test]
async fn errors_tell_what_is_wrong() {
    let cluster = Cluster::new();
    let Some(sshd) = cluster.sshd() else { return };
    let target = Target { client_key: ClientKey::generate(), ..cluster.at(sshd.port, true) };
    let error = Host::connect(&target).await.unwrap_err();
    assert!(matches!(error, ConnectError::AuthFailed { .. }), "{error}");

    let error = Host::connect(&cluster.at(sshd::free_port(), true)).await.unwrap_err();
    assert!(matches!(error, ConnectError::Refused { .. }), "{error}");

    // Something listens and says nothing: what a host does whose processes do not run yet.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let hang_up = tokio::spawn(async move { drop(listener.accept().await) });
    let error = Host::connect(&cluster.at(port, true)).await.unwrap_err();
    hang_up.await.unwrap();
    assert!(matches!(error, ConnectError::HungUp { .. }), "{error}");
}

#[tokio::test]
async fn an_attempt_that_is_given_up_leaves_nothing_behind() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = Cluster::new().at(listener.local_addr().unwrap().port(), true);
    let attempt = tokio::spawn(async move { Host::connect(&target).await.map(drop) });
    let (mut stream, _) = listener.accept().await.unwrap();
    stream.write_all(b"SSH-2.0-frozen\r\n").await.unwrap();
    // Until its key exchange has begun.
    let mut seen = Vec::new();
    while seen.len() < 500 {
        stream.read_buf(&mut seen).await.unwrap();
    }
    attempt.abort();
    let end = tokio::time::timeout(Duration::from_secs(30), stream.read_to_end(&mut seen)).await;
    end.expect("it hangs up").unwrap();
}

#[tokio::test]
async fn sockets_carry_streams_both_ways() {
    let cluster = Cluster::new();
    let Some(sshd) = cluster.sshd() else { return };
    let host = Host::connect(&cluster.at(sshd.port, true)).await.unwrap();
    let listener = UnixListener::bind(sshd.run().join("echo.sock")).unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut reader, mut writer) = stream.split();
                tokio::io::copy(&mut reader, &mut writer).await
            });
        }
    });
    let sent = vec![b'y'; 5 << 20];
    let (mut reader, mut writer) = tokio::io::split(host.open_socket("/run/echo.sock").await.unwrap());
    let mut received = Vec::new();
    let (wrote, read) = futures::future::join(
        async {
            writer.write_all(&sent).await?;
            writer.shutdown().await
        },
        reader.read_to_end(&mut received),
    )
    .await;
    wrote.unwrap();
    read.unwrap();
    assert!(received == sent, "{} of {} bytes", received.len(), sent.len());

    let error = host.open_socket("/run/nobody.sock").await.unwrap_err();
    assert!(error.to_string().contains("nothing listens there"), "{error}");
}

#[tokio::test]
async fn a_lost_connection_is_an_error_and_no_end_of_file() {
    let cluster = Cluster::new();
    let Some(sshd) = cluster.sshd() else { return };
    let host = Host::connect(&cluster.at(sshd.port, true)).await.unwrap();
    let _listener = UnixListener::bind(sshd.run().join("silent.sock")).unwrap();
    let mut stream = host.open_socket("/run/silent.sock").await.unwrap();
    let command = tokio::spawn({
        let host = host.clone();
        async move { host.exec("sleep 60", None).await }
    });
    sshd.end_sessions();
    let error = stream.read_u8().await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}");
    let error = command.await.unwrap().unwrap_err();
    assert!(matches!(error, HostError::Lost { .. } | HostError::NotOpened { .. }), "{error}");
    host.closed().cancelled().await;
}

#[tokio::test]
async fn the_last_user_ends_the_connection() {
    let cluster = Cluster::new();
    let Some(sshd) = cluster.sshd() else { return };
    let host = Host::connect(&cluster.at(sshd.port, true)).await.unwrap();
    let (closed, clone) = (host.closed(), host.clone());
    drop(host);
    assert!(clone.exec("true", None).await.unwrap().success());
    drop(clone);
    tokio::time::timeout(Duration::from_secs(30), closed.cancelled()).await.unwrap();
}

#[tokio::test]
async fn the_boot_key_is_replaced_while_the_engine_boots() {
    let cluster = Cluster::new();
    let Some(sshd) = cluster.fresh().map(Sshd::started) else { return };
    std::fs::write(sshd.etc().join("ssh_host_rsa_key"), "another kind").unwrap();
    let watched = Watched::new();
    watched.hosts.ensure(id(), cluster.at(sshd.port, false));
    let up = watched.up(&id(), "rotation", |up| up.rotated).await;
    assert!(!up.engine, "no engine is there yet");
    assert_eq!(up.host.presented().public_line(), cluster.seed.host_key(&id()).public_line());

    // On the host: the key whole, its public half with it, others gone, nothing left over, nothing readable.
    let key = std::fs::read_to_string(sshd.etc().join("ssh_host_ed25519_key")).unwrap();
    assert_eq!(key, cluster.own_key());
    let mut files: Vec<_> = std::fs::read_dir(sshd.etc()).unwrap().map(|e| e.unwrap().file_name()).collect();
    files.sort();
    assert_eq!(files, ["authorized_keys", "ssh_host_ed25519_key", "ssh_host_ed25519_key.pub", "sshd_config"]);
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(sshd.etc().join("ssh_host_ed25519_key")).unwrap().permissions(),
    );
    assert_eq!(mode & 0o777, 0o600);

    // Whoever knows the boot key cannot be taken for the host any more.
    let boot = HostPin::from_openssh(&cluster.seed.boot_key(&id()).public_line()).unwrap();
    let target = Target { port: sshd.port, ..Target::pinned("127.0.0.1", cluster.client.clone(), boot) };
    let error = Host::connect(&target).await.unwrap_err();
    assert!(matches!(error, ConnectError::HostKeyMismatch { .. }), "{error}");

    // The engine is noticed over the connection there is.
    serve_engine(&sshd);
    let begin = Instant::now();
    watched.up(&id(), "the engine", |up| up.engine && up.rotated).await;
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());

    // An operator that starts again before it wrote the rotation down finds it done.
    let again = Watched::new();
    again.hosts.ensure(id(), cluster.at(sshd.port, false));
    let before = sshd.log().matches("Accepted publickey").count();
    again.up(&id(), "a second operator", |up| up.rotated).await;
    assert!(sshd.log().matches("Accepted publickey").count() <= before + 1, "one login was enough");
}

#[tokio::test]
async fn a_rotation_that_was_cut_off_is_done_again() {
    let cluster = Cluster::new();
    let Some(sshd) = cluster.fresh().map(Sshd::started) else { return };
    // The new key is on the disk and sshd has not been told; another attempt left half a file.
    std::fs::write(sshd.etc().join("ssh_host_ed25519_key"), cluster.own_key()).unwrap();
    std::fs::write(sshd.etc().join("ssh_host_ed25519_key.new.1"), "half").unwrap();
    let watched = Watched::new();
    watched.hosts.ensure(id(), cluster.at(sshd.port, false));
    watched.up(&id(), "rotation", |up| up.rotated).await;
}

#[tokio::test]
async fn a_host_that_boots_is_up_as_soon_as_it_can_be() {
    let cluster = Cluster::new();
    let Some(sshd) = cluster.fresh() else { return };
    let (port, watched) = (sshd.port, Watched::new());
    serve_engine(&sshd);
    watched.hosts.ensure(id(), cluster.at(port, false));
    let refused =
        |s: &HostState| matches!(s, HostState::Connecting { last_error: Some(e), .. } if e.contains("refuses"));
    watched.until(&id(), "the refusal", refused).await;
    let sshd = sshd.started();
    let begin = Instant::now();
    watched.up(&id(), "the engine", |up| up.engine).await;
    assert!(begin.elapsed() < Duration::from_secs(8), "{:?}", begin.elapsed());
    watched.up(&id(), "rotation", |up| up.rotated).await;
    drop(sshd);
}

#[tokio::test]
async fn a_foreign_key_in_the_first_moments_is_waited_out() {
    let cluster = Cluster::new();
    let Some(sshd) = Sshd::new(&ClientKey::generate().to_openssh(), "").map(Sshd::started) else { return };
    let watched = Watched::new();
    watched.hosts.ensure(id(), cluster.at(sshd.port, false));
    let mismatch =
        |s: &HostState| matches!(s, HostState::Connecting { last_error: Some(e), .. } if e.contains("presents"));
    watched.until(&id(), "the mismatch", mismatch).await;
    assert!(!sshd.log().contains("publickey"), "nothing was offered to a stranger:\n{}", sshd.log());
    // Now user-data runs.
    sshd.write("ssh_host_ed25519_key", &cluster.boot_key());
    sshd.write("authorized_keys", &cluster.client.public_line("test"));
    sshd.hang_up();
    watched.up(&id(), "the host", |up| up.rotated).await;
}

#[tokio::test]
async fn a_connection_that_ends_is_made_again() {
    let cluster = Cluster::new();
    let Some(mut sshd) = cluster.sshd() else { return };
    serve_engine(&sshd);
    let watched = Watched::new();
    watched.hosts.ensure(id(), cluster.at(sshd.port, true));
    let first = watched.up(&id(), "the host", |up| up.engine && up.rotated).await;
    sshd.stop();
    watched.until(&id(), "the loss", |s| matches!(s, HostState::Connecting { last_error: Some(_), .. })).await;
    assert!(first.host.is_closed());
    let sshd = sshd.started();
    watched.up(&id(), "the host again", |up| up.engine).await;

    // The same target again changes nothing; no target ends it.
    watched.hosts.ensure(id(), cluster.at(sshd.port, true));
    let second = watched.up(&id(), "the host as it was", |up| up.engine).await;
    watched.hosts.retain("another", &[]);
    assert!(!second.host.is_closed() && watched.hosts.of_cluster("uid").len() == 1);
    watched.hosts.retain("uid", &[]);
    tokio::time::timeout(Duration::from_secs(30), second.host.closed().cancelled()).await.unwrap();
    assert!(watched.hosts.state(&id()).is_none());
}

#[tokio::test]
async fn a_peer_that_goes_silent_is_noticed() {
    let cluster = Cluster::new();
    let Some(sshd) = cluster.sshd() else { return };
    let watched = Watched::new();
    watched.hosts.ensure(id(), cluster.at(sshd.port, true));
    let up = watched.up(&id(), "the host", |up| up.rotated).await;
    let stopped = sshd.freeze_sessions();
    let begin = Instant::now();
    watched.until(&id(), "the silence", |s| matches!(s, HostState::Connecting { .. })).await;
    // After six seconds; a connection for bulk data would take thirty.
    assert!((4..20).contains(&begin.elapsed().as_secs()), "{:?}", begin.elapsed());
    assert!(up.host.reason().contains("no sign of life"), "{}", up.host.reason());
    drop(stopped);
}

#[tokio::test]
async fn a_peer_that_goes_silent_during_an_upload_is_noticed() {
    let cluster = Cluster::new();
    let Some(sshd) = cluster.sshd() else { return };
    let host = Host::connect(&cluster.at(sshd.port, true)).await.unwrap();
    let upload = tokio::spawn({
        let host = host.clone();
        async move { host.exec("cat > /dev/null", Some(Bytes::from(vec![0; 512 << 20]))).await }
    });
    // It flows.
    while sshd.session_bytes_read() < 4 << 20 {
        tokio::task::yield_now().await;
        assert!(!upload.is_finished());
    }
    let stopped = sshd.freeze_sessions();
    let begin = Instant::now();
    tokio::time::timeout(Duration::from_secs(90), host.closed().cancelled()).await.expect("it is noticed");
    let error = upload.await.unwrap().unwrap_err();
    assert!(matches!(error, HostError::Lost { .. }), "{error} after {:?}", begin.elapsed());
    drop(stopped);
}

/// The trap that the connections for bulk data are there for.
#[tokio::test]
async fn a_reader_that_stalls_does_not_stall_control() {
    let cluster = Cluster::new();
    let Some(sshd) = cluster.sshd() else { return };
    let flood = UnixListener::bind(sshd.run().join("flood.sock")).unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = flood.accept().await {
            tokio::spawn(async move { while stream.write_all(&[0; 65536]).await.is_ok() {} });
        }
    });
    let watched = Watched::new();
    watched.hosts.ensure(id(), cluster.at(sshd.port, true));
    let up = watched.up(&id(), "the host", |up| up.rotated).await;
    let bulk = watched.hosts.bulk(&id()).await.unwrap();
    let mut stalled = bulk.open_socket("/run/flood.sock").await.unwrap();
    stalled.read_exact(&mut [0; 4096]).await.unwrap();
    tokio::time::sleep(Duration::from_secs(8)).await;
    assert!(up.host.exec("true", None).await.unwrap().success());
    assert!(!up.host.is_closed() && !bulk.is_closed(), "slow is not dead");
    stalled.read_exact(&mut vec![0; 8 << 20]).await.unwrap();
}

#[tokio::test]
async fn bulk_connections_are_few() {
    let cluster = Cluster::new();
    let Some(sshd) = cluster.sshd() else { return };
    let watched = Watched::new();
    let error = watched.hosts.bulk(&id()).await.unwrap_err();
    assert!(matches!(error, HostError::NotConnected(_)), "{error}");
    watched.hosts.ensure(id(), cluster.at(sshd.port, true));
    watched.up(&id(), "the host", |up| up.rotated).await;
    let id = id();
    let mut held = futures::future::try_join_all((0..8).map(|_| watched.hosts.bulk(&id))).await.unwrap();
    let ninth = watched.hosts.bulk(&id);
    tokio::pin!(ninth);
    let early = tokio::time::timeout(Duration::from_secs(1), &mut ninth).await;
    assert!(early.is_err(), "it waits for its turn");
    held.pop();
    ninth.await.unwrap();
}
