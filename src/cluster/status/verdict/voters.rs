//! Whether those who vote are those who are meant to, as raft counts them.

use crate::cluster::{
    member::Members,
    plan::{alive, majority},
};

/// What is wrong with the voters, in a sentence; `None` while they are the managers that are asked
/// for and all of them answer.
pub fn told(wanted: u32, members: &Members<'_>) -> Option<String> {
    let heard = members.heard()?;
    let voters: Vec<_> = heard.nodes.iter().filter(|n| n.voter).collect();
    let answer = voters.iter().filter(|n| alive(n, heard)).count();
    let (all, wanted) = (voters.len(), usize::try_from(wanted).unwrap_or(usize::MAX));
    let ghosts = heard.ghosts.iter().filter(|g| g.voter).count();
    if all == wanted && answer == all && ghosts == 0 {
        return None;
    }
    let margin = answer.saturating_sub(majority(all));
    let whose = match ghosts {
        0 => String::new(),
        n => format!(", and {n} of them are no host any more and are removed"),
    };
    Some(format!(
        "{wanted} managers are asked for, {all} nodes have a vote and {answer} of them answer{whose}: {margin} more may fail"
    ))
}
