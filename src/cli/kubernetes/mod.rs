//! The API server as the plugin sees it: which one, which namespace, and what its errors mean.
//!
//! Rooms: [`options`] and [`kubeconfig`] say which API server it is, [`explain`] what its errors mean, [`follow`] waits
//! for changes, [`making`] makes objects, [`kept`] reads what is kept of a run.

mod explain;
pub mod follow;
pub mod kept;
mod kubeconfig;
pub mod making;
mod options;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{Api, Client, Config, Resource, api::ListParams, config::KubeConfigOptions};
use serde::de::DeserializeOwned;

use self::kubeconfig::{no_kubeconfig, unusable};
pub use self::{explain::Attempt, kubeconfig::kubeconfig, options::ConnectionArgs};
use crate::{
    api::{E2ERun, SwarmCluster},
    cli::failure::{Failure, words},
};

/// How many objects to ask the API server for at a time.
const PAGE: u32 = 500;

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
