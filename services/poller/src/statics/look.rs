//! One ping of one static subscriber through its router, and what is claimed of it then.

use crate::{
    persons::Address,
    reach::Reach,
    routers::{Line, Trouble},
    through,
    tries::{ThroughEnded, WHOLE},
    voice::Voice,
};
use events::{About, Claim, NodeId, Signal, SignalSource, TenantId};
use routeros_api::question::Uptime;
use std::time::Duration;
use tokio::time::Instant;

/// For how long storing a claim is tried. Later the next ping says it.
const SAY_WITHIN: Duration = Duration::from_secs(20);

/// What a ping found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// Whether the subscriber answers its router.
    Answers(bool),
    /// The router left tries without a word, or did so several times just now: nothing about the subscriber.
    RouterSilent,
    /// It does not answer, and its router booted a moment ago: what it needs may not be there yet.
    TooEarly,
    /// It has no static address.
    NoAddress,
    /// The router was asked and does not do it, or does not let us in.
    Refused,
    /// The router was not even asked: a fault on our side, or it rejected our login a moment ago.
    NotTried,
}

impl Found {
    /// In figures.
    pub(super) fn name(self) -> &'static str {
        match self {
            Found::Answers(true) => "replied",
            Found::Answers(false) => "silent",
            Found::RouterSilent => "router_silent",
            Found::TooEarly => "too_early",
            Found::NoAddress => "no_address",
            Found::Refused => "refused",
            Found::NotTried => "not_tried",
        }
    }

    fn claim(self) -> Option<Claim> {
        match self {
            Found::Answers(true) => Some(Claim::Up),
            Found::Answers(false) => Some(Claim::Down),
            Found::RouterSilent | Found::TooEarly | Found::NoAddress | Found::Refused | Found::NotTried => {
                None
            }
        }
    }
}

/// What stands as said of a subscriber after a ping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum After {
    /// The same as before.
    AsBefore,
    /// This, just now.
    Said(Claim),
    /// Nothing that can be relied upon: the next result is said whatever it is.
    Unsure,
}

/// One ping.
pub(super) struct Look {
    pub(super) reach: Reach,
    pub(super) voice: Voice,
    pub(super) tenant: TenantId,
    pub(super) router: NodeId,
    pub(super) subscriber: NodeId,
    /// What was last said of it.
    pub(super) said: Option<Claim>,
    /// Whether that is to be said again.
    pub(super) is_due: bool,
}

impl Look {
    /// Pings, and says what came of it if that is news.
    pub(super) async fn run(self) -> (Found, After) {
        let found = match self.find_out().await {
            Ok(found) => found,
            Err(why) => {
                self.note(&why);
                Found::NotTried
            }
        };
        let Some(claim) = found.claim() else {
            // A router that comes back may refuse before it was seen to be silent.
            let after = if found == Found::Refused { After::Unsure } else { After::AsBefore };
            return (found, after);
        };
        if self.said == Some(claim) && !self.is_due {
            return (found, After::AsBefore);
        }
        let is_stored = self.voice.claim(self.tenant, self.signal(claim), Instant::now() + SAY_WITHIN).await;
        (found, if is_stored { After::Said(claim) } else { After::Unsure })
    }

    fn signal(&self, says: Claim) -> Signal {
        Signal {
            about: About::Node(self.subscriber),
            says,
            source: SignalSource::ProxyPing,
            sender: Some(self.router),
            boot: None,
            seq: None,
            sealed_name: None,
            detail: None,
        }
    }

    async fn find_out(&self) -> Result<Found, String> {
        let Some(address) = self.reach.persons.address(self.tenant, self.subscriber).await? else {
            return Ok(Found::NoAddress);
        };
        let line = self.reach.line(self.tenant, self.router)?;
        if let Some(why) = line.is_rejected() {
            return Err(format!("not tried again yet: {why}"));
        }
        if line.is_resting() {
            return Ok(Found::RouterSilent);
        }
        Ok(self.ping(&line, address).await.unwrap_or_else(|why| {
            self.note(&address.taken_out_of(&why));
            Found::Refused
        }))
    }

    fn note(&self, why: &str) {
        tracing::debug!(subscriber = %self.subscriber, why, "a static subscriber could not be pinged");
    }

    async fn ping(&self, line: &Line, address: Address) -> Result<Found, String> {
        let _place = line.places().asks.place().await;
        match through::ping(line, address.reveal(), |_| {}).await {
            ThroughEnded::Replied(_) => Ok(Found::Answers(true)),
            ThroughEnded::RouterSilent(_) => Ok(Found::RouterSilent),
            ThroughEnded::Unanswered(why) => Err(why),
            ThroughEnded::Silent => match line.ask(&Uptime, WHOLE, line.way(0, true)).await {
                Ok(uptime) if self.is_blind(uptime) => Ok(Found::TooEarly),
                Ok(_) => Ok(Found::Answers(false)),
                Err(Trouble::Silent) => Ok(Found::RouterSilent),
                Err(trouble) => Err(trouble.why()),
            },
        }
    }

    /// Whether a router that has been up for so long does not know those behind it yet.
    fn is_blind(&self, uptime: Duration) -> bool {
        let blind_ms =
            self.reach.roster.look(self.tenant, |network| network.policy.blind_after_boot_ms).unwrap_or(0);
        uptime < Duration::from_millis(blind_ms.into())
    }
}
