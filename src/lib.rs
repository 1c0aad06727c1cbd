//! testkit: an operator for test clusters.
//!
//! - [`api`]: the custom resources, their validation, condition types and reasons.

pub mod api;
