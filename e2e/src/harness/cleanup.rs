//! Removal of what the suite made, found by label: after a case, and by `e2e clean`.
//!
//! Services first, then containers, then volumes and networks: they go only after the tasks that use them are
//! really gone. Of volumes those of the engine that is talked to: no other is within reach.
//! Nothing without the suite's label is ever touched.

use std::{collections::HashMap, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};
use bollard::{
    Docker,
    errors::Error,
    models::TaskState,
    query_parameters::{
        ListConfigsOptions, ListContainersOptions, ListNetworksOptions, ListSecretsOptions, ListServicesOptions,
        ListTasksOptions, ListVolumesOptions, RemoveContainerOptions, RemoveVolumeOptions,
    },
};
use futures::future::join_all;

use super::{
    test::{CASE, RUN, STARTED},
    until,
};
use crate::swarm::node;

/// How long tasks may take to go. A task's container gets ten seconds to stop unless its service says less.
const TASKS_GO_WITHIN: Duration = Duration::from_secs(40);
/// How long tasks of a service that was scaled down may take to go before the service is removed: the engine stops them
/// a few seconds later.
const LEAVING_GO_WITHIN: Duration = Duration::from_secs(15);
/// How long a network may be in use by tasks that are gone.
const NETWORKS_GO_WITHIN: Duration = Duration::from_secs(20);

type Labels = HashMap<String, String>;

/// Which of the suite's objects.
#[derive(Debug)]
pub(crate) struct Selection {
    /// Label filters in the engine's form, `KEY` or `KEY=VALUE`.
    pub(crate) labels: Vec<String>,
    /// Only those of runs that started before this second.
    pub(crate) started_before: Option<i64>,
}

impl Selection {
    /// What runs left that started before this second.
    pub(crate) fn of_all_runs(started_before: i64) -> Self {
        Self { labels: vec![RUN.to_owned()], started_before: Some(started_before) }
    }

    /// Whether a node's label is one: `e2e-RUN-NUMBER-WHAT.CASE.STARTED`.
    fn has_node_label(&self, label: &str) -> bool {
        let mut parts = label.strip_prefix("e2e-").unwrap_or_default().rsplitn(3, '.');
        let (Some(started), Some(case), Some(name)) = (parts.next(), parts.next(), parts.next()) else { return false };
        let of = |filter: &String| match filter.split_once('=') {
            Some((RUN, run)) => name.starts_with(run),
            Some((CASE, wanted)) => case == wanted,
            _ => true,
        };
        self.labels.iter().all(of) && self.has(Some(&[(STARTED.to_owned(), started.to_owned())].into()))
    }

    fn filters(&self) -> Option<HashMap<String, Vec<String>>> {
        Some([("label".to_owned(), self.labels.clone())].into())
    }

    fn has(&self, labels: Option<&Labels>) -> bool {
        let started = || labels?.get(STARTED)?.parse::<i64>().ok();
        self.started_before.is_none_or(|limit| started().is_some_and(|started| started < limit))
    }
}

/// An object that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Object {
    kind: &'static str,
    id: String,
    name: String,
}

impl std::fmt::Display for Object {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}

/// Removes everything selected and proves that it is gone; what was there is returned.
pub(crate) async fn remove(docker: &Docker, which: &Selection) -> Result<Vec<Object>> {
    let services = services(docker, which).await.context("cannot list services")?;
    let (containers, secrets_and_configs) =
        (containers(docker, which).await.context("cannot list containers")?, stored(docker, which).await?);
    let networks = networks(docker, which).await.context("cannot list networks")?;
    let (volumes, labels) = (volumes(docker, which).await?, node_labels(docker, which).await?);

    // A task that stays on its way, as on a node that is down, is no reason to leave its service.
    let _ =
        until::until("no task is on its way out", LEAVING_GO_WITHIN, |_| (), || none_leaves(docker, &services)).await;
    all(services.iter().map(|service| gone("service", &service.name, docker.delete_service(&service.id)))).await?;
    let force = Some(RemoveContainerOptions { force: true, v: true, ..Default::default() });
    all(containers.iter().map(|it| gone("container", &it.name, docker.remove_container(&it.id, force.clone()))))
        .await?;
    all(secrets_and_configs.iter().map(|it| async move {
        match it.kind {
            "secret" => gone(it.kind, &it.name, docker.delete_secret(&it.id)).await,
            _ => gone(it.kind, &it.name, docker.delete_config(&it.id)).await,
        }
    }))
    .await?;
    all(labels.iter().map(|it| {
        node::update(docker, &it.id, |spec| spec.labels.get_or_insert_default().retain(|label, _| *label != it.name))
    }))
    .await?;
    // Also when there was no service: somebody may have removed it a moment ago.
    until::until("the tasks are gone", TASKS_GO_WITHIN, |_| (), || tasks_gone(docker, which)).await?;
    all([&*volumes, &*networks].concat().iter().map(|it| async move {
        let remove = || async {
            match it.kind {
                "volume" => gone(it.kind, &it.name, docker.remove_volume(&it.id, None::<RemoveVolumeOptions>)).await,
                _ => gone(it.kind, &it.name, docker.remove_network(&it.id)).await,
            }
        };
        until::until(&format!("{it} is removed"), NETWORKS_GO_WITHIN, |_| (), remove).await.map(|_| ())
    }))
    .await?;
    until::until("nothing is left", NETWORKS_GO_WITHIN, |_| (), || nothing_left(docker, which)).await?;
    Ok([services, containers, secrets_and_configs, volumes, labels, networks].concat())
}

async fn services(docker: &Docker, which: &Selection) -> Result<Vec<Object>, Error> {
    let found =
        docker.list_services(Some(ListServicesOptions { filters: which.filters(), ..Default::default() })).await?;
    let found = found.into_iter().filter_map(|service| {
        let spec = service.spec.unwrap_or_default();
        which.has(spec.labels.as_ref()).then(|| object("service", service.id, spec.name))
    });
    Ok(found.collect())
}

async fn containers(docker: &Docker, which: &Selection) -> Result<Vec<Object>, Error> {
    let options = ListContainersOptions { all: true, filters: which.filters(), ..Default::default() };
    let found = docker.list_containers(Some(options)).await?.into_iter().filter_map(|container| {
        let name = container.names.and_then(|names| names.into_iter().next());
        which.has(container.labels.as_ref()).then(|| object("container", container.id, name))
    });
    Ok(found.collect())
}

async fn networks(docker: &Docker, which: &Selection) -> Result<Vec<Object>, Error> {
    let found = docker.list_networks(Some(ListNetworksOptions { filters: which.filters() })).await?;
    let found =
        found.into_iter().filter_map(|net| which.has(net.labels.as_ref()).then(|| object("network", net.id, net.name)));
    Ok(found.collect())
}

async fn volumes(docker: &Docker, which: &Selection) -> Result<Vec<Object>> {
    let found = docker.list_volumes(Some(ListVolumesOptions { filters: which.filters() })).await;
    let found = found.context("cannot list volumes")?.volumes.unwrap_or_default();
    let ours = found.into_iter().filter(|volume| which.has(Some(&volume.labels)));
    Ok(ours.map(|volume| object("volume", Some(volume.name), None)).collect())
}

/// Labels of nodes: the object's id is the node's, its name the label's.
async fn node_labels(docker: &Docker, which: &Selection) -> Result<Vec<Object>> {
    let nodes = docker.list_nodes(None).await.context("cannot list nodes")?;
    let labels = nodes.into_iter().flat_map(|node| {
        let (id, labels) = (node.id, node.spec.unwrap_or_default().labels.unwrap_or_default());
        labels.into_keys().map(move |label| object("node label", id.clone(), Some(label)))
    });
    Ok(labels.filter(|it| which.has_node_label(&it.name)).collect())
}

/// Secrets and configs.
async fn stored(docker: &Docker, which: &Selection) -> Result<Vec<Object>> {
    let secrets = docker.list_secrets(Some(ListSecretsOptions { filters: which.filters() })).await;
    let secrets = secrets.context("cannot list secrets")?.into_iter().filter_map(|secret| {
        let spec = secret.spec.unwrap_or_default();
        which.has(spec.labels.as_ref()).then(|| object("secret", secret.id, spec.name))
    });
    let configs = docker.list_configs(Some(ListConfigsOptions { filters: which.filters() })).await;
    let configs = configs.context("cannot list configs")?.into_iter().filter_map(|config| {
        let spec = config.spec.unwrap_or_default();
        which.has(spec.labels.as_ref()).then(|| object("config", config.id, spec.name))
    });
    Ok(secrets.chain(configs).collect())
}

fn object(kind: &'static str, id: Option<String>, name: Option<String>) -> Object {
    let id = id.unwrap_or_default();
    Object { kind, name: name.unwrap_or_else(|| id.clone()).trim_start_matches('/').to_owned(), id }
}

/// A service is removed when none of its tasks is to be removed already: an engine whose reaper deletes one while the
/// service's removal waits for the store panics (swarmkit's `SetServiceTasksRemove` takes those it has just read to be
/// there; seen on 28.5 in three of some fifty runs).
async fn none_leaves(docker: &Docker, services: &[Object]) -> Result<()> {
    if services.is_empty() {
        return Ok(());
    }
    let ids = services.iter().map(|service| service.id.clone()).collect();
    let options = ListTasksOptions { filters: Some([("service".to_owned(), ids)].into()) };
    let tasks = docker.list_tasks(Some(options)).await.context("cannot list tasks")?;
    let leaving = tasks.iter().filter(|task| task.desired_state == Some(TaskState::REMOVE)).count();
    ensure!(leaving == 0, "{leaving} are to be removed");
    Ok(())
}

async fn tasks_gone(docker: &Docker, which: &Selection) -> Result<()> {
    // Tasks carry their service's labels for the engine's filter, also after the service is gone, but not in
    // its answer: there is no age to tell. So a clean-up by age waits for the tasks of removed services only,
    // which are those whose service no longer exists.
    let options = ListTasksOptions { filters: which.filters() };
    let tasks = docker.list_tasks(Some(options)).await.context("cannot list tasks")?;
    if tasks.is_empty() {
        return Ok(());
    }
    let alive: Vec<String> = match which.started_before {
        None => Vec::new(),
        Some(_) => {
            let options = ListServicesOptions { filters: which.filters(), ..Default::default() };
            docker.list_services(Some(options)).await?.into_iter().filter_map(|service| service.id).collect()
        }
    };
    let left: Vec<String> = tasks
        .into_iter()
        .filter(|task| task.service_id.as_ref().is_none_or(|id| !alive.contains(id)))
        .map(|task| {
            let status = task.status.unwrap_or_default();
            let state = status.state.map(|state| state.to_string()).unwrap_or_default();
            let error = status.err.map_or_else(String::new, |error| format!(" ({error})"));
            format!("task {} on node {}: {state}{error}", task.id.unwrap_or_default(), task.node_id.unwrap_or_default())
        })
        .collect();
    if left.is_empty() { Ok(()) } else { bail!("{}", left.join(", ")) }
}

async fn nothing_left(docker: &Docker, which: &Selection) -> Result<()> {
    let mut left = services(docker, which).await?;
    left.extend(containers(docker, which).await?);
    left.extend(stored(docker, which).await?);
    left.extend(networks(docker, which).await?);
    left.extend(volumes(docker, which).await?);
    left.extend(node_labels(docker, which).await?);
    if left.is_empty() {
        return Ok(());
    }
    bail!("still there: {}", left.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
}

/// A removal that is content when the object is not there.
async fn gone(kind: &str, name: &str, removal: impl Future<Output = Result<(), Error>>) -> Result<()> {
    match removal.await {
        Ok(()) | Err(Error::DockerResponseServerError { status_code: 404, .. }) => Ok(()),
        Err(error) => Err(error).with_context(|| format!("cannot remove {kind} {name}")),
    }
}

/// Tries all, then reports all that went wrong.
async fn all(removals: impl Iterator<Item = impl Future<Output = Result<()>>>) -> Result<()> {
    let errors: Vec<_> = join_all(removals).await.into_iter().filter_map(Result::err).collect();
    if errors.is_empty() {
        return Ok(());
    }
    bail!("{}", errors.iter().map(|error| format!("{error:#}")).collect::<Vec<_>>().join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(started: &str) -> Labels {
        [(STARTED.to_owned(), started.to_owned())].into()
    }

    #[test]
    fn only_runs_that_are_old_enough_are_selected() {
        let old = Selection::of_all_runs(1000);
        assert!(old.has(Some(&labels("999"))));
        assert!(!old.has(Some(&labels("1000"))));
    }

    #[test]
    fn a_label_of_a_node_is_known_by_its_name() {
        let label = "e2e-12ab-7-zone.PlacementLabel.999";
        let of = |run: &str, case: &str| Selection {
            labels: vec![format!("{RUN}={run}"), format!("{CASE}={case}")],
            started_before: None,
        };
        assert!(of("12ab", "PlacementLabel").has_node_label(label));
        assert!(!of("12ab", "Placement").has_node_label(label) && !of("34cd", "PlacementLabel").has_node_label(label));
        assert!(
            Selection::of_all_runs(1000).has_node_label(label) && !Selection::of_all_runs(999).has_node_label(label)
        );
        assert!(!Selection::of_all_runs(1000).has_node_label("zone"));
    }

    #[test]
    fn what_does_not_say_its_age_is_left_alone() {
        let old = Selection::of_all_runs(1000);
        assert!(!old.has(None) && !old.has(Some(&labels("yesterday"))));
    }
}
