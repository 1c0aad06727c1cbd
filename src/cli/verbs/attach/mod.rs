//! `attach`: the swarm's Docker socket as a socket of this machine.

mod command;
mod docker_context;
mod nodes;
mod place;
mod publish;
mod told;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::sync::watch;

use self::docker_context::DockerContext;
pub(in crate::cli) use self::place::{TESTCONTAINERS, attached_at, export, variables};
use crate::{
    attach::{self, Event, Nodes, Pin},
    cli::{
        Context,
        failure::{Failure, exit},
        hosts::{REACHABLE, Reach, THROUGH, nodes as named_nodes},
    },
    platform::{
        SocketError,
        local::{self, LocalSocket},
    },
};

/// Make the cluster's Docker socket a socket of this machine, until Ctrl-C
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  kubectl testkit attach nightly                     then, elsewhere: export DOCKER_HOST=unix://$PWD/docker.sock
  kubectl testkit attach nightly -- docker node ls   with DOCKER_HOST set for one command; exits with its code
  kubectl testkit attach nightly -- bash             a shell in which `docker` is the cluster's
  kubectl testkit attach nightly --docker-context    then, elsewhere: docker --context testkit-nightly ps
  kubectl testkit attach nightly --node w0 -- docker ps    what one node has, a worker too
  kubectl testkit attach nightly --publish           docker run -p 8080:80 is here as 127.0.0.1:8080
  kubectl testkit attach nightly --publish -- pytest       testcontainers finds what it needs in its environment

Containers, images, volumes and all that is an engine's own are those of one manager, or of
--node. In a hiccup they wait for it. After 10 s without a sign of life it is given up: what waited
ends with an error that says where it was, and another manager has what is made from then on, until
the first one has been back for 10 s. Services, nodes, secrets and all that is the swarm's go to
another manager at once.")]
pub struct Args {
    /// The cluster
    #[arg(add = crate::cli::shell::complete::clusters())]
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
    /// Also forward to ports of this machine what containers and services publish, while they do
    #[arg(long)]
    publish: bool,
    /// Run this with DOCKER_HOST set, and end with it
    #[arg(last = true, value_name = "CMD")]
    command: Vec<String>,
}

impl Args {
    /// Whether a command runs that decides what a signal means.
    pub(in crate::cli) fn leaves_signals_to_a_command(&self) -> bool {
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
        Some(word) => Some(named_nodes::one(&cluster, Some(word))?.name.clone()),
        None => None,
    };
    named_nodes::of(&cluster)?;
    let reach = Reach::of(context, &kubernetes, &cluster).await?;
    if let Some(name) = &named {
        // In words, where it has no address or no host key.
        reach.target(named_nodes::one(&cluster, Some(name))?)?;
    }
    let (wanted, listed) = watch::channel(nodes::candidates(&cluster, &reach, named.as_deref(), &[]));
    if wanted.borrow().is_empty() {
        let not_yet = || named_nodes::not_ready(&cluster, "no manager of it can be reached yet");
        return Err(nodes::lost(&cluster, &reach, named.as_deref()).unwrap_or_else(not_yet));
    }
    let socket = match (&args.socket, args.command.as_slice()) {
        (Some(path), _) => LocalSocket::bind(path).await,
        (None, []) => LocalSocket::bind(Path::new(local::DEFAULT)).await,
        (None, _) => LocalSocket::private().await,
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
    let published = args.publish.then(|| listed.clone());
    let (moves, home) = watch::channel(String::new());
    let streams = Nodes::new(&full_name, listed, pin, move |event| {
        if let Event::Home { node, .. } = &event {
            moves.send_replace(node.clone());
        }
        let _ = says.send(event);
    });
    streams.set_publishes(args.publish);
    let first = streams.ready(CONNECTS).await.map_err(|e| Failure::new(e.to_string()).help(REACHABLE).help(THROUGH))?;
    task.done(&format!("attached through {first}"));

    let docker_context = match &args.docker_context {
        Some(name) => Some(DockerContext::make(name, &args.name, &full_name, socket.path())?),
        None => None,
    };
    let work = async {
        if args.command.is_empty() {
            context.printer.line(export(&variables(socket.path(), false)))?;
            if let Some(docker) = &docker_context {
                context.printer.note(format_args!("docker context: docker --context {} ps", docker.name));
            }
            if args.publish {
                context.printer.note(format_args!(
                    "testcontainers: eval \"$(kubectl testkit env {} --testcontainers)\"",
                    args.name
                ));
            }
            context.printer.note("Ctrl-C ends it");
            std::future::pending().await
        } else {
            command::run(&args.command, &variables(socket.path(), args.publish)).await
        }
    };
    tokio::select! {
        ended = work => ended,
        served = attach::serve(&socket, &streams) => Err(match served {
            Ok(()) => Failure::new("the socket is closed"),
            Err(e) => Failure::new(format!("{} accepts nothing more: {e}", socket.path().display())),
        }),
        gone = nodes::follow_cluster(context, &kubernetes, &args.name, named.as_deref(), &wanted) => Err(gone),
        () = publish(context, published, home) => Err(Failure::silent(exit::FAILED)),
        () = told::tell(context, said) => Err(Failure::silent(exit::FAILED)),
    }
}

/// Forwards what is published, where that is asked for; otherwise it waits to be dropped.
async fn publish(context: &Context, nodes: Option<watch::Receiver<Vec<attach::Node>>>, home: watch::Receiver<String>) {
    match nodes {
        Some(nodes) => publish::keep(&context.printer, nodes, home).await,
        None => std::future::pending().await,
    }
}

fn no_socket(error: &SocketError) -> Failure {
    let failure = Failure::new(error.to_string());
    match error {
        SocketError::InUse(_) => {
            failure.help("use that one, or end it").help("another place for this one: --socket PATH")
        }
        SocketError::NotASocket(_) | SocketError::TooLong { .. } => failure.help("another place: --socket PATH"),
        SocketError::Io { .. } => failure.help("another directory: --socket PATH"),
    }
}
