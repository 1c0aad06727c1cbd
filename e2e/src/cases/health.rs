//! Health checks: a task counts only when it is well, and is replaced when it is not.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bollard::models::{HealthConfig, TaskSpecRestartPolicy, TaskState};

use super::{
    networks::OVERLAY_WITHIN,
    publishing::{OWN_PORT_WITHIN, refuses},
};
use crate::{
    harness::{
        case::{Case, Need},
        test::Test,
    },
    swarm::{
        service::{Builder, Service, TASKS_WITHIN, container_of, containers, nanos, task_of},
        task,
    },
};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("HealthGatesLoadBalancing", gates).needs(Need::Here),
        Case::new("HealthLossReplacesTask", loss_replaces),
        Case::new("HealthCheckNone", none),
    ]
}

/// How long a task that is not well is watched for answering nevertheless.
const GATED_FOR: Duration = Duration::from_secs(3);

/// How often a task may be found ill that is to get well: longer than it is watched.
pub(super) const ILL_FOR: i64 = 60;

/// How often the engine asks a server whether it is well. Each time it starts a process in the container for it,
/// which is the dearest thing that these cases have a node do.
const ASKED_EVERY: Duration = Duration::from_secs(2);

/// The engine asks the server whether it is well, and it is not when that was so this often.
fn check(retries: i64) -> HealthConfig {
    HealthConfig {
        test: Some(["CMD", "/e2e", "health", "http://127.0.0.1/healthy"].map(str::to_owned).into()),
        interval: Some(nanos(ASKED_EVERY)),
        timeout: Some(nanos(Duration::from_secs(10))),
        retries: Some(retries),
        ..Default::default()
    }
}

impl Builder {
    /// The engine asks the server whether it is well, and it is not when that was so this often.
    pub(crate) fn health_checked(self, retries: i64) -> Self {
        self.with(|spec| container_of(spec).health_check = Some(check(retries)))
    }
}

/// The service has one task, which is starting.
async fn starting(service: &Service) -> Result<()> {
    let tasks = service.tasks().await?;
    let states: Vec<_> = tasks.iter().filter(|it| task::wanted(it)).map(task::state).collect();
    ensure!(states == [Some(TaskState::STARTING)], "its tasks are {states:?}");
    Ok(())
}

/// A task whose server is not yet well is starting, and gets no connection; once it is well, it runs and gets them.
async fn gates(t: Test) -> Result<()> {
    let here = format!("node.id=={}", t.cluster().node);
    let service =
        t.service("web").args(&["test-server", "--ill"]).constraint(&here).published().health_checked(ILL_FOR);
    let service = service.create().await?;
    t.until("the task is starting", TASKS_WITHIN, || starting(&service)).await?;
    let container = t.until("the task has a container", TASKS_WITHIN, || t.container_of_service(&service.id)).await?;
    t.until("its server answers inside", TASKS_WITHIN, || container.run(&["get", "http://127.0.0.1/"])).await?;
    let node = t.usable().await?.into_iter().find(|node| node.id == t.cluster().node).context("this node is gone")?;
    let url = format!("http://{}:{}/", node.address, service.port().await?);
    t.stays("nobody answers at the port", GATED_FOR, || async {
        starting(&service).await?;
        refuses(t.get(&url)).await
    })
    .await?;
    container.run(&["get", "http://127.0.0.1/well"]).await?;
    service.running(1).await?;
    t.until("the port answers", OWN_PORT_WITHIN, || t.get(&url)).await?;
    Ok(())
}

/// A service without a health check is found by its name at once. With one, it is not while its server is not well;
/// when the check is taken away, it is again, although nothing else has changed.
async fn none(t: Test) -> Result<()> {
    let network = t.network("net").await?;
    let service = t.service("web").on(&network).askable();
    // Says nothing of a check: neither that there is one, nor that there is none.
    let service = service.with(|spec| container_of(spec).health_check = Some(HealthConfig::default()));
    let service = service.create().await?;
    reaches_itself(&t, &service).await?;
    service
        .update(|spec| {
            let container = container_of(spec);
            container.args = Some(["test-server", "--ill"].map(str::to_owned).into());
            container.health_check = Some(check(ILL_FOR));
        })
        .await?;
    t.until("the task is starting", TASKS_WITHIN, || starting(&service)).await?;
    t.stays("it is not taken for well", GATED_FOR, || starting(&service)).await?;
    let none = HealthConfig { test: Some(vec!["NONE".into()]), ..Default::default() };
    service.update(|spec| container_of(spec).health_check = Some(none.clone())).await?;
    reaches_itself(&t, &service).await
}

/// The service's task runs, and is what is found by the service's name.
async fn reaches_itself(t: &Test, service: &Service) -> Result<()> {
    let wanted = containers(&service.running(1).await?)?;
    let url = format!("/fanout?url=http://{}/", service.name);
    t.until("it reaches itself by its name", OVERLAY_WITHIN, || async {
        let who = service.ask(&url).await?;
        ensure!(who == format!("{{\"{}\":1}}", wanted[0]), "{who} answered, wanted {wanted:?}");
        Ok(())
    })
    .await
}

/// A task whose server falls ill fails and says why, and another takes its place.
async fn loss_replaces(t: Test) -> Result<()> {
    let policy = TaskSpecRestartPolicy { delay: Some(0), ..Default::default() };
    let service = t.service("web").askable().health_checked(2);
    let service = service.with(|spec| task_of(spec).restart_policy = Some(policy)).create().await?;
    let before = service.running(1).await?.remove(0);
    service.ask("/ill").await?;
    replaced(&t, &service, before.id.as_deref()).await
}

async fn replaced(t: &Test, service: &Service, id: Option<&str>) -> Result<()> {
    t.until("the task fails as unhealthy and another runs", TASKS_WITHIN, || async {
        let tasks = service.tasks().await?;
        let ill = tasks.iter().find(|it| it.id.as_deref() == id).context("it is forgotten")?;
        let said = task::error(ill).unwrap_or_default();
        ensure!(said.contains("unhealthy"), "it is: {}", task::describe(t.cluster(), ill));
        ensure!(tasks.iter().any(|it| task::runs(it) && it.id.as_deref() != id), "none runs in its place");
        Ok(())
    })
    .await
}
