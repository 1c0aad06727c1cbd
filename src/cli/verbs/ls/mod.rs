//! `ls`: clusters and runs at a glance.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ListMeta;
use kube::ResourceExt;
use serde::Serialize;

mod seen;
mod tables;

use self::tables::{Columns, cluster_table, run_table};
use crate::{
    api::{E2ERun, SwarmCluster},
    cli::{
        Context,
        failure::Failure,
        kubernetes::{CLUSTERS, Kubernetes, RUNS, follow},
        terminal::{Format, Structured},
    },
};

/// List clusters and runs: how far they are, how old, when they expire, what is wrong
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  kubectl testkit ls                 everything in the current namespace
  kubectl testkit ls -A -o wide      everything everywhere, with endpoints and reasons
  kubectl testkit ls -l team=net -o name
  kubectl testkit ls -w              and every change from then on, until Ctrl-C")]
pub struct Args {
    /// In all namespaces
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// Only objects with these labels, such as team=net,env!=prod
    #[arg(short = 'l', long, value_name = "SELECTOR")]
    selector: Option<String>,
    /// How to print them [default: a table]
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    output: Option<Format>,
    /// Without the headings of tables
    #[arg(long)]
    no_headers: bool,
    /// After that go on and print what changes
    #[arg(short, long)]
    watch: bool,
}

/// Lists.
pub async fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    let kubernetes = context.kubernetes().await?;
    let selector = args.selector.as_deref();
    let (mut clusters, mut runs) = tokio::try_join!(
        kubernetes.list::<SwarmCluster>(CLUSTERS, args.all_namespaces, selector),
        kubernetes.list::<E2ERun>(RUNS, args.all_namespaces, selector),
    )?;
    clusters.sort_by_key(|c| (c.namespace(), c.name_any()));
    // The latest run is what somebody looks for: last, next to the prompt.
    runs.sort_by_key(|r| (r.creation_timestamp().map(|t| t.0), r.name_any()));
    for cluster in &mut clusters {
        cluster.managed_fields_mut().clear();
    }
    for run in &mut runs {
        run.managed_fields_mut().clear();
    }
    let seen: Vec<_> = clusters.iter().map(seen::of).chain(runs.iter().map(seen::of)).collect();
    print(context, args, &kubernetes, clusters, runs)?;
    if args.watch { watch(context, args, &kubernetes, seen).await } else { Ok(()) }
}

/// Prints every change, a row or an object each, until it is dropped.
async fn watch(context: &Context, args: &Args, kubernetes: &Kubernetes, seen: Vec<seen::Seen>) -> Result<(), Failure> {
    let seen = seen::Versions::new(seen);
    let selector = args.selector.as_deref();
    let one = |change: Change| {
        let shown = Columns { namespace: args.all_namespaces, wide: args.output.is_some() };
        let now = jiff::Timestamp::now();
        let printer = &context.printer;
        match (args.output, change) {
            (Some(Format::Json), change) => printer.object(Structured::Json, &change.item()),
            (Some(Format::Yaml), change) => {
                printer.line("---")?;
                printer.object(Structured::Yaml, &change.item())
            }
            (Some(Format::Name), change) => printer.line(change.name()),
            (_, Change::Cluster(cluster)) => {
                let table = cluster_table(std::slice::from_ref(&*cluster), &shown, now);
                printer.bytes(table.headless(true).render(printer).as_bytes())
            }
            (_, Change::Run(run)) => {
                let table = run_table(std::slice::from_ref(&*run), &shown, now);
                printer.bytes(table.headless(true).render(printer).as_bytes())
            }
        }
    };
    let clusters = follow::changes(kubernetes, CLUSTERS, args.all_namespaces, selector, |cluster: SwarmCluster| {
        if seen.is_new(&cluster) { one(Change::Cluster(Box::new(cluster))) } else { Ok(()) }
    });
    let runs = follow::changes(kubernetes, RUNS, args.all_namespaces, selector, |run: E2ERun| {
        if seen.is_new(&run) { one(Change::Run(Box::new(run))) } else { Ok(()) }
    });
    tokio::try_join!(clusters, runs).map(|_| ())
}

fn print(
    context: &Context,
    args: &Args,
    kubernetes: &Kubernetes,
    clusters: Vec<SwarmCluster>,
    runs: Vec<E2ERun>,
) -> Result<(), Failure> {
    let printer = &context.printer;
    match args.output {
        Some(Format::Json) => printer.object(Structured::Json, &list(clusters, runs)),
        Some(Format::Yaml) => printer.object(Structured::Yaml, &list(clusters, runs)),
        Some(Format::Name) => {
            for cluster in &clusters {
                printer.line(format_args!("swarmcluster.testkit.dev/{}", cluster.name_any()))?;
            }
            runs.iter().try_for_each(|run| printer.line(format_args!("e2erun.testkit.dev/{}", run.name_any())))
        }
        wide => {
            if clusters.is_empty() && runs.is_empty() {
                let place = if args.all_namespaces {
                    "any namespace".to_owned()
                } else {
                    format!("namespace {:?}", kubernetes.namespace)
                };
                printer.note(format_args!("There are no clusters and no runs in {place}."));
                printer.note("A cluster is made with: kubectl testkit create");
                return Ok(());
            }
            let shown = Columns { namespace: args.all_namespaces, wide: wide.is_some() };
            let now = jiff::Timestamp::now();
            let mut tables = Vec::new();
            if !clusters.is_empty() {
                tables.push(cluster_table(&clusters, &shown, now).headless(args.no_headers).render(printer));
            }
            if !runs.is_empty() {
                tables.push(run_table(&runs, &shown, now).headless(args.no_headers).render(printer));
            }
            printer.bytes(tables.join("\n").as_bytes())
        }
    }
}

/// What `kubectl get -o json` of two kinds gives.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct List {
    api_version: &'static str,
    kind: &'static str,
    metadata: ListMeta,
    items: Vec<Item>,
}

/// A cluster or a run as it is now.
enum Change {
    Cluster(Box<SwarmCluster>),
    Run(Box<E2ERun>),
}

impl Change {
    fn name(&self) -> String {
        match self {
            Self::Cluster(cluster) => format!("swarmcluster.testkit.dev/{}", cluster.name_any()),
            Self::Run(run) => format!("e2erun.testkit.dev/{}", run.name_any()),
        }
    }

    fn item(self) -> Item {
        match self {
            Self::Cluster(mut cluster) => {
                cluster.managed_fields_mut().clear();
                Item::Cluster(cluster)
            }
            Self::Run(mut run) => {
                run.managed_fields_mut().clear();
                Item::Run(run)
            }
        }
    }
}

#[derive(Serialize)]
#[serde(untagged)]
enum Item {
    Cluster(Box<SwarmCluster>),
    Run(Box<E2ERun>),
}

fn list(clusters: Vec<SwarmCluster>, runs: Vec<E2ERun>) -> List {
    let items = clusters
        .into_iter()
        .map(|c| Item::Cluster(Box::new(c)))
        .chain(runs.into_iter().map(|r| Item::Run(Box::new(r))))
        .collect();
    List { api_version: "v1", kind: "List", metadata: ListMeta::default(), items }
}
