//! Clusters and runs as a person names them.

use std::str::FromStr;

use crate::cli::failure::{Failure, exit};

/// A cluster, or a run where it is named as run/NAME.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// Whether it is a run.
    pub is_run: bool,
    /// Its name.
    pub name: String,
}

impl FromStr for Named {
    type Err = Failure;

    fn from_str(word: &str) -> Result<Self, Failure> {
        let (kind, name) = word.split_once('/').unwrap_or(("cluster", word));
        match is_run(kind) {
            Some(is_run) if !name.is_empty() => Ok(Self { is_run, name: name.to_owned() }),
            _ => Err(Failure::new(format!("{word:?} names neither a cluster nor a run"))
                .help("write NAME or cluster/NAME for a cluster, run/NAME for a run")
                .exit(exit::USAGE)),
        }
    }
}

/// Whether a word for a kind means runs; none where it is no such word.
pub fn is_run(kind: &str) -> Option<bool> {
    match kind.trim_end_matches(".testkit.dev") {
        "cluster" | "clusters" | "swc" | "swarmcluster" | "swarmclusters" => Some(false),
        "run" | "runs" | "e2e" | "e2erun" | "e2eruns" => Some(true),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_names_a_cluster_or_a_run() {
        for (word, is_run, name) in [
            ("nightly", false, "nightly"),
            ("cluster/nightly", false, "nightly"),
            ("swarmcluster.testkit.dev/nightly", false, "nightly"),
            ("run/first", true, "first"),
            ("e2erun.testkit.dev/first", true, "first"),
        ] {
            assert_eq!(word.parse::<Named>().unwrap(), Named { is_run, name: name.to_owned() });
        }
        for word in ["pod/x", "run/"] {
            assert_eq!(word.parse::<Named>().unwrap_err().code(), exit::USAGE, "{word}");
        }
    }
}
