//! Which clouds are in use: one connection and one inventory per region and credentials, and one memory of shortages
//! per region and account, as soon as it is known whose account the credentials are of.
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
    /// By region and account.
    shortages: Mutex<HashMap<(String, String), Shortages>>,
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

impl Place {
    /// The credentials, without what is secret of them.
    fn who(&self) -> &str {
        self.credentials.as_ref().map_or("", |c| c.access_key_id.as_str())
    }
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
        Self(Arc::new(Registry { source, wake, open: Mutex::default(), shortages: Mutex::default() }))
    }

    /// An account in a region.
    pub async fn get(&self, region: &str, credentials: Option<StaticCredentials>) -> Account {
        let place = Place { region: region.to_owned(), credentials };
        let mut open = self.0.open.lock().await;
        let now = Instant::now();
        open.retain(|p, o| *p == place || now.duration_since(o.asked_for) < UNUSED);
        if let Some(known) = open.get_mut(&place) {
            known.asked_for = now;
            self.share(&place, &mut known.account).await;
            return known.account.clone();
        }
        let cloud = self.connect(&place).await;
        let inventory = Inventory::new(Arc::clone(&cloud), Arc::clone(&self.0.wake));
        let account = Account { cloud, inventory, shortages: Shortages::default().by(place.who()) };
        open.insert(place, Open { account: account.clone(), asked_for: now });
        account
    }

    /// Every account and region in use: for the garbage collector.
    pub async fn all(&self) -> Vec<Account> {
        self.0.open.lock().await.values().map(|o| o.account.clone()).collect()
    }

    /// Once it is known whose account this is, what it does not get is known by all its credentials. What these alone
    /// were refused before is forgotten where others came first: that costs calls.
    async fn share(&self, place: &Place, account: &mut Account) {
        let Some(id) = account.cloud.account() else { return };
        let mut all = self.0.shortages.lock().await;
        let of_account = all.entry((place.region.clone(), id)).or_insert_with(|| account.shortages.clone());
        account.shortages = of_account.by(place.who());
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

#[cfg(test)]
mod tests {
    use k8s_openapi::jiff::Timestamp;

    use super::*;
    use crate::cloud::{Lack, Offering, memory::Memory};

    #[tokio::test]
    async fn credentials_of_one_account_share_what_it_does_not_get() {
        let clouds = Clouds::fixed(Arc::new(Memory::default()), Arc::new(|_: &crate::cloud::Owner| {}));
        let keys = |id: &str| {
            let (access_key_id, secret_access_key) = (id.to_owned(), "secret".to_owned());
            Some(StaticCredentials { access_key_id, secret_access_key, session_token: None })
        };
        let offering = Offering { instance_type: "t3.medium".into(), subnet: None, spot: false };
        let now = Timestamp::UNIX_EPOCH;
        let short = |of: &Account| of.shortages.of([offering.clone()], "t").into_values().map(|s| s.lack).next();
        for who in ["one", "other"] {
            // Whose account it is is known by the first answer.
            clouds.get("here", keys(who)).await.inventory.synced().await;
        }
        let (one, other) = (clouds.get("here", keys("one")).await, clouds.get("here", keys("other")).await);
        one.shortages.note(&offering, "t", Lack::Permission, "no", now);
        assert_eq!((short(&one), short(&other)), (Some(Lack::Permission), None));
        other.shortages.note(&offering, "t", Lack::Capacity, "none", now);
        let elsewhere = clouds.get("elsewhere", keys("one")).await;
        elsewhere.inventory.synced().await;
        let elsewhere = clouds.get("elsewhere", keys("one")).await;
        assert_eq!((short(&one), short(&other), short(&elsewhere)), (Some(Lack::Capacity), Some(Lack::Capacity), None));
    }
}
