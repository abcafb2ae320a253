//! Who has a session at a router: its PPP table and its DHCP leases, read once for all who ask meanwhile.
//!
//! A reading answers everybody who asked before it began; who asks later gets a new one. That
//! the router was silent is told to those who asked a few seconds later too, so that a queue of questions to
//! a dead router does not wait for it one by one.

use crate::{
    known::claim_keys,
    room::Room,
    routers::{Line, Trouble},
    tries::{Ended, Heard, rest, three_tries},
};
use events::{ClaimKey, NodeId, TenantId};
use roster::Roster;
use routeros_api::{
    Command, Question, Reply,
    question::{Unreadable, Uptime},
};
use std::{
    borrow::Cow,
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::time::Instant;
use vault::SessionKind;

/// For how long "the router was silent" stands for those who ask after it was tried. As long as the
/// deciders themselves reuse a silence.
const SILENCE_REUSED: Duration = Duration::from_secs(5);

/// One reading of a router's session tables.
#[derive(Debug, Clone)]
pub(crate) struct SessionsRead {
    begun: Instant,
    ended: Result<Arc<BTreeSet<ClaimKey>>, Failed>,
}

/// Why something a router knows was not learnt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failed {
    /// It left three tries unanswered.
    Silent,
    /// For another reason, which says nothing about the router.
    Unanswered(String),
}

impl From<Trouble> for Failed {
    /// A router that answered a moment ago and is silent in the middle of a table is merely slow.
    fn from(trouble: Trouble) -> Self {
        Failed::Unanswered(trouble.why())
    }
}

/// The names of all PPP sessions, and nothing else of them.
pub(crate) struct ActiveNames;

impl Question for ActiveNames {
    type Answer = Vec<String>;

    fn command(&self) -> Command {
        Command::new("/ppp/active/print").proplist(&["name"])
    }

    fn read(&self, reply: &Reply) -> Result<Vec<String>, Unreadable> {
        let name = |row: &routeros_api::Row| {
            row.text("name").map(Cow::into_owned).ok_or(Unreadable::Missing { property: "name" })
        };
        reply.rows.iter().map(name).collect()
    }
}

/// The MAC addresses that hold a DHCP lease now.
struct BoundMacs;

impl Question for BoundMacs {
    type Answer = Vec<String>;

    fn command(&self) -> Command {
        let properties = ["mac-address", "active-mac-address", "status"];
        Command::new("/ip/dhcp-server/lease/print").proplist(&properties).equal("status", "bound")
    }

    fn read(&self, reply: &Reply) -> Result<Vec<String>, Unreadable> {
        let mac = |row: &routeros_api::Row| {
            let said = |name| row.text(name).filter(|mac| !mac.is_empty()).map(Cow::into_owned);
            said("active-mac-address").or_else(|| said("mac-address"))
        };
        Ok(reply.rows.iter().filter_map(mac).collect())
    }
}

/// Whether a router answers, in the rhythm of a probe: how long it has been up. `unanswered` hears of
/// each silent try.
///
/// # Errors
///
/// [`Failed`]: it was silent, or it refuses.
pub(crate) async fn uptime(line: &Line, unanswered: impl FnMut(u8)) -> Result<Duration, Failed> {
    if let Some(why) = line.is_rejected() {
        return Err(Failed::Unanswered(format!("not tried again yet: {why}")));
    }
    let told = Mutex::new(None);
    let ended = three_tries(
        |n| {
            let (told, way) = (&told, line.way(n, false));
            async move {
                match line.ask(&Uptime, rest(n), way).await {
                    Ok(uptime) => {
                        *told.lock().unwrap_or_else(PoisonError::into_inner) = Some(Ok(uptime));
                        Heard::Reply(Duration::ZERO)
                    }
                    Err(Trouble::Silent) => Heard::Nothing,
                    Err(Trouble::Cannot(why)) => Heard::Cannot(why),
                    Err(refusal @ (Trouble::Refused(_) | Trouble::Trap { .. })) => {
                        *told.lock().unwrap_or_else(PoisonError::into_inner) = Some(Err(refusal));
                        Heard::Reply(Duration::ZERO)
                    }
                }
            }
        },
        unanswered,
    )
    .await;
    let told = told.into_inner().unwrap_or_else(PoisonError::into_inner);
    match (ended, told) {
        (Ended::Replied(_), Some(Ok(uptime))) => Ok(uptime),
        (Ended::Replied(_), Some(Err(refusal))) => Err(refusal.into()),
        (Ended::Replied(_), None) => Err(Failed::Unanswered("the router's answer went amiss".into())),
        (Ended::Silent, _) => Err(Failed::Silent),
        (Ended::Unanswered(why), _) => Err(Failed::Unanswered(why)),
    }
}

/// Which sessions a router has, under the keys they are claimed by. `asked`: when this was wanted;
/// `by`: until when it is any use; `unanswered` hears of each silent try.
///
/// # Errors
///
/// [`Failed`]: the router was silent, refuses, or did not tell it all in time.
pub(crate) async fn sessions(
    roster: &Roster,
    tenant: TenantId,
    router: NodeId,
    line: &Line,
    (asked, by): (Instant, Instant),
    at_once: &Room,
    unanswered: impl FnMut(u8),
) -> Result<Arc<BTreeSet<ClaimKey>>, Failed> {
    let late = |_| Failed::Unanswered("the deadline passed while the router was asked by others".into());
    let mut last = tokio::time::timeout_at(by, line.places().sessions.lock()).await.map_err(late)?;
    match &*last {
        Some(SessionsRead { begun, ended: Ok(keys) }) if *begun >= asked => return Ok(Arc::clone(keys)),
        Some(SessionsRead { begun, ended: Err(Failed::Silent) })
            if asked.saturating_duration_since(*begun) < SILENCE_REUSED =>
        {
            return Err(Failed::Silent);
        }
        Some(_) | None => {}
    }
    let _place = line.places().asks.place_by(by).await.map_err(late)?;
    let _work = at_once.place_by(by).await.map_err(late)?;
    let begun = Instant::now();
    let ended = match uptime(line, unanswered).await {
        Ok(_) => read(roster, tenant, router, line, by).await.map(Arc::new),
        Err(failed) => Err(failed),
    };
    *last = Some(SessionsRead { begun, ended: ended.clone() });
    ended
}

/// Reads both tables. A router without one of them has no sessions there.
///
/// # Errors
///
/// [`Failed::Unanswered`]: the router refuses, or did not tell it all in time.
pub(crate) async fn read(
    roster: &Roster,
    tenant: TenantId,
    router: NodeId,
    line: &Line,
    by: Instant,
) -> Result<BTreeSet<ClaimKey>, Failed> {
    let keys = roster.keys(tenant).map_err(Failed::Unanswered)?;
    let names = or_none(line.ask(&ActiveNames, left(by), line.way(0, true)).await)?;
    let macs = or_none(line.ask(&BoundMacs, left(by), line.way(0, true)).await)?;
    let ppp = claim_keys(&keys, router, SessionKind::Ppp, names.iter().map(String::as_str));
    let mac = claim_keys(&keys, router, SessionKind::Mac, macs.iter().map(String::as_str));
    Ok(roster.claimed(tenant, ppp.chain(mac)))
}

fn or_none(asked: Result<Vec<String>, Trouble>) -> Result<Vec<String>, Failed> {
    match asked {
        Ok(names) => Ok(names),
        Err(Trouble::Trap { unknown: true, .. }) => Ok(Vec::new()),
        Err(trouble) => Err(trouble.into()),
    }
}

/// The time until `by`.
pub(crate) fn left(by: Instant) -> Duration {
    by.saturating_duration_since(Instant::now())
}
