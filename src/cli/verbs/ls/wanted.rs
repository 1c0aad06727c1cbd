//! What somebody wants listed.

use crate::cli::{
    failure::{Failure, exit},
    kubernetes::{Named, is_run},
};

/// Kinds, or objects by name.
#[derive(Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Clusters are.
    pub clusters: bool,
    /// Runs are.
    pub runs: bool,
    /// These and no others.
    pub names: Vec<Named>,
}

impl Wanted {
    /// Reads the words; `by_other` says that labels, fields or all namespaces choose, with which no names go.
    pub fn of(words: &[String], by_other: bool) -> Result<Self, Failure> {
        let kinds: Vec<bool> = words.iter().filter_map(|word| is_run(word)).collect();
        let names: Vec<Named> = words
            .iter()
            .filter(|word| is_run(word).is_none())
            .map(|word| word.parse::<Named>())
            .collect::<Result<_, _>>()?;
        if !names.is_empty() && (by_other || !kinds.is_empty()) {
            let what = if by_other { "-l, --field-selector or -A" } else { "the words clusters and runs" };
            return Err(Failure::new(format!("names do not go with {what}"))
                .help("a name stands for one object of the namespace: leave out one or the other")
                .exit(exit::USAGE));
        }
        let of = |is_run: bool| match (names.is_empty(), kinds.is_empty()) {
            (false, _) => names.iter().any(|n| n.is_run == is_run),
            (true, true) => true,
            (true, false) => kinds.contains(&is_run),
        };
        Ok(Self { clusters: of(false), runs: of(true), names })
    }

    /// The kinds in words.
    pub fn words(&self) -> &'static str {
        match (self.clusters, self.runs) {
            (true, false) => "clusters",
            (false, true) => "runs",
            _ => "clusters and no runs",
        }
    }

    /// Whether an object of that name is wanted.
    pub fn has(&self, is_run: bool, name: &str) -> bool {
        self.names.is_empty() || self.names.iter().any(|n| n.is_run == is_run && n.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_kinds_or_names() {
        let of =
            |words: &[&str], by_other| Wanted::of(&words.iter().map(ToString::to_string).collect::<Vec<_>>(), by_other);
        for (words, clusters, runs, names) in [
            (&[][..], true, true, 0),
            (&["runs"], false, true, 0),
            (&["cluster", "e2eruns"], true, true, 0),
            (&["nightly"], true, false, 1),
            (&["nightly", "run/first"], true, true, 2),
            (&["cluster/run"], true, false, 1),
        ] {
            let wanted = of(words, false).unwrap();
            assert_eq!((wanted.clusters, wanted.runs, wanted.names.len()), (clusters, runs, names), "{words:?}");
        }
        assert!(of(&["runs"], true).unwrap().has(true, "any"));
        assert!(!of(&["run/a"], false).unwrap().has(true, "b"));
        for (words, by_other) in [(&["nightly"][..], true), (&["nightly", "runs"], false), (&["pod/x"], false)] {
            assert_eq!(of(words, by_other).unwrap_err().code(), exit::USAGE, "{words:?}");
        }
    }
}
