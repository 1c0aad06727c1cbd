//! What `/healthz` and `/readyz` say, as a function of what is known; and `/metrics`.
//!
//! Alive is a process whose work goes on. Ready is one that works, or would if the one that leads ended now: a rollout may
//! go on when the next operator stands by.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::watch;

/// How old what is known may be to count.
const FRESH: Duration = Duration::from_secs(15);
/// How long the work may be without a sign of life. Passes wait for nothing, so this is a process that hangs.
const ALIVE: Duration = Duration::from_secs(60);

/// What the endpoints tell.
#[derive(Clone, Debug)]
pub struct State(Arc<Mutex<Facts>>, Arc<watch::Sender<bool>>);

/// What is known, and since when.
#[derive(Clone, Debug, Default)]
struct Facts {
    /// Whether a Lease decides who works.
    elected: bool,
    /// Whether the API server serves what the operator needs.
    api: Option<(Result<(), String>, Instant)>,
    /// Who holds the Lease, or why that is not known.
    lease: Option<(Result<Option<String>, String>, Instant)>,
    /// This process works.
    works: bool,
    /// When the work showed a sign of life.
    beat: Option<Instant>,
}

impl State {
    /// Nothing is known yet. `elected`: a Lease decides who works.
    #[must_use]
    pub fn new(elected: bool) -> Self {
        Self(Arc::new(Mutex::new(Facts { elected, ..Facts::default() })), Arc::new(watch::Sender::new(false)))
    }

    fn facts(&self) -> MutexGuard<'_, Facts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the API server serves what is needed. True where that is news.
    pub fn api(&self, answer: Result<(), String>) -> bool {
        self.1.send_replace(answer.is_ok());
        let mut facts = self.facts();
        let news = facts.api.as_ref().is_none_or(|(before, _)| *before != answer);
        facts.api = Some((answer, Instant::now()));
        news
    }

    /// Waits until the API server serves what is needed.
    pub async fn served(&self) {
        let mut served = self.1.subscribe();
        // The sender is of this state, so it is there.
        let _ = served.wait_for(|served| *served).await;
    }

    /// Who holds the Lease, or why that is not known.
    pub fn lease(&self, answer: Result<Option<&str>, String>) {
        self.facts().lease = Some((answer.map(|holder| holder.map(str::to_owned)), Instant::now()));
    }

    /// The controllers run.
    pub fn works(&self) {
        let mut facts = self.facts();
        (facts.works, facts.beat) = (true, Some(Instant::now()));
    }

    /// The controllers' threads are alive.
    pub fn beat(&self) {
        self.facts().beat = Some(Instant::now());
    }

    /// What `/healthz` says.
    ///
    /// # Errors
    /// The process had better be started anew.
    pub fn alive(&self) -> Result<String, String> {
        alive(&self.facts(), Instant::now())
    }

    /// What `/readyz` says.
    ///
    /// # Errors
    /// This process could not take over.
    pub fn ready(&self) -> Result<String, String> {
        ready(&self.facts(), Instant::now())
    }
}

fn alive(facts: &Facts, now: Instant) -> Result<String, String> {
    match facts.beat.map(|beat| now.saturating_duration_since(beat)) {
        Some(silent) if silent > ALIVE => Err(format!("the work stands still since {} s", silent.as_secs())),
        _ => Ok("ok".to_owned()),
    }
}

fn ready(facts: &Facts, now: Instant) -> Result<String, String> {
    let fresh = |at: &Instant| now.saturating_duration_since(*at) <= FRESH;
    match &facts.api {
        None => return Err("the API server has not answered yet".to_owned()),
        Some((Err(words), _)) => return Err(words.clone()),
        Some((Ok(()), at)) if !fresh(at) => return Err("the API server does not answer".to_owned()),
        Some(_) => {}
    }
    if facts.works {
        return Ok("at work".to_owned());
    }
    if !facts.elected {
        return Err("starting".to_owned());
    }
    match &facts.lease {
        None => Err("the Lease was not read yet".to_owned()),
        Some((Err(words), _)) => Err(words.clone()),
        Some((_, at)) if !fresh(at) => Err("the Lease cannot be read".to_owned()),
        Some((Ok(Some(holder)), _)) => Ok(format!("standing by: {holder} leads")),
        Some((Ok(None), _)) => Ok("standing by".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_is_who_works_or_would_take_over() {
        let now = Instant::now() + Duration::from_secs(3600);
        let old = now - FRESH - Duration::from_secs(1);
        let good = |at| Some((Ok(()), at));
        let held = |at| Some((Ok(Some("other".to_owned())), at));
        let bad = || Some((Err("no CustomResourceDefinitions".to_owned()), now));
        let elected = Facts { elected: true, ..Facts::default() };
        for (facts, expected) in [
            (elected.clone(), Err("has not answered")),
            (Facts { api: bad(), lease: held(now), ..elected.clone() }, Err("no CustomResourceDefinitions")),
            (Facts { api: good(old), lease: held(now), ..elected.clone() }, Err("API server does not answer")),
            (Facts { api: good(now), ..elected.clone() }, Err("not read yet")),
            (
                Facts { api: good(now), lease: Some((Err("forbidden".to_owned()), now)), ..elected.clone() },
                Err("forbidden"),
            ),
            (Facts { api: good(now), lease: held(old), ..elected.clone() }, Err("cannot be read")),
            (Facts { api: good(now), lease: held(now), ..elected.clone() }, Ok("standing by: other leads")),
            (Facts { api: good(now), lease: Some((Ok(None), now)), ..elected.clone() }, Ok("standing by")),
            (Facts { api: good(now), lease: held(old), works: true, ..elected.clone() }, Ok("at work")),
            (Facts { api: good(old), works: true, ..elected }, Err("does not answer")),
            (Facts { api: good(now), ..Facts::default() }, Err("starting")),
            (Facts { api: good(now), works: true, ..Facts::default() }, Ok("at work")),
        ] {
            match (ready(&facts, now), expected) {
                (Ok(said), Ok(words)) => assert_eq!(said, words, "{facts:?}"),
                (Err(said), Err(words)) => assert!(said.contains(words), "{facts:?}: {said}"),
                (said, words) => panic!("{facts:?}: {said:?}, not {words:?}"),
            }
        }
    }

    #[test]
    fn alive_is_who_waits_or_whose_work_goes_on() {
        let now = Instant::now() + Duration::from_secs(3600);
        assert!(alive(&Facts::default(), now).is_ok(), "who waits has no work");
        assert!(alive(&Facts { beat: Some(now - ALIVE), ..Facts::default() }, now).is_ok());
        let hangs = Facts { beat: Some(now - ALIVE - Duration::from_secs(1)), ..Facts::default() };
        assert!(alive(&hangs, now).is_err_and(|words| words.contains("61 s")));
    }
}
