//! How a router proves that it is the router.
//!
//! Routers without a certificate offer anonymous Diffie-Hellman only, which rustls does not speak:
//! give such a router a certificate. Router certificates are rarely signed by anyone known, so the
//! usual choices are the ISP's own authority or the very certificate of the router. The latter is named by
//! its [`Fingerprint`]; a router whose certificate nobody vouches for is refused before anything is said to
//! it, the password least of all, and the error tells which certificate it [showed](Unvouched).

mod judge;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use sha2::{Digest, Sha256};

use self::judge::{Judge, Trusted};

pub(crate) use self::judge::unvouched;

/// The SHA-256 of a certificate in its DER form: what RouterOS shows as `fingerprint`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(pub [u8; 32]);

impl Fingerprint {
    /// Of a certificate in its DER form.
    pub fn of(der: &[u8]) -> Self {
        Self(Sha256::digest(der).into())
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a router's certificate was not taken, and which one it showed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unvouched {
    /// Neither a certificate nor an authority was given to judge it by.
    #[error(
        "it shows the certificate {shown}, and nobody vouches for that: pin it if it is the router's own"
    )]
    Unknown {
        /// What it showed.
        shown: Fingerprint,
    },
    /// Another certificate is pinned.
    #[error(
        "its certificate has changed: {pinned} is pinned, and it shows {shown}. Who renewed it pins the new one; \
         if nobody did, somebody else answers in its place"
    )]
    Changed {
        /// The one that is pinned; the first, if there are several.
        pinned: Fingerprint,
        /// What it showed.
        shown: Fingerprint,
    },
    /// None of the authorities has signed it, or not for this name and this day.
    #[error("it shows the certificate {shown}, which the authority does not vouch for: {why}")]
    NotSigned {
        /// What it showed.
        shown: Fingerprint,
        /// What rustls says.
        why: String,
    },
}

impl Unvouched {
    /// The certificate that was not taken.
    pub fn shown(&self) -> Fingerprint {
        match self {
            Unvouched::Unknown { shown }
            | Unvouched::Changed { shown, .. }
            | Unvouched::NotSigned { shown, .. } => *shown,
        }
    }
}

/// How a router's certificate is judged. Cheap to clone: one serves any number of sessions.
#[derive(Clone)]
pub struct Tls {
    config: Arc<ClientConfig>,
    name: Option<ServerName<'static>>,
    trusted: Trusted,
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
        let authorities = certificates(pem)?;
        let prints = authorities.iter().map(|authority| Fingerprint::of(authority)).collect();
        let mut roots = RootCertStore::empty();
        for certificate in authorities {
            roots.add(certificate).map_err(|source| TlsError::Settings { source })?;
        }
        let name = name
            .map(|name| {
                ServerName::try_from(name.to_owned()).map_err(|_| TlsError::Name { name: name.to_owned() })
            })
            .transpose()?;
        let judge = WebPkiServerVerifier::builder_with_provider(roots.into(), provider())
            .build()
            .map_err(|_| TlsError::NoCertificate)?;
        Ok(Self { name, ..Self::judged(Trusted::SignedBy(prints), Some(judge))? })
    }

    /// Trusts exactly the certificates in `pem`, whatever their names and dates say.
    ///
    /// # Errors
    ///
    /// [`TlsError`] when the PEM text is not one.
    pub fn pinned(pem: &[u8]) -> Result<Self, TlsError> {
        let prints = certificates(pem)?.iter().map(|certificate| Fingerprint::of(certificate)).collect();
        Self::judged(Trusted::These(prints), None)
    }

    /// Trusts exactly the certificate with this fingerprint, whatever its name and dates say.
    ///
    /// # Errors
    ///
    /// [`TlsError::Settings`] when TLS cannot be set up at all.
    pub fn known_by(fingerprint: Fingerprint) -> Result<Self, TlsError> {
        Self::judged(Trusted::These(vec![fingerprint]), None)
    }

    /// Trusts no certificate: which one the router shows is learnt from the [error](Unvouched::Unknown).
    ///
    /// # Errors
    ///
    /// [`TlsError::Settings`] when TLS cannot be set up at all.
    pub fn nobody() -> Result<Self, TlsError> {
        Self::judged(Trusted::These(vec![]), None)
    }

    /// Trusts anyone. It keeps out who listens, but not who stands in between.
    ///
    /// # Errors
    ///
    /// [`TlsError::Settings`] when TLS cannot be set up at all.
    pub fn insecure() -> Result<Self, TlsError> {
        Self::judged(Trusted::Anyone, None)
    }

    fn judged(trusted: Trusted, authority: Option<Arc<WebPkiServerVerifier>>) -> Result<Self, TlsError> {
        let judge = Judge { trusted: trusted.clone(), authority, provider: provider() };
        let config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|source| TlsError::Settings { source })?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(judge))
            .with_no_client_auth();
        Ok(Self { config: Arc::new(config), name: None, trusted })
    }

    pub(crate) fn connector(&self) -> tokio_rustls::TlsConnector {
        Arc::clone(&self.config).into()
    }

    pub(crate) fn name_for(&self, address: IpAddr) -> ServerName<'static> {
        self.name.clone().unwrap_or_else(|| ServerName::from(address))
    }
}

/// Equal when both trust the same.
impl PartialEq for Tls {
    fn eq(&self, other: &Self) -> bool {
        self.trusted == other.trusted && self.name == other.name
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("trusted", &self.trusted).field("name", &self.name).finish()
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|source| TlsError::Pem { source })?;
    if found.is_empty() { Err(TlsError::NoCertificate) } else { Ok(found) }
}
