//! Who we are to a router, and how it is proved.
//!
//! Since 6.43 the password itself is sent, so it belongs inside TLS or a management network.
//! Before, the router sent a challenge and was answered with an MD5 over it; from about 6.45 that
//! answer is refused. Which of the two a router wants shows in its reply to the new form.

use std::fmt;

use md5::{Digest, Md5};
use zeroize::Zeroizing;

use crate::wire::Sentence;

/// A user and the password. The password is wiped when dropped and never shown.
#[derive(Clone)]
pub struct Credentials {
    user: String,
    password: Zeroizing<String>,
}

impl Credentials {
    /// The login of `user`; an empty password is one that routers allow.
    pub fn new(user: impl Into<String>, password: impl Into<String>) -> Self {
        Self { user: user.into(), password: Zeroizing::new(password.into()) }
    }

    /// The user's name.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// `/login` with the password, as 6.43 and later want it, encoded.
    pub(crate) fn plain_login(&self, tag: &[u8]) -> Zeroizing<Vec<u8>> {
        let (name, password) = (self.user.as_bytes(), self.password.as_bytes());
        let words: [&[&[u8]]; 4] =
            [&[b"/login"], &[b"=name=", name], &[b"=password=", password], &[b".tag=", tag]];
        // Written straight into one buffer of the right size, so that no copy is left behind.
        let size = 64 + name.len() + password.len() + tag.len();
        let mut out = Zeroizing::new(Vec::with_capacity(size));
        for word in words {
            let length: usize = word.iter().map(|part| part.len()).sum();
            crate::wire::put_length(u32::try_from(length).unwrap_or(u32::MAX), &mut out);
            for part in word {
                out.extend_from_slice(part);
            }
        }
        out.push(0);
        out
    }

    /// `/login` with the answer to `challenge`, as routers before 6.43 want it.
    ///
    /// # Errors
    ///
    /// [`BadChallenge`] when the challenge is not hexadecimal.
    pub(crate) fn challenged_login(&self, challenge: &[u8], tag: &[u8]) -> Result<Sentence, BadChallenge> {
        let response = challenge_response(self.password.as_bytes(), challenge)?;
        let login = Sentence::new("/login").with("name", &self.user).with("response", response);
        Ok(login.tagged(Some(tag)))
    }

    /// A router's own words, unless they repeat the password.
    pub(crate) fn without_password(&self, message: String) -> String {
        if !self.password.is_empty() && message.contains(self.password.as_str()) {
            return "(the router's words repeat the password)".to_owned();
        }
        message
    }
}

impl PartialEq for Credentials {
    fn eq(&self, other: &Self) -> bool {
        self.user == other.user && *self.password == *other.password
    }
}

impl Eq for Credentials {}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("user", &self.user).finish_non_exhaustive()
    }
}

/// A challenge that is not an even number of hexadecimal digits, at most 128.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the router's login challenge is not hexadecimal")]
pub struct BadChallenge;

/// The longest challenge that is answered, in hexadecimal digits. Routers send 32.
const CHALLENGE_DIGITS_MAX: usize = 128;

/// The value of `=response=` for a password and a challenge in hexadecimal.
///
/// `00`, then the MD5 of a zero byte, the password and the challenge's bytes. Public because a
/// simulated router has to work out the same.
///
/// # Errors
///
/// [`BadChallenge`] when the challenge is not hexadecimal.
pub fn challenge_response(password: &[u8], challenge: &[u8]) -> Result<String, BadChallenge> {
    if challenge.len() > CHALLENGE_DIGITS_MAX || !challenge.len().is_multiple_of(2) {
        return Err(BadChallenge);
    }
    let mut hash = Md5::new();
    hash.update([0]);
    hash.update(password);
    for pair in challenge.chunks_exact(2) {
        hash.update([nibble(pair[0])? << 4 | nibble(pair[1])?]);
    }
    let mut response = String::from("00");
    for byte in hash.finalize() {
        response.push(hex_digit(byte >> 4));
        response.push(hex_digit(byte & 0x0f));
    }
    Ok(response)
}

fn nibble(digit: u8) -> Result<u8, BadChallenge> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok()).ok_or(BadChallenge)
}

fn hex_digit(nibble: u8) -> char {
    char::from_digit(nibble.into(), 16).expect("four bits are one hexadecimal digit")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_is_answered_as_old_routers_expect() {
        let challenge = b"00112233445566778899aabbccddeeff";
        let response = |password: &str, challenge: &[u8]| challenge_response(password.as_bytes(), challenge);
        assert_eq!(response("", challenge).unwrap(), "004fc766996a2175c8d712275fb6a3cb31");
        assert_eq!(response("pw", challenge).unwrap(), "008e656b13eedbb868d58fddcb551be7bd");
        assert_eq!(response("passTest", b"abc123").unwrap(), "0021277bff9ac7caf06aa608e46616d47f");
        assert_eq!(response("x", b"abc"), Err(BadChallenge));
        assert_eq!(response("x", b"zz"), Err(BadChallenge));
        assert_eq!(response("x", &[b'0'; 130]), Err(BadChallenge));
    }

    #[test]
    fn the_new_login_is_the_sentence_it_should_be() {
        let sent = Credentials::new("admin", "pw").plain_login(b"1");
        let same = Sentence::new("/login").with("name", "admin").with("password", "pw").tagged(Some(b"1"));
        assert_eq!(*sent, same.to_bytes());
    }

    #[test]
    fn a_password_is_never_shown() {
        let credentials = Credentials::new("nms", "hunter2");
        assert!(!format!("{credentials:?}").contains("hunter2"));
        let repeated = credentials.without_password("bad password hunter2".to_owned());
        assert!(!repeated.contains("hunter2"));
        assert_eq!(credentials.without_password("no".to_owned()), "no");
    }
}
