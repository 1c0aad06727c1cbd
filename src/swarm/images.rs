//! Images: whether one is there, and bringing it there.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, OnceLock},
};

use bollard::{
    auth::DockerCredentials,
    query_parameters::{CreateImageOptionsBuilder, ImportImageOptionsBuilder, TagImageOptionsBuilder},
};
use bytes::Bytes;
use futures::{Stream, StreamExt as _, TryStreamExt as _};

use super::{ENDLESS, Engine, QUICK, SwarmError};

/// An image on an engine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    /// Its id there. Engines with different stores give one image different ids.
    pub id: String,
    /// What registries know it by, `name@sha256:…` each; none where it was never in one.
    pub digests: Vec<String>,
    /// What it is made for, such as `linux/amd64`.
    pub platform: Option<String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// The arguments that a container of it has by default.
    pub args: Vec<String>,
}

/// A login at a registry, for one pull.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// The registry, as an image's name has it; for Docker Hub the address that Docker knows it by.
    pub server: String,
    /// The user.
    pub username: String,
    /// The password; empty where there is a token.
    pub password: String,
    /// What is shown in place of a password; empty where there is one.
    pub identity_token: String,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("server", &self.server).finish_non_exhaustive()
    }
}

fn credentials(login: &Login) -> DockerCredentials {
    let some = |text: &String| Some(text.clone()).filter(|t| !t.is_empty());
    DockerCredentials {
        username: some(&login.username),
        password: some(&login.password),
        serveraddress: Some(login.server.clone()),
        identitytoken: some(&login.identity_token),
        ..DockerCredentials::default()
    }
}

impl Engine {
    /// An image; `None` where it is not there.
    pub async fn image(&self, reference: &str) -> Result<Option<Image>, SwarmError> {
        match self.within(QUICK).inspect_image(reference).await.map_err(SwarmError::from) {
            Ok(image) => {
                let config = image.config.unwrap_or_default();
                Ok(Some(Image {
                    id: image.id.unwrap_or_default(),
                    digests: image.repo_digests.unwrap_or_default(),
                    platform: platform(image.os, image.architecture),
                    labels: config.labels.unwrap_or_default().into_iter().collect(),
                    args: config.cmd.unwrap_or_default(),
                }))
            }
            Err(SwarmError::NotFound(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The id of an image; `None` where it is not there.
    pub async fn image_id(&self, reference: &str) -> Result<Option<String>, SwarmError> {
        Ok(self.image(reference).await?.map(|image| image.id))
    }

    /// What the engine runs on, in the form in which images say what they are made for.
    pub async fn platform(&self) -> Result<Option<String>, SwarmError> {
        let version = self.within(QUICK).version().await?;
        Ok(platform(version.os, version.arch))
    }

    /// Gives an image that is there another name.
    pub async fn tag(&self, image: &str, reference: &str) -> Result<(), SwarmError> {
        let (name, tag) = split(reference);
        let options = TagImageOptionsBuilder::new().repo(name).tag(tag).build();
        Ok(self.within(QUICK).tag_image(image, Some(options)).await?)
    }

    /// Has the engine pull an image, with a login where one is given. Takes as long as it takes.
    pub async fn pull(&self, reference: &str, login: Option<&Login>) -> Result<(), SwarmError> {
        let (name, tag) = split(reference);
        let options = CreateImageOptionsBuilder::new().from_image(name).tag(tag).build();
        let login = login.map(credentials);
        let mut progress = self.stream(ENDLESS, |docker| docker.create_image(Some(options), None, login));
        while progress.try_next().await?.is_some() {}
        Ok(())
    }

    /// An image as a tar archive, for [`load`](Self::load).
    pub fn export(&self, reference: &str) -> impl Stream<Item = Result<Bytes, SwarmError>> + Send + Unpin + use<> {
        self.stream(ENDLESS, |docker| docker.export_image(reference))
    }

    /// Loads a tar archive of images, compressed or not.
    pub async fn load<S, E>(&self, archive: S) -> Result<(), SwarmError>
    where
        S: Stream<Item = Result<Bytes, E>> + Send + 'static,
        E: fmt::Display + Send + Sync + 'static,
    {
        // The Docker client reports a source that fails as a broken request, without its words.
        let failure = Arc::new(OnceLock::new());
        let told = failure.clone();
        let archive = archive.map_err(move |error| {
            let words = error.to_string();
            let _ = told.set(words.clone());
            std::io::Error::other(words)
        });
        let options = ImportImageOptionsBuilder::new().quiet(true).build();
        let mut progress = self.stream(ENDLESS, |docker| docker.import_image_stream(options, archive, None));
        loop {
            match progress.next().await {
                None => return Ok(()),
                Some(Ok(_)) => {}
                Some(Err(error)) => {
                    let source = failure.get().map(|words| SwarmError::Refused(format!("reading the image: {words}")));
                    return Err(source.unwrap_or(error));
                }
            }
        }
    }
}

fn platform(os: Option<String>, architecture: Option<String>) -> Option<String> {
    let (os, architecture) = (os.filter(|o| !o.is_empty())?, architecture.filter(|a| !a.is_empty())?);
    Some(format!("{os}/{architecture}"))
}

/// Name and tag (or digest); the engine would take a name alone for all its tags.
fn split(reference: &str) -> (&str, &str) {
    if let Some((name, digest)) = reference.split_once('@') {
        return (name, digest);
    }
    match reference.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, tag),
        _ => (reference, "latest"),
    }
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn a_port_is_no_tag() {
        assert_eq!(split("dockerswarm/e2e"), ("dockerswarm/e2e", "latest"));
        assert_eq!(split("dockerswarm/e2e:v1"), ("dockerswarm/e2e", "v1"));
        assert_eq!(split("registry:5000/e2e"), ("registry:5000/e2e", "latest"));
        assert_eq!(split("registry:5000/e2e:v1"), ("registry:5000/e2e", "v1"));
        assert_eq!(split("e2e:v1@sha256:ab"), ("e2e:v1", "sha256:ab"));
    }
}
