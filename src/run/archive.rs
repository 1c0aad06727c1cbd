//! Reads what a container leaves, and packs it so that it can be kept. Judges nothing.

mod tar;

use std::{
    collections::{BTreeMap, VecDeque},
    io::Write,
    ops::Range,
    time::Duration,
};

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use futures::{Stream, TryStreamExt};
use k8s_openapi::ByteString;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::facts::Container;
use crate::{
    host::Host,
    results::{Document, LogReading, Outcome},
    swarm::{Engine, SwarmError},
};

/// How many containers are read at once, so that many runs that end together hold no more memory than these few:
/// of each the two ends of its log, the cases that are listed and the document.
static ROOM: Semaphore = Semaphore::const_new(3);
/// How long reading may take before it is begun again.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long reading the log from its begin may take, and then its end: an engine needs minutes for millions of lines.
const LOG_PATIENCE: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(20));
/// How many of its last lines are read then.
const LAST_LINES: u32 = 10_000;
/// The log is kept whole up to twice this; of a longer one, this much of its head and of its tail.
const LOG_END: usize = 4 * 1024 * 1024;
/// A ConfigMap holds at most 1 MiB; binary data travels as base64 but is counted as it is.
const BUDGET: usize = 900 * 1024;

/// The key of the JUnit: of all attempts, where there are several.
pub const JUNIT: &str = "junit.xml.gz";
/// What of it is the log's, before an attempt's own results.
const LOG_ROOM: usize = 200 * 1024;

/// What a container left.
#[derive(Debug, Default)]
pub struct Left {
    /// Its results.
    pub outcome: Outcome,
    /// Its own results, where `outcome` is that of several attempts.
    pub own: Option<Document>,
    /// Its output.
    pub log: Log,
    /// The room it takes until it is kept.
    room: Option<SemaphorePermit<'static>>,
}

impl Left {
    /// Results of what has no container, and words in place of its output.
    #[must_use]
    pub fn told(outcome: Outcome, words: &str) -> Self {
        let mut log = Log::default();
        log.push(words.as_bytes());
        Self { outcome, log, ..Self::default() }
    }
}

/// Output, bounded: the head and the tail.
#[derive(Debug, Default)]
pub struct Log {
    head: Vec<u8>,
    tail: VecDeque<u8>,
    left_out: u64,
    /// Between the head and the tail there is more, which was not read.
    unread: bool,
}

/// Reads the output of a container, and the results in a folder of it, over a connection that carries nothing else.
///
/// # Errors
/// In words, where reading again may do.
pub async fn collect(line: &Host, container: &Container, path: Option<&str>) -> Result<Left, String> {
    let engine = Engine::new(line);
    let room = ROOM.acquire().await.ok();
    let found = async {
        match path {
            Some(path) => tar::outcome(engine.archive(&container.id, path), path).await,
            None => Ok(Outcome::default()),
        }
    };
    let read = async {
        let (files, output) = futures::future::join(found, output(&engine, &container.id)).await;
        let (log, logged) = output?;
        let outcome = if path.is_some() { files?.or_log(logged) } else { files? };
        Ok(Left { outcome, own: None, log, room })
    };
    tokio::time::timeout(PATIENCE, read).await.unwrap_or_else(|_| Err(format!("no end after {} s", PATIENCE.as_secs())))
}

/// The output, and the results that are in it. Of one that takes too long to be read, what was read in time and its
/// last lines.
async fn output(engine: &Engine, id: &str) -> Result<(Log, Option<Outcome>), String> {
    let (mut log, mut results) = (Log::default(), LogReading::default());
    let mut both = |bytes: &[u8]| {
        log.push(bytes);
        results.push(bytes);
    };
    let whole = match tokio::time::timeout(LOG_PATIENCE.0, read(engine.logs(id, false, None), &mut both)).await {
        Ok(result) => result.map(|()| true)?,
        Err(_) => {
            log.break_off();
            // Without them the verdict is still right.
            let last = read(engine.last_lines(id, LAST_LINES), |bytes| log.push(bytes));
            let _ = tokio::time::timeout(LOG_PATIENCE.1, last).await;
            false
        }
    };
    Ok((log, results.finish(whole)))
}

/// Reads a stream to its end. A log that the engine does not give (a logging driver without reading) is said in its place.
async fn read(
    mut stream: impl Stream<Item = Result<Bytes, SwarmError>> + Unpin,
    mut to: impl FnMut(&[u8]),
) -> Result<(), String> {
    loop {
        match stream.try_next().await {
            Ok(Some(bytes)) => to(&bytes),
            Ok(None) => return Ok(()),
            Err(SwarmError::Refused(words)) => to(format!("(the log cannot be read: {words})\n").as_bytes()),
            Err(error) => return Err(error.to_string()),
        }
    }
}

impl Log {
    /// What comes next is the end, after a gap.
    fn break_off(&mut self) {
        self.unread = true;
        self.head.extend(self.tail.drain(..));
        self.head.truncate(LOG_END);
    }

    /// Appends.
    pub fn push(&mut self, mut bytes: &[u8]) {
        let room = if self.unread { 0 } else { LOG_END.saturating_sub(self.head.len()).min(bytes.len()) };
        let (first, rest) = bytes.split_at(room);
        self.head.extend_from_slice(first);
        if rest.len() > LOG_END {
            let skipped = rest.len() - LOG_END;
            self.left_out += (self.tail.len() + skipped) as u64;
            self.tail.clear();
            bytes = &rest[skipped..];
        } else {
            let over = (self.tail.len() + rest.len()).saturating_sub(LOG_END);
            self.tail.drain(..over);
            self.left_out += over as u64;
            bytes = rest;
        }
        self.tail.extend(bytes);
    }

    /// The last bytes.
    #[must_use]
    pub fn end(&self, most: usize) -> Vec<u8> {
        let tail = self.tail.len();
        let of_head = if self.left_out == 0 && !self.unread {
            &self.head[self.head.len().saturating_sub(most.saturating_sub(tail))..]
        } else {
            &[]
        };
        of_head.iter().chain(self.tail.range(tail.saturating_sub(most)..)).copied().collect()
    }

    /// Writes all of it with at most `most` bytes of its head and of its tail, and a line on what is left out. How
    /// many bytes that were.
    fn write(&self, most: usize, to: &mut impl Write) -> std::io::Result<usize> {
        let (first, second) = self.tail.as_slices();
        let parts = [self.head.as_slice(), first, second];
        let (head, all) = (self.head.len(), self.head.len() + self.tail.len());
        if self.left_out > 0 || self.unread {
            let (begin, end) = (head.min(most), (all - head).min(most));
            let left_out = self.left_out + (head - begin + all - head - end) as u64;
            let gap = if self.unread { UNREAD.to_owned() } else { mark(left_out) };
            return write_around(&parts, begin, &gap, all - end, to);
        }
        if all > most.saturating_mul(2) {
            return write_around(&parts, most, &mark((all - 2 * most) as u64), all - most, to);
        }
        write_range(&parts, 0..all, to)
    }

    /// Compressed to at most `budget` bytes, with as much of both ends as that takes.
    fn packed(&self, budget: usize) -> std::io::Result<Vec<u8>> {
        let mut most = LOG_END;
        loop {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
            let written = self.write(most, &mut encoder)?;
            let packed = encoder.finish()?;
            if packed.len() <= budget || most < 1024 {
                return Ok(packed);
            }
            // Less by how much too big it is, and a tenth more: the ends may compress worse than the whole.
            most = written / 2 * budget / packed.len() * 9 / 10;
        }
    }
}

/// Writes the bytes before `begin`, a gap, and those from `end` on.
fn write_around(parts: &[&[u8]], begin: usize, gap: &str, end: usize, to: &mut impl Write) -> std::io::Result<usize> {
    let before = write_range(parts, 0..begin, to)?;
    to.write_all(gap.as_bytes())?;
    Ok(before + gap.len() + write_range(parts, end..usize::MAX, to)?)
}

/// Writes a range of bytes that are in several parts.
fn write_range(parts: &[&[u8]], range: Range<usize>, to: &mut impl Write) -> std::io::Result<usize> {
    let (mut at, mut written) = (0, 0);
    for part in parts {
        let within = |place: usize| place.saturating_sub(at).min(part.len());
        let bytes = &part[within(range.start)..within(range.end).max(within(range.start))];
        to.write_all(bytes)?;
        (at, written) = (at + part.len(), written + bytes.len());
    }
    Ok(written)
}

const UNREAD: &str = "\n\n[testkit: lines are left out here, the log is too long to be read]\n\n";

fn mark(left_out: u64) -> String {
    format!("\n\n[testkit: {left_out} bytes are left out here, the log is too long to be kept]\n\n")
}

/// The binary data of the ConfigMap, within its budget.
///
/// # Errors
/// Where it cannot be packed.
pub fn contents(left: Left) -> std::io::Result<BTreeMap<String, ByteString>> {
    let mut data = BTreeMap::new();
    let Left { outcome, own, log, room } = left;
    if let Some(junit) = outcome.junit {
        data.insert(JUNIT.to_owned(), ByteString(junit.into_packed()));
    }
    let used = |data: &BTreeMap<_, ByteString>| data.values().map(|b| b.0.len()).sum::<usize>();
    // Beside what is of all attempts, and only as far as there is room for the log as well.
    if let Some(own) = own.filter(|own| used(&data) + own.packed().len() <= BUDGET - LOG_ROOM) {
        data.insert("attempt.junit.xml.gz".to_owned(), ByteString(own.into_packed()));
    }
    let used = used(&data);
    data.insert("log.gz".to_owned(), ByteString(log.packed(BUDGET.saturating_sub(used))?));
    drop(room);
    Ok(data)
}

#[cfg(test)]
mod tests;
