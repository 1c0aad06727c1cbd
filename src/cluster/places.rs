//! Every account and region this installation ever launched in, written down before it did.
//!
//! A machine is found again by its tags alone, but only by who knows where to look: the object
//! that named the place may be gone by then, with its finalizer taken off by hand.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

use k8s_openapi::{
    api::core::v1::{ConfigMap, ObjectReference},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{
    Api, Client, ResourceExt,
    api::{Patch, PatchParams, PostParams},
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::api::MANAGER;

/// The ConfigMap, in the namespace of the operator.
pub const NAME: &str = "testkit-operator-places";

/// How often a write is tried again when somebody else wrote meanwhile.
const TRIES: usize = 5;

/// A Secret, by its name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SecretName {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// A cloud account in one region.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    /// The region.
    pub region: String,
    /// The Secret with the account's credentials; without one, the operator's own account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<SecretName>,
}

/// The places of an installation.
pub struct Places {
    maps: Api<ConfigMap>,
    namespace: String,
    key: String,
    /// Those that are certainly written down.
    written: Mutex<BTreeSet<Place>>,
}

impl Places {
    /// The places of this installation, written down in this namespace.
    #[must_use]
    pub fn new(client: Client, namespace: &str, installation: &str) -> Self {
        // The name of an installation may have characters that a key may not.
        let digest = Sha256::digest(installation);
        let key = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        let namespace = namespace.to_owned();
        Self { maps: Api::namespaced(client, &namespace), namespace, key, written: Mutex::default() }
    }

    /// The object they are written down in: of what is told of nobody's machines, this is left to tell it of.
    #[must_use]
    pub fn reference(&self) -> ObjectReference {
        ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("ConfigMap".to_owned()),
            namespace: Some(self.namespace.clone()),
            name: Some(NAME.to_owned()),
            ..ObjectReference::default()
        }
    }

    /// All that are written down.
    ///
    /// # Errors
    /// The API server does not tell.
    pub async fn all(&self) -> Result<BTreeSet<Place>, kube::Error> {
        Ok(self.read().await?.0)
    }

    /// Makes sure that a place is written down.
    ///
    /// # Errors
    /// It is not: nothing may be launched there.
    pub async fn note(&self, place: &Place) -> Result<(), kube::Error> {
        if self.written().contains(place) {
            return Ok(());
        }
        self.change(|all| all.insert(place.clone())).await?;
        self.written().insert(place.clone());
        Ok(())
    }

    /// Forgets a place where nothing is left and nobody launches any more.
    ///
    /// # Errors
    /// The API server refuses.
    pub async fn forget(&self, place: &Place) -> Result<(), kube::Error> {
        self.written().remove(place);
        self.change(|all| all.remove(place)).await
    }

    fn written(&self) -> std::sync::MutexGuard<'_, BTreeSet<Place>> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn read(&self) -> Result<(BTreeSet<Place>, Option<String>), kube::Error> {
        let Some(map) = self.maps.get_opt(NAME).await? else { return Ok((BTreeSet::new(), None)) };
        let text = map.data.as_ref().and_then(|data| data.get(&self.key));
        let all = text.map(|t| serde_json::from_str(t)).transpose().map_err(kube::Error::SerdeError)?;
        Ok((all.unwrap_or_default(), map.resource_version()))
    }

    async fn change(&self, edit: impl Fn(&mut BTreeSet<Place>) -> bool) -> Result<(), kube::Error> {
        let mut tries = 0;
        loop {
            let (mut all, version) = self.read().await?;
            if !edit(&mut all) {
                return Ok(());
            }
            let text = serde_json::to_string(&all).map_err(kube::Error::SerdeError)?;
            tries += 1;
            match self.write(text, version).await {
                Err(kube::Error::Api(status))
                    if tries < TRIES && (status.is_conflict() || status.is_already_exists()) => {}
                done => return done,
            }
        }
    }

    async fn write(&self, text: String, version: Option<String>) -> Result<(), kube::Error> {
        let data = [(self.key.clone(), text)].into();
        if version.is_none() {
            let labels = [("app.kubernetes.io/managed-by".to_owned(), MANAGER.to_owned())].into();
            let metadata = ObjectMeta { name: Some(NAME.to_owned()), labels: Some(labels), ..ObjectMeta::default() };
            let map = ConfigMap { metadata, data: Some(data), ..ConfigMap::default() };
            let params = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
            return self.maps.create(&params, &map).await.map(drop);
        }
        let patch = serde_json::json!({ "metadata": { "resourceVersion": version }, "data": data });
        let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        self.maps.patch(NAME, &params, &Patch::Merge(patch)).await.map(drop)
    }
}
