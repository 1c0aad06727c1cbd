//! Secrets and configs: what is stored in the swarm and handed to tasks as files.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use bollard::models::{
    ConfigSpec, SecretSpec, TaskSpecContainerSpecConfigs, TaskSpecContainerSpecFile, TaskSpecContainerSpecFile1,
    TaskSpecContainerSpecSecrets,
};

use crate::{
    harness::{
        case::{Case, Need},
        test::Test,
    },
    swarm::service::{Builder, container_of},
};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("SecretDelivered", secret_delivered).needs(Need::Here),
        Case::new("ConfigDelivered", config_delivered).needs(Need::Here),
    ]
}

/// A file is there when the task runs; what may take time is the overlay over which it is read.
const READ_WITHIN: Duration = Duration::from_secs(15);

/// A secret is in the task's file as it was stored, and the API never gives it away.
async fn secret_delivered(t: Test) -> Result<()> {
    let (name, content) = (t.name("secret"), t.name("content"));
    let data = Some(BASE64_STANDARD.encode(&content));
    let spec = SecretSpec { name: Some(name.clone()), labels: Some(t.labels()), data, ..Default::default() };
    let docker = t.docker().clone();
    let id = t.make(async move { Ok(docker.create_secret(spec).await?.id) }).await.context("cannot create a secret")?;

    let told = t.docker().inspect_secret(&id).await?.spec.and_then(|spec| spec.data);
    ensure!(told.is_none_or(|data| data.is_empty()), "the API gives the secret's content away");

    let file = TaskSpecContainerSpecFile {
        name: Some("the-secret".into()),
        uid: Some("0".into()),
        gid: Some("0".into()),
        mode: Some(0o400),
    };
    let secret = TaskSpecContainerSpecSecrets { file: Some(file), secret_id: Some(id), secret_name: Some(name) };
    let service = t.service("web").with(|spec| container_of(spec).secrets = Some(vec![secret]));
    file_is(&t, service, "/run/secrets/the-secret", &content).await
}

/// A config is in the task's file as it was stored.
async fn config_delivered(t: Test) -> Result<()> {
    let (name, content) = (t.name("config"), t.name("content"));
    let data = Some(BASE64_STANDARD.encode(&content));
    let spec = ConfigSpec { name: Some(name.clone()), labels: Some(t.labels()), data, ..Default::default() };
    let docker = t.docker().clone();
    let id = t.make(async move { Ok(docker.create_config(spec).await?.id) }).await.context("cannot create a config")?;

    let file = TaskSpecContainerSpecFile1 {
        name: Some("/etc/the-config".into()),
        uid: Some("0".into()),
        gid: Some("0".into()),
        mode: Some(0o444),
    };
    let config = TaskSpecContainerSpecConfigs {
        file: Some(file),
        config_id: Some(id),
        config_name: Some(name),
        ..Default::default()
    };
    let service = t.service("web").with(|spec| container_of(spec).configs = Some(vec![config]));
    file_is(&t, service, "/etc/the-config", &content).await
}

/// Makes the service and has its task read the file.
async fn file_is(t: &Test, service: Builder, path: &str, content: &str) -> Result<()> {
    let network = t.network("net").await?;
    let service = service.on(&network).create().await?;
    service.running(1).await?;
    let client = t.client(&network).await?;
    let ask = format!("http://{}/file?path={path}", service.name);
    let found = t.until("the task reads the file", READ_WITHIN, || async { client.run(&["get", &ask]).await }).await?;
    ensure!(found.trim() == content, "{path} holds {found:?}, stored was {content:?}");
    Ok(())
}
