//! Sealing and opening under one 32-byte key.
//!
//! XChaCha20-Poly1305 with the context (tenant, field) as associated data. The nonce is the
//! first 24 bytes of HMAC-SHA256 over context and plaintext under a key of its own, so equal
//! values of equal context give equal texts and different ones never share a nonce.

use crate::digest::keyed;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use chacha20poly1305::{
    KeyInit, XChaCha20Poly1305, XNonce,
    aead::{Aead, Payload},
};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// Bytes of an XChaCha20 nonce.
const NONCE_LEN: usize = 24;

/// Why a sealed text did not open. Never says what is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// It is no text of ours, or was cut short.
    #[error("a sealed text is malformed")]
    Malformed,
    /// It was wrapped under a master key that was not given.
    #[error("a key is wrapped under a master key that is not configured")]
    UnknownMasterKey,
    /// It was altered, or sealed under another key, for another tenant or for another field.
    #[error("a sealed text does not belong here or was altered")]
    Refused,
}

/// A 32-byte key that seals. Wiped when dropped; never printed.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub(crate) struct SealKey {
    cipher: [u8; 32],
    nonce: [u8; 32],
}

impl SealKey {
    /// The sealing keys that follow from `secret`.
    pub(crate) fn of(secret: &[u8; 32]) -> Self {
        Self {
            cipher: keyed(secret, &[b"mastwatch cipher v1"]),
            nonce: keyed(secret, &[b"mastwatch nonce v1"]),
        }
    }

    /// Seals `plain` for `context`: base64url of nonce, ciphertext and tag.
    pub(crate) fn seal(&self, context: &[u8], plain: &[u8]) -> String {
        let digest = keyed(&self.nonce, &[context, plain]);
        let nonce: [u8; NONCE_LEN] = digest[..NONCE_LEN].try_into().expect("a digest is longer than a nonce");
        let sealed = XChaCha20Poly1305::new(&self.cipher.into())
            .encrypt(&XNonce::from(nonce), Payload { msg: plain, aad: context })
            .expect("a value in memory is shorter than the cipher's limit of 256 GiB");
        let mut whole = Vec::with_capacity(NONCE_LEN + sealed.len());
        whole.extend_from_slice(&nonce);
        whole.extend_from_slice(&sealed);
        URL_SAFE_NO_PAD.encode(whole)
    }

    /// Opens what [`Self::seal`] made for the same context.
    pub(crate) fn open(&self, context: &[u8], text: &str) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        let whole = URL_SAFE_NO_PAD.decode(text).map_err(|_| OpenError::Malformed)?;
        let (nonce, sealed) = whole.split_first_chunk::<NONCE_LEN>().ok_or(OpenError::Malformed)?;
        XChaCha20Poly1305::new(&self.cipher.into())
            .decrypt(&XNonce::from(*nonce), Payload { msg: sealed, aad: context })
            .map(Zeroizing::new)
            .map_err(|_| OpenError::Refused)
    }
}
