//! All the reads of a pass: the object, its cluster and the cluster's engines. Decides nothing.

use std::{collections::BTreeMap, future::Future, time::Duration};

use futures::future::{join, join_all};
use kube::{Api, ResourceExt};

use super::{
    Context, container,
    facts::{ClusterView, Container, ContainerState, Exit, HostView, Observed},
    jobs::Work,
    own,
    queue::{self, Guests, Place},
    record::Record,
    variables,
};
use crate::{
    api::{E2ERun, NodeRole, NodeState, SwarmCluster, is_true, label, reason, type_},
    host::{HostId, HostState, Hosts},
    swarm::{self, Engine, SwarmError},
};

/// How long an engine may take to answer a question of a pass.
const PATIENCE: Duration = Duration::from_secs(5);

/// For how long a process that began may be on its way to the hosts.
const BEGINS: Duration = Duration::from_secs(30);

/// Looks at everything the next step of a run depends on, and at nothing else.
///
/// # Errors
/// Where the API server does not tell of the cluster: that must not be taken for its absence.
pub async fn observe(context: &Context, run: &E2ERun) -> Result<Observed, kube::Error> {
    let conditions = run.status.as_ref().map_or(&[][..], |s| &s.conditions);
    let mut seen = Observed {
        deleting: run.metadata.deletion_timestamp.is_some(),
        finalizer: run.is_taken_on(),
        finished: run.has_ended(),
        passed: is_true(conditions, type_::COMPLETE),
        ended_at: conditions
            .iter()
            .find(|c| [type_::COMPLETE, type_::FAILED].contains(&c.type_.as_str()) && c.status == "True")
            .map(|c| c.last_transition_time.0),
        fresh: context.began.elapsed() < BEGINS,
        record: Record::of(run),
        ..Observed::default()
    };
    if !seen.finalizer {
        return Ok(seen);
    }
    let uid = run.uid().unwrap_or_default();
    seen.kept = seen.record.placed.as_ref().and_then(|placed| context.keeper.kept(&uid, &placed.container));
    seen.trouble = context.jobs.failed(&uid, &Work::Steps);
    seen.cut_off = context.jobs.failed(&uid, &Work::Follow);
    if seen.record.placed.is_none() && !seen.deleting && !seen.finished && !run.spec.cancel {
        let shard = container::shard(&run.spec, &seen.record.attempts);
        seen.variables = Some(variables::read(&context.client, run, shard).await?);
    }
    let namespace = run.namespace().unwrap_or_default();
    let clusters: Api<SwarmCluster> = Api::namespaced(context.client.clone(), &namespace);
    if let Some(cluster) = clusters.get_opt(run.spec.cluster()).await? {
        let guests = Guests::read(&context.client, &context.line, &cluster).await?;
        let place = place(context, run, &seen, &guests);
        seen.cluster = Some(ClusterView { own: own::is_of(&cluster, run), guests, place, ..view(&cluster) });
    }
    // Whose turn it is not asks nothing of the hosts.
    if let Some(cluster) = seen.cluster.as_ref().filter(|c| !matches!(c.place, Place::Behind(_))) {
        let look_for_image = seen.record.placed.is_none() && !seen.deleting && cluster.not_ready.is_none();
        seen.hosts = hosts(context, run, cluster, &seen.record, look_for_image).await;
    }
    Ok(seen)
}

/// Where the run stands among those that use its cluster, or want to.
fn place(context: &Context, run: &E2ERun, seen: &Observed, guests: &Guests) -> Place {
    let uid = run.uid().unwrap_or_default();
    let wants = seen.record.placed.is_none() && !seen.deleting && !seen.finished;
    match (guests.has(&uid), wants) {
        (true, _) => Place::Held,
        (false, false) => Place::Unknown,
        (false, true) => {
            let waiting = context.line.waiting(&run.namespace().unwrap_or_default(), &guests.cluster, &uid);
            queue::place(&uid, &guests.all(), &waiting)
        }
    }
}

/// Why a cluster is stalled that nothing but another spec, or another operator, gets further. Of other reasons, such as a
/// quota, which has room again when other machines end, or credentials that are not there yet, it gets over by itself.
const FOR_GOOD: [&str; 7] = [
    reason::NO_ACCESS_CIDRS,
    reason::INVALID_SPEC,
    reason::SWARM_DIFFERS,
    reason::NO_PUBLIC_ADDRESS,
    reason::BOOT_FAILED,
    reason::INSTANCE_ENDED,
    reason::HOST_UNHEALTHY,
];

/// A cluster, as its object tells it. A status that speaks of an older spec does not count.
fn view(cluster: &SwarmCluster) -> ClusterView {
    let status = cluster.status.as_ref();
    let current = |type_: &str| {
        let found = status.and_then(|s| s.conditions.iter().find(|c| c.type_ == type_));
        found.filter(|c| c.observed_generation == cluster.metadata.generation)
    };
    let stuck = current(type_::STALLED).is_some_and(|c| c.status == "True" && FOR_GOOD.contains(&c.reason.as_str()));
    let not_ready = match current(type_::READY) {
        Some(condition) if condition.status == "True" => None,
        Some(condition) => Some(condition.message.clone()),
        None => Some("its spec has not been looked at yet".to_owned()),
    };
    let prefix = format!("{}-", cluster.name_any());
    let leader = status.and_then(|s| s.nodes.iter().find(|n| n.leader)?.name.strip_prefix(&prefix).map(str::to_owned));
    // A cluster that was made smaller has kept those that were well, whatever their numbers.
    let told = status.iter().flat_map(|s| &s.nodes).filter(|n| n.state != NodeState::Terminating);
    let mut slots: Vec<String> = told.filter_map(|n| n.name.strip_prefix(&prefix).map(str::to_owned)).collect();
    if slots.is_empty() {
        let of = |role: NodeRole, count: u32| (0..count).map(move |n| format!("{}{n}", role.letter()));
        slots.extend(
            of(NodeRole::Manager, cluster.spec.count(NodeRole::Manager))
                .chain(of(NodeRole::Worker, cluster.spec.count(NodeRole::Worker))),
        );
    }
    ClusterView {
        uid: cluster.uid().unwrap_or_default(),
        deleting: cluster.metadata.deletion_timestamp.is_some(),
        stalled: not_ready.clone().filter(|_| stuck),
        not_ready,
        slots,
        leader,
        hourly: status.and_then(|s| s.cost.as_ref()?.hourly),
        ..ClusterView::default()
    }
}

/// The cluster's hosts, all asked at once.
async fn hosts(
    context: &Context,
    run: &E2ERun,
    cluster: &ClusterView,
    record: &Record,
    look_for_image: bool,
) -> BTreeMap<HostId, HostView> {
    let uid = run.uid().unwrap_or_default();
    let all = context.hosts.of_cluster(&cluster.uid);
    let views = all.into_iter().map(|(id, state)| {
        // Once it is known where the container is, only that manager is asked for it.
        let look_for = match &record.placed {
            Some(placed) => (placed.host == id).then_some(LookFor::Id(&placed.container)),
            None => id.slot.starts_with('m').then(|| LookFor::Run(uid.as_str(), record.number())),
        };
        let (uid, image) = (uid.as_str(), look_for_image.then_some(run.spec.image.as_str()));
        async move {
            let mut host = HostView {
                bringing: context.jobs.bringing(uid, &Work::Image(id.clone())),
                aligning: context.jobs.bringing(uid, &Work::Align(id.clone())),
                ..HostView::default()
            };
            match engine(&state) {
                Ok(engine) => {
                    host.up = true;
                    look(&engine, look_for, image, &mut host).await;
                }
                Err(why) => host.error = Some(why),
            }
            (id, host)
        }
    });
    join_all(views).await.into_iter().collect()
}

/// What to know a container by.
#[derive(Clone, Copy)]
enum LookFor<'a> {
    Id(&'a str),
    /// The label of a run, by its UID, and which attempt it is.
    Run(&'a str, usize),
}

/// Asks one engine.
async fn look(engine: &Engine, look_for: Option<LookFor<'_>>, image: Option<&str>, host: &mut HostView) {
    let container = async {
        match look_for {
            Some(LookFor::Id(id)) => Some(inspect(engine, id).await.map(|found| (found, vec![]))),
            Some(LookFor::Run(uid, attempt)) => Some(containers(engine, uid, attempt).await),
            None => None,
        }
    };
    let image = async {
        match image {
            // Where it does not say what it runs on, that is not known: nothing is refused for it.
            Some(reference) => Some(join(patient(engine.image(reference)), patient(engine.platform())).await),
            None => None,
        }
    };
    let (container, image) = join(container, image).await;
    match container {
        Some(Ok((found, left))) => (host.container, host.left) = (Some(found), left),
        Some(Err(error)) => host.error = Some(error),
        None => {}
    }
    match image {
        Some((Ok(found), platform)) => {
            host.image = Some(found);
            host.platform = platform.ok().flatten();
        }
        Some((Err(error), _)) => host.error = Some(error),
        None => {}
    }
}

/// The container of this attempt of a run on an engine, and those of others.
async fn containers(engine: &Engine, uid: &str, attempt: usize) -> Result<(Option<Container>, Vec<String>), String> {
    let found = patient(engine.containers(label::RUN_UID, uid)).await?;
    let (this, others): (Vec<_>, Vec<_>) = found.into_iter().partition(|c| attempt_of(&c.labels) == attempt);
    let this = match this.first() {
        Some(summary) => inspect(engine, &summary.id).await?,
        None => None,
    };
    Ok((this, others.into_iter().map(|c| c.id).collect()))
}

/// Which attempt of its run a container is. Of the first one nothing is said.
fn attempt_of(labels: &BTreeMap<String, String>) -> usize {
    labels.get(label::ATTEMPT).and_then(|number| number.parse().ok()).unwrap_or(1)
}

/// A container by its id.
///
/// # Errors
/// In the engine's words.
pub async fn inspect(engine: &Engine, id: &str) -> Result<Option<Container>, String> {
    match tokio::time::timeout(PATIENCE, engine.inspect(id)).await {
        Ok(Ok(container)) => Ok(Some(of_engine(container))),
        Ok(Err(SwarmError::NotFound(_))) => Ok(None),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(silence()),
    }
}

fn of_engine(container: swarm::Container) -> Container {
    // An engine gives up a start when the one who asked for it goes away: no fault of the container's.
    let cut_off = container.started_at.is_none() && container.error.contains("context canceled");
    let error = Some(container.error).filter(|e| !e.is_empty() && !cut_off);
    let state = match (container.running, container.started_at) {
        (true, _) => ContainerState::Running,
        (false, None) => ContainerState::Created { error },
        (false, Some(started)) => ContainerState::Exited(Exit {
            ran: container.finished_at.unwrap_or(started).duration_since(started),
            code: container.exit_code,
            out_of_memory: container.oom_killed,
            error,
        }),
    };
    let labelled = |key| container.labels.get(key).cloned();
    let (image, filter) = (labelled(label::IMAGE), labelled(label::CASE_FILTER));
    let attempt = attempt_of(&container.labels);
    Container { image, filter, attempt, id: container.id, state, started: container.started }
}

/// The engine of a host, or why there is none.
///
/// # Errors
/// In words.
pub fn engine(state: &HostState) -> Result<Engine, String> {
    match state {
        HostState::Up(up) if up.engine => Ok(Engine::new(&up.host)),
        HostState::Up(_) => Err("its engine does not answer yet".to_owned()),
        HostState::Connecting { last_error, .. } => Err(last_error.clone().unwrap_or_else(|| "connecting".to_owned())),
    }
}

/// The engine of a host by its id, over its control connection.
///
/// # Errors
/// In words.
pub fn control(hosts: &Hosts, id: &HostId) -> Result<Engine, String> {
    engine(&hosts.state(id).ok_or_else(|| "not connected".to_owned())?)
}

async fn patient<T>(question: impl Future<Output = Result<T, SwarmError>>) -> Result<T, String> {
    match tokio::time::timeout(PATIENCE, question).await {
        Ok(answer) => answer.map_err(|e| e.to_string()),
        Err(_) => Err(silence()),
    }
}

fn silence() -> String {
    format!("its engine did not answer within {} s", PATIENCE.as_secs())
}

#[cfg(test)]
mod tests;
