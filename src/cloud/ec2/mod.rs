//! EC2 through the AWS SDK.
//!
//! One file a concern: [`launch`] an instance exactly once, the [`image`] it boots and the [`parameters`]
//! that name one, what [`describe`] lists of it, the security group of the [`network`] with its [`rules`] and its
//! [`users`], and what each [`error`] means. Only this folder sees a type of the SDK.

mod describe;
mod error;
mod image;
mod launch;
mod meter;
mod network;
mod parameters;
mod rules;
mod tags;
mod users;

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use aws_config::{
    AppName, BehaviorVersion, Region, retry::RetryConfig, stalled_stream_protection::StalledStreamProtectionConfig,
    timeout::TimeoutConfig,
};
use aws_sdk_ec2::{
    Client,
    config::{self, Credentials},
};
use tokio::sync::Semaphore;

use super::{
    Answer, CloudProvider, Instance, Launch, Network, NetworkSpec, OwnedNetwork, Owner, Removal, StaticCredentials,
};

/// How long an answer that hardly ever changes is believed: images, subnets.
const BELIEVED: Duration = Duration::from_secs(300);
/// The same for verified groups. Longer than two rounds of the collector of orphans, whose one
/// listing of all groups verifies them all: so idle clusters cost no call of their own.
const GROUPS_BELIEVED: Duration = Duration::from_secs(750);

/// RunInstances has the smallest of AWS's request buckets: 5, and 2 more every second.
const LAUNCHES_AT_ONCE: usize = 5;

/// How to reach an account in a region. What is `None` comes from where every AWS SDK looks
/// for it: the environment, such as `AWS_ENDPOINT_URL_EC2`, the profile, the machine's role.
#[derive(Clone, Debug)]
pub struct Ec2Config {
    /// The region.
    pub region: String,
    /// The installation of the operator: what it does not own, it does not see.
    pub installation: String,
    /// Credentials of a Secret, in place of the operator's own.
    pub credentials: Option<StaticCredentials>,
    /// The URL of the API.
    pub endpoint: Option<String>,
}

/// An account in one region.
pub struct Ec2 {
    client: Client,
    /// Where images' ids are looked up by the names of SSM's parameters.
    parameters: parameters::Parameters,
    region: String,
    installation: String,
    launches: Semaphore,
    /// Who looks for an image: one at a time, so that the next one finds what was found.
    looking: tokio::sync::Mutex<()>,
    images: Believed<crate::api::AmiSelector, image::Image>,
    vpcs: Believed<Vec<String>, String>,
    /// The IPv4 blocks of a VPC.
    blocks: Believed<String, Vec<String>>,
    groups: Believed<String, (NetworkSpec, Network)>,
    unsettled: Mutex<HashMap<String, Instant>>,
    /// The account's id, once something of it was seen.
    account: OnceLock<String>,
}

impl Ec2 {
    /// Prepares the client; no call is made yet.
    pub async fn connect(config: Ec2Config) -> Self {
        let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12())
            .region(Region::new(config.region.clone()))
            // Throttling is retried here, with the SDK's own back-off; what is left after that is the caller's.
            .retry_config(RetryConfig::standard().with_max_attempts(4))
            .timeout_config(
                TimeoutConfig::builder()
                    .connect_timeout(Duration::from_secs(4))
                    .operation_attempt_timeout(Duration::from_secs(30))
                    .operation_timeout(Duration::from_secs(90))
                    .build(),
            )
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
        if let Ok(name) = AppName::new("testkit-operator") {
            loader = loader.app_name(name);
        }
        if let Some(keys) = config.credentials {
            loader = loader.credentials_provider(Credentials::new(
                keys.access_key_id,
                keys.secret_access_key,
                keys.session_token,
                None,
                "Secret",
            ));
        }
        if let Some(endpoint) = config.endpoint {
            loader = loader.endpoint_url(endpoint);
        }
        let settings = loader.load().await;
        Self {
            client: Client::from_conf(config::Builder::from(&settings).interceptor(meter::Meter).build()),
            parameters: parameters::Parameters::new(&settings).await,
            region: config.region,
            installation: config.installation,
            launches: Semaphore::new(LAUNCHES_AT_ONCE),
            looking: tokio::sync::Mutex::default(),
            images: Believed::during(BELIEVED),
            vpcs: Believed::during(BELIEVED),
            blocks: Believed::during(BELIEVED),
            groups: Believed::during(GROUPS_BELIEVED),
            unsettled: Mutex::default(),
            account: OnceLock::new(),
        }
    }

    /// Something of the account tells whose it is.
    fn learn(&self, owner: Option<&str>) {
        if let Some(id) = owner.filter(|id| !id.is_empty()) {
            self.account.get_or_init(|| id.to_owned());
        }
    }
}

impl CloudProvider for Ec2 {
    fn account(&self) -> Option<String> {
        self.account.get().cloned()
    }

    fn list(&self) -> Answer<'_, Vec<Instance>> {
        Box::pin(async { Ok(self.list_instances().await?) })
    }

    fn ensure_network<'a>(&'a self, owner: &'a Owner, network: &'a NetworkSpec) -> Answer<'a, Network> {
        Box::pin(self.ensure_group(owner, network))
    }

    fn delete_network<'a>(&'a self, owner: &'a Owner) -> Answer<'a, Removal> {
        Box::pin(async { Ok(self.delete_groups(owner).await?) })
    }

    fn launch<'a>(&'a self, launch: &'a Launch) -> Answer<'a, Instance> {
        Box::pin(self.run_instance(launch))
    }

    fn start<'a>(&'a self, id: &'a str) -> Answer<'a, ()> {
        Box::pin(async { Ok(self.start_instance(id).await?) })
    }

    fn terminate<'a>(&'a self, ids: &'a [String]) -> Answer<'a, ()> {
        Box::pin(async { Ok(self.terminate_instances(ids).await?) })
    }

    fn list_networks(&self) -> Answer<'_, Vec<OwnedNetwork>> {
        Box::pin(async { Ok(self.list_groups().await?) })
    }

    fn console<'a>(&'a self, id: &'a str) -> Answer<'a, String> {
        Box::pin(async { Ok(self.console_output(id).await?) })
    }
}

impl std::fmt::Debug for Ec2 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ec2").field("region", &self.region).finish_non_exhaustive()
    }
}

/// Answers that are believed for a while, so that what stays the same costs no calls.
struct Believed<K, V> {
    known: Mutex<HashMap<K, (V, Instant)>>,
    lifetime: Duration,
}

impl<K: Eq + Hash, V: Clone> Believed<K, V> {
    fn during(lifetime: Duration) -> Self {
        Self { known: Mutex::default(), lifetime }
    }

    fn known(&self) -> MutexGuard<'_, HashMap<K, (V, Instant)>> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, (_, since)| since.elapsed() < self.lifetime);
        known
    }

    fn get(&self, key: &K) -> Option<V> {
        self.known().get(key).map(|(value, _)| value.clone())
    }

    fn put(&self, key: K, value: V) {
        self.known().insert(key, (value, Instant::now()));
    }

    fn any(&self, test: impl Fn(&V) -> bool) -> bool {
        self.known().values().any(|(value, _)| test(value))
    }

    fn forget(&self, drop: impl Fn(&K, &V) -> bool) {
        self.known().retain(|key, (value, _)| !drop(key, value));
    }

    /// What was seen again is believed anew, from the moment it was asked for; everything else
    /// that was believed before that moment is not believed any more.
    fn seen(&self, asked: Instant, still: impl Fn(&K, &V) -> bool) {
        self.known().retain(|key, (value, since)| {
            let newer = *since > asked;
            let stays = newer || still(key, value);
            *since = if newer { *since } else { asked };
            stays
        });
    }
}
