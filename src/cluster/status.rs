//! What the object says: status and conditions as a pure function of what was seen, planned and done.

mod verdict;

use std::collections::BTreeSet;

use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::Time,
    jiff::{SignedDuration, Timestamp},
};

use super::{
    act::Outcome,
    member::{Member, Members},
    plan::{self, Plan, Wait, World},
    slot::Slot,
};
use crate::{
    api::{
        AddressKind, NodeRole, NodeState, NodeStatus, SwarmCluster, SwarmClusterStatus, condition, set, text, type_,
    },
    cloud::{Instance, InstanceState},
    swarm::{Availability, LocalState},
};

/// How long the managers may take to agree on one that has just joined.
const SETTLED: SignedDuration = SignedDuration::from_secs(10);
/// The most characters of what is said of a machine, and of an id or a version.
const WORDS: (usize, usize) = (1024, 128);

/// Writes the status.
#[must_use]
pub fn status(
    cluster: &SwarmCluster,
    world: &World,
    plan: &Plan,
    outcome: &Outcome,
    now: Timestamp,
) -> SwarmClusterStatus {
    let spec = &cluster.spec;
    let members = &Members::join(world);
    let nodes = nodes(cluster, world, members, plan);
    let verdict = verdict::verdict(cluster, world, members, plan, outcome, &nodes);
    let ready = |role| nodes.iter().filter(|n| n.role == role && n.state == NodeState::Ready).count();
    let (updated, outdated) = counted(world, members, plan).unzip();
    let versions: BTreeSet<&str> = nodes.iter().filter_map(|n| n.engine_version.as_deref()).collect();
    let versions: Vec<&str> = versions.into_iter().collect();
    let generation = cluster.metadata.generation;
    let mut conditions = cluster.status.as_ref().map(|s| s.conditions.clone()).unwrap_or_default();
    let mut put = |type_, holds, reason: &str, message: &str| {
        set(&mut conditions, condition(type_, holds, reason, message, generation, now));
    };
    put(type_::READY, verdict.ready, verdict.reason, &verdict.message);
    put(type_::RECONCILING, verdict.reconciling, verdict.reason, &verdict.message);
    put(type_::STALLED, verdict.stalled, verdict.reason, &verdict.message);
    let slots = nodes.iter().filter(|n| n.state != NodeState::Terminating);
    let launched = slots.clone().filter(|n| n.state != NodeState::Missing).count();
    let joined = slots.clone().filter(|n| n.node_id.is_some()).count();
    let wanted = slots.count();
    for (type_, done, what) in [(type_::LAUNCHED, launched, "launched"), (type_::JOINED, joined, "in the swarm")] {
        let reason = if done == wanted { "All" } else { "Some" };
        put(
            type_,
            done == wanted && !world.deleting,
            reason,
            &format!("{done} of {wanted} {} {what}", if wanted == 1 { "is" } else { "are" }),
        );
    }
    SwarmClusterStatus {
        observed_generation: generation,
        conditions,
        managers: Some(format!("{}/{}", ready(NodeRole::Manager), spec.count(NodeRole::Manager))),
        workers: Some(format!("{}/{}", ready(NodeRole::Worker), spec.count(NodeRole::Worker))),
        engine_version: (!versions.is_empty()).then(|| versions.join(",")),
        updated,
        outdated,
        endpoint: nodes.iter().find(|n| n.leader).and_then(|n| n.address.clone()),
        ssh_secret: world.journal.is_some().then(|| cluster.ssh_secret_name()),
        expires_at: plan::expiry(spec, world).map(Time),
        // It hangs on nothing else of the status, and stands until it is said anew.
        cost: cluster.status.as_ref().and_then(|s| s.cost.clone()),
        nodes,
    }
}

/// How many machines are as the spec asks for, and how many as an earlier one did.
fn counted(world: &World, members: &Members<'_>, plan: &Plan) -> Option<(u32, u32)> {
    if world.deleting || world.instances.is_none() {
        return None;
    }
    let held = plan.slots.iter().filter(|slot| members.holder(**slot).is_some()).count();
    let outdated = plan.outdated.len();
    Some((u32::try_from(held.saturating_sub(outdated)).ok()?, u32::try_from(outdated).ok()?))
}

/// Every slot and every instance beside the slots.
fn nodes(cluster: &SwarmCluster, world: &World, members: &Members<'_>, plan: &Plan) -> Vec<NodeStatus> {
    let name = |slot: &str| format!("{}-{slot}", cluster.metadata.name.as_deref().unwrap_or_default());
    let kind = cluster.spec.provider.ec2.as_ref().map(|e| e.connect_to).unwrap_or_default();
    let slots = if plan.slots.is_empty() { Slot::all(&cluster.spec).collect() } else { plan.slots.clone() };
    let mut nodes: Vec<NodeStatus> = slots
        .into_iter()
        .map(|slot| match members.holder(slot) {
            Some(member) if !world.deleting => held(name(&slot.to_string()), kind, member, world, plan),
            _ => NodeStatus { name: name(&slot.to_string()), ..blank(slot.role, NodeState::Missing) },
        })
        .filter(|n| !(world.deleting && n.state == NodeState::Missing))
        .collect();
    let shown: BTreeSet<_> = nodes.iter().filter_map(|n| n.instance_id.clone()).collect();
    let others = world.instances.iter().flatten();
    let others = others.filter(|i| !shown.contains(&i.id) && i.state != InstanceState::Terminated);
    nodes.extend(others.map(|i| {
        let role = i.slot.parse::<Slot>().map_or(NodeRole::Worker, |s| s.role);
        let mut node =
            NodeStatus { name: name(&i.slot), ..with_instance(blank(role, NodeState::Terminating), kind, i) };
        let member = members.iter().find(|m| m.instance.id == i.id);
        match member.filter(|_| !i.state.is_ended()) {
            Some(member) if succeeds(member, world, plan) => succeeding(node, kind, member, world, members, plan),
            Some(member) => {
                node.node_id = member.node.yes().map(|n| n.id.clone());
                node.message = plan.waits.get(&member.id).map(|w| w.words().to_owned());
                node
            }
            None => node,
        }
    }));
    nodes.into_iter().map(plain).collect()
}

/// What hosts, engines and the cloud say of a machine, fit for who looks at the object.
fn plain(mut node: NodeStatus) -> NodeStatus {
    let words = [
        (&mut node.message, WORDS.0),
        (&mut node.node_id, WORDS.1),
        (&mut node.engine_version, WORDS.1),
        (&mut node.instance_id, WORDS.1),
        (&mut node.instance_type, WORDS.1),
    ];
    for (said, most) in words {
        *said = said.as_deref().map(|said| text::line(said, most));
    }
    node
}

/// Whether a machine is about to fill its slot, by what is decided now.
fn succeeds(member: &Member<'_>, world: &World, plan: &Plan) -> bool {
    let journal = plan.save.as_ref().or(world.journal.as_ref());
    member.succeeds && !world.deleting && journal.is_some_and(|j| j.launching(member.id).is_some())
}

/// A machine that is about to fill its slot.
fn succeeding(
    node: NodeStatus,
    kind: AddressKind,
    member: &Member<'_>,
    world: &World,
    members: &Members<'_>,
    plan: &Plan,
) -> NodeStatus {
    let mut node = held(node.name, kind, member, world, plan);
    let before = members.holder(member.id.slot).map(|m| m.instance.id.as_str()).unwrap_or_default();
    let takes = format!("it takes the place of {before} once it is ready");
    node.message = Some(node.message.map_or_else(|| takes.clone(), |m| format!("{m}; {takes}")));
    // Of its slot there is one that is ready already.
    node.state = if node.state == NodeState::Ready { NodeState::Joining } else { node.state };
    node
}

/// A slot with an instance.
fn held(name: String, kind: AddressKind, member: &Member<'_>, world: &World, plan: &Plan) -> NodeStatus {
    let mut node = with_instance(blank(member.id.slot.role, NodeState::Booting), kind, member.instance);
    node.name = name;
    let engine = member.engine.yes();
    if let Some(listed) = member.node.yes() {
        node.node_id = Some(listed.id.clone());
        node.engine_version = Some(listed.engine_version.clone()).filter(|v| !v.is_empty());
        node.leader = listed.leader;
    }
    if member.instance.state >= InstanceState::Stopping {
        node.state = NodeState::Down;
        let waits = plan.waits.get(&member.id).map(|w| format!("; {}", w.words())).unwrap_or_default();
        node.message = Some(match member.unstarted {
            Some(why) => format!("the instance was stopped, and is not started: {why}{waits}"),
            None => "the instance is stopped, and is started again".to_owned(),
        });
        return node;
    }
    if member.healthy() {
        node.state = NodeState::Ready;
        let idle = member.node.yes().map(|n| n.availability).filter(|a| *a != Availability::Active);
        let idle = idle.map(|a| format!("the swarm gives it no tasks: its availability is {}", a.word()));
        let notice = notice(member, world, plan);
        let said: Vec<String> = notice.into_iter().chain(outdated(member, plan)).chain(idle).collect();
        node.message = Some(said.join("; ")).filter(|words| !words.is_empty());
        return node;
    }
    let swarm_id = world.journal.as_ref().and_then(|j| j.swarm_id.as_ref());
    let waits = plan.waits.get(&member.id).map(|w| w.words());
    // Who has just joined gets into the swarm, and is reached by the other managers, a moment later.
    let young = world.health.get(&member.instance.id).is_none_or(|c| c.age < SETTLED);
    let comes = engine.is_some_and(|e| e.state == LocalState::Pending) || member.node.yes().is_some_and(|n| n.ready);
    // Of a machine that exists nobody knows before it is reached whether it is an engine.
    let arrives =
        world.given.is_some() && engine.is_none() && !member.node.is_yes() && (young || world.installs(member));
    let settling = young && engine.is_some() && comes || arrives;
    if let Some(ailment) = plan::ailment(member, swarm_id).filter(|_| !settling) {
        node.state = NodeState::Down;
        node.message = Some(match waits {
            Some(waits) => format!("{ailment}; {waits}"),
            None => ailment,
        });
        return node;
    }
    let Some(engine) = engine else {
        node.message = member.host.and_then(|h| h.error.clone());
        if node.address.is_none() && member.instance.state == InstanceState::Running {
            node.message =
                Some("the instance has no address of the kind spec.provider.ec2.connectTo asks for".to_owned());
        }
        return node;
    };
    node.engine_version = Some(engine.version.clone());
    node.state = NodeState::Joining;
    let waits = waits.filter(|_| !settling);
    node.message = waits.map(str::to_owned).or_else(|| engine.error.clone()).filter(|e| !e.is_empty());
    if engine.state == LocalState::Active && world.nodes.is_none() {
        node.node_id.clone_from(&engine.node_id);
        if let Some(error) = &world.swarm_error {
            node.state = NodeState::Down;
            node.message = Some(error.clone());
        }
    }
    node
}

/// What EC2 says of a spot instance's end, and what is done about it.
fn notice(member: &Member<'_>, world: &World, plan: &Plan) -> Option<String> {
    if let Some(at) = member.ends.yes() {
        let kept = plan.waits.get(&member.id).filter(|w| **w == Wait::Kept).map(|w| w.words());
        let then = kept.unwrap_or("another one takes its place");
        return Some(format!("EC2 takes it back at {}: {then}", plan::clock(at)));
    }
    world.notices.get(&member.id)?.rebalance?;
    Some("EC2 recommends to replace it, for it is likelier than before to be taken back: nothing is done before EC2 says that it is".to_owned())
}

/// That a machine is as an earlier spec asked for, and why it is not replaced yet.
fn outdated(member: &Member<'_>, plan: &Plan) -> Option<String> {
    let parts = plan.outdated.get(&member.id)?.join(", ");
    let waits = plan.waits.get(&member.id).map_or("it is replaced", |w| w.words());
    Some(format!("is as an earlier spec asked for ({parts}): {waits}"))
}

fn blank(role: NodeRole, state: NodeState) -> NodeStatus {
    NodeStatus {
        name: String::new(),
        role,
        state,
        leader: false,
        instance_id: None,
        instance_type: None,
        address: None,
        private_address: None,
        public_address: None,
        port: None,
        user: None,
        node_id: None,
        engine_version: None,
        message: None,
    }
}

fn with_instance(mut node: NodeStatus, kind: AddressKind, instance: &Instance) -> NodeStatus {
    node.instance_id = Some(instance.id.clone());
    node.instance_type = Some(instance.instance_type.clone()).filter(|t| !t.is_empty());
    if let Some(login) = &instance.login {
        node.port = Some(login.port).filter(|port| *port != 22);
        node.user = Some(login.user.clone()).filter(|user| user != "root");
    }
    node.address = address(instance, kind).map(str::to_owned);
    node.private_address.clone_from(&instance.private_address);
    node.public_address.clone_from(&instance.public_address);
    node
}

/// All addresses of a host, the one to connect to first.
#[must_use]
pub fn addresses(instance: &Instance, kind: AddressKind) -> Vec<String> {
    let other = match kind {
        AddressKind::Private => AddressKind::Public,
        AddressKind::Public => AddressKind::Private,
    };
    let mut all: Vec<_> =
        [kind, other].into_iter().filter_map(|kind| address(instance, kind)).map(str::to_owned).collect();
    // A machine that exists is logged in to at one.
    all.dedup();
    all
}

/// The address to connect to.
#[must_use]
pub fn address(instance: &Instance, kind: AddressKind) -> Option<&str> {
    if let Some(login) = &instance.login {
        return Some(&login.address);
    }
    match kind {
        AddressKind::Private => instance.private_address.as_deref(),
        AddressKind::Public => instance.public_address.as_deref(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        api::{SwarmClusterSpec, label, reason},
        cluster::plan::tests::{NOW, node, whole},
    };

    fn said(spec: &SwarmClusterSpec, world: &World) -> SwarmClusterStatus {
        let cluster = SwarmCluster::new("c", spec.clone());
        status(&cluster, world, &plan::plan(spec, world, NOW), &Outcome::default(), NOW)
    }

    #[test]
    fn no_host_steers_a_terminal_or_fills_the_object() {
        let (spec, mut world) = whole();
        let hostile = format!("28\u{1b}]0;owned\u{7}\u{9b}31m\n{}", "x".repeat(1 << 20));
        let nodes = world.nodes.as_mut().unwrap();
        (nodes[0].engine_version, nodes[1].engine_version) = (hostile.clone(), hostile.clone());
        nodes[0].hostname.clone_from(&hostile);
        // What an engine says of itself counts as the id of its node.
        nodes[1].id.clone_from(&hostile);
        let worker = world.hosts.values_mut().next_back().unwrap().engine.as_mut().unwrap();
        (worker.node_id, worker.error) = (Some(hostile.clone()), Some(hostile.clone()));
        let well = said(&spec, &world);
        assert!(well.nodes[1].node_id.as_deref().is_some_and(|id| id.starts_with("28")), "{:?}", well.nodes[1].state);
        world.nodes.as_mut().unwrap().truncate(1);
        let elsewhere = world.hosts.values_mut().next_back().unwrap().engine.as_mut().unwrap();
        (elsewhere.cluster_id, elsewhere.state) = (Some(hostile.clone()), LocalState::Error);
        let unwell = said(&spec, &world);
        (world.nodes, world.manager) = (None, None);
        world.swarm_error = Some(hostile);
        for status in [well, unwell, said(&spec, &world)] {
            let text = serde_json::to_string(&status).unwrap();
            assert!(text.len() < 16_000, "{} bytes", text.len());
            // As JSON has them.
            assert!(!["\\u00", "\\n", "\u{7f}", "\u{9b}"].iter().any(|mark| text.contains(mark)), "{text}");
        }
    }

    #[test]
    fn who_came_with_a_leaked_token_is_nobody_and_a_vote_of_theirs_is_told() {
        let (spec, world) = whole();
        assert!(said(&spec, &world).conditions.iter().any(|c| c.type_ == type_::READY && c.status == "True"));
        // A manager and a worker at addresses of nobody's, without our labels or with those of another cluster.
        for (role, cluster) in [
            (NodeRole::Manager, None),
            (NodeRole::Worker, None),
            (NodeRole::Manager, Some("other/c")),
            (NodeRole::Worker, Some("other/c")),
        ] {
            let mut world = world.clone();
            let mut stranger = node(if role == NodeRole::Manager { "m7.0" } else { "w7.0" }, role);
            stranger.address = "192.0.2.7".into();
            if let Some(name) = cluster {
                stranger.labels.insert(label::CLUSTER.to_owned(), name.to_owned());
            } else {
                stranger.labels.clear();
            }
            world.nodes.as_mut().unwrap().push(stranger);
            let planned = plan::plan(&spec, &world, NOW);
            assert_eq!(planned.actions, [], "{role:?} {cluster:?}");
            let status = said(&spec, &world);
            assert_eq!(status.nodes.len(), 2, "it is none of the cluster's");
            let ready = status.conditions.iter().find(|c| c.type_ == type_::READY).unwrap();
            let told = if role == NodeRole::Manager { reason::VOTERS } else { reason::READY };
            assert_eq!(ready.reason, told, "{}", ready.message);
        }
    }
}
