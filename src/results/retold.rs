//! Documents that are told on: all of a document but what its cases are changed in, or its cases alone.

use std::io::Read;

use flate2::read::GzDecoder;

use super::{
    case::{Record, Sink},
    collect::Collector,
    junit,
    reading::LIMIT,
};

/// Reads a document that was kept, as gzip has it; whether it was JUnit.
pub(super) fn read_packed(junit: &[u8], sink: &mut dyn Sink) -> bool {
    !junit.is_empty() && junit::read(GzDecoder::new(junit).take(LIMIT), true, sink).unwrap_or(false)
}

/// Tells of each case, and of nothing else.
pub(super) struct Cases<F>(pub(super) F);

impl<F: FnMut(Record)> Sink for Cases<F> {
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

/// Tells all of a document on, each case as `change` leaves it.
pub(super) struct Retold<'a, F> {
    /// Where to.
    pub(super) to: &'a mut Collector,
    /// What of a suite's counts its cases may not show any more: it is left out.
    pub(super) counts: &'static [&'static str],
    /// What becomes of a case.
    pub(super) change: F,
}

impl<F: FnMut(&mut Record)> Sink for Retold<'_, F> {
    fn suite(&mut self, name: &str, attributes: &[(String, String)], wrapper: bool) {
        let kept: Vec<_> = attributes.iter().filter(|(key, _)| !self.counts.contains(&key.as_str())).cloned().collect();
        self.to.suite(name, &kept, wrapper);
    }

    fn property(&mut self, name: &str, value: &str) {
        self.to.property(name, value);
    }

    fn output(&mut self, err: bool, said: &str) {
        self.to.output(err, said);
    }

    fn end_suite(&mut self) {
        self.to.end_suite();
    }

    fn problem(&mut self, problem: String) {
        self.to.problem(problem);
    }

    fn carried(&mut self, problem: String) {
        self.to.carried(problem);
    }

    fn case(&mut self, mut record: Record) {
        (self.change)(&mut record);
        self.to.case(record);
    }
}
