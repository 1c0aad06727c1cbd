//! Does what the plan says: one match over [`Action`], every arm safe to repeat.

mod failure;
mod install;
mod launch;
mod start;

use std::{future::Future, time::Duration};

pub use failure::Failure;
use futures::future::join_all;
pub use install::REST as INSTALL_REST;
use k8s_openapi::jiff::Timestamp;
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, Patch, PatchParams},
};

use self::launch::Ground;
use super::{
    Context, console, credentials,
    keys::Keys,
    member::MemberId,
    observe::Observation,
    plan::{Action, Plan},
    provider::CloudOf,
    status::address,
    words,
};
use crate::{
    api::{FINALIZER, NodeRole, SwarmCluster, label},
    cloud::{Instance, Owner, Removal},
    host::{HostId, Target},
    swarm::{Engine, JoinRequest, SwarmError},
};

/// How often in a row the network may be in use before that is told: an interface outlives its instance for a moment.
const IN_USE: u32 = 3;

/// How long a step may take, with all that is tried again in it. The limits of questions to engines are over where an
/// answer begins: one without an end must not keep the cluster from its next pass, and so from being deleted.
const LONGEST: Duration = Duration::from_secs(600);
/// The same of a join: two questions, of which Docker itself gives the longer one 20 s.
const JOINED: Duration = Duration::from_secs(120);

/// What became of a plan.
#[derive(Debug, Default)]
pub struct Outcome {
    /// What failed, and while doing what.
    pub failures: Vec<(Failure, String)>,
    /// Something was done whose effect is worth a look at once.
    pub changed: bool,
    /// The object was let go.
    pub released: bool,
    /// What the plan decided is written down.
    pub saved: bool,
}

struct Actor<'a> {
    context: &'a Context,
    cluster: &'a SwarmCluster,
    cloud: &'a CloudOf<'a>,
    observation: &'a Observation,
    owner: Owner,
}

/// Carries out a plan: what must be written down first, then everything else at once.
pub async fn act(
    context: &Context,
    cluster: &SwarmCluster,
    cloud: &CloudOf<'_>,
    observation: &mut Observation,
    plan: &Plan,
) -> Outcome {
    let mut outcome = Outcome::default();
    if let Err(error) = write_down(context, cluster, cloud, observation, plan).await {
        outcome.failures.push((Failure::Host(error.to_string()), "writing the cluster's Secret".to_owned()));
        return outcome;
    }
    outcome.saved = true;
    outcome.changed = !plan.pins.is_empty();
    let owner = super::owner(cluster);
    let actor = Actor { context, cluster, cloud, observation, owner };
    actor.connect(plan);
    actor.note_short(plan);
    let ground = match actor.ground(plan).await {
        Ok(ground) => ground,
        Err(failure) => {
            outcome.failures.push((failure, "preparing the network".to_owned()));
            None
        }
    };
    let possible = |a: &&Action| ground.is_some() || !matches!(a, Action::Launch(..) | Action::Init(_));
    let steps = plan.actions.iter().filter(possible);
    let taken = join_all(steps.map(async |a| (a, within(LONGEST, actor.take(a, ground.as_ref())).await)));
    for (action, done) in taken.await {
        match done {
            Ok(Effect::Waits) => {}
            Ok(Effect::Changed) => outcome.changed = true,
            Ok(Effect::Released) => outcome.released = true,
            Err(failure) => outcome.failures.push((failure, actor.describe(action))),
        }
    }
    outcome
}

/// What a step that succeeded means for the next pass.
enum Effect {
    /// Something else wakes us when it takes effect.
    Waits,
    /// A look at once is worth it.
    Changed,
    /// The object is gone.
    Released,
}

/// A step, where it ends in time. All of them may be cut off anywhere.
async fn within<T>(limit: Duration, step: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let late = |_| Failure::Host(format!("it has not ended after {} s", limit.as_secs()));
    tokio::time::timeout(limit, step).await.map_err(late)?
}

/// Writes journal and host keys, and makes the Secret when there is none yet.
async fn write_down(
    context: &Context,
    cluster: &SwarmCluster,
    cloud: &CloudOf<'_>,
    observation: &mut Observation,
    plan: &Plan,
) -> Result<(), super::keys::KeysError> {
    if plan.save.is_none() && plan.pins.is_empty() {
        return Ok(());
    }
    let mut keys = match observation.keys.take() {
        Some(keys) => keys,
        None => Keys::create(&context.client, cluster, cloud.entry.as_ref()).await?,
    };
    if let Some(journal) = &plan.save {
        keys.journal = journal.clone();
    }
    let places = observation.places(cluster);
    match &cloud.entry {
        Some(entry) => {
            keys.enter(entry, &cluster.name_any());
        }
        // Host keys that were given are not ours to forget.
        None if cloud.ec2.is_none() => {}
        None => {
            let placed = |id: &MemberId| Some((*id, places.as_ref()?.get(id)?.clone()));
            let pins: Vec<_> = plan.pins.iter().filter_map(placed).collect();
            keys.pin(&cluster.name_any(), &cluster.uid().unwrap_or_default(), &pins, &plan.hosts);
        }
    }
    let mut written = keys.write(&context.client, cluster).await;
    if written.is_ok() {
        context.remember(&cluster.uid().unwrap_or_default(), |memory| memory.keys = Some(keys.clone()));
        if plan.save.is_none() || observation.world.journal.is_none() || !plan.pins.is_empty() {
            written = keys.project(&context.client, cluster, places.as_ref()).await;
        }
    }
    observation.keys = Some(keys);
    written
}

impl Actor<'_> {
    /// Tells the connection room which hosts are wanted.
    fn connect(&self, plan: &Plan) {
        let ids: Vec<_> = plan.hosts.iter().map(|f| Keys::host_id(&self.owner.uid, *f)).collect();
        if let Some(keys) = &self.observation.keys {
            for (member, id) in plan.hosts.iter().zip(&ids) {
                let instance = self.observation.world.instance(*member);
                if let Some(target) = instance.and_then(|i| self.target(keys, id, i)) {
                    self.context.hosts.ensure(id.clone(), target);
                }
            }
        }
        self.context.hosts.retain(&self.owner.uid, &ids);
        self.context.notices.retain(&self.owner.uid, &ids);
    }

    /// The way to a host; `None` while it has no address, or no key that it must show is known.
    fn target(&self, keys: &Keys, id: &HostId, instance: &Instance) -> Option<Target> {
        if let Some(login) = &instance.login {
            let pin = keys.given(&format!("{}-{}", self.cluster.name_any(), id.slot), &login.address)?;
            let via = keys.through(login)?;
            let target = Target::pinned(&login.address, keys.client.clone(), pin);
            return Some(Target { port: login.port, user: login.user.clone(), via, ..target });
        }
        let address = address(instance, self.cloud.connect_to())?;
        let own = keys.seed.host_key(id);
        let boot = (!keys.pins(id)).then(|| keys.seed.boot_key(id));
        Some(Target::operator(address, keys.client.clone(), own, boot))
    }

    async fn take(&self, action: &Action, ground: Option<&Ground>) -> Result<Effect, Failure> {
        match action {
            Action::Launch(member, offering) => self.launch(*member, offering, ground).await,
            Action::Examine(id) => {
                let told = match self.cloud.account.cloud.console(id).await {
                    Ok(text) => console::told(&text),
                    Err(error) => format!("its console cannot be read: {error}"),
                };
                self.context.remember(&self.owner.uid, |m| m.consoles.insert(id.clone(), told));
                Ok(Effect::Changed)
            }
            Action::Terminate(ids) => {
                self.cloud.account.cloud.terminate(ids).await?;
                self.cloud.account.inventory.note_terminating(ids);
                self.cloud.account.shortages.freed(Timestamp::now());
                Ok(Effect::Waits)
            }
            Action::Start(ids) => self.start(ids).await,
            Action::Force(host) => {
                self.engine(host)?.force_new_cluster(&self.advertise(host)?).await?;
                Ok(Effect::Changed)
            }
            Action::Init(host) => {
                let pools = ground.map(|g| g.pools.clone().map_err(Failure::Spec)).transpose()?;
                self.engine(host)?.init(&self.advertise(host)?, pools.as_ref()).await?;
                Ok(Effect::Changed)
            }
            Action::Join { host, via, remotes } => self.join(host, via, remotes),
            Action::Leave(host) => {
                self.engine(host)?.leave(true).await?;
                Ok(Effect::Changed)
            }
            Action::Install(host) => self.install(*host),
            Action::Unlabel { via, node } => {
                self.engine(via)?.unlabel(node, &[label::CLUSTER, label::SLOT, label::INCARNATION]).await?;
                Ok(Effect::Changed)
            }
            Action::Update { via, node, labels, role } => {
                let manager = self.engine(via)?;
                if !labels.is_empty() {
                    manager.label(node, labels).await?;
                }
                match role {
                    Some(NodeRole::Manager) => manager.promote(node).await?,
                    Some(NodeRole::Worker) => manager.demote(node).await?,
                    None => {}
                }
                Ok(Effect::Changed)
            }
            Action::Drain { via, node } => {
                self.engine(via)?.drain(node).await?;
                Ok(Effect::Changed)
            }
            Action::Activate { via, node } => {
                self.engine(via)?.activate(node).await?;
                Ok(Effect::Changed)
            }
            Action::RemoveNode { via, node } => {
                self.engine(via)?.remove(node, true).await?;
                Ok(Effect::Changed)
            }
            Action::Expire => {
                let params = DeleteParams::default().preconditions(kube::api::Preconditions {
                    uid: Some(self.owner.uid.clone()),
                    resource_version: None,
                });
                let done = self.objects().delete(&self.cluster.name_any(), &params).await;
                done.map_err(|e| Failure::Host(words::of(&e)))?;
                Ok(Effect::Waits)
            }
            Action::Release => self.release().await,
        }
    }

    /// Has a host join by itself: the next one that comes up need not wait for it.
    fn join(&self, host: &MemberId, via: &MemberId, remotes: &[String]) -> Result<Effect, Failure> {
        let (engine, manager) = (self.engine(host)?.clone(), self.engine(via)?.clone());
        let (role, remote, advertise) = (host.slot.role, remotes.to_vec(), self.advertise(host)?);
        let joined = async move {
            let tokens = manager.tokens().await?;
            let token = match role {
                NodeRole::Manager => tokens.manager,
                NodeRole::Worker => tokens.worker,
            };
            engine.join(&JoinRequest { remote, token, advertise }).await
        };
        self.context.joins.ensure(Keys::host_id(&self.owner.uid, *host), async move {
            let late = |_| SwarmError::Unreachable(format!("it has not ended after {} s", JOINED.as_secs()));
            tokio::time::timeout(JOINED, joined).await.map_err(late)?
        })?;
        Ok(Effect::Waits)
    }

    /// Nothing but the network is left: without it, the object may go.
    async fn release(&self) -> Result<Effect, Failure> {
        if let Removal::InUse(users) = self.cloud.account.cloud.delete_network(&self.owner).await? {
            self.cloud.account.inventory.poke();
            let tries = self.context.remember(&self.owner.uid, |m| {
                m.in_use = m.in_use.saturating_add(1);
                m.in_use
            });
            return if tries < IN_USE { Ok(Effect::Waits) } else { Err(Failure::InUse(users)) };
        }
        Keys::release(&self.context.client, self.cluster).await.map_err(|e| Failure::Host(e.to_string()))?;
        release_object(self.context, self.cluster).await.map_err(|e| Failure::Host(words::of(&e)))?;
        if let Some(secret) = credentials::place(self.cluster).and_then(|p| p.credentials) {
            let released = self.context.vault.release(&secret, &self.owner.uid, &self.context.places).await;
            // The collector lets it go, where this did not.
            if let Err(error) = released {
                tracing::warn!(cluster = self.owner.name, %error, "letting the credentials go failed");
            }
        }
        Ok(Effect::Released)
    }

    fn engine(&self, host: &MemberId) -> Result<&Engine, Failure> {
        self.observation.engines.get(host).ok_or_else(|| Failure::Host(format!("{} is not connected", host.slot)))
    }

    /// The address other nodes reach a host by.
    fn advertise(&self, host: &MemberId) -> Result<String, Failure> {
        let address = self.observation.world.instance(*host).and_then(|i| i.private_address.clone());
        address.ok_or_else(|| Failure::Host(format!("{} has no private address", host.slot)))
    }

    fn objects(&self) -> Api<SwarmCluster> {
        self.context.objects(self.cluster)
    }

    fn describe(&self, action: &Action) -> String {
        let name = |f: &MemberId| format!("{}-{}", self.cluster.name_any(), f.slot);
        match action {
            Action::Launch(f, o) => format!("launching {} as {}", name(f), o.instance_type),
            Action::Examine(id) => format!("reading the console of {id}"),
            Action::Terminate(ids) => format!("terminating {}", ids.join(", ")),
            Action::Start(ids) => format!("starting {}", ids.join(", ")),
            Action::Force(f) => format!("going on with {} as the only manager", name(f)),
            Action::Drain { node, .. } => format!("draining node {node}"),
            Action::Activate { node, .. } => format!("giving node {node} tasks again"),
            Action::Init(f) => format!("beginning the swarm on {}", name(f)),
            Action::Join { host, via, .. } => format!("joining {} through {}", name(host), name(via)),
            Action::Leave(f) => format!("taking {} out of a swarm that does not know it", name(f)),
            Action::Install(f) => format!("installing an engine on {}", name(f)),
            Action::Unlabel { node, .. } => format!("taking our labels off node {node}"),
            Action::Update { node, .. } => format!("updating node {node}"),
            Action::RemoveNode { node, .. } => format!("removing node {node}"),
            Action::Expire => "deleting the cluster at the end of its ttl".to_owned(),
            Action::Release => "removing the security group".to_owned(),
        }
    }
}

/// Takes our finalizer off the object.
pub async fn release_object(context: &Context, cluster: &SwarmCluster) -> Result<(), kube::Error> {
    let left: Vec<_> = cluster.finalizers().iter().filter(|f| *f != FINALIZER).collect();
    let patch = serde_json::json!({
        "metadata": { "finalizers": left, "resourceVersion": cluster.resource_version() }
    });
    let params = PatchParams::default();
    match context.objects(cluster).patch(&cluster.name_any(), &params, &Patch::Merge(patch)).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_step_without_an_end_is_a_failure() {
        let endless = within::<()>(Duration::from_millis(1), std::future::pending()).await;
        assert!(matches!(endless, Err(Failure::Host(words)) if words.contains("not ended")));
        assert!(within(LONGEST, async { Ok(7) }).await.is_ok_and(|done| done == 7));
        let refused = within::<()>(LONGEST, async { Err(Failure::Host("no".to_owned())) }).await;
        assert!(matches!(refused, Err(Failure::Host(words)) if words == "no"));
    }
}
