//! The operator as a process: what it answers before it leads, and how it hands over. The API server is one of the test's
//! own that keeps a Lease and has no objects; `tests/component/election.rs` elects at a real one.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says what it expects by failing")]
#![allow(clippy::print_stderr, reason = "what the operator said is shown where a test fails")]

use std::{
    fs::{self, File},
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

#[path = "process/api_server.rs"]
mod api_server;

use api_server::ApiServer;

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);

/// The built operator: where cargo says, or beside this test, where cargo leaves it.
fn program() -> PathBuf {
    let beside = || std::env::current_exe().unwrap().parent().unwrap().with_file_name("testkit-operator");
    option_env!("CARGO_BIN_EXE_testkit-operator").map_or_else(beside, PathBuf::from)
}

/// An operator that runs.
struct Operator {
    child: Child,
    at: SocketAddr,
    log: PathBuf,
}

impl Operator {
    fn start(name: &str, api_server: SocketAddr) -> Self {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-{name}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let config = serde_json::json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "c", "cluster": {"server": format!("http://{api_server}")}}],
            "users": [{"name": "c", "user": {}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c", "namespace": "here"}}],
        });
        fs::write(folder.join("kubeconfig"), config.to_string()).unwrap();
        // Free a moment ago.
        let at = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let log = folder.join("log");
        let child = Command::new(program())
            .args(["--installation=test", "--lease=here/testkit-operator", &format!("--listen={at}")])
            .env("KUBECONFIG", folder.join("kubeconfig"))
            .env("RUST_LOG", "debug")
            .env_remove("KUBERNETES_SERVICE_HOST")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        Self { child, at, log }
    }

    /// The status and the text of a page; `None` while nobody listens.
    fn get(&self, path: &str) -> Option<(u16, String)> {
        let mut stream = TcpStream::connect_timeout(&self.at, PATIENCE).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        let (head, body) = text.split_once("\r\n\r\n")?;
        Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
    }

    /// Waits until a page has these words, and says when.
    fn until(&self, path: &str, status: u16, words: &str) -> Instant {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let said = self.get(path);
            if said.as_ref().is_some_and(|(code, text)| *code == status && text.contains(words)) {
                return Instant::now();
            }
            assert!(Instant::now() < deadline, "{path} is not {status} {words:?} in time: {said:?}");
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    fn ended(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }

    fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("--- {}\n{}", self.log.display(), self.said());
        }
    }
}

#[test]
fn probes_are_answered_while_the_api_server_is_not_there() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut operator = Operator::start("alone", nobody);
    operator.until("/healthz", 200, "ok");
    operator.until("/readyz", 503, "the API server does not answer");
    let (_, metrics) = operator.get("/metrics").unwrap();
    assert!(metrics.contains("\ntestkit_leader 0\n"), "{metrics}");
    operator.signal(Signal::TERM);
    assert!(operator.ended().success());
}

#[test]
fn an_operator_stands_by_ready_and_takes_over_within_a_second_of_sigterm() {
    let server = ApiServer::start();
    let mut leads = Operator::start("first", server.at);
    leads.until("/readyz", 200, "at work");
    // On a busy machine one hand-over may be late, and not each.
    let mut took = Vec::new();
    for name in ["second", "third", "fourth", "fifth"] {
        let next = Operator::start(name, server.at);
        next.until("/readyz", 200, "standing by");
        assert_eq!(next.get("/healthz").unwrap().0, 200);
        assert!(next.get("/metrics").unwrap().1.contains("\ntestkit_leader 0\n"));
        assert!(leads.get("/metrics").unwrap().1.contains("\ntestkit_leader 1\n"));
        let holder = server.holder();

        let asked = Instant::now();
        leads.signal(Signal::TERM);
        took.push(next.until("/readyz", 200, "at work") - asked);
        assert!(leads.ended().success());
        assert_ne!(server.holder(), holder);
        assert!(next.get("/metrics").unwrap().1.contains("\ntestkit_leader 1\n"));
        if took.iter().any(|took| *took < Duration::from_secs(1)) {
            return;
        }
        leads = next;
    }
    panic!("the hand-overs took {took:?}");
}

#[test]
fn a_leader_whose_lease_is_taken_ends_with_an_error() {
    let server = ApiServer::start();
    let mut operator = Operator::start("robbed", server.at);
    operator.until("/readyz", 200, "at work");
    server.seize("somebody-else");
    assert_eq!(operator.ended().code(), Some(1));
    assert!(operator.said().contains("is lost"), "it says why");
    assert_eq!(server.holder(), "somebody-else", "what is not its own it does not release");
}

#[test]
fn what_is_logged_changes_by_signals_and_never_has_a_library_below_info() {
    let server = ApiServer::start();
    let operator = Operator::start("loud", server.at);
    operator.until("/readyz", 200, "at work");
    for (signal, words) in [(Signal::USR1, "testkit=debug"), (Signal::USR2, "filter=\"debug\"")] {
        operator.signal(signal);
        let deadline = Instant::now() + PATIENCE;
        while !operator.said().contains("was changed by a signal") || !operator.said().contains(words) {
            assert!(Instant::now() < deadline, "{signal:?} is not followed: {}", operator.said());
            thread::sleep(Duration::from_millis(10));
        }
    }
    let foreign = |line: &&str| {
        let below = line.contains("DEBUG") || line.contains("TRACE");
        below && !line.contains(" testkit::")
    };
    let said = operator.said();
    assert_eq!(said.lines().find(foreign), None, "it was asked for debug of everything");
}

#[test]
fn a_price_table_that_is_none_keeps_it_from_starting() {
    let table = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-prices.yaml", std::process::id()));
    fs::write(&table, "regions: {us-east-1: {instances: {t3.medium: {onDemand: cheap}}}}").unwrap();
    let done = Command::new(program()).arg("--prices").arg(&table).env("KUBECONFIG", "/nowhere").output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    let words = "(--prices): regions.us-east-1.instances.t3.medium.onDemand: \"cheap\" is no price";
    assert!(!done.status.success() && said.contains(words), "{said}");
}
