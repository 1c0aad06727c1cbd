//! The cloud credentials that Secrets hold: the last good ones are kept, and the Secret is held by
//! a finalizer while a cluster needs it. Without them nothing that was launched could be ended.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api, Client, ResourceExt,
    api::{ListParams, Patch, PatchParams},
};

use super::{
    places::{Place, Places, SecretName},
    words,
};
use crate::{
    api::{CREDENTIALS_FINALIZER, MANAGER, SwarmCluster},
    cloud::StaticCredentials,
};

/// The credentials of all clusters.
pub struct Vault {
    client: Client,
    good: Mutex<HashMap<SecretName, StaticCredentials>>,
}

/// Credentials, and what is wrong with the Secret where these are the last good ones.
pub type Found = (StaticCredentials, Option<String>);

impl Vault {
    /// None yet.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self { client, good: Mutex::default() }
    }

    /// What a Secret holds, or held when it was last well. `hold` puts our finalizer on it.
    ///
    /// # Errors
    /// What is wrong with it, where nothing good of it is known.
    pub async fn get(&self, of: &SecretName, hold: bool) -> Result<Found, String> {
        let wrong = match self.read(of, hold).await {
            Ok(good) => {
                self.good().insert(of.clone(), good.clone());
                return Ok((good, None));
            }
            Err(words) => words,
        };
        match self.good().get(of).cloned() {
            Some(last) => Ok((last, Some(wrong))),
            None => Err(wrong),
        }
    }

    /// Lets a Secret go when no cluster of its namespace but this one needs it.
    ///
    /// # Errors
    /// The API server refuses.
    pub async fn release(&self, of: &SecretName, but: &str, places: &Places) -> Result<(), kube::Error> {
        let clusters: Api<SwarmCluster> = Api::namespaced(self.client.clone(), &of.namespace);
        let all = clusters.list(&ListParams::default()).await?;
        let needs = |c: &SwarmCluster| {
            let theirs = c.spec.provider.ec2.as_ref().and_then(|e| e.credentials.as_ref());
            c.metadata.uid.as_deref() != Some(but) && theirs.is_some_and(|s| s.name == of.name)
        };
        if all.iter().any(needs) {
            return Ok(());
        }
        let known = places.all().await?;
        for place in known.iter().filter(|p| p.credentials.as_ref() == Some(of)) {
            places.forget(place).await?;
        }
        let secrets = self.secrets(&of.namespace);
        if let Some(secret) = secrets.get_opt(&of.name).await? {
            let left: Vec<String> =
                secret.finalizers().iter().filter(|f| *f != CREDENTIALS_FINALIZER).cloned().collect();
            if left.len() < secret.finalizers().len() {
                mark(&secrets, &secret, &left).await?;
            }
        }
        self.good().remove(of);
        Ok(())
    }

    async fn read(&self, of: &SecretName, hold: bool) -> Result<StaticCredentials, String> {
        let name = &of.name;
        let secrets = self.secrets(&of.namespace);
        let secret = secrets.get(name).await.map_err(|e| format!("credentials Secret {name}: {}", words::of(&e)))?;
        let text = |key: &str| {
            let bytes = secret.data.as_ref().and_then(|d| d.get(key));
            bytes.and_then(|b| std::str::from_utf8(&b.0).ok()).map(|s| s.trim().to_owned()).filter(|s| !s.is_empty())
        };
        let need = |key: &str| text(key).ok_or_else(|| format!("credentials Secret {name} has no {key}"));
        let found = StaticCredentials {
            access_key_id: need("aws_access_key_id")?,
            secret_access_key: need("aws_secret_access_key")?,
            session_token: text("aws_session_token"),
        };
        // What is being deleted takes no finalizer any more.
        let held = secret.finalizers().iter().any(|f| f == CREDENTIALS_FINALIZER);
        if hold && !held && secret.metadata.deletion_timestamp.is_none() {
            let all: Vec<String> =
                secret.finalizers().iter().cloned().chain([CREDENTIALS_FINALIZER.to_owned()]).collect();
            let refused = |e| format!("credentials Secret {name} cannot be held by a finalizer: {}", words::of(&e));
            mark(&secrets, &secret, &all).await.map_err(refused)?;
        }
        Ok(found)
    }

    fn secrets(&self, namespace: &str) -> Api<Secret> {
        Api::namespaced(self.client.clone(), namespace)
    }

    fn good(&self) -> std::sync::MutexGuard<'_, HashMap<SecretName, StaticCredentials>> {
        self.good.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place a cluster launches in.
#[must_use]
pub fn place(cluster: &SwarmCluster) -> Option<Place> {
    let ec2 = cluster.spec.provider.ec2.as_ref()?;
    let namespace = cluster.namespace().unwrap_or_default();
    let credentials = ec2.credentials.as_ref().map(|s| SecretName { namespace, name: s.name.clone() });
    Some(Place { region: ec2.region.clone(), credentials })
}

async fn mark(secrets: &Api<Secret>, secret: &Secret, finalizers: &[String]) -> Result<(), kube::Error> {
    let patch = serde_json::json!({
        "metadata": { "finalizers": finalizers, "resourceVersion": secret.resource_version() }
    });
    let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
    match secrets.patch(&secret.name_any(), &params, &Patch::Merge(patch)).await {
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        done => done.map(drop),
    }
}
