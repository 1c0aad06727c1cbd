//! The operator's parts against a real API server, which `testbed/bed` starts.

#[path = "component/api_server.rs"]
mod api_server;
#[path = "component/validation.rs"]
mod validation;
