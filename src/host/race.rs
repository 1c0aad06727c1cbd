//! Several ways to one thing: the first that leads there is taken.

use std::{pin::pin, time::Duration};

use futures::{StreamExt, stream::FuturesUnordered};
use tokio::time::sleep;

/// The first attempt that succeeds, and which one it was. The best stands first; each of the others begins when nothing
/// runs any more, or when those that run have had a head start. Those that come too late are dropped.
///
/// # Errors
/// What each of them failed with, in their order.
pub async fn first<T, E, F>(attempts: impl IntoIterator<Item = F>, head_start: Duration) -> Result<(usize, T), Vec<E>>
where
    F: Future<Output = Result<T, E>>,
{
    let mut waiting = attempts.into_iter().enumerate().map(|(at, attempt)| async move { (at, attempt.await) }).fuse();
    let mut next = waiting.next();
    let mut running = FuturesUnordered::new();
    let mut errors = Vec::new();
    while !running.is_empty() || next.is_some() {
        running.extend(next.take());
        next = waiting.next();
        let mut late = pin!(sleep(head_start));
        loop {
            tokio::select! {
                Some((at, ended)) = running.next() => match ended {
                    Ok(found) => return Ok((at, found)),
                    Err(error) => errors.push((at, error)),
                },
                () = &mut late, if next.is_some() => break,
                else => break,
            }
            if running.is_empty() {
                break;
            }
        }
    }
    errors.sort_by_key(|(at, _)| *at);
    Err(errors.into_iter().map(|(_, error)| error).collect())
}

#[cfg(test)]
mod tests {
    use std::{future::pending, sync::Mutex};

    use futures::{FutureExt, future::BoxFuture};

    use super::*;

    #[derive(Clone, Copy)]
    enum Goes {
        Well,
        Wrong,
        Nowhere,
    }
    use Goes::{Nowhere, Well, Wrong};

    /// Which of them was first, and how many were begun.
    async fn race(attempts: &[Goes], head_start: Duration) -> (Result<usize, Vec<usize>>, usize) {
        let begun = Mutex::new(0);
        let attempt = |(at, goes): (usize, &Goes)| -> BoxFuture<'_, Result<(), usize>> {
            let (goes, begun) = (*goes, &begun);
            async move {
                *begun.lock().unwrap() += 1;
                match goes {
                    Well => Ok(()),
                    Wrong => Err(at),
                    Nowhere => pending().await,
                }
            }
            .boxed()
        };
        let ended = first(attempts.iter().enumerate().map(attempt), head_start).await;
        let begun = *begun.lock().unwrap();
        (ended.map(|(at, ())| at), begun)
    }

    #[tokio::test]
    async fn a_way_that_leads_nowhere_costs_a_head_start_and_one_that_fails_costs_nothing() {
        let (soon, never) = (Duration::from_millis(1), Duration::from_secs(3600));
        for (attempts, head_start, ended, begun) in [
            (&[Well, Well][..], never, Ok(0), 1),
            (&[Wrong, Well, Well], never, Ok(1), 2),
            (&[Nowhere, Well], soon, Ok(1), 2),
            (&[Nowhere, Nowhere, Well], soon, Ok(2), 3),
            (&[Nowhere, Wrong, Well], soon, Ok(2), 3),
            (&[Wrong, Wrong], never, Err(vec![0, 1]), 2),
            (&[], never, Err(vec![]), 0),
        ] {
            assert_eq!(race(attempts, head_start).await, (ended, begun));
        }
    }
}
