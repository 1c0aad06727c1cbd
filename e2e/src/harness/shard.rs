//! A part of the cases: one of several that have all of them, each case in one.

use std::{
    cmp::Reverse,
    collections::{BTreeSet, BinaryHeap},
    str::FromStr,
};

use super::{case::Case, durations::Durations};

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

    /// Those of these cases that are in it, in their order. Which those are hangs on the names, on `durations` and on
    /// `threads`, how many cases run at once, alone, so that all parts come to the same division by themselves.
    pub(crate) fn choose(self, mut cases: Vec<Case>, durations: &Durations, threads: u16) -> Vec<Case> {
        let dealt = match durations.of(&cases) {
            Some(took) => self.by_time(&cases, &took, threads),
            None => self.by_name(&cases),
        };
        let ours: BTreeSet<&str> = dealt.into_iter().collect();
        cases.retain(|case| ours.contains(case.name));
        cases
    }

    /// They are dealt out by name, first those that leave the cluster alone, so that all parts have about as many of
    /// both, whatever was asked for in which order.
    fn by_name(self, cases: &[Case]) -> Vec<&'static str> {
        let mut names: Vec<_> = cases.iter().map(|case| (case.disruptive, case.name)).collect();
        names.sort_unstable();
        names.into_iter().skip(self.index - 1).step_by(self.total).map(|(_, name)| name).collect()
    }

    /// The longest first, each to the part that has least to do so far. A case that disturbs the cluster runs alone, and
    /// takes the time of as many others as run at once.
    fn by_time(self, cases: &[Case], took: &[u64], threads: u16) -> Vec<&'static str> {
        // None weighs nothing: those that take no time are dealt out as well.
        let weight =
            |case: &Case, took: u64| u128::from(took.max(1)) * if case.disruptive { u128::from(threads) } else { 1 };
        let mut cases: Vec<_> =
            cases.iter().zip(took).map(|(case, took)| (Reverse(weight(case, *took)), case.name)).collect();
        cases.sort_unstable();
        // With fewer cases than parts the later parts have none.
        let mut parts: BinaryHeap<_> =
            (1..=self.total.min(cases.len())).map(|index| Reverse((0_u128, index))).collect();
        let mut ours = Vec::new();
        for (Reverse(weight), name) in cases {
            let Some(mut least) = parts.peek_mut() else { break };
            let Reverse((load, index)) = &mut *least;
            *load += weight;
            if *index == self.index {
                ours.push(name);
            }
        }
        ours
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

    /// How many cases run at once.
    const THREADS: u16 = 4;

    /// Those with a capital letter disturb the cluster.
    fn cases(names: &[&'static str]) -> Vec<Case> {
        let case = |name: &&'static str| {
            let case = Case::new(name, |_| async { Ok(()) });
            if name.starts_with(|c: char| c.is_ascii_uppercase()) { case.disruptive() } else { case }
        };
        names.iter().map(case).collect()
    }

    /// The names that a part has.
    fn part(shard: Shard, names: &[&'static str], durations: &Durations) -> Vec<&'static str> {
        shard.choose(cases(names), durations, THREADS).iter().map(|case| case.name).collect()
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
                    let mut chosen = part(shard, names, &Durations::default());
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
        let kept = part(Shard::new(2, 2).unwrap(), &names, &Durations::default());
        assert_eq!(kept, ["d", "b", "X"], "the order stays, and what disturbs the cluster comes last");
    }

    #[test]
    fn what_took_long_is_evened_out() {
        let names = ["a", "b", "c", "d", "e", "X"];
        let of = |told: &str| [1, 2].map(|index| part(Shard::new(index, 2).unwrap(), &names, &told.parse().unwrap()));
        // By name they would be a, c, e and b, d, X.
        let long = r#"{"a": 60, "b": 10, "c": 50, "d": 10, "e": 10, "X": 1}"#;
        assert_eq!(of(long), [vec!["a", "d", "X"], vec!["b", "c", "e"]]);
        // One that disturbs the cluster keeps four at once from running.
        let alone = r#"{"a": 40, "b": 40, "c": 40, "d": 40, "e": 1, "X": 50}"#;
        assert_eq!(of(alone), [vec!["X"], vec!["a", "b", "c", "d", "e"]]);
        assert_eq!(of(r#"{"gone": 5}"#), of(""), "what is known is of no case here");
    }

    /// Numbers that are the same in each run of the tests.
    struct Numbers(u64);

    impl Numbers {
        fn below(&mut self, most: u64) -> u64 {
            // Knuth's MMIX generator; its low bits are poor.
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33) % most
        }
    }

    /// Suites, tables and parts of all kinds: cases that nobody knows, that took no time or for ever, names of cases that
    /// are gone, and more parts than cases.
    #[test]
    fn each_case_is_in_exactly_one_part_whatever_is_known_of_it() {
        let named = |n| -> &'static str { format!("{}{n}", if n % 5 == 0 { 'X' } else { 'a' }).leak() };
        let pool: Vec<&'static str> = (0..60).map(named).collect();
        let mut numbers = Numbers(7);
        for world in 0..500 {
            let mut names: Vec<&'static str> = pool.iter().copied().filter(|_| numbers.below(2) == 0).collect();
            let mut took: Vec<(String, f64)> = Vec::new();
            for name in &pool {
                match numbers.below(6) {
                    0 | 1 => {}
                    2 => took.push(((*name).to_owned(), 0.0)),
                    3 if numbers.below(20) == 0 => took.push(((*name).to_owned(), 1e17)),
                    _ => took.push(((*name).to_owned(), numbers.below(90_000) as f64 / 1000.0)),
                }
            }
            let told = serde_json::to_string(&took.into_iter().collect::<std::collections::BTreeMap<_, _>>()).unwrap();
            let durations: Durations = if numbers.below(8) == 0 { Durations::default() } else { told.parse().unwrap() };
            let total = 1 + usize::try_from(numbers.below(70)).unwrap();
            let parts = |names: &[&'static str]| -> Vec<BTreeSet<&'static str>> {
                let of = |index| part(Shard::new(index, total).unwrap(), names, &durations).into_iter().collect();
                (1..=total).map(of).collect()
            };
            let dealt = parts(&names);
            let mut all: Vec<_> = dealt.iter().flatten().copied().collect();
            all.sort_unstable();
            let turned = names.len() / 3;
            names.rotate_left(turned);
            assert_eq!(parts(&names), dealt, "world {world}: the order in which they come is nobody's");
            names.sort_unstable();
            assert_eq!(all, names, "world {world}: each is in one of {total} parts");
            even(&names, &durations, &dealt, world);
        }
    }

    /// No part has more to do than one that has least, and one case besides.
    fn even(names: &[&'static str], durations: &Durations, dealt: &[BTreeSet<&'static str>], world: usize) {
        let all = cases(names);
        let Some(took) = durations.of(&all) else { return };
        let weight =
            |case: &Case, took: u64| u128::from(took.max(1)) * if case.disruptive { u128::from(THREADS) } else { 1 };
        let weights: Vec<_> = all.iter().zip(took).map(|(case, took)| (case.name, weight(case, took))).collect();
        let load = |part: &BTreeSet<&str>| {
            weights.iter().filter(|(name, _)| part.contains(name)).map(|(_, w)| w).sum::<u128>()
        };
        let least = dealt.iter().map(load).min().unwrap_or(0);
        for part in dealt {
            let lightest = weights.iter().filter(|(name, _)| part.contains(name)).map(|(_, w)| *w).min().unwrap_or(0);
            assert!(load(part) <= least + lightest, "world {world}: {part:?}");
        }
    }
}
