//! `ssh`: a shell on a node, or one command, or where the node is.

use crate::cli::{
    Context,
    failure::{Failure, exit},
    hosts::{Reach, nodes},
    shell,
    terminal::person::{self, Raw, Resizes},
};
use crate::host::{Said, Session, SessionInput};

/// Open a shell on a node, or run a command there; exits with its code, or with 255
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  kubectl testkit ssh nightly                              a shell on the leader
  kubectl testkit ssh nightly w0 -- docker ps              a command on the worker nightly-w0
  kubectl testkit ssh nightly -- 'docker ps -q | wc -l'    one word is a line for the node's shell
  ssh root@$(kubectl testkit ssh nightly --print)          with a key of your own

A node is named by name, slot (m0), instance id, address, leader, manager or worker.
255 means that it could not be reached, 4 that the API server does not let you look for it.")]
pub struct Args {
    /// The cluster
    #[arg(add = crate::cli::shell::complete::clusters())]
    name: String,
    /// The node [default: the leader]
    #[arg(add = crate::cli::shell::complete::nodes())]
    node: Option<String>,
    /// Print the node's address and do nothing else
    #[arg(long, conflicts_with_all = ["command", "tty"])]
    print: bool,
    /// Give the command a terminal too
    #[arg(short, long)]
    tty: bool,
    /// The command
    #[arg(last = true, value_name = "CMD")]
    command: Vec<String>,
}

/// Connects.
pub async fn run(context: &Context, args: &Args) -> Result<u8, Failure> {
    perform(context, args).await.map_err(|failure| {
        let code = code(failure.code(), args.print);
        failure.exit(code)
    })
}

/// As OpenSSH has it, but for what the API server does not allow: trying again would not help, and every verb says so by
/// the same code.
fn code(of_failure: u8, print: bool) -> u8 {
    match of_failure {
        exit::FAILED if !print => exit::NO_COMMAND,
        code => code,
    }
}

async fn perform(context: &Context, args: &Args) -> Result<u8, Failure> {
    let kubernetes = context.kubernetes().await?;
    let cluster = kubernetes.cluster(&args.name).await?;
    let node = nodes::one(&cluster, args.node.as_deref())?;
    if args.print {
        let none = || nodes::not_ready(&cluster, "its nodes have no addresses yet");
        context.printer.line(node.address.as_deref().ok_or_else(none)?)?;
        return Ok(0);
    }
    let reach = Reach::of(context, &kubernetes, &cluster).await?;
    let host = reach.connect(node).await?;
    context.printer.detail(format_args!("connected to {} at {}", node.name, host.address()));
    let command = (!args.command.is_empty()).then(|| shell::line(&args.command));
    let person = person::is_there() && (args.tty || command.is_none());
    let here = person.then(person::here);
    let lost = |e: crate::host::HostError| Failure::new(format!("{}: {e}", node.name)).exit(exit::NO_COMMAND);
    let (session, input) = host.session(command.as_deref(), here.as_ref()).await.map_err(lost)?;
    let raw = match person {
        true => Some(Raw::take().map_err(|e| Failure::new(format!("the terminal cannot be used: {e}")))?),
        false => None,
    };
    let ended = tokio::select! {
        ended = listen(context, session, person) => ended,
        failure = speak(&input, person) => Err(Ended::Here(failure)),
        never = follow_size(&input), if person => match never {},
    };
    // Messages are for a terminal that is as it was.
    drop(raw);
    ended.map_err(|ended| match ended {
        Ended::There(error) => lost(error),
        Ended::Here(failure) => failure,
    })
}

/// Which side a session ended at without an exit code.
enum Ended {
    There(crate::host::HostError),
    Here(Failure),
}

/// Prints what is said. A person's terminal is the host's for as long as a shell has it; otherwise it only shows.
async fn listen(context: &Context, mut session: Session, person: bool) -> Result<u8, Ended> {
    while let Some(said) = session.next().await.map_err(Ended::There)? {
        match said {
            Said::Out(bytes) if person => context.printer.raw(&bytes).map_err(Ended::Here)?,
            Said::Out(bytes) => context.printer.bytes(&bytes).map_err(Ended::Here)?,
            Said::Err(bytes) => context.printer.complaint(&bytes),
            Said::Ended(status) => return Ok(exit::of_status(status)),
        }
    }
    Ok(exit::NO_COMMAND)
}

/// Sends standard input to its end, and then waits to be dropped: the command decides when it is done.
async fn speak(input: &SessionInput, raw: bool) -> Failure {
    let mut pieces = person::input(raw);
    while let Some(piece) = pieces.recv().await {
        match piece {
            Ok(bytes) => input.write(bytes).await,
            Err(e) => return Failure::new(format!("standard input cannot be read: {e}")),
        }
    }
    input.end().await;
    std::future::pending().await
}

/// Tells the host when the window changes.
async fn follow_size(input: &SessionInput) -> std::convert::Infallible {
    let Ok(mut changes) = Resizes::listen() else { return std::future::pending().await };
    loop {
        changes.next().await;
        let now = person::here();
        input.resize(now.columns, now.rows).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_allowed_is_told_from_a_node_that_is_away() {
        for (of_failure, print, is) in [
            (exit::FAILED, false, exit::NO_COMMAND),
            (exit::FAILED, true, exit::FAILED),
            (exit::NOT_ALLOWED, false, exit::NOT_ALLOWED),
            (exit::NO_COMMAND, false, exit::NO_COMMAND),
            (exit::PIPE_CLOSED, false, exit::PIPE_CLOSED),
        ] {
            assert_eq!(code(of_failure, print), is, "{of_failure} {print}");
        }
    }
}
