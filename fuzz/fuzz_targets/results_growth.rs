//! A few units over and over again, with numbers in them: some MiB of anything are read in bounded memory, in time that grows as
//! they do.
#![no_main]

use std::{
    io::{self, Read},
    time::Duration,
};

use libfuzzer_sys::{
    arbitrary::{self, Arbitrary},
    fuzz_target,
};
use testkit_fuzz::{
    heap::{Counted, measured},
    results::{LogReading, Reading},
};

#[global_allocator]
static HEAP: Counted = Counted;

/// How much is read.
const SIZE: usize = 2 << 20;
/// What it may hold: the two ends of what it lists and the document, and buffers.
const MEMORY: usize = 32 << 20;
/// What it may take, some twenty times what it does without any optimization.
const TIME: Duration = Duration::from_secs(20);

/// What documents are made of; `%` stands for a number, another one each time.
const WORDS: &[&str] = &[
    "<testsuites>",
    "<testsuite name='%'>",
    "</testsuite>",
    "<testcase name='%'>",
    "<testcase name='%'/>",
    "</testcase>",
    "<failure>",
    "<failure message='%'/>",
    "</failure>",
    "<system-out>",
    "</system-out>",
    "<properties>",
    "</properties>",
    "<property name='%' value='%'/>",
    "<skipped/>",
    "<x>",
    "</x>",
    "<status>",
    "%",
    " ",
    "\n",
    "<![CDATA[",
    "]]>",
    "<!--",
    "=== RUN   Test%\n",
    "--- PASS: Test% (0.01s)\n",
    "--- FAIL: Test% (0.01s)\n",
    "FAIL\tp%\t0.1s\n",
    "=== NAME  Test%\n",
    "{\"Action\":\"run\",\"Package\":\"p%\",\"Test\":\"T\"}\n",
    "{\"Action\":\"run\",\"Package\":\"p\",\"Test\":\"T%\"}\n",
    "{\"Action\":\"output\",\"Package\":\"p\",\"Test\":\"T%\",\"Output\":\"%\"}\n",
    "{\"Action\":\"build-output\",\"ImportPath\":\"%\",\"Output\":\"%\"}\n",
    "{\"Action\":\"fail\",\"Package\":\"p%\"}\n",
    "ok % - t%\n",
    "not ok % - t%\n",
    "    ok %\n",
    "1..%\n",
    "  ---\n",
    "  ...\n",
    "running 9 tests\n",
    "test t% ... FAILED\n",
    "test t% ... ok\n",
    "---- t% stdout ----\n",
    "---- t stdout ----\n",
    "failures:\n",
    "error %\n",
    "&#x%;",
];

#[derive(Arbitrary, Debug)]
struct Growth {
    source: Source,
    begin: Vec<u8>,
    first: Unit,
    /// How much of it is the first unit, of 255.
    share: u8,
    second: Unit,
}

#[derive(Arbitrary, Debug)]
enum Source {
    Xml,
    Lines,
    Log,
}

#[derive(Arbitrary, Debug)]
struct Unit {
    words: Vec<u8>,
    /// Text that stands among them, so many times.
    filler: String,
    times: u16,
}

impl Unit {
    fn written(&self) -> String {
        let mut text = words(&self.words);
        for _ in 0..(self.times >> 4).min(u16::try_from((64 << 10) / self.filler.len().max(1)).unwrap_or(u16::MAX)) {
            text.push_str(&self.filler);
        }
        text
    }
}

fn words(of: &[u8]) -> String {
    of.iter().take(12).map(|word| WORDS[usize::from(*word) % WORDS.len()]).collect()
}

/// The units, one after the other, that are nowhere as a whole.
struct Endless {
    units: [String; 2],
    first: usize,
    left: usize,
    number: usize,
    ready: Vec<u8>,
}

impl Read for Endless {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        if self.ready.is_empty() && self.left > 0 {
            let unit = &self.units[usize::from(SIZE - self.left >= self.first)];
            while self.ready.len() < 16 << 10 {
                self.number += 1;
                self.ready.extend(unit.replace('%', &self.number.to_string()).bytes());
            }
            self.left = self.left.saturating_sub(self.ready.len());
        }
        let length = self.ready.len().min(to.len());
        to[..length].copy_from_slice(&self.ready[..length]);
        self.ready.drain(..length);
        Ok(length)
    }
}

fuzz_target!(|growth: Growth| {
    let units = [growth.first.written(), growth.second.written()];
    if units.iter().any(String::is_empty) {
        return;
    }
    let first = SIZE * usize::from(growth.share) / 255;
    let begin = io::Cursor::new(words(&growth.begin).into_bytes());
    let mut all = begin.chain(Endless { units, first, left: SIZE, number: 0, ready: Vec::new() });
    let ((), held, took) = measured(|| match growth.source {
        Source::Log => {
            let (mut log, mut piece) = (LogReading::default(), vec![0; 16 << 10]);
            while let Ok(read @ 1..) = all.read(&mut piece) {
                log.push(&piece[..read]);
            }
            drop(log.finish(true));
        }
        Source::Xml | Source::Lines => {
            let mut reading = Reading::new();
            let name = if matches!(growth.source, Source::Xml) { "r.xml" } else { "r.txt" };
            drop(reading.file(name, &mut all));
            drop(reading.finish());
        }
    });
    assert!(held < MEMORY, "{} MiB are held: {growth:?}", held >> 20);
    assert!(took < TIME, "it took {took:?}: {growth:?}");
});
