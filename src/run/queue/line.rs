//! The runs of all clusters, as a watch tells of them: who waits in line, and in which order.
//!
//! A watch tells in the order in which things were written, so whoever sees itself in line sees
//! all who were there before. It says nothing about who may begin: that is written on the cluster.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use futures::{Stream, StreamExt, stream};
use k8s_openapi::jiff::Timestamp;
use kube::{
    Api, ResourceExt,
    runtime::{WatchStreamExt, reflector::ObjectRef, watcher},
};

use super::Guest;
use crate::{
    api::{E2ERun, FINALIZER, Sharing, is_true, type_},
    run::record::Record,
};

/// How long a run may be without the operator's finalizer until it keeps nobody waiting. Whoever works puts it on in
/// its first pass; where that is refused the run can never begin.
const TAKEN_ON: Duration = Duration::from_mins(1);

/// What is known of the runs.
#[derive(Clone, Debug, Default)]
pub struct Line(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    /// By UID.
    runs: HashMap<String, Entry>,
    /// What a new list has told so far.
    listed: Option<HashMap<String, Entry>>,
    /// Runs that were asked for and not known yet.
    missed: HashSet<String>,
}

/// What is known of a run.
#[derive(Clone, Debug)]
struct Entry {
    object: ObjectRef<E2ERun>,
    /// Its cluster, by name.
    cluster: String,
    sharing: Sharing,
    created: Option<Timestamp>,
    stands: Stands,
    /// Something of it may be on a host.
    held: bool,
    /// When it was first seen without being held, by our clock.
    unheld: Option<Instant>,
}

/// How far a run is, as far as others care.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Stands {
    /// It has no container, and wants one.
    Waiting,
    /// It has one that has not ended, on the cluster of this UID.
    Runs(String),
    /// It wants nothing any more.
    Over,
}

impl Entry {
    fn of(run: &E2ERun) -> Self {
        let conditions = run.status.as_ref().map_or(&[][..], |s| &s.conditions);
        let ended = is_true(conditions, type_::COMPLETE) || is_true(conditions, type_::FAILED);
        let held = run.finalizers().iter().any(|f| f == FINALIZER);
        let stands = match Record::of(run).placed {
            Some(placed) if held && !ended => Stands::Runs(placed.host.cluster),
            None if !ended && !run.spec.cancel && run.metadata.deletion_timestamp.is_none() => Stands::Waiting,
            _ => Stands::Over,
        };
        Self {
            object: ObjectRef::from_obj(run),
            cluster: run.cluster_name(),
            sharing: run.spec.sharing,
            created: run.creation_timestamp().map(|t| t.0),
            stands,
            held,
            unheld: (!held).then(Instant::now),
        }
    }

    /// The same, which was known before as `old`.
    fn after(mut self, old: Option<&Self>) -> Self {
        self.unheld = self.unheld.map(|now| old.and_then(|old| old.unheld).unwrap_or(now));
        self
    }

    /// Whether it is in line.
    fn waits(&self, now: Instant) -> bool {
        let given_up = self.unheld.is_some_and(|since| now.saturating_duration_since(since) >= TAKEN_ON);
        self.stands == Stands::Waiting && !given_up
    }

    fn on(&self, namespace: &str, cluster: &str) -> bool {
        self.cluster == cluster && self.object.namespace.as_deref().unwrap_or_default() == namespace
    }

    fn guest(&self, uid: &str) -> Guest {
        Guest { name: self.object.name.clone(), uid: uid.to_owned(), sharing: self.sharing }
    }

    /// Whether others can go on for what this has become.
    fn makes_room(&self, now: Option<&Self>) -> bool {
        let left = self.stands == Stands::Waiting && now.is_none_or(|now| now.stands == Stands::Over);
        left || self.held && now.is_none_or(|now| !now.held)
    }
}

impl Line {
    /// Follows the runs; tells those that are to be looked at again since somebody else is out of their way.
    pub fn follow(self, runs: Api<E2ERun>) -> impl Stream<Item = ObjectRef<E2ERun>> + Send + 'static {
        let events = watcher(runs, watcher::Config::default()).default_backoff();
        events.flat_map(move |event| {
            stream::iter(match event {
                Ok(event) => self.take_in(&event),
                // Asked again, with growing pauses; what is known stands until then.
                Err(error) => {
                    tracing::debug!(%error, "watching runs failed");
                    Vec::new()
                }
            })
        })
    }

    /// Takes in what a watch tells.
    pub fn take_in(&self, event: &watcher::Event<E2ERun>) -> Vec<ObjectRef<E2ERun>> {
        let mut known = self.lock();
        match event {
            watcher::Event::Init => {
                known.listed = Some(HashMap::new());
                Vec::new()
            }
            watcher::Event::InitApply(run) => {
                let uid = run.uid().unwrap_or_default();
                known.listed.get_or_insert_default().insert(uid, Entry::of(run));
                Vec::new()
            }
            watcher::Event::InitDone => {
                let listed = known.listed.take().unwrap_or_default();
                let before = std::mem::take(&mut known.runs);
                known.runs =
                    listed.into_iter().map(|(uid, entry)| (uid.clone(), entry.after(before.get(&uid)))).collect();
                known.missed.clear();
                // What came between is not told: everybody looks.
                let waiting = known.runs.values().filter(|entry| entry.stands == Stands::Waiting);
                waiting.map(|entry| entry.object.clone()).collect()
            }
            watcher::Event::Apply(run) => known.change(run, Some(Entry::of(run))),
            watcher::Event::Delete(run) => known.change(run, None),
        }
    }

    /// Those in line for a cluster, in order; nothing is told to one who is not known yet, and it is woken then.
    #[must_use]
    pub fn waiting(&self, namespace: &str, cluster: &str, asks: &str) -> Vec<Guest> {
        self.waiting_at(namespace, cluster, asks, Instant::now())
    }

    fn waiting_at(&self, namespace: &str, cluster: &str, asks: &str, now: Instant) -> Vec<Guest> {
        let mut known = self.lock();
        if !known.runs.contains_key(asks) {
            known.missed.insert(asks.to_owned());
            return Vec::new();
        }
        let waits = |(_, entry): &(&String, &Entry)| entry.waits(now) && entry.on(namespace, cluster);
        let mut waiting: Vec<_> = known.runs.iter().filter(waits).collect();
        waiting.sort_by(|(_, a), (_, b)| (a.created, &a.object.name).cmp(&(b.created, &b.object.name)));
        waiting.into_iter().map(|(uid, entry)| entry.guest(uid)).collect()
    }

    /// Those that have a container on this very cluster.
    #[must_use]
    pub fn running(&self, namespace: &str, cluster: &str, uid: &str) -> Vec<Guest> {
        let known = self.lock();
        let runs = |entry: &Entry| entry.on(namespace, cluster) && entry.stands == Stands::Runs(uid.to_owned());
        let mut running: Vec<_> = known.runs.iter().filter(|(_, e)| runs(e)).map(|(uid, e)| e.guest(uid)).collect();
        running.sort_by(|a, b| a.name.cmp(&b.name));
        running
    }

    /// Whether something of a run may certainly be on a cluster still. Where the answer is no, that may only not be told yet.
    #[must_use]
    pub fn holds(&self, namespace: &str, cluster: &str, uid: &str) -> bool {
        self.lock().runs.get(uid).is_some_and(|entry| entry.held && entry.on(namespace, cluster))
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn change(&mut self, run: &E2ERun, now: Option<Entry>) -> Vec<ObjectRef<E2ERun>> {
        let uid = run.uid().unwrap_or_default();
        let missed = self.missed.remove(&uid) && now.is_some();
        let old = self.runs.remove(&uid);
        let now = now.map(|now| now.after(old.as_ref()));
        let old = old.filter(|old| old.makes_room(now.as_ref()));
        if let Some(now) = now {
            self.runs.insert(uid, now);
        }
        let mut woken: Vec<_> = missed.then(|| ObjectRef::from_obj(run)).into_iter().collect();
        if let Some(old) = old {
            let namespace = old.object.namespace.clone().unwrap_or_default();
            let waits = |e: &&Entry| e.stands == Stands::Waiting && e.on(&namespace, &old.cluster);
            woken.extend(self.runs.values().filter(waits).map(|e| e.object.clone()));
        }
        woken
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use watcher::Event::{Apply, Delete, Init, InitApply, InitDone};

    use super::*;

    /// A run of the cluster `foo`, created in this second; `more` is merged into the object.
    fn run(name: &str, second: u32, more: &serde_json::Value) -> E2ERun {
        let mut run = json!({
            "metadata": {"name": name, "namespace": "ci", "uid": format!("u-{name}"), "finalizers": [FINALIZER],
                "annotations": {}, "creationTimestamp": format!("2026-01-01T00:00:{second:02}Z")},
            "spec": {"clusterRef": {"name": "foo"}, "image": "suite:1"},
        });
        for (pointer, value) in more.as_object().into_iter().flatten() {
            match pointer.as_str() {
                "finalizers" | "annotations" | "deletionTimestamp" => run["metadata"][pointer] = value.clone(),
                "status" => run["status"] = value.clone(),
                field => run["spec"][field] = value.clone(),
            }
        }
        serde_json::from_value(run).unwrap()
    }

    fn placed() -> serde_json::Value {
        let container =
            json!({"cluster": "u1", "slot": "m0", "incarnation": 0, "id": "c1", "at": "2026-01-01T00:00:00Z"});
        json!({"annotations": {"testkit.dev/container": container.to_string()}})
    }

    fn failed() -> serde_json::Value {
        json!({"status": {"conditions": [{"type": "Failed", "status": "True", "reason": "R", "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z"}]}})
    }

    fn names(guests: &[Guest]) -> Vec<&str> {
        guests.iter().map(|g| g.name.as_str()).collect()
    }

    fn woken(of: &[ObjectRef<E2ERun>]) -> Vec<&str> {
        let mut names: Vec<_> = of.iter().map(|o| o.name.as_str()).collect();
        names.sort_unstable();
        names
    }

    /// Three in line, by their age and then by their name.
    fn line() -> Line {
        let line = Line::default();
        for event in [Init, InitApply(run("b", 2, &json!({}))), InitApply(run("c", 1, &json!({}))), InitDone] {
            line.take_in(&event);
        }
        line.take_in(&Apply(run("a", 2, &json!({}))));
        line
    }

    #[test]
    fn the_line_is_by_age_and_then_by_name() {
        let line = line();
        assert_eq!(names(&line.waiting("ci", "foo", "u-a")), ["c", "a", "b"]);
        assert!(line.waiting("ci", "bar", "u-a").is_empty() && line.waiting("other", "foo", "u-a").is_empty());
        line.take_in(&Apply(run("x", 0, &json!({"clusterRef": {"name": "bar"}}))));
        assert_eq!(names(&line.waiting("ci", "bar", "u-a")), ["x"]);
    }

    #[test]
    fn others_are_woken_by_what_makes_room_and_by_nothing_else() {
        let deleting = json!({"deletionTimestamp": "2026-01-01T00:00:00Z"});
        let cases = [
            (Apply(run("c", 1, &json!({"cancel": true}))), vec!["a", "b"]),
            (Apply(run("c", 1, &deleting)), vec!["a", "b"]),
            (Apply(run("c", 1, &failed())), vec!["a", "b"]),
            (Delete(run("c", 1, &json!({}))), vec!["a", "b"]),
            // It begins; it changes; another one comes.
            (Apply(run("c", 1, &placed())), vec![]),
            (Apply(run("c", 1, &json!({"annotations": {"testkit.dev/pending-since": "x"}}))), vec![]),
            (Apply(run("d", 0, &json!({}))), vec![]),
        ];
        for (event, wakes) in cases {
            assert_eq!(woken(&line().take_in(&event)), wakes, "{event:?}");
        }
        let line = line();
        for event in [Init, InitApply(run("b", 2, &json!({}))), InitApply(run("a", 2, &json!({})))] {
            assert!(line.take_in(&event).is_empty());
        }
        assert_eq!(woken(&line.take_in(&InitDone)), ["a", "b"]);
        assert_eq!(names(&line.waiting("ci", "foo", "u-a")), ["a", "b"]);
    }

    #[test]
    fn who_is_asked_for_before_it_is_known_is_woken_when_it_is() {
        let line = line();
        assert!(line.waiting("ci", "foo", "u-d").is_empty());
        assert_eq!(woken(&line.take_in(&Apply(run("d", 9, &json!({}))))), ["d"]);
        assert_eq!(names(&line.waiting("ci", "foo", "u-d")), ["c", "a", "b", "d"]);
    }

    #[test]
    fn a_run_that_cannot_be_taken_on_keeps_nobody_waiting_for_ever() {
        let line = line();
        let unheld = |more: &str| run("first", 0, &json!({"finalizers": [], "annotations": {"seen": more}}));
        line.take_in(&Apply(unheld("once")));
        let (now, late) = (Instant::now(), Instant::now() + TAKEN_ON);
        assert_eq!(names(&line.waiting_at("ci", "foo", "u-a", now)), ["first", "c", "a", "b"]);
        assert_eq!(names(&line.waiting_at("ci", "foo", "u-a", late)), ["c", "a", "b"]);
        // Neither a change of it nor a new list makes it young again.
        line.take_in(&Apply(unheld("twice")));
        for event in [Init, InitApply(unheld("thrice")), InitApply(run("a", 2, &json!({}))), InitDone] {
            line.take_in(&event);
        }
        assert_eq!(names(&line.waiting_at("ci", "foo", "u-a", late)), ["a"]);
        // Once it is held it has its place in line, which is that of its age.
        line.take_in(&Apply(run("first", 0, &json!({}))));
        assert_eq!(names(&line.waiting_at("ci", "foo", "u-a", late)), ["first", "a"]);
    }

    #[test]
    fn a_run_is_on_its_cluster_until_it_is_let_go() {
        let line = line();
        assert!(line.running("ci", "foo", "u1").is_empty() && line.holds("ci", "foo", "u-c"));
        line.take_in(&Apply(run("c", 1, &placed())));
        assert_eq!(names(&line.running("ci", "foo", "u1")), ["c"]);
        assert!(line.running("ci", "foo", "another of its name").is_empty());
        assert_eq!(names(&line.waiting("ci", "foo", "u-a")), ["a", "b"]);
        let mut ended = failed();
        ended["annotations"] = placed()["annotations"].clone();
        line.take_in(&Apply(run("c", 1, &ended)));
        assert!(line.running("ci", "foo", "u1").is_empty() && line.holds("ci", "foo", "u-c"));
        ended["finalizers"] = json!([]);
        assert_eq!(woken(&line.take_in(&Apply(run("c", 1, &ended)))), ["a", "b"]);
        assert!(!line.holds("ci", "foo", "u-c"));
    }
}
