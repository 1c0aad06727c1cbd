//! What the shards left, once all have ended: read, put together, judged and kept. All of it is done again where it is
//! cut off.

use std::{collections::BTreeSet, time::Duration};

use k8s_openapi::jiff::Timestamp;
use kube::{Api, Client, ResourceExt};
use serde_json::json;
use tokio::sync::Semaphore;

use super::{
    report::{Gathered, Said},
    verdict::{Ended, Verdict, verdict},
};
use crate::{
    api::{DURATIONS, E2ERun, E2ERunStatus, MadeRun, Phase, reason},
    programme::children,
    results::{Part, Tally, Together, together},
    run::{self, stage::STORING},
};

/// How many runs are gathered at once: of each the documents of its shards are held, packed.
static ROOM: Semaphore = Semaphore::const_new(1);
/// The pause after the results could not be kept.
const REFUSED: Duration = Duration::from_secs(15);

/// Gathers.
///
/// # Errors
/// Where the API server does not tell what became of a shard: that must not be taken for nothing that is kept.
pub async fn gather<'a>(
    client: &Client,
    run: &E2ERun,
    stand: &[MadeRun],
    now: Timestamp,
) -> Result<Said<'a>, kube::Error> {
    let _room = ROOM.acquire().await;
    let runs = children::runs(client, &run.namespace().unwrap_or_default());
    let (mut shards, mut found, mut documents) = (Vec::new(), Vec::new(), Vec::new());
    let mut told = BTreeSet::new();
    for (one, number) in stand.iter().zip(1..) {
        let there = look(&runs, one).await?;
        let status = there.as_ref().and_then(|run| run.status.clone()).unwrap_or_default();
        told.extend(there.iter().map(|run| run.spec.env.iter().any(|variable| variable.name == DURATIONS)));
        let junit = match (&there, &status.results) {
            (Some(run), Some(results)) => run::junit(client, run, results).await?,
            _ => Vec::new(),
        };
        shards.push(ended(number, one, &status, junit.is_empty()));
        found.push(status);
        documents.push(junit);
    }
    let all = tokio::task::spawn_blocking(move || {
        let parts: Vec<_> = documents.iter().zip(1..).map(|(junit, number)| Part { number, junit }).collect();
        together(&parts)
    });
    let mut together = all.await.unwrap_or_else(|error| Together {
        problems: vec![format!("the results of the shards were not put together: {error}")],
        ..Together::default()
    });
    if told.len() > 1 {
        // As two versions of the operator make them: each divides the cases in another way, and some may be in no shard.
        let words =
            "some shards were told how long cases took and others were not, so that cases may have been left out";
        together.problems.push(words.to_owned());
    }
    let verdict = verdict(&run.spec, &shards, &together);
    let mut gathered = Gathered::of(&found, verdict, now);
    if found.iter().all(|status| status.results.is_none()) {
        return Ok(Said::Ended(Box::new(gathered)));
    }
    let log = log(&shards);
    match run::keep(client, run, together, &log, &summary(run, &gathered.verdict, stand)).await {
        Ok(name) => gathered.results = Some(name),
        Err(refused) if gathered.finished.is_some_and(|at| run::stage::elapsed(at, now) < STORING) => {
            return Ok(Said::Unkept { words: refused.to_string(), again: REFUSED });
        }
        Err(refused) => {
            let message = format!("the results cannot be kept: {refused}. {}", gathered.verdict.message);
            let lost = Verdict { passed: false, reason: reason::NOT_KEPT.to_owned(), message, ..gathered.verdict };
            gathered.verdict = lost;
        }
    }
    Ok(Said::Ended(Box::new(gathered)))
}

/// The run of a shard, where it is there still.
async fn look(runs: &Api<E2ERun>, one: &MadeRun) -> Result<Option<E2ERun>, kube::Error> {
    let Some(uid) = &one.uid else { return Ok(None) };
    Ok(runs.get_opt(&one.run).await?.filter(|run| run.uid().as_ref() == Some(uid)))
}

/// How a shard ended: what is remembered of it, and what its own status has beside that.
fn ended(number: u32, one: &MadeRun, status: &E2ERunStatus, none_kept: bool) -> Ended {
    let many = |count: Option<u32>| count.unwrap_or(0) as usize;
    let counts = one.passed.or(one.failed).map(|_| Tally {
        passed: many(one.passed),
        flaky: many(one.flaky),
        failed: many(one.failed),
        skipped: many(one.skipped),
    });
    Ended {
        number,
        run: one.run.clone(),
        passed: one.phase == Phase::Complete,
        reason: one.reason.clone().unwrap_or_default(),
        message: status.message.clone().or_else(|| one.message.clone()).unwrap_or_default(),
        exit_code: status.exit_code,
        counts,
        failures: status.failures.clone(),
        image: status.image_id.clone(),
        lost: none_kept && counts.is_some_and(|counts| counts.total() > 0),
    }
}

/// In place of a log: which run has that of which shard.
fn log(shards: &[Ended]) -> String {
    let line = |shard: &Ended| {
        let how = if shard.passed { "passed" } else { "did not pass" };
        format!(
            "shard {} of {}, {}, {how} ({}): its log is that of the run, kubectl testkit logs {}\n",
            shard.number,
            shards.len(),
            shard.run,
            shard.reason,
            shard.run
        )
    };
    shards.iter().map(line).collect()
}

/// The end as JSON, to be kept with the results.
fn summary(run: &E2ERun, verdict: &Verdict, stand: &[MadeRun]) -> serde_json::Value {
    let counts = verdict.counts.map(|counts| {
        json!({"passed": counts.passed, "failed": counts.failed, "flaky": counts.flaky, "skipped": counts.skipped})
    });
    json!({
        "run": format!("{}/{}", run.namespace().unwrap_or_default(), run.name_any()),
        "cluster": run.spec.cluster_ref.as_ref().map(|cluster| &cluster.name),
        "image": run.spec.image,
        "result": if verdict.passed { Phase::Complete } else { Phase::Failed },
        "reason": verdict.reason,
        "message": verdict.message,
        "counts": counts,
        "failures": verdict.failures,
        "shards": stand,
    })
}
