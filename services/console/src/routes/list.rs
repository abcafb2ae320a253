//! Lists: a page at a time, with a cursor for the next one.

use crate::desk::Answer;
use kit::http::Problem;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

/// How many a page holds unless said.
const LIMIT: u32 = 100;
/// The most a page holds.
const LIMIT_MAX: u32 = 1_000;

/// One page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Page<T> {
    /// What is on this page.
    pub(crate) items: Vec<T>,
    /// Give this as `cursor` to get the next page. Absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next: Option<String>,
}

/// One more than a page holds, so that it shows whether another follows.
pub(crate) fn rows(limit: Option<u32>) -> Answer<i64> {
    let limit = limit.unwrap_or(LIMIT);
    if !(1..=LIMIT_MAX).contains(&limit) {
        return Err(Problem::malformed(format!("`limit` must lie between 1 and {LIMIT_MAX}")).into());
    }
    Ok(i64::from(limit) + 1)
}

impl<T> Page<T> {
    /// A page of `rows`, of which one more than `limit - 1` was asked for.
    pub(crate) fn of(mut rows: Vec<T>, limit: i64, cursor: impl Fn(&T) -> String) -> Self {
        let holds = usize::try_from(limit - 1).unwrap_or(0);
        let is_more = rows.len() > holds;
        rows.truncate(holds);
        let next = if is_more { rows.last().map(cursor) } else { None };
        Self { items: rows, next }
    }
}

/// A cursor that is the id of the last thing of a page.
pub(crate) fn after(cursor: Option<&str>) -> Answer<Option<Uuid>> {
    cursor
        .map(|text| Uuid::try_parse(text).map_err(|_| Problem::malformed("`cursor` is none of ours").into()))
        .transpose()
}

/// `given`, if it is one of `known`.
pub(crate) fn one_of(name: &str, given: Option<String>, known: &[&str]) -> Answer<Option<String>> {
    match given {
        Some(word) if !known.contains(&word.as_str()) => {
            Err(Problem::malformed(format!("`{name}` must be one of: {}", known.join(", "))).into())
        }
        given => Ok(given),
    }
}

/// The tiers, as filters name them.
pub(crate) const TIERS: [&str; 5] = ["core", "site", "sector", "station", "subscriber"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_says_where_the_next_one_begins() {
        let page = Page::of(vec![1, 2, 3], 3, ToString::to_string);
        assert_eq!((page.items, page.next), (vec![1, 2], Some("2".into())));
        let page = Page::of(vec![1, 2], 3, ToString::to_string);
        assert_eq!((page.items, page.next), (vec![1, 2], None));
    }

    #[test]
    fn a_page_is_bounded() {
        assert!(rows(Some(0)).is_err() && rows(Some(1_001)).is_err());
        assert_eq!(rows(None).unwrap(), 101);
    }
}
