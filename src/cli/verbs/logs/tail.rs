//! The last lines of a log.

/// The last lines of what passes, whatever its length.
#[derive(Debug)]
pub struct Tail {
    lines: usize,
    kept: Vec<u8>,
}

impl Tail {
    /// So many bytes are kept of lines without an end.
    const MOST: usize = 64 << 20;

    /// Keeps so many.
    pub fn of(lines: usize) -> Self {
        Self { lines, kept: Vec::new() }
    }

    /// Takes a piece.
    pub fn push(&mut self, piece: &[u8]) {
        self.kept.extend_from_slice(piece);
        if self.kept.len() > Self::MOST {
            let start = self.start().max(self.kept.len() - Self::MOST / 2);
            self.kept.drain(..start);
        }
    }

    /// Where the last lines begin.
    fn start(&self) -> usize {
        if self.lines == 0 {
            return self.kept.len();
        }
        let whole = self.kept.strip_suffix(b"\n").unwrap_or(&self.kept);
        let ends = whole.iter().enumerate().rev().filter(|(_, b)| **b == b'\n');
        ends.map(|(at, _)| at + 1).nth(self.lines - 1).unwrap_or(0)
    }

    /// The last lines of what it was given.
    pub fn lines(&self) -> &[u8] {
        &self.kept[self.start()..]
    }
}

#[cfg(test)]
mod tests {
    use super::Tail;

    #[test]
    fn the_last_lines_are_whole_lines_however_they_came() {
        for (text, lines, last) in [
            ("one\ntwo\nthree\n", 2, "two\nthree\n"),
            ("one\ntwo\nthr", 2, "two\nthr"),
            ("one\n", 5, "one\n"),
            ("one\n", 0, ""),
            ("", 3, ""),
            ("a\n\nb\n", 2, "\nb\n"),
        ] {
            let mut tail = Tail::of(lines);
            text.as_bytes().chunks(2).for_each(|piece| tail.push(piece));
            assert_eq!(tail.lines(), last.as_bytes(), "{text:?} {lines}");
        }
    }
}
