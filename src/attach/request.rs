//! Where the requests of an HTTP/1 connection begin and end.
//!
//! A request is looked at when the one before has its answer: what a client sends ahead waits.

use bytes::{Buf, Bytes, BytesMut};

use super::answer::Chunk;

/// What a head may be long. The daemon's own limit is 1 MiB (Go's `http.DefaultMaxHeaderBytes`); no client comes near.
const HEAD_LIMIT: usize = 64 << 10;

/// The head of a request, as it was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    pub bytes: Bytes,
    pub method: String,
    /// The path with its query.
    pub path: String,
    /// The length of the body; `None` where only the body itself tells.
    pub length: Option<u64>,
    /// The connection becomes something else than HTTP with this request.
    pub upgrade: bool,
}

/// This is not HTTP/1.
#[derive(Debug, PartialEq, Eq)]
pub struct NotHttp;

/// Reads the requests of one connection.
#[derive(Debug, Default)]
pub struct Requests {
    body: Body,
}

/// What is left of the body of a request.
#[derive(Debug, Default)]
enum Body {
    #[default]
    Over,
    Length(u64),
    Chunks(Chunk),
    /// The connection is none of HTTP any more, or may become so: all that comes belongs to it.
    Everything,
}

impl Requests {
    /// Takes the next head off the front; `None` where there is no whole one yet. The body of the one before
    /// is taken first, with [`body`](Self::body).
    pub fn head(&mut self, inbox: &mut BytesMut) -> Result<Option<Head>, NotHttp> {
        // Tolerated between requests by RFC 9112, 2.2.
        while inbox.starts_with(b"\r\n") {
            inbox.advance(2);
        }
        if inbox.is_empty() {
            return Ok(None);
        }
        let Some(head) = head(inbox)? else {
            return if inbox.len() > HEAD_LIMIT { Err(NotHttp) } else { Ok(None) };
        };
        self.body = match head.length {
            _ if head.upgrade => Body::Everything,
            Some(0) => Body::Over,
            Some(length) => Body::Length(length),
            None => Body::Chunks(Chunk::default()),
        };
        Ok(Some(head))
    }

    /// Takes what is there of the body off the front.
    pub fn body(&mut self, inbox: &mut BytesMut) -> Option<Bytes> {
        if inbox.is_empty() {
            return None;
        }
        let here = match &mut self.body {
            Body::Over => return None,
            Body::Everything => inbox.len(),
            Body::Length(left) => {
                let here = usize::try_from(*left).unwrap_or(usize::MAX).min(inbox.len());
                *left -= here as u64;
                if *left == 0 {
                    self.body = Body::Over;
                }
                here
            }
            Body::Chunks(chunk) => {
                let here = chunk.take(inbox);
                if chunk.is_over() {
                    self.body = Body::Over;
                }
                here
            }
        };
        Some(inbox.split_to(here).freeze())
    }

    /// Whether more of the body is to come.
    pub fn in_body(&self) -> bool {
        !matches!(self.body, Body::Over)
    }

    /// What comes is passed on as it is from here on.
    pub fn everything(&mut self) {
        self.body = Body::Everything;
    }

    /// The connection did not become something else: requests follow.
    pub fn nothing_more(&mut self) {
        if matches!(self.body, Body::Everything) {
            self.body = Body::Over;
        }
    }
}

fn head(inbox: &mut BytesMut) -> Result<Option<Head>, NotHttp> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut request = httparse::Request::new(&mut headers);
    let httparse::Status::Complete(size) = request.parse(inbox).map_err(|_| NotHttp)? else { return Ok(None) };
    let all = |name: &str| {
        let name = name.to_owned();
        request
            .headers
            .iter()
            .filter(move |h| h.name.eq_ignore_ascii_case(&name))
            .map(|h| std::str::from_utf8(h.value).unwrap_or_default().trim())
    };
    let length = match (all("transfer-encoding").next(), all("content-length").next()) {
        (Some(_), _) => None,
        (None, Some(length)) => Some(length.parse().map_err(|_| NotHttp)?),
        (None, None) => Some(0),
    };
    let upgrade = all("upgrade").next().is_some();
    let (method, path) = (request.method.unwrap_or_default().to_owned(), request.path.unwrap_or_default().to_owned());
    Ok(Some(Head { bytes: inbox.split_to(size).freeze(), method, path, length, upgrade }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pieces(bytes: &[u8], cuts: &[usize]) -> Result<(Vec<String>, Vec<u8>), NotHttp> {
        let (mut requests, mut inbox) = (Requests::default(), BytesMut::new());
        let (mut paths, mut all) = (Vec::new(), Vec::new());
        let mut at = 0;
        for end in cuts.iter().copied().chain([bytes.len()]) {
            let end = end.clamp(at, bytes.len());
            inbox.extend_from_slice(&bytes[at..end]);
            at = end;
            loop {
                if let Some(body) = requests.body(&mut inbox) {
                    all.extend_from_slice(&body);
                } else if requests.in_body() {
                    break;
                } else if let Some(head) = requests.head(&mut inbox)? {
                    paths.push(format!("{} {} {:?} {}", head.method, head.path, head.length, head.upgrade));
                    all.extend_from_slice(&head.bytes);
                } else {
                    break;
                }
            }
        }
        Ok((paths, all))
    }

    const MANY: &[u8] = b"HEAD /_ping HTTP/1.1\r\nHost: docker\r\n\r\n\
        POST /v1.47/configs/create HTTP/1.1\r\nHost: x\r\nContent-Length: 12\r\n\r\nGET / HTTP/1\
        GET /v1.47/nodes?x=%20 HTTP/1.1\r\nhost: x\r\n\r\n\
        POST /build HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n\
        POST /exec/1/start HTTP/1.1\r\nConnection: Upgrade\r\nUPGRADE: tcp\r\ncontent-length: 2\r\n\r\n{}";

    proptest! {
        #[test]
        fn however_the_bytes_arrive_the_requests_are_the_same(mut cuts in prop::collection::vec(0..MANY.len(), 0..20)) {
            cuts.sort_unstable();
            let (paths, all) = pieces(MANY, &cuts).unwrap();
            prop_assert_eq!(paths, [
                "HEAD /_ping Some(0) false",
                "POST /v1.47/configs/create Some(12) false",
                "GET /v1.47/nodes?x=%20 Some(0) false",
                "POST /build None false",
                "POST /exec/1/start Some(2) true",
            ]);
            prop_assert_eq!(all, MANY);
        }

        #[test]
        fn no_bytes_make_it_fall(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = pieces(&bytes, &[]);
        }
    }

    #[test]
    fn what_becomes_something_else_is_passed_on_whole() {
        let bytes = b"POST /exec/1/start HTTP/1.1\r\nUpgrade: tcp\r\nContent-Length: 2\r\n\r\n{}GET / HTTP/1.1\r\n\r\n";
        assert_eq!(pieces(bytes, &[]).unwrap(), (vec!["POST /exec/1/start Some(2) true".to_owned()], bytes.to_vec()));
    }

    #[test]
    fn what_is_not_http_is_said_so() {
        let mut inbox = BytesMut::from(&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..]);
        assert_eq!(Requests::default().head(&mut inbox), Err(NotHttp));
        let mut inbox = BytesMut::from(&[b"GET / HTTP/1.1\r\nx: ".as_slice(), &vec![b'a'; HEAD_LIMIT]].concat()[..]);
        assert_eq!(Requests::default().head(&mut inbox), Err(NotHttp));
    }
}
