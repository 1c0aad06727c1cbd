//! The way to a host: a TCP connection, or a channel through jump hosts.
//!
//! Each connection to a host has connections to the jump hosts for itself: on a shared one a reader that stops would
//! stop the others, as on any connection (see `connection`).

use std::{
    io,
    net::SocketAddr,
    time::{Duration, Instant},
};

use bytes::BytesMut;
use futures::{StreamExt, channel::mpsc, stream::FuturesUnordered};
use russh::client::Handle;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, join, split},
    net::{TcpStream, lookup_host},
    task::JoinSet,
    time::sleep,
};
use tokio_util::io::StreamReader;

use super::{
    ConnectError, Jump,
    login::{Ending, Grip, Patience, TCP, Watcher, place, within},
    race,
    turn::FIRST_BYTES,
};
use crate::platform::network::end_when_unconfirmed;

/// A host that boots answers at some moment, which a SYN retransmitted after 1, 3, 7 s misses; over a long way the first
/// answer is on its way meanwhile. So there is another connection every second, and the first that is answered counts.
const ANOTHER_SYN: Duration = Duration::from_secs(1);
/// How long an address of a name is tried before the next one is tried beside it (RFC 8305, section 8).
const ANOTHER_ADDRESS: Duration = Duration::from_millis(250);

/// Bytes both ways.
pub trait Bytes: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Bytes for S {}

/// A session with a jump host. Dropped, what it carries ends.
pub struct Hop(#[expect(dead_code, reason = "it is held for what it carries")] pub Handle<Watcher>);

/// A way to a host.
pub struct Way {
    pub stream: Box<dyn Bytes>,
    /// On the TCP connection from here, which all else goes over.
    pub grip: Grip,
    /// The jump hosts on it, the nearest first.
    pub hops: Vec<Hop>,
    /// What the last step of it took: about a round trip.
    pub trip: Duration,
}

/// What is read of a channel at once: a packet of SSH at most.
const PIECE: usize = 32 * 1024;

/// A channel as the way to the next host, read ahead of whoever reads it.
///
/// A session (russh 0.65) that writes does not read meanwhile, and one whose channel is not read does not write: of two, one
/// over the other, each would wait for the other when much goes both ways. What is read ahead is no more than what the
/// windows of the inner session's channels let the host send.
pub fn ahead(channel: impl Bytes + 'static) -> Box<dyn Bytes> {
    let (mut reads, writes) = split(channel);
    let (sender, receiver) = mpsc::unbounded();
    // Dropped with the stream, it ends.
    let mut reading = JoinSet::new();
    reading.spawn(async move {
        loop {
            let mut piece = BytesMut::with_capacity(PIECE);
            match reads.read_buf(&mut piece).await {
                Ok(0) => return,
                Ok(_) if sender.unbounded_send(Ok(piece)).is_ok() => {}
                Ok(_) => return,
                Err(error) => {
                    let _ = sender.unbounded_send(Err(error));
                    return;
                }
            }
        }
    });
    let pieces = receiver.map(move |piece| {
        let _for_as_long = &reading;
        piece
    });
    Box::new(join(StreamReader::new(pieces), writes))
}

/// The way to an address. What ends it is told to `ending`.
pub async fn to(
    via: &[Jump],
    address: &str,
    port: u16,
    patience: Patience,
    ending: &Ending,
) -> Result<Way, ConnectError> {
    let Some(first) = via.first() else { return dial(address, port, patience).await };
    let mut turn = first.turn().await;
    let dialed = turn.during(FIRST_BYTES, dial(&first.address, first.port, patience)).await;
    let mut way = dialed.map_err(|e| first.unreached(e))?;
    for (at, jump) in via.iter().enumerate() {
        let entered = jump.enter(way, turn, patience, ending).await?;
        let Some(next) = via.get(at + 1) else { return jump.pass(entered, (address, port)).await };
        turn = next.turn().await;
        way = turn.during(FIRST_BYTES, jump.pass(entered, (next.address.as_str(), next.port))).await?;
    }
    Ok(way)
}

/// The TCP connection, and a grip on it.
async fn dial(address: &str, port: u16, patience: Patience) -> Result<Way, ConnectError> {
    let place = place(address, port);
    let failed = |error: &io::Error| {
        let (address, message) = (place.clone(), plain(error));
        match error.kind() {
            io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset => {
                ConnectError::Refused { address, message }
            }
            _ => ConnectError::Unreachable { address, message },
        }
    };
    let connected = within(patience.tcp(), TCP, &place, connect(address, port)).await?;
    let (stream, trip) = connected.map_err(|e| failed(&e))?;
    let set_up = || {
        stream.set_nodelay(true)?;
        // Keep-alives are not sent while a write waits; the kernel notices instead.
        end_when_unconfirmed(&stream, patience.limit())?;
        socket2::SockRef::from(&stream).try_clone()
    };
    let socket = set_up().map_err(|e| failed(&e))?;
    Ok(Way { stream: Box::new(stream), grip: Grip(socket.into()), hops: Vec::new(), trip })
}

/// The first TCP connection that is answered, and what its answer took. A name is tried at all of its addresses.
async fn connect(address: &str, port: u16) -> io::Result<(TcpStream, Duration)> {
    at_any(&in_turns(lookup_host((address, port)).await?.collect())).await
}

/// The same at the first of these addresses that answers, in their order.
async fn at_any(places: &[SocketAddr]) -> io::Result<(TcpStream, Duration)> {
    let mut attempts = Vec::new();
    for place in places {
        attempts.push(at(*place));
    }
    match race::first(attempts, ANOTHER_ADDRESS).await {
        Ok((_, found)) => Ok(found),
        Err(errors) => Err(at_none(places, errors)),
    }
}

async fn at(place: SocketAddr) -> io::Result<(TcpStream, Duration)> {
    let mut attempts = FuturesUnordered::new();
    loop {
        attempts.push(async {
            let begin = Instant::now();
            TcpStream::connect(place).await.map(|stream| (stream, begin.elapsed()))
        });
        tokio::select! {
            Some(done) = attempts.next() => return done,
            () = sleep(ANOTHER_SYN) => {}
        }
    }
}

/// IPv6 and IPv4 by turns, beginning with what the system puts first: one of the two may lead nowhere (RFC 8305, section 4).
fn in_turns(found: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first = found.first().is_some_and(SocketAddr::is_ipv6);
    let (those, others): (Vec<_>, Vec<_>) = found.into_iter().partition(|place| place.is_ipv6() == first);
    let mut others = others.into_iter();
    let mut places = Vec::new();
    for place in those {
        places.push(place);
        places.extend(others.next());
    }
    places.extend(others);
    places
}

/// One error for those of all addresses of a name.
fn at_none(places: &[SocketAddr], mut errors: Vec<io::Error>) -> io::Error {
    if errors.len() == 1 {
        return errors.remove(0);
    }
    let refused = errors.iter().find(|error| error.kind() == io::ErrorKind::ConnectionRefused);
    let kind = refused.or(errors.first()).map_or(io::ErrorKind::NotFound, io::Error::kind);
    let each: Vec<String> =
        places.iter().zip(&errors).map(|(place, error)| format!("{}: {}", place.ip(), plain(error))).collect();
    let text = if each.is_empty() { "the name has no address".to_owned() } else { each.join("; ") };
    io::Error::new(kind, text)
}

/// The system's words without its numbers.
fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_both_kinds_have_their_turns() {
        for (found, in_order) in [
            ("", ""),
            ("10.0.0.1:22", "10.0.0.1:22"),
            ("10.0.0.1:22 10.0.0.2:22", "10.0.0.1:22 10.0.0.2:22"),
            ("[fd00::1]:22 [fd00::2]:22 10.0.0.1:22", "[fd00::1]:22 10.0.0.1:22 [fd00::2]:22"),
            (
                "10.0.0.1:22 [fd00::1]:22 [fd00::2]:22 [fd00::3]:22",
                "10.0.0.1:22 [fd00::1]:22 [fd00::2]:22 [fd00::3]:22",
            ),
        ] {
            let found = found.split_whitespace().map(|place| place.parse::<SocketAddr>().unwrap()).collect();
            let places: Vec<String> = in_turns(found).iter().map(ToString::to_string).collect();
            assert_eq!(places.join(" "), in_order);
        }
    }

    #[tokio::test]
    async fn a_name_is_reached_at_the_address_that_answers() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let open = listener.local_addr().unwrap();
        // Nobody listens at the same port of these two.
        let [closed, other] = [2_u8, 3].map(|last| SocketAddr::from(([127, 0, 0, last], open.port())));
        for places in [vec![open], vec![open, closed], vec![closed, open], vec![closed, other, open]] {
            let (stream, _) = at_any(&places).await.unwrap();
            assert_eq!(stream.peer_addr().unwrap(), open, "{places:?}");
        }
        let error = at_any(&[closed, other]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        assert_eq!(error.to_string(), "127.0.0.2: connection refused; 127.0.0.3: connection refused");
        assert!(at_any(&[closed]).await.unwrap_err().raw_os_error().is_some(), "its own words");
        assert_eq!(at_any(&[]).await.unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn of_several_errors_the_kind_is_that_of_who_was_there() {
        let places = ["[fd00::1]:22", "10.0.0.1:22"].map(|place| place.parse::<SocketAddr>().unwrap());
        let error = |kind: io::ErrorKind| io::Error::new(kind, "x");
        use io::ErrorKind::{ConnectionRefused, NetworkUnreachable, TimedOut};
        for (kinds, kind) in [
            ([NetworkUnreachable, ConnectionRefused], ConnectionRefused),
            ([NetworkUnreachable, TimedOut], NetworkUnreachable),
        ] {
            assert_eq!(at_none(&places, kinds.map(error).into()).kind(), kind);
        }
    }
}
