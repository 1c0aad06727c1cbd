//! What users of a service notice while it changes: nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use bollard::models::{
    ServiceSpecUpdateConfig as Update, ServiceSpecUpdateConfigOrderEnum as Order, ServiceUpdateStatusStateEnum as State,
};

use super::publishing::MESH_WITHIN;
use crate::{
    harness::{case::Case, test::Test},
    swarm::service::{Builder, Service, containers},
};

pub(crate) fn cases() -> Vec<Case> {
    vec![Case::new("NoRequestLostScalingDown", scaling_down), Case::new("NoRequestLostUpdating", updating)]
}

/// How long a server takes for an answer: longer than a node waits before it stops a task that is not wanted any more,
/// which is a second in swarmkit's agent and two more in the engine's, for balancers to forget the task. An answer that
/// took less would be there before, and nobody would notice a server that was killed at once.
const ANSWER_AFTER: &str = "4s";
/// How soon the mesh reaches all tasks, and they have answered.
const ANSWERED_WITHIN: Duration = MESH_WITHIN.saturating_add(Duration::from_secs(4));
/// How many ask at once.
const ASKING: usize = 8;

/// Three of four tasks go, and every request is answered.
async fn scaling_down(t: Test) -> Result<()> {
    let service = slow_server(&t).replicas(4).create().await?;
    service.running(4).await?;
    let answered = unharmed(&t, &service, 4, async {
        service.scale(1).await?;
        service.running(1).await.map(|_| ())
    });
    let answered = answered.await?;
    ensure!(answered.len() > 1, "only {answered:?} answered: nobody asked the tasks that went");
    Ok(())
}

/// Every task is replaced by one that is started first, and every request is answered.
async fn updating(t: Test) -> Result<()> {
    let update = Update { parallelism: Some(1), order: Some(Order::START_FIRST), ..Default::default() };
    let service = slow_server(&t).replicas(2).with(|spec| spec.update_config = Some(update)).create().await?;
    let old = containers(&service.running(2).await?)?;
    let answered = unharmed(&t, &service, 2, async {
        service.renew().await?;
        service.updated(State::COMPLETED).await?;
        service.running(2).await.map(|_| ())
    });
    let answered = answered.await?;
    let new = answered.keys().filter(|name| !old.contains(name)).count();
    ensure!(new > 0 && answered.keys().any(|name| old.contains(name)), "{answered:?} answered; before: {old:?}");
    Ok(())
}

fn slow_server(t: &Test) -> Builder {
    // A new task gets connections as soon as it is well, and not before its server listens.
    t.service("web").args(&["test-server", "--request-time", ANSWER_AFTER]).published().health_checked(5)
}

/// Asks a published port without a pause while something is done, once so many tasks are asked there, and tells who
/// answered how often from then on. The first request without an answer is an error.
async fn unharmed(
    t: &Test,
    service: &Service,
    tasks: usize,
    change: impl Future<Output = Result<()>>,
) -> Result<BTreeMap<String, usize>> {
    let node = t.usable().await?.into_iter().next().context("no node is ready and active")?;
    let url = format!("http://{}:{}/", node.address, service.port().await?);
    // The node hears of each task by itself, and of some later than of others.
    t.until("all tasks are asked at the port", ANSWERED_WITHIN, || async {
        let answers = futures::future::try_join_all((0..ASKING).map(|_| t.get(&url))).await?;
        let asked: BTreeSet<String> = answers.into_iter().collect();
        ensure!(asked.len() == tasks, "{tasks} tasks are to be asked, and are {asked:?}");
        Ok(())
    })
    .await?;
    let mut asking = t.asking(&url, ASKING).await?;
    // Who answered asks the next one at once: when all tasks have, requests are under way at all of them.
    let wave = async {
        let mut asked = BTreeSet::new();
        while asked.len() < tasks {
            asked.insert(asking.next().await?.context("the asking ended")?);
        }
        anyhow::Ok(())
    };
    t.within("all tasks have answered once more", ANSWERED_WITHIN, wave).await??;
    let mut answered = BTreeMap::<String, usize>::new();
    tokio::pin!(change);
    let changed = loop {
        tokio::select! {
            end = &mut change => break end,
            answer = asking.next() => *answered.entry(answer?.context("the asking ended")?).or_default() += 1,
        }
    };
    changed?;
    asking.end();
    while let Some(name) = asking.next().await? {
        *answered.entry(name).or_default() += 1;
    }
    t.note(format_args!("{} requests were answered: {answered:?}", answered.values().sum::<usize>()));
    Ok(answered)
}
