//! The recorded samples: one payload per kind and version, written once and never changed.
//!
//! A sample stands for every message of its kind that lies in somebody's log. `SHA256SUMS` beside
//! them holds what each one was when it was recorded; only new lines are ever written to it.

use crate::schemas;
use anyhow::{Context, bail};
use events::{Noun, header};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

/// Where they lie, below the root of the repository.
pub const FOLDER: &str = "schemas/events/samples";

/// One recorded payload.
#[derive(Debug)]
pub struct Sample {
    /// The file's name.
    pub file: String,
    /// What it is about.
    pub noun: Noun,
    /// The version it was written in.
    pub version: u16,
    /// The last part of its name: what happened.
    pub kind: String,
    /// The payload.
    pub body: Vec<u8>,
}

impl Sample {
    /// The payload as JSON.
    ///
    /// # Errors
    ///
    /// When it is none.
    pub fn json(&self) -> anyhow::Result<Value> {
        serde_json::from_slice(&self.body).with_context(|| format!("decoding {}", self.file))
    }
}

/// All samples, in order of their names.
///
/// # Errors
///
/// When the folder cannot be read, or a file is not called `<noun>.<verb>.v<n>.<kind>.json`.
pub fn all() -> anyhow::Result<Vec<Sample>> {
    let mut samples = Vec::new();
    for entry in std::fs::read_dir(crate::root().join(FOLDER))? {
        let entry = entry?;
        let file = entry.file_name().to_string_lossy().into_owned();
        if file == SUMS {
            continue;
        }
        let body = std::fs::read(entry.path())?;
        samples.push(named(&file, body).with_context(|| format!("the name of {FOLDER}/{file}"))?);
    }
    samples.sort_by(|a, b| a.file.cmp(&b.file));
    Ok(samples)
}

fn named(file: &str, body: Vec<u8>) -> anyhow::Result<Sample> {
    let tokens: Vec<&str> = file.split('.').collect();
    let [noun, verb, version, kind, "json"] = tokens.as_slice() else {
        bail!("not of the form <noun>.<verb>.v<n>.<kind>.json");
    };
    let known = Noun::from_token(noun).with_context(|| format!("`{noun}` is no noun"))?;
    let (its_verb, newest) = known.verb_and_version();
    let number = header::version_of(&format!("{noun}.{verb}.{version}"));
    if *verb != its_verb || *version != format!("v{number}") || number > newest {
        bail!("`{verb}.{version}` is not `{its_verb}` in a version up to {newest}");
    }
    Ok(Sample { file: file.to_owned(), noun: known, version: number, kind: (*kind).to_owned(), body })
}

/// Where in a body the word stands that says what happened; empty for those that say one thing only.
fn kind_path(noun: Noun) -> &'static [&'static str] {
    match noun {
        Noun::Inventory => &["thing"],
        Noun::Revision => &["source", "from"],
        Noun::Access => &["now", "access"],
        Noun::Entitlement => &["now", "of"],
        Noun::Enforcement => &["of"],
        Noun::Order => &["order", "order"],
        Noun::Signal => &["says"],
        Noun::Answer => &["outcome"],
        Noun::Ask => &["question", "what"],
        Noun::Suspicion | Noun::Health | Noun::Incident | Noun::Notice | Noun::Delivery => &["kind"],
        Noun::Repair => &["outcome"],
        Noun::Plan => &["state"],
        Noun::Sighting => &["what"],
        Noun::Refusal => &["reason"],
        Noun::Part | Noun::View | Noun::Due | Noun::Cut | Noun::Timer => &[],
    }
}

/// The kind that a body of the newest version says it is.
pub fn kind_of(noun: Noun, body: &Value) -> Option<&str> {
    let path = kind_path(noun);
    if path.is_empty() {
        return Some(noun.verb_and_version().0);
    }
    path.iter().try_fold(body, |value, step| value.get(step))?.as_str()
}

/// Every kind that the newest schema of `noun` allows.
pub fn kinds(noun: Noun) -> BTreeSet<String> {
    let Some(schema) = events::schema::of(noun) else { return BTreeSet::new() };
    let path = kind_path(noun);
    if path.is_empty() {
        return BTreeSet::from([noun.verb_and_version().0.to_owned()]);
    }
    let root = schema.to_value();
    let mut places = vec![&root];
    for step in path {
        let mut next = Vec::new();
        for place in places {
            properties(&root, place, step, &mut next);
        }
        places = next;
    }
    let mut words = BTreeSet::new();
    for place in places {
        constants(&root, place, &mut words);
    }
    words
}

fn resolved<'a>(root: &'a Value, schema: &'a Value) -> &'a Value {
    match schema.get("$ref").and_then(Value::as_str).and_then(|r| r.strip_prefix('#')) {
        Some(pointer) => root.pointer(pointer).expect("a generated reference has its target"),
        None => schema,
    }
}

fn alternatives(schema: &Value) -> impl Iterator<Item = &Value> {
    ["oneOf", "anyOf", "allOf"].into_iter().filter_map(|k| schema.get(k)?.as_array()).flatten()
}

fn properties<'a>(root: &'a Value, schema: &'a Value, name: &str, found: &mut Vec<&'a Value>) {
    if schema.get("$ref").is_some() {
        properties(root, resolved(root, schema), name, found);
    }
    if let Some(property) = schema.get("properties").and_then(|p| p.get(name)) {
        found.push(property);
    }
    for alternative in alternatives(schema) {
        properties(root, alternative, name, found);
    }
}

fn constants(root: &Value, schema: &Value, words: &mut BTreeSet<String>) {
    if schema.get("$ref").is_some() {
        constants(root, resolved(root, schema), words);
    }
    words.extend(schema.get("const").and_then(Value::as_str).map(str::to_owned));
    let listed = schema.get("enum").and_then(Value::as_array).into_iter().flatten();
    words.extend(listed.filter_map(Value::as_str).map(str::to_owned));
    for alternative in alternatives(schema) {
        constants(root, alternative, words);
    }
}

const SUMS: &str = "SHA256SUMS";

/// Holds the samples against `SHA256SUMS`; new ones are added to it when asked to write.
///
/// # Errors
///
/// Names every sample that was changed, removed or not recorded yet.
pub fn are_as_recorded(samples: &[Sample]) -> anyhow::Result<()> {
    let path = crate::root().join(FOLDER).join(SUMS);
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    let mut recorded: BTreeMap<&str, &str> =
        text.lines().filter_map(|l| l.split_once("  ")).map(|(sum, file)| (file, sum)).collect();
    let (mut wrong, mut all) = (String::new(), text.clone());
    for sample in samples {
        let mut sum = String::new();
        for byte in Sha256::digest(&sample.body) {
            write!(sum, "{byte:02x}")?;
        }
        match recorded.remove(sample.file.as_str()) {
            Some(before) if before == sum => {}
            Some(_) => writeln!(wrong, "{} was changed", sample.file)?,
            None if crate::is_to_write() && holds(sample).is_ok() => writeln!(all, "{sum}  {}", sample.file)?,
            None => writeln!(wrong, "{} is not recorded yet", sample.file)?,
        }
    }
    for file in recorded.keys() {
        writeln!(wrong, "{file} was removed")?;
    }
    if all != text {
        std::fs::write(path, all)?;
    }
    if wrong.is_empty() { Ok(()) } else { bail!("{wrong}(a sample is never edited or removed)") }
}

/// Why `sample` does not stand for the messages of its kind; none when it does.
///
/// # Errors
///
/// What is wrong with it: it does not decode, its schema refuses it, its kind is another, or what
/// it decodes to is not of the newest schema.
pub fn holds(sample: &Sample) -> anyhow::Result<()> {
    let (noun, newest) = (sample.noun, sample.noun.verb_and_version().1);
    is_valid(&sample.json()?, &schemas::published(noun, sample.version)?).context("as it was written")?;
    let fact = events::Fact::decode(noun, sample.version, &sample.body)?;
    let now = serde_json::to_value(&fact)?;
    is_valid(&now, &schemas::published(noun, newest)?).context("in the newest version")?;
    if sample.version == newest && kind_of(noun, &now) != Some(sample.kind.as_str()) {
        bail!("is called `{}` and says `{}`", sample.kind, kind_of(noun, &now).unwrap_or("nothing"));
    }
    if sample.version == newest && now != sample.json()? {
        bail!("holds fields that the type does not know, or leaves out what it would say");
    }
    Ok(())
}

fn is_valid(value: &Value, schema: &Value) -> anyhow::Result<()> {
    let validator = jsonschema::options().should_validate_formats(true).build(schema)?;
    let wrong: Vec<String> =
        validator.iter_errors(value).map(|e| format!("{} at `{}`", e, e.instance_path())).collect();
    if wrong.is_empty() { Ok(()) } else { bail!("{}", wrong.join("; ")) }
}
