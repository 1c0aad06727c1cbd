//! Asking what a case runs, over the network: from a place outside the swarm's networks, and through a client
//! that is on one of them.
//!
//! Nothing here goes through the engine but where the suite itself is not on a node: an `exec` takes a slow
//! machine a second, and a request a few milliseconds.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow};
use bollard::models::{
    EndpointPortConfig, EndpointPortConfigProtocolEnum, EndpointPortConfigPublishModeEnum as PublishMode, EndpointSpec,
    Task,
};

use super::{
    container::Container,
    network::Network,
    node,
    service::{Builder, PORT, Service},
    task,
};
use crate::{cluster::Member, harness::test::Test, probe};

/// How long a port that a task publishes on its node may refuse after the task runs: the server in it has to begin.
const ASKED_WITHIN: Duration = Duration::from_secs(10);

/// A test server on a network, to be asked about that network.
#[derive(Debug, Clone)]
pub(crate) struct Client(Service);

impl Test {
    /// A place on a network from which to ask. It is a service's task, which is there much sooner than a container
    /// that is attached, for which the swarm makes a task of its own first.
    pub(crate) async fn client(&self, network: &Network) -> Result<Client> {
        let service = self.service("client").on(network).askable().create().await?;
        service.running(1).await?;
        Ok(Client(service))
    }

    /// The body of the answer to a URL that is asked for from outside the swarm's networks.
    pub(crate) async fn get(&self, url: &str) -> Result<String> {
        match self.outside().await? {
            None => probe::get(url).await,
            Some(container) => container.run(&["get", url]).await.map(|said| said.trim().to_owned()),
        }
    }

    /// Asks a URL so often, each time on a new connection, and tells which answer came how often.
    pub(crate) async fn count(&self, url: &str, times: usize) -> Result<BTreeMap<String, usize>> {
        match self.outside().await? {
            None => probe::count(url, times).await,
            Some(container) => counts(&container.run(&["get", url, "--count", &times.to_string()]).await?),
        }
    }

    /// The container from which to ask where this process itself is on no node.
    pub(super) async fn outside(&self) -> Result<Option<Container>> {
        if self.cluster().on_a_node {
            return Ok(None);
        }
        let (id, name) = self.outside_container(async || self.start("outside", "host", "hang").await).await?;
        Ok(Some(Container { test: self.clone(), id, name }))
    }
}

impl Builder {
    /// Let each task publish the test server on its node, so that it can be asked by itself.
    pub(crate) fn askable(self) -> Self {
        self.with(|spec| {
            let port = EndpointPortConfig {
                protocol: Some(EndpointPortConfigProtocolEnum::TCP),
                target_port: Some(PORT.into()),
                publish_mode: Some(PublishMode::HOST),
                ..Default::default()
            };
            spec.endpoint_spec.get_or_insert_with(EndpointSpec::default).ports.get_or_insert_default().push(port);
        })
    }
}

impl Service {
    /// Asks the server of its first running task. The service has to be [`Builder::askable`].
    pub(crate) async fn ask(&self, path: &str) -> Result<String> {
        let what = format!("{} answers {path}", self.name);
        let look = || async {
            let tasks = self.tasks().await?;
            let task = tasks.iter().find(|task| task::runs(task)).context("none of its tasks runs")?;
            self.test.get(&format!("{}{path}", base(task, &node::list(self.test.docker()).await?)?)).await
        };
        self.test.until(&what, ASKED_WITHIN, look).await
    }
}

/// Where a task that publishes the test server on its node is asked: `http://ADDRESS:PORT`.
pub(crate) fn base(task: &Task, nodes: &[Member]) -> Result<String> {
    let node = nodes.iter().find(|node| Some(&node.id) == task.node_id.as_ref()).context("the task is on no node")?;
    let status = task.status.as_ref().context("the task has no status")?;
    let ports = status.port_status.as_ref().and_then(|status| status.ports.as_deref()).unwrap_or_default();
    let port = ports.iter().find(|port| port.target_port == Some(PORT.into())).and_then(|port| port.published_port);
    let port = port.ok_or_else(|| anyhow!("the task on {} publishes no port", node.hostname))?;
    Ok(format!("http://{}:{port}", node.address))
}

impl Client {
    /// One that a case made itself. It has to be [`Builder::askable`].
    pub(crate) fn of(service: Service) -> Self {
        Self(service)
    }

    /// Asks a URL so often, each time on a new connection. What is answered stays there.
    pub(crate) async fn reach(&self, url: &str, times: usize) -> Result<()> {
        self.0.ask_once(&format!("/reach?url={url}&count={times}")).await.map(|_| ())
    }

    /// Which answer a URL gives how often, each time on a new connection.
    pub(crate) async fn count(&self, url: &str, times: usize) -> Result<BTreeMap<String, usize>> {
        counts(&self.0.ask_once(&format!("/fanout?url={url}&count={times}")).await?)
    }

    /// The addresses a name has. Having none is an error.
    pub(crate) async fn resolve(&self, name: &str) -> Result<BTreeSet<IpAddr>> {
        let said = self.0.ask_once(&format!("/resolve?name={name}")).await?;
        serde_json::from_str(&said).with_context(|| format!("no addresses: {said}"))
    }

    /// Who answers at each of the addresses of a name.
    pub(crate) async fn endpoints(&self, name: &str) -> Result<BTreeMap<IpAddr, String>> {
        let said = self.0.ask_once(&format!("/endpoints?name={name}")).await?;
        serde_json::from_str(&said).with_context(|| format!("no answers: {said}"))
    }

    /// The body of the answer to a URL.
    pub(crate) async fn get(&self, url: &str) -> Result<String> {
        self.count(url, 1).await?.into_keys().next().context("no answer")
    }
}

impl Service {
    /// As [`Self::ask`], and an error is the caller's.
    async fn ask_once(&self, path: &str) -> Result<String> {
        let tasks = self.tasks().await?;
        let task = tasks.iter().find(|task| task::runs(task)).context("the client's task does not run")?;
        self.test.get(&format!("{}{path}", base(task, &node::list(self.test.docker()).await?)?)).await
    }
}

fn counts(said: &str) -> Result<BTreeMap<String, usize>> {
    serde_json::from_str(said.trim()).with_context(|| format!("no counts: {said}"))
}
