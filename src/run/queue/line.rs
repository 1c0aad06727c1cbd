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
    api::{E2ERun, Sharing},
    run::{join::Joined, record::Record},
};

/// How long a run may be without the operator's finalizer until it keeps nobody waiting. Whoever works puts it on in
/// its first pass; where that is refused the run can never begin.
pub const TAKEN_ON: Duration = Duration::from_mins(1);

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
    /// Who was said to be run for all of a namespace and a key, by UID. It is told once, and stands while that one goes on.
    leaders: HashMap<(String, String), String>,
}

/// Which run is run for all those of one `spec.dedupeKey`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Leads {
    /// The one that asks.
    Itself,
    /// Another one, which it joins.
    Other(Joined),
    /// That is not known yet; who asks is woken then.
    Unknown,
}

/// What is known of a run.
#[derive(Clone, Debug)]
struct Entry {
    object: ObjectRef<E2ERun>,
    /// Its cluster, by name.
    cluster: String,
    sharing: Sharing,
    /// The UID of the run of whose shards it is one.
    of: Option<String>,
    /// `spec.dedupeKey`.
    key: Option<String>,
    /// It has not ended, and nobody told it to: it will have a verdict.
    goes_on: bool,
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
    /// It has joined another one, and wants nothing for itself.
    Joined,
    /// It has one that has not ended, on the cluster of this UID.
    Runs(String),
    /// It wants nothing any more.
    Over,
}

impl Entry {
    fn of(run: &E2ERun) -> Self {
        let ended = run.has_ended();
        let held = run.is_taken_on();
        let goes_on = !ended && !run.spec.cancel && run.metadata.deletion_timestamp.is_none();
        let stands = match Record::of(run).placed {
            // Its shards are in line, each for itself.
            _ if run.is_divided() && !held => Stands::Over,
            Some(placed) if held && !ended => Stands::Runs(placed.host.cluster),
            None if goes_on && !held && Joined::of(run).is_some() => Stands::Joined,
            None if goes_on => Stands::Waiting,
            _ => Stands::Over,
        };
        Self {
            object: ObjectRef::from_obj(run),
            cluster: run.cluster_name(),
            sharing: run.spec.sharing,
            of: run.divided_from().map(str::to_owned),
            key: run.spec.dedupe_key.clone(),
            goes_on,
            created: run.creation_timestamp().map(|t| t.0),
            stands,
            held,
            unheld: (!held).then(Instant::now),
        }
    }

    /// The same, which was known before as `old`.
    fn after(mut self, old: Option<&Self>) -> Self {
        // Who had joined another one was not to be taken on until now.
        let old = old.filter(|old| old.stands != Stands::Joined);
        self.unheld = self.unheld.map(|now| old.and_then(|old| old.unheld).unwrap_or(now));
        self
    }

    /// Whether it was not taken on in time.
    fn given_up(&self, now: Instant) -> bool {
        self.unheld.is_some_and(|since| now.saturating_duration_since(since) >= TAKEN_ON)
    }

    /// Whether it is in line.
    fn waits(&self, now: Instant) -> bool {
        self.stands == Stands::Waiting && !self.given_up(now)
    }

    fn on(&self, namespace: &str, cluster: &str) -> bool {
        self.cluster == cluster && self.object.namespace.as_deref().unwrap_or_default() == namespace
    }

    /// Whether it is of this key, and could be run for all of it.
    fn could_lead(&self, namespace: &str, key: &str, now: Instant) -> bool {
        self.goes_on && self.is_of(namespace, key) && (!self.given_up(now) || self.stands == Stands::Joined)
    }

    fn is_of(&self, namespace: &str, key: &str) -> bool {
        self.key.as_deref() == Some(key) && self.object.namespace.as_deref().unwrap_or_default() == namespace
    }

    fn guest(&self, uid: &str) -> Guest {
        Guest { name: self.object.name.clone(), uid: uid.to_owned(), sharing: self.sharing, of: self.of.clone() }
    }

    /// Whether others can go on for what this has become.
    fn makes_room(&self, now: Option<&Self>) -> bool {
        let gone = |now: &Self| matches!(now.stands, Stands::Over | Stands::Joined);
        let left = self.stands == Stands::Waiting && now.is_none_or(gone);
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
                let Known { runs, leaders, .. } = &mut *known;
                leaders.retain(|_, uid| runs.contains_key(uid));
                // What came between is not told: everybody looks.
                let open = |entry: &&Entry| matches!(entry.stands, Stands::Waiting | Stands::Joined);
                let waiting = known.runs.values().filter(open);
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

    /// Whether nobody is to wait for a run any more, since it was not taken on in time.
    #[must_use]
    pub fn given_up(&self, uid: &str) -> bool {
        self.lock().runs.get(uid).is_some_and(|entry| entry.given_up(Instant::now()))
    }

    /// Which run is run for all those of a key. One that was taken on comes first, then the oldest.
    #[must_use]
    pub fn leads(&self, namespace: &str, key: &str, asks: &str) -> Leads {
        self.leads_at(namespace, key, asks, Instant::now())
    }

    fn leads_at(&self, namespace: &str, key: &str, asks: &str, now: Instant) -> Leads {
        let mut known = self.lock();
        if !known.runs.contains_key(asks) {
            known.missed.insert(asks.to_owned());
            return Leads::Unknown;
        }
        let of = (namespace.to_owned(), key.to_owned());
        let told = known
            .leaders
            .get(&of)
            .filter(|uid| known.runs.get(*uid).is_some_and(|entry| entry.could_lead(namespace, key, now)));
        // Who asks is not given up: it is taken on now.
        let could = |(uid, entry): &(&String, &Entry)| *uid == asks || entry.could_lead(namespace, key, now);
        // Who has joined another one comes last: two never join each other, whoever was told first.
        let joined = |entry: &Entry| entry.stands == Stands::Joined;
        let rank =
            |(_, entry): &(&String, &Entry)| (!entry.held, joined(entry), entry.created, entry.object.name.clone());
        let first = || known.runs.iter().filter(could).min_by_key(rank).map(|(uid, _)| uid);
        let Some(leader) = told.or_else(first).cloned() else { return Leads::Itself };
        let name = known.runs.get(&leader).map(|entry| entry.object.name.clone()).unwrap_or_default();
        known.leaders.insert(of, leader.clone());
        if leader == asks { Leads::Itself } else { Leads::Other(Joined { name, uid: leader }) }
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
        let mut woken: Vec<_> = missed.then(|| ObjectRef::from_obj(run)).into_iter().collect();
        if let Some(left) = old.as_ref().filter(|old| old.goes_on && now.as_ref().is_none_or(|now| !now.goes_on)) {
            woken.extend(self.leave(left, &uid));
        }
        let old = old.filter(|old| old.makes_room(now.as_ref()));
        if let Some(now) = now {
            self.runs.insert(uid, now);
        }
        if let Some(old) = old {
            let namespace = old.object.namespace.clone().unwrap_or_default();
            let waits = |e: &&Entry| e.stands == Stands::Waiting && e.on(&namespace, &old.cluster);
            woken.extend(self.runs.values().filter(waits).map(|e| e.object.clone()));
        }
        woken
    }

    /// A run goes on no more: those that joined it look what became of it.
    fn leave(&mut self, left: &Entry, uid: &str) -> Vec<ObjectRef<E2ERun>> {
        let Some(key) = &left.key else { return Vec::new() };
        let namespace = left.object.namespace.clone().unwrap_or_default();
        let of = (namespace.clone(), key.clone());
        if self.leaders.get(&of).is_some_and(|leader| leader == uid) {
            self.leaders.remove(&of);
        }
        let joined = |entry: &&Entry| entry.stands == Stands::Joined && entry.is_of(&namespace, key);
        self.runs.values().filter(joined).map(|entry| entry.object.clone()).collect()
    }
}

#[cfg(test)]
mod tests;
