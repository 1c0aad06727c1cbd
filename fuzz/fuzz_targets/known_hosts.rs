//! The keys that a Secret has for hosts: a key that counts is written out for the host, and one that is revoked never counts,
//! wherever that stands and however it is spaced. The first line is the address and the port.
#![no_main]

use libfuzzer_sys::fuzz_target;
use testkit_fuzz::host::{
    HostPin,
    known_hosts::text::{KnownHostError, known_host, written},
};

/// A key that nobody has.
const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

fuzz_target!(|bytes: &[u8]| {
    let all = &*String::from_utf8_lossy(bytes);
    let (first, text) = all.split_once('\n').unwrap_or(("10.0.0.5 22", all));
    let (address, port) = first.trim().split_once(' ').unwrap_or((first.trim(), "22"));
    // As the rule of an address has it.
    if address.is_empty() || !address.chars().all(|c| c.is_ascii_alphanumeric() || ".:-".contains(c)) {
        return;
    }
    let port = port.parse::<u16>().unwrap_or(22);
    let name = written(address, port);
    let lines: Vec<Line<'_>> = text.lines().filter_map(Line::of).collect();
    let is_revoked = |pin: &HostPin| lines.iter().any(|line| line.marker == Some("@revoked") && line.key.as_ref() == Some(pin));
    match known_host(text, address, port) {
        Ok(pin) => {
            let has = |line: &Line<'_>| line.marker.is_none() && line.names(&name) && line.key.as_ref() == Some(&pin);
            assert!(lines.iter().any(has), "{pin:?} is written out nowhere");
            assert!(!is_revoked(&pin), "{pin:?} is revoked");
            for blank in [" ", "\t", "  ", " \t"] {
                let revoked = format!("@revoked * {} gone", pin.0).replace(' ', blank);
                for both in [format!("{revoked}\n{text}"), format!("{text}\n{revoked}\r\n")] {
                    assert_eq!(known_host(&both, address, port), Err(KnownHostError::Revoked(name.clone())), "{both:?}");
                }
            }
        }
        Err(KnownHostError::Revoked(of)) => {
            assert_eq!(of, name);
            assert!(lines.iter().any(|line| line.names(&name) && line.key.as_ref().is_some_and(is_revoked)));
        }
        Err(error) => {
            let told = error.to_string();
            assert!(told.contains(&name) && told.contains("ssh-keyscan -t ed25519"), "{told}");
            // What is asked for is enough.
            let pin = HostPin::from_openssh(KEY).expect("it is one");
            let wanted = if is_revoked(&pin) { Err(KnownHostError::Revoked(name.clone())) } else { Ok(pin) };
            assert_eq!(known_host(&format!("{text}\n{name} {KEY}\n"), address, port), wanted);
        }
    }
});

/// A line, word by word.
struct Line<'a> {
    marker: Option<&'a str>,
    names: &'a str,
    key: Option<HostPin>,
}

impl<'a> Line<'a> {
    fn of(line: &'a str) -> Option<Self> {
        let mut words = line.split_whitespace().peekable();
        if words.peek()?.starts_with('#') {
            return None;
        }
        let marker = words.next_if(|word| word.starts_with('@'));
        let names = words.next()?;
        let key = words.next().zip(words.next()).map(|(kind, key)| format!("{kind} {key}"));
        Some(Self { marker, names, key: key.and_then(|key| HostPin::from_openssh(&key).ok()) })
    }

    fn names(&self, name: &str) -> bool {
        self.names.split(',').any(|known| known.eq_ignore_ascii_case(name))
    }
}
