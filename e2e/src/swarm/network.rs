//! An overlay network of a case.

use anyhow::{Context as _, Result};
use bollard::models::NetworkCreateRequest;

use crate::harness::test::Test;

/// A network that was made.
#[derive(Debug, Clone)]
pub(crate) struct Network {
    pub(crate) id: String,
    pub(crate) name: String,
}

impl Test {
    /// Makes an overlay network that services and, as it is attachable, containers can be on.
    pub(crate) async fn network(&self, what: &str) -> Result<Network> {
        self.network_with(what, |_| ()).await
    }

    /// Makes a network that is otherwise in some way.
    pub(crate) async fn network_with(
        &self,
        what: &str,
        change: impl FnOnce(&mut NetworkCreateRequest),
    ) -> Result<Network> {
        let mut request = NetworkCreateRequest {
            name: self.name(what),
            driver: Some("overlay".into()),
            attachable: Some(true),
            labels: Some(self.labels()),
            ..Default::default()
        };
        change(&mut request);
        let (docker, name) = (self.docker().clone(), request.name.clone());
        let create = async move { Ok(docker.create_network(request).await?) };
        let created = self.make(create).await.with_context(|| format!("cannot create network {name}"))?;
        self.note(format_args!("created network {name}"));
        Ok(Network { id: created.id, name })
    }
}
