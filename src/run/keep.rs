//! Keeps what a container left: reads it, has it judged, and stores it. A job in the background;
//! what became of it is a fact for the next plan, and all of it is done again where it is forgotten.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use k8s_openapi::jiff::Timestamp;
use kube::{Client, ResourceExt};

use super::{
    Context,
    archive::{self, Left},
    attempt::{self, Attempt},
    facts::{Container, Kept},
    jobs::Work,
    lines::Lines,
    record::Record,
    report, store,
    verdict::{self, Course, End},
};
use crate::{
    api::{AttemptOutcome, E2ERun, ResultsFormat},
    host::{HostId, Hosts},
    results,
};

/// How long the API server may take to store it.
const PATIENCE: Duration = Duration::from_secs(60);
/// How much of the log's end the verdict may quote.
const QUOTED: usize = 4096;

/// What became of what the containers left, by the UID of the run: of which container, and what.
#[derive(Clone, Default)]
pub struct Keeper {
    kept: Arc<Mutex<HashMap<String, (String, Kept)>>>,
}

impl Keeper {
    /// What became of what this container of a run left.
    #[must_use]
    pub fn kept(&self, uid: &str, container: &str) -> Option<Kept> {
        self.lock().get(uid).filter(|(of, _)| of == container).map(|(_, kept)| kept.clone())
    }

    /// Forgets it.
    pub fn forget(&self, uid: &str) {
        self.lock().remove(uid);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, (String, Kept)>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Begins to keep what a container left, where that is not under way.
pub fn begin(context: &Context, run: &E2ERun, id: &HostId, container: &Container, course: &Course) {
    let keeper = context.keeper.clone();
    let work = Keeping {
        client: context.client.clone(),
        hosts: context.hosts.clone(),
        lines: context.lines.clone(),
        run: run.clone(),
        attempts: Record::of(run).attempts,
        at: (id.clone(), container.clone()),
        course: course.clone(),
    };
    context.jobs.ensure(run, Work::Keep, async move {
        let (uid, of) = (work.run.uid().unwrap_or_default(), work.at.1.id.clone());
        let kept = work.keep().await;
        let done = match &kept {
            Kept::Done(_) => Ok(()),
            Kept::Unread(words) | Kept::Unstored(_, words) => Err(words.clone()),
        };
        keeper.lock().insert(uid, (of, kept));
        done
    });
}

/// All that is needed for it.
struct Keeping {
    client: Client,
    hosts: Hosts,
    lines: Lines,
    run: E2ERun,
    /// Those before this one.
    attempts: Vec<Attempt>,
    at: (HostId, Container),
    course: Course,
}

impl Keeping {
    async fn keep(self) -> Kept {
        let Self { client, hosts, lines, run, attempts, at, course } = self;
        let path = match run.spec.results.format {
            ResultsFormat::Auto => Some(run.spec.results.path.as_str()),
            ResultsFormat::ExitCode => None,
        };
        let left = match lines.take(&hosts, &run.uid().unwrap_or_default(), &at.0).await {
            Ok(line) => archive::collect(&line, &at.1, path).await,
            Err(error) => Err(error.to_string()),
        };
        let mut left = match left {
            Ok(left) => left,
            Err(words) => return Kept::Unread(words),
        };
        let (log, now) = (left.log.end(QUOTED), Timestamp::now());
        let mut end = verdict::judge(&run.spec, at.clone(), &course, &left.outcome, &log, now);
        // What an attempt says that was lost is no part of what its run says.
        if let Some(base) = attempt::base(&attempts).filter(|_| attempt::outcome_of(end.reason) == AttemptOutcome::Test)
        {
            match together(&client, &run, base, &mut left).await {
                Ok(()) => {}
                Err(words) => return Kept::Unread(words),
            }
            let own = Some((end.reason, end.message));
            end = verdict::all_of_it(End { own, ..verdict::judge(&run.spec, at, &course, &left.outcome, &log, now) });
        }
        if let Some(words) = verdict::strangers(&run.spec, &left.outcome) {
            end.message.push_str(&words);
        }
        let summary = report::summary(&run, &end);
        let name = run.results_of(attempts.len() + 1);
        match tokio::time::timeout(PATIENCE, store::store(&client, &run, name, left, &summary)).await {
            Ok(Ok(name)) => {
                end.results = Some(name);
                Kept::Done(Box::new(end))
            }
            Ok(Err(refused)) => Kept::Unstored(Box::new(end), refused.to_string()),
            Err(_) => {
                let words = format!("the API server did not answer within {} s", PATIENCE.as_secs());
                Kept::Unstored(Box::new(end), words)
            }
        }
    }
}

/// Puts what an attempt left together with what is kept of those before it.
///
/// # Errors
/// In words, where the API server does not answer: that must not be taken for nothing that is kept.
async fn together(client: &Client, run: &E2ERun, base: &Attempt, left: &mut Left) -> Result<(), String> {
    let map = base.results.clone().unwrap_or_default();
    let before = match tokio::time::timeout(PATIENCE, store::junit(client, run, &map)).await {
        Ok(read) => read.map_err(|error| format!("ConfigMap {map} cannot be read: {error}"))?,
        Err(_) => return Err(format!("the API server did not answer within {} s", PATIENCE.as_secs())),
    };
    let (own, failed) = (std::mem::take(&mut left.outcome), base.failed.clone());
    let counted = base.counts.map_or(0, |counts| counts.total());
    let merged = tokio::task::spawn_blocking(move || {
        let mut both = results::again(&before, &failed, &own);
        if both.total() < counted {
            both.problems.push(format!(
                "of {counted} cases of the attempt before, {} are kept in ConfigMap {map}",
                both.total()
            ));
        }
        (own, both)
    });
    let (own, both) =
        merged.await.map_err(|error| format!("the results of the attempts were not put together: {error}"))?;
    (left.own, left.outcome) = (own.junit, both);
    Ok(())
}
