//! What is told of spot instances that EC2 takes back, until others have taken their place.

use crate::{
    api::{NodeStatus, SwarmCluster},
    cluster::{
        member::{Member, Members},
        plan::{self, Plan, Wait},
    },
};

/// Who is taken back and how far its successor is; `None` while nobody is whose place is to be taken.
pub fn told(cluster: &SwarmCluster, members: &Members<'_>, plan: &Plan, nodes: &[NodeStatus]) -> Option<String> {
    let waits = |m: &Member<'_>| plan.waits.get(&m.id).copied();
    let goes = |m: &&Member<'_>| {
        m.ends.is_yes() && !m.succeeds && plan.slots.contains(&m.id.slot) && waits(m) != Some(Wait::Kept)
    };
    let mut going = members.iter().filter(goes);
    let first = going.next()?;
    let others = match going.count() {
        0 => String::new(),
        n => format!(" (and {n} more)"),
    };
    let (slot, id) = (first.id.slot, first.instance.id.as_str());
    let next = members.iter().find(|m| m.id.slot == slot && m.id.incarnation > first.id.incarnation);
    let then = match next.map(|m| m.instance.id.as_str()) {
        None => "its successor is launched".to_owned(),
        Some(next) if first.holds => {
            let node = nodes.iter().find(|n| n.instance_id.as_deref() == Some(next));
            let state = node.map(|n| format!(" is {:?}", n.state)).unwrap_or_default();
            format!("its successor {next}{state}")
        }
        Some(next) => {
            let waits = waits(first).map(|w| format!(": {}", w.words())).unwrap_or_default();
            format!("{next} has taken its place, and it goes{waits}")
        }
    };
    let name = cluster.metadata.name.as_deref().unwrap_or_default();
    let at = plan::clock(first.ends.yes()?);
    Some(format!("{name}-{slot}'s instance {id} is taken back by EC2 at {at}{others}: {then}"))
}
