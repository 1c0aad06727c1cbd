//! The host keys a user trusts: files as OpenSSH keeps them.

use std::{fs, path::PathBuf};

use russh::keys::{Algorithm, known_hosts::known_host_keys_path};

use crate::host::{HostPin, KeyError};

/// The keys that these files have for a host, without those that are revoked. Names are as they are written or hashed;
/// patterns and certificates are not followed.
///
/// # Errors
/// A file has a line for this host that cannot be read, or keys of kinds alone that are not taken.
pub fn known_hosts(host: &str, port: u16, files: &[PathBuf]) -> Result<Vec<HostPin>, KeyError> {
    let host = host.to_lowercase();
    let (mut known, mut others) = (Vec::new(), Vec::new());
    for file in files {
        let malformed = |why: String| KeyError::Malformed(format!("{}: {why}", file.display()));
        let found = known_host_keys_path(&host, port, file).map_err(|e| malformed(e.to_string()))?;
        for (_, key) in found {
            match key.algorithm() {
                Algorithm::Ed25519 | Algorithm::Ecdsa { .. } => known.push(HostPin::of(key)),
                other => others.push(other.to_string()),
            }
        }
    }
    let texts: Vec<Vec<u8>> = files.iter().filter_map(|file| fs::read(file).ok()).collect();
    let texts: Vec<_> = texts.iter().map(|bytes| String::from_utf8_lossy(bytes)).collect();
    let is_revoked = |line: &&str| line.split_whitespace().next() == Some("@revoked");
    let revoked: Vec<&str> = texts.iter().flat_map(|text| text.lines()).filter(is_revoked).collect();
    known.retain(|pin| {
        let line = pin.public_line();
        let key = line.split(' ').nth(1).unwrap_or_default();
        !revoked.iter().any(|revoked| revoked.contains(key))
    });
    match others.first() {
        Some(kind) if known.is_empty() => Err(KeyError::Kind(kind.clone())),
        _ => Ok(known),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::{HostId, HostSeed};

    #[test]
    fn a_host_is_known_by_its_name_and_port_and_not_by_a_revoked_key() {
        let seed = HostSeed::generate();
        let pin = |n| seed.host_key(&HostId { cluster: String::new(), slot: "m0".to_owned(), incarnation: n }).pin();
        let keys: Vec<String> = (0..4).map(|n| pin(n).public_line()).collect();
        let text = format!(
            "# mine\n\nbastion,10.0.0.1 {}\n[bastion]:2222 {}\nbastion {}\n@revoked * {}\nother {}\nold ssh-rsa {RSA}\n{HASHED} {}\n",
            keys[0], keys[1], keys[2], keys[2], keys[3], keys[3]
        );
        let file = std::env::temp_dir().join(format!("testkit-known-hosts-{}", std::process::id()));
        fs::write(&file, text).unwrap();
        let files = [std::env::temp_dir().join("testkit-no-such-file"), file.clone()];
        let found = |host: &str, port| known_hosts(host, port, &files);
        assert_eq!(found("Bastion", 22), Ok(vec![pin(0)]));
        assert_eq!(found("10.0.0.1", 22), Ok(vec![pin(0)]));
        assert_eq!(found("bastion", 2222), Ok(vec![pin(1)]));
        assert_eq!(found("bastion", 2223), Ok(vec![]));
        assert_eq!(found("hashed.example", 22), Ok(vec![pin(3)]));
        assert_eq!(found("old", 22), Err(KeyError::Kind("ssh-rsa".to_owned())));

        // Wherever it is revoked: behind a file without a last line's end, behind spaces, in a file that is no text.
        let more = file.with_extension("more");
        for revoked in [format!("@revoked * {}", keys[0]), format!(" \t@revoked\t*\t{}\n", keys[0])] {
            fs::write(&file, format!("bastion {}", keys[0])).unwrap();
            fs::write(&more, [b"# \xff\n", revoked.as_bytes()].concat()).unwrap();
            let other = file.with_extension("other");
            fs::write(&other, &revoked).unwrap();
            assert_eq!(known_hosts("bastion", 22, &[file.clone(), other.clone()]), Ok(vec![]), "{revoked:?}");
            assert!(known_hosts("bastion", 22, &[file.clone(), more.clone()]) != Ok(vec![pin(0)]), "{revoked:?}");
            fs::remove_file(other).unwrap();
        }
        fs::remove_file(more).unwrap();
        fs::remove_file(file).unwrap();
    }

    /// `ssh-keygen -H` of `hashed.example`.
    const HASHED: &str = "|1|1ZYTgsMQZNFtkVMUs9qMVs6kqOE=|HETESG2uP8iHnBdLrOv9WISb/lk=";
    /// A key of a kind that is not taken.
    const RSA: &str = "AAAAB3NzaC1yc2EAAAADAQABAAABAQCqDXdyVtl0YfILL/itIbgptw+9zNYpJiZw/k5WpdkMeG1i/1mKFVbKwQz+SynFple7DURTWotml2axNDnVbM5DpAMZS+5YZsLBPWnI1QY8fx08JKlly5ikwA+RsScPIevQCOdi90FE1mMyVVp2Ui64Sg9AfoVYpxiYgJp+JhfP0Ls71/x0UbORiel0M2ogxV9xgmPmvqrlCSO7/Jo6kanMYsUKZQ0I56j3m4rgpt2WfsrxnhFgXqFTAkD4tL7/ylfIB9MG829UXe1w6eVrfBMx+yXzVsnx3BgF67ubMbwb5+xn8wLU60erZgB4lk5uQQenG6U1Sc0CFxh1iW1LZ7hh";
}
