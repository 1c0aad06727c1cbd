//! One picture of a cluster, made once a pass: for each of its machines the slot, the instance,
//! the host, the node it is and the nodes it was. Plan and status read only this.
//!
//! Nodes are matched to machines by what is hardest to be wrong about: the id that the engine
//! itself gives, then our labels, then the address. Where the engine is not heard, a node with
//! its labels may be it, and counts as such.

use std::{collections::BTreeMap, fmt};

use k8s_openapi::jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    known::Known,
    slot::Slot,
    world::{HostView, World},
};
use crate::{
    api::{NodeRole, label},
    cloud::{Instance, InstanceState},
    swarm::{EngineInfo, LocalState, Node},
};

/// Which machine of which slot.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId {
    /// The slot.
    pub slot: Slot,
    /// Which instance of the slot, counted from 0.
    pub incarnation: u32,
}

/// A machine that was launched for a slot and has not ended.
#[derive(Clone, Debug)]
pub struct Member<'a> {
    /// Its slot and incarnation.
    pub id: MemberId,
    /// The instance.
    pub instance: &'a Instance,
    /// It fills its slot: it is the one that is written down for it or, where that one is not there, the latest.
    pub holds: bool,
    /// It is to fill its slot once it is ready, and the one that does is there still.
    pub succeeds: bool,
    /// What is seen of it over its connection.
    pub host: Option<&'a HostView>,
    /// Its engine; `No` where it is written down that none has ever answered.
    pub engine: Known<&'a EngineInfo>,
    /// The node it is in this cluster's swarm; `No` where it certainly is none.
    pub node: Known<&'a Node>,
    /// When EC2 takes its instance back; `Unknown` where a spot instance cannot be asked.
    pub ends: Known<Timestamp>,
    /// Why its instance, which was stopped, cannot be started.
    pub unstarted: Option<&'a str>,
    /// Nodes that it was and is not any more.
    pub stale: Vec<&'a Node>,
}

/// What is known of the swarm.
#[derive(Clone, Debug)]
pub enum Swarm<'a> {
    /// There is none, and none was begun.
    None,
    /// It was to be begun on this machine, and may have been.
    Begun(MemberId),
    /// There is one, and no manager was heard that speaks for a majority.
    Silent,
    /// A manager speaks for a majority.
    Heard(Heard<'a>),
}

/// What a manager with a majority says.
#[derive(Clone, Debug)]
pub struct Heard<'a> {
    /// The manager.
    pub via: MemberId,
    /// All nodes.
    pub nodes: &'a [Node],
    /// Nodes that are nobody's host any more and keep their place, or even their vote.
    pub ghosts: Vec<&'a Node>,
    /// Nodes that are none of ours, and those that cannot be told yet.
    pub strangers: Vec<&'a Node>,
}

/// All machines of a cluster.
#[derive(Clone, Debug)]
pub struct Members<'a> {
    all: Vec<Member<'a>>,
    /// Live instances that name no slot.
    pub strays: Vec<&'a Instance>,
    /// The swarm they are.
    pub swarm: Swarm<'a>,
}

impl Member<'_> {
    /// Whether it has a vote among the managers, as the managers see it.
    pub fn votes(&self) -> Known<()> {
        match self.node {
            Known::Yes(node) if node.voter => Known::Yes(()),
            Known::Yes(_) | Known::No => Known::No,
            Known::Unknown => Known::Unknown,
        }
    }

    /// Everything is as its slot asks for: the engine answers, and the managers agree.
    pub fn healthy(&self) -> bool {
        let (Known::Yes(engine), Known::Yes(node)) = (&self.engine, &self.node) else { return false };
        let role = self.id.slot.role;
        let reached = match role {
            NodeRole::Manager => node.voter && node.reachable,
            NodeRole::Worker => !node.voter,
        };
        (self.holds || self.succeeds)
            && engine.state == LocalState::Active
            && node.ready
            && node.role == role
            && reached
    }

    /// Its engine says that it is in another swarm than this cluster's.
    pub fn elsewhere(&self, swarm_id: Option<&String>) -> Option<&str> {
        let theirs = self.engine.yes()?.cluster_id.as_ref()?;
        swarm_id.filter(|ours| *ours != theirs).map(|_| theirs.as_str())
    }
}

impl Known<&EngineInfo> {
    /// How its membership is, where it is heard.
    pub fn state(&self) -> Option<LocalState> {
        self.yes().map(|e| e.state)
    }
}

impl<'a> Members<'a> {
    /// Joins what was observed.
    #[must_use]
    pub fn join(world: &'a World) -> Self {
        let mut strays = Vec::new();
        let mut all: Vec<Member<'a>> = Vec::new();
        for instance in world.instances.iter().flatten().filter(|i| !i.state.is_ended()) {
            match instance.slot.parse() {
                Ok(slot) => all.push(member(world, MemberId { slot, incarnation: instance.incarnation }, instance)),
                Err(()) => strays.push(instance),
            }
        }
        // Of two with the same tags, which only a foreign hand can make, the older id stays.
        all.sort_by(|a, b| (a.id, &a.instance.id).cmp(&(b.id, &b.instance.id)));
        for n in 0..all.len() {
            let id = all[n].id;
            let first = !all[..n].iter().any(|m| m.id == id);
            let holds = first && holder(world, &all, id.slot) == Some(id);
            all[n].holds = holds;
            all[n].succeeds = first && !holds && world.journal.as_ref().is_some_and(|j| j.succeeds(id));
            if !first {
                // The connection is to the first of them.
                (all[n].host, all[n].engine) = (None, Known::Unknown);
            }
        }
        let swarm = match (&world.nodes, world.manager) {
            (Some(nodes), Some(via)) => heard(world, &mut all, nodes, via),
            _ => {
                all.iter_mut().for_each(|m| m.node = alone(m));
                unheard(world, &all)
            }
        };
        Self { all, strays, swarm }
    }

    /// All of them, by slot.
    pub fn iter(&self) -> impl Iterator<Item = &Member<'a>> {
        self.all.iter()
    }

    /// Those that fill a slot.
    pub fn holders(&self) -> impl Iterator<Item = &Member<'a>> {
        self.all.iter().filter(|m| m.holds)
    }

    /// Those that fill a slot, and those that are about to.
    pub fn meant(&self) -> impl Iterator<Item = &Member<'a>> {
        self.all.iter().filter(|m| m.holds || m.succeeds)
    }

    /// The one that fills this slot.
    #[must_use]
    pub fn holder(&self, slot: Slot) -> Option<&Member<'a>> {
        self.holders().find(|m| m.id.slot == slot)
    }

    /// This one, as far as it lives.
    #[must_use]
    pub fn get(&self, id: MemberId) -> Option<&Member<'a>> {
        self.all.iter().find(|m| m.id == id)
    }

    /// What a manager with a majority says, where one was heard.
    #[must_use]
    pub const fn heard(&self) -> Option<&Heard<'a>> {
        match &self.swarm {
            Swarm::Heard(heard) => Some(heard),
            _ => None,
        }
    }
}

/// Who fills a slot.
fn holder(world: &World, all: &[Member<'_>], slot: Slot) -> Option<MemberId> {
    let of_slot = || all.iter().map(|m| m.id).filter(|id| id.slot == slot);
    let journal = world.journal.as_ref();
    let written = journal.and_then(|j| j.launches.get(&slot.to_string())).map(|l| l.incarnation);
    let succeeds = |id: &MemberId| journal.is_some_and(|j| j.succeeds(*id));
    let written = of_slot().find(|id| Some(id.incarnation) == written);
    written.or_else(|| of_slot().filter(|id| !succeeds(id)).max()).or_else(|| of_slot().max())
}

/// A machine before its node is known.
fn member<'a>(world: &'a World, id: MemberId, instance: &'a Instance) -> Member<'a> {
    let host = world.hosts.get(&id);
    let never = world.journal.as_ref().and_then(|j| j.launching(id)).is_some_and(|l| !l.booted);
    let stopped = instance.state >= InstanceState::Stopping;
    let engine = match host.and_then(|h| h.engine.as_ref()) {
        Some(engine) if !stopped => Known::Yes(engine),
        _ if never => Known::No,
        _ => Known::Unknown,
    };
    let ends = ends(world, id, instance);
    let unstarted = world.unstarted.get(&instance.id).map(String::as_str);
    let (node, stale) = (Known::Unknown, Vec::new());
    Member { id, instance, holds: false, succeeds: false, host, engine, node, ends, unstarted, stale }
}

/// When EC2 takes an instance back: as it is written down or, before it is, as the instance itself was told.
fn ends(world: &World, id: MemberId, instance: &Instance) -> Known<Timestamp> {
    let written = world.journal.as_ref().and_then(|j| j.written(id)?.ends);
    let told = world.notices.get(&id).map(|notice| notice.interruption);
    match (written.or(told.flatten()), told) {
        (Some(at), _) => Known::Yes(at),
        (None, None) if instance.spot => Known::Unknown,
        (None, _) => Known::No,
    }
}

/// What a machine says of itself, where no manager speaks.
fn alone<'a>(member: &Member<'a>) -> Known<&'a Node> {
    match (&member.engine, member.engine.state()) {
        (Known::No, _) | (_, Some(LocalState::Inactive)) => Known::No,
        _ => Known::Unknown,
    }
}

/// The swarm of which no manager speaks for a majority.
fn unheard<'a>(world: &World, all: &[Member<'a>]) -> Swarm<'a> {
    let Some(journal) = &world.journal else { return Swarm::None };
    let in_one = |m: &Member<'_>| m.engine.state().is_some_and(|s| s != LocalState::Inactive);
    match journal.swarm {
        _ if journal.swarm_id.is_some() => Swarm::Silent,
        // One that other engines are in was begun, whatever is written down.
        _ if all.iter().any(in_one) => Swarm::Silent,
        Some(host) => Swarm::Begun(host),
        None => Swarm::None,
    }
}

/// Whose each node is.
fn heard<'a>(world: &'a World, all: &mut [Member<'a>], nodes: &'a [Node], via: MemberId) -> Swarm<'a> {
    let by_id: BTreeMap<&str, usize> =
        all.iter().enumerate().filter_map(|(n, m)| Some((m.engine.yes()?.node_id.as_deref()?, n))).collect();
    let (mut ghosts, mut strangers, mut foreign) = (Vec::new(), Vec::new(), Vec::new());
    for node in nodes {
        if let Some(n) = by_id.get(node.id.as_str()) {
            all[*n].node = Known::Yes(node);
            continue;
        }
        let labelled = labelled(world, node);
        let of_address = |m: &Member<'_>| m.instance.private_address.as_deref() == Some(node.address.as_str());
        let claim = match labelled {
            // Two machines of the same name are told apart by their addresses.
            Some(id) => {
                let of_name = |m: &Member<'_>| m.id == id;
                let named =
                    all.iter().position(|m| of_name(m) && of_address(m)).or_else(|| all.iter().position(of_name));
                // A machine that exists may have another slot now than its labels say.
                named.or_else(|| world.given.as_ref().and_then(|_| all.iter().position(of_address)))
            }
            None => all.iter().position(of_address),
        };
        match claim {
            // Its engine says that it is another node, or none.
            Some(n) if certain(world, &all[n]) => {
                all[n].stale.push(node);
                ghosts.push(node);
            }
            Some(n) => match all[n].node {
                Known::Yes(other) if other.ready || !node.ready => strangers.push(node),
                Known::Yes(other) => {
                    strangers.push(other);
                    all[n].node = Known::Yes(node);
                }
                _ => all[n].node = Known::Yes(node),
            },
            None if labelled.is_some() => ghosts.push(node),
            None => foreign.push(node),
        }
    }
    // A node without labels whose address is not known may be any machine that is not heard.
    let unplaced = foreign.iter().any(|n| n.address.is_empty());
    for member in all.iter_mut().filter(|m| !m.node.is_yes()) {
        let sure = certain(world, member) || member.engine == Known::Unknown && !unplaced;
        member.node = if sure { Known::No } else { Known::Unknown };
    }
    // A dead voter that can be none of ours is nobody's; a living one is somebody's.
    let doubt = all.iter().any(|m| m.node == Known::Unknown);
    let (dead, others) = foreign.into_iter().partition::<Vec<_>, _>(|n| !doubt && n.voter && !n.reachable && !n.ready);
    ghosts.extend(dead);
    strangers.extend(others);
    Swarm::Heard(Heard { via, nodes, ghosts, strangers })
}

/// Whether what its engine says of its membership settles which node it is, and that it is no other.
fn certain(world: &World, member: &Member<'_>) -> bool {
    match member.engine.state() {
        // It may be any node by the time the nodes are listed.
        Some(LocalState::Pending) => false,
        Some(_) => !world.joining.contains(&member.id),
        None => member.engine.is_no(),
    }
}

/// Which machine of this cluster a node's labels name.
fn labelled(world: &World, node: &Node) -> Option<MemberId> {
    let of = |key| node.labels.get(key);
    let ours = of(label::CLUSTER) == Some(&world.name);
    let slot = of(label::SLOT).filter(|_| ours)?.parse().ok()?;
    Some(MemberId { slot, incarnation: of(label::INCARNATION)?.parse().ok()? })
}

impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.slot, self.incarnation)
    }
}

impl fmt::Debug for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for MemberId {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for MemberId {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        let parsed =
            text.split_once('.').and_then(|(s, i)| Some(Self { slot: s.parse().ok()?, incarnation: i.parse().ok()? }));
        parsed.ok_or_else(|| serde::de::Error::custom(format!("{text:?} is not a slot and incarnation such as m0.1")))
    }
}
