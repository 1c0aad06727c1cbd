//! A bounded pipe between a thread that packs or unpacks and the task that talks to the node.
//!
//! Either side ends the other by going away: a reader sees the end of the file, a writer a
//! broken pipe.

use std::io::{self, Read, Write};

use bytes::{Buf, Bytes, BytesMut};
use tokio::sync::mpsc;

/// How many pieces are under way at most.
const PIECES: usize = 8;
/// How much is sent at a time.
const PIECE: usize = 128 * 1024;

/// The thread's end that reads.
pub struct Reader {
    pieces: mpsc::Receiver<Bytes>,
    current: Bytes,
}

/// The thread's end that writes.
pub struct Writer {
    pieces: mpsc::Sender<Bytes>,
    buffer: BytesMut,
}

/// A pipe into a thread.
pub fn into_thread() -> (mpsc::Sender<Bytes>, Reader) {
    let (sender, pieces) = mpsc::channel(PIECES);
    (sender, Reader { pieces, current: Bytes::new() })
}

/// A pipe out of a thread.
pub fn out_of_thread() -> (Writer, mpsc::Receiver<Bytes>) {
    let (pieces, receiver) = mpsc::channel(PIECES);
    (Writer { pieces, buffer: BytesMut::with_capacity(PIECE) }, receiver)
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.pieces.blocking_recv() {
                Some(piece) => self.current = piece,
                None => return Ok(0),
            }
        }
        let length = buffer.len().min(self.current.len());
        self.current.copy_to_slice(&mut buffer[..length]);
        Ok(length)
    }
}

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= PIECE {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let piece = self.buffer.split().freeze();
        self.pieces.blocking_send(piece).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}
