//! Rows of ours in a menu in which no two rows may be alike.

use super::{NotOurs, Step};
use crate::plan::{Change, Menu, Row, differing};
use std::collections::BTreeMap;

/// A menu, its rows of ours by account, and all by what no two may share.
pub(super) struct Rows<'a> {
    menu: Menu,
    unique: &'static [&'static str],
    ours: BTreeMap<&'a str, Vec<&'a Row>>,
    taken: BTreeMap<Vec<&'a str>, &'a Row>,
}

impl<'a> Rows<'a> {
    /// `rows` of `menu`, of which no two have the same values of `unique` together.
    pub(super) fn of(menu: Menu, rows: &'a [Row], unique: &'static [&'static str]) -> Self {
        let mut ours: BTreeMap<&str, Vec<&Row>> = BTreeMap::new();
        let mut taken = BTreeMap::new();
        for row in rows {
            match row.key(menu) {
                Some(account) => ours.entry(account).or_default().push(row),
                None => _ = taken.insert(unique.iter().map(|name| host(row.get(name))).collect(), row),
            }
        }
        Self { menu, unique, ours, taken }
    }

    /// Makes the one row of `account` as wished, or none; whether it comes into force by that.
    pub(super) fn one(&self, account: &str, wished: Option<&[(String, String)]>, step: &mut Step) -> bool {
        let ours = self.ours.get(account).map_or(&[][..], Vec::as_slice);
        let alike = |row: &Row, wished: &[(String, String)]| {
            self.unique.iter().all(|name| host(row.get(name)) == host(value(wished, name)))
        };
        // The first of several is the one. What no two may share is not changed but made anew.
        let kept = wished.and_then(|wished| ours.iter().find(|row| alike(row, wished)));
        let is_kept = |row: &Row| kept.is_some_and(|kept| kept.id == row.id);
        let gone = ours.iter().filter(|row| !is_kept(row));
        step.changes.extend(gone.map(|row| Change::removal(self.menu, row)));
        let Some(wished) = wished else { return false };
        if let Some(kept) = kept {
            let change = Change::setting(self.menu, kept, wished);
            let comes =
                change.as_ref().is_some_and(|change| change.attributes().contains(&("disabled", "no")));
            step.changes.extend(change);
            return comes;
        }
        let place: Vec<&str> = self.unique.iter().map(|name| host(value(wished, name))).collect();
        match self.taken.get(&place) {
            // It does what ours would do, and stays when ours would go.
            Some(other) if differing(other, wished).is_empty() => false,
            Some(other) => {
                step.not_ours.insert(NotOurs::Taken { menu: self.menu, by: other.id.clone() });
                false
            }
            None => {
                let (marked, marker) = self.menu.marker();
                let mut attributes = wished.to_vec();
                attributes.push((marked.to_owned(), format!("{marker}{account}")));
                step.changes.push(Change::Add { menu: self.menu, attributes });
                true
            }
        }
    }
}

fn value<'a>(wished: &'a [(String, String)], name: &str) -> &'a str {
    wished.iter().find(|(wished, _)| wished == name).map_or("", |(_, value)| value)
}

/// A single host is written with its mask or without.
fn host(text: &str) -> &str {
    text.trim_end_matches("/32").trim_end_matches("/128")
}
