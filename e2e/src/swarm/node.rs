//! The nodes of the swarm as they are now, and changes to them.
//!
//! A label that a case puts on a node has the run, the case and the start in its name, so that it is found again.

use anyhow::{Context as _, Result};
use bollard::{Docker, errors::Error, models::NodeSpec, query_parameters::UpdateNodeOptions};

use crate::{cluster::Member, harness::test::Test};

/// All nodes, as they are now.
pub(crate) async fn list(docker: &Docker) -> Result<Vec<Member>> {
    let nodes = docker.list_nodes(None).await.context("cannot list the nodes")?;
    Ok(nodes.into_iter().map(Member::from).collect())
}

/// Changes a node. What the swarm changes at the same time is no obstacle.
pub(crate) async fn update(docker: &Docker, id: &str, change: impl Fn(&mut NodeSpec)) -> Result<()> {
    loop {
        let node = docker.inspect_node(id).await.with_context(|| format!("cannot inspect node {id}"))?;
        let mut spec = node.spec.clone().unwrap_or_default();
        change(&mut spec);
        if Some(&spec) == node.spec.as_ref() {
            return Ok(());
        }
        let index = node.version.and_then(|version| version.index).unwrap_or_default();
        let options = UpdateNodeOptions { version: i64::try_from(index)? };
        match docker.update_node(id, spec, options).await {
            Ok(()) => return Ok(()),
            Err(Error::DockerResponseServerError { message, .. }) if message.contains("out of sequence") => {}
            Err(error) => return Err(error).with_context(|| format!("cannot update node {id}")),
        }
    }
}

/// The engine's own clock, as its events are asked for: seconds since 1970.
pub(crate) async fn clock(docker: &Docker) -> Result<String> {
    let told = docker.info().await?.system_time.context("the engine does not say what time it is")?;
    let time: jiff::Timestamp = told.parse().with_context(|| format!("{told} is no time"))?;
    Ok(format!("{}.{:09}", time.as_second(), time.subsec_nanosecond()))
}

impl Test {
    /// The nodes that are ready and active, as they are now.
    pub(crate) async fn usable(&self) -> Result<Vec<Member>> {
        Ok(list(self.docker()).await?.into_iter().filter(|node| node.usable).collect())
    }

    /// A name for a label that nothing else on the cluster has. It goes when the case is over.
    pub(crate) fn node_label(&self, what: &str) -> String {
        format!("{}.{}", self.name(what), self.mark())
    }

    /// Labels a node.
    pub(crate) async fn label(&self, node: &str, label: &str, value: &str) -> Result<()> {
        let (docker, id) = (self.docker().clone(), node.to_owned());
        let (label, value) = (label.to_owned(), value.to_owned());
        self.note(format_args!("labels {} with {label}={value}", self.cluster().hostname(node)));
        self.make(async move {
            update(&docker, &id, |spec| {
                spec.labels.get_or_insert_default().insert(label.clone(), value.clone());
            })
            .await
        })
        .await
    }

    /// Takes a label from a node.
    pub(crate) async fn unlabel(&self, node: &str, label: &str) -> Result<()> {
        self.note(format_args!("takes {label} from {}", self.cluster().hostname(node)));
        update(self.docker(), node, |spec| {
            spec.labels.get_or_insert_default().remove(label);
        })
        .await
    }
}
