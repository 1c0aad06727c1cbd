//! Brings a run's image to one node: pulled by its engine, or copied from a node that has it.
//! When and where is not decided here.

use std::time::Duration;

use super::observe;
use crate::{
    host::{HostId, Hosts},
    swarm::Engine,
};

/// Pulls the image. A registry that says nothing for that long is given up, and asked again.
pub async fn pull(hosts: Hosts, host: HostId, image: String, patience: Duration) -> Result<(), String> {
    let engine = observe::control(&hosts, &host)?;
    match tokio::time::timeout(patience, engine.pull(&image)).await {
        Ok(result) => result.map_err(|e| e.to_string()),
        Err(_) => Err(format!("pulling did not end within {} s", patience.as_secs())),
    }
}

/// Copies the image as a stream, over connections that carry nothing else.
pub async fn copy(hosts: Hosts, from: HostId, to: HostId, image: String) -> Result<(), String> {
    let failed =
        |what: &str, error: &dyn std::fmt::Display| format!("copying it from {} failed {what}: {error}", from.slot);
    let source = hosts.bulk(&from).await.map_err(|e| failed("at the source", &e))?;
    let target = hosts.bulk(&to).await.map_err(|e| failed("at the target", &e))?;
    let stream = Engine::new(&source).export(&image);
    Engine::new(&target).load(stream).await.map_err(|e| failed("", &e))
}
