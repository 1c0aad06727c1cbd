//! The API server as the plugin sees it: which one, which namespace, and what its errors mean.
//!
//! Rooms: [`options`] and [`kubeconfig`] say which API server it is, [`explain`] what its errors mean, [`follow`] waits
//! for changes, [`making`] makes objects, [`kept`] reads what is kept of a run.

pub mod events;
mod explain;
pub mod follow;
pub mod kept;
mod kubeconfig;
pub mod making;
mod named;
mod options;
mod pick;
pub mod seen;
mod waiting;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{Api, Client, Config, Resource, api::ListParams};
use serde::de::DeserializeOwned;

use self::kubeconfig::{no_kubeconfig, of_server, used};
pub use self::{
    explain::Attempt,
    kubeconfig::kubeconfig,
    named::{Named, is_run},
    options::ConnectionArgs,
    pick::Pick,
    waiting::Waiting,
};
use crate::{
    api::{E2ERun, SwarmCluster},
    cli::failure::{Failure, words},
    proxy::{self, Surroundings},
};

/// How many objects to ask the API server for at a time.
pub const PAGE: u32 = 500;

/// A connection to an API server, with the namespace to work in.
#[derive(Clone)]
pub struct Kubernetes {
    /// The client, for calls this type has no method for.
    pub client: Client,
    /// The namespace to work in.
    pub namespace: String,
    server: String,
    context: Option<String>,
    /// Whose credentials are used, in words.
    account: String,
}

impl Kubernetes {
    /// Connects as kubectl would; no call is made yet.
    pub async fn connect(args: &ConnectionArgs) -> Result<Self, Failure> {
        let file = kubeconfig(args)?;
        let named = args.context.clone().or_else(|| file.as_ref()?.current_context.clone());
        // What `kubectl config unset` leaves.
        let named = named.filter(|name| !name.is_empty());
        let proxy = file.as_ref().and_then(|file| proxy::said(file, &args.of_kubeconfig())).map(str::to_owned);
        let in_pod = file.is_none() && args.server.is_none();
        let (mut config, context) = match (file, args.server()?) {
            // Who names a server needs no context; who names a user is that user all the same.
            (file, Some(server)) if named.is_none() => {
                (of_server(file.unwrap_or_default(), server, &args.of_kubeconfig()).await?, None)
            }
            (None, Some(server)) => (Config::new(server), None),
            (Some(file), _) => (used(file, &args.of_kubeconfig(), named.as_deref()).await?, named),
            // In a pod kubectl uses the service account; so do we.
            (None, None) => (Config::incluster().map_err(|_| no_kubeconfig())?, None),
        };
        args.apply(&mut config)?;
        if !in_pod {
            let way = Surroundings::here().proxy(&config.cluster_url, proxy.as_deref());
            config.proxy_url = way.map_err(|no_address| Failure::new(no_address.to_string()))?;
        }
        let namespace = args.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
        let server = config.cluster_url.to_string().trim_end_matches('/').to_owned();
        let client = Client::try_from(config).map_err(|e| {
            Failure::new(format!("no connection to {server} can be made with this kubeconfig: {}", words(&e)))
                .help("kubectl cluster-info")
        })?;
        let account = match (&context, &args.server) {
            (Some(context), _) => format!("context {context:?}"),
            (None, Some(_)) => "the server of --server".to_owned(),
            (None, None) => "the pod's service account".to_owned(),
        };
        let account = args.as_user.iter().fold(account, |account, user| format!("{account}, as {user:?}"));
        Ok(Self { client, namespace, server, context, account })
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
        match self.cluster_if_any(name).await? {
            Some(cluster) => Ok(cluster),
            None => Err(self.not_found(&self.clusters(), "cluster", name).await),
        }
    }

    /// The cluster of that name, if there is one.
    pub async fn cluster_if_any(&self, name: &str) -> Result<Option<SwarmCluster>, Failure> {
        let found = self.clusters().get_opt(name).await;
        found.map_err(|e| self.explain(&e, &self.attempt("get", CLUSTERS, Some(name))))
    }

    /// The run of that name.
    pub async fn run(&self, name: &str) -> Result<E2ERun, Failure> {
        match self.run_if_any(name).await? {
            Some(run) => Ok(run),
            None => Err(self.not_found(&self.runs(), "run", name).await),
        }
    }

    /// The run of that name, if there is one.
    pub async fn run_if_any(&self, name: &str) -> Result<Option<E2ERun>, Failure> {
        let found = self.runs().get_opt(name).await;
        found.map_err(|e| self.explain(&e, &self.attempt("get", RUNS, Some(name))))
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

    /// Every object that is picked, in the namespace or in all of them.
    pub async fn list<K>(&self, resource: &str, all: bool, pick: &Pick) -> Result<Vec<K>, Failure>
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope> + Clone + DeserializeOwned + std::fmt::Debug,
        K::DynamicType: Default,
    {
        let mut found = Vec::new();
        self.pages(resource, all, pick.params().limit(PAGE), |page: Vec<K>| found.extend(page)).await?;
        Ok(found)
    }

    /// The objects that `page` picks, in the namespace or in all of them, a page after the other: no more are held.
    pub async fn pages<K>(
        &self,
        resource: &str,
        all: bool,
        mut page: ListParams,
        mut take: impl FnMut(Vec<K>),
    ) -> Result<(), Failure>
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope> + Clone + DeserializeOwned + std::fmt::Debug,
        K::DynamicType: Default,
    {
        let api: Api<K> =
            if all { Api::all(self.client.clone()) } else { Api::namespaced(self.client.clone(), &self.namespace) };
        let namespace = (!all).then_some(self.namespace.as_str());
        loop {
            let list = api
                .list(&page)
                .await
                .map_err(|e| self.explain(&e, &Attempt { verb: "list", resource, namespace, name: None }))?;
            take(list.items);
            match list.metadata.continue_ {
                Some(token) if !token.is_empty() => page.continue_token = Some(token),
                _ => return Ok(()),
            }
        }
    }

    /// An attempt in the namespace.
    #[must_use]
    pub fn attempt<'a>(&'a self, verb: &'a str, resource: &'a str, name: Option<&'a str>) -> Attempt<'a> {
        Attempt { verb, resource, namespace: Some(&self.namespace), name }
    }

    fn context_words(&self) -> &str {
        &self.account
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
