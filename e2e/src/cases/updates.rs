//! Updates of services: their order, their pace, and what happens when they fail.

use std::{
    collections::BTreeMap,
    sync::Mutex,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use bollard::models::{
    ServiceSpecRollbackConfig as Rollback, ServiceSpecRollbackConfigOrderEnum as RollbackOrder,
    ServiceSpecUpdateConfig as Update, ServiceSpecUpdateConfigFailureActionEnum as FailureAction,
    ServiceSpecUpdateConfigOrderEnum as Order, ServiceUpdateStatusStateEnum as State, Task,
};

use super::health::ILL_FOR;
use crate::{
    harness::{
        case::{Case, Need},
        test::Test,
    },
    swarm::{
        service::{Service, TASKS_WITHIN, UPDATED_WITHIN, container_of, nanos, task_of},
        task,
    },
};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("ServicesRollingUpdateSucceed", rolling_update_succeed).timeout(Duration::from_secs(300)),
        Case::new("ServicesUpdateStartFirst", update_start_first),
        // Three batches, each of which waits until it is well, and all in a turn again.
        Case::new("ServicesUpdateStartFirstWaits", start_first_waits)
            .needs(Need::Here)
            .timeout(Duration::from_secs(300)),
        Case::new("ServicesUpdateRollsBack", update_rolls_back),
        Case::new("ServicesUpdatePauses", update_pauses),
        Case::new("ServicesRollbackByHand", rollback_by_hand),
        Case::new("ServicesUpdateForced", update_forced),
        Case::new("ScaleKeepsTasks", scale_keeps_tasks),
    ]
}

/// How long tasks that are not well yet are watched for being taken for well.
const WAITS_FOR: Duration = Duration::from_secs(5);

/// How long an update that is paused is watched for going on. The engine begins with the next task after eight seconds.
const PAUSED_FOR: Duration = Duration::from_secs(10);

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
    // On a slow host one at a time takes as long as two with a pause between them.
    let fewest = seen.fewest;
    ensure!(
        fewest < REPLICAS - 1,
        "tasks followed one another one by one: at least {fewest} of {REPLICAS} ran all the time"
    );
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

/// With start-first, tasks whose successors are not well yet run on, as many as are updated at once; each successor that
/// is well takes the place of one. A rollback can do so too.
async fn start_first_waits(t: Test) -> Result<()> {
    const REPLICAS: usize = 3;
    let here = format!("node.id=={}", t.cluster().node);
    let update = Update { parallelism: Some(2), order: Some(Order::START_FIRST), ..Default::default() };
    let rollback = Rollback { parallelism: Some(3), order: Some(RollbackOrder::START_FIRST), ..Default::default() };
    let service = t.service("web").replicas(3).constraint(&here).health_checked(ILL_FOR);
    let service = service.with(|spec| (spec.update_config, spec.rollback_config) = (Some(update), Some(rollback)));
    let service = service.create().await?;
    let old = service.running(REPLICAS).await?;
    service.update(|spec| container_of(spec).args = Some(["test-server", "--ill"].map(str::to_owned).into())).await?;
    for (at_once, done) in [(2, 0), (1, 2)] {
        let what = format!("{done} were replaced, {at_once} start, and the others run on");
        let starting = || async {
            let tasks = service.tasks().await?;
            let (of_old, of_new): (Vec<_>, Vec<_>) =
                tasks.into_iter().filter(task::wanted).partition(|it| old.iter().any(|old| old.id == it.id));
            let (run, start): (Vec<_>, Vec<_>) = of_new.into_iter().partition(task::runs);
            let old = of_old.iter().filter(|it| task::runs(it)).count();
            let counts = (old, run.len(), start.len());
            ensure!(counts == (REPLICAS - done, done, at_once), "old that run, new that run and start: {counts:?}");
            let containers: Option<Vec<_>> = start.iter().map(|it| task::container_id(it).map(str::to_owned)).collect();
            containers.context("one that starts has no container yet")
        };
        let ill = t.until(&what, TASKS_WITHIN, starting).await?;
        // Those that nobody asks how they are start for a moment too.
        t.stays(&what, WAITS_FOR, || async { starting().await.map(|_| ()) }).await?;
        for id in ill {
            t.until("its server answers inside", TASKS_WITHIN, || async {
                t.container_of_task(&id).await?.run(&["get", "http://127.0.0.1/well"]).await
            })
            .await?;
        }
    }
    service.updated(State::COMPLETED).await?;
    let new = service.running(REPLICAS).await?;
    service.roll_back().await?;
    let seen = watch(&t, &service, &new, State::ROLLBACK_COMPLETED).await?;
    ensure!(seen.fewest >= REPLICAS, "only {} of {REPLICAS} ran while it was rolled back", seen.fewest);
    service.running(REPLICAS).await.map(|_| ())
}

/// An update whose tasks fail is rolled back by itself, and the service is what it was.
async fn update_rolls_back(t: Test) -> Result<()> {
    let (service, _) = failing_update(&t, FailureAction::ROLLBACK, 2, 0.0, State::ROLLBACK_COMPLETED).await?;
    service.running(2).await?;
    let mut spec = service.inspect().await?.spec.unwrap_or_default();
    let command = container_of(&mut spec).command.clone().unwrap_or_default();
    ensure!(command.is_empty(), "after the rollback its program is {command:?}");
    Ok(())
}

/// An update is paused when more of its tasks fail than it says: the others are those of before, and run on. It can be
/// rolled back.
async fn update_pauses(t: Test) -> Result<()> {
    // One of four may fail, and not two.
    let (service, old) = failing_update(&t, FailureAction::PAUSE, 4, 0.25, State::PAUSED).await?;
    t.stays("two tasks run on, and none is new", PAUSED_FOR, || async {
        let running: Vec<_> = service.tasks().await?.into_iter().filter(task::runs).collect();
        let kept = running.iter().filter(|it| old.iter().any(|old| old.id == it.id)).count();
        ensure!(running.len() == 2 && kept == 2, "{kept} of {} that run are of before", running.len());
        let state = service.inspect().await?.update_status.unwrap_or_default().state;
        ensure!(state == Some(State::PAUSED), "the update is {state:?}");
        Ok(())
    })
    .await?;
    service.roll_back().await?;
    watch(&t, &service, &old, State::ROLLBACK_COMPLETED).await?;
    service.running(4).await.map(|_| ())
}

/// An update of so many tasks which all fail: when the share that may is exceeded, it is to come to this end. Returns
/// the tasks of before.
async fn failing_update(
    t: &Test,
    action: FailureAction,
    replicas: u32,
    ratio: f64,
    end: State,
) -> Result<(Service, Vec<Task>)> {
    let update = Update {
        parallelism: Some(1),
        // Without a delay the engine may begin with the next task before it counts the failure of the one before.
        delay: Some(nanos(Duration::from_secs(if ratio > 0.0 { 8 } else { 20 }))),
        failure_action: Some(action),
        monitor: Some(nanos(Duration::from_secs(5))),
        max_failure_ratio: Some(ratio),
        ..Default::default()
    };
    let service = t.service("web").replicas(replicas).with(|spec| spec.update_config = Some(update)).create().await?;
    let old = service.running(replicas as usize).await?;
    spoil(&service).await?;
    watch(t, &service, &old, end).await?;
    Ok((service, old))
}

/// A service that is rolled back by hand is what it was before its last update, at the pace that it says for this.
async fn rollback_by_hand(t: Test) -> Result<()> {
    const DELAY: Duration = Duration::from_secs(4);
    let rollback = Rollback { parallelism: Some(2), delay: Some(nanos(DELAY)), ..Default::default() };
    let update = Update { parallelism: Some(0), ..Default::default() };
    let service = t.service("web").replicas(3).with(|spec| {
        container_of(spec).env = Some(vec!["AGE=old".into()]);
        (spec.update_config, spec.rollback_config) = (Some(update), Some(rollback));
    });
    let service = service.create().await?;
    service.running(3).await?;
    service.renew().await?;
    service.updated(State::COMPLETED).await?;
    let new = service.running(3).await?;
    service.roll_back().await?;
    let seen = watch(&t, &service, &new, State::ROLLBACK_COMPLETED).await?;
    for task in service.running(3).await? {
        let env = task.spec.and_then(|spec| spec.container_spec).and_then(|container| container.env);
        ensure!(env == Some(vec!["AGE=old".into()]), "its task has {env:?}");
    }
    let times = seen.times();
    // Two are stopped at once, before their successors start.
    let fewest = seen.fewest;
    ensure!(times.len() == 3 && fewest == 1, "{} were replaced, and {fewest} ran all the time, not 1", times.len());
    // What is seen is up to a look late.
    let apart = times[2].saturating_sub(times[0]);
    ensure!(apart + Duration::from_secs(1) >= DELAY, "the third followed {apart:?} after the first: {times:?}");
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
