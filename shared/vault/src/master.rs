//! Master keys: where they come from, and wrapping tenants' keys under them.
//!
//! Several may be given, newest first: the newest wraps, all open. To rotate, put a new key in
//! front ([`MasterKeys::add_to_file`]), wrap every tenant's keys again ([`MasterKeys::rewrapped`]), then drop
//! the old one ([`MasterKeys::drop_older_in_file`]). Keys that were given as a file are read again when
//! something is wrapped under one that is not known, so nothing is started anew meanwhile.

use crate::{
    TenantKeys,
    digest::{hex, keyed},
    seal::{OpenError, SealKey},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use events::{LookUpKey, Sealed, TenantId};
use rand::TryRng;
use std::{
    fmt, fs,
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::{Duration, Instant},
};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// The version of wrapped keys.
const WRAPPED: &str = "k1";

/// How often at most the file is read for a key that is not known: a wrapping that nobody can open must not
/// have it read without end.
const REREAD_EVERY: Duration = Duration::from_secs(1);

/// Why there is no master key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The environment variable is not set or is no text.
    #[error("reading the master key from the environment variable `{variable}`")]
    Environment {
        /// Which variable.
        variable: String,
        /// Why.
        source: std::env::VarError,
    },
    /// The file could not be read.
    #[error("reading the master key from {}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file could not be written; a new one perhaps because it is there already.
    #[error("writing master keys to {}", path.display())]
    Write {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The text holds no key at all.
    #[error("no master key is given; make one with `openssl rand -base64 32`")]
    None,
    /// One of the keys is not 32 bytes in base64.
    #[error("master key number {number} is not 32 bytes in base64; make one with `openssl rand -base64 32`")]
    Malformed {
        /// Which one, from 1.
        number: usize,
    },
}

/// 32 bytes that wrap every tenant's keys. Wiped when dropped; never printed.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct MasterKey([u8; 32]);

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey(…)")
    }
}

impl MasterKey {
    /// A new one from the operating system's randomness.
    pub fn random() -> Self {
        Self(random())
    }

    /// The one in `text`: base64 of 32 bytes, with or without padding; `None` when it is not that.
    pub fn from_base64(text: &str) -> Option<Self> {
        let padded = Zeroizing::new(format!("{}=", text.trim().trim_end_matches('=')));
        let bytes = Zeroizing::new(STANDARD.decode(padded.as_bytes()).ok()?);
        bytes.as_slice().try_into().ok().map(Self)
    }

    /// Its base64 text, to be written where keys are kept.
    pub fn to_base64(&self) -> Zeroizing<String> {
        Zeroizing::new(STANDARD.encode(self.0))
    }

    /// By what wrapped keys name it: says nothing of the key.
    fn id(&self) -> String {
        hex(&keyed(&self.0, &[b"mastwatch master key id"])[..4])
    }

    fn seal_key(&self) -> SealKey {
        SealKey::of(&self.0)
    }
}

/// Newest first; at least one.
#[derive(Debug, Clone)]
struct Held {
    newest: MasterKey,
    older: Vec<MasterKey>,
}

impl Held {
    fn parse(text: &str) -> Result<Self, KeyError> {
        let mut keys = Vec::new();
        let words = text.split(|c: char| c.is_whitespace() || c == ',').filter(|word| !word.is_empty());
        for (n, word) in words.enumerate() {
            keys.push(MasterKey::from_base64(word).ok_or(KeyError::Malformed { number: n + 1 })?);
        }
        if keys.is_empty() {
            return Err(KeyError::None);
        }
        let newest = keys.remove(0);
        Ok(Self { newest, older: keys })
    }

    fn read(path: &Path) -> Result<Self, KeyError> {
        let text =
            fs::read_to_string(path).map_err(|source| KeyError::Read { path: path.to_owned(), source })?;
        Self::parse(&Zeroizing::new(text))
    }

    /// The text of a file of keys, one a line.
    fn text(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::new());
        for key in std::iter::once(&self.newest).chain(&self.older) {
            text.push_str(&key.to_base64());
            text.push('\n');
        }
        text
    }

    fn find(&self, id: &str) -> Option<&MasterKey> {
        std::iter::once(&self.newest).chain(&self.older).find(|key| key.id() == id)
    }
}

/// Where keys can be read again.
#[derive(Debug)]
struct Source {
    path: PathBuf,
    read_at: Mutex<Option<Instant>>,
}

/// Every master key that is configured. Clones share what is read again.
#[derive(Debug, Clone)]
pub struct MasterKeys {
    held: Arc<RwLock<Held>>,
    source: Option<Arc<Source>>,
}

impl MasterKeys {
    /// `newest` wraps; it and `older` open.
    pub fn new(newest: MasterKey, older: Vec<MasterKey>) -> Self {
        Self::of(Held { newest, older }, None)
    }

    fn of(held: Held, file: Option<&Path>) -> Self {
        let source = file.map(|path| Arc::new(Source { path: path.to_owned(), read_at: Mutex::default() }));
        Self { held: Arc::new(RwLock::new(held)), source }
    }

    /// Those in `text`: base64, newest first, separated by white space or commas.
    ///
    /// # Errors
    ///
    /// [`KeyError::None`] when there is none, [`KeyError::Malformed`] when one is not 32 bytes in base64.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        Ok(Self::of(Held::parse(text)?, None))
    }

    /// Those in `text`, in the form of [`Self::parse`], which was read from `file` if one is named and is read
    /// from there again at need.
    ///
    /// # Errors
    ///
    /// Those of [`Self::parse`].
    pub fn given(text: &str, file: Option<&Path>) -> Result<Self, KeyError> {
        Ok(Self::of(Held::parse(text)?, file))
    }

    /// Those in the environment variable `variable`, in the form of [`Self::parse`].
    ///
    /// # Errors
    ///
    /// [`KeyError::Environment`], and those of [`Self::parse`].
    pub fn from_environment(variable: &str) -> Result<Self, KeyError> {
        let text = std::env::var(variable)
            .map_err(|source| KeyError::Environment { variable: variable.to_owned(), source })?;
        Self::parse(&Zeroizing::new(text))
    }

    /// Those in the file at `path`, in the form of [`Self::parse`]; it is read again at need.
    ///
    /// # Errors
    ///
    /// [`KeyError::Read`], and those of [`Self::parse`].
    pub fn from_file(path: &Path) -> Result<Self, KeyError> {
        Ok(Self::of(Held::read(path)?, Some(path)))
    }

    /// Reads the file again that the keys were given as. Without one nothing happens.
    ///
    /// # Errors
    ///
    /// [`KeyError::Read`], and those of [`Self::parse`]; what was held before is held on.
    pub fn reread(&self) -> Result<(), KeyError> {
        if let Some(source) = &self.source {
            *source.read_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
            let held = Held::read(&source.path)?;
            *self.held.write().unwrap_or_else(PoisonError::into_inner) = held;
        }
        Ok(())
    }

    /// Reads the file again because something is wrapped under a key that is not held; false when it was just
    /// read, or cannot be.
    fn reread_for_unknown(&self) -> bool {
        let Some(source) = &self.source else { return false };
        let read_at = *source.read_at.lock().unwrap_or_else(PoisonError::into_inner);
        read_at.is_none_or(|at| at.elapsed() >= REREAD_EVERY) && self.reread().is_ok()
    }

    /// Puts a new random key in front of those in the file at `path`: from now on it wraps. The file is
    /// replaced whole. Returns what wrapped keys call the new one.
    ///
    /// # Errors
    ///
    /// [`KeyError::Read`] and [`KeyError::Write`], and those of [`Self::parse`].
    pub fn add_to_file(path: &Path) -> Result<String, KeyError> {
        let before = Held::read(path)?;
        let newest = MasterKey::random();
        let id = newest.id();
        let older = std::iter::once(before.newest).chain(before.older).collect();
        replace_file(path, &Held { newest, older }.text())?;
        Ok(id)
    }

    /// Leaves only the newest key in the file at `path`, and returns how many were dropped.
    ///
    /// # Errors
    ///
    /// [`KeyError::Read`] and [`KeyError::Write`], and those of [`Self::parse`].
    pub fn drop_older_in_file(path: &Path) -> Result<usize, KeyError> {
        let before = Held::read(path)?;
        let dropped = before.older.len();
        if dropped > 0 {
            replace_file(path, &Held { older: Vec::new(), ..before }.text())?;
        }
        Ok(dropped)
    }

    /// A random one, written to a new file at `path` that only its owner may read.
    ///
    /// # Errors
    ///
    /// [`KeyError::Write`]; also when the file is there already: a key is never overwritten.
    pub fn create_file(path: &Path) -> Result<Self, KeyError> {
        let key = MasterKey::random();
        let held = Held { newest: key, older: Vec::new() };
        write_new(path, &held.text()).map_err(|source| KeyError::Write { path: path.to_owned(), source })?;
        Ok(Self::of(held, Some(path)))
    }

    fn held(&self) -> Held {
        self.held.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Draws the keys of a new tenant: to use, and wrapped for the log.
    pub fn new_tenant(&self, tenant: TenantId) -> (TenantKeys, LookUpKey) {
        let (data, look_up) = (Zeroizing::new(random()), Zeroizing::new(random()));
        let wrapped = LookUpKey {
            look_up: self.wrap(tenant, "look-up", &look_up),
            data: self.wrap(tenant, "data", &data),
        };
        (TenantKeys::of(tenant, &data, &look_up), wrapped)
    }

    /// Opens a tenant's wrapped keys.
    ///
    /// # Errors
    ///
    /// [`OpenError`]: malformed, wrapped under a key that is not here, altered, or another tenant's.
    pub fn open_tenant(&self, tenant: TenantId, wrapped: &LookUpKey) -> Result<TenantKeys, OpenError> {
        let data = self.unwrap_key(tenant, "data", &wrapped.data)?;
        let look_up = self.unwrap_key(tenant, "look-up", &wrapped.look_up)?;
        Ok(TenantKeys::of(tenant, &data, &look_up))
    }

    /// The same tenant's keys under the newest master key; `None` when they are already.
    ///
    /// # Errors
    ///
    /// Those of [`Self::open_tenant`].
    pub fn rewrapped(&self, tenant: TenantId, wrapped: &LookUpKey) -> Result<Option<LookUpKey>, OpenError> {
        let data = self.unwrap_key(tenant, "data", &wrapped.data)?;
        let look_up = self.unwrap_key(tenant, "look-up", &wrapped.look_up)?;
        let now = LookUpKey {
            look_up: self.wrap(tenant, "look-up", &look_up),
            data: self.wrap(tenant, "data", &data),
        };
        Ok((now != *wrapped).then_some(now))
    }

    fn wrap(&self, tenant: TenantId, what: &str, key: &[u8; 32]) -> Sealed {
        let newest = self.held().newest;
        let sealed = newest.seal_key().seal(&wrap_context(tenant, what), key);
        Sealed(format!("{WRAPPED}.{}.{sealed}", newest.id()))
    }

    fn unwrap_key(
        &self,
        tenant: TenantId,
        what: &str,
        wrapped: &Sealed,
    ) -> Result<Zeroizing<[u8; 32]>, OpenError> {
        let mut parts = wrapped.0.splitn(3, '.');
        let (Some(WRAPPED), Some(id), Some(text)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(OpenError::Malformed);
        };
        let mut key = self.held().find(id).cloned();
        if key.is_none() && self.reread_for_unknown() {
            key = self.held().find(id).cloned();
        }
        let key = key.ok_or(OpenError::UnknownMasterKey)?;
        let plain = key.seal_key().open(&wrap_context(tenant, what), text)?;
        plain.as_slice().try_into().map(Zeroizing::new).map_err(|_| OpenError::Malformed)
    }
}

/// Writes a file that is not there yet and that only its owner may read.
fn write_new(path: &Path, text: &str) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// Replaces a file whole: whoever reads it sees what was there before, or this.
fn replace_file(path: &Path, text: &str) -> Result<(), KeyError> {
    let beside = path.with_extension("new");
    let replace = || {
        // Left over by somebody who died in between.
        if beside.exists() {
            fs::remove_file(&beside)?;
        }
        write_new(&beside, text)?;
        fs::rename(&beside, path)
    };
    replace().map_err(|source| KeyError::Write { path: path.to_owned(), source })
}

fn wrap_context(tenant: TenantId, what: &str) -> Vec<u8> {
    format!("mastwatch wrap v1/{tenant}/{what}").into_bytes()
}

/// 32 bytes of the operating system's randomness.
pub(crate) fn random() -> [u8; 32] {
    let mut bytes = [0; 32];
    rand::rngs::SysRng.try_fill_bytes(&mut bytes).expect("the operating system gives random bytes");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Field;
    use events::NodeId;

    fn tenant() -> TenantId {
        TenantId::of("hillside")
    }

    #[test]
    fn a_tenants_keys_survive_their_wrapping() {
        let master = MasterKeys::new(MasterKey::random(), vec![]);
        let (keys, wrapped) = master.new_tenant(tenant());
        let again = master.open_tenant(tenant(), &wrapped).unwrap();
        let field = Field::Login(NodeId::of(tenant(), "core-1"));
        assert_eq!(again.open(field, &keys.seal(field, b"x")).unwrap().as_slice(), b"x");
    }

    #[test]
    fn keys_wrapped_for_one_tenant_or_purpose_open_for_no_other() {
        let master = MasterKeys::new(MasterKey::random(), vec![]);
        let (_, wrapped) = master.new_tenant(tenant());
        assert_eq!(master.open_tenant(TenantId::of("valley"), &wrapped).unwrap_err(), OpenError::Refused);
        let swapped = LookUpKey { look_up: wrapped.data.clone(), data: wrapped.look_up };
        assert_eq!(master.open_tenant(tenant(), &swapped).unwrap_err(), OpenError::Refused);
    }

    #[test]
    fn after_a_rotation_old_wrappings_open_and_new_ones_need_only_the_new_key() {
        let (old, new) = (MasterKey::random(), MasterKey::random());
        let (keys, wrapped) = MasterKeys::new(old.clone(), vec![]).new_tenant(tenant());
        let both = MasterKeys::new(new.clone(), vec![old]);
        let field = Field::Login(NodeId::of(tenant(), "core-1"));
        let sealed = keys.seal(field, b"x");
        assert!(both.open_tenant(tenant(), &wrapped).unwrap().open(field, &sealed).is_ok());

        let rewrapped = both.rewrapped(tenant(), &wrapped).unwrap().expect("the old key wrapped it");
        assert_eq!(both.rewrapped(tenant(), &rewrapped).unwrap(), None);
        let only_new = MasterKeys::new(new, vec![]);
        assert_eq!(only_new.open_tenant(tenant(), &wrapped).unwrap_err(), OpenError::UnknownMasterKey);
        let reopened = only_new.open_tenant(tenant(), &rewrapped).unwrap();
        assert_eq!(reopened.open(field, &sealed).unwrap().as_slice(), b"x");
    }

    #[test]
    fn keys_are_read_newest_first_from_text_and_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("master.key");
        let made = MasterKeys::create_file(&path).unwrap();
        assert!(matches!(MasterKeys::create_file(&path), Err(KeyError::Write { .. })));
        let (_, wrapped) = made.new_tenant(tenant());
        let read = MasterKeys::from_file(&path).unwrap();
        assert!(read.open_tenant(tenant(), &wrapped).is_ok());

        let newer = MasterKey::random();
        let text = format!("{}, {}\n", newer.to_base64().as_str(), fs::read_to_string(&path).unwrap().trim());
        let both = MasterKeys::parse(&text).unwrap();
        assert_eq!(both.held().newest.0, newer.0);
        assert!(both.open_tenant(tenant(), &wrapped).is_ok());
    }

    #[test]
    fn a_key_that_came_into_the_file_later_opens_and_one_that_was_dropped_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("master.key");
        let running = MasterKeys::create_file(&path).unwrap();
        let (_, under_old) = running.new_tenant(tenant());

        MasterKeys::add_to_file(&path).unwrap();
        let other = MasterKeys::from_file(&path).unwrap();
        let under_new = other.rewrapped(tenant(), &under_old).unwrap().expect("the old key wrapped it");
        assert_eq!(MasterKeys::drop_older_in_file(&path).unwrap(), 1);
        assert_eq!(MasterKeys::drop_older_in_file(&path).unwrap(), 0);

        assert!(running.clone().open_tenant(tenant(), &under_new).is_ok());
        assert_eq!(running.open_tenant(tenant(), &under_old).unwrap_err(), OpenError::UnknownMasterKey);
    }

    #[test]
    fn for_what_nobody_can_open_the_file_is_not_read_without_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("master.key");
        let keys = MasterKeys::create_file(&path).unwrap();
        let (_, foreign) = MasterKeys::new(MasterKey::random(), vec![]).new_tenant(tenant());
        assert_eq!(keys.open_tenant(tenant(), &foreign).unwrap_err(), OpenError::UnknownMasterKey);
        // Read a moment ago: what came since is seen when somebody asks for it, or in a while.
        MasterKeys::add_to_file(&path).unwrap();
        let (_, under_new) = MasterKeys::from_file(&path).unwrap().new_tenant(tenant());
        assert_eq!(keys.open_tenant(tenant(), &under_new).unwrap_err(), OpenError::UnknownMasterKey);
        keys.reread().unwrap();
        assert!(keys.open_tenant(tenant(), &under_new).is_ok());
    }

    #[cfg(unix)]
    #[test]
    fn a_new_key_file_is_its_owners_alone() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("master.key");
        MasterKeys::create_file(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn bad_master_keys_are_named_by_number_and_never_shown() {
        assert!(matches!(MasterKeys::parse(" \n"), Err(KeyError::None)));
        let good = MasterKey::random().to_base64();
        let error = MasterKeys::parse(&format!("{} tooshort", good.as_str())).unwrap_err();
        assert!(matches!(error, KeyError::Malformed { number: 2 }));
        assert!(!error.to_string().contains("tooshort"));
        assert!(matches!(
            MasterKeys::from_environment("MASTWATCH_NO_SUCH_VARIABLE"),
            Err(KeyError::Environment { .. })
        ));
        let unpadded = good.trim_end_matches('=');
        assert!(MasterKey::from_base64(unpadded).is_some());
    }

    #[test]
    fn no_key_prints_itself() {
        let key = MasterKey([b'A'; 32]);
        let keys = MasterKeys::new(key.clone(), vec![key.clone()]);
        let (tenant_keys, _) = keys.new_tenant(tenant());
        assert_eq!(format!("{key:?}"), "MasterKey(…)");
        assert_eq!(format!("{:?}", keys.held()), "Held { newest: MasterKey(…), older: [MasterKey(…)] }");
        assert!(!format!("{keys:?}").contains("65, 65"));
        assert_eq!(format!("{tenant_keys:?}"), format!("TenantKeys({}, …)", tenant()));
    }
}
