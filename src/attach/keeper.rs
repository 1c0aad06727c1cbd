//! Keeps the nodes connected that are needed: home, and managers to ask about the swarm.

use std::{sync::Arc, time::Duration};

use futures::{StreamExt, stream::FuturesUnordered};
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use super::{link::TICK, links::Links};

/// So many managers are connected at a time, where there are so many.
const MANAGERS: usize = 2;
/// A node that has not let us in after so long is not waited for alone: the next one is tried beside it.
const HESITATES: Duration = Duration::from_secs(2);
/// Between rounds of attempts while nodes are missing.
const AGAIN: Duration = Duration::from_secs(1);
/// What the first bytes of a connection may take over a way that is not known yet.
const FIRST_BYTES: Duration = Duration::from_secs(10);

/// Keeps the nodes connected, and the time, until it is aborted.
pub async fn keep(links: Arc<Links>) {
    tokio::join!(keep_connected(&links), keep_time(&links));
}

/// Looks at the links, again and again: silence is no event. A process that was not run, or a machine
/// that slept, saw nothing by its own fault.
async fn keep_time(links: &Links) {
    let mut last = Instant::now();
    loop {
        sleep(TICK).await;
        let passed = last.elapsed().min(TICK * 2);
        last = Instant::now();
        links.look(passed);
    }
}

async fn keep_connected(links: &Links) {
    let mut wanted = links.wanted.clone();
    let mut changes = links.changed.subscribe();
    loop {
        tokio::select! {
            () = connect_missing(links, &mut changes) => {}
            Ok(()) = wanted.changed() => continue,
        }
        let short = !links.missing(MANAGERS).is_empty();
        tokio::select! {
            _ = changes.changed(), if !short => {}
            changed = wanted.changed() => if changed.is_err() { std::future::pending::<()>().await },
            () = sleep(AGAIN), if short => {}
        }
    }
}

/// One round: each missing node once, in their order. A host that takes a connection and then says nothing
/// must not hide those that would answer.
async fn connect_missing(links: &Links, changes: &mut watch::Receiver<()>) {
    let mut tried = Vec::new();
    let mut attempts = FuturesUnordered::new();
    loop {
        let next = links.missing(MANAGERS).into_iter().find(|node| !tried.contains(&node.name));
        let more = next.is_some();
        if let Some(node) = next {
            tried.push(node.name.clone());
            attempts.push(links.connect(node, FIRST_BYTES));
        }
        tokio::select! {
            attempt = attempts.next() => if attempt.is_none() && !more { return },
            () = sleep(HESITATES), if more => {}
            _ = changes.changed() => {}
        }
    }
}
