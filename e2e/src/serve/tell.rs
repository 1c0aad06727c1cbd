//! What the engines of other nodes tell, printed by a task there: a case reads it in the service's log
//! (`Service::told`), and knows the node by the id that each line begins with.

use std::{cell::RefCell, time::Duration};

use anyhow::{Context as _, Result, anyhow};
use bollard::{
    Docker,
    errors::Error,
    models::{EventMessage, ServiceSpec},
    query_parameters::{EventsOptions, ListServicesOptions},
};
use futures::TryStreamExt as _;
use serde_json::{Value, json};

use super::{engine, say};
use crate::{harness::until::until, swarm::node};

/// Prints the state of the node, the managers it knows and, where it manages, the nodes.
pub(super) async fn swarm() -> Result<()> {
    tell(async |docker| {
        let swarm = docker.info().await?.swarm.unwrap_or_default();
        let manages = swarm.control_available == Some(true);
        let nodes = if manages { node::list(docker).await? } else { Vec::new() };
        let nodes = nodes.iter().map(|it| {
            json!({ "id": it.id, "state": it.state, "availability": it.availability, "manager": it.manager,
                    "reachable": it.reachable, "leader": it.leader })
        });
        let managers = swarm.remote_managers.unwrap_or_default();
        let managers: Vec<_> = managers.into_iter().map(|peer| json!([peer.node_id, peer.addr])).collect();
        let state = swarm.local_node_state.map(|state| state.to_string());
        let nodes: Vec<_> = nodes.collect();
        Ok(json!({ "state": state, "manages": manages, "managers": managers, "nodes": nodes }))
    })
    .await
}

/// Prints what was heard of an object of this name so far: `["create"]`.
pub(super) async fn events(kind: &str, name: &str) -> Result<()> {
    tell(async |docker| {
        let filters = [("type", kind), ("scope", "swarm")].map(|(key, value)| (key.to_owned(), vec![value.to_owned()]));
        let until = Some(node::clock(docker).await?);
        let past = EventsOptions { since: Some("0".into()), until, filters: Some(filters.into()) };
        let heard: Vec<_> = docker.events(Some(past)).try_collect().await?;
        let of = |event: &EventMessage| event.actor.as_ref()?.attributes.as_ref()?.get("name").cloned();
        let ours = heard.into_iter().filter(|event| of(event).as_deref() == Some(name));
        Ok(ours.filter_map(|event| event.action).collect())
    })
    .await
}

/// Makes a service, and prints those that have the label: `["ID NAME"]`.
pub(super) async fn services(spec: &str, label: &str) -> Result<()> {
    let spec: ServiceSpec = serde_json::from_str(spec).context("this is no service")?;
    let docker = engine().await?;
    // The id in full is too long for the name of a service.
    let name = format!("{}-{:.8}", spec.name.clone().unwrap_or_default(), own_id(&docker).await?);
    match docker.create_service(ServiceSpec { name: Some(name), ..spec }, None).await {
        // The task before this one made it.
        Ok(_) | Err(Error::DockerResponseServerError { status_code: 409, .. }) => {}
        Err(error) => return Err(error).context("cannot make the service"),
    }
    tell(async |docker| {
        let filters = Some([("label".to_owned(), vec![label.to_owned()])].into());
        let found = docker.list_services(Some(ListServicesOptions { filters, ..Default::default() })).await?;
        let found = found.into_iter().map(|it| (it.id, it.spec.and_then(|spec| spec.name)));
        let mut told: Vec<_> =
            found.map(|(id, name)| format!("{} {}", id.unwrap_or_default(), name.unwrap_or_default())).collect();
        told.sort_unstable();
        Ok(json!(told))
    })
    .await
}

async fn own_id(docker: &Docker) -> Result<String> {
    docker.info().await?.swarm.and_then(|swarm| swarm.node_id).context("the engine is of no swarm")
}

/// Says what is told whenever it is another, for ever: a service whose tasks end is begun again. An engine that does
/// not answer is asked again.
async fn tell(look: impl AsyncFn(&Docker) -> Result<Value>) -> Result<()> {
    let last = RefCell::new(None);
    let again = async || {
        let docker = engine().await?;
        let (id, told) = (own_id(&docker).await?, look(&docker).await?);
        if last.borrow().as_ref() != Some(&told) {
            say(&format!("{id} {told}"));
            last.replace(Some(told));
        }
        Err::<(), _>(anyhow!("it is told to end from outside"))
    };
    until("the end", Duration::MAX, |_| (), again).await.map(|_| ())
}
