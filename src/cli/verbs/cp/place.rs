//! What a word of the command line names: a local path, a path on a node, a stream. Pure.

use std::path::{Path, PathBuf};

/// One end of a copy.
#[derive(Debug, PartialEq, Eq)]
pub enum Place<'a> {
    /// A tar archive on standard input or output.
    Stream,
    /// A local path.
    Here(PathBuf),
    /// A path on a node.
    There {
        /// The cluster.
        cluster: &'a str,
        /// The node, as a person names it; without it the leader.
        node: Option<&'a str>,
        /// The path; never empty.
        path: &'a str,
    },
}

impl<'a> Place<'a> {
    /// Reads a word. What cannot be a cluster's name before the first colon is a local path.
    pub fn of(word: &'a str) -> Self {
        if word == "-" {
            return Self::Stream;
        }
        // With the letter of a drive, as Windows has them.
        if Path::new(word).is_absolute() {
            return Self::Here(word.into());
        }
        let Some((before, path)) = word.split_once(':') else { return Self::Here(word.into()) };
        let (cluster, node) = match before.split_once('/') {
            Some((cluster, node)) => (cluster, Some(node)),
            None => (before, None),
        };
        let node_fits =
            node.is_none_or(|n| !n.is_empty() && n.chars().all(|c| c.is_ascii_alphanumeric() || "-.".contains(c)));
        let name_fits = cluster.starts_with(|c: char| c.is_ascii_lowercase())
            && cluster.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
        if !name_fits || !node_fits {
            return Self::Here(word.into());
        }
        // As with scp, nothing after the colon is the home directory.
        Self::There { cluster, node, path: if path.is_empty() { "." } else { path } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_on_a_node_only_where_a_cluster_can_be_called_so() {
        let there = |cluster, node, path| Place::There { cluster, node, path };
        for (word, place) in [
            ("-", Place::Stream),
            ("nightly:/etc/hosts", there("nightly", None, "/etc/hosts")),
            ("nightly/m0:/var/log/x", there("nightly", Some("m0"), "/var/log/x")),
            ("nightly/10.0.0.1:x", there("nightly", Some("10.0.0.1"), "x")),
            ("nightly:", there("nightly", None, ".")),
            ("nightly:/a:b", there("nightly", None, "/a:b")),
        ] {
            assert_eq!(Place::of(word), place, "{word}");
        }
        for word in [".", "./a:b", "/a/b:c", "../x/m0:y", "a", "a/b/c:d", "Nightly:/x", "x/:y", "~/a:b", "1x:y"] {
            assert_eq!(Place::of(word), Place::Here(word.into()), "{word}");
        }
    }
}
