//! The rows that a piece of one tenant's history makes.
//!
//! Facts are taken in the order of the log; the last one of a thing is its row, because every fact
//! carries the whole standing of its thing. What remains is written with one statement a table.
//! So the rows are the same however the history was cut into pieces, and reading it
//! again gives them again.

mod audit;
mod belief;
mod downtime;
mod enforcement;
mod incident;
mod inventory;
pub(crate) mod place;
mod repair;
mod sighting;
mod telling;

use crate::value::{at, number};
use events::{Fact, Inventory, Noun, TenantId};
use kit::projection::Told;
use sqlx::PgConnection;
use std::collections::BTreeSet;
use uuid::Uuid;

/// What the read models are made of. Asks, answers and timers leave no rows: what they lead to does.
///
/// A part has no effect until a revision names it, and is read again then.
pub(crate) const HEARS: &[Noun] = &[
    Noun::Inventory,
    Noun::Revision,
    Noun::Access,
    Noun::Entitlement,
    Noun::Order,
    Noun::Signal,
    Noun::Suspicion,
    Noun::Health,
    Noun::Incident,
    Noun::Notice,
    Noun::Delivery,
    Noun::Repair,
    Noun::Plan,
    Noun::Enforcement,
    Noun::Sighting,
    Noun::Refusal,
];

/// Columns of one table as arrays, and the statement that writes them all at once.
macro_rules! columns {
    ($(#[$doc:meta])* $name:ident $(<$life:lifetime>)? { $($column:ident: $kind:ty,)* } $sql:literal) => {
        $(#[$doc])*
        #[derive(Debug, Default)]
        pub(super) struct $name $(<$life>)? {
            $(pub(super) $column: Vec<$kind>,)*
        }

        impl $(<$life>)? $name $(<$life>)? {
            /// `$1` is the tenant, then one array a column.
            pub(super) const SQL: &'static str = $sql;

            /// Writes them; nothing when there is nothing.
            pub(super) async fn write(self, tenant: uuid::Uuid, tx: &mut sqlx::PgConnection) -> sqlx::Result<()> {
                let lengths = [$(self.$column.len()),*];
                debug_assert!(lengths.iter().all(|l| *l == lengths[0]), "every row has every column");
                if lengths[0] == 0 {
                    return Ok(());
                }
                sqlx::query(Self::SQL).bind(tenant)$(.bind(self.$column))*.execute(tx).await?;
                Ok(())
            }
        }
    };
}
pub(crate) use columns;

/// Deletes what has one of the ids in `$2`; nothing when there are none.
pub(crate) async fn delete(
    sql: &'static str,
    tenant: uuid::Uuid,
    ids: &[uuid::Uuid],
    tx: &mut PgConnection,
) -> sqlx::Result<()> {
    if !ids.is_empty() {
        sqlx::query(sql).bind(tenant).bind(ids).execute(tx).await?;
    }
    Ok(())
}

/// Every statement, for the test that prepares them all.
#[doc(hidden)]
pub fn statements() -> Vec<&'static str> {
    [
        inventory::STATEMENTS,
        place::STATEMENTS,
        belief::STATEMENTS,
        downtime::STATEMENTS,
        incident::STATEMENTS,
        telling::STATEMENTS,
        audit::STATEMENTS,
        repair::STATEMENTS,
        enforcement::STATEMENTS,
        sighting::STATEMENTS,
    ]
    .concat()
}

/// The rows of one tenant, not written yet.
#[derive(Debug, Default)]
pub(crate) struct Rows<'a> {
    inventory: inventory::Rows<'a>,
    belief: belief::Rows<'a>,
    downtime: downtime::Rows<'a>,
    incidents: incident::Rows<'a>,
    telling: telling::Rows<'a>,
    audit: audit::Rows<'a>,
    repairs: repair::Rows<'a>,
    enforcement: enforcement::Rows<'a>,
    sightings: sighting::Rows<'a>,
    last: Option<&'a Told>,
}

impl<'a> Rows<'a> {
    /// Takes in the next fact of the tenant.
    ///
    /// A revision whose things lie in parts is noted here; its things are to be taken by
    /// [`take_thing`](Rows::take_thing) at its place.
    pub(crate) fn take(&mut self, told: &'a Told) {
        self.last = Some(told);
        match &told.heard.fact {
            Fact::Inventory(thing) => self.inventory.take(told, thing),
            Fact::Revision(revision) => {
                self.inventory.revise(told, revision);
                self.audit.revised(told, revision);
            }
            Fact::Access(said) => self.audit.granted(told, said),
            Fact::Entitlement(said) => {
                self.enforcement.entitle(told, said);
                self.audit.entitled(told, said);
            }
            Fact::Enforcement(now) => self.enforcement.enforce(told, now),
            Fact::Order(said) => self.audit.ordered(told, said),
            Fact::Signal(signal) => self.belief.claim(told, signal),
            Fact::Suspicion(said) => self.belief.suspect(told, said),
            Fact::Health(said) => {
                self.belief.believe(told, said);
                self.downtime.hear(told, said);
            }
            Fact::Incident(said) => self.incidents.take(told, said),
            Fact::Notice(said) => self.telling.address(told, said),
            Fact::Delivery(said) => self.telling.deliver(told, said),
            Fact::Repair(repair) => self.repairs.repaired(told, repair),
            Fact::Plan(plan) => self.repairs.planned(told, plan),
            Fact::Sighting(sighting) => self.sightings.seen(told, sighting),
            Fact::Refusal(refusal) => self.audit.refused(told, refusal),
            Fact::Part(_) => {} // Without effect until a revision names it.
            Fact::Ask(_) | Fact::Answer(_) | Fact::View(_) | Fact::Due(_) | Fact::Cut(_) => {} // No rows.
        }
    }

    /// Takes in one thing of a part, at the revision that names it.
    pub(crate) fn take_thing(&mut self, revision: &'a Told, thing: &'a Inventory) {
        self.inventory.take(revision, thing);
    }

    /// Writes what was taken, in a transaction that is already about `tenant`. Gives the nodes of which, and of what is
    /// below them, [`place::settle`] is to work out where they are.
    ///
    /// # Errors
    ///
    /// When Postgres refuses or is gone; the transaction is lost.
    pub(crate) async fn write(self, tenant: TenantId, tx: &mut PgConnection) -> sqlx::Result<BTreeSet<Uuid>> {
        let id = tenant.0;
        let moved = self.inventory.write(id, tx).await?;
        self.belief.write(id, tx).await?;
        self.downtime.write(id, tx).await?;
        self.incidents.write(id, tx).await?;
        self.telling.write(id, tx).await?;
        self.audit.write(id, tx).await?;
        self.repairs.write(id, tx).await?;
        self.enforcement.write(id, tx).await?;
        self.sightings.write(id, tx).await?;
        let Some(last) = self.last else { return Ok(moved) };
        sqlx::query(PROJECTED)
            .bind(id)
            .bind(i32::from(events::partition_of(tenant)))
            .bind(number(last.heard.seq))
            .bind(at(last.heard.heard))
            .execute(tx)
            .await?;
        Ok(moved)
    }
}

const PROJECTED: &str = "insert into projected_tenant (tenant, part, seq, heard_at) values ($1, $2, $3, $4)
    on conflict (tenant) do update set seq = excluded.seq, heard_at = excluded.heard_at";
