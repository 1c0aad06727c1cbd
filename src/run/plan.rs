//! Decides what a run needs next: a pure function of the spec, what was observed and the time.
//!
//! No I/O, no clock. A container is created where every manager was looked at and none has it,
//! and started only after it is written down on the run: so it starts at most once, whatever
//! happens to the operator in between.

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::{
    facts::{Bringing, ClusterView, Container, ContainerState, HostView, Observed},
    verdict::End,
};
use crate::{
    api::{E2ERunSpec, ImagePullPolicy, reason},
    host::HostId,
};

/// A look again where nothing announces the change: an image that a person loads.
const SOON: Duration = Duration::from_secs(1);
/// A look again in case a wake-up was lost.
const FALLBACK: Duration = Duration::from_secs(60);
/// How long a manager must be out of reach before a container on it is given up, once its time is up.
const OUT_OF_REACH: Duration = Duration::from_mins(10);

/// One idempotent step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Put the finalizer on the run.
    Hold,
    /// Take it off: nothing of the run is left outside of Kubernetes.
    Release,
    /// Write down that the image is missing from now on, or that this does not count any more.
    ImageClock(bool),
    /// Pull the image on a host, in the background.
    Pull(HostId),
    /// Copy the image from another host, in the background.
    Copy {
        /// One that has it.
        from: HostId,
        /// One that has not.
        to: HostId,
    },
    /// Create the container, write it down, start and follow it.
    Launch(HostId),
    /// Write an existing container down, and start it if it never ran.
    Adopt(HostId, Container),
    /// Wake the run when the container ends, in the background.
    Follow(HostId, String),
    /// Write down that its time is up and stop the container, in the background.
    Stop(HostId, String),
    /// Keep what the container leaves, and judge it.
    Collect(HostId, Container),
    /// Remove the container.
    Remove(HostId, String),
}

/// Where the run is.
#[derive(Clone, Debug, PartialEq)]
pub enum Stage {
    /// Nothing to say yet, or any more.
    Silent,
    /// It waits for its cluster.
    Waiting(String),
    /// It waits for its image.
    Image(String),
    /// Its container is being started or runs; the words say what is in the way.
    Active(Option<String>),
    /// It ended without anything to keep.
    Ended(Box<End>),
    /// It is being deleted, and this is in the way.
    Deleting(String),
}

/// What follows.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// To be taken in order. Those for several hosts are independent of each other.
    pub steps: Vec<Step>,
    /// What status says.
    pub stage: Stage,
    /// When to look again, whatever happens.
    pub again: Option<Duration>,
}

impl Plan {
    fn new(steps: Vec<Step>, stage: Stage, again: impl Into<Option<Duration>>) -> Self {
        Self { steps, stage, again: again.into() }
    }

    fn end(reason: &'static str, message: impl Into<String>) -> Self {
        Self::new(vec![], Stage::Ended(Box::new(End::without_container(reason, message.into()))), SOON)
    }
}

/// Decides.
#[must_use]
pub fn plan(spec: &E2ERunSpec, seen: &Observed, now: Timestamp) -> Plan {
    if seen.deleting || seen.finished {
        return clean_up(spec, seen);
    }
    if !seen.finalizer {
        return Plan::new(vec![Step::Hold], Stage::Silent, FALLBACK);
    }
    let located = locate(seen);
    if let (None, Some((host, container))) = (&seen.record.placed, &located) {
        // Created, and the operator ended before it was written down; or the annotation was removed.
        return Plan::new(vec![Step::Adopt((*host).clone(), (*container).clone())], Stage::Active(None), FALLBACK);
    }
    match &seen.record.placed {
        Some(_) => placed(spec, seen, located, now),
        None => pending(spec, seen, now),
    }
}

/// The container, wherever it is.
fn locate(seen: &Observed) -> Option<(&HostId, &Container)> {
    seen.hosts.iter().find_map(|(id, host)| host.container.as_ref()?.as_ref().map(|c| (id, c)))
}

/// A run whose container was created.
fn placed(spec: &E2ERunSpec, seen: &Observed, located: Option<(&HostId, &Container)>, now: Timestamp) -> Plan {
    let Some(placed) = &seen.record.placed else { return pending(spec, seen, now) };
    let name = format!("{}-{}", spec.cluster_ref.name, placed.host.slot);
    let cluster = seen.cluster.as_ref().filter(|c| c.uid == placed.host.cluster);
    let Some(cluster) = cluster else {
        return Plan::end(
            reason::CLUSTER_GONE,
            format!(
                "SwarmCluster {} was deleted while the container was on {name}: create another E2ERun",
                spec.cluster_ref.name
            ),
        );
    };
    if let Some((host, container)) = located {
        return with_container(spec, seen, cluster, host, container, now);
    }
    let view = seen.hosts.get(&placed.host);
    if view.is_some_and(|v| v.container == Some(None)) {
        return Plan::end(
            reason::CONTAINER_LOST,
            format!(
                "the container was removed from {name} by someone else, and its results with it: create another E2ERun"
            ),
        );
    }
    if cluster.deleting {
        return Plan::end(
            reason::CLUSTER_GONE,
            format!("SwarmCluster {} is being deleted: create another E2ERun", spec.cluster_ref.name),
        );
    }
    let replaced = seen.hosts.keys().any(|h| h.slot == placed.host.slot && h.incarnation > placed.host.incarnation);
    if replaced || (view.is_none() && !cluster.slots.contains(&placed.host.slot)) {
        let how = if replaced { "the instance was replaced" } else { "the cluster was made smaller" };
        return Plan::end(
            reason::CONTAINER_LOST,
            format!("{name} is gone ({how}), and the container and its results with it: create another E2ERun"),
        );
    }
    let why = view.and_then(|v| v.error.as_deref()).unwrap_or("not connected yet");
    let in_vain = view.and_then(|v| v.out_of_reach).is_some_and(|time| time > OUT_OF_REACH);
    if in_vain && now.duration_since(placed.at) > signed(spec.timeout) {
        return Plan::end(
            reason::CONTAINER_LOST,
            format!(
                "{name} cannot be reached ({why}), and spec.timeout is over: how the container ended is not known. Create another E2ERun"
            ),
        );
    }
    let words = format!("{name} cannot be reached ({why}); the container is looked at when it can be again");
    Plan::new(vec![], Stage::Active(Some(words)), FALLBACK)
}

/// A run whose container is in sight.
fn with_container(
    spec: &E2ERunSpec,
    seen: &Observed,
    cluster: &ClusterView,
    host: &HostId,
    container: &Container,
    now: Timestamp,
) -> Plan {
    let collect = || Plan::new(vec![Step::Collect(host.clone(), container.clone())], Stage::Active(None), SOON);
    match &container.state {
        ContainerState::Created { error: Some(error) } => Plan::end(
            reason::CONTAINER_FAILED,
            format!(
                "the container could not be started: {error}. Check spec.image, spec.args and the image's entrypoint"
            ),
        ),
        ContainerState::Created { error: None } => {
            Plan::new(vec![Step::Adopt(host.clone(), container.clone())], Stage::Active(None), FALLBACK)
        }
        ContainerState::Exited(_) => collect(),
        ContainerState::Running { .. } if cluster.deleting => collect(),
        ContainerState::Running { since } => {
            let left = signed(spec.timeout) - now.duration_since(*since);
            if seen.record.stopped || !left.is_positive() {
                return Plan::new(vec![Step::Stop(host.clone(), container.id.clone())], Stage::Active(None), SOON);
            }
            let again = left.unsigned_abs().min(FALLBACK);
            Plan::new(vec![Step::Follow(host.clone(), container.id.clone())], Stage::Active(None), again)
        }
    }
}

/// A run without a container.
fn pending(spec: &E2ERunSpec, seen: &Observed, now: Timestamp) -> Plan {
    let name = &spec.cluster_ref.name;
    // The image's time counts only while the cluster can take it.
    let wait = |words: String, again: Duration| {
        let steps = seen.record.image_missing_since.iter().map(|_| Step::ImageClock(false)).collect();
        Plan::new(steps, Stage::Waiting(words), again)
    };
    let Some(cluster) = &seen.cluster else {
        return wait(format!("there is no SwarmCluster {name} in this namespace: create it"), FALLBACK);
    };
    if cluster.deleting {
        return wait(format!("SwarmCluster {name} is being deleted: create it again"), FALLBACK);
    }
    if let Some(why) = &cluster.not_ready {
        return wait(format!("SwarmCluster {name} is not ready: {why}"), FALLBACK);
    }
    let mut nodes = BTreeMap::new();
    for slot in &cluster.slots {
        let newest = seen.hosts.iter().rfind(|(id, _)| id.slot == *slot);
        match newest {
            Some((id, host)) if host.up && host.image.is_some() => nodes.insert(id, host),
            other => {
                let why = other.and_then(|(_, h)| h.error.as_deref()).unwrap_or("not connected yet");
                // Not a change of the cluster: the image's time goes on.
                return Plan::new(vec![], Stage::Waiting(format!("waiting for {name}-{slot}: {why}")), SOON * 2);
            }
        };
    }
    if let Some(plan) = image(spec, seen, &nodes, now) {
        return plan;
    }
    // Every manager says that it has no container of this run, or there is none to be created.
    let managers: Vec<_> = nodes.iter().filter(|(id, _)| id.slot.starts_with('m')).collect();
    if let Some((id, host)) = seen.hosts.iter().find(|(id, h)| id.slot.starts_with('m') && h.container.is_none()) {
        let why = host.error.as_deref().unwrap_or("not connected yet");
        return Plan::new(vec![], Stage::Waiting(format!("waiting for {name}-{}: {why}", id.slot)), SOON * 2);
    }
    let leader = managers.iter().find(|(id, _)| Some(&id.slot) == cluster.leader.as_ref()).or(managers.first());
    match leader {
        Some((id, _)) => Plan::new(vec![Step::Launch((**id).clone())], Stage::Active(None), FALLBACK),
        None => wait(format!("SwarmCluster {name} has no manager"), FALLBACK),
    }
}

/// What brings the image to every node; `None` when it is there.
fn image(spec: &E2ERunSpec, seen: &Observed, nodes: &BTreeMap<&HostId, &HostView>, now: Timestamp) -> Option<Plan> {
    let always = spec.image_pull_policy == ImagePullPolicy::Always;
    let has = |host: &HostView| host.image == Some(true) && (!always || host.bringing == Bringing::Done);
    let missing: Vec<_> = nodes.iter().filter(|(_, host)| !has(host)).collect();
    if missing.is_empty() {
        return None;
    }
    let names: Vec<String> = missing.iter().map(|(id, _)| format!("{}-{}", spec.cluster_ref.name, id.slot)).collect();
    let words = missing.iter().find_map(|(_, host)| match &host.bringing {
        Bringing::Failed { words, .. } => Some(words.as_str()),
        _ => None,
    });
    let since = seen.record.image_missing_since.unwrap_or(now);
    let left = signed(spec.image_pull_timeout) - now.duration_since(since);
    let on = names.join(", ");
    let remedy = format!(
        "load it with `kubectl testkit load {} --cluster {}`, or make sure that the hosts reach its registry without credentials",
        spec.image, spec.cluster_ref.name
    );
    if !left.is_positive() {
        let said = words.map_or_else(String::new, |w| format!(" The engine says: {w}."));
        let message = format!(
            "{} is not on {on} after {}.{said} To have it there, {remedy}",
            spec.image, spec.image_pull_timeout
        );
        return Some(Plan::end(reason::IMAGE_UNAVAILABLE, message));
    }
    let donor = nodes.iter().find(|(_, host)| host.image == Some(true)).filter(|_| !always).map(|(id, _)| *id);
    let mut steps = Vec::new();
    if seen.record.image_missing_since.is_none() {
        steps.push(Step::ImageClock(true));
    }
    if spec.image_pull_policy != ImagePullPolicy::Never {
        steps.extend(missing.iter().filter_map(|(id, host)| match (&host.bringing, donor) {
            (Bringing::Busy | Bringing::Failed { due: false, .. }, _) => None,
            (Bringing::Failed { .. }, Some(from)) => Some(Step::Copy { from: from.clone(), to: (**id).clone() }),
            _ => Some(Step::Pull((**id).clone())),
        }));
    }
    let message = match (spec.image_pull_policy, words) {
        (ImagePullPolicy::Never, _) => format!(
            "{} is not on {on}, and imagePullPolicy is Never: load it with `kubectl testkit load {} --cluster {}`",
            spec.image, spec.image, spec.cluster_ref.name
        ),
        (_, Some(words)) => format!("{} is not on {on}: {words}. It is tried again; or {remedy}", spec.image),
        (_, None) => format!("bringing {} to {on}", spec.image),
    };
    Some(Plan::new(steps, Stage::Image(message), left.unsigned_abs().min(SOON)))
}

/// A run that ended or is being deleted: its container is removed, then the finalizer.
fn clean_up(spec: &E2ERunSpec, seen: &Observed) -> Plan {
    if !seen.finalizer {
        return Plan::new(vec![], Stage::Silent, None);
    }
    let release = || Plan::new(vec![Step::Release], Stage::Silent, FALLBACK);
    if let Some((host, container)) = locate(seen) {
        return Plan::new(vec![Step::Remove(host.clone(), container.id.clone()), Step::Release], Stage::Silent, SOON);
    }
    // Never written down, so never started: what may be left is a container that never ran.
    let Some(placed) = &seen.record.placed else { return release() };
    let Some(cluster) = seen.cluster.as_ref().filter(|c| c.uid == placed.host.cluster && !c.deleting) else {
        return release();
    };
    let view = seen.hosts.get(&placed.host);
    let replaced = seen.hosts.keys().any(|h| h.slot == placed.host.slot && h.incarnation > placed.host.incarnation);
    let gone = view.is_none() && !cluster.slots.contains(&placed.host.slot);
    if view.is_some_and(|v| v.container == Some(None)) || replaced || gone {
        return release();
    }
    let why = view.and_then(|v| v.error.as_deref()).unwrap_or("not connected yet");
    let words = format!(
        "waiting for {}-{} to remove the container ({why}); delete the SwarmCluster if it will not come back",
        spec.cluster_ref.name, placed.host.slot
    );
    let stage = if seen.deleting { Stage::Deleting(words) } else { Stage::Silent };
    Plan::new(vec![], stage, FALLBACK)
}

fn signed(duration: crate::api::Duration) -> SignedDuration {
    SignedDuration::try_from(duration.get()).unwrap_or(SignedDuration::MAX)
}

#[cfg(test)]
mod tests;
