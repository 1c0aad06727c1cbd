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
//! - [`platform`]: what differs between operating systems.
//! - [`prices`]: the price table that the operator is given.
//! - [`programme`]: the controllers of the kinds that only make E2ERuns.
//! - [`proxy`]: which proxy leads to the API server.
//! - [`refusal`]: what it means when the API server does not make an object.
//! - [`results`]: what test tools write, read into one outcome.
//! - [`run`]: the E2ERun controller: observe, plan, act, report.
//! - [`status`]: the one way the status of what has no machines is written.
//! - [`swarm`]: Docker Engine and Swarm over a host's Docker socket.
//! - [`untar`]: tar streams from who is not trusted.
//!
//! Without the feature `operator` there is what the plugin needs, on every system that it is for.

pub mod api;
pub mod attach;
pub mod cli;
#[cfg(feature = "operator")]
pub mod cloud;
#[cfg(feature = "operator")]
pub mod cluster;
#[cfg(feature = "operator")]
pub mod events;
#[cfg(feature = "operator")]
pub mod fence;
pub mod forward;
pub mod host;
#[cfg(feature = "operator")]
pub mod metrics;
#[cfg(feature = "operator")]
pub mod operator;
pub mod platform;
#[cfg(feature = "operator")]
pub mod prices;
#[cfg(feature = "operator")]
pub mod programme;
pub mod proxy;
#[cfg(feature = "operator")]
pub mod refusal;
pub mod results;
#[cfg(feature = "operator")]
pub mod run;
#[cfg(feature = "operator")]
pub mod status;
pub mod swarm;
pub mod untar;
