//! Which rows a `print` is about.

use routeros_api::value;

use super::{Refusal, Row};

/// The query words of one `print`, checked.
#[derive(Debug, Default)]
pub(super) struct Query(Vec<Step>);

#[derive(Debug)]
enum Step {
    Has(String),
    Lacks(String),
    Equals(String, String),
    Less(String, String),
    Greater(String, String),
    Not,
    And,
    Or,
    /// Pushes a copy of this index, 0 being the top.
    Copy(usize),
    /// Keeps nothing but this index.
    Keep(usize),
}

impl Query {
    /// Reads the words, without their question marks.
    pub(super) fn read<'a>(words: impl Iterator<Item = &'a [u8]>) -> Result<Self, Refusal> {
        let mut steps = Vec::new();
        for word in words {
            let word = value::text(word);
            let pair = |rest: &str| match rest.split_once('=') {
                Some((name, value)) => (name.to_owned(), value.to_owned()),
                None => (rest.to_owned(), String::new()),
            };
            match word.chars().next() {
                Some('#') => operators(&word[1..], &mut steps)?,
                Some('-') => steps.push(Step::Lacks(word[1..].to_owned())),
                Some('<') => {
                    let (name, value) = pair(&word[1..]);
                    steps.push(Step::Less(name, value));
                }
                Some('>') => {
                    let (name, value) = pair(&word[1..]);
                    steps.push(Step::Greater(name, value));
                }
                Some('=') => {
                    let (name, value) = pair(&word[1..]);
                    steps.push(Step::Equals(name, value));
                }
                Some(_) if word.contains('=') => {
                    let (name, value) = pair(&word);
                    steps.push(Step::Equals(name, value));
                }
                Some(_) => steps.push(Step::Has(word.into_owned())),
                None => return Err(Refusal::argument("empty query")),
            }
        }
        Ok(Self(steps))
    }

    /// Whether a row passes: no `false` is left. Below what was pushed the stack is `true` without end.
    pub(super) fn passes(&self, row: &Row) -> bool {
        let mut stack: Vec<bool> = Vec::new();
        for step in &self.0 {
            match step {
                Step::Has(name) => stack.push(row.get(name).is_some()),
                Step::Lacks(name) => stack.push(row.get(name).is_none()),
                Step::Equals(name, value) => {
                    stack.push(row.get(name).is_some_and(|found| same(found, value)));
                }
                Step::Less(name, value) => {
                    stack.push(row.get(name).is_some_and(|found| order(found, value).is_lt()));
                }
                Step::Greater(name, value) => {
                    stack.push(row.get(name).is_some_and(|found| order(found, value).is_gt()));
                }
                Step::Not => {
                    let top = stack.pop().unwrap_or(true);
                    stack.push(!top);
                }
                Step::And => {
                    let (a, b) = (stack.pop().unwrap_or(true), stack.pop().unwrap_or(true));
                    stack.push(a && b);
                }
                Step::Or => {
                    let (a, b) = (stack.pop().unwrap_or(true), stack.pop().unwrap_or(true));
                    stack.push(a || b);
                }
                Step::Copy(index) => stack.push(at(&stack, *index)),
                Step::Keep(index) => stack = vec![at(&stack, *index)],
            }
        }
        stack.iter().all(|passes| *passes)
    }
}

fn at(stack: &[bool], index: usize) -> bool {
    stack.len().checked_sub(index + 1).is_none_or(|at| stack[at])
}

fn operators(mut text: &str, steps: &mut Vec<Step>) -> Result<(), Refusal> {
    while let Some(c) = text.chars().next() {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        if digits > 0 {
            let Ok(index) = text[..digits].parse() else {
                return Err(Refusal::argument("invalid query"));
            };
            text = &text[digits..];
            if let Some(rest) = text.strip_prefix('.') {
                text = rest;
                steps.push(Step::Copy(index));
            } else {
                steps.push(if text.is_empty() { Step::Keep(index) } else { Step::Copy(index) });
            }
            continue;
        }
        text = &text[c.len_utf8()..];
        steps.push(match c {
            '!' => Step::Not,
            '&' => Step::And,
            '|' => Step::Or,
            '.' => Step::Copy(0),
            _ => return Err(Refusal::argument("invalid query")),
        });
    }
    Ok(())
}

/// Truth values in both spellings are the same.
fn same(found: &str, wanted: &str) -> bool {
    let truth = |text: &str| match text {
        "true" | "yes" => Some(true),
        "false" | "no" => Some(false),
        _ => None,
    };
    found == wanted || truth(found).is_some_and(|found| Some(found) == truth(wanted))
}

fn order(found: &str, wanted: &str) -> std::cmp::Ordering {
    match (found.parse::<i64>(), wanted.parse::<i64>()) {
        (Ok(found), Ok(wanted)) => found.cmp(&wanted),
        _ => found.cmp(wanted),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passes(words: &[&str]) -> bool {
        let mut row = Row::of(1);
        for (name, value) in [("name", "ether1"), ("type", "ether"), ("running", "true"), ("mtu", "1500")] {
            row.put(name, value);
        }
        Query::read(words.iter().map(|word| word.as_bytes())).unwrap().passes(&row)
    }

    #[test]
    fn rows_are_chosen_by_a_stack_of_truths() {
        for yes in [
            &["type=ether"][..],
            &["=name=ether1"],
            &["running=yes"],
            &["name"],
            &["-comment"],
            &[">mtu=900"],
            &["<mtu=9000"],
            &[">name="],
            &["type=vlan", "type=ether", "#|"],
            &["type=vlan", "#!"],
            &["type=vlan", "type=bridge", "#|!"],
            &["type=ether", "name=ether1", "#&"],
            &["type=vlan", "type=ether", "#0"],
            &["type=ether", "#.&"],
            &[],
        ] {
            assert!(passes(yes), "{yes:?}");
        }
        for no in [
            &["type=vlan"][..],
            &["comment"],
            &["-name"],
            &["type=ether", "name=ether2"],
            &["type=vlan", "type=ether", "#&"],
            &["type=vlan", "type=ether", "#1"],
            &["running=no"],
        ] {
            assert!(!passes(no), "{no:?}");
        }
        assert!(Query::read(["#x".as_bytes()].into_iter()).is_err());
    }
}
