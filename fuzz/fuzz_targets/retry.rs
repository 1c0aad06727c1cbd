//! Two attempts told as one: what failed in the first, and did not pass in the second by its whole name, has failed.
#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::{
    arbitrary::{self, Arbitrary},
    fuzz_target,
};
use testkit_fuzz::results::{Outcome, Verdict, again};

#[derive(Arbitrary, Debug)]
struct Attempts {
    first: Vec<Case>,
    second: Vec<Case>,
    /// What of the second attempt is cut off, if anything.
    cut: Option<u16>,
}

/// Of a few names, so that they meet.
#[derive(Arbitrary, Clone, Debug, PartialEq)]
struct Case {
    suite: bool,
    class: bool,
    name: u8,
    end: End,
}

#[derive(Arbitrary, Clone, Copy, Debug, PartialEq)]
enum End {
    Passed,
    Failed,
    Skipped,
}

impl Case {
    fn name(&self) -> (bool, bool, u8) {
        (self.suite, self.class, self.name % 4)
    }
}

fn written(cases: &[Case]) -> Vec<u8> {
    let mut xml = String::from("<testsuites>");
    for suite in [false, true] {
        xml.push_str(&format!("<testsuite name='s{}'>", u8::from(suite)));
        for case in cases.iter().take(12).filter(|case| case.suite == suite) {
            let (_, class, name) = case.name();
            let end = match case.end {
                End::Passed => "",
                End::Failed => "<failure message='m'/>",
                End::Skipped => "<skipped/>",
            };
            xml.push_str(&format!("<testcase classname='c{}' name='n{name}'>{end}</testcase>", u8::from(class)));
        }
        xml.push_str("</testsuite>");
    }
    (xml + "</testsuites>").into_bytes()
}

fn read(xml: &[u8]) -> Outcome {
    Outcome::of_files(&BTreeMap::from([("r.xml".to_owned(), xml.to_vec())]))
}

fuzz_target!(|attempts: Attempts| {
    let (first, mut second) = (written(&attempts.first), written(&attempts.second));
    if let Some(cut) = attempts.cut {
        second.truncate(usize::from(cut) % second.len());
    }
    let before = read(&first);
    let failed: Vec<String> = before
        .cases
        .iter()
        .filter(|case| matches!(case.verdict, Verdict::Failed(_)))
        .map(|case| case.own_name().to_owned())
        .collect();
    let kept = before.junit.as_ref().expect("there are suites");
    let both = again(kept.packed(), &failed, &read(&second));
    if attempts.cut.is_some() {
        assert!(!both.problems.is_empty(), "{attempts:?}: {both:?}");
    }
    // A case that its tool tried again until it passed has not failed; of one name there are several only here.
    let cases: Vec<&Case> = attempts.first.iter().take(12).collect();
    for case in cases.iter().filter(|case| case.end == End::Failed) {
        let once = cases.iter().filter(|other| other.name() == case.name()).count() == 1;
        let passed = attempts.second.iter().take(12).any(|c| c.name() == case.name() && c.end == End::Passed);
        if once && !passed {
            assert!(both.failed() > 0, "{attempts:?}: {both:?}");
        }
    }
    for case in attempts.second.iter().take(12).filter(|_| attempts.cut.is_none()) {
        let once = attempts.second.iter().take(12).filter(|other| other.name() == case.name()).count() == 1;
        if once && case.end == End::Failed {
            assert!(both.failed() > 0, "{attempts:?}: {both:?}");
        }
    }
});
