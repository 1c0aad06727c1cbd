//! What the shell offers while a person types: names of clusters, runs, contexts and namespaces.
//!
//! A completer must be quick and must never fail aloud: no answer within [`PATIENCE`] is none.

use std::{collections::BTreeSet, ffi::OsStr, time::Duration};

use clap_complete::engine::{ArgValueCompleter, CompletionCandidate, PathCompleter, ValueCompleter};
use kube::{Api, Resource, ResourceExt, api::ListParams};
use serde::de::DeserializeOwned;

use crate::cli::kubernetes::{ConnectionArgs, Kubernetes, kept, kubeconfig};
use crate::{
    api::{E2ERun, SwarmCluster},
    results,
};

/// A person notices a longer wait for a completion.
const PATIENCE: Duration = Duration::from_secs(2);

/// Names of clusters.
pub fn clusters() -> ArgValueCompleter {
    ArgValueCompleter::new(|typed: &OsStr| matching(typed, names(|k| k.clusters())))
}

/// Names of clusters, and of runs as run/NAME.
pub fn clusters_and_runs() -> ArgValueCompleter {
    ArgValueCompleter::new(|typed: &OsStr| {
        let mut found = matching(typed, names(|k| k.clusters()));
        let runs = names(|k| k.runs()).unwrap_or_default();
        found.extend(matching(typed, Some(runs.into_iter().map(|run| format!("run/{run}")).collect())));
        found
    })
}

/// Names of runs.
pub fn runs() -> ArgValueCompleter {
    ArgValueCompleter::new(|typed: &OsStr| matching(typed, names(|k| k.runs())))
}

/// Suites of which there are runs.
pub fn suites() -> ArgValueCompleter {
    ArgValueCompleter::new(|typed: &OsStr| {
        let suites = ask(async |kubernetes| {
            let runs: Vec<E2ERun> = kubernetes.runs().list(&ListParams::default()).await.ok()?.items;
            let all: BTreeSet<String> = runs.iter().map(|run| run.suite().to_owned()).collect();
            Some(all.into_iter().collect())
        });
        matching(typed, suites)
    })
}

/// Names of the nodes of the cluster that was named before, and words that stand for one of them.
pub fn nodes() -> ArgValueCompleter {
    ArgValueCompleter::new(|typed: &OsStr| matching(typed, nodes_and(&["leader", "manager", "worker"])))
}

/// The same, and words that stand for several.
pub fn groups() -> ArgValueCompleter {
    ArgValueCompleter::new(|typed: &OsStr| matching(typed, nodes_and(&["managers", "workers", "all", "leader"])))
}

fn nodes_and(words: &[&str]) -> Option<Vec<String>> {
    ask(async |kubernetes| {
        let clusters: Vec<SwarmCluster> = kubernetes.clusters().list(&ListParams::default()).await.ok()?.items;
        let typed: Vec<String> = std::env::args().collect();
        let cluster = clusters.into_iter().find(|c| typed.contains(&c.name_any()))?;
        let nodes = cluster.status.unwrap_or_default().nodes.into_iter().map(|n| n.name);
        Some(nodes.chain(words.iter().map(ToString::to_string)).collect())
    })
}

/// Names of the cases of the run that was named before.
pub fn cases() -> ArgValueCompleter {
    ArgValueCompleter::new(|typed: &OsStr| {
        let cases = ask(async |kubernetes| {
            let runs: Vec<E2ERun> = kubernetes.runs().list(&ListParams::default()).await.ok()?.items;
            let words: Vec<String> = std::env::args().collect();
            let run = runs.into_iter().find(|r| words.contains(&r.name_any()))?;
            let junit = kept::file(&kubernetes, &run, kept::JUNIT).await.ok()??;
            let mut names = Vec::new();
            results::each(&junit, |case| names.push(case.name.clone()));
            Some(names)
        });
        matching(typed, cases)
    })
}

/// Local paths, and clusters and nodes with a colon after them.
pub fn places() -> ArgValueCompleter {
    ArgValueCompleter::new(|typed: &OsStr| {
        let mut found = PathCompleter::any().complete(typed);
        let text = typed.to_string_lossy();
        // A path on a node is nothing we know, and a local one is no cluster's.
        if text.contains(':') || text.starts_with(['/', '.', '~', '-']) {
            return found;
        }
        let places = ask(async |kubernetes| {
            let clusters: Vec<SwarmCluster> = kubernetes.clusters().list(&ListParams::default()).await.ok()?.items;
            let places = clusters.into_iter().flat_map(|cluster| {
                let name = cluster.name_any();
                let slot =
                    |node: &str| node.strip_prefix(&name).and_then(|n| n.strip_prefix('-')).unwrap_or(node).to_owned();
                let nodes = cluster.status.unwrap_or_default().nodes;
                let nodes: Vec<String> = nodes.iter().map(|node| format!("{name}/{}:", slot(&node.name))).collect();
                std::iter::once(format!("{name}:")).chain(nodes)
            });
            Some(places.collect())
        });
        found.extend(matching(typed, places));
        found
    })
}

/// Contexts of the kubeconfig.
pub fn contexts() -> ArgValueCompleter {
    ArgValueCompleter::new(|typed: &OsStr| {
        let file = kubeconfig(&connection()).ok().flatten();
        matching(typed, file.map(|f| f.contexts.into_iter().map(|c| c.name).collect()))
    })
}

/// Namespaces.
pub fn namespaces() -> ArgValueCompleter {
    ArgValueCompleter::new(|typed: &OsStr| {
        matching(typed, names(|k| Api::<k8s_openapi::api::core::v1::Namespace>::all(k.client.clone())))
    })
}

fn names<K>(api: impl Fn(&Kubernetes) -> Api<K>) -> Option<Vec<String>>
where
    K: Resource + Clone + DeserializeOwned + std::fmt::Debug,
{
    ask(async |kubernetes| {
        let list = api(&kubernetes).list_metadata(&ListParams::default()).await.ok()?;
        Some(list.items.iter().map(ResourceExt::name_any).collect())
    })
}

fn ask(question: impl AsyncFnOnce(Kubernetes) -> Option<Vec<String>>) -> Option<Vec<String>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
    runtime.block_on(async {
        let answer = async { question(Kubernetes::connect(&connection()).await.ok()?).await };
        tokio::time::timeout(PATIENCE, answer).await.ok().flatten()
    })
}

fn matching(typed: &OsStr, names: Option<Vec<String>>) -> Vec<CompletionCandidate> {
    let typed = typed.to_string_lossy();
    names.unwrap_or_default().into_iter().filter(|n| n.starts_with(&*typed)).map(CompletionCandidate::new).collect()
}

/// The options typed so far that say where to ask: a completer is told only of its own word.
fn connection() -> ConnectionArgs {
    let words: Vec<String> = std::env::args().collect();
    let value = |short: Option<&str>, long: &str| {
        words.iter().enumerate().find_map(|(i, word)| {
            if word == long || Some(word.as_str()) == short {
                return words.get(i + 1).cloned();
            }
            word.strip_prefix(long).and_then(|rest| rest.strip_prefix('=')).map(str::to_owned)
        })
    };
    ConnectionArgs {
        namespace: value(Some("-n"), "--namespace"),
        context: value(None, "--context"),
        kubeconfig: value(None, "--kubeconfig").map(Into::into),
        kube_cluster: value(None, "--kube-cluster"),
        user: value(None, "--user"),
        server: value(Some("-s"), "--server"),
        token: value(None, "--token").map(Into::into),
        tls_server_name: value(None, "--tls-server-name"),
        insecure_skip_tls_verify: words.iter().any(|word| word == "--insecure-skip-tls-verify"),
        certificate_authority: value(None, "--certificate-authority").map(Into::into),
        as_user: value(None, "--as"),
        as_uid: value(None, "--as-uid"),
        as_group: value(None, "--as-group").into_iter().collect(),
        request_timeout: None,
    }
}
