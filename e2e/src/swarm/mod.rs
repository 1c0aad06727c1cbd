//! Services, networks and containers of a case: short ways to make them and to wait for them.
//!
//! They speak the engine's own types where those are short enough, and know nothing of particular cases.

pub(crate) mod ask;
pub(crate) mod asking;
pub(crate) mod container;
pub(crate) mod network;
pub(crate) mod node;
pub(crate) mod raw;
pub(crate) mod service;
pub(crate) mod stored;
pub(crate) mod task;
