//! Tokens: `mw_<prefix>_<secret>`.
//!
//! The prefix is public and finds the token; the whole text is compared by its SHA-256. A token
//! is shown once, when it is made, and kept as a digest only. Being random, it needs no slow hash.

use crate::digest::{same, sha256_hex};
use events::{Grant, Token};
use rand::TryRng;
use std::fmt;
use zeroize::Zeroizing;

/// Characters of the public prefix.
pub const PREFIX_LEN: usize = 12;
/// Characters of a fresh secret: 32 of 36 possible ones are 165 bits.
const SECRET_LEN: usize = 32;
/// The fewest characters of a secret: 25 of 36 possible ones are 129 bits.
const SECRET_LEN_MIN: usize = 25;
/// The most characters of a secret that is looked at.
const SECRET_LEN_MAX: usize = 128;

/// What is wrong with the text of a token. Never shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It does not begin with `mw_`.
    #[error("a token begins with `mw_`")]
    Start,
    /// The public part is not 12 characters of `[a-z0-9]`.
    #[error("after `mw_` a token has a public part of 12 characters a-z and 0-9, then `_`")]
    Prefix,
    /// The secret part is too short or too long or has other characters.
    #[error("the secret part of a token is 25 to 128 characters A-Z, a-z and 0-9")]
    Secret,
}

/// A token that was just made: the only time its text is known.
pub struct FreshToken {
    prefix: String,
    text: Zeroizing<String>,
}

impl fmt::Debug for FreshToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FreshToken(mw_{}_…)", self.prefix)
    }
}

impl FreshToken {
    /// A new one from the operating system's randomness.
    pub fn random() -> Self {
        Self::of_prefix(&random_text(PREFIX_LEN))
    }

    /// A new one whose public part is `prefix`, of the form that [`prefix_of`] takes.
    pub fn of_prefix(prefix: &str) -> Self {
        let text = Zeroizing::new(format!("mw_{prefix}_{}", random_text(SECRET_LEN).as_str()));
        debug_assert!(prefix_of(&text).is_ok(), "`{prefix}` is no public part");
        Self { prefix: prefix.to_owned(), text }
    }

    /// The public part.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The whole, to be shown once to whom it is for.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What is kept of it: see [`events::Token::sha256`].
    pub fn sha256(&self) -> String {
        sha256_hex(self.text.as_bytes())
    }
}

/// The token `text` as it is kept, for whoever may use it from everywhere: its public part, and a digest of the whole.
///
/// # Errors
///
/// [`TokenError`] when it is no token.
pub fn kept(text: &str, grant: Grant, name: &str) -> Result<Token, TokenError> {
    let (prefix, sha256) = (prefix_of(text)?.to_owned(), sha256_hex(text.as_bytes()));
    Ok(Token { prefix, sha256, grant, networks: Vec::new(), name: name.to_owned(), revoked: false })
}

/// The public part of the token `text`.
///
/// # Errors
///
/// [`TokenError`] when it is no token.
pub fn prefix_of(text: &str) -> Result<&str, TokenError> {
    let rest = text.strip_prefix("mw_").ok_or(TokenError::Start)?;
    let (prefix, secret) = rest.split_once('_').ok_or(TokenError::Prefix)?;
    let of_prefix = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    if prefix.len() != PREFIX_LEN || !prefix.bytes().all(of_prefix) {
        return Err(TokenError::Prefix);
    }
    let length_fits = (SECRET_LEN_MIN..=SECRET_LEN_MAX).contains(&secret.len());
    if !length_fits || !secret.bytes().all(|c| c.is_ascii_alphanumeric()) {
        return Err(TokenError::Secret);
    }
    Ok(prefix)
}

/// Whether `text` is the token whose digest is `sha256` (lower-case hex), compared in constant time.
pub fn token_matches(text: &str, sha256: &str) -> bool {
    same(sha256_hex(text.as_bytes()).as_bytes(), sha256.as_bytes())
}

/// `len` characters of `[a-z0-9]`, each as likely as any other.
fn random_text(len: usize) -> Zeroizing<String> {
    const LETTERS: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
    let mut text = Zeroizing::new(String::with_capacity(len));
    let mut bytes = Zeroizing::new([0u8; 64]);
    while text.len() < len {
        rand::rngs::SysRng
            .try_fill_bytes(bytes.as_mut_slice())
            .expect("the operating system gives random bytes");
        // 252 is the largest multiple of 36: what lies above would favour the first letters.
        for byte in bytes.iter().filter(|byte| **byte < 252).take(len - text.len()) {
            text.push(char::from(LETTERS[usize::from(byte % 36)]));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fresh_token_is_found_by_its_prefix_and_known_by_its_digest() {
        let token = FreshToken::random();
        assert_eq!(prefix_of(token.text()).unwrap(), token.prefix());
        assert!(token_matches(token.text(), &token.sha256()));
        let mut other = token.text().to_owned();
        other.pop();
        assert!(!token_matches(&other, &token.sha256()));
        assert!(!token_matches(FreshToken::random().text(), &token.sha256()));
    }

    #[test]
    fn a_fresh_token_prints_only_its_prefix() {
        let token = FreshToken::random();
        let secret = token.text().rsplit('_').next().unwrap();
        assert!(!format!("{token:?}").contains(secret));
    }

    #[test]
    fn what_is_no_token_is_told_apart() {
        let secret = "a".repeat(25);
        assert_eq!(prefix_of("Bearer x"), Err(TokenError::Start));
        assert_eq!(prefix_of("mw_short"), Err(TokenError::Prefix));
        assert_eq!(prefix_of(&format!("mw_abcdefghijk_{secret}")), Err(TokenError::Prefix));
        assert_eq!(prefix_of(&format!("mw_ABCDEFGHIJKL_{secret}")), Err(TokenError::Prefix));
        assert_eq!(prefix_of("mw_abcdefghijkl_short"), Err(TokenError::Secret));
        assert_eq!(prefix_of(&format!("mw_abcdefghijkl_{secret}!")), Err(TokenError::Secret));
        assert_eq!(prefix_of(&format!("mw_abcdefghijkl_{}", "a".repeat(129))), Err(TokenError::Secret));
        assert_eq!(prefix_of(&format!("mw_abcdefghijkl_{secret}")), Ok("abcdefghijkl"));
    }

    #[test]
    fn random_letters_are_evenly_spread() {
        let text = random_text(36_000);
        for letter in b"az09" {
            let seen = text.bytes().filter(|b| b == letter).count();
            assert!((800..1200).contains(&seen), "{} of 36000 are {}", seen, char::from(*letter));
        }
    }
}
