//! Updates of services: their order, their pace, and what happens when they fail.

use std::{
    collections::BTreeMap,
    sync::Mutex,
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow, bail, ensure};
use bollard::models::{
    ServiceSpecUpdateConfig as Update, ServiceSpecUpdateConfigFailureActionEnum as FailureAction,
    ServiceSpecUpdateConfigOrderEnum as Order, ServiceUpdateStatusStateEnum as State, Task,
};

use crate::{
    harness::{case::Case, test::Test},
    swarm::{
        service::{Service, UPDATED_WITHIN, container_of, nanos, task_of},
        task,
    },
};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("ServicesRollingUpdateSucceed", rolling_update_succeed).timeout(Duration::from_secs(300)),
        Case::new("ServicesUpdateStartFirst", update_start_first),
        Case::new("ServicesUpdateRollsBack", update_rolls_back),
        Case::new("ServicesUpdatePauses", update_pauses),
        Case::new("ServicesRollbackByHand", rollback_by_hand),
        Case::new("ServicesUpdateForced", update_forced),
        Case::new("ScaleKeepsTasks", scale_keeps_tasks),
    ]
}

/// What was seen of an update while it went on.
#[derive(Debug)]
struct Seen {
    /// The fewest tasks that ran at one moment.
    fewest: usize,
    /// When each new task was first seen running.
    new: BTreeMap<Option<String>, Duration>,
}

impl Seen {
    fn times(&self) -> Vec<Duration> {
        let mut times: Vec<Duration> = self.new.values().copied().collect();
        times.sort_unstable();
        times
    }
}

/// Waits until the service's update is in this state, and watches its tasks meanwhile.
async fn watch(t: &Test, service: &Service, old: &[Task], end: State) -> Result<Seen> {
    let seen = Mutex::new(Seen { fewest: old.len(), new: BTreeMap::new() });
    let start = Instant::now();
    t.until(&format!("the update is {end}"), UPDATED_WITHIN, || async {
        let tasks = service.tasks().await?;
        let running: Vec<&Task> = tasks.iter().filter(|it| task::runs(it)).collect();
        {
            let mut seen = seen.lock().map_err(|error| anyhow!("{error}"))?;
            seen.fewest = seen.fewest.min(running.len());
            for task in running.iter().filter(|it| !old.iter().any(|old| old.id == it.id)) {
                seen.new.entry(task.id.clone()).or_insert_with(|| start.elapsed());
            }
        }
        let status = service.inspect().await?.update_status.unwrap_or_default();
        if status.state == Some(end) {
            return Ok(());
        }
        let state = status.state.map_or_else(|| "not begun".to_owned(), |state| state.to_string());
        bail!("it is {state} ({}); {} tasks run", status.message.unwrap_or_default(), running.len())
    })
    .await?;
    let seen = seen.into_inner()?;
    t.note(format_args!("new tasks ran after {:.1?}; at least {} ran all the time", seen.times(), seen.fewest));
    Ok(seen)
}

/// Gives the tasks a program that does not exist, so that none of them ever runs.
async fn spoil(service: &Service) -> Result<()> {
    service.update(|spec| container_of(spec).command = Some(vec!["/no-such-program".into()])).await
}

/// Six replicas are replaced two at a time, five seconds apart, and never more than two are missing.
async fn rolling_update_succeed(t: Test) -> Result<()> {
    const REPLICAS: usize = 6;
    const AT_ONCE: usize = 2;
    const DELAY: Duration = Duration::from_secs(5);
    let update = Update { parallelism: Some(2), delay: Some(nanos(DELAY)), ..Default::default() };
    let service = t.service("rolling").replicas(6).with(|spec| spec.update_config = Some(update)).create().await?;
    let old = service.running(REPLICAS).await?;
    service.renew().await?;
    let seen = watch(&t, &service, &old, State::COMPLETED).await?;
    service.running(REPLICAS).await?;

    let times = seen.times();
    ensure!(times.len() == REPLICAS, "{} of {REPLICAS} tasks were replaced", times.len());
    ensure!(seen.fewest >= REPLICAS - AT_ONCE, "only {} of {REPLICAS} ran at one moment", seen.fewest);
    // Each of the two has its successor started a delay after it ran. What is seen is up to a look late.
    for (before, after) in times.iter().zip(&times[AT_ONCE..]) {
        let apart = after.saturating_sub(*before);
        ensure!(apart + Duration::from_secs(1) >= DELAY, "tasks followed {apart:?} after those before: {times:?}");
    }
    Ok(())
}

/// With start-first, a task is stopped only after its successor runs.
async fn update_start_first(t: Test) -> Result<()> {
    let update = Update { parallelism: Some(1), order: Some(Order::START_FIRST), ..Default::default() };
    let service = t.service("web").replicas(2).with(|spec| spec.update_config = Some(update)).create().await?;
    let old = service.running(2).await?;
    service.renew().await?;
    let seen = watch(&t, &service, &old, State::COMPLETED).await?;
    ensure!(seen.fewest >= 2, "only {} of 2 ran at one moment", seen.fewest);
    let now = service.running(2).await?;
    ensure!(!now.iter().any(|it| old.iter().any(|old| old.id == it.id)), "a task of before still runs");
    Ok(())
}

/// An update whose tasks fail is rolled back by itself, and the service is what it was.
async fn update_rolls_back(t: Test) -> Result<()> {
    let service = failing_update(&t, FailureAction::ROLLBACK, State::ROLLBACK_COMPLETED).await?;
    service.running(2).await?;
    let mut spec = service.inspect().await?.spec.unwrap_or_default();
    let command = container_of(&mut spec).command.clone().unwrap_or_default();
    ensure!(command.is_empty(), "after the rollback its program is {command:?}");
    Ok(())
}

/// An update whose tasks fail is paused when that is asked for: the task not yet replaced runs on.
async fn update_pauses(t: Test) -> Result<()> {
    let service = failing_update(&t, FailureAction::PAUSE, State::PAUSED).await?;
    let running = service.tasks().await?.iter().filter(|it| task::runs(it)).count();
    ensure!(running >= 1, "no task of before the update runs any more");
    Ok(())
}

async fn failing_update(t: &Test, action: FailureAction, end: State) -> Result<Service> {
    let update = Update {
        parallelism: Some(1),
        // Without a delay the engine may begin with the next task before it counts the failure of the one before.
        delay: Some(nanos(Duration::from_secs(20))),
        failure_action: Some(action),
        monitor: Some(nanos(Duration::from_secs(5))),
        max_failure_ratio: Some(0.0),
        ..Default::default()
    };
    let service = t.service("web").replicas(2).with(|spec| spec.update_config = Some(update)).create().await?;
    let old = service.running(2).await?;
    spoil(&service).await?;
    watch(t, &service, &old, end).await?;
    Ok(service)
}

/// A service that is rolled back by hand is what it was before its last update.
async fn rollback_by_hand(t: Test) -> Result<()> {
    let service = t.service("web").with(|spec| container_of(spec).env = Some(vec!["AGE=old".into()])).create().await?;
    service.running(1).await?;
    service.renew().await?;
    service.updated(State::COMPLETED).await?;
    service.roll_back().await?;
    service.updated(State::ROLLBACK_COMPLETED).await?;
    let task = service.running(1).await?.remove(0);
    let env = task.spec.and_then(|spec| spec.container_spec).and_then(|container| container.env);
    ensure!(env == Some(vec!["AGE=old".into()]), "its task has {env:?}");
    Ok(())
}

/// A forced update replaces the tasks of a service that is the same as before.
async fn update_forced(t: Test) -> Result<()> {
    let service = t.service("web").create().await?;
    let old = service.running(1).await?;
    service.update(|spec| task_of(spec).force_update = Some(1)).await?;
    service.updated(State::COMPLETED).await?;
    let new = service.running(1).await?;
    ensure!(old[0].id != new[0].id, "its task is the one of before");
    Ok(())
}

/// Scaling makes and removes tasks, and replaces none of those that stay.
async fn scale_keeps_tasks(t: Test) -> Result<()> {
    let service = t.service("web").replicas(2).create().await?;
    let two = service.running(2).await?;
    service.scale(3).await?;
    let three = service.running(3).await?;
    service.scale(1).await?;
    let one = service.running(1).await?;
    let among = |some: &[Task], all: &[Task]| some.iter().all(|it| all.iter().any(|other| other.id == it.id));
    ensure!(among(&two, &three), "scaling up replaced a task");
    ensure!(among(&one, &three), "scaling down replaced a task");
    Ok(())
}
