//! Exports of older systems: devices whose location is one text, with the status written into it.
//!
//! `Mill Hill (Offline)` and `OFFLINE - mill  hill` are one building. What speaks of a status is taken out of the
//! text, buildings become sites, and whatever was rewritten is told row by row.

use serde::Serialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

/// The most rows that are read.
const ROWS_MAX: usize = 100_000;

/// Words that can only be a status.
const PLAIN: &[&str] = &[
    "offline",
    "online",
    "unreachable",
    "reachable",
    "disconnected",
    "connected",
    "inactive",
    "dead",
    "alive",
];
/// Words that are one where brackets or a dash part them from the rest, or in capitals at the end: "Up Hill Farm" and
/// "Downing Street" are places.
const PARTED: &[&str] = &[
    "up",
    "down",
    "active",
    "failed",
    "faulty",
    "fault",
    "degraded",
    "ok",
    "status",
    "no link",
    "not responding",
];
/// What parts a status from a place.
const DASHES: &[&str] = &[" - ", " – ", " — ", " | ", ": ", " / ", ", "];

/// Why an export cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum LegacyError {
    /// It is no table.
    #[error("reading the export")]
    Csv(#[from] csv::Error),
    /// A column that is needed is not there.
    #[error(
        "the export has no column `{0}`; it needs `id` and `location`, and may have `name`, `class`, `tier`, `parent` and `address`"
    )]
    NoColumn(&'static str),
    /// It has too many rows.
    #[error("the export has more than {ROWS_MAX} rows")]
    TooLarge,
    /// A row has no id, or one that another row has.
    #[error("row {row}: {why}")]
    Row {
        /// Its number; the first below the heads is 1.
        row: usize,
        /// What is wrong with it.
        why: String,
    },
}

/// A row whose location was rewritten.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rewritten {
    /// Its number; the first below the heads is 1.
    pub row: usize,
    /// Which device.
    pub id: String,
    /// The text as it was.
    pub before: String,
    /// The building as it is called now; none when the text was nothing but a status.
    pub after: Option<String>,
    /// The id of its site.
    pub site: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Device {
    id: String,
    site: Option<String>,
    /// What else was given: key and value, as they stand in a network file.
    more: Vec<(&'static str, String)>,
}

/// An export, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Legacy {
    /// Id and name of each building.
    pub sites: Vec<(String, String)>,
    /// Every row whose location is another text than before.
    pub rewritten: Vec<Rewritten>,
    devices: Vec<Device>,
}

impl Legacy {
    /// Reads a table with heads, its fields parted by commas.
    ///
    /// # Errors
    ///
    /// [`LegacyError`].
    pub fn read(text: &str) -> Result<Self, LegacyError> {
        let mut table =
            csv::ReaderBuilder::new().trim(csv::Trim::All).flexible(false).from_reader(text.as_bytes());
        let heads = table.headers()?.clone();
        let column = |name: &str| heads.iter().position(|head| head.eq_ignore_ascii_case(name));
        let id_at = column("id").ok_or(LegacyError::NoColumn("id"))?;
        let location_at = column("location").ok_or(LegacyError::NoColumn("location"))?;
        let more = ["name", "class", "tier", "parent", "address"].map(|name| (name, column(name)));

        let mut buildings = Buildings::default();
        let (mut devices, mut rewritten, mut ids) = (Vec::new(), Vec::new(), BTreeSet::new());
        for (n, record) in table.records().enumerate() {
            let (row, record) = (n + 1, record?);
            if row > ROWS_MAX {
                return Err(LegacyError::TooLarge);
            }
            let field = |at: usize| record.get(at).unwrap_or_default();
            let id = field(id_at).to_owned();
            if id.is_empty() {
                return Err(LegacyError::Row { row, why: "it has no id".into() });
            }
            if !ids.insert(id.clone()) {
                return Err(LegacyError::Row { row, why: format!("there is another `{id}` above it") });
            }
            let before = field(location_at);
            let (site, after) = buildings.of(&without_status(before)).unzip();
            if after.as_deref().unwrap_or_default() != before {
                let (before, site) = (before.to_owned(), site.clone());
                rewritten.push(Rewritten { row, id: id.clone(), before, after, site });
            }
            let given = more.iter().filter_map(|(name, at)| {
                let value = field((*at)?);
                (!value.is_empty()).then(|| (*name, value.to_owned()))
            });
            devices.push(Device { id, site, more: given.collect() });
        }
        Ok(Self { sites: buildings.sites, rewritten, devices })
    }

    /// As a network file of this tenant. Whatever the export did not say is still to be added by hand; a device
    /// without a class is `other`.
    pub fn to_yaml(&self, tenant: &str) -> String {
        let text = |value: &str| serde_json::to_string(value).expect("a text is representable as JSON");
        let mut yaml = format!("tenant: {{id: {}}}\nsites:\n", text(tenant));
        for (id, name) in &self.sites {
            let _ = writeln!(yaml, "  - {{id: {}, name: {}}}", text(id), text(name));
        }
        yaml.push_str("devices:\n");
        for device in &self.devices {
            let _ = write!(yaml, "  - {{id: {}", text(&device.id));
            if !device.more.iter().any(|(key, _)| *key == "class") {
                yaml.push_str(", class: other");
            }
            for (key, value) in &device.more {
                let _ = write!(yaml, ", {key}: {}", text(value));
            }
            if let Some(site) = &device.site {
                let _ = write!(yaml, ", site: {}", text(site));
            }
            yaml.push_str("}\n");
        }
        yaml
    }

    /// How many devices it has.
    pub fn device_count(&self) -> usize {
        self.devices.len()
    }
}

/// The buildings that were met, each once however it is written.
#[derive(Debug, Default)]
struct Buildings {
    sites: Vec<(String, String)>,
    /// By what is compared: small letters, single blanks.
    known: BTreeMap<String, usize>,
    ids: BTreeSet<String>,
}

impl Buildings {
    /// Id and name of a building; none of an empty text.
    fn of(&mut self, name: &str) -> Option<(String, String)> {
        if name.is_empty() {
            return None;
        }
        let compared = name.to_lowercase();
        if let Some(at) = self.known.get(&compared) {
            return Some(self.sites[*at].clone());
        }
        let slug = slug(name);
        let mut id = slug.clone();
        let mut n = 1;
        while !self.ids.insert(id.clone()) {
            n += 1;
            id = format!("{slug}-{n}");
        }
        self.known.insert(compared, self.sites.len());
        self.sites.push((id.clone(), name.to_owned()));
        Some((id, name.to_owned()))
    }
}

/// Small letters and digits with dashes between, at most 40.
fn slug(name: &str) -> String {
    let mut slug = String::new();
    for c in name.chars() {
        if c.is_ascii_alphanumeric() {
            slug.push(c.to_ascii_lowercase());
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
    }
    let slug: String = slug.chars().take(36).collect();
    let slug = slug.trim_end_matches('-');
    if slug.is_empty() { "site".to_owned() } else { slug.to_owned() }
}

/// A location without what speaks of a status, and with single blanks.
fn without_status(location: &str) -> String {
    let mut text = blanks(location);
    loop {
        let next = blanks(&once(&text));
        if next == text {
            return text;
        }
        text = next;
    }
}

fn blanks(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Takes one piece of status out of a text, if there is one.
fn once(text: &str) -> String {
    for (open, close) in [('(', ')'), ('[', ']'), ('{', '}'), ('<', '>'), ('*', '*')] {
        if let Some(from) = text.find(open)
            && let Some(length) = text[from + open.len_utf8()..].find(close)
        {
            let inner = &text[from + open.len_utf8()..from + open.len_utf8() + length];
            if is_status(inner) {
                let after = &text[from + open.len_utf8() + length + close.len_utf8()..];
                return format!("{} {}", &text[..from], after);
            }
        }
    }
    for dash in DASHES {
        if let Some((before, after)) = text.rsplit_once(dash)
            && is_status(after)
        {
            return before.to_owned();
        }
        if let Some((before, after)) = text.split_once(dash)
            && is_status(before)
        {
            return after.to_owned();
        }
    }
    let words: Vec<&str> = text.split(' ').collect();
    let is_plain = |word: &str| PLAIN.contains(&bare(word).to_lowercase().as_str());
    let shouts = |word: &str| {
        let word = bare(word);
        PARTED.contains(&word.to_lowercase().as_str()) && word.chars().all(|c| c.is_ascii_uppercase())
    };
    match words.as_slice() {
        [first, rest @ ..] if is_plain(first) => rest.join(" "),
        [rest @ .., last] if is_plain(last) || (!rest.is_empty() && shouts(last)) => rest.join(" "),
        _ => text.to_owned(),
    }
}

/// A word without what stands around it.
fn bare(word: &str) -> &str {
    word.trim_matches(|c: char| !c.is_alphanumeric())
}

/// Whether a text that is parted from the rest speaks of a status: it begins with such a word.
fn is_status(text: &str) -> bool {
    let text = text.trim().to_lowercase();
    let begins = |word: &str| {
        text.strip_prefix(word).is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric()))
    };
    PLAIN.iter().chain(PARTED).any(|word| begins(word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_status_is_taken_out_and_a_place_is_left() {
        for (before, after) in [
            ("Mill Hill (Offline)", "Mill Hill"),
            ("OFFLINE - Mill Hill", "Mill Hill"),
            ("Mill  Hill [DOWN since 3pm] ", "Mill Hill"),
            ("Mill Hill - down", "Mill Hill"),
            ("Mill Hill: unreachable", "Mill Hill"),
            ("**offline** Mill Hill", "Mill Hill"),
            ("Mill Hill DOWN", "Mill Hill"),
            ("Mill Hill (Offline) (Offline)", "Mill Hill"),
            ("(Online)", ""),
            ("", ""),
            // Places.
            ("Up Hill Farm", "Up Hill Farm"),
            ("Downing Street", "Downing Street"),
            ("Church Tower (north side)", "Church Tower (north side)"),
            ("Harrow - Weald", "Harrow - Weald"),
            ("South Down", "South Down"),
        ] {
            assert_eq!(without_status(before), after, "{before}");
        }
    }

    /// R21: a hundred locations in all the ways that status was written into them.
    #[test]
    fn a_hundred_locations_with_a_status_become_buildings_and_every_row_is_told() {
        let ways = ["{} (Offline)", "OFFLINE - {}", "{} [down 12:30]", "{} - Online", "  {}  "];
        let mut text = "id,name,class,location\n".to_owned();
        for n in 0..100 {
            let building = format!("Tower {}", n % 20);
            let location = ways[n % ways.len()].replace("{}", &building);
            let _ = writeln!(
                text,
                "ap-{n},\"AP {n}, north\",sector_ap,\"{location}{}\"",
                if n % 7 == 0 { " (DOWN)" } else { "" }
            );
        }
        let legacy = Legacy::read(&text).unwrap();
        assert_eq!((legacy.sites.len(), legacy.device_count()), (20, 100));
        for (_, name) in &legacy.sites {
            let small = name.to_lowercase();
            assert!(!["offline", "online", "down"].iter().any(|word| small.contains(word)), "{name}");
        }
        let told: BTreeSet<usize> = legacy.rewritten.iter().map(|row| row.row).collect();
        let trimmed_only = |row: &usize| (row - 1) % 5 == 4 && !(row - 1).is_multiple_of(7);
        assert_eq!(
            told,
            (1..=100).filter(|row| !trimmed_only(row)).collect(),
            "blanks around a field are no text"
        );
        assert!(legacy.rewritten.iter().all(|row| row.site.is_some() && row.after.is_some()));

        let file = crate::parse("legacy.yaml", &legacy.to_yaml("hillside"), &crate::OnlyWrittenOut).unwrap();
        assert_eq!((file.sites.len(), file.nodes.len()), (20, 100));
        assert!(
            file.nodes.iter().all(|node| node.site.as_deref().is_some_and(|site| site.starts_with("tower-")))
        );
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let why = |text: &str| Legacy::read(text).unwrap_err().to_string();
        assert!(why("id,name\n").contains("no column `location`"));
        assert!(why("id,location\n,Mill\n").contains("row 1: it has no id"));
        assert!(why("id,location\na,Mill\na,Hill\n").contains("row 2: there is another `a`"));
        assert!(why("id,location\na\n").contains("reading the export"));
        assert!(Legacy::read("ID,Location\n").unwrap().sites.is_empty());
    }

    proptest! {
        #[test]
        fn what_is_clean_stays_as_it_is(text in "[A-Za-z()\\[\\]: -]{0,60}") {
            let clean = without_status(&text);
            prop_assert_eq!(without_status(&clean), clean.clone());
            prop_assert!(clean.len() <= text.len());
        }
    }
}
