//! Why a step of a plan failed.

use std::fmt;

use crate::{cloud::CloudError, swarm::SwarmError};

/// Why a step failed, by what it means for the object's conditions.
#[derive(Clone, Debug)]
pub enum Failure {
    /// The cloud refused.
    Cloud(CloudError),
    /// A host, its engine or the API server refused.
    Host(String),
    /// The spec names something that is not there, or not possible.
    Spec(String),
    /// These use what is to be removed.
    InUse(Vec<String>),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cloud(error) => error.fmt(f),
            Self::InUse(users) => write!(f, "it is used by {}", users.join(", ")),
            Self::Host(text) | Self::Spec(text) => f.write_str(text),
        }
    }
}

impl From<CloudError> for Failure {
    fn from(error: CloudError) -> Self {
        Self::Cloud(error)
    }
}

impl From<SwarmError> for Failure {
    fn from(error: SwarmError) -> Self {
        Self::Host(error.to_string())
    }
}
