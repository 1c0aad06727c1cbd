//! Local sockets: named pipes. Windows lets those write to one that is made so who have made it, and administrators.

use std::{
    io, mem,
    path::{Path, PathBuf},
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, ReadBuf, ReadHalf, WriteHalf, split},
    net::windows::named_pipe::{ClientOptions, NamedPipeClient, NamedPipeServer, PipeMode, ServerOptions},
    sync::{Mutex, oneshot},
    time::sleep,
};

use crate::platform::SocketError;

/// How `DOCKER_HOST` names one.
pub const SCHEME: &str = "npipe://";
/// Where this machine's Docker engine is by default.
pub const ENGINE: &str = "npipe:////./pipe/docker_engine";
/// The socket of an attach that no other was named for.
pub const DEFAULT: &str = r"\\.\pipe\testkit";
/// Where all of them are.
const PIPES: &str = r"\\.\pipe\";
/// `ERROR_PIPE_BUSY`: who serves it has not yet made room for the next one.
const BUSY: i32 = 231;

/// A connection to what somebody serves.
pub type Stream = NamedPipeClient;
/// What comes from who has connected.
pub struct Reader {
    half: Option<ReadHalf<NamedPipeServer>>,
    at_end: Option<oneshot::Sender<ReadHalf<NamedPipeServer>>>,
}
/// What goes there.
pub type Writer = WriteHalf<NamedPipeServer>;

/// Connects.
///
/// # Errors
/// What the system says.
pub async fn connect(path: &Path) -> io::Result<Stream> {
    loop {
        match ClientOptions::new().open(path) {
            Err(error) if error.raw_os_error() == Some(BUSY) => sleep(Duration::from_millis(20)).await,
            opened => return opened,
        }
    }
}

/// Where a socket is that is named so: a pipe by its whole name, as `DOCKER_HOST` has it, or by its last word.
#[must_use]
pub fn place(name: &Path) -> PathBuf {
    let text = name.to_string_lossy();
    let text = text.strip_prefix(SCHEME).unwrap_or(&text).replace('/', r"\");
    if text.starts_with(r"\\") { PathBuf::from(text) } else { PathBuf::from(format!("{PIPES}{text}")) }
}

/// What `DOCKER_HOST` is for it.
#[must_use]
pub fn docker_host(socket: &Path) -> String {
    format!("{SCHEME}{}", socket.to_string_lossy().replace('\\', "/"))
}

/// Where a socket is that `DOCKER_HOST` names, after its scheme.
#[must_use]
pub fn of_docker_host(rest: &str) -> PathBuf {
    place(Path::new(rest))
}

/// Where the user's agent is, if it does not say: that of Windows.
#[must_use]
pub fn agent() -> Option<PathBuf> {
    Some(std::env::var_os("SSH_AUTH_SOCK").map_or_else(|| format!("{PIPES}openssh-ssh-agent").into(), PathBuf::from))
}

/// A pipe that its owner may use. Dropped, it is gone.
#[derive(Debug)]
pub struct LocalSocket {
    /// The one that waits for who comes next.
    waiting: Mutex<NamedPipeServer>,
    path: PathBuf,
}

impl LocalSocket {
    /// Makes the pipe.
    ///
    /// # Errors
    /// When somebody serves it, or the name is no good.
    pub async fn bind(name: &Path) -> Result<Self, SocketError> {
        let path = place(name);
        match instances().first_pipe_instance(true).create(&path) {
            Ok(waiting) => Ok(Self { waiting: Mutex::new(waiting), path }),
            // This is how Windows says that there is another one.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(SocketError::InUse(path)),
            Err(error) => Err(SocketError::Io { path, error }),
        }
    }

    /// Makes a pipe that nobody needs to find.
    ///
    /// # Errors
    /// What the system says.
    pub async fn private() -> Result<Self, SocketError> {
        Self::bind(Path::new(&format!("testkit-{:010x}", fastrand::u64(..1 << 40)))).await
    }

    /// Its whole name.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Waits for who comes next.
    ///
    /// # Errors
    /// What the system says; where it is of who came, it is [`io::ErrorKind::ConnectionAborted`].
    pub async fn accept(&self) -> io::Result<Connection> {
        let mut waiting = self.waiting.lock().await;
        if let Err(error) = waiting.connect().await {
            let _ = waiting.disconnect();
            return Err(io::Error::new(io::ErrorKind::ConnectionAborted, error));
        }
        // Where there is no room for another one, who came stays for the next look.
        let next = instances().create(&self.path)?;
        Ok(Connection(mem::replace(&mut *waiting, next)))
    }
}

fn instances() -> ServerOptions {
    let mut options = ServerOptions::new();
    // Docker's clients say by an empty message that they say no more (as after `docker run -i <FILE`), and only to such a pipe.
    options.pipe_mode(PipeMode::Message);
    options
}

/// Who has connected.
#[derive(Debug)]
pub struct Connection(NamedPipeServer);

impl Connection {
    /// Both directions, and what tells that nobody is there any more.
    #[must_use]
    pub fn split(self) -> (Reader, Writer, Gone) {
        let (half, writer) = split(self.0);
        let (at_end, ended) = oneshot::channel();
        (Reader { half: Some(half), at_end: Some(at_end) }, writer, Gone(ended))
    }
}

impl AsyncRead for Reader {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let reader = self.get_mut();
        let Some(half) = &mut reader.half else { return Poll::Ready(Ok(())) };
        let before = buffer.filled().len();
        ready!(Pin::new(half).poll_read(cx, buffer))?;
        if buffer.filled().len() == before
            && buffer.remaining() > 0
            && let (Some(half), Some(at_end)) = (reader.half.take(), reader.at_end.take())
        {
            // Nobody may look for it any more.
            let _ = at_end.send(half);
        }
        Poll::Ready(Ok(()))
    }
}

/// Tells when the other side is gone for good, not only done with what it says.
pub struct Gone(oneshot::Receiver<ReadHalf<NamedPipeServer>>);

impl Gone {
    /// Waits for that.
    pub async fn wait(self) {
        let Ok(mut half) = self.0.await else { return std::future::pending().await };
        // Who has only ended what it says sends nothing more; who is gone is an end again.
        let mut nothing = [0; 64];
        while matches!(half.read(&mut nothing).await, Ok(1..)) {}
    }
}
