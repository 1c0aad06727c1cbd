//! Wires the rooms into one process: configuration, leadership, health, controllers, shutdown.
//!
//! There are two runtimes. In front, one thread answers probes and keeps the Lease, over a connection of its own, so that
//! no load of the work delays either. The work (controllers, connections, everything they began) has a runtime that is
//! thrown away as a whole: after that nothing of it goes on, whoever began it, and only then the Lease is released.

mod api_server;
mod clear;
mod config;
mod garbage;
mod health;
mod http;
mod leader;
mod log;
mod version;
mod work;

use std::time::Duration;

use anyhow::Context as _;
pub use config::{Config, LeaseName, Task};
use futures::{FutureExt, future::Shared};
use kube::Client;
pub use leader::Elector;
use tokio::{
    runtime::{Builder, Handle},
    signal::unix::{SignalKind, signal},
};

use self::health::State;
use crate::{fence::Fence, metrics::metrics, prices::Prices, proxy};

/// How long passes under way may take to end when the process is told to. What is cut off then is found by the next
/// operator, as after a crash.
const GRACE: Duration = Duration::from_millis(400);
/// How long the threads of the work may take to come to a point where they can be stopped.
const CUT: Duration = Duration::from_millis(300);

/// Runs the operator until a signal ends it or it loses its leadership; or does what else it is told to.
///
/// # Errors
/// What kept it from starting, or the loss of the Lease: the process must end then, for
/// another one may be at work already.
pub fn run(config: &Config) -> anyhow::Result<()> {
    match config.task {
        Some(Task::DeleteClusters) => delete_clusters(config),
        None => operate(config),
    }
}

/// Beside an operator that works.
fn delete_clusters(config: &Config) -> anyhow::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build().context("no thread to work")?;
    runtime.block_on(async {
        config.start_log()?;
        let client = connect().await?;
        let stop = stop_signal()?;
        tokio::select! {
            done = clear::clear(config, &client) => done,
            () = stop => anyhow::bail!("told to end before all clusters were gone"),
        }
    })
}

async fn connect() -> anyhow::Result<Client> {
    Ok(Client::try_from(proxy::infer().await?)?)
}

fn operate(config: &Config) -> anyhow::Result<()> {
    // A table that is none is found out before anything else: also by who stands by.
    let prices = config.price_table()?;
    let front = Builder::new_current_thread().enable_all().build().context("no thread for the election")?;
    let work = Builder::new_multi_thread().enable_all().thread_name("work").build().context("no threads to work")?;
    let (elector, result) = front.block_on(lead_and_work(config, prices, work.handle()));
    work.shutdown_timeout(CUT);
    if let Some(elector) = elector {
        front.block_on(elector.release());
    }
    result
}

/// Until the work is over, for whatever reason; who took part in the election has something to release then.
async fn lead_and_work(
    config: &Config,
    prices: Option<Prices>,
    work: &Handle,
) -> (Option<Elector>, anyhow::Result<()>) {
    let mut elector = None;
    let result = async {
        let log = config.start_log()?;
        let stop = stop_signal()?;
        tokio::spawn(log.follow_signals());
        let state = State::new(config.lease.is_some());
        tokio::spawn(http::serve(config.listen, state.clone()).await?);
        let client = connect().await?;
        tokio::spawn(api_server::keep_looking(client.clone(), state.clone()));
        work_when_leading(config, prices, work, client, &state, &mut elector, stop).await
    };
    let result = result.await;
    (elector, result)
}

async fn work_when_leading(
    config: &Config,
    prices: Option<Prices>,
    work: &Handle,
    client: Client,
    state: &State,
    elector: &mut Option<Elector>,
    stop: Stop,
) -> anyhow::Result<()> {
    let installation = tokio::select! {
        name = async {
            state.served().await;
            config.installation(&client).await
        } => name?,
        () = stop.clone() => return Ok(()),
    };
    if let Some(lease) = &config.lease {
        let told = state.clone();
        let elector =
            elector.insert(Elector::new(client, lease, Fence::of_process().clone(), move |who| told.lease(who)));
        tracing::info!(lease = %lease, identity = elector.identity(), "waiting to lead");
        tokio::select! {
            led = elector.lead() => led?,
            () = stop.clone() => return Ok(()),
        }
    }
    tracing::info!(installation, "operator at work");
    let mut controllers =
        work.spawn(work::controllers(config.clone(), prices, installation, state.clone(), stop.clone()));
    state.works();
    metrics().leads(true);
    let lost = async {
        match elector.as_mut() {
            Some(elector) => elector.hold().await,
            None => std::future::pending().await,
        }
    };
    let result = tokio::select! {
        ended = &mut controllers => ended.context("the controllers ended")?,
        error = lost => Err(error),
        () = stop => match tokio::time::timeout(GRACE, controllers).await {
            Ok(ended) => ended.context("the controllers ended")?,
            Err(_) => {
                tracing::info!("passes under way are cut off: the next operator finds out what became of them");
                Ok(())
            }
        },
    };
    metrics().leads(false);
    result
}

/// Resolves when the process is told to end.
type Stop = Shared<futures::future::BoxFuture<'static, ()>>;

/// Resolves at SIGTERM or SIGINT.
fn stop_signal() -> anyhow::Result<Stop> {
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let stop = async move {
        tokio::select! {
            _ = term.recv() => tracing::info!("SIGTERM: stopping"),
            _ = int.recv() => tracing::info!("SIGINT: stopping"),
        }
    };
    // Spawned, so that one signal is seen by all who share it, whoever polls.
    let task = tokio::spawn(stop);
    Ok(async move { drop(task.await) }.boxed().shared())
}
