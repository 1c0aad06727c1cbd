//! `env`: what `eval` wants, of an attach that runs.

use std::path::PathBuf;

use crate::cli::{Context, failure::Failure, verbs::attach};

/// Print the export that points docker at an attached cluster: eval "$(kubectl testkit env NAME)"
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  kubectl testkit attach nightly &             in this directory
  eval \"$(kubectl testkit env nightly)\"        docker is the cluster's from here on
  eval \"$(kubectl testkit env --unset)\"        and this machine's again")]
pub struct Args {
    /// The cluster
    #[arg(add = crate::cli::shell::complete::clusters(), required_unless_present = "unset")]
    name: Option<String>,
    /// The socket that `attach` made
    #[arg(long, value_name = "PATH", default_value = "docker.sock")]
    socket: PathBuf,
    /// Print what takes it back
    #[arg(long, conflicts_with_all = ["name", "socket"])]
    unset: bool,
}

/// Prints the export.
pub async fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    let Some(name) = &args.name else { return context.printer.line("unset DOCKER_HOST") };
    let kubernetes = context.kubernetes().await?;
    let path = attach::attached_at(&args.socket, &kubernetes, name).await?;
    context.printer.line(format_args!("export DOCKER_HOST={}", attach::docker_host(&path)))
}
