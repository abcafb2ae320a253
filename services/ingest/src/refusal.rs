//! Why a sender is refused, and what it is told.

use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};
use events::{RefusalReason, SignalSource};
use kit::{PublishError, http::Problem};
use std::time::Duration;

/// When to come again while much waits to be stored.
const BUSY_AGAIN: Duration = Duration::from_secs(1);
/// When to come again while the log cannot be reached.
const AWAY_AGAIN: Duration = Duration::from_secs(2);
/// When to come again while the log's store is full: somebody has to make room.
const FULL_AGAIN: Duration = Duration::from_secs(30);

/// One refusal. Never holds a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It cannot be read; says what would be right.
    Malformed(String),
    /// No token, or one that is not known here.
    Unauthorized,
    /// A known token, which opens other doors.
    OtherGrant,
    /// A known token, from a place it is not for.
    WrongSource,
    /// The short forms by GET are switched off.
    NoGet,
    /// More bytes or more signals than are taken at once.
    TooLarge(String),
    /// A sequence far below the last one heard, or of a boot that is over.
    Stale(String),
    /// A claim about a session at a router nobody named.
    NoRouter,
    /// A router's token speaks for that router alone.
    OtherRouter,
    /// Claims of this kind are made by mastwatch itself.
    OwnSource(SignalSource),
    /// Granted again after this time.
    OverQuota(Duration),
    /// The tenant's keys are not known, so nobody's name could be hidden.
    NoKeys,
    /// The log cannot store it now.
    NotStored {
        /// Why, for the sender.
        why: String,
        /// When to come again.
        again: Duration,
    },
    /// A fault of ours; it has been logged.
    Internal,
    /// One of an array, the first that is refused: its place, from 0, and why.
    Element(usize, Box<Refusal>),
}

impl Refusal {
    /// A [`Refusal::Malformed`] that says `what`.
    pub(crate) fn malformed(what: impl Into<String>) -> Self {
        Self::Malformed(what.into())
    }

    /// Its name in figures.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Refusal::Malformed(_) => "malformed",
            Refusal::Unauthorized => "unauthorized",
            Refusal::OtherGrant => "other_grant",
            Refusal::WrongSource => "wrong_source",
            Refusal::NoGet => "no_get",
            Refusal::TooLarge(_) => "too_large",
            Refusal::Stale(_) => "stale",
            Refusal::NoRouter => "no_router",
            Refusal::OtherRouter => "other_router",
            Refusal::OwnSource(_) => "own_source",
            Refusal::OverQuota(_) => "over_quota",
            Refusal::NoKeys => "no_keys",
            Refusal::NotStored { .. } => "not_stored",
            Refusal::Internal => "internal",
            Refusal::Element(_, why) => why.reason(),
        }
    }

    /// Why, for the record, when it is a matter of security; others are counted only.
    pub(crate) fn audited(&self) -> Option<RefusalReason> {
        Some(match self {
            Refusal::Element(_, why) => return why.audited(),
            Refusal::Unauthorized => RefusalReason::Unauthorized,
            Refusal::OtherGrant => RefusalReason::OtherGrant,
            Refusal::WrongSource => RefusalReason::WrongSource,
            Refusal::TooLarge(_) => RefusalReason::TooLarge,
            Refusal::Stale(_) => RefusalReason::Stale,
            Refusal::OtherRouter => RefusalReason::OtherRouter,
            Refusal::OwnSource(_) => RefusalReason::OwnSource,
            Refusal::Malformed(_)
            | Refusal::NoGet
            | Refusal::NoRouter
            | Refusal::OverQuota(_)
            | Refusal::NoKeys
            | Refusal::NotStored { .. }
            | Refusal::Internal => return None,
        })
    }

    /// What the record says beside the reason: bounds and sequence numbers, nothing else of what was sent.
    pub(crate) fn detail(&self) -> Option<&str> {
        match self {
            Refusal::Stale(detail) | Refusal::TooLarge(detail) => Some(detail),
            Refusal::Element(_, why) => why.detail(),
            Refusal::Malformed(_)
            | Refusal::Unauthorized
            | Refusal::OtherGrant
            | Refusal::WrongSource
            | Refusal::NoGet
            | Refusal::NoRouter
            | Refusal::OtherRouter
            | Refusal::OwnSource(_)
            | Refusal::OverQuota(_)
            | Refusal::NoKeys
            | Refusal::NotStored { .. }
            | Refusal::Internal => None,
        }
    }

    fn problem(self) -> Problem {
        match self {
            Refusal::Malformed(what) => Problem::malformed(what),
            Refusal::Unauthorized => Problem::unauthorized(),
            Refusal::OtherGrant => Problem::forbidden("this token does not open the front door"),
            Refusal::WrongSource => Problem::new(
                StatusCode::FORBIDDEN,
                "wrong_source",
                "this token is not for use from this address",
            ),
            Refusal::NoGet => Problem::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                "the forms by GET are switched off here: send a POST",
            ),
            Refusal::TooLarge(what) => Problem::too_large(what),
            Refusal::Stale(what) => Problem::impossible("stale", what),
            Refusal::NoRouter => Problem::impossible(
                "no_router",
                "a session is known at its router only: name `router`, or use the router's own token",
            ),
            Refusal::OtherRouter => {
                Problem::impossible("other_router", "a router's token speaks for that router alone")
            }
            Refusal::OwnSource(source) => Problem::impossible(
                "own_source",
                format!("claims of source {source:?} are made by mastwatch itself"),
            ),
            Refusal::OverQuota(wait) => Problem::over_quota(wait),
            Refusal::NoKeys => Problem::unavailable("this tenant's keys are not known here yet", AWAY_AGAIN),
            Refusal::NotStored { why, again } => Problem::unavailable(why, again),
            Refusal::Internal => Problem::internal(),
            Refusal::Element(n, why) => {
                let mut problem = why.problem();
                problem.detail = problem.detail.map(|detail| format!("signal {n}: {detail}"));
                problem
            }
        }
    }
}

impl From<PublishError> for Refusal {
    fn from(error: PublishError) -> Self {
        match error {
            PublishError::Busy => {
                Refusal::NotStored { why: "too much waits to be stored".into(), again: BUSY_AGAIN }
            }
            PublishError::Unavailable(_) => {
                Refusal::NotStored { why: "the log cannot be reached".into(), again: AWAY_AGAIN }
            }
            PublishError::StoreFull(_) => {
                Refusal::NotStored { why: "the log's store is full".into(), again: FULL_AGAIN }
            }
            PublishError::Refused { code, text } => {
                tracing::error!(code, text, "the log refuses a signal");
                Refusal::NotStored { why: "the log does not take it".into(), again: FULL_AGAIN }
            }
            error @ (PublishError::Encode(_) | PublishError::TooMany(_) | PublishError::Conflict { .. }) => {
                tracing::error!(%error, "a signal that was read cannot be written");
                Refusal::Internal
            }
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        self.problem().into_response()
    }
}
