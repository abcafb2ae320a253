//! From the YAML tree to the typed model, collecting everything that is wrong on the way.
//!
//! A value that is wrong is noted and left out, so that one slip is told once and the rest is
//! still looked at. References between things are checked afterwards, when all are known.

mod entitlement;
mod field;
mod lab;
mod network;
mod people;
mod subscriber;

use crate::{
    NetworkFile, Problems, Secrets, check,
    model::TenantEntry,
    problem::{Finder, Position, Problem},
    yaml::{self, Value, Yaml},
};

pub(crate) use network::{class_name, tier_name, tier_of};

/// The largest text that is read, bytes: eight times what 100,000 nodes take.
pub const TEXT_MAX: usize = 64 * 1024 * 1024;

/// The most nodes and subscribers of one file, each.
const THINGS_MAX: usize = 500_000;

/// The keys of the whole file.
const KEYS: [&str; 14] = [
    "version",
    "tenant",
    "policy",
    "channels",
    "tokens",
    "sites",
    "devices",
    "links",
    "services",
    "upstreams",
    "meshes",
    "subscribers",
    "subscriber_tables",
    "lab",
];

/// Reads a network file. `file` is its name in messages; `secrets` is where `${NAME}` and
/// `file:PATH` are looked up.
///
/// # Errors
///
/// Everything that is wrong with it, at most [`crate::PROBLEMS_MAX`] problems.
pub fn parse(file: &str, text: &str, secrets: &dyn Secrets) -> Result<NetworkFile, Problems> {
    let mut reader = Reader { finder: Finder::default(), references: Vec::new(), secrets };
    if text.len() > TEXT_MAX {
        let what = format!("the file has {} bytes; at most {TEXT_MAX} are read", text.len());
        reader.finder.note(Problem::new(Position { line: 1, column: 1 }, what));
        return reader.finder.finish(file, NetworkFile::empty(TenantEntry::default()));
    }
    let mut network = NetworkFile::empty(TenantEntry::default());
    match yaml::read(text) {
        Err(problem) => reader.finder.note(problem),
        Ok(None) => reader.finder.note(
            Problem::new(Position { line: 1, column: 1 }, "the file is empty".into())
                .hint("it begins with `tenant: {id: my-isp, name: My ISP}`"),
        ),
        Ok(Some(yaml)) => {
            reader.file(&yaml, &mut network);
            drop(yaml);
            let Reader { finder, references, .. } = &mut reader;
            check::everything(&mut network, references, finder);
        }
    }
    reader.finder.finish(file, network)
}

/// What something that is named must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// A site.
    Site,
    /// A device, link, service or upstream.
    Node,
    /// A router with a login.
    RouterWithLogin,
    /// A link with both ends.
    Link,
}

/// A place where something is named.
#[derive(Debug)]
pub(crate) struct Reference {
    pub(crate) to: String,
    pub(crate) at: Position,
    pub(crate) wanted: Wanted,
}

/// Reads values; remembers what is wrong and what is named.
pub(crate) struct Reader<'s> {
    finder: Finder,
    references: Vec<Reference>,
    secrets: &'s dyn Secrets,
}

impl Reader<'_> {
    fn file(&mut self, yaml: &Yaml<'_>, network: &mut NetworkFile) {
        let Some(fields) = self.fields(yaml, "the file", &KEYS) else { return };
        if let Some(version) = self.optional_text(&fields, "version", 20)
            && version.1 != "1"
        {
            self.note(version.0, format!("version {} is not known", version.1), Some("write `version: 1`"));
        }
        network.tenant = self.tenant(&fields);
        network.policy = self.policy(&fields);
        network.channels = self.list(&fields, "channels", Reader::channel);
        network.tokens = self.list(&fields, "tokens", Reader::token);
        network.sites = self.list(&fields, "sites", Reader::site);
        network.nodes = self.list(&fields, "devices", Reader::device);
        network.nodes.extend(self.list(&fields, "links", Reader::link));
        network.nodes.extend(self.list(&fields, "services", Reader::service));
        network.nodes.extend(self.list(&fields, "upstreams", Reader::upstream));
        network.meshes = self.list(&fields, "meshes", Reader::mesh);
        network.subscribers = self.list(&fields, "subscribers", Reader::subscriber);
        for table in self.list(&fields, "subscriber_tables", Reader::subscriber_table) {
            network.subscribers.extend(table);
        }
        for (key, count) in [("devices", network.nodes.len()), ("subscribers", network.subscribers.len())] {
            if count > THINGS_MAX {
                let what = format!("the file has {count} {key}; at most {THINGS_MAX} are read");
                self.note(yaml.at, what, Some("make several networks of it"));
            }
        }
        network.lab = self.lab(&fields);
    }

    /// The items of a list under `key`; none when the key is absent.
    fn list<'y, 'i, T>(
        &mut self,
        fields: &field::Fields<'y, 'i>,
        key: &'static str,
        read: fn(&mut Self, &'y Yaml<'i>) -> Option<T>,
    ) -> Vec<T> {
        let Some(entry) = fields.get(key) else { return Vec::new() };
        let Value::List(items) = &entry.value.value else {
            let what = format!("`{key}` is a list, found {}", entry.value.what());
            self.note(entry.value.at, what, Some("write each item after a `- `"));
            return Vec::new();
        };
        let mut read_items = Vec::with_capacity(items.len());
        for item in items {
            if self.finder.is_full() {
                break;
            }
            read_items.extend(read(self, item));
        }
        read_items
    }

    fn note(&mut self, at: Position, what: String, hint: Option<&str>) {
        let problem = Problem::new(at, what);
        self.finder.note(match hint {
            Some(hint) => problem.hint(hint),
            None => problem,
        });
    }

    fn reference(&mut self, to: &str, at: Position, wanted: Wanted) {
        self.references.push(Reference { to: to.to_owned(), at, wanted });
    }
}
