//! One SSH connection: commands, streams to unix sockets and TCP ports, and knowing when it is gone.
//!
//! The library's session loop waits for a reader that does not read, and then does nothing
//! else (measured with russh 0.65). So what people or big data pace gets a connection of its
//! own: see [`Hosts::bulk`](super::Hosts::bulk).

use std::{
    any::Any,
    fmt, io,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use russh::{
    ChannelMsg, ChannelStream,
    client::{self, Msg},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::CancellationToken;

use super::{
    ConnectError, HostError, HostPin, Target,
    login::{Ending, Grip, Login, Patience, Watcher, login},
    way::Hop,
};

/// What a command may write before it is cut off.
const OUTPUT_LIMIT: usize = 4 << 20;

/// A connected host. Clones are the same connection, which ends with the last of them and of their streams.
#[derive(Clone)]
pub struct Host {
    link: Arc<Link>,
    attachment: Arc<OnceLock<Arc<dyn Any + Send + Sync>>>,
}

struct Link {
    handle: client::Handle<Watcher>,
    grip: Grip,
    address: String,
    presented: HostPin,
    ending: Ending,
    /// The jump hosts that carry it.
    _hops: Vec<Hop>,
    /// What must live as long as the connection: a place in a queue.
    _keep: Option<Box<dyn Any + Send + Sync>>,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.shut("nobody uses it any more");
    }
}

impl Link {
    /// Ends the connection.
    fn shut(&self, why: &str) {
        let _ = self.ending.why.set(why.to_owned());
        self.grip.release();
    }

    fn lost(&self) -> HostError {
        HostError::Lost { address: self.address.clone(), reason: self.ending.reason() }
    }

    fn failed(&self, what: &str, error: russh::Error) -> HostError {
        if self.ending.gone.is_cancelled() || self.handle.is_closed() {
            return self.lost();
        }
        let reason = match error {
            russh::Error::ChannelOpenFailure(russh::ChannelOpenFailure::ConnectFailed) => {
                "nothing listens there".to_owned()
            }
            other => other.to_string(),
        };
        HostError::NotOpened { address: self.address.clone(), what: what.to_owned(), reason }
    }
}

/// What a command did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecOutput {
    /// Its exit status; `None` where a signal ended it.
    pub status: Option<u32>,
    /// What it wrote.
    pub stdout: Bytes,
    /// What it complained about.
    pub stderr: Bytes,
}

impl ExecOutput {
    /// Whether it exited with 0.
    #[must_use]
    pub fn success(&self) -> bool {
        self.status == Some(0)
    }

    /// The last line of what it complained about (or wrote), for messages.
    #[must_use]
    pub fn complaint(&self) -> String {
        let text = if self.stderr.is_empty() { &self.stdout } else { &self.stderr };
        let text = String::from_utf8_lossy(text);
        text.lines().rfind(|l| !l.trim().is_empty()).unwrap_or("(no output)").trim().chars().take(300).collect()
    }
}

impl Host {
    /// Connects and logs in: one attempt.
    pub async fn connect(target: &Target) -> Result<Self, ConnectError> {
        Self::connect_with(target, Patience::CONTROL, None).await
    }

    /// The same from a person's machine, which may be far away. `first_bytes` is what the TCP connection may take.
    ///
    /// # Errors
    /// As with [`connect`](Self::connect).
    pub async fn connect_from_afar(target: &Target, first_bytes: Duration) -> Result<Self, ConnectError> {
        Self::connect_with(target, Patience::FAR.first_bytes_within(first_bytes), None).await
    }

    /// The same to send or read much: a busy host has more time before it counts as dead.
    ///
    /// # Errors
    /// As with [`connect`](Self::connect).
    pub async fn connect_from_afar_for_bulk(target: &Target) -> Result<Self, ConnectError> {
        Self::connect_with(target, Patience::BULK.patiently(), None).await
    }

    /// The same with another patience, and with something that lives as long as the connection.
    pub(super) async fn connect_with(
        target: &Target,
        patience: Patience,
        keep: Option<Box<dyn Any + Send + Sync>>,
    ) -> Result<Self, ConnectError> {
        let Login { handle, grip, place, presented, ending, hops } = login(target, patience).await?;
        let link = Link { handle, grip, address: place, presented, ending, _hops: hops, _keep: keep };
        Ok(Self { link: Arc::new(link), attachment: Arc::default() })
    }

    /// Runs a command in the user's shell and waits for its end.
    pub async fn exec(&self, command: &str, stdin: Option<Bytes>) -> Result<ExecOutput, HostError> {
        let channel = self.open_session().await?;
        channel.exec(true, command).await.map_err(|e| self.link.failed("a command", e))?;
        let (mut reader, writer) = channel.split();
        let feed = async {
            if let Some(bytes) = stdin {
                // A command that reads nothing more ends by itself: that is what is reported.
                let _ = writer.data_bytes(bytes).await;
            }
            let _ = writer.eof().await;
            std::future::pending::<()>().await;
        };
        let done = tokio::select! {
            done = self.collect(&mut reader) => done,
            () = feed => Err(self.link.lost()),
        };
        let _ = writer.close().await;
        done
    }

    pub(super) async fn open_session(&self) -> Result<russh::Channel<Msg>, HostError> {
        self.link.handle.channel_open_session().await.map_err(|e| self.link.failed("a session", e))
    }

    pub(super) fn failed(&self, what: &str, error: russh::Error) -> HostError {
        self.link.failed(what, error)
    }

    pub(super) fn lost(&self) -> HostError {
        self.link.lost()
    }

    async fn collect(&self, reader: &mut russh::ChannelReadHalf) -> Result<ExecOutput, HostError> {
        let (mut stdout, mut stderr) = (BytesMut::new(), BytesMut::new());
        let (mut status, mut ended) = (None, false);
        while let Some(message) = reader.wait().await {
            match message {
                ChannelMsg::Data { data } => stdout.extend_from_slice(&data),
                ChannelMsg::ExtendedData { data, .. } => stderr.extend_from_slice(&data),
                ChannelMsg::ExitStatus { exit_status } => (status, ended) = (Some(exit_status), true),
                ChannelMsg::ExitSignal { .. } => ended = true,
                ChannelMsg::Failure => return Err(self.link.failed("a command", russh::Error::RequestDenied)),
                ChannelMsg::Close => break,
                _ => {}
            }
            if stdout.len() + stderr.len() > OUTPUT_LIMIT {
                return Err(HostError::TooMuchOutput { address: self.link.address.clone(), limit: OUTPUT_LIMIT });
            }
        }
        if !ended {
            return Err(self.link.lost());
        }
        Ok(ExecOutput { status, stdout: stdout.freeze(), stderr: stderr.freeze() })
    }

    /// A stream to a unix socket on the host.
    pub async fn open_socket(&self, path: &str) -> Result<SocketStream, HostError> {
        let channel = self.open_streamlocal(path).await?;
        Ok(SocketStream { inner: channel.into_stream(), link: self.link.clone() })
    }

    /// A stream to a TCP port as the host sees it. It is closed when it is dropped.
    ///
    /// # Errors
    /// When the connection is gone, or nothing listens there.
    pub async fn open_tcp_stream(&self, address: &str, port: u16) -> Result<SocketStream, HostError> {
        let channel = self.open_direct_tcpip(address, port).await?;
        Ok(SocketStream { inner: channel.into_stream(), link: self.link.clone() })
    }

    pub(super) async fn open_streamlocal(&self, path: &str) -> Result<russh::Channel<Msg>, HostError> {
        self.link.handle.channel_open_direct_streamlocal(path).await.map_err(|e| self.link.failed(path, e))
    }

    pub(super) async fn open_direct_tcpip(&self, address: &str, port: u16) -> Result<russh::Channel<Msg>, HostError> {
        // Where the local end is says nothing to anybody: sshd only writes it into its log.
        let channel = self.link.handle.channel_open_direct_tcpip(address, u32::from(port), "127.0.0.1", 0).await;
        channel.map_err(|e| self.link.failed(&format!("{address}:{port}"), e))
    }

    /// Waits for a sign of life: sshd answers while the host does anything at all.
    ///
    /// # Errors
    /// When the connection is gone.
    pub async fn ping(&self) -> Result<(), HostError> {
        self.link.handle.send_ping().await.map_err(|e| self.link.failed("a ping", e))
    }

    /// Whether what is sent may wait for more to come: less work for the hosts where much is sent, later where little is.
    pub fn gather(&self, more: bool) {
        self.link.grip.gather(more);
    }

    /// Fires when the connection is gone.
    #[must_use]
    pub fn closed(&self) -> CancellationToken {
        self.link.ending.gone.clone()
    }

    /// Whether the connection is gone.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.link.ending.gone.is_cancelled()
    }

    /// Why the connection is gone, once it is.
    #[must_use]
    pub fn reason(&self) -> String {
        self.link.ending.reason()
    }

    /// The host key that was shown.
    #[must_use]
    pub fn presented(&self) -> &HostPin {
        &self.link.presented
    }

    /// Where it leads, for messages.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.link.address
    }

    /// Ends the connection, whoever else holds it.
    pub fn close(&self) {
        self.link.shut("it was closed on our side");
    }

    /// A thing made once for this connection and kept with it, such as a client with a pool.
    pub fn attached<T: Clone + Send + Sync + 'static>(&self, make: impl Fn(Self) -> T) -> T {
        // What is kept must not hold what keeps it.
        let bare = || Self { link: self.link.clone(), attachment: Arc::default() };
        let kept = self.attachment.get_or_init(|| Arc::new(make(bare())));
        kept.downcast_ref().cloned().unwrap_or_else(|| make(bare()))
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Host({}{})", self.link.address, if self.is_closed() { ", closed" } else { "" })
    }
}

/// A stream to a unix socket or a TCP port. A connection that is lost is an error, not an end of file.
pub struct SocketStream {
    inner: ChannelStream<Msg>,
    link: Arc<Link>,
}

impl SocketStream {
    fn lost(&self) -> io::Error {
        io::Error::new(io::ErrorKind::ConnectionReset, self.link.lost())
    }
}

impl fmt::Debug for SocketStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SocketStream({})", self.link.address)
    }
}

impl AsyncRead for SocketStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let room = buf.remaining() > 0;
        let done = ready!(Pin::new(&mut self.inner).poll_read(cx, buf));
        if room && buf.filled().len() == before && self.link.ending.gone.is_cancelled() {
            return Poll::Ready(Err(self.lost()));
        }
        Poll::Ready(done)
    }
}

impl AsyncWrite for SocketStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        // The library refuses to send nothing.
        if data.is_empty() {
            return Poll::Ready(Ok(0));
        }
        if self.link.ending.gone.is_cancelled() {
            return Poll::Ready(Err(self.lost()));
        }
        Pin::new(&mut self.inner).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
