//! `rm`: clusters and runs, with everything that belongs to them.

use kube::{Api, Resource, api::DeleteParams};
use serde::de::DeserializeOwned;

use super::{
    Context,
    failure::Failure,
    follow,
    kubernetes::{CLUSTERS, Kubernetes, RUNS},
};
use crate::api::{SwarmCluster, type_};

/// Remove clusters, and runs when they are named as run/NAME
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  kubectl testkit rm nightly                 the cluster nightly, its machines and all that is on them
  kubectl testkit rm run/first --wait        the run first, and the results it kept")]
pub struct Args {
    /// Names of clusters, or run/NAME
    #[arg(required = true, value_name = "NAME", add = super::complete::clusters_and_runs())]
    names: Vec<String>,
    /// Wait until they are gone
    #[arg(long)]
    wait: bool,
}

/// Removes them.
pub async fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    let kubernetes = context.kubernetes().await?;
    let mut doomed = Vec::new();
    for word in &args.names {
        let (kind, name) = word.split_once('/').unwrap_or(("cluster", word));
        let is_run = match kind {
            "cluster" | "swc" | "swarmcluster" | "swarmcluster.testkit.dev" => false,
            "run" | "e2e" | "e2erun" | "e2erun.testkit.dev" => true,
            _ => {
                return Err(Failure::new(format!("{word:?} names neither a cluster nor a run"))
                    .help("write NAME or cluster/NAME for a cluster, run/NAME for a run"));
            }
        };
        doomed.push((is_run, name));
    }
    for &(is_run, name) in &doomed {
        if is_run {
            delete(&kubernetes, &kubernetes.runs(), RUNS, "run", name).await?;
            context.printer.line(format_args!("e2erun.testkit.dev/{name} deleted"))?;
        } else {
            delete(&kubernetes, &kubernetes.clusters(), CLUSTERS, "cluster", name).await?;
            context.printer.line(format_args!("swarmcluster.testkit.dev/{name} deleted"))?;
        }
    }
    if args.wait {
        let waits = doomed.iter().map(|&(is_run, name)| gone(context, &kubernetes, is_run, name));
        futures::future::try_join_all(waits).await?;
    }
    Ok(())
}

/// Waits until a run or a cluster is gone, saying what is left to do.
pub(super) async fn gone(context: &Context, kubernetes: &Kubernetes, is_run: bool, name: &str) -> Result<(), Failure> {
    let mut task = context.printer.task(name);
    task.say("waiting until it is gone");
    if is_run {
        follow::until(kubernetes, kubernetes.runs(), RUNS, name, |run| run.is_none().then_some(())).await?;
    } else {
        follow::until(kubernetes, kubernetes.clusters(), CLUSTERS, name, |cluster: Option<SwarmCluster>| {
            let Some(cluster) = cluster else { return Some(()) };
            let status = cluster.status.unwrap_or_default();
            if let Some(ready) = status.conditions.iter().find(|c| c.type_ == type_::READY) {
                task.say(&ready.message);
            }
            None
        })
        .await?;
    }
    let took = task.elapsed();
    task.done(&format!("gone after {took}"));
    Ok(())
}

async fn delete<K>(kubernetes: &Kubernetes, api: &Api<K>, resource: &str, kind: &str, name: &str) -> Result<(), Failure>
where
    K: Resource + Clone + DeserializeOwned + std::fmt::Debug,
{
    match api.delete(name, &DeleteParams::default()).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => Err(kubernetes.not_found(api, kind, name).await),
        Err(e) => Err(kubernetes.explain(&e, &kubernetes.attempt("delete", resource, Some(name)))),
    }
}
