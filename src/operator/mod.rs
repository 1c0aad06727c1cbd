//! Wires the rooms into one process: configuration, leadership, health, controllers, shutdown.

mod config;
mod garbage;
mod health;
mod leader;

use std::{future::Future, sync::Arc};

use anyhow::Context as _;
pub use config::Config;
use futures::{FutureExt, future::Shared};
use kube::{Api, Client, Resource, core::NamespaceResourceScope, runtime::events::Recorder};
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    api::{E2ERun, SwarmCluster},
    cloud::Clouds,
    cluster::{self, Wake},
    events::Events,
    host::Hosts,
    run,
};

/// Runs the operator until a signal ends it or it loses its leadership.
///
/// # Errors
/// What kept it from starting, or the loss of the lease: the process must end then, for
/// another one may be at work already.
pub async fn run(config: Config) -> anyhow::Result<()> {
    let client = Client::try_default()
        .await
        .context("no connection to Kubernetes: set KUBECONFIG, or run inside a cluster with a ServiceAccount")?;
    check_api(&client).await?;
    let installation = config.installation(&client).await?;
    let state = health::State::default();
    let health = health::serve(config.listen, state.clone()).await?;
    let stop = stop_signal()?;

    let lost = match &config.lease {
        Some(lease) => {
            let leadership = leader::lead(client.clone(), lease);
            tokio::select! {
                won = leadership => won?.boxed(),
                () = stop.clone() => return Ok(()),
            }
        }
        None => std::future::pending().boxed(),
    };
    tracing::info!(installation, "operator at work");
    let controllers = controllers(&config, client, installation, stop.clone());
    state.set_ready();
    tokio::select! {
        () = controllers => Ok(()),
        error = lost => Err(error),
        error = health => Err(error.context("the health endpoint ended")),
    }
}

/// Both controllers and the garbage collector, over the same connections.
async fn controllers(
    config: &Config,
    client: Client,
    installation: String,
    stop: Shared<impl Future<Output = ()> + Send + Sync + 'static>,
) {
    let (wake, woken) = Wake::channel();
    let (wake_run, woken_run) = run::Wake::channel();
    let on_host = {
        let (wake, wake_run) = (wake.clone(), wake_run.clone());
        move |id: &crate::host::HostId| {
            wake.send(&id.cluster);
            wake_run.cluster(&id.cluster);
        }
    };
    let hosts = Hosts::new(Arc::new(on_host));
    let on_instance = {
        let wake = wake.clone();
        move |owner: &crate::cloud::Owner| wake.send(&owner.uid)
    };
    let clouds = Clouds::new(&installation, Arc::new(on_instance));
    let events = Events::new(Recorder::new(client.clone(), cluster::reporter()));
    let home = config.lease.as_ref().map_or(client.default_namespace(), |lease| &lease.namespace);
    let places = Arc::new(cluster::Places::new(client.clone(), home, &installation));
    let context = cluster::Context::new(
        client.clone(),
        hosts.clone(),
        clouds.clone(),
        Arc::clone(&places),
        events.clone(),
        wake,
    )
    .holding(config.max_hold.get());
    let collector = garbage::Collector {
        client: client.clone(),
        clouds,
        clusters: objects(config, &client),
        namespace: config.namespace.clone(),
        places,
        vault: Arc::clone(&context.vault),
        events: events.clone(),
        every: config.collect_every.get(),
    };
    let runs = run::Context::new(client.clone(), hosts, events, wake_run);
    let of_clusters = cluster::run(Arc::new(context), objects(config, &client), woken, stop.clone());
    let of_runs = run::run(Arc::new(runs), objects(config, &client), objects(config, &client), woken_run, stop);
    tokio::select! {
        _ = futures::future::join(of_clusters, of_runs) => {}
        () = collector.run() => {}
    }
}

/// The objects of a kind that this operator serves.
fn objects<K>(config: &Config, client: &Client) -> Api<K>
where
    K: Resource<Scope = NamespaceResourceScope>,
    K::DynamicType: Default,
{
    match &config.namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

/// Says what is missing before the first watch fails.
async fn check_api(client: &Client) -> anyhow::Result<()> {
    let version = <SwarmCluster as Resource>::api_version(&());
    let group = client.list_api_group_resources(&version).await;
    let kinds = match group {
        Ok(list) => list.resources.into_iter().map(|r| r.kind).collect(),
        Err(kube::Error::Api(status)) if status.is_not_found() => Vec::new(),
        Err(error) => return Err(error).context("the API server does not answer"),
    };
    for kind in [SwarmCluster::kind(&()), E2ERun::kind(&())] {
        anyhow::ensure!(
            kinds.iter().any(|k| *k == kind),
            "the API server does not know {kind} ({version}): apply the CustomResourceDefinitions first (kubectl apply --server-side -f crds/)"
        );
    }
    Ok(())
}

/// Resolves at SIGTERM or SIGINT.
fn stop_signal() -> anyhow::Result<Shared<impl Future<Output = ()> + Send + Sync + 'static>> {
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let stop = async move {
        tokio::select! {
            _ = term.recv() => tracing::info!("SIGTERM: stopping"),
            _ = int.recv() => tracing::info!("SIGINT: stopping"),
        }
    };
    // Spawned, so that one signal is seen by all who share it, whoever polls.
    let task = tokio::spawn(stop);
    Ok(async move { drop(task.await) }.shared())
}
