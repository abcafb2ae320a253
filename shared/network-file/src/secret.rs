//! Secrets in a network file: written out, or where to find them.
//!
//! `${NAME}` is the environment variable `NAME`, `file:PATH` the content of a file without its last
//! line break. Both are looked up where the caller says they may be: a file that came over the
//! network must not read the server's environment.

use std::{fmt, fs, path::PathBuf};
use zeroize::Zeroizing;

/// The largest file a secret is read from, bytes.
const FILE_MAX: u64 = 16 * 1024;

/// A secret in memory: wiped when dropped, never printed.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// A secret that is `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// What it is. Nothing that this returns belongs in a log or an error.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Where `${NAME}` and `file:PATH` are looked up. Errors are for people and never hold a secret.
pub trait Secrets {
    /// The environment variable `name`.
    ///
    /// # Errors
    ///
    /// Why there is none, as a sentence without its full stop.
    fn environment(&self, name: &str) -> Result<String, String>;

    /// The content of the file at `path`.
    ///
    /// # Errors
    ///
    /// Why there is none, as a sentence without its full stop.
    fn file(&self, path: &str) -> Result<String, String>;
}

/// Secrets of this machine: its environment, and files relative to `base`.
#[derive(Debug, Clone)]
pub struct SecretsHere {
    /// The directory that relative paths start from: that of the network file.
    pub base: PathBuf,
}

impl Secrets for SecretsHere {
    fn environment(&self, name: &str) -> Result<String, String> {
        std::env::var(name).map_err(|_| format!("the environment variable `{name}` is not set"))
    }

    fn file(&self, path: &str) -> Result<String, String> {
        let path = self.base.join(path);
        let length = fs::metadata(&path).map_err(|e| format!("cannot read `{}`: {e}", path.display()))?.len();
        if length > FILE_MAX {
            return Err(format!("`{}` is larger than {FILE_MAX} bytes", path.display()));
        }
        fs::read_to_string(&path).map_err(|e| format!("cannot read `{}`: {e}", path.display()))
    }
}

/// No secrets but those written out: for files that came over the network.
#[derive(Debug, Clone, Copy)]
pub struct OnlyWrittenOut;

impl Secrets for OnlyWrittenOut {
    fn environment(&self, name: &str) -> Result<String, String> {
        Err(format!("`${{{name}}}` cannot be looked up here: the file came from elsewhere"))
    }

    fn file(&self, path: &str) -> Result<String, String> {
        Err(format!("`file:{path}` cannot be read here: the network file came from elsewhere"))
    }
}

/// The secret that `written` means.
pub(crate) fn look_up(written: &str, secrets: &dyn Secrets) -> Result<Secret, String> {
    let text = if let Some(name) = written.strip_prefix("${").and_then(|rest| rest.strip_suffix('}')) {
        Zeroizing::new(secrets.environment(name)?)
    } else if let Some(path) = written.strip_prefix("file:") {
        let text = Zeroizing::new(secrets.file(path)?);
        let line = text.strip_suffix('\n').unwrap_or(&text);
        Zeroizing::new(line.strip_suffix('\r').unwrap_or(line).to_owned())
    } else {
        Zeroizing::new(written.to_owned())
    };
    if text.is_empty() { Err("a secret cannot be empty".into()) } else { Ok(Secret(text)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_come_from_the_text_the_environment_or_a_file() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("pw"), "from file\n").unwrap();
        let here = SecretsHere { base: dir.path().to_owned() };
        assert_eq!(look_up("plain", &here).unwrap().reveal(), "plain");
        assert_eq!(look_up("file:pw", &here).unwrap().reveal(), "from file");
        let path = std::env::var("PATH").unwrap();
        assert_eq!(look_up("${PATH}", &here).unwrap().reveal(), path);
        assert_eq!(
            look_up("${MASTWATCH_NO_SUCH}", &here).unwrap_err(),
            "the environment variable `MASTWATCH_NO_SUCH` is not set"
        );
        assert!(look_up("file:absent", &here).unwrap_err().starts_with("cannot read"));
        fs::write(dir.path().join("large"), vec![b'x'; 20_000]).unwrap();
        assert!(look_up("file:large", &here).unwrap_err().contains("larger than"));
    }

    #[test]
    fn a_file_from_elsewhere_reads_nothing_of_this_machine() {
        assert!(look_up("${PATH}", &OnlyWrittenOut).is_err());
        assert!(look_up("file:/etc/hostname", &OnlyWrittenOut).is_err());
        assert_eq!(look_up("plain", &OnlyWrittenOut).unwrap().reveal(), "plain");
    }

    #[test]
    fn a_secret_does_not_print_itself() {
        assert_eq!(format!("{:?}", Secret::new("s3cret")), "Secret(…)");
    }
}
