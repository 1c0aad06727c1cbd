//! The SwarmCluster controller: observe, plan, act, report.
//!
//! This file only drives; the steps are in files of their own. [`plan`] and [`status`] are
//! pure. A pass never waits for something that takes time: the inventory, the connections
//! and the managers' event streams wake the cluster when there is something to see.

mod access;
mod act;
mod console;
mod cost;
mod credentials;
mod holders;
mod joins;
mod journal;
mod keys;
mod known;
mod losses;
mod member;
mod memory;
mod notices;
mod observe;
mod pace;
mod places;
pub mod plan;
mod pools;
mod provider;
mod report;
mod roster;
mod slot;
mod status;
mod template;
mod trouble;
mod user_data;
mod watch;
mod words;
mod world;

use std::{
    collections::HashMap,
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

pub use credentials::Vault;
use futures::{StreamExt, channel::mpsc};
pub use journal::Journal;
use k8s_openapi::jiff::Timestamp;
pub use keys::free_journal;
use kube::{
    Api, Client, Resource, ResourceExt,
    runtime::{Controller, controller, reflector::ObjectRef, watcher},
};
pub use member::MemberId;
pub use places::{Place, Places, SecretName};
pub use slot::Slot;

use self::{
    act::{Failure, Outcome},
    joins::{Jobs, Joins},
    keys::Keys,
    memory::Memory,
    notices::Notices,
    observe::Observation,
    plan::{Plan, World},
    provider::Opened,
    watch::Watches,
};
use crate::{
    api::{FINALIZER, MANAGER, NodeRole, SwarmCluster},
    cloud::{Account, Clouds, Owner},
    events::Events,
    host::Hosts,
    metrics::metrics,
    prices::Prices,
    swarm::Node,
};

/// The UID of a SwarmCluster.
pub type Uid = String;

/// How often a cluster is looked at though nothing woke it: when something is awaited, and when all is well.
const FALLBACK: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(20));

/// How often a manager that just joined is looked at: Docker has no event for its becoming reachable.
const SETTLING: Duration = Duration::from_millis(500);

/// The longest pause between two tries of a step that fails.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// How long after the end of its ttl a cluster can be held, unless the operator is told otherwise.
const LONGEST_HOLD: Duration = Duration::from_secs(24 * 3600);

/// Wakes clusters.
#[derive(Clone, Debug)]
pub struct Wake(mpsc::UnboundedSender<Uid>);

impl Wake {
    /// A sender, and the stream the controller listens to.
    #[must_use]
    pub fn channel() -> (Self, mpsc::UnboundedReceiver<Uid>) {
        let (sender, receiver) = mpsc::unbounded();
        (Self(sender), receiver)
    }

    /// Has a cluster looked at soon.
    pub fn send(&self, uid: &str) {
        // Only fails when the controller has ended, and then there is nobody to wake.
        let _ = self.0.unbounded_send(uid.to_owned());
    }
}

/// What the controller works with.
pub struct Context {
    /// The API server.
    pub client: Client,
    /// Connections to hosts.
    pub hosts: Hosts,
    /// Cloud accounts.
    pub clouds: Clouds,
    /// Where was ever launched.
    pub places: Arc<Places>,
    /// Cloud credentials from Secrets.
    pub vault: Arc<Vault>,
    /// Writes Events.
    pub events: Events,
    /// Wakes clusters.
    pub wake: Wake,
    longest_hold: Duration,
    default_access: Vec<String>,
    prices: Option<Prices>,
    watches: Watches,
    joins: Joins,
    notices: Notices,
    installs: Jobs<String>,
    memory: Mutex<HashMap<Uid, Memory>>,
}

impl Context {
    /// A context.
    #[must_use]
    pub fn new(client: Client, hosts: Hosts, clouds: Clouds, places: Arc<Places>, events: Events, wake: Wake) -> Self {
        let joins = Joins::new(wake.clone(), Duration::ZERO);
        let installs = Jobs::new(wake.clone(), act::INSTALL_REST);
        let notices = Notices::new(wake.clone());
        let vault = Arc::new(Vault::new(client.clone()));
        Self {
            client,
            hosts,
            clouds,
            places,
            vault,
            events,
            wake,
            longest_hold: LONGEST_HOLD,
            default_access: Vec::new(),
            prices: None,
            watches: Watches::default(),
            joins,
            notices,
            installs,
            memory: Mutex::default(),
        }
    }

    /// The same, where a cluster can be held for so long after the end of its ttl.
    #[must_use]
    pub fn holding(self, longest_hold: Duration) -> Self {
        Self { longest_hold, ..self }
    }

    /// The same, where these networks may reach the hosts of clusters that do not say who may.
    #[must_use]
    pub fn reached_from(self, default_access: Vec<String>) -> Self {
        Self { default_access, ..self }
    }

    /// The same, where it is told what clusters cost by this table.
    #[must_use]
    pub fn priced_by(self, prices: Option<Prices>) -> Self {
        Self { prices, ..self }
    }

    fn objects(&self, cluster: &SwarmCluster) -> Api<SwarmCluster> {
        Api::namespaced(self.client.clone(), &cluster.namespace().unwrap_or_default())
    }

    fn remember<T>(&self, uid: &Uid, change: impl FnOnce(&mut Memory) -> T) -> T {
        change(self.memory.lock().unwrap_or_else(PoisonError::into_inner).entry(uid.clone()).or_default())
    }

    /// Takes in what was seen; what is remembered by now. Terms that changed begin anew: what was
    /// refused before is asked for again at once.
    fn look(&self, cluster: &SwarmCluster, account: &Account, world: &World) -> Memory {
        let engines = world.hosts.iter().filter(|(_, h)| h.engine.is_some()).map(|(id, _)| *id).collect();
        let terms = template::terms(&cluster.spec, &world.access);
        let (well, drains) = observe::wellness(world);
        self.remember(&cluster.uid().unwrap_or_default(), |memory| {
            if memory.terms != terms {
                if !memory.terms.is_empty() {
                    account.shortages.retry(plan::all_offerings(&cluster.spec));
                }
                (memory.terms, memory.failures) = (terms, 0);
            }
            let (now, paused) = (Instant::now(), cluster.spec.paused);
            if let Some(instances) = &world.instances {
                memory.since.get_or_insert(now);
                memory.look(instances, &engines, paused, now);
                memory.judge(&well, &drains, world.nodes.is_some(), paused, now);
            }
            memory.clone()
        })
    }

    /// Counts passes that failed in a row, and says how long to pause.
    fn pause(&self, uid: &Uid, failed: bool) -> Duration {
        let failures = self.remember(uid, |memory| {
            memory.failures = if failed { memory.failures.saturating_add(1) } else { 0 };
            memory.failures
        });
        (Duration::from_millis(500) * 2u32.saturating_pow(failures.min(8))).min(LONGEST_PAUSE)
    }

    fn forget(&self, uid: &Uid) {
        metrics().clusters.forget(uid);
        metrics().costs.forget(uid);
        self.memory.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
        self.watches.forget(uid);
        self.joins.forget(uid);
        self.notices.retain(uid, &[]);
        self.installs.forget(uid);
        self.hosts.retain(uid, &[]);
    }
}

/// A pass that ended early, at the API server.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server refused.
    #[error("API server: {0}")]
    Api(#[from] kube::Error),
    /// The cluster's Secret cannot be used.
    #[error(transparent)]
    Keys(#[from] keys::KeysError),
}

/// Runs the controller until `shutdown` resolves and the passes under way have ended.
pub async fn run(
    context: Arc<Context>,
    objects: Api<SwarmCluster>,
    woken: mpsc::UnboundedReceiver<Uid>,
    shutdown: impl Future<Output = ()> + Send + Sync + 'static,
) {
    let controller = Controller::new(objects, watcher::Config::default());
    let store = controller.store();
    let woken = woken.filter_map(move |uid| {
        let found = store.state().into_iter().find(|c| c.metadata.uid.as_ref() == Some(&uid));
        std::future::ready(found.map(|c| ObjectRef::from_obj(&*c)))
    });
    controller
        .reconcile_on(woken)
        .graceful_shutdown_on(shutdown)
        .run(
            |cluster, context| metrics().pass("SwarmCluster", reconcile(cluster, context)),
            |cluster, error, context| {
                tracing::warn!(cluster = cluster.name_any(), %error, "a pass failed");
                controller::Action::requeue(context.pause(&cluster.uid().unwrap_or_default(), true))
            },
            context,
        )
        .for_each(|_| std::future::ready(()))
        .await;
}

/// One pass.
async fn reconcile(cluster: Arc<SwarmCluster>, context: Arc<Context>) -> Result<controller::Action, Error> {
    let uid = cluster.uid().unwrap_or_default();
    if !cluster.finalizers().iter().any(|f| f == FINALIZER) {
        if cluster.meta().deletion_timestamp.is_some() {
            context.forget(&uid);
            return Ok(controller::Action::await_change());
        }
        // Before the first call to the cloud: from here on, deletion goes through us.
        report::add_finalizer(&context, &cluster).await?;
    }
    let now = Timestamp::now();
    let (observation, plan, outcome) = match Opened::of(&context, &cluster).await {
        Ok(opened) => pass(&context, &cluster, opened, now).await?,
        Err(failure) => without_cloud(&cluster, failure),
    };
    if outcome.released {
        report::news(&context, &cluster, &plan).await;
        context.forget(&uid);
        return Ok(controller::Action::await_change());
    }
    let world = &observation.world;
    // Before the world was looked at there is nothing to say, and what was said stands.
    let silent = !world.looked && !world.deleting && outcome.failures.is_empty();
    let ready = if silent { false } else { report::report(&context, &cluster, world, &plan, &outcome, now).await? };
    if let Some((manager, engine)) = world.manager.and_then(|m| Some((m, observation.engines.get(&m)?))) {
        context.watches.follow(&uid, manager, engine, &context.wake);
    }
    let pause = context.pause(&uid, !outcome.failures.is_empty());
    let soon = if outcome.changed { context.remember(&uid, |m| m.pace.next(Instant::now())) } else { Duration::ZERO };
    let next = next_look(&plan, &outcome, ready, (pause, soon), now);
    Ok(controller::Action::requeue(if silent || !ready && outcome.failures.is_empty() && settles(world) {
        next.min(SETTLING)
    } else {
        next
    }))
}

/// Observe, plan, act.
async fn pass(
    context: &Context,
    cluster: &SwarmCluster,
    opened: Opened<'_>,
    now: Timestamp,
) -> Result<(Observation, Plan, Outcome), Error> {
    let uid = cluster.uid().unwrap_or_default();
    let before = context.remember(&uid, |memory| memory.keys.clone());
    let mut keys = Keys::read(&context.client, cluster, before).await?;
    if let Some(keys) = &mut keys {
        if let Some(entry) = opened.entry()
            && keys.enter(entry, &cluster.name_any())
        {
            keys.write(&context.client, cluster).await?;
        }
        context.remember(&uid, |memory| memory.keys = Some(keys.clone()));
    }
    let cloud = opened.cloud(cluster, keys.as_ref().map(|k| &k.journal));
    let mut observation = observe::observe(context, cluster, &cloud.account, keys).await;
    if let Some(keys) = observation.keys.as_ref().filter(|_| cluster.meta().deletion_timestamp.is_none()) {
        keys.project(&context.client, cluster, observation.places(cluster).as_ref()).await?;
    }
    let plan = plan::plan(&cluster.spec, &observation.world, now);
    let mut outcome = act::act(context, cluster, &cloud, &mut observation, &plan).await;
    if let Some(doubt) = cloud.doubt {
        let what =
            if cloud.ec2.is_some() { "the last good credentials are used" } else { "spec.provider.hosts.secretRef" };
        outcome.failures.push((doubt, what.to_owned()));
    }
    if let Some(doubt) = cloud.entry.and_then(|e| e.doubt) {
        outcome.failures.push((Failure::Spec(doubt), "spec.provider.hosts.secretRef".to_owned()));
    }
    if let (None, Some(error)) = (&observation.world.instances, cloud.account.inventory.last_error()) {
        outcome.failures.push((error.into(), "listing instances".to_owned()));
    }
    Ok((observation, plan, outcome))
}

/// A cluster whose cloud cannot be spoken to: said on the object.
fn without_cloud(cluster: &SwarmCluster, failure: Failure) -> (Observation, Plan, Outcome) {
    let outcome = Outcome { failures: vec![(failure, "spec.provider".to_owned())], ..Outcome::default() };
    let world = World { deleting: cluster.meta().deletion_timestamp.is_some(), ..World::default() };
    (Observation { world, ..Observation::default() }, Plan::default(), outcome)
}

/// Whether raft and a node do not agree yet on its vote: there is no event for that.
fn settles(world: &World) -> bool {
    let unsettled = |n: &Node| match n.role {
        NodeRole::Manager => n.ready && !n.reachable,
        NodeRole::Worker => n.voter,
    };
    world.nodes.iter().flatten().any(unsettled)
}

/// When to look again though nothing wakes us: after so long where something failed, and so soon where something changed.
fn next_look(
    plan: &Plan,
    outcome: &Outcome,
    ready: bool,
    (pause, soon): (Duration, Duration),
    now: Timestamp,
) -> Duration {
    if !outcome.failures.is_empty() {
        return pause;
    }
    if outcome.changed {
        return soon;
    }
    let fallback = if ready { FALLBACK.1 } else { FALLBACK.0 };
    let planned = plan.again_at.map(|at| Duration::try_from(at.duration_since(now)).unwrap_or_default());
    planned.map_or(fallback, |p| p.min(fallback))
}

/// Who a cluster is to the cloud.
fn owner(cluster: &SwarmCluster) -> Owner {
    Owner {
        uid: cluster.uid().unwrap_or_default(),
        name: format!("{}/{}", cluster.namespace().unwrap_or_default(), cluster.name_any()),
    }
}

/// What Events are written as.
#[must_use]
pub fn reporter() -> kube::runtime::events::Reporter {
    MANAGER.to_owned().into()
}
