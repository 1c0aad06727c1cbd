//! Waiting for what a verb has begun.

use crate::{api::Duration, cli::failure::Failure};

/// Whether to wait, and how long.
#[derive(clap::Args, Clone, Copy, Debug, Default)]
pub struct Waiting {
    /// Wait until it is done, saying what is waited for
    #[arg(long, conflicts_with = "dry_run")]
    pub wait: bool,
    /// Wait no longer than this, such as 5m; then it goes on by itself [default: as long as it takes]
    #[arg(long, value_name = "DURATION", requires = "wait")]
    pub timeout: Option<Duration>,
}

impl Waiting {
    /// Waits for it, and says what is late where it takes too long.
    pub async fn within<T>(
        &self,
        done: impl Future<Output = Result<T, Failure>>,
        late: impl FnOnce(Duration) -> Failure,
    ) -> Result<T, Failure> {
        match self.timeout {
            None => done.await,
            Some(limit) => tokio::time::timeout(limit.get(), done).await.unwrap_or_else(|_| Err(late(limit))),
        }
    }
}
