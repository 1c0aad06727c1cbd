//! The logs of services: from every node, and while they are written.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use bollard::{container::LogOutput, errors::Error, query_parameters::LogsOptions};
use futures::{Stream, StreamExt as _, TryStreamExt as _};

use crate::{
    harness::{case::Case, test::Test},
    swarm::service::containers,
};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("LogsOfEveryNode", every_node),
        Case::new("LogsOfOneTask", one_task),
        Case::new("LogsFollow", follow),
    ]
}

/// How soon a line that was written is in the log of the service.
const SAID_WITHIN: Duration = Duration::from_secs(20);

/// A service's log has the lines of its tasks on every node.
async fn every_node(t: Test) -> Result<()> {
    let service = t.service("web").global().create().await?;
    let wanted = containers(&service.running(t.cluster().usable().count()).await?)?;
    t.until("the log has a line of every task", SAID_WITHIN, || async {
        let log = read(t.docker().service_logs(&service.id, Some(all()))).await?;
        for name in &wanted {
            ensure!(log.contains(&format!("{name}: serving")), "none of {name}: {log:?}");
        }
        Ok(())
    })
    .await
}

/// A task's log has its own lines and no other's.
async fn one_task(t: Test) -> Result<()> {
    let service = t.service("web").replicas(2).create().await?;
    let tasks = service.running(2).await?;
    let names = containers(&tasks)?;
    let id = tasks[0].id.clone().unwrap_or_default();
    t.until("the log of one task has its line", SAID_WITHIN, || async {
        let log = read(t.docker().task_logs(&id, Some(all()))).await?;
        ensure!(log.contains(&names[0]), "it has not: {log:?}");
        ensure!(!log.contains(&names[1]), "it has the line of {}: {log:?}", names[1]);
        Ok(())
    })
    .await
}

/// Who follows a service's log reads a line soon after it is written.
async fn follow(t: Test) -> Result<()> {
    let service = t.service("web").askable().create().await?;
    service.running(1).await?;
    let mut log = Box::pin(t.docker().service_logs(&service.id, Some(LogsOptions { follow: true, ..all() })));
    // What was written before comes first, and shows that the log is being followed.
    hears(&t, &mut log, "serving").await?;
    let line = t.name("line");
    service.ask(&format!("/log?line={line}")).await?;
    hears(&t, &mut log, &line).await
}

fn all() -> LogsOptions {
    LogsOptions { stdout: true, stderr: true, ..Default::default() }
}

/// All that a log has now.
async fn read(log: impl Stream<Item = Result<LogOutput, Error>>) -> Result<String> {
    let parts: Vec<LogOutput> = log.try_collect().await.context("cannot read the log")?;
    Ok(parts.iter().map(ToString::to_string).collect())
}

/// Reads a log until it has this.
async fn hears(t: &Test, log: &mut (impl Stream<Item = Result<LogOutput, Error>> + Unpin), wanted: &str) -> Result<()> {
    let mut heard = String::new();
    let listen = async {
        while !heard.contains(wanted) {
            heard.push_str(&log.next().await.context("the log ended")??.to_string());
        }
        Ok(())
    };
    match t.within("a line is heard", SAID_WITHIN, listen).await {
        Ok(end) => end,
        Err(_) => bail!("no {wanted:?} in the log within {SAID_WITHIN:?}, but {heard:?}"),
    }
}
