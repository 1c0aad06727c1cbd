//! What makes a case a case: choosing, running, timing, capturing, clean-up, results.
//!
//! Nothing here knows what a case tests.

pub(crate) mod case;
pub(crate) mod cleanup;
mod diagnosis;
pub(crate) mod durations;
mod found;
pub(crate) mod hosts;
mod interrupt;
pub(crate) mod junit;
mod life;
mod record;
pub(crate) mod shard;
mod subnets;
pub(crate) mod suite;
pub(crate) mod sweep;
pub(crate) mod test;
pub(crate) mod until;
pub(crate) mod waits;

/// The exit codes of the process. They tell "the cluster failed" from "nothing was tested".
pub(crate) mod exit {
    pub(crate) const CASES_FAILED: u8 = 1;
    pub(crate) const COULD_NOT_RUN: u8 = 2;
    pub(crate) const NO_SWARM: u8 = 3;
    pub(crate) const INTERRUPTED: u8 = 130;
}
