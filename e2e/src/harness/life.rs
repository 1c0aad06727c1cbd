//! A run's sign of life, so that the next knows whether what it finds is in use: a config in the swarm, made before
//! anything else, renewed as long as the run goes on, and removed when nothing of the run is left.
//!
//! A run is over when its container does not run, where that can be asked, or when it does not renew its sign while
//! somebody looks. So no two hosts' clocks are compared, and a run from outside the cluster, which has no container
//! there, counts as any other.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use anyhow::{Context as _, Result};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use bollard::{
    Docker,
    errors::Error,
    models::{Config, ConfigSpec},
    query_parameters::{InspectContainerOptions, ListConfigsOptions, UpdateConfigOptions},
};
use tokio::{task::JoinHandle, time::Instant};

use super::{
    cleanup::Object,
    test::{RUN, Run, STARTED},
    until,
};
use crate::cluster::Cluster;

/// The label of the sign, with the number of times it was renewed.
const ALIVE: &str = "dev.testkit.e2e.alive";
/// The label with the node whose engine the run talks to: what is not the swarm's is there.
const NODE: &str = "dev.testkit.e2e.node";
/// The label with the container in which the run is, if it is in one of that engine.
const CONTAINER: &str = "dev.testkit.e2e.container";
/// The label of a run that has cases which disturb the cluster.
const DISRUPTIVE: &str = "dev.testkit.e2e.disruptive";

/// How often a run renews its sign: seldom enough to be no load for the managers that are being tested.
const RENEWED_EVERY: Duration = Duration::from_secs(3);
/// How long a run that goes on may not renew its sign: managers that choose a new leader take nothing for some
/// seconds, and a machine may be slow.
const SILENT_FOR: Duration = Duration::from_secs(30);
/// How often somebody looks.
const LOOKED_AT_EVERY: Duration = Duration::from_millis(500);
/// How long the swarm may take to say which signs there are.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// The sign of this run.
#[derive(Debug)]
pub(crate) struct Sign {
    id: String,
    renewing: JoinHandle<()>,
}

/// The sign of a run, as others find it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Other {
    pub(crate) run: String,
    pub(crate) node: String,
    pub(crate) disruptive: bool,
    pub(crate) started: Option<i64>,
    /// The config.
    pub(crate) id: String,
    container: Option<String>,
    /// Another each time that it is renewed.
    version: Option<u64>,
}

/// What is known of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Life {
    /// It goes on.
    Lives,
    /// Its container does not run, or it has shown no sign while it was looked at.
    Over,
    /// It has just ended, and left nothing.
    Gone,
    /// The swarm did not answer all the while.
    Unknown,
}

/// A config that says something to a person who finds it.
pub(crate) fn config(name: String, labels: HashMap<String, String>, says: &str) -> ConfigSpec {
    let data = Some(BASE64_STANDARD.encode(says));
    ConfigSpec { name: Some(name), labels: Some(labels), data, ..Default::default() }
}

impl Sign {
    /// Shows that the run lives, from now on.
    pub(crate) async fn show(run: &Run, disruptive: bool) -> Result<Self> {
        let cluster = &run.cluster;
        let mut labels = run.labels();
        labels.insert(ALIVE.into(), "0".into());
        labels.insert(NODE.into(), cluster.node.clone());
        labels.extend(cluster.container.clone().map(|id| (CONTAINER.to_owned(), id)));
        labels.extend(disruptive.then(|| (DISRUPTIVE.to_owned(), "true".to_owned())));
        let says = format!("A run of e2e goes on as long as the label {ALIVE} changes.");
        let spec = config(format!("e2e-{}-run", run.id), labels, &says);
        let created = cluster.docker.create_config(spec).await;
        let id = created.context("cannot store a config in the swarm, which shows that this run goes on")?.id;
        let (docker, config) = (cluster.docker.clone(), id.clone());
        let renewing = tokio::spawn(async move {
            for time in 1_u64.. {
                until::pause(RENEWED_EVERY).await;
                // A swarm that does not answer now is asked again.
                let _ = renew(&docker, &config, time).await;
            }
        });
        Ok(Self { id, renewing })
    }

    /// Whether an object is this sign.
    pub(crate) fn is(&self, object: &Object) -> bool {
        object.id == self.id
    }

    /// Nothing is left of the run.
    pub(crate) async fn take_away(self, docker: &Docker) -> Result<()> {
        self.renewing.abort();
        // What is on its way would come after the removal, and do nothing.
        match docker.delete_config(&self.id).await {
            Ok(()) | Err(Error::DockerResponseServerError { status_code: 404, .. }) => Ok(()),
            Err(error) => Err(error).context("cannot remove the sign that this run goes on"),
        }
    }
}

async fn renew(docker: &Docker, id: &str, time: u64) -> Result<()> {
    let now = docker.inspect_config(id).await?;
    let version = i64::try_from(now.version.and_then(|version| version.index).unwrap_or_default())?;
    // Only labels can be changed, and with the content the engine refuses.
    let mut spec = ConfigSpec { data: None, ..now.spec.unwrap_or_default() };
    spec.labels.get_or_insert_default().insert(ALIVE.into(), time.to_string());
    Ok(docker.update_config(id, spec, UpdateConfigOptions { version }).await?)
}

/// The signs of all runs but this.
pub(crate) async fn others(docker: &Docker, own: Option<&str>) -> Result<Vec<Other>> {
    let filters = Some([("label".to_owned(), vec![ALIVE.to_owned()])].into());
    let found = docker.list_configs(Some(ListConfigsOptions { filters })).await.context("cannot list configs")?;
    Ok(found.into_iter().filter_map(other).filter(|it| Some(&*it.run) != own).collect())
}

fn other(config: Config) -> Option<Other> {
    let mut labels = config.spec?.labels?;
    Some(Other {
        run: labels.remove(RUN)?,
        node: labels.remove(NODE).unwrap_or_default(),
        disruptive: labels.contains_key(DISRUPTIVE),
        started: labels.remove(STARTED).and_then(|it| it.parse().ok()),
        id: config.id?,
        container: labels.remove(CONTAINER),
        version: config.version.and_then(|version| version.index),
    })
}

/// Which of these runs go on. Those of which the engine cannot tell are looked at until they show a sign, and for
/// `SILENT_FOR` at most.
pub(crate) async fn judge(cluster: &Cluster, runs: &[Other], say: impl Fn(&str)) -> BTreeMap<String, Life> {
    let mut known = BTreeMap::new();
    for run in runs {
        known.extend(by_container(cluster, run).await.map(|life| (run.run.clone(), life)));
    }
    let open =
        |known: &BTreeMap<String, Life>| runs.iter().filter(|it| !known.contains_key(&it.run)).cloned().collect();
    let mut left: Vec<Other> = open(&known);
    if !left.is_empty() {
        let names: Vec<&str> = left.iter().map(|it| &*it.run).collect();
        say(&format!("looking for up to {SILENT_FOR:?} whether these go on: {}", names.join(", ")));
    }
    let (start, mut deaf) = (Instant::now(), false);
    while !left.is_empty() && start.elapsed() < SILENT_FOR {
        until::pause(LOOKED_AT_EVERY).await;
        match tokio::time::timeout(ANSWER_WITHIN, others(&cluster.docker, None)).await {
            Ok(Ok(now)) => {
                known.extend(left.iter().filter_map(|run| Some((run.run.clone(), by_sign(run, &now)?))));
                left = open(&known);
            }
            // It may have been shown, and not be seen.
            Ok(Err(_)) | Err(_) => deaf = true,
        }
    }
    let silent = if deaf { Life::Unknown } else { Life::Over };
    known.extend(left.into_iter().map(|run| (run.run, silent)));
    known
}

/// What the engine knows that had the run's container. That it runs says nothing: another may run in it.
async fn by_container(cluster: &Cluster, run: &Other) -> Option<Life> {
    let container = run.container.as_ref().filter(|_| run.node == cluster.node)?;
    match cluster.docker.inspect_container(container, None::<InspectContainerOptions>).await {
        Ok(found) => match found.state? {
            state if state.running == Some(false) => Some(Life::Over),
            state if state.paused == Some(true) => Some(Life::Unknown),
            _ => None,
        },
        Err(Error::DockerResponseServerError { status_code: 404, .. }) => Some(Life::Over),
        Err(_) => None,
    }
}

/// What its sign tells, compared with how it was.
fn by_sign(before: &Other, now: &[Other]) -> Option<Life> {
    match now.iter().find(|it| it.id == before.id) {
        None => Some(Life::Gone),
        Some(now) => (now.version != before.version).then_some(Life::Lives),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sign(id: &str, version: u64) -> Other {
        Other {
            run: format!("run-{id}"),
            node: String::new(),
            disruptive: false,
            started: None,
            id: id.into(),
            container: None,
            version: Some(version),
        }
    }

    #[test]
    fn a_run_lives_that_renews_its_sign_and_is_gone_that_took_it_away() {
        let before = sign("a", 7);
        assert_eq!(by_sign(&before, &[sign("b", 8), sign("a", 9)]), Some(Life::Lives));
        assert_eq!(by_sign(&before, &[sign("b", 8)]), Some(Life::Gone));
        assert_eq!(by_sign(&before, &[sign("a", 7)]), None);
    }

    #[test]
    fn only_a_config_with_a_run_is_a_sign() {
        let labels = [(RUN, "r1"), (NODE, "n1"), (STARTED, "12"), (DISRUPTIVE, "true")];
        let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let config = |labels| Config {
            id: Some("c1".into()),
            spec: Some(ConfigSpec { labels: Some(labels), ..Default::default() }),
            ..Default::default()
        };
        let found = other(config(labels.into())).unwrap();
        assert_eq!((&*found.run, &*found.node, found.disruptive, found.started), ("r1", "n1", true, Some(12)));
        assert_eq!(other(config(HashMap::new())), None);
    }
}
