//! Cases that test whoever runs the suite: each ends in one known way. They are no part of it otherwise.

use std::time::Duration;

use anyhow::{Result, bail};

use crate::{
    cli::Selftest,
    harness::{case::Case, suite::Skip, test::Test},
};

/// The case for this end.
pub(crate) fn case(end: Selftest) -> Case {
    match end {
        Selftest::Fail => Case::new("SelftestFail", fail),
        Selftest::Panic => Case::new("SelftestPanic", panic),
        Selftest::Skip => Case::new("SelftestSkip", |_| async { Err(Skip("asked to skip itself".into()).into()) }),
        Selftest::Slow => Case::new("SelftestSlow", slow),
    }
}

/// Fails with a service to show.
async fn fail(t: Test) -> Result<()> {
    t.service("web").create().await?.running(1).await?;
    bail!("asked to fail")
}

#[expect(clippy::panic, reason = "that is what it is for")]
async fn panic(t: Test) -> Result<()> {
    t.service("web").create().await?;
    panic!("asked to panic")
}

/// Has things on the cluster and goes on until it is ended from outside.
async fn slow(t: Test) -> Result<()> {
    let network = t.network("net").await?;
    t.service("web").replicas(3).on(&network).create().await?;
    t.until("the end of time", Duration::MAX, || async { bail!("asked to be slow") }).await
}
