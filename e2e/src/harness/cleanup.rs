//! Removal of what the suite made, found by label: after a case, and by `e2e clean`.
//!
//! Services first, then containers, then networks: a network goes only after the tasks on it are really gone.
//! Nothing without the suite's label is ever touched.

use std::{collections::HashMap, time::Duration};

use anyhow::{Context as _, Result, bail};
use bollard::{
    Docker,
    errors::Error,
    query_parameters::{
        ListConfigsOptions, ListContainersOptions, ListNetworksOptions, ListSecretsOptions, ListServicesOptions,
        ListTasksOptions, RemoveContainerOptions,
    },
};
use futures::future::join_all;

use super::{
    test::{RUN, STARTED},
    until,
};

/// How long tasks may take to go. A task's container gets ten seconds to stop unless its service says less.
const TASKS_GO_WITHIN: Duration = Duration::from_secs(40);
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
    // Also when there was no service: somebody may have removed it a moment ago.
    until::until("the tasks are gone", TASKS_GO_WITHIN, |_| (), || tasks_gone(docker, which)).await?;
    all(networks.iter().map(|network| async move {
        let what = format!("network {} is removed", network.name);
        until::until(
            &what,
            NETWORKS_GO_WITHIN,
            |_| (),
            || gone("network", &network.name, docker.remove_network(&network.id)),
        )
        .await
        .map(|_| ())
    }))
    .await?;
    until::until("nothing is left", NETWORKS_GO_WITHIN, |_| (), || nothing_left(docker, which)).await?;
    Ok([services, containers, secrets_and_configs, networks].concat())
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
    fn what_does_not_say_its_age_is_left_alone() {
        let old = Selection::of_all_runs(1000);
        assert!(!old.has(None) && !old.has(Some(&labels("yesterday"))));
    }
}
