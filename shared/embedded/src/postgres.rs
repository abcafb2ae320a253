//! A private Postgres: made once, with two passwords of its own.
//!
//! The role `mastwatch` owns the database `mastwatch` and is nobody special: row-level security
//! with `FORCE` holds for it. The superuser is for what only a superuser may do. Both passwords are
//! random and stay in the directory, readable by us alone.
//!
//! Postgres refuses to run as root. Started by root it runs in a user namespace of its own in
//! which it is nobody, while its files stay root's. Where namespaces are forbidden, as in many
//! containers, it becomes nobody for good, and its directory is given to nobody.

use crate::error::{NotRunning, StartError};
use crate::measure::Stat;
use crate::ports::Port;
use crate::process::{self, AtParentDeath};
use crate::programs::{PostgresPrograms, Programs};
use crate::random;
use crate::server::{Ends, Server, blocking, write_private};
use crate::temporary::Temporary;
use crate::{http, logs};
use rustix::process::Signal;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// The role of the services, and the name of their database.
const ROLE: &str = "mastwatch";

/// The role that may do anything.
const SUPERUSER: &str = "postgres";

/// How often another free port is tried when somebody is faster.
const PORT_TRIES: u32 = 5;

/// How long a port that was ours may be somebody else's before a restart gives up.
const PORT_BACK_WITHIN: Duration = Duration::from_secs(5);

/// How long the server processes of a killed postmaster may take to notice that it is gone.
const ORPHAN_PATIENCE: Duration = Duration::from_secs(10);

/// The longest path of a Unix socket, less the name of the socket. Source: unix(7), `sun_path`
/// has 108 bytes.
const SOCKET_DIR_BYTES_MAX: usize = 107 - "/.s.PGSQL.65535".len();

/// "Fast" and "immediate" shutdown: the first writes a checkpoint, the second only removes the
/// shared memory, which `SIGKILL` would leave behind. Source: the Postgres manual, section 19.5.
const ENDS: Ends = Ends { orderly: Signal::INT, at_once: Signal::QUIT };

/// The user and group that own nothing. Source: the kernel's overflow ids.
const NOBODY: u32 = 65534;

/// How a Postgres is to run.
#[derive(Debug, Clone)]
pub struct PostgresOptions {
    /// Its own directory: data, log, socket, passwords.
    pub dir: PathBuf,
    /// Where to look for the programs.
    pub programs: Programs,
    /// For clients, on 127.0.0.1. There is a Unix socket too, if the path of `dir` is short enough.
    pub port: Port,
    /// False: commits survive a kill of Postgres, not a power cut. For tests.
    pub fsync: bool,
    /// What every session may share, in bytes.
    pub shared_buffers_bytes: u64,
    /// The most sessions at a time.
    pub connections_max: u32,
    /// More settings, each as in `postgresql.conf`. They win over those from here.
    pub settings: Vec<(String, String)>,
    /// How long recovery after a crash may take.
    pub ready_within: Duration,
    /// What becomes of it when this process dies.
    pub at_parent_death: AtParentDeath,
}

impl PostgresOptions {
    /// Everything as usual, in `dir`.
    pub fn new(dir: impl Into<PathBuf>) -> PostgresOptions {
        let dir = dir.into();
        PostgresOptions {
            programs: Programs::find(&dir),
            dir,
            port: Port::Free,
            fsync: true,
            shared_buffers_bytes: 64 * 1024 * 1024,
            connections_max: 100,
            settings: vec![],
            ready_within: Duration::from_secs(120),
            at_parent_death: AtParentDeath::ShutDown,
        }
    }
}

/// A running Postgres; ended at once when dropped.
#[derive(Debug)]
pub struct Postgres {
    options: PostgresOptions,
    programs: PostgresPrograms,
    server: Server,
    port: u16,
    passwords: Passwords,
    runs_as: RunsAs,
    /// One restart at a time.
    turn: tokio::sync::Mutex<()>,
}

struct Passwords {
    role: String,
    superuser: String,
}

impl std::fmt::Debug for Passwords {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.write_str("Passwords")
    }
}

impl Postgres {
    /// Starts one and waits until it takes connections. The first time its database is made.
    ///
    /// # Errors
    ///
    /// [`StartError`]: no programs, the directory is in use or of another major version, a port is
    /// taken, or it did not come up.
    pub async fn start(options: PostgresOptions) -> Result<Postgres, StartError> {
        let find = options.programs.clone();
        let programs = blocking(move || Ok(find.postgres()?)).await?;
        let server = Server::claim(&options.dir, "postgres", ENDS, options.at_parent_death).await?;
        let (dir, found) = (server.dir().to_owned(), programs.clone());
        let (fsync, at_death) = (options.fsync, server.at_parent_death());
        let (passwords, runs_as) = blocking(move || {
            let runs_as = RunsAs::may_be(at_death)?;
            runs_as.given(&dir)?;
            Ok((made(&dir, &found, fsync, runs_as)?, runs_as))
        })
        .await?;
        let port = number(options.port)?;
        let turn = tokio::sync::Mutex::new(());
        let mut postgres = Postgres { options, programs, server, port, passwords, runs_as, turn };
        for _ in 1..PORT_TRIES {
            match postgres.launch().await {
                Err(error) if postgres.options.port == Port::Free && error.is_taken(postgres.port) => {
                    postgres.port = number(Port::Free)?;
                }
                outcome => return outcome.map(|()| postgres),
            }
        }
        postgres.launch().await.map(|()| postgres)
    }

    /// Starts one in a temporary directory, without `fsync` and as `change` wants it; gone when
    /// dropped. For tests.
    ///
    /// # Errors
    ///
    /// As [`Postgres::start`].
    pub async fn start_temporary(
        change: impl FnOnce(&mut PostgresOptions),
    ) -> Result<Temporary<Postgres>, StartError> {
        let making = || StartError::io("making a temporary directory");
        let dir = tempfile::tempdir().map_err(making())?;
        // Nobody, if Postgres must run as nobody, gets through to what is below, and sees no more.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o711)).map_err(making())?;
        let mut options = PostgresOptions::new(dir.path().join("postgres"));
        options.fsync = false;
        options.at_parent_death = AtParentDeath::Kill;
        change(&mut options);
        Ok(Temporary::new(Postgres::start(options).await?, dir))
    }

    /// For the services: the role `mastwatch` and its database. The same after a restart.
    ///
    /// It contains the password.
    pub fn url(&self) -> String {
        format!("postgres://{ROLE}:{}@127.0.0.1:{}/{ROLE}", self.passwords.role, self.port)
    }

    /// For what only a superuser may do, in the same database. It contains the password.
    pub fn superuser_url(&self) -> String {
        format!("postgres://{SUPERUSER}:{}@127.0.0.1:{}/{ROLE}", self.passwords.superuser, self.port)
    }

    /// The TCP port, on 127.0.0.1; also the number of the Unix socket.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The directory of the Unix socket; `None` when its path would be too long for one.
    pub fn socket_dir(&self) -> Option<PathBuf> {
        let dir = self.server.dir().join("socket");
        (dir.as_os_str().len() <= SOCKET_DIR_BYTES_MAX).then_some(dir)
    }

    /// The programs that were taken, their version, and how they were found.
    pub fn programs(&self) -> &PostgresPrograms {
        &self.programs
    }

    /// Its directory.
    pub fn dir(&self) -> &Path {
        self.server.dir()
    }

    /// Its log.
    pub fn log(&self) -> &Path {
        self.server.log()
    }

    /// The postmaster, if it runs; the sessions descend from it.
    pub fn pid(&self) -> Option<u32> {
        self.server.pid()
    }

    /// `SIGKILL` to the postmaster and every session, as when the machine fails. They are gone on
    /// return; [`restart`](Postgres::restart) recovers from the write-ahead log.
    pub fn kill(&self) {
        self.server.kill();
    }

    /// `SIGSTOP` to the postmaster and every session: connections stay open and say nothing.
    ///
    /// # Errors
    ///
    /// [`NotRunning`].
    pub fn freeze(&self) -> Result<(), NotRunning> {
        self.server.freeze()
    }

    /// `SIGCONT`: all go on where they were.
    ///
    /// # Errors
    ///
    /// [`NotRunning`].
    pub fn thaw(&self) -> Result<(), NotRunning> {
        self.server.thaw()
    }

    /// Ends it in good order: sessions are closed, a checkpoint is written. Kills it after 30 s.
    pub async fn stop(&self) {
        self.server.stop().await;
    }

    /// Starts it again on the same port and data, after stopping it in good order if it runs.
    ///
    /// # Errors
    ///
    /// [`StartError`].
    pub async fn restart(&self) -> Result<(), StartError> {
        let _turn = self.turn.lock().await;
        self.server.stop().await;
        let begun = Instant::now();
        loop {
            match self.launch().await {
                Err(error) if error.is_taken(self.port) && begun.elapsed() < PORT_BACK_WITHIN => {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                outcome => return outcome,
            }
        }
    }

    /// Resolves when the process that runs now has ended, whoever ended it; at once when none runs.
    pub async fn ended(&self) {
        self.server.ended().await;
    }

    async fn launch(&self) -> Result<(), StartError> {
        let data = self.server.dir().join("data");
        let at = data.clone();
        blocking(move || make_way(&at)).await?;
        let mut command = self.command(&data);
        if let Some(dir) = self.socket_dir() {
            fs::create_dir_all(&dir).map_err(StartError::io(format!("making {}", dir.display())))?;
            self.runs_as.given(&dir)?;
            command.arg("-c").arg(format!("unix_socket_directories={}", dir.display()));
        } else {
            command.args(["-c", "unix_socket_directories="]);
        }
        for (key, value) in &self.options.settings {
            command.arg("-c").arg(format!("{key}={value}"));
        }
        let status = data.join("postmaster.pid");
        let is_ready = |pid| {
            let ready = says_ready(&status, pid);
            async move { ready && listens(self.port).await }
        };
        self.server.launch(command, self.options.ready_within, is_ready).await
    }

    fn command(&self, data: &Path) -> Command {
        let options = &self.options;
        let mut command = self.runs_as.command(&self.programs.postgres);
        command.arg("-D").arg(data);
        let on = |yes: bool| if yes { "on" } else { "off" };
        for setting in [
            "listen_addresses=127.0.0.1".to_owned(),
            format!("port={}", self.port),
            format!("max_connections={}", options.connections_max),
            format!("shared_buffers={}kB", options.shared_buffers_bytes / 1024),
            format!("fsync={}", on(options.fsync)),
            format!("full_page_writes={}", on(options.fsync)),
            // Compiling a query costs more than any of ours takes, and tens of megabytes a session.
            "jit=off".to_owned(),
            "log_checkpoints=off".to_owned(),
            "timezone=UTC".to_owned(),
            "log_timezone=UTC".to_owned(),
        ] {
            command.arg("-c").arg(setting);
        }
        command
    }
}

fn number(port: Port) -> Result<u16, StartError> {
    port.number().map_err(StartError::io("looking for a free port"))
}

/// Makes the data directory unless it is there, and returns the passwords. Blocks for a second.
///
/// It is made beside its place and moved there when it is whole, so that one that is there is whole.
fn made(
    dir: &Path,
    programs: &PostgresPrograms,
    fsync: bool,
    runs_as: RunsAs,
) -> Result<Passwords, StartError> {
    let data = dir.join("data");
    if data.join("PG_VERSION").exists() {
        check_version(dir, &data, programs)?;
        let read = |name: &str| {
            let path = dir.join(name);
            let text = fs::read_to_string(&path);
            text.map(|text| text.trim().to_owned())
                .map_err(StartError::io(format!("reading {}", path.display())))
        };
        return Ok(Passwords { role: read("password")?, superuser: read("superuser-password")? });
    }

    let choose = || random::hex(24).map_err(StartError::io("choosing a password"));
    let passwords = Passwords { role: choose()?, superuser: choose()? };
    write_private(&dir.join("password"), &passwords.role)?;
    let superuser_password = dir.join("superuser-password");
    write_private(&superuser_password, &passwords.superuser)?;
    runs_as.given(&superuser_password)?;

    let part = dir.join("data.part");
    match fs::remove_dir_all(&part) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(StartError::io(format!("removing {}", part.display()))(error));
        }
        Err(_) | Ok(()) => {}
    }
    let mut initdb = runs_as.command(&programs.initdb);
    initdb.arg("-D").arg(&part).arg("-U").arg(SUPERUSER).arg("--pwfile").arg(&superuser_password);
    initdb.args(["-E", "UTF8", "--locale=C", "--auth=scram-sha-256", "--auth-local=scram-sha-256"]);
    if !fsync {
        initdb.arg("--no-sync");
    }
    run(initdb, "", dir, "initdb")?;

    let mut single = runs_as.command(&programs.postgres);
    single.args(["--single", "-j", "-D"]).arg(&part).arg("postgres");
    // Hexadecimal digits need no quoting. With -j a command ends at a semicolon and an empty line.
    let commands = format!(
        "CREATE ROLE {ROLE} LOGIN PASSWORD '{}';\n\nCREATE DATABASE {ROLE} OWNER {ROLE};\n\n",
        passwords.role
    );
    let said = run(single, &commands, dir, "postgres --single")?;
    if said.contains("ERROR:") {
        return Err(StartError::Unusable {
            dir: dir.to_owned(),
            what: format!("could not be given its database:\n{said}"),
        });
    }
    fs::rename(&part, &data).map_err(StartError::io(format!("moving {} into place", part.display())))?;
    Ok(passwords)
}

/// Runs one of the programs that end by themselves; what they say goes to a log and is returned.
fn run(mut command: Command, input: &str, dir: &Path, what: &'static str) -> Result<String, StartError> {
    let path = dir.join("initdb.log");
    let log = logs::open(&path).map_err(StartError::io(format!("writing the log {}", path.display())))?;
    let from = log.metadata().map_or(0, |found| found.len());
    let again = log.try_clone().map_err(StartError::io(format!("writing the log {}", path.display())))?;
    command.stdin(Stdio::piped()).stdout(log).stderr(again);
    let status = process::run_to_end(command, input)
        .map_err(StartError::io(format!("running {what} in {}", dir.display())))?;
    let said = logs::tail(&path, from);
    if status.success() { Ok(said) } else { Err(StartError::Ended { what, status, log: path, said }) }
}

fn check_version(dir: &Path, data: &Path, programs: &PostgresPrograms) -> Result<(), StartError> {
    let path = data.join("PG_VERSION");
    let text = fs::read_to_string(&path).map_err(StartError::io(format!("reading {}", path.display())))?;
    let major = programs.version.0;
    if text.trim() == major.to_string() {
        return Ok(());
    }
    Err(StartError::Unusable {
        dir: dir.to_owned(),
        what: format!(
            "holds data of Postgres {}, and {} is {}: name the directory of the programs of Postgres {} with \
             MASTWATCH_PG_BIN_DIR, or move this directory away and have the read models told again from the log",
            text.trim(),
            programs.postgres.display(),
            programs.version,
            text.trim(),
        ),
    })
}

/// As whom Postgres's programs run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RunsAs {
    /// We are not root: as ourselves.
    Ourselves,
    /// In a user namespace in which root is called nobody. Works on any path.
    NobodyInside,
    /// As nobody, on files that are given to nobody. Changing the user takes back the request for a
    /// signal at our death, so it is made again: this one.
    Nobody(Signal),
}

impl RunsAs {
    /// The best that this machine permits.
    fn may_be(at_parent_death: Signal) -> Result<RunsAs, StartError> {
        if !rustix::process::geteuid().is_root() {
            return Ok(RunsAs::Ourselves);
        }
        let works = |command: &mut Command| command.output().is_ok_and(|said| said.status.success());
        if works(&mut RunsAs::NobodyInside.command(Path::new("true"))) {
            return Ok(RunsAs::NobodyInside);
        }
        let nobody = RunsAs::Nobody(at_parent_death);
        if works(&mut nobody.command(Path::new("true"))) {
            return Ok(nobody);
        }
        Err(StartError::Io {
            doing: "Postgres refuses to run as root, and neither unshare nor setpriv could make it nobody: run this \
                    as an ordinary user"
                .to_owned(),
            source: io::ErrorKind::PermissionDenied.into(),
        })
    }

    /// `unshare` and `setpriv` become the program: its pid is that of the child.
    fn command(self, program: &Path) -> Command {
        let mut command = match self {
            RunsAs::Ourselves => Command::new(program),
            RunsAs::NobodyInside => {
                let mut unshare = Command::new("unshare");
                unshare.args(["--user", "--map-user=65534", "--map-group=65534"]).arg(program);
                unshare
            }
            RunsAs::Nobody(at_parent_death) => {
                let mut setpriv = Command::new("setpriv");
                setpriv.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--pdeathsig"]);
                setpriv.arg(if at_parent_death == ENDS.orderly { "INT" } else { "QUIT" }).arg(program);
                setpriv
            }
        };
        // Settings of the person at the machine do not belong here.
        for variable in ["PGDATA", "PGPORT", "PGHOST", "PGUSER", "PGDATABASE", "PGOPTIONS", "PGTZ"] {
            command.env_remove(variable);
        }
        command.env("LC_ALL", "C");
        command
    }

    /// Gives a file, or a directory with all that is in it, to whom Postgres runs as.
    fn given(self, path: &Path) -> Result<(), StartError> {
        let owner = match self {
            RunsAs::Ourselves => return Ok(()),
            RunsAs::NobodyInside => 0,
            RunsAs::Nobody(_) => NOBODY,
        };
        give(path, owner).map_err(StartError::io(format!("giving {} to user {owner}", path.display())))
    }
}

fn give(path: &Path, owner: u32) -> io::Result<()> {
    let found = fs::symlink_metadata(path)?;
    if found.uid() != owner {
        lchown(path, Some(owner), Some(owner))?;
    }
    if found.is_dir() {
        for entry in fs::read_dir(path)? {
            give(&entry?.path(), owner)?;
        }
    }
    Ok(())
}

/// Makes sure that nobody uses the data, then removes what an earlier postmaster left behind.
///
/// Postgres itself takes any living process with the number in `postmaster.pid`, a zombie
/// included, for that postmaster and refuses to start.
fn make_way(data: &Path) -> Result<(), StartError> {
    let begun = Instant::now();
    while let Some(pid) = servers_in(data).first().copied() {
        if begun.elapsed() > ORPHAN_PATIENCE {
            return Err(StartError::InUse { dir: data.to_owned(), pid });
        }
        thread::sleep(Duration::from_millis(10));
    }
    let file = data.join("postmaster.pid");
    match fs::remove_file(&file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(StartError::io(format!("removing {}", file.display()))(error))
        }
        Err(_) | Ok(()) => Ok(()),
    }
}

/// Living Postgres processes whose data directory this is: they all work in it.
fn servers_in(data: &Path) -> Vec<u32> {
    let mut found = vec![];
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let works_here = fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd == data);
        let name = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
        if works_here && name.trim() == "postgres" && Stat::of(pid).is_ok_and(|stat| !stat.has_ended()) {
            found.push(pid);
        }
    }
    found
}

/// Whether the postmaster has written that it takes connections. Source: `miscinit.h`,
/// `LOCK_FILE_LINE_PM_STATUS` is line 8.
fn says_ready(status: &Path, pid: u32) -> bool {
    fs::read_to_string(status).is_ok_and(|text| {
        text.lines().next().is_some_and(|line| line.trim() == pid.to_string())
            && text.lines().nth(7).is_some_and(|line| line.trim() == "ready")
    })
}

async fn listens(port: u16) -> bool {
    let connect = tokio::net::TcpStream::connect(("127.0.0.1", port));
    tokio::time::timeout(http::ASK_TIMEOUT, connect).await.is_ok_and(|outcome| outcome.is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_process_that_says_ready_is_ready() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("postmaster.pid");
        let content = |status: &str| format!("42\n/d\n1\n5432\n/s\n127.0.0.1\n 1 2\n{status}   \n");
        assert!(!says_ready(&file, 42));
        fs::write(&file, content("starting")).unwrap();
        assert!(!says_ready(&file, 42));
        fs::write(&file, content("ready")).unwrap();
        assert!(says_ready(&file, 42));
        assert!(!says_ready(&file, 43));
    }

    #[test]
    fn passwords_are_not_shown() {
        let passwords = Passwords { role: "secret".to_owned(), superuser: "secret".to_owned() };
        assert!(!format!("{passwords:?}").contains("secret"));
    }
}
