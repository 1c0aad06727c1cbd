//! `flakes`: the cases of a suite that were not always green over its last runs.

mod chosen;
mod gather;
mod history;
mod shown;
mod state;

use self::{
    gather::{Gathered, Wanted, gather},
    history::{Story, worst_first},
    shown::{Columns, list, table},
};
use crate::{
    api::repository,
    cli::{
        Context,
        failure::Failure,
        kubernetes::Pick,
        output::{self, ListFormat},
        terminal::counted,
    },
};

/// How many runs of a suite are read at most.
const MOST: u16 = 200;
/// How many warnings are written out; JSON and YAML have all.
const WARNINGS: usize = 8;

/// List cases that were not always green in the last runs of a suite
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  kubectl testkit flakes                          of all suites in the current namespace, the worst first
  kubectl testkit flakes --suite dockerswarm/e2e --last 50
  kubectl testkit flakes -A -l testkit.dev/schedule=nightly -o wide
  kubectl testkit flakes -o yaml                  with what spec.quarantine takes under `case`

A suite is what runs share in a namespace: their label testkit.dev/suite, or else their image without tag and digest.
Read are the results that are kept of the last runs of each suite; not those of runs that were cancelled, or lost with
a machine or a cluster. Results go with their run.

STATE    flaky: one and the same image (status.imageID) has passed and failed, or it failed and passed within one run
         broken: it fails in each run since the one under SINCE (in one run at least with an image that never passed,
         in two where it was green before, in three whatever was before)
         fixed: it passes since then, and failed with other images only
HISTORY  a mark for each run with results, the oldest first:
         . passed   F failed   ~ flaky within the run   s skipped   - not in the run
FAILED   counts failures in quarantine as well; with -o wide QUARANTINE has who sees to it and until when")]
pub struct Args {
    /// In all namespaces
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// Runs of this suite alone: a label's value, or an image, of which tag and digest do not count
    #[arg(long, visible_alias = "image", value_name = "SUITE", add = crate::cli::shell::complete::suites())]
    suite: Option<String>,
    #[command(flatten)]
    pick: Pick,
    /// How many runs of each suite are read, the last ones
    #[arg(long, value_name = "NUMBER", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=i64::from(MOST)))]
    last: u16,
    /// How to print them [default: a table]
    #[arg(short, long, value_name = "FORMAT", add = output::forms())]
    output: Option<ListFormat>,
    /// Without the headings of tables
    #[arg(long)]
    no_headers: bool,
}

/// Lists them.
pub async fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    let kubernetes = context.kubernetes().await?;
    let wanted = Wanted {
        all: args.all_namespaces,
        pick: &args.pick,
        suite: args.suite.as_deref().map(repository),
        last: usize::from(args.last),
    };
    let gathered = gather(&kubernetes, &wanted).await?;
    let mut stories: Vec<Story<'_>> = gathered.suites.values().flat_map(history::Suite::stories).collect();
    worst_first(&mut stories);
    let printer = &context.printer;
    warn(context, &gathered);
    if !matches!(args.output, Some(ListFormat::As(_))) {
        gathered.extents().iter().for_each(|extent| printer.note(extent));
    }
    if let Some(ListFormat::As(format)) = &args.output {
        return format.print(printer, &list(&stories, &gathered), args.no_headers);
    }
    if stories.is_empty() {
        note_that_none(context, args, &kubernetes.namespace, &gathered);
        return Ok(());
    }
    let shown = Columns {
        namespace: args.all_namespaces,
        suite: gathered.suites.len() > 1 || args.output.is_some(),
        wide: args.output.is_some(),
    };
    let table = table(&stories, &shown, jiff::Timestamp::now()).headless(args.no_headers);
    printer.bytes(table.render(printer).as_bytes())
}

/// What is not told, and where there is more.
fn warn(context: &Context, gathered: &Gathered) {
    let printer = &context.printer;
    let warnings = gathered.warnings();
    warnings.iter().take(WARNINGS).for_each(|warning| printer.warn(warning));
    if warnings.len() > WARNINGS {
        printer
            .warn(format_args!("and {} more of such: -o json has all (.metadata.warnings)", warnings.len() - WARNINGS));
    }
}

fn note_that_none(context: &Context, args: &Args, namespace: &str, gathered: &Gathered) {
    let place = match args.all_namespaces {
        true => "any namespace".to_owned(),
        false => format!("namespace {namespace:?}"),
    };
    let read: usize = gathered.suites.values().map(history::Suite::read).sum();
    let words = match (gathered.suites.is_empty(), read) {
        (true, _) => format!("No run in {place} that is meant has ended by itself."),
        (false, 0) => format!("No run in {place} that is meant has results."),
        (false, read) => format!("No case failed in the results of {}.", counted(read, "run")),
    };
    context.printer.note(words);
}
