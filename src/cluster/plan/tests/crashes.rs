//! An operator that dies at any moment, beside a cloud whose answers are late or lost.

use proptest::prelude::*;

use super::*;

/// A cloud and engines that do what they are told, with the awkwardness of the real ones: an
/// instance is not listed at once, launches are refused, the operator dies between any two steps.
#[derive(Default)]
struct Sim {
    /// By token (slot, incarnation, type): the instance.
    launched: BTreeMap<(MemberId, String), Instance>,
    listed: BTreeSet<String>,
    swarms: BTreeMap<MemberId, u32>,
    begun: u32,
    journal: Option<Journal>,
    memory: LaunchMemory,
    shortages: BTreeMap<Offering, Shortage>,
    now: i64,
}

/// What a launch is answered with.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Answer {
    /// With an instance.
    Made,
    /// It is made, and the answer is lost.
    Lost,
    /// No capacity for the first type: said after a look whether the same was asked for before.
    Full,
    /// Not allowed to launch the first type: said before such a look.
    Forbidden,
}

impl Sim {
    fn now(&self) -> Timestamp {
        NOW + SignedDuration::from_secs(self.now)
    }

    /// Its listings come all the time.
    fn listened(&self) -> std::time::Duration {
        std::time::Duration::from_secs(self.now.unsigned_abs())
    }

    fn live(&self, slot: Slot) -> usize {
        self.launched.iter().filter(|((f, _), i)| f.slot == slot && !i.state.is_ended()).count()
    }

    fn observe(&self) -> World {
        let instances: Vec<_> = self.launched.values().filter(|i| self.listed.contains(&i.id)).cloned().collect();
        let up: Vec<MemberId> = instances
            .iter()
            .filter(|i| !i.state.is_ended())
            .map(|i| MemberId { slot: i.slot.parse().unwrap(), incarnation: i.incarnation })
            .collect();
        let mut world = World {
            journal: self.journal.clone(),
            launches: self.memory.clone(),
            shortages: self.shortages.clone(),
            ..world(instances)
        };
        for host in up {
            let id = host.to_string();
            let view = match self.swarms.get(&host) {
                Some(_) => engine(LocalState::Active, Some(&id), host.slot.role == NodeRole::Manager),
                None => engine(LocalState::Inactive, None, false),
            };
            world.hosts.insert(host, view);
        }
        world.manager =
            self.swarms.keys().copied().find(|f| f.slot.role == NodeRole::Manager && world.hosts.contains_key(f));
        if world.manager.is_some() {
            world.nodes = Some(self.swarms.keys().map(|f| node(&f.to_string(), f.slot.role)).collect());
        }
        world
    }

    fn launch(&mut self, member: MemberId, offering: &Offering, answer: Answer) -> Result<(), CloudError> {
        let key = (member, offering.instance_type.clone());
        let first = offering.instance_type == "a.large";
        let known = self.launched.contains_key(&key);
        match answer {
            Answer::Forbidden if first => {
                let (permission, message) = (Some("ec2:RunInstances".to_owned()), "no".to_owned());
                return Err(CloudError::Unauthorized { permission, message });
            }
            Answer::Full if first && !known => return Err(CloudError::Capacity("full".to_owned())),
            _ => {}
        }
        let fresh = instance(&member.slot.to_string(), member.incarnation, InstanceState::Running);
        let id = format!("{}-{}", fresh.id, offering.instance_type);
        let made = self.launched.entry(key).or_insert(Instance { id, ..fresh });
        if made.state.is_ended() {
            return Err(CloudError::Ended);
        }
        if answer == Answer::Lost { Err(CloudError::Unavailable("no answer".to_owned())) } else { Ok(()) }
    }

    fn take(&mut self, before: &World, action: &Action, answer: Answer) {
        let now = self.now();
        match action {
            Action::Launch(member, offering) => {
                let launching = before.journal.as_ref().and_then(|i| i.launching(*member));
                let again = launching.is_some_and(|l| l.offering == *offering);
                self.memory.attempt(*member, offering, again, self.listened());
                match self.launch(*member, offering, answer) {
                    Ok(()) => self.memory.launched(*member),
                    Err(error) => {
                        self.memory.note(*member, offering, &error, self.listened());
                        if let Some(lack) = Lack::of(&error) {
                            self.shortages.insert(offering.clone(), Shortage::new(lack, "no", now));
                        }
                    }
                }
            }
            Action::Init(host) => {
                self.begun += 1;
                self.swarms.insert(*host, self.begun);
            }
            Action::Join { host, via, .. } => {
                let swarm = self.swarms[via];
                self.swarms.insert(*host, swarm);
            }
            other => panic!("nothing asks for {other:?}"),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    /// Whatever is lost on the way, there is never a second instance for a slot nor a second
    /// swarm, and the cluster gets whole.
    #[test]
    fn a_crash_at_any_moment_changes_nothing(
        managers in prop::sample::select(vec![1u32, 3]),
        workers in 0u32..3,
        steps in prop::collection::vec((
            0usize..6,
            any::<bool>(),
            any::<bool>(),
            prop::sample::select(vec![Answer::Made, Answer::Lost, Answer::Full, Answer::Forbidden]),
            0i64..20,
        ), 1..30),
    ) {
        let spec = spec(managers, workers);
        let mut sim = Sim::default();
        let mut unlisted = 0;
        for (survives, lists, crashes, answer, seconds) in steps {
            let world = sim.observe();
            let plan = plan(&spec, &world, sim.now());
            if let Some(journal) = plan.save {
                sim.journal = Some(journal);
            }
            for action in plan.actions.iter().take(if crashes { survives } else { usize::MAX }) {
                sim.take(&world, action, answer);
            }
            if crashes {
                sim.memory = LaunchMemory::default();
                sim.shortages.clear();
            }
            sim.now += seconds;
            // What was made is listed in time, whoever looks.
            unlisted = if lists { 0 } else { unlisted + seconds };
            if lists || unlisted >= 100 {
                sim.listed = sim.launched.values().map(|i| i.id.clone()).collect();
                unlisted = 0;
            }
            for slot in Slot::all(&spec) {
                prop_assert!(sim.live(slot) <= 1, "two instances for {slot}");
            }
            prop_assert!(sim.begun <= 1, "two swarms");
        }
        for _ in 0..8 {
            sim.listed = sim.launched.values().map(|i| i.id.clone()).collect();
            sim.now += 60;
            let world = sim.observe();
            let plan = plan(&spec, &world, sim.now());
            sim.journal = plan.save.or(sim.journal);
            plan.actions.iter().for_each(|a| sim.take(&world, a, Answer::Made));
        }
        prop_assert_eq!(sim.swarms.len(), (managers + workers) as usize);
        prop_assert_eq!(plan(&spec, &sim.observe(), sim.now()).actions, vec![]);
    }
}
