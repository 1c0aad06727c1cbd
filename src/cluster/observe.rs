//! All the reads of a pass: the Secret, the inventory, the connections and the engines.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use futures::future::join_all;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::{Api, Resource, ResourceExt, api::ListParams};

use super::{
    Context, Uid,
    access::Access,
    holders,
    journal::{Journal, Recovering},
    keys::{Keys, Places},
    member::{MemberId, Members},
    plan::{self, Drain, HostView, World},
    provider,
    slot::Slot,
    status::addresses,
    template,
};
use crate::{
    api::{E2ERun, HOLD_UNTIL, KEEP, SwarmCluster, label},
    cloud::{Account, Instance, InstanceState},
    host::{HostId, HostState, Hosts},
    run,
    swarm::{Engine, EngineInfo, Node, SwarmError},
};

/// How long an engine may take to answer a question of a pass. A healthy one answers in
/// milliseconds; one that is starved or frozen must not hold up the others for long.
const PATIENCE: Duration = Duration::from_secs(3);

/// How long after this process first looked at a cluster it waits for hosts that were engines,
/// before it says anything of those it does not hear.
const LOOKED: Duration = Duration::from_secs(15);

/// What was observed, and the connections and keys it was observed with.
#[derive(Debug, Default)]
pub struct Observation {
    /// The plain facts.
    pub world: World,
    /// The keys, where the Secret exists.
    pub keys: Option<Keys>,
    /// An engine for each host that is up.
    pub engines: BTreeMap<MemberId, Engine>,
}

impl Observation {
    /// Where the hosts are, the address to connect to first; none before the first sweep.
    #[must_use]
    pub fn places(&self, cluster: &SwarmCluster) -> Option<Places> {
        let kind = cluster.spec.provider.ec2.as_ref().map(|e| e.connect_to).unwrap_or_default();
        let of = |instance: &Instance| {
            let slot = instance.slot.parse().ok()?;
            let id = MemberId { slot, incarnation: instance.incarnation };
            Some((id, addresses(self.world.instance(id)?, kind)))
        };
        Some(self.world.instances.as_ref()?.iter().filter_map(of).filter(|(_, at)| !at.is_empty()).collect())
    }
}

/// Looks at everything.
pub async fn observe(context: &Context, cluster: &SwarmCluster, account: &Account, keys: Option<Keys>) -> Observation {
    let uid = cluster.uid().unwrap_or_default();
    let instances = account.inventory.snapshot(&super::owner(cluster));
    // Before the engines are asked: what they say of a join that ends meanwhile is old.
    let joining = context.joins.under_way(&uid);
    let unstarted = context.remember(&uid, |memory| memory.unstarted(instances.as_deref().unwrap_or_default()));
    listen(context, &uid, instances.as_deref().unwrap_or_default());
    let given = provider::given(cluster);
    let (hosts, engines) = hosts(&context.hosts, &uid, keys.as_ref()).await;
    let journal = keys.as_ref().map(|k| k.journal.clone());
    let access = Access::of(&cluster.spec, &context.default_access, journal.as_ref());
    let spoken = listing(journal.as_ref(), instances.as_deref(), &hosts, &engines).await;
    let request = cluster.spec.provider.ec2.as_ref().map(template::request);
    let shortages = request.map(|r| account.shortages.of(plan::all_offerings(&cluster.spec), &r));
    let mut world = World {
        journal,
        instances,
        given,
        access,
        hosts,
        nodes: spoken.nodes,
        manager: spoken.manager,
        swarm_error: spoken.error,
        leaderless: spoken.leaderless,
        joining,
        notices: context.notices.of(&uid),
        shortages: shortages.unwrap_or_default(),
        unstarted,
        created_at: cluster.creation_timestamp().map(|t| t.0),
        deleting: cluster.meta().deletion_timestamp.is_some(),
        holders: holders::holders(context, cluster).await,
        name: format!("{}/{}", cluster.namespace().unwrap_or_default(), cluster.name_any()),
        kept: kept(cluster),
        hold: hold(context, cluster),
        ..World::default()
    };
    let leaving = context.remember(&uid, |memory| memory.leaving.map(|since| since.elapsed()));
    world.leaving = leaving.and_then(|l| SignedDuration::try_from(l).ok()).unwrap_or_default();
    world.runs = runs(context, cluster, &world).await;
    remember(context, cluster, account, &mut world);
    if let Some(installs) = world.given.as_ref().map(|g| g.install).filter(|_| world.looked) {
        bare(&mut world.hosts, installs);
    }
    drains(&mut world, &engines).await;
    Observation { world, keys, engines }
}

/// Has every spot instance asked from now on whether it is taken back. A host that still shows its boot key is about to
/// have another connection.
fn listen(context: &Context, uid: &Uid, instances: &[Instance]) {
    let spot = |id: &HostId| {
        let mut of_host = instances.iter().filter(|i| i.slot == id.slot && i.incarnation == id.incarnation);
        of_host.any(|i| i.spot && i.state == InstanceState::Running)
    };
    if instances.iter().any(|i| i.spot) {
        for (id, state) in context.hosts.of_cluster(uid).into_iter().filter(|(id, _)| spot(id)) {
            if let HostState::Up(up) = state
                && up.rotated
            {
                context.notices.follow(&id, &up.host);
            }
        }
    }
}

/// The slots that a person wants to be left as they are.
fn kept(cluster: &SwarmCluster) -> BTreeSet<Slot> {
    let words = cluster.annotations().get(KEEP).map(String::as_str).unwrap_or_default();
    let prefix = format!("{}-", cluster.name_any());
    words.split([',', ' ']).filter_map(|word| word.strip_prefix(&prefix).unwrap_or(word).parse().ok()).collect()
}

/// Until when a person holds the cluster. What cannot be read is meant to hold it, and holds it as long as may be.
fn hold(context: &Context, cluster: &SwarmCluster) -> Option<(Timestamp, SignedDuration)> {
    let until = cluster.annotations().get(HOLD_UNTIL)?.trim().parse().unwrap_or(Timestamp::MAX);
    Some((until, SignedDuration::try_from(context.longest_hold).unwrap_or(SignedDuration::MAX)))
}

/// The runs that are under way on the cluster, from the place that is taken there to the end: asked for only where machines are to be replaced.
/// Where the API server does not tell, there may be one.
async fn runs(context: &Context, cluster: &SwarmCluster, world: &World) -> Vec<String> {
    if world.deleting || cluster.spec.paused || !plan::rolls(&cluster.spec, world) {
        return Vec::new();
    }
    let all: Api<E2ERun> = Api::namespaced(context.client.clone(), &cluster.namespace().unwrap_or_default());
    match all.list(&ListParams::default()).await {
        Ok(runs) => runs.iter().filter(|run| run::is_under_way(run, cluster)).map(ResourceExt::name_any).collect(),
        Err(error) => {
            tracing::warn!(cluster = world.name, %error, "asking for runs under way failed");
            vec!["unknown".to_owned()]
        }
    }
}

/// Takes in what was seen, and brings in what is remembered by now.
fn remember(context: &Context, cluster: &SwarmCluster, account: &Account, world: &mut World) {
    let memory = context.look(cluster, account, world);
    world.looked = memory.since.is_some_and(|since| since.elapsed() >= LOOKED) || heard_all(world);
    world.launches = memory.launches;
    world.clocks = memory.clocks;
    world.health = memory.health;
    world.silence = memory.silence;
    world.consoles = memory.consoles;
    world.warned = memory.warned;
    let drains = memory.drains.into_iter().map(|(node, clock)| (node, Drain { age: clock.age, tasks: None }));
    world.drains = drains.collect();
}

/// Whether every host that was an engine has been heard, or an attempt to has failed.
fn heard_all(world: &World) -> bool {
    let (Some(_), Some(journal)) = (&world.instances, &world.journal) else { return world.instances.is_some() };
    let runs = |id: &MemberId| world.instance(*id).is_some_and(|i| i.state == InstanceState::Running);
    let booted = journal.launches.iter().filter(|(_, l)| l.booted);
    let hosts = booted.filter_map(|(slot, l)| Some(MemberId { slot: slot.parse().ok()?, incarnation: l.incarnation }));
    hosts.filter(runs).all(|id| world.hosts.get(&id).is_some_and(|h| h.engine.is_some() || h.error.is_some()))
}

/// What a cluster's memory is told of a pass: who is well, by the instance's id, and which nodes
/// give up their tasks.
pub fn wellness(world: &World) -> (BTreeMap<String, bool>, BTreeSet<String>) {
    let members = Members::join(world);
    let swarm_id = world.journal.as_ref().and_then(|j| j.swarm_id.as_ref());
    let well = members.meant().map(|m| (m.instance.id.clone(), plan::ailment(m, swarm_id).is_none()));
    let draining = world.nodes.iter().flatten().filter(|n| n.labels.contains_key(label::DRAINING));
    (well.collect(), draining.map(|n| n.id.clone()).collect())
}

/// How many tasks the nodes that give theirs up still have.
async fn drains(world: &mut World, engines: &BTreeMap<MemberId, Engine>) {
    let Some(engine) = world.manager.and_then(|m| engines.get(&m)) else { return };
    for (node, drain) in &mut world.drains {
        if let Ok(Ok(left)) = tokio::time::timeout(PATIENCE, engine.tasks_left(node)).await {
            drain.tasks = Some(left);
        }
    }
}

/// The hosts of a cluster and what their engines say, all asked at once.
async fn hosts(
    hosts: &Hosts,
    uid: &Uid,
    keys: Option<&Keys>,
) -> (BTreeMap<MemberId, HostView>, BTreeMap<MemberId, Engine>) {
    let looks = hosts.of_cluster(uid).into_iter().filter_map(|(id, state)| {
        let member = MemberId { slot: id.slot.parse().ok()?, incarnation: id.incarnation };
        let pinned = keys.is_some_and(|k| k.pins(&id));
        Some(async move {
            match state {
                HostState::Connecting { last_error, .. } => {
                    (member, HostView { error: last_error, pinned, ..HostView::default() }, None)
                }
                HostState::Up(up) => {
                    let mut view = HostView { connected: true, rotated: up.rotated, pinned, ..HostView::default() };
                    if !up.engine {
                        return (member, view, None);
                    }
                    let engine = Engine::new(&up.host);
                    match tokio::time::timeout(PATIENCE, engine.info()).await {
                        Ok(Ok(info)) => view.engine = Some(info),
                        Ok(Err(error)) => view.error = Some(error.to_string()),
                        Err(_) => {
                            view.error = Some(format!("the engine does not answer within {} s", PATIENCE.as_secs()));
                        }
                    }
                    (member, view, Some(engine))
                }
            }
        })
    });
    let mut views = BTreeMap::new();
    let mut engines = BTreeMap::new();
    for (member, view, engine) in join_all(looks).await {
        views.insert(member, view);
        engines.extend(engine.map(|e| (member, e)));
    }
    (views, engines)
}

/// Says of machines that exist and are reached what they wait for: nobody else sees to it.
fn bare(hosts: &mut BTreeMap<MemberId, HostView>, installs: bool) {
    for view in hosts.values_mut().filter(|h| h.connected && h.engine.is_none() && h.error.is_none()) {
        view.error = Some(if installs {
            "its engine is being installed or started".to_owned()
        } else {
            "none is at /var/run/docker.sock: install Docker Engine there, or set spec.provider.hosts.installEngine to true; a user other than root has to be in the group docker".to_owned()
        });
    }
}

/// What the managers say.
#[derive(Default)]
struct Spoken {
    manager: Option<MemberId>,
    nodes: Option<Vec<Node>>,
    error: Option<String>,
    leaderless: BTreeSet<MemberId>,
}

/// The list of nodes by the first manager of this cluster's swarm that can give one.
async fn listing(
    journal: Option<&Journal>,
    instances: Option<&[Instance]>,
    hosts: &BTreeMap<MemberId, HostView>,
    engines: &BTreeMap<MemberId, Engine>,
) -> Spoken {
    let mut spoken = Spoken::default();
    for (member, view) in hosts {
        let speaks = view.engine.as_ref().is_some_and(|e| e.control_available && ours(journal, instances, *member, e));
        let Some(engine) = engines.get(member).filter(|_| speaks) else { continue };
        match tokio::time::timeout(PATIENCE, engine.nodes()).await {
            Ok(Ok(nodes)) => {
                return Spoken { manager: Some(*member), nodes: Some(nodes), ..Spoken::default() };
            }
            Ok(Err(error)) => {
                if let SwarmError::NoQuorum(_) = error {
                    spoken.leaderless.insert(*member);
                }
                spoken.error = Some(format!("{}: {error}", member.slot));
            }
            Err(_) => {
                // It has just said that it is a manager, and waits for a leader.
                spoken.leaderless.insert(*member);
                spoken.error = Some(format!("{}: no answer within {} s", member.slot, PATIENCE.as_secs()));
            }
        }
    }
    spoken
}

/// Whether a manager is one of this cluster's swarm: of the id that is written down or, while none
/// is, the host it was begun on. A swarm that is given up has no manager any more.
fn ours(journal: Option<&Journal>, instances: Option<&[Instance]>, member: MemberId, engine: &EngineInfo) -> bool {
    let Some(journal) = journal else { return false };
    if journal.recovery == Some(Recovering::Anew) {
        return false;
    }
    if let Some(id) = &journal.swarm_id {
        // A manager without a leader does not know the id.
        return engine.cluster_id.as_ref().is_none_or(|theirs| theirs == id);
    }
    let lives = |m: MemberId| {
        let mut all = instances.unwrap_or_default().iter();
        all.any(|i| !i.state.is_ended() && i.slot == m.slot.to_string() && i.incarnation == m.incarnation)
    };
    journal.swarm.is_none_or(|begun| begun == member || !lives(begun))
}
