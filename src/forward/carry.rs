//! Bytes both ways between a local connection and a stream, to the end of both.

use std::{io, time::Duration};

use bytes::BytesMut;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::host::{HostError, Pipe};

/// What is read from the local side at a time where there is much.
const MUCH: usize = 128 << 10;
/// What is read at first: most connections say little.
const LITTLE: usize = 8 << 10;

/// Why a connection ended before its time.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// The stream, or the way to the host.
    #[error(transparent)]
    There(#[from] HostError),
    /// Whoever connected went away in the middle.
    #[error("the local side: {0}")]
    Here(#[from] io::Error),
}

/// Carries them. An end of one direction is passed on, and the other goes on, as with TCP.
pub async fn carry(mut local: TcpStream, pipe: Pipe) -> Result<(), Broken> {
    // Cut off in the middle, it must not look like the end of what was said.
    reset(&local);
    let Pipe { mut drain, feed } = pipe;
    let carried = {
        let (mut reader, mut writer) = local.split();
        let up = async {
            let (mut buffer, mut room) = (BytesMut::new(), LITTLE);
            loop {
                buffer.reserve(room);
                let count = reader.read_buf(&mut buffer).await?;
                if count == 0 {
                    feed.end().await;
                    return Ok::<(), Broken>(());
                }
                room = if count >= room { MUCH } else { room };
                // Why it takes no more is the other direction's to tell.
                if feed.send(buffer.split().freeze()).await.is_err() {
                    return Ok(());
                }
            }
        };
        let down = async {
            while let Some(piece) = drain.next().await? {
                writer.write_all(&piece).await?;
            }
            writer.shutdown().await?;
            // An end of what it says is not yet one of what it takes; after that nobody would tell the other direction.
            drain.closed().await;
            Ok::<(), Broken>(())
        };
        tokio::pin!(up, down);
        tokio::select! {
            done = &mut down => done,
            done = &mut up => match done {
                Ok(()) => down.await,
                broken => broken,
            },
        }
    };
    if carried.is_ok() {
        let _ = socket2::SockRef::from(&local).set_linger(None);
    }
    carried
}

/// Has a local connection end with an error, whenever it ends.
pub fn reset(local: &TcpStream) {
    let _ = socket2::SockRef::from(local).set_linger(Some(Duration::ZERO));
}
