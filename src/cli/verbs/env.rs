//! `env`: what `eval` wants, of an attach that runs.

use std::path::PathBuf;

use crate::{
    cli::{Context, failure::Failure, verbs::attach},
    platform::{local, shell},
};

/// Print the exports that point docker at an attached cluster: eval "$(kubectl testkit env NAME)"
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  kubectl testkit attach nightly &             in this directory
  eval \"$(kubectl testkit env nightly)\"        docker is the cluster's from here on
  eval \"$(kubectl testkit env --unset)\"        and this machine's again

  kubectl testkit attach nightly --publish &
  eval \"$(kubectl testkit env nightly --testcontainers)\"

Testcontainers starts containers by DOCKER_HOST and connects to the ports they publish: --publish forwards these to
127.0.0.1, TESTCONTAINERS_HOST_OVERRIDE says so, and TESTCONTAINERS_DOCKER_SOCKET_OVERRIDE tells Ryuk, which runs on the
cluster, where its engine's socket is. Ryuk stays on: it removes what tests left.")]
pub struct Args {
    /// The cluster
    #[arg(add = crate::cli::shell::complete::clusters(), required_unless_present = "unset")]
    name: Option<String>,
    /// The socket that `attach` made
    #[arg(long, value_name = "PATH", default_value = local::DEFAULT)]
    socket: PathBuf,
    /// Also what testcontainers needs; wants an attach with --publish
    #[arg(long)]
    testcontainers: bool,
    /// Print what takes it back
    #[arg(long, conflicts_with_all = ["name", "socket"])]
    unset: bool,
}

/// Prints the exports.
pub async fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    let Some(name) = &args.name else {
        let others = attach::TESTCONTAINERS.iter().filter(|_| args.testcontainers).map(|(name, _)| *name);
        let names: Vec<&str> = std::iter::once("DOCKER_HOST").chain(others).collect();
        return context.printer.line(shell::unset(&names));
    };
    let kubernetes = context.kubernetes().await?;
    let path = attach::attached_at(&args.socket, &kubernetes, name, args.testcontainers).await?;
    context.printer.line(attach::export(&attach::variables(&path, args.testcontainers)))
}
