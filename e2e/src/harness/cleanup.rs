//! Removal of what the suite made, found by label: after a case, and of runs that are over.
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
    waits::Waits,
};
use crate::{serve::membership::REJOIN, swarm::node};

/// How long tasks may take to go. A task's container gets ten seconds to stop unless its service says less.
const TASKS_GO_WITHIN: Duration = Duration::from_secs(40);
/// How long tasks of a service that was scaled down may take to go before the service is removed: the engine stops them
/// a few seconds later.
const LEAVING_GO_WITHIN: Duration = Duration::from_secs(15);
/// The length of a run's id.
const ID: usize = 36;
/// How long a network may be in use by tasks that are gone.
const NETWORKS_GO_WITHIN: Duration = Duration::from_secs(20);

type Labels = HashMap<String, String>;

/// Which of the suite's objects: label filters in the engine's form, `KEY` or `KEY=VALUE`.
#[derive(Debug)]
pub(crate) struct Selection(Vec<String>);

impl Selection {
    /// What a case of a run made.
    pub(crate) fn of_case(labels: Vec<String>) -> Self {
        Self(labels)
    }

    /// What a run made.
    pub(crate) fn of_run(run: &str) -> Self {
        Self(vec![format!("{RUN}={run}")])
    }

    /// What any run made.
    pub(crate) fn of_all_runs() -> Self {
        Self(vec![RUN.to_owned()])
    }

    /// Whether a node's label is one, and whose.
    fn node_label(&self, label: &str) -> Option<Owner> {
        let (owner, case) = Owner::of_node_label(label)?;
        let of = |filter: &String| match filter.split_once('=') {
            Some((RUN, run)) => owner.run == run,
            Some((CASE, wanted)) => case == wanted,
            _ => true,
        };
        self.0.iter().all(of).then_some(owner)
    }

    fn filters(&self) -> Option<HashMap<String, Vec<String>>> {
        Some([("label".to_owned(), self.0.clone())].into())
    }
}

/// The run that made something.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Owner {
    pub(crate) run: String,
    /// The second since 1970 at which it started, where that is told.
    pub(crate) started: Option<i64>,
}

impl Owner {
    fn of(labels: Option<&Labels>) -> Self {
        let label = |key| labels.and_then(|labels| labels.get(key)).cloned();
        Self { run: label(RUN).unwrap_or_default(), started: label(STARTED).and_then(|it| it.parse().ok()) }
    }

    /// A node's label is named `e2e-RUN-NUMBER-WHAT.CASE.STARTED`. Of the run also the case is told.
    fn of_node_label(label: &str) -> Option<(Self, &str)> {
        let mut parts = label.strip_prefix("e2e-")?.rsplitn(3, '.');
        let (started, case, name) = (parts.next()?, parts.next()?, parts.next()?);
        // A run's id has hyphens as well, and in what the label is for there may be some.
        let run = name.get(..ID).filter(|_| name[ID..].starts_with('-'))?;
        Some((Self { run: run.to_owned(), started: Some(started.parse().ok()?) }, case))
    }
}

/// An object that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Object {
    kind: &'static str,
    pub(crate) id: String,
    name: String,
    pub(crate) owner: Owner,
}

impl std::fmt::Display for Object {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}

/// Everything selected.
pub(crate) async fn find(docker: &Docker, which: &Selection) -> Result<Vec<Object>> {
    let mut found = services(docker, which).await.context("cannot list services")?;
    found.extend(containers(docker, which).await.context("cannot list containers")?);
    found.extend(stored(docker, which).await?);
    found.extend(networks(docker, which).await.context("cannot list networks")?);
    found.extend(volumes(docker, which).await?);
    found.extend(node_labels(docker, which).await?);
    Ok(found)
}

/// Removes everything selected and proves that it is gone; what was there is returned.
pub(crate) async fn remove(docker: &Docker, which: &Selection, waits: &Waits) -> Result<Vec<Object>> {
    let (secrets_and_configs, labels) = (stored(docker, which).await?, node_labels(docker, which).await?);
    let networks = networks(docker, which).await.context("cannot list networks")?;
    let volumes = volumes(docker, which).await?;

    let services = remove_services(docker, which, waits).await?;
    let containers = remove_containers(docker, which).await?;
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
    waits.until("the tasks are gone", TASKS_GO_WITHIN, |_| (), || tasks_gone(docker, which)).await?;
    remove_unused(docker, &[&*volumes, &*networks].concat(), waits).await?;
    waits.until("nothing is left", NETWORKS_GO_WITHIN, |_| (), || nothing_left(docker, which)).await?;
    Ok([services, containers, secrets_and_configs, volumes, labels, networks].concat())
}

/// Removes the services, and says which. Their tasks may still go.
pub(crate) async fn remove_services(docker: &Docker, which: &Selection, waits: &Waits) -> Result<Vec<Object>> {
    let services = services(docker, which).await.context("cannot list services")?;
    // A task that stays on its way, as on a node that is down, is no reason to leave its service.
    let none_leaves = || none_leaves(docker, &services);
    let _ = waits.until("no task is on its way out", LEAVING_GO_WITHIN, |_| (), none_leaves).await;
    all(services.iter().map(|service| gone("service", &service.name, docker.delete_service(&service.id)))).await?;
    Ok(services)
}

/// Whether a service among them has a node leave the swarm and join it again.
pub(crate) async fn has_nodes_leave(docker: &Docker, which: &Selection) -> Result<bool> {
    let options = ListServicesOptions { filters: which.filters(), ..Default::default() };
    let found = docker.list_services(Some(options)).await.context("cannot list services")?;
    let args = found.into_iter().filter_map(|service| service.spec?.task_template?.container_spec?.args);
    Ok(args.into_iter().any(|args| args.first().is_some_and(|first| first == REJOIN)))
}

async fn remove_containers(docker: &Docker, which: &Selection) -> Result<Vec<Object>> {
    let containers = containers(docker, which).await.context("cannot list containers")?;
    let force = Some(RemoveContainerOptions { force: true, v: true, ..Default::default() });
    all(containers.iter().map(|it| gone("container", &it.name, docker.remove_container(&it.id, force.clone()))))
        .await?;
    Ok(containers)
}

/// Removes what is an engine's own, and not the swarm's: containers that no service manages, and volumes.
pub(crate) async fn remove_from_engine(docker: &Docker, which: &Selection) -> Result<Vec<Object>> {
    let mut removed = remove_containers(docker, which).await?;
    let volumes = volumes(docker, which).await?;
    remove_unused(docker, &volumes, &Waits::default()).await?;
    removed.extend(volumes);
    Ok(removed)
}

/// Removes volumes and networks, each as soon as nothing uses it.
async fn remove_unused(docker: &Docker, objects: &[Object], waits: &Waits) -> Result<()> {
    all(objects.iter().map(|it| async move {
        let remove = || async {
            match it.kind {
                "volume" => gone(it.kind, &it.name, docker.remove_volume(&it.id, None::<RemoveVolumeOptions>)).await,
                _ => gone(it.kind, &it.name, docker.remove_network(&it.id)).await,
            }
        };
        waits.until(&format!("{it} is removed"), NETWORKS_GO_WITHIN, |_| (), remove).await.map(|_| ())
    }))
    .await
}

async fn services(docker: &Docker, which: &Selection) -> Result<Vec<Object>, Error> {
    let found =
        docker.list_services(Some(ListServicesOptions { filters: which.filters(), ..Default::default() })).await?;
    let found = found.into_iter().map(|service| {
        let spec = service.spec.unwrap_or_default();
        object("service", service.id, spec.name, spec.labels.as_ref())
    });
    Ok(found.collect())
}

async fn containers(docker: &Docker, which: &Selection) -> Result<Vec<Object>, Error> {
    let options = ListContainersOptions { all: true, filters: which.filters(), ..Default::default() };
    let found = docker.list_containers(Some(options)).await?.into_iter().map(|container| {
        let name = container.names.and_then(|names| names.into_iter().next());
        object("container", container.id, name, container.labels.as_ref())
    });
    Ok(found.collect())
}

async fn networks(docker: &Docker, which: &Selection) -> Result<Vec<Object>, Error> {
    let found = docker.list_networks(Some(ListNetworksOptions { filters: which.filters() })).await?;
    Ok(found.into_iter().map(|net| object("network", net.id, net.name, net.labels.as_ref())).collect())
}

async fn volumes(docker: &Docker, which: &Selection) -> Result<Vec<Object>> {
    let found = docker.list_volumes(Some(ListVolumesOptions { filters: which.filters() })).await;
    let found = found.context("cannot list volumes")?.volumes.unwrap_or_default();
    Ok(found.into_iter().map(|it| object("volume", Some(it.name), None, Some(&it.labels))).collect())
}

/// Labels of nodes: the object's id is the node's, its name the label's.
async fn node_labels(docker: &Docker, which: &Selection) -> Result<Vec<Object>> {
    let mut found = Vec::new();
    for node in docker.list_nodes(None).await.context("cannot list nodes")? {
        let id = node.id.unwrap_or_default();
        for name in node.spec.and_then(|spec| spec.labels).unwrap_or_default().into_keys() {
            let owner = which.node_label(&name);
            found.extend(owner.map(|owner| Object { kind: "node label", id: id.clone(), name, owner }));
        }
    }
    Ok(found)
}

/// Secrets and configs.
async fn stored(docker: &Docker, which: &Selection) -> Result<Vec<Object>> {
    let secrets = docker.list_secrets(Some(ListSecretsOptions { filters: which.filters() })).await;
    let secrets = secrets.context("cannot list secrets")?.into_iter().map(|secret| {
        let spec = secret.spec.unwrap_or_default();
        object("secret", secret.id, spec.name, spec.labels.as_ref())
    });
    let configs = docker.list_configs(Some(ListConfigsOptions { filters: which.filters() })).await;
    let configs = configs.context("cannot list configs")?.into_iter().map(|config| {
        let spec = config.spec.unwrap_or_default();
        object("config", config.id, spec.name, spec.labels.as_ref())
    });
    Ok(secrets.chain(configs).collect())
}

fn object(kind: &'static str, id: Option<String>, name: Option<String>, labels: Option<&Labels>) -> Object {
    let id = id.unwrap_or_default();
    let name = name.unwrap_or_else(|| id.clone()).trim_start_matches('/').to_owned();
    Object { kind, name, id, owner: Owner::of(labels) }
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
    // Tasks carry their service's labels for the engine's filter, also after the service is gone.
    let options = ListTasksOptions { filters: which.filters() };
    let tasks = docker.list_tasks(Some(options)).await.context("cannot list tasks")?;
    let left: Vec<String> = tasks
        .into_iter()
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
    let left = find(docker, which).await?;
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

    const RUN_ID: &str = "0b2e4a52-6f7c-4d3e-9a51-0c4f7f3c7d11";

    #[test]
    fn a_label_of_a_node_is_known_by_its_name() {
        let label = format!("e2e-{RUN_ID}-7-the-zone.PlacementLabel.999");
        let of = |run: &str, case: &str| {
            Selection::of_case(vec![format!("{RUN}={run}"), format!("{CASE}={case}")]).node_label(&label)
        };
        let owner = Some(Owner { run: RUN_ID.into(), started: Some(999) });
        assert_eq!(of(RUN_ID, "PlacementLabel"), owner);
        assert_eq!((of(RUN_ID, "Placement"), of("0b2e4a52", "PlacementLabel")), (None, None));
        assert_eq!(Selection::of_all_runs().node_label(&label), owner);
        assert_eq!(Selection::of_run(RUN_ID).node_label(&label), owner);
        for label in ["zone", "e2e-zone", "e2e-short.Case.1", "e2e-äääääääääääääääääääääääääääääääääääääää.Case.1"]
        {
            assert_eq!(Selection::of_all_runs().node_label(label), None, "{label}");
        }
    }

    #[test]
    fn who_made_an_object_is_in_its_labels() {
        let labels = [(RUN, RUN_ID), (STARTED, "yesterday")].map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(Owner::of(Some(&labels.into())), Owner { run: RUN_ID.into(), started: None });
    }
}
