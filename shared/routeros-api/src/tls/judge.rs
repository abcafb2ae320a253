//! Whether a certificate is taken, and how a refusal finds its way out of rustls.

use std::io;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, OtherError, SignatureScheme};

use super::{Fingerprint, Unvouched};

/// Whose word is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Trusted {
    Anyone,
    /// Exactly these certificates.
    These(Vec<Fingerprint>),
    /// What these authorities have signed.
    SignedBy(Vec<Fingerprint>),
}

/// Accepts whom it trusts; always wants proof of the key.
#[derive(Debug)]
pub(super) struct Judge {
    pub(super) trusted: Trusted,
    /// Judges in the name of the authorities, if it is they who are trusted.
    pub(super) authority: Option<Arc<WebPkiServerVerifier>>,
    pub(super) provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Judge {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let shown = Fingerprint::of(end_entity);
        let why = match (&self.trusted, &self.authority) {
            (Trusted::Anyone, _) => return Ok(ServerCertVerified::assertion()),
            (Trusted::These(pinned), _) => match pinned.first() {
                Some(_) if pinned.contains(&shown) => return Ok(ServerCertVerified::assertion()),
                Some(pinned) => Unvouched::Changed { pinned: *pinned, shown },
                None => Unvouched::Unknown { shown },
            },
            (Trusted::SignedBy(_), Some(authority)) => {
                let judged =
                    authority.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
                match judged {
                    Ok(verified) => return Ok(verified),
                    Err(error) => Unvouched::NotSigned { shown, why: error.to_string() },
                }
            }
            (Trusted::SignedBy(_), None) => Unvouched::Unknown { shown },
        };
        Err(CertificateError::Other(OtherError(Arc::new(why))).into())
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

/// What a [`Judge`] did not take, if that is why a handshake failed.
pub(crate) fn unvouched(error: &io::Error) -> Option<Unvouched> {
    match error.get_ref()?.downcast_ref::<rustls::Error>()? {
        rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(why))) => {
            why.downcast_ref::<Unvouched>().cloned()
        }
        _ => None,
    }
}
