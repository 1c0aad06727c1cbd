//! A service of a case: made, watched, scaled, updated.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context as _, Result, anyhow, bail};
use bollard::{
    errors::Error,
    models::{
        EndpointPortConfig, EndpointPortConfigProtocolEnum, EndpointSpec, HealthConfig, Mount, MountType,
        NetworkAttachmentConfig, Service as State, ServiceSpec, ServiceSpecMode, ServiceSpecModeReplicated,
        ServiceUpdateStatusStateEnum as UpdateState, Task, TaskSpec, TaskSpecContainerSpec, TaskSpecPlacement,
    },
    query_parameters::{InspectServiceOptions, ListTasksOptions, LogsOptions, UpdateServiceOptions},
};
use futures::TryStreamExt as _;
use serde_json::Value;

use super::{network::Network, task};
use crate::harness::test::Test;

/// How long tasks may take to run or to go: scheduling, a container's start, and a slow machine.
pub(crate) const TASKS_WITHIN: Duration = Duration::from_secs(60);
/// How long an update of a few small tasks may take.
pub(crate) const UPDATED_WITHIN: Duration = Duration::from_secs(120);
/// The port the test server listens on in its container.
pub(crate) const PORT: u16 = 80;

/// A service that is to be made.
#[derive(Debug)]
pub(crate) struct Builder {
    test: Test,
    spec: ServiceSpec,
}

/// A service that was made.
#[derive(Debug, Clone)]
pub(crate) struct Service {
    pub(crate) test: Test,
    pub(crate) id: String,
    pub(crate) name: String,
    /// The health check it was made with. The engine spells its field otherwise than its description of the API
    /// does, from which the client library is made: the library does not read it, and an update would take it away.
    health: Option<HealthConfig>,
}

impl Test {
    /// A service of one test server, unless it is told otherwise.
    pub(crate) fn service(&self, what: &str) -> Builder {
        let container = TaskSpecContainerSpec {
            image: Some(self.cluster().image.clone()),
            args: Some(vec!["test-server".into()]),
            // Most services here stop at once; one that does not is not to hold up the clean-up.
            stop_grace_period: Some(nanos(Duration::from_secs(5))),
            ..Default::default()
        };
        let spec = ServiceSpec {
            name: Some(self.name(what)),
            labels: Some(self.labels()),
            task_template: Some(TaskSpec { container_spec: Some(container), ..Default::default() }),
            ..Default::default()
        };
        Builder { test: self.clone(), spec }.replicas(1)
    }
}

impl Builder {
    /// So many tasks.
    pub(crate) fn replicas(mut self, replicas: u32) -> Self {
        self.spec.mode = Some(replicated(replicas));
        self
    }

    /// A task on every node.
    pub(crate) fn global(mut self) -> Self {
        self.spec.mode = Some(ServiceSpecMode { global: Some([].into()), ..Default::default() });
        self
    }

    /// What the tasks run: arguments of the suite's own binary.
    pub(crate) fn args(self, args: &[&str]) -> Self {
        let args = args.iter().map(|&arg| arg.to_owned()).collect();
        self.with(|spec| container_of(spec).args = Some(args))
    }

    /// Publish the test server's port on every node, on a port the swarm chooses.
    pub(crate) fn published(self) -> Self {
        self.with(|spec| {
            let port = EndpointPortConfig {
                protocol: Some(EndpointPortConfigProtocolEnum::TCP),
                target_port: Some(PORT.into()),
                ..Default::default()
            };
            spec.endpoint_spec.get_or_insert_with(EndpointSpec::default).ports.get_or_insert_default().push(port);
        })
    }

    /// Attach the tasks to a network.
    pub(crate) fn on(self, network: &Network) -> Self {
        let attachment = NetworkAttachmentConfig { target: Some(network.id.clone()), ..Default::default() };
        self.with(|spec| task_of(spec).networks.get_or_insert_default().push(attachment))
    }

    /// Place the tasks only where this holds.
    pub(crate) fn constraint(self, constraint: &str) -> Self {
        let constraint = constraint.to_owned();
        self.with(|spec| {
            let placement = task_of(spec).placement.get_or_insert_with(TaskSpecPlacement::default);
            placement.constraints.get_or_insert_default().push(constraint);
        })
    }

    /// Let the tasks talk to the engine of their node.
    pub(crate) fn with_engine(self) -> Self {
        let socket = Some("/var/run/docker.sock".to_owned());
        let mount = Mount { typ: Some(MountType::BIND), source: socket.clone(), target: socket, ..Default::default() };
        self.with(|spec| container_of(spec).mounts.get_or_insert_default().push(mount))
    }

    /// Anything else a service can have.
    pub(crate) fn with(mut self, change: impl FnOnce(&mut ServiceSpec)) -> Self {
        change(&mut self.spec);
        self
    }

    /// The service as it will be asked for.
    pub(crate) fn spec(&self) -> &ServiceSpec {
        &self.spec
    }

    /// Makes it. No registry is asked about the image: it has to be on the nodes.
    pub(crate) async fn create(self) -> Result<Service> {
        let Self { test, spec } = self;
        let name = spec.name.clone().unwrap_or_default();
        let docker = test.docker().clone();
        let health = spec.task_template.as_ref().and_then(|task| task.container_spec.as_ref()?.health_check.clone());
        let ports = spec.endpoint_spec.as_ref().and_then(|it| it.ports.as_ref());
        if ports.is_some_and(|ports| !ports.is_empty()) {
            // Who asks from a container has it before there is something to ask: no wait for an answer has it start.
            test.outside().await?;
        }
        let create = async move { Ok(docker.create_service(spec, None).await?) };
        let created = test.make(create).await.with_context(|| format!("cannot create service {name}"))?;
        let id = created.id.ok_or_else(|| anyhow!("the engine gave service {name} no id"))?;
        test.note(format_args!("created service {name}"));
        Ok(Service { test, id, name, health })
    }
}

impl Service {
    /// The service as the swarm has it.
    pub(crate) async fn inspect(&self) -> Result<State> {
        let state = self.test.docker().inspect_service(&self.id, None::<InspectServiceOptions>).await;
        state.with_context(|| format!("cannot inspect service {}", self.name))
    }

    /// All its tasks, also those that are over.
    pub(crate) async fn tasks(&self) -> Result<Vec<Task>> {
        let filters = Some([("service".to_owned(), vec![self.id.clone()])].into());
        let tasks = self.test.docker().list_tasks(Some(ListTasksOptions { filters })).await;
        tasks.with_context(|| format!("cannot list the tasks of service {}", self.name))
    }

    /// What its tasks have said so far.
    pub(crate) async fn log(&self) -> Result<String> {
        let all = LogsOptions { stdout: true, stderr: true, ..Default::default() };
        let parts: Result<Vec<_>, _> = self.test.docker().service_logs(&self.id, Some(all)).try_collect().await;
        let parts = parts.with_context(|| format!("cannot read the log of service {}", self.name))?;
        Ok(parts.iter().map(ToString::to_string).collect())
    }

    /// What each of its tasks told last of the engine of its node, whose id its lines begin with.
    pub(crate) async fn told(&self) -> Result<BTreeMap<String, Value>> {
        let log = self.log().await?;
        let lines = log.lines().filter_map(|line| line.split_once(' '));
        Ok(lines.filter_map(|(node, told)| Some((node.to_owned(), serde_json::from_str(told).ok()?))).collect())
    }

    /// Waits until exactly so many tasks run, none more is wanted, and those that are not have ended.
    pub(crate) async fn running(&self, count: usize) -> Result<Vec<Task>> {
        self.test
            .until(&format!("{count} tasks of {} run", self.name), TASKS_WITHIN, || async {
                let tasks = self.tasks().await?;
                self.exactly(count, tasks)
            })
            .await
    }

    fn exactly(&self, count: usize, tasks: Vec<Task>) -> Result<Vec<Task>> {
        if let Some(never) = task::hopeless(self.test.cluster(), &tasks) {
            return Err(never.into());
        }
        let (good, bad): (Vec<_>, Vec<_>) = tasks.into_iter().partition(task::runs);
        // Ended tasks stay in the list as history.
        let unsettled: Vec<_> = bad.iter().filter(|it| task::wanted(it) || task::state(it) == Some(RUNNING)).collect();
        if good.len() == count && unsettled.is_empty() {
            return Ok(good);
        }
        // The failures behind it say more than those that wait for their turn.
        let telling = bad.iter().filter(|it| task::error(it).is_some());
        let mut lines: Vec<_> =
            unsettled.iter().copied().chain(telling).map(|it| task::describe(self.test.cluster(), it)).collect();
        lines.dedup();
        lines.truncate(6);
        bail!("{} run; {}", good.len(), if lines.is_empty() { "no other is wanted".into() } else { lines.join("; ") })
    }

    /// Changes the service. What the swarm changes at the same time is no obstacle.
    pub(crate) async fn update(&self, change: impl Fn(&mut ServiceSpec)) -> Result<()> {
        self.send(change, None).await
    }

    /// Makes the service again what it was before its last update.
    pub(crate) async fn roll_back(&self) -> Result<()> {
        self.send(|_| (), Some("previous".into())).await
    }

    async fn send(&self, change: impl Fn(&mut ServiceSpec), rollback: Option<String>) -> Result<()> {
        loop {
            let state = self.inspect().await?;
            let mut spec = state.spec.ok_or_else(|| anyhow!("service {} has no spec", self.name))?;
            if self.health.is_some() {
                container_of(&mut spec).health_check.clone_from(&self.health);
            }
            change(&mut spec);
            let index = state.version.and_then(|version| version.index).unwrap_or_default();
            let version = i32::try_from(index)?;
            let options = UpdateServiceOptions { version, rollback: rollback.clone(), ..Default::default() };
            match self.test.docker().update_service(&self.id, spec, options, None).await {
                Ok(_) => return Ok(()),
                Err(Error::DockerResponseServerError { message, .. }) if message.contains("out of sequence") => {}
                Err(error) => return Err(error).with_context(|| format!("cannot update service {}", self.name)),
            }
        }
    }

    /// Gives its tasks something new that does them no harm, so that they are replaced.
    pub(crate) async fn renew(&self) -> Result<()> {
        let generation = format!("GENERATION={}", self.test.name("generation"));
        self.update(|spec| container_of(spec).env = Some(vec![generation.clone()])).await
    }

    /// Waits until its update is in this state.
    pub(crate) async fn updated(&self, end: UpdateState) -> Result<()> {
        let what = format!("the update of {} is {end}", self.name);
        self.test
            .until(&what, UPDATED_WITHIN, || async {
                let status = self.inspect().await?.update_status.unwrap_or_default();
                let state = status.state.map_or_else(|| "not begun".to_owned(), |state| state.to_string());
                let said = status.message.unwrap_or_default();
                if status.state == Some(end) { Ok(()) } else { bail!("it is {state} ({said})") }
            })
            .await
    }

    /// Asks for another number of tasks.
    pub(crate) async fn scale(&self, replicas: u32) -> Result<()> {
        self.test.note(format_args!("scaling {} to {replicas}", self.name));
        self.update(|spec| spec.mode = Some(replicated(replicas))).await
    }

    /// Removes it, and waits until its tasks are gone: the swarm forgets a task when its container has ended.
    pub(crate) async fn remove(&self) -> Result<()> {
        let removed = self.test.docker().delete_service(&self.id).await;
        removed.with_context(|| format!("cannot remove service {}", self.name))?;
        let what = format!("the tasks of {} are gone", self.name);
        self.test
            .until(&what, TASKS_WITHIN, || async {
                // By their labels: a service that is gone is none to ask for.
                let filters = Some([("label".to_owned(), self.test.ours())].into());
                let left = self.test.docker().list_tasks(Some(ListTasksOptions { filters })).await?;
                let left = left.iter().filter(|it| it.service_id.as_ref() == Some(&self.id));
                let left: Vec<_> = left.map(|it| task::describe(self.test.cluster(), it)).collect();
                if left.is_empty() { Ok(()) } else { bail!("{} are left: {}", left.len(), left.join("; ")) }
            })
            .await
    }

    /// The port on which the nodes publish the test server.
    pub(crate) async fn port(&self) -> Result<u16> {
        let what = format!("the port of {} is published", self.name);
        self.test
            .until(&what, Duration::from_secs(10), || async {
                let ports = self.inspect().await?.endpoint.and_then(|endpoint| endpoint.ports).unwrap_or_default();
                let port = ports.iter().find(|port| port.target_port == Some(PORT.into()));
                let port = port.and_then(|port| port.published_port).filter(|&port| port != 0);
                u16::try_from(port.ok_or_else(|| anyhow!("the swarm has assigned no port yet"))?).context("no port")
            })
            .await
    }
}

const RUNNING: bollard::models::TaskState = bollard::models::TaskState::RUNNING;

/// The host names of the containers of tasks.
pub(crate) fn containers(tasks: &[Task]) -> Result<Vec<String>> {
    tasks.iter().map(|it| task::container(it).ok_or_else(|| anyhow!("task {:?} has no container", it.id))).collect()
}

/// How many of these tasks each node has.
pub(crate) fn by_node(tasks: &[Task]) -> BTreeMap<String, usize> {
    let mut nodes = BTreeMap::new();
    for task in tasks {
        *nodes.entry(task.node_id.clone().unwrap_or_default()).or_default() += 1;
    }
    nodes
}

/// The part of a service that its tasks are made from.
pub(crate) fn task_of(spec: &mut ServiceSpec) -> &mut TaskSpec {
    spec.task_template.get_or_insert_default()
}

/// The part of a service that its containers are made from.
pub(crate) fn container_of(spec: &mut ServiceSpec) -> &mut TaskSpecContainerSpec {
    task_of(spec).container_spec.get_or_insert_default()
}

/// The engine counts time in nanoseconds.
pub(crate) fn nanos(time: Duration) -> i64 {
    i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)
}

/// So many tasks.
pub(crate) fn replicated(replicas: u32) -> ServiceSpecMode {
    let replicated = Some(ServiceSpecModeReplicated { replicas: Some(replicas.into()) });
    ServiceSpecMode { replicated, ..Default::default() }
}
