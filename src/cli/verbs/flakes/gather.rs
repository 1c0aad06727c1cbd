//! The runs whose results are read, and what is kept of them. Few requests, and no more than a page in memory.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    io::Read,
};

use flate2::read::GzDecoder;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{ResourceExt, api::ListParams};

use super::{
    chosen::Chosen,
    history::{Key, Past, Suite},
};
use crate::{
    api::{E2ERun, label},
    cli::{
        failure::{Failure, exit},
        kubernetes::{Kubernetes, PAGE, Pick, RUNS, kept},
    },
    results::{Outcome, Reading},
};

/// How many ConfigMaps are asked for at a time: each is of up to 1 MiB.
const MAPS: u32 = 8;
/// How many runs' ConfigMaps are asked for in one list: their UIDs are in its address.
const TOGETHER: usize = 50;
/// The most bytes of a document that are read; the operator writes no more.
const DOCUMENT: u64 = 128 << 20;

/// Which runs are read.
#[derive(Debug)]
pub struct Wanted<'a> {
    /// Those of all namespaces.
    pub all: bool,
    /// By labels and fields.
    pub pick: &'a Pick,
    /// Of this suite alone.
    pub suite: Option<&'a str>,
    /// So many of each suite, the last ones.
    pub last: usize,
}

/// What the results of a run do not tell, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lack {
    /// The run, as `namespace/name` where several namespaces are read.
    pub run: String,
    /// What is wrong.
    pub why: Why,
}

/// Why results of a run do not tell all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// It left none.
    None,
    /// They are not there any more.
    Gone(String),
    /// They may not be read.
    Forbidden(String),
    /// They cannot be read.
    Broken(String),
    /// Of so many cases so many are listed.
    Shortened(usize, usize),
    /// Something in them was not accounted for.
    Problem(String),
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let run = &self.run;
        match &self.why {
            Why::None => write!(f, "run {run} left no results"),
            Why::Gone(map) => write!(f, "the results of run {run} are gone: there is no ConfigMap {map:?} of it"),
            Why::Forbidden(words) => write!(f, "the results of run {run} may not be read: {words}"),
            Why::Broken(words) => write!(f, "the results of run {run} cannot be read: {words}"),
            Why::Shortened(listed, all) => {
                write!(f, "of the {all} cases of run {run} {listed} are listed: what became of the others is not told")
            }
            Why::Problem(problem) => write!(f, "the results of run {run} are not whole: {problem}"),
        }
    }
}

/// What was found.
#[derive(Debug, Default)]
pub struct Gathered {
    /// The suites, by namespace and name.
    pub suites: BTreeMap<Key, Suite>,
    /// What is not told.
    pub lacks: Vec<Lack>,
    /// Runs that were cut off and are not read: their cases failed for that, or by themselves.
    pub cut_off: usize,
}

/// Reads the last runs of each suite that is wanted.
pub async fn gather(kubernetes: &Kubernetes, wanted: &Wanted<'_>) -> Result<Gathered, Failure> {
    let mut chosen = Chosen::new(wanted.last);
    let params = wanted.pick.params().limit(PAGE);
    kubernetes
        .pages(RUNS, wanted.all, params, |runs: Vec<E2ERun>| {
            let of = |run: &&E2ERun| wanted.suite.is_none_or(|suite| run.suite() == suite);
            runs.iter().filter(of).for_each(|run| chosen.take(run));
        })
        .await?;
    let (suites, cut_off) = chosen.finish();
    let mut gathered = Gathered { suites, lacks: Vec::new(), cut_off };
    read(kubernetes, wanted.all, &mut gathered).await?;
    gathered.suites.values_mut().for_each(Suite::finish);
    Ok(gathered)
}

/// Where a run is among those that were chosen.
#[derive(Clone, Debug)]
struct Place {
    suite: Key,
    run: usize,
    uid: String,
}

/// What is to be read, by namespace and name of the ConfigMap.
type Open = HashMap<(String, String), Place>;

/// Reads what is kept of the runs.
async fn read(kubernetes: &Kubernetes, all: bool, gathered: &mut Gathered) -> Result<(), Failure> {
    let mut places = Vec::new();
    for (key, suite) in &gathered.suites {
        for (at, run) in suite.runs.iter().enumerate() {
            let place = Place { suite: key.clone(), run: at, uid: run.uid.clone() };
            match &run.results {
                Some(map) => places.push(((run.namespace.clone(), map.clone()), place)),
                None => gathered.lacks.push(Lack { run: shown(all, run), why: Why::None }),
            }
        }
    }
    let mut reader = Reader::new(all, gathered);
    for together in places.chunks(TOGETHER) {
        reader.read(kubernetes, together.iter().cloned().collect()).await?;
    }
    match reader.forbidden {
        // Then there is nothing to show.
        Some(failure) if reader.read == 0 => Err(failure),
        _ => Ok(()),
    }
}

struct Reader<'a> {
    all: bool,
    gathered: &'a mut Gathered,
    /// One may list ConfigMaps, as far as is known.
    may_list: bool,
    /// How many ConfigMaps were read.
    read: usize,
    /// Why one may not be read.
    forbidden: Option<Failure>,
}

impl<'a> Reader<'a> {
    const fn new(all: bool, gathered: &'a mut Gathered) -> Self {
        Self { all, gathered, may_list: true, read: 0, forbidden: None }
    }

    async fn read(&mut self, kubernetes: &Kubernetes, mut open: Open) -> Result<(), Failure> {
        if self.may_list {
            let uids: Vec<&str> = open.values().map(|place| &*place.uid).collect();
            let params =
                ListParams::default().labels(&format!("{} in ({})", label::RUN_UID, uids.join(","))).limit(MAPS);
            let all = self.all;
            let take = |maps: Vec<ConfigMap>| maps.into_iter().for_each(|map| self.take(&mut open, map));
            match kubernetes.pages("configmaps", all, params, take).await {
                Ok(()) => {}
                // Who may read those whose names are known may not always list them.
                Err(failure) if failure.code() == exit::NOT_ALLOWED => self.may_list = false,
                Err(failure) => return Err(failure),
            }
        }
        if !self.may_list {
            self.one_by_one(kubernetes, &mut open).await?;
        }
        for ((_, map), place) in open {
            self.lack(&place, Why::Gone(map));
        }
        Ok(())
    }

    async fn one_by_one(&mut self, kubernetes: &Kubernetes, open: &mut Open) -> Result<(), Failure> {
        let names: Vec<_> = open.keys().cloned().collect();
        for key in names {
            match kubernetes.within(&key.0).config_map(&key.1).await {
                Ok(Some(map)) => self.take(open, map),
                Ok(None) => {}
                Err(failure) if failure.code() == exit::NOT_ALLOWED => {
                    if let Some(place) = open.remove(&key) {
                        self.lack(&place, Why::Forbidden(failure.what().to_owned()));
                    }
                    self.forbidden.get_or_insert(failure);
                }
                Err(failure) => return Err(failure),
            }
        }
        Ok(())
    }

    /// Reads a ConfigMap, if it is one of those.
    fn take(&mut self, open: &mut Open, map: ConfigMap) {
        let key = (map.namespace().unwrap_or_default(), map.name_any());
        // One that was kept for a run of the same name before is none of this one.
        let ours = |place: &Place| map.labels().get(label::RUN_UID) == Some(&place.uid);
        if !open.get(&key).is_some_and(ours) {
            return;
        }
        let Some(place) = open.remove(&key) else { return };
        self.read += 1;
        let Some(packed) = map.binary_data.and_then(|mut data| data.remove(kept::JUNIT)) else {
            return self.lack(&place, Why::None);
        };
        let mut reading = Reading::of_kept();
        if let Err(error) = reading.file("junit.xml", GzDecoder::new(packed.0.as_slice()).take(DOCUMENT)) {
            self.lack(&place, Why::Broken(error.to_string()));
        }
        let outcome = reading.finish();
        if let Some(why) = self
            .gathered
            .suites
            .get(&place.suite)
            .and_then(|s| s.runs.get(place.run))
            .and_then(|run| lacking(run, &outcome))
        {
            self.lack(&place, why);
        }
        if let Some(suite) = self.gathered.suites.get_mut(&place.suite) {
            suite.add(place.run, &outcome);
        }
    }

    fn lack(&mut self, place: &Place, why: Why) {
        let run = self.gathered.suites.get(&place.suite).and_then(|suite| suite.runs.get(place.run));
        if let Some(run) = run.map(|run| shown(self.all, run)) {
            self.gathered.lacks.push(Lack { run, why });
        }
    }
}

/// What the results of a run do not tell.
fn lacking(run: &Past, outcome: &Outcome) -> Option<Why> {
    let all = outcome.total().max(run.counted);
    if outcome.cases.len() < all {
        return Some(Why::Shortened(outcome.cases.len(), all));
    }
    outcome.problems.first().map(|problem| Why::Problem(problem.clone()))
}

fn shown(all: bool, run: &Past) -> String {
    if all { format!("{}/{}", run.namespace, run.name) } else { run.name.clone() }
}

#[cfg(test)]
mod tests;
