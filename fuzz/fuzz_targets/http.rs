//! What stands between a Docker client and an engine: an answer passes as it came, however it comes, and ends where it ends;
//! requests are told apart, and each has a route.
#![no_main]

use bytes::{Bytes, BytesMut};
use libfuzzer_sys::fuzz_target;
use testkit_fuzz::{
    attach::{
        answer::Answer,
        request::Requests,
        routes::{Owner, Repeat, Route},
    },
    pieces::Pieces,
};

fuzz_target!(|bytes: &[u8]| {
    for (method, note) in [("GET", None), ("HEAD", None), ("POST", Some("they are on m0"))] {
        let whole = answered(method, note, &mut [bytes].into_iter());
        let pieces = answered(method, note, &mut Pieces::of(bytes));
        assert_eq!(whole, pieces);
        if note.is_none() {
            assert!(bytes.starts_with(&whole.0), "what passes is what came");
        }
    }
    let (whole, pieces) = (asked(&mut [bytes].into_iter()), asked(&mut Pieces::of(bytes)));
    assert_eq!(whole, pieces);
});

/// What the client has of it, whether it is over, and whether the connection ends with it.
fn answered(method: &str, note: Option<&str>, pieces: &mut dyn Iterator<Item = &[u8]>) -> (Vec<u8>, bool, bool) {
    let mut answer = Answer::to(method, note.map(str::to_owned));
    let mut out = Vec::new();
    for piece in pieces {
        out.extend(answer.take(Bytes::copy_from_slice(piece)).concat());
    }
    let over = answer.is_over();
    out.extend(answer.end().concat());
    (out, over, answer.closes())
}

/// The requests of a connection, with their bodies.
fn asked(pieces: &mut dyn Iterator<Item = &[u8]>) -> Vec<(Vec<u8>, Vec<u8>)> {
    let (mut inbox, mut requests, mut all) = (BytesMut::new(), Requests::default(), Vec::<(Vec<u8>, Vec<u8>)>::new());
    for piece in pieces {
        inbox.extend_from_slice(piece);
        loop {
            if requests.in_body() {
                let Some(body) = requests.body(&mut inbox) else { break };
                all.last_mut().expect("a body has a head").1.extend_from_slice(&body);
                continue;
            }
            let Ok(Some(head)) = requests.head(&mut inbox) else { break };
            let route = Route::of(&head);
            // What changes something is never asked twice, and what is not known has no way but an engine's own.
            if !matches!(head.method.as_str(), "GET" | "HEAD") {
                assert_eq!(route.repeat, Repeat::Once, "{head:?}");
            }
            if head.method == "DELETE" && head.path.contains("/containers/") {
                assert_eq!(route.owner(&head, b""), Owner::Engine, "{head:?}");
            }
            let _ = route.owner(&head, &head.bytes);
            all.push((head.bytes.to_vec(), Vec::new()));
        }
    }
    all
}
