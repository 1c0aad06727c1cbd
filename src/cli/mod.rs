//! `kubectl testkit`: what a person reaches for.
//!
//! Here lives the command line. [`verbs`] has a file or a folder for each verb, with its arguments and a `run`. A verb
//! asks [`kubernetes`] for objects and [`hosts`] for hosts, says what happens to the [`terminal`]'s printer and gives
//! a [`failure::Failure`] back; it never writes to the terminal itself and never exits. [`shell`] is what a person's
//! shell asks. Whatever a verb opens ends when its future is dropped, which is all that Ctrl-C does. Verbs use all
//! else, and nothing else uses a verb. The operator's rooms (cloud, cluster, run) are none of its business.

pub mod failure;
mod hosts;
mod kubernetes;
mod output;
mod shell;
mod suggest;
mod terminal;
mod verbs;

use std::{ffi::OsString, process::ExitCode};

use clap::{CommandFactory, FromArgMatches, Parser};

use self::{
    failure::{Failure, exit},
    hosts::{HostArgs, SshConfigs},
    kubernetes::{ConnectionArgs, Kubernetes},
    shell::complete,
    terminal::{Printer, Verbosity},
    verbs::Verb,
};
use crate::platform::signals::Signals;

/// Docker Swarms for end-to-end tests: make them, look inside, run tests on them
#[derive(Parser, Debug)]
#[command(
    name = "kubectl-testkit",
    bin_name = "kubectl testkit",
    version,
    subcommand_required = true,
    arg_required_else_help = true,
    disable_help_subcommand = true,
    after_help = "To begin with:
  kubectl testkit create nightly --managers 3 --region us-east-1 --ttl 4h --wait
  kubectl testkit run nightly --image dockerswarm/e2e:latest
  kubectl testkit ssh nightly

kubectl testkit VERB --help tells all about a verb, with examples.\nExit codes: 0 done; 1 failed; 2 wrong usage; 4 not allowed; 130 interrupted. Verbs that run a command exit with its code."
)]
pub struct Cli {
    #[command(flatten)]
    connection: ConnectionArgs,
    #[command(flatten)]
    hosts: HostArgs,
    /// Print errors and results alone
    #[arg(short, long, global = true, help_heading = "Output options", conflicts_with = "verbose")]
    quiet: bool,
    /// Also print how things are done
    #[arg(short, long, global = true, help_heading = "Output options")]
    verbose: bool,
    #[command(subcommand)]
    verb: Verb,
}

/// What every verb is given.
pub(crate) struct Context {
    printer: Printer,
    connection: ConnectionArgs,
    hosts: HostArgs,
    configs: SshConfigs,
}

impl Context {
    /// The API server the options name.
    async fn kubernetes(&self) -> Result<Kubernetes, Failure> {
        let kubernetes = Kubernetes::connect(&self.connection).await?;
        self.printer.detail(format_args!("using {kubernetes}"));
        Ok(kubernetes)
    }
}

/// The command line, for completion and for tests of its texts.
#[must_use]
pub fn command() -> clap::Command {
    // What a completer offers is asked of Kubernetes, whose options these are.
    Cli::command()
        .mut_arg("namespace", |arg| arg.add(complete::namespaces()))
        .mut_arg("context", |arg| arg.add(complete::contexts()))
        .mut_subcommands(kube_cluster_as_kubectl_has_it)
}

/// `--cluster` is kubectl's where a verb has no cluster of its own by that option; there it is `--kube-cluster`.
fn kube_cluster_as_kubectl_has_it(verb: clap::Command) -> clap::Command {
    let is_taken = verb.get_arguments().any(|arg| arg.get_long() == Some("cluster"));
    let global = Cli::command().get_arguments().find(|arg| arg.get_id() == "kube_cluster").cloned();
    match global.filter(|_| !is_taken) {
        Some(arg) => verb.arg(arg.visible_alias("cluster")),
        None => verb,
    }
}

/// The whole program: reads the arguments and gives the exit code.
#[must_use]
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    if let Some(code) = shell::answer(&args, command) {
        return code;
    }
    let cli = match command().try_get_matches_from(args).and_then(|found| Cli::from_arg_matches(&found)) {
        Ok(cli) => cli,
        Err(e) => {
            // A closed pipe behind `--help` is nobody's error.
            let _ = e.print();
            return ExitCode::from(u8::try_from(e.exit_code()).unwrap_or(exit::FAILED));
        }
    };
    let verbosity = match (cli.quiet, cli.verbose) {
        (true, _) => Verbosity::Quiet,
        (_, true) => Verbosity::Verbose,
        _ => Verbosity::Normal,
    };
    let context = Context {
        printer: Printer::new(verbosity),
        connection: cli.connection,
        hosts: cli.hosts,
        configs: SshConfigs::default(),
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => {
            context.printer.failure(&Failure::new(format!("no thread can be started: {e}")));
            return ExitCode::from(exit::FAILED);
        }
    };
    // Before these begin with what they must not leave half done, a signal ends them as any program.
    let verb_answers_signals = cli.verb.answers_signals();
    let ended = runtime.block_on(async {
        tokio::select! {
            ended = cli.verb.perform(&context) => ended,
            code = ended_by_signal(), if !verb_answers_signals => Err(Failure::silent(code)),
        }
    });
    // A thread that waits for a person's input must not keep the program.
    runtime.shutdown_background();
    match ended {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            context.printer.failure(&failure);
            ExitCode::from(failure.code())
        }
    }
}

/// Waits for a signal that ends the program; gives the exit code that says so.
async fn ended_by_signal() -> u8 {
    match Signals::listen() {
        Ok(mut signals) => exit::of_signal(signals.next().await),
        // Without a handler a signal ends the program by itself.
        Err(_) => std::future::pending().await,
    }
}

/// A line with the arguments of one verb alone.
#[cfg(test)]
#[derive(clap::Parser)]
struct Line<A: clap::Args> {
    #[command(flatten)]
    args: A,
}
