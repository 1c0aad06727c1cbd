//! `ls`: clusters and runs at a glance.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ListMeta;
use kube::ResourceExt;
use serde::Serialize;

use super::{
    Context,
    failure::Failure,
    kubernetes::{CLUSTERS, RUNS},
    printer::{Format, Structured, Style},
    table::{Cell, Table, age},
};
use crate::api::{E2ERun, Phase, SwarmCluster, is_true, reason, type_};

/// List clusters and runs: how far they are, how old, when they expire, what is wrong
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  kubectl testkit ls                 everything in the current namespace
  kubectl testkit ls -A -o wide      everything everywhere, with endpoints and reasons
  kubectl testkit ls -l team=net -o name")]
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
                tables.push(cluster_table(&clusters, &shown, now).render(printer));
            }
            if !runs.is_empty() {
                tables.push(run_table(&runs, &shown, now).render(printer));
            }
            printer.bytes(tables.join("\n").as_bytes())
        }
    }
}

struct Columns {
    namespace: bool,
    wide: bool,
}

fn cluster_table(clusters: &[SwarmCluster], shown: &Columns, now: jiff::Timestamp) -> Table {
    let mut headings = vec!["CLUSTER", "READY", "MANAGERS", "WORKERS", "ENGINE", "EXPIRES", "AGE"];
    if shown.namespace {
        headings.insert(0, "NAMESPACE");
    }
    if shown.wide {
        headings.extend(["ENDPOINT", "REASON"]);
    }
    headings.push("MESSAGE");
    let mut table = Table::new(&headings);
    for cluster in clusters {
        let status = cluster.status.clone().unwrap_or_default();
        let ready = status.conditions.iter().find(|c| c.type_ == type_::READY);
        let is_ready = ready.is_some_and(|c| c.status == "True");
        let tone = if is_ready {
            Style::Good
        } else if is_true(&status.conditions, type_::STALLED) {
            Style::Bad
        } else {
            Style::Attention
        };
        let mut cells: Vec<Cell> = Vec::new();
        if shown.namespace {
            cells.push(cluster.namespace().unwrap_or_default().into());
        }
        let expires = status.expires_at.as_ref().map(|t| until(t.0, now));
        cells.extend([
            cluster.name_any().into(),
            Cell::styled(tone, ready.map_or("Unknown", |c| &c.status)),
            Cell::optional(status.managers),
            Cell::optional(status.workers),
            Cell::optional(status.engine_version),
            Cell::optional(expires),
            since(cluster, now),
        ]);
        if shown.wide {
            cells.extend([Cell::optional(status.endpoint), Cell::optional(ready.map(|c| &c.reason))]);
        }
        cells.push(Cell::styled(
            if tone == Style::Bad { Style::Bad } else { Style::Plain },
            cluster_words(cluster, ready.filter(|c| c.reason != reason::READY).map(|c| c.message.as_str())),
        ));
        table.row(cells);
    }
    table
}

/// What is wrong or awaited; nothing when all is well.
fn cluster_words(cluster: &SwarmCluster, ready: Option<&str>) -> String {
    match ready {
        Some(message) => message.to_owned(),
        None if cluster.status.is_none() => "the operator has not looked at it yet: is it running?".to_owned(),
        None => String::new(),
    }
}

fn run_table(runs: &[E2ERun], shown: &Columns, now: jiff::Timestamp) -> Table {
    let mut headings = vec!["RUN", "CLUSTER", "PHASE", "PASSED", "FAILED", "SKIPPED", "DURATION", "AGE"];
    if shown.namespace {
        headings.insert(0, "NAMESPACE");
    }
    if shown.wide {
        headings.extend(["IMAGE", "MANAGER"]);
    }
    headings.push("MESSAGE");
    let mut table = Table::new(&headings);
    for run in runs {
        let status = run.status.clone().unwrap_or_default();
        let tone = match status.phase {
            Some(Phase::Complete) => Style::Good,
            Some(Phase::Failed) => Style::Bad,
            Some(Phase::Running) => Style::Plain,
            Some(Phase::Pending) | None => Style::Attention,
        };
        let mut cells: Vec<Cell> = Vec::new();
        if shown.namespace {
            cells.push(run.namespace().unwrap_or_default().into());
        }
        cells.extend([
            run.name_any().into(),
            run.spec.cluster_ref.name.clone().into(),
            Cell::styled(tone, status.phase.map_or_else(|| "Unknown".to_owned(), |p| format!("{p:?}"))),
            Cell::optional(status.passed),
            Cell::optional(status.failed),
            Cell::optional(status.skipped),
            Cell::optional(status.duration),
            since(run, now),
        ]);
        if shown.wide {
            cells.extend([run.spec.image.clone().into(), Cell::optional(status.manager)]);
        }
        cells.push(match status.message {
            Some(message) if status.phase != Some(Phase::Complete) => message.into(),
            Some(_) => "".into(),
            None => "the operator has not looked at it yet: is it running?".into(),
        });
        table.row(cells);
    }
    table
}

fn since(object: &impl ResourceExt, now: jiff::Timestamp) -> Cell {
    Cell::optional(object.creation_timestamp().map(|t| age(now.duration_since(t.0).try_into().unwrap_or_default())))
}

fn until(at: jiff::Timestamp, now: jiff::Timestamp) -> String {
    std::time::Duration::try_from(at.duration_since(now)).map_or_else(|_| "now".to_owned(), age)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expiry_is_what_is_left() {
        let now: jiff::Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        assert_eq!(until("2026-01-01T03:58:00Z".parse().unwrap(), now), "3h58m");
        assert_eq!(until("2025-12-31T23:59:00Z".parse().unwrap(), now), "now");
    }
}
