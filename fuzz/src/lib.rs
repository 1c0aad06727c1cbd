//! What the fuzz targets share, and the sources that they fuzz.
//!
//! The readers of what others say are files without a cluster around them, and are compiled here as they are, by their paths:
//! a target is built in a minute and not with the SDKs of EC2 and Kubernetes, what is private in the program stays so, and
//! nothing is there for the fuzzing alone. What they name from elsewhere in the program has a stand-in below.
#![allow(dead_code, unused_imports, missing_docs)]

pub mod documents;
pub mod heap;
pub mod pieces;

#[path = "../../src/results/mod.rs"]
pub mod results;

#[path = "../../src/untar.rs"]
pub mod untar;

#[path = "../../src/api"]
pub mod api {
    mod case_names;
    mod duration;
    mod quantity;
    pub mod text;
    pub use self::{case_names::CaseNames, duration::Duration, quantity::Quantity};

    /// Of an engine, what a boot script is made of.
    #[derive(Default)]
    pub struct EngineSpec {
        pub version: Option<String>,
        pub install_script: Option<String>,
        pub daemon_json: Option<serde_json::Map<String, serde_json::Value>>,
    }
}

#[path = "../../src/attach"]
pub mod attach {
    pub mod answer;
    pub mod request;
    pub mod routes;
}

#[path = "../../src/cluster"]
pub mod cluster {
    pub mod user_data;
}

#[path = "../../src/cli"]
pub mod cli {
    pub mod failure;
    pub mod hosts {
        pub mod route;
        pub mod ssh_config {
            pub mod said;
        }
    }
    pub mod output {
        pub mod path;
    }
    pub mod shell {
        pub mod quote;
    }
    pub mod terminal {
        pub mod escape;
    }
    pub mod verbs {
        pub mod cp {
            pub mod pack;
            pub mod place;
        }
        pub mod diagnose {
            pub mod redact;
        }
        pub mod port_forward {
            pub mod spec;
        }
        pub mod top {
            pub mod node;
        }
    }
}

#[path = "../../src/host"]
pub mod host {
    pub mod known_hosts {
        pub mod text;
    }

    use base64::{Engine as _, engine::general_purpose::STANDARD};

    /// A host key of ed25519, by its letters. It is as hard to please as the library, which takes one blank between two words.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct HostPin(pub String);

    impl HostPin {
        pub fn from_openssh(line: &str) -> Result<Self, String> {
            let mut words = line.trim().split(' ');
            let (Some("ssh-ed25519"), Some(key)) = (words.next(), words.next()) else { return Err(line.to_owned()) };
            let bytes = STANDARD.decode(key).map_err(|error| error.to_string())?;
            let head = b"\0\0\0\x0bssh-ed25519\0\0\0\x20";
            if bytes.len() == head.len() + 32 && bytes.starts_with(head) {
                Ok(Self(format!("ssh-ed25519 {key}")))
            } else {
                Err(line.to_owned())
            }
        }
    }
}

#[path = "../../src/run"]
pub mod run {
    pub mod archive {
        pub mod tar;
    }
}

#[path = "../../src/platform"]
pub mod platform {
    mod unix {
        pub mod files;
    }
    pub use self::unix::files;

    /// What ends a program.
    pub enum Signal {
        Interrupt,
        Terminate,
        Hangup,
    }
}

pub mod swarm {
    /// Why an engine does not send an archive.
    #[derive(Debug, thiserror::Error)]
    pub enum SwarmError {
        #[error("{0}")]
        Unreachable(String),
        #[error("{0}")]
        Refused(String),
    }
}
