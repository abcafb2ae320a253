//! What a router and its user allow, before anything is written there.
//!
//! Installed where it cannot run, a script is silent, and silence looks like health. So this is looked
//! at first, and where a router cannot push it is told why, and polled.

use std::collections::BTreeSet;
use std::fmt;

/// What a router told of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Told {
    /// `version` of `/system/resource`, such as `7.16.2 (stable)`.
    pub version: String,
    /// `fetch` of `/system/device-mode`; `None` where there is no such menu.
    pub fetch: Option<bool>,
    /// `scheduler` of the same.
    pub scheduler: Option<bool>,
    /// `policy` of our user's group; `None` when it cannot be seen.
    pub policies: Option<String>,
}

/// What can be done with a router.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fitness {
    /// Whether anything can be written at all.
    pub can_write: bool,
    /// Whether scripts that push would run. If not, the router is polled.
    pub can_push: bool,
    /// Whether what could not be sent can be said later.
    pub can_park: bool,
    /// Whether netwatch entries have a type.
    pub has_types: bool,
    /// What stands in the way, for the operator.
    pub findings: BTreeSet<Finding>,
}

/// Something that stands in the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Finding {
    /// The version cannot be read, or is older than what our scripts run on.
    TooOld,
    /// Device-mode forbids `/tool/fetch`.
    NoFetch,
    /// Device-mode forbids the scheduler.
    NoScheduler,
    /// The user's group lacks this policy.
    Lacks(&'static str),
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Finding::TooOld => f.write_str("scripts that push need RouterOS 6.45 or later: it is polled"),
            Finding::NoFetch => f.write_str(
                "device-mode forbids fetch, so nothing can be pushed and it is polled: run \
                 `/system/device-mode/update mode=advanced` and press the button",
            ),
            Finding::NoScheduler => f.write_str(
                "device-mode forbids the scheduler, so what cannot be sent is made good by the next \
                 reconciliation only: run `/system/device-mode/update mode=advanced` and press the button",
            ),
            Finding::Lacks(policy) => {
                write!(f, "the user's group lacks the policy `{policy}`: add it with `/user/group/set`")
            }
        }
    }
}

/// What can be done with a router that told this of itself. What it did not tell is taken to be allowed:
/// it refuses by itself then, and says so.
pub fn fitness(told: &Told) -> Fitness {
    let version = version(&told.version);
    let mut findings = BTreeSet::new();
    if version.is_none_or(|version| version < (6, 45)) {
        findings.insert(Finding::TooOld);
    }
    if told.fetch == Some(false) {
        findings.insert(Finding::NoFetch);
    }
    if told.scheduler == Some(false) {
        findings.insert(Finding::NoScheduler);
    }
    if let Some(policies) = &told.policies {
        // A script or task is allowed what its owner is: ours need `test` to fetch.
        let lacks = |policy: &&str| !policies.split(',').any(|known| known.trim() == *policy);
        findings.extend(["read", "write", "test"].into_iter().filter(lacks).map(Finding::Lacks));
    }
    let stands = |finding| findings.contains(&finding);
    let can_write = !stands(Finding::Lacks("read")) && !stands(Finding::Lacks("write"));
    let can_push =
        can_write && !stands(Finding::TooOld) && !stands(Finding::NoFetch) && !stands(Finding::Lacks("test"));
    Fitness {
        can_write,
        can_push,
        can_park: can_push && !stands(Finding::NoScheduler),
        has_types: version.is_some_and(|version| version >= (7, 4)),
        findings,
    }
}

/// `7.16.2 (stable)` and `7.4beta4` as major and minor.
fn version(text: &str) -> Option<(u32, u32)> {
    let (major, rest) = text.trim().split_once('.')?;
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    Some((major.parse().ok()?, rest[..digits].parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(version: &str, fetch: Option<bool>, scheduler: Option<bool>, policies: Option<&str>) -> Fitness {
        fitness(&Told { version: version.into(), fetch, scheduler, policies: policies.map(str::to_owned) })
    }

    #[test]
    fn where_a_router_cannot_push_it_is_told_why() {
        let fit = told("7.16.2 (stable)", Some(true), Some(true), Some("read,write,test,api,!ftp"));
        assert!(fit.can_park && fit.has_types && fit.findings.is_empty(), "{fit:?}");
        let six = told("6.49.10 (long-term)", None, None, None);
        assert!(six.can_park && !six.has_types, "{six:?}");
        assert!(told("7.4beta4", None, None, None).has_types);
        let home = told("7.20.8", Some(false), Some(false), None);
        assert!(home.can_write && !home.can_push && !home.can_park, "{home:?}");
        let reader = told("7.16.2", None, None, Some("read,test,!write"));
        assert_eq!(reader.findings.iter().next_back(), Some(&Finding::Lacks("write")));
        assert!(!reader.can_write && !reader.can_push);
        let unscheduled = told("7.20.8", Some(true), Some(false), None);
        assert!(unscheduled.can_push && !unscheduled.can_park);
        for old in ["6.42.12", "", "soon", "7", "6."] {
            assert!(!told(old, None, None, None).can_push, "{old}");
        }
        for finding in reader.findings.iter().chain(&home.findings) {
            assert!(finding.to_string().len() > 20);
        }
    }
}
