//! All the reads of a pass: the Secret, the inventory, the connections and the engines.

use std::{collections::BTreeMap, time::Duration};

use futures::future::join_all;
use kube::{Resource, ResourceExt};

use super::{
    Context, Uid,
    intent::Filler,
    keys::Keys,
    plan::{self, HostView, Observed},
    template,
};
use crate::{
    api::SwarmCluster,
    cloud::Account,
    host::{HostState, Hosts},
    swarm::{Engine, Node},
};

/// How long an engine may take to answer a question of a pass. A healthy one answers in
/// milliseconds; one that is starved or frozen must not hold up the others for long.
const PATIENCE: Duration = Duration::from_secs(3);

/// What was seen, and the connections and keys it was seen with.
#[derive(Debug, Default)]
pub struct Sight {
    /// The plain facts.
    pub facts: Observed,
    /// The keys, where the Secret exists.
    pub keys: Option<Keys>,
    /// An engine for each host that is up.
    pub engines: BTreeMap<Filler, Engine>,
}

/// Looks at everything.
pub async fn observe(context: &Context, cluster: &SwarmCluster, account: &Account, keys: Option<Keys>) -> Sight {
    let uid = cluster.uid().unwrap_or_default();
    let instances = account.inventory.snapshot(&super::owner(cluster));
    let (hosts, engines) = hosts(&context.hosts, &uid, keys.as_ref()).await;
    let managers =
        hosts.iter().filter(|(_, h)| h.engine.as_ref().is_some_and(|e| e.control_available)).map(|(f, _)| *f);
    let (listing, swarm_error) = nodes(managers.filter_map(|f| Some((f, engines.get(&f)?)))).await;
    let (manager, nodes) = listing.unzip();
    let memory = context.look(cluster, account, instances.as_deref(), &hosts);
    let offerings = plan::offerings(&cluster.spec);
    let request = cluster.spec.provider.ec2.as_ref().map(template::request);
    let shortages = request.map(|r| account.shortages.of(offerings.iter().flatten(), &r));
    let facts = Observed {
        intent: keys.as_ref().map(|k| k.intent.clone()),
        instances,
        hosts,
        nodes,
        manager,
        swarm_error,
        launches: memory.launches,
        shortages: shortages.unwrap_or_default(),
        clocks: memory.clocks,
        consoles: memory.consoles,
        created_at: cluster.creation_timestamp().map(|t| t.0),
        deleting: cluster.meta().deletion_timestamp.is_some(),
        name: format!("{}/{}", cluster.namespace().unwrap_or_default(), cluster.name_any()),
    };
    Sight { facts, keys, engines }
}

/// The hosts of a cluster and what their engines say, all asked at once.
async fn hosts(
    hosts: &Hosts,
    uid: &Uid,
    keys: Option<&Keys>,
) -> (BTreeMap<Filler, HostView>, BTreeMap<Filler, Engine>) {
    let looks = hosts.of_cluster(uid).into_iter().filter_map(|(id, state)| {
        let filler = Filler { slot: id.slot.parse().ok()?, incarnation: id.incarnation };
        let pinned = keys.is_some_and(|k| k.pins(&id));
        Some(async move {
            match state {
                HostState::Connecting { last_error, .. } => {
                    (filler, HostView { error: last_error, pinned, ..HostView::default() }, None)
                }
                HostState::Up(up) => {
                    let mut view = HostView { connected: true, rotated: up.rotated, pinned, ..HostView::default() };
                    if !up.engine {
                        return (filler, view, None);
                    }
                    let engine = Engine::new(&up.host);
                    match tokio::time::timeout(PATIENCE, engine.info()).await {
                        Ok(Ok(info)) => view.engine = Some(info),
                        Ok(Err(error)) => view.error = Some(error.to_string()),
                        Err(_) => {
                            view.error = Some(format!("the engine does not answer within {} s", PATIENCE.as_secs()));
                        }
                    }
                    (filler, view, Some(engine))
                }
            }
        })
    });
    let mut views = BTreeMap::new();
    let mut engines = BTreeMap::new();
    for (filler, view, engine) in join_all(looks).await {
        views.insert(filler, view);
        engines.extend(engine.map(|e| (filler, e)));
    }
    (views, engines)
}

/// The list of nodes by the first manager that can give one.
async fn nodes<'a>(
    managers: impl Iterator<Item = (Filler, &'a Engine)>,
) -> (Option<(Filler, Vec<Node>)>, Option<String>) {
    let mut error = None;
    for (filler, engine) in managers {
        match tokio::time::timeout(PATIENCE, engine.nodes()).await {
            Ok(Ok(nodes)) => return (Some((filler, nodes)), None),
            Ok(Err(e)) => error = Some(format!("{}: {e}", filler.slot)),
            Err(_) => error = Some(format!("{}: no answer within {} s", filler.slot, PATIENCE.as_secs())),
        }
    }
    (None, error)
}
