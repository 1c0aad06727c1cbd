//! What a person needs to see after a failure: the case's services with their tasks, and the nodes.

use std::fmt::Write as _;

use anyhow::Result;
use bollard::query_parameters::{ListServicesOptions, ListTasksOptions};

use super::test::Test;
use crate::{cluster::Member, swarm::task};

/// The state of the cluster as far as it concerns a case, in plain text.
pub(crate) async fn gather(test: &Test) -> String {
    let mut text = String::new();
    if let Err(error) = write(test, &mut text).await {
        let _ = writeln!(text, "(the rest is unknown: {error:#})");
    }
    text
}

async fn write(test: &Test, text: &mut String) -> Result<()> {
    let docker = test.docker();
    let filters = Some([("label".to_owned(), test.ours())].into());
    let options = ListServicesOptions { filters, ..Default::default() };
    for service in docker.list_services(Some(options)).await? {
        let spec = service.spec.unwrap_or_default();
        writeln!(text, "service {}", spec.name.unwrap_or_default())?;
        if let Some(update) = service.update_status {
            let state = update.state.map(|state| state.to_string()).unwrap_or_default();
            writeln!(text, "  update: {state}: {}", update.message.unwrap_or_default())?;
        }
        for port in service.endpoint.and_then(|endpoint| endpoint.ports).unwrap_or_default() {
            let (to, from) = (port.target_port.unwrap_or_default(), port.published_port.unwrap_or_default());
            writeln!(text, "  port {to} is published as {from}")?;
        }
        let filters = Some([("service".to_owned(), vec![service.id.unwrap_or_default()])].into());
        let mut tasks = docker.list_tasks(Some(ListTasksOptions { filters })).await?;
        tasks.sort_by_key(|task| (task.slot, task.created_at.clone()));
        for task in &tasks {
            writeln!(text, "  {}", task::describe(test.cluster(), task))?;
        }
    }
    for node in docker.list_nodes(None).await? {
        let node = Member::from(node);
        let role = if node.manager { "manager" } else { "worker" };
        let Member { hostname, address, state, availability, engine, .. } = &node;
        writeln!(text, "node {hostname} ({role}, {address}, engine {engine}): {state}, {availability}")?;
    }
    Ok(())
}
