//! Subjects: `mw.<part>.<tenant>.<noun>.<key>`. One thing, one subject, one history.
//!
//! Tokens are ids of `[A-Za-z0-9_-]` only; raw input never becomes a subject. A key may have
//! several tokens (an ask's is `<pop>.<slot>.<via>`).

use crate::{Noun, TenantId};
use std::fmt;
use uuid::Uuid;

/// How many partitions the log has. A tenant lies whole in one of them.
pub const PARTITIONS: u16 = 64;

/// How many slots a point of presence spreads its routers over.
pub const SLOTS: u16 = 64;

/// FNV-1a, 32 bit. Constants: the published offset basis and prime.
fn fnv1a(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |h, b| (h ^ u32::from(*b)).wrapping_mul(0x0100_0193))
}

/// Of an id as it stands in a subject.
fn fnv1a_of_text(id: Uuid) -> u32 {
    fnv1a(id.hyphenated().encode_lower(&mut Uuid::encode_buffer()).as_bytes())
}

/// The partition a tenant's facts lie in.
pub fn partition_of(tenant: TenantId) -> u16 {
    (fnv1a_of_text(tenant.0) % u32::from(PARTITIONS)) as u16
}

/// The slot of a point of presence that watches `node`.
pub fn slot_of(node: crate::NodeId) -> u16 {
    (fnv1a_of_text(node.0) % u32::from(SLOTS)) as u16
}

/// Where a fact is stored.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subject {
    /// Whose fact it is; decides the partition.
    pub tenant: TenantId,
    /// What it is about.
    pub noun: Noun,
    /// Which thing: one or more tokens.
    pub key: String,
}

/// Why a text is no subject of the log.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SubjectError {
    /// Not of the form `mw.<part>.<tenant>.<noun>.<key>`.
    #[error("`{0}` is not of the form mw.<part>.<tenant>.<noun>.<key>")]
    Form(String),
    /// The partition is not the tenant's.
    #[error("`{0}` names another partition than its tenant's")]
    Partition(String),
    /// A key holds something other than letters, digits, `_`, `-` and dots between tokens.
    #[error("`{0}` is no key: only letters, digits, `_` and `-` are allowed, in tokens parted by dots")]
    Key(String),
}

fn is_key(key: &str) -> bool {
    key.split('.').all(|token| {
        !token.is_empty() && token.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
    })
}

impl Subject {
    /// The subject of `noun` `key` of `tenant`.
    ///
    /// # Errors
    ///
    /// [`SubjectError::Key`] when `key` holds anything but token characters and single dots.
    pub fn new(tenant: TenantId, noun: Noun, key: impl Into<String>) -> Result<Self, SubjectError> {
        let key = key.into();
        if is_key(&key) { Ok(Self { tenant, noun, key }) } else { Err(SubjectError::Key(key)) }
    }

    /// The subject of the thing of that id, which is a token always.
    pub fn of(tenant: TenantId, noun: Noun, id: Uuid) -> Self {
        Self { tenant, noun, key: id.hyphenated().to_string() }
    }

    /// The partition this subject lies in.
    pub fn part(&self) -> u16 {
        partition_of(self.tenant)
    }

    /// Reads a subject back.
    ///
    /// # Errors
    ///
    /// [`SubjectError::Form`] for anything else than a subject of the log,
    /// [`SubjectError::Partition`] when the partition is not the tenant's.
    pub fn parse(text: &str) -> Result<Self, SubjectError> {
        let (tenant, noun, key) = Self::parts(text)?;
        Ok(Self { tenant, noun, key: key.to_owned() })
    }

    /// Tenant, noun and key of a subject.
    ///
    /// # Errors
    ///
    /// As [`Subject::parse`].
    pub fn parts(text: &str) -> Result<(TenantId, Noun, &str), SubjectError> {
        let form = || SubjectError::Form(text.to_owned());
        let mut tokens = text.splitn(5, '.');
        let (mw, part, tenant, noun, key) =
            (|| Some((tokens.next()?, tokens.next()?, tokens.next()?, tokens.next()?, tokens.next()?)))()
                .ok_or_else(form)?;
        if mw != "mw" {
            return Err(form());
        }
        let tenant: TenantId = tenant.parse().map_err(|_| form())?;
        let noun = Noun::from_token(noun).ok_or_else(form)?;
        if part.parse::<u16>().ok() != Some(partition_of(tenant)) {
            return Err(SubjectError::Partition(text.to_owned()));
        }
        if is_key(key) { Ok((tenant, noun, key)) } else { Err(SubjectError::Key(key.to_owned())) }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "mw.{}.{}.{}.{}", self.part(), self.tenant, self.noun.token(), self.key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_survives_its_text_form() {
        let s = Subject::new(TenantId::of("hillside"), Noun::Ask, "main.17.abc").unwrap();
        assert_eq!(Subject::parse(&s.to_string()).unwrap(), s);
    }

    #[test]
    fn an_id_is_a_key() {
        let (tenant, node) =
            (TenantId::of("hillside"), crate::NodeId::of(TenantId::of("hillside"), "core-1"));
        let subject = Subject::of(tenant, Noun::Health, node.0);
        assert_eq!(Ok(subject), Subject::new(tenant, Noun::Health, node.to_string()));
    }

    #[test]
    fn raw_input_never_becomes_a_subject() {
        for bad in ["", "a b", "a.*", ">", "a..b", "a.", "ä"] {
            assert!(Subject::new(TenantId::of("t"), Noun::Health, bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_subject_in_the_wrong_partition_is_refused() {
        let s = Subject::new(TenantId::of("t"), Noun::Health, "x").unwrap();
        let wrong = s.to_string().replacen(&format!("mw.{}.", s.part()), "mw.64.", 1);
        assert!(matches!(Subject::parse(&wrong), Err(SubjectError::Partition(_))));
    }

    #[test]
    fn the_hash_is_fnv_1a() {
        assert_eq!(fnv1a(b""), 0x811c_9dc5);
        assert_eq!(fnv1a(b"a"), 0xe40c_292c);
        assert_eq!(fnv1a(b"foobar"), 0xbf9c_f968);
    }
}
