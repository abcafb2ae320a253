//! What sealing promises, whatever is sealed.

use events::{ChannelId, ClaimKey, NodeId, Sealed, TenantId};
use proptest::prelude::*;
use vault::{Field, MasterKey, MasterKeys, OpenError, TenantKeys};

fn any_field() -> impl Strategy<Value = Field> {
    ("[a-z]{1,8}", 0..5u8).prop_map(|(name, kind)| {
        let tenant = TenantId::of("t");
        let (node, channel) = (NodeId::of(tenant, &name), ChannelId::of(tenant, &name));
        match kind {
            0 => Field::Login(node),
            1 => Field::Person(node),
            2 => Field::ChannelSecret(channel),
            3 => Field::ChannelLogin(channel),
            _ => Field::Session(ClaimKey(node.0)),
        }
    })
}

fn keys_of(tenant: &str) -> TenantKeys {
    MasterKeys::new(MasterKey::random(), vec![]).new_tenant(TenantId::of(tenant)).0
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// What was sealed opens again, and the same value seals to the same text.
    #[test]
    fn what_was_sealed_opens(field in any_field(), plain in proptest::collection::vec(any::<u8>(), 0..300)) {
        let keys = keys_of("hillside");
        let sealed = keys.seal(field, &plain);
        let opened = keys.open(field, &sealed).unwrap();
        prop_assert_eq!(opened.as_slice(), plain.as_slice());
        prop_assert_eq!(keys.seal(field, &plain), sealed);
    }

    /// A value moved to another field does not open.
    #[test]
    fn a_value_moved_to_another_field_does_not_open(from in any_field(), to in any_field()) {
        prop_assume!(from != to);
        let keys = keys_of("hillside");
        prop_assert_eq!(keys.open(to, &keys.seal(from, b"secret")).unwrap_err(), OpenError::Refused);
    }

    /// A value moved to another tenant does not open.
    #[test]
    fn a_value_moved_to_another_tenant_does_not_open(a in "[a-z]{1,8}", b in "[a-z]{1,8}", field in any_field()) {
        prop_assume!(a != b);
        let sealed = keys_of(&a).seal(field, b"secret");
        prop_assert_eq!(keys_of(&b).open(field, &sealed).unwrap_err(), OpenError::Refused);
    }

    /// Changing any character of a sealed text keeps it shut.
    #[test]
    fn tampering_is_refused(field in any_field(), at in any::<proptest::sample::Index>(), with in "[A-Za-z0-9_-]") {
        let keys = keys_of("hillside");
        let sealed = keys.seal(field, b"a secret of some length");
        let mut text = sealed.0.clone();
        let at = at.index(text.len());
        text.replace_range(at..=at, &with);
        prop_assume!(text != sealed.0);
        prop_assert!(keys.open(field, &Sealed(text)).is_err());
    }

    /// Whatever a stranger sends, opening answers with an error and never panics.
    #[test]
    fn nonsense_never_opens(text in "\\PC{0,80}") {
        let keys = keys_of("hillside");
        let field = Field::Person(NodeId::of_account(TenantId::of("hillside"), "1"));
        prop_assert!(keys.open(field, &Sealed(text.clone())).is_err());
        let marked = Sealed(format!("v1.{text}"));
        prop_assert!(keys.open(field, &marked).is_err());
        prop_assert!(vault::prefix_of(&text).is_err());
    }
}
