//! The console.

use std::{io, sync::OnceLock, time::Duration};

use crossterm_winapi::{ConsoleMode, Handle, ScreenBuffer};
use tokio::time::{Interval, interval};

/// Modes of a console's input: Ctrl-C is a signal, keys come by the line, and are shown.
const OF_LINES: u32 = 0x1 | 0x2 | 0x4;
/// Keys that are no letters come as a terminal's sequences.
const SEQUENCES_IN: u32 = 0x200;
/// Modes of its output: control characters are obeyed, and a terminal's sequences.
const SEQUENCES_OUT: u32 = 0x1 | 0x4;
/// And a line feed does not go to the line's beginning, as a host's terminal has it.
const LINE_FEED_ALONE: u32 = 0x8;

/// The key that standard input has an end for while the console is raw: Ctrl-Z.
pub const LOOKS_LIKE_AN_END: Option<&[u8]> = Some(b"\x1a");

/// The console without its own handling of keys; dropped, it is as it was.
#[derive(Debug)]
pub struct Raw {
    before: (u32, u32),
}

impl Raw {
    /// Takes the console.
    ///
    /// # Errors
    /// What the system says.
    pub fn take() -> io::Result<Self> {
        let (input, output) = (input()?, output()?);
        let raw = Self { before: (input.mode()?, output.mode()?) };
        // From here on an error gives back what was taken.
        input.set_mode(raw.before.0 & !OF_LINES | SEQUENCES_IN)?;
        output.set_mode(raw.before.1 | SEQUENCES_OUT | LINE_FEED_ALONE)?;
        Ok(raw)
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // When even this fails, nothing else would help.
        let _ = input().and_then(|input| input.set_mode(self.before.0));
        let _ = output().and_then(|output| output.set_mode(self.before.1));
    }
}

fn input() -> io::Result<ConsoleMode> {
    Handle::current_in_handle().map(ConsoleMode::from)
}

fn output() -> io::Result<ConsoleMode> {
    Handle::current_out_handle().map(ConsoleMode::from)
}

/// Columns and rows, where it tells.
#[must_use]
pub fn size() -> Option<(u32, u32)> {
    let size = ScreenBuffer::current().ok()?.info().ok()?.terminal_size();
    // What is given are the last column and row, counted from 0.
    let count = |last: i16| u32::try_from(last).ok().map(|last| last + 1);
    Some((count(size.width)?, count(size.height)?))
}

/// Whether what is written to it may have escape sequences. Consoles take them since Windows 10, once they are told to.
#[must_use]
pub fn takes_escapes() -> bool {
    static TAKES: OnceLock<bool> = OnceLock::new();
    *TAKES.get_or_init(|| output().is_ok_and(|it| it.mode().and_then(|mode| it.set_mode(mode | SEQUENCES_OUT)).is_ok()))
}

/// Tells when its size changes.
pub struct Resizes {
    looks: Interval,
    seen: Option<(u32, u32)>,
}

impl Resizes {
    /// Begins to look.
    ///
    /// # Errors
    /// None here.
    pub fn listen() -> io::Result<Self> {
        // A console tells of its size only those who read its events, and not its text.
        Ok(Self { looks: interval(Duration::from_millis(500)), seen: size() })
    }

    /// Waits for the next change.
    pub async fn next(&mut self) {
        loop {
            self.looks.tick().await;
            let now = size();
            if now != self.seen {
                self.seen = now;
                return;
            }
        }
    }
}
