//! Bytes that come in pieces. Where they are cut follows from the bytes themselves, so that a sample is a file and nothing else.

use std::io::{self, Read};

/// Divides bytes into pieces, most of them short.
pub struct Pieces<'a> {
    rest: &'a [u8],
    state: u64,
}

impl<'a> Pieces<'a> {
    #[must_use]
    pub fn of(bytes: &'a [u8]) -> Self {
        // FNV-1a
        let state = bytes
            .iter()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
        Self { rest: bytes, state: state | 1 }
    }

    fn length(&mut self) -> usize {
        // xorshift64
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        match self.state % 8 {
            0..5 => 1 + (self.state >> 8) as usize % 4,
            5..7 => 1 + (self.state >> 8) as usize % 64,
            _ => 1 + (self.state >> 8) as usize % 4096,
        }
    }
}

impl<'a> Iterator for Pieces<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.rest.is_empty() {
            return None;
        }
        let length = self.length().min(self.rest.len());
        let (piece, rest) = self.rest.split_at(length);
        self.rest = rest;
        Some(piece)
    }
}

impl Read for Pieces<'_> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let length = self.length().min(self.rest.len()).min(to.len());
        let (piece, rest) = self.rest.split_at(length);
        to[..length].copy_from_slice(piece);
        self.rest = rest;
        Ok(length)
    }
}
