//! Brings a run's image to one node: pulled by its engine, or copied from a node that has it.
//! When and where is not decided here.

use std::time::Duration;

use kube::{Client, ResourceExt};

use super::{observe, registry::Keyring};
use crate::{
    api::E2ERun,
    host::{HostId, Hosts},
    swarm::Engine,
};

/// An image, and who may have it.
pub struct Wanted {
    client: Client,
    namespace: String,
    secrets: Vec<String>,
    image: String,
    patience: Duration,
}

impl Wanted {
    /// The image of a run.
    pub fn of(run: &E2ERun, client: &Client) -> Self {
        Self {
            client: client.clone(),
            namespace: run.namespace().unwrap_or_default(),
            secrets: run.spec.image_pull_secrets.iter().map(|s| s.name.clone()).collect(),
            image: run.spec.image.clone(),
            patience: run.spec.image_pull_timeout.get(),
        }
    }

    /// Pulls it, with each login that fits until one does. The logins are read for each try, and given to the engine
    /// for this pull alone: it keeps none.
    async fn pulled(&self, engine: &Engine, reference: &str) -> Result<(), String> {
        let keyring = Keyring::read(&self.client, &self.namespace, &self.secrets).await;
        let keyring = keyring.map_err(|e| format!("spec.imagePullSecrets cannot be read: {e}"))?;
        let fits = keyring.fits(&self.image);
        let mut logins: Vec<_> = fits.iter().map(|fit| Some(&fit.login)).collect();
        if logins.is_empty() {
            logins.push(None);
        }
        let mut refused = String::new();
        for login in logins {
            match engine.pull(reference, login).await {
                Ok(()) => return Ok(()),
                Err(error) => refused = error.to_string(),
            }
        }
        Err(format!("{refused}{}", keyring.tried(&self.image)))
    }
}

/// Pulls the image. A registry that says nothing for that long is given up, and asked again.
pub async fn pull(hosts: Hosts, host: HostId, wanted: Wanted) -> Result<(), String> {
    let engine = observe::control(&hosts, &host)?;
    match tokio::time::timeout(wanted.patience, wanted.pulled(&engine, &wanted.image)).await {
        Ok(result) => result,
        Err(_) => Err(format!("pulling did not end within {} s", wanted.patience.as_secs())),
    }
}

/// How long a pull by digest may take, where a copy would do as well.
const BY_DIGEST: Duration = Duration::from_secs(30);

/// Gives the second host the image of the first one: by what its registry knows it by or, where that is not to be had,
/// as a copy.
pub async fn align(
    hosts: Hosts,
    (from, to): (HostId, HostId),
    digest: Option<String>,
    wanted: Wanted,
) -> Result<(), String> {
    if let Some(digest) = digest {
        let engine = observe::control(&hosts, &to)?;
        // The copy has to be there within the same time.
        let patience = (wanted.patience / 4).min(BY_DIGEST);
        let pulled = tokio::time::timeout(patience, wanted.pulled(&engine, &digest)).await;
        if pulled.is_ok_and(|result| result.is_ok()) && engine.tag(&digest, &wanted.image).await.is_ok() {
            return Ok(());
        }
    }
    copy(hosts, from, to, wanted.image).await
}

/// Copies the image as a stream, over connections that carry nothing else.
pub async fn copy(hosts: Hosts, from: HostId, to: HostId, image: String) -> Result<(), String> {
    let failed =
        |what: &str, error: &dyn std::fmt::Display| format!("copying it from {} failed {what}: {error}", from.slot);
    let source = hosts.bulk(&from).await.map_err(|e| failed("at the source", &e))?;
    let target = hosts.bulk(&to).await.map_err(|e| failed("at the target", &e))?;
    let stream = Engine::new(&source).export(&image);
    Engine::new(&target).load(stream).await.map_err(|e| failed("", &e))
}
