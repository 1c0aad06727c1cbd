//! Bytes in any encoding as a stream of text.

use std::io::{self, Read};

use encoding_rs::{CoderResult, Decoder, Encoding, UTF_8, UTF_16BE, UTF_16LE};

/// How much is read at once.
const CHUNK: usize = 32 * 1024;
/// How much of the beginning is looked at for a declaration.
const BEGIN: usize = 256;

/// Text that is read piece by piece.
pub(super) struct Decoded<R> {
    source: R,
    /// Known once the first bytes are.
    decoder: Option<Decoder>,
    chunk: Box<[u8]>,
    ended: bool,
    doubt: Option<String>,
}

impl<R: Read> Decoded<R> {
    /// Text out of a source of bytes.
    pub(super) fn new(source: R) -> Self {
        Self { source, decoder: None, chunk: vec![0; CHUNK].into(), ended: false, doubt: None }
    }

    /// Appends what comes next; false at the end.
    ///
    /// # Errors
    /// Those of the source.
    pub(super) fn more(&mut self, text: &mut String) -> io::Result<bool> {
        if self.ended {
            return Ok(false);
        }
        let before = text.len();
        while !self.ended && text.len() == before {
            let least = if self.decoder.is_none() { BEGIN } else { 1 };
            let (filled, ended) = self.read(least)?;
            self.ended = ended;
            let doubt = &mut self.doubt;
            let chunk = &self.chunk[..filled];
            let decoder = self.decoder.get_or_insert_with(|| {
                let (encoding, unsure) = encoding(chunk);
                *doubt = unsure;
                encoding.new_decoder()
            });
            let mut at = 0;
            loop {
                text.reserve((chunk.len() - at) * 3 + 16);
                let (result, read, _) = decoder.decode_to_string(&chunk[at..], text, ended);
                at += read;
                if result == CoderResult::InputEmpty {
                    break;
                }
            }
        }
        Ok(text.len() > before || !self.ended)
    }

    /// What is not sure about the encoding, once.
    pub(super) fn doubt(&mut self) -> Option<String> {
        self.doubt.take()
    }

    /// Reads at least so many bytes, unless it ends before: how many, and whether it ended.
    fn read(&mut self, least: usize) -> io::Result<(usize, bool)> {
        let mut filled = 0;
        while filled < least {
            match self.source.read(&mut self.chunk[filled..]) {
                Ok(0) => return Ok((filled, true)),
                Ok(more) => filled += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok((filled, false))
    }
}

/// By the mark, by the zeros beside the first character, or by what is declared; else UTF-8.
fn encoding(begin: &[u8]) -> (&'static Encoding, Option<String>) {
    match begin {
        [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..] | [0, 0, 0, b'<', ..] | [b'<', 0, 0, 0, ..] => {
            return (UTF_8, Some("it is in UTF-32, which is not read: write UTF-8".to_owned()));
        }
        _ => {}
    }
    if let Some((marked, _)) = Encoding::for_bom(begin) {
        return (marked, None);
    }
    match begin {
        [b'<' | b' ' | b'\r' | b'\n' | b'\t', 0, ..] => return (UTF_16LE, None),
        [0, b'<' | b' ' | b'\r' | b'\n' | b'\t', ..] => return (UTF_16BE, None),
        _ => {}
    }
    let Some(label) = declared(&begin[..begin.len().min(BEGIN)]) else { return (UTF_8, None) };
    match Encoding::for_label_no_replacement(&label) {
        // It was read as one byte a character so far: whoever declared it did not write it.
        Some(wide) if wide == UTF_16LE || wide == UTF_16BE => (UTF_8, None),
        Some(named) => (named, None),
        None => {
            let label = String::from_utf8_lossy(&label).into_owned();
            (UTF_8, Some(format!("its encoding {label:?} is not known: write UTF-8")))
        }
    }
}

/// The encoding that an XML declaration names.
fn declared(begin: &[u8]) -> Option<Vec<u8>> {
    let start = begin.windows(5).position(|w| w == b"<?xml")?;
    let end = start + begin[start..].windows(2).position(|w| w == b"?>")?;
    let declaration = &begin[start..end];
    let at = declaration.windows(8).position(|w| w == b"encoding")? + 8;
    let rest = declaration[at..].trim_ascii_start().strip_prefix(b"=")?.trim_ascii_start();
    let (quote, value) = rest.split_first()?;
    let end = value.iter().position(|b| b == quote)?;
    Some(value[..end].to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: &[u8]) -> (String, Option<String>) {
        let (mut decoded, mut text) = (Decoded::new(bytes), String::new());
        while decoded.more(&mut text).unwrap() {}
        (text, decoded.doubt())
    }

    #[test]
    fn every_encoding_tools_write() {
        let wide = |text: &str, unit: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(unit).collect::<Vec<u8>>();
        let declare = |label: &str| format!("<?xml version=\"1.0\" encoding='{label}'?><a>ä</a>");
        let latin = |text: &str| text.chars().map(|c| c as u8).collect::<Vec<u8>>();
        for bytes in [
            "<a>ä</a>".as_bytes().to_vec(),
            "\u{feff}<a>ä</a>".as_bytes().to_vec(),
            wide("<a>ä</a>", u16::to_le_bytes),
            wide("<a>ä</a>", u16::to_be_bytes),
            wide("\u{feff}<a>ä</a>", u16::to_le_bytes),
            wide("\u{feff}<a>ä</a>", u16::to_be_bytes),
            wide("\r\n<a>ä</a>", u16::to_le_bytes),
            declare("utf-16").into_bytes(),
            declare("UTF-8").into_bytes(),
            latin(&declare("ISO-8859-1")),
            latin(&declare("windows-1252")),
        ] {
            let (text, doubt) = text(&bytes);
            assert!(text.ends_with("<a>ä</a>"), "{text:?}");
            assert_eq!(doubt, None);
        }
        assert!(text(declare("klingon").as_bytes()).1.unwrap().contains("klingon"));
        assert!(text(b"<\0\0\0a\0\0\0").1.unwrap().contains("UTF-32"));
    }

    #[test]
    fn pieces_of_any_size_give_the_same_text() {
        struct Slow<'a>(&'a [u8]);
        impl Read for Slow<'_> {
            fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
                self.0.read(&mut to[..1])
            }
        }
        let whole = "<a>äöü€😀</a>".repeat(2000);
        let (mut decoded, mut text) = (Decoded::new(Slow(whole.as_bytes())), String::new());
        while decoded.more(&mut text).unwrap() {}
        assert_eq!(text, whole);
    }
}
