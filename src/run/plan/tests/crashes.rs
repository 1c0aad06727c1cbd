//! Worlds in which the operator dies between any two things that it does, and hosts freeze, come back and are replaced:
//! whatever happens, no two containers of a run run at once, and no attempt is started twice.

use proptest::prelude::*;

use super::*;
use crate::{
    api::Retries,
    run::{
        attempt,
        verdict::{Counts, End},
    },
};

/// What happens between two passes.
#[derive(Clone, Copy, Debug)]
enum Event {
    Nothing,
    /// A host is not reached any more; what runs there goes on.
    Away(usize),
    Back(usize),
    /// Its instance is another one.
    Replaced(usize),
    /// The container that runs ends in this way.
    Ends(Fate),
    Cancel,
}

/// How an attempt ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Passes,
    Fails,
    Lost,
}

struct Found {
    host: HostId,
    attempt: usize,
    state: ContainerState,
    fate: Fate,
}

struct World {
    hosts: [(u32, bool); 3],
    containers: Vec<Found>,
    record: Record,
    /// What this process remembers: that what the container left is kept.
    kept: bool,
    finished: Option<(bool, Timestamp)>,
    /// The attempts that were started, and how they ended.
    started: Vec<usize>,
    passed: Vec<usize>,
    cancelled: bool,
    now: Timestamp,
}

/// The operator has died.
struct Died;

impl World {
    fn new() -> Self {
        Self {
            hosts: [(0, true); 3],
            containers: vec![],
            record: Record { since: [(Stage::Pending, before(0))].into(), ..Record::default() },
            kept: false,
            finished: None,
            started: vec![],
            passed: vec![],
            cancelled: false,
            now: now(),
        }
    }

    fn spec(&self) -> E2ERunSpec {
        let retries = Retries { failed_cases: 2, infrastructure: 2, filter: None };
        E2ERunSpec { retries, cancel: self.cancelled, ..spec("IfNotPresent") }
    }

    fn host(&self, at: usize) -> HostId {
        id(["m0", "m1", "m2"][at], self.hosts[at].0)
    }

    fn is_up(&self, host: &HostId) -> bool {
        (0..3).any(|at| self.host(at) == *host && self.hosts[at].1)
    }

    fn happens(&mut self, event: Event) {
        match event {
            Event::Nothing => {}
            Event::Away(at) => self.hosts[at].1 = false,
            Event::Back(at) => self.hosts[at].1 = true,
            Event::Replaced(at) => {
                let gone = self.host(at);
                self.containers.retain(|c| c.host != gone);
                self.hosts[at] = (self.hosts[at].0 + 1, true);
            }
            Event::Ends(fate) => {
                for found in self.containers.iter_mut().filter(|c| c.state == ContainerState::Running) {
                    (found.state, found.fate) = (exited(1), fate);
                    if fate == Fate::Passes {
                        self.passed.push(found.attempt);
                    }
                }
            }
            Event::Cancel => self.cancelled = true,
        }
    }

    fn told(&self, found: &Found) -> Container {
        Container { id: name(found), attempt: found.attempt, ..container(found.state.clone()) }
    }

    /// As `observe` looks at hosts and engines.
    fn seen(&self) -> Observed {
        let number = self.record.number();
        let view = |at: usize| {
            let (host, up) = (self.host(at), self.hosts[at].1);
            let here = || self.containers.iter().filter(|c| c.host == host);
            let mut view = HostView { up, error: (!up).then(|| "silent".into()), ..HostView::default() };
            match &self.record.placed {
                Some(placed) if up && placed.host == host => {
                    view.container = Some(here().find(|c| name(c) == placed.container).map(|c| self.told(c)));
                }
                None if up => {
                    view.image = Some(Some(Image::default()));
                    view.container = Some(here().find(|c| c.attempt == number).map(|c| self.told(c)));
                    view.left = here().filter(|c| c.attempt != number).map(name).collect();
                }
                _ => {}
            }
            (host, view)
        };
        let away = self.hosts.iter().any(|(_, up)| !up);
        let fate = || {
            let placed = self.record.placed.as_ref()?;
            self.containers.iter().find(|c| name(c) == placed.container).map(|c| c.fate)
        };
        Observed {
            finalizer: true,
            finished: self.finished.is_some(),
            passed: self.finished.is_some_and(|(passed, _)| passed),
            ended_at: self.finished.map(|(_, at)| at),
            record: self.record.clone(),
            kept: self.kept.then(fate).flatten().map(|fate| Kept::Done(Box::new(end_of(fate)))),
            cluster: Some(ClusterView {
                uid: UID.to_owned(),
                slots: ["m0", "m1", "m2"].map(str::to_owned).to_vec(),
                leader: Some("m1".to_owned()),
                not_ready: away.then(|| "a node is away".to_owned()),
                place: Place::Held,
                ..ClusterView::default()
            }),
            hosts: (0..3).map(view).collect(),
            ..Observed::default()
        }
    }

    /// Takes the steps, each part of one after the other, for as long as the operator lives.
    fn pass(&mut self, mut life: usize) -> Result<bool, Died> {
        let plan = plan(&self.spec(), &self.seen(), self.now);
        let mut entered = false;
        let mut live = || -> Result<(), Died> {
            life = life.checked_sub(1).ok_or(Died)?;
            Ok(())
        };
        for step in &plan.steps {
            match step {
                Step::Again(ended, _) => {
                    live()?;
                    let attempts = attempt::with(&self.record.attempts, (**ended).clone());
                    self.record = Record { attempts, since: [(Stage::Pending, self.now)].into(), ..Record::default() };
                    (self.kept, entered) = (false, true);
                }
                Step::Launch(host) => {
                    if !self.is_up(host) {
                        break;
                    }
                    live()?;
                    let state = ContainerState::Created { error: None };
                    let attempt = self.record.number();
                    self.containers.push(Found { host: host.clone(), attempt, state, fate: Fate::Lost });
                    self.begin(host, &format!("c{attempt}-{host}"), &mut live)?;
                    entered = true;
                }
                Step::Adopt(host, container) => {
                    if !self.is_up(host) {
                        break;
                    }
                    self.begin(host, &container.id, &mut live)?;
                    entered = true;
                }
                Step::Remove(host, container) | Step::TryRemove(host, container) => {
                    if !self.is_up(host) {
                        break;
                    }
                    live()?;
                    self.containers.retain(|c| name(c) != *container);
                }
                Step::Stop(cut, host, container) => {
                    live()?;
                    self.record.cut = Some(*cut);
                    self.record.since.insert(Stage::Stopping, self.now);
                    entered = true;
                    let up = self.is_up(host);
                    for found in self.containers.iter_mut().filter(|c| up && name(c) == *container) {
                        found.state = exited(137);
                    }
                }
                Step::Keep(..) => self.kept = true,
                Step::Forget(stages) => self.record.since.retain(|stage, _| !stages.contains(stage)),
                Step::Release => return Ok(true),
                _ => {}
            }
        }
        if let Some((stage, at)) = plan.enters.filter(|_| !entered) {
            live()?;
            self.record.since.insert(stage, at);
        }
        if let Says::Ended(end) = &plan.says {
            live()?;
            self.finished = Some((end.complete, self.now));
        }
        Ok(false)
    }

    fn begin(&mut self, host: &HostId, id: &str, live: &mut impl FnMut() -> Result<(), Died>) -> Result<(), Died> {
        live()?;
        self.record.placed = Some(Placed { host: host.clone(), container: id.to_owned(), at: self.now });
        let Some(found) = self.containers.iter_mut().find(|c| name(c) == id) else { return Ok(()) };
        if !matches!(found.state, ContainerState::Created { .. }) {
            return Ok(());
        }
        live()?;
        found.state = ContainerState::Running;
        self.started.push(found.attempt);
        live()?;
        self.record.since.insert(Stage::Running, self.now);
        Ok(())
    }
}

fn name(found: &Found) -> String {
    format!("c{}-{}", found.attempt, found.host)
}

fn end_of(fate: Fate) -> End {
    let counts = Some(Counts { passed: 1, failed: 0, skipped: 0, flaky: 0, quarantined: 0 });
    match fate {
        Fate::Passes => {
            End { complete: true, counts, ..End::without_container(reason::PASSED, "1 case passed".into()) }
        }
        Fate::Fails => End {
            again: Some(Ok(vec!["a".into()])),
            ..End::without_container(reason::CASES_FAILED, "1 of 1 case failed: a".into())
        },
        Fate::Lost => End::without_container(reason::INFRASTRUCTURE, "it was lost".into()),
    }
}

fn an_event() -> impl Strategy<Value = Event> {
    let fate = prop::sample::select(vec![Fate::Passes, Fate::Fails, Fate::Fails, Fate::Lost, Fate::Lost]);
    prop_oneof![
        6 => Just(Event::Nothing),
        2 => (0..3usize).prop_map(Event::Away),
        6 => (0..3usize).prop_map(Event::Back),
        1 => (0..3usize).prop_map(Event::Replaced),
        4 => fate.prop_map(Event::Ends),
        1 => prop::option::weighted(0.1, Just(())).prop_map(|c| c.map_or(Event::Nothing, |()| Event::Cancel)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn attempts_come_one_after_the_other_and_none_comes_twice(
        events in prop::collection::vec((an_event(), prop::option::weighted(0.3, 0..5usize)), 10..120),
    ) {
        let mut world = World::new();
        for (event, dies) in events {
            world.happens(event);
            let released = match world.pass(dies.unwrap_or(usize::MAX)) {
                Ok(released) => released,
                Err(Died) => { world.kept = false; false }
            };
            let running = world.containers.iter().filter(|c| c.state == ContainerState::Running).count();
            prop_assert!(running <= 1, "{running} run at once: {:?}", world.started);
            let mut once = world.started.clone();
            once.dedup();
            prop_assert!(once == world.started && world.started.is_sorted(), "{:?}", world.started);
            prop_assert!(world.record.attempts.len() <= 4);
            if let Some((true, _)) = world.finished {
                prop_assert_eq!(world.passed.last(), world.started.last(), "the last attempt passed");
            }
            if released { break; }
            world.now += SignedDuration::from_secs(10);
        }
    }
}

#[test]
fn a_run_whose_attempts_fail_are_lost_and_pass_comes_to_its_end() {
    let mut world = World::new();
    let fates = [Fate::Fails, Fate::Lost, Fate::Fails, Fate::Lost, Fate::Passes];
    let mut fates = fates.iter();
    for _ in 0..100 {
        if world.containers.iter().any(|c| c.state == ContainerState::Running) {
            world.happens(Event::Ends(*fates.next().expect("no more attempts than may be")));
        }
        if world.pass(usize::MAX).is_ok_and(|released| released) {
            break;
        }
        world.now += SignedDuration::from_secs(1);
    }
    assert_eq!((world.started, world.finished.map(|(passed, _)| passed)), (vec![1, 2, 3, 4, 5], Some(true)));
    assert!(world.containers.is_empty());
}
