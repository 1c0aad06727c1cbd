//! Cases with what they wrote, for who asks for one of them.

use super::{
    case::{Case, Record, Sink},
    junit,
};

/// What a case wrote, both ends of it where it is long.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// To standard output.
    pub out: String,
    /// To standard error.
    pub err: String,
}

/// Every case of a JUnit document that `wanted` holds for, with what it wrote, as far as the document can be read.
#[must_use]
pub fn outputs(junit: &[u8], wanted: impl Fn(&Case) -> bool) -> Vec<(Case, Output)> {
    let mut all = Vec::new();
    read(junit, |record| {
        if wanted(&record.case) {
            all.push((record.case, Output { out: record.out, err: record.err }));
        }
    });
    all
}

/// Tells of every case of a JUnit document, as far as the document can be read.
pub fn each(junit: &[u8], mut tell: impl FnMut(&Case)) {
    read(junit, |record| tell(&record.case));
}

fn read(junit: &[u8], tell: impl FnMut(Record)) {
    // Bytes in memory have no way to fail.
    drop(junit::read(junit, true, &mut Found(tell)));
}

struct Found<F>(F);

impl<F: FnMut(Record)> Sink for Found<F> {
    fn suite(&mut self, _: &str, _: &[(String, String)], _: bool) {}
    fn property(&mut self, _: &str, _: &str) {}
    fn output(&mut self, _: bool, _: &str) {}
    fn end_suite(&mut self) {}
    fn problem(&mut self, _: String) {}
    fn carried(&mut self, _: String) {}

    fn case(&mut self, record: Record) {
        (self.0)(record);
    }
}
