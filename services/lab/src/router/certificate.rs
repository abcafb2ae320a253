//! The certificate of a simulated router, and what it speaks TLS with.
//!
//! It is self-signed, as routers' own are, and follows from the router's id and from how often it was renewed: a lab that
//! is started again has routers that are known by the same fingerprints.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use rcgen::{CertificateParams, KeyPair};
use routeros_api::Fingerprint;
use rustls::ServerConfig;
use rustls::pki_types::PrivatePkcs8KeyDer;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// How long a client may take to agree on TLS.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(30);

/// What stands before the 32 bytes of an Ed25519 key in PKCS #8. Source: RFC 8410, section 7.
const PKCS8_ED25519: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];

/// A connection, plain or inside TLS.
pub(super) trait Wire: AsyncRead + AsyncWrite + Send + Unpin {
    /// What carries it.
    fn socket(&self) -> &TcpStream;
}

impl Wire for TcpStream {
    fn socket(&self) -> &TcpStream {
        self
    }
}

impl Wire for TlsStream<TcpStream> {
    fn socket(&self) -> &TcpStream {
        self.get_ref().0
    }
}

/// A router's certificate.
#[derive(Clone)]
pub(crate) struct Certificate {
    router: String,
    renewals: u32,
    fingerprint: Fingerprint,
    acceptor: TlsAcceptor,
}

impl Certificate {
    /// The first one of the router with this id.
    pub(crate) fn of(router: &str) -> anyhow::Result<Self> {
        Self::made(router.to_owned(), 0)
    }

    /// Its next one, under another key.
    pub(crate) fn renewed(&self) -> anyhow::Result<Self> {
        Self::made(self.router.clone(), self.renewals + 1)
    }

    fn made(router: String, renewals: u32) -> anyhow::Result<Self> {
        let seed = Sha256::digest(format!("key {renewals} of {router}"));
        let pkcs8 = PrivatePkcs8KeyDer::from([&PKCS8_ED25519[..], &seed].concat());
        let key =
            KeyPair::from_pkcs8_der_and_sign_algo(&pkcs8, &rcgen::PKCS_ED25519).context("taking the key")?;
        let certificate = CertificateParams::new(vec![])
            .and_then(|params| params.self_signed(&key))
            .context("signing the certificate")?;
        let fingerprint = Fingerprint::of(certificate.der());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|config| {
                config.with_no_client_auth().with_single_cert(vec![certificate.der().clone()], pkcs8.into())
            })
            .context("setting up TLS")?;
        Ok(Self { router, renewals, fingerprint, acceptor: Arc::new(config).into() })
    }

    /// By what it is known.
    pub(crate) fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// Agrees with a client on TLS.
    ///
    /// # Errors
    ///
    /// When the client does not want this certificate, speaks no TLS or says nothing.
    pub(super) async fn agree(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        timeout(HANDSHAKE_WITHIN, self.acceptor.accept(stream)).await.map_err(|_| io::ErrorKind::TimedOut)?
    }
}

impl std::fmt::Debug for Certificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Certificate({})", self.fingerprint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_follows_from_the_router_and_its_renewals() {
        let one = Certificate::of("core-1").unwrap();
        assert_eq!(one.fingerprint(), Certificate::of("core-1").unwrap().fingerprint());
        assert_ne!(one.fingerprint(), Certificate::of("core-2").unwrap().fingerprint());
        let next = one.renewed().unwrap();
        assert_ne!(one.fingerprint(), next.fingerprint());
        assert_ne!(next.renewed().unwrap().fingerprint(), next.fingerprint());
    }
}
