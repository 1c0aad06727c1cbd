//! Removes cloud objects whose SwarmCluster is gone: the net below the finalizers.
//!
//! The cloud is listed before the custom resources, so an object that is just being made is
//! never taken for an orphan; and an orphan is removed only when two rounds in a row see it.

use std::{collections::BTreeSet, time::Duration};

use kube::{Api, ResourceExt, api::ListParams};
use tokio::time::MissedTickBehavior;

use crate::{
    api::SwarmCluster,
    cloud::{Account, CloudError, Clouds, Owner, Removal},
};

/// How often to look; an orphan lives for one to two rounds.
const ROUND: Duration = Duration::from_secs(300);

/// Collects for ever.
pub async fn collect(clouds: Clouds, clusters: Api<SwarmCluster>) {
    let mut suspects = BTreeSet::new();
    let mut rounds = tokio::time::interval(ROUND);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        rounds.tick().await;
        let mut orphans = BTreeSet::new();
        for account in clouds.all().await {
            match orphans_of(&account, &clusters).await {
                Ok(found) => {
                    for owner in found.iter().filter(|o| suspects.contains(*o)) {
                        remove(&account, owner).await;
                    }
                    orphans.extend(found);
                }
                Err(error) => tracing::warn!(%error, "looking for orphans failed"),
            }
        }
        suspects = orphans;
    }
}

async fn orphans_of(account: &Account, clusters: &Api<SwarmCluster>) -> anyhow::Result<BTreeSet<Owner>> {
    let mut owners: BTreeSet<Owner> = account.inventory.owners().unwrap_or_default().into_iter().collect();
    owners.extend(account.cloud.list_networks().await?.into_iter().map(|n| n.owner));
    let living: BTreeSet<String> =
        clusters.list_metadata(&ListParams::default()).await?.iter().filter_map(ResourceExt::uid).collect();
    owners.retain(|o| !living.contains(&o.uid));
    Ok(owners)
}

async fn remove(account: &Account, owner: &Owner) {
    let Account { cloud, inventory, .. } = account;
    let live: Vec<String> = inventory
        .snapshot(owner)
        .unwrap_or_default()
        .into_iter()
        .filter(|i| !i.state.is_ended())
        .map(|i| i.id)
        .collect();
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
}
