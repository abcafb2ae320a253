//! `mastwatch administrator`: who looks after the whole installation.
//!
//! On one machine `mastwatch up` makes the first administrator's token. Where the services run on many, this does, as a
//! job of the cluster for example: it speaks to the log alone, as the user `console`, and however many run at once, one
//! makes the token.
//!
//! A token that is to be kept in a file lies there before the log hears of it: whoever is killed in between finds it
//! there again and goes on with it.

use crate::show;
use anyhow::{Context, bail};
use console::{AdministratorError, Given};
use kit::{Log, LogConfig, config::Settings};
use serde_json::json;
use std::{
    fs,
    io::{self, ErrorKind, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::Duration,
};
use vault::{FreshToken, Zeroizing};

/// How long the log is waited for.
const CONNECT_WITHIN: Duration = Duration::from_secs(60);

/// What `mastwatch administrator` can be told.
#[derive(Debug, clap::Args)]
pub struct AdministratorArgs {
    #[command(subcommand)]
    command: AdministratorCommand,
}

#[derive(Debug, clap::Subcommand)]
enum AdministratorCommand {
    /// Make the first administrator's token: once, however many do so. The same token again changes nothing; exit
    /// code 1: there is another administrator already.
    First {
        #[command(flatten)]
        keeping: Keeping,
        #[command(flatten)]
        server: LogServer,
    },
    /// Make one more administrator's token.
    Add {
        /// What it is called: stands in the audit.
        name: String,
        #[command(flatten)]
        keeping: Keeping,
        #[command(flatten)]
        server: LogServer,
    },
    /// Print a token that may become the first administrator's, and tell nobody: to be kept as a secret and given by
    /// `first --file`, or to the console as `administrator_token_file`.
    Draw,
    /// List the administrators' tokens, without their secrets.
    List {
        #[command(flatten)]
        server: LogServer,
    },
    /// Revoke an administrator's token.
    Revoke {
        /// Its public part: what stands between `mw_` and the next `_`.
        prefix: String,
        #[command(flatten)]
        server: LogServer,
    },
}

#[derive(Debug, clap::Args)]
struct Keeping {
    /// Keep the token in this file, which only its owner may read, instead of printing it. If the file is there
    /// already, its token is the one.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
struct LogServer {
    /// A configuration file (TOML).
    #[arg(long, env = "MASTWATCH_CONFIG")]
    config: Option<PathBuf>,
}

impl LogServer {
    async fn connect(&self) -> anyhow::Result<Log> {
        kit::telemetry::use_ring();
        let settings = Settings::load(self.config.as_deref()).context("reading the configuration")?;
        let common = settings.common().context("reading the configuration")?;
        let config =
            LogConfig { connect_within: Some(CONNECT_WITHIN), ..LogConfig::of(&common, "administrator") };
        let log = Log::connect(config).await.context("connecting to the log")?;
        if common.declare_streams {
            log.ensure().await.context("declaring the log")?;
        }
        Ok(log)
    }
}

/// Does what it is told.
///
/// # Errors
///
/// When the log is not reached or does not permit it, a file cannot be read or written, or it cannot be as asked: the
/// error says why.
pub async fn run(args: &AdministratorArgs, json: bool) -> anyhow::Result<()> {
    match &args.command {
        AdministratorCommand::First { keeping, server } => {
            let log = server.connect().await?;
            let held = Held::of(keeping, console::draw_first)?;
            let given = console::give_first(&log, &held.text).await;
            held.tell(given, json).context("making the first administrator's token")
        }
        AdministratorCommand::Add { name, keeping, server } => {
            let log = server.connect().await?;
            let held = Held::of(keeping, || Zeroizing::new(FreshToken::random().text().to_owned()))?;
            let given = console::give_another(&log, &held.text, name).await;
            held.tell(given, json).context("making an administrator's token")
        }
        AdministratorCommand::Draw => {
            let text = console::draw_first();
            if json {
                show::json(&json!({ "token": text.as_str() }));
            } else {
                show::line(text.as_str());
            }
            Ok(())
        }
        AdministratorCommand::List { server } => list(&server.connect().await?, json).await,
        AdministratorCommand::Revoke { prefix, server } => {
            let log = server.connect().await?;
            let revoked = console::revoke_administrator(&log, prefix).await;
            let revoked = revoked.context("revoking an administrator's token")?;
            if json {
                show::json(&json!({ "prefix": prefix, "revoked": true, "already": !revoked }));
            } else {
                show::note(if revoked { "revoked" } else { "it was revoked already" });
            }
            Ok(())
        }
    }
}

async fn list(log: &Log, json: bool) -> anyhow::Result<()> {
    let all = console::administrators(log).await.context("reading the administrators' tokens")?;
    if json {
        for one in &all {
            show::json(
                &json!({ "prefix": one.prefix, "name": one.name, "revoked": one.revoked, "by": one.by }),
            );
        }
        return Ok(());
    }
    let state = |revoked| if revoked { "revoked" } else { "" }.to_owned();
    let rows: Vec<Vec<String>> =
        all.iter().map(|one| vec![one.prefix.clone(), one.name.clone(), state(one.revoked)]).collect();
    show::table(&["PREFIX", "NAME", ""], &rows);
    Ok(())
}

/// A token that is to be an administrator's, and where it lies.
struct Held {
    text: Zeroizing<String>,
    file: Option<PathBuf>,
    /// Whether it was drawn just now.
    is_fresh: bool,
}

impl Held {
    fn of(keeping: &Keeping, draw: impl FnOnce() -> Zeroizing<String>) -> anyhow::Result<Self> {
        let Some(file) = keeping.file.clone() else {
            return Ok(Self { text: draw(), file: None, is_fresh: true });
        };
        let fresh = draw();
        let is_fresh = !file.exists()
            && keep_new(&file, &fresh).with_context(|| format!("keeping the token in {}", file.display()))?;
        let text = if is_fresh {
            fresh
        } else {
            let kept = fs::read_to_string(&file).map(Zeroizing::new);
            let kept = kept.with_context(|| format!("reading the token in {}", file.display()))?;
            Zeroizing::new(kept.trim().to_owned())
        };
        Ok(Self { text, file: Some(file), is_fresh })
    }

    /// Says what became of it. A file that was written for nothing goes away again.
    fn tell(self, given: Result<Given, AdministratorError>, json: bool) -> anyhow::Result<()> {
        let Self { text, file, is_fresh } = self;
        let given = match given {
            Ok(given) => given,
            Err(error @ (AdministratorError::Publish(_) | AdministratorError::Log(_))) => {
                // It may have been stored.
                let error = anyhow::Error::from(error);
                return Err(match file {
                    Some(file) => error.context(format!("run it again: {} is kept", file.display())),
                    None => error,
                });
            }
            Err(error) => {
                if let Some(file) = file.filter(|_| is_fresh)
                    && let Err(left) = fs::remove_file(&file)
                {
                    bail!("{error}; and {} holds a token that opens nothing: {left}", file.display());
                }
                return Err(error.into());
            }
        };
        let prefix = vault::prefix_of(&text).context("reading the token")?;
        if json {
            let mut said = json!({ "prefix": prefix, "made": given == Given::New });
            match &file {
                Some(file) => said["file"] = json!(file),
                None => said["token"] = json!(text.as_str()),
            }
            show::json(&said);
            return Ok(());
        }
        match (given, file) {
            (Given::New, Some(file)) => show::note(format!("administrator's token in {}", file.display())),
            (Given::Already, Some(file)) => {
                show::note(format!("the token in {} is an administrator's already", file.display()));
            }
            (_, None) => {
                show::line(text.as_str());
                show::note(
                    "An administrator's token. It is shown this once: keep it where nobody else can read it.",
                );
            }
        }
        Ok(())
    }
}

/// Writes a file that only its owner can read, whole or not at all; false when it is there already.
fn keep_new(file: &Path, text: &str) -> io::Result<bool> {
    let name = file.file_name().ok_or(ErrorKind::InvalidInput)?.to_string_lossy();
    let beside = file.with_file_name(format!(".{name}.{}", uuid::Uuid::new_v4().simple()));
    let written = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&beside)
        .and_then(|mut out| writeln!(out, "{text}").and_then(|()| out.sync_all()))
        // Unlike renaming this never takes the place of what is there.
        .and_then(|()| fs::hard_link(&beside, file));
    let removed = fs::remove_file(&beside);
    match written {
        Err(error) if error.kind() == ErrorKind::AlreadyExists && file.exists() => Ok(false),
        Err(error) => Err(error),
        Ok(()) => removed.map(|()| true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn of_many_who_keep_a_token_in_one_file_one_writes_it_for_its_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        let texts: Vec<String> = (0..8).map(|n| format!("token {n}")).collect();
        let wrote: Vec<bool> = std::thread::scope(|scope| {
            let all: Vec<_> =
                texts.iter().map(|text| scope.spawn(|| keep_new(&file, text).unwrap())).collect();
            all.into_iter().map(|one| one.join().unwrap()).collect()
        });
        let kept = fs::read_to_string(&file).unwrap();
        let writers: Vec<&String> =
            texts.iter().zip(&wrote).filter(|(_, wrote)| **wrote).map(|(t, _)| t).collect();
        assert_eq!(writers, [kept.trim()]);
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing else is left behind");
    }

    #[test]
    fn what_lies_in_the_file_already_is_the_token() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        fs::write(&file, "mw_given\n").unwrap();
        let keeping = Keeping { file: Some(file) };
        let held = Held::of(&keeping, console::draw_first).unwrap();
        assert_eq!((held.text.as_str(), held.is_fresh), ("mw_given", false));
    }
}
