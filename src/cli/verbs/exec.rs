//! `exec`: one command on many nodes at once.

use bytes::{Buf, BytesMut};
use futures::{StreamExt, stream};

use crate::cli::{
    Context,
    failure::{Failure, exit},
    hosts::{Reach, nodes},
    shell,
    terminal::Style,
};
use crate::{api::NodeStatus, host::Said};

/// How many nodes at once.
const AT_ONCE: usize = 32;
/// A line longer than this is printed in pieces: what a command writes is not kept in memory.
const LONGEST_LINE: usize = 64 * 1024;

/// Run a command on many nodes at once; exits with the worst of its codes
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  kubectl testkit exec nightly -- docker info -f '{{.ServerVersion}}'
  kubectl testkit exec nightly --on managers -- 'docker node ls | grep -v Ready'

Each line begins with the node it comes from. 255 means that a node could not be reached.")]
pub struct Args {
    /// The cluster
    #[arg(add = crate::cli::shell::complete::clusters())]
    name: String,
    /// Where: managers, workers, all or a node
    #[arg(long, value_name = "WHERE", default_value = "all", add = crate::cli::shell::complete::groups())]
    on: String,
    /// The command
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<String>,
}

/// Runs it.
pub async fn run(context: &Context, args: &Args) -> Result<u8, Failure> {
    let kubernetes = context.kubernetes().await?;
    let cluster = kubernetes.cluster(&args.name).await?;
    let nodes = nodes::several(&cluster, &args.on)?;
    let reach = Reach::of(context, &kubernetes, &cluster).await?;
    let command = shell::line(&args.command);
    let width = nodes.iter().map(|node| node.name.len()).max().unwrap_or(0);
    let ended: Vec<Result<u8, Failure>> = stream::iter(nodes)
        .map(async |node| on_node(context, &reach, node, &command, width).await)
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let mut worst = 0;
    for result in ended {
        worst = worst.max(result?);
    }
    Ok(worst)
}

async fn on_node(
    context: &Context,
    reach: &Reach,
    node: &NodeStatus,
    command: &str,
    width: usize,
) -> Result<u8, Failure> {
    let printer = &context.printer;
    let name = format!("{:width$} | ", node.name);
    let run = async {
        let host = reach.connect(node).await?;
        let failed = |e: crate::host::HostError| Failure::new(format!("{}: {e}", node.name));
        let (mut session, input) = host.session(Some(command), None).await.map_err(failed)?;
        input.end().await;
        let (mut out, mut err) = (BytesMut::new(), BytesMut::new());
        let mut code = exit::NO_COMMAND;
        while let Some(said) = session.next().await.map_err(failed)? {
            match said {
                Said::Out(bytes) => {
                    out.extend_from_slice(&bytes);
                    printer.bytes(&lines(&mut out, &printer.paint(Style::Dim, &name), false))?;
                }
                Said::Err(bytes) => {
                    err.extend_from_slice(&bytes);
                    printer.complaint(&lines(&mut err, &printer.paint_err(Style::Dim, &name), false));
                }
                Said::Ended(status) => code = exit::of_status(status),
            }
        }
        printer.bytes(&lines(&mut out, &printer.paint(Style::Dim, &name), true))?;
        printer.complaint(&lines(&mut err, &printer.paint_err(Style::Dim, &name), true));
        Ok::<_, Failure>(code)
    };
    match run.await {
        Ok(code) => {
            if code != 0 {
                printer.note(format_args!("{name}exited with {code}"));
            }
            Ok(code)
        }
        // Nobody reads any more: there is no point in going on.
        Err(failure) if failure.code() == exit::PIPE_CLOSED => Err(failure),
        Err(failure) => {
            printer.failure(&failure);
            Ok(exit::NO_COMMAND)
        }
    }
}

/// Takes whole lines out of the buffer, each with the name before it; at the end also what is not one.
fn lines(buffer: &mut BytesMut, name: &str, end: bool) -> Vec<u8> {
    let mut text = Vec::new();
    loop {
        let (length, rest) = match buffer.iter().position(|b| *b == b'\n') {
            Some(at) => (at, 1),
            None if buffer.len() >= LONGEST_LINE || (end && !buffer.is_empty()) => (buffer.len(), 0),
            None => return text,
        };
        text.extend_from_slice(name.as_bytes());
        text.extend_from_slice(&buffer.split_to(length));
        text.push(b'\n');
        buffer.advance(rest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_whole_however_they_arrive() {
        let mut buffer = BytesMut::from("one\ntw");
        assert_eq!(lines(&mut buffer, "m0 | ", false), b"m0 | one\n");
        buffer.extend_from_slice(b"o\n\nthree");
        assert_eq!(lines(&mut buffer, "m0 | ", false), b"m0 | two\nm0 | \n");
        assert_eq!(lines(&mut buffer, "m0 | ", true), b"m0 | three\n");
        assert_eq!(lines(&mut buffer, "m0 | ", true), b"");
    }
}
