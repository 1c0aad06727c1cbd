//! Cases that disturb the cluster. They run alone and last, and only when asked for. What they change is brought
//! back and compared by the harness, whatever becomes of them: see `harness::found`.

mod managers;
mod membership;
mod nodes;
mod outages;
mod settings;

use anyhow::{Context as _, Result, ensure};

use crate::{
    cluster::Member,
    harness::{case::Case, test::Test},
    swarm::node,
};

pub(super) fn cases() -> Vec<Case> {
    let cases = [nodes::cases(), managers::cases(), membership::cases(), settings::cases(), outages::cases()].concat();
    cases.into_iter().map(Case::disruptive).collect()
}

/// A node as it is now.
async fn find(t: &Test, id: &str) -> Result<Member> {
    let nodes = node::list(t.docker()).await?;
    nodes.into_iter().find(|node| node.id == id).with_context(|| format!("node {id} is not there"))
}

/// The node is down, and no manager that the others reach or follow.
async fn down(t: &Test, it: &Member) -> Result<()> {
    let now = find(t, &it.id).await?;
    ensure!(now.state == "down" && !now.reachable && !now.leader, "it is {now:?}");
    Ok(())
}

/// The managers decide: a service is made and runs.
async fn works(t: &Test) -> Result<()> {
    let service = t.service("proof").create().await?;
    service.running(1).await.map(|_| ())
}
