//! TLS 1.3 for the test server and for what asks it. Nothing else of the suite uses it, and nothing of it is in C.

pub(crate) mod certificates;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use clap::Args;
use rustls::{
    ClientConfig, DigitallySignedStruct, Error, RootCertStore, ServerConfig, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject as _},
    server::WebPkiClientVerifier,
    version::TLS13,
};

/// What a server shows and asks for.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct ServerArgs {
    /// The server's certificate, and those behind it, as PEM (default: one for this host, made at the start)
    #[arg(long, value_name = "FILE", requires = "key")]
    pub(crate) cert: Option<PathBuf>,
    /// The key to the certificate as PEM; it may be in the same file
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub(crate) key: Option<PathBuf>,
    /// Answer only clients that show a certificate of --client-ca
    #[arg(long, requires = "client_ca")]
    pub(crate) client_auth: bool,
    /// The authority of the clients' certificates, as PEM
    #[arg(long, value_name = "FILE", requires = "client_auth")]
    pub(crate) client_ca: Option<PathBuf>,
}

/// Whom a client trusts, and what it shows.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct ClientArgs {
    /// For https://, the authority that the server's certificate has to be of, as PEM
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
    /// For https://, take any certificate
    #[arg(long, conflicts_with = "ca")]
    pub(crate) insecure: bool,
    /// A certificate to show to the server, and those behind it, as PEM
    #[arg(long, value_name = "FILE", requires = "key")]
    pub(crate) cert: Option<PathBuf>,
    /// The key to the certificate as PEM; it may be in the same file
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub(crate) key: Option<PathBuf>,
}

impl ServerArgs {
    /// Whether something is said that has a meaning with TLS only.
    pub(crate) fn is_given(&self) -> bool {
        self.cert.is_some() || self.client_auth
    }

    /// The server as it was asked for; `name` is what a certificate is made for that is not given.
    pub(crate) fn config(&self, name: &str) -> Result<Arc<ServerConfig>> {
        let provider = provider()?;
        let builder = ServerConfig::builder_with_provider(provider.clone()).with_protocol_versions(&[&TLS13])?;
        let builder = match &self.client_ca {
            Some(ca) => {
                let roots = Arc::new(roots(ca)?);
                builder.with_client_cert_verifier(WebPkiClientVerifier::builder_with_provider(roots, provider).build()?)
            }
            None => builder.with_no_client_auth(),
        };
        let (chain, key) = match (&self.cert, &self.key) {
            (Some(cert), Some(key)) => (chain(cert)?, private_key(key)?),
            _ => certificates::Authority::new()?.issue(&[name, "localhost", "127.0.0.1"])?.into_der()?,
        };
        Ok(Arc::new(builder.with_single_cert(chain, key).context("certificate and key do not fit")?))
    }
}

impl ClientArgs {
    /// The client as it was asked for.
    pub(crate) fn config(&self) -> Result<Arc<ClientConfig>> {
        let provider = provider()?;
        let algorithms = provider.signature_verification_algorithms;
        let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&TLS13])?;
        let builder = match &self.ca {
            Some(ca) => builder.with_root_certificates(roots(ca)?),
            None if self.insecure => {
                builder.dangerous().with_custom_certificate_verifier(Arc::new(Anybody(algorithms)))
            }
            None => bail!("https:// needs --ca FILE, or --insecure to take any certificate"),
        };
        let config = match (&self.cert, &self.key) {
            (Some(cert), Some(key)) => builder.with_client_auth_cert(chain(cert)?, private_key(key)?),
            _ => return Ok(Arc::new(builder.with_no_client_auth())),
        };
        Ok(Arc::new(config.context("certificate and key do not fit")?))
    }
}

/// The name a server has to be certified for.
pub(crate) fn server_name(host: &str) -> Result<ServerName<'static>> {
    ServerName::try_from(host.to_owned()).map_err(|error| anyhow!("{host} is no name of a server: {error}"))
}

fn provider() -> Result<Arc<CryptoProvider>> {
    ensure!(
        graviola::util::is_cpu_supported(),
        "TLS is computed with instructions that this CPU has not (AES, ADX, AVX2 and BMI2 on x86-64)"
    );
    Ok(Arc::new(rustls_graviola::default_provider()))
}

fn roots(file: &Path) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in chain(file)? {
        roots.add(certificate).with_context(|| format!("{} holds no authority", file.display()))?;
    }
    Ok(roots)
}

fn chain(file: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let chain = read.with_context(|| format!("cannot read certificates from {}", file.display()))?;
    ensure!(!chain.is_empty(), "{} holds no certificate", file.display());
    Ok(chain)
}

fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>> {
    PrivateKeyDer::from_pem_file(file).with_context(|| format!("cannot read a key from {}", file.display()))
}

/// Takes a certificate of anybody; that the server has its key is checked all the same.
#[derive(Debug)]
struct Anybody(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{probe, serve::test_server};

    /// Files that are gone when it is dropped.
    struct Folder(PathBuf);

    impl Folder {
        fn new() -> Self {
            let folder = std::env::temp_dir().join(format!("e2e-tls-{}", uuid::Uuid::new_v4()));
            std::fs::create_dir(&folder).unwrap();
            Self(folder)
        }

        fn write(&self, name: &str, content: String) -> PathBuf {
            let file = self.0.join(name);
            std::fs::write(&file, content).unwrap();
            file
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    async fn url(args: ServerArgs) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let manner = test_server::Manner { tls: Some(args), ..Default::default() };
        let url = format!("https://127.0.0.1:{}/healthy", listener.local_addr().unwrap().port());
        tokio::spawn(test_server::serve_on(listener, manner));
        url
    }

    #[tokio::test]
    async fn a_server_without_files_makes_itself_a_certificate() {
        let url = url(ServerArgs::default()).await;
        let answer = probe::get_with(&url, &ClientArgs { insecure: true, ..Default::default() }).await;
        assert_eq!(answer.unwrap().trim(), "healthy");
        let error = probe::get(&url).await.unwrap_err();
        assert!(format!("{error:#}").contains("--insecure"), "{error:#}");
    }

    #[tokio::test]
    async fn both_sides_take_only_those_of_their_authority() {
        let (folder, authority) = (Folder::new(), certificates::Authority::new().unwrap());
        let pem = Some(folder.write("pem", authority.issue(&["127.0.0.1"]).unwrap().pem().unwrap()));
        let ca = Some(folder.write("ca", authority.pem()));
        let stranger = Some(folder.write("stranger", certificates::Authority::new().unwrap().pem()));
        let server = ServerArgs { cert: pem.clone(), key: pem.clone(), client_auth: true, client_ca: ca.clone() };
        let url = url(server).await;
        let ask = async |ca: &Option<PathBuf>, shown: &Option<PathBuf>| {
            let client = ClientArgs { ca: ca.clone(), cert: shown.clone(), key: shown.clone(), ..Default::default() };
            probe::get_with(&url, &client).await.map_err(|error| format!("{error:#}"))
        };
        assert_eq!(ask(&ca, &pem).await.unwrap().trim(), "healthy");
        let nobody = ask(&ca, &None).await.unwrap_err();
        assert!(nobody.contains("CertificateRequired"), "{nobody}");
        let other = ask(&stranger, &pem).await.unwrap_err();
        assert!(other.contains("UnknownIssuer"), "{other}");
    }
}
