//! Where the socket of an attach is, and whose it is.

use std::path::{Path, PathBuf};

use crate::{
    attach,
    cli::{failure::Failure, kubernetes::Kubernetes},
};

/// The socket as a value for a shell, whatever its path has in it.
pub fn docker_host(socket: &Path) -> String {
    format!("'unix://{}'", socket.display().to_string().replace('\'', r"'\''"))
}

/// The socket of an attach to this cluster, if somebody serves it.
pub async fn attached_at(socket: &Path, kubernetes: &Kubernetes, name: &str) -> Result<PathBuf, Failure> {
    let path = std::path::absolute(socket).unwrap_or_else(|_| socket.to_owned());
    let none = |why: &str| {
        Failure::new(format!("{} {why}", path.display()))
            .help(format!("attach first: kubectl testkit attach {name} &"))
            .help("or name its socket: --socket PATH")
    };
    let status = status(&path).await.map_err(|e| none(&format!("is no attached socket: {e}")))?;
    let full_name = format!("{}/{name}", kubernetes.namespace);
    if status.cluster != full_name {
        return Err(none(&format!("is attached to {}, not to {full_name}", status.cluster)));
    }
    Ok(path)
}

async fn status(path: &Path) -> std::io::Result<attach::Status> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::UnixStream::connect(path).await?;
    stream
        .write_all(
            format!("GET {} HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n\r\n", attach::STATUS_PATH).as_bytes(),
        )
        .await?;
    let mut answer = String::new();
    stream.take(64 << 10).read_to_string(&mut answer).await?;
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body).unwrap_or_default();
    serde_json::from_str(body).map_err(|_| std::io::Error::other("something else answers there"))
}
