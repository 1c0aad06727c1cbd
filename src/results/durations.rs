//! How long the cases of a suite took in its last runs, as a table for whoever divides them among several containers.

use std::{collections::HashMap, time::Duration};

use super::{
    case::{Record, Verdict},
    retold::{Cases, read_packed},
};

/// The most cases that are followed: a table has room for fewer, and a suite has a few thousand.
const CASES: usize = 20_000;
/// The most bytes of a name: one that is longer tells no case from another.
const NAME: usize = 256;

/// How long each case took, by its name.
#[derive(Clone, Debug, Default)]
pub struct Durations {
    /// The times of the runs that ran it, the latest run first; none where it was only skipped.
    cases: HashMap<String, Vec<Duration>>,
}

impl Durations {
    /// Takes in what a run left, as gzip has it. Whether that could be read.
    pub fn add(&mut self, junit: &[u8]) -> bool {
        let mut took: HashMap<String, Option<Duration>> = HashMap::new();
        let read = read_packed(
            junit,
            &mut Cases(|record: Record| {
                let case = record.case;
                let known = took.contains_key(&case.name);
                if !record.whole_name || case.name.len() > NAME || (took.len() >= CASES && !known) {
                    return;
                }
                // What was skipped may be again: it takes no time. Of several of one name the longest counts.
                let time = case.time.filter(|_| case.verdict != Verdict::Skipped);
                let longest = took.entry(case.name).or_default();
                *longest = time.max(*longest);
            }),
        );
        for (name, time) in took {
            if self.cases.len() < CASES || self.cases.contains_key(&name) {
                self.cases.entry(name).or_default().extend(time);
            }
        }
        read
    }

    /// The table, as JSON: seconds by name, the longest first, in at most so many bytes; and how many cases are in it.
    /// Of several runs that one counts which lies in the middle.
    #[must_use]
    pub fn table(&self, most: usize) -> (String, usize) {
        let mut all: Vec<(u128, &str)> =
            self.cases.iter().map(|(name, times)| (middle(times).as_millis(), &**name)).collect();
        all.sort_unstable_by(|(one, name), (other, other_name)| other.cmp(one).then(name.cmp(other_name)));
        let (mut table, mut cases) = ("{".to_owned(), 0);
        for (took, name) in all {
            let name = serde_json::Value::from(name).to_string();
            let entry = format!("{}{name}:{}.{:03}", if cases > 0 { "," } else { "" }, took / 1000, took % 1000);
            if table.len() + entry.len() >= most {
                break;
            }
            table.push_str(&entry);
            cases += 1;
        }
        table.push('}');
        (table, cases)
    }
}

/// The one in the middle; of two, the longer one.
fn middle(times: &[Duration]) -> Duration {
    let mut times = times.to_vec();
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, io::Write as _};

    use flate2::{Compression, write::GzEncoder};
    use proptest::prelude::*;

    use super::*;

    fn packed(xml: &str) -> Vec<u8> {
        let mut file = GzEncoder::new(Vec::new(), Compression::fast());
        file.write_all(xml.as_bytes()).unwrap();
        file.finish().unwrap()
    }

    /// What runs left: of each its cases, by name, with seconds, `s` where it was skipped and `-` without a time.
    fn of(runs: &[&[(&str, &str)]]) -> Durations {
        let mut durations = Durations::default();
        for cases in runs {
            let case = |(name, took): &(&str, &str)| match *took {
                "s" => format!("<testcase name='{name}' time='0'><skipped/></testcase>"),
                "-" => format!("<testcase name='{name}'/>"),
                took => format!("<testcase name='{name}' time='{took}'/>"),
            };
            let cases: String = cases.iter().map(case).collect();
            assert!(durations.add(&packed(&format!("<testsuite name='e2e'>{cases}</testsuite>"))));
        }
        durations
    }

    #[test]
    fn the_run_in_the_middle_counts_and_what_was_skipped_takes_no_time() {
        type Row<'a> = (&'a str, &'a [&'a [(&'a str, &'a str)]], &'a str);
        let table: [Row<'_>; 8] = [
            ("none", &[], "{}"),
            ("the longest first", &[&[("a", "1"), ("b", "2.5")]], r#"{"b":2.500,"a":1.000}"#),
            ("of those that take the same the first by name", &[&[("b", "1"), ("a", "1")]], r#"{"a":1.000,"b":1.000}"#),
            ("an outlier", &[&[("a", "1")], &[("a", "90")], &[("a", "1.2")]], r#"{"a":1.200}"#),
            ("skipped by the last run", &[&[("a", "s")], &[("a", "3")]], r#"{"a":3.000}"#),
            ("skipped by all", &[&[("a", "s")], &[("a", "s")]], r#"{"a":0.000}"#),
            ("of one name", &[&[("a", "1"), ("a", "4"), ("a", "2")]], r#"{"a":4.000}"#),
            ("no time", &[&[("a", "-"), ("b", "1")]], r#"{"b":1.000,"a":0.000}"#),
        ];
        for (what, runs, wanted) in table {
            assert_eq!(of(runs).table(1000).0, wanted, "{what}");
        }
        let classes = "<testsuite name='s'><testcase classname='C' name='a' time='1'/></testsuite>";
        let mut durations = Durations::default();
        assert!(durations.add(&packed(classes)) && !durations.add(b"") && !durations.add(b"junk"));
        assert_eq!(durations.table(1000), (r#"{"C.a":1.000}"#.to_owned(), 1), "as it is listed");
    }

    proptest! {
        /// Whatever names and times a container wrote: it is JSON within its bytes, and what is left out took no longer
        /// than what is in.
        #[test]
        fn the_table_is_json_within_its_bytes(cases in prop::collection::btree_map("[a-z\"\\\\é:{} ]{1,20}", 0_u32..100_000, 0..40), most in 2_usize..600) {
            let names: Vec<(String, String)> = cases.iter().map(|(name, took)| {
                (name.replace('"', "&quot;"), format!("{}.{:03}", took / 1000, took % 1000))
            }).collect();
            let run: Vec<(&str, &str)> = names.iter().map(|(name, took)| (&**name, &**took)).collect();
            let (table, many) = of(&[&run]).table(most);
            prop_assert!(table.len() <= most.max(2));
            let read: BTreeMap<String, f64> = serde_json::from_str(&table).unwrap();
            prop_assert_eq!(read.len(), many);
            let shortest = read.values().copied().fold(f64::INFINITY, f64::min);
            let all = of(&[&run]).table(usize::MAX).0;
            let all: BTreeMap<String, f64> = serde_json::from_str(&all).unwrap();
            for (name, took) in all.iter().filter(|(name, _)| !read.contains_key(*name)) {
                prop_assert!(*took <= shortest, "{name} took {took}");
            }
        }
    }
}
