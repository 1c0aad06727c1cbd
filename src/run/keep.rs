//! Keeps what a container left: reads it, has it judged, and stores it. A job in the background;
//! what became of it is a fact for the next plan, and all of it is done again where it is forgotten.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use kube::{Client, ResourceExt};

use super::{
    Context, archive,
    facts::{Container, Kept},
    jobs::Work,
    lines::Lines,
    report, store,
    verdict::{self, Course},
};
use crate::{
    api::{E2ERun, ResultsFormat},
    host::{HostId, Hosts},
};

/// How long the API server may take to store it.
const PATIENCE: Duration = Duration::from_secs(60);
/// How much of the log's end the verdict may quote.
const QUOTED: usize = 4096;

/// What became of what the containers left, by the UID of the run.
#[derive(Clone, Default)]
pub struct Keeper {
    kept: Arc<Mutex<HashMap<String, Kept>>>,
}

impl Keeper {
    /// What became of a run's.
    #[must_use]
    pub fn kept(&self, uid: &str) -> Option<Kept> {
        self.lock().get(uid).cloned()
    }

    /// Forgets it.
    pub fn forget(&self, uid: &str) {
        self.lock().remove(uid);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Kept>> {
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
        at: (id.clone(), container.clone()),
        course: course.clone(),
    };
    context.jobs.ensure(run, Work::Keep, async move {
        let uid = work.run.uid().unwrap_or_default();
        let kept = work.keep().await;
        let done = match &kept {
            Kept::Done(_) => Ok(()),
            Kept::Unread(words) | Kept::Unstored(_, words) => Err(words.clone()),
        };
        keeper.lock().insert(uid, kept);
        done
    });
}

/// All that is needed for it.
struct Keeping {
    client: Client,
    hosts: Hosts,
    lines: Lines,
    run: E2ERun,
    at: (HostId, Container),
    course: Course,
}

impl Keeping {
    async fn keep(self) -> Kept {
        let Self { client, hosts, lines, run, at, course } = self;
        let path = match run.spec.results.format {
            ResultsFormat::Auto => Some(run.spec.results.path.as_str()),
            ResultsFormat::ExitCode => None,
        };
        let left = match lines.take(&hosts, &run.uid().unwrap_or_default(), &at.0).await {
            Ok(line) => archive::collect(&line, &at.1, path).await,
            Err(error) => Err(error.to_string()),
        };
        let left = match left {
            Ok(left) => left,
            Err(words) => return Kept::Unread(words),
        };
        let mut end = verdict::judge(&run.spec, at, &course, &left.outcome, &left.log.end(QUOTED));
        let summary = report::summary(&run, &end);
        match tokio::time::timeout(PATIENCE, store::store(&client, &run, left, &summary)).await {
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
