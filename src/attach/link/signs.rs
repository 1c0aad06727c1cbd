//! Signs of life of a node: asked for, and missed.

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

use super::{Link, SOCKET, lock};
use crate::host::HostError;

/// How often an idle node is asked for a sign of life.
const PULSE: Duration = Duration::from_millis(300);
/// How finely silence is measured.
pub const TICK: Duration = Duration::from_millis(50);
/// How often the engine and the swarm are asked after, and what they may take to answer.
const SWARM_PULSE: Duration = Duration::from_secs(1);
const SWARM_LIMIT: Duration = Duration::from_millis(1500);

impl Link {
    /// Counts the silence. A process that was not run, or a machine that slept, heard nothing by its own fault.
    pub(super) async fn age(&self) {
        let mut last = Instant::now();
        loop {
            sleep(TICK).await;
            let step = last.elapsed().min(TICK * 2);
            last = Instant::now();
            self.silence.fetch_add(u64::try_from(step.as_millis()).unwrap_or(0), Ordering::Relaxed);
        }
    }

    /// Asks for signs of life, and gives the node up when there are none.
    pub(super) async fn watch(&self) {
        let closed = self.control.closed();
        loop {
            let asked = Instant::now();
            tokio::select! {
                answer = self.control.ping() => match answer {
                    Ok(()) if !closed.is_cancelled() => {
                        lock(&self.rhythm).heard_after(asked.elapsed());
                        self.heard();
                    }
                    _ => return self.cut(&self.control.reason()),
                },
                () = self.dies() => {
                    return self.cut(&format!("no sign of life for {:.0} s", self.silent().as_secs_f32()));
                }
                () = closed.cancelled() => return self.cut(&self.control.reason()),
            }
            sleep(PULSE).await;
        }
    }

    /// Waits until the silence is too long.
    async fn dies(&self) {
        loop {
            let limit = lock(&self.rhythm).dead(self.uploads.load(Ordering::Relaxed) > 0);
            match limit.saturating_sub(self.silent()) {
                Duration::ZERO => return,
                // What is under way may change before that.
                rest => sleep(rest.clamp(TICK, PULSE)).await,
            }
        }
    }

    /// A node that runs but has no engine, or no swarm, is no use to those who want one.
    pub(super) async fn ask_after_the_engine(&self, changed: &watch::Sender<()>) {
        loop {
            let limit = SWARM_LIMIT.max(lock(&self.rhythm).round_trip() * 4);
            let asked = timeout(limit, self.swarm_answers()).await;
            // Silence of the host is for `watch` to judge.
            let has = match asked {
                Ok(Ok(has)) => has,
                Ok(Err(_)) => self.has_swarm(),
                Err(_) => self.is_suspect() && self.has_swarm(),
            };
            if self.swarm.swap(has, Ordering::Relaxed) != has {
                changed.send_replace(());
            }
            sleep(SWARM_PULSE).await;
        }
    }

    async fn swarm_answers(&self) -> Result<bool, HostError> {
        let mut pipe = self.opened(self.control.open_pipe(SOCKET).await)?;
        if !self.manager {
            return Ok(false);
        }
        let question = "GET /swarm HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n\r\n";
        let _ = pipe.feed.send(question.into()).await;
        let answer = pipe.drain.next().await?.unwrap_or_default();
        self.heard();
        Ok(answer.starts_with(b"HTTP/1.1 200"))
    }
}
