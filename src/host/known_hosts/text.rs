//! The one key that a text has for a host: nothing is taken for known that is not written out.

use crate::host::HostPin;

/// The port that is not written.
const SSH: u16 = 22;

/// Why a file tells no key for a host.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum KnownHostError {
    /// No line names it.
    #[error(
        "has no line for {name}: add the ed25519 key of the host, as `{scan}` prints it, once you have compared it with the host's own",
        name = .0,
        scan = scan(.0)
    )]
    Unknown(String),
    /// No line that can be read names it.
    #[error(
        "has no line for {name}, but hashed names, which are not read: write the names as they are (`{scan}`, without -H)",
        name = .0,
        scan = scan(.0)
    )]
    Hashed(String),
    /// Lines name it with keys of other kinds.
    #[error("has no ed25519 key for {name}: add it, as `{scan}` prints it", name = .0, scan = scan(.0))]
    Kind(String),
    /// Its key is one that was revoked.
    #[error("has the key of {0} as revoked")]
    Revoked(String),
}

/// The name of a host as it is written there.
#[must_use]
pub fn written(address: &str, port: u16) -> String {
    if port == SSH { address.to_owned() } else { format!("[{address}]:{port}") }
}

/// What prints the key of a host of that name, for a shell.
fn scan(name: &str) -> String {
    match name.strip_prefix('[').and_then(|rest| rest.split_once("]:")) {
        Some((address, port)) => format!("ssh-keyscan -t ed25519 -p {port} {address}"),
        None => format!("ssh-keyscan -t ed25519 {name}"),
    }
}

/// The key that a host must show: the first of ed25519 on a line that names it.
///
/// # Errors
/// The text tells none.
pub fn known_host(text: &str, address: &str, port: u16) -> Result<HostPin, KnownHostError> {
    let name = written(address, port);
    let (mut revoked, mut named, mut hashed, mut found) = (Vec::new(), false, false, None);
    for line in text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#')) {
        let (marker, line) = match line.split_once(char::is_whitespace) {
            Some((marker, rest)) if marker.starts_with('@') => (Some(marker), rest.trim_start()),
            _ => (None, line),
        };
        let Some((names, key)) = line.split_once(char::is_whitespace) else { continue };
        hashed |= names.starts_with('|');
        if marker == Some("@revoked") {
            revoked.extend(key_of(key));
        }
        // A certificate authority signs keys, and is none of a host's.
        if marker.is_some() || !names.split(',').any(|n| n.eq_ignore_ascii_case(&name)) {
            continue;
        }
        named = true;
        found = found.or_else(|| key_of(key));
    }
    match found {
        Some(pin) if revoked.contains(&pin) => Err(KnownHostError::Revoked(name)),
        Some(pin) => Ok(pin),
        None if named => Err(KnownHostError::Kind(name)),
        None if hashed => Err(KnownHostError::Hashed(name)),
        None => Err(KnownHostError::Unknown(name)),
    }
}

/// The key at the end of a line. Between its words may be any blanks, as ssh itself reads them.
fn key_of(words: &str) -> Option<HostPin> {
    let mut words = words.split_whitespace();
    let (kind, key) = (words.next()?, words.next()?);
    HostPin::from_openssh(&format!("{kind} {key}")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA5U1KFl7xpSb8g9L5dKndjddhJkkkSjug28QuviBZQB";
    const B: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJfwIpO4Rr/v1nd2pbcXyIwCvdbRlgCkcSx7e2PxRQDI";

    #[test]
    fn a_host_is_known_by_the_name_it_is_reached_by() {
        let text = format!(
            "# the lab\n\n10.0.0.5,alpha {A} root@alpha\n[10.0.0.5]:2222 {B}\n10.0.0.6 ssh-rsa AAAAB3NzaC1yc2EAAAADAQAB\n@cert-authority 10.0.0.7 {A}\n@revoked * {B}\n"
        );
        let pin = |line| HostPin::from_openssh(line).unwrap();
        let unknown = |name: &str| Err(KnownHostError::Unknown(name.to_owned()));
        let table = [
            ("10.0.0.5", 22, Ok(pin(A))),
            ("ALPHA", 22, Ok(pin(A))),
            ("10.0.0.5", 2222, Err(KnownHostError::Revoked("[10.0.0.5]:2222".to_owned()))),
            ("10.0.0.5", 2200, unknown("[10.0.0.5]:2200")),
            ("10.0.0.6", 22, Err(KnownHostError::Kind("10.0.0.6".to_owned()))),
            ("10.0.0.7", 22, unknown("10.0.0.7")),
        ];
        for (address, port, told) in table {
            assert_eq!(known_host(&text, address, port), told, "{address} {port}");
        }
        let hashed = format!("|1|F1E1KeoE/eEWhi10WpGv4OdiO6Y=|3988QV0VE8wmZL7suNrYQLITLCg= {A}");
        assert_eq!(known_host(&hashed, "10.0.0.5", 22), Err(KnownHostError::Hashed("10.0.0.5".to_owned())));
    }

    #[test]
    fn blanks_of_any_kind_are_between_words() {
        for blank in ["  ", "\t", " \t "] {
            let [line, revoked] =
                ["10.0.0.5 ", "@revoked * "].map(|names| format!("{names}{A} a comment").replace(' ', blank));
            assert_eq!(known_host(&line, "10.0.0.5", 22), Ok(HostPin::from_openssh(A).unwrap()), "{line:?}");
            let both = format!("10.0.0.5 {A}\n{revoked}\r\n");
            assert_eq!(
                known_host(&both, "10.0.0.5", 22),
                Err(KnownHostError::Revoked("10.0.0.5".to_owned())),
                "{both:?}"
            );
        }
    }

    #[test]
    fn what_is_to_be_typed_works_as_it_stands() {
        for (address, port, words) in [
            ("10.0.0.5", 22, "`ssh-keyscan -t ed25519 10.0.0.5`"),
            ("10.0.0.5", 2222, "`ssh-keyscan -t ed25519 -p 2222 10.0.0.5`"),
            ("fd00::1", 2222, "`ssh-keyscan -t ed25519 -p 2222 fd00::1`"),
        ] {
            let name = written(address, port);
            for error in [KnownHostError::Unknown, KnownHostError::Hashed, KnownHostError::Kind] {
                let error = error(name.clone()).to_string();
                assert!(error.contains(words) && error.contains(&name), "{error}");
            }
        }
    }
}
