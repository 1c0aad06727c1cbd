//! `logs`: what a run's container wrote, from its manager while it runs and from the kept results after.

mod case;
mod live;
mod tail;

use std::time::Duration;

use kube::ResourceExt;

use self::{
    live::{Broken, Live},
    tail::Tail,
};
use crate::{
    api::{Duration as ApiDuration, E2ERun, E2ERunStatus},
    cli::{
        Context,
        failure::{Failure, exit},
        kubernetes::{
            Kubernetes, RUNS, follow,
            kept::{self, message},
        },
    },
};

/// What the operator writes where a log was too long to be kept whole.
const LEFT_OUT: &[u8] = b"\n\n[testkit: ";
/// How long to wait before a lost connection is made again, at first and at most.
const RETRY: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));

/// Print what a run's container wrote, also long after the container and the cluster are gone
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  kubectl testkit logs nightly-1        what it wrote so far
  kubectl testkit logs nightly-1 -f     and what it writes, to the end, also over a lost connection
  kubectl testkit logs nightly-1 --tail 20 -f            the last lines, and what follows
  kubectl testkit logs nightly-1 --since 5m --timestamps    while it runs: what is kept has no times
  kubectl testkit logs nightly-1 --attempt 1    what the first attempt wrote, of a run that was retried
  kubectl testkit logs nightly-1 --case ServicesScale    what that case wrote, and why it failed")]
pub struct Args {
    /// The run
    #[arg(add = crate::cli::shell::complete::runs())]
    run: String,
    /// Go on until the run ends; a run that waits is waited for
    #[arg(short, long)]
    follow: bool,
    /// Only so many of the last lines
    #[arg(long, value_name = "LINES")]
    tail: Option<usize>,
    /// Only what it wrote within this time, such as 90s or 5m; while it runs
    #[arg(long, value_name = "DURATION")]
    since: Option<ApiDuration>,
    /// With the time of each line; while it runs
    #[arg(long)]
    timestamps: bool,
    /// Only what this case wrote, from the kept results of a run that has ended
    #[arg(long, value_name = "NAME", conflicts_with_all = ["follow", "tail", "since", "timestamps"], add = crate::cli::shell::complete::cases())]
    case: Option<String>,
    /// What this attempt wrote, counted from 1, once it has ended [default: the last one]
    #[arg(long, value_name = "NUMBER", conflicts_with_all = ["follow", "since", "timestamps", "case"])]
    attempt: Option<u32>,
}

/// Which part of a log, and how.
#[derive(Clone, Debug, Default)]
struct Part {
    tail: Option<usize>,
    since: Option<jiff::Timestamp>,
    timestamps: bool,
}

/// What becomes of a log that this account may not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Log {
    /// It is what was asked for: that is an error.
    Wanted,
    /// It is left out, and that is said.
    WherePossible,
}

/// Prints it.
pub async fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    let kubernetes = context.kubernetes().await?;
    let since = args.since.map(|ago| jiff::Timestamp::now() - ago.get());
    let part = Part { tail: args.tail, since, timestamps: args.timestamps };
    if args.follow {
        follow_to_the_end(context, &kubernetes, &args.run, Log::Wanted, &part).await?;
        return Ok(());
    }
    let run = kubernetes.run(&args.run).await?;
    if let Some(case) = &args.case {
        return case::print(context, &kubernetes, &run, case).await;
    }
    if let Some(number) = args.attempt {
        let bytes = kept::of_attempt(&kubernetes, &run, number, &[kept::LOG]).await?;
        let bytes = bytes.ok_or_else(|| Failure::new(format!("attempt {number} of run {:?} left no log", args.run)))?;
        return print_bytes(context, &bytes, 0, &part);
    }
    match stage(&run) {
        Stage::Ended => print_kept(context, &kubernetes, &run, 0, &part).await,
        Stage::Running { .. } => {
            let read = Live::default().stream(context, &kubernetes, &run, false, &part).await.map_err(Failure::from);
            read.map_err(|failure| match failure.code() {
                exit::NOT_ALLOWED => failure.help(format!(
                    "or have what is kept of it, when it has ended: kubectl testkit logs {} -f",
                    args.run
                )),
                _ => failure,
            })
        }
        Stage::Waiting => {
            Err(Failure::new(format!("run {:?} has not written anything yet: {}", args.run, message(&run)))
                .help(format!("wait for it: kubectl testkit logs {} -f", args.run)))
        }
    }
}

/// Waits until the run ends, and prints nothing of its log; gives the ended run.
pub(in crate::cli) async fn ended(context: &Context, kubernetes: &Kubernetes, name: &str) -> Result<E2ERun, Failure> {
    wait_while(context, kubernetes, name, |stage| !matches!(stage, Stage::Ended)).await?;
    kubernetes.run(name).await
}

/// Prints the log until the run ends; gives the ended run.
pub(in crate::cli) async fn to_the_end(
    context: &Context,
    kubernetes: &Kubernetes,
    name: &str,
    log: Log,
) -> Result<E2ERun, Failure> {
    follow_to_the_end(context, kubernetes, name, log, &Part::default()).await
}

async fn follow_to_the_end(
    context: &Context,
    kubernetes: &Kubernetes,
    name: &str,
    log: Log,
    part: &Part,
) -> Result<E2ERun, Failure> {
    let mut live = Live::default();
    let mut pause = RETRY.0;
    loop {
        let run = kubernetes.run(name).await?;
        match stage(&run) {
            Stage::Ended => {
                let last = run.status.as_ref().and_then(|status| status.container_id.as_deref());
                // Of another attempt's log nothing was printed yet.
                let printed = if live.is_of(last) { live.printed } else { 0 };
                match print_kept(context, kubernetes, &run, printed, part).await {
                    Err(failure) if log == Log::WherePossible && failure.code() == exit::NOT_ALLOWED => {
                        context.printer.warn(format_args!("the log of {name} is not printed: {}", failure.what()));
                    }
                    printed => printed?,
                }
                return Ok(run);
            }
            Stage::Waiting => {
                wait_while(context, kubernetes, name, |stage| matches!(stage, Stage::Waiting)).await?;
            }
            Stage::Running { .. } => {
                let before = live.printed;
                match live.stream(context, kubernetes, &run, true, part).await {
                    Ok(()) | Err(Broken::Gone(_)) => {
                        let this = live.container.clone();
                        let same = |stage: &Stage<'_>| match stage {
                            Stage::Waiting => true,
                            Stage::Running { container, .. } => Some(*container) == this.as_deref(),
                            Stage::Ended => false,
                        };
                        wait_while(context, kubernetes, name, same).await?;
                    }
                    // Who may not reach the hosts has the log at the end, from what is kept of it.
                    Err(Broken::ForGood(failure)) if failure.code() == exit::NOT_ALLOWED && part.since.is_none() => {
                        context
                            .printer
                            .note(format_args!("The log of {name} comes when it has ended: {}", failure.what()));
                        wait_while(context, kubernetes, name, |stage| !matches!(stage, Stage::Ended)).await?;
                    }
                    Err(Broken::ForGood(failure)) => return Err(failure),
                    Err(Broken::ForNow(failure)) => {
                        if live.printed > before {
                            pause = RETRY.0;
                        }
                        context.printer.warn(format_args!("{}; trying again", failure.what()));
                        // Nothing tells when a host can be reached again; the end of the run is told.
                        tokio::select! {
                            () = tokio::time::sleep(pause) => {}
                            ended = follow::until(kubernetes, kubernetes.runs(), RUNS, name, |run| ended_or_gone(run.as_ref())) => ended?,
                        }
                        pause = (pause * 2).min(RETRY.1);
                    }
                }
            }
        }
    }
}

/// Where a run is, as far as its log goes.
enum Stage<'a> {
    Waiting,
    Running { container: &'a str, manager: &'a str },
    Ended,
}

fn stage(run: &E2ERun) -> Stage<'_> {
    match &run.status {
        Some(status) if status.has_ended() => Stage::Ended,
        Some(E2ERunStatus { container_id: Some(container), manager: Some(manager), .. }) => {
            Stage::Running { container, manager }
        }
        _ => Stage::Waiting,
    }
}

fn ended_or_gone(run: Option<&E2ERun>) -> Option<()> {
    run.is_none_or(|run| matches!(stage(run), Stage::Ended)).then_some(())
}

async fn wait_while(
    context: &Context,
    kubernetes: &Kubernetes,
    name: &str,
    still: impl Fn(&Stage<'_>) -> bool,
) -> Result<(), Failure> {
    let mut task = context.printer.task(name);
    follow::until(kubernetes, kubernetes.runs(), RUNS, name, |run: Option<E2ERun>| match run {
        None => Some(Err(Failure::new(format!("run {name:?} was deleted")))),
        Some(run) if !still(&stage(&run)) => Some(Ok(())),
        Some(run) => {
            task.say(&message(&run));
            None
        }
    })
    .await?
}

/// Prints what was kept of an ended run, after the first `printed` bytes.
async fn print_kept(
    context: &Context,
    kubernetes: &Kubernetes,
    run: &E2ERun,
    printed: u64,
    part: &Part,
) -> Result<(), Failure> {
    let name = run.name_any();
    if part.timestamps || part.since.is_some() {
        if printed > 0 {
            // What came from the engine has times, and what is kept has none: they do not fit together.
            return Ok(());
        }
        return Err(Failure::new(format!("run {name:?} has ended, and the log that is kept has no times"))
            .help(format!("kubectl testkit logs {name} --tail 100")));
    }
    let Some(bytes) = kept::last_log(kubernetes, run, printed > 0).await? else {
        if printed > 0 {
            context.printer.warn(format_args!("the end of the log of {name} was not kept: {}", message(run)));
            return Ok(());
        }
        return Err(Failure::new(format!("run {name:?} left no log: {}", message(run))));
    };
    print_bytes(context, &bytes, printed, part)
}

fn print_bytes(context: &Context, bytes: &[u8], printed: u64, part: &Part) -> Result<(), Failure> {
    match part.tail.filter(|_| printed == 0) {
        Some(lines) => {
            let mut tail = Tail::of(lines);
            tail.push(bytes);
            context.printer.bytes(tail.lines())
        }
        None => context.printer.bytes(after(bytes, printed)),
    }
}

/// What comes after the first `printed` bytes of the log this was kept of.
fn after(kept: &[u8], printed: u64) -> &[u8] {
    let printed = usize::try_from(printed).unwrap_or(usize::MAX);
    // Beyond the mark, positions are not those of the whole log: rather twice than not at all.
    let mark = kept.windows(LEFT_OUT.len()).position(|window| window == LEFT_OUT).unwrap_or(usize::MAX);
    kept.get(printed.min(mark)..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::after;

    #[test]
    fn what_was_printed_is_not_printed_again() {
        assert_eq!(after(b"hello world", 0), b"hello world");
        assert_eq!(after(b"hello world", 6), b"world");
        assert_eq!(after(b"hello world", 11), b"");
        assert_eq!(after(b"hello world", 99), b"");
    }

    #[test]
    fn a_log_that_was_cut_goes_on_at_the_cut() {
        let kept = b"head\n\n[testkit: 9 bytes are left out]\n\ntail";
        assert_eq!(after(kept, 2), &kept[2..]);
        assert_eq!(after(kept, 1000), &kept[4..]);
    }
}
