//! What is wrong with a network file: where, what, and what would be right.
//!
//! All problems are collected, not only the first, up to [`PROBLEMS_MAX`]. A message may repeat an
//! id or a key; it never repeats a secret or anything a person is known by.

use std::{error, fmt};

/// How many problems are told at once.
pub const PROBLEMS_MAX: usize = 50;

/// A place in the text, both from 1. (0, 0): nowhere, for what was not read from a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub struct Position {
    /// Which line.
    pub line: u32,
    /// Which character of the line.
    pub column: u32,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub at: Position,
    /// What is wrong.
    pub what: String,
    /// What would be right, when that can be said.
    pub hint: Option<String>,
}

impl Problem {
    pub(crate) fn new(at: Position, what: String) -> Self {
        Self { at, what, hint: None }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// Everything that is wrong with one file, in the order of the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems {
    /// The name of the file, as it was given.
    pub file: String,
    /// What is wrong; at least one, at most [`PROBLEMS_MAX`].
    pub found: Vec<Problem>,
    /// Whether there is more that is not told.
    pub more: bool,
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, problem) in self.found.iter().enumerate() {
            if n > 0 {
                writeln!(f)?;
            }
            let Problem { at, what, hint } = problem;
            write!(f, "{}:{}:{}: {what}", self.file, at.line, at.column)?;
            if let Some(hint) = hint {
                write!(f, "; {hint}")?;
            }
        }
        if self.more {
            write!(f, "\n{}: there are more; these are the first {}", self.file, self.found.len())?;
        }
        Ok(())
    }
}

impl error::Error for Problems {}

/// Collects problems while a file is read.
#[derive(Debug, Default)]
pub(crate) struct Finder {
    found: Vec<Problem>,
}

impl Finder {
    /// Notes one. Beyond twice the bound nothing more is kept: those are told as "more".
    pub(crate) fn note(&mut self, problem: Problem) {
        if !self.is_full() && !self.found.contains(&problem) {
            self.found.push(problem);
        }
    }

    /// Whether nothing is wrong so far.
    pub(crate) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// Whether so much is wrong that looking further is of no use.
    pub(crate) fn is_full(&self) -> bool {
        self.found.len() >= 2 * PROBLEMS_MAX
    }

    /// `value` if nothing is wrong.
    pub(crate) fn finish<T>(mut self, file: &str, value: T) -> Result<T, Problems> {
        if self.found.is_empty() {
            return Ok(value);
        }
        self.found.sort_by_key(|problem| problem.at);
        let more = self.found.len() > PROBLEMS_MAX;
        self.found.truncate(PROBLEMS_MAX);
        Err(Problems { file: file.to_owned(), found: self.found, more })
    }
}

/// `did you mean …?`, when one of `known` is near to `word`.
pub(crate) fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    nearest(word, known).map(|near| format!("did you mean `{near}`?"))
}

/// The one of `known` that takes the fewest typing slips to become `word`; none when all are far.
fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let chars: Vec<char> = word.chars().take(80).collect();
    let bound = (chars.len() / 3).clamp(1, 4);
    let mut best: Option<(usize, &str)> = None;
    for candidate in known {
        let bound = best.map_or(bound, |(slips, _)| slips.saturating_sub(1));
        if candidate.len().abs_diff(word.len()) > 4 * bound {
            continue;
        }
        if let Some(slips) = slips_within(&chars, candidate, bound) {
            if slips == 0 {
                return Some(candidate);
            }
            best = Some((slips, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// How many letters must be put in, left out, changed or swapped with their neighbour to turn
/// `word` into `other`, case aside; `None` when more than `bound`.
fn slips_within(word: &[char], other: &str, bound: usize) -> Option<usize> {
    let other: Vec<char> = other.chars().take(80).collect();
    if word.len().abs_diff(other.len()) > bound {
        return None;
    }
    let same = |a: char, b: char| a.eq_ignore_ascii_case(&b);
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=other.len()).collect();
    for (i, &a) in word.iter().enumerate() {
        let mut row = vec![i + 1; other.len() + 1];
        for (j, &b) in other.iter().enumerate() {
            let changed = above[j] + usize::from(!same(a, b));
            row[j + 1] = changed.min(above[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && same(a, other[j - 1]) && same(word[i - 1], b) {
                row[j + 1] = row[j + 1].min(before[j - 1] + 1);
            }
        }
        before = std::mem::replace(&mut above, row);
    }
    above.last().copied().filter(|slips| *slips <= bound)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_the_one_with_the_fewest_slips() {
        let known = ["address", "parent", "login", "needs"];
        assert_eq!(nearest("adress", known), Some("address"));
        assert_eq!(nearest("praent", known), Some("parent"));
        assert_eq!(nearest("Login", known), Some("login"));
        assert_eq!(nearest("maintenance", known), None);
        assert_eq!(nearest("x", known), None);
        assert_eq!(nearest("core-l", ["core-10", "core-1", "edge-1"]), Some("core-1"));
    }

    #[test]
    fn problems_are_told_in_the_order_of_the_text_and_bounded() {
        let mut finder = Finder::default();
        for line in (1..=70).rev() {
            finder.note(Problem::new(Position { line, column: 2 }, format!("wrong {line}")));
        }
        let problems = finder.finish("isp.yaml", ()).unwrap_err();
        assert_eq!(problems.found.len(), PROBLEMS_MAX);
        let text = problems.to_string();
        assert!(text.starts_with("isp.yaml:1:2: wrong 1\nisp.yaml:2:2: wrong 2\n"), "{text}");
        assert!(text.ends_with("isp.yaml: there are more; these are the first 50"), "{text}");
    }
}
