//! Containers on the engine the suite talks to, and what is asked from inside them.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context as _, Result};
use bollard::{
    exec::{StartExecOptions, StartExecResults},
    models::{ContainerCreateBody, ExecConfig, HostConfig},
    query_parameters::{CreateContainerOptions, StartContainerOptions},
};
use futures::StreamExt as _;

use super::{network::Network, task};
use crate::{harness::test::Test, probe};

/// A container that was started.
#[derive(Debug, Clone)]
pub(crate) struct Container {
    test: Test,
    pub(crate) id: String,
    pub(crate) name: String,
}

impl Test {
    /// Starts a test server on a network.
    pub(crate) async fn container(&self, what: &str, network: &Network) -> Result<Container> {
        self.start(what, &network.id, "test-server").await
    }

    /// A place on a network from which to ask: the container of a service's task on this engine. It is there much
    /// sooner than a container that is attached, for which the swarm makes a task of its own first.
    pub(crate) async fn client(&self, network: &Network) -> Result<Container> {
        let here = format!("node.id=={}", self.cluster().node);
        let service = self.service("client").on(network).constraint(&here).create().await?;
        let tasks = service.running(1).await?;
        let id = tasks.first().and_then(task::container_id).context("the client's task has no container")?;
        Ok(Container { test: self.clone(), id: id.to_owned(), name: service.name })
    }

    /// A place outside the swarm's networks from which the nodes' addresses answer: this process, or a container
    /// on a node where the suite itself is elsewhere.
    pub(crate) async fn outside(&self) -> Result<Outside> {
        if self.cluster().on_a_node {
            return Ok(Outside::Here);
        }
        Ok(Outside::There(self.start("outside", "host", "hang").await?))
    }

    async fn start(&self, what: &str, network: &str, command: &str) -> Result<Container> {
        let name = self.name(what);
        let body = ContainerCreateBody {
            image: Some(self.cluster().image.clone()),
            cmd: Some(vec![command.into()]),
            labels: Some(self.labels()),
            host_config: Some(HostConfig { network_mode: Some(network.into()), ..Default::default() }),
            ..Default::default()
        };
        let (docker, options) =
            (self.docker().clone(), CreateContainerOptions { name: Some(name.clone()), ..Default::default() });
        let create = async move {
            let id = docker.create_container(Some(options), body).await?.id;
            docker.start_container(&id, None::<StartContainerOptions>).await?;
            Ok(id)
        };
        let id = self.make(create).await.with_context(|| format!("cannot start container {name}"))?;
        self.note(format_args!("started container {name}"));
        Ok(Container { test: self.clone(), id, name })
    }
}

/// See [`Test::outside`].
#[derive(Debug)]
pub(crate) enum Outside {
    Here,
    There(Container),
}

impl Outside {
    /// Asks a URL so often, each time on a new connection, and tells which answer came how often.
    pub(crate) async fn count(&self, url: &str, times: usize) -> Result<BTreeMap<String, usize>> {
        match self {
            Self::Here => probe::count(url, times).await,
            Self::There(container) => {
                let said = container.run(&["get", url, "--count", &times.to_string()]).await?;
                serde_json::from_str(said.trim()).with_context(|| format!("no counts: {said}"))
            }
        }
    }
}

impl Container {
    /// Its host name: what the test server in it answers.
    pub(crate) fn hostname(&self) -> String {
        self.id.chars().take(12).collect()
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
        tokio::time::timeout(Duration::from_secs(60), read).await.with_context(what)?.with_context(what)?;
        let code = docker.inspect_exec(&exec).await.with_context(what)?.exit_code;
        anyhow::ensure!(code == Some(0), "{} ended with {code:?}: {}", what(), said.trim());
        Ok(said)
    }
}
