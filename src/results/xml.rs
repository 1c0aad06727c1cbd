//! XML in small pieces, from a stream that may be anything: no piece is longer than its bound,
//! every byte is looked at a bounded number of times, and what is not well-formed is told of and
//! gone past instead of being the end.

use std::{
    io::{self, Read},
    ops::Range,
};

use super::decode::Decoded;

/// The longest tag that is read, in bytes.
const TAG: usize = 256 * 1024;
/// A reference that is longer is none.
const REFERENCE: usize = 64;

/// A piece of a document.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// What is between the angle brackets of a start tag, without the slash of an empty one.
    Open {
        /// Name and attributes.
        tag: &'a str,
        /// It is its own end.
        empty: bool,
    },
    /// The name in an end tag.
    Close(&'a str),
    /// Text with references, which are never cut.
    Text(&'a str),
    /// Text of a CDATA section.
    Raw(&'a str),
    /// An angle bracket that begins nothing.
    Stray,
    /// What is not well-formed; what it was is left out.
    Malformed(&'static str),
    /// The end.
    End,
}

/// Divides a document into its pieces.
pub(super) struct Lexer<R> {
    source: Decoded<R>,
    buffer: String,
    at: usize,
    /// How far beyond `at` was looked at already, and within which quotes that is.
    scanned: usize,
    quote: u8,
    depth: u32,
    ended: bool,
    mode: Mode,
    /// How many bytes were looked at or moved.
    work: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Content,
    Raw,
    Comment,
    Instruction,
    Doctype,
}

/// A piece, as where it is in the buffer.
enum Found {
    Again,
    Open(Range<usize>),
    Close(Range<usize>),
    Text(Range<usize>),
    Raw(Range<usize>),
    Stray,
    Malformed(&'static str),
    End,
}

impl<R: Read> Lexer<R> {
    /// A reader of a document.
    pub(super) fn new(source: R) -> Self {
        Self {
            source: Decoded::new(source),
            buffer: String::new(),
            at: 0,
            scanned: 0,
            quote: 0,
            depth: 0,
            ended: false,
            mode: Mode::Content,
            work: 0,
        }
    }

    /// What is not sure about the encoding, once.
    pub(super) fn doubt(&mut self) -> Option<String> {
        self.source.doubt()
    }

    /// How many bytes were looked at or moved so far.
    #[cfg(test)]
    pub(super) fn work(&self) -> u64 {
        self.work
    }

    /// The next piece.
    ///
    /// # Errors
    /// Those of the source.
    pub(super) fn next(&mut self) -> io::Result<Token<'_>> {
        let found = loop {
            match self.step()? {
                Found::Again => {}
                found => break found,
            }
        };
        Ok(match found {
            Found::Open(range) => {
                let tag = &self.buffer[range];
                match tag.strip_suffix('/') {
                    Some(tag) => Token::Open { tag, empty: true },
                    None => Token::Open { tag, empty: false },
                }
            }
            Found::Close(range) => Token::Close(self.buffer[range].trim()),
            Found::Text(range) => Token::Text(&self.buffer[range]),
            Found::Raw(range) => Token::Raw(&self.buffer[range]),
            Found::Stray => Token::Stray,
            Found::Malformed(why) => Token::Malformed(why),
            Found::Again | Found::End => Token::End,
        })
    }

    fn step(&mut self) -> io::Result<Found> {
        if self.at == self.buffer.len() && !self.more()? {
            let open = match std::mem::replace(&mut self.mode, Mode::Content) {
                Mode::Content => return Ok(Found::End),
                Mode::Raw => "it ends within a CDATA section",
                Mode::Comment => "it ends within a comment",
                Mode::Instruction => "it ends within a processing instruction",
                Mode::Doctype => "it ends within a document type",
            };
            return Ok(Found::Malformed(open));
        }
        match self.mode {
            Mode::Content if self.rest().starts_with('<') => self.markup(),
            Mode::Content => self.text(),
            Mode::Raw => self.until("]]>").map(Found::Raw),
            Mode::Comment => self.until("-->").map(|_| Found::Again),
            Mode::Instruction => self.until("?>").map(|_| Found::Again),
            Mode::Doctype => Ok(self.doctype()),
        }
    }

    fn rest(&self) -> &str {
        &self.buffer[self.at..]
    }

    /// Reads on; false at the end. What is behind is let go of.
    fn more(&mut self) -> io::Result<bool> {
        if self.ended {
            return Ok(false);
        }
        self.buffer.drain(..self.at);
        self.at = 0;
        let before = self.buffer.len();
        self.work += before as u64;
        while !self.ended && self.buffer.len() == before {
            self.ended = !self.source.more(&mut self.buffer)?;
        }
        Ok(self.buffer.len() > before)
    }

    fn text(&mut self) -> io::Result<Found> {
        let rest = self.rest();
        let mut end = rest.find('<').unwrap_or(rest.len());
        if end == rest.len() && !self.ended {
            // A reference that is not whole yet waits for its rest.
            let open = rest.bytes().rev().take(REFERENCE).position(|b| b == b'&').map(|back| end - 1 - back);
            if let Some(open) = open
                && !rest[open..].contains(';')
            {
                end = open;
            }
        }
        self.work += (rest.len().min(end + 1)) as u64;
        if end == 0 {
            self.more()?;
            return Ok(Found::Again);
        }
        let range = self.at..self.at + end;
        self.at = range.end;
        Ok(Found::Text(range))
    }

    fn markup(&mut self) -> io::Result<Found> {
        while self.rest().len() < 9 && self.more()? {}
        let rest = self.rest();
        let (mode, skip) = match rest {
            _ if rest.starts_with("<!--") => (Mode::Comment, 4),
            _ if rest.starts_with("<![CDATA[") => (Mode::Raw, 9),
            _ if rest.starts_with("<!") => (Mode::Doctype, 2),
            _ if rest.starts_with("<?") => (Mode::Instruction, 2),
            _ if rest.starts_with("</") => return self.tag(true),
            _ if rest[1..].starts_with(|c: char| c.is_alphabetic() || matches!(c, '_' | ':')) => {
                return self.tag(false);
            }
            _ => {
                self.at += 1;
                return Ok(Found::Stray);
            }
        };
        self.at += skip;
        self.mode = mode;
        (self.quote, self.depth) = (0, 0);
        Ok(Found::Again)
    }

    fn tag(&mut self, close: bool) -> io::Result<Found> {
        loop {
            let rest = &self.buffer.as_bytes()[self.at..];
            let from = self.scanned.max(1);
            let mut quote = self.quote;
            let end = rest[from..].iter().position(|&b| {
                match b {
                    _ if quote != 0 => quote = if b == quote { 0 } else { quote },
                    b'"' | b'\'' if !close => quote = b,
                    b'>' | b'<' => return true,
                    _ => {}
                }
                false
            });
            let seen = end.map_or(rest.len(), |end| from + end);
            let ends_well = rest.get(seen) == Some(&b'>');
            self.work += (seen - from.min(seen)) as u64;
            (self.scanned, self.quote) = (seen, quote);
            if end.is_some() {
                (self.scanned, self.quote) = (0, 0);
                let inside = self.at + if close { 2 } else { 1 }..self.at + seen;
                self.at += seen;
                if !ends_well {
                    return Ok(Found::Malformed("a tag has no end"));
                }
                self.at += 1;
                return Ok(if close { Found::Close(inside) } else { Found::Open(inside) });
            }
            let over = seen > TAG;
            if over || !self.more()? {
                (self.scanned, self.quote) = (0, 0);
                self.at = self.buffer.len();
                return Ok(Found::Malformed(if over {
                    "a tag is longer than 256 KiB"
                } else {
                    "it ends within a tag"
                }));
            }
        }
    }

    /// What is there of a section that a mark ends. Empty where more has to be read first.
    fn until(&mut self, mark: &str) -> io::Result<Range<usize>> {
        let rest = self.rest();
        let (end, after) = match rest.find(mark) {
            Some(end) => (end, end + mark.len()),
            // The mark's first bytes may be here, and its last one not.
            None if !self.ended => {
                let part = (1..mark.len()).rev().find(|n| rest.ends_with(&mark[..*n])).unwrap_or(0);
                (rest.len() - part, rest.len() - part)
            }
            None => (rest.len(), rest.len()),
        };
        self.work += after as u64;
        if after > end {
            self.mode = Mode::Content;
        }
        if after == 0 {
            self.more()?;
            return Ok(self.at..self.at);
        }
        let range = self.at..self.at + end;
        self.at += after;
        Ok(range)
    }

    fn doctype(&mut self) -> Found {
        let rest = &self.buffer.as_bytes()[self.at..];
        let (mut quote, mut depth) = (self.quote, self.depth);
        let end = rest.iter().position(|&b| {
            match b {
                _ if quote != 0 => quote = if b == quote { 0 } else { quote },
                b'"' | b'\'' => quote = b,
                b'[' => depth += 1,
                b']' => depth = depth.saturating_sub(1),
                b'>' => return depth == 0,
                _ => {}
            }
            false
        });
        let seen = end.map_or(rest.len(), |end| end + 1);
        (self.quote, self.depth) = (quote, depth);
        self.work += seen as u64;
        self.at += seen;
        if end.is_some() {
            self.mode = Mode::Content;
            (self.quote, self.depth) = (0, 0);
        }
        Found::Again
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Gives a few bytes at a time.
    struct Slow<'a>(&'a [u8], usize);
    impl Read for Slow<'_> {
        fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
            let most = to.len().min(self.1);
            self.0.read(&mut to[..most])
        }
    }

    /// Every piece in a form in which texts that were divided are one again.
    fn pieces(source: impl Read) -> (Vec<String>, u64) {
        let (mut lexer, mut all) = (Lexer::new(source), Vec::<String>::new());
        loop {
            let (sort, said) = match lexer.next().unwrap() {
                Token::End => return (all, lexer.work()),
                Token::Open { tag, empty } => (if empty { '!' } else { '<' }, tag.to_owned()),
                Token::Close(name) => ('/', name.to_owned()),
                Token::Text(text) => ('t', text.to_owned()),
                Token::Raw(text) => ('c', text.to_owned()),
                Token::Stray => ('s', String::new()),
                Token::Malformed(why) => ('m', why.to_owned()),
            };
            match all.last_mut() {
                Some(last) if matches!(sort, 't' | 'c') && last.starts_with(sort) => last.push_str(&said),
                _ if sort == 'c' && said.is_empty() => {}
                _ => all.push(format!("{sort}{said}")),
            }
        }
    }

    fn of(text: &str) -> Vec<String> {
        pieces(text.as_bytes()).0
    }

    #[test]
    fn a_document_is_its_pieces() {
        let text = "<?xml version='1.0'?><!DOCTYPE a [<!ENTITY b \"]>\">]><a b='>' c=\"/\"><!-- <x> -->t&amp;<![CDATA[<y>]]]]><d/></a >";
        assert_eq!(of(text), ["<a b='>' c=\"/\"", "tt&amp;", "c<y>]]", "!d", "/a"]);
    }

    #[test]
    fn what_is_not_well_formed_is_gone_past() {
        let cases = [
            ("<a <b>", vec!["ma tag has no end", "<b"]),
            ("a < b <c>", vec!["ta ", "s", "t b ", "<c"]),
            ("<a", vec!["mit ends within a tag"]),
            ("<a x='>", vec!["mit ends within a tag"]),
            ("<![CDATA[x]]", vec!["cx]]", "mit ends within a CDATA section"]),
            ("<!-- x", vec!["mit ends within a comment"]),
            ("<![CD", vec!["mit ends within a document type"]),
            ("<", vec!["s"]),
        ];
        for (text, expected) in cases {
            assert_eq!(of(text), expected, "{text}");
        }
    }

    #[test]
    fn every_byte_is_looked_at_a_bounded_number_of_times() {
        let most = 600 << 10;
        for unit in [
            "<testsuite><testcase/></testsuite>",
            "text ",
            "<",
            "<a ",
            "<a '",
            "&",
            "]",
            "]]",
            "-",
            "<!--",
            "<![CDATA[",
            "<![CDATA[]]>",
            "</a>",
            "<a b=\"",
            "?",
            "<?",
            "<!x[",
        ] {
            for prefix in ["", "<![CDATA[", "<!--", "<a x='", "<"] {
                let text = format!("{prefix}{}", unit.repeat(most / unit.len()));
                let (_, work) = pieces(text.as_bytes());
                assert!(work < 20 * most as u64, "{prefix}{unit}: {work}");
            }
        }
    }

    proptest! {
        #[test]
        fn how_the_bytes_come_does_not_matter(parts in prop::collection::vec(prop::sample::select(vec![
            "<a>", "</a>", "<b c='<'/>", "<!--", "-->", "<![CDATA[", "]]>", "]", "&amp;", "&", ";", "ü", "<", ">", "\"", "<?", "?>", "<!D [",
        ]), 0..30), size in 1..7usize) {
            let text = parts.concat();
            prop_assert_eq!(pieces(Slow(text.as_bytes(), size)).0, of(&text));
        }
    }
}
