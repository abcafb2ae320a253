//! How a router proves that it is the router.
//!
//! Routers without a certificate offer anonymous Diffie-Hellman only, which rustls does not speak:
//! give such a router a certificate. Router certificates are rarely signed by anyone known, so the
//! usual choices are the ISP's own authority or the very certificate of the router.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

/// How a router's certificate is judged. Cheap to clone: one serves any number of sessions.
#[derive(Clone)]
pub struct Tls {
    config: Arc<ClientConfig>,
    name: Option<ServerName<'static>>,
    judged_by: &'static str,
}

/// Why no TLS settings can be made from what was given.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The text is not one or more PEM certificates.
    #[error("reading the PEM certificate")]
    Pem {
        /// What the reader says.
        source: rustls::pki_types::pem::Error,
    },
    /// There is no certificate in the text.
    #[error("there is no certificate in the PEM text")]
    NoCertificate,
    /// The certificate cannot serve as an authority, or the settings contradict each other.
    #[error("setting up TLS")]
    Settings {
        /// What rustls says.
        source: rustls::Error,
    },
    /// The name is neither a host name nor an address.
    #[error("`{name}` is no name for a TLS server")]
    Name {
        /// The name given.
        name: String,
    },
}

impl Tls {
    /// Trusts certificates signed by one of the authorities in `pem`, made out to `name`.
    ///
    /// Without a name the certificate has to hold the address that is connected to.
    ///
    /// # Errors
    ///
    /// [`TlsError`] when the PEM text or the name is not one.
    pub fn signed_by(pem: &[u8], name: Option<&str>) -> Result<Self, TlsError> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates(pem)? {
            roots.add(certificate).map_err(|source| TlsError::Settings { source })?;
        }
        let name = name
            .map(|name| {
                ServerName::try_from(name.to_owned()).map_err(|_| TlsError::Name { name: name.to_owned() })
            })
            .transpose()?;
        let config = builder()?.with_root_certificates(roots).with_no_client_auth();
        Ok(Self { config: Arc::new(config), name, judged_by: "authority" })
    }

    /// Trusts exactly the certificates in `pem`, whatever their names and dates say.
    ///
    /// # Errors
    ///
    /// [`TlsError`] when the PEM text is not one.
    pub fn pinned(pem: &[u8]) -> Result<Self, TlsError> {
        Self::judged(Some(certificates(pem)?), "pinned certificate")
    }

    /// Trusts anyone. It keeps out who listens, but not who stands in between.
    ///
    /// # Errors
    ///
    /// [`TlsError::Settings`] when TLS cannot be set up at all.
    pub fn insecure() -> Result<Self, TlsError> {
        Self::judged(None, "nothing")
    }

    fn judged(
        trusted: Option<Vec<CertificateDer<'static>>>,
        judged_by: &'static str,
    ) -> Result<Self, TlsError> {
        let judge = Judge { trusted, provider: provider() };
        let config =
            builder()?.dangerous().with_custom_certificate_verifier(Arc::new(judge)).with_no_client_auth();
        Ok(Self { config: Arc::new(config), name: None, judged_by })
    }

    pub(crate) fn connector(&self) -> tokio_rustls::TlsConnector {
        Arc::clone(&self.config).into()
    }

    pub(crate) fn name_for(&self, address: IpAddr) -> ServerName<'static> {
        self.name.clone().unwrap_or_else(|| ServerName::from(address))
    }
}

/// Equal when one is a clone of the other.
impl PartialEq for Tls {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.config, &other.config) && self.name == other.name
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("judged_by", &self.judged_by).field("name", &self.name).finish()
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn builder() -> Result<rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>, TlsError> {
    ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|source| TlsError::Settings { source })
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|source| TlsError::Pem { source })?;
    if found.is_empty() { Err(TlsError::NoCertificate) } else { Ok(found) }
}

/// Accepts the pinned certificates, or any when none are pinned; always wants proof of the key.
#[derive(Debug)]
struct Judge {
    trusted: Option<Vec<CertificateDer<'static>>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Judge {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match &self.trusted {
            Some(trusted) if !trusted.contains(end_entity) => {
                Err(rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer))
            }
            Some(_) | None => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
