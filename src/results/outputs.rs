//! Cases with what they wrote, for who asks for one of them.

use super::{
    case::{Case, Record},
    junit,
    retold::Cases,
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
    drop(junit::read(junit, true, &mut Cases(tell)));
}
