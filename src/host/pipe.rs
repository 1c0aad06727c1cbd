//! A stream to a unix socket in two halves, as the pieces that travel.
//!
//! For whoever carries bytes between two sockets: nothing is copied, each direction is its
//! own, and each waits for itself alone. Clients of a protocol want [`SocketStream`](super::SocketStream).

use bytes::Bytes;
use futures::FutureExt;
use russh::{ChannelMsg, ChannelReadHalf, ChannelWriteHalf, client::Msg};

use super::{Host, HostError};

/// A stream to a unix socket or a TCP port. It ends when its [`Feed`] is dropped.
pub struct Pipe {
    /// What comes from the socket.
    pub drain: Drain,
    /// What goes to the socket.
    pub feed: Feed,
}

/// What comes from the socket.
pub struct Drain {
    reader: ChannelReadHalf,
    host: Host,
    over: bool,
    /// Nothing that is fed reaches anybody any more.
    closed: bool,
}

/// What goes to the socket. Dropped, it closes the stream: the library does that for nobody.
pub struct Feed(Option<ChannelWriteHalf<Msg>>);

impl Host {
    /// A stream to a unix socket on the host, in halves.
    ///
    /// # Errors
    /// When the connection is gone, or nothing listens there.
    pub async fn open_pipe(&self, path: &str) -> Result<Pipe, HostError> {
        let channel = self.open_streamlocal(path).await?;
        let (reader, writer) = channel.split();
        Ok(Pipe { drain: Drain { reader, host: self.clone(), over: false, closed: false }, feed: Feed(Some(writer)) })
    }

    /// A stream to a TCP port as the host sees it, in halves.
    ///
    /// # Errors
    /// When the connection is gone, or nothing listens there.
    pub async fn open_tcp(&self, address: &str, port: u16) -> Result<Pipe, HostError> {
        let channel = self.open_direct_tcpip(address, port).await?;
        let (reader, writer) = channel.split();
        Ok(Pipe { drain: Drain { reader, host: self.clone(), over: false, closed: false }, feed: Feed(Some(writer)) })
    }
}

impl Drain {
    /// The next piece; `None` once the socket has said all it will.
    ///
    /// # Errors
    /// When the connection is gone before that.
    pub async fn next(&mut self) -> Result<Option<Bytes>, HostError> {
        while !self.over {
            match self.reader.wait().await {
                Some(ChannelMsg::Data { data }) => return Ok(Some(data)),
                Some(ChannelMsg::Eof) => self.over = true,
                Some(ChannelMsg::Close) => (self.over, self.closed) = (true, true),
                Some(_) => {}
                None if self.host.is_closed() => return Err(self.host.lost()),
                None => (self.over, self.closed) = (true, true),
            }
        }
        Ok(None)
    }
}

impl Drain {
    /// Waits until the other side takes nothing any more either.
    pub async fn closed(&mut self) {
        while !self.closed {
            self.closed = matches!(self.reader.wait().await, None | Some(ChannelMsg::Close));
        }
    }

    /// Whether a stream that was asked nothing yet was ended by the other side.
    pub fn is_over(&mut self) -> bool {
        while let Some(message) = self.reader.wait().now_or_never() {
            self.closed |= matches!(message, None | Some(ChannelMsg::Close));
            self.over |= matches!(message, None | Some(ChannelMsg::Eof | ChannelMsg::Close));
            if self.over {
                break;
            }
        }
        self.over
    }
}

impl Feed {
    /// Sends a piece; waits while the other side takes no more.
    ///
    /// # Errors
    /// When the stream is gone. The reason is the other half's to tell.
    pub async fn send(&self, piece: Bytes) -> Result<(), Closed> {
        match &self.0 {
            Some(writer) => writer.data_bytes(piece).await.map_err(|_| Closed),
            None => Err(Closed),
        }
    }

    /// There is no more: the socket's other end reads an end of file, and may still answer.
    pub async fn end(&self) {
        if let Some(writer) = &self.0 {
            let _ = writer.eof().await;
        }
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        let Some(writer) = self.0.take() else { return };
        // Outside a runtime the connection is on its way out too.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { writer.close().await });
        }
    }
}

/// The stream takes nothing more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the stream is closed")]
pub struct Closed;

impl std::fmt::Debug for Pipe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pipe({:?})", self.drain.host)
    }
}

impl std::fmt::Debug for Drain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Drain({:?})", self.host)
    }
}

impl std::fmt::Debug for Feed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() { "Feed" } else { "Feed(closed)" })
    }
}
