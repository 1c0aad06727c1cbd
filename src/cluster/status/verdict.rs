//! The one sentence on the whole of a cluster, and what the conditions make of it.

mod interruption;
mod voters;

use crate::{
    api::{NodeRole, NodeState, NodeStatus, SwarmCluster, reason},
    cloud::CloudError,
    cluster::{
        act::{Failure, Outcome},
        member::{MemberId, Members},
        plan::{self, Action, Lost, Plan, Wait, World},
        trouble::Trouble,
    },
};

/// What the conditions say.
#[derive(Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The cluster is as its spec asks for.
    pub ready: bool,
    /// The operator works on it.
    pub reconciling: bool,
    /// Only a person can end what is wrong.
    pub stalled: bool,
    /// Why, in one word.
    pub reason: &'static str,
    /// Why, in one sentence.
    pub message: String,
}

/// One sentence on the whole, the most telling thing first.
pub fn verdict(
    cluster: &SwarmCluster,
    world: &World,
    members: &Members<'_>,
    plan: &Plan,
    outcome: &Outcome,
    nodes: &[NodeStatus],
) -> Verdict {
    let spec = &cluster.spec;
    let busy = |reason, message| Verdict { ready: false, reconciling: true, stalled: false, reason, message };
    let trouble = trouble(cluster, plan);
    let voters = voters::told(spec.count(NodeRole::Manager), members);
    let of = |state| nodes.iter().filter(move |n| n.state == state);
    let all_ready = nodes.iter().all(|n| n.state == NodeState::Ready) && voters.is_none() && members.heard().is_some();
    let lost = plan::lost(spec, world, members).filter(|_| !world.deleting);
    // What a person has to end comes first: the rest may pass by itself.
    let failure = outcome.failures.iter().find(|(f, _)| judge(f).1).or(outcome.failures.first());
    if let Some((failure, what)) = failure.filter(|_| lost.is_none()) {
        let (reason, stalled) = judge(failure);
        let message = format!("{what}: {failure}{}", remedy(failure));
        // What is there is as it should be, whatever call beside it failed.
        if all_ready && !world.deleting && !stalled {
            return Verdict { ready: true, reconciling: true, stalled, reason, message };
        }
        if stalled || !trouble.as_ref().is_some_and(|t| t.stalled) {
            return Verdict { ready: false, reconciling: !stalled, stalled, reason, message };
        }
    }
    let names = |state| of(state).map(|n| n.name.as_str()).collect::<Vec<_>>().join(", ");
    if !world.holders.is_empty() {
        let runs = world.holders.join(", ");
        return busy(
            reason::DELETING,
            format!("removing the cluster once E2ERun {runs} is stopped and its results are kept"),
        );
    }
    if world.deleting {
        let left = match of(NodeState::Terminating).count() {
            0 => "its security group is left".to_owned(),
            n => format!("{} left", counted(n, "instance")),
        };
        return busy(reason::DELETING, format!("removing the cluster: {left}"));
    }
    if spec.paused {
        let message = "spec.paused is true: nothing is changed until it is false".to_owned();
        return Verdict { ready: all_ready, reconciling: false, stalled: false, reason: reason::PAUSED, message };
    }
    if let Some(message) = world.access.unsaid() {
        // Of a cluster that is whole nothing is missed, until something of it is, or is to be another.
        let (reason, stalled) = (reason::NO_ACCESS_CIDRS, !all_ready || !plan.outdated.is_empty());
        return Verdict { ready: all_ready, reconciling: false, stalled, reason, message };
    }
    if let Some(lost) = lost {
        let recovering = world.journal.as_ref().is_some_and(|j| j.recovery.is_some());
        let message = choices(lost, recovering, nodes);
        let reason = reason::NO_QUORUM;
        return Verdict { ready: false, reconciling: recovering, stalled: !recovering, reason, message };
    }
    if let Some(trouble) = trouble {
        return trouble;
    }
    let unwell = world.nodes.is_none() || of(NodeState::Down).next().is_some();
    if let Some(words) = interruption::told(cluster, members, plan, nodes).filter(|_| !unwell) {
        return busy(reason::SPOT_INTERRUPTION, words);
    }
    if let Some(words) = updating(cluster, members, plan, nodes).filter(|_| !unwell) {
        return busy(reason::UPDATING, words);
    }
    if of(NodeState::Missing).next().is_some() {
        return busy(reason::LAUNCHING, format!("launching {}", names(NodeState::Missing)));
    }
    if of(NodeState::Down).next().is_some() {
        let no_quorum = world.nodes.is_none() && world.swarm_error.is_some();
        let reason = if no_quorum { reason::NO_QUORUM } else { reason::NODE_NOT_READY };
        let why = of(NodeState::Down).find_map(|n| n.message.as_deref()).unwrap_or("is down");
        return busy(reason, format!("{} not ready: {why}", names(NodeState::Down)));
    }
    if of(NodeState::Booting).next().is_some() {
        let why = of(NodeState::Booting).find_map(|n| n.message.as_deref()).unwrap_or("the engine does not answer yet");
        return busy(reason::BOOTING, format!("waiting for {}: {why}", names(NodeState::Booting)));
    }
    // A node that is nobody's host any more is struck off the list whenever the swarm notices that it is down.
    let works = plan.actions.iter().any(|a| !matches!(a, Action::RemoveNode { .. }));
    if !all_ready || works || !plan.pins.is_empty() {
        let waiting: Vec<&NodeStatus> = nodes.iter().filter(|n| n.state != NodeState::Ready).collect();
        let why = waiting.iter().find_map(|n| n.message.as_ref()).map(|m| format!(": {m}")).unwrap_or_default();
        let (going, coming): (Vec<_>, Vec<_>) = waiting.into_iter().partition(|n| n.state == NodeState::Terminating);
        let list = |of: &[&NodeStatus]| of.iter().map(|n| n.name.as_str()).collect::<Vec<_>>().join(", ");
        return match (coming.as_slice(), going.as_slice(), voters) {
            ([], [], Some(voters)) => busy(reason::VOTERS, voters),
            ([], [], None) => {
                busy(reason::JOINING, "labelling nodes and removing what is not asked for any more".to_owned())
            }
            ([], going, _) => busy(reason::JOINING, format!("removing {}{why}", list(going))),
            (coming, _, _) => busy(reason::JOINING, format!("joining {}{why}", list(coming))),
        };
    }
    let message = match plan.outdated.len() {
        0 => all_there(nodes),
        n => format!("{}; {n} of them as an earlier spec asked for, and left so by hand", all_there(nodes)),
    };
    let (reason, message) = match world.access.kept() {
        Some(words) => (reason::NO_ACCESS_CIDRS, format!("{message}; {words}")),
        None => (reason::READY, message),
    };
    Verdict { ready: true, reconciling: false, stalled: false, reason, message }
}

/// How far machines are replaced that are not as the spec asks for, and what is waited for.
fn updating(cluster: &SwarmCluster, members: &Members<'_>, plan: &Plan, nodes: &[NodeStatus]) -> Option<String> {
    let kept = |id: &MemberId| plan.waits.get(id) == Some(&Wait::Kept);
    let left = plan.outdated.keys().filter(|id| !kept(id)).count();
    // The last ones are on their way out while none is outdated any more.
    let going = members.iter().any(|m| !m.holds && members.holder(m.id.slot).is_some());
    if left == 0 && !going {
        return None;
    }
    let name = cluster.metadata.name.as_deref().unwrap_or_default();
    let all = plan.slots.len();
    let done = all - left.min(all);
    let moving = nodes.iter().find(|n| n.state != NodeState::Ready);
    let waits = plan.outdated.iter().filter(|(id, _)| !kept(id)).min_by_key(|(id, _)| plan.waits.get(id).copied());
    let why = match (moving, waits) {
        (Some(node), _) => {
            let id = node.instance_id.as_deref().unwrap_or("its next instance");
            let said = node.message.as_ref().map(|m| format!(": {m}")).unwrap_or_default();
            format!(". {} ({id}) is {:?}{said}", node.name, node.state)
        }
        (None, Some((id, parts))) => {
            let waits = plan.waits.get(id).map(|w| format!(": {}", w.words())).unwrap_or_default();
            format!(". {name}-{} differs in {}{waits}", id.slot, parts.join(", "))
        }
        (None, None) => String::new(),
    };
    Some(format!("{done} of {all} machines are as the spec asks for, and the others are being replaced{why}"))
}

/// A lost swarm: what is known of each manager, and what a person can choose.
fn choices(lost: Lost, recovering: bool, nodes: &[NodeStatus]) -> String {
    let managers = nodes.iter().filter(|n| n.role == NodeRole::Manager);
    let each: Vec<String> = managers
        .map(|n| match (&n.message, &n.instance_id) {
            (Some(why), _) => format!("{} {why}", n.name),
            (None, Some(_)) => format!("{} is {:?}", n.name, n.state),
            (None, None) => format!("{} has no machine", n.name),
        })
        .collect();
    let each = each.join("; ");
    if recovering {
        return format!("the swarm is lost and is made anew as spec.recovery says: {each}");
    }
    match lost {
        Lost::Over => format!(
            "the swarm is lost, for no machine that had a vote is left: {each}. Nothing is done to its hosts. Set spec.recovery to Recreate for a new, empty swarm on them, or delete the cluster"
        ),
        Lost::Leaderless => format!(
            "the swarm has no majority of managers: {each}. Nothing is done to managers. Bring them back; or set spec.recovery to ForceNewCluster, to go on with what one of those that answer knows of services and secrets, or to Recreate, for a new, empty swarm; or delete the cluster"
        ),
        Lost::Unheard => format!(
            "no manager answers: {each}. Nothing is done to managers: it may be the way to them that is cut. See to it that the operator reaches them, or delete the cluster"
        ),
    }
}

/// What keeps slots from being filled: that of them which a person has to end, else the first.
fn trouble(cluster: &SwarmCluster, plan: &Plan) -> Option<Verdict> {
    let all = || plan.troubles.iter();
    let (first, told) = all().find(|(_, t)| t.stalls()).or_else(|| all().next())?;
    let others = all().filter(|(slot, t)| *slot != first && same(t, told)).count();
    let name = format!("{}-{first}", cluster.metadata.name.as_deref().unwrap_or_default());
    let who = if others == 0 { name } else { format!("{name} (and {others} more)") };
    let types = cluster.spec.provider.ec2.as_ref().map(|e| e.instance_types.as_slice()).unwrap_or_default();
    let (stalled, message) = (told.stalls(), told.words(&who, types));
    Some(Verdict { ready: false, reconciling: !stalled, stalled, reason: told.reason(), message })
}

/// Whether two slots have the same to be told of, whichever instance it is.
fn same(a: &Trouble, b: &Trouble) -> bool {
    (a.reason(), a.stalls()) == (b.reason(), b.stalls())
}

/// Everybody is there.
fn all_there(nodes: &[NodeStatus]) -> String {
    let of = |role| nodes.iter().filter(|n| n.role == role).count();
    let (managers, workers) = (of(NodeRole::Manager), of(NodeRole::Worker));
    if workers == 0 {
        return format!("{} ready", counted(managers, "manager"));
    }
    let plural = |n, what: &str| if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") };
    format!("{} and {} are ready", plural(managers, "manager"), plural(workers, "worker"))
}

/// A number of things with its verb: `1 manager is`, `3 managers are`.
fn counted(n: usize, what: &str) -> String {
    if n == 1 { format!("1 {what} is") } else { format!("{n} {what}s are") }
}

/// The reason of a failure, and whether only a person can end it.
fn judge(failure: &Failure) -> (&'static str, bool) {
    match failure {
        Failure::Cloud(error) => match error {
            CloudError::Capacity(_) => (reason::NO_CAPACITY, false),
            CloudError::Quota(_) => (reason::QUOTA, true),
            CloudError::Unauthorized { .. } => (reason::UNAUTHORIZED, true),
            CloudError::Invalid(_) => (reason::INVALID_SPEC, true),
            CloudError::Throttled(_) => (reason::THROTTLED, false),
            CloudError::Ended | CloudError::Refused(_) | CloudError::Unavailable(_) => (reason::CLOUD_ERROR, false),
        },
        Failure::Host(_) => (reason::HOST_ERROR, false),
        Failure::Spec(_) => (reason::INVALID_SPEC, true),
        Failure::InUse(_) => (reason::IN_USE, true),
    }
}

/// What a person can do about a failure. The operator tries again by itself in every case.
fn remedy(failure: &Failure) -> &'static str {
    match failure {
        Failure::Cloud(CloudError::Quota(_)) => {
            ". Raise the quota of the account, or remove what uses it up; this is tried again by itself"
        }
        Failure::Cloud(CloudError::Unauthorized { .. }) => {
            ". deploy/iam-policy.json has all permissions the operator needs; this is tried again by itself"
        }
        Failure::Cloud(CloudError::Invalid(_)) => {
            ". Correct spec.provider.ec2, or make what it names; this is tried again by itself"
        }
        Failure::Cloud(CloudError::Throttled(_)) => ". This is tried again by itself",
        Failure::InUse(_) => ". Detach the group there, or remove what uses it; this is tried again by itself",
        _ => "",
    }
}
