//! Which keys a jump host is offered, as OpenSSH chooses them: those of the agent that files name, the agent's others, those in files.
//!
//! A file names a key by its public half. So one that has only that (`IdentityFile hardware.pub`) chooses a key which the agent
//! alone has.

use std::{fs, io, path::Path};

use russh::keys::{Algorithm, Error as KeyFileError, PrivateKey, PublicKey, load_public_key, load_secret_key};

/// The agent's keys that may be offered, the first to be offered first: an sshd has patience for six.
pub fn of_agent(keys: Vec<PublicKey>, in_files: &[PublicKey], only_these: bool) -> Vec<PublicKey> {
    let place = |key: &PublicKey| in_files.iter().position(|file| same(file, key));
    let mut keys: Vec<PublicKey> = keys.into_iter().filter(|key| !only_these || place(key).is_some()).collect();
    keys.sort_by_key(|key| place(key).unwrap_or(usize::MAX));
    keys
}

/// The key in a file, where it can be used as it is and was not offered before. Otherwise what is to be said about that, if anything.
pub fn of_file(path: &Path, offered: &[PublicKey]) -> Result<PrivateKey, Option<String>> {
    let was_offered = |key: &PublicKey| offered.iter().any(|other| same(other, key));
    let public = public_of(path);
    if public.as_ref().is_some_and(was_offered) {
        return Err(None);
    }
    let why = match load_secret_key(path, None) {
        Ok(key) if matches!(key.algorithm(), Algorithm::SkEd25519 | Algorithm::SkEcdsaSha2NistP256) => {
            ", whose key is in hardware (ssh-add gives it to an agent)".to_owned()
        }
        Ok(key) if was_offered(key.public_key()) => return Err(None),
        Ok(key) => return Ok(key),
        Err(KeyFileError::IO(e)) if e.kind() == io::ErrorKind::NotFound => return Err(None),
        Err(KeyFileError::KeyIsEncrypted) => ", which has a passphrase (ssh-add gives it to an agent)".to_owned(),
        Err(_) if load_public_key(path).is_ok() => ", the public half of a key that no agent has".to_owned(),
        Err(error) => format!(" ({error})"),
    };
    Err(Some(format!("not {}{why}", path.display())))
}

/// The public half of a key in a file: it is the file, lies beside it, or is in it, also where that has a passphrase.
pub fn public_of(path: &Path) -> Option<PublicKey> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".pub");
    let within = || Some(PrivateKey::from_openssh(fs::read(path).ok()?).ok()?.public_key().clone());
    load_public_key(path).or_else(|_| load_public_key(beside)).ok().or_else(within)
}

/// Comments are no part of a key.
fn same(a: &PublicKey, b: &PublicKey) -> bool {
    a.key_data() == b.key_data()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::ClientKey;

    /// Made by `ssh-keygen -t ed25519 -a 1 -N secret`.
    const LOCKED: &str = "-----BEGIN OPENSSH PRIVATE KEY-----
b3BlbnNzaC1rZXktdjEAAAAACmFlczI1Ni1jdHIAAAAGYmNyeXB0AAAAGAAAABApnE7kOE
WmzkKC69vC19jFAAAAAQAAAAEAAAAzAAAAC3NzaC1lZDI1NTE5AAAAIPLPA5j2jbo6PqIr
KQJVE/9cUhkHC135luM6Mpg6xsKLAAAAkCebV33Sjo3n5I2bFDl8WwRMiiDWAYl+sOL9+R
k6bjPbLPQglLBsORd8h0mHW+n0f48+nuGErjIJulm5iG8yd/PY3enjpSKXNV4UeHXSUhyi
FqLysFo+WzVlHJlbRjBtYovT3p3LnsedsRTT/BdkHgCLQWnAHky3HqerYv6uXjWYbup+dD
akbBT5AKsxgzOfVw==
-----END OPENSSH PRIVATE KEY-----
";
    const LOCKED_PUBLIC: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPLPA5j2jbo6PqIrKQJVE/9cUhkHC135luM6Mpg6xsKL";
    /// A key in hardware.
    const HARDWARE: &str = "sk-ssh-ed25519@openssh.com AAAAGnNrLXNzaC1lZDI1NTE5QG9wZW5zc2guY29tAAAAICFo/k5LU8863u66YC9eUO2170QduohPURkQnbLa/dczAAAABHNzaDo= me@home";

    fn public(line: &str) -> PublicKey {
        PublicKey::from_openssh(line).unwrap()
    }

    #[test]
    fn files_say_which_of_the_agents_keys_come_first_and_whether_others_come() {
        let lines: Vec<String> =
            (0..3).map(|_| ClientKey::generate().public_line("")).chain([HARDWARE.to_owned()]).collect();
        let agent: Vec<PublicKey> = lines.iter().map(|line| public(line)).collect();
        // What files name, whether others are offered, and which are, by their place in the agent.
        for (named, only, offered) in [
            (&[3][..], true, &[3][..]),
            (&[], false, &[0, 1, 2, 3]),
            (&[], true, &[]),
            (&[3], false, &[3, 0, 1, 2]),
            (&[2, 0], false, &[2, 0, 1, 3]),
            (&[2, 0], true, &[2, 0]),
        ] {
            // One more that the agent does not have; comments differ.
            let mut in_files = vec![public(LOCKED_PUBLIC)];
            in_files.extend(named.iter().map(|at: &usize| public(&format!("{} of a file", lines[*at]))));
            let found = of_agent(agent.clone(), &in_files, only);
            let expected: Vec<PublicKey> = offered.iter().map(|at: &usize| agent[*at].clone()).collect();
            assert_eq!(found, expected, "{named:?} {only}");
        }
    }

    #[test]
    fn a_file_names_a_key_however_much_of_it_is_there() {
        let folder = std::env::temp_dir().join(format!("testkit-keys-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let key = ClientKey::generate();
        let (private, line) = (key.to_openssh(), key.public_line(""));
        for (name, text) in [
            ("hardware.pub", HARDWARE),
            ("locked", LOCKED),
            ("open", private.as_str()),
            ("beside", "-----BEGIN RSA PRIVATE KEY-----\n"),
            ("beside.pub", line.as_str()),
            ("nonsense", "nothing\nof it"),
        ] {
            fs::write(folder.join(name), text).unwrap();
        }
        let names_hardware = HARDWARE.trim_end_matches(" me@home");
        // The file, which key it names, and what is said of it where the agent does not have that, if it is not offered itself.
        for (name, named, said) in [
            ("hardware.pub", Some(names_hardware), Err(Some("public half"))),
            ("locked", Some(LOCKED_PUBLIC), Err(Some("passphrase"))),
            ("open", Some(line.as_str()), Ok(())),
            ("beside", Some(line.as_str()), Err(Some("beside ("))),
            ("nonsense", None, Err(Some("nonsense ("))),
            ("not-there", None, Err(None)),
        ] {
            let path = folder.join(name);
            let expected = named.map(public);
            let data = |key: &PublicKey| key.key_data().clone();
            assert_eq!(public_of(&path).as_ref().map(data), expected.as_ref().map(data), "{name}");
            match (of_file(&path, &[]), said) {
                (Ok(_), Ok(())) | (Err(None), Err(None)) => {}
                (Err(Some(found)), Err(Some(words))) => assert!(found.contains(words), "{name}: {found}"),
                (found, said) => panic!("{name}: {:?}, and not {said:?}", found.map(drop)),
            }
            // Where the agent has offered it, there is nothing to say.
            if let Some(offered) = expected {
                assert!(matches!(of_file(&path, &[offered]), Err(None)), "{name}");
            }
        }
        fs::remove_dir_all(folder).unwrap();
    }
}
