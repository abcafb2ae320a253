//! Who was turned away at a door of mastwatch's, and why.
//!
//! A record for people: nothing follows from it. Never holds a token or a body, only which token it was
//! (by its public part), from where it came and the reason.

use crate::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// Why somebody was turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RefusalReason {
    /// No token, or one that is not known, or known and revoked.
    Unauthorized,
    /// The token is good, and opens other doors.
    OtherGrant,
    /// The token is good, and not for use from that address.
    WrongSource,
    /// More bytes or signals than are taken at once.
    TooLarge,
    /// A sequence far below the last one heard, or of a boot that is over: sent again, by whomever.
    Stale,
    /// A router's token, speaking for another router.
    OtherRouter,
    /// A claim of a kind that mastwatch alone makes.
    OwnSource,
}

impl RefusalReason {
    /// As it stands in JSON, tables and figures.
    pub const fn name(self) -> &'static str {
        match self {
            RefusalReason::Unauthorized => "unauthorized",
            RefusalReason::OtherGrant => "other_grant",
            RefusalReason::WrongSource => "wrong_source",
            RefusalReason::TooLarge => "too_large",
            RefusalReason::Stale => "stale",
            RefusalReason::OtherRouter => "other_router",
            RefusalReason::OwnSource => "own_source",
        }
    }
}

/// One or more requests turned away for the same reason, from the same place, with the same token.
///
/// Lies with the tenant whose token it is; with the operator where that is nobody's, or not told apart any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Refusal {
    /// Why.
    pub reason: RefusalReason,
    /// The public part of the token that was shown. None: no token, one whose public part is nobody's or two tenants', or
    /// many of a tenant's, more than are told apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// From where. None: from many places, more than are told apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<IpAddr>,
    /// How many requests this record stands for.
    pub count: u64,
    /// When the first of them came, by the clock of who turned it away.
    pub first: Time,
    /// When the last of them came.
    pub last: Time,
    /// What more is known of the first: a bound, a sequence number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

impl Refusal {
    /// The key of its subject: refusals with one token are one history.
    pub fn key(&self) -> String {
        self.token.as_ref().map_or_else(|| "no-token".into(), |prefix| format!("token-{prefix}"))
    }
}
