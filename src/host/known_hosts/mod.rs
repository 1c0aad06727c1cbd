//! Which key a host must show, as `known_hosts` has it (sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT").

mod files;
mod text;

pub use files::known_hosts;
pub use text::{KnownHostError, known_host, written};
