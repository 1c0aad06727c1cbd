//! Containers on the engine the suite talks to, and what is asked from inside them.

use std::time::Duration;

use anyhow::{Context as _, Result};
use bollard::{
    exec::{StartExecOptions, StartExecResults},
    models::{
        ContainerCreateBody, ContainerInspectResponse, EndpointSettings, ExecConfig, HostConfig, NetworkingConfig,
    },
    query_parameters::{CreateContainerOptions, ListContainersOptions, RemoveContainerOptions, StartContainerOptions},
};
use futures::StreamExt as _;

use super::network::Network;
use crate::harness::{test::Test, until::Never};

/// How long a command in a container may take.
const RUN_WITHIN: Duration = Duration::from_secs(60);
/// How long the swarm may take to attach a container to an overlay: it has a task of its own for that, which is
/// scheduled like others. A node rejects it that has not heard yet of the address of its balancer there, and the swarm
/// has no other in its place; the engine hears nothing of that, gives up after 20 seconds, and takes up to 20 more to
/// say so to the swarm. That may be so twice.
pub(crate) const ATTACHED_WITHIN: Duration = Duration::from_secs(100);

/// What the engine says when it gives up on that, of whatever the reason is.
const GAVE_UP: &str = "attaching to network failed, make sure your network options are correct and check manager logs";

/// A container that was started.
#[derive(Debug, Clone)]
pub(crate) struct Container {
    pub(crate) test: Test,
    pub(crate) id: String,
    pub(crate) name: String,
}

impl Test {
    /// Starts a test server on a network.
    pub(crate) async fn container(&self, what: &str, network: &Network) -> Result<Container> {
        self.start(what, &network.id, "test-server").await
    }

    /// Starts a test server that is on a network in some way of its own.
    pub(crate) async fn container_with(
        &self,
        what: &str,
        network: &Network,
        endpoint: EndpointSettings,
    ) -> Result<Container> {
        let start = || self.container_once(what, network, endpoint.clone());
        self.attached(&format!("container {what} starts"), start).await
    }

    /// The container of a service's task on the engine that is talked to.
    pub(crate) async fn container_of_service(&self, service: &str) -> Result<Container> {
        self.found("label", format!("com.docker.swarm.service.id={service}")).await
    }

    /// The container of this id on the engine that is talked to.
    pub(crate) async fn container_of_task(&self, id: &str) -> Result<Container> {
        self.found("id", id.to_owned()).await
    }

    async fn found(&self, filter: &str, value: String) -> Result<Container> {
        let filters = Some([(filter.to_owned(), vec![value])].into());
        let found =
            self.docker().list_containers(Some(ListContainersOptions { filters, ..Default::default() })).await?;
        let found = found.into_iter().next().context("no task of the service has a container here")?;
        let (id, names) = (found.id.unwrap_or_default(), found.names.unwrap_or_default());
        let name = names.first().map(|name| name.trim_start_matches('/').to_owned()).unwrap_or_default();
        Ok(Container { test: self.clone(), id, name })
    }

    /// Starts a container of the suite's image.
    pub(crate) async fn start(&self, what: &str, network: &str, command: &str) -> Result<Container> {
        let start = || self.run_once(what, network, command, None);
        self.attached(&format!("container {what} starts"), start).await
    }

    /// Does what has a container attached to an overlay, and does it again where the engine gave up on that. Each time
    /// it has to be another container: an engine that gave up still takes this one for attached (`cluster.attachers` of
    /// Moby), and tells the next time that there is no such network.
    pub(crate) async fn attached<T, F>(&self, what: &str, mut attach: impl FnMut() -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let never = |error| if gave_up(&error) { error } else { Never(format!("{error:#}")).into() };
        let look = || {
            let attached = attach();
            async move { attached.await.map_err(never) }
        };
        self.until(what, ATTACHED_WITHIN, look).await
    }

    /// Starts one that is attached at the first try or not at all.
    pub(crate) async fn container_once(
        &self,
        what: &str,
        network: &Network,
        endpoint: EndpointSettings,
    ) -> Result<Container> {
        let endpoints_config = Some([(network.name.clone(), endpoint)].into());
        self.run_once(what, &network.name, "test-server", Some(NetworkingConfig { endpoints_config })).await
    }

    async fn run_once(
        &self,
        what: &str,
        network: &str,
        command: &str,
        networking_config: Option<NetworkingConfig>,
    ) -> Result<Container> {
        let name = self.name(what);
        let body = ContainerCreateBody {
            image: Some(self.cluster().image.clone()),
            cmd: Some(vec![command.into()]),
            labels: Some(self.labels()),
            host_config: Some(HostConfig { network_mode: Some(network.into()), ..Default::default() }),
            networking_config,
            ..Default::default()
        };
        let (docker, options) =
            (self.docker().clone(), CreateContainerOptions { name: Some(name.clone()), ..Default::default() });
        let create = async move { Ok(docker.create_container(Some(options), body).await?.id) };
        let id = self.make(create).await.with_context(|| format!("cannot create container {name}"))?;
        let started = self.docker().start_container(&id, None::<StartContainerOptions>).await;
        started.with_context(|| format!("cannot start container {name}"))?;
        Ok(Container { test: self.clone(), id, name })
    }
}

/// Whether the engine gave up on attaching a container.
pub(crate) fn gave_up(error: &anyhow::Error) -> bool {
    let said = format!("{error:#}");
    said.contains(GAVE_UP) && said.contains("deadline exceeded")
}

impl Container {
    /// Its host name: what the test server in it answers.
    pub(crate) fn hostname(&self) -> String {
        self.id.chars().take(12).collect()
    }

    /// The container as the engine has it.
    pub(crate) async fn inspect(&self) -> Result<ContainerInspectResponse> {
        let found = self.test.docker().inspect_container(&self.id, None).await;
        found.with_context(|| format!("cannot inspect container {}", self.name))
    }

    /// Removes it.
    pub(crate) async fn remove(&self) -> Result<()> {
        let force = RemoveContainerOptions { force: true, ..Default::default() };
        let removed = self.test.docker().remove_container(&self.id, Some(force)).await;
        removed.with_context(|| format!("cannot remove container {}", self.name))
    }

    /// Runs the suite's binary in it and returns what it printed.
    pub(crate) async fn run(&self, args: &[&str]) -> Result<String> {
        let docker = self.test.docker();
        let what = || format!("e2e {} in container {}", args.join(" "), self.name);
        let config = ExecConfig {
            cmd: Some([&["/e2e"], args].concat().into_iter().map(str::to_owned).collect()),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            ..Default::default()
        };
        let exec = docker.create_exec(&self.id, config).await.with_context(what)?.id;
        let StartExecResults::Attached { mut output, .. } =
            docker.start_exec(&exec, None::<StartExecOptions>).await.with_context(what)?
        else {
            anyhow::bail!("{}: the engine does not attach", what());
        };
        let mut said = String::new();
        let read = async {
            while let Some(part) = output.next().await {
                said.push_str(&part?.to_string());
            }
            Ok::<_, bollard::errors::Error>(())
        };
        self.test
            .within("a command in a container ends", RUN_WITHIN, read)
            .await
            .with_context(what)?
            .with_context(what)?;
        let code = docker.inspect_exec(&exec).await.with_context(what)?.exit_code;
        anyhow::ensure!(code == Some(0), "{} ended with {code:?}: {}", what(), said.trim());
        Ok(said)
    }
}
