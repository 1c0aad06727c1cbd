//! Where an answer of an HTTP/1 connection ends, and what an error of it says.
//!
//! The bytes pass as they came, but for an error that a note is added to.

use bytes::{Bytes, BytesMut};

/// What a head may be long.
const HEAD_LIMIT: usize = 64 << 10;
/// A longer error is left as it is.
const ERROR_LIMIT: u64 = 64 << 10;

/// Reads one answer.
#[derive(Debug)]
pub struct Answer {
    state: State,
    /// It is to a HEAD request, and has no body whatever its head says.
    headless: bool,
    /// What is added to an error.
    note: Option<String>,
    closes: bool,
}

#[derive(Debug)]
enum State {
    Head(BytesMut),
    /// So much is left.
    Length(u64),
    Chunks(Chunk),
    /// Only the end of the connection ends it, or it is no HTTP that is known here.
    ToTheEnd,
    /// An error whose text is awaited.
    Error {
        head: Bytes,
        left: u64,
        body: BytesMut,
    },
    Over,
}

/// Where a chunked body is (RFC 9112, 7.1).
#[derive(Clone, Copy, Debug)]
pub enum Chunk {
    /// In the line with the size, so far; digits count until anything else comes.
    Size {
        size: u64,
        digits: bool,
    },
    Data(u64),
    /// Behind the data: two bytes.
    DataEnd(u8),
    /// After the last chunk: whether the line has anything in it.
    Trailer {
        empty: bool,
    },
    Over,
}

impl Answer {
    /// The answer to a request of this method.
    pub fn to(method: &str, note: Option<String>) -> Self {
        Self { state: State::Head(BytesMut::new()), headless: method == "HEAD", note, closes: false }
    }

    /// Takes what came; gives what the client is to have of it. What comes after the end is nobody's: one
    /// question is asked at a time.
    pub fn take(&mut self, piece: Bytes) -> Vec<Bytes> {
        let mut out = Vec::new();
        let mut rest = piece;
        while !rest.is_empty() && !self.is_over() {
            match &mut self.state {
                State::Head(seen) => {
                    seen.extend_from_slice(&rest);
                    let seen = std::mem::take(seen);
                    // What follows the head; nothing while there is no whole one.
                    rest = self.head(seen, &mut out).unwrap_or_default();
                }
                State::Length(left) => {
                    let here = usize::try_from(*left).unwrap_or(usize::MAX).min(rest.len());
                    *left -= here as u64;
                    out.push(rest.split_to(here));
                    if *left == 0 {
                        self.state = State::Over;
                    }
                }
                State::Chunks(chunk) => {
                    let here = chunk.take(&rest);
                    out.push(rest.split_to(here));
                    if chunk.is_over() {
                        self.state = State::Over;
                    }
                }
                State::Error { head, left, body } => {
                    let here = usize::try_from(*left).unwrap_or(usize::MAX).min(rest.len());
                    *left -= here as u64;
                    body.extend_from_slice(&rest.split_to(here));
                    if *left == 0 {
                        out.extend(noted(head, body, self.note.as_deref().unwrap_or_default()));
                        self.state = State::Over;
                    }
                }
                State::ToTheEnd => out.push(std::mem::take(&mut rest)),
                State::Over => {}
            }
        }
        out.retain(|piece| !piece.is_empty());
        out
    }

    /// The connection ended: what was held back, where the answer may end so.
    pub fn end(&mut self) -> Vec<Bytes> {
        let left = match std::mem::replace(&mut self.state, State::Over) {
            State::Head(seen) => vec![seen.freeze()],
            State::Error { head, body, .. } => vec![head, body.freeze()],
            _ => Vec::new(),
        };
        self.closes = true;
        left
    }

    /// Whether all of it came.
    pub fn is_over(&self) -> bool {
        matches!(self.state, State::Over)
    }

    /// Whether the connection has become the answer: what the client says from here on belongs to it.
    pub fn has_no_end(&self) -> bool {
        matches!(self.state, State::ToTheEnd)
    }

    /// Whether the connection is of no use after it.
    pub fn closes(&self) -> bool {
        self.closes
    }

    /// Reads the head; gives what came behind it.
    fn head(&mut self, mut seen: BytesMut, out: &mut Vec<Bytes>) -> Option<Bytes> {
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut response = httparse::Response::new(&mut headers);
        let size = match response.parse(&seen) {
            Ok(httparse::Status::Complete(size)) => size,
            Ok(httparse::Status::Partial) if seen.len() <= HEAD_LIMIT => {
                self.state = State::Head(seen);
                return None;
            }
            _ => {
                (self.state, self.closes) = (State::ToTheEnd, true);
                return Some(seen.freeze());
            }
        };
        let header = |name: &str| {
            let found = response.headers.iter().find(|h| h.name.eq_ignore_ascii_case(name));
            found.map(|h| String::from_utf8_lossy(h.value).trim().to_ascii_lowercase())
        };
        let code = response.code.unwrap_or(0);
        let connection = header("connection").unwrap_or_default();
        let lasts = if response.version == Some(0) { connection == "keep-alive" } else { connection != "close" };
        let (length, chunked) =
            (header("content-length").and_then(|l| l.parse().ok()), header("transfer-encoding").is_some());
        let json = header("content-type").is_some_and(|kind| kind.contains("json"));
        let head = seen.split_to(size).freeze();
        self.closes = !lasts;
        self.state = match (code, length) {
            // Something before the answer proper.
            (100 | 102..200, _) => State::Head(BytesMut::new()),
            (101, _) => {
                self.closes = true;
                State::ToTheEnd
            }
            (204 | 304, _) => State::Over,
            _ if self.headless => State::Over,
            _ if chunked => State::Chunks(Chunk::default()),
            (_, Some(0)) => State::Over,
            (400.., Some(left)) if self.note.is_some() && json && left <= ERROR_LIMIT => {
                self.state = State::Error { head, left, body: BytesMut::new() };
                return Some(seen.freeze());
            }
            (_, Some(length)) => State::Length(length),
            (_, None) => {
                self.closes = true;
                State::ToTheEnd
            }
        };
        out.push(head);
        Some(seen.freeze())
    }
}

impl Default for Chunk {
    fn default() -> Self {
        Self::Size { size: 0, digits: true }
    }
}

impl Chunk {
    /// Whether the body ended.
    pub fn is_over(&self) -> bool {
        matches!(self, Self::Over)
    }

    /// Goes on through these bytes; how many of them are the body's.
    pub fn take(&mut self, bytes: &[u8]) -> usize {
        let mut at = 0;
        while at < bytes.len() {
            let byte = bytes[at];
            *self = match *self {
                Self::Data(left) => {
                    let here = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len() - at);
                    at += here;
                    *self = match left - here as u64 {
                        0 => Self::DataEnd(2),
                        left => Self::Data(left),
                    };
                    continue;
                }
                Self::Size { size: 0, .. } if byte == b'\n' => Self::Trailer { empty: true },
                Self::Size { size, .. } if byte == b'\n' => Self::Data(size),
                Self::Size { size, digits: true } => match (byte as char).to_digit(16) {
                    Some(digit) => {
                        Self::Size { size: size.saturating_mul(16).saturating_add(digit.into()), digits: true }
                    }
                    None => Self::Size { size, digits: false },
                },
                Self::Size { size, digits: false } => Self::Size { size, digits: false },
                Self::DataEnd(1) => Self::Size { size: 0, digits: true },
                Self::DataEnd(_) => Self::DataEnd(1),
                Self::Trailer { empty: true } if byte == b'\n' => Self::Over,
                Self::Trailer { .. } if byte == b'\n' => Self::Trailer { empty: true },
                Self::Trailer { empty } => Self::Trailer { empty: empty && byte == b'\r' },
                Self::Over => return at,
            };
            at += 1;
        }
        at
    }
}

/// The error with the note in its message, where it is one in the daemon's own form.
fn noted(head: &Bytes, body: &mut BytesMut, note: &str) -> [Bytes; 2] {
    let asked = || -> Option<[Bytes; 2]> {
        let mut error: serde_json::Value = serde_json::from_slice(body).ok()?;
        let message = error.get("message")?.as_str()?.trim_end().to_owned();
        error["message"] = format!("{message} (kubectl testkit attach: {note})").into();
        let body = serde_json::to_vec(&error).ok()?;
        let head = std::str::from_utf8(head).ok()?;
        let lines: Vec<String> = head
            .split_inclusive("\r\n")
            .map(|line| match line.split_once(':') {
                Some((name, _)) if name.eq_ignore_ascii_case("content-length") => format!("{name}: {}\r\n", body.len()),
                _ => line.to_owned(),
            })
            .collect();
        Some([lines.concat().into(), body.into()])
    };
    asked().unwrap_or_else(|| [head.clone(), std::mem::take(body).freeze()])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NEXT: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nX";

    /// What the client has of it, and how much was taken before the answer was over.
    fn read(mut answer: Answer, bytes: &[u8], cuts: &[usize]) -> (Vec<u8>, bool, bool) {
        let (mut out, mut at) = (Vec::new(), 0);
        for end in cuts.iter().copied().chain([bytes.len()]) {
            let end = end.clamp(at, bytes.len());
            answer.take(Bytes::copy_from_slice(&bytes[at..end])).iter().for_each(|piece| out.extend_from_slice(piece));
            at = end;
        }
        (out, answer.is_over(), answer.closes())
    }

    const ANSWERS: [(&str, &str, bool); 9] = [
        ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", false),
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", false),
        ("GET", "HTTP/1.1 204 No Content\r\nApi-Version: 1.51\r\n\r\n", false),
        ("POST", "HTTP/1.1 304 Not Modified\r\n\r\n", false),
        (
            "GET",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\nA\r\n0123456789\r\n0\r\n\r\n",
            false,
        ),
        ("GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nTrailer: x\r\n\r\n", false),
        ("POST", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n{}", false),
        ("GET", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}", true),
        ("GET", "HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", true),
    ];

    proptest! {
        #[test]
        fn however_the_bytes_arrive_the_end_is_the_same(which in 0..ANSWERS.len(), mut cuts in prop::collection::vec(0..120_usize, 0..12), noted in any::<bool>()) {
            cuts.sort_unstable();
            let (method, text, closes) = ANSWERS[which];
            let both = [text.as_bytes(), NEXT].concat();
            let answer = Answer::to(method, noted.then(|| "x".to_owned()));
            prop_assert_eq!(read(answer, &both, &cuts), (text.as_bytes().to_vec(), true, closes));
        }

        #[test]
        fn an_error_has_the_note_however_it_arrives(mut cuts in prop::collection::vec(0..120_usize, 0..12)) {
            cuts.sort_unstable();
            let text = b"HTTP/1.1 404 Not Found\r\nContent-Type: application/json\r\nContent-Length: 32\r\nX: y\r\n\r\n{\"message\":\"No such container\"}\n";
            let (out, over, _) = read(Answer::to("GET", Some("they are on foo-m0".to_owned())), text, &cuts);
            let body = "{\"message\":\"No such container (kubectl testkit attach: they are on foo-m0)\"}";
            let head = format!("HTTP/1.1 404 Not Found\r\nContent-Type: application/json\r\nContent-Length: {}\r\nX: y\r\n\r\n", body.len());
            prop_assert_eq!((String::from_utf8(out).unwrap(), over), (head + body, true));
        }

        #[test]
        fn no_bytes_make_it_fall(bytes in prop::collection::vec(any::<u8>(), 0..300), chunked in any::<bool>()) {
            let head: &[u8] = if chunked { b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" } else { b"" };
            let _ = read(Answer::to("GET", Some("n".to_owned())), &[head, &bytes].concat(), &[]);
        }
    }

    #[test]
    fn what_has_no_end_of_its_own_goes_to_the_end() {
        for text in ["HTTP/1.1 200 OK\r\n\r\nendless", "nonsense\r\n\r\n"] {
            let (out, over, closes) = read(Answer::to("GET", None), text.as_bytes(), &[]);
            assert_eq!((out, over, closes), (text.as_bytes().to_vec(), false, true));
        }
    }

    #[test]
    fn an_error_that_is_not_the_daemons_stays_as_it_is() {
        let text = "HTTP/1.1 500 Oh\r\nContent-Type: application/json\r\nContent-Length: 3\r\n\r\n[1]";
        assert_eq!(read(Answer::to("GET", Some("n".to_owned())), text.as_bytes(), &[]).0, text.as_bytes());
        let mut cut = Answer::to("GET", Some("n".to_owned()));
        let head = "HTTP/1.1 500 Oh\r\nContent-Type: application/json\r\nContent-Length: 30\r\n\r\n";
        assert!(cut.take(Bytes::from(format!("{head}[1"))).is_empty());
        assert_eq!(cut.end().concat(), format!("{head}[1").as_bytes());
    }
}
