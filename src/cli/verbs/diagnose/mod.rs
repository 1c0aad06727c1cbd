//! `diagnose`: all there is to know about a cluster that does not do what it should, in one bundle
//! that can be given to others.
//!
//! Here lives the order of things. What hosts are asked is in [`steps`], what must not be told in
//! [`redact`], what is wrong in [`findings`]. A host that cannot be reached is a finding, and
//! not a failure.

mod bundle;
mod findings;
mod objects;
mod redact;
pub(in crate::cli) mod steps;

use std::{collections::BTreeSet, path::PathBuf, time::Duration};

use futures::{StreamExt, stream};
use k8s_openapi::api::core::v1::{Event, Secret};
use kube::{Api, ResourceExt, api::ListParams};

use self::{bundle::Bundle, redact::Redactor, steps::Output};
use crate::cli::{
    Context,
    failure::Failure,
    hosts::Reach,
    kubernetes::{Kubernetes, Pick, RUNS},
    terminal::{Style, age, counted},
};
use crate::{
    api::{E2ERun, NodeRole, NodeStatus, SwarmCluster, type_},
    host::Host,
};

/// How many nodes at once.
const AT_ONCE: usize = 16;
/// How long a connection may take.
const PATIENCE: Duration = Duration::from_secs(15);
/// How many findings fit a screen.
const SCREEN: usize = 16;

/// Collect all there is to know about a cluster in a bundle without secrets, and say what is wrong
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  kubectl testkit diagnose nightly                     nightly-diagnosis-TIME.tar.gz in this directory
  kubectl testkit diagnose nightly -o ./look           a directory
  kubectl testkit diagnose nightly -o for-you.tar.gz

In it: the cluster, its runs and their events; the names of its Secret's keys; of each node what docker
says (info, ps; of managers node ls, service ls and ps), the engine's, the kernel's and cloud-init's logs;
and summary.txt. Join tokens, private keys, values of variables and what looks like a password or a cloud's
key are cut out. Nodes that cannot be reached are named, and the others are looked at. Nothing is changed.")]
pub struct Args {
    /// The cluster
    #[arg(add = crate::cli::shell::complete::clusters())]
    name: String,
    /// Where to put it: a directory that is not there yet, or a file that ends in .tar.gz
    #[arg(short, long, value_name = "DIR|FILE.tar.gz", value_hint = clap::ValueHint::AnyPath)]
    output: Option<PathBuf>,
}

/// Collects.
pub async fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    let kubernetes = context.kubernetes().await?;
    let cluster = kubernetes.cluster(&args.name).await?;
    let now = jiff::Timestamp::now();
    let root = format!("{}-diagnosis-{}", args.name, now.strftime("%Y%m%dT%H%M%SZ"));
    let target = args.output.clone().unwrap_or_else(|| format!("{root}.tar.gz").into());

    let mut task = context.printer.task(&args.name);
    task.say("asking the API server");
    let secret = match cluster.status.as_ref().and_then(|s| s.ssh_secret.clone()) {
        Some(name) => kubernetes.secret(&name).await,
        None => Ok(None),
    };
    let mut bundle = Bundle::begin(&target, &root, redactor(secret.as_ref().ok().and_then(Option::as_ref)))?;
    let mut found = of_kubernetes(&kubernetes, &cluster, &secret, &mut bundle, now).await?;

    let nodes = cluster.status.as_ref().map(|s| s.nodes.as_slice()).unwrap_or_default();
    let mut reached = 0;
    match Reach::of(context, &kubernetes, &cluster).await {
        // Without a way to the hosts, what the API server knows is still worth having.
        Err(failure) => found.push(format!("no host was looked at: {failure}")),
        Ok(reach) => {
            task.say(&format!("asking {}", counted(nodes.len(), "node")));
            let mut looked =
                stream::iter(nodes).map(async |node| (node, look(&reach, node).await)).buffer_unordered(AT_ONCE);
            let mut sorted = Vec::new();
            while let Some((node, looked)) = looked.next().await {
                match looked {
                    Ok(outputs) => {
                        reached += 1;
                        for output in &outputs {
                            bundle.add(&format!("nodes/{}/{}", node.name, output.file), &output.text)?;
                        }
                        sorted.push((&node.name, findings::of_node(node, &outputs)));
                    }
                    Err(failure) => {
                        let text = failure.to_string();
                        bundle.add(&format!("nodes/{}/unreachable.txt", node.name), &text)?;
                        // The operator may have said the same already.
                        let said = node
                            .message
                            .as_deref()
                            .is_some_and(|message| failure.what().contains(without_limit(message)));
                        sorted.push((&node.name, if said { Vec::new() } else { vec![failure.what().to_owned()] }));
                    }
                }
                task.say(&format!("{} of {} asked", sorted.len(), counted(nodes.len(), "node")));
            }
            drop(looked);
            sorted.sort();
            found.extend(sorted.into_iter().flat_map(|(_, found)| found));
        }
    }
    let mut known = BTreeSet::new();
    found.retain(|sentence| known.insert(sentence.clone()));
    let found: Vec<String> =
        found.iter().map(|sentence| bundle.redact(sentence).trim_end().replace('\n', " ")).collect();
    let head = heading(&cluster, reached, now);
    let mut summary = head.clone();
    for sentence in &found {
        summary.push_str(&format!("- {sentence}\n"));
    }
    bundle.add("summary.txt", &summary)?;
    let path = bundle.end()?;
    let took = task.elapsed();
    task.done(&format!("{reached} of {} looked at in {took}", counted(nodes.len(), "node")));

    let printer = &context.printer;
    printer.note(head.trim_end());
    for sentence in found.iter().take(SCREEN) {
        printer.note(format_args!("  {} {sentence}", printer.paint_err(Style::Bad, "-")));
    }
    if found.len() > SCREEN {
        printer.note(format_args!("  and {} more in summary.txt", found.len() - SCREEN));
    }
    if found.is_empty() {
        printer.note("  Nothing that is wrong was found.");
    }
    printer.line(path.display())
}

/// Cuts what the cluster's Secret has. Public keys and host keys are no secrets.
pub(in crate::cli) fn redactor(secret: Option<&Secret>) -> Redactor {
    use crate::api::secret_key::{KNOWN_HOSTS, PUBLIC_KEY};
    let data = secret.iter().flat_map(|s| s.data.iter().flatten());
    Redactor::new(
        data.filter(|(key, _)| ![KNOWN_HOSTS, PUBLIC_KEY].contains(&key.as_str())).map(|(_, v)| v.0.as_slice()),
    )
}

/// Puts what the API server knows into the bundle; gives what is wrong.
async fn of_kubernetes(
    kubernetes: &Kubernetes,
    cluster: &SwarmCluster,
    secret: &Result<Option<Secret>, Failure>,
    bundle: &mut Bundle,
    now: jiff::Timestamp,
) -> Result<Vec<String>, Failure> {
    bundle.add("versions.txt", &format!("kubectl-testkit {}\n{kubernetes}\n", env!("CARGO_PKG_VERSION")))?;
    bundle.add("swarmcluster.yaml", &objects::yaml(cluster))?;
    bundle.add(
        "secret.txt",
        &match secret {
            Ok(Some(secret)) => objects::secret(secret),
            Ok(None) => "The cluster has no Secret.\n".to_owned(),
            Err(failure) => failure.to_string(),
        },
    )?;
    let mut problems = Vec::new();
    let runs = match kubernetes.list::<E2ERun>(RUNS, false, &Pick::default()).await {
        Ok(mut runs) => {
            runs.retain(|run| run.cluster_name() == cluster.name_any());
            runs
        }
        Err(failure) => {
            problems.push(format!("its runs were not looked at: {failure}"));
            Vec::new()
        }
    };
    for run in &runs {
        bundle.add(&format!("runs/{}.yaml", run.name_any()), &objects::yaml(run))?;
    }
    let ours: BTreeSet<String> = runs.iter().filter_map(ResourceExt::uid).chain(cluster.uid()).collect();
    let api: Api<Event> = Api::namespaced(kubernetes.client.clone(), &kubernetes.namespace);
    match api.list(&ListParams::default()).await {
        Ok(list) => {
            let of_ours = |event: &Event| event.involved_object.uid.as_ref().is_some_and(|uid| ours.contains(uid));
            let events: Vec<Event> = list.items.into_iter().filter(of_ours).collect();
            bundle.add("events.txt", &objects::events(&events))?;
        }
        Err(e) => {
            let failure = kubernetes.explain(&e, &kubernetes.attempt("list", "events", None));
            problems.push(format!("its events were not looked at: {failure}"));
        }
    }
    let mut found = findings::of_objects(cluster, &runs, now);
    found.extend(problems);
    Ok(found)
}

/// Looks at one node.
async fn look(reach: &Reach, node: &NodeStatus) -> Result<Vec<Output>, Failure> {
    let host = connect(reach, node).await?;
    Ok(steps::take(&host, node.role == NodeRole::Manager).await)
}

/// A connection, or why there is none, within bounds.
pub(in crate::cli) async fn connect(reach: &Reach, node: &NodeStatus) -> Result<Host, Failure> {
    tokio::time::timeout(PATIENCE, reach.connect(node)).await.unwrap_or_else(|_| {
        Err(Failure::new(format!("no connection to {}: no answer within {} s", node.name, PATIENCE.as_secs())))
    })
}

fn heading(cluster: &SwarmCluster, reached: usize, now: jiff::Timestamp) -> String {
    let status = cluster.status.clone().unwrap_or_default();
    let ready = status.conditions.iter().find(|c| c.type_ == type_::READY);
    let ready =
        ready.map_or_else(|| "nothing is said about it".to_owned(), |c| format!("Ready={} ({})", c.status, c.reason));
    let old = cluster.creation_timestamp().map(|t| age(now.duration_since(t.0).try_into().unwrap_or_default()));
    format!(
        "Cluster {} in namespace {}, {} old: {ready}, managers {}, workers {}, {reached} of {} reached\n",
        cluster.name_any(),
        cluster.namespace().unwrap_or_default(),
        old.unwrap_or_default(),
        status.managers.as_deref().unwrap_or("-"),
        status.workers.as_deref().unwrap_or("-"),
        counted(status.nodes.len(), "node"),
    )
}

/// What took too long, without how long: a person's machine is more patient than the operator.
fn without_limit(message: &str) -> &str {
    message.split(" took longer than ").next().unwrap_or(message)
}
