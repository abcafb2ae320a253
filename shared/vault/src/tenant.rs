//! One tenant's keys at work: sealing, opening, and keyed look-up.

use crate::{
    Field, SessionKind,
    digest::{hex, keyed},
    seal::{OpenError, SealKey},
};
use events::{ClaimKey, NodeId, Sealed, SightingId, TenantId};
use std::fmt;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// The version of sealed values.
const SEALED: &str = "v1.";

/// What a tenant's values are sealed with. Wiped when dropped; never printed.
#[derive(Clone)]
pub struct TenantKeys {
    tenant: TenantId,
    data: SealKey,
    look_up: LookUp,
}

#[derive(Clone, Zeroize, ZeroizeOnDrop)]
struct LookUp([u8; 32]);

impl fmt::Debug for TenantKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TenantKeys({}, …)", self.tenant)
    }
}

impl TenantKeys {
    pub(crate) fn of(tenant: TenantId, data: &[u8; 32], look_up: &[u8; 32]) -> Self {
        Self { tenant, data: SealKey::of(data), look_up: LookUp(*look_up) }
    }

    /// Whose keys they are.
    pub fn tenant(&self) -> TenantId {
        self.tenant
    }

    /// Seals `plain` as the value of `field`: `v1.<base64url>`. Equal values give equal texts.
    pub fn seal(&self, field: Field, plain: &[u8]) -> Sealed {
        Sealed(format!("{SEALED}{}", self.data.seal(&self.context(field), plain)))
    }

    /// Opens the value of `field`.
    ///
    /// # Errors
    ///
    /// [`OpenError::Malformed`] when it is no sealed text, [`OpenError::Refused`] when it was altered
    /// or is the value of another tenant or field.
    pub fn open(&self, field: Field, sealed: &Sealed) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        let text = sealed.0.strip_prefix(SEALED).ok_or(OpenError::Malformed)?;
        self.data.open(&self.context(field), text)
    }

    /// Seals a user and a password together as the value of `field`.
    pub fn seal_login(&self, field: Field, user: &str, password: &str) -> Sealed {
        let mut plain = Zeroizing::new(Vec::with_capacity(4 + user.len() + password.len()));
        let user_len = u32::try_from(user.len()).expect("a user name is shorter than 4 GiB");
        plain.extend_from_slice(&user_len.to_be_bytes());
        plain.extend_from_slice(user.as_bytes());
        plain.extend_from_slice(password.as_bytes());
        self.seal(field, &plain)
    }

    /// Opens what [`Self::seal_login`] sealed: user and password.
    ///
    /// # Errors
    ///
    /// Those of [`Self::open`]; [`OpenError::Malformed`] when what was sealed is no such pair.
    pub fn open_login(
        &self,
        field: Field,
        sealed: &Sealed,
    ) -> Result<(Zeroizing<String>, Zeroizing<String>), OpenError> {
        let plain = self.open(field, sealed)?;
        let (user_len, rest) = plain.split_first_chunk::<4>().ok_or(OpenError::Malformed)?;
        let user_len = usize::try_from(u32::from_be_bytes(*user_len)).map_err(|_| OpenError::Malformed)?;
        let (user, password) = rest.split_at_checked(user_len).ok_or(OpenError::Malformed)?;
        let text = |bytes: &[u8]| {
            std::str::from_utf8(bytes)
                .map(|text| Zeroizing::new(text.to_owned()))
                .map_err(|_| OpenError::Malformed)
        };
        Ok((text(user)?, text(password)?))
    }

    /// Under which key claims about the session `name` at `router` arrive: HMAC-SHA256 under the
    /// tenant's look-up key, its first 16 bytes.
    ///
    /// User names count byte for byte; MACs in any of their spellings are the same.
    pub fn look_up(&self, router: NodeId, kind: SessionKind, name: &str) -> ClaimKey {
        let mac;
        let name = match kind {
            SessionKind::Ppp => name,
            SessionKind::Mac => {
                mac = name
                    .chars()
                    .filter(|c| !matches!(c, ':' | '-' | '.'))
                    .map(|c| c.to_ascii_lowercase())
                    .collect::<String>();
                &mac
            }
        };
        ClaimKey(self.half(&[router.0.as_bytes(), kind.name().as_bytes(), name.as_bytes()]))
    }

    /// Names the address that a subscriber always gets, without telling it: HMAC-SHA256 under the tenant's look-up
    /// key, its first 16 bytes.
    pub fn address_key(&self, subscriber: NodeId, address: std::net::IpAddr) -> ClaimKey {
        ClaimKey(self.half(&[subscriber.0.as_bytes(), b"address", address.to_string().as_bytes()]))
    }

    fn half(&self, parts: &[&[u8]]) -> uuid::Uuid {
        let digest = keyed(&self.look_up.0, parts);
        uuid::Uuid::from_bytes(digest[..16].try_into().expect("a digest has 32 bytes"))
    }

    /// Who a device is that is told apart by `key`, whoever sees it: HMAC-SHA256 under the tenant's look-up key, its
    /// first 16 bytes. So nobody who tries all hardware addresses finds out whose box was seen.
    pub fn sighting(&self, key: &str) -> SightingId {
        let digest = keyed(&self.look_up.0, &[b"sighting", key.as_bytes()]);
        let half: [u8; 16] = digest[..16].try_into().expect("a digest has 32 bytes");
        SightingId(uuid::Uuid::from_bytes(half))
    }

    /// The token of a router whose operator has not chosen one: always the same, and nobody can work it out
    /// who does not have the tenant's keys.
    pub fn router_token(&self, router: NodeId) -> Zeroizing<String> {
        const LETTERS: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
        let part =
            |what: &str| keyed(&self.look_up.0, &[b"router token", what.as_bytes(), router.0.as_bytes()]);
        let letter = |byte: &u8| char::from(LETTERS[usize::from(byte % 36)]);
        let prefix: String = part("public").iter().take(crate::token::PREFIX_LEN).map(letter).collect();
        let secret = Zeroizing::new(hex(&*Zeroizing::new(part("secret"))));
        Zeroizing::new(format!("mw_{prefix}_{}", secret.as_str()))
    }

    fn context(&self, field: Field) -> Vec<u8> {
        format!("mastwatch seal v1/{}/{field}", self.tenant).into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MasterKey, MasterKeys};
    use events::ChannelId;

    fn keys(tenant: &str) -> TenantKeys {
        TenantKeys::of(TenantId::of(tenant), &[1; 32], &[2; 32])
    }

    #[test]
    fn a_login_survives_sealing_whatever_its_characters() {
        let keys = keys("hillside");
        let field = Field::Login(NodeId::of(keys.tenant(), "core-1"));
        for (user, password) in [("mastwatch", "p\u{e4}ss:\"w\n"), ("", ""), ("a", ""), ("", "b")] {
            let (u, p) = keys.open_login(field, &keys.seal_login(field, user, password)).unwrap();
            assert_eq!((u.as_str(), p.as_str()), (user, password));
        }
        assert_eq!(keys.open_login(field, &keys.seal(field, b"abc")), Err(OpenError::Malformed));
        assert_eq!(keys.open_login(field, &keys.seal(field, &[0xff; 9])), Err(OpenError::Malformed));
    }

    /// Of `whsec_x`, with the keys above.
    const FIRST_VERSION: &str = "v1.1KuJq3dYDdfMwYFCqUc2pUPe3wdIIqVaEH_Lww8KFvnmggRpoa8mXHFK0WZo9Sk";

    #[test]
    fn the_form_of_a_sealed_value_does_not_change() {
        // A value sealed by the first version: it must open for ever.
        let keys = keys("hillside");
        let field = Field::ChannelSecret(ChannelId::of(keys.tenant(), "pager"));
        assert_eq!(keys.seal(field, b"whsec_x").0, FIRST_VERSION);
        assert_eq!(keys.open(field, &Sealed(FIRST_VERSION.into())).unwrap().as_slice(), b"whsec_x");
    }

    #[test]
    fn a_session_is_found_under_one_key_per_router_kind_and_name() {
        let keys = keys("hillside");
        let router = NodeId::of(keys.tenant(), "core-1");
        let key = keys.look_up(router, SessionKind::Ppp, "user-7");
        assert_eq!(key, keys.look_up(router, SessionKind::Ppp, "user-7"));
        assert_ne!(key, keys.look_up(router, SessionKind::Ppp, "USER-7"));
        assert_ne!(key, keys.look_up(router, SessionKind::Mac, "user-7"));
        assert_ne!(key, keys.look_up(NodeId::of(keys.tenant(), "core-2"), SessionKind::Ppp, "user-7"));
        let other = TenantKeys::of(keys.tenant(), &[1; 32], &[3; 32]);
        assert_ne!(key, other.look_up(router, SessionKind::Ppp, "user-7"));
    }

    #[test]
    fn a_device_is_told_apart_by_its_key_and_by_the_tenants() {
        let own = keys("hillside");
        assert_eq!(own.sighting("mac 02"), own.sighting("mac 02"));
        assert_ne!(own.sighting("mac 02"), own.sighting("mac 03"));
        let other = TenantKeys::of(own.tenant(), &[1; 32], &[3; 32]);
        assert_ne!(own.sighting("mac 02"), other.sighting("mac 02"));
    }

    #[test]
    fn a_mac_is_the_same_in_every_spelling() {
        let keys = keys("hillside");
        let router = NodeId::of(keys.tenant(), "core-1");
        let all = ["D4:CA:6D:00:00:01", "d4-ca-6d-00-00-01", "d4ca.6d00.0001", "d4ca6d000001"]
            .map(|mac| keys.look_up(router, SessionKind::Mac, mac));
        assert!(all.iter().all(|key| *key == all[0]));
    }

    #[test]
    fn a_router_has_one_token_and_no_other_has_the_same() {
        let keys = keys("hillside");
        let token = |file_id| keys.router_token(NodeId::of(keys.tenant(), file_id));
        assert_eq!(token("core-1"), token("core-1"));
        let (one, other) = (token("core-1"), token("core-2"));
        let (one_prefix, other_prefix) = (crate::prefix_of(&one).unwrap(), crate::prefix_of(&other).unwrap());
        assert_ne!(one_prefix, other_prefix);
        assert_ne!(one.rsplit('_').next(), other.rsplit('_').next());
        let drawn = TenantKeys::of(keys.tenant(), &[1; 32], &[3; 32]);
        assert_ne!(drawn.router_token(NodeId::of(keys.tenant(), "core-1")), one);
    }

    #[test]
    fn a_value_of_another_tenant_does_not_open_even_under_the_same_keys() {
        let (a, b) = (keys("hillside"), keys("valley"));
        let field = Field::Person(NodeId::of_account(a.tenant(), "1"));
        assert_eq!(b.open(field, &a.seal(field, b"x")), Err(OpenError::Refused));
    }

    #[test]
    fn what_is_not_sealed_text_is_malformed() {
        let keys = keys("hillside");
        let field = Field::Person(NodeId::of_account(keys.tenant(), "1"));
        for text in ["", "v1.", "v1.AAAA", "v2.AAAA", "plain", "v1.!!!!"] {
            assert_eq!(keys.open(field, &Sealed(text.into())), Err(OpenError::Malformed), "{text}");
        }
    }

    #[test]
    fn drawn_keys_differ() {
        let master = MasterKeys::new(MasterKey::random(), vec![]);
        let tenant = TenantId::of("hillside");
        let ((a, _), (b, _)) = (master.new_tenant(tenant), master.new_tenant(tenant));
        let field = Field::Person(NodeId::of_account(tenant, "1"));
        assert_ne!(a.seal(field, b"x"), b.seal(field, b"x"));
    }
}
