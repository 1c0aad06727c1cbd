//! Local sockets: unix sockets, and the one of an attach in a directory of the user's.

use std::{
    fs, io,
    os::{
        fd::AsFd,
        unix::{
            fs::{DirBuilderExt, FileTypeExt, MetadataExt},
            net::UnixStream as StdStream,
        },
    },
    path::{Path, PathBuf},
};

use rustix::fs::Mode;
use tokio::{
    io::Interest,
    net::{
        UnixListener, UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
};

use crate::platform::SocketError;

/// How `DOCKER_HOST` names one.
pub const SCHEME: &str = "unix://";
/// Where this machine's Docker engine is by default.
pub const ENGINE: &str = "unix:///var/run/docker.sock";
/// The socket of an attach that no other was named for.
pub const DEFAULT: &str = "docker.sock";
/// The longest path the kernel takes for a socket: `sun_path` of unix(7), less its final NUL.
const PATH_LIMIT: usize = if cfg!(target_os = "linux") { 107 } else { 103 };

/// A connection to what somebody serves.
pub type Stream = UnixStream;
/// What comes from who has connected.
pub type Reader = OwnedReadHalf;
/// What goes there.
pub type Writer = OwnedWriteHalf;

/// Connects.
///
/// # Errors
/// What the system says.
pub async fn connect(path: &Path) -> io::Result<Stream> {
    UnixStream::connect(path).await
}

/// Where a socket is that is named so.
#[must_use]
pub fn place(name: &Path) -> PathBuf {
    std::path::absolute(name).unwrap_or_else(|_| name.to_owned())
}

/// What `DOCKER_HOST` is for it.
#[must_use]
pub fn docker_host(socket: &Path) -> String {
    format!("{SCHEME}{}", socket.display())
}

/// Where a socket is that `DOCKER_HOST` names, after its scheme.
#[must_use]
pub fn of_docker_host(rest: &str) -> PathBuf {
    PathBuf::from(rest)
}

/// Where the user's agent is, if there is one.
#[must_use]
pub fn agent() -> Option<PathBuf> {
    std::env::var_os("SSH_AUTH_SOCK").map(PathBuf::from)
}

/// A unix socket that only its owner may use. Dropped, it is removed, unless another has taken its place.
#[derive(Debug)]
pub struct LocalSocket {
    listener: UnixListener,
    path: PathBuf,
    inode: u64,
    /// The folder that was made for it alone.
    folder: Option<PathBuf>,
}

impl LocalSocket {
    /// Makes the socket; one that nobody serves any more is replaced.
    ///
    /// # Errors
    /// When somebody serves it, or the path is no good.
    pub async fn bind(path: &Path) -> Result<Self, SocketError> {
        let absolute = std::path::absolute(path).map_err(|error| SocketError::Io { path: path.to_owned(), error })?;
        let failed = |error| SocketError::Io { path: absolute.clone(), error };
        if absolute.as_os_str().len() > PATH_LIMIT {
            return Err(SocketError::TooLong { path: absolute, limit: PATH_LIMIT });
        }
        let parent = absolute.parent().unwrap_or(Path::new("/")).to_owned();
        // Two that start at once look one after the other. The lock ends with this function.
        let directory = fs::File::open(&parent).map_err(failed)?;
        directory.lock().map_err(failed)?;
        match fs::symlink_metadata(&absolute) {
            Ok(meta) if !meta.file_type().is_socket() => return Err(SocketError::NotASocket(absolute)),
            Ok(_) => match UnixStream::connect(&absolute).await {
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Ok(_) => return Err(SocketError::InUse(absolute)),
                Err(error) => return Err(failed(error)),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
        let made = (|| {
            if let Err(error) = fs::remove_file(&absolute)
                && error.kind() != io::ErrorKind::NotFound
            {
                return Err(error);
            }
            // The socket has its mode from its first moment on, as ssh(1) does it.
            let before = rustix::process::umask(Mode::from_raw_mode(0o177));
            let listener = UnixListener::bind(&absolute);
            rustix::process::umask(before);
            Ok((listener?, fs::symlink_metadata(&absolute)?.ino()))
        })();
        let (listener, inode) = made.map_err(failed)?;
        Ok(Self { listener, path: absolute, inode, folder: None })
    }

    /// Makes a socket that nobody needs to find: in a folder of its own that only its owner may enter, which is
    /// removed with the socket.
    ///
    /// # Errors
    /// When no place takes one: what the last one said.
    pub async fn private() -> Result<Self, SocketError> {
        // Short paths that can be written.
        let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
        let others = [std::env::temp_dir(), PathBuf::from("/tmp"), PathBuf::from("/dev/shm")];
        Self::private_in(&runtime.into_iter().chain(others).collect::<Vec<_>>()).await
    }

    /// In the first of these places that takes one.
    async fn private_in(places: &[PathBuf]) -> Result<Self, SocketError> {
        let mut last = io::Error::other("there is no place for it");
        let mut at = PathBuf::new();
        for place in places {
            let folder = place.join(format!("testkit-{:010x}", fastrand::u64(..1 << 40)));
            at = folder.join("docker.sock");
            if at.as_os_str().len() > PATH_LIMIT || !place.is_absolute() {
                continue;
            }
            if let Err(error) = fs::DirBuilder::new().mode(0o700).create(&folder) {
                last = error;
                continue;
            }
            match Self::bind(&at).await {
                Ok(mut socket) => {
                    socket.folder = Some(folder);
                    return Ok(socket);
                }
                Err(error) => {
                    let _ = fs::remove_dir(&folder);
                    last = io::Error::other(error.to_string());
                }
            }
        }
        Err(SocketError::Io { path: at, error: last })
    }

    /// Where it is: absolute.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Waits for who comes next.
    ///
    /// # Errors
    /// What the system says.
    pub async fn accept(&self) -> io::Result<Connection> {
        Ok(Connection(self.listener.accept().await?.0))
    }
}

impl Drop for LocalSocket {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|meta| meta.ino() == self.inode) {
            let _ = fs::remove_file(&self.path);
        }
        if let Some(folder) = &self.folder {
            let _ = fs::remove_dir(folder);
        }
    }
}

/// Who has connected.
#[derive(Debug)]
pub struct Connection(UnixStream);

impl Connection {
    /// Both directions, and what tells that nobody is there any more.
    #[must_use]
    pub fn split(self) -> (Reader, Writer, Gone) {
        // A descriptor of its own: readiness that is cleared there is not cleared for the writer.
        let own = self.0.as_fd().try_clone_to_owned().ok();
        let gone = Gone(own.and_then(|fd| UnixStream::from_std(StdStream::from(fd)).ok()));
        let (reader, writer) = self.0.into_split();
        (reader, writer, gone)
    }
}

/// Tells when the other side is gone for good, not only done with what it says.
pub struct Gone(Option<UnixStream>);

impl Gone {
    /// Waits for that.
    pub async fn wait(self) {
        let Some(socket) = self.0 else { return std::future::pending().await };
        while let Ok(ready) = socket.ready(Interest::WRITABLE).await {
            if ready.is_write_closed() {
                return;
            }
            // Clears the readiness: the next event is news.
            let _ = socket.try_io(Interest::WRITABLE, || -> io::Result<()> { Err(io::ErrorKind::WouldBlock.into()) });
        }
        std::future::pending::<()>().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn place(name: &str) -> PathBuf {
        let directory = std::env::temp_dir().join(format!("testkit-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir(&directory).unwrap();
        directory.join("docker.sock")
    }

    #[tokio::test]
    async fn a_dead_socket_is_replaced_and_a_live_one_is_not() {
        let path = place("takeover");
        // As a process that was killed leaves it.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let socket = LocalSocket::bind(&path).await.unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(matches!(LocalSocket::bind(&path).await, Err(SocketError::InUse(_))));
        drop(socket);
        assert!(!path.exists());
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 0, "something is left");
    }

    #[tokio::test]
    async fn a_private_socket_is_where_there_is_room_and_leaves_nothing() {
        let room = place("private").parent().unwrap().to_owned();
        let deep = room.join("x".repeat(100));
        fs::create_dir(&deep).unwrap();
        let places = [PathBuf::from("relative"), deep.clone(), room.join("missing"), room.clone()];
        let (one, other) =
            (LocalSocket::private_in(&places).await.unwrap(), LocalSocket::private_in(&places).await.unwrap());
        assert_ne!(one.path(), other.path());
        let folder = one.path().parent().unwrap();
        assert_eq!(
            (folder.parent().unwrap(), fs::metadata(folder).unwrap().permissions().mode() & 0o777),
            (&*room, 0o700)
        );
        drop((one, other));
        fs::remove_dir(deep).unwrap();
        assert_eq!(fs::read_dir(&room).unwrap().count(), 0, "something is left");
        assert!(LocalSocket::private_in(&[room.join("missing")]).await.is_err());
    }

    #[tokio::test]
    async fn what_is_not_ours_stays() {
        let path = place("file");
        fs::write(&path, "precious").unwrap();
        assert!(matches!(LocalSocket::bind(&path).await, Err(SocketError::NotASocket(_))));
        assert_eq!(fs::read(&path).unwrap(), b"precious");
        fs::remove_file(&path).unwrap();
        let socket = LocalSocket::bind(&path).await.unwrap();
        fs::remove_file(&path).unwrap();
        let other = std::os::unix::net::UnixListener::bind(&path).unwrap();
        drop(socket);
        assert!(path.exists(), "another's socket was removed");
        drop(other);
        let long = path.with_file_name("x".repeat(120));
        assert!(matches!(LocalSocket::bind(&long).await, Err(SocketError::TooLong { .. })));
    }
}
