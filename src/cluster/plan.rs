//! Decides what to do next: a pure function of the spec, what was observed and the time.
//!
//! Truth is the cloud's tags, the engines and the spec. What is remembered is the [`Journal`],
//! written before an instance is launched or a swarm is begun, so that after a crash the same
//! step is taken again and not another one.
//!
//! A pass asks in this order: which slots are meant and who fills them ([`desire`]), who came to
//! nothing ([`boot`]), who is outdated ([`roll`]) or taken back ([`interruption`]), what is missing
//! ([`launch`]), who is sick ([`health`]), and the next step of each member ([`life`]) or of the
//! swarm as a whole ([`swarm`]). Whatever changes who votes goes through the [`gate`]. Machines that
//! are neither made nor ended are taken and let go ([`given`]), and the swarm that they are in is
//! adopted where it is as the spec says ([`adoption`]).

mod adoption;
mod boot;
mod desire;
mod gate;
mod given;
mod health;
mod interruption;
mod launch;
mod life;
mod roll;
mod swarm;

use std::collections::{BTreeMap, BTreeSet};

pub use gate::{alive, majority};
pub use health::ailment;
pub use interruption::clock;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
pub use launch::all_offerings;
pub use roll::rolls;
pub use swarm::{Lost, lost};

use self::adoption::Survey;
pub use super::world::{Drain, HostView, World};
use super::{
    access::Access,
    journal::Journal,
    losses::Losses,
    member::{Member, MemberId, Members, Swarm},
    roster,
    slot::Slot,
    template::terms,
    trouble::Trouble,
};
use crate::{
    api::{HOLD_UNTIL, NodeRole, SwarmClusterSpec, label, reason},
    cloud::{Instance, InstanceState, Lack, Offering, Shortage},
};

/// How often runs are looked at that hold a cluster which is being deleted.
const HELD: SignedDuration = SignedDuration::from_secs(2);
/// How long before its time is over a cluster says so, where its ttl is not short.
const AHEAD: SignedDuration = SignedDuration::from_mins(10);

/// One idempotent step. Those of a plan are independent of each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Launch the instance of a slot.
    Launch(MemberId, Offering),
    /// Read the console of an instance that is about to be given up.
    Examine(String),
    /// Start instances that are stopped.
    Start(Vec<String>),
    /// End instances.
    Terminate(Vec<String>),
    /// Begin the swarm on this host.
    Init(MemberId),
    /// Make this manager the only one of the swarm it is in, with all that it knows.
    Force(MemberId),
    /// Join a host to the swarm.
    Join {
        /// The host.
        host: MemberId,
        /// A manager that gives the token.
        via: MemberId,
        /// Addresses of managers to join through.
        remotes: Vec<String>,
    },
    /// Take a host out of a swarm that does not know it, or that is given up.
    Leave(MemberId),
    /// Install an engine on a host that is reached and has none.
    Install(MemberId),
    /// Take our labels off a node that goes on without us.
    Unlabel {
        /// A manager.
        via: MemberId,
        /// The node.
        node: String,
    },
    /// Bring a node's labels and role to what its slot asks for.
    Update {
        /// A manager.
        via: MemberId,
        /// The node.
        node: String,
        /// Labels to set.
        labels: BTreeMap<String, String>,
        /// Role to set, where it differs.
        role: Option<NodeRole>,
    },
    /// Have a node give up its tasks.
    Drain {
        /// A manager.
        via: MemberId,
        /// The node.
        node: String,
    },
    /// Give a node tasks again that we had told to give them up.
    Activate {
        /// A manager.
        via: MemberId,
        /// The node.
        node: String,
    },
    /// Remove a node that is nobody's host.
    RemoveNode {
        /// A manager.
        via: MemberId,
        /// The node.
        node: String,
    },
    /// Delete the object: its time is over.
    Expire,
    /// Remove the network of a cluster that has no instance any more and, when nothing uses it, let the object go.
    Release,
}

/// Why a member's next step is not taken now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wait {
    /// Another change of voters is under way.
    Turn,
    /// The managers that answer are too few for one more change.
    Margin,
    /// A node that is nobody's host any more has to be out of the swarm first.
    Ghost,
    /// Its tasks are being taken elsewhere.
    Draining,
    /// Nobody can say whether it has a vote.
    Unheard,
    /// The swarm may have been begun on it, and it does not say.
    Begun,
    /// It was heard a moment ago.
    Patience,
    /// Another host is being replaced.
    Budget,
    /// It is outdated, and its successor is on its way.
    Succeeded,
    /// It is outdated, and the update did not get past another host.
    Failed,
    /// It is outdated, and another host of its role is not well.
    Unready,
    /// It is outdated, and workers are replaced before managers.
    Workers,
    /// It is outdated, and it is the only manager where none may come beside it.
    Alone,
    /// It is outdated, and a run uses the cluster.
    Runs,
    /// A person said that it is to be left alone.
    Kept,
    /// It is a machine of somebody's, that no other can take the place of.
    Given,
}

impl Wait {
    /// In words, as a clause.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Turn => "another change of the managers is under way",
            Self::Margin => "the managers that answer are too few for another change",
            Self::Ghost => "a node that is no host any more has to be out of the swarm first",
            Self::Draining => "its tasks are being taken elsewhere",
            Self::Unheard => "nobody can say whether it has a vote",
            Self::Begun => "the swarm may have been begun on it, and on no other it is begun",
            Self::Patience => "it may come back by itself",
            Self::Budget => "another host is being replaced",
            Self::Succeeded => "its successor is on its way",
            Self::Failed => "the update stopped at another host, which did not come back healthy",
            Self::Unready => "another host is not well",
            Self::Workers => "workers are replaced before managers",
            Self::Alone => {
                "it is the only manager, and spec.update.maxSurge is 0: set it to 1, so that another one can take its place"
            }
            Self::Runs => "a run uses the cluster",
            Self::Kept => "it is left as it is, for it is named by the annotation testkit.dev/keep",
            Self::Given => "no other machine can take its place, so it is waited for",
        }
    }
}

/// What to do, and what to write down before it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// The journal to write before any action, where it changes.
    pub save: Option<Journal>,
    /// What to do then.
    pub actions: Vec<Action>,
    /// The hosts to keep connections to.
    pub hosts: Vec<MemberId>,
    /// Hosts whose own key is to be written down.
    pub pins: Vec<MemberId>,
    /// When to look again though nothing woke us.
    pub again_at: Option<Timestamp>,
    /// The slots that are meant.
    pub slots: Vec<Slot>,
    /// What keeps slots from being filled.
    pub troubles: BTreeMap<Slot, Trouble>,
    /// Why members are not a step further.
    pub waits: BTreeMap<MemberId, Wait>,
    /// Machines that are not as the spec asks for, and by which fields of it.
    pub outdated: BTreeMap<MemberId, Vec<String>>,
    /// Slots whose machine has a successor that is meant to take its place.
    pub updating: BTreeSet<Slot>,
    /// What was found to be lost just now.
    pub lost: BTreeMap<Slot, Losses>,
    /// What those lacked that were accepted and came to nothing for it, in the cloud's words: for the whole account.
    pub short: Vec<(Offering, Lack, String)>,
    /// What is worth an Event of its own: its reason and its words.
    pub news: Vec<(&'static str, String)>,
    /// By the instance's id, the words on those of which it was just heard that EC2 takes them back.
    pub taken_back: BTreeMap<String, String>,
}

/// What a pass decides with: the picture, and the plan and the journal that it makes.
struct Pass<'a> {
    spec: &'a SwarmClusterSpec,
    world: &'a World,
    members: &'a Members<'a>,
    /// The slots that are meant, managers first.
    slots: Vec<Slot>,
    now: Timestamp,
    journal: Journal,
    plan: Plan,
    /// What the account does not get, of late and since this pass began.
    shortages: BTreeMap<Offering, Shortage>,
    /// Slots for which a successor is to be launched.
    succeeding: BTreeSet<Slot>,
    /// Outdated machines that go before another one takes their place.
    rolling: Vec<MemberId>,
}

impl<'a> Pass<'a> {
    /// Nothing is decided yet.
    fn new(
        spec: &'a SwarmClusterSpec,
        world: &'a World,
        members: &'a Members<'a>,
        slots: Vec<Slot>,
        now: Timestamp,
        journal: Journal,
    ) -> Self {
        let (succeeding, rolling) = (BTreeSet::new(), Vec::new());
        let (plan, shortages) = (Plan::default(), world.shortages.clone());
        Self { spec, world, members, slots, now, journal, plan, shortages, succeeding, rolling }
    }

    /// Has the cluster looked at again then at the latest.
    fn wake_at(&mut self, at: Timestamp) {
        self.plan.again_at = Some(self.plan.again_at.map_or(at, |before| before.min(at)));
    }

    fn wake_in(&mut self, pause: SignedDuration) {
        self.wake_at(self.now.checked_add(pause).unwrap_or(self.now));
    }

    fn take(&mut self, action: Action) {
        self.plan.actions.push(action);
    }

    /// An offering was accepted and came to nothing: it is passed over from now on, by every cluster of the account.
    fn lacks(&mut self, offering: &Offering, lack: Lack, words: String) {
        self.shortages.insert(offering.clone(), Shortage::new(lack, &words, self.now));
        self.plan.short.push((offering.clone(), lack, words));
    }

    fn waits(&mut self, member: MemberId, why: Wait) {
        self.plan.waits.entry(member).or_insert(why);
    }

    /// Whether this machine is one of those that are meant, and not written down as lost.
    fn wanted(&self, id: MemberId) -> bool {
        self.slots.contains(&id.slot) && !self.journal.lost(id)
    }

    /// Whether this machine is to be a node: it fills a slot, or is about to.
    fn meant(&self, member: &Member<'_>) -> bool {
        let succeeds = member.succeeds && self.journal.launching(member.id).is_some();
        (member.holds || succeeds) && self.wanted(member.id)
    }
}

/// Decides.
#[must_use]
pub fn plan(spec: &SwarmClusterSpec, world: &World, now: Timestamp) -> Plan {
    let Some(instances) = &world.instances else { return Plan::default() };
    if world.deleting {
        return if world.given.is_some() { given::removal(spec, world, now) } else { removal(world, instances, now) };
    }
    let members = &Members::join(world);
    // A journal that is gone while machines are there does not tell what was done with them.
    let restored = instances.iter().any(|i| !i.state.is_ended());
    let mut journal = world.journal.clone().unwrap_or(Journal { restored, ..Journal::default() });
    if let Access::Said(cidrs) = &world.access {
        journal.access.clone_from(cidrs);
    }
    let slots = match &world.given {
        Some(given) => {
            if !spec.paused && !roster::held(given, &journal, &world.runs) {
                roster::take(given, &mut journal);
            }
            roster::slots(&journal)
        }
        None => desire::slots(spec, members, &journal, &world.kept),
    };
    let mut pass = Pass::new(spec, world, members, slots, now, journal);
    if let Some(expiry) = expiry(spec, world) {
        if expiry <= now {
            return Plan { actions: vec![Action::Expire], ..Plan::default() };
        }
        pass.wake_at(expiry);
        warn(&mut pass, expiry);
    }
    pass.plan.slots.clone_from(&pass.slots);
    // Of two with the same tags the connection is to the first.
    let hosts: BTreeSet<MemberId> = members.iter().map(|m| m.id).collect();
    pass.plan.hosts = hosts.into_iter().collect();
    // A key that was given is written down already.
    let unpinned = |m: &&Member<'_>| m.instance.login.is_none() && m.host.is_some_and(|h| h.rotated && !h.pinned);
    pass.plan.pins = members.iter().filter(unpinned).map(|m| m.id).collect();
    if let Some(given) = &world.given {
        if world.journal.as_ref() != Some(&pass.journal) {
            return given::took(pass);
        }
        given::compare(&mut pass, given);
    } else {
        if !spec.paused {
            roll::fall_back(&mut pass);
        }
        roll::compare(&mut pass);
    }
    // Where nothing can be launched, nothing goes, either, for which another one would have to come.
    if spec.paused || world.access == Access::Unsaid {
        // Who may reach the hosts is kept all the same: it may not be said any more when the cluster goes on.
        let before = world.journal.as_ref().filter(|journal| journal.access != pass.journal.access);
        pass.plan.save = before.map(|journal| Journal { access: pass.journal.access.clone(), ..journal.clone() });
        return pass.plan;
    }
    if world.given.is_some() {
        given::tend(&mut pass);
    } else {
        roll::advance(&mut pass);
        boot::judge(&mut pass);
        launch::launch(&mut pass, instances);
        tell_losses(&mut pass);
    }
    match adoption::survey(&mut pass) {
        Survey::Ours => go_on(&mut pass),
        Survey::Free => swarm::begin(&mut pass),
        Survey::Waits => {}
    }
    boot::restart(&mut pass);
    let updating = pass.journal.successors.keys().filter_map(|slot| slot.parse().ok());
    pass.plan.updating = updating.filter(|slot| !taken_back(&pass, *slot)).collect();
    if world.journal.as_ref() != Some(&pass.journal) {
        pass.plan.save = Some(pass.journal);
    }
    pass.plan
}

/// The next step of each member, or of the swarm as a whole.
fn go_on(pass: &mut Pass<'_>) {
    match &pass.members.swarm {
        Swarm::Heard(heard) => {
            swarm::adopt(pass, heard);
            life::tend(pass, heard);
        }
        Swarm::None | Swarm::Begun(_) => {
            life::shed(pass);
            swarm::begin(pass);
        }
        Swarm::Silent => {
            life::shed(pass);
            swarm::recover(pass);
        }
    }
}

/// Tells of losses until another instance has made up for them.
fn tell_losses(pass: &mut Pass<'_>) {
    let terms = terms(pass.spec, &pass.world.access);
    for slot in pass.slots.clone() {
        let next = pass.journal.successors.get(&slot.to_string());
        let next = next.map(|l| MemberId { slot, incarnation: l.incarnation });
        let updating = next.is_some() && !taken_back(pass, slot);
        let tried = if next.is_some() { next.and_then(|id| pass.members.get(id)) } else { pass.members.holder(slot) };
        let booted = tried.is_some_and(|m| pass.journal.launching(m.id).is_none_or(|l| l.booted));
        let told = |l: &&Losses| !booted && (l.count > 0 || l.cause.is_taken_back() && next.is_none());
        let Some(losses) = pass.journal.losses.get(&slot.to_string()).filter(told) else { continue };
        let trouble = Trouble::Lost { losses: losses.clone(), stalls: losses.stalls(&terms), updating };
        pass.plan.troubles.entry(slot).or_insert(trouble);
    }
}

/// Whether who fills a slot is taken back by EC2.
fn taken_back(pass: &Pass<'_>, slot: Slot) -> bool {
    pass.members.holder(slot).is_some_and(|m| m.ends.is_yes())
}

/// When the cluster's time is over: at the end of its ttl, or as long after it as a person may hold it.
#[must_use]
pub fn expiry(spec: &SwarmClusterSpec, world: &World) -> Option<Timestamp> {
    let ttl = SignedDuration::try_from(spec.ttl?.get()).ok()?;
    let end = world.created_at?.checked_add(ttl).ok()?;
    let Some((until, longest)) = world.hold else { return Some(end) };
    Some(end.max(until.min(end.checked_add(longest).unwrap_or(Timestamp::MAX))))
}

/// Says once, ahead of time, that the cluster's time is nearly over.
fn warn(pass: &mut Pass<'_>, expiry: Timestamp) {
    let ttl = pass.spec.ttl.and_then(|ttl| SignedDuration::try_from(ttl.get()).ok()).unwrap_or_default();
    let ahead = expiry.checked_sub(AHEAD.min(ttl / 10)).unwrap_or(expiry);
    if ahead > pass.now {
        pass.wake_at(ahead);
    } else if pass.world.warned != Some(expiry) {
        let words = format!(
            "the cluster is deleted at {expiry:.0}, for its ttl is over then: the annotation {HOLD_UNTIL}, such as 2026-12-24T18:00:00Z, puts that off"
        );
        pass.plan.news.push((reason::EXPIRES_SOON, words));
    }
}

/// Deletion: runs are let come to an end, then instances, then the network they use, then the object.
fn removal(world: &World, instances: &[Instance], now: Timestamp) -> Plan {
    let mut plan = Plan::default();
    if !world.holders.is_empty() {
        plan.hosts = Members::join(world).holders().map(|m| m.id).collect();
        plan.again_at = now.checked_add(HELD).ok();
        return plan;
    }
    let live: Vec<_> = instances.iter().filter(|i| !i.state.is_ended()).map(|i| i.id.clone()).collect();
    if !live.is_empty() {
        plan.actions.push(Action::Terminate(live));
    } else if instances.iter().all(|i| i.state == InstanceState::Terminated) {
        // The network goes only when nothing uses it, so an instance that no list shows yet
        // keeps the object, and is found by a later sweep.
        plan.actions.push(Action::Release);
    }
    plan
}

/// The labels of a host's node.
#[must_use]
pub fn labels(world: &World, host: MemberId) -> BTreeMap<String, String> {
    [
        (label::CLUSTER, world.name.clone()),
        (label::SLOT, host.slot.to_string()),
        (label::INCARNATION, host.incarnation.to_string()),
    ]
    .map(|(k, v)| (k.to_owned(), v))
    .into()
}

#[cfg(test)]
pub(super) mod tests;
#[cfg(test)]
mod worlds;
