//! `cp`: files and directories to a node and from it, as a tar stream over a session.
//!
//! Here lives what the two words mean and which way it goes. The host's own `tar` packs and
//! unpacks there; what comes from a host is unpacked by [`pack`], which trusts nothing in it.

mod download;
mod pack;
mod pipe;
mod place;
mod probe;
mod upload;

use std::fmt::Display;

use self::place::Place;
use crate::cli::{
    Context,
    failure::{Failure, exit},
    hosts::{Reach, nodes},
    shell,
    terminal::counted,
};
use crate::host::Host;

/// Copy files and directories to a node or from it
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  kubectl testkit cp nightly:/etc/docker/daemon.json .       from the leader
  kubectl testkit cp nightly/w0:/var/log ./logs              a directory of the worker w0
  kubectl testkit cp ./fixtures nightly/m1:/srv              onto the manager m1
  kubectl testkit cp nightly/m0:/etc/docker - | tar -t       as a tar archive
  tar -c certs | kubectl testkit cp - nightly/m0:/etc/docker

A place on a node is NAME:PATH (on the leader) or NAME/NODE:PATH, where the node is named as for ssh;
a path that does not begin with / is in root's home. A local file with a colon in its name is
written ./a:b.

A file goes to the name given, or into it where that is a directory. A directory goes into DST
where DST exists, and becomes DST where it does not; SRC/. stands for what is in the directory.
Modes, times and links within a directory are kept; SRC itself is followed where it is a link. Files
belong to who unpacks them: on a node to root.")]
pub struct Args {
    /// What to copy: a local path, NAME[/NODE]:PATH, or - for a tar archive on standard input
    #[arg(value_name = "SRC", add = crate::cli::shell::complete::places(), allow_hyphen_values = true)]
    source: String,
    /// Where to: a local path, NAME[/NODE]:PATH, or - for a tar archive on standard output
    #[arg(value_name = "DST", add = crate::cli::shell::complete::places(), allow_hyphen_values = true)]
    target: String,
}

/// Copies.
pub async fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    match (Place::of(&args.source), Place::of(&args.target)) {
        (Place::There { cluster, node, path }, target @ (Place::Here(_) | Place::Stream)) => {
            let there = There::reach(context, cluster, node, path).await?;
            download::run(context, &there, &target).await
        }
        (source @ (Place::Here(_) | Place::Stream), Place::There { cluster, node, path }) => {
            // What is not here need not be carried anywhere.
            let load = upload::Load::of(&source)?;
            let there = There::reach(context, cluster, node, path).await?;
            upload::run(context, &there, load).await
        }
        (Place::There { .. }, Place::There { .. }) => Err(Failure::new(
            "both SRC and DST are on nodes, and files do not go from one node to another by themselves",
        )
        .help(format!("kubectl testkit cp {} - | kubectl testkit cp - {}", args.source, args.target))),
        _ => Err(Failure::new("neither SRC nor DST is on a node").help(
            "write the place on the node as NAME:PATH (on the leader) or NAME/NODE:PATH, such as nightly/m0:/etc/hosts",
        )),
    }
}

/// A path on a node we are connected to.
struct There {
    host: Host,
    cluster: String,
    node: String,
    path: String,
}

impl There {
    async fn reach(context: &Context, cluster: &str, node: Option<&str>, path: &str) -> Result<Self, Failure> {
        let kubernetes = context.kubernetes().await?;
        let object = kubernetes.cluster(cluster).await?;
        let node = nodes::one(&object, node)?;
        let host = Reach::of(context, &kubernetes, &object).await?.connect(node).await?;
        context.printer.detail(format_args!("connected to {} at {}", node.name, host.address()));
        Ok(Self { host, cluster: cluster.to_owned(), node: node.name.clone(), path: path.to_owned() })
    }

    fn failure(&self, what: impl Display) -> Failure {
        Failure::new(format!("{}: {what}", self.node))
    }

    /// There is no such directory on the node.
    fn no_directory(&self, directory: &str) -> Failure {
        self.failure(format_args!("there is no directory {directory:?}")).help(format!(
            "kubectl testkit ssh {} {} -- mkdir -p {}",
            self.cluster,
            self.node,
            shell::quoted(directory)
        ))
    }

    /// What the host's tar complained about, as a failure.
    fn complained(&self, status: Option<u32>, complaints: &[u8]) -> Failure {
        let text = String::from_utf8_lossy(complaints);
        let mut lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        // tar's last line says that there were lines before it.
        if lines.len() > 1 && lines.last().is_some_and(|line| line.contains("previous errors")) {
            lines.pop();
        }
        match lines.first() {
            Some(first) if lines.len() == 1 => self.failure(first),
            Some(first) => self.failure(format_args!("{first} (and {})", counted(lines.len() - 1, "more complaint"))),
            None => self.failure(format_args!("tar ended with {}", exit::of_status(status))),
        }
    }
}
