//! Reads result files one after the other, each as a stream, and finds out what they are.

use std::io::{self, Read};

use encoding_rs::{CoderResult, Decoder, UTF_8};

use super::{Outcome, case::Sink, collect::Collector, decode::Decoded, junit, lines::Lines};

/// The most bytes of result files that are read: what a container writes is not ours to trust.
pub(super) const LIMIT: u64 = 256 << 20;
/// How much of a file is looked at to find out what it is.
const BEGIN: usize = 4096;
/// How big the document is that is kept, compressed: it goes into a ConfigMap with the log.
pub(super) const DOCUMENT: usize = 600 * 1024;

/// A reader of result files.
pub struct Reading {
    junit: Collector,
    /// What is in lines of text.
    lines: Collector,
    formats: Vec<&'static str>,
    /// How many bytes may still be read.
    left: u64,
    /// It is a document that was kept.
    kept: bool,
}

impl Default for Reading {
    fn default() -> Self {
        Self::new()
    }
}

impl Reading {
    /// Nothing read yet.
    #[must_use]
    pub fn new() -> Self {
        Self::keeping(Some(DOCUMENT))
    }

    /// The same for a document that was kept: what was not accounted for is in it, and no other one is made of it.
    #[must_use]
    pub fn of_kept() -> Self {
        Self::keeping(None)
    }

    fn keeping(document: Option<usize>) -> Self {
        Self {
            junit: Collector::new(document),
            lines: Collector::new(document),
            formats: Vec::new(),
            left: LIMIT,
            kept: document.is_none(),
        }
    }

    /// Reads a file; one that is not test results is passed over.
    ///
    /// # Errors
    /// Those of the source. What was read until then counts.
    pub fn file(&mut self, name: &str, mut source: impl Read) -> io::Result<()> {
        let mut begin = Vec::with_capacity(BEGIN);
        source.by_ref().take(BEGIN as u64).read_to_end(&mut begin)?;
        let xml = is_xml(name, &begin);
        if !xml && !is_lines(&begin) {
            return Ok(());
        }
        let collector = if xml { &mut self.junit } else { &mut self.lines };
        collector.begin(name);
        let mut source = Metered { source: begin.as_slice().chain(source), left: self.left, over: false };
        let result = if xml {
            junit::read(&mut source, self.kept, collector).map(|found| found.then_some("JUnit"))
        } else {
            lines(&mut source, collector)
        };
        self.left = source.left;
        if source.over {
            collector.problem(format!("it is not read to its end: results are over {} MiB", LIMIT >> 20));
        }
        collector.end();
        if let Some(format) = result?
            && !self.formats.contains(&format)
        {
            self.formats.push(format);
        }
        Ok(())
    }

    /// Tells of something that kept results from being read.
    pub fn problem(&mut self, problem: String) {
        self.junit.carried(problem);
    }

    /// The outcome.
    #[must_use]
    pub fn finish(self) -> Outcome {
        let Self { mut junit, lines, formats, .. } = self;
        if junit.is_empty() {
            let junit = junit.finish();
            let outcome = if lines.is_empty() && junit.junit.is_some() { junit } else { merged(junit, lines.finish()) };
            return Outcome { formats, ..outcome };
        }
        // The same tests in another format: nothing may have failed there only.
        let lines = lines.finish();
        let unknown = lines.failures().find(|(name, _)| !junit.failures().any(|case| case.name.ends_with(name)));
        if let Some((name, _)) = unknown {
            junit.carried(format!("case {name:?} failed, as another file than the JUnit says"));
        }
        Outcome { formats, ..junit.finish() }
    }
}

/// What was read of lines, with the problems of files that are XML and hold no case.
fn merged(xml: Outcome, lines: Outcome) -> Outcome {
    Outcome { problems: xml.problems.into_iter().chain(lines.problems).collect(), ..lines }
}

/// Reads a file of lines. The name of its format.
fn lines(source: impl Read, collector: &mut Collector) -> io::Result<Option<&'static str>> {
    let (mut decoded, mut lines, mut text) = (Decoded::new(source), Lines::default(), String::new());
    let result = loop {
        text.clear();
        match decoded.more(&mut text) {
            Ok(true) => lines.push(&text, collector),
            Ok(false) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    let found = lines.end(collector);
    result.map(|()| found)
}

/// Reads a log as it comes. It holds results where a format is found in it.
pub struct LogReading {
    decoder: Decoder,
    text: String,
    lines: Lines,
    collector: Collector,
}

impl Default for LogReading {
    fn default() -> Self {
        let mut collector = Collector::new(Some(DOCUMENT));
        collector.begin("the log");
        Self { decoder: UTF_8.new_decoder(), text: String::new(), lines: Lines::default(), collector }
    }
}

impl LogReading {
    /// The next piece.
    pub fn push(&mut self, bytes: &[u8]) {
        if !self.lines.found() && self.lines.looked_at() > LOOKED_AT {
            return;
        }
        let mut at = 0;
        loop {
            self.text.clear();
            self.text.reserve((bytes.len() - at) * 3 + 16);
            let (result, read, _) = self.decoder.decode_to_string(&bytes[at..], &mut self.text, false);
            at += read;
            self.lines.push(&self.text, &mut self.collector);
            if result == CoderResult::InputEmpty {
                return;
            }
        }
    }

    /// The outcome; none where no format was found. `whole` where the log was read to its end.
    #[must_use]
    pub fn finish(self, whole: bool) -> Option<Outcome> {
        let Self { lines, mut collector, .. } = self;
        let format = lines.end(&mut collector)?;
        if !whole {
            collector.problem("it is too long to be read to its end: write the results into files".to_owned());
        }
        Some(Outcome { formats: vec![format], ..collector.finish() })
    }
}

/// After so many lines without a format a log holds none.
const LOOKED_AT: usize = 1_000_000;

/// Whether a file begins with lines of a format.
fn is_lines(begin: &[u8]) -> bool {
    let mut text = String::new();
    let mut decoded = Decoded::new(begin);
    // Bytes in memory have no way to fail.
    while decoded.more(&mut text).unwrap_or(false) {}
    text.lines().any(super::lines::begins)
}

/// Whether to read a file as XML: by its name, or because it begins like JUnit.
fn is_xml(name: &str, begin: &[u8]) -> bool {
    if name.len() >= 4 && name.is_char_boundary(name.len() - 4) && name[name.len() - 4..].eq_ignore_ascii_case(".xml") {
        return true;
    }
    let begin: Vec<u8> = begin.iter().copied().filter(|b| *b != 0).collect();
    let text = begin.strip_prefix(&[0xef, 0xbb, 0xbf]).unwrap_or(&begin).trim_ascii_start();
    let text = text.strip_prefix(&[0xff, 0xfe]).or_else(|| text.strip_prefix(&[0xfe, 0xff])).unwrap_or(text);
    text.trim_ascii_start().starts_with(b"<")
        && [&b"<testsuite"[..], b"<testcase"].iter().any(|mark| text.windows(mark.len()).any(|w| w == *mark))
}

/// A source of which at most so much is read.
struct Metered<R> {
    source: R,
    left: u64,
    over: bool,
}

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 {
            let mut one = [0];
            self.over |= self.source.read(&mut one)? > 0;
            return Ok(0);
        }
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(to.len());
        let read = self.source.read(&mut to[..most])?;
        self.left -= read as u64;
        Ok(read)
    }
}
