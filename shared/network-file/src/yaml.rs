//! A YAML text as a tree in which everything knows its place.
//!
//! Every scalar is text: `0042` stays `0042` and `no` stays `no`; what a field means decides its
//! type. What could make a small file large or hide one value behind another (anchors, aliases,
//! tags, several documents) is refused.

use crate::problem::{Position, Problem};
use saphyr_parser::{Event, Parser, ScalarStyle, Span};
use std::borrow::Cow;

/// How deep lists and mappings may nest.
const DEPTH_MAX: usize = 32;

/// One value and where it begins.
#[derive(Debug)]
pub(crate) struct Yaml<'i> {
    pub(crate) at: Position,
    pub(crate) value: Value<'i>,
}

#[derive(Debug)]
pub(crate) enum Value<'i> {
    /// A scalar; `quoted` when it cannot be meant as "nothing".
    Text {
        text: Cow<'i, str>,
        quoted: bool,
    },
    List(Vec<Yaml<'i>>),
    Map(Vec<Entry<'i>>),
}

/// One key of a mapping with its value.
#[derive(Debug)]
pub(crate) struct Entry<'i> {
    pub(crate) key: Cow<'i, str>,
    pub(crate) at: Position,
    pub(crate) value: Yaml<'i>,
}

impl Yaml<'_> {
    /// The same, borrowing its text.
    pub(crate) fn borrowed(&self) -> Yaml<'_> {
        let value = match &self.value {
            Value::Text { text, quoted } => Value::Text { text: Cow::Borrowed(text), quoted: *quoted },
            Value::List(items) => Value::List(items.iter().map(Yaml::borrowed).collect()),
            Value::Map(entries) => Value::Map(
                entries
                    .iter()
                    .map(|Entry { key, at, value }| Entry {
                        key: Cow::Borrowed(key),
                        at: *at,
                        value: value.borrowed(),
                    })
                    .collect(),
            ),
        };
        Yaml { at: self.at, value }
    }

    /// What it is, for messages.
    pub(crate) fn what(&self) -> &'static str {
        match &self.value {
            Value::Text { .. } if self.is_nothing() => "nothing",
            Value::Text { .. } => "text",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
        }
    }

    /// Whether a key was written without a value.
    pub(crate) fn is_nothing(&self) -> bool {
        matches!(&self.value, Value::Text { text, quoted: false } if matches!(text.as_ref(), "" | "~" | "null"))
    }
}

/// A list or mapping that has begun and not yet ended.
enum Open<'i> {
    List(Position, Vec<Yaml<'i>>),
    Map(Position, Vec<Entry<'i>>, Option<(Cow<'i, str>, Position)>),
}

/// The one document in `text`; `None` when there is nothing in it.
pub(crate) fn read(text: &str) -> Result<Option<Yaml<'_>>, Problem> {
    let mut open: Vec<Open<'_>> = Vec::new();
    let mut root = None;
    let mut parser = Parser::new_from_str(text);
    while let Some(next) = parser.next_event() {
        let (event, span) = next.map_err(|error| {
            Problem::new(position(*error.marker()), format!("this is not YAML: {}", error.info()))
                .hint("check the indentation, that quotes and brackets are closed, and that `\"${NAME}\"` stands in quotes")
        })?;
        let at = start(span);
        let done = match event {
            Event::Scalar(text, style, anchor, tag) => {
                refuse_extras(at, anchor, tag.is_some())?;
                Yaml { at, value: Value::Text { text, quoted: style != ScalarStyle::Plain } }
            }
            Event::SequenceStart(anchor, tag) => {
                refuse_extras(at, anchor, tag.is_some())?;
                refuse_depth(at, open.len())?;
                open.push(Open::List(at, Vec::new()));
                continue;
            }
            Event::MappingStart(anchor, tag) => {
                refuse_extras(at, anchor, tag.is_some())?;
                refuse_depth(at, open.len())?;
                open.push(Open::Map(at, Vec::new(), None));
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => match open.pop() {
                Some(Open::List(at, items)) => Yaml { at, value: Value::List(items) },
                Some(Open::Map(at, entries, _)) => Yaml { at, value: Value::Map(entries) },
                None => continue,
            },
            Event::Alias(_) => {
                return Err(Problem::new(at, "aliases (`*name`) are not supported".into())
                    .hint("write the value out where it is needed"));
            }
            Event::DocumentStart(_) if root.is_some() => {
                return Err(Problem::new(at, "a second document begins here".into())
                    .hint("a network file is one document; remove the `---`"));
            }
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => continue,
        };
        match open.last_mut() {
            None => root = Some(done),
            Some(Open::List(_, items)) => items.push(done),
            Some(Open::Map(_, entries, key)) => match (key.take(), done) {
                (Some((key, at)), value) => entries.push(Entry { key, at, value }),
                (None, Yaml { at, value: Value::Text { text, .. } }) => *key = Some((text, at)),
                (None, other) => {
                    return Err(Problem::new(other.at, format!("{} cannot be a key", other.what()))
                        .hint("text that begins with `{` or `[` must be quoted"));
                }
            },
        }
    }
    Ok(root.filter(|yaml| !yaml.is_nothing()))
}

fn refuse_extras(at: Position, anchor: usize, tagged: bool) -> Result<(), Problem> {
    if anchor > 0 {
        return Err(Problem::new(at, "anchors (`&name`) are not supported".into())
            .hint("write the value out where it is needed"));
    }
    if tagged {
        return Err(Problem::new(at, "tags (`!name`) are not supported".into())
            .hint("remove the tag, or quote the text"));
    }
    Ok(())
}

fn refuse_depth(at: Position, depth: usize) -> Result<(), Problem> {
    if depth >= DEPTH_MAX {
        return Err(Problem::new(at, format!("lists and mappings nest deeper than {DEPTH_MAX}")));
    }
    Ok(())
}

fn start(span: Span) -> Position {
    position(span.start)
}

fn position(marker: saphyr_parser::Marker) -> Position {
    let small = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    Position { line: small(marker.line()), column: small(marker.col() + 1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        let problem = read(text).expect_err(text);
        format!("{}:{} {}", problem.at.line, problem.at.column, problem.what)
    }

    #[test]
    fn scalars_stay_as_they_are_written() {
        let yaml = read("a: 0042\nb: [no, \"\", ~]\n").unwrap().unwrap();
        let Value::Map(entries) = &yaml.value else { panic!("{yaml:?}") };
        assert!(matches!(&entries[0].value.value, Value::Text { text, .. } if text == "0042"));
        let Value::List(items) = &entries[1].value.value else { panic!("{yaml:?}") };
        assert_eq!(items.iter().map(Yaml::is_nothing).collect::<Vec<_>>(), [false, false, true]);
        assert_eq!(items[0].at, Position { line: 2, column: 5 });
    }

    #[test]
    fn what_hides_or_multiplies_values_is_refused() {
        assert_eq!(refused("a: &x 1\n"), "1:4 anchors (`&name`) are not supported");
        assert_eq!(refused("a: !x 1\n"), "1:4 tags (`!name`) are not supported");
        assert_eq!(refused("a: 1\n---\nb: 1\n"), "2:1 a second document begins here");
        assert_eq!(refused("? [a]\n: 1\n"), "1:3 a list cannot be a key");
        assert!(refused(&"[".repeat(40)).contains("nest deeper"));
        assert!(refused("a: [1, 2\n").contains("this is not YAML"));
        assert!(refused("a: 1\n b: 2\n").contains("this is not YAML"));
    }

    #[test]
    fn an_empty_text_holds_nothing() {
        assert!(read("").unwrap().is_none());
        assert!(read("# only a comment\n").unwrap().is_none());
    }
}
