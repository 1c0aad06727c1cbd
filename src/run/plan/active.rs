//! A run whose container was created: it is started, followed, stopped in time, and kept.

use k8s_openapi::jiff::SignedDuration;

use super::{FALLBACK, Look, Plan, SOON, Says, Step};
use crate::{
    api::reason,
    host::HostId,
    run::{
        facts::{Container, ContainerState, Kept},
        record::Placed,
        stage::{Stage, elapsed},
        verdict::{self, Course, Cut, End},
    },
};

/// What a host's clock and ours may differ by over a run, with all that is asked and answered between.
const SLACK: std::time::Duration = std::time::Duration::from_secs(5);

/// What is next for a run whose container is written down.
pub fn active(look: &Look<'_>, placed: &Placed, located: Option<(&HostId, &Container)>) -> Plan {
    if let Some(Kept::Done(end)) = &look.seen.kept {
        return Plan::ended((**end).clone());
    }
    if let Some((_, container)) = located.filter(|(_, c)| c.attempt != look.seen.record.number()) {
        let words = format!(
            "the container is that of attempt {}, and what is written of the run's attempts (annotation testkit.dev/attempts) was changed: what those before have said is not known. Create another E2ERun",
            container.attempt
        );
        return Plan::end(reason::NO_RESULTS, words);
    }
    let name = look.node(&placed.host.slot);
    let Some(cluster) = look.seen.cluster.as_ref().filter(|c| c.uid == placed.host.cluster) else {
        return match &look.seen.kept {
            Some(Kept::Unstored(end, words)) => Plan::ended(not_kept(look, end, words)),
            _ => Plan::end(
                reason::CLUSTER_GONE,
                format!(
                    "SwarmCluster {} was deleted while the container was on {name}: create another E2ERun",
                    look.cluster()
                ),
            ),
        };
    };
    if let Some((host, container)) = located {
        return in_sight(look, host, container);
    }
    let view = look.view(placed);
    if view.is_some_and(|v| v.container == Some(None)) {
        let words = format!(
            "the container was removed from {name} by someone else, and its results with it: create another E2ERun"
        );
        return Plan::end(reason::CONTAINER_LOST, words);
    }
    if look.replaced(placed) {
        let words = format!(
            "{name} is gone (the instance was replaced), and the container and its results with it: create another E2ERun"
        );
        return Plan::end(reason::INFRASTRUCTURE, words);
    }
    if view.is_none() && !cluster.deleting && !cluster.slots.contains(&placed.host.slot) {
        let words = format!(
            "{name} is gone (the cluster was made smaller), and the container and its results with it: create another E2ERun"
        );
        return Plan::end(reason::CONTAINER_LOST, words);
    }
    out_of_sight(look, placed, &name)
}

/// A container that nothing is written of.
pub fn adopt(look: &Look<'_>, host: &HostId, container: &Container) -> Plan {
    let mut steps = look.claim();
    steps.push(Step::Adopt(host.clone(), container.clone()));
    match look.clock(Stage::Starting) {
        Some(clock) => Plan::wait(clock, steps, Says::Active(None), FALLBACK),
        None => not_started(look, host),
    }
}

/// A container that is not in sight, and may come back: its time goes on.
fn out_of_sight(look: &Look<'_>, placed: &Placed, name: &str) -> Plan {
    let why = look.why_unseen(placed);
    let words = format!("{name} cannot be reached ({why}); the container is looked at when it can be again");
    // Whoever has just taken over has nothing to add to what was said last: while connections come up, hosts that are well
    // are not connected yet, or their engines do not answer yet.
    let untried = look.seen.fresh;
    if look.seen.record.since.contains_key(&Stage::Collecting) {
        let why = if untried { String::new() } else { format!("{name} cannot be reached ({why})") };
        return unread(look, vec![], &why);
    }
    let cut = match (look.cut(), look.clock(Stage::Running)) {
        (None, Some(clock)) if untried => return Plan::wait(clock, disturbed(look), Says::Nothing, SOON * 5),
        (None, Some(clock)) => return Plan::wait(clock, disturbed(look), Says::Active(Some(words)), FALLBACK),
        (cut, _) => cut.unwrap_or(Cut::Deadline),
    };
    match look.clock(Stage::Stopping) {
        Some(clock) => {
            // It ends as soon as its engine can be told.
            let stop = Step::Stop(cut, placed.host.clone(), placed.container.clone());
            Plan::wait(clock, vec![stop], Says::Stopping(format!("{}; {words}", cut.why(look.spec))), SOON * 5)
        }
        None => lost(look, name, why, cut),
    }
}

/// The time of a container is over that nobody can look at.
fn lost(look: &Look<'_>, name: &str, why: &str, cut: Cut) -> Plan {
    let (asked, reason) = match cut {
        Cut::Deadline => (format!("spec.timeout ({}) is over", look.spec.timeout), reason::INFRASTRUCTURE),
        Cut::Cancelled | Cut::Deleted | Cut::ClusterGone => (cut.why(look.spec), cut.reason()),
    };
    let words = format!(
        "{asked}, and {name} cannot be reached ({why}): how the container ended is not known, and its results are not read. See to the host, then create another E2ERun"
    );
    Plan::end(reason, words)
}

/// A container that is in sight.
fn in_sight(look: &Look<'_>, host: &HostId, container: &Container) -> Plan {
    match &container.state {
        ContainerState::Created { error: Some(error) } => {
            let (reason, remedy) = verdict::of_start(error);
            Plan::end(reason, format!("the container could not be started: {error}. {remedy}"))
        }
        ContainerState::Created { error: None } => match look.asked() {
            Some(cut) => {
                let words = format!("{}, and its container had not started{}", cut.why(look.spec), cut.remedy());
                Plan::end(cut.reason(), words)
            }
            None => adopt(look, host, container),
        },
        ContainerState::Running => running(look, host, container),
        ContainerState::Exited(_) => keep(look, host, container),
    }
}

fn running(look: &Look<'_>, host: &HostId, container: &Container) -> Plan {
    match (look.cut(), look.clock(Stage::Running)) {
        (None, Some(clock)) => {
            let mut steps = look.claim();
            steps.extend(disturbed(look));
            steps.push(Step::Follow(host.clone(), container.id.clone()));
            Plan::wait(clock, steps, Says::Active(None), FALLBACK)
        }
        (cut, _) => {
            stop(look, host, container, cut.unwrap_or(Cut::Deadline)).unwrap_or_else(|| keep(look, host, container))
        }
    }
}

/// What is to be remembered of an engine that was lost.
fn disturbed(look: &Look<'_>) -> Vec<Step> {
    let news = look.seen.cut_off.clone().filter(|_| look.seen.record.disturbed.is_none());
    news.map(Step::Disturbed).into_iter().collect()
}

/// Tells the container to end; `None` where it did not, in all the time it had.
pub fn stop(look: &Look<'_>, host: &HostId, container: &Container, cut: Cut) -> Option<Plan> {
    let clock = look.clock(Stage::Stopping)?;
    let words = format!("{}: it has spec.gracePeriod ({}) to end", cut.why(look.spec), look.spec.grace_period);
    let stop = Step::Stop(cut, host.clone(), container.id.clone());
    Some(Plan::wait(clock, vec![stop], Says::Stopping(words), SOON * 5))
}

fn not_started(look: &Look<'_>, host: &HostId) -> Plan {
    let (node, limit, why) = (look.node(&host.slot), look.limit(Stage::Starting), look.trouble());
    let words = format!(
        "the container did not start on {node} within {limit}{why}. See to the host, then create another E2ERun"
    );
    Plan::end_on(host, reason::INFRASTRUCTURE, words)
}

/// What a container that ended left is read, judged and kept.
fn keep(look: &Look<'_>, host: &HostId, container: &Container) -> Plan {
    let step = || vec![Step::Keep(host.clone(), container.clone(), course(look, container))];
    match &look.seen.kept {
        Some(Kept::Done(end)) => Plan::ended((**end).clone()),
        Some(Kept::Unstored(end, words)) => match look.clock(Stage::Storing) {
            Some(clock) => Plan::wait(clock, step(), Says::Storing(words.clone()), SOON * 5),
            None => Plan::ended(not_kept(look, end, words)),
        },
        Some(Kept::Unread(words)) => unread(look, step(), &format!("{}: {words}", look.node(&host.slot))),
        None => unread(look, step(), ""),
    }
}

/// What a container left is not read yet.
fn unread(look: &Look<'_>, steps: Vec<Step>, why: &str) -> Plan {
    let storing = look.seen.record.since.contains_key(&Stage::Storing);
    let stage = if storing { Stage::Storing } else { Stage::Collecting };
    let says = (!why.is_empty()).then(|| format!("the results cannot be read: {why}. It is tried again"));
    if let Some(clock) = look.clock(stage) {
        return Plan::wait(clock, steps, Says::Collecting(says), SOON * 5);
    }
    let (limit, why) = (look.limit(stage), if why.is_empty() { "nobody came to it" } else { why });
    let cut = look.seen.record.cut;
    let asked = cut.map_or_else(String::new, |cut| format!("{}; ", cut.why(look.spec)));
    let words = format!(
        "{asked}the results could not be read within {limit}: {why}. See to the host, then create another E2ERun"
    );
    Plan::end(cut.map_or(reason::INFRASTRUCTURE, Cut::reason), words)
}

/// The end of a run whose results nobody can look at later: not a pass, whatever they say.
fn not_kept(look: &Look<'_>, end: &End, words: &str) -> End {
    let limit = look.limit(Stage::Storing);
    let message = format!("the results could not be kept within {limit}: {words}. They said: {}", end.message);
    End { complete: false, reason: reason::NOT_KEPT, message, own: None, again: None, ..end.clone() }
}

/// What is known of a container's time. Both clocks that tell of it are asked for a difference of
/// their own; they are not compared with each other but for how far they went.
pub fn course(look: &Look<'_>, container: &Container) -> Course {
    let record = &look.seen.record;
    let started = record.started().unwrap_or(look.now);
    let noticed = record.since.get(&Stage::Collecting).copied().unwrap_or(look.now);
    // Ours goes from before it ran to after it.
    let at_most = elapsed(started, noticed);
    let by_host = match &container.state {
        ContainerState::Exited(exit) => exit.ran,
        ContainerState::Created { .. } | ContainerState::Running => SignedDuration::ZERO,
    };
    let by_host = std::time::Duration::try_from(by_host).ok().filter(|ran| *ran <= at_most + SLACK);
    let ended = matches!(container.state, ContainerState::Exited(_));
    let by_host = by_host.filter(|_| ended);
    let ran = by_host.unwrap_or(at_most);
    // It had ended when that was noticed: where the start was noticed late, it began before that.
    let latest = by_host.and_then(|ran| noticed.checked_sub(ran).ok());
    // Of the time of the run, what the attempts before left.
    let before = record.began().map_or(std::time::Duration::ZERO, |began| elapsed(began, started));
    let limit = look.spec.timeout.get().saturating_sub(before);
    Course {
        cut: record.cut,
        // Where nobody looked in time, the host's word counts; where that cannot be right, it is late.
        overdue: record.cut.is_none() && at_most > limit && ran > limit,
        disturbed: record.disturbed.clone().or_else(|| look.seen.cut_off.clone()),
        ran: Some((latest.map_or(started, |latest| latest.min(started)), ran)),
    }
}
