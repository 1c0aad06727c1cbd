//! `attach`: the swarm's Docker socket as a socket of this machine.

use std::{
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    time::Duration,
};

use tokio::sync::watch;

use super::{
    Context,
    failure::{Failure, exit},
    follow,
    kubernetes::Kubernetes,
    nodes,
    printer::Style,
    reach::Reach,
    terminal,
};
use crate::{
    api::{NodeRole, NodeState, NodeStatus, SwarmCluster},
    attach::{self, Event, LocalSocket, Node, Nodes, Pin, SocketError},
};

/// Make the cluster's Docker socket a socket of this machine, until Ctrl-C
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  kubectl testkit attach nightly                     then, elsewhere: export DOCKER_HOST=unix://$PWD/docker.sock
  kubectl testkit attach nightly -- docker node ls   with DOCKER_HOST set for one command; exits with its code
  kubectl testkit attach nightly -- bash             a shell in which `docker` is the cluster's
  kubectl testkit attach nightly --docker-context    then, elsewhere: docker --context testkit-nightly ps
  kubectl testkit attach nightly --node w0 -- docker ps    what one node has, a worker too

Containers, images, volumes and all that is an engine's own are those of one manager, or of
--node. In a hiccup they wait for it. After 10 s without a sign of life it is given up: what waited
ends with an error that says where it was, and another manager has what is made from then on, until
the first one has been back for 10 s. Services, nodes, secrets and all that is the swarm's go to
another manager at once.")]
pub struct Args {
    /// The cluster
    #[arg(add = super::complete::clusters())]
    name: String,
    /// The socket to make; one that nobody serves any more is replaced [default: docker.sock; for a command
    /// one that only that command is told of]
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// The node whose containers and images are meant, and no other's
    #[arg(long, value_name = "NODE")]
    node: Option<String>,
    /// Never go to another manager for containers and images, however long the first one is away
    #[arg(long)]
    pin: bool,
    /// Also make a docker context, and remove it at the end [default name: testkit-NAME]
    #[arg(long, value_name = "NAME", num_args = 0..=1, default_missing_value = "")]
    docker_context: Option<String>,
    /// Run this with DOCKER_HOST set, and end with it
    #[arg(last = true, value_name = "CMD")]
    command: Vec<String>,
}

impl Args {
    /// Whether a command runs that decides what a signal means.
    pub(super) fn leaves_signals_to_a_command(&self) -> bool {
        !self.command.is_empty()
    }
}

/// How long the first connection may take; twice the patience for its first bytes, and more for the login.
const CONNECTS: Duration = Duration::from_secs(30);

/// Attaches.
pub async fn run(context: &Context, args: &Args) -> Result<u8, Failure> {
    let kubernetes = context.kubernetes().await?;
    let cluster = kubernetes.cluster(&args.name).await?;
    let named = match &args.node {
        Some(word) => Some(nodes::one(&cluster, Some(word))?.name.clone()),
        None => None,
    };
    nodes::of(&cluster)?;
    let reach = Reach::of(&kubernetes, &cluster).await?;
    if let Some(name) = &named {
        // In words, where it has no address or no host key.
        reach.target(nodes::one(&cluster, Some(name))?)?;
    }
    let (wanted, listed) = watch::channel(candidates(&cluster, &reach, named.as_deref()));
    if wanted.borrow().is_empty() {
        return Err(nodes::not_ready(&cluster, "no manager of it can be reached yet"));
    }
    let socket = match (&args.socket, args.command.as_slice()) {
        (Some(path), _) => LocalSocket::bind(path).await,
        (None, []) => LocalSocket::bind(Path::new("docker.sock")).await,
        (None, _) => LocalSocket::private(&private_places()).await,
    }
    .map_err(|e| no_socket(&e))?;

    let mut task = context.printer.task(args.name.as_str());
    task.say(&format!("connecting to {}", named.as_deref().unwrap_or("a manager")));
    let (says, said) = tokio::sync::mpsc::unbounded_channel();
    let full_name = format!("{}/{}", kubernetes.namespace, args.name);
    let pin = match (&named, args.pin) {
        (Some(name), _) => Pin::At(name.clone()),
        (None, true) => Pin::First,
        (None, false) => Pin::Free,
    };
    let nodes = Nodes::new(&full_name, listed, pin, move |event| {
        let _ = says.send(event);
    });
    let first = nodes.ready(CONNECTS).await.map_err(|e| {
        Failure::new(e.to_string()).help(
            "see that this machine may reach the hosts: spec.accessCIDRs, and spec.provider.ec2.connectTo (Public or Private)",
        )
    })?;
    task.done(&format!("attached through {first}"));

    let docker_context = match &args.docker_context {
        Some(name) => Some(DockerContext::make(name, &args.name, &full_name, socket.path())?),
        None => None,
    };
    let work = async {
        if args.command.is_empty() {
            context.printer.line(format_args!("export DOCKER_HOST={}", docker_host(socket.path())))?;
            if let Some(docker) = &docker_context {
                context.printer.note(format_args!("docker context: docker --context {} ps", docker.name));
            }
            context.printer.note("Ctrl-C ends it");
            std::future::pending().await
        } else {
            command(&args.command, socket.path()).await
        }
    };
    tokio::select! {
        ended = work => ended,
        served = attach::serve(&socket, &nodes) => Err(match served {
            Ok(()) => Failure::new("the socket is closed"),
            Err(e) => Failure::new(format!("{} accepts nothing more: {e}", socket.path().display())),
        }),
        gone = follow_cluster(context, &kubernetes, &args.name, named.as_deref(), &wanted) => Err(gone),
        () = tell(context, said) => Err(Failure::silent(exit::FAILED)),
    }
}

/// The socket as a value for a shell, whatever its path has in it.
pub(super) fn docker_host(socket: &Path) -> String {
    format!("'unix://{}'", socket.display().to_string().replace('\'', r"'\''"))
}

/// Where a socket may be that is told to one command alone: short paths that can be written.
fn private_places() -> Vec<PathBuf> {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    runtime.into_iter().chain([std::env::temp_dir(), PathBuf::from("/tmp"), PathBuf::from("/dev/shm")]).collect()
}

/// The nodes that can be logged in to, the one to be at home at first: the one that was named, or a ready manager
/// that does not lead. All managers ask the leader about the swarm: with two in use a hiccup of one of them
/// costs either an engine's things or the swarm's, and never both.
fn candidates(cluster: &SwarmCluster, reach: &Reach, named: Option<&str>) -> Vec<Node> {
    let is_named = |name: &str| named == Some(name);
    let mut nodes: Vec<_> = nodes::of(cluster)
        .unwrap_or_default()
        .iter()
        .filter(|n| n.role == NodeRole::Manager || is_named(&n.name))
        .collect();
    nodes.sort_by_key(|n| (!is_named(&n.name), n.state != NodeState::Ready, n.leader, n.name.clone()));
    let node = |n: &NodeStatus| {
        let (manager, leader) = (n.role == NodeRole::Manager, n.leader);
        Some(Node { name: n.name.clone(), target: reach.target(n).ok()?, manager, leader })
    };
    let mut nodes: Vec<Node> = nodes.into_iter().filter_map(node).collect();
    // Home, and then who is asked about the swarm.
    if let Some(at) = nodes.iter().position(|n| n.leader).filter(|at| *at > 1) {
        let leader = nodes.remove(at);
        nodes.insert(1, leader);
    }
    nodes
}

/// Keeps the list of managers up to date; ends when the cluster is gone.
async fn follow_cluster(
    context: &Context,
    kubernetes: &Kubernetes,
    name: &str,
    named: Option<&str>,
    wanted: &watch::Sender<Vec<Node>>,
) -> Failure {
    let (seen, mut states) = watch::channel(None);
    let watching = follow::until(kubernetes, kubernetes.clusters(), "swarmclusters", name, |state| match state {
        Some(cluster) => {
            seen.send_replace(Some(cluster));
            None
        }
        None => Some(()),
    });
    let updating = async {
        while states.changed().await.is_ok() {
            let Some(cluster) = states.borrow_and_update().clone() else { continue };
            // Keys that cannot be read now were read before, and lead to the same hosts.
            let Ok(reach) = Reach::of(kubernetes, &cluster).await else { continue };
            let now = candidates(&cluster, &reach, named);
            let place = |n: &Node| (n.name.clone(), n.target.address.clone(), n.manager, n.leader);
            wanted.send_if_modified(|before| {
                let new = before.iter().map(place).ne(now.iter().map(place));
                *before = now;
                new
            });
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        ended = watching => match ended {
            Ok(()) => Failure::new(format!("cluster {name:?} was deleted")),
            // What is attached stays so: the API server is not needed for that.
            Err(failure) => {
                context.printer.warn(format_args!("managers that are replaced from now on are not noticed: {failure}"));
                std::future::pending().await
            }
        },
        () = updating => Failure::silent(exit::FAILED),
    }
}

/// Says what happens to the connections.
async fn tell(context: &Context, mut said: tokio::sync::mpsc::UnboundedReceiver<Event>) {
    let printer = &context.printer;
    while let Some(event) = said.recv().await {
        let strong = |name: &str| printer.paint_err(Style::Strong, name);
        match event {
            Event::Home { node, instead_of: None, .. } => {
                printer.detail(format_args!("containers and images are those of {node}"));
            }
            Event::Home { node, instead_of: Some((before, why)), back, note } => {
                let note = note.map(|note| format!("; {note}")).unwrap_or_default();
                let what = if back { "goes back" } else { "goes over" };
                printer.warn(format_args!(
                    "{why}: attach {what} from {before} to {}, whose containers and images are meant from here on{note}",
                    strong(&node)
                ));
            }
            Event::GivenUp { node, why } => {
                printer.warn(format_args!("{why}: what {} has fails until it is back", strong(&node)));
            }
            Event::Again { node } => printer.warn(format_args!("{} is back", strong(&node))),
            Event::Lost { node, why, home: true } => printer.warn(format_args!(
                "the connection to {} is lost: {why}; its streams have ended, and what else it has waits for it",
                strong(&node)
            )),
            Event::Lost { node, why, home: false } => {
                printer.detail(format_args!("the connection to {node} is lost: {why}"));
            }
            Event::NotConnected { node, why } => printer.detail(format_args!("no connection to {node}: {why}")),
        }
    }
    std::future::pending::<()>().await;
}

/// Runs the person's command. A signal is the command's to answer: this ends when it does.
async fn command(words: &[String], socket: &Path) -> Result<u8, Failure> {
    let [program, arguments @ ..] = words else { return Ok(0) };
    let child = tokio::process::Command::new(program)
        .args(arguments)
        .env("DOCKER_HOST", format!("unix://{}", socket.display()))
        // These would win over DOCKER_HOST or change what it means.
        .env_remove("DOCKER_CONTEXT")
        .env_remove("DOCKER_TLS_VERIFY")
        .kill_on_drop(true)
        .spawn();
    let mut child = child.map_err(|e| {
        Failure::new(format!("{program:?} cannot be run: {e}")).exit(match e.kind() {
            std::io::ErrorKind::NotFound => 127,
            _ => 126,
        })
    })?;
    let id = child.id();
    let ended = tokio::select! {
        ended = child.wait() => ended,
        failure = pass_signals_on(id) => return Err(failure),
    };
    ended.map(code).map_err(|e| Failure::new(format!("{program:?} was lost: {e}")))
}

/// What ends a program is for the command to answer. Ctrl-C at a terminal reaches it by itself.
async fn pass_signals_on(child: Option<u32>) -> Failure {
    use rustix::process::{Pid, Signal, kill_process};
    use tokio::signal::unix::{SignalKind, signal};
    let listen = |kind| signal(kind).map_err(|e| Failure::new(format!("signals cannot be received: {e}")));
    let (mut interrupts, mut ends, mut hangups) =
        match (listen(SignalKind::interrupt()), listen(SignalKind::terminate()), listen(SignalKind::hangup())) {
            (Ok(interrupts), Ok(ends), Ok(hangups)) => (interrupts, ends, hangups),
            (Err(failure), ..) | (_, Err(failure), _) | (.., Err(failure)) => return failure,
        };
    let child = child.and_then(|id| Pid::from_raw(id.try_into().ok()?));
    loop {
        let signal = tokio::select! {
            _ = interrupts.recv() => (!terminal::is_there()).then_some(Signal::INT),
            _ = ends.recv() => Some(Signal::TERM),
            _ = hangups.recv() => Some(Signal::HUP),
        };
        if let (Some(child), Some(signal)) = (child, signal) {
            // It may have ended by now.
            let _ = kill_process(child, signal);
        }
    }
}

/// As a shell has it.
fn code(status: ExitStatus) -> u8 {
    use std::os::unix::process::ExitStatusExt;
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    u8::try_from(code).unwrap_or(exit::FAILED)
}

fn no_socket(error: &SocketError) -> Failure {
    let failure = Failure::new(error.to_string());
    match error {
        SocketError::InUse(_) => {
            failure.help("use that one, or end it").help("another place for this one: --socket PATH")
        }
        SocketError::NotASocket(_) | SocketError::TooLong(_) => failure.help("another place: --socket PATH"),
        SocketError::Io { .. } => failure.help("another directory: --socket PATH"),
    }
}

/// A docker context that is there as long as this value.
struct DockerContext {
    name: String,
}

impl DockerContext {
    fn make(name: &str, cluster: &str, full_name: &str, socket: &Path) -> Result<Self, Failure> {
        let name = if name.is_empty() { format!("testkit-{cluster}") } else { name.to_owned() };
        let host = format!("host=unix://{}", socket.display());
        let description = format!("kubectl testkit attach: {full_name}");
        let docker = |verb: &str| {
            let words = ["context", verb, &name, "--description", &description, "--docker", &host];
            Command::new("docker").args(words).stdin(Stdio::null()).output()
        };
        let failed = |why: String| {
            Failure::new(format!("docker context {name:?} was not made: {why}"))
                .help("without it: leave out --docker-context and use DOCKER_HOST")
        };
        let mut output = docker("create").map_err(|e| failed(format!("docker cannot be run: {e}")))?;
        // One that an attach left that was killed.
        if !output.status.success() && Self::is_ours(&name) {
            output = docker("update").map_err(|e| failed(format!("docker cannot be run: {e}")))?;
        }
        match output.status.success() {
            true => Ok(Self { name }),
            false => Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned())),
        }
    }

    fn is_ours(name: &str) -> bool {
        let inspect = Command::new("docker").args(["context", "inspect", name]).stdin(Stdio::null()).output();
        inspect.is_ok_and(|o| String::from_utf8_lossy(&o.stdout).contains("kubectl testkit attach"))
    }
}

impl Drop for DockerContext {
    fn drop(&mut self) {
        let words = ["context", "rm", "--force", &self.name];
        let _ = Command::new("docker")
            .args(words)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
    }
}

/// The socket of an attach to this cluster, if somebody serves it.
pub(super) async fn attached_at(socket: &Path, kubernetes: &Kubernetes, name: &str) -> Result<PathBuf, Failure> {
    let path = std::path::absolute(socket).unwrap_or_else(|_| socket.to_owned());
    let none = |why: &str| {
        Failure::new(format!("{} {why}", path.display()))
            .help(format!("attach first: kubectl testkit attach {name} &"))
            .help("or name its socket: --socket PATH")
    };
    let status = status(&path).await.map_err(|e| none(&format!("is no attached socket: {e}")))?;
    let full_name = format!("{}/{name}", kubernetes.namespace);
    if status.cluster != full_name {
        return Err(none(&format!("is attached to {}, not to {full_name}", status.cluster)));
    }
    Ok(path)
}

async fn status(path: &Path) -> std::io::Result<attach::Status> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::UnixStream::connect(path).await?;
    stream
        .write_all(
            format!("GET {} HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n\r\n", attach::STATUS_PATH).as_bytes(),
        )
        .await?;
    let mut answer = String::new();
    stream.take(64 << 10).read_to_string(&mut answer).await?;
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body).unwrap_or_default();
    serde_json::from_str(body).map_err(|_| std::io::Error::other("something else answers there"))
}
