//! What must not be read: sealing, keys, tokens and keyed digests.
//!
//! One chain: a *master key* lies in the environment or a file and never in the log; it wraps
//! each tenant's *data key* and *look-up key*, which are drawn at random and lie in the log
//! wrapped ([`events::LookUpKey`]); the data key seals every secret and every personal detail
//! for one tenant and one [`Field`]. What was sealed for one tenant or field opens for no other.
//!
//! Sealing is deterministic: the same value of the same field of the same tenant seals to the
//! same text, so importing an unchanged file changes nothing. Nothing else is told by that: the
//! nonce is a keyed hash that only holders of the data key can work out.
//!
//! Nothing in here prints a secret: keys and fresh tokens have no readable `Debug`, errors name
//! what was attempted and never the value, and memory is wiped when dropped.

mod digest;
mod field;
mod master;
mod person;
mod seal;
mod tenant;
mod token;

pub use digest::{same, sha256_hex};
pub use field::{Field, SessionKind};
pub use master::{KeyError, MasterKey, MasterKeys};
pub use person::Person;
pub use seal::OpenError;
pub use tenant::TenantKeys;
pub use token::{FreshToken, PREFIX_LEN, TokenError, kept, prefix_of, token_matches};
pub use zeroize::Zeroizing;
