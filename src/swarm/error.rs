//! What an engine refuses, by what the caller does about it. Each keeps the engine's own words.

use std::{error::Error as _, fmt::Write as _};

use bollard::errors::Error;

/// Why an engine did not do what it was asked.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum SwarmError {
    /// No answer: the connection, the engine or the host is gone or stuck. Ask again.
    #[error("the engine does not answer: {0}")]
    Unreachable(String),
    /// Only a manager can do this. Ask another node.
    #[error("not a swarm manager: {0}")]
    NotAManager(String),
    /// The managers that are left are too few to decide anything.
    #[error("the swarm has no quorum of managers: {0}")]
    NoQuorum(String),
    /// The node is in a swarm already.
    #[error("already in a swarm: {0}")]
    AlreadyInSwarm(String),
    /// There is no such thing.
    #[error("{0}")]
    NotFound(String),
    /// Somebody else changed it, or the name is taken. Look again.
    #[error("{0}")]
    Conflict(String),
    /// Anything else the engine says.
    #[error("{0}")]
    Refused(String),
}

impl From<Error> for SwarmError {
    fn from(error: Error) -> Self {
        match error {
            Error::DockerResponseServerError { status_code, message } => Self::of_answer(status_code, message),
            Error::DockerStreamError { error } => Self::Refused(error),
            Error::RequestTimeoutError => Self::Unreachable("it took too long".to_owned()),
            Error::JsonDataError { message, .. } => Self::Refused(format!("an answer that cannot be read: {message}")),
            Error::APIVersionParseError {} => Self::Refused("it names no API version".to_owned()),
            other => Self::Unreachable(chain(&other)),
        }
    }
}

impl SwarmError {
    fn of_answer(status: u16, message: String) -> Self {
        // The status codes of swarm's refusals differ between versions, the words do not.
        let says = |words: &[&str]| words.iter().any(|w| message.contains(w));
        if says(&["is not a swarm manager"]) {
            Self::NotAManager(message)
        } else if says(&["does not have a leader", "loss of quorum", "lost quorum", "context deadline exceeded"]) {
            Self::NoQuorum(message)
        } else if says(&["already part of a swarm"]) {
            Self::AlreadyInSwarm(message)
        } else if status == 409 || says(&["update out of sequence"]) {
            Self::Conflict(message)
        } else if status == 404 {
            Self::NotFound(message)
        } else {
            Self::Refused(message)
        }
    }
}

/// An error with its causes, where a cause says something new.
fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let words = cause.to_string();
        if !text.contains(&words) {
            let _ = write!(text, ": {words}");
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Messages as engines 20.10, 26.1 and 28.5 send them.
    #[test]
    fn the_engines_words_decide() {
        let of = |status, message: &str| SwarmError::of_answer(status, message.to_owned());
        let not_a_manager = "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to connect this node to swarm and try again.";
        assert!(matches!(of(503, not_a_manager), SwarmError::NotAManager(m) if m == not_a_manager));
        let no_leader = "rpc error: code = Unknown desc = The swarm does not have a leader. It's possible that too few managers are online. Make sure more than half of the managers are online.";
        assert!(matches!(of(500, no_leader), SwarmError::NoQuorum(_)));
        let already = "This node is already part of a swarm. Use \"docker swarm leave\" to leave this swarm and join another one.";
        assert!(matches!(of(503, already), SwarmError::AlreadyInSwarm(_)));
        assert!(matches!(of(500, "rpc error: code = Unknown desc = update out of sequence"), SwarmError::Conflict(_)));
        assert!(matches!(of(404, "No such container: x"), SwarmError::NotFound(_)));
        assert!(matches!(of(409, "Conflict. The container name \"/x\" is already in use"), SwarmError::Conflict(_)));
        assert!(matches!(of(500, "no space left on device"), SwarmError::Refused(_)));
    }
}
