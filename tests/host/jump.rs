//! Hosts that are reached through another one, and hosts with several addresses.

use std::{
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use bytes::Bytes;
use testkit::host::{ClientKey, ConnectError, Host, Jump, JumpError, Place, Target, known_hosts};

use super::{
    Cluster,
    sshd::{Sshd, free_port},
};

/// A host that a person logs in to with a key of their own, as their files have it.
struct Bastion {
    sshd: Sshd,
    /// The person's `~/.ssh`.
    home: PathBuf,
}

impl Bastion {
    fn new() -> Option<Self> {
        Self::with("")
    }

    /// One whose `sshd_config` says this, too.
    fn with(more: &str) -> Option<Self> {
        let (host, person) = (ClientKey::generate(), ClientKey::generate());
        let sshd = Sshd::new(&host.to_openssh(), &person.public_line("person"))?;
        let config = std::fs::read_to_string(sshd.etc().join("sshd_config")).unwrap();
        // Keys that are offered and not taken are in its log, too.
        sshd.write("sshd_config", &format!("{config}LogLevel VERBOSE\n{more}"));
        let home = sshd.etc().join("person");
        std::fs::create_dir_all(&home).unwrap();
        sshd.write("person/id_ed25519", &person.to_openssh());
        sshd.write("person/known_hosts", &format!("[127.0.0.1]:{} {}\n", sshd.port, host.public_line("")));
        Some(Self { sshd: sshd.started(), home })
    }

    /// The way through it, as the person's files have it.
    fn jump(&self) -> Jump {
        let port = self.sshd.port;
        Jump {
            name: "bastion".to_owned(),
            address: "127.0.0.1".to_owned(),
            port,
            user: "root".to_owned(),
            known: known_hosts("127.0.0.1", port, &[self.home.join("known_hosts")]).unwrap(),
            known_as: None,
            key: None,
            agent: None,
            keys: vec![self.home.join("not-there"), self.home.join("id_ed25519")],
            only_keys: false,
        }
    }
}

/// Both of them, and how to get to the host.
fn behind_a_bastion() -> Option<(Cluster, Sshd, Bastion, Target)> {
    let cluster = Cluster::new();
    let (host, bastion) = (cluster.sshd()?, Bastion::new()?);
    let target = Target { via: vec![bastion.jump()], ..cluster.at(host.port, true) };
    Some((cluster, host, bastion, target))
}

#[tokio::test]
async fn a_host_is_reached_through_a_jump_host_that_never_sees_the_clusters_key() {
    let Some((cluster, host, bastion, target)) = behind_a_bastion() else { return };
    let connected = Host::connect_from_afar_for_bulk(&target).await.unwrap();
    let much = Bytes::from(vec![b'x'; 3 << 20]);
    // Both ways at once, and again: of two sessions one over the other, neither may wait for the other.
    for _ in 0..8 {
        let back = tokio::time::timeout(Duration::from_secs(90), connected.exec("cat", Some(much.clone()))).await;
        assert_eq!(back.expect("it stands still").unwrap().stdout, much);
    }
    assert_eq!(connected.presented().public_line(), cluster.seed.host_key(&super::id()).public_line());

    let key = format!("{:?}", cluster.client);
    let fingerprint = key.trim_start_matches("ClientKey(").trim_end_matches(')');
    assert!(fingerprint.starts_with("SHA256:"), "{fingerprint}");
    assert!(host.log().contains("Accepted publickey"), "{}", host.log());
    assert!(bastion.sshd.log().contains("Accepted publickey"), "{}", bastion.sshd.log());
    assert!(!bastion.sshd.log().contains(fingerprint), "{}", bastion.sshd.log());

    // The jump host's end is the connection's, and is said to be.
    bastion.sshd.end_sessions();
    tokio::time::timeout(Duration::from_secs(30), connected.closed().cancelled()).await.unwrap();
    assert!(connected.exec("true", None).await.is_err());
}

#[tokio::test]
async fn several_jump_hosts_are_gone_through_in_their_order() {
    let Some((_cluster, _host, first, target)) = behind_a_bastion() else { return };
    let Some(second) = Bastion::new() else { return };
    let target = Target { via: vec![first.jump(), second.jump()], ..target };
    assert!(Host::connect_from_afar_for_bulk(&target).await.unwrap().exec("true", None).await.unwrap().success());
    let passed = |bastion: &Bastion| bastion.sshd.log().matches("Accepted publickey").count();
    assert_eq!((passed(&first), passed(&second)), (1, 1));
}

#[tokio::test]
async fn a_burst_through_a_jump_host_is_no_more_than_its_sshd_takes() {
    let cluster = Cluster::new();
    // Two fewer than we send at once: those that it drops come again.
    let (Some(host), Some(bastion)) = (cluster.sshd(), Bastion::with("MaxStartups 4\n")) else { return };
    let target = Target { via: vec![bastion.jump()], ..cluster.at(host.port, true) };
    let burst = (0..10).map(|_| Host::connect_from_afar_for_bulk(&target));
    let hosts = futures::future::join_all(burst).await;
    let errors: Vec<String> = hosts.iter().filter_map(|host| host.as_ref().err().map(ToString::to_string)).collect();
    assert!(errors.is_empty(), "{errors:#?}\n{}", bastion.sshd.log());
    assert_eq!(bastion.sshd.log().matches("Accepted publickey").count(), 10);
}

#[tokio::test]
async fn what_is_wrong_with_a_jump_host_is_told() {
    let Some((_cluster, _host, bastion, target)) = behind_a_bastion() else { return };
    let through = |jump: Jump| Target { via: vec![jump], ..target.clone() };
    let fails = async |target: Target| match Host::connect_from_afar_for_bulk(&target).await.map(drop).unwrap_err() {
        ConnectError::Jump { jump, why } => {
            assert_eq!(jump, "bastion");
            why
        }
        other => panic!("{other}"),
    };

    let stranger = ClientKey::generate().public_line("");
    let known = vec![testkit::host::HostPin::from_openssh(&stranger).unwrap()];
    let why = fails(through(Jump { known, ..bastion.jump() })).await;
    assert!(matches!(why, JumpError::Key { .. }), "{why}");
    // Nothing is known of it: nothing is taken on trust.
    let why = fails(through(Jump { known: Vec::new(), ..bastion.jump() })).await;
    assert!(matches!(why, JumpError::Key { .. }), "{why}");
    assert!(!bastion.sshd.log().contains("publickey"), "no login was tried:\n{}", bastion.sshd.log());

    let why = fails(through(Jump { keys: vec![bastion.home.join("not-there")], ..bastion.jump() })).await;
    assert!(matches!(&why, JumpError::Login { tried, .. } if tried == "no key was found"), "{why}");
    let another = bastion.home.join("another");
    bastion.sshd.write("person/another", &ClientKey::generate().to_openssh());
    let why = fails(through(Jump { keys: vec![another.clone()], ..bastion.jump() })).await;
    assert!(matches!(&why, JumpError::Login { tried, .. } if *tried == another.display().to_string()), "{why}");

    let why = fails(Target { port: free_port(), ..target.clone() }).await;
    assert!(matches!(why, JumpError::Passage { .. }), "{why}");
    let why = fails(through(Jump { port: free_port(), ..bastion.jump() })).await;
    assert!(matches!(why, JumpError::Connect(_)), "{why}");

    // It takes connections and drops each of them: it is asked a few times.
    let dropping = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = dropping.local_addr().unwrap().port();
    let mut asked = 0;
    let drops = async {
        while dropping.accept().await.is_ok() {
            asked += 1;
        }
    };
    let why = tokio::select! {
        why = fails(through(Jump { port, ..bastion.jump() })) => why,
        () = drops => panic!("nothing more is accepted"),
    };
    assert!(matches!(why, JumpError::Dropped { .. }), "{why}");
    assert_eq!(asked, 5);
}

/// A real agent with one key.
struct Agent(Child);

impl Agent {
    fn with(key: &std::path::Path, socket: &std::path::Path) -> Option<Self> {
        let mut agent = Command::new("ssh-agent");
        agent.arg("-D").arg("-a").arg(socket).stdout(Stdio::null()).stderr(Stdio::null());
        let this = Self(agent.spawn().ok()?);
        let begin = Instant::now();
        while !socket.exists() {
            assert!(begin.elapsed() < Duration::from_secs(60), "the agent does not start");
            std::thread::yield_now();
        }
        let added = Command::new("ssh-add").arg(key).env("SSH_AUTH_SOCK", socket).stderr(Stdio::null()).status();
        assert!(added.unwrap().success());
        Some(this)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn the_users_agent_logs_in_to_a_jump_host() {
    let Some((_cluster, _host, bastion, target)) = behind_a_bastion() else { return };
    let socket = bastion.home.join("agent");
    let Some(_agent) = Agent::with(&bastion.home.join("id_ed25519"), &socket) else {
        eprintln!("skipped: needs ssh-agent (apt-get install openssh-client)");
        return;
    };
    let jump = Jump { agent: Some(socket), keys: Vec::new(), ..bastion.jump() };
    let by_agent = Target { via: vec![jump.clone()], ..target.clone() };
    assert!(Host::connect_from_afar_for_bulk(&by_agent).await.unwrap().exec("true", None).await.unwrap().success());

    // Of a person who says that only some keys are for this host, the agent's others are not shown. A public half alone says which.
    let public = ClientKey::from_openssh(&std::fs::read_to_string(bastion.home.join("id_ed25519")).unwrap()).unwrap();
    bastion.sshd.write("person/alone.pub", &public.public_line("in the agent alone"));
    let named = Jump { only_keys: true, keys: vec![bastion.home.join("alone.pub")], ..jump.clone() };
    let by_half = Target { via: vec![named], ..target.clone() };
    assert!(Host::connect_from_afar_for_bulk(&by_half).await.unwrap().exec("true", None).await.unwrap().success());
    let only = Target { via: vec![Jump { only_keys: true, ..jump }], ..target };
    let error = Host::connect_from_afar_for_bulk(&only).await.map(drop).unwrap_err();
    assert!(matches!(error, ConnectError::Jump { why: JumpError::Login { .. }, .. }), "{error}");
}

#[tokio::test]
async fn of_several_addresses_the_one_that_proves_the_key_is_taken() {
    let cluster = Cluster::new();
    let Some(sshd) = cluster.sshd() else { return };
    // It takes connections and says nothing, as what a private address of somebody else's leads to.
    let silent = tokio::net::TcpListener::bind(("127.0.0.2", sshd.port)).await.unwrap();
    let also = vec![Place { address: "127.0.0.1".to_owned(), via: Vec::new() }];
    let target = Target { address: "127.0.0.2".to_owned(), also, ..cluster.at(sshd.port, true) };
    let begin = Instant::now();
    let host = Host::connect_from_afar_for_bulk(&target).await.unwrap();
    // The silent one alone would be given fifteen seconds.
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
    assert!(host.address().starts_with("127.0.0.1"), "{}", host.address());
    // What was found out is known to the next: the other one is not asked again.
    tokio::time::timeout(Duration::from_secs(30), silent.accept()).await.unwrap().unwrap();
    assert!(Host::connect_from_afar_for_bulk(&target).await.unwrap().exec("true", None).await.unwrap().success());
    assert!(futures::FutureExt::now_or_never(silent.accept()).is_none());
}

#[tokio::test]
async fn each_address_of_a_host_has_its_own_way() {
    let Some((_cluster, _host, bastion, target)) = behind_a_bastion() else { return };
    // Nobody listens at the one that is reached directly; the jump host leads to the other.
    let also = vec![Place { address: "127.0.0.1".to_owned(), via: target.via.clone() }];
    let target = Target { address: "127.0.0.2".to_owned(), via: Vec::new(), also, ..target };
    assert!(Host::connect_from_afar_for_bulk(&target).await.unwrap().exec("true", None).await.unwrap().success());
    assert_eq!(bastion.sshd.log().matches("Accepted publickey").count(), 1);
}
