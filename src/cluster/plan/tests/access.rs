//! A cluster of which nobody says who may reach its hosts, or nobody says it any more.

use super::*;
use crate::{
    api::{SwarmCluster, is_true, type_},
    cluster::{act::Outcome, status::status},
};

/// What the object says: whether it is ready, whether it is stalled, the reason and the message.
fn told(spec: &SwarmClusterSpec, world: &World) -> (bool, bool, String, String) {
    let cluster = SwarmCluster::new("c", spec.clone());
    let status = status(&cluster, world, &plan(spec, world, NOW), &Outcome::default(), NOW);
    let holds = |type_| is_true(&status.conditions, type_);
    assert!(!holds(type_::RECONCILING), "{:?}", status.conditions);
    let ready = status.conditions.iter().find(|c| c.type_ == type_::READY).cloned().unwrap();
    (holds(type_::READY), holds(type_::STALLED), ready.reason, ready.message)
}

fn said(cidrs: &[&str]) -> Access {
    Access::Said(cidrs.iter().map(|&c| c.to_owned()).collect())
}

#[test]
fn nothing_is_launched_until_somebody_says_who_may_reach_it() {
    let (spec, mut world) = (spec(3, 1), World { access: Access::Unsaid, ..world(vec![]) });
    let waits = plan(&spec, &world, NOW);
    assert_eq!((waits.save, waits.actions), (None, vec![]));
    let (ready, stalled, why, message) = told(&spec, &world);
    assert_eq!((ready, stalled, why.as_str()), (false, true, reason::NO_ACCESS_CIDRS), "{message}");
    for part in ["spec.accessCIDRs", "203.0.113.0/24", "--access-cidrs", "the chart's value accessCIDRs"] {
        assert!(message.contains(part), "{part} is not in: {message}");
    }

    world.access = said(&["203.0.113.0/24"]);
    let goes = plan(&spec, &world, NOW);
    assert_eq!(goes.actions.len(), 4);
    assert_eq!(goes.save.unwrap().access, ["203.0.113.0/24"], "it is written down before anything is launched");
}

#[test]
fn what_is_said_anew_is_written_down_and_what_is_not_said_any_more_stays_there() {
    let (spec, mut world) = whole();
    for access in [said(&["203.0.113.0/24"]), said(&["198.51.100.0/24", "2001:db8::/32"])] {
        world.access = access.clone();
        world.journal = plan(&spec, &world, NOW).save;
        assert_eq!(world.journal.as_ref().map(|j| Access::Said(j.access.clone())), Some(access));
        assert_eq!(plan(&spec, &world, NOW).save, None, "once");
    }
    world.access = Access::Kept(vec!["198.51.100.0/24".into(), "2001:db8::/32".into()]);
    assert_eq!(plan(&spec, &world, NOW).save, None);
    let paused = SwarmClusterSpec { paused: true, ..spec };
    world.access = said(&["192.0.2.0/24"]);
    let kept = plan(&paused, &world, NOW);
    assert_eq!(kept.save.map(|journal| journal.access), Some(vec!["192.0.2.0/24".to_owned()]));
    assert_eq!(kept.actions, []);
}

#[test]
fn a_cluster_goes_on_with_what_it_had_and_says_so() {
    let (spec, mut world) = whole();
    world.access = Access::Kept(vec!["198.51.100.0/24".into()]);
    let (ready, stalled, why, message) = told(&spec, &world);
    assert_eq!((ready, stalled, why.as_str()), (true, false, reason::NO_ACCESS_CIDRS), "{message}");
    for part in ["1 manager and 1 worker are ready", "198.51.100.0/24", "spec.accessCIDRs", "--access-cidrs"] {
        assert!(message.contains(part), "{part} is not in: {message}");
    }
    world.instances.as_mut().unwrap()[1].state = InstanceState::Terminated;
    let replaces = plan(&spec, &world, NOW);
    assert!(matches!(replaces.actions.as_slice(), [Action::Launch(id, _)] if *id == member("w0.1")), "{replaces:?}");
}

#[test]
fn of_a_cluster_whose_journal_does_not_tell_nothing_is_taken_away() {
    let (mut spec, mut world) = whole();
    world.access = Access::Unsaid;
    let (ready, stalled, why, message) = told(&spec, &world);
    assert_eq!((ready, stalled, why.as_str()), (true, false, reason::NO_ACCESS_CIDRS), "{message}");

    // One that is outdated, and would go before another one comes.
    spec.engine = serde_json::from_value(serde_json::json!({"daemonJson": {"debug": true}})).unwrap();
    (spec.update.max_surge, spec.update.max_unavailable) = (0, 1);
    assert_eq!(plan(&spec, &world, NOW).actions, []);
    world.access = said(&["203.0.113.0/24"]);
    assert_ne!(plan(&spec, &world, NOW).actions, []);

    // One that is gone is missed, and not replaced.
    let (spec, mut world) = whole();
    world.instances.as_mut().unwrap()[1].state = InstanceState::Terminated;
    world.access = Access::Unsaid;
    assert_eq!(plan(&spec, &world, NOW).actions, []);
    let (ready, stalled, why, message) = told(&spec, &world);
    assert_eq!((ready, stalled, why.as_str()), (false, true, reason::NO_ACCESS_CIDRS), "{message}");
}
