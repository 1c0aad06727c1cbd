//! Waits for the engine of a host: for its socket on the host's side, for its answer on the line.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::timeout,
};

use super::{Host, HostError};

/// The socket of the engine.
const SOCKET: &str = "/var/run/docker.sock";

/// Ends at the latest after a minute, lest it outlives a connection for long. Not every `sleep` knows fractions.
const WAIT: &str = "n=0; until [ -S /var/run/docker.sock ]; do [ $n -lt 600 ] || exit 3; n=$((n+1)); sleep 0.1 2>/dev/null || { sleep 1; n=$((n+9)); }; done; [ -w /var/run/docker.sock ] || exit 4";
/// What it exits with where the user may not use the socket.
const FORBIDDEN: u32 = 4;

/// Makes the user one of those who may: what counts from the next login on.
const ADMIT: &str = r#"case " $(id -nG) " in *" docker "*) exit 1 ;; esac; sudo -n usermod -aG docker "$(id -un)""#;

/// From one try to let the user in to the next.
const AGAIN: Duration = Duration::from_secs(5);

/// Returns when the engine answers; an error only when the connection is gone.
pub async fn wait_until_it_answers(host: &Host) -> Result<(), HostError> {
    loop {
        match host.exec(WAIT, None).await {
            Ok(output) if output.success() => {}
            Ok(output) if output.status == Some(FORBIDDEN) => {
                admit(host).await?;
                continue;
            }
            Ok(_) => continue,
            Err(error @ HostError::Lost { .. }) => return Err(error),
            // A host that allows no command (yet) may have an engine all the same.
            Err(error) => {
                tracing::debug!(host = host.address(), %error, "cannot wait for the engine's socket on the host");
            }
        }
        // Once the socket is there the question is held until the engine is ready to answer it.
        match timeout(Duration::from_secs(30), ping(host)).await {
            Ok(Ok(true)) => return Ok(()),
            Ok(Err(error)) if host.is_closed() => return Err(error),
            other => tracing::debug!(host = host.address(), answer = ?other, "the engine does not answer yet"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Has a user who may not use the socket log in again as one who may; a while later, where that cannot be.
async fn admit(host: &Host) -> Result<(), HostError> {
    match host.exec(ADMIT, None).await {
        Ok(output) if output.success() => {
            tracing::info!(host = host.address(), "the user is in the group docker now, and logs in again");
            host.close();
            return Ok(());
        }
        Ok(output) => {
            tracing::debug!(
                host = host.address(),
                message = output.complaint(),
                "the user may not use the engine's socket"
            );
        }
        Err(error @ HostError::Lost { .. }) => return Err(error),
        Err(error) => tracing::debug!(host = host.address(), %error, "the user cannot be let to the engine's socket"),
    }
    tokio::time::sleep(AGAIN).await;
    Ok(())
}

async fn ping(host: &Host) -> Result<bool, HostError> {
    let mut stream = host.open_socket(SOCKET).await?;
    let mut answer = Vec::new();
    let asked = async {
        stream.write_all(b"GET /_ping HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n\r\n").await?;
        stream.read_to_end(&mut answer).await
    };
    match asked.await {
        Ok(_) => Ok(answer.starts_with(b"HTTP/1.1 200")),
        Err(error) => Err(HostError::NotOpened {
            address: host.address().to_owned(),
            what: SOCKET.to_owned(),
            reason: error.to_string(),
        }),
    }
}
