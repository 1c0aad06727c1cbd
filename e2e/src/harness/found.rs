//! The cluster as a disruptive case found it: remembered before, brought back after, and compared.
//!
//! It is remembered in the swarm too, so that the next run can bring it back when this one is killed. A node is the same
//! when its host name is: one that left and came back has another id.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use bollard::{
    Docker,
    errors::Error,
    models::{Node, NodeSpec, NodeState, Reachability, SwarmSpec},
    query_parameters::{DeleteNodeOptions, ListConfigsOptions, UpdateSwarmOptions},
};
use serde::{Deserialize, Serialize};

use super::{
    life,
    test::{RUN, Run},
    waits::Waits,
};
use crate::swarm::node;

/// The label of what is remembered in the swarm: how many things the run had made before.
const FOUND: &str = "dev.testkit.e2e.found";

/// How long the swarm may take to be whole again: managers that were demoted join the others anew.
const WHOLE_WITHIN: Duration = Duration::from_secs(120);

/// What a disruptive case must not leave otherwise.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Found {
    nodes: BTreeMap<String, Seen>,
    spec: SwarmSpec,
    /// The network of published ports, and its subnets.
    ingress: Option<Vec<String>>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
        Ok(Self { nodes: by_name(nodes.into_iter().map(seen)), spec, ingress })
    }

    /// Gives the nodes and the swarm the settings they had, forgets nodes that left, and waits until all is as
    /// it was. What does not come back is the error.
    pub(crate) async fn restore(&self, docker: &Docker, waits: &Waits) -> Result<Duration> {
        let what = "the cluster is as it was found";
        let look = || async {
            self.set(docker, |now, before| now.clone_from(before)).await?;
            self.same(&Self::look(docker).await?)
        };
        waits.until(what, WHOLE_WITHIN, |_| (), look).await.map(|((), took)| took)
    }

    /// Remembers it in the swarm, until it is [`forget`]ed. It has no case, so that no case's clean-up removes it.
    pub(crate) async fn keep(&self, run: &Run) -> Result<String> {
        let number = run.number();
        let mut labels = run.labels();
        labels.insert(FOUND.into(), number.to_string());
        let spec = life::config(format!("e2e-{}-{number}-found", run.id), labels, &serde_json::to_string(self)?);
        let created = run.cluster.docker.create_config(spec).await;
        Ok(created.context("cannot store in the swarm how the cluster was found")?.id)
    }

    /// What a run found before it changed anything, if it is remembered.
    pub(crate) async fn kept(docker: &Docker, run: &str) -> Result<Option<Self>> {
        let filters = Some([("label".to_owned(), vec![format!("{RUN}={run}"), FOUND.to_owned()])].into());
        let configs = docker.list_configs(Some(ListConfigsOptions { filters })).await.context("cannot list configs")?;
        let number = |labels: Option<HashMap<String, String>>| labels?.get(FOUND)?.parse::<usize>().ok();
        let first = configs.into_iter().filter_map(|config| config.spec).min_by_key(|spec| number(spec.labels.clone()));
        let Some(data) = first.and_then(|spec| spec.data) else { return Ok(None) };
        let found = BASE64_STANDARD.decode(data).context("what a run remembered of the cluster is no base64")?;
        Ok(Some(serde_json::from_slice(&found).context("what a run remembered of the cluster cannot be read")?))
    }

    /// Brings back what a run has changed that is over. Since then others may have changed the cluster too: nodes that
    /// are new, gone or down are left alone, and so are labels that nodes got. Says what was not as it was found.
    pub(crate) async fn undo(&self, docker: &Docker) -> Result<Vec<String>> {
        let changed = self.changed(docker).await?;
        let look = || async {
            self.set(docker, bring_back).await?;
            let left = self.changed(docker).await?;
            ensure!(left.is_empty(), "{}", left.join("; "));
            Ok(())
        };
        let waits = Waits::default();
        waits.until("the cluster is as that run found it", WHOLE_WITHIN, |_| (), look).await?;
        Ok(changed)
    }

    /// Names of nodes that were up, and of which none is now.
    pub(crate) async fn missing(&self, docker: &Docker) -> Result<Vec<String>> {
        Ok(self.missing_of(&Self::look(docker).await?))
    }

    fn missing_of(&self, now: &Self) -> Vec<String> {
        let up = |name: &String| now.nodes.get(name).is_some_and(|it| it.up);
        self.nodes.iter().filter(|(name, it)| it.up && !up(name)).map(|(name, _)| name.clone()).collect()
    }

    /// What is not as it was found of nodes that are still there, and of the swarm.
    async fn changed(&self, docker: &Docker) -> Result<Vec<String>> {
        let now = Self::look(docker).await?;
        let mut changed = Vec::new();
        for (name, before) in &self.nodes {
            let Some(now) = now.nodes.get(name).filter(|it| it.up) else { continue };
            let mut spec = now.spec.clone();
            bring_back(&mut spec, &before.spec);
            if spec != now.spec || now.reachable != before.reachable {
                let say = |it: &Seen| {
                    let (role, availability) = (it.spec.role, it.spec.availability);
                    let words = [role.map(|it| it.to_string()), availability.map(|it| it.to_string())];
                    words.into_iter().flatten().collect::<Vec<_>>().join(", ")
                };
                changed.push(format!("node {name} was {}, and is {}", say(before), say(now)));
            }
        }
        if now.spec != self.spec {
            changed.push("the swarm's settings are others".to_owned());
        }
        Ok(changed)
    }

    async fn set(&self, docker: &Docker, set: impl Fn(&mut NodeSpec, &NodeSpec)) -> Result<()> {
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
            let spec = seen(now.clone()).1.spec;
            let mut wanted = spec.clone();
            set(&mut wanted, &before.spec);
            if wanted != spec {
                let id = now.id.as_deref().unwrap_or_default();
                node::update(docker, id, |spec| *spec = wanted.clone()).await?;
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

/// Forgets what was remembered in the swarm.
pub(crate) async fn forget(docker: &Docker, kept: &str) -> Result<()> {
    match docker.delete_config(kept).await {
        Ok(()) | Err(Error::DockerResponseServerError { status_code: 404, .. }) => Ok(()),
        Err(error) => Err(error).context("cannot remove from the swarm how the cluster was found"),
    }
}

/// Gives a node what it had, and lets it keep the labels it got.
fn bring_back(now: &mut NodeSpec, before: &NodeSpec) {
    (now.role, now.availability) = (before.role, before.availability);
    for (label, value) in before.labels.iter().flatten() {
        now.labels.get_or_insert_default().entry(label.clone()).or_insert_with(|| value.clone());
    }
}

fn name(node: &Node) -> String {
    node.description.as_ref().and_then(|it| it.hostname.clone()).unwrap_or_default()
}

fn up(node: &Node) -> bool {
    node.status.as_ref().and_then(|status| status.state) == Some(NodeState::READY)
}

/// Of nodes of one name the one that is up: the others have left.
fn by_name(all: impl Iterator<Item = (String, Seen)>) -> BTreeMap<String, Seen> {
    let mut nodes = BTreeMap::<String, Seen>::new();
    for (name, it) in all {
        if it.up || !nodes.contains_key(&name) {
            nodes.insert(name, it);
        }
    }
    nodes
}

fn seen(node: Node) -> (String, Seen) {
    let (name, up) = (name(&node), up(&node));
    let reachable = node.manager_status.map(|manager| manager.reachability == Some(Reachability::REACHABLE));
    let mut spec = node.spec.unwrap_or_default();
    // No labels are told in two ways.
    spec.labels = spec.labels.filter(|labels: &HashMap<_, _>| !labels.is_empty());
    (name, Seen { spec, up, reachable })
}

#[cfg(test)]
mod tests {
    use bollard::models::{NodeSpecAvailabilityEnum as Availability, NodeSpecRoleEnum as Role};

    use super::*;

    fn spec(role: Role, availability: Availability, labels: &[(&str, &str)]) -> NodeSpec {
        let labels = labels.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect();
        NodeSpec { role: Some(role), availability: Some(availability), labels: Some(labels), ..Default::default() }
    }

    #[test]
    fn a_node_gets_back_what_it_had_and_keeps_the_labels_it_got() {
        let before = spec(Role::MANAGER, Availability::ACTIVE, &[("slot", "m0"), ("zone", "a")]);
        let mut now = spec(Role::WORKER, Availability::DRAIN, &[("slot", "m1"), ("new", "yes")]);
        bring_back(&mut now, &before);
        let wanted = [("slot", "m1"), ("new", "yes"), ("zone", "a")];
        assert_eq!(now, spec(Role::MANAGER, Availability::ACTIVE, &wanted));
    }

    #[test]
    fn a_node_that_was_up_is_missed_until_one_of_its_name_is_up() {
        let seen = |up| Seen { spec: NodeSpec::default(), up, reachable: None };
        let found = |nodes: &[(&str, bool)]| Found {
            nodes: by_name(nodes.iter().map(|&(name, up)| (name.to_owned(), seen(up)))),
            spec: SwarmSpec::default(),
            ingress: None,
        };
        let before = found(&[("a", true), ("b", true), ("c", true), ("d", false)]);
        assert_eq!(before.missing_of(&found(&[("a", true), ("b", false), ("d", false)])), ["b", "c"]);
        assert!(
            before.missing_of(&found(&[("a", true), ("b", true), ("b", false), ("c", false), ("c", true)])).is_empty()
        );
        assert!(before.missing_of(&before).is_empty());
    }

    #[test]
    fn what_is_remembered_in_the_swarm_is_read_again() -> Result<()> {
        let seen =
            Seen { spec: spec(Role::WORKER, Availability::PAUSE, &[("a", "b")]), up: true, reachable: Some(false) };
        let found = Found {
            nodes: [("node".to_owned(), seen)].into(),
            spec: SwarmSpec { name: Some("default".into()), ..Default::default() },
            ingress: Some(vec!["10.0.0.0/24".into()]),
        };
        assert_eq!(serde_json::from_str::<Found>(&serde_json::to_string(&found)?)?, found);
        Ok(())
    }
}
