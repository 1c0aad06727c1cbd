//! What changes, a row or an object each.

use kube::{Resource, ResourceExt};
use serde::Serialize;

use super::{
    Args,
    tables::{Columns, cluster_table, run_table},
    wanted::Wanted,
};
use crate::{
    api::{E2ERun, SwarmCluster},
    cli::{
        Context,
        failure::Failure,
        kubernetes::{
            CLUSTERS, Kubernetes, RUNS, follow,
            seen::{Seen, Versions},
        },
        output::{self, ListFormat},
        terminal::Table,
    },
};

/// Prints every change until it is dropped.
pub async fn changes(
    context: &Context,
    args: &Args,
    kubernetes: &Kubernetes,
    wanted: &Wanted,
    seen: Vec<Seen>,
) -> Result<(), Failure> {
    let seen = Versions::new(seen);
    let shown = Columns { namespace: args.all_namespaces, wide: args.output.is_some() };
    let clusters = async {
        if !wanted.clusters {
            return Ok(());
        }
        let show = |cluster: SwarmCluster| {
            let new = wanted.has(false, &cluster.name_any()) && seen.is_new(&cluster);
            print(context, args, new.then_some(&cluster), |cluster, now| cluster_table(cluster, &shown, now))
        };
        follow::changes(kubernetes, CLUSTERS, args.all_namespaces, &args.pick, show).await
    };
    let runs = async {
        if !wanted.runs {
            return Ok(());
        }
        let show = |run: E2ERun| {
            let new = wanted.has(true, &run.name_any()) && seen.is_new(&run);
            print(context, args, new.then_some(&run), |run, now| run_table(run, &shown, now))
        };
        follow::changes(kubernetes, RUNS, args.all_namespaces, &args.pick, show).await
    };
    tokio::try_join!(clusters, runs).map(|_| ())
}

/// Prints an object, if it is one to be shown.
fn print<K: Resource + Serialize + Clone>(
    context: &Context,
    args: &Args,
    object: Option<&K>,
    rows: impl FnOnce(&[K], jiff::Timestamp) -> Table,
) -> Result<(), Failure> {
    let Some(object) = object else { return Ok(()) };
    match &args.output {
        Some(ListFormat::As(format)) => format.print_next(&context.printer, &output::value(object)?),
        _ => context.printer.bytes(
            rows(std::slice::from_ref(object), jiff::Timestamp::now())
                .headless(true)
                .render(&context.printer)
                .as_bytes(),
        ),
    }
}
