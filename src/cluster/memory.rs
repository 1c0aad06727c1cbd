//! What the process remembers of a cluster. Losing it costs calls and time, never an instance.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::{keys::Keys, member::MemberId, pace::Pace};
use crate::{
    api::ClusterCost,
    cloud::{CloudError, Instance, InstanceState, Lack, Offering},
};

/// A look that comes later than this counts as if it had come then: what happened to a process
/// that was stopped, or to a machine that slept, is no fault of a host. Twice the longest pause
/// between two looks at a cluster that is not ready.
const LATE: SignedDuration = SignedDuration::from_secs(60);

/// How long after it was asked for an instance is listed at the latest, if there is one: by the time over which
/// listings came, for while none succeeds none can tell. EC2 says "a few minutes" of its eventual consistency;
/// seconds are usual.
const LISTED: Duration = Duration::from_secs(120);

/// All that is remembered of a cluster.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    /// Launches and what they ended in.
    pub launches: LaunchMemory,
    /// By the instance's id: for how long it has been as it is.
    pub clocks: BTreeMap<String, Clock>,
    /// By the instance's id: for how long it has been well as a node, or has not.
    pub health: BTreeMap<String, Clock>,
    /// By the node's id: for how long it has been giving up its tasks.
    pub drains: BTreeMap<String, Clock>,
    /// For how long no manager has spoken for a majority.
    pub silence: Option<Clock>,
    /// When this process first looked at the cluster.
    pub since: Option<Instant>,
    /// By the instance's id: what its console says, as a clause.
    pub consoles: BTreeMap<String, String>,
    /// By the instance's id: why one that was stopped could not be started, until it runs.
    pub unstarted: BTreeMap<String, String>,
    /// The keys and the journal, as they were last read or written.
    pub keys: Option<Keys>,
    /// Passes that failed in a row.
    pub failures: u32,
    /// How soon a pass follows one that changed something.
    pub pace: Pace,
    /// How often in a row the network could not be removed.
    pub in_use: u32,
    /// When this process first saw that the cluster is being deleted.
    pub leaving: Option<Instant>,
    /// The end of its time that was warned of.
    pub warned: Option<Timestamp>,
    /// Why an instance was lost, or is about to be, as the Event said that this process wrote last.
    pub told: Option<&'static str>,
    /// The terms the cluster was last looked at by.
    pub terms: String,
    /// The reason of the verdict that this process wrote last: the object at hand may be older.
    pub verdict: Option<String>,
    /// What was last written of the cost, likewise.
    pub cost: Option<ClusterCost>,
}

impl Memory {
    /// Takes in which instances there are, and which are engines. Nobody waits for the hosts of a
    /// paused cluster, or for one that is stopped.
    pub fn look(&mut self, instances: &[Instance], engines: &BTreeSet<MemberId>, paused: bool, now: Instant) {
        let live = instances.iter().filter(|i| !i.state.is_ended());
        let mut clocks = std::mem::take(&mut self.clocks);
        for instance in live {
            let host = instance.slot.parse().map(|slot| MemberId { slot, incarnation: instance.incarnation });
            let up = host.is_ok_and(|h| engines.contains(&h));
            let mut clock = clocks.remove(&instance.id).unwrap_or_else(|| Clock::new(up, now));
            clock.look(up, now);
            if (up || !paused) && instance.state < InstanceState::Stopping {
                self.clocks.insert(instance.id.clone(), clock);
            }
        }
        self.consoles.retain(|id, _| self.clocks.contains_key(id));
    }

    /// An instance that was stopped was not started, for this. Only what the cloud says of the instance counts: who may
    /// ask, and what passes at once, is no reason to give it up.
    pub fn note_start(&mut self, id: &str, error: &CloudError) {
        match error {
            CloudError::Capacity(_) | CloudError::Quota(_) | CloudError::Invalid(_) => {
                self.unstarted.insert(id.to_owned(), error.to_string());
            }
            CloudError::Unauthorized { .. }
            | CloudError::Ended
            | CloudError::Throttled(_)
            | CloudError::Refused(_)
            | CloudError::Unavailable(_) => {}
        }
    }

    /// Which of these instances cannot be started, by now. A start may be accepted, and the instance stopped again for
    /// want of capacity: so one on its way to run is still among them.
    pub fn unstarted(&mut self, instances: &[Instance]) -> BTreeMap<String, String> {
        let waits = |i: &&Instance| !i.state.is_ended() && i.state != InstanceState::Running;
        let mut before = std::mem::take(&mut self.unstarted);
        for instance in instances.iter().filter(waits) {
            let stopped = instance.state_reason.as_ref().filter(|_| instance.state == InstanceState::Stopped);
            let lacks = stopped.filter(|why| Lack::of_end(&why.code).is_some()).map(ToString::to_string);
            let why = lacks.or_else(|| before.remove(&instance.id));
            self.unstarted.extend(why.map(|why| (instance.id.clone(), why)));
        }
        self.unstarted.clone()
    }

    /// Takes in who is well (by the instance's id), which nodes give up their tasks, and whether
    /// a manager spoke for a majority. In a paused cluster nobody's time runs.
    pub fn judge(
        &mut self,
        well: &BTreeMap<String, bool>,
        drains: &BTreeSet<String>,
        heard: bool,
        paused: bool,
        now: Instant,
    ) {
        let running = !paused;
        let well = well.iter().filter(|(_, up)| running || **up).map(|(id, up)| (id.clone(), *up));
        self.health = carried_on(std::mem::take(&mut self.health), well, now);
        self.drains = carried_on(std::mem::take(&mut self.drains), drains.iter().map(|id| (id.clone(), false)), now);
        let before = self.silence.take().into_iter().map(|clock| ((), clock)).collect();
        self.silence = carried_on(before, (!heard && running).then_some(((), false)), now).remove(&());
    }
}

/// The clocks of what is still there, each a look further.
fn carried_on<K: Ord>(
    mut before: BTreeMap<K, Clock>,
    now_up: impl IntoIterator<Item = (K, bool)>,
    now: Instant,
) -> BTreeMap<K, Clock> {
    let looked = now_up.into_iter().map(|(key, up)| {
        let mut clock = before.remove(&key).unwrap_or_else(|| Clock::new(up, now));
        clock.look(up, now);
        (key, clock)
    });
    looked.collect()
}

/// For how long an instance has been an engine, or has not: by the operator's own clock, which
/// begins anew when the operator does. It is never compared with another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    /// Whether its engine answered at the last look.
    pub up: bool,
    /// For how long that has been so.
    pub age: SignedDuration,
    /// The last look came in time, so that it can be believed that nothing has changed since the one before.
    pub timely: bool,
    last: Instant,
}

impl Clock {
    /// One that begins now.
    #[must_use]
    pub const fn new(up: bool, now: Instant) -> Self {
        Self { up, age: SignedDuration::ZERO, timely: true, last: now }
    }

    fn look(&mut self, up: bool, now: Instant) {
        if up != self.up {
            *self = Self::new(up, now);
            return;
        }
        let gap = SignedDuration::try_from(now.duration_since(self.last)).unwrap_or(LATE);
        self.timely = gap <= LATE;
        self.age = self.age.saturating_add(gap.min(LATE));
        self.last = now;
    }

    #[cfg(test)]
    pub fn after(up: bool, age: SignedDuration) -> Self {
        Self { age, ..Self::new(up, Instant::now()) }
    }
}

/// What became of launches that no instance is listed for.
#[derive(Clone, Debug, Default)]
pub struct LaunchMemory {
    asks: BTreeMap<(MemberId, Offering), Ask>,
    /// Fillers whose instance had ended before it was ever listed.
    pub ended: BTreeSet<MemberId>,
}

/// A launch that was asked for.
#[derive(Clone, Copy, Debug, Default)]
struct Ask {
    /// When it was last asked for without an answer, by the listings' time: there may be an instance which is not
    /// listed yet.
    doubt: Option<Duration>,
    /// It was refused, and there is certainly no instance.
    refused: bool,
}

impl LaunchMemory {
    /// Whether this launch was refused so that certainly no instance was made: something else may take its place.
    #[must_use]
    pub fn refused(&self, member: MemberId, offering: &Offering) -> bool {
        self.asks.get(&(member, offering.clone())).is_some_and(|a| a.refused)
    }

    /// A launch is about to be asked for. `again`: it was written down before, perhaps by an
    /// operator that did not live to hear the answer. `listened` is for how long there were listings by now.
    pub fn attempt(&mut self, member: MemberId, offering: &Offering, again: bool, listened: Duration) {
        let key = (member, offering.clone());
        let ask = self.asks.entry(key).or_insert(Ask { doubt: again.then_some(listened), refused: false });
        ask.refused = false;
    }

    /// A launch was answered with an instance.
    pub fn launched(&mut self, member: MemberId) {
        self.asks.retain(|(f, _), _| *f != member);
    }

    /// Remembers how a launch failed. Says whether the slot is free for another one. `listened` is for how long there
    /// were listings by now.
    pub fn note(&mut self, member: MemberId, offering: &Offering, error: &CloudError, listened: Duration) -> bool {
        if *error == CloudError::Ended {
            self.ended.insert(member);
            self.launched(member);
            return true;
        }
        let ask = self.asks.entry((member, offering.clone())).or_default();
        if !error.made_nothing() {
            ask.doubt = Some(listened);
            return false;
        }
        // Who may not ask, asks too often or asks too early, may be told so before anybody looks whether
        // the same was asked for before: an earlier call may still have made an instance.
        let unheard =
            matches!(error, CloudError::Unauthorized { .. } | CloudError::Throttled(_) | CloudError::Refused(_));
        // With other credentials listings begin anew, and their time with them.
        let since = |at: Duration| listened.checked_sub(at).unwrap_or(listened);
        let doubted = ask.doubt.is_some_and(|at| since(at) < LISTED);
        if !(unheard && doubted) {
            *ask = Ask { doubt: None, refused: true };
        }
        ask.refused
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        api::NodeRole,
        cloud::StateReason,
        cluster::{Slot, plan},
    };

    fn member() -> MemberId {
        MemberId { slot: Slot { role: NodeRole::Manager, index: 0 }, incarnation: 0 }
    }

    #[test]
    fn a_look_that_comes_late_counts_no_more_than_one_in_time() {
        let begin = Instant::now();
        let mut clock = Clock::new(false, begin);
        clock.look(false, begin + Duration::from_secs(20));
        assert_eq!((clock.age, clock.timely), (SignedDuration::from_secs(20), true));
        clock.look(false, begin + Duration::from_secs(3600));
        assert_eq!((clock.age, clock.timely), (SignedDuration::from_secs(80), false));
        clock.look(false, begin + Duration::from_secs(3605));
        assert_eq!((clock.age, clock.timely), (SignedDuration::from_secs(85), true));
        clock.look(true, begin + Duration::from_secs(3610));
        assert_eq!((clock.age, clock.up), (SignedDuration::ZERO, true));
    }

    #[test]
    fn what_cannot_be_started_is_known_until_it_runs() {
        let instance = |state, code: &str| Instance {
            state_reason: Some(StateReason { code: code.into(), message: "words".into() }),
            ..plan::tests::instance("w0", 0, state)
        };
        let (stopped, by_user) = (InstanceState::Stopped, "Client.UserInitiatedShutdown");
        for (error, known) in [
            (CloudError::Capacity("none".into()), true),
            (CloudError::Quota("too many".into()), true),
            (CloudError::Invalid("no root volume".into()), true),
            (CloudError::Unauthorized { permission: None, message: "no".into() }, false),
            (CloudError::Refused("it is being stopped".into()), false),
            (CloudError::Throttled("slower".into()), false),
            (CloudError::Unavailable("no answer".into()), false),
        ] {
            let mut memory = Memory::default();
            memory.note_start("i-w0-0", &error);
            let told = memory.unstarted(&[instance(stopped, by_user)]);
            assert_eq!(told.get("i-w0-0").cloned(), known.then(|| error.to_string()), "{error:?}");
        }
        let mut memory = Memory::default();
        // How it is listed pass by pass, and whether it is known not to start.
        for (state, code, known) in [
            (stopped, by_user, false),
            (InstanceState::Pending, "", false),
            (stopped, "Server.InsufficientInstanceCapacity", true),
            (InstanceState::Pending, "", true),
            (InstanceState::Running, "", false),
            (stopped, by_user, false),
        ] {
            assert_eq!(memory.unstarted(&[instance(state, code)]).len(), usize::from(known), "{state:?} {code}");
        }
        memory.note_start("i-w0-0", &CloudError::Capacity("none".into()));
        assert!(memory.unstarted(&[]).is_empty(), "it is gone");
    }

    #[test]
    fn a_refusal_frees_the_slot_unless_an_instance_may_be_there() {
        let offering = Offering { instance_type: "t3.medium".into(), subnet: None, spot: false };
        let at = Duration::from_secs;
        let forbidden = CloudError::Unauthorized { permission: Some("ec2:RunInstances".into()), message: "no".into() };
        let (invalid, throttled) = (CloudError::Invalid("no".into()), CloudError::Throttled("slower".into()));
        let (later, lost) = (CloudError::Refused("later".into()), CloudError::Unavailable("no answer".into()));
        // Whether it was written down before, what it is answered with (and when, by the listings' time, which is 50 s
        // when it is asked for), and whether the slot is free then.
        type Row<'a> = (bool, &'a [(&'a CloudError, u64)], bool);
        let table: [Row<'_>; 15] = [
            (false, &[(&invalid, 50)], true),
            (false, &[(&forbidden, 50)], true),
            (false, &[(&throttled, 50)], true),
            (false, &[(&later, 50)], true),
            (false, &[(&lost, 50)], false),
            (false, &[(&lost, 50), (&forbidden, 51)], false),
            (false, &[(&lost, 50), (&forbidden, 51), (&forbidden, 170)], true),
            // Listings that begin anew have to show it for as long.
            (false, &[(&lost, 50), (&forbidden, 30)], false),
            (false, &[(&lost, 50), (&forbidden, 49)], false),
            (false, &[(&lost, 50), (&invalid, 51)], true),
            (false, &[(&lost, 50), (&later, 51)], false),
            (false, &[(&lost, 50), (&later, 51), (&later, 170)], true),
            (true, &[(&throttled, 51)], false),
            (true, &[(&later, 51)], false),
            (true, &[(&invalid, 51)], true),
        ];
        for (again, answers, free) in table {
            let mut memory = LaunchMemory::default();
            for (error, s) in answers {
                memory.attempt(member(), &offering, again, at(50));
                memory.note(member(), &offering, error, at(*s));
            }
            assert_eq!(memory.refused(member(), &offering), free, "{again} {answers:?}");
        }
    }
}
