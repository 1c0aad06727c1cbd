//! `attach`: the swarm's Docker socket as a socket of this machine.

use std::{
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
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
    api::{NodeRole, NodeState, SwarmCluster},
    attach::{self, Event, LocalSocket, Manager, Managers, SocketError},
};

/// Make the cluster's Docker socket a socket of this machine, until Ctrl-C
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  kubectl testkit attach nightly                     then, elsewhere: export DOCKER_HOST=unix://$PWD/docker.sock
  kubectl testkit attach nightly -- docker node ls   with DOCKER_HOST set for one command; exits with its code
  kubectl testkit attach nightly -- bash             a shell in which `docker` is the cluster's
  kubectl testkit attach nightly --docker-context    then, elsewhere: docker --context testkit-nightly ps

The socket leads to the swarm's leader. When that manager dies or loses the swarm, new
connections go to another one within a second; what was under way there ends with an error.")]
pub struct Args {
    /// The cluster
    #[arg(add = super::complete::clusters())]
    name: String,
    /// The socket to make; one that nobody serves any more is replaced
    #[arg(long, value_name = "PATH", default_value = "docker.sock")]
    socket: PathBuf,
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

/// Attaches.
pub async fn run(context: &Context, args: &Args) -> Result<u8, Failure> {
    let kubernetes = context.kubernetes().await?;
    let cluster = kubernetes.cluster(&args.name).await?;
    nodes::of(&cluster)?;
    let reach = Reach::of(&kubernetes, &cluster).await?;
    let (wanted, managers) = watch::channel(candidates(&cluster, &reach));
    if wanted.borrow().is_empty() {
        return Err(nodes::not_ready(&cluster, "no manager of it can be reached yet"));
    }
    let socket = LocalSocket::bind(&args.socket).await.map_err(|e| no_socket(&e))?;

    let mut task = context.printer.task(args.name.as_str());
    task.say("connecting to a manager");
    let (says, said) = tokio::sync::mpsc::unbounded_channel();
    let full_name = format!("{}/{}", kubernetes.namespace, args.name);
    let managers = Managers::new(&full_name, managers, move |event| {
        let _ = says.send(event);
    });
    let first = managers.ready().await.map_err(|e| {
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
            context.printer.line(format_args!("export DOCKER_HOST=unix://{}", socket.path().display()))?;
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
        served = attach::serve(&socket, &managers) => Err(match served {
            Ok(()) => Failure::new("the socket is closed"),
            Err(e) => Failure::new(format!("{} accepts nothing more: {e}", socket.path().display())),
        }),
        gone = follow_cluster(context, &kubernetes, &args.name, &wanted) => Err(gone),
        () = tell(context, said) => Err(Failure::silent(exit::FAILED)),
    }
}

/// The managers that can be logged in to: the leader first, then those that are ready.
fn candidates(cluster: &SwarmCluster, reach: &Reach) -> Vec<Manager> {
    let mut nodes: Vec<_> =
        nodes::of(cluster).unwrap_or_default().iter().filter(|n| n.role == NodeRole::Manager).collect();
    nodes.sort_by_key(|n| (!n.leader, n.state != NodeState::Ready, n.name.clone()));
    nodes.into_iter().filter_map(|n| Some(Manager { name: n.name.clone(), target: reach.target(n).ok()? })).collect()
}

/// Keeps the list of managers up to date; ends when the cluster is gone.
async fn follow_cluster(
    context: &Context,
    kubernetes: &Kubernetes,
    name: &str,
    wanted: &watch::Sender<Vec<Manager>>,
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
            let now = candidates(&cluster, &reach);
            let place = |m: &Manager| (m.name.clone(), m.target.address.clone());
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
        match event {
            Event::Uses { manager, instead_of: None } => printer.detail(format_args!("connections go to {manager}")),
            Event::Uses { manager, instead_of: Some((before, why)) } => {
                printer.warn(format_args!(
                    "{before}: {why}; new connections go to {}",
                    printer.paint_err(Style::Strong, &manager)
                ));
            }
            Event::Lost { manager, why } => {
                printer.warn(format_args!("{manager} is given up: {why}; what was under way there has ended"));
            }
            Event::NotConnected { manager, why } => printer.detail(format_args!("no connection to {manager}: {why}")),
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
