//! A run without a container: it waits for its cluster, then for its image, and is started.

use std::collections::BTreeMap;

use super::{
    FALLBACK, Look, Plan, SOON, Says, Step,
    image::{differing, foreign, image, moved},
    retry,
};
use crate::{
    api::reason,
    host::HostId,
    run::{
        attempt,
        facts::{ClusterView, HostView},
        queue::{Behind, Place},
        stage::Stage,
        variables::Lack,
    },
};

/// What is next for a run without a container.
pub fn pending(look: &Look<'_>) -> Plan {
    if look.seen.record.attempts.is_empty() { first(look) } else { retry::pending(look, first(look)) }
}

fn first(look: &Look<'_>) -> Plan {
    if look.spec.cancel {
        let words = "the run was cancelled by spec.cancel before its container started";
        return Plan::end(reason::CANCELLED, words);
    }
    let limits = [("cpu", look.spec.cpu()), ("memory", look.spec.memory())];
    for (what, limit) in limits.into_iter().filter_map(|(what, limit)| Some((what, limit?))) {
        // The API server's rule is narrower; an object may be older than the rule.
        if limit.nanos().is_none() {
            let words =
                format!("spec.resources.limits.{what}: {limit} is no quantity: write it like 500m, 1.5, 512Mi or 2G");
            return Plan::end(reason::INVALID_SPEC, format!("{words}. Then create another E2ERun"));
        }
    }
    match &look.seen.variables {
        Some(Err(Lack::Wrong(words))) => {
            return Plan::end(reason::INVALID_SPEC, format!("{words}. Then create another E2ERun"));
        }
        // Before a cluster is made for it, or a place taken.
        Some(Err(Lack::Missing(words))) => return lacking(look, words),
        Some(Ok(_)) | None => {}
    }
    if look.spec.cluster_template.is_some()
        && let Some(plan) = own(look)
    {
        return plan;
    }
    let cluster = match cluster(look) {
        Ok(cluster) => cluster,
        Err(why) => return wait(look, why),
    };
    match &cluster.place {
        Place::Held => begin(look, cluster),
        Place::Free => {
            let mut plan = begin(look, cluster);
            // Before anything is done on the hosts.
            if matches!(plan.says, Says::Image(_) | Says::Active(_)) {
                plan.steps.insert(0, Step::Take);
            }
            plan
        }
        Place::Behind(behind) => queue(look, behind),
        // Told in a moment.
        Place::Unknown => match look.clock(Stage::Pending) {
            Some(clock) => Plan::wait(clock, vec![], Says::Nothing, SOON),
            None => overdue(look, "the operator has not come to see who is in line"),
        },
    }
}

/// What is next where the run makes its cluster itself; `None` where that is there and may become ready.
fn own(look: &Look<'_>) -> Option<Plan> {
    let name = look.cluster();
    let Some(cluster) = &look.seen.cluster else {
        let words = format!("SwarmCluster {name} is being made");
        let Some(clock) = look.clock(Stage::Pending) else { return Some(overdue(look, &words)) };
        return Some(Plan::wait(clock, vec![Step::MakeCluster], Says::Waiting(words), SOON * 2));
    };
    let (reason, words) = match cluster {
        ClusterView { own: false, .. } => (
            reason::CLUSTER_NAME_TAKEN,
            format!(
                "SwarmCluster {name} is there already and was not made by this run: it is left as it is. Create another E2ERun, whose cluster has another name"
            ),
        ),
        ClusterView { deleting: true, .. } => (
            reason::CLUSTER_GONE,
            format!("SwarmCluster {name} was deleted before the container of its run started: create another E2ERun"),
        ),
        ClusterView { stalled: Some(why), .. } => (
            reason::CLUSTER_FAILED,
            format!(
                "SwarmCluster {name}, which the run made, does not become ready: {why}. Once that is corrected, create another E2ERun"
            ),
        ),
        _ => return None,
    };
    Some(Plan::end(reason, words))
}

/// It waits for a Secret or a ConfigMap. Nothing tells of these: the operator may not watch them.
fn lacking(look: &Look<'_>, words: &str) -> Plan {
    let Some(clock) = look.clock(Stage::Pending) else {
        let limit = look.spec.pending_timeout;
        let message =
            format!("the run did not start within spec.pendingTimeout ({limit}): {words}. Then create another E2ERun");
        return Plan::end(reason::INVALID_SPEC, message);
    };
    // What is applied together with the run is there in a moment.
    let again = if look.waited() < SOON * 60 { SOON * 2 } else { SOON * 15 };
    // Others need not wait for it with their runs, nor machines with their turn.
    let mut steps = forget(look);
    steps.extend(look.has_place().then_some(Step::Vacate));
    Plan::wait(clock, steps, Says::Lacking(words.to_owned()), again)
}

/// It waits in line. The time of its image and its start counts only while it is its turn.
fn queue(look: &Look<'_>, behind: &Behind) -> Plan {
    let since = look.seen.record.since.get(&Stage::Queued).copied().unwrap_or(look.now);
    let words = behind.words(look.cluster(), since);
    let Some(clock) = look.clock(Stage::Pending) else { return overdue(look, &words) };
    let mut plan = Plan::wait(clock, forget(look), Says::Queued(words), FALLBACK);
    plan.enters = plan.enters.or_else(|| look.clock(Stage::Queued)?.enters());
    plan
}

/// What is next on a cluster that is the run's to use.
fn begin(look: &Look<'_>, cluster: &ClusterView) -> Plan {
    let nodes = match nodes(look, cluster) {
        Ok(nodes) => nodes,
        Err(why) => return wait_for_host(look, why),
    };
    let lost = attempt::lost(&look.seen.record.attempts);
    let mut managers: Vec<_> = nodes.keys().copied().filter(|id| id.slot.starts_with('m')).collect();
    if managers.iter().any(|id| !lost.contains(id)) {
        managers.retain(|id| !lost.contains(id));
    }
    let leader = managers.iter().find(|id| Some(&id.slot) == cluster.leader.as_ref()).or(managers.first());
    let Some(on) = leader.copied() else {
        return wait(look, format!("SwarmCluster {} has no manager", look.cluster()));
    };
    if let Some(plan) = image(look, &nodes)
        .or_else(|| foreign(look, &nodes, on))
        .or_else(|| moved(look, &nodes, on))
        .or_else(|| differing(look, &nodes, on))
    {
        return plan;
    }
    // Every manager says that it has no container of this run, or there is none to be created.
    let silent = look.seen.hosts.iter().find(|(id, h)| id.slot.starts_with('m') && h.container.is_none());
    if let Some((id, host)) = silent {
        let why = host.error.as_deref().unwrap_or("not connected yet");
        return wait_for_host(look, format!("waiting for {}: {why}", look.node(&id.slot)));
    }
    start(look, on)
}

/// The cluster, if it takes a run; else why not.
fn cluster<'a>(look: &Look<'a>) -> Result<&'a ClusterView, String> {
    let name = look.cluster();
    let Some(cluster) = &look.seen.cluster else {
        return Err(format!("there is no SwarmCluster {name} in this namespace: create it"));
    };
    if cluster.deleting {
        return Err(format!("SwarmCluster {name} is being deleted: create it again"));
    }
    match &cluster.not_ready {
        Some(why) => Err(format!("SwarmCluster {name} is not ready: {why}")),
        None => Ok(cluster),
    }
}

/// The newest host of each slot, once all of them answer.
fn nodes<'a>(look: &Look<'a>, cluster: &ClusterView) -> Result<BTreeMap<&'a HostId, &'a HostView>, String> {
    let mut nodes = BTreeMap::new();
    for slot in &cluster.slots {
        match look.seen.hosts.iter().rfind(|(id, _)| id.slot == *slot) {
            Some((id, host)) if host.up && host.image.is_some() => nodes.insert(id, host),
            other => {
                let why = other.and_then(|(_, h)| h.error.as_deref()).unwrap_or("not connected yet");
                return Err(format!("waiting for {}: {why}", look.node(slot)));
            }
        };
    }
    Ok(nodes)
}

/// It waits for its cluster. The time of its image and its start counts only while the cluster can take it. Its place is
/// given up meanwhile: machines give way to others only where no run has one, and the cluster is not ready until they have.
fn wait(look: &Look<'_>, words: String) -> Plan {
    let Some(clock) = look.clock(Stage::Pending) else { return overdue(look, &words) };
    let mut steps = forget(look);
    steps.extend(look.has_place().then_some(Step::Vacate));
    Plan::wait(clock, steps, Says::Waiting(words), FALLBACK)
}

/// The time of image and start does not count any more.
fn forget(look: &Look<'_>) -> Vec<Step> {
    let begun: Vec<_> =
        [Stage::Image, Stage::Starting].into_iter().filter(|s| look.seen.record.since.contains_key(s)).collect();
    if begun.is_empty() { vec![] } else { vec![Step::Forget(begun)] }
}

/// It waits for a host. That is no change of the cluster: the time of what had begun goes on.
fn wait_for_host(look: &Look<'_>, words: String) -> Plan {
    let begun = [Stage::Starting, Stage::Image].into_iter().find(|s| look.seen.record.since.contains_key(s));
    let stage = begun.unwrap_or(Stage::Pending);
    match look.clock(stage) {
        Some(clock) => Plan::wait(clock, vec![], Says::Waiting(words), SOON * 2),
        None if stage == Stage::Pending => overdue(look, &words),
        None => {
            let limit = look.limit(stage);
            let message = format!(
                "the run did not start within {limit} on a cluster that is ready: {words}. See to the host, then create another E2ERun"
            );
            Plan::end(reason::INFRASTRUCTURE, message)
        }
    }
}

fn overdue(look: &Look<'_>, words: &str) -> Plan {
    let limit = look.spec.pending_timeout;
    let message = format!("the run did not start within spec.pendingTimeout ({limit}): {words}");
    Plan::end(reason::PENDING_TIMEOUT, message)
}

/// Everything is there: its container is made, on the leader or another manager.
fn start(look: &Look<'_>, on: &HostId) -> Plan {
    match look.clock(Stage::Starting) {
        Some(clock) => Plan::wait(clock, vec![Step::Launch(on.clone())], Says::Active(None), FALLBACK),
        None => {
            let (node, limit) = (look.node(&on.slot), look.limit(Stage::Starting));
            let why = look.trouble();
            let message = format!(
                "the container could not be made on {node} within {limit}{why}. See to the host, then create another E2ERun"
            );
            Plan::end_on(on, reason::INFRASTRUCTURE, message)
        }
    }
}
