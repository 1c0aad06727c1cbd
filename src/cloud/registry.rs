//! Which clouds are in use: one connection, one inventory and one memory of shortages per region and credentials.
//!
//! Here also lives the type of credentials that come from a Secret. Nothing here calls a cloud.

use std::{
    collections::HashMap,
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::Mutex;

use super::{
    Cloud, Inventory, Shortages, Wake,
    ec2::{Ec2, Ec2Config},
};

/// After this time without a cluster that asks for it, an account and region is given up.
/// Secrets change: without this, every key ever seen would be listed with for good.
const UNUSED: Duration = Duration::from_secs(3600);

/// Credentials that come from a Secret.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct StaticCredentials {
    /// The access key's id.
    pub access_key_id: String,
    /// The secret access key.
    pub secret_access_key: String,
    /// The session token of temporary credentials.
    pub session_token: Option<String>,
}

impl fmt::Debug for StaticCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StaticCredentials").field("access_key_id", &self.access_key_id).finish_non_exhaustive()
    }
}

/// Every cloud account and region in use.
#[derive(Clone)]
pub struct Clouds(Arc<Registry>);

struct Registry {
    source: Source,
    wake: Wake,
    open: Mutex<HashMap<Place, Open>>,
}

enum Source {
    /// EC2, for the installation of this name.
    Ec2(String),
    /// The same cloud whatever is asked for.
    Fixed(Cloud),
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Place {
    region: String,
    credentials: Option<StaticCredentials>,
}

struct Open {
    account: Account,
    asked_for: Instant,
}

/// A cloud account in one region, with what all its clusters share.
#[derive(Clone)]
pub struct Account {
    /// What to call.
    pub cloud: Cloud,
    /// Its instances.
    pub inventory: Inventory,
    /// What it does not get.
    pub shortages: Shortages,
}

impl Clouds {
    /// EC2 for an installation. `wake` is told which clusters have something new to look at.
    #[must_use]
    pub fn new(installation: &str, wake: Wake) -> Self {
        Self::of(Source::Ec2(installation.to_owned()), wake)
    }

    /// One cloud for every region and credentials: for tests and benchmarks.
    #[must_use]
    pub fn fixed(cloud: Cloud, wake: Wake) -> Self {
        Self::of(Source::Fixed(cloud), wake)
    }

    fn of(source: Source, wake: Wake) -> Self {
        Self(Arc::new(Registry { source, wake, open: Mutex::default() }))
    }

    /// An account in a region.
    pub async fn get(&self, region: &str, credentials: Option<StaticCredentials>) -> Account {
        let place = Place { region: region.to_owned(), credentials };
        let mut open = self.0.open.lock().await;
        let now = Instant::now();
        open.retain(|p, o| *p == place || now.duration_since(o.asked_for) < UNUSED);
        if let Some(known) = open.get_mut(&place) {
            known.asked_for = now;
            return known.account.clone();
        }
        let cloud = self.connect(&place).await;
        let inventory = Inventory::new(Arc::clone(&cloud), Arc::clone(&self.0.wake));
        let account = Account { cloud, inventory, shortages: Shortages::default() };
        open.insert(place, Open { account: account.clone(), asked_for: now });
        account
    }

    /// Every account and region in use: for the garbage collector.
    pub async fn all(&self) -> Vec<Account> {
        self.0.open.lock().await.values().map(|o| o.account.clone()).collect()
    }

    async fn connect(&self, place: &Place) -> Cloud {
        match &self.0.source {
            Source::Fixed(cloud) => Arc::clone(cloud),
            Source::Ec2(installation) => Arc::new(
                Ec2::connect(Ec2Config {
                    region: place.region.clone(),
                    installation: installation.clone(),
                    credentials: place.credentials.clone(),
                    endpoint: None,
                })
                .await,
            ),
        }
    }
}

impl fmt::Debug for Clouds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clouds").finish_non_exhaustive()
    }
}
