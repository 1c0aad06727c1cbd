//! The API server as the plugin sees it: which one, which namespace, and what its errors mean.
//!
//! Every error of a call passes [`Kubernetes::explain`], the one place that turns a status
//! code into what is wrong and what to do. Nothing here prints.

use std::path::PathBuf;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{
    Api, Client, Config, Resource, ResourceExt,
    api::ListParams,
    config::{KubeConfigOptions, Kubeconfig, KubeconfigError},
};
use serde::de::DeserializeOwned;

use super::{
    failure::{Failure, exit, words},
    suggest,
};
use crate::api::{E2ERun, GROUP, SwarmCluster};

/// How many objects to ask the API server for at a time.
const PAGE: u32 = 500;

/// kubectl's own options.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct ConnectionArgs {
    /// The namespace to work in [default: the context's]
    #[arg(short, long, global = true, value_name = "NAMESPACE", help_heading = "Kubernetes options", add = super::complete::namespaces())]
    pub namespace: Option<String>,
    /// The context of the kubeconfig to use [default: the current one]
    #[arg(long, global = true, value_name = "CONTEXT", help_heading = "Kubernetes options", add = super::complete::contexts())]
    pub context: Option<String>,
    /// The kubeconfig file to use [default: $KUBECONFIG, else ~/.kube/config]
    #[arg(long, global = true, value_name = "FILE", help_heading = "Kubernetes options", value_hint = clap::ValueHint::FilePath)]
    pub kubeconfig: Option<PathBuf>,
}

/// A connection to an API server, with the namespace to work in.
#[derive(Clone)]
pub struct Kubernetes {
    /// The client, for calls this type has no method for.
    pub client: Client,
    /// The namespace to work in.
    pub namespace: String,
    server: String,
    context: Option<String>,
}

/// What was tried: the words for it when it fails.
#[derive(Clone, Debug)]
pub struct Attempt<'a> {
    /// Kubernetes' verb, as RBAC spells it.
    pub verb: &'a str,
    /// The resource in the plural, with its group if it has one.
    pub resource: &'a str,
    /// The namespace, if not all of them.
    pub namespace: Option<&'a str>,
    /// The object, if one.
    pub name: Option<&'a str>,
}

impl Kubernetes {
    /// Connects as kubectl would; no call is made yet.
    pub async fn connect(args: &ConnectionArgs) -> Result<Self, Failure> {
        let options = KubeConfigOptions { context: args.context.clone(), ..KubeConfigOptions::default() };
        let (config, context) = match kubeconfig(args)? {
            Some(file) => {
                let context = args.context.clone().or_else(|| file.current_context.clone());
                let known: Vec<String> = file.contexts.iter().map(|c| c.name.clone()).collect();
                let config = Config::from_custom_kubeconfig(file, &options)
                    .await
                    .map_err(|e| unusable(&e, context.as_deref(), &known))?;
                (config, context)
            }
            // In a pod kubectl uses the service account; so do we.
            None => (Config::incluster().map_err(|_| no_kubeconfig())?, None),
        };
        let namespace = args.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
        let server = config.cluster_url.to_string().trim_end_matches('/').to_owned();
        let client = Client::try_from(config).map_err(|e| {
            Failure::new(format!("no connection to {server} can be made with this kubeconfig: {}", words(&e)))
                .help("kubectl cluster-info")
        })?;
        Ok(Self { client, namespace, server, context })
    }

    /// The same API server, in another namespace.
    #[must_use]
    pub fn within(&self, namespace: &str) -> Self {
        Self { namespace: namespace.to_owned(), ..self.clone() }
    }

    /// The clusters of the namespace.
    #[must_use]
    pub fn clusters(&self) -> Api<SwarmCluster> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// The runs of the namespace.
    #[must_use]
    pub fn runs(&self) -> Api<E2ERun> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// The cluster of that name.
    pub async fn cluster(&self, name: &str) -> Result<SwarmCluster, Failure> {
        match self.clusters().get_opt(name).await {
            Ok(Some(cluster)) => Ok(cluster),
            Ok(None) => Err(self.not_found(&self.clusters(), "cluster", name).await),
            Err(e) => Err(self.explain(&e, &self.attempt("get", CLUSTERS, Some(name)))),
        }
    }

    /// The run of that name.
    pub async fn run(&self, name: &str) -> Result<E2ERun, Failure> {
        match self.runs().get_opt(name).await {
            Ok(Some(run)) => Ok(run),
            Ok(None) => Err(self.not_found(&self.runs(), "run", name).await),
            Err(e) => Err(self.explain(&e, &self.attempt("get", RUNS, Some(name)))),
        }
    }

    /// The Secret of that name, or none.
    pub async fn secret(&self, name: &str) -> Result<Option<Secret>, Failure> {
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), &self.namespace);
        secrets.get_opt(name).await.map_err(|e| self.explain(&e, &self.attempt("get", "secrets", Some(name))))
    }

    /// The ConfigMap of that name, or none.
    pub async fn config_map(&self, name: &str) -> Result<Option<ConfigMap>, Failure> {
        let maps: Api<ConfigMap> = Api::namespaced(self.client.clone(), &self.namespace);
        maps.get_opt(name).await.map_err(|e| self.explain(&e, &self.attempt("get", "configmaps", Some(name))))
    }

    /// Every object the selector picks, in the namespace or in all of them.
    pub async fn list<K>(&self, resource: &str, all: bool, selector: Option<&str>) -> Result<Vec<K>, Failure>
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope> + Clone + DeserializeOwned + std::fmt::Debug,
        K::DynamicType: Default,
    {
        let api: Api<K> =
            if all { Api::all(self.client.clone()) } else { Api::namespaced(self.client.clone(), &self.namespace) };
        let namespace = (!all).then_some(self.namespace.as_str());
        let mut found = Vec::new();
        let mut page = ListParams { label_selector: selector.map(str::to_owned), ..ListParams::default() }.limit(PAGE);
        loop {
            let list = api
                .list(&page)
                .await
                .map_err(|e| self.explain(&e, &Attempt { verb: "list", resource, namespace, name: None }))?;
            found.extend(list.items);
            match list.metadata.continue_ {
                Some(token) if !token.is_empty() => page.continue_token = Some(token),
                _ => return Ok(found),
            }
        }
    }

    /// An attempt in the namespace.
    #[must_use]
    pub fn attempt<'a>(&'a self, verb: &'a str, resource: &'a str, name: Option<&'a str>) -> Attempt<'a> {
        Attempt { verb, resource, namespace: Some(&self.namespace), name }
    }

    /// What an error of a call means, and what to do about it.
    #[must_use]
    pub fn explain(&self, error: &kube::Error, attempt: &Attempt<'_>) -> Failure {
        let Attempt { verb, resource, .. } = *attempt;
        let what = match attempt.name {
            Some(name) => format!("{verb} {resource} {name:?}"),
            None => format!("{verb} {resource}"),
        };
        let place = attempt.namespace.map_or_else(|| "all namespaces".to_owned(), |n| format!("namespace {n:?}"));
        match error {
            kube::Error::Api(status) => match status.code {
                401 => Failure::new(format!(
                    "{} does not accept the credentials of {}: {}",
                    self.server,
                    self.context_words(),
                    status.message
                ))
                .help("log in again, then: kubectl auth whoami")
                .exit(exit::NOT_ALLOWED),
                403 => self.forbidden(attempt, &place, &status.message),
                404 if no_such_resource(status) && resource.ends_with(GROUP) => {
                    Failure::new(format!("{} does not know {resource}: testkit is not installed there", self.server))
                        .help("an administrator installs it with: kubectl apply -k deploy/")
                        .help(format!("another cluster is chosen with --context (this is {})", self.context_words()))
                }
                404 => Failure::new(format!("there is nothing to {what} in {place}: {}", status.message)),
                409 => Failure::new(format!("{what} in {place}: {}", status.message)),
                400 | 422 => Failure::new(format!("the API server refuses to {what}: {}", status.message)).usage(),
                code => {
                    Failure::new(format!("the API server failed to {what} in {place} ({code}): {}", status.message))
                }
            },
            kube::Error::SerdeError(e) => Failure::new(format!(
                "the answer to {what} in {place} is not what this version of kubectl testkit reads: {e}"
            ))
            .help("install the plugin and the custom resources of the same release"),
            other => Failure::new(format!(
                "{} ({}) cannot be reached to {what}: {}",
                self.server,
                self.context_words(),
                words(other)
            ))
            .help(match &self.context {
                Some(context) => format!("kubectl --context {context} cluster-info"),
                None => "kubectl cluster-info".to_owned(),
            }),
        }
    }

    fn forbidden(&self, attempt: &Attempt<'_>, place: &str, message: &str) -> Failure {
        let Attempt { verb, resource, namespace, .. } = *attempt;
        let scope = namespace.map_or_else(|| "--all-namespaces".to_owned(), |n| format!("-n {n}"));
        let mut failure = Failure::new(format!("you may not {verb} {resource} in {place}: {message}"))
            .help(format!("ask for the permission to {verb} {resource} in {place}"))
            .help(format!("check with: kubectl auth can-i {verb} {resource} {scope}"))
            .exit(exit::NOT_ALLOWED);
        if namespace.is_none() {
            failure = failure.help("or name one namespace with -n, in place of all of them");
        }
        failure
    }

    /// There is no such object: with the names there are, as far as the user may list them.
    pub async fn not_found<K>(&self, api: &Api<K>, kind: &str, name: &str) -> Failure
    where
        K: Resource + Clone + DeserializeOwned + std::fmt::Debug,
    {
        let known = match api.list_metadata(&ListParams::default().limit(PAGE)).await {
            Ok(list) => Some(list.items.iter().map(ResourceExt::name_any).collect::<Vec<_>>()),
            // An object is not found either where its kind is unknown; only a list tells.
            Err(e) if matches!(&e, kube::Error::Api(status) if no_such_resource(status)) => {
                let resource = if kind == "cluster" { CLUSTERS } else { RUNS };
                return self.explain(&e, &self.attempt("get", resource, Some(name)));
            }
            Err(_) => None,
        };
        let failure = Failure::new(format!("there is no {kind} {name:?} in namespace {:?}", self.namespace)).usage();
        suggest::among(failure, name, kind, known.as_deref())
            .help("kubectl testkit ls --all-namespaces shows those of all namespaces")
    }

    fn context_words(&self) -> String {
        self.context.as_deref().map_or_else(|| "the pod's service account".to_owned(), |c| format!("context {c:?}"))
    }
}

impl std::fmt::Display for Kubernetes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({}), namespace {:?}", self.server, self.context_words(), self.namespace)
    }
}

/// The clusters' resource, as RBAC and `kubectl` name it.
pub const CLUSTERS: &str = "swarmclusters.testkit.dev";
/// The runs' resource, as RBAC and `kubectl` name it.
pub const RUNS: &str = "e2eruns.testkit.dev";

/// The kubeconfig kubectl would read, or none.
pub(super) fn kubeconfig(args: &ConnectionArgs) -> Result<Option<Kubeconfig>, Failure> {
    if let Some(path) = &args.kubeconfig {
        return Kubeconfig::read_from(path).map(Some).map_err(|e| match e {
            KubeconfigError::ReadConfig(e, _) => Failure::new(format!("{} cannot be read: {e}", path.display())),
            e => Failure::new(format!("{} is not a usable kubeconfig: {}", path.display(), words(&e))),
        });
    }
    let broken = |e: KubeconfigError| {
        Failure::new(format!("the kubeconfig cannot be used: {}", words(&e)))
            .help("kubectl config view shows what kubectl makes of it")
    };
    let named = std::env::var_os("KUBECONFIG").unwrap_or_default();
    let named: Vec<PathBuf> = std::env::split_paths(&named).filter(|p| !p.as_os_str().is_empty()).collect();
    let merged = match named.as_slice() {
        // The default file, or an error where there is no home to look in.
        [] => Kubeconfig::read().map(Some).or_else(|e| match e {
            KubeconfigError::FindPath => Ok(None),
            KubeconfigError::ReadConfig(e, _) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            e => Err(e),
        }),
        files => merged(files),
    };
    Ok(merged.map_err(broken)?.filter(|file| !(file.contexts.is_empty() && file.clusters.is_empty())))
}

/// What these files say together, the first of them first. Those that are not there are passed over, as with kubectl.
fn merged(files: &[PathBuf]) -> Result<Option<Kubeconfig>, KubeconfigError> {
    let mut merged = None;
    for file in files {
        let read = match Kubeconfig::read_from(file) {
            Err(KubeconfigError::ReadConfig(e, _)) if e.kind() == std::io::ErrorKind::NotFound => continue,
            read => read?,
        };
        merged = Some(match merged {
            None => read,
            Some(before) => Kubeconfig::merge(before, read)?,
        });
    }
    Ok(merged)
}

fn no_kubeconfig() -> Failure {
    let places = match std::env::var("KUBECONFIG") {
        Ok(files) if !files.is_empty() => format!("KUBECONFIG names {files:?}, and no usable file is there"),
        _ => "KUBECONFIG is not set and ~/.kube/config is not there".to_owned(),
    };
    Failure::new(format!("there is no kubeconfig to tell which Kubernetes to talk to: {places}"))
        .help("name one with --kubeconfig FILE, or: export KUBECONFIG=FILE")
}

fn unusable(error: &KubeconfigError, context: Option<&str>, known: &[String]) -> Failure {
    match (error, context) {
        (KubeconfigError::LoadContext(name), _) => suggest::among(
            Failure::new(format!("the kubeconfig has no context {name:?}")),
            name,
            "context",
            Some(known),
        ),
        (KubeconfigError::CurrentContextNotSet, _) | (_, None) => Failure::new("the kubeconfig has no current context")
            .help(match known {
                [] => "kubectl config set-context --help".to_owned(),
                known => format!("choose one with --context: {}", known.join(", ")),
            }),
        (e, Some(context)) => {
            Failure::new(format!("context {context:?} of the kubeconfig cannot be used: {}", words(e)))
                .help("kubectl config view shows what kubectl makes of it")
        }
    }
}

/// Whether a 404 speaks of the resource and not of an object: the API server then has no details to give.
fn no_such_resource(status: &kube::core::Status) -> bool {
    status.code == 404 && status.details.as_ref().is_none_or(|d| d.name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_are_not_there_are_passed_over_and_the_first_wins() {
        let folder = std::env::temp_dir().join(format!("testkit-kubeconfig-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let file = |name: &str, context: &str| {
            let path = folder.join(name);
            let text = format!(
                "apiVersion: v1\nkind: Config\ncurrent-context: {context}\ncontexts:\n- name: {context}\n  context: {{cluster: c, user: u}}\n"
            );
            std::fs::write(&path, text).unwrap();
            path
        };
        let (a, b, missing) = (file("a", "one"), file("b", "two"), folder.join("nope"));
        let both = merged(&[missing.clone(), a, missing.clone(), b]).unwrap().unwrap();
        assert_eq!((both.current_context.as_deref(), both.contexts.len()), (Some("one"), 2));
        assert!(merged(&[missing]).unwrap().is_none());
        std::fs::write(folder.join("c"), "{").unwrap();
        assert!(merged(&[folder.join("c")]).is_err());
        std::fs::remove_dir_all(folder).unwrap();
    }
}
