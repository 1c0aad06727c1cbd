//! What the operator does while it leads: the controllers and the garbage collector, over the same connections.

use std::{
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures::future::{Either, Ready, ready};
use hyper::Request;
use kube::{
    Api, Client, Resource,
    client::{Body, ClientBuilder},
    core::NamespaceResourceScope,
    runtime::events::Recorder,
};
use tower_layer::layer_fn;
use tower_service::Service;

use super::{Stop, config::Config, garbage, health::State, version};
use crate::{
    cloud::Clouds,
    cluster::{self, Wake},
    events::Events,
    fence::Fence,
    host::Hosts,
    prices::Prices,
    programme, proxy, run,
};

/// What a layer of the client fails with.
type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// How often the work shows that it goes on.
const BEAT: Duration = Duration::from_secs(5);

/// Works until `stop` resolves and the passes under way have ended.
pub async fn controllers(
    config: Config,
    prices: Option<Prices>,
    installation: String,
    state: State,
    stop: Stop,
) -> anyhow::Result<()> {
    tokio::spawn(async move {
        loop {
            state.beat();
            tokio::time::sleep(BEAT).await;
        }
    });
    // Of this runtime: the tasks of its connections end with it.
    let client = fenced(Fence::of_process()).await?;
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
    tokio::spawn(version::tell(client.clone(), home.to_owned()));
    let places = Arc::new(cluster::Places::new(client.clone(), home, &installation));
    let context =
        cluster::Context::new(client.clone(), hosts.clone(), clouds.clone(), Arc::clone(&places), events.clone(), wake)
            .holding(config.max_hold.get())
            .reached_from(config.access_cidrs.clone())
            .priced_by(prices);
    if config.access_cidrs.is_empty() {
        tracing::info!("--access-cidrs is not given: clusters without spec.accessCIDRs are not launched");
    }
    let collector = garbage::Collector {
        client: client.clone(),
        clouds,
        clusters: objects(&config, &client),
        namespace: config.namespace.clone(),
        places,
        vault: Arc::clone(&context.vault),
        events: events.clone(),
        every: config.collect_every.get(),
    };
    let runs = run::Context::new(client.clone(), hosts, events.clone(), wake_run);
    let of_clusters = cluster::run(Arc::new(context), objects(&config, &client), woken, stop.clone());
    let of_runs =
        run::run(Arc::new(runs), objects(&config, &client), objects(&config, &client), woken_run, stop.clone());
    let of_schedules = programme::schedule::run(
        client.clone(),
        events.clone(),
        objects(&config, &client),
        objects(&config, &client),
        stop.clone(),
    );
    let of_matrices = programme::matrix::run(
        client.clone(),
        events.clone(),
        objects(&config, &client),
        objects(&config, &client),
        stop.clone(),
    );
    let of_shards = programme::shards::run(client.clone(), events, objects(&config, &client), stop);
    tokio::select! {
        _ = futures::future::join5(of_clusters, of_runs, of_schedules, of_matrices, of_shards) => {}
        () = collector.run() => {}
    }
    Ok(())
}

/// The objects of a kind that this operator serves.
pub fn objects<K>(config: &Config, client: &Client) -> Api<K>
where
    K: Resource<Scope = NamespaceResourceScope>,
    K::DynamicType: Default,
{
    match &config.namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

/// A client that sends nothing any more when the time of this process is over.
async fn fenced(fence: &Fence) -> anyhow::Result<Client> {
    let fence = fence.clone();
    let layer = layer_fn(move |inner| Fenced { inner, fence: fence.clone() });
    Ok(ClientBuilder::try_from(proxy::infer().await?)?.with_layer(&layer).build())
}

struct Fenced<S> {
    inner: S,
    fence: Fence,
}

impl<S: Service<Request<Body>, Error = BoxError>> Service<Request<Body>> for Fenced<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = Either<Ready<Result<S::Response, S::Error>>, S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        match self.fence.check() {
            Ok(()) => Either::Right(self.inner.call(request)),
            Err(closed) => Either::Left(ready(Err(closed.into()))),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    /// Answers everything, and says how often it was asked.
    struct Asked(u32);

    impl Service<Request<Body>> for Asked {
        type Response = u32;
        type Error = BoxError;
        type Future = Ready<Result<u32, BoxError>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: Request<Body>) -> Self::Future {
            self.0 += 1;
            ready(Ok(self.0))
        }
    }

    #[tokio::test]
    async fn nothing_is_sent_when_the_time_is_over() {
        let fence = Fence::default();
        let mut client = Fenced { inner: Asked(0), fence: fence.clone() };
        poll_fn(|context| client.poll_ready(context)).await.unwrap();
        assert_eq!(client.call(Request::new(Body::empty())).await.unwrap(), 1);
        fence.close();
        let refused = client.call(Request::new(Body::empty())).await.unwrap_err();
        assert!(refused.to_string().contains("Lease"), "{refused}");
        assert_eq!(client.inner.0, 1, "it did not get further");
    }
}
