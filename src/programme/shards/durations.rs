//! How long the cases took in the last runs of the suite: one table, kept before the first shard is made, so that all
//! shards divide their cases by the same, whichever operator made them.

use std::collections::BTreeMap;

use k8s_openapi::{api::core::v1::ConfigMap, apimachinery::pkg::apis::meta::v1::OwnerReference, jiff::Timestamp};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{DeleteParams, ListParams, ObjectMeta, PostParams, Preconditions},
};
use tokio::sync::Semaphore;

use crate::{
    api::{BalancedBy, DURATIONS, DURATIONS_KEY, E2ERun, EnvVar, MANAGER},
    programme::children,
    results::Durations,
    run,
};

/// How many earlier runs are read: what took long in one of them by chance does not count.
const RUNS: usize = 3;
/// How many runs are listed at a time.
const PAGE: u32 = 250;
/// The most bytes of the table. A variable of a process has room for 128 KiB (`MAX_ARG_STRLEN`, execve(2)).
const TABLE: usize = 64 << 10;
/// The most variables that a run may have, as the schema has it.
const VARIABLES: usize = 256;
/// The key of the ConfigMap that says what the table is of.
const OF: &str = "balanced-by.json";

/// How many runs are prepared at once: of each the cases of its suite are held.
static ROOM: Semaphore = Semaphore::const_new(1);

/// By what the shards of this run are to divide their cases. Where that is anything, it is kept in a ConfigMap of the run.
///
/// # Errors
/// Where the API server does not answer.
pub async fn prepare(client: &Client, run: &E2ERun) -> Result<BalancedBy, kube::Error> {
    if !has_room(&run.spec.env) {
        return Ok(BalancedBy::default());
    }
    let _room = ROOM.acquire().await;
    let mut documents = Vec::new();
    for past in last(client, run).await? {
        let results = past.status.as_ref().and_then(|status| status.results.clone()).unwrap_or_default();
        match run::junit(client, &past, &results).await {
            Ok(junit) => documents.push((past.name_any(), junit)),
            Err(kube::Error::Api(refused)) if refused.code == 403 => {}
            Err(error) => return Err(error),
        }
    }
    // Without it the shards divide their cases as well, and a broken document may be what broke it.
    let Ok((by, table)) = tokio::task::spawn_blocking(move || told(&documents)).await else {
        return Ok(BalancedBy::default());
    };
    if by.cases == 0 { Ok(by) } else { keep(client, run, by, table).await }
}

/// Whether the variable is the operator's to set: where the run's own spec has it, that counts.
fn has_room(env: &[EnvVar]) -> bool {
    env.len() < VARIABLES && env.iter().all(|variable| variable.name != DURATIONS)
}

/// The table of what these runs left, the latest first.
fn told(documents: &[(String, Vec<u8>)]) -> (BalancedBy, String) {
    let mut durations = Durations::default();
    let read = documents.iter().filter(|(_, junit)| durations.add(junit)).map(|(name, _)| name.clone());
    let runs: Vec<String> = read.collect();
    let (table, cases) = durations.table(TABLE);
    let cases = u32::try_from(cases).unwrap_or(u32::MAX);
    (BalancedBy { cases, runs: if cases > 0 { runs } else { Vec::new() } }, table)
}

/// The last runs of the same suite that ended by themselves and left results, the latest first.
async fn last(client: &Client, run: &E2ERun) -> Result<Vec<E2ERun>, kube::Error> {
    let runs = children::runs(client, &run.namespace().unwrap_or_default());
    let mut params = ListParams::default().limit(PAGE);
    let mut last = Last::default();
    loop {
        let page = runs.list(&params).await?;
        params.continue_token = page.metadata.continue_.filter(|token| !token.is_empty());
        page.items.into_iter().filter(|past| past.suite() == run.suite()).for_each(|past| last.take(past));
        if params.continue_token.is_none() {
            return Ok(last.0.into_values().rev().collect());
        }
    }
}

/// The last runs, by when they ended.
#[derive(Default)]
struct Last(BTreeMap<(Timestamp, String), E2ERun>);

impl Last {
    fn take(&mut self, past: E2ERun) {
        let Some(status) = past.with_cases().filter(|status| {
            // Of a few cases that were named it says nothing of the others.
            status.results.is_some() && !past.was_cut_off() && past.spec.cases.is_empty()
        }) else {
            return;
        };
        let Some(ended) = status.finished_at.as_ref().map(|at| at.0) else { return };
        self.0.insert((ended, past.name_any()), past);
        if self.0.len() > RUNS {
            self.0.pop_first();
        }
    }
}

/// Keeps a table; the one that is kept, where an operator did so before this one. None where it cannot be: then the
/// shards go without.
async fn keep(client: &Client, run: &E2ERun, by: BalancedBy, table: String) -> Result<BalancedBy, kube::Error> {
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), &run.namespace().unwrap_or_default());
    let (name, uid) = (run.durations_name(), run.uid().unwrap_or_default());
    let wanted = config_map(run, &by, table);
    // What is in the way was kept for a run of the same name that is gone.
    for _ in 0..3 {
        match maps.create(&PostParams::default(), &wanted).await {
            Ok(_) => return Ok(by),
            Err(kube::Error::Api(refused)) if refused.code == 409 => {}
            Err(kube::Error::Api(refused)) if (400..500).contains(&refused.code) && refused.code != 429 => {
                tracing::warn!(
                    run = run.name_any(),
                    name,
                    error = refused.message,
                    "durations of cases cannot be kept"
                );
                return Ok(BalancedBy::default());
            }
            Err(error) => return Err(error),
        }
        let Some(there) = maps.get_opt(&name).await? else { continue };
        let of = |o: &&OwnerReference| o.kind == E2ERun::kind(&()) && o.name == run.name_any();
        match there.owner_references().iter().find(of) {
            Some(owner) if owner.uid == uid => return Ok(kept(&there)),
            Some(_) => {
                let this = Preconditions { uid: there.uid(), resource_version: there.resource_version() };
                if let Err(error) = maps.delete(&name, &DeleteParams::default().preconditions(this)).await {
                    tracing::debug!(%error, name, "the ConfigMap in the way changed");
                }
            }
            None => break,
        }
    }
    tracing::warn!(run = run.name_any(), name, "a ConfigMap of this name is somebody else's: the shards go without");
    Ok(BalancedBy::default())
}

/// The object. Nobody changes it, for all shards have to be told the same.
fn config_map(run: &E2ERun, by: &BalancedBy, table: String) -> ConfigMap {
    let owner = run.controller_owner_ref(&()).map(|owner| OwnerReference { block_owner_deletion: None, ..owner });
    // Numbers and names: they have no way to fail.
    let about = serde_json::to_string(by).unwrap_or_default();
    ConfigMap {
        metadata: ObjectMeta {
            name: Some(run.durations_name()),
            labels: Some(BTreeMap::from([("app.kubernetes.io/managed-by".to_owned(), MANAGER.to_owned())])),
            owner_references: owner.map(|owner| vec![owner]),
            ..ObjectMeta::default()
        },
        data: Some(BTreeMap::from([(DURATIONS_KEY.to_owned(), table), (OF.to_owned(), about)])),
        immutable: Some(true),
        ..ConfigMap::default()
    }
}

/// By what a table that is kept divides.
fn kept(map: &ConfigMap) -> BalancedBy {
    let about = map.data.as_ref().and_then(|data| data.get(OF));
    about.and_then(|about| serde_json::from_str(about).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::{Compression, write::GzEncoder};
    use serde_json::{Value, json};

    use super::*;

    /// A run that ended in this second, as `Ready` tells why.
    fn ended(name: &str, second: i64, why: &str, change: &Value) -> E2ERun {
        let at = Timestamp::from_second(second).unwrap().to_string();
        let of = |type_: &str| json!({"type": type_, "status": "True", "reason": why, "message": "", "lastTransitionTime": at});
        let mut spec = json!({"clusterRef": {"name": "foo"}, "image": "suite:1"});
        spec.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        serde_json::from_value(json!({
            "metadata": {"name": name, "namespace": "ci", "uid": format!("u-{name}")}, "spec": spec,
            "status": {"conditions": [of("Failed"), of("Ready")], "finishedAt": at, "results": format!("{name}-results")},
        }))
        .unwrap()
    }

    #[test]
    fn the_last_runs_count_that_ended_by_themselves() {
        let mut unkept = ended("unkept", 99, "ResultsNotKept", &json!({}));
        unkept.status.as_mut().unwrap().results = None;
        let mut goes_on = ended("goes-on", 99, "Running", &json!({}));
        goes_on.status.as_mut().unwrap().conditions.clear();
        let mut joined = ended("joined", 99, "CasesPassed", &json!({}));
        joined.status.as_mut().unwrap().joined = Some("other".to_owned());
        let all = vec![
            ended("c", 30, "CasesFailed", &json!({})),
            ended("a", 10, "CasesPassed", &json!({})),
            ended("in-shards", 20, "CasesPassed", &json!({"shards": 4})),
            ended("d", 40, "CasesPassed", &json!({})),
            ended("one-of-them", 50, "CasesPassed", &json!({"shard": {"index": 1, "total": 4}})),
            ended("codes", 60, "CasesPassed", &json!({"results": {"format": "ExitCode"}})),
            ended("cut-off", 70, "Cancelled", &json!({})),
            unkept,
            goes_on,
            joined,
        ];
        let mut last = Last::default();
        all.into_iter().for_each(|run| last.take(run));
        let names: Vec<String> = last.0.into_values().rev().map(|run| run.name_any()).collect();
        assert_eq!(names, ["d", "c", "in-shards"]);
    }

    fn packed(xml: &str) -> Vec<u8> {
        let mut file = GzEncoder::new(Vec::new(), Compression::fast());
        file.write_all(xml.as_bytes()).unwrap();
        file.finish().unwrap()
    }

    #[test]
    fn a_table_is_told_with_the_runs_it_is_of_and_kept_as_it_was() {
        let left = packed("<testsuite name='s'><testcase name='A' time='2'/><testcase name='B' time='1'/></testsuite>");
        let (by, table) = told(&[("d".to_owned(), left), ("c".to_owned(), Vec::new())]);
        assert_eq!((by.cases, &*by.runs, &*table), (2, &["d".to_owned()][..], r#"{"A":2.000,"B":1.000}"#));
        let none = packed("<testsuite name='s'/>");
        assert_eq!(told(&[("d".to_owned(), none)]), (BalancedBy::default(), "{}".to_owned()));
        assert_eq!(told(&[]).0, BalancedBy::default());
        let run = ended("r", 10, "Running", &json!({"shards": 4}));
        let map = config_map(&run, &by, table.clone());
        let read = run.durations().value_from.and_then(|from| from.config_map_key_ref).unwrap();
        assert_eq!(map.metadata.name, Some(read.name));
        assert_eq!(map.data.as_ref().unwrap()[&read.key], table);
        assert!(read.optional.is_none(), "a shard that is told nothing would run other cases than the others leave it");
        assert_eq!((kept(&map), map.immutable, map.owner_references()[0].uid.as_str()), (by, Some(true), "u-r"));
    }

    #[test]
    fn what_a_run_says_itself_counts() {
        let variable = |name: &str| EnvVar { name: name.to_owned(), ..EnvVar::default() };
        assert!(has_room(&[]) && has_room(&[variable("A")]));
        assert!(!has_room(&[variable("A"), variable(DURATIONS)]));
        assert!(has_room(&vec![variable("A"); 255]) && !has_room(&vec![variable("A"); 256]));
    }
}
