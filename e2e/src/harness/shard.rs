//! A part of the cases: one of several that have all of them, each case in one.

use std::{collections::BTreeSet, str::FromStr};

use super::case::Case;

/// One of so many parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shard {
    /// From 1.
    index: usize,
    total: usize,
}

impl Shard {
    /// All cases.
    pub(crate) const WHOLE: Self = Self { index: 1, total: 1 };

    pub(crate) fn new(index: usize, total: usize) -> Result<Self, String> {
        match (1..=total).contains(&index) {
            true => Ok(Self { index, total }),
            false => Err(format!("{index}/{total} is no part: write one of 1/{0} to {0}/{0}", total.max(1))),
        }
    }

    /// Those of these cases that are in it, in their order. They are dealt out by name, first those that leave the
    /// cluster alone, so that all parts have about as many of both, whatever was asked for in which order.
    pub(crate) fn choose(self, mut cases: Vec<Case>) -> Vec<Case> {
        let mut names: Vec<_> = cases.iter().map(|case| (case.disruptive, case.name)).collect();
        names.sort_unstable();
        let dealt = names.into_iter().skip(self.index - 1).step_by(self.total);
        let ours: BTreeSet<&str> = dealt.map(|(_, name)| name).collect();
        cases.retain(|case| ours.contains(case.name));
        cases
    }
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once('/').and_then(|(index, total)| Some((index.parse().ok()?, total.parse().ok()?)));
        let (index, total) = parts.ok_or("write a number and how many parts there are, such as 2/4")?;
        Self::new(index, total)
    }
}

impl std::fmt::Display for Shard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.index, self.total)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Those with a capital letter disturb the cluster.
    fn cases(names: &[&'static str]) -> Vec<Case> {
        let case = |name: &&'static str| {
            let case = Case::new(name, |_| async { Ok(()) });
            if name.starts_with(|c: char| c.is_ascii_uppercase()) { case.disruptive() } else { case }
        };
        names.iter().map(case).collect()
    }

    #[test]
    fn each_case_is_in_one_part_in_whatever_order_they_come() {
        let names = ["d", "b", "a", "c", "e", "X", "Y"];
        for (total, wanted) in [
            (1, &["d b a c e X Y"][..]),
            (2, &["a c e Y", "d b X"]),
            (3, &["a d Y", "b e", "c X"]),
            (9, &["a", "b", "c", "d", "e", "X", "Y", "", ""]),
        ] {
            for (at, wanted) in wanted.iter().enumerate() {
                let shard = Shard::new(at + 1, total).unwrap();
                let of = |names: &[&'static str]| {
                    let mut chosen: Vec<_> = shard.choose(cases(names)).iter().map(|case| case.name).collect();
                    chosen.sort_unstable();
                    chosen
                };
                let mut reversed = names;
                reversed.reverse();
                let mut wanted: Vec<_> = wanted.split_whitespace().collect();
                wanted.sort_unstable();
                assert_eq!((of(&names), of(&reversed)), (wanted.clone(), wanted), "{shard}");
            }
        }
        let kept: Vec<_> = Shard::new(2, 2).unwrap().choose(cases(&names)).iter().map(|case| case.name).collect();
        assert_eq!(kept, ["d", "b", "X"], "the order stays, and what disturbs the cluster comes last");
    }
}
