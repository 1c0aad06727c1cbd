//! Removes cloud objects whose SwarmCluster is gone: the net below the finalizers.
//!
//! It looks wherever this installation ever launched. The cloud is listed before the custom
//! resources, so an object that is just being made is never taken for an orphan; and an orphan is
//! removed only when two rounds in a row see it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use kube::{Api, Client, ResourceExt, api::ListParams};

use crate::{
    api::SwarmCluster,
    cloud::{Account, CloudError, Clouds, Owner, Removal},
    cluster::{Place, Places, Vault, free_journal},
};

/// The pause between the first two rounds: what was left while no operator ran is not waited for.
const FIRST: Duration = Duration::from_secs(60);

/// How long a place may take to be listed for the first time.
const LISTED: Duration = Duration::from_secs(60);

/// How many instances one round ends at most. More than that at once is no accident of a few
/// clusters, and a person has to look.
const CAP: usize = 50;

/// The collector.
pub struct Collector {
    /// The API server.
    pub client: Client,
    /// Accounts and regions in use.
    pub clouds: Clouds,
    /// The clusters that are served.
    pub clusters: Api<SwarmCluster>,
    /// The only namespace that is served, where there is one.
    pub namespace: Option<String>,
    /// Where was ever launched.
    pub places: Arc<Places>,
    /// Credentials from Secrets.
    pub vault: Arc<Vault>,
    /// How often to look.
    pub every: Duration,
}

impl Collector {
    /// Collects for ever.
    pub async fn run(self) {
        let mut suspects = BTreeSet::new();
        let mut pause = self.every.min(FIRST);
        loop {
            suspects = self.round(&suspects).await;
            tokio::time::sleep(pause).await;
            pause = self.every;
        }
    }

    /// One round; the orphans it saw.
    async fn round(&self, suspects: &BTreeSet<Owner>) -> BTreeSet<Owner> {
        let opened = self.open().await;
        let mut orphans = BTreeSet::new();
        let mut ended = 0;
        for account in self.clouds.all().await {
            match self.orphans_of(&account).await {
                Ok(found) => {
                    for owner in found.iter().filter(|o| suspects.contains(*o)) {
                        self.remove(&account, owner, &mut ended).await;
                    }
                    orphans.extend(found);
                }
                Err(error) => tracing::warn!(%error, "looking for orphans failed"),
            }
        }
        for (place, account) in opened {
            let left = account.inventory.owners().is_none_or(|owners| !owners.is_empty());
            if let Some(secret) = place.credentials.filter(|_| !left && orphans.is_empty())
                && let Err(error) = self.vault.release(&secret, "", &self.places).await
            {
                tracing::warn!(%error, "letting the credentials of a place go failed");
            }
        }
        orphans
    }

    /// Opens every place that is written down, and waits until each was listed.
    async fn open(&self) -> BTreeMap<Place, Account> {
        let places = match self.places.all().await {
            Ok(places) => places,
            Err(error) => {
                tracing::warn!(%error, "reading where this installation ever launched failed");
                return BTreeMap::new();
            }
        };
        let mut opened = BTreeMap::new();
        for place in places {
            let credentials = match &place.credentials {
                None => None,
                Some(secret) => match self.vault.get(secret, false).await {
                    Ok((good, _)) => Some(good),
                    Err(error) => {
                        tracing::warn!(error, region = place.region, "this place cannot be looked at");
                        continue;
                    }
                },
            };
            let account = self.clouds.get(&place.region, credentials).await;
            if tokio::time::timeout(LISTED, account.inventory.synced()).await.is_err() {
                tracing::warn!(region = place.region, "its instances cannot be listed");
            }
            opened.insert(place, account);
        }
        opened
    }

    async fn orphans_of(&self, account: &Account) -> anyhow::Result<BTreeSet<Owner>> {
        let mut owners: BTreeSet<Owner> = account.inventory.owners().unwrap_or_default().into_iter().collect();
        owners.extend(account.cloud.list_networks().await?.into_iter().map(|n| n.owner));
        let living: BTreeSet<String> =
            self.clusters.list_metadata(&ListParams::default()).await?.iter().filter_map(ResourceExt::uid).collect();
        // What is not served is not ours to judge, whoever gave it the same installation.
        let served = |o: &Owner| {
            let namespace = o.name.split_once('/').map(|(namespace, _)| namespace);
            self.namespace.is_none() || self.namespace.as_deref() == namespace
        };
        owners.retain(|o| !living.contains(&o.uid) && served(o));
        Ok(owners)
    }

    async fn remove(&self, account: &Account, owner: &Owner, ended: &mut usize) {
        let Account { cloud, inventory, .. } = account;
        let all = inventory.snapshot(owner).unwrap_or_default();
        let live: Vec<String> = all.into_iter().filter(|i| !i.state.is_ended()).map(|i| i.id).collect();
        *ended += live.len();
        if *ended > CAP {
            tracing::error!(
                cluster = owner.name,
                uid = owner.uid,
                "more than {CAP} instances seem to be nobody's: those of this cluster stay in this round"
            );
            return;
        }
        tracing::warn!(cluster = owner.name, uid = owner.uid, instances = ?live, "removing what a deleted cluster left behind");
        let removed: Result<(), CloudError> = async {
            if !live.is_empty() {
                cloud.terminate(&live).await?;
                inventory.note_terminating(&live);
            }
            if let Removal::InUse(users) = cloud.delete_network(owner).await? {
                tracing::warn!(
                    cluster = owner.name,
                    users = users.join(", "),
                    "its security group is in use; the next round tries again"
                );
            }
            Ok(())
        }
        .await;
        if let Err(error) = removed {
            tracing::warn!(cluster = owner.name, %error, "removing what a deleted cluster left behind failed");
        }
        if let Err(error) = free_journal(&self.client, owner).await {
            tracing::warn!(cluster = owner.name, %error, "letting the journal of a deleted cluster go failed");
        }
    }
}
