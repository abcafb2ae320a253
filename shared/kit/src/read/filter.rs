//! Which messages are read, and what a filter lets pass.

use events::{Noun, TenantId, partition_of};
use std::fmt;

/// Which messages are read: part of the log's subjects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    part: Option<u16>,
    tenant: Option<TenantId>,
    noun: Noun,
    key: Option<Key>,
}

/// Which keys of a noun.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Key {
    Below(String),
    Exactly(String),
}

impl Filter {
    /// Everything of a noun, of all tenants.
    pub fn noun(noun: Noun) -> Self {
        Self { part: None, tenant: None, noun, key: None }
    }

    /// Only of one partition.
    #[must_use]
    pub fn part(mut self, part: u16) -> Self {
        self.part = Some(part);
        self
    }

    /// Only of one tenant.
    #[must_use]
    pub fn tenant(mut self, tenant: TenantId) -> Self {
        self.tenant = Some(tenant);
        self.part = Some(partition_of(tenant));
        self
    }

    /// Only the keys that begin with the token or tokens `key`; not the key `key` itself.
    #[must_use]
    pub fn below(mut self, key: impl Into<String>) -> Self {
        self.key = Some(Key::Below(key.into()));
        self
    }

    /// Only the history of one thing: the key `key` itself.
    #[must_use]
    pub fn exactly(mut self, key: impl Into<String>) -> Self {
        self.key = Some(Key::Exactly(key.into()));
        self
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("mw.")?;
        match self.part {
            Some(part) => write!(f, "{part}.")?,
            None => f.write_str("*.")?,
        }
        match self.tenant {
            Some(tenant) => write!(f, "{tenant}.")?,
            None => f.write_str("*.")?,
        }
        f.write_str(self.noun.token())?;
        match &self.key {
            Some(Key::Below(key)) => write!(f, ".{key}.>"),
            Some(Key::Exactly(key)) => write!(f, ".{key}"),
            None => f.write_str(".>"),
        }
    }
}

/// Whether a subject is one that the filter names, as the server would say.
pub(crate) fn lets_pass(filter: &str, subject: &str) -> bool {
    let mut tokens = subject.split('.');
    for wanted in filter.split('.') {
        match (wanted, tokens.next()) {
            (">", Some(_)) => return true,
            ("*", Some(_)) => {}
            (wanted, Some(token)) if wanted == token => {}
            (_, Some(_) | None) => return false,
        }
    }
    tokens.next().is_none()
}

/// The filter that lets everything of a partition pass, when all of these are of one.
pub(super) fn whole_partition(filters: &[String]) -> Option<String> {
    let part = |filter: &str| filter.strip_prefix("mw.")?.split('.').next()?.parse::<u16>().ok();
    let first = part(filters.first()?)?;
    filters.iter().all(|filter| part(filter) == Some(first)).then(|| format!("mw.{first}.>"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_lets_pass_what_the_server_would() {
        for (filter, subject, passes) in [
            ("mw.*.*.signal.>", "mw.3.t.signal.x", true),
            ("mw.*.*.signal.>", "mw.3.t.signal.x.y", true),
            ("mw.*.*.signal.>", "mw.3.t.signal", false),
            ("mw.*.*.signal.>", "mw.3.t.signals.x", false),
            ("mw.3.*.due.toy.>", "mw.3.t.due.toy.a.b", true),
            ("mw.3.*.due.toy.>", "mw.3.t.due.other.a", false),
            ("mw.3.*.due.toy.>", "mw.4.t.due.toy.a", false),
            ("mw.3.all.cut.toy", "mw.3.all.cut.toy", true),
            ("mw.3.all.cut.toy", "mw.3.all.cut.toy.x", false),
        ] {
            assert_eq!(lets_pass(filter, subject), passes, "{filter} {subject}");
        }
    }

    #[test]
    fn filters_of_one_partition_are_told_from_others() {
        let whole = |filters: &[&str]| {
            whole_partition(&filters.iter().map(|filter| (*filter).to_owned()).collect::<Vec<_>>())
        };
        assert_eq!(whole(&["mw.3.*.signal.>", "mw.3.all.cut.toy"]), Some("mw.3.>".into()));
        assert_eq!(whole(&["mw.3.*.signal.>", "mw.4.*.signal.>"]), None);
        assert_eq!(whole(&["mw.*.*.signal.>"]), None);
        assert_eq!(whole(&["mw.>"]), None);
        assert_eq!(whole(&[]), None);
    }

    #[test]
    fn a_filter_is_part_of_the_subjects() {
        let tenant = TenantId::of("hillside");
        let part = partition_of(tenant);
        assert_eq!(Filter::noun(Noun::Signal).to_string(), "mw.*.*.signal.>");
        assert_eq!(Filter::noun(Noun::Health).part(7).to_string(), "mw.7.*.health.>");
        assert_eq!(
            Filter::noun(Noun::Health).tenant(tenant).to_string(),
            format!("mw.{part}.{tenant}.health.>")
        );
        assert_eq!(Filter::noun(Noun::Ask).below("main.3").to_string(), "mw.*.*.ask.main.3.>");
        assert_eq!(Filter::noun(Noun::Part).exactly("ab.0").to_string(), "mw.*.*.part.ab.0");
    }
}
