//! `rm`: clusters and runs, with everything that belongs to them.

use kube::{
    Api, Resource, ResourceExt,
    api::{DeleteParams, Preconditions},
};
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
        args.names.iter().map(|word| Ok(Doomed { named: word.parse()?, uid: None })).collect::<Result<_, Failure>>()?
    };
    if doomed.is_empty() {
        context.printer.note(format_args!("There is nothing to remove in namespace {:?}.", kubernetes.namespace));
    }
    let mut removed = Vec::new();
    let mut failures = Vec::new();
    for one in &doomed {
        match delete(&kubernetes, one, args).await {
            Ok(Deleted::Now(uid)) => {
                let kind = if one.named.is_run { "e2erun" } else { "swarmcluster" };
                let dry = match args.dry_run {
                    None => "",
                    Some(DryRun::Client) => " (dry run)",
                    Some(DryRun::Server) => " (server dry run)",
                };
                context.printer.line(format_args!("{kind}.testkit.dev/{} deleted{dry}", one.named.name))?;
                removed.push((&one.named, uid));
            }
            Ok(Deleted::Gone) => {}
            Err(failure) => failures.push(failure),
        }
    }
    if args.waiting.wait {
        let waits =
            removed.iter().map(|(one, uid)| gone_within(context, &kubernetes, one, uid.as_deref(), args.waiting));
        failures.extend(futures::future::join_all(waits).await.into_iter().filter_map(Result::err));
    }
    Failure::of_several(failures, doomed.len(), "removed", |failure| context.printer.failure(failure))
}

/// What is to be removed.
struct Doomed {
    named: Named,
    /// That one and no other, where it was looked up.
    uid: Option<String>,
}

/// What became of one.
#[derive(Debug, PartialEq, Eq)]
enum Deleted {
    /// It is deleted: its UID, where that is told.
    Now(Option<String>),
    /// It was gone already, and that is as it should be.
    Gone,
}

/// All of a kind that the selector picks.
async fn picked(kubernetes: &Kubernetes, kinds: &[String], pick: &Pick) -> Result<Vec<Doomed>, Failure> {
    let default = ["cluster".to_owned()];
    let mut found = Vec::new();
    for kind in if kinds.is_empty() { &default } else { kinds } {
        let Some(is_run) = is_run(kind) else {
            return Err(Failure::new(format!("{kind:?} is no kind of object: names do not go with --all or -l"))
                .help("write cluster or run")
                .exit(exit::USAGE));
        };
        let doomed = |name, uid| Doomed { named: Named { is_run, name }, uid };
        if is_run {
            let runs = kubernetes.list::<E2ERun>(RUNS, false, pick).await?;
            found.extend(runs.iter().map(|run| doomed(run.name_any(), run.uid())));
        } else {
            let clusters = kubernetes.list::<SwarmCluster>(CLUSTERS, false, pick).await?;
            found.extend(clusters.iter().map(|cluster| doomed(cluster.name_any(), cluster.uid())));
        }
    }
    Ok(found)
}

async fn gone_within(
    context: &Context,
    kubernetes: &Kubernetes,
    one: &Named,
    uid: Option<&str>,
    waiting: Waiting,
) -> Result<(), Failure> {
    let late = |limit| {
        Failure::new(format!("{} is not gone after {limit}", one.name))
            .help(format!("see what it waits for: kubectl testkit describe {}", one.name))
    };
    waiting.within(gone(context, kubernetes, one.is_run, &one.name, uid), late).await
}

/// Waits until a run or a cluster is gone, saying what is left to do. Another one of that name is not waited for.
pub(in crate::cli) async fn gone(
    context: &Context,
    kubernetes: &Kubernetes,
    is_run: bool,
    name: &str,
    uid: Option<&str>,
) -> Result<(), Failure> {
    let mut task = context.printer.task(name);
    task.say("waiting until it is gone");
    if is_run {
        follow::until(kubernetes, kubernetes.runs(), RUNS, name, |run| this(run, uid).is_none().then_some(())).await?;
    } else {
        follow::until(kubernetes, kubernetes.clusters(), CLUSTERS, name, |cluster: Option<SwarmCluster>| {
            let Some(cluster) = this(cluster, uid) else { return Some(()) };
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

/// An object as long as it is the one that is meant.
fn this<K: Resource>(object: Option<K>, uid: Option<&str>) -> Option<K> {
    object.filter(|object| uid.is_none() || object.meta().uid.as_deref() == uid)
}

async fn delete(kubernetes: &Kubernetes, one: &Doomed, args: &Args) -> Result<Deleted, Failure> {
    if one.named.is_run {
        delete_at(kubernetes, &kubernetes.runs(), RUNS, one, args).await
    } else {
        delete_at(kubernetes, &kubernetes.clusters(), CLUSTERS, one, args).await
    }
}

async fn delete_at<K>(
    kubernetes: &Kubernetes,
    api: &Api<K>,
    resource: &str,
    one: &Doomed,
    args: &Args,
) -> Result<Deleted, Failure>
where
    K: Resource + Clone + DeserializeOwned + std::fmt::Debug,
{
    let name = one.named.name.as_str();
    let asked = match args.dry_run {
        Some(DryRun::Client) => api.get_metadata(name).await.map(|found| found.metadata.uid),
        dry_run => {
            let preconditions = one.uid.clone().map(|uid| Preconditions { uid: Some(uid), ..Preconditions::default() });
            let params = DeleteParams { dry_run: dry_run.is_some(), preconditions, ..DeleteParams::default() };
            let answer = api.delete(name, &params).await;
            answer.map(|answer| answer.either(|object| object.meta().uid.clone(), |status| Some(status.details?.uid)))
        }
    };
    match asked {
        Ok(uid) => Ok(Deleted::Now(uid.filter(|uid| !uid.is_empty()))),
        Err(kube::Error::Api(status)) if is_gone(status.code, one, args.ignore_not_found) => Ok(Deleted::Gone),
        Err(kube::Error::Api(status)) if status.code == 404 => {
            Err(kubernetes.not_found(api, if one.named.is_run { "run" } else { "cluster" }, name).await)
        }
        Err(e) => {
            let verb = if args.dry_run == Some(DryRun::Client) { "get" } else { "delete" };
            Err(kubernetes.explain(&e, &kubernetes.attempt(verb, resource, Some(name))))
        }
    }
}

/// Whether an answer says that nothing is left to do. One that was looked up, and is gone by now or another one (409), is
/// nobody's error: somebody was quicker.
fn is_gone(code: u16, one: &Doomed, ignore_not_found: bool) -> bool {
    match code {
        404 => ignore_not_found || one.uid.is_some(),
        409 => one.uid.is_some(),
        _ => false,
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

    #[test]
    fn what_was_looked_up_and_is_gone_meanwhile_is_no_error() {
        let one = |uid: Option<&str>| Doomed {
            named: Named { is_run: false, name: "a".to_owned() },
            uid: uid.map(str::to_owned),
        };
        for (code, uid, ignore, gone) in [
            (404, None, false, false),
            (404, None, true, true),
            (404, Some("u"), false, true),
            (409, Some("u"), false, true),
            (409, None, false, false),
            (403, Some("u"), true, false),
        ] {
            assert_eq!(is_gone(code, &one(uid), ignore), gone, "{code} {uid:?}");
        }
    }

    #[test]
    fn another_object_of_the_name_is_not_waited_for() {
        let cluster = |uid: &str| -> SwarmCluster {
            serde_json::from_value(serde_json::json!({
                "apiVersion": "testkit.dev/v1alpha1", "kind": "SwarmCluster",
                "metadata": {"name": "a", "uid": uid},
                "spec": {"provider": {"ec2": {"region": "us-east-1"}}},
            }))
            .unwrap()
        };
        for (found, uid, waits) in [
            (Some("u"), Some("u"), true),
            (Some("another"), Some("u"), false),
            (Some("u"), None, true),
            (None, Some("u"), false),
        ] {
            assert_eq!(this(found.map(cluster), uid).is_some(), waits, "{found:?} {uid:?}");
        }
    }
}
