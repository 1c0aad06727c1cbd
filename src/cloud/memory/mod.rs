//! A cloud within the process: for component tests and benchmarks.
//!
//! It keeps the contract of [`CloudProvider`] with real delays and EC2's own request
//! buckets, and fails where it is told to. It knows nothing of any wire format.

mod bucket;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use bucket::Buckets;
use k8s_openapi::jiff::Timestamp;

use super::{
    Answer, CloudError, CloudProvider, Instance, InstanceState, Launch, Network, NetworkSpec, OwnedNetwork, Owner,
    Removal,
};

/// How the cloud behaves. It may be changed at any time with [`Memory::behave`].
#[derive(Clone, Debug, Default)]
pub struct Behavior {
    /// From launched to running.
    pub boot: Duration,
    /// From told to end to ended.
    pub shutdown: Duration,
    /// For how long a new instance is not listed.
    pub unlisted: Duration,
    /// Instance types there is no capacity for.
    pub no_capacity: BTreeSet<String>,
    /// Actions the credentials lack, such as `RunInstances`.
    pub denied: BTreeSet<String>,
    /// The share of calls, 0 to 1, that is throttled.
    pub throttled: f64,
    /// Whether calls draw from EC2's request buckets.
    pub buckets: bool,
}

/// A cloud within the process. It forgets everything with the last handle.
#[derive(Default)]
pub struct Memory {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    behavior: Behavior,
    buckets: Buckets,
    calls: BTreeMap<&'static str, u64>,
    /// What of the share of throttled calls is left over.
    owed: f64,
    instances: Vec<Machine>,
    networks: BTreeMap<Owner, (String, NetworkSpec)>,
    made: u32,
}

struct Machine {
    launch: Launch,
    instance: Instance,
    launched: Instant,
    told_to_end: Option<Instant>,
}

impl Memory {
    /// An empty cloud.
    #[must_use]
    pub fn new(behavior: Behavior) -> Self {
        Self { state: Mutex::new(State { behavior, ..State::default() }) }
    }

    /// Changes how the cloud behaves from now on.
    pub fn behave(&self, change: impl FnOnce(&mut Behavior)) {
        change(&mut self.state().behavior);
    }

    /// How often each action was called, refused calls included.
    #[must_use]
    pub fn calls(&self) -> BTreeMap<&'static str, u64> {
        self.state().calls.clone()
    }

    /// Ends an instance as a spot interruption or a broken machine would: at once and unasked.
    pub fn lose(&self, id: &str) {
        let mut state = self.state();
        let now = Instant::now();
        if let Some(machine) = state.instances.iter_mut().find(|m| m.instance.id == id) {
            machine.told_to_end = Some(now);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state, unless the call is refused.
    fn call(&self, action: &'static str) -> Result<MutexGuard<'_, State>, CloudError> {
        let mut state = self.state();
        *state.calls.entry(action).or_default() += 1;
        if state.behavior.denied.contains(action) {
            return Err(CloudError::Unauthorized {
                permission: Some(format!("ec2:{action}")),
                message: "denied by the test".to_owned(),
            });
        }
        state.owed += state.behavior.throttled;
        let unlucky = state.owed >= 1.0;
        if unlucky {
            state.owed -= 1.0;
        }
        let overdrawn = state.behavior.buckets && !state.buckets.draw(action, Instant::now());
        if unlucky || overdrawn {
            return Err(CloudError::Throttled(format!("{action}: Request limit exceeded")));
        }
        Ok(state)
    }
}

impl State {
    /// A machine as it is now.
    fn now(&self, machine: &Machine, now: Instant) -> Instance {
        let mut instance = machine.instance.clone();
        instance.state = match machine.told_to_end {
            Some(at) if now >= at + self.behavior.shutdown => InstanceState::Terminated,
            Some(_) => InstanceState::ShuttingDown,
            None if now >= machine.launched + self.behavior.boot => InstanceState::Running,
            None => InstanceState::Pending,
        };
        instance
    }

    fn launch(&mut self, launch: &Launch, now: Instant) -> Result<Instance, CloudError> {
        if let Some(earlier) = self.instances.iter().find(|m| same(&m.launch, launch)) {
            let instance = self.now(earlier, now);
            return if instance.state.is_ended() { Err(CloudError::Ended) } else { Ok(instance) };
        }
        if self.behavior.no_capacity.contains(&launch.instance_type) {
            return Err(CloudError::Capacity(format!("RunInstances: no {} left", launch.instance_type)));
        }
        if let Some(unknown) = launch.security_groups.iter().find(|id| !self.networks.values().any(|(n, _)| n == *id)) {
            return Err(CloudError::Invalid(format!("RunInstances: The security group '{unknown}' does not exist")));
        }
        self.made += 1;
        let [high, low] = u16::try_from(self.made).unwrap_or(u16::MAX).to_be_bytes();
        let instance = Instance {
            id: format!("i-{:017x}", self.made),
            owner: launch.owner.clone(),
            slot: launch.slot.clone(),
            incarnation: launch.incarnation,
            state: InstanceState::Pending,
            state_reason: None,
            instance_type: launch.instance_type.clone(),
            spot: launch.spot,
            private_address: Some(format!("10.0.{high}.{low}")),
            public_address: launch.public_address.then(|| format!("203.0.{high}.{low}")),
            zone: Some("memory-1a".to_owned()),
            subnet: launch.subnet.clone(),
            launched_at: Some(Timestamp::now()),
            login: None,
        };
        let machine = Machine { launch: launch.clone(), instance, launched: now, told_to_end: None };
        let instance = self.now(&machine, now);
        self.instances.push(machine);
        Ok(instance)
    }
}

/// Whether two launches are one instance: as a ClientToken decides it.
fn same(a: &Launch, b: &Launch) -> bool {
    let key =
        |l: &Launch| (l.owner.uid.clone(), l.slot.clone(), l.incarnation, l.instance_type.clone(), l.subnet.clone());
    key(a) == key(b)
}

/// A network as the caller is told of it.
fn network_of(id: &str) -> Network {
    Network { security_group: id.to_owned(), cidrs: vec!["10.0.0.0/16".to_owned()] }
}

impl CloudProvider for Memory {
    fn account(&self) -> Option<String> {
        // As with EC2, an answer tells it.
        (!self.state().calls.is_empty()).then(|| "memory".to_owned())
    }

    fn list(&self) -> Answer<'_, Vec<Instance>> {
        Box::pin(async {
            let state = self.call("DescribeInstances")?;
            let now = Instant::now();
            let listed = state.instances.iter().filter(|m| now >= m.launched + state.behavior.unlisted);
            Ok(listed.map(|m| state.now(m, now)).collect())
        })
    }

    fn ensure_network<'a>(&'a self, owner: &'a Owner, network: &'a NetworkSpec) -> Answer<'a, Network> {
        Box::pin(async move {
            // As with EC2, what is as it should be costs no call.
            if let Some((id, spec)) = self.state().networks.get(owner)
                && spec == network
            {
                return Ok(network_of(id));
            }
            let mut state = self.call("CreateSecurityGroup")?;
            let new = format!("sg-{:017x}", state.networks.len() + 1);
            let (id, spec) = state.networks.entry(owner.clone()).or_insert_with(|| (new, network.clone()));
            *spec = network.clone();
            Ok(network_of(id))
        })
    }

    fn delete_network<'a>(&'a self, owner: &'a Owner) -> Answer<'a, Removal> {
        Box::pin(async move {
            let mut state = self.call("DeleteSecurityGroup")?;
            let Some((id, _)) = state.networks.get(owner) else { return Ok(Removal::Gone) };
            let now = Instant::now();
            let uses = |m: &Machine| {
                m.launch.security_groups.contains(id) && state.now(m, now).state != InstanceState::Terminated
            };
            let users = state.instances.iter().filter(|m| uses(m));
            let users: Vec<String> = users.map(|m| format!("instance {} ({})", m.instance.id, m.launch.name)).collect();
            if !users.is_empty() {
                return Ok(Removal::InUse(users));
            }
            state.networks.remove(owner);
            Ok(Removal::Gone)
        })
    }

    fn launch<'a>(&'a self, launch: &'a Launch) -> Answer<'a, Instance> {
        Box::pin(async move { self.call("RunInstances")?.launch(launch, Instant::now()) })
    }

    fn start<'a>(&'a self, _id: &'a str) -> Answer<'a, ()> {
        // Nothing here stops an instance.
        Box::pin(async { self.call("StartInstances").map(drop) })
    }

    fn terminate<'a>(&'a self, ids: &'a [String]) -> Answer<'a, ()> {
        Box::pin(async move {
            let mut state = self.call("TerminateInstances")?;
            let now = Instant::now();
            for machine in state.instances.iter_mut().filter(|m| ids.contains(&m.instance.id)) {
                machine.told_to_end.get_or_insert(now);
            }
            Ok(())
        })
    }

    fn list_networks(&self) -> Answer<'_, Vec<OwnedNetwork>> {
        Box::pin(async {
            let state = self.call("DescribeSecurityGroups")?;
            let owned =
                state.networks.iter().map(|(owner, (id, _))| OwnedNetwork { owner: owner.clone(), id: id.clone() });
            Ok(owned.collect())
        })
    }

    fn console<'a>(&'a self, _id: &'a str) -> Answer<'a, String> {
        Box::pin(async { self.call("GetConsoleOutput").map(|_| String::new()) })
    }
}

impl std::fmt::Debug for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Memory").finish_non_exhaustive()
    }
}
