//! Where subscribers with a static address answer.
//!
//! The address names a person: it is sealed beside the log and opened each time that it is used. It is kept nowhere,
//! so whoever is forgotten is forgotten here too; and it means something only to the router that sees the
//! subscriber, because private ranges overlap. Nothing that is said or logged holds it.

use events::{NodeId, TenantId};
use kit::Log;
use prometheus_client::metrics::counter::Counter;
use roster::Roster;
use std::{net::IpAddr, sync::Arc};

/// An address that names a person: not printed by mistake.
#[derive(Clone, Copy)]
pub(crate) struct Address(IpAddr);

impl Address {
    /// To have it pinged.
    pub(crate) fn reveal(self) -> IpAddr {
        self.0
    }

    /// What somebody said, without the address if it is in there.
    pub(crate) fn taken_out_of(self, said: &str) -> String {
        said.replace(&self.0.to_string(), "…")
    }
}

/// Opens addresses.
#[derive(Clone)]
pub(crate) struct Persons {
    /// Where the sealed ones are.
    pub(crate) log: Log,
    /// Who has the keys.
    pub(crate) roster: Arc<Roster>,
    /// Counts those that were opened.
    pub(crate) opened: Counter,
}

impl Persons {
    /// Where a subscriber answers; none when it has no static address, or is forgotten.
    ///
    /// # Errors
    ///
    /// Why that cannot be found out now, for people.
    pub(crate) async fn address(
        &self,
        tenant: TenantId,
        subscriber: NodeId,
    ) -> Result<Option<Address>, String> {
        let keys = self.roster.keys(tenant)?;
        let sealed = self.log.person_at_any_replica(tenant, subscriber).await.map_err(|e| e.to_string())?;
        let Some(sealed) = sealed else { return Ok(None) };
        let person = keys
            .open_person(subscriber, &sealed)
            .map_err(|error| format!("opening what is kept of the subscriber: {error}"))?;
        self.opened.inc();
        // Of one who dials in it is the address that he gets when he does: his session tells of him.
        if person.user.is_some() || person.mac.is_some() {
            return Ok(None);
        }
        let Some(text) = &person.static_address else { return Ok(None) };
        // The error would repeat the text.
        let address = text.parse().map_err(|_| "the subscriber's address is none".to_owned())?;
        Ok(Some(Address(address)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_routers_words_are_repeated_without_the_address() {
        let address = Address(IpAddr::from([192, 168, 88, 50]));
        let said = "the router refuses: cannot ping 192.168.88.50 (6)";
        assert_eq!(address.taken_out_of(said), "the router refuses: cannot ping … (6)");
    }
}
