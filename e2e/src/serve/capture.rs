//! What goes over the wire of a node: looks for texts in packets that nobody encrypted.
//!
//! It needs the host's network and CAP_NET_RAW, which containers have unless it is taken from them.

use std::{
    io::Read as _,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use socket2::{Domain, Protocol, Socket, Type};

use super::say;

/// Packets of every protocol, both those that come and those that go: ETH_P_ALL of linux/if_ether.h, which the kernel
/// takes in the order of the network.
const EVERY: u16 = 0x0003;
/// Protocols of IP: those that overlays use for what is plain (VXLAN is in UDP) and for what is encrypted.
const UDP: u8 = 17;
const ESP: u8 = 50;
/// The largest packet there is: what the kernel cuts into smaller ones is seen whole.
const LARGEST: usize = 64 << 10;
/// How often at most it is told what was seen.
const PAUSE: Duration = Duration::from_millis(100);

/// What was seen so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Seen {
    /// Encrypted packets.
    esp: usize,
    /// Of each text, how many plain packets it was in.
    plain: Vec<usize>,
}

/// Prints `esp=N plain=N,N` for these texts, first at once and then whenever it is another; never ends.
pub(super) fn capture(texts: &[String]) -> Result<()> {
    let socket = Socket::new(Domain::PACKET, Type::DGRAM, Some(Protocol::from(i32::from(EVERY.to_be()))))
        .context("cannot see the host's packets: it takes CAP_NET_RAW")?;
    socket.set_read_timeout(Some(PAUSE)).context("cannot have a read end")?;
    let mut seen = Seen { esp: 0, plain: vec![0; texts.len()] };
    let (mut told, mut when) = (None, Instant::now());
    let mut packet = vec![0; LARGEST];
    loop {
        if told.is_none() || (told.as_ref() != Some(&seen) && when.elapsed() >= PAUSE) {
            let plain: Vec<_> = seen.plain.iter().map(ToString::to_string).collect();
            say(&format!("esp={} plain={}", seen.esp, plain.join(",")));
            (told, when) = (Some(seen.clone()), Instant::now());
        }
        match (&socket).read(&mut packet) {
            Ok(length) => seen.look(&packet[..length], texts),
            Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {}
            Err(error) => return Err(error).context("cannot read the host's packets"),
        }
    }
}

impl Seen {
    /// Looks at a packet, which begins with the header of IP.
    fn look(&mut self, packet: &[u8], texts: &[String]) {
        // Its protocol is the tenth byte of version 4, and of version 6, without extensions, the seventh.
        let protocol = match packet.first().map(|first| first >> 4) {
            Some(4) => packet.get(9),
            Some(6) => packet.get(6),
            _ => None,
        };
        match protocol {
            Some(&ESP) => self.esp += 1,
            Some(&UDP) => {
                for (count, text) in self.plain.iter_mut().zip(texts) {
                    let found = packet.windows(text.len().max(1)).any(|some| some == text.as_bytes());
                    *count += usize::from(found);
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(protocol: u8, content: &str) -> Vec<u8> {
        let mut packet = vec![0; 20];
        (packet[0], packet[9]) = (0x45, protocol);
        packet.extend(content.as_bytes());
        packet
    }

    #[test]
    fn a_text_is_seen_in_plain_packets_alone() {
        let texts = ["one".to_owned(), "two".to_owned()];
        let mut seen = Seen { esp: 0, plain: vec![0; 2] };
        for (protocol, content) in [(UDP, "is one here"), (ESP, "one two"), (6, "two"), (UDP, "none"), (UDP, "tw")] {
            seen.look(&packet(protocol, content), &texts);
        }
        assert_eq!(seen, Seen { esp: 1, plain: vec![2, 0] });
        seen.look(&[], &texts);
        seen.look(&[0x45, 0], &texts);
        assert_eq!(seen.esp, 1);
    }
}
