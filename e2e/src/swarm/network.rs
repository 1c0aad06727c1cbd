//! An overlay network of a case.

use anyhow::{Context as _, Result};
use bollard::models::NetworkCreateRequest;

use crate::harness::test::Test;

/// A network that was made.
#[derive(Debug, Clone)]
pub(crate) struct Network {
    pub(crate) id: String,
}

impl Test {
    /// Makes an overlay network that services and, as it is attachable, containers can be on.
    pub(crate) async fn network(&self, what: &str) -> Result<Network> {
        let name = self.name(what);
        let request = NetworkCreateRequest {
            name: name.clone(),
            driver: Some("overlay".into()),
            attachable: Some(true),
            labels: Some(self.labels()),
            ..Default::default()
        };
        let docker = self.docker().clone();
        let create = async move { Ok(docker.create_network(request).await?) };
        let created = self.make(create).await.with_context(|| format!("cannot create network {name}"))?;
        self.note(format_args!("created network {name}"));
        Ok(Network { id: created.id })
    }
}
