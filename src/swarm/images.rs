//! Images: whether one is there, and bringing it there.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use bollard::query_parameters::{CreateImageOptionsBuilder, ImportImageOptionsBuilder};
use bytes::Bytes;
use futures::{Stream, StreamExt as _, TryStreamExt as _};

use super::{ENDLESS, Engine, QUICK, SwarmError};

impl Engine {
    /// The id of an image; `None` where it is not there.
    pub async fn image_id(&self, reference: &str) -> Result<Option<String>, SwarmError> {
        match self.within(QUICK).inspect_image(reference).await.map_err(SwarmError::from) {
            Ok(image) => Ok(image.id),
            Err(SwarmError::NotFound(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Has the engine pull an image. Takes as long as it takes.
    pub async fn pull(&self, reference: &str) -> Result<(), SwarmError> {
        let (name, tag) = split(reference);
        let options = CreateImageOptionsBuilder::new().from_image(name).tag(tag).build();
        let mut progress = Box::pin(self.within(ENDLESS).create_image(Some(options), None, None));
        while progress.try_next().await?.is_some() {}
        Ok(())
    }

    /// An image as a tar archive, for [`load`](Self::load).
    pub fn export(&self, reference: &str) -> impl Stream<Item = Result<Bytes, SwarmError>> + Send + Unpin + use<> {
        Box::pin(self.within(ENDLESS).export_image(reference).map_err(SwarmError::from))
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
        let mut progress = Box::pin(self.within(ENDLESS).import_image_stream(options, archive, None));
        loop {
            match progress.next().await {
                None => return Ok(()),
                Some(Ok(_)) => {}
                Some(Err(error)) => {
                    let source = failure.get().map(|words| SwarmError::Refused(format!("reading the image: {words}")));
                    return Err(source.unwrap_or_else(|| error.into()));
                }
            }
        }
    }
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
