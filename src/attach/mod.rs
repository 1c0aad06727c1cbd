//! Attach: a local socket that is the Docker socket of a swarm.
//!
//! Bytes travel over SSH, and **no stream delays another**. The SSH library gives window
//! credit when data arrives, not when it is read, and its session waits for a reader whose
//! buffer is full, keep-alives and other channels included (measured with russh 0.65; there
//! is no way to hold credit back from outside it). A stalled reader therefore stops its whole
//! connection, which is right for that reader (the daemon is held back, end to end) and wrong
//! for everyone else on it. So what can be large or endless (images, builds, logs, attached
//! processes; see [`routes`]) has a connection of its own while it lasts, from a pool; all
//! other requests, whose answers are small documents, share one connection, and their
//! answers are taken off it at once, up to a bound.
//!
//! **What an engine has is asked of that engine.** [`routes`] says of each request whose it is; [`homes`] says
//! where that is now, and when it is given up. Both are pure.
//!
//! Rooms: [`request`] and [`answer`] find where requests and answers begin and end, [`routes`] says what a request
//! asks for, [`homes`] where it goes, [`conversation`] carries one local connection, small answers by [`exchange`]
//! and all else by [`pour`], [`link`] is everything that leads to one node, [`links`] has all of them, [`keeper`] makes
//! them, [`nodes`] gives streams over them; the local end is of [`crate::platform`]. Nothing here prints or knows of Kubernetes.

mod answer;
mod conversation;
mod exchange;
mod homes;
mod keeper;
mod link;
mod links;
mod nodes;
mod pour;
mod request;
mod rhythm;
mod routes;

pub use homes::Pin;
pub use link::Node;
pub use links::Event;
pub use nodes::{Nodes, Refused};

use std::{io, sync::Arc};

use tokio::task::JoinSet;

use crate::platform::{files, local::LocalSocket};

/// Who is attached to what: what [`STATUS_PATH`] answers.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Status {
    /// The cluster, as `namespace/name`.
    pub cluster: String,
    /// The node whose containers and images are seen, where there is one: a manager, unless another was named.
    pub manager: Option<String>,
    /// Whether ports that containers publish are forwarded to this machine.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub publishes: bool,
}

/// A path of the socket that is answered here, for whoever asks whose socket it is.
pub const STATUS_PATH: &str = "/_testkit";

/// Serves the socket until the future is dropped; all its conversations end with it.
///
/// # Errors
/// When the socket accepts nothing more.
pub async fn serve(socket: &LocalSocket, nodes: &Arc<Nodes>) -> io::Result<()> {
    let mut conversations = JoinSet::new();
    loop {
        tokio::select! {
            accepted = socket.accept() => match accepted {
                Ok(local) => {
                    let nodes = nodes.clone();
                    conversations.spawn(async move { conversation::carry(local, &nodes).await });
                }
                // The one who came is gone, or this process has too many files open: those who are here go on.
                Err(error) if is_passing(&error) => {
                    tracing::warn!(%error, "a local connection was not accepted");
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                }
                Err(error) => return Err(error),
            },
            Some(_) = conversations.join_next() => {}
        }
    }
}

/// Whether an error of accepting says nothing of the next connection.
pub(crate) fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset)
        || files::too_many_open(error)
}
