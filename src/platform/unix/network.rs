//! TCP connections.

use std::{io, time::Duration};

use tokio::net::TcpStream;

/// Has the system end a connection on which nothing that was sent is confirmed for so long. Only Linux can be asked to: on
/// macOS a connection lasts as long as its own patience, which is minutes.
///
/// # Errors
/// What the system says.
pub fn end_when_unconfirmed(stream: &TcpStream, limit: Duration) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    return socket2::SockRef::from(stream).set_tcp_user_timeout(Some(limit));
    #[cfg(not(target_os = "linux"))]
    {
        let _ = (stream, limit);
        Ok(())
    }
}
