//! Who may say and read what: tokens and keys. Secrets are never in here, only digests and sealed keys.

use crate::{NodeId, Sealed};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a token opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "for", rename_all = "snake_case")]
pub enum Grant {
    /// A router may push claims about what it sees.
    Router {
        /// Which router.
        router: NodeId,
    },
    /// Another system may push claims about any node of the tenant.
    Signals,
    /// A person or program may use the console's API for this tenant.
    Console,
    /// The same, for every tenant.
    Administrator,
}

/// A token as it is kept: found by its public prefix, compared by digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Token {
    /// The public part: 12 characters of `[a-z0-9]`.
    pub prefix: String,
    /// SHA-256 of the whole token, lower-case hex.
    pub sha256: String,
    /// What it opens.
    pub grant: Grant,
    /// From where it may be used, as `address/bits`; empty: from anywhere.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub networks: Vec<String>,
    /// What operators call it.
    pub name: String,
    /// Whether it opens anything any more.
    #[serde(default)]
    pub revoked: bool,
}

/// The tenant's keys, each sealed under the master key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LookUpKey {
    /// For keyed hashes of user names and MACs.
    pub look_up: Sealed,
    /// For sealing secrets and personal data.
    pub data: Sealed,
}

/// One grant or key as it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "access", rename_all = "snake_case")]
pub enum Access {
    /// A token. Subject key: `token-<prefix>`.
    Token(Token),
    /// The tenant's keys. Subject key: `keys`.
    Keys(LookUpKey),
}

impl Access {
    /// The key of its subject.
    pub fn key(&self) -> String {
        match self {
            Access::Token(t) => format!("token-{}", t.prefix),
            Access::Keys(_) => "keys".into(),
        }
    }
}

/// What has become of one grant, and who changed it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AccessSaid {
    /// The grant as it stands.
    pub now: Access,
    /// Who changed it.
    pub by: String,
}
