//! Machines that exist become a swarm, change, and are let go: played to the end of each.

use super::{
    super::{
        Action, Wait,
        tests::{NOW, member},
    },
    lab::{FOUR, Lab, spec},
};
use crate::{
    api::{NodeRole, Recovery, label},
    cluster::{journal::Recovering, plan::plan, trouble::Trouble},
};
use k8s_openapi::jiff::SignedDuration;

/// Four machines that became a swarm.
fn formed() -> Lab {
    let mut lab = Lab::new(&FOUR);
    lab.settle();
    lab.done.clear();
    lab
}

/// By address, the role and the slot of each node.
fn nodes(lab: &Lab) -> Vec<String> {
    let told = |n: &crate::swarm::Node| {
        format!("{} {:?} {}", n.address, n.role, n.labels.get(label::SLOT).map_or("-", String::as_str))
    };
    let mut all: Vec<_> = lab.nodes.iter().map(told).collect();
    all.sort();
    all
}

fn leaves(lab: &Lab) -> usize {
    lab.done.iter().filter(|a| matches!(a, Action::Leave(_))).count()
}

#[test]
fn a_swarm_is_formed_once_every_machine_has_said_that_it_is_in_none() {
    let mut lab = Lab::new(&FOUR);
    lab.boxes.get_mut("10.0.0.4").unwrap().silent = true;
    let plan = lab.settle();
    assert_eq!(plan.waits.get(&member("w0.0")), Some(&Wait::Given));
    assert!(lab.nodes.is_empty() && lab.done.is_empty(), "{:?}", lab.done);
    lab.boxes.get_mut("10.0.0.4").unwrap().silent = false;
    let plan = lab.settle();
    assert_eq!(
        nodes(&lab),
        ["10.0.0.1 Manager m0", "10.0.0.2 Manager m1", "10.0.0.3 Manager m2", "10.0.0.4 Worker w0"]
    );
    assert!(plan.troubles.is_empty() && plan.waits.is_empty(), "{:?}", plan.waits);
    assert!(!lab.journal.as_ref().unwrap().adopted);
}

#[test]
fn an_engine_is_installed_only_where_that_is_said_and_none_answers() {
    let mut lab = Lab::new(&FOUR);
    lab.boxes.get_mut("10.0.0.2").unwrap().bare = true;
    lab.ailing = SignedDuration::from_secs(60);
    lab.settle();
    assert!(lab.done.is_empty(), "{:?}", lab.done);
    lab.spec = spec(&FOUR, true);
    lab.settle();
    assert_eq!(lab.done.iter().filter(|a| matches!(a, Action::Install(_))).count(), 1);
    assert_eq!(lab.nodes.len(), 4);
}

#[test]
fn a_sick_machine_is_waited_for_and_told_of_and_nothing_is_done_to_it() {
    let mut lab = formed();
    lab.boxes.get_mut("10.0.0.2").unwrap().silent = true;
    for (ailing, told) in [(SignedDuration::from_secs(60), 0), (SignedDuration::from_secs(3600), 1)] {
        lab.ailing = ailing;
        lab.pass();
        let plan = lab.pass();
        assert_eq!(plan.actions, []);
        let sick: Vec<_> = plan.troubles.values().collect();
        assert_eq!(sick.len(), told, "{sick:?}");
        assert!(sick.iter().all(|t| matches!(t, Trouble::Sick { machine, .. } if machine == "host/b") && t.stalls()));
    }
    lab.boxes.get_mut("10.0.0.2").unwrap().silent = false;
    lab.pass();
    assert!(lab.settle().troubles.is_empty());
    assert_eq!(lab.done, []);
}

#[test]
fn a_role_changes_by_promotion_and_demotion_one_voter_at_a_time() {
    let mut lab = formed();
    let before: Vec<_> = lab.nodes.iter().map(|n| n.id.clone()).collect();
    lab.ask(&["a@10.0.0.1 Worker", "b@10.0.0.2 Manager", "c@10.0.0.3 Manager", "d@10.0.0.4 Manager"]);
    lab.settle();
    assert_eq!(
        nodes(&lab),
        ["10.0.0.1 Worker w1", "10.0.0.2 Manager m1", "10.0.0.3 Manager m2", "10.0.0.4 Manager m0"]
    );
    let after: Vec<_> = lab.nodes.iter().map(|n| n.id.clone()).collect();
    assert_eq!(before, after, "nobody left");
    assert!(lab.done.iter().all(|a| matches!(a, Action::Update { .. })), "{:?}", lab.done);
}

#[test]
fn one_that_is_taken_off_the_list_drains_leaves_and_is_let_go() {
    for (gone, dead) in [("10.0.0.4", false), ("10.0.0.4", true), ("10.0.0.1", false), ("10.0.0.1", true)] {
        let mut lab = formed();
        lab.boxes.get_mut(gone).unwrap().silent = dead;
        lab.pass();
        let (extra, left) = match gone {
            "10.0.0.4" => (&FOUR[..3], 3),
            // Another one is the third manager.
            _ => (&["b@10.0.0.2 Manager", "c@10.0.0.3 Manager", "d@10.0.0.4 Manager"][..], 3),
        };
        lab.ask(extra);
        lab.settle();
        assert_eq!(lab.nodes.len(), left, "{gone} {dead}: {:?}", nodes(&lab));
        assert!(lab.nodes.iter().all(|n| n.address != gone));
        assert_eq!(leaves(&lab), usize::from(!dead));
        assert_eq!(lab.done.iter().any(|a| matches!(a, Action::Drain { .. })), !dead, "{:?}", lab.done);
        assert_eq!(lab.journal.as_ref().unwrap().taken.len(), 3);
        assert_eq!(lab.voters(), (3, 3));
    }
}

#[test]
fn another_address_is_another_machine_that_comes_before_the_old_one_goes() {
    let mut lab = formed();
    lab.ask(&["a@10.0.0.9 Manager", "b@10.0.0.2 Manager", "c@10.0.0.3 Manager", "d@10.0.0.4 Worker"]);
    lab.settle();
    assert_eq!(
        nodes(&lab),
        ["10.0.0.2 Manager m1", "10.0.0.3 Manager m2", "10.0.0.4 Worker w0", "10.0.0.9 Manager m0"]
    );
    let joined = lab.done.iter().position(|a| matches!(a, Action::Join { .. })).unwrap();
    let drained = lab.done.iter().position(|a| matches!(a, Action::Drain { .. })).unwrap();
    assert!(joined < drained, "{:?}", lab.done);
    assert_eq!(lab.boxes["10.0.0.1"].node, None);
}

#[test]
fn a_run_that_is_under_way_keeps_the_machines_it_is_on_as_they_are() {
    let mut lab = formed();
    lab.runs = vec!["nightly".to_owned()];
    lab.ask(&["a@10.0.0.1 Worker", "b@10.0.0.2 Worker", "c@10.0.0.3 Manager", "e@10.0.0.5 Worker"]);
    let plan = lab.settle();
    assert_eq!((lab.done.len(), plan.outdated.len()), (0, 3), "{:?}", plan.outdated);
    assert!(plan.outdated.keys().all(|id| plan.waits[id] == Wait::Runs));
    lab.runs.clear();
    lab.settle();
    assert_eq!(nodes(&lab), ["10.0.0.1 Worker w1", "10.0.0.2 Worker w2", "10.0.0.3 Manager m2", "10.0.0.5 Worker w3"]);
    // One more does nothing to those that are there.
    lab.runs = vec!["nightly".to_owned()];
    lab.ask(&[
        "a@10.0.0.1 Worker",
        "b@10.0.0.2 Worker",
        "c@10.0.0.3 Manager",
        "d@10.0.0.4 Worker",
        "e@10.0.0.5 Worker",
    ]);
    lab.settle();
    assert_eq!(lab.nodes.len(), 5);
}

#[test]
fn deletion_dissolves_what_was_formed() {
    let mut lab = formed();
    lab.deleting = true;
    lab.settle();
    assert!(lab.released && lab.boxes.values().all(|b| b.node.is_none()));
}

#[test]
fn who_is_not_heard_is_waited_for_at_deletion_and_told_of_then() {
    let mut lab = formed();
    (lab.deleting, lab.boxes.get_mut("10.0.0.4").unwrap().silent) = (true, true);
    let plan = lab.settle();
    assert!(!lab.released && plan.again_at > Some(NOW), "{plan:?}");
    lab.leaving = SignedDuration::from_secs(3600);
    let plan = lab.settle();
    assert!(lab.released && plan.news[0].1.contains("host/d was not heard"), "{:?}", plan.news);
}

#[test]
fn one_that_was_never_a_swarm_goes_at_once() {
    let mut lab = Lab::new(&FOUR);
    lab.boxes.values_mut().for_each(|b| b.silent = true);
    lab.settle();
    lab.deleting = true;
    lab.settle();
    assert!(lab.released);
}

#[test]
fn without_a_majority_nothing_is_done_and_no_machine_is_ended_whatever_the_spec_says() {
    for recovery in [Recovery::None, Recovery::ForceNewCluster, Recovery::Recreate] {
        let mut lab = formed();
        lab.spec.recovery = recovery;
        for gone in ["10.0.0.1", "10.0.0.2"] {
            lab.boxes.get_mut(gone).unwrap().silent = true;
        }
        lab.ailing = SignedDuration::from_secs(3600);
        let mut world = lab.world();
        world.silence = world.health.values().find(|c| !c.up).copied();
        world.leaderless = [member("m2.0")].into();
        let plan = plan(&lab.spec, &world, NOW);
        let ended = plan.actions.iter().any(|a| matches!(a, Action::Terminate(_) | Action::Force(_) | Action::Init(_)));
        assert!(!ended, "{recovery:?}: {:?}", plan.actions);
    }
}

#[test]
fn a_machine_of_another_swarm_is_not_made_to_leave_it() {
    for (toils, told) in [(false, "is in another swarm"), (true, "is in a swarm that does not know it")] {
        let elsewhere = || {
            let mut lab = formed();
            let of = lab.boxes.get_mut("10.0.0.4").unwrap();
            (of.node, of.elsewhere, of.toils) = (None, true, toils);
            lab.ailing = SignedDuration::from_secs(3600);
            lab
        };
        let mut lab = elsewhere();
        let plan = lab.settle();
        assert_eq!(leaves(&lab), 0, "{told}");
        let sick = plan.troubles.values().next();
        assert!(matches!(sick, Some(Trouble::Sick { what, .. }) if what.contains(told)), "{sick:?}");
        lab.ask(&FOUR[..3]);
        lab.settle();
        assert_eq!((leaves(&lab), lab.journal.as_ref().unwrap().taken.len(), lab.nodes.len()), (0, 3, 3), "{told}");
        assert_eq!(lab.nodes.iter().filter(|n| n.role == NodeRole::Manager).count(), 3);
        let mut lab = elsewhere();
        lab.deleting = true;
        lab.settle();
        assert_eq!((lab.released, leaves(&lab)), (true, 3), "{told}");
    }
}

#[test]
fn a_worker_of_this_swarm_that_somebody_removed_comes_back() {
    let mut lab = formed();
    lab.nodes.retain(|n| n.address != "10.0.0.4");
    lab.ailing = SignedDuration::from_secs(3600);
    lab.settle();
    assert_eq!((leaves(&lab), lab.nodes.len()), (1, 4));
}

#[test]
fn a_lost_swarm_is_left_by_all_before_a_new_one_is_begun() {
    let mut lab = formed();
    let begun = lab.journal.as_mut().unwrap();
    (begun.swarm, begun.swarm_id, begun.recovery) = (None, None, Some(Recovering::Anew));
    for gone in ["10.0.0.1", "10.0.0.2"] {
        lab.boxes.get_mut(gone).unwrap().silent = true;
    }
    let decide = |lab: &Lab| plan(&lab.spec, &lab.world(), NOW).actions;
    assert_eq!(decide(&lab), [Action::Leave(member("m2.0")), Action::Leave(member("w0.0"))]);
    // Those that have left wait for the others.
    for left in ["10.0.0.3", "10.0.0.4"] {
        lab.boxes.get_mut(left).unwrap().node = None;
    }
    assert_eq!(decide(&lab), []);
    lab.nodes.clear();
    for back in ["10.0.0.1", "10.0.0.2"] {
        let of = lab.boxes.get_mut(back).unwrap();
        (of.node, of.silent) = (None, false);
    }
    assert_eq!(decide(&lab), [Action::Init(member("m0.0"))]);
}
