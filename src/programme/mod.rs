//! The controllers of what only makes E2ERuns, from one type of template: a schedule makes them at times, a matrix one
//! for each combination, and a run with `spec.shards` one for each part of its cases.
//!
//! What a run does is no concern of theirs. They create it, read how it ended from its status, have it end by
//! `spec.cancel`, and delete it. Each is observe, plan, act, report, and the plan is a pure function.

mod children;
pub mod matrix;
pub mod schedule;
pub mod shards;
mod stand;

use std::time::Duration;

use futures::FutureExt;
use kube::{Client, ResourceExt, runtime::reflector::Store};

use self::children::Child;
use crate::{api::E2ERun, events::Events};

/// The pause after a pass that the API server cut short.
const PAUSE: Duration = Duration::from_secs(2);
/// The pause after a run was refused by the API server: by what somebody has to change.
const REFUSED: Duration = Duration::from_secs(30);
/// The pause until the runs are known, at the start.
const SOON: Duration = Duration::from_millis(200);

/// What a controller works with.
pub struct Context {
    client: Client,
    events: Events,
    runs: Store<E2ERun>,
}

/// A pass that ended early.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server refused.
    #[error("API server: {0}")]
    Api(#[from] kube::Error),
}

impl Context {
    /// The runs that the object of this UID made, as the watch tells; `None` where they are not known yet.
    fn children(&self, namespace: &str, owner: &str) -> Option<Vec<Child>> {
        self.runs.wait_until_ready().now_or_never()?.ok()?;
        let of = |run: &E2ERun| run.namespace().as_deref() == Some(namespace) && children::is_of(run, owner);
        Some(self.runs.state_filter(of).iter().map(|run| Child::of(run)).collect())
    }
}
