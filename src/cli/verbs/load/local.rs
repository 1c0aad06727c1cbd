//! The local Docker engine, as far as `load` needs it: which image a reference names, and its archive.
//!
//! Found as the docker CLI finds it: DOCKER_HOST, else the current context, else the default socket.

use std::{fs::File, io::Write, path::PathBuf};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::{Request, Response, StatusCode, body::Incoming};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use tokio::net::TcpStream;

use crate::{
    cli::{failure::Failure, terminal::Task},
    platform::{files, local},
};

/// Where the local engine listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalEngine {
    at: String,
    told_by: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Inspected {
    id: String,
    #[serde(default)]
    size: u64,
}

#[derive(Deserialize)]
struct Refusal {
    message: String,
}

/// An image the local engine has.
#[derive(Debug)]
pub struct LocalImage {
    /// Its id there.
    pub id: String,
    /// About how large its archive is.
    pub size: u64,
}

impl LocalEngine {
    /// The engine the docker CLI would use.
    #[must_use]
    pub fn find() -> Self {
        if let Some(host) = std::env::var("DOCKER_HOST").ok().filter(|h| !h.is_empty()) {
            return Self { at: host, told_by: "DOCKER_HOST".to_owned() };
        }
        match context() {
            Some((name, host)) => Self { at: host, told_by: format!("docker's context {name:?}") },
            None => Self { at: local::ENGINE.to_owned(), told_by: "the default".to_owned() },
        }
    }

    /// The image of that name, or none.
    pub async fn image(&self, reference: &str) -> Result<Option<LocalImage>, Failure> {
        let response = self.get(&format!("/images/{reference}/json")).await?;
        if response.status() == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let body = self.whole(response, &format!("tell about the image {reference:?}")).await?;
        let found: Inspected = serde_json::from_slice(&body)
            .map_err(|e| Failure::new(format!("what answers at {} is not a Docker engine: {e}", self.at)))?;
        Ok(Some(LocalImage { id: found.id, size: found.size }))
    }

    /// Writes the image's archive to a file that has no name, so that nothing of it can be left behind.
    pub async fn save(&self, reference: &str, task: &Task<'_>) -> Result<File, Failure> {
        let what = format!("save the image {reference:?}");
        let response = self.get(&format!("/images/{reference}/get")).await?;
        if !response.status().is_success() {
            self.whole(response, &what).await?;
            return Err(self.refused(&what, "it gave no archive"));
        }
        let unwritable = |e: std::io::Error| {
            Failure::new(format!("the image cannot be kept in {}: {e}", std::env::temp_dir().display()))
                .help("name a directory with room for it: TMPDIR=/some/where kubectl testkit load …")
        };
        let mut file = nameless().map_err(unwritable)?;
        let count = task.counter();
        let mut body = response.into_body();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|e| self.refused(&what, &crate::cli::failure::words(&e)))?;
            if let Ok(piece) = frame.into_data() {
                count(piece.len() as u64);
                file.write_all(&piece).map_err(unwritable)?;
            }
        }
        Ok(file)
    }

    async fn get(&self, path: &str) -> Result<Response<Incoming>, Failure> {
        if let Some(socket) = self.at.strip_prefix(local::SCHEME) {
            let stream = local::connect(&local::of_docker_host(socket)).await.map_err(|e| self.unreachable(&e))?;
            self.ask(stream, path).await
        } else if let Some(address) = self.at.strip_prefix("tcp://").or_else(|| self.at.strip_prefix("http://")) {
            let stream = TcpStream::connect(address.trim_end_matches('/')).await.map_err(|e| self.unreachable(&e))?;
            self.ask(stream, path).await
        } else {
            Err(Failure::new(format!(
                "the local engine is at {} ({}), and only {} and tcp:// without TLS are spoken here",
                self.at,
                self.told_by,
                local::SCHEME
            ))
            .help("docker save IMAGE -o image.tar && kubectl testkit load image.tar --cluster NAME"))
        }
    }

    async fn ask<S>(&self, stream: S, path: &str) -> Result<Response<Incoming>, Failure>
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
    {
        let failed = |e: &dyn std::fmt::Display| self.refused("answer", &e.to_string());
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| failed(&e))?;
        // Ends with the response's body, or when nobody holds it any more.
        tokio::spawn(connection);
        let request = Request::get(path)
            .header("Host", "docker")
            .body(Empty::<Bytes>::new())
            .map_err(|e| Failure::new(format!("this is not an image reference: {e}")))?;
        sender.send_request(request).await.map_err(|e| failed(&e))
    }

    async fn whole(&self, response: Response<Incoming>, what: &str) -> Result<Bytes, Failure> {
        let status = response.status();
        let body = response.into_body().collect().await.map_err(|e| self.refused(what, &e.to_string()))?.to_bytes();
        if status.is_success() {
            return Ok(body);
        }
        let words = serde_json::from_slice::<Refusal>(&body)
            .map_or_else(|_| format!("it answered {status}"), |refusal| refusal.message);
        Err(self.refused(what, &words))
    }

    fn refused(&self, what: &str, words: &str) -> Failure {
        Failure::new(format!("the local engine at {} did not {what}: {words}", self.at))
    }

    fn unreachable(&self, error: &std::io::Error) -> Failure {
        let mut failure = Failure::new(format!(
            "the local Docker engine at {} ({}) cannot be reached: {error}",
            self.at, self.told_by
        ));
        if error.kind() == std::io::ErrorKind::PermissionDenied {
            failure = failure.help("run this as a user who may use docker, such as a member of the group docker");
        }
        failure
            .help("start it, or name another one with DOCKER_HOST")
            .help("or load an archive: kubectl testkit load IMAGE.tar --cluster NAME")
    }
}

/// A file of the temporary directory that nothing is left of.
fn nameless() -> std::io::Result<File> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_nanos();
    files::nameless(&std::env::temp_dir().join(format!(".kubectl-testkit-{}-{now}", std::process::id())))
}

/// The current docker context with the endpoint it names, if it is not the default one.
fn context() -> Option<(String, String)> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Settings {
        current_context: Option<String>,
    }
    let home =
        std::env::var_os("DOCKER_CONFIG").map(PathBuf::from).or_else(|| Some(std::env::home_dir()?.join(".docker")))?;
    let name = match std::env::var("DOCKER_CONTEXT") {
        Ok(name) if !name.is_empty() => name,
        _ => serde_json::from_slice::<Settings>(&std::fs::read(home.join("config.json")).ok()?).ok()?.current_context?,
    };
    if name == "default" {
        return None;
    }
    let directory: String = Sha256::digest(&name).iter().map(|byte| format!("{byte:02x}")).collect();
    let text = std::fs::read(home.join("contexts/meta").join(directory).join("meta.json")).ok()?;
    let meta: serde_json::Value = serde_json::from_slice(&text).ok()?;
    Some((name, meta.pointer("/Endpoints/docker/Host")?.as_str()?.to_owned()))
}
