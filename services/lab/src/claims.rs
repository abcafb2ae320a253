//! Webhooks that are sent without anything having happened: load for benchmarks.
//!
//! They come from the router that sees the node, with its token, its boot and its next sequence, as
//! if its script had run. Nothing in the world changes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::join_all;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::lab::{Lab, Way};
use crate::network::{NodeIndex, RouterIndex, Sight};
use crate::script::{Fetch, Status};

/// The most claims in one request.
pub const CLAIMS_MAX: usize = 500_000;
/// The most webhooks under way at once.
const AT_ONCE_MAX: usize = 1024;

/// What is to be claimed.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claims {
    /// In this order.
    pub claims: Vec<Claim>,
    /// Over which time they are sent, evenly; 0 as fast as possible.
    #[serde(default)]
    pub spread_ms: u64,
    /// How many are under way at once, at most 1,024.
    #[serde(default = "at_once")]
    pub at_once: usize,
    /// How often one is tried; a router waits 3 s of its time in between.
    #[serde(default = "tries")]
    pub tries: u32,
    /// Whether they arrive even from routers that are cut off or have no power.
    #[serde(default)]
    pub even_when_cut_off: bool,
}

fn at_once() -> usize {
    64
}

fn tries() -> u32 {
    3
}

/// One claim.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claim {
    /// About which node.
    pub node: String,
    /// What it is said to be.
    pub status: Status,
}

/// What became of the claims.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// Taken by ingest, or made to vanish by a fault.
    pub accepted_count: usize,
    /// Not taken in any try.
    pub failed_count: usize,
    /// From the first to the last.
    pub took_ms: u64,
    /// From sending to the answer, half of them within.
    pub p50_us: u64,
    /// 99 of 100 within.
    pub p99_us: u64,
    /// The slowest.
    pub max_us: u64,
}

/// Why claims cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum BadClaims {
    /// Too many.
    #[error("{0} claims; {CLAIMS_MAX} are allowed")]
    TooMany(usize),
    /// A node is not known.
    #[error("there is no node `{0}`")]
    Unknown(String),
    /// No router could say it.
    #[error("no router that has a webhook token sees `{0}`")]
    Unseen(String),
    /// Nobody to say it to.
    #[error("the lab was started without an address of ingest")]
    Nowhere,
}

struct Ready {
    router: RouterIndex,
    /// The path and the name of the thing in the body, and the thing.
    path: &'static str,
    key: &'static str,
    thing: String,
    status: &'static str,
}

impl Claims {
    /// Sends all of them.
    ///
    /// # Errors
    ///
    /// [`BadClaims`] before anything is sent.
    pub async fn send(&self, lab: &Arc<Lab>) -> Result<Outcome, BadClaims> {
        if self.claims.len() > CLAIMS_MAX {
            return Err(BadClaims::TooMany(self.claims.len()));
        }
        let Some(ingest) = &lab.settings().ingest else { return Err(BadClaims::Nowhere) };
        let ready = self.claims.iter().map(|claim| prepared(lab, claim)).collect::<Result<Vec<_>, _>>()?;
        let begun = Instant::now();
        let next = AtomicUsize::new(0);
        let workers = (0..self.at_once.clamp(1, AT_ONCE_MAX)).map(|_| async {
            let (mut failed, mut took_us) = (0_usize, Vec::new());
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                let Some(claim) = ready.get(n) else { return (failed, took_us) };
                let share = n as f64 / ready.len() as f64;
                tokio::time::sleep_until(begun + Duration::from_millis(self.spread_ms).mul_f64(share)).await;
                let sent_at = Instant::now();
                if self.send_one(lab, ingest, claim).await {
                    took_us.push(sent_at.elapsed().as_micros() as u64);
                } else {
                    failed += 1;
                }
            }
        });
        let mut outcome = Outcome::default();
        let mut took_us = Vec::with_capacity(ready.len());
        for (failed, mut took) in join_all(workers).await {
            outcome.failed_count += failed;
            took_us.append(&mut took);
        }
        took_us.sort_unstable();
        let at = |percent: usize| {
            took_us.get((took_us.len() * percent / 100).min(took_us.len().saturating_sub(1)))
        };
        outcome.accepted_count = took_us.len();
        outcome.took_ms = begun.elapsed().as_millis() as u64;
        outcome.p50_us = at(50).copied().unwrap_or_default();
        outcome.p99_us = at(99).copied().unwrap_or_default();
        outcome.max_us = took_us.last().copied().unwrap_or_default();
        Ok(outcome)
    }

    async fn send_one(&self, lab: &Arc<Lab>, ingest: &url::Url, claim: &Ready) -> bool {
        let Ok(url) = ingest.join(claim.path) else { return false };
        let token = lab.network().router(claim.router).token.clone().unwrap_or_default();
        let (boot, seq) = lab.next_said(claim.router);
        let mut body =
            serde_json::json!({ claim.key: claim.thing, "status": claim.status, "boot": boot, "seq": seq });
        if claim.key == "mac" {
            // A lease is of an address; which one says nothing about whether it is there.
            body["address"] = "100.96.0.1".into();
        }
        let fetch = Fetch {
            url: url.into(),
            method: Some("post".to_owned()),
            data: Some(body.to_string()),
            headers: vec![
                ("Content-Type".to_owned(), "application/json".to_owned()),
                ("Authorization".to_owned(), format!("Bearer {token}")),
            ],
        };
        let way = if self.even_when_cut_off { Way::Any } else { Way::Own };
        for n in 0..self.tries.clamp(1, 10) {
            if n > 0 {
                tokio::time::sleep(lab.real(Duration::from_secs(3))).await;
            }
            if lab.fetch(claim.router, fetch.clone(), way).await.is_ok() {
                return true;
            }
        }
        false
    }
}

fn prepared(lab: &Lab, claim: &Claim) -> Result<Ready, BadClaims> {
    let network = lab.network();
    let index: NodeIndex = network.find(&claim.node).ok_or_else(|| BadClaims::Unknown(claim.node.clone()))?;
    let node = network.node(index);
    let seen = node.seen_by.as_ref().filter(|(router, _)| network.router(*router).token.is_some());
    let (router, sight) = seen.ok_or_else(|| BadClaims::Unseen(claim.node.clone()))?;
    Ok(match sight {
        Sight::Netwatch => Ready {
            router: *router,
            path: "/api/webhooks/mikrotik/device-status",
            key: "id",
            thing: node.id.to_string(),
            status: claim.status.of_device(),
        },
        Sight::Session(user) => Ready {
            router: *router,
            path: "/api/webhooks/mikrotik/ppp-status",
            key: "user",
            thing: user.to_string(),
            status: claim.status.of_session(),
        },
        Sight::Lease(mac) => Ready {
            router: *router,
            path: "/api/webhooks/mikrotik/dhcp-status",
            key: "mac",
            thing: mac.to_string(),
            status: claim.status.of_lease(),
        },
    })
}
