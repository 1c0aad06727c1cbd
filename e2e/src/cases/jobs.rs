//! Services that run to completion, and what becomes of tasks that end: jobs and restart policies.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bollard::{
    models::{
        ServiceSpecMode, ServiceSpecModeReplicatedJob, Task, TaskSpecRestartPolicy,
        TaskSpecRestartPolicyConditionEnum as Condition, TaskState,
    },
    query_parameters::StopContainerOptions,
};

use crate::{
    harness::{
        case::{Case, Need},
        test::Test,
    },
    swarm::{
        ask::base,
        service::{Builder, Service, TASKS_WITHIN, by_node, nanos, task_of},
        task,
    },
};

pub(crate) fn cases() -> Vec<Case> {
    let job = Need::RemovableJobs;
    vec![
        Case::new("ServicesReplicatedJob", replicated_job).needs(job),
        Case::new("ServicesGlobalJob", global_job).needs(job),
        Case::new("JobRunsAgainWhenUpdated", job_updated).needs(job),
        Case::new("JobTriesAgain", job_tries_again).needs(job),
        Case::new("JobsRun", jobs_run).needs(job),
        Case::new("RestartNever", |t| restarts(t, Condition::NONE, "0", 1, TaskState::COMPLETE)),
        Case::new("RestartOnFailure", |t| restarts(t, Condition::ON_FAILURE, "3", 3, TaskState::FAILED)),
        Case::new("RestartNotAfterSuccess", |t| restarts(t, Condition::ON_FAILURE, "0", 1, TaskState::COMPLETE)),
        Case::new("RestartAny", |t| restarts(t, Condition::ANY, "0", 3, TaskState::COMPLETE)),
        Case::new("RestartAfterKill", restart_after_kill).needs(Need::Here),
    ]
}

/// A job of either kind that does not say how often it is to run has a task that runs for as long as it likes.
async fn jobs_run(t: Test) -> Result<()> {
    let nodes = t.cluster().usable().count();
    let once = ServiceSpecMode { replicated_job: Some(ServiceSpecModeReplicatedJob::default()), ..Default::default() };
    let everywhere = ServiceSpecMode { global_job: Some([].into()), ..Default::default() };
    for (mode, count) in [(once, 1), (everywhere, nodes)] {
        let service = t.service("job").with(|spec| spec.mode = Some(mode)).create().await?;
        t.until(&format!("{count} tasks of the job run"), TASKS_WITHIN, || async {
            let tasks = service.tasks().await?;
            let run = tasks.iter().filter(|it| task::state(it) == Some(TaskState::RUNNING)).count();
            ensure!(run == count && tasks.len() == count, "{run} of {} run", tasks.len());
            Ok(())
        })
        .await?;
    }
    Ok(())
}

/// A job runs as often as it was asked to, and its tasks end for good.
async fn replicated_job(t: Test) -> Result<()> {
    let service = replicated(t.service("job"), 2, 3).create().await?;
    ended(&t, &service, 3, TaskState::COMPLETE).await
}

/// A global job runs once on every node.
async fn global_job(t: Test) -> Result<()> {
    let nodes = t.cluster().usable().count();
    let mode = ServiceSpecMode { global_job: Some([].into()), ..Default::default() };
    let service = t.service("job").args(&["noop"]).with(|spec| spec.mode = Some(mode)).create().await?;
    ended(&t, &service, nodes, TaskState::COMPLETE).await?;
    let placed = by_node(&service.tasks().await?);
    ensure!(placed.len() == nodes, "not one on each of {nodes} nodes: {placed:?}");
    Ok(())
}

/// A job that is done runs once more when it is updated, and says that this is another iteration.
async fn job_updated(t: Test) -> Result<()> {
    let service = replicated(t.service("job"), 1, 1).create().await?;
    ended(&t, &service, 1, TaskState::COMPLETE).await?;
    let iteration = async || {
        let status = service.inspect().await?.job_status.context("the service has no job status")?;
        Ok::<_, anyhow::Error>(status.job_iteration.and_then(|iteration| iteration.index).unwrap_or_default())
    };
    let first = iteration().await?;
    service.update(|spec| task_of(spec).force_update = Some(1)).await?;
    ended(&t, &service, 2, TaskState::COMPLETE).await?;
    let second = iteration().await?;
    ensure!(second > first, "iteration {first} was followed by {second}");
    Ok(())
}

/// A task of a job that fails is tried again as often as the job allows, and no more.
async fn job_tries_again(t: Test) -> Result<()> {
    let policy = policy(Condition::ON_FAILURE, 1);
    let service = replicated(t.service("job"), 1, 1).args(&["exit", "3"]);
    let service = service.with(|spec| task_of(spec).restart_policy = Some(policy)).create().await?;
    ended(&t, &service, 2, TaskState::FAILED).await
}

/// Tasks of a service that end are followed by others as its policy says, and not once more.
async fn restarts(t: Test, condition: Condition, code: &'static str, runs: usize, end: TaskState) -> Result<()> {
    let policy = policy(condition, 2);
    let service = t.service("ends").args(&["exit", code]);
    let service = service.with(|spec| task_of(spec).restart_policy = Some(policy)).create().await?;
    ended(&t, &service, runs, end).await
}

/// A server that dies, or whose container is stopped beside the swarm, is replaced, and no other is.
async fn restart_after_kill(t: Test) -> Result<()> {
    let policy = TaskSpecRestartPolicy { delay: Some(0), ..Default::default() };
    let here = format!("node.id=={}", t.cluster().node);
    let service = t.service("web").replicas(3).constraint(&here).askable();
    let service = service.with(|spec| task_of(spec).restart_policy = Some(policy)).create().await?;
    let replaced = async |before: &[Task], died: &Task, code: Option<i64>| {
        t.until("another task runs in its place", TASKS_WITHIN, || async {
            let tasks = service.tasks().await?;
            let dead = tasks.iter().find(|it| it.id == died.id).context("it is forgotten")?;
            let ended = task::state(dead).is_some_and(|it| it != TaskState::RUNNING);
            let right = ended && code.is_none_or(|code| task::exit_code(dead) == Some(code));
            ensure!(right, "it is: {}", task::describe(t.cluster(), dead));
            let running: Vec<_> = tasks.into_iter().filter(task::runs).collect();
            let kept = before.iter().filter(|it| running.iter().any(|other| other.id == it.id)).count();
            ensure!(kept + 1 == before.len(), "{} of {} others run on", kept, before.len() - 1);
            ensure!(running.len() == before.len(), "none does");
            Ok(running)
        })
        .await
    };
    let before = service.running(3).await?;
    let container = task::container_id(&before[1]).context("it has no container")?;
    t.docker().stop_container(container, None::<StopContainerOptions>).await.context("cannot stop a container")?;
    let before = replaced(&before, &before[1], None).await?;
    // Whose server is asked is that of the first.
    let asked = before.first().context("none runs")?;
    t.get(&format!("{}/exit?code=7", base(asked, &t.usable().await?)?)).await?;
    replaced(&before, asked, Some(7)).await.map(|_| ())
}

fn policy(condition: Condition, attempts: i64) -> TaskSpecRestartPolicy {
    let (condition, max_attempts) = (Some(condition), Some(attempts));
    TaskSpecRestartPolicy {
        condition,
        max_attempts,
        delay: Some(nanos(Duration::from_millis(100))),
        ..Default::default()
    }
}

fn replicated(service: Builder, at_once: i64, completions: i64) -> Builder {
    let job = ServiceSpecModeReplicatedJob { max_concurrent: Some(at_once), total_completions: Some(completions) };
    let mode = ServiceSpecMode { replicated_job: Some(job), ..Default::default() };
    service.args(&["noop"]).with(|spec| spec.mode = Some(mode))
}

/// Waits until so many tasks have ended so, there is no other, and the swarm has decided to start none: it takes
/// back the wish that a task runs in the same step in which it makes the next, if there is to be a next.
async fn ended(t: &Test, service: &Service, count: usize, end: TaskState) -> Result<()> {
    t.until(&format!("{count} tasks are {end}, and that is all"), TASKS_WITHIN, || async {
        let tasks = service.tasks().await?;
        let right = tasks.iter().filter(|it| task::state(it) == Some(end) && !task::wanted(it)).count();
        let all: Vec<_> = tasks.iter().map(|it| task::describe(t.cluster(), it)).collect();
        ensure!(right == count && tasks.len() == count, "{right} of {} are: {}", tasks.len(), all.join("; "));
        Ok(())
    })
    .await
}
