//! What the sources may say: names, openings, words that promise work, machines that are nobody's business.
//!
//! Reads every file of the repository that `.gitignore` leaves in it; a file that is no text is skipped.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// One text of the repository.
#[derive(Debug)]
pub struct Source {
    /// Its path below the root, parted by `/`.
    pub path: String,
    /// What it says.
    pub text: String,
}

/// Every text of the repository, in order of paths.
///
/// # Errors
///
/// When a folder cannot be read.
pub fn all() -> anyhow::Result<Vec<Source>> {
    let root = crate::root();
    let ignored = fs::read_to_string(root.join(".gitignore")).unwrap_or_default();
    let mut skipped: Vec<&str> =
        ignored.lines().map(|l| l.trim().trim_matches('/')).filter(|l| !l.is_empty()).collect();
    skipped.push(".git");
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            if skipped.iter().any(|s| entry.file_name() == *s) {
                continue;
            }
            let kind = entry.file_type()?;
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file()
                && let Ok(text) = fs::read_to_string(entry.path())
            {
                found.push(Source { path: below(&root, &entry.path()), text });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

fn below(root: &Path, path: &Path) -> String {
    let parts = path.strip_prefix(root).unwrap_or(path).components();
    parts.map(|c| c.as_os_str().to_string_lossy().into_owned()).collect::<Vec<_>>().join("/")
}

impl Source {
    fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// This file lists the very words it forbids.
    fn is_this(&self) -> bool {
        self.path == "tests/tidy/src/sources.rs"
    }

    fn lines_of<'a>(&'a self, beginning: &'a str) -> impl Iterator<Item = String> + 'a {
        self.text
            .lines()
            .filter(move |line| line.starts_with(beginning))
            .map(|line| format!("{}: {line}", self.path))
    }

    fn lines_with<'a>(&'a self, words: &'a [&'a str]) -> impl Iterator<Item = String> + 'a {
        let numbered = self.text.lines().enumerate();
        numbered.filter_map(move |(n, line)| {
            let word = words.iter().find(|w| has_word(line, w))?;
            Some(format!("{}:{} says `{word}`", self.path, n + 1))
        })
    }
}

/// Whether `word` stands in `line` by itself, not as a piece of a longer one.
fn has_word(line: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    let (opens, closes) = (word.starts_with(is_part), word.ends_with(is_part));
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back().is_some_and(is_part);
        let after = line[at + word.len()..].chars().next().is_some_and(is_part);
        !(opens && before || closes && after)
    })
}

/// Names that say nothing.
const EMPTY_NAMES: &[&str] = &["utils", "util", "common", "helpers", "helper", "manager", "managers"];

/// Every file, folder or module whose name says nothing.
pub fn empty_names(sources: &[Source]) -> Vec<String> {
    let mut wrong = Vec::new();
    for source in sources.iter().filter(|s| s.is_rust()) {
        let parts = source.path.trim_end_matches(".rs").split('/');
        wrong.extend(parts.filter(|p| EMPTY_NAMES.contains(p)).map(|p| format!("{}: `{p}`", source.path)));
        for line in source.text.lines() {
            let code = line.trim().trim_start_matches("pub ").trim_start_matches("pub(crate) ");
            let module = code.strip_prefix("mod ").map(|m| m.trim_end_matches([';', '{', ' ']));
            wrong.extend(
                module.filter(|m| EMPTY_NAMES.contains(m)).map(|m| format!("{}: `{m}`", source.path)),
            );
        }
    }
    wrong
}

/// Every Rust file that does not open by saying what it is for.
pub fn without_opening(sources: &[Source]) -> Vec<String> {
    let silent = |s: &&Source| s.is_rust() && !s.text.starts_with("//! ");
    sources.iter().filter(silent).map(|s| s.path.clone()).collect()
}

/// Every line that promises work instead of doing it.
pub fn promises(sources: &[Source]) -> Vec<String> {
    let words = ["TODO", "FIXME", "XXX", "HACK", "todo!", "unimplemented!"];
    let ours = sources.iter().filter(|s| !s.is_this());
    ours.flat_map(|s| s.lines_with(&words).collect::<Vec<_>>()).collect()
}

/// Every line that names a place on somebody's machine.
pub fn machine_paths(sources: &[Source]) -> Vec<String> {
    let words = ["/work/", "/home/", "/root/", "/Users/", "C:\\Users"];
    let ours = sources.iter().filter(|s| !s.is_this());
    ours.flat_map(|s| s.lines_with(&words).collect::<Vec<_>>()).collect()
}

/// Where packages come from for everybody.
const PUBLIC: &[&str] =
    &["index.crates.io", "static.crates.io", "github.com", "registry.npmjs.org", "pypi.org"];

/// Every line that names a registry which only this machine or company uses.
///
/// Lock files must name the public registries. Elsewhere the hosts that this machine was told to
/// use (by environment variables of cargo, npm, pip and go) must not have leaked into a file.
pub fn private_registries(sources: &[Source]) -> Vec<String> {
    let mut wrong = Vec::new();
    for source in sources {
        let is_lock = ["Cargo.lock", "package-lock.json"].iter().any(|l| source.path.ends_with(l));
        for (n, line) in source.text.lines().enumerate().filter(|_| is_lock) {
            let host = line.split_once("://").map(|(_, rest)| host_of(rest));
            if host.is_some_and(|h| !PUBLIC.contains(&h) && !line.contains("\"funding\"") && is_source(line))
            {
                wrong.push(format!("{}:{} comes from a registry of one's own", source.path, n + 1));
            }
        }
    }
    let told = std::env::vars().filter(|(name, _)| {
        name.starts_with("CARGO_REGISTR")
            || name.starts_with("CARGO_SOURCE_")
            || ["npm_config_registry", "PIP_INDEX_URL", "UV_INDEX_URL", "GOPROXY"].contains(&name.as_str())
    });
    let hosts: Vec<String> = told
        .filter_map(|(_, value)| Some(host_of(value.split_once("://")?.1).to_owned()))
        .filter(|h| !PUBLIC.contains(&h.as_str()) && h.contains('.') && h != "proxy.golang.org")
        .collect();
    let words: Vec<&str> = hosts.iter().map(String::as_str).collect();
    wrong.extend(sources.iter().flat_map(|s| s.lines_with(&words).collect::<Vec<_>>()));
    wrong
}

fn is_source(line: &str) -> bool {
    ["source = ", "\"resolved\":"].iter().any(|key| line.trim().starts_with(key))
}

fn host_of(url: &str) -> &str {
    let authority = url.split(['/', '"', '\'', ',', '?']).next().unwrap_or(url);
    authority.rsplit('@').next().unwrap_or(authority)
}

/// Every line of `domain` that would make a decision depend on something else than what was heard.
pub fn impurities(sources: &[Source]) -> Vec<String> {
    let words = [
        "SystemTime",
        "Instant",
        "Utc::now",
        "Local::now",
        "chrono",
        "HashMap",
        "HashSet",
        "rand",
        "async",
        "await",
        "std::env",
        "std::fs",
        "std::net::TcpStream",
        "std::net::UdpSocket",
        "std::thread",
        "std::process",
        "static mut",
        "Mutex",
        "RwLock",
        "thread_local!",
        "new_v4",
        "now_v7",
    ];
    let domain = sources.iter().filter(|s| s.is_rust() && s.path.starts_with("shared/domain/src/"));
    domain
        .flat_map(|s| {
            let text: Vec<&str> = s.text.lines().map(|l| l.split("//").next().unwrap_or(l)).collect();
            let code = Source { path: s.path.clone(), text: text.join("\n") };
            code.lines_with(&words).collect::<Vec<_>>()
        })
        .collect()
}

/// The only source of what runs that names a UDP socket: it asks the kernel for a way and sends nothing.
const SENDS_NOTHING: &str = "services/poller/src/dial.rs";

/// What would make it possible to speak SNMP (RFC 3411, over UDP): a package of the lock file, or a source of what
/// runs that opens a UDP socket. Echoes have sockets of another kind.
pub fn ways_to_speak_snmp(sources: &[Source]) -> Vec<String> {
    let mut wrong = vec![];
    for source in sources {
        let runs = ["services/", "shared/"].iter().any(|folder| source.path.starts_with(folder))
            && source.path.contains("/src/")
            && source.is_rust();
        if source.path == "Cargo.lock" {
            wrong.extend(source.lines_of("name = ").filter(|line| line.contains("snmp")));
        } else if runs && source.path != SENDS_NOTHING {
            wrong.extend(source.lines_with(&["UdpSocket", "DGRAM"]));
        }
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(path: &str, text: &str) -> [Source; 1] {
        [Source { path: path.into(), text: text.into() }]
    }

    #[test]
    fn a_name_that_says_nothing_is_found_in_a_path_and_in_a_line() {
        assert_eq!(empty_names(&text("shared/kit/src/utils.rs", "//! x")).len(), 1);
        assert_eq!(empty_names(&text("tests/stack/tests/common/mod.rs", "//! x")).len(), 1);
        assert_eq!(empty_names(&text("shared/kit/src/lib.rs", "//! x\npub mod helpers;")).len(), 1);
        assert!(empty_names(&text("shared/kit/src/commit.rs", "//! x\nmod uncommon;")).is_empty());
    }

    #[test]
    fn a_promise_is_found_and_a_longer_word_is_not_taken_for_one() {
        assert_eq!(promises(&text("a.rs", "// TODO: later")), ["a.rs:1 says `TODO`"]);
        assert!(promises(&text("a.md", "METODOS, todo")).is_empty());
    }

    #[test]
    fn a_clock_in_the_domain_is_found_and_a_comment_about_one_is_not() {
        let source = text("shared/domain/src/walk.rs", "// no Instant here\nlet t = Instant::now(); // x");
        assert_eq!(impurities(&source), ["shared/domain/src/walk.rs:2 says `Instant`"]);
    }

    #[test]
    fn a_place_on_a_machine_is_found() {
        let path = ["/ho", "me/ann/x"].concat();
        assert_eq!(machine_paths(&text("README.md", &path)).len(), 1);
    }

    #[test]
    fn a_lock_file_of_a_private_registry_is_found() {
        let public = "source = \"registry+https://github.com/rust-lang/crates.io-index\"";
        assert!(private_registries(&text("Cargo.lock", public)).is_empty());
        let private = "source = \"sparse+https://packages.example.com/index/\"";
        assert_eq!(private_registries(&text("Cargo.lock", private)).len(), 1);
    }

    #[test]
    fn a_way_to_speak_snmp_is_found() {
        let lock = text("Cargo.lock", "[[package]]\nname = \"async-snmp\"\n");
        assert_eq!(ways_to_speak_snmp(&lock), ["Cargo.lock: name = \"async-snmp\""]);
        let socket = "let socket = std::net::UdpSocket::bind(any)?;";
        assert_eq!(ways_to_speak_snmp(&text("services/poller/src/x.rs", socket)).len(), 1);
        assert!(ways_to_speak_snmp(&text("services/poller/tests/x.rs", socket)).is_empty());
    }

    #[test]
    fn a_file_that_opens_with_code_is_found() {
        assert_eq!(without_opening(&text("a.rs", "use std::fs;")), ["a.rs"]);
        assert!(without_opening(&text("a.rs", "//! What a is for.\n")).is_empty());
    }
}
