//! The nodes an attach may go to, as the cluster changes.

use tokio::sync::watch;

use crate::{
    api::{NodeRole, NodeState, NodeStatus, SwarmCluster},
    attach::Node,
    cli::{
        Context,
        failure::{Failure, exit},
        hosts::{Reach, nodes},
        kubernetes::{CLUSTERS, Kubernetes, follow},
    },
};

/// The nodes that can be logged in to, the one to be at home at first: the one that was named, or a ready manager
/// that does not lead. All managers ask the leader about the swarm: with two in use a hiccup of one of them
/// costs either an engine's things or the swarm's, and never both.
pub fn candidates(cluster: &SwarmCluster, reach: &Reach, named: Option<&str>) -> Vec<Node> {
    let is_named = |name: &str| named == Some(name);
    let mut nodes: Vec<_> = nodes::of(cluster)
        .unwrap_or_default()
        .iter()
        .filter(|n| n.role == NodeRole::Manager || is_named(&n.name))
        .collect();
    nodes.sort_by_key(|n| (!is_named(&n.name), n.state != NodeState::Ready, n.leader, n.name.clone()));
    let node = |n: &NodeStatus| {
        let (manager, leader) = (n.role == NodeRole::Manager, n.leader);
        Some(Node { name: n.name.clone(), target: reach.target(n).ok()?, manager, leader })
    };
    let mut nodes: Vec<Node> = nodes.into_iter().filter_map(node).collect();
    // Home, and then who is asked about the swarm.
    if let Some(at) = nodes.iter().position(|n| n.leader).filter(|at| *at > 1) {
        let leader = nodes.remove(at);
        nodes.insert(1, leader);
    }
    nodes
}

/// Keeps the list of managers up to date; ends when the cluster is gone.
pub async fn follow_cluster(
    context: &Context,
    kubernetes: &Kubernetes,
    name: &str,
    named: Option<&str>,
    wanted: &watch::Sender<Vec<Node>>,
) -> Failure {
    let (seen, mut states) = watch::channel(None);
    let watching = follow::until(kubernetes, kubernetes.clusters(), CLUSTERS, name, |state| match state {
        Some(cluster) => {
            seen.send_replace(Some(cluster));
            None
        }
        None => Some(()),
    });
    let updating = async {
        let mut told = false;
        while states.changed().await.is_ok() {
            let Some(cluster) = states.borrow_and_update().clone() else { continue };
            // What is known leads to the same hosts; to those that come it may not.
            let reach = match Reach::of(context, kubernetes, &cluster).await {
                Ok(reach) => reach,
                Err(failure) => {
                    if !std::mem::replace(&mut told, true) {
                        context
                            .printer
                            .warn(format_args!("managers that are replaced are not noticed for now: {failure}"));
                    }
                    continue;
                }
            };
            told = false;
            let now = candidates(&cluster, &reach, named);
            let place = |n: &Node| (n.name.clone(), n.target.address.clone(), n.manager, n.leader);
            wanted.send_if_modified(|before| {
                let new = before.iter().map(place).ne(now.iter().map(place));
                *before = now;
                new
            });
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        ended = watching => match ended {
            Ok(()) => Failure::new(format!("cluster {name:?} was deleted")),
            // What is attached stays so: the API server is not needed for that.
            Err(failure) => {
                context.printer.warn(format_args!("managers that are replaced from now on are not noticed: {failure}"));
                std::future::pending().await
            }
        },
        () = updating => Failure::silent(exit::FAILED),
    }
}
