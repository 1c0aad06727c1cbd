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

use k8s_openapi::api::core::v1::ObjectReference;
use kube::{Api, Client, Resource, ResourceExt, api::ListParams};

use crate::{
    api::{SwarmCluster, reason},
    cloud::{Account, CloudError, Clouds, Owner, Removal},
    cluster::{Place, Places, Vault, free_journal},
    events::{Events, Severity},
};

/// The pause between the first two rounds: what was left while no operator ran is not waited for.
const FIRST: Duration = Duration::from_secs(60);

/// How long a place may take to be listed for the first time.
const LISTED: Duration = Duration::from_secs(60);

/// How many instances one round ends at most. More than that at once is no accident of a few
/// clusters: what is ended is said before the next round goes on, so that a person can stop it.
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
    /// Writes Events.
    pub events: Events,
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
        let mut seen: Vec<(Account, BTreeSet<Owner>)> = Vec::new();
        let mut room = CAP;
        for account in self.clouds.all().await {
            match self.orphans_of(&account).await {
                Ok(found) => {
                    for owner in &found {
                        if suspects.contains(owner) {
                            self.remove(&account, owner, &mut room).await;
                        } else {
                            self.found(&account, owner).await;
                        }
                    }
                    seen.push((account, found));
                }
                Err(error) => tracing::warn!(%error, "looking for orphans failed"),
            }
        }
        for (place, account) in opened {
            // Of a place that could not be looked at in this round nothing is known.
            let of_place = seen.iter().find(|(of, _)| Arc::ptr_eq(&of.cloud, &account.cloud));
            let empty = account.inventory.owners().is_some_and(|owners| owners.is_empty());
            let done = empty && of_place.is_some_and(|(_, orphans)| orphans.is_empty());
            if let Some(secret) = place.credentials.filter(|_| done)
                && let Err(error) = self.vault.release(&secret, "", &self.places).await
            {
                tracing::warn!(%error, "letting the credentials of a place go failed");
            }
        }
        seen.into_iter().flat_map(|(_, orphans)| orphans).collect()
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

    /// Tells of what is nobody's, before the next round removes it.
    async fn found(&self, account: &Account, owner: &Owner) {
        let left = match live(account, owner) {
            ids if ids.is_empty() => "its security group".to_owned(),
            ids => format!("{} of its instances ({})", ids.len(), ids.join(", ")),
        };
        let note = format!(
            "SwarmCluster {} (UID {}) is not there, and {left} is left in the cloud: the next round removes it",
            owner.name, owner.uid
        );
        self.tell(owner, &note).await;
    }

    /// Writes an Event about a cluster that is gone or, where its namespace is gone too, about the places.
    async fn tell(&self, owner: &Owner, note: &str) {
        tracing::warn!(cluster = owner.name, uid = owner.uid, "{note}");
        let (namespace, name) = owner.name.split_once('/').unwrap_or(("default", &owner.name));
        let cluster = ObjectReference {
            api_version: Some(SwarmCluster::api_version(&()).into_owned()),
            kind: Some(SwarmCluster::kind(&()).into_owned()),
            namespace: Some(namespace.to_owned()),
            name: Some(name.to_owned()),
            uid: Some(owner.uid.clone()),
            ..ObjectReference::default()
        };
        for about in [cluster, self.places.reference()] {
            let told = self.events.publish(&about, Severity::Warning, "Collect", reason::LEFT_BEHIND, note, None).await;
            if told {
                return;
            }
        }
    }

    async fn remove(&self, account: &Account, owner: &Owner, room: &mut usize) {
        let Account { cloud, inventory, .. } = account;
        let (now, later) = share(live(account, owner), room);
        if later > 0 {
            let note = format!(
                "SwarmCluster {} (UID {}) is not there, and more instances are nobody's than one round ends ({CAP}): {} of its instances are ended now, {later} in later rounds. Stop the operator if they must not be",
                owner.name,
                owner.uid,
                now.len()
            );
            self.tell(owner, &note).await;
        }
        tracing::warn!(cluster = owner.name, uid = owner.uid, instances = ?now, later, "removing what a deleted cluster left behind");
        let removed: Result<(), CloudError> = async {
            if !now.is_empty() {
                cloud.terminate(&now).await?;
                inventory.note_terminating(&now);
            }
            if later > 0 {
                return Ok(());
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
        if later > 0 {
            return;
        }
        if let Err(error) = free_journal(&self.client, owner).await {
            tracing::warn!(cluster = owner.name, %error, "letting the journal of a deleted cluster go failed");
        }
    }
}

/// The instances of a cluster that have not ended, by their ids.
fn live(account: &Account, owner: &Owner) -> Vec<String> {
    let all = account.inventory.snapshot(owner).unwrap_or_default();
    all.into_iter().filter(|i| !i.state.is_ended()).map(|i| i.id).collect()
}

/// What of these is ended now, and how many later: a round has so much room, and what is taken of it is gone.
fn share(mut all: Vec<String>, room: &mut usize) -> (Vec<String>, usize) {
    let later = all.len().saturating_sub(*room);
    all.truncate(*room);
    *room -= all.len();
    (all, later)
}

#[cfg(test)]
mod tests {
    use super::share;

    #[test]
    fn one_cluster_of_any_size_is_ended_in_rounds() {
        let mut left: Vec<String> = (0..120).map(|n| format!("i-{n}")).collect();
        let mut rounds = Vec::new();
        while !left.is_empty() {
            let (now, later) = share(left.clone(), &mut super::CAP.clone());
            assert_eq!(now.len() + later, left.len());
            left = left.split_off(now.len());
            rounds.push(now.len());
        }
        assert_eq!(rounds, [50, 50, 20]);
    }

    #[test]
    fn clusters_share_the_room_of_a_round() {
        let of = |n: usize| vec![String::from("i"); n];
        let mut room = 50;
        assert_eq!(share(of(30), &mut room).1, 0);
        assert_eq!(share(of(30), &mut room), (of(20), 10));
        assert_eq!(share(of(30), &mut room), (of(0), 30));
    }
}
