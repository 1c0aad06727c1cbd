//! `rm`: clusters and runs, with everything that belongs to them.

use kube::{Api, Resource, ResourceExt, api::DeleteParams};
use serde::de::DeserializeOwned;

use crate::api::{E2ERun, SwarmCluster, type_};
use crate::cli::{
    Context,
    failure::{Failure, exit},
    kubernetes::{CLUSTERS, Kubernetes, Named, Pick, RUNS, Waiting, follow, is_run, making::DryRun},
};

/// Remove clusters, and runs when they are named as run/NAME
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  kubectl testkit rm nightly                    the cluster nightly, its machines and all that is on them
  kubectl testkit rm run/first --wait           the run first, and the results it kept
  kubectl testkit rm a b --ignore-not-found     both, also where one is gone already
  kubectl testkit rm -l team=net --wait         all clusters with that label
  kubectl testkit rm --all run                  all runs of the namespace
  kubectl testkit rm --all run --dry-run        which these would be

One that cannot be removed does not keep the others.")]
pub struct Args {
    /// Names of clusters, or run/NAME; with --all or -l the word cluster or run [default: cluster]
    #[arg(required_unless_present_any = ["all", "selector", "field_selector"], value_name = "NAME", add = crate::cli::shell::complete::clusters_and_runs())]
    names: Vec<String>,
    /// All of the namespace
    #[arg(long, conflicts_with_all = ["selector", "field_selector"])]
    all: bool,
    #[command(flatten)]
    pick: Pick,
    /// What is not there is as it should be
    #[arg(long)]
    ignore_not_found: bool,
    /// Say what would be removed, and remove nothing
    #[arg(long, value_enum, value_name = "WHERE", num_args = 0..=1, default_missing_value = "client", require_equals = true)]
    dry_run: Option<DryRun>,
    #[command(flatten)]
    waiting: Waiting,
}

/// Removes them.
pub async fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    let kubernetes = context.kubernetes().await?;
    let doomed = if args.all || args.pick.is_some() {
        picked(&kubernetes, &args.names, &args.pick).await?
    } else {
        args.names.iter().map(|word| word.parse::<Named>()).collect::<Result<_, _>>()?
    };
    if doomed.is_empty() {
        context.printer.note(format_args!("There is nothing to remove in namespace {:?}.", kubernetes.namespace));
    }
    let mut removed = Vec::new();
    let mut failures = Vec::new();
    for one in &doomed {
        match delete(&kubernetes, one, args).await {
            Ok(true) => {
                let kind = if one.is_run { "e2erun" } else { "swarmcluster" };
                let dry = match args.dry_run {
                    None => "",
                    Some(DryRun::Client) => " (dry run)",
                    Some(DryRun::Server) => " (server dry run)",
                };
                context.printer.line(format_args!("{kind}.testkit.dev/{} deleted{dry}", one.name))?;
                removed.push(one);
            }
            Ok(false) => {}
            Err(failure) => failures.push(failure),
        }
    }
    if args.waiting.wait {
        let waits = removed.iter().map(|one| gone_within(context, &kubernetes, one, args.waiting));
        failures.extend(futures::future::join_all(waits).await.into_iter().filter_map(Result::err));
    }
    all_of(context, doomed.len(), failures)
}

/// One failure is the verb's; of several each is said, and the count is the verb's.
fn all_of(context: &Context, of: usize, mut failures: Vec<Failure>) -> Result<(), Failure> {
    match (failures.len(), failures.pop()) {
        (_, None) => Ok(()),
        (1, Some(failure)) => Err(failure),
        (count, Some(last)) => {
            failures.push(last);
            failures.iter().for_each(|failure| context.printer.failure(failure));
            let codes: Vec<u8> = failures.iter().map(Failure::code).collect();
            let code = codes.first().copied().filter(|first| codes.iter().all(|c| c == first));
            Err(Failure::new(format!("{count} of {of} are not removed")).exit(code.unwrap_or(exit::FAILED)))
        }
    }
}

/// All of a kind that the selector picks.
async fn picked(kubernetes: &Kubernetes, kinds: &[String], pick: &Pick) -> Result<Vec<Named>, Failure> {
    let default = ["cluster".to_owned()];
    let mut found = Vec::new();
    for kind in if kinds.is_empty() { &default } else { kinds } {
        let Some(is_run) = is_run(kind) else {
            return Err(Failure::new(format!("{kind:?} is no kind of object: names do not go with --all or -l"))
                .help("write cluster or run")
                .exit(exit::USAGE));
        };
        let names: Vec<String> = if is_run {
            kubernetes.list::<E2ERun>(RUNS, false, pick).await?.iter().map(ResourceExt::name_any).collect()
        } else {
            kubernetes.list::<SwarmCluster>(CLUSTERS, false, pick).await?.iter().map(ResourceExt::name_any).collect()
        };
        found.extend(names.into_iter().map(|name| Named { is_run, name }));
    }
    Ok(found)
}

async fn gone_within(context: &Context, kubernetes: &Kubernetes, one: &Named, waiting: Waiting) -> Result<(), Failure> {
    let late = |limit| {
        Failure::new(format!("{} is not gone after {limit}", one.name))
            .help(format!("see what it waits for: kubectl testkit describe {}", one.name))
    };
    waiting.within(gone(context, kubernetes, one.is_run, &one.name), late).await
}

/// Waits until a run or a cluster is gone, saying what is left to do.
pub(in crate::cli) async fn gone(
    context: &Context,
    kubernetes: &Kubernetes,
    is_run: bool,
    name: &str,
) -> Result<(), Failure> {
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

/// Whether it was there to be deleted.
async fn delete(kubernetes: &Kubernetes, one: &Named, args: &Args) -> Result<bool, Failure> {
    if one.is_run {
        delete_at(kubernetes, &kubernetes.runs(), RUNS, one, args).await
    } else {
        delete_at(kubernetes, &kubernetes.clusters(), CLUSTERS, one, args).await
    }
}

async fn delete_at<K>(
    kubernetes: &Kubernetes,
    api: &Api<K>,
    resource: &str,
    one: &Named,
    args: &Args,
) -> Result<bool, Failure>
where
    K: Resource + Clone + DeserializeOwned + std::fmt::Debug,
{
    let name = one.name.as_str();
    let asked = match args.dry_run {
        Some(DryRun::Client) => api.get_metadata(name).await.map(|_| ()),
        dry_run => {
            let params = DeleteParams { dry_run: dry_run.is_some(), ..DeleteParams::default() };
            api.delete(name, &params).await.map(|_| ())
        }
    };
    match asked {
        Ok(()) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 404 && args.ignore_not_found => Ok(false),
        Err(kube::Error::Api(status)) if status.code == 404 => {
            Err(kubernetes.not_found(api, if one.is_run { "run" } else { "cluster" }, name).await)
        }
        Err(e) => {
            let verb = if args.dry_run == Some(DryRun::Client) { "get" } else { "delete" };
            Err(kubernetes.explain(&e, &kubernetes.attempt(verb, resource, Some(name))))
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    type Line = crate::cli::Line<Args>;

    #[test]
    fn names_are_needed_unless_labels_or_all_say_which() {
        for (words, right) in [
            (&["rm"][..], false),
            (&["rm", "a", "b", "--ignore-not-found"], true),
            (&["rm", "--all"], true),
            (&["rm", "-l", "a=b", "run"], true),
            (&["rm", "--all", "-l", "a=b"], false),
            (&["rm", "a", "--timeout", "5m"], false),
            (&["rm", "a", "--wait", "--timeout", "5m"], true),
            (&["rm", "--field-selector", "metadata.name=a"], true),
            (&["rm", "a", "--wait", "--dry-run"], false),
        ] {
            assert_eq!(Line::try_parse_from(words).is_ok(), right, "{words:?}");
        }
    }
}
