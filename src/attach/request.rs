//! Where the requests of an HTTP/1 connection begin and end.
//!
//! Only requests are read, never answers: a client asks its next question when it has read
//! the answer to the one before, so the beginning of a request is also the end of an answer.

use bytes::{Buf, Bytes, BytesMut};

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

/// The next piece of a connection.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece {
    Head(Head),
    Body(Bytes),
}

/// This is not HTTP/1.
#[derive(Debug, PartialEq, Eq)]
pub struct NotHttp;

/// Reads the requests of one connection.
#[derive(Debug, Default)]
pub struct Requests {
    /// What is left of the body.
    body: u64,
}

impl Requests {
    /// Takes the next piece off the front; `None` where there is no whole one yet. A head
    /// without a length is the last piece: what follows it is not looked at.
    pub fn next(&mut self, inbox: &mut BytesMut) -> Result<Option<Piece>, NotHttp> {
        if inbox.is_empty() {
            return Ok(None);
        }
        if self.body > 0 {
            let here = usize::try_from(self.body).unwrap_or(usize::MAX).min(inbox.len());
            self.body -= here as u64;
            return Ok(Some(Piece::Body(inbox.split_to(here).freeze())));
        }
        // Tolerated between requests by RFC 9112, 2.2.
        while inbox.starts_with(b"\r\n") {
            inbox.advance(2);
        }
        let Some(head) = head(inbox)? else {
            return if inbox.len() > HEAD_LIMIT { Err(NotHttp) } else { Ok(None) };
        };
        self.body = head.length.unwrap_or(0);
        Ok(Some(Piece::Head(head)))
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
        for end in cuts.iter().copied().chain([bytes.len()]).filter(|end| *end >= at).collect::<Vec<_>>() {
            if end < at || end > bytes.len() {
                continue;
            }
            inbox.extend_from_slice(&bytes[at..end]);
            at = end;
            while let Some(piece) = requests.next(&mut inbox)? {
                match piece {
                    Piece::Head(head) => {
                        paths.push(format!("{} {} {:?} {}", head.method, head.path, head.length, head.upgrade));
                        all.extend_from_slice(&head.bytes);
                    }
                    Piece::Body(body) => all.extend_from_slice(&body),
                }
            }
        }
        Ok((paths, all))
    }

    const MANY: &[u8] = b"HEAD /_ping HTTP/1.1\r\nHost: docker\r\n\r\n\
        POST /v1.47/configs/create HTTP/1.1\r\nHost: x\r\nContent-Length: 12\r\n\r\nGET / HTTP/1\
        GET /v1.47/nodes?x=%20 HTTP/1.1\r\nhost: x\r\n\r\n\
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
    fn a_body_without_a_length_is_said_so() {
        let chunked = b"POST /build HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n";
        let mut inbox = BytesMut::from(&chunked[..]);
        let Ok(Some(Piece::Head(head))) = Requests::default().next(&mut inbox) else { panic!("no head") };
        assert_eq!((head.length, &inbox[..]), (None, &b"5\r\nhello\r\n"[..]));
    }

    #[test]
    fn what_is_not_http_is_said_so() {
        let mut inbox = BytesMut::from(&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..]);
        assert_eq!(Requests::default().next(&mut inbox), Err(NotHttp));
        let mut inbox = BytesMut::from(&[b"GET / HTTP/1.1\r\nx: ".as_slice(), &vec![b'a'; HEAD_LIMIT]].concat()[..]);
        assert_eq!(Requests::default().next(&mut inbox), Err(NotHttp));
    }
}
