use std::io::{self, Read};

use super::*;
use crate::results::case::{Record, Sink};

/// Counts, and holds nothing.
#[derive(Default)]
struct Count {
    cases: usize,
    problems: usize,
}

impl Sink for Count {
    fn suite(&mut self, _: &str, _: &[(String, String)], _: bool) {}
    fn property(&mut self, _: &str, _: &str) {}
    fn output(&mut self, _: bool, _: &str) {}
    fn end_suite(&mut self) {}
    fn problem(&mut self, _: String) {
        self.problems += 1;
    }
    fn carried(&mut self, _: String) {}
    fn case(&mut self, _: Record) {
        self.cases += 1;
    }
}

/// A text over and over again, that is nowhere as a whole.
struct Endless<'a> {
    unit: &'a [u8],
    left: usize,
    at: usize,
}

impl Read for Endless<'_> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let mut read = 0;
        while read < to.len() && self.left > 0 {
            let most = (self.unit.len() - self.at).min(to.len() - read).min(self.left);
            to[read..read + most].copy_from_slice(&self.unit[self.at..self.at + most]);
            self.at = (self.at + most) % self.unit.len();
            (read, self.left) = (read + most, self.left - most);
        }
        Ok(read)
    }
}

#[test]
fn work_grows_as_the_document_does() {
    for (begin, unit) in [
        ("<testsuites>", "<testsuite><testcase/></testsuite>"),
        ("<testsuite><testcase name='x'><system-out>", "0123456789abcde\n"),
        ("<testsuite>", "<testcase name='a'><failure/></testcase>"),
        ("<testsuite>", "<testcase>"),
        ("<testsuite>", "</testcase>"),
        ("<testsuite><testcase><failure message='", "x"),
        ("", "\0"),
        ("", "<testsuites/>"),
        ("<a>", "<failure>"),
    ] {
        let work = |size: usize| {
            let endless = Endless { unit: unit.as_bytes(), left: size, at: 0 };
            let mut lexer = Lexer::new(begin.as_bytes().chain(endless));
            walk(&mut lexer, false, &mut Count::default()).unwrap();
            lexer.work()
        };
        let (small, large) = (work(1 << 18), work(1 << 20));
        assert!(large <= 5 * small.max(1 << 18), "{begin}{unit}: {small}, {large}");
    }
}

#[test]
fn a_source_that_fails_leaves_what_was_read() {
    struct Fails;
    impl Read for Fails {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("gone"))
        }
    }
    let mut count = Count::default();
    let text = "<testsuite><testcase/>".repeat(20);
    assert!(read(text.as_bytes().chain(Fails), false, &mut count).is_err());
    assert!(count.problems > 0);
}
