//! Parts: a change that is larger than a commit, laid down before the revision that names it.

use super::{ImportError, Importer, following, outgoing};
use events::{Fact, Inventory, Noun, Part, Subject, TenantId};
use kit::{Filter, LogError, message::EVENT_BYTES_MAX};
use sha2::{Digest, Sha256};
use std::collections::HashSet;

/// The most that a part's things take, so that its envelope fits too.
const PART_BYTES: usize = EVENT_BYTES_MAX - 1_024;

/// How many parts are stored at once: 4 MiB.
const PARTS_AT_ONCE: usize = 64;

impl Importer {
    /// Lays down those parts that are not there yet, then reads all of them back.
    pub(super) async fn lay(
        &self,
        tenant: TenantId,
        digest: &str,
        parts: Vec<Part>,
    ) -> Result<(), ImportError> {
        let there: HashSet<u32> = self.parts_there(tenant, digest).await?;
        let missing: Vec<&Part> = parts.iter().filter(|part| !there.contains(&part.n)).collect();
        for parts in missing.chunks(PARTS_AT_ONCE) {
            let outs = parts.iter().map(|part| {
                let id = following(tenant, &format!("part-{digest}-{}", part.n));
                outgoing(tenant, id, None, Fact::Part((*part).clone()))
            });
            self.log.publish_all(outs.collect()).await?;
        }
        for part in &parts {
            let lost = || ImportError::Part { digest: digest.to_owned(), n: part.n };
            let subject = Subject::new(tenant, Noun::Part, format!("{digest}.{}", part.n));
            let subject = subject.expect("a digest and a number are token characters").to_string();
            let raw = self.log.last(&subject).await?.ok_or_else(lost)?;
            let read = raw.decode().map_err(|_| lost())?;
            if read.fact != Fact::Part(part.clone()) {
                return Err(lost());
            }
        }
        Ok(())
    }

    async fn parts_there(&self, tenant: TenantId, digest: &str) -> Result<HashSet<u32>, LogError> {
        let filter = Filter::noun(Noun::Part).tenant(tenant).below(digest);
        let mut reader = self.log.last_per_subject(&[filter]).await?;
        let mut there = HashSet::new();
        while let Some(raw) = reader.next().await? {
            there.extend(raw.subject.rsplit('.').next().and_then(|n| n.parse::<u32>().ok()));
        }
        Ok(there)
    }

    /// Forgets the parts of imports that never took effect, after our own commit: whoever still means to
    /// name them finds that the revision has moved on.
    pub(super) async fn forget_forsaken(&self, tenant: TenantId, digests: Vec<String>) {
        for digest in digests {
            match self.log.purge_parts(tenant, &digest).await {
                Ok(()) => self.inventories.purged(tenant, &digest).await,
                Err(error) => tracing::warn!(%error, digest, "parts of no revision are kept a while longer"),
            }
        }
    }
}

pub(super) fn bytes_of(thing: &Inventory) -> usize {
    serde_json::to_vec(thing).expect("what an event holds has a JSON form").len()
}

/// Names a change: by what it says and the revision it makes. So a change that is tried again finds its
/// parts, and the same change made later has parts of its own.
pub(super) fn digest_of(number: u64, things: &[Inventory]) -> String {
    let mut digest = Sha256::new();
    digest.update(number.to_be_bytes());
    for thing in things {
        digest.update(serde_json::to_vec(thing).expect("what an event holds has a JSON form"));
        digest.update(b"\n");
    }
    let bytes: [u8; 32] = digest.finalize().into();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Fills parts one after the other; a thing that is larger than a part has one of its own, which the log
/// then refuses.
pub(super) fn split(digest: &str, things: Vec<Inventory>, sizes: &[usize]) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    let mut room = 0;
    for (thing, size) in things.into_iter().zip(sizes) {
        if parts.is_empty() || room < size + 1 {
            let n = u32::try_from(parts.len()).unwrap_or(u32::MAX);
            parts.push(Part { digest: digest.to_owned(), n, things: vec![] });
            room = PART_BYTES;
        }
        room = room.saturating_sub(size + 1);
        parts.last_mut().expect("one was pushed").things.push(thing);
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use events::{Site, SiteId};

    fn site(n: usize, name: usize) -> Inventory {
        let file_id = format!("s{n}");
        let id = SiteId::of(TenantId::of("hillside"), &file_id);
        let name = "x".repeat(name);
        Inventory::Site(Site { id, file_id, name, address: None, latitude_udeg: None, longitude_udeg: None })
    }

    #[test]
    fn parts_hold_everything_in_order_and_fit_into_an_event() {
        let things: Vec<_> = (0..500).map(|n| site(n, n * 7 % 3_000)).collect();
        let sizes: Vec<_> = things.iter().map(bytes_of).collect();
        let parts = split("ab", things.clone(), &sizes);
        assert!(parts.len() > 10);
        for (n, part) in (0..).zip(&parts) {
            assert_eq!(part.n, n);
            assert!(serde_json::to_vec(part).unwrap().len() <= EVENT_BYTES_MAX);
        }
        assert_eq!(parts.into_iter().flat_map(|part| part.things).collect::<Vec<_>>(), things);
    }

    #[test]
    fn a_change_is_named_by_what_it_says_and_when() {
        let things = [site(1, 3), site(2, 3)];
        assert_eq!(digest_of(4, &things), digest_of(4, &things));
        assert_ne!(digest_of(4, &things), digest_of(5, &things));
        assert_ne!(digest_of(4, &things), digest_of(4, &things[..1]));
    }
}
