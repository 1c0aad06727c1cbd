//! `purge`: what is older than somebody wants to keep it.

use std::io::{self, IsTerminal};

use futures::{StreamExt, stream};
use kube::{
    Api, Resource, ResourceExt,
    api::{DeleteParams, Preconditions},
};
use serde::de::DeserializeOwned;

use crate::api::{Duration, E2ERun, Phase, SwarmCluster};
use crate::cli::{
    Context,
    failure::{Failure, exit},
    kubernetes::{CLUSTERS, Kubernetes, Pick, RUNS},
    terminal::{Cell, Printer, Table, age},
    verbs::rm,
};

/// How many objects are deleted and waited for at once.
const AT_ONCE: usize = 32;

/// Remove clusters older than an age, and wait until they are gone; asks first
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  kubectl testkit purge --older-than 1h --dry-run      what would go, and what would stay
  kubectl testkit purge --older-than 1h -l team=net    asks before it deletes
  kubectl testkit purge --older-than 8h -A --yes       for a job of the night
  kubectl testkit purge --older-than 168h --runs       also runs that ended a week ago, with their results

A cluster's age counts from its creation, a run's from its end. Clusters on which a run is running stay:
remove one of these by name, with kubectl testkit rm. Runs cost nothing: without --runs they stay, with
their logs and results.")]
pub struct Args {
    /// How old, such as 90m, 1h or 1h30m
    #[arg(long, value_name = "DURATION")]
    older_than: Duration,
    /// Also runs that ended, with the results they kept
    #[arg(long)]
    runs: bool,
    /// Say what would be deleted, and delete nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    pick: Pick,
    /// In all namespaces
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

/// Purges.
pub async fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    let kubernetes = context.kubernetes().await?;
    let everything = Pick::default();
    // A run that holds a cluster need not have the cluster's labels.
    let (clusters, runs) = tokio::try_join!(
        kubernetes.list::<SwarmCluster>(CLUSTERS, args.all_namespaces, &args.pick),
        kubernetes.list::<E2ERun>(RUNS, args.all_namespaces, &everything),
    )?;
    let picked = match (args.runs, args.pick.is_some()) {
        (true, true) => kubernetes.list::<E2ERun>(RUNS, args.all_namespaces, &args.pick).await?,
        (true, false) => runs.clone(),
        (false, _) => Vec::new(),
    };
    let now = jiff::Timestamp::now();
    let found = sort(&clusters, &runs, &picked, args.older_than.get(), now);
    let printer = &context.printer;
    for stays in &found.stay {
        printer.note(format_args!("stays: {stays}"));
    }
    if found.go.is_empty() {
        printer.note(format_args!("Nothing is older than {}.", args.older_than));
        return Ok(());
    }
    let table = table(printer, &found.go, args.all_namespaces);
    if args.dry_run {
        return printer.bytes(table.as_bytes());
    }
    printer.note(table.trim_end());
    if !args.yes {
        confirm(printer, found.go.len()).await?;
    }
    let ended: Vec<Result<(), Failure>> = stream::iter(&found.go)
        .map(async |doomed| doomed.delete(context, &kubernetes.within(&doomed.namespace)).await)
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let failures = ended.into_iter().filter_map(Result::err).collect();
    Failure::of_several(failures, found.go.len(), "purged", |failure| printer.failure(failure))
}

/// What goes and what stays though it is old enough.
#[derive(Debug, Default)]
struct Found {
    go: Vec<Doomed>,
    stay: Vec<String>,
}

/// An object that goes.
#[derive(Debug, PartialEq, Eq)]
struct Doomed {
    is_run: bool,
    namespace: String,
    name: String,
    uid: Option<String>,
    why: String,
}

/// Decides. Pure.
fn sort(
    clusters: &[SwarmCluster],
    runs: &[E2ERun],
    picked: &[E2ERun],
    older_than: std::time::Duration,
    now: jiff::Timestamp,
) -> Found {
    let old = |since: Option<jiff::Timestamp>| {
        let age = std::time::Duration::try_from(now.duration_since(since?)).ok()?;
        (age >= older_than).then_some(age)
    };
    let mut found = Found::default();
    for cluster in clusters {
        let Some(is) = old(cluster.creation_timestamp().map(|t| t.0)) else { continue };
        let (namespace, name) = (cluster.namespace().unwrap_or_default(), cluster.name_any());
        let running = runs.iter().find(|run| {
            run.namespace().as_deref() == Some(namespace.as_str())
                && run.cluster_name() == name
                && run.status.as_ref().is_some_and(|s| s.phase == Some(Phase::Running))
        });
        if let Some(run) = running {
            found.stay.push(format!("cluster {name}, {} old: run {} is running on it", age(is), run.name_any()));
            continue;
        }
        let mut why = format!("created {} ago", age(is));
        if cluster.metadata.deletion_timestamp.is_some() {
            why.push_str(", is being deleted already");
        } else if cluster.spec.paused {
            why.push_str(", paused");
        }
        found.go.push(Doomed { is_run: false, namespace, name, uid: cluster.uid(), why });
    }
    for run in picked {
        let Some(status) = run.status.as_ref().filter(|status| status.has_ended()) else { continue };
        let Some(is) = old(status.finished_at.as_ref().map(|t| t.0).or(run.creation_timestamp().map(|t| t.0))) else {
            continue;
        };
        let why = format!("ended {} ago{}", age(is), if status.results.is_some() { ", with its results" } else { "" });
        let (namespace, name) = (run.namespace().unwrap_or_default(), run.name_any());
        found.go.push(Doomed { is_run: true, namespace, name, uid: run.uid(), why });
    }
    found
}

impl Doomed {
    fn kind(&self) -> &'static str {
        if self.is_run { "run" } else { "cluster" }
    }

    async fn delete(&self, context: &Context, kubernetes: &Kubernetes) -> Result<(), Failure> {
        let resource = if self.is_run {
            delete(kubernetes, &kubernetes.runs(), RUNS, self).await?;
            "e2erun"
        } else {
            delete(kubernetes, &kubernetes.clusters(), CLUSTERS, self).await?;
            "swarmcluster"
        };
        context.printer.line(format_args!("{resource}.testkit.dev/{} deleted", self.name))?;
        rm::gone(context, kubernetes, self.is_run, &self.name, self.uid.as_deref()).await
    }
}

async fn delete<K>(kubernetes: &Kubernetes, api: &Api<K>, resource: &str, doomed: &Doomed) -> Result<(), Failure>
where
    K: Resource + Clone + DeserializeOwned + std::fmt::Debug,
{
    // What has the name by now may be another, and young.
    let this = Preconditions { uid: doomed.uid.clone(), resource_version: None };
    match api.delete(&doomed.name, &DeleteParams::default().preconditions(this)).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
        Err(e) => Err(kubernetes.explain(&e, &kubernetes.attempt("delete", resource, Some(&doomed.name)))),
    }
}

fn table(printer: &Printer, go: &[Doomed], with_namespace: bool) -> String {
    let mut headings = vec!["KIND", "NAME", "WHY"];
    if with_namespace {
        headings.insert(0, "NAMESPACE");
    }
    let mut table = Table::new(&headings);
    for doomed in go {
        let mut cells: Vec<Cell> = vec![doomed.kind().into(), doomed.name.as_str().into(), doomed.why.as_str().into()];
        if with_namespace {
            cells.insert(0, doomed.namespace.as_str().into());
        }
        table.row(cells);
    }
    table.render(printer)
}

/// Asks; anything but yes is no.
async fn confirm(printer: &Printer, count: usize) -> Result<(), Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::new("nobody is there to be asked whether this shall be deleted")
            .help("--yes deletes without asking")
            .help("--dry-run deletes nothing")
            .exit(exit::USAGE));
    }
    printer.ask(format_args!("Delete {}? [y/N] ", if count == 1 { "it".to_owned() } else { format!("these {count}") }));
    // A read of a terminal cannot be called off; the program ends without waiting for it.
    let answer = tokio::task::spawn_blocking(|| {
        let mut line = String::new();
        io::stdin().read_line(&mut line).map(|_| line)
    });
    let answer = answer.await.map_err(io::Error::other).and_then(|line| line).unwrap_or_default();
    match answer.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(Failure::new("nothing was deleted")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn cluster(name: &str, created: &str) -> SwarmCluster {
        serde_json::from_value(json!({
            "apiVersion": "testkit.dev/v1alpha1", "kind": "SwarmCluster",
            "metadata": {"name": name, "namespace": "a", "uid": name, "creationTimestamp": created},
            "spec": {"provider": {"ec2": {"region": "us-east-1"}}},
        }))
        .unwrap()
    }

    fn run(name: &str, on: &str, phase: &str, finished: &str) -> E2ERun {
        let ended = matches!(phase, "Complete" | "Failed");
        let conditions = if ended {
            json!([{"type": phase, "status": "True", "reason": "x", "message": "", "lastTransitionTime": finished}])
        } else {
            json!([])
        };
        let mut run: E2ERun = serde_json::from_value(json!({
            "apiVersion": "testkit.dev/v1alpha1", "kind": "E2ERun",
            "metadata": {"name": name, "namespace": "a", "uid": name, "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"clusterRef": {"name": on}, "image": "e2e"},
            "status": {"phase": phase, "conditions": conditions},
        }))
        .unwrap();
        if ended {
            run.status.as_mut().unwrap().finished_at = serde_json::from_value(json!(finished)).unwrap();
        }
        run
    }

    #[test]
    fn what_is_old_goes_unless_somebody_works_with_it() {
        let now = "2026-01-01T10:00:00Z".parse().unwrap();
        let hour = std::time::Duration::from_secs(3600);
        let clusters = [
            cluster("old", "2026-01-01T08:00:00Z"),
            cluster("just", "2026-01-01T09:00:00Z"),
            cluster("young", "2026-01-01T09:00:01Z"),
            cluster("busy", "2026-01-01T00:00:00Z"),
        ];
        let runs = [
            run("running", "busy", "Running", ""),
            run("waiting", "old", "Pending", ""),
            run("ended", "old", "Failed", "2026-01-01T08:30:00Z"),
            run("fresh", "old", "Complete", "2026-01-01T09:30:00Z"),
        ];
        let names = |found: &Found| found.go.iter().map(|d| format!("{}/{}", d.kind(), d.name)).collect::<Vec<_>>();
        let found = sort(&clusters, &runs, &[], hour, now);
        assert_eq!(names(&found), ["cluster/old", "cluster/just"]);
        assert!(found.stay.len() == 1 && found.stay[0].contains("run running is running on it"), "{found:?}");
        let found = sort(&clusters, &runs, &runs, hour, now);
        assert_eq!(names(&found), ["cluster/old", "cluster/just", "run/ended"]);
        assert!(found.go[2].why.contains("ended 90m ago"), "{found:?}");
    }
}
