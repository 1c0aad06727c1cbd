//! The nodes an attach may go to, as the cluster changes.

use std::{cell::RefCell, collections::BTreeSet, time::Duration};

use kube::runtime::watcher::DefaultBackoff;
use tokio::{sync::watch, time::sleep};

use crate::{
    api::{NodeRole, NodeState, NodeStatus, SwarmCluster},
    attach::Node,
    cli::{
        Context,
        failure::Failure,
        hosts::{Reach, nodes},
        kubernetes::{CLUSTERS, Kubernetes, follow},
        terminal::Printer,
    },
};

/// The nodes that can be logged in to, the one to be at home at first: the one that was named, or a ready manager
/// that does not lead. All managers ask the leader about the swarm: with two in use a hiccup of one of them
/// costs either an engine's things or the swarm's, and never both.
///
/// A node of which it is not known for now by which hosts it is reached is reached as `before`, if it was.
pub fn candidates(cluster: &SwarmCluster, reach: &Reach, named: Option<&str>, before: &[Node]) -> Vec<Node> {
    let mut nodes: Vec<_> = wanted(cluster, named).collect();
    nodes.sort_by_key(|n| (named != Some(n.name.as_str()), n.state != NodeState::Ready, n.leader, n.name.clone()));
    let node = |n: &NodeStatus| {
        let target = match reach.target(n) {
            Ok(target) => target,
            Err(_) if reach.no_way(n).is_some() => before.iter().find(|b| b.name == n.name)?.target.clone(),
            Err(_) => return None,
        };
        Some(Node { name: n.name.clone(), target, manager: n.role == NodeRole::Manager, leader: n.leader })
    };
    let mut nodes: Vec<Node> = nodes.into_iter().filter_map(node).collect();
    // Home, and then who is asked about the swarm.
    if let Some(at) = nodes.iter().position(|n| n.leader).filter(|at| *at > 1) {
        let leader = nodes.remove(at);
        nodes.insert(1, leader);
    }
    nodes
}

/// Managers, and the node that was named.
fn wanted<'a>(cluster: &'a SwarmCluster, named: Option<&'a str>) -> impl Iterator<Item = &'a NodeStatus> {
    let all = nodes::of(cluster).unwrap_or_default().iter();
    all.filter(move |n| n.role == NodeRole::Manager || named == Some(n.name.as_str()))
}

/// Why it is not known by which hosts one of them is reached, where that is so.
pub fn lost(cluster: &SwarmCluster, reach: &Reach, named: Option<&str>) -> Option<Failure> {
    wanted(cluster, named).find_map(|node| reach.no_way(node)).cloned()
}

/// Whether managers that are replaced are noticed, for whoever looks on.
struct Noticing<'a> {
    printer: &'a Printer,
    /// Why not, as it was said.
    troubles: RefCell<BTreeSet<String>>,
}

impl Noticing<'_> {
    /// They are not for now; each reason is said once.
    fn fails(&self, failure: &Failure) {
        if self.troubles.borrow_mut().insert(failure.to_string()) {
            self.printer.warn(format_args!(
                "managers that are replaced are not noticed for now, and it is tried again: {failure}"
            ));
        }
    }

    /// They are.
    fn works(&self) {
        if !self.troubles.take().is_empty() {
            self.printer.note("managers that are replaced are noticed again");
        }
    }
}

/// The pause before the next attempt; the same as those of a watch that breaks off.
fn pause(pauses: &mut DefaultBackoff) -> Duration {
    pauses.next().unwrap_or(Duration::from_secs(30))
}

/// Keeps the list of managers up to date; ends when the cluster is gone. What is attached stays so meanwhile, whatever fails here:
/// neither the API server nor the way to those that come is needed for that.
pub async fn follow_cluster(
    context: &Context,
    kubernetes: &Kubernetes,
    name: &str,
    named: Option<&str>,
    wanted: &watch::Sender<Vec<Node>>,
) -> Failure {
    let (seen, mut states) = watch::channel(None);
    let noticing = Noticing { printer: &context.printer, troubles: RefCell::default() };
    let watching = async {
        let mut pauses = DefaultBackoff::default();
        // Apart from what the others say: who may not watch is shown the cluster each time all the same.
        let mut told = BTreeSet::new();
        loop {
            let gone = follow::until(kubernetes, kubernetes.clusters(), CLUSTERS, name, |state| match state {
                Some(cluster) => {
                    seen.send_replace(Some(cluster));
                    None
                }
                None => Some(()),
            });
            match gone.await {
                Ok(()) => return Failure::new(format!("cluster {name:?} was deleted")),
                Err(failure) if told.insert(failure.to_string()) => context.printer.warn(format_args!(
                    "managers that are replaced may be noticed late, and it is tried again: {failure}"
                )),
                Err(_) => {}
            }
            sleep(pause(&mut pauses)).await;
        }
    };
    let updating = async {
        let mut pauses = DefaultBackoff::default();
        let mut again: Option<Duration> = None;
        loop {
            tokio::select! {
                changed = states.changed() => if changed.is_err() { return std::future::pending::<Failure>().await },
                () = sleep(again.unwrap_or_default()), if again.is_some() => {}
            }
            let Some(cluster) = states.borrow_and_update().clone() else { continue };
            let trouble = match Reach::of(context, kubernetes, &cluster).await {
                Ok(reach) => {
                    update(wanted, |before| candidates(&cluster, &reach, named, before));
                    lost(&cluster, &reach, named)
                }
                // What is known leads to the same hosts; to those that come it may not.
                Err(failure) => Some(failure),
            };
            again = trouble.as_ref().map(|_| pause(&mut pauses));
            match &trouble {
                Some(failure) => noticing.fails(failure),
                None => {
                    pauses = DefaultBackoff::default();
                    noticing.works();
                }
            }
        }
    };
    tokio::select! {
        ended = watching => ended,
        ended = updating => ended,
    }
}

/// Takes the list as it is now, and tells of it where it leads elsewhere than before.
fn update(wanted: &watch::Sender<Vec<Node>>, now: impl FnOnce(&[Node]) -> Vec<Node>) {
    let place = |n: &Node| (n.name.clone(), n.target.address.clone(), n.manager, n.leader);
    wanted.send_if_modified(|before| {
        let now = now(before);
        let new = before.iter().map(place).ne(now.iter().map(place));
        *before = now;
        new
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::hosts::Detour;

    fn cluster(nodes: &[(&str, &str, bool)]) -> SwarmCluster {
        let node = |(name, address, leader): &(&str, &str, bool)| serde_json::json!({"name": name, "role": "Manager", "state": "Ready", "address": address, "leader": leader});
        serde_json::from_value(serde_json::json!({
            "apiVersion": "testkit.dev/v1alpha1", "kind": "SwarmCluster", "metadata": {"name": "foo"},
            "spec": {"provider": {"ec2": {"region": "us-east-1"}}},
            "status": {"nodes": nodes.iter().map(node).collect::<Vec<_>>()},
        }))
        .unwrap()
    }

    #[test]
    fn a_node_whose_way_is_not_known_for_now_is_reached_as_before() {
        let all = [("foo-m0", "10.0.0.1", false), ("foo-m1", "10.0.0.2", true), ("foo-m2", "10.0.0.3", false)];
        let names = ["foo-m0,10.0.0.1", "foo-m1,10.0.0.2", "foo-m2,10.0.0.3,10.0.0.9"];
        // Which addresses have a jump host, and which have one that cannot be had; who was reached before, where; and who is now.
        for (configured, before, now, told) in [
            (&[("10.0.0.1", None)][..], &["foo-m0"][..], "foo-m0 a@10.0.0.1, foo-m1 @10.0.0.2, foo-m2 @10.0.0.3", true),
            (&[("10.0.0.1", None)], &[], "foo-m1 @10.0.0.2, foo-m2 @10.0.0.3", true),
            (&[("10.0.0.1", Some("b"))], &["foo-m0"], "foo-m0 b@10.0.0.1, foo-m1 @10.0.0.2, foo-m2 @10.0.0.3", false),
            (
                &[("10.0.0.1", None), ("10.0.0.2", None), ("10.0.0.3", None)],
                &["foo-m0", "foo-m2"],
                "foo-m0 a@10.0.0.1, foo-m2 a@10.0.0.3",
                true,
            ),
        ] {
            let by_a: Vec<(&str, Option<&str>)> = all.iter().map(|(_, address, _)| (*address, Some("a"))).collect();
            let earlier = candidates(&cluster(&all), &Reach::fixture(&names, Detour::fixture(&by_a)), None, &[]);
            let earlier: Vec<Node> = earlier.into_iter().filter(|node| before.contains(&node.name.as_str())).collect();
            let reach = Reach::fixture(&names, Detour::fixture(configured));
            let found = candidates(&cluster(&all), &reach, None, &earlier);
            let mut shown: Vec<String> = found
                .iter()
                .map(|node| {
                    let via: Vec<&str> = node.target.via.iter().map(|jump| jump.name.as_str()).collect();
                    format!("{} {}@{}", node.name, via.join(","), node.target.address)
                })
                .collect();
            shown.sort();
            assert_eq!(shown.join(", "), now, "{configured:?}");
            assert_eq!(lost(&cluster(&all), &reach, None).is_some(), told, "{configured:?}");
        }
        // The one with the address of before, and the key of another place, is not.
        let moved = cluster(&[("foo-m0", "10.0.0.7", false)]);
        let reach = Reach::fixture(&names, Detour::default());
        assert!(candidates(&moved, &reach, None, &candidates(&cluster(&all), &reach, None, &[])).is_empty());
    }

    #[test]
    fn the_leader_is_not_home_and_is_asked_about_the_swarm() {
        let all = [("foo-m0", "10.0.0.1", false), ("foo-m1", "10.0.0.2", false), ("foo-m2", "10.0.0.3", true)];
        let reach = Reach::fixture(&["foo-m0,10.0.0.1", "foo-m1,10.0.0.2", "foo-m2,10.0.0.3"], Detour::default());
        for (named, order) in [(None, "foo-m0 foo-m2 foo-m1"), (Some("foo-m1"), "foo-m1 foo-m2 foo-m0")] {
            let found = candidates(&cluster(&all), &reach, named, &[]);
            let names: Vec<&str> = found.iter().map(|node| node.name.as_str()).collect();
            assert_eq!(names.join(" "), order);
        }
    }
}
