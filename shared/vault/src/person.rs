//! What is known about the person behind a subscriber.

use crate::{Field, OpenError, TenantKeys};
use events::{NodeId, Sealed};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// What is known about a person: what must not stand in the log. Wiped when dropped; never printed.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
pub struct Person {
    /// Their PPPoE user name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Their MAC address, lower case with colons.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
    /// Their static IP address; of one who dials in, the one that they always get.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub static_address: Option<String>,
    /// What they are called.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Where they are called.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phone: Option<String>,
    /// Where they live.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
}

impl std::fmt::Debug for Person {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Person(…)")
    }
}

impl TenantKeys {
    /// Seals what is known about the person behind `subscriber`. Equal persons give equal texts.
    pub fn seal_person(&self, subscriber: NodeId, person: &Person) -> Sealed {
        let json = Zeroizing::new(serde_json::to_vec(person).expect("texts can be written as JSON"));
        self.seal(Field::Person(subscriber), &json)
    }

    /// Opens what [`Self::seal_person`] sealed.
    ///
    /// # Errors
    ///
    /// Those of [`TenantKeys::open`]; [`OpenError::Malformed`] when what was sealed is no person.
    pub fn open_person(&self, subscriber: NodeId, sealed: &Sealed) -> Result<Person, OpenError> {
        let json = self.open(Field::Person(subscriber), sealed)?;
        serde_json::from_slice(&json).map_err(|_| OpenError::Malformed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MasterKey, MasterKeys};
    use events::TenantId;

    #[test]
    fn a_person_survives_sealing_and_opens_for_no_other_subscriber() {
        let tenant = TenantId::of("hillside");
        let (keys, _) = MasterKeys::new(MasterKey::random(), vec![]).new_tenant(tenant);
        let [ada, ben] = ["ada", "ben"].map(|account| NodeId::of_account(tenant, account));
        let mut person = Person::default();
        person.user = Some("ada@hillside".into());
        let sealed = keys.seal_person(ada, &person);
        assert_eq!(keys.open_person(ada, &sealed).as_ref(), Ok(&person));
        assert_eq!(keys.open_person(ben, &sealed), Err(OpenError::Refused));
        assert_eq!(keys.open_person(ada, &keys.seal(Field::Person(ada), b"x")), Err(OpenError::Malformed));
        assert!(!format!("{person:?}").contains("ada"));
    }
}
