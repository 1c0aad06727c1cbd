//! The cluster as a disruptive case found it: remembered before, brought back after, and compared.
//!
//! A node is the same when its host name is: one that left and came back has another id.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use bollard::{
    Docker,
    models::{Node, NodeSpec, NodeState, Reachability, SwarmSpec},
    query_parameters::{DeleteNodeOptions, UpdateSwarmOptions},
};

use super::until;
use crate::swarm::node;

/// How long the swarm may take to be whole again: managers that were demoted join the others anew.
const WHOLE_WITHIN: Duration = Duration::from_secs(120);

/// What a disruptive case must not leave otherwise.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Found {
    nodes: BTreeMap<String, Seen>,
    spec: SwarmSpec,
    /// The network of published ports, and its subnets.
    ingress: Option<Vec<String>>,
}

#[derive(Debug, Clone, PartialEq)]
struct Seen {
    spec: NodeSpec,
    up: bool,
    /// Nothing for a worker.
    reachable: Option<bool>,
}

impl Found {
    /// Looks at the cluster.
    pub(crate) async fn look(docker: &Docker) -> Result<Self> {
        let nodes = docker.list_nodes(None).await.context("cannot list the nodes")?;
        let swarm = docker.inspect_swarm().await.context("cannot inspect the swarm")?;
        let networks = docker.list_networks(None).await.context("cannot list the networks")?;
        let ingress = networks.into_iter().find(|network| network.ingress == Some(true)).map(|network| {
            let configs = network.ipam.and_then(|ipam| ipam.config).unwrap_or_default();
            configs.into_iter().filter_map(|config| config.subnet).collect()
        });
        let mut spec = swarm.spec.unwrap_or_default();
        // How often the root was rotated is not undone; a rotated swarm is as good as before.
        if let Some(ca) = spec.ca_config.as_mut() {
            ca.force_rotate = None;
        }
        Ok(Self { nodes: nodes.into_iter().map(seen).collect(), spec, ingress })
    }

    /// Gives the nodes and the swarm the settings they had, forgets nodes that left, and waits until all is as
    /// it was. What does not come back is the error.
    pub(crate) async fn restore(&self, docker: &Docker) -> Result<Duration> {
        let what = "the cluster is as it was found";
        let look = || async {
            self.set(docker).await?;
            self.same(&Self::look(docker).await?)
        };
        until::until(what, WHOLE_WITHIN, |_| (), look).await.map(|((), took)| took)
    }

    async fn set(&self, docker: &Docker) -> Result<()> {
        let nodes = docker.list_nodes(None).await.context("cannot list the nodes")?;
        for gone in
            nodes.iter().filter(|node| !up(node) && nodes.iter().any(|other| up(other) && name(other) == name(node)))
        {
            let id = gone.id.as_deref().unwrap_or_default();
            // A manager that left is to be demoted before it can be removed, and that takes a moment.
            node::update(docker, id, |spec| spec.role = Some(bollard::models::NodeSpecRoleEnum::WORKER)).await?;
            docker
                .delete_node(id, Some(DeleteNodeOptions { force: true }))
                .await
                .context("cannot forget a node that left")?;
        }
        for now in nodes.iter().filter(|node| up(node)) {
            let Some(before) = self.nodes.get(&name(now)) else { continue };
            if seen(now.clone()).1.spec != before.spec {
                let id = now.id.as_deref().unwrap_or_default();
                node::update(docker, id, |spec| *spec = before.spec.clone()).await?;
            }
        }
        let swarm = docker.inspect_swarm().await.context("cannot inspect the swarm")?;
        let force_rotate = swarm.spec.as_ref().and_then(|spec| spec.ca_config.as_ref()?.force_rotate);
        let mut spec = self.spec.clone();
        if let Some(ca) = spec.ca_config.as_mut() {
            ca.force_rotate = force_rotate;
        }
        if swarm.spec.as_ref() != Some(&spec) {
            let version = i64::try_from(swarm.version.and_then(|version| version.index).unwrap_or_default())?;
            let options = UpdateSwarmOptions { version, ..Default::default() };
            docker.update_swarm(spec, options).await.context("cannot give the swarm its settings back")?;
        }
        Ok(())
    }

    fn same(&self, now: &Self) -> Result<()> {
        for (name, before) in &self.nodes {
            let Some(now) = now.nodes.get(name) else { bail!("node {name} is not there") };
            ensure!(now == before, "node {name} was {before:?}, and is {now:?}");
        }
        ensure!(now.nodes.len() == self.nodes.len(), "there are nodes that were not: {:?}", now.nodes.keys());
        ensure!(now.spec == self.spec, "the swarm's settings were {:?}, and are {:?}", self.spec, now.spec);
        ensure!(now.ingress == self.ingress, "the ingress network was {:?}, and is {:?}", self.ingress, now.ingress);
        Ok(())
    }
}

fn name(node: &Node) -> String {
    node.description.as_ref().and_then(|it| it.hostname.clone()).unwrap_or_default()
}

fn up(node: &Node) -> bool {
    node.status.as_ref().and_then(|status| status.state) == Some(NodeState::READY)
}

fn seen(node: Node) -> (String, Seen) {
    let (name, up) = (name(&node), up(&node));
    let reachable = node.manager_status.map(|manager| manager.reachability == Some(Reachability::REACHABLE));
    let mut spec = node.spec.unwrap_or_default();
    // No labels are told in two ways.
    spec.labels = spec.labels.filter(|labels: &HashMap<_, _>| !labels.is_empty());
    (name, Seen { spec, up, reachable })
}
