//! The links there are: looked at, buried when they are dead, and made anew. What is seen goes to the homes.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::sync::watch;

use super::{
    homes::{Change, Homes, Pin, Place, Question, Sight},
    link::{Link, Node},
    nodes::Refused,
};

/// What happens, for whoever looks on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Containers, images and all that an engine has are asked of this node now.
    Home {
        /// The node.
        node: String,
        /// The one before, and why it is not home any more.
        instead_of: Option<(String, String)>,
        /// It is the first one again.
        back: bool,
        /// Where containers are that were made elsewhere.
        note: Option<String>,
    },
    /// Home is given up, and there is no other one: what it has cannot be asked.
    GivenUp {
        /// The node.
        node: String,
        /// Why.
        why: String,
    },
    /// The home that was given up is there again.
    Again {
        /// The node.
        node: String,
    },
    /// The connection to a node was lost; its streams ended with an error.
    Lost {
        /// The node.
        node: String,
        /// Why.
        why: String,
        /// Whether it is home.
        home: bool,
    },
    /// A node cannot be connected; said once until something changes.
    NotConnected {
        /// The node.
        node: String,
        /// Why.
        why: String,
    },
}

pub type Say = Box<dyn Fn(Event) + Send + Sync>;

pub struct Links {
    pub wanted: watch::Receiver<Vec<Node>>,
    say: Say,
    state: Mutex<State>,
    /// A link is new, or not what it was.
    pub changed: Arc<watch::Sender<()>>,
    /// Questions about what an engine has that have no whole answer yet.
    pub under_way: AtomicUsize,
}

pub struct State {
    pub links: Vec<Arc<Link>>,
    pub homes: Homes,
    /// The time in which this process was awake.
    clock: Duration,
    pub troubles: BTreeMap<String, String>,
    /// How long the ways were when they were last known.
    round_trips: BTreeMap<String, Duration>,
}

impl Links {
    /// No links yet.
    pub fn new(wanted: watch::Receiver<Vec<Node>>, pin: Pin, say: Say) -> Self {
        let state = State {
            links: Vec::new(),
            homes: Homes::new(pin),
            clock: Duration::ZERO,
            troubles: BTreeMap::new(),
            round_trips: BTreeMap::new(),
        };
        let under_way = AtomicUsize::new(0);
        Self { wanted, say, state: Mutex::new(state), changed: Arc::default(), under_way }
    }

    /// The link to where the question goes now; none where that is waited for.
    pub fn place(&self, question: &mut Question) -> Result<Option<Arc<Link>>, Refused> {
        self.look(Duration::ZERO);
        let state = self.state();
        match question.place(&state.homes) {
            Place::At(name) => Ok(state.link(&name)),
            Place::Wait => Ok(None),
            Place::Over(why) => Err(Refused::Over(why)),
        }
    }

    pub fn elsewhere(&self, question: &Question, silent: &Link) -> Option<Arc<Link>> {
        self.look(Duration::ZERO);
        let state = self.state();
        question.elsewhere(&state.homes, &silent.name).and_then(|name| state.link(&name))
    }

    /// Takes the dead links away, lets the homes see the others, and says what changed.
    pub fn look(&self, passed: Duration) {
        let busy = self.under_way.load(Ordering::Relaxed) > 0;
        let (events, seen_anew) = {
            let wanted = self.wanted.borrow();
            let names: Vec<String> = wanted.iter().map(|n| n.name.clone()).collect();
            let mut state = self.state();
            let mut events = state.bury();
            state.clock += passed;
            let mut sights: Vec<Sight> = state.links.iter().map(|link| sight(link, &wanted)).collect();
            sights.sort_by_key(|s| names.iter().position(|n| *n == s.name));
            let clock = state.clock;
            let seen_anew = state.homes.would_see_anew(&sights);
            let changes = state.homes.look(clock, sights, &names, busy);
            events.extend(changes.into_iter().map(|change| event(change, &state.homes)));
            (events, seen_anew)
        };
        let changed = seen_anew || !events.is_empty();
        events.into_iter().for_each(|event| (self.say)(event));
        if changed {
            self.changed.send_replace(());
        }
    }

    /// The nodes to connect to, the most needed first.
    pub fn missing(&self, managers: usize) -> Vec<Node> {
        let wanted = self.wanted.borrow().clone();
        let state = self.state();
        let is_connected = |node: &Node| state.links.iter().any(|l| l.name == node.name && !l.is_dead());
        let connected = wanted.iter().filter(|n| n.manager && is_connected(n)).count();
        let needed = |node: &Node| state.homes.needs().any(|name| name == node.name);
        let mut missing: Vec<Node> = wanted
            .iter()
            .filter(|n| !is_connected(n) && (needed(n) || (n.manager && connected < managers)))
            .cloned()
            .collect();
        missing.sort_by_key(|n| !needed(n));
        missing
    }

    /// One attempt at one node.
    pub async fn connect(&self, node: Node, at_most: Duration) {
        let known = self.state().round_trips.get(&node.name).copied();
        // A way that is known to be short is not waited for long: a lost SYN is sent again late.
        let first_bytes = known.map_or(at_most, |trip| (trip * 4).clamp(Duration::from_secs(1), at_most));
        let link = match Link::connect(&node, first_bytes, self.changed.clone()).await {
            Ok(link) => link,
            Err(error) => return self.trouble(&node.name, error.to_string()),
        };
        let (dead, changed) = (link.dead().clone(), self.changed.clone());
        tokio::spawn(async move {
            dead.cancelled().await;
            changed.send_replace(());
        });
        let mut state = self.state();
        state.troubles.remove(&node.name);
        state.links.push(link);
        drop(state);
        self.look(Duration::ZERO);
        self.changed.send_replace(());
    }

    fn trouble(&self, node: &str, why: String) {
        let before = self.state().troubles.insert(node.to_owned(), why.clone());
        if before.as_ref() != Some(&why) {
            (self.say)(Event::NotConnected { node: node.to_owned(), why });
        }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds this lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn link(&self, name: &str) -> Option<Arc<Link>> {
        self.links.iter().find(|l| l.name == name && !l.is_dead()).cloned()
    }

    /// Takes the dead links away.
    fn bury(&mut self) -> Vec<Event> {
        let (dead, alive) = std::mem::take(&mut self.links).into_iter().partition(|l: &Arc<Link>| l.is_dead());
        self.links = alive;
        let mut events = Vec::new();
        for link in dead {
            let link: Arc<Link> = link;
            self.round_trips.insert(link.name.clone(), link.round_trip());
            let home = self.homes.home() == Some(&link.name);
            events.push(Event::Lost { node: link.name.clone(), why: link.reason(), home });
        }
        events
    }
}

fn sight(link: &Arc<Link>, wanted: &[Node]) -> Sight {
    Sight {
        name: link.name.clone(),
        manager: link.is_manager(),
        leader: wanted.iter().any(|n| n.name == link.name && n.leader),
        hears: !link.is_suspect(),
        engine: link.has_engine(),
        swarm: link.has_swarm(),
    }
}

fn event(change: Change, homes: &Homes) -> Event {
    let why = || homes.why().to_owned();
    match change {
        Change::Home { node, instead_of, back } => {
            Event::Home { node, instead_of: instead_of.map(|before| (before, why())), back, note: homes.note() }
        }
        Change::GivenUp { node } => Event::GivenUp { node, why: why() },
        Change::Again { node } => Event::Again { node },
    }
}
