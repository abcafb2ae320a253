//! What a piece of evidence weighs.
//!
//! A verdict against a node falls when the weights against it reach [`THRESHOLD`]. Every weight is
//! named, shown in the evidence, and conservative: three unanswered tries are always enough by
//! themselves; claims never are. One silent try decides nowhere, whatever is claimed: a packet gets
//! lost on a wire too. Two do, with claims enough: fewer of them at the backbone than at radio links.

use events::{EventId, Evidence, EvidenceKind, SessionsLost, Tier};

/// At this weight a node counts as not answering.
pub const THRESHOLD: u32 = 90;

/// Claims of fewer children than this add nothing: they may share another cause.
pub const CLAIMS_MIN: u32 = 3;

/// What unanswered tries weigh together: after 0.4 s, after 0.8 s, after 2 s.
pub const fn of_tries(tier: Tier, tries: u8) -> u32 {
    match (tier, tries) {
        (_, 0) => 0,
        (Tier::Core | Tier::Site, 1) => 35,
        (Tier::Core | Tier::Site, 2) => 65,
        (Tier::Sector | Tier::Station | Tier::Subscriber, 1) => 30,
        (Tier::Sector | Tier::Station | Tier::Subscriber, 2) => 60,
        _ => 90,
    }
}

/// What independent down claims of nodes that need it weigh together.
pub fn of_claims(tier: Tier, claims: u32) -> u32 {
    if claims < CLAIMS_MIN {
        return 0;
    }
    match tier {
        Tier::Core | Tier::Site => (claims * 5).min(50),
        Tier::Sector | Tier::Station | Tier::Subscriber => (claims * 3).min(30),
    }
}

/// The router's own word about what it sees.
pub const ROUTER_SAYS_DOWN: u32 = 90;

/// A claim about a node that nothing can look at, while all it needs was seen alive.
pub const CLAIM_ALONE: u32 = 60;

/// Subscribers of one living node that are all found to be down, and when.
pub const SESSIONS_LOST: u32 = 90;

/// The named weights of sessions that were lost together.
pub fn of_sessions(lost: &SessionsLost) -> Vec<Evidence> {
    let weight = Evidence::of;
    vec![
        weight(EvidenceKind::SessionLost, lost.impact.subscribers, SESSIONS_LOST, Some(lost.event)),
        weight(EvidenceKind::SupplyAlive, 1, 100 - SESSIONS_LOST, None),
    ]
}

/// Devices that go down within so long of one another went down in the same moment, ms: a probe's deadline, the 5 s for which
/// an answer counts, and what a storm of claims takes to be heard.
pub const SAME_MOMENT_MS: i64 = 10_000;

/// The named weights of a site's having failed as a whole: so many of its devices went down together, how far apart, and of
/// all devices there none works.
pub fn of_site(down: usize, apart_ms: i64, devices: usize) -> Vec<Evidence> {
    let weight = |kind, count: usize, weight| {
        Evidence::of(kind, u32::try_from(count).unwrap_or(u32::MAX), weight, None)
    };
    let of_number = match down {
        0 | 1 => return Vec::new(),
        2 => 20,
        3 => 35,
        _ => 50,
    };
    let mut found = vec![weight(EvidenceKind::SiteDevicesDown, down, of_number)];
    found.extend((apart_ms <= SAME_MOMENT_MS).then(|| weight(EvidenceKind::SameMoment, 1, 15)));
    found.push(weight(EvidenceKind::SiteSilent, devices, 30));
    found
}

/// What speaks against one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Case {
    /// Unanswered tries of its latest probe, and the event that said so.
    pub tries: Option<(u8, EventId)>,
    /// Its router says that it is down.
    pub router: Option<EventId>,
    /// How many nodes that need it are claimed down.
    pub claims_below: u32,
    /// It was itself claimed down.
    pub claimed: Option<EventId>,
}

impl Case {
    /// The sum of what was observed: tries, claims below, the router's word.
    pub fn weight(&self, tier: Tier) -> u32 {
        let tries = self.tries.map_or(0, |(n, _)| of_tries(tier, n));
        let claims = if tries > 0 { of_claims(tier, self.claims_below) } else { 0 };
        let router = if self.router.is_some() { ROUTER_SAYS_DOWN } else { 0 };
        tries + claims + router
    }

    /// The named weights, which sum to the confidence: at most 100.
    pub fn evidence(&self, tier: Tier, supply_alive: bool) -> Vec<Evidence> {
        let mut left = 100;
        let mut found = Vec::new();
        let mut add = |kind, count, weight: u32, event| {
            let weight = weight.min(left);
            left -= weight;
            found.push(Evidence::of(kind, count, weight, event));
        };
        if let Some(event) = self.router {
            add(EvidenceKind::RouterSaysDown, 1, ROUTER_SAYS_DOWN, Some(event));
        }
        if let Some((n, event)) = self.tries {
            add(EvidenceKind::SilentTry, u32::from(n), of_tries(tier, n), Some(event));
            let claims = of_claims(tier, self.claims_below);
            if claims > 0 {
                add(EvidenceKind::DownClaim, self.claims_below, claims, None);
            }
        }
        if let Some(event) = self.claimed {
            let alone = self.router.is_none() && self.tries.is_none();
            add(EvidenceKind::ClaimedDown, 1, if alone { CLAIM_ALONE } else { 5 }, Some(event));
        }
        if supply_alive {
            add(EvidenceKind::SupplyAlive, 1, 5, None);
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIERS: [Tier; 5] = [Tier::Core, Tier::Site, Tier::Sector, Tier::Station, Tier::Subscriber];

    fn weight(tier: Tier, tries: u8, claims_below: u32) -> u32 {
        let tries = (tries > 0).then_some((tries, EventId(Default::default())));
        Case { tries, claims_below, ..Case::default() }.weight(tier)
    }

    #[test]
    fn claims_alone_or_with_one_silent_try_never_decide() {
        for tier in TIERS {
            for claims in 0..1_000 {
                assert!(weight(tier, 0, claims) < THRESHOLD, "{claims} claims alone in {tier:?}");
                assert!(weight(tier, 1, claims) < THRESHOLD, "{claims} claims and a lost packet in {tier:?}");
            }
        }
    }

    #[test]
    fn one_device_is_no_site_and_a_guess_about_many_is_not_certain() {
        let sum = |down| of_site(down, 0, down).iter().map(|e| e.weight).sum::<u32>();
        assert_eq!((sum(1), sum(2)), (0, 65));
        assert!((2..1_000).all(|down| sum(down) < 100));
    }

    #[test]
    fn two_silent_tries_decide_with_claims_enough_and_three_alone() {
        for tier in TIERS {
            assert!(weight(tier, 2, 10) >= THRESHOLD, "a storm in {tier:?}");
            assert!(weight(tier, 2, CLAIMS_MIN - 1) < THRESHOLD, "few claims in {tier:?}");
            assert!(weight(tier, 3, 0) >= THRESHOLD, "nobody else says so in {tier:?}");
        }
    }
}
