//! What differs between operating systems, behind the same names: all other rooms are written once, over these.
//!
//! [`local`] is the socket that an attach serves and the sockets that others serve, [`terminal`] where a person types,
//! [`signals`] what ends a program, [`process`] other programs, [`files`] modes and folders, [`shell`] what a person's shell
//! evaluates, and [`network`] what a system can be asked to see to of a TCP connection. Each system's folder has these files with the same items in them.

#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

use std::{io, path::PathBuf};

#[cfg(unix)]
pub use unix::{files, local, network, process, shell, signals, terminal};
#[cfg(windows)]
pub use windows::{files, local, network, process, shell, signals, terminal};

/// What ends a program, as it was meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Ctrl-C.
    Interrupt,
    /// Somebody ends it.
    Terminate,
    /// Its terminal goes away.
    Hangup,
}

/// Why there is no local socket.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Somebody serves it.
    #[error("{} is in use: something answers there", .0.display())]
    InUse(PathBuf),
    /// A file that is not ours to remove.
    #[error("{} is there already and is not a socket", .0.display())]
    NotASocket(PathBuf),
    /// The kernel takes no such path.
    #[error("{} is {} bytes long, and the path of a socket may have {limit}", path.display(), path.as_os_str().len())]
    TooLong {
        /// The socket.
        path: PathBuf,
        /// How long it may be.
        limit: usize,
    },
    /// The system's words.
    #[error("{} cannot be made: {error}", path.display())]
    Io {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
}
