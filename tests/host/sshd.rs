//! A real sshd for one test.

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread::sleep,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixListener,
};

/// sshd with files of its own. Dropped, it and all its sessions end.
pub struct Sshd {
    pub port: u16,
    home: PathBuf,
    daemon: Option<Child>,
}

impl Sshd {
    /// Prepares one that shows this host key and lets this client key in; `None` where that cannot be.
    pub fn new(host_key: &str, authorized: &str) -> Option<Self> {
        if fs::metadata("/usr/sbin/sshd").is_err() || !is_root() {
            eprintln!("skipped: needs root and /usr/sbin/sshd (apt-get install openssh-server)");
            return None;
        }
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("testkit-sshd-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let this = Self { port: free_port(), home: std::env::temp_dir().join(name), daemon: None };
        fs::create_dir_all(this.etc()).unwrap();
        fs::create_dir_all(this.run().join("sshd")).unwrap();
        let config = format!(
            "Port {}\nListenAddress 127.0.0.1\nHostKey /etc/ssh/ssh_host_ed25519_key\nPidFile /run/sshd.pid\n\
             AuthorizedKeysFile /etc/ssh/authorized_keys\nStrictModes no\nUsePAM no\nPasswordAuthentication no\n\
             PermitRootLogin prohibit-password\nMaxSessions 64\n",
            this.port
        );
        this.write("sshd_config", &config);
        this.write("ssh_host_ed25519_key", host_key);
        this.write("authorized_keys", authorized);
        Some(this)
    }

    /// Starts it and waits until it listens.
    pub fn started(mut self) -> Self {
        let script = format!(
            "mount --bind '{}' /etc/ssh && mount --bind '{}' /run && exec /usr/sbin/sshd -D -e -f /etc/ssh/sshd_config",
            self.etc().display(),
            self.run().display()
        );
        let log = fs::OpenOptions::new().create(true).append(true).open(self.home.join("log")).unwrap();
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c", &script]);
        self.daemon = Some(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap());
        let listens = format!("listening on 127.0.0.1 port {}", self.port);
        let before = self.log().matches(&listens).count();
        self.wait(|s| s.log().matches(&listens).count() > before);
        self
    }

    pub fn etc(&self) -> PathBuf {
        self.home.join("etc")
    }

    pub fn run(&self) -> PathBuf {
        self.home.join("run")
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.home.join("log")).unwrap_or_default()
    }

    /// Writes one of its files, readable by root only.
    pub fn write(&self, name: &str, content: &str) {
        use std::os::unix::fs::OpenOptionsExt as _;
        let path = self.etc().join(name);
        let file = fs::OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(path);
        std::io::Write::write_all(&mut file.unwrap(), content.as_bytes()).unwrap();
    }

    /// Has it read its files again.
    pub fn hang_up(&self) {
        signal("HUP", &[self.pid()]);
    }

    /// Ends the sessions; it goes on listening.
    pub fn end_sessions(&self) {
        signal("KILL", &self.sessions());
    }

    /// Ends all of it.
    pub fn stop(&mut self) {
        let Some(mut daemon) = self.daemon.take() else { return };
        let sessions = descendants(daemon.id());
        signal("KILL", &[daemon.id()]);
        signal("KILL", &sessions);
        daemon.wait().unwrap();
    }

    /// Stops the sessions' processes where they are, until the guard is dropped.
    pub fn freeze_sessions(&self) -> Frozen {
        let frozen = Frozen(self.sessions());
        signal("STOP", &frozen.0);
        frozen
    }

    /// What its sessions have read, from the network and elsewhere.
    pub fn session_bytes_read(&self) -> u64 {
        let read = |pid: &u32| {
            let text = fs::read_to_string(format!("/proc/{pid}/io")).unwrap_or_default();
            text.lines().find_map(|l| l.strip_prefix("rchar: ")).and_then(|n| n.parse().ok()).unwrap_or(0)
        };
        self.sessions().iter().map(read).sum()
    }

    fn pid(&self) -> u32 {
        self.daemon.as_ref().unwrap().id()
    }

    fn sessions(&self) -> Vec<u32> {
        descendants(self.pid())
    }

    fn wait(&self, done: impl Fn(&Self) -> bool) {
        let begin = Instant::now();
        while !done(self) {
            assert!(begin.elapsed() < Duration::from_secs(60), "sshd does not start:\n{}", self.log());
            sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        self.stop();
        let _ = fs::remove_dir_all(&self.home);
    }
}

/// Processes that stand still.
pub struct Frozen(Vec<u32>);

impl Drop for Frozen {
    fn drop(&mut self) {
        signal("CONT", &self.0);
    }
}

/// Answers `GET /_ping` where the engine would.
pub fn serve_engine(sshd: &Sshd) {
    let listener = UnixListener::bind(sshd.run().join("docker.sock")).unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = [0; 1024];
                let _ = stream.read(&mut request).await;
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nOK").await;
            });
        }
    });
}

pub fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn is_root() -> bool {
    fs::read_to_string("/proc/self/status").unwrap_or_default().contains("\nUid:\t0\t0")
}

fn signal(name: &str, pids: &[u32]) {
    for pid in pids {
        let _ = Command::new("kill").args([format!("-{name}"), pid.to_string()]).stderr(Stdio::null()).status();
    }
}

/// Every process below one.
fn descendants(root: u32) -> Vec<u32> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let parent = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(1)?.parse().ok());
        if let Some(parent) = parent {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut found = children.get(&root).cloned().unwrap_or_default();
    let mut next = 0;
    while let Some(pid) = found.get(next) {
        found.extend(children.get(pid).cloned().unwrap_or_default());
        next += 1;
    }
    found
}
