//! Keys: what we log in with, what hosts show, and how a host's keys follow from a cluster's seed.
//!
//! All are ed25519. Private halves leave only as OpenSSH text, by name, and never in Debug.

use std::{fmt, ops::Deref, sync::Arc};

use russh::keys::{
    Algorithm, HashAlg, PrivateKey, PublicKey,
    key::safe_rng,
    ssh_key::{
        LineEnding,
        private::{Ed25519Keypair, Ed25519PrivateKey},
    },
};
use sha2::{Digest, Sha256};

use super::HostId;

/// Why a text is not a key.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum KeyError {
    /// It cannot be read.
    #[error("not an OpenSSH key: {0}")]
    Malformed(String),
    /// It is of a kind we do not use.
    #[error("a key of type {0}: use an unencrypted ed25519 key (ssh-keygen -t ed25519)")]
    Kind(String),
    /// A seed has another length.
    #[error("a seed has {SEED} bytes, not {0}")]
    Length(usize),
}

/// The key we log in with.
#[derive(Clone)]
pub struct ClientKey(Arc<PrivateKey>);

impl ClientKey {
    /// A new one.
    #[must_use]
    pub fn generate() -> Self {
        Self(Arc::new(Ed25519Keypair::random(&mut safe_rng()).into()))
    }

    /// Reads an OpenSSH private key.
    pub fn from_openssh(text: &str) -> Result<Self, KeyError> {
        let key = PrivateKey::from_openssh(text).map_err(|e| KeyError::Malformed(e.to_string()))?;
        if key.is_encrypted() {
            return Err(KeyError::Kind("encrypted".to_owned()));
        }
        match key.algorithm() {
            Algorithm::Ed25519 => Ok(Self(Arc::new(key))),
            other => Err(KeyError::Kind(other.to_string())),
        }
    }

    /// The OpenSSH private key. It is wiped when it is dropped.
    pub fn to_openssh(&self) -> impl Deref<Target = String> + use<> {
        private_text(&self.0)
    }

    /// The line for `authorized_keys`.
    #[must_use]
    pub fn public_line(&self, comment: &str) -> String {
        format!("{} {comment}", public_text(self.0.public_key())).trim_end().to_owned()
    }

    pub(super) fn private(&self) -> Arc<PrivateKey> {
        self.0.clone()
    }
}

impl PartialEq for ClientKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.public_key().key_data() == other.0.public_key().key_data()
    }
}

impl Eq for ClientKey {}

impl fmt::Debug for ClientKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClientKey({})", self.0.public_key().fingerprint(HashAlg::Sha256))
    }
}

/// The key a host proves itself with, both halves.
#[derive(Clone)]
pub struct HostKey(Arc<PrivateKey>);

impl HostKey {
    /// The OpenSSH private key. It is wiped when it is dropped.
    pub fn to_openssh(&self) -> impl Deref<Target = String> + use<> {
        private_text(&self.0)
    }

    /// The public half as OpenSSH writes it: type and base64.
    #[must_use]
    pub fn public_line(&self) -> String {
        public_text(self.0.public_key())
    }

    /// The public half, to expect.
    #[must_use]
    pub fn pin(&self) -> HostPin {
        HostPin(self.0.public_key().clone())
    }
}

impl fmt::Debug for HostKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HostKey({})", self.0.public_key().fingerprint(HashAlg::Sha256))
    }
}

/// The public half of a host key: what a host must show.
#[derive(Clone)]
pub struct HostPin(PublicKey);

impl HostPin {
    /// Reads `ssh-ed25519 AAAA…`, with or without a comment.
    pub fn from_openssh(line: &str) -> Result<Self, KeyError> {
        let key = PublicKey::from_openssh(line.trim()).map_err(|e| KeyError::Malformed(e.to_string()))?;
        match key.algorithm() {
            Algorithm::Ed25519 => Ok(Self(key)),
            other => Err(KeyError::Kind(other.to_string())),
        }
    }

    /// Type and base64, as `known_hosts` has them after the names.
    #[must_use]
    pub fn public_line(&self) -> String {
        public_text(&self.0)
    }

    /// The SHA-256 fingerprint, as `ssh-keygen -l` prints it.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        self.0.fingerprint(HashAlg::Sha256).to_string()
    }

    pub(super) const fn of(key: PublicKey) -> Self {
        Self(key)
    }

    /// The kind of key it is.
    pub(super) fn kind(&self) -> Algorithm {
        self.0.algorithm()
    }
}

/// Comments are no part of a key.
impl PartialEq for HostPin {
    fn eq(&self, other: &Self) -> bool {
        self.0.key_data() == other.0.key_data()
    }
}

impl Eq for HostPin {}

impl fmt::Debug for HostPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HostPin({})", self.fingerprint())
    }
}

const SEED: usize = 32;

/// What all host keys of a cluster follow from, so that none has to be written down.
#[derive(Clone)]
pub struct HostSeed(Arc<[u8; SEED]>);

impl HostSeed {
    /// A new one.
    #[must_use]
    pub fn generate() -> Self {
        Self(Arc::new(Ed25519PrivateKey::random(&mut safe_rng()).to_bytes()))
    }

    /// Reads what [`as_bytes`](Self::as_bytes) gave.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, KeyError> {
        let seed = bytes.try_into().map_err(|_| KeyError::Length(bytes.len()))?;
        Ok(Self(Arc::new(seed)))
    }

    /// The secret itself.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_slice()
    }

    /// The key user-data installs on a host, and gives away to whoever reads it there.
    #[must_use]
    pub fn boot_key(&self, id: &HostId) -> HostKey {
        self.derive("testkit boot key v1", id)
    }

    /// The key that replaces it at first contact.
    #[must_use]
    pub fn host_key(&self, id: &HostId) -> HostKey {
        self.derive("testkit host key v1", id)
    }

    /// Hashed twice with the seed in front: a key that is known says nothing about another one.
    fn derive(&self, label: &str, id: &HostId) -> HostKey {
        let mut inner = Sha256::new_with_prefix(self.as_bytes());
        for part in [label, &id.cluster, &id.slot] {
            // Lengths keep ("ab", "c") and ("a", "bc") apart.
            inner.update((part.len() as u64).to_be_bytes());
            inner.update(part.as_bytes());
        }
        inner.update(id.incarnation.to_be_bytes());
        let secret = Sha256::new_with_prefix(self.as_bytes()).chain_update(inner.finalize()).finalize();
        HostKey(Arc::new(Ed25519Keypair::from_seed(&secret.into()).into()))
    }
}

impl fmt::Debug for HostSeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HostSeed(…)")
    }
}

#[expect(clippy::expect_used, reason = "encoding fails for keys longer than memory only; ours are ed25519")]
fn private_text(key: &PrivateKey) -> impl Deref<Target = String> + use<> {
    key.to_openssh(LineEnding::LF).expect("an ed25519 key can be written")
}

#[expect(clippy::expect_used, reason = "encoding fails for keys longer than memory only; ours are ed25519")]
fn public_text(key: &PublicKey) -> String {
    let line = key.to_openssh().expect("an ed25519 key can be written");
    line.split_whitespace().take(2).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(cluster: &str, slot: &str, incarnation: u32) -> HostId {
        HostId { cluster: cluster.to_owned(), slot: slot.to_owned(), incarnation }
    }

    #[test]
    fn a_seed_gives_every_host_its_own_keys_always_the_same() {
        let seed = HostSeed::from_bytes(&[7; 32]).unwrap();
        let again = HostSeed::from_bytes(seed.as_bytes()).unwrap();
        let ids = [id("ab", "c", 0), id("a", "bc", 0), id("a", "bc", 1), id("a", "b", 1)];
        let mut seen = std::collections::BTreeSet::new();
        for id in &ids {
            assert_eq!(seed.host_key(id).public_line(), again.host_key(id).public_line());
            assert!(seen.insert(seed.host_key(id).public_line()));
            assert!(seen.insert(seed.boot_key(id).public_line()));
        }
        assert_ne!(HostSeed::generate().as_bytes(), HostSeed::generate().as_bytes());
        assert_eq!(HostSeed::from_bytes(b"short").unwrap_err(), KeyError::Length(5));
    }

    /// Written down once: hosts in use must not lose their keys to a refactoring.
    #[test]
    fn the_derivation_does_not_change() {
        let key = HostSeed::from_bytes(&[7; 32]).unwrap().host_key(&id("uid", "m0", 1));
        assert_eq!(
            key.public_line(),
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA5U1KFl7xpSb8g9L5dKndjddhJkkkSjug28QuviBZQB"
        );
    }

    #[test]
    fn keys_survive_their_openssh_text() {
        let key = ClientKey::generate();
        assert_eq!(ClientKey::from_openssh(&key.to_openssh()).unwrap(), key);
        let pin = HostPin::from_openssh(&key.public_line("somebody@somewhere")).unwrap();
        assert_eq!(pin.public_line(), key.public_line(""));
    }

    #[test]
    fn private_halves_do_not_show() {
        let key = ClientKey::generate();
        let seed = HostSeed::generate();
        let shown = format!("{key:?} {seed:?} {:?}", seed.host_key(&id("c", "m0", 0)));
        assert!(!shown.contains("PRIVATE") && !shown.contains(&format!("{:?}", seed.as_bytes())), "{shown}");
    }
}
