//! Results of a run in which a case failed, as tools write them: whole, or cut off anywhere, in any pieces, they are no pass.
#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use testkit_fuzz::{
    documents::{Format, Suite, may_pass},
    pieces::Pieces,
    results::{LogReading, Outcome},
};

fuzz_target!(|input: (Suite, Option<u16>)| {
    let (suite, cut) = input;
    let whole = suite.written();
    let bytes = match cut {
        Some(cut) => &whole[..usize::from(cut) % whole.len()],
        None => &whole[..],
    };
    let shown = || String::from_utf8_lossy(bytes).into_owned();
    let outcome = Outcome::of_files(&BTreeMap::from([(suite.file().to_owned(), bytes.to_vec())]));
    assert!(!may_pass(&outcome), "{}", shown());
    if cut.is_none() {
        assert!(outcome.failed() > 0, "{}\n{outcome:?}", shown());
        assert_eq!(outcome.problems, Vec::<String>::new(), "{}", shown());
    }
    if !matches!(suite.format, Format::JUnit(_)) {
        let mut log = LogReading::default();
        Pieces::of(bytes).for_each(|piece| log.push(piece));
        assert!(!log.finish(true).is_some_and(|outcome| may_pass(&outcome)), "{}", shown());
    }
});
