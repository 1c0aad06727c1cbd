//! The places on a cluster: an annotation of the SwarmCluster, written against the version that was read.

use kube::{
    Api, Client, ResourceExt,
    api::{Patch, PatchParams},
};
use serde_json::json;

use super::{Guest, Line, Place, place};
use crate::api::{E2ERun, FINALIZER, RUNS, SwarmCluster};

/// How often a change is tried again that somebody else's came before.
const TRIES: u32 = 8;

/// Those that have a place on a cluster, as they were read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Guests {
    /// The cluster's name.
    pub cluster: String,
    /// The cluster's UID.
    pub uid: String,
    /// The version they were read at.
    pub version: Option<String>,
    /// Those that are written there, and are there.
    pub written: Vec<Guest>,
    /// Those that have a container there, and no place that is written: of an operator that wrote none, or where somebody took the annotation away.
    pub unwritten: Vec<Guest>,
}

impl Guests {
    /// Reads them off a cluster. Runs that are gone, or of which nothing is there any more, do not count, whatever is
    /// written. What a person mangled counts as not written.
    ///
    /// # Errors
    /// Where the API server does not tell what became of a run: that must not be taken for its absence.
    pub async fn read(client: &Client, line: &Line, cluster: &SwarmCluster) -> Result<Self, kube::Error> {
        let (name, uid) = (cluster.name_any(), cluster.uid().unwrap_or_default());
        let namespace = cluster.namespace().unwrap_or_default();
        let runs: Api<E2ERun> = Api::namespaced(client.clone(), &namespace);
        let mut written = Vec::new();
        for guest in written_on(cluster) {
            if line.holds(&namespace, &name, &guest.uid)
                || runs.get_opt(&guest.name).await?.is_some_and(|run| is_on(&run, &guest, &name))
            {
                written.push(guest);
            }
        }
        let mut unwritten = line.running(&namespace, &name, &uid);
        unwritten.retain(|guest| written.iter().all(|w| w.uid != guest.uid));
        Ok(Self { cluster: name, uid, version: cluster.resource_version(), written, unwritten })
    }

    /// All of them.
    #[must_use]
    pub fn all(&self) -> Vec<Guest> {
        self.written.iter().chain(&self.unwritten).cloned().collect()
    }

    /// Whether a run's place is written.
    #[must_use]
    pub fn has(&self, uid: &str) -> bool {
        self.written.iter().any(|guest| guest.uid == uid)
    }
}

/// Those that are written on a cluster.
fn written_on(cluster: &SwarmCluster) -> Vec<Guest> {
    let text = cluster.annotations().get(RUNS).map_or("[]", String::as_str);
    serde_json::from_str(text).unwrap_or_default()
}

/// Whether a run's place is written on its cluster.
#[must_use]
pub fn has_place(run: &E2ERun, cluster: &SwarmCluster) -> bool {
    written_on(cluster).iter().any(|guest| is_on(run, guest, &cluster.name_any()))
}

/// Whether this is the run that is written, and something of it may be on the cluster.
fn is_on(run: &E2ERun, guest: &Guest, cluster: &str) -> bool {
    run.uid().as_ref() == Some(&guest.uid)
        && run.cluster_name() == cluster
        && run.finalizers().iter().any(|f| f == FINALIZER)
}

/// A change of the places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The run takes a place, if it is its turn.
    Take,
    /// The run has a container there, whoever else is there.
    Claim,
    /// Nothing of the run runs there any more.
    Leave,
}

/// Changes the places; whether the run has what it wanted. It may have been somebody else's turn meanwhile.
///
/// # Errors
/// Where the API server refuses, or somebody changes the cluster all the time.
pub async fn change(
    client: &Client,
    line: &Line,
    run: &E2ERun,
    seen: &Guests,
    change: Change,
) -> Result<bool, kube::Error> {
    let namespace = run.namespace().unwrap_or_default();
    let clusters: Api<SwarmCluster> = Api::namespaced(client.clone(), &namespace);
    let me = Guest {
        name: run.name_any(),
        uid: run.uid().unwrap_or_default(),
        sharing: run.spec.sharing,
        of: run.divided_from().map(str::to_owned),
    };
    let mut guests = seen.clone();
    let mut tries = 0;
    loop {
        let waiting = line.waiting(&namespace, &seen.cluster, &me.uid);
        let Some(wanted) = changed(&guests, &waiting, &me, change) else { return Ok(false) };
        if wanted == guests.written {
            return Ok(true);
        }
        let text = (!wanted.is_empty()).then(|| json!(wanted).to_string());
        // Of this cluster, and only if nobody changed it in between.
        let metadata = json!({"uid": guests.uid, "resourceVersion": guests.version, "annotations": {RUNS: text}});
        let patch = Patch::Merge(json!({ "metadata": metadata }));
        match clusters.patch_metadata(&seen.cluster, &PatchParams::default(), &patch).await {
            Ok(_) => return Ok(true),
            Err(kube::Error::Api(status)) if status.code == 404 => return Ok(change == Change::Leave),
            Err(kube::Error::Api(status)) if status.code == 409 && tries < TRIES => tries += 1,
            Err(error) => return Err(error),
        }
        let Some(cluster) = clusters.get_opt(&seen.cluster).await?.filter(|c| c.uid().as_ref() == Some(&seen.uid))
        else {
            return Ok(change == Change::Leave);
        };
        if cluster.metadata.deletion_timestamp.is_some() && change == Change::Take {
            return Ok(false);
        }
        guests = Guests::read(client, line, &cluster).await?;
    }
}

/// What is to be written then; `None` where it is not the run's turn.
pub(super) fn changed(guests: &Guests, waiting: &[Guest], me: &Guest, change: Change) -> Option<Vec<Guest>> {
    let mut wanted = guests.written.clone();
    match change {
        Change::Leave => wanted.retain(|guest| guest.uid != me.uid),
        Change::Claim | Change::Take if guests.has(&me.uid) => {}
        Change::Claim => wanted.push(me.clone()),
        Change::Take if place(&me.uid, &guests.all(), waiting) == Place::Free => wanted.push(me.clone()),
        Change::Take => return None,
    }
    Some(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Sharing;

    fn guest(name: &str) -> Guest {
        Guest { name: name.to_owned(), uid: format!("u-{name}"), sharing: Sharing::Exclusive, of: None }
    }

    #[test]
    fn a_place_is_taken_in_turn_claimed_by_right_and_given_up() {
        let names = |of: &[&str]| of.iter().map(|n| guest(n)).collect::<Vec<_>>();
        // Who is written, who runs there unwritten, who waits, what b wants, who is written then.
        type Names<'a> = &'a [&'a str];
        type Case<'a> = (Names<'a>, Names<'a>, Names<'a>, Change, Option<Names<'a>>);
        let cases: [Case<'_>; 10] = [
            (&[], &[], &["b"], Change::Take, Some(&["b"])),
            (&[], &[], &["a", "b"], Change::Take, None),
            (&["a"], &[], &["b"], Change::Take, None),
            (&[], &["a"], &["b"], Change::Take, None),
            (&[], &[], &[], Change::Take, None),
            (&["b"], &[], &[], Change::Take, Some(&["b"])),
            (&["a"], &["b"], &[], Change::Claim, Some(&["a", "b"])),
            (&["a", "b"], &[], &[], Change::Claim, Some(&["a", "b"])),
            (&["a", "b"], &[], &["c"], Change::Leave, Some(&["a"])),
            (&["a"], &[], &[], Change::Leave, Some(&["a"])),
        ];
        for (written, unwritten, waiting, change, wanted) in cases {
            let guests = Guests { written: names(written), unwritten: names(unwritten), ..Guests::default() };
            let got = changed(&guests, &names(waiting), &guest("b"), change);
            assert_eq!(got, wanted.map(names), "{written:?} {unwritten:?} {waiting:?} {change:?}");
        }
    }

    #[test]
    fn what_is_written_on_a_cluster_is_read_and_what_is_mangled_is_nothing() {
        let cluster = |text: &str| -> SwarmCluster {
            serde_json::from_value(json!({
                "metadata": {"name": "foo", "annotations": {RUNS: text}},
                "spec": {"provider": {"ec2": {"region": "us-east-1"}}},
            }))
            .unwrap()
        };
        let both = vec![guest("a"), Guest { sharing: Sharing::Shared, of: Some("u-p".to_owned()), ..guest("b") }];
        assert_eq!(written_on(&cluster(&json!(both).to_string())), both);
        assert_eq!(written_on(&cluster("mangled")), []);
    }

    #[test]
    fn a_run_is_there_while_it_is_the_same_and_held() {
        let run = |uid: &str, finalizers: &[&str], cluster: &str| -> E2ERun {
            serde_json::from_value(json!({
                "metadata": {"name": "a", "uid": uid, "finalizers": finalizers},
                "spec": {"clusterRef": {"name": cluster}, "image": "suite:1"},
            }))
            .unwrap()
        };
        for (run, there) in [
            (run("u-a", &[FINALIZER], "foo"), true),
            (run("u-x", &[FINALIZER], "foo"), false),
            (run("u-a", &[], "foo"), false),
            (run("u-a", &[FINALIZER], "bar"), false),
        ] {
            assert_eq!(is_on(&run, &guest("a"), "foo"), there);
            let mut cluster: SwarmCluster = serde_json::from_value(json!({
                "metadata": {"name": "foo", "namespace": "ci"}, "spec": {"provider": {"ec2": {"region": "us-east-1"}}},
            }))
            .unwrap();
            assert!(!has_place(&run, &cluster) && !crate::run::is_under_way(&run, &cluster));
            cluster.annotations_mut().insert(RUNS.to_owned(), json!([guest("a")]).to_string());
            assert_eq!((has_place(&run, &cluster), crate::run::is_under_way(&run, &cluster)), (there, there));
        }
    }
}
