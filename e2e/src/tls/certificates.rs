//! Certificates for tests: an authority that exists in this process alone, and what it issues.

use std::fmt;

use anyhow::{Context as _, Result, anyhow};
use graviola::{
    hashing::Sha256,
    random,
    signing::ecdsa::{P256, SigningKey},
};
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DnType, IsCa, Issuer, KeyIdMethod, PKCS_ECDSA_P256_SHA256,
    PublicKeyData, SerialNumber, SignatureAlgorithm,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// More than any key or signature on this curve takes in DER.
const LARGEST: usize = 256;
/// An uncompressed point of the curve: the end of what a public key is in DER.
const POINT: usize = 65;

/// Issues certificates.
#[derive(Debug)]
pub(crate) struct Authority {
    certificate: Certificate,
    issuer: Issuer<'static, Key>,
}

/// A certificate, and the key to it.
pub(crate) struct Issued {
    certificate: Certificate,
    key: Key,
}

/// A key on the curve P-256.
struct Key {
    key: SigningKey<P256>,
    public: Vec<u8>,
}

impl Authority {
    /// One that nobody knows yet.
    pub(crate) fn new() -> Result<Self> {
        let key = Key::generate()?;
        // Two of one name could not be told apart by it.
        let mut params = parameters(&[], &format!("e2e {}", uuid::Uuid::new_v4()))?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key)?;
        Ok(Self { certificate, issuer: Issuer::new(params, key) })
    }

    /// Its own certificate, by which others know what it issued.
    pub(crate) fn pem(&self) -> String {
        self.certificate.pem()
    }

    /// The key to it, with which others can issue in its name.
    pub(crate) fn key_pem(&self) -> Result<String> {
        Ok(pem::encode(&pem::Pem::new("PRIVATE KEY", self.issuer.key().pkcs8()?)))
    }

    /// A certificate for these host names and addresses, for servers and clients.
    pub(crate) fn issue(&self, names: &[&str]) -> Result<Issued> {
        let key = Key::generate()?;
        let certificate = parameters(names, "e2e")?.signed_by(&key, &self.issuer)?;
        Ok(Issued { certificate, key })
    }
}

impl Issued {
    /// The certificate and the key, one after the other.
    pub(crate) fn pem(&self) -> Result<String> {
        let key = pem::Pem::new("PRIVATE KEY", self.key.pkcs8()?);
        Ok(format!("{}{}", self.certificate.pem(), pem::encode(&key)))
    }

    /// As a server or a client takes them.
    pub(crate) fn into_der(self) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
        let key = PrivatePkcs8KeyDer::from(self.key.pkcs8()?);
        Ok((vec![self.certificate.der().clone()], key.into()))
    }
}

/// Without a random number of its own and a fingerprint as its key's id, which the library leaves to other providers.
fn parameters(names: &[&str], common_name: &str) -> Result<CertificateParams> {
    let mut params = CertificateParams::new(names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>())?;
    params.distinguished_name.push(DnType::CommonName, common_name);
    let mut number = [0; 16];
    random::fill(&mut number).map_err(|error| anyhow!("no random numbers: {error:?}"))?;
    params.key_identifier_method = KeyIdMethod::PreSpecified(number.to_vec());
    // A serial number is positive.
    number[0] &= 0x7f;
    params.serial_number = Some(SerialNumber::from_slice(&number));
    Ok(params)
}

impl Key {
    fn generate() -> Result<Self> {
        let key = SigningKey::generate().map_err(|error| anyhow!("cannot make a key: {error:?}"))?;
        let mut buffer = [0; LARGEST];
        let public = key.to_spki_der(&mut buffer).map_err(|error| anyhow!("cannot write a key: {error:?}"))?;
        let point = public.len().checked_sub(POINT).context("a public key is shorter than its point")?;
        Ok(Self { public: public[point..].to_vec(), key })
    }

    fn pkcs8(&self) -> Result<Vec<u8>> {
        let mut buffer = [0; LARGEST];
        let key = self.key.to_pkcs8_der(&mut buffer).map_err(|error| anyhow!("cannot write a key: {error:?}"))?;
        Ok(key.to_vec())
    }
}

/// Without the key.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").finish_non_exhaustive()
    }
}

impl PublicKeyData for Key {
    fn der_bytes(&self) -> &[u8] {
        &self.public
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

impl rcgen::SigningKey for Key {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let mut buffer = [0; LARGEST];
        let signature = self.key.sign_asn1::<Sha256>(&[message], &mut buffer);
        signature.map(<[u8]>::to_vec).map_err(|_| rcgen::Error::RemoteKeyError)
    }
}
