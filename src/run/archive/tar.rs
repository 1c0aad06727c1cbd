//! The result files of a container out of the tar archive that its engine sends: read while it
//! comes, in a few pieces of memory, and only as far as they may be results.

use std::{
    io::{self, Read},
    time::Duration,
};

use bytes::{Buf, Bytes};
use futures::{Stream, StreamExt};
use tokio::sync::mpsc;

use crate::{
    results::{Outcome, Reading},
    swarm::SwarmError,
    untar::Checked,
};

/// How long an engine may send nothing before the connection is in doubt.
const SILENCE: Duration = Duration::from_secs(20);
/// How long all of it may take, and how much it may be: more than that are no results, and would be so again.
const LONGEST: Duration = Duration::from_secs(90);
const LARGEST: u64 = 8 << 30;
/// How many pieces wait for the reader.
const PIECES: usize = 4;

/// A piece of the archive, or that it has ended as it should.
enum Piece {
    Bytes(Bytes),
    End,
}

/// Reads the results out of an archive. One that cannot be read, or not to its end, is a problem of the results.
///
/// # Errors
/// Where the connection is in doubt: reading again may do.
pub async fn outcome(
    archive: impl Stream<Item = Result<Bytes, SwarmError>> + Unpin,
    folder: &str,
) -> Result<Outcome, String> {
    let (sender, receiver) = mpsc::channel(PIECES);
    let of = folder.to_owned();
    // It ends when the sender is dropped, and so when nobody waits for the outcome any more.
    let reading =
        tokio::task::spawn_blocking(move || unpack(Pieces { receiver, rest: Bytes::new(), ended: false }, &of));
    let problem = match tokio::time::timeout(LONGEST, copy(archive, sender, folder)).await {
        Ok(copied) => copied?,
        Err(_) => Some(too_much(folder, &format!("has not been read after {} s", LONGEST.as_secs()))),
    };
    let mut outcome = reading.await.map_err(|error| error.to_string())?;
    if let Some(problem) = problem {
        // It is why the archive broke off.
        outcome.problems.retain(|known| !known.starts_with(BROKEN));
        outcome.problems.push(problem);
    }
    Ok(outcome)
}

/// Hands the archive on. What keeps it from being read now and later, if anything does.
async fn copy(
    mut archive: impl Stream<Item = Result<Bytes, SwarmError>> + Unpin,
    to: mpsc::Sender<Piece>,
    folder: &str,
) -> Result<Option<String>, String> {
    let mut size = 0;
    loop {
        let piece = match tokio::time::timeout(SILENCE, archive.next()).await {
            Ok(Some(Ok(bytes))) => Piece::Bytes(bytes),
            Ok(None) => Piece::End,
            Ok(Some(Err(SwarmError::Unreachable(words)))) => return Err(words),
            Ok(Some(Err(error))) => return Ok(Some(format!("{folder} cannot be read: {error}"))),
            Err(_) => return Err(format!("the engine sent nothing of {folder} for {} s", SILENCE.as_secs())),
        };
        let ended = matches!(piece, Piece::End);
        if let Piece::Bytes(bytes) = &piece {
            size += bytes.len() as u64;
        }
        // The reader may have all that it will read.
        if to.send(piece).await.is_err() || ended {
            return Ok(None);
        }
        if size > LARGEST {
            return Ok(Some(too_much(folder, &format!("holds more than {} GiB", LARGEST >> 30))));
        }
    }
}

fn too_much(folder: &str, what: &str) -> String {
    format!("{folder} {what}, and results may be missing: leave only results there")
}

const BROKEN: &str = "the archive of ";

/// Reads every file that may be results; the others are gone past. Names begin with the folder's own.
pub fn unpack(tar: impl Read, folder: &str) -> Outcome {
    let own = format!("{}/", folder.trim_end_matches('/').rsplit('/').next().unwrap_or_default());
    let mut reading = Reading::new();
    let mut archive = ::tar::Archive::new(Checked::new(tar));
    let mut read = || -> io::Result<()> {
        for entry in archive.entries()? {
            let mut entry = entry?;
            if !entry.header().entry_type().is_file() {
                continue;
            }
            let path = entry.path()?.to_string_lossy().into_owned();
            reading.file(path.strip_prefix(&own).unwrap_or(&path), &mut entry)?;
        }
        Ok(())
    };
    if let Err(error) = read() {
        reading.problem(format!("{BROKEN}{folder} is broken: {error}"));
    }
    reading.finish()
}

/// The pieces as one stream, for a reader that waits for each.
struct Pieces {
    receiver: mpsc::Receiver<Piece>,
    rest: Bytes,
    ended: bool,
}

impl Read for Pieces {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() && !self.ended {
            match self.receiver.blocking_recv() {
                Some(Piece::Bytes(bytes)) => self.rest = bytes,
                Some(Piece::End) => self.ended = true,
                None => return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "it was cut off")),
            }
        }
        let most = self.rest.len().min(to.len());
        self.rest.copy_to_slice(&mut to[..most]);
        Ok(most)
    }
}

#[cfg(test)]
mod tests;
