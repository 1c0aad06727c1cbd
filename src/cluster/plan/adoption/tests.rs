//! Which swarms are adopted, and what is said of the others.

use super::super::given::lab::{FOUR, Lab};
use crate::{
    api::{NodeRole, label},
    cluster::{plan::Action, trouble::Trouble},
};

/// A swarm that somebody made of the four machines by hand.
fn made() -> Lab {
    let mut lab = Lab::new(&FOUR);
    for (n, role) in [(1, NodeRole::Manager), (2, NodeRole::Manager), (3, NodeRole::Manager), (4, NodeRole::Worker)] {
        lab.by_hand(&format!("10.0.0.{n}"), role);
    }
    lab
}

#[test]
fn what_is_as_the_spec_says_is_adopted_with_nothing_but_labels_and_left_as_it_was() {
    let mut lab = made();
    let before = lab.nodes.clone();
    let plan = lab.settle();
    assert!(plan.troubles.is_empty() && plan.waits.is_empty());
    assert!(lab.done.iter().all(|a| matches!(a, Action::Update { role: None, .. })), "{:?}", lab.done);
    let journal = lab.journal.as_ref().unwrap();
    assert!(journal.adopted && journal.swarm_id.as_deref() == Some("swarm"));
    assert!(lab.nodes.iter().all(|n| n.labels.contains_key(label::SLOT)));
    lab.deleting = true;
    lab.settle();
    assert!(lab.released);
    assert_eq!(lab.nodes, before);
    assert!(lab.boxes.values().all(|b| b.node.is_some()));
}

#[test]
fn a_difference_is_named_and_nothing_is_touched() {
    type Change = fn(&mut Lab);
    let table: [(Change, &[&str]); 9] = [
        (
            |lab| lab.boxes.get_mut("10.0.0.4").unwrap().node = None,
            &["host/d is in no swarm", "its node h4 (n4) is none of"],
        ),
        (
            |lab| {
                let of = lab.boxes.get_mut("10.0.0.4").unwrap();
                (of.node, of.elsewhere) = (None, true);
            },
            &["host/d is in another swarm than the others", "its node h4"],
        ),
        (|lab| lab.by_hand("10.0.0.5", NodeRole::Worker), &["its node h5 (n5) is none of the machines"]),
        (
            |lab| lab.ask(&["a@10.0.0.1 Manager", "b@10.0.0.2 Worker", "c@10.0.0.3 Worker", "d@10.0.0.4 Worker"]),
            &["host/b is a manager there, and a worker in the spec", "host/c is a manager"],
        ),
        (
            |lab| lab.ask(&["d@10.0.0.4 Manager"]),
            &["none of its managers speaks for a majority, or none is on the list"],
        ),
        (
            |lab| {
                lab.nodes[0].labels.insert(label::CLUSTER.into(), "ns/other".into());
            },
            &["its node h1 belongs to SwarmCluster ns/other"],
        ),
        (
            |lab| {
                // Two of three managers went, and their machines were set up anew.
                lab.boxes.get_mut("10.0.0.1").unwrap().node = None;
                lab.boxes.get_mut("10.0.0.2").unwrap().node = None;
            },
            &["host/a is in no swarm", "host/b is in no swarm"],
        ),
        (|lab| lab.ask(&FOUR[..3]), &["its node h4 (n4) is none of the machines"]),
        (|lab| lab.boxes.values_mut().for_each(|b| (b.node, b.elsewhere) = (None, true)), &["speaks for a majority"]),
    ];
    for (n, (change, told)) in table.into_iter().enumerate() {
        let mut lab = made();
        change(&mut lab);
        lab.pass();
        let before = lab.nodes.clone();
        let plan = lab.pass();
        assert_eq!(lab.done, [], "{n}");
        let differs = plan.troubles.values().next();
        let Some(Trouble::Differs(words)) = differs else { panic!("{n}: {differs:?}") };
        for clause in told {
            assert!(words.iter().any(|w| w.contains(clause)), "{n}: {clause} is not in {words:?}");
        }
        // Deletion leaves it alone, too.
        lab.deleting = true;
        lab.settle();
        assert!(lab.released);
        assert_eq!(lab.nodes, before, "{n}");
    }
}

#[test]
fn nothing_is_judged_before_everybody_was_heard() {
    let mut lab = made();
    lab.boxes.get_mut("10.0.0.4").unwrap().silent = true;
    let plan = lab.settle();
    assert!(lab.done.is_empty() && !plan.troubles.values().any(|t| matches!(t, Trouble::Differs(_))));
    lab.boxes.get_mut("10.0.0.4").unwrap().silent = false;
    lab.settle();
    assert!(lab.journal.unwrap().adopted);
}

#[test]
fn a_difference_that_is_corrected_on_either_side_is_none() {
    let mut lab = made();
    lab.by_hand("10.0.0.5", NodeRole::Worker);
    lab.pass();
    lab.ask(&[FOUR[0], FOUR[1], FOUR[2], FOUR[3], "e@10.0.0.5 Worker"]);
    let plan = lab.settle();
    assert!(plan.troubles.is_empty() && lab.journal.unwrap().adopted);
}
