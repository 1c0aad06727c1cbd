//! Where the socket of an attach is, and whose it is.

use std::path::{Path, PathBuf};

use crate::{
    attach,
    cli::{failure::Failure, kubernetes::Kubernetes},
    platform::{local, shell},
};

/// What testcontainers reads beside `DOCKER_HOST`, in all its languages: where ports are that containers publish, and
/// where an engine's socket is for a container (Ryuk) that runs on it.
pub const TESTCONTAINERS: [(&str, &str); 2] =
    [("TESTCONTAINERS_HOST_OVERRIDE", "127.0.0.1"), ("TESTCONTAINERS_DOCKER_SOCKET_OVERRIDE", "/var/run/docker.sock")];

/// The environment in which programs use the socket.
pub fn variables(socket: &Path, for_testcontainers: bool) -> Vec<(&'static str, String)> {
    let host = ("DOCKER_HOST", local::docker_host(socket));
    let others = TESTCONTAINERS.iter().filter(|_| for_testcontainers).map(|(name, value)| (*name, (*value).to_owned()));
    std::iter::once(host).chain(others).collect()
}

/// These as a shell sets them, whatever is in their values.
pub fn export(variables: &[(&str, String)]) -> String {
    variables.iter().map(|(name, value)| shell::set(name, value)).collect::<Vec<_>>().join("\n")
}

/// The socket of an attach to this cluster, if somebody serves it; with `publishing`, if that attach forwards ports.
pub async fn attached_at(
    socket: &Path,
    kubernetes: &Kubernetes,
    name: &str,
    publishing: bool,
) -> Result<PathBuf, Failure> {
    let path = local::place(socket);
    let publish = if publishing { " --publish" } else { "" };
    let none = |why: &str| {
        Failure::new(format!("{} {why}", path.display()))
            .help(format!("attach first: kubectl testkit attach {name}{publish} &"))
            .help("or name its socket: --socket PATH")
    };
    let status = status(&path).await.map_err(|e| none(&format!("is no attached socket: {e}")))?;
    let full_name = format!("{}/{name}", kubernetes.namespace);
    if status.cluster != full_name {
        return Err(none(&format!("is attached to {}, not to {full_name}", status.cluster)));
    }
    if publishing && !status.publishes {
        return Err(Failure::new(format!("the attach at {} does not forward what containers publish", path.display()))
            .help(format!("end it, and attach with: kubectl testkit attach {name} --publish")));
    }
    Ok(path)
}

async fn status(path: &Path) -> std::io::Result<attach::Status> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = local::connect(path).await?;
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

// A shell of unix reads it.
#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;

    #[test]
    fn what_a_shell_reads_is_what_was_meant() {
        let text = export(&variables(Path::new("/tmp/it's $HOME/docker.sock"), true));
        let script = format!("{text}\nprintf '%s\\n' \"$DOCKER_HOST\" \"$TESTCONTAINERS_HOST_OVERRIDE\"");
        let output = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), "unix:///tmp/it's $HOME/docker.sock\n127.0.0.1\n");
        assert_eq!(variables(Path::new("/x"), false).len(), 1);
    }
}
