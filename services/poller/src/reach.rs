//! Looking at a node directly: an echo, a TCP connection, or the RouterOS API.

use crate::{
    dial::dial,
    echo::Pinger,
    known,
    persons::{Address, Persons},
    routers::{Line, Routers, Trouble},
    sight::Sight,
    tries::{Ended, Heard, rest, three_tries},
};
use events::{NodeId, Probe, TenantId};
use roster::Roster;
use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};
use tokio::time::Instant;

/// For whom a probe is: a router keeps one place for its own heartbeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// An ask.
    Ask,
    /// The keeper's own watch.
    Heartbeat,
}

impl Purpose {
    /// In figures.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Purpose::Ask => "ask",
            Purpose::Heartbeat => "heartbeat",
        }
    }
}

/// Looks at nodes.
#[derive(Clone)]
pub(crate) struct Reach {
    /// What is known of the network.
    pub(crate) roster: Arc<Roster>,
    /// The routers that are spoken to.
    pub(crate) routers: Arc<Routers>,
    /// Sends echoes.
    pub(crate) pinger: Arc<dyn Pinger>,
    /// Opens where static subscribers answer.
    pub(crate) persons: Persons,
    /// Whether this point of presence sees anything at all.
    pub(crate) sight: Arc<Sight>,
}

/// Who is pinged through a router.
pub(crate) enum Whom {
    /// A device.
    Device(IpAddr),
    /// A subscriber.
    Person(Address),
}

impl Whom {
    /// To have it pinged.
    pub(crate) fn address(&self) -> IpAddr {
        match self {
            Whom::Device(address) => *address,
            Whom::Person(address) => address.reveal(),
        }
    }

    /// What is said of it, without the address where that names a person.
    pub(crate) fn hidden_in(&self, said: String) -> String {
        match self {
            Whom::Device(_) => said,
            Whom::Person(address) => address.taken_out_of(&said),
        }
    }
}

impl Reach {
    /// The way to a router.
    ///
    /// # Errors
    ///
    /// Why there is none, for people.
    pub(crate) fn line(&self, tenant: TenantId, router: NodeId) -> Result<Line, String> {
        Ok(self.routers.line(router, self.roster.router(tenant, router)?))
    }

    /// Where a node answers that is pinged through `router`. The address of a subscriber is known to the router that
    /// sees it and means somebody else anywhere else.
    ///
    /// # Errors
    ///
    /// Why that is not known, for people.
    pub(crate) async fn through(
        &self,
        tenant: TenantId,
        router: NodeId,
        node: NodeId,
    ) -> Result<Whom, String> {
        let known = self.roster.node(tenant, node).ok_or("it is not in the inventory")?;
        if let Some(address) = known.address {
            return Ok(Whom::Device(address));
        }
        if !known::may_be_static(&known) || known.seen_by != Some(router) {
            return Err("the inventory has no address for it".into());
        }
        let address = self.persons.address(tenant, node).await?;
        address.map(Whom::Person).ok_or_else(|| "the subscriber has no static address".into())
    }

    /// Looks at a node; `unanswered` hears of each silent try but the last. A probe waits for its turn
    /// before its time begins to run.
    pub(crate) async fn probe(
        &self,
        tenant: TenantId,
        node: NodeId,
        probe: Probe,
        purpose: Purpose,
        unanswered: impl FnMut(u8),
    ) -> Ended {
        let address = match self.roster.address(tenant, node) {
            Ok(address) => address,
            Err(why) => return Ended::Unanswered(why),
        };
        match probe {
            Probe::Icmp => self.icmp(address, unanswered).await,
            Probe::Tcp { port } => three_tries(|_| dial(SocketAddr::new(address, port)), unanswered).await,
            Probe::RouterOs => match self.line(tenant, node) {
                Ok(line) => routeros(&line, purpose, unanswered).await,
                Err(why) => Ended::Unanswered(why),
            },
        }
    }

    async fn icmp(&self, address: IpAddr, unanswered: impl FnMut(u8)) -> Ended {
        let mut turn = match self.pinger.turn(address).await {
            Ok(turn) => Some(turn),
            Err(why) => return Ended::Unanswered(why),
        };
        three_tries(|n| self.pinger.echo(address, rest(n), turn.take()), unanswered).await
    }
}

async fn routeros(line: &Line, purpose: Purpose, unanswered: impl FnMut(u8)) -> Ended {
    let places = match purpose {
        Purpose::Ask => &line.places().asks,
        Purpose::Heartbeat => &line.places().watch,
    };
    let _place = places.place().await;
    let attempt = |n| {
        let way = line.way(n, false);
        async move {
            let begun = Instant::now();
            match line.knock(rest(n), way).await {
                // What refuses is alive.
                Ok(()) | Err(Trouble::Refused(_) | Trouble::Trap { .. }) => Heard::Reply(begun.elapsed()),
                Err(Trouble::Silent) => Heard::Nothing,
                Err(Trouble::Cannot(why)) => Heard::Cannot(why),
            }
        }
    };
    three_tries(attempt, unanswered).await
}
