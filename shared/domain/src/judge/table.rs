//! Reading the routers' tables before sessions are said to have been lost together.
//!
//! Who fell counts as fallen until somebody says that the session is back, and that word may be lost. So when
//! enough of them have fallen, each router whose table held their sessions is asked once what it holds now; who is
//! in it has not lost a session. What a router does not say in the time that it has is not waited for.
//!
//! Who was seen to be gone in the moment in which they became enough need not be looked up: a roll call that settled
//! them all is not made twice.

use super::{REUSE_MS, asking::ROLL_CALL_MS};
use crate::{
    diagnosis::{Out, Tenant},
    graph::Index,
    recent::NodeRecent,
};
use events::{Question, Time};
use std::collections::BTreeSet;

impl Tenant {
    /// Whether all that can be read of those who fell has been; asks for it otherwise, and has `index` weighed again
    /// when it is there or nobody waits for it any more. `enough_at`: when they became enough.
    pub(super) fn tables_are_read(
        &mut self,
        index: Index,
        fallen: impl Iterator<Item = Index>,
        enough_at: Time,
        out: &mut Out,
    ) -> bool {
        let since = enough_at.plus_ms(-REUSE_MS);
        let routers: BTreeSet<Index> = fallen.filter_map(|fallen| self.table_of(fallen, since)).collect();
        let mut is_read = true;
        for router in routers {
            if let Some(at) = self.table_is_awaited(router, since, out) {
                is_read = false;
                self.await_look(router, index);
                self.wakes.insert((at, index));
            }
        }
        is_read
    }

    /// The router whose table tells whether a session is there, when it was not seen to be gone at `since` or later.
    fn table_of(&self, fallen: Index, since: Time) -> Option<Index> {
        let node = self.network.graph.node(fallen).filter(|node| !node.claims.is_empty())?;
        let silence = self.recent.of(fallen).and_then(NodeRecent::silence);
        let router = self.router_of(node).filter(|_| silence.is_none_or(|gone| gone.asked_at < since))?;
        let answers = self.network.graph.node(router).is_some_and(|router| router.login.is_some());
        (answers && self.supply_is_usable(router)).then_some(router)
    }

    /// Until when a router's table is waited for, as it was at `since` or later. It is asked for once.
    fn table_is_awaited(&mut self, router: Index, since: Time, out: &mut Out) -> Option<Time> {
        let asked = self.in_flight.get(&(router, true)).filter(|asked| asked.at >= since).copied();
        if let Some(asked) = asked {
            let ended = self.recent.of(router).and_then(|r| r.ended_since(asked.at, true));
            return (out.now < asked.deadline && ended.is_none()).then_some(asked.deadline);
        }
        self.check(router, Question::RollCall { whole: true }, 0, out);
        // Where there was no room for the question it is asked with the next commit.
        let is_asked = self.in_flight.get(&(router, true)).is_some_and(|asked| asked.at >= since);
        Some(if is_asked { out.now.plus_ms(ROLL_CALL_MS) } else { Time::EPOCH })
    }
}
