//! The operator's parts against a real API server, which `testbed/bed` starts.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says what it expects by failing")]
#![allow(clippy::needless_pass_by_value, reason = "`json!` values are written where they are used")]

#[path = "component/acceptance.rs"]
mod acceptance;
#[path = "component/api_server.rs"]
mod api_server;
#[path = "component/budget.rs"]
mod budget;
#[path = "component/clearing.rs"]
mod clearing;
#[path = "component/election.rs"]
mod election;
#[path = "component/objects.rs"]
mod objects;
#[path = "component/permissions.rs"]
mod permissions;
#[path = "component/programmes.rs"]
mod programmes;
#[path = "component/refusals.rs"]
mod refusals;
#[path = "component/tenants.rs"]
mod tenants;
