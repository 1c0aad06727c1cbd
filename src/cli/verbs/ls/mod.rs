//! `ls`: clusters and runs at a glance.

mod tables;
mod wanted;
mod watch;

use kube::ResourceExt;
use serde_json::Value;

use self::{
    tables::{Columns, cluster_table, run_table},
    wanted::Wanted,
};
use crate::{
    api::{E2ERun, SwarmCluster},
    cli::{
        Context,
        failure::Failure,
        kubernetes::{CLUSTERS, Kubernetes, Pick, RUNS, seen},
        output::{self, ListFormat, Order},
    },
};

/// List clusters and runs: how far they are, how old, when they expire, what is wrong
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  kubectl testkit ls                 everything in the current namespace
  kubectl testkit ls -A -o wide      everything everywhere, with endpoints and reasons
  kubectl testkit ls runs -l team=net -o name
  kubectl testkit ls nightly run/first                    these two
  kubectl testkit ls clusters --sort-by .metadata.creationTimestamp
  kubectl testkit ls nightly -o jsonpath='{.status.endpoint}'
  kubectl testkit ls runs -o custom-columns=NAME:.metadata.name,FAILED:.status.failed
  kubectl testkit ls -w              and every change from then on, until Ctrl-C

Forms (-o) are kubectl's: wide, name, json, yaml, jsonpath=TEMPLATE, custom-columns=HEADING:PATH,…
One NAME is printed as that object, and all else as a List with items.")]
pub struct Args {
    /// Names of clusters, run/NAME, or the words clusters or runs [default: both kinds]
    #[arg(value_name = "NAME", add = crate::cli::shell::complete::clusters_and_runs())]
    names: Vec<String>,
    /// In all namespaces
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    #[command(flatten)]
    pick: Pick,
    /// How to print them [default: a table]
    #[arg(short, long, value_name = "FORMAT", add = output::forms())]
    output: Option<ListFormat>,
    /// Without the headings of tables
    #[arg(long)]
    no_headers: bool,
    /// In the order of what is at this path, such as .metadata.name
    #[arg(long, value_name = "PATH")]
    sort_by: Option<Order>,
    /// A NAME that is not there is no error
    #[arg(long)]
    ignore_not_found: bool,
    /// After that go on and print what changes
    #[arg(short, long)]
    watch: bool,
}

/// What is listed.
#[derive(Default)]
struct Found {
    clusters: Vec<SwarmCluster>,
    runs: Vec<E2ERun>,
}

/// Lists.
pub async fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    let wanted = Wanted::of(&args.names, args.all_namespaces || args.pick.is_some())?;
    let kubernetes = context.kubernetes().await?;
    let mut found = find(args, &kubernetes, &wanted).await?;
    if let Some(order) = &args.sort_by {
        found.clusters = order.sort(found.clusters);
        found.runs = order.sort(found.runs);
    }
    let seen: Vec<_> = found.clusters.iter().map(seen::of).chain(found.runs.iter().map(seen::of)).collect();
    print(context, args, &kubernetes, &wanted, &found)?;
    if args.watch { watch::changes(context, args, &kubernetes, &wanted, seen).await } else { Ok(()) }
}

async fn find(args: &Args, kubernetes: &Kubernetes, wanted: &Wanted) -> Result<Found, Failure> {
    if !wanted.names.is_empty() {
        return named(args, kubernetes, wanted).await;
    }
    let clusters = async {
        match wanted.clusters {
            true => kubernetes.list::<SwarmCluster>(CLUSTERS, args.all_namespaces, &args.pick).await,
            false => Ok(Vec::new()),
        }
    };
    let runs = async {
        match wanted.runs {
            true => kubernetes.list::<E2ERun>(RUNS, args.all_namespaces, &args.pick).await,
            false => Ok(Vec::new()),
        }
    };
    let (mut clusters, mut runs) = tokio::try_join!(clusters, runs)?;
    clusters.sort_by_key(|c| (c.namespace(), c.name_any()));
    // The latest run is what somebody looks for: last, next to the prompt.
    runs.sort_by_key(|r| (r.creation_timestamp().map(|t| t.0), r.name_any()));
    Ok(Found { clusters, runs })
}

/// Those of these names, in the order they are named.
async fn named(args: &Args, kubernetes: &Kubernetes, wanted: &Wanted) -> Result<Found, Failure> {
    let mut found = Found::default();
    for one in &wanted.names {
        if !args.ignore_not_found {
            match one.is_run {
                true => found.runs.push(kubernetes.run(&one.name).await?),
                false => found.clusters.push(kubernetes.cluster(&one.name).await?),
            }
        } else if one.is_run {
            found.runs.extend(kubernetes.run_if_any(&one.name).await?);
        } else {
            found.clusters.extend(kubernetes.cluster_if_any(&one.name).await?);
        }
    }
    Ok(found)
}

fn print(
    context: &Context,
    args: &Args,
    kubernetes: &Kubernetes,
    wanted: &Wanted,
    found: &Found,
) -> Result<(), Failure> {
    let printer = &context.printer;
    let Found { clusters, runs } = found;
    if let Some(ListFormat::As(format)) = &args.output {
        let clusters = clusters.iter().map(output::value);
        let mut items = clusters.chain(runs.iter().map(output::value)).collect::<Result<Vec<Value>, _>>()?;
        // As kubectl has it: who names one is given that one.
        return match wanted.names.len() {
            1 => items.pop().map_or(Ok(()), |one| format.print(printer, &one, args.no_headers)),
            _ => format.print(printer, &output::list(&items), args.no_headers),
        };
    }
    if clusters.is_empty() && runs.is_empty() {
        if wanted.names.is_empty() {
            let place = match args.all_namespaces {
                true => "any namespace".to_owned(),
                false => format!("namespace {:?}", kubernetes.namespace),
            };
            printer.note(format_args!("There are no {} in {place}.", wanted.words()));
            printer.note("A cluster is made with: kubectl testkit create");
        }
        return Ok(());
    }
    let shown = Columns { namespace: args.all_namespaces, wide: args.output.is_some() };
    let now = jiff::Timestamp::now();
    let mut tables = Vec::new();
    if !clusters.is_empty() {
        tables.push(cluster_table(clusters, &shown, now).headless(args.no_headers).render(printer));
    }
    if !runs.is_empty() {
        tables.push(run_table(runs, &shown, now).headless(args.no_headers).render(printer));
    }
    printer.bytes(tables.join("\n").as_bytes())
}
