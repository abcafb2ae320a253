//! What a process is told before it starts: one file, the environment, nothing else.
//!
//! Top-level keys concern every service ([`Common`]); each service has a table of its own name
//! ([`Section`]). A key `a.b` of the file is `MASTWATCH_A__B` in the environment, which wins. Any key
//! may be given as `<key>_file` instead, naming a file that holds the value: meant for secrets.
//! An empty variable counts as not set.
//!
//! Everything is read and checked before anything connects, and all faults are named at once, each
//! with the file or variable it lies in. Unknown keys of the file are faults; an unknown *variable*
//! outside every table is only reported by [`Settings::strangers`], because Kubernetes puts variables
//! with our prefix into every container beside a service of our name.

pub mod keys;

use figment::{
    Figment, Metadata, Profile, Provider,
    error::Kind,
    providers::{Format, Toml},
    value::{Dict, Map, Value},
};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, de::DeserializeOwned};
use std::{
    borrow::Cow,
    collections::BTreeMap,
    fmt, io,
    net::SocketAddr,
    path::{Path, PathBuf},
};

/// What every variable of ours begins with.
pub const PREFIX: &str = "MASTWATCH_";

/// Parts the levels of a key in a variable's name.
const LEVEL: &str = "__";

/// The ending of a key that names a file instead of holding the value.
const FILE: &str = "_file";

/// No file with a value is larger than this.
const VALUE_FILE_BYTES_MAX: u64 = 64 * 1024;

/// A value that must not be read: it shows itself as `…` everywhere but in [`Secret::reveal`].
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    value: String,
    file: Option<PathBuf>,
}

impl Secret {
    /// Hides `value`.
    pub fn new(value: impl Into<String>) -> Self {
        Self { value: value.into(), file: None }
    }

    /// The value itself, for the one who must use it.
    pub fn reveal(&self) -> &str {
        &self.value
    }

    /// The file it was read from, for [`Section::secrets`].
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

impl JsonSchema for Secret {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Secret".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "writeOnly": true })
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str("…")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        // Whatever it is, an error must not repeat it.
        String::deserialize(d)
            .map(Self::new)
            .map_err(|_| de::Error::custom("a secret must be text, in quotes"))
    }
}

/// When what is said counts as stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Durability {
    /// Once it is on the disk: survives a power cut.
    #[default]
    Always,
    /// Once the server has it; it is on the disk within a second. Survives a killed server only.
    Interval,
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Durability::Always => "always",
            Durability::Interval => "interval",
        })
    }
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    #[default]
    Text,
}

/// What concerns every service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Common {
    /// The log's servers: `nats://host:port`, several parted by commas. No credentials in it.
    pub nats_url: String,
    /// The user this process is towards the log's servers.
    pub nats_user: Option<String>,
    /// That user's password.
    pub nats_password: Option<Secret>,
    /// How many of the servers keep each message: 1, 3 or 5.
    pub nats_replicas: usize,
    /// Whether this process declares the streams. Off where its user may not.
    pub declare_streams: bool,
    /// The point of presence this process works at: letters, digits, `_`, `-`.
    pub pop: String,
    /// Postgres, as the services use it. Needed by projector and console only.
    pub database_url: Option<Secret>,
    /// Postgres, as the owner of the tables. Needed where migrations are run; `database_url` if absent.
    pub database_owner_url: Option<Secret>,
    /// `VictoriaMetrics`, `http://host:port`.
    pub vm_url: Option<String>,
    /// Where `/healthz`, `/readyz` and `/metrics` are served. Port 0: any free one.
    pub admin_address: SocketAddr,
    /// What is logged: a level, or directives such as `info,kit=debug`.
    pub log_level: String,
    /// How it is logged.
    pub log_format: LogFormat,
    /// Where traces go: the base address of an OTLP/HTTP collector. Absent: nowhere.
    pub otlp_endpoint: Option<String>,
    /// Which part of all traces is exported, 0 to 1.
    pub otlp_ratio: f64,
    /// What the log's servers were told about durability.
    pub durability: Durability,
    /// How long work in flight may take to finish once the process was told to stop, in seconds.
    pub drain_s: u64,
}

impl Default for Common {
    fn default() -> Self {
        Self {
            nats_url: "nats://127.0.0.1:4222".into(),
            nats_user: None,
            nats_password: None,
            nats_replicas: 1,
            declare_streams: true,
            pop: "main".into(),
            database_url: None,
            database_owner_url: None,
            vm_url: None,
            admin_address: SocketAddr::from(([127, 0, 0, 1], 9090)),
            log_level: "info".into(),
            log_format: LogFormat::Text,
            otlp_endpoint: None,
            otlp_ratio: 1.0,
            durability: Durability::Always,
            // Kubernetes kills after 30 s.
            drain_s: 25,
        }
    }
}

impl Common {
    /// The log's servers, one by one.
    pub fn nats_servers(&self) -> Vec<String> {
        self.nats_url.split(',').map(|url| url.trim().to_owned()).filter(|url| !url.is_empty()).collect()
    }

    fn check(&self, check: &mut Check) {
        let servers = self.nats_servers();
        check.holds(!servers.is_empty(), "nats_url", "names no server");
        for server in &servers {
            check.holds(
                !server.contains('@'),
                "nats_url",
                "holds credentials: put them into `nats_user` and `nats_password`",
            );
            check.holds(
                !server.contains("://") || server.starts_with("nats://") || server.starts_with("tls://"),
                "nats_url",
                "must begin with nats:// or tls://",
            );
        }
        check.holds(
            self.nats_user.is_some() == self.nats_password.is_some(),
            "nats_user",
            "needs `nats_password` beside it, and the other way round",
        );
        check.holds([1, 3, 5].contains(&self.nats_replicas), "nats_replicas", "must be 1, 3 or 5");
        check.holds(
            !self.pop.is_empty()
                && self.pop.len() <= 32
                && self.pop.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-'),
            "pop",
            "must be 1 to 32 letters, digits, `_` or `-`",
        );
        for (key, url) in
            [("database_url", &self.database_url), ("database_owner_url", &self.database_owner_url)]
        {
            let good = url.as_ref().is_none_or(|url| {
                url.reveal().starts_with("postgres://") || url.reveal().starts_with("postgresql://")
            });
            check.holds(good, key, "must begin with postgres:// or postgresql://");
        }
        for (key, url) in [("vm_url", &self.vm_url), ("otlp_endpoint", &self.otlp_endpoint)] {
            let good = url.as_ref().is_none_or(|url| reqwest::Url::parse(url).is_ok_and(|u| u.has_host()));
            check.holds(good, key, "must be an address like http://host:port");
        }
        check.holds((0.0..=1.0).contains(&self.otlp_ratio), "otlp_ratio", "must lie between 0 and 1");
        check.holds(
            tracing_subscriber::EnvFilter::try_new(&self.log_level).is_ok(),
            "log_level",
            "must be a level (error, warn, info, debug, trace) or directives like `info,kit=debug`",
        );
        check.holds((1..=600).contains(&self.drain_s), "drain_s", "must lie between 1 and 600");
    }
}

/// The part of the configuration that concerns one service: the table of its name.
///
/// Derive `Deserialize` with `#[serde(deny_unknown_fields)]`, so that a misspelt key is a fault.
pub trait Section: DeserializeOwned {
    /// The name of the table.
    const NAME: &'static str;

    /// Checks what types cannot say. Keys are relative to the table.
    fn check(&self, check: &mut Check);

    /// The secrets that may change while the process runs, by their keys in the table: they are told which file
    /// they were read from, if it was one.
    fn secrets(&mut self) -> Vec<(&'static str, &mut Option<Secret>)> {
        Vec::new()
    }
}

/// Gathers what is wrong with values that could be read.
#[derive(Debug, Default)]
pub struct Check {
    found: Vec<(String, String)>,
}

impl Check {
    /// Notes that `key` `is_wrong_how` unless `good`.
    pub fn holds(&mut self, good: bool, key: &str, is_wrong_how: impl Into<String>) {
        if !good {
            self.found.push((key.to_owned(), is_wrong_how.into()));
        }
    }

    /// Notes that `key` must lie in `range`, unless `value` does.
    pub fn within(&mut self, key: &str, value: u64, range: std::ops::RangeInclusive<u64>) {
        let (least, most) = (range.start(), range.end());
        self.holds(range.contains(&value), key, format!("must lie between {least} and {most}"));
    }

    /// Notes that the secret `key` is needed and must be one that `read` takes. An error must not repeat it.
    pub fn reads<T, E: fmt::Display>(
        &mut self,
        key: &str,
        secret: Option<&Secret>,
        read: impl FnOnce(&str) -> Result<T, E>,
    ) {
        self.given(key, secret);
        if let Some(Err(error)) = secret.map(|secret| read(secret.reveal())) {
            self.holds(false, key, error.to_string());
        }
    }

    /// Notes that `key` is needed, unless `value` is there.
    pub fn given<T>(&mut self, key: &str, value: Option<&T>) {
        self.holds(value.is_some(), key, "is missing");
    }
}

/// One fault of the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Where it lies: a key and its file, or a variable.
    pub place: String,
    /// What is wrong with it.
    pub problem: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.problem)
    }
}

/// Why there is no configuration to start with.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file that was asked for cannot be read.
    #[error("reading the configuration file {}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Something in it cannot be used: every fault that was found.
    #[error("the configuration cannot be used:{}", list(.0))]
    Faults(Vec<Fault>),
}

fn list(faults: &[Fault]) -> String {
    faults.iter().map(|fault| format!("\n  {fault}")).collect()
}

/// Everything that was given, not yet read as anything.
#[derive(Debug, Clone)]
pub struct Settings {
    figment: Figment,
    /// Top-level keys that came from variables only.
    from_environment: Vec<String>,
    /// Which file a key was read from, unless something else was laid over it.
    files: BTreeMap<String, PathBuf>,
}

impl Settings {
    /// Reads the file, if one is named, and this process's environment.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] when a named file cannot be read or is no TOML.
    pub fn load(file: Option<&Path>) -> Result<Self, ConfigError> {
        let variables = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        Self::from_parts(file, variables)
    }

    /// The same with an environment of the caller's choice.
    ///
    /// # Errors
    ///
    /// As [`Settings::load`].
    pub fn from_parts(
        file: Option<&Path>,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let mut figment = Figment::new();
        let (mut faults, mut files) = (vec![], BTreeMap::new());
        if let Some(path) = file {
            let text = std::fs::read_to_string(path)
                .map_err(|source| ConfigError::File { path: path.to_owned(), source })?;
            let shown = path.display().to_string();
            match Toml::from_str::<Dict>(&text) {
                Ok(dict) => figment = layered(figment, dict, &Origin::File(shown), &mut files, &mut faults),
                Err(error) => faults.push(Fault { place: shown, problem: error.to_string() }),
            }
        }
        let (dict, from_environment) = environment(variables, &mut faults);
        figment = layered(figment, dict, &Origin::Environment, &mut files, &mut faults);
        if faults.is_empty() {
            Ok(Self { figment, from_environment, files })
        } else {
            Err(ConfigError::Faults(faults))
        }
    }

    /// The same settings with `key` (`a.b`) set to `value` over file and environment, named as coming
    /// from `origin`: for arguments of the command line and for servers this process started itself.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<Value>, origin: &'static str) -> Self {
        let mut dict = Dict::new();
        put(&mut dict, &key.split('.').map(str::to_owned).collect::<Vec<_>>(), value.into());
        self.figment = self.figment.merge(Layer { metadata: Metadata::named(origin), dict });
        self.files.remove(key);
        self
    }

    /// The same settings with `key` (`a.b`) set to what the file at `path` holds, over file and environment.
    ///
    /// # Errors
    ///
    /// When the file cannot be read.
    pub fn with_file(self, key: &str, path: &Path, origin: &'static str) -> io::Result<Self> {
        let mut now = self.with(key, read_value(path)?, origin);
        now.files.insert(key.to_owned(), path.to_owned());
        Ok(now)
    }

    /// The file that `key` (`a.b`) was given as, if it was.
    pub fn file_of(&self, key: &str) -> Option<&Path> {
        self.files.get(key).map(PathBuf::as_path)
    }

    /// What concerns every service, checked.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Faults`] names every fault.
    pub fn common(&self) -> Result<Common, ConfigError> {
        let common: Common = self.figment.extract_lossy().map_err(|error| self.faults(error, None))?;
        let mut check = Check::default();
        common.check(&mut check);
        self.passed(check, None)?;
        Ok(common)
    }

    /// What concerns one service, checked. A table that was not given is an empty one.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Faults`] names every fault.
    pub fn section<T: Section>(&self) -> Result<T, ConfigError> {
        let with_table = self.figment.clone().join(Layer {
            metadata: Metadata::named("defaults"),
            dict: Dict::from([(T::NAME.to_owned(), Value::from(Dict::new()))]),
        });
        let mut section: T =
            with_table.extract_inner_lossy(T::NAME).map_err(|error| self.faults(error, Some(T::NAME)))?;
        for (key, secret) in section.secrets() {
            if let Some(secret) = secret {
                secret.file = self.file_of(&format!("{}.{key}", T::NAME)).map(Path::to_owned);
            }
        }
        let mut check = Check::default();
        section.check(&mut check);
        self.passed(check, Some(T::NAME))?;
        Ok(section)
    }

    /// Refuses top-level keys that are neither common nor a table of `sections`.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Faults`] for each such key of the file.
    pub fn only(&self, sections: &[&str]) -> Result<(), ConfigError> {
        let faults: Vec<Fault> = self
            .unknown(sections)
            .into_iter()
            .filter(|key| !self.from_environment.contains(key))
            .map(|key| Fault { place: self.place(&key), problem: "is no setting of this program".into() })
            .collect();
        if faults.is_empty() { Ok(()) } else { Err(ConfigError::Faults(faults)) }
    }

    /// Variables with our prefix that mean nothing here, for a warning.
    pub fn strangers(&self, sections: &[&str]) -> Vec<String> {
        let unknown = self.unknown(sections).into_iter();
        unknown.filter(|key| self.from_environment.contains(key)).map(|key| variable(&[&key])).collect()
    }

    fn unknown(&self, sections: &[&str]) -> Vec<String> {
        let known = serde_json::to_value(Common::default()).expect("plain data is representable as JSON");
        let given: Dict = self.figment.extract().unwrap_or_default();
        given
            .into_keys()
            .filter(|key| known.get(key).is_none() && !sections.contains(&key.as_str()))
            .collect()
    }

    fn passed(&self, check: Check, table: Option<&str>) -> Result<(), ConfigError> {
        if check.found.is_empty() {
            return Ok(());
        }
        let found = check.found.into_iter();
        Err(ConfigError::Faults(
            found
                .map(|(key, problem)| {
                    let key = table.map_or_else(|| key.clone(), |table| format!("{table}.{key}"));
                    Fault { place: self.place(&key), problem }
                })
                .collect(),
        ))
    }

    fn faults(&self, error: figment::Error, table: Option<&str>) -> ConfigError {
        let fault = |mut error: figment::Error| {
            // The table that was read comes last in the path, where it belongs first.
            if table.is_some() && error.path.last().map(String::as_str) == table {
                error.path.rotate_right(1);
            }
            let mut key = error.path.join(".");
            if let Kind::MissingField(field) = &error.kind {
                let parent = if key.is_empty() { table.unwrap_or_default().to_owned() } else { key };
                key = if parent.is_empty() { field.to_string() } else { format!("{parent}.{field}") };
                return Fault { place: self.place(&key), problem: "is missing".into() };
            }
            if key.is_empty() {
                key = table.unwrap_or_default().to_owned();
            }
            Fault { place: self.place(&key), problem: error.kind.to_string() }
        };
        ConfigError::Faults(error.into_iter().map(fault).collect())
    }

    /// Where `key` was given, or how it can be.
    fn place(&self, key: &str) -> String {
        let keys: Vec<&str> = key.split('.').collect();
        match self.figment.find_metadata(key) {
            Some(metadata) => {
                let shown = metadata.interpolate(&Profile::Default, &keys);
                if metadata.name == Origin::Environment.name() {
                    shown
                } else {
                    format!("`{shown}` ({})", metadata.name)
                }
            }
            None => format!("`{key}` (in the environment: {})", variable(&keys)),
        }
    }
}

/// `MASTWATCH_A__B` for `a.b`.
fn variable(keys: &[&str]) -> String {
    format!("{PREFIX}{}", keys.join(LEVEL).to_uppercase())
}

/// Where values come from.
#[derive(Debug, Clone)]
enum Origin {
    File(String),
    Environment,
}

impl Origin {
    fn name(&self) -> String {
        match self {
            Origin::File(path) => path.clone(),
            Origin::Environment => "the environment".into(),
        }
    }

    fn shown(&self, keys: &[&str]) -> String {
        match self {
            Origin::File(path) => format!("`{}` ({path})", keys.join(".")),
            Origin::Environment => variable(keys),
        }
    }
}

/// A tree of values from one place.
struct Layer {
    metadata: Metadata,
    dict: Dict,
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        self.metadata.clone()
    }

    fn data(&self) -> figment::error::Result<Map<Profile, Dict>> {
        Ok(Profile::Default.collect(self.dict.clone()))
    }
}

/// Lays `dict` over `figment`, and over that the contents of the files it names; `files` are those whose
/// contents count.
fn layered(
    figment: Figment,
    mut dict: Dict,
    origin: &Origin,
    files: &mut BTreeMap<String, PathBuf>,
    faults: &mut Vec<Fault>,
) -> Figment {
    let mut from_files = Contents::default();
    read_files(&mut dict, &mut vec![], origin, &mut from_files, faults);
    files.retain(|key, _| Value::from(dict.clone()).find(key).is_none());
    files.append(&mut from_files.files);
    let metadata = Metadata::named(origin.name());
    let metadata = match origin {
        Origin::File(_) => metadata.interpolater(|_: &Profile, keys: &[&str]| keys.join(".")),
        Origin::Environment => metadata.interpolater(|_: &Profile, keys: &[&str]| variable(keys)),
    };
    let contents = Metadata::named(format!("a file named in {}", origin.name()))
        .interpolater(|_: &Profile, keys: &[&str]| format!("{}{FILE}", keys.join(".")));
    figment.merge(Layer { metadata, dict }).merge(Layer { metadata: contents, dict: from_files.dict })
}

/// What files that were named hold.
#[derive(Default)]
struct Contents {
    dict: Dict,
    files: BTreeMap<String, PathBuf>,
}

/// Replaces every `<key>_file` by `<key>` with the content of that file.
fn read_files(
    dict: &mut Dict,
    above: &mut Vec<String>,
    origin: &Origin,
    contents: &mut Contents,
    faults: &mut Vec<Fault>,
) {
    for (key, value) in dict.iter_mut() {
        if let Value::Dict(_, table) = value {
            above.push(key.clone());
            read_files(table, above, origin, contents, faults);
            above.pop();
        }
    }
    let named: Vec<String> = dict.keys().filter(|key| key.ends_with(FILE)).cloned().collect();
    for key in named {
        let Some(Value::String(_, path)) = dict.remove(&key) else {
            continue;
        };
        let base = key.trim_end_matches(FILE).to_owned();
        let keys: Vec<&str> = above.iter().map(String::as_str).chain([key.as_str()]).collect();
        let place = origin.shown(&keys);
        if dict.contains_key(&base) {
            faults.push(Fault { place, problem: format!("is given beside `{base}`: one of the two") });
            continue;
        }
        match read_value(Path::new(&path)) {
            Ok(text) => {
                let at: Vec<String> = above.iter().cloned().chain([base]).collect();
                put(&mut contents.dict, &at, Value::from(text));
                contents.files.insert(at.join("."), PathBuf::from(path));
            }
            Err(error) => faults.push(Fault { place, problem: format!("reading {path}: {error}") }),
        }
    }
}

/// The content of a file that holds one value, without the line end that editors leave.
fn read_value(path: &Path) -> io::Result<String> {
    if std::fs::metadata(path)?.len() > VALUE_FILE_BYTES_MAX {
        return Err(io::Error::other(format!("larger than {VALUE_FILE_BYTES_MAX} bytes")));
    }
    Ok(std::fs::read_to_string(path)?.trim_end_matches(['\r', '\n']).to_owned())
}

/// The tree our variables make, and its top-level keys.
fn environment(
    variables: impl IntoIterator<Item = (String, String)>,
    faults: &mut Vec<Fault>,
) -> (Dict, Vec<String>) {
    let mut dict = Dict::new();
    for (name, text) in variables {
        let Some(rest) = name.strip_prefix(PREFIX).filter(|_| !text.is_empty()) else { continue };
        let keys: Vec<String> = rest.to_lowercase().split(LEVEL).map(str::to_owned).collect();
        // Text stays text (a password may be all digits) and is read as a number where one is wanted;
        // only lists and tables have a form of their own.
        let value = if text.starts_with(['[', '{']) {
            match text.parse::<Value>() {
                Ok(value) => value,
                Err(never) => match never {},
            }
        } else {
            Value::from(text)
        };
        if !put(&mut dict, &keys, value) {
            faults.push(Fault { place: name, problem: "names a table and a value at once".into() });
        }
    }
    let top = dict.keys().cloned().collect();
    (dict, top)
}

/// Puts `value` at the path `keys`; `false` when something else is in the way.
fn put(dict: &mut Dict, keys: &[String], value: Value) -> bool {
    match keys {
        [] => false,
        [key] => dict.insert(key.clone(), value).is_none(),
        [key, rest @ ..] => {
            let below = dict.entry(key.clone()).or_insert_with(|| Value::from(Dict::new()));
            match below {
                Value::Dict(_, below) => put(below, rest, value),
                Value::String(..)
                | Value::Char(..)
                | Value::Bool(..)
                | Value::Num(..)
                | Value::Empty(..)
                | Value::Array(..) => false,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Door {
        #[serde(default = "Door::port")]
        port: u16,
        key: Option<Secret>,
        #[serde(default)]
        sources: Vec<String>,
        wait_ms: u64,
    }

    impl Door {
        fn port() -> u16 {
            8081
        }
    }

    impl Section for Door {
        const NAME: &'static str = "door";
        fn check(&self, check: &mut Check) {
            check.holds(self.wait_ms > 0, "wait_ms", "must be more than 0");
        }
        fn secrets(&mut self) -> Vec<(&'static str, &mut Option<Secret>)> {
            vec![("key", &mut self.key)]
        }
    }

    fn settings(toml: &str, variables: &[(&str, &str)]) -> Result<Settings, ConfigError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mastwatch.toml");
        std::fs::write(&path, toml).unwrap();
        Settings::from_parts(Some(&path), variables.iter().map(|(k, v)| ((*k).into(), (*v).into())))
    }

    fn faults<T: fmt::Debug>(result: Result<T, ConfigError>) -> String {
        match result.unwrap_err() {
            ConfigError::Faults(faults) => list(&faults),
            ConfigError::File { path, .. } => panic!("{}", path.display()),
        }
    }

    #[test]
    fn the_environment_wins_over_the_file_and_numbers_are_read_where_they_are_wanted() {
        let s = settings(
            "nats_url = \"nats://a:1,nats://b:2\"\n[door]\nport = 1\nwait_ms = 5\n",
            &[
                ("MASTWATCH_DOOR__PORT", "9"),
                ("MASTWATCH_DOOR__KEY", "0123"),
                ("MASTWATCH_DOOR__SOURCES", "[a, b]"),
            ],
        )
        .unwrap();
        let door: Door = s.section().unwrap();
        assert_eq!((door.port, door.wait_ms), (9, 5));
        assert_eq!(door.key.unwrap().reveal(), "0123");
        assert_eq!(door.sources, ["a", "b"]);
        assert_eq!(s.common().unwrap().nats_servers(), ["nats://a:1", "nats://b:2"]);
    }

    #[test]
    fn nothing_given_is_the_defaults() {
        let s = Settings::from_parts(None, []).unwrap();
        assert_eq!(s.common().unwrap(), Common::default());
        s.only(&[]).unwrap();
    }

    #[test]
    fn a_secret_may_lie_in_a_file_and_never_shows_itself() {
        let dir = tempfile::tempdir().unwrap();
        let key = dir.path().join("key");
        std::fs::write(&key, "hunter2\n").unwrap();
        let s = settings("[door]\nwait_ms = 1\n", &[("MASTWATCH_DOOR__KEY_FILE", key.to_str().unwrap())])
            .unwrap();
        let door: Door = s.section().unwrap();
        assert_eq!(door.key.as_ref().unwrap().reveal(), "hunter2");
        assert!(!format!("{door:?}").contains("hunter2"));
    }

    #[test]
    fn a_secret_knows_the_file_it_came_from_unless_something_was_laid_over_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        std::fs::write(path("one"), "1").unwrap();
        std::fs::write(path("two"), "2").unwrap();
        let text = format!("[door]\nwait_ms = 1\nkey_file = {:?}\n", path("one"));
        let key = |s: Settings| {
            let key = s.section::<Door>().unwrap().key.unwrap();
            (key.reveal().to_owned(), key.file().map(Path::to_owned))
        };
        let of_file = settings(&text, &[]).unwrap();
        assert_eq!(key(of_file.clone()), ("1".into(), Some(path("one"))));
        assert_eq!(key(settings(&text, &[("MASTWATCH_DOOR__KEY", "3")]).unwrap()), ("3".into(), None));
        let other = of_file.clone().with_file("door.key", &path("two"), "an argument").unwrap();
        assert_eq!(key(other), ("2".into(), Some(path("two"))));
        assert_eq!(key(of_file.with("door.key", "4", "an argument")), ("4".into(), None));
    }

    #[test]
    fn a_secret_given_twice_or_from_no_file_is_a_fault() {
        let both = [("MASTWATCH_DOOR__KEY", "a"), ("MASTWATCH_DOOR__KEY_FILE", "/dev/null")];
        assert!(faults(settings("", &both)).contains("MASTWATCH_DOOR__KEY_FILE: is given beside `key`"));
        let said = faults(settings("[door]\nkey_file = \"/no/such\"\n", &[]));
        assert!(said.contains("`door.key_file` (") && said.contains("reading /no/such"), "{said}");
    }

    #[test]
    fn a_fault_names_its_variable_or_its_file_and_key() {
        let s = settings("[door]\nwait_ms = 0\n", &[("MASTWATCH_DOOR__PORT", "many")]).unwrap();
        let said = faults(s.section::<Door>());
        assert!(said.contains("MASTWATCH_DOOR__PORT: invalid type"), "{said}");

        let said = faults(settings("[door]\nwait_ms = 0\n", &[]).unwrap().section::<Door>());
        assert!(
            said.contains("`door.wait_ms` (") && said.contains("mastwatch.toml): must be more"),
            "{said}"
        );

        let said = faults(settings("[door]\n", &[]).unwrap().section::<Door>());
        assert!(
            said.contains("`door.wait_ms` (in the environment: MASTWATCH_DOOR__WAIT_MS): is missing"),
            "{said}"
        );

        let said = faults(settings("[door]\nwait = 1\nwait_ms = 1\n", &[]).unwrap().section::<Door>());
        assert!(said.contains("unknown field") && said.contains("`door.wait` ("), "{said}");
    }

    #[test]
    fn a_wrong_secret_is_not_repeated() {
        let s = settings("[door]\nwait_ms = 1\nkey = 424242\n", &[]).unwrap();
        let said = faults(s.section::<Door>());
        assert!(said.contains("a secret must be text") && !said.contains("424242"), "{said}");
        let s = settings("", &[("MASTWATCH_DATABASE_URL", "mysql://u:hunter2@h/d")]).unwrap();
        let said = faults(s.common());
        assert!(said.contains("MASTWATCH_DATABASE_URL: must begin") && !said.contains("hunter2"), "{said}");
    }

    #[test]
    fn every_fault_is_named_at_once() {
        let s = settings("pop = \"a b\"\nnats_url = \"nats://u:p@h\"\notlp_ratio = 2\n", &[]).unwrap();
        let said = faults(s.common());
        assert_eq!(said.matches('\n').count(), 3, "{said}");
    }

    #[test]
    fn unknown_keys_of_the_file_are_faults_and_unknown_variables_are_strangers() {
        let s = settings(
            "natsurl = \"x\"\n[dor]\n",
            &[("MASTWATCH_INGEST_SERVICE_HOST", "10.0.0.1"), ("MASTWATCH_VM_URL", "")],
        )
        .unwrap();
        let said = faults(s.only(&["door"]));
        assert!(said.contains("`natsurl` (") && said.contains("`dor` ("), "{said}");
        assert_eq!(s.strangers(&["door"]), ["MASTWATCH_INGEST_SERVICE_HOST"]);
    }

    #[test]
    fn what_is_no_toml_is_a_fault_of_that_file() {
        let said = faults(settings("a = = 1", &[]));
        assert!(said.contains("mastwatch.toml: "), "{said}");
        assert!(matches!(
            Settings::from_parts(Some(Path::new("/no/such")), []),
            Err(ConfigError::File { .. })
        ));
    }

    #[test]
    fn an_argument_wins_over_everything() {
        let s = settings("pop = \"a\"\n", &[("MASTWATCH_POP", "b")]).unwrap().with("pop", "c", "arguments");
        assert_eq!(s.common().unwrap().pop, "c");
    }
}
