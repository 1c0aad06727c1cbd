//! testkit: an operator for test clusters.
//!
//! - [`api`]: the custom resources, their validation, condition types and reasons.
//! - [`cli`]: `kubectl testkit`, a file or a folder a verb.
//! - [`cloud`]: where instances come from, and the one list of them that all clusters share.
//! - [`cluster`]: the SwarmCluster controller: observe, plan, act, report.
//! - [`events`]: the one way Events are written.
//! - [`fence`]: until when this process may act on the world.
//! - [`forward`]: local TCP ports that lead to ports as a host sees them.
//! - [`host`]: one multiplexed SSH connection a host, with pinned host keys.
//! - [`metrics`]: what the operator counts.
//! - [`operator`]: wires the rooms into one process.
//! - [`prices`]: the price table that the operator is given.
//! - [`programme`]: the controllers of the kinds that only make E2ERuns.
//! - [`proxy`]: which proxy leads to the API server.
//! - [`refusal`]: what it means when the API server does not make an object.
//! - [`results`]: what test tools write, read into one outcome.
//! - [`run`]: the E2ERun controller: observe, plan, act, report.
//! - [`status`]: the one way the status of what has no machines is written.
//! - [`swarm`]: Docker Engine and Swarm over a host's Docker socket.
//! - [`untar`]: tar streams from who is not trusted.

pub mod api;
pub mod attach;
pub mod cli;
pub mod cloud;
pub mod cluster;
pub mod events;
pub mod fence;
pub mod forward;
pub mod host;
pub mod metrics;
pub mod operator;
pub mod prices;
pub mod programme;
pub mod proxy;
pub mod refusal;
pub mod results;
pub mod run;
pub mod status;
pub mod swarm;
pub mod untar;
