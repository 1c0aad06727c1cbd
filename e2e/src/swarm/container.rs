//! A container of a case that no service manages, on the engine the suite talks to.

use std::time::Duration;

use anyhow::{Context as _, Result};
use bollard::{
    exec::{StartExecOptions, StartExecResults},
    models::{ContainerCreateBody, ExecConfig, HostConfig},
    query_parameters::{CreateContainerOptions, StartContainerOptions},
};
use futures::StreamExt as _;

use super::network::Network;
use crate::harness::test::Test;

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
        let name = self.name(what);
        let body = ContainerCreateBody {
            image: Some(self.cluster().image.clone()),
            cmd: Some(vec!["test-server".into()]),
            labels: Some(self.labels()),
            host_config: Some(HostConfig { network_mode: Some(network.id.clone()), ..Default::default() }),
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
