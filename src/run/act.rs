//! Takes the steps of a plan. Each is idempotent and may be cut off at any await.

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::jiff::Timestamp;
use kube::{Api, ResourceExt};

use super::{
    Context, Error, RESULTS, archive,
    facts::{Container, ContainerState, Observed},
    image,
    jobs::Work,
    observe,
    plan::{Plan, Stage, Step},
    record::{self, Change, Placed},
    report,
    verdict::{self, Cut, End},
};
use crate::{
    api::{E2ERun, label, reason},
    host::HostId,
    swarm::{ContainerSpec, Engine, SwarmError},
};

/// How long a container has to end by itself once it is told to, and how long the engine may take to make it.
const GRACE: Duration = Duration::from_secs(10);
/// How much of the log's end the verdict may quote.
const QUOTED: usize = 4096;

/// What came of the steps.
#[derive(Debug, Default)]
pub struct Outcome {
    /// The container after them, where that changed.
    pub container: Option<(HostId, Container)>,
    /// The run's end, once what the container left is kept.
    pub end: Option<End>,
    /// The step that failed, in words. The steps after it were not taken.
    pub failure: Option<String>,
    /// A failure that is not worth another try.
    pub fatal: bool,
}

/// Takes the steps, in order, until one fails.
///
/// # Errors
/// Where the API server refuses a write.
pub async fn act(context: &Context, run: &E2ERun, seen: &Observed, plan: &Plan) -> Result<Outcome, Error> {
    let mut outcome = Outcome::default();
    if matches!(plan.stage, Stage::Ended(_)) || seen.finished || seen.deleting {
        let uid = run.uid().unwrap_or_default();
        context.jobs.forget(&uid);
        drop(context.lines.forget(&uid));
    }
    for step in &plan.steps {
        if let Err(failure) = take(context, run, seen, step, &mut outcome).await? {
            outcome.failure = Some(failure);
            break;
        }
    }
    Ok(outcome)
}

/// One step. The inner error is a host's, in words.
async fn take(
    context: &Context,
    run: &E2ERun,
    seen: &Observed,
    step: &Step,
    outcome: &mut Outcome,
) -> Result<Result<(), String>, Error> {
    let api: Api<E2ERun> = Api::namespaced(context.client.clone(), &run.namespace().unwrap_or_default());
    let node = |id: &HostId| format!("{}-{}", run.spec.cluster_ref.name, id.slot);
    let hosts = &context.hosts;
    match step {
        Step::Hold => record::write(&api, run, Change::Hold).await?,
        Step::Release => record::write(&api, run, Change::Release).await?,
        Step::ImageClock(on) => {
            let since = on.then(Timestamp::now);
            record::write(&api, run, Change::ImageMissing(since)).await?;
        }
        Step::Pull(id) => {
            let pull =
                image::pull(hosts.clone(), id.clone(), run.spec.image.clone(), run.spec.image_pull_timeout.get());
            context.jobs.ensure(run, Work::Image(id.clone()), pull);
        }
        Step::Copy { from, to } => {
            let copy = image::copy(hosts.clone(), from.clone(), to.clone(), run.spec.image.clone());
            context.jobs.ensure(run, Work::Image(to.clone()), copy);
        }
        Step::Launch(id) => {
            let engine = match observe::control(hosts, id) {
                Ok(engine) => engine,
                Err(why) => return Ok(Err(format!("{} cannot be reached: {why}", node(id)))),
            };
            let created = match engine.create(container_spec(run)).await {
                Ok(created) => created,
                Err(error) => {
                    outcome.fatal = matches!(error, SwarmError::Refused(_));
                    return Ok(Err(format!("the container could not be created on {}: {error}", node(id))));
                }
            };
            let container = Container { id: created, state: ContainerState::Created { error: None } };
            return begin(context, run, &api, &engine, id, &container, outcome).await;
        }
        Step::Adopt(id, container) => {
            let engine = match observe::control(hosts, id) {
                Ok(engine) => engine,
                Err(why) => return Ok(Err(format!("{} cannot be reached: {why}", node(id)))),
            };
            return begin(context, run, &api, &engine, id, container, outcome).await;
        }
        Step::Follow(id, container) => follow(context, run, id, container),
        Step::Stop(id, container) => {
            if !seen.record.stopped {
                record::write(&api, run, Change::Stopped(Timestamp::now())).await?;
            }
            stop(context, run, id, container);
        }
        Step::Collect(id, container) => return collect(context, run, seen, id, container, outcome).await,
        Step::Remove(id, container) => {
            let removed = match observe::control(hosts, id) {
                Ok(engine) => engine.remove_container(container).await.map_err(|e| e.to_string()),
                Err(why) => Err(why),
            };
            return Ok(removed.map_err(|e| format!("the container on {} could not be removed: {e}", node(id))));
        }
    }
    Ok(Ok(()))
}

/// Writes a container down, then starts and follows it.
async fn begin(
    context: &Context,
    run: &E2ERun,
    api: &Api<E2ERun>,
    engine: &Engine,
    id: &HostId,
    container: &Container,
    outcome: &mut Outcome,
) -> Result<Result<(), String>, Error> {
    let placed = Placed { host: id.clone(), container: container.id.clone(), at: Timestamp::now() };
    record::write(api, run, Change::Placed(placed)).await?;
    if matches!(container.state, ContainerState::Created { .. })
        && let Err(error) = engine.start(&container.id).await
    {
        // Whether it is worth another try is what the container's own state says in the next pass.
        let node = format!("{}-{}", run.spec.cluster_ref.name, id.slot);
        return Ok(Err(format!("the container could not be started on {node}: {error}")));
    }
    follow(context, run, id, &container.id);
    if let Ok(Some(now)) = observe::inspect(engine, &container.id).await {
        outcome.container = Some((id.clone(), now));
    }
    Ok(Ok(()))
}

fn follow(context: &Context, run: &E2ERun, id: &HostId, container: &str) {
    let (hosts, lines) = (context.hosts.clone(), context.lines.clone());
    let (id, container, uid) = (id.clone(), container.to_owned(), run.uid().unwrap_or_default());
    context.jobs.ensure(run, Work::Follow, async move {
        let engine = observe::control(&hosts, &id)?;
        let prepare = async {
            lines.prepare(&hosts, &uid, &id).await;
            std::future::pending::<()>().await;
        };
        tokio::select! {
            ended = engine.wait(&container) => ended.map(drop).map_err(|e| e.to_string()),
            () = prepare => Ok(()),
        }
    });
}

fn stop(context: &Context, run: &E2ERun, id: &HostId, container: &str) {
    let (hosts, id, container) = (context.hosts.clone(), id.clone(), container.to_owned());
    context.jobs.ensure(run, Work::Stop, async move {
        let engine = observe::control(&hosts, &id)?;
        engine.stop(&container, GRACE).await.map_err(|e| e.to_string())
    });
}

/// Reads what the container left, judges it and keeps it.
async fn collect(
    context: &Context,
    run: &E2ERun,
    seen: &Observed,
    id: &HostId,
    container: &Container,
    outcome: &mut Outcome,
) -> Result<Result<(), String>, Error> {
    let at = (id.clone(), container.clone());
    let cluster_gone = seen.cluster.as_ref().is_none_or(|c| c.deleting);
    let cut = match container.state {
        _ if seen.record.stopped => Some(Cut::Deadline),
        ContainerState::Running { .. } if cluster_gone => Some(Cut::ClusterGone),
        _ => None,
    };
    let left = match context.lines.take(&context.hosts, &run.uid().unwrap_or_default(), id).await {
        Ok(line) => archive::collect(&line, container).await,
        Err(error) => Err(error.to_string()),
    };
    let left = match left {
        Ok(left) => left,
        Err(why) if cluster_gone => {
            let message = format!(
                "SwarmCluster {} was deleted before the results could be read ({why}): create another E2ERun",
                run.spec.cluster_ref.name
            );
            outcome.end = Some(End { container: Some(at), ..End::without_container(reason::CLUSTER_GONE, message) });
            return Ok(Ok(()));
        }
        Err(why) => {
            outcome.container = Some(at);
            return Ok(Err(format!(
                "the results on {}-{} could not be read: {why}",
                run.spec.cluster_ref.name, id.slot
            )));
        }
    };
    let mut end = verdict::judge(&run.spec, at, cut, &left.outcome, &left.log.end(QUOTED));
    end.results = Some(archive::keep(&context.client, run, left, &report::summary(run, &end)).await?);
    outcome.end = Some(end);
    Ok(Ok(()))
}

/// The container of a run.
fn container_spec(run: &E2ERun) -> ContainerSpec {
    let own = [("TESTKIT_RESULTS", RESULTS), ("TESTKIT_IMAGE", &run.spec.image)];
    let given = run.spec.env.iter().filter(|v| own.iter().all(|(name, _)| *name != v.name));
    let env =
        given.map(|v| format!("{}={}", v.name, v.value)).chain(own.iter().map(|(n, v)| format!("{n}={v}"))).collect();
    let (namespace, name, uid) = (run.namespace().unwrap_or_default(), run.name_any(), run.uid().unwrap_or_default());
    let short: String = uid.chars().take(8).collect();
    ContainerSpec {
        name: format!("testkit-{namespace}-{name}-{short}"),
        image: run.spec.image.clone(),
        args: run.spec.args.clone(),
        env,
        labels: BTreeMap::from([
            (label::RUN_UID.to_owned(), uid),
            (label::RUN.to_owned(), format!("{namespace}/{name}")),
        ]),
        host_network: true,
        binds: vec!["/var/run/docker.sock:/var/run/docker.sock".to_owned()],
        volumes: vec![RESULTS.to_owned()],
    }
}
