//! Secrets and configs, which are the same but for the words.

use std::collections::HashMap;

use anyhow::{Context as _, Result};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use bollard::{
    models::{
        ConfigSpec, Driver, SecretSpec, ServiceSpec, TaskSpecContainerSpecConfigs, TaskSpecContainerSpecFile,
        TaskSpecContainerSpecFile1, TaskSpecContainerSpecSecrets,
    },
    query_parameters::{ListConfigsOptions, ListSecretsOptions, UpdateConfigOptions, UpdateSecretOptions},
};

use super::service::container_of;
use crate::harness::test::Test;

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Secret,
    Config,
}

/// Something stored, as the API tells it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stored {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) labels: HashMap<String, String>,
    /// What the API gives away of the content, in base64.
    pub(crate) data: Option<String>,
    version: i64,
}

impl Kind {
    /// Where a task finds it that is told no other path.
    pub(crate) fn path(self, name: &str) -> String {
        match self {
            Self::Secret => format!("/run/secrets/{name}"),
            Self::Config => format!("/{name}"),
        }
    }
}

impl Test {
    /// Stores some text.
    pub(crate) async fn store(&self, kind: Kind, name: &str, content: &str) -> Result<Stored> {
        self.store_as(kind, name, content, false).await
    }

    /// Stores some text, in which what is in double braces is replaced for each task, when it is a template.
    pub(crate) async fn store_as(&self, kind: Kind, name: &str, content: &str, template: bool) -> Result<Stored> {
        let (docker, labels) = (self.docker().clone(), Some(self.labels()));
        let data = Some(BASE64_STANDARD.encode(content));
        let templating = template.then(|| Driver { name: "golang".into(), options: None });
        let called = Some(name.to_owned());
        let create = async move {
            let created = match kind {
                Kind::Secret => {
                    docker
                        .create_secret(SecretSpec { name: called, labels, data, templating, ..Default::default() })
                        .await?
                }
                Kind::Config => docker.create_config(ConfigSpec { name: called, labels, data, templating }).await?,
            };
            Ok(created.id)
        };
        let id = self.make(create).await.with_context(|| format!("cannot store {kind:?} {name}"))?;
        Ok(Stored { id, name: name.to_owned(), ..Default::default() })
    }

    /// What the API tells of it, by its id or name.
    pub(crate) async fn stored(&self, kind: Kind, which: &str) -> Result<Stored> {
        let docker = self.docker();
        Ok(match kind {
            Kind::Secret => secret(docker.inspect_secret(which).await?),
            Kind::Config => config(docker.inspect_config(which).await?),
        })
    }

    /// Those that are found by a filter.
    pub(crate) async fn all_stored(&self, kind: Kind, filter: &str, value: &str) -> Result<Vec<Stored>> {
        let (docker, filters) = (self.docker(), Some([(filter.to_owned(), vec![value.to_owned()])].into()));
        Ok(match kind {
            Kind::Secret => {
                docker.list_secrets(Some(ListSecretsOptions { filters })).await?.into_iter().map(secret).collect()
            }
            Kind::Config => {
                docker.list_configs(Some(ListConfigsOptions { filters })).await?.into_iter().map(config).collect()
            }
        })
    }

    /// Gives it, which is known by its id or name, these labels, and this content if the API lets it.
    pub(crate) async fn change_stored(
        &self,
        kind: Kind,
        which: &str,
        labels: HashMap<String, String>,
        data: Option<&str>,
    ) -> Result<()> {
        let now = self.stored(kind, which).await?;
        let (docker, name, labels, version) = (self.docker(), Some(now.name), Some(labels), now.version);
        let data = data.map(|data| BASE64_STANDARD.encode(data));
        match kind {
            Kind::Secret => {
                let spec = SecretSpec { name, labels, data, ..Default::default() };
                docker.update_secret(which, spec, UpdateSecretOptions { version }).await?;
            }
            Kind::Config => {
                let spec = ConfigSpec { name, labels, data, ..Default::default() };
                docker.update_config(which, spec, UpdateConfigOptions { version }).await?;
            }
        }
        Ok(())
    }

    /// Removes what is known by this id or name.
    pub(crate) async fn remove_stored(&self, kind: Kind, which: &str) -> Result<()> {
        match kind {
            Kind::Secret => self.docker().delete_secret(which).await?,
            Kind::Config => self.docker().delete_config(which).await?,
        }
        Ok(())
    }
}

/// A file as a task gets it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct File<'a> {
    /// Its path, or its name where such files are by themselves.
    pub(crate) name: &'a str,
    pub(crate) uid: &'a str,
    pub(crate) gid: &'a str,
    pub(crate) mode: u32,
}

impl<'a> File<'a> {
    /// One that user 1000 and group 1001 own and only they read.
    pub(crate) fn named(name: &'a str) -> Self {
        Self { name, uid: "1000", gid: "1001", mode: 0o440 }
    }
}

/// Has the tasks of a service get this and no other as a file that is [`File::named`].
pub(crate) fn give(spec: &mut ServiceSpec, kind: Kind, which: &Stored, file: &str) {
    let container = container_of(spec);
    match kind {
        Kind::Secret => container.secrets = None,
        Kind::Config => container.configs = None,
    }
    give_too(spec, kind, which, file);
}

/// Has them get this too.
pub(crate) fn give_too(spec: &mut ServiceSpec, kind: Kind, which: &Stored, file: &str) {
    give_as(spec, kind, which, File::named(file));
}

/// Has them get this too, as such a file.
pub(crate) fn give_as(spec: &mut ServiceSpec, kind: Kind, which: &Stored, file: File<'_>) {
    let (name, uid, gid) = (Some(file.name.to_owned()), Some(file.uid.to_owned()), Some(file.gid.to_owned()));
    let (id, of, mode) = (Some(which.id.clone()), Some(which.name.clone()), Some(file.mode));
    let container = container_of(spec);
    match kind {
        Kind::Secret => {
            let file = Some(TaskSpecContainerSpecFile { name, uid, gid, mode });
            let secret = TaskSpecContainerSpecSecrets { file, secret_id: id, secret_name: of };
            container.secrets.get_or_insert_default().push(secret);
        }
        Kind::Config => {
            let file = Some(TaskSpecContainerSpecFile1 { name, uid, gid, mode });
            let config = TaskSpecContainerSpecConfigs { file, config_id: id, config_name: of, ..Default::default() };
            container.configs.get_or_insert_default().push(config);
        }
    }
}

fn secret(secret: bollard::models::Secret) -> Stored {
    let spec = secret.spec.unwrap_or_default();
    stored(secret.id, spec.name, spec.labels, spec.data, secret.version)
}

fn config(config: bollard::models::Config) -> Stored {
    let spec = config.spec.unwrap_or_default();
    stored(config.id, spec.name, spec.labels, spec.data, config.version)
}

fn stored(
    id: Option<String>,
    name: Option<String>,
    labels: Option<HashMap<String, String>>,
    data: Option<String>,
    version: Option<bollard::models::ObjectVersion>,
) -> Stored {
    let version = version.and_then(|version| i64::try_from(version.index?).ok()).unwrap_or_default();
    Stored {
        id: id.unwrap_or_default(),
        name: name.unwrap_or_default(),
        labels: labels.unwrap_or_default(),
        data: data.filter(|data| !data.is_empty()),
        version,
    }
}
