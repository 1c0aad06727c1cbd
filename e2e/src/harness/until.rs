//! Waiting: for a condition, with a deadline, reporting why it does not hold yet.
//!
//! The only place in the suite that sleeps.

use std::{fmt, time::Duration};

use anyhow::{Result, anyhow};
use tokio::time::Instant;

/// How often a condition is looked at: often at first, as most hold soon, and rarely enough later not to load
/// the managers that are being tested.
const FIRST: Duration = Duration::from_millis(50);
const LAST: Duration = Duration::from_millis(500);

/// An error after which waiting on is pointless.
#[derive(Debug)]
pub(crate) struct Never(pub(crate) String);

impl fmt::Display for Never {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Never {}

/// Polls `look` until it is `Ok`, and says how long that took. After `within`, or on a [`Never`], the error is
/// what `look` said last. `on_error` hears of every miss.
pub(crate) async fn until<T, F>(
    what: &str,
    within: Duration,
    mut on_error: impl FnMut(&anyhow::Error),
    mut look: impl FnMut() -> F,
) -> Result<(T, Duration)>
where
    F: Future<Output = Result<T>>,
{
    let start = Instant::now();
    let mut pause = FIRST;
    let mut last = None;
    loop {
        let left = within.saturating_sub(start.elapsed());
        // A look that hangs must not outlive the deadline; the one before it may have said more.
        match tokio::time::timeout(left.max(FIRST), look()).await {
            Ok(Ok(value)) => return Ok((value, start.elapsed())),
            Ok(Err(error)) if error.is::<Never>() => return Err(error.context(format!("{what}: cannot come true"))),
            Ok(Err(error)) => {
                on_error(&error);
                last = Some(error);
            }
            Err(_) => last = Some(last.unwrap_or_else(|| anyhow!("whoever was asked did not answer in that time"))),
        }
        if start.elapsed() + pause >= within {
            let last = last.unwrap_or_else(|| anyhow!("it was never looked at"));
            return Err(last.context(format!("{what}: not so within {within:?}")));
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 3 / 2).min(LAST);
    }
}

/// For who looks at something that tells of itself at its own pace.
pub(crate) async fn pause(time: Duration) {
    tokio::time::sleep(time).await;
}

/// Looks again and again for this long, and fails when `look` does.
pub(crate) async fn stays<F>(what: &str, time: Duration, mut look: impl FnMut() -> F) -> Result<()>
where
    F: Future<Output = Result<()>>,
{
    let start = Instant::now();
    loop {
        let end = look().await;
        end.map_err(|error| error.context(format!("{what}: no longer so after {:?}", start.elapsed())))?;
        if start.elapsed() >= time {
            return Ok(());
        }
        tokio::time::sleep(FIRST * 2).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_last_real_error_is_reported() {
        let mut looks = 0;
        let error = until(
            "three tasks run",
            Duration::from_secs(2),
            |_| (),
            || {
                looks += 1;
                let looks = looks;
                async move { if looks < 3 { Err::<(), _>(anyhow!("2 of 3")) } else { Err(anyhow!("no such image")) } }
            },
        )
        .await
        .unwrap_err();
        assert_eq!(format!("{error:#}"), "three tasks run: not so within 2s: no such image");
    }

    #[tokio::test]
    async fn a_look_that_hangs_keeps_the_error_before_it() {
        let mut looks = 0;
        let error = until(
            "it answers",
            Duration::from_millis(300),
            |_| (),
            || {
                looks += 1;
                let hang = looks > 1;
                async move {
                    if hang {
                        std::future::pending::<()>().await;
                    }
                    Err::<(), _>(anyhow!("refused"))
                }
            },
        )
        .await
        .unwrap_err();
        assert_eq!(format!("{error:#}"), "it answers: not so within 300ms: refused");
    }

    #[tokio::test]
    async fn a_lost_cause_ends_the_wait() {
        let start = Instant::now();
        let wait = until(
            "it runs",
            Duration::from_secs(60),
            |_| (),
            || async { Err::<(), _>(Never("no such image".into()).into()) },
        );
        assert!(wait.await.is_err() && start.elapsed() < Duration::from_secs(5));
    }
}
