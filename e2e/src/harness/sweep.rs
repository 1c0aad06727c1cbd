//! What runs left that are over: found by its labels, and removed before the next run begins, or by `e2e clean`.
//!
//! What a run made that shows no sign of life is nobody's: each shows one before it makes anything, and takes it away
//! when nothing is left.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};
use bollard::Docker;
use bollard::models::{
    Mount, MountType, ServiceSpec, TaskSpec, TaskSpecContainerSpec, TaskSpecPlacement, TaskSpecRestartPolicy,
    TaskSpecRestartPolicyConditionEnum as Condition, TaskState,
};
use bollard::query_parameters::{ListTasksOptions, LogsOptions};
use futures::TryStreamExt as _;

use super::{
    cleanup::{self, Selection},
    found::Found,
    life::{self, Life, Other},
    test::RUN,
    until,
    waits::Waits,
};
use crate::{cluster::Cluster, swarm::task};

/// How long a task on another node may take that removes what the engine there has.
const ENGINE_WITHIN: Duration = Duration::from_secs(60);

/// How long a node may be away that a case had leave the swarm: what is played with its engine meanwhile takes up to five
/// minutes, and where its host died it boots first.
const COMES_BACK_WITHIN: Duration = Duration::from_secs(400);

/// Which runs' things are removed.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Which<'a> {
    /// Those of runs that are over, other than this.
    Over { own: Option<&'a str> },
    /// Those of runs that began before this second, whether they are over or not.
    StartedBefore(i64),
}

/// What became of that.
#[derive(Debug, Default)]
pub(crate) struct Swept {
    /// Runs that go on.
    pub(crate) living: Vec<Other>,
    /// What could not be removed or brought back, a sentence a run.
    pub(crate) left: Vec<String>,
}

/// Removes what runs left, and says so.
pub(crate) async fn sweep(cluster: &Cluster, which: Which<'_>, say: impl Fn(&str)) -> Result<Swept> {
    let own = match which {
        Which::Over { own } => own,
        Which::StartedBefore(_) => None,
    };
    // First what there is, and then who lives: a run shows its sign before it makes anything.
    let objects = cleanup::find(&cluster.docker, &Selection::of_all_runs()).await?;
    let signs = life::others(&cluster.docker, own).await?;
    let mut runs = BTreeMap::<String, Option<i64>>::new();
    let of_signs = signs.iter().map(|sign| (sign.run.clone(), sign.started));
    for (run, started) in objects.into_iter().map(|it| (it.owner.run, it.owner.started)).chain(of_signs) {
        let known = runs.entry(run).or_default();
        *known = known.or(started);
    }
    runs.retain(|run, _| Some(&**run) != own);
    let mut swept = Swept::default();
    match which {
        Which::StartedBefore(second) => runs.retain(|_, started| started.is_some_and(|started| started < second)),
        Which::Over { .. } => {
            let known = life::judge(cluster, &signs, &say).await;
            let is = |run: &str, lives: &[Life]| known.get(run).is_some_and(|life| lives.contains(life));
            runs.retain(|run, _| !is(run, &[Life::Lives, Life::Gone, Life::Unknown]));
            swept.living.extend(signs.iter().filter(|sign| is(&sign.run, &[Life::Lives])).cloned());
            for sign in signs.iter().filter(|sign| is(&sign.run, &[Life::Unknown])) {
                say(&format!("whether run {} goes on cannot be told: what it made is left alone", sign.run));
            }
        }
    }
    for run in runs.keys() {
        say(&format!("run {run} is over: removing what it left"));
        let node = signs.iter().find(|sign| sign.run == *run).map(|sign| &*sign.node);
        if let Err(error) = bury(cluster, run, node, &say).await {
            swept.left.push(format!("of run {run} something is left: {error:#}"));
        }
    }
    Ok(swept)
}

/// Brings back what a run changed, and removes what it made.
async fn bury(cluster: &Cluster, run: &str, node: Option<&str>, say: &impl Fn(&str)) -> Result<()> {
    let docker = &cluster.docker;
    let (ours, waits) = (Selection::of_run(run), Waits::default());
    // First the cluster: what is left on a node that takes no part cannot be removed. While it is not as it was, what is
    // remembered of it is not removed either.
    if let Some(found) = Found::kept(docker, run).await? {
        let back = come_back(docker, &found, &ours, &waits, say).await;
        for change in found.undo(docker).await.context("the cluster is not as that run found it")? {
            say(&format!("brought back: {change}"));
        }
        back?;
    }
    if let Some(node) = node.filter(|node| *node != cluster.node) {
        for service in cleanup::remove_services(docker, &ours, &waits).await? {
            say(&format!("removed {service}"));
        }
        for line in on_engine(cluster, run, node).await.unwrap_or_else(|error| vec![format!("{error:#}")]) {
            say(&line);
        }
    }
    let removed = cleanup::remove(docker, &ours, &waits).await?;
    for object in &removed {
        say(&format!("removed {object}"));
    }
    Ok(())
}

/// Waits for nodes that a case of the run had leave the swarm. Nobody here reaches their engines; but the container that
/// has one leave joins it again, also when it or its host dies meanwhile.
async fn come_back(docker: &Docker, found: &Found, ours: &Selection, waits: &Waits, say: &impl Fn(&str)) -> Result<()> {
    let missing = found.missing(docker).await?;
    if missing.is_empty() || !cleanup::has_nodes_leave(docker, ours).await? {
        return Ok(());
    }
    let names = missing.join(", ");
    say(&format!("a case had {names} leave the swarm: waiting up to {COMES_BACK_WITHIN:?} until it is back by itself"));
    let look = || async {
        let missing = found.missing(docker).await?;
        ensure!(missing.is_empty(), "missing: {}", missing.join(", "));
        Ok(())
    };
    let back = waits.until("what left the swarm is back", COMES_BACK_WITHIN, |_| (), look).await;
    let help = "a case had it leave the swarm: on its host `docker swarm leave --force`, and join it again";
    back.map(|_| ()).context(help)
}

/// Has a task on a node remove what its engine has of a run. It is that run's own service, and removed with it.
async fn on_engine(cluster: &Cluster, run: &str, node: &str) -> Result<Vec<String>> {
    let host = cluster.hostname(node);
    let what = format!("containers and volumes of run {run} on {host}, if there are any, are left there");
    if !cluster.usable().any(|it| it.id == node) {
        bail!("{what}: it takes no tasks");
    }
    let docker = &cluster.docker;
    let socket = Some("/var/run/docker.sock".to_owned());
    let container = TaskSpecContainerSpec {
        image: Some(cluster.image.clone()),
        args: Some(vec!["clean-engine".into(), run.into()]),
        mounts: Some(vec![Mount {
            typ: Some(MountType::BIND),
            source: socket.clone(),
            target: socket,
            ..Default::default()
        }]),
        ..Default::default()
    };
    let placement = TaskSpecPlacement { constraints: Some(vec![format!("node.id=={node}")]), ..Default::default() };
    let once = TaskSpecRestartPolicy { condition: Some(Condition::NONE), ..Default::default() };
    let spec = ServiceSpec {
        name: Some(format!("e2e-{run}-{}", uuid::Uuid::new_v4().simple()).chars().take(63).collect()),
        labels: Some([(RUN.to_owned(), run.to_owned())].into()),
        task_template: Some(TaskSpec {
            container_spec: Some(container),
            placement: Some(placement),
            restart_policy: Some(once),
            ..Default::default()
        }),
        ..Default::default()
    };
    let service = docker.create_service(spec, None).await.with_context(|| what.clone())?.id.unwrap_or_default();
    let ended = || async {
        let filters = Some([("service".to_owned(), vec![service.clone()])].into());
        let tasks = docker.list_tasks(Some(ListTasksOptions { filters })).await?;
        match tasks.first().and_then(task::state) {
            Some(TaskState::COMPLETE | TaskState::FAILED | TaskState::REJECTED) => Ok(()),
            _ => bail!("{}", tasks.first().map_or("there is no task".into(), |it| task::describe(cluster, it))),
        }
    };
    until::until(&format!("a task on {host} ends"), ENGINE_WITHIN, |_| (), ended)
        .await
        .with_context(|| what.clone())?;
    let all = LogsOptions { stdout: true, stderr: true, ..Default::default() };
    let log: Vec<_> = docker.service_logs(&service, Some(all)).try_collect().await.with_context(|| what)?;
    let log: String = log.iter().map(ToString::to_string).collect();
    docker.delete_service(&service).await.context("cannot remove the service that cleaned an engine")?;
    Ok(log.lines().map(|line| format!("{} on {host}", line.trim())).collect())
}
