//! `mastwatch router add <name> --address … --user …`: a router that nobody has looked after yet.
//!
//! It is put into the inventory and looked at; what was found and what would be changed is shown; after a yes it is
//! changed; then it is asked whom it sees. Every step is an order of its own: broken off anywhere, the same words
//! again go on.

use crate::{
    api::Api,
    router::{look, path_of, show_plan},
    scout, show,
};
use anyhow::{Context, bail};
use reqwest::Method;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use serde_json::{Value, json};
use std::{
    io::{BufRead, IsTerminal, Read, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};
use zeroize::Zeroizing;

/// The longest password.
const PASSWORD_BYTES_MAX: u64 = 200;

/// How a router is reached. The password is never an argument: those are seen by everybody on the machine.
#[derive(Debug, Default, clap::Args)]
pub struct RouterLogin {
    /// Where the router answers: an IP address. Without it what is added is a device that was seen.
    #[arg(long, requires = "user")]
    pub address: Option<String>,
    /// The user to log in as.
    #[arg(long, requires = "address")]
    user: Option<String>,
    /// Read the password from this file instead of asking for it; `-`: from standard input.
    #[arg(long, requires = "address")]
    password_file: Option<PathBuf>,
    /// The port of the router's API.
    #[arg(long, requires = "address")]
    port: Option<u16>,
    /// Whether its API is inside TLS.
    #[arg(long, requires = "address")]
    tls: bool,
    /// The certificate that the router must show: `sha256:…`, as `/certificate print detail` has it there. Without it the
    /// one that it shows is shown here, and pinned after a yes.
    #[arg(long, requires = "tls")]
    certificate: Option<String>,
    /// Make the changes without asking.
    #[arg(long, requires = "address")]
    yes: bool,
}

impl RouterLogin {
    /// A router at this port, with the password in a file; what would be changed on it is changed.
    pub(crate) fn with(address: &str, user: &str, password_file: &Path, port: u16) -> Self {
        Self {
            address: Some(address.to_owned()),
            user: Some(user.to_owned()),
            password_file: Some(password_file.to_owned()),
            port: Some(port),
            tls: false,
            certificate: None,
            yes: true,
        }
    }
}

/// Adds a router.
///
/// # Errors
///
/// When the password cannot be read, the console refuses, or nobody looks at the router in time.
pub async fn add(
    router: &str,
    login: &RouterLogin,
    (name, parent): (Option<&str>, Option<&str>),
    api: &Api,
    json: bool,
) -> anyhow::Result<ExitCode> {
    let password = password(login)?;
    let mut body = json!({
        "id": router, "address": login.address, "user": login.user, "password": password.as_str(), "tls": login.tls,
    });
    for (key, value) in [("name", name), ("parent", parent), ("certificate", login.certificate.as_deref())] {
        if let Some(value) = value {
            body[key] = value.into();
        }
    }
    if let Some(port) = login.port {
        body["port"] = port.into();
    }
    let mut added = api.say(Method::POST, "/api/v1/routers", &body).await?;
    let mut plan = look(router, "plan", api).await?;
    if let Some(shown) = plan["certificate_shown"].as_str().map(str::to_owned)
        && is_trusted(router, (added["certificate"].as_str(), &shown), login, json)?
    {
        body["certificate"] = shown.into();
        added = api.say(Method::POST, "/api/v1/routers", &body).await?;
        plan = look(router, "plan", api).await?;
    }
    if !json {
        found(router, &plan);
        show_plan(&plan);
    }
    if plan["state"] == "unreachable" {
        let hint = "It stays in the inventory. Type the same again with what is right, or take it out: \
                    `mastwatch router remove`.";
        if json {
            show::json(&json!({ "added": added, "plan": plan }));
        } else {
            show::line(hint);
        }
        return Ok(ExitCode::from(3));
    }
    let plan = match plan["state"].as_str() {
        Some("unfit") => {
            if !json {
                show::line("It cannot push, and is polled: it is watched all the same.");
            }
            plan
        }
        Some("proposed") if is_wanted(router, &plan, login.yes, json)? => {
            api.say(Method::PUT, &path_of(router, "manage")?, &json!({ "manage": true })).await?;
            let plan = look(router, "repair", api).await?;
            if !json {
                show_plan(&plan);
            }
            plan
        }
        _ => plan,
    };
    if json {
        show::json(&json!({ "added": added, "plan": plan }));
    }
    scout::scan(router, api, json).await
}

/// Whether the certificate that a router shows is to be pinned. Nothing was said to the router yet.
///
/// The first one is taken on trust after a yes. In the place of another only a person takes it, or who names it.
fn is_trusted(
    router: &str,
    (pinned, shown): (Option<&str>, &str),
    login: &RouterLogin,
    json: bool,
) -> anyhow::Result<bool> {
    if login.certificate.is_some() {
        return Ok(false);
    }
    if !json {
        match pinned {
            Some(pinned) => {
                show::line(format!(
                    "The certificate of {router} has changed:\n  was {pinned}\n  is  {shown}"
                ));
                show::line("If nobody renewed it there, somebody else answers in the router's place.");
            }
            None => show::line(format!("{router} shows the certificate {shown}")),
        }
        show::line(
            "On the router: `/certificate print detail`, the `fingerprint` of the one in `/ip service print`.",
        );
    }
    if pinned.is_none() && login.yes {
        return Ok(true);
    }
    if json || !std::io::stdin().is_terminal() {
        if !json {
            let means = if pinned.is_none() { "--yes, or " } else { "" };
            show::line(format!(
                "Nobody was asked: say {means}--certificate {shown} if that is the router's."
            ));
        }
        return Ok(false);
    }
    is_yes("Is that the router, and is it to be known by this from now on? [y/N]")
}

fn is_yes(question: &str) -> anyhow::Result<bool> {
    show::note(question);
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer).context("reading the answer")?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}

/// What the router said of itself.
fn found(router: &str, plan: &Value) {
    let text = |key: &str| plan[key].as_str();
    if let Some(version) = text("version") {
        let board = text("board").unwrap_or("a router");
        let identity = text("identity").map(|identity| format!(", called `{identity}`")).unwrap_or_default();
        show::line(format!("Logged in to {router}: {board} with RouterOS {version}{identity}."));
    }
}

/// Whether the changes are to be made.
fn is_wanted(router: &str, plan: &Value, yes: bool, json: bool) -> anyhow::Result<bool> {
    if yes || plan["is_managed"] == true {
        return Ok(true);
    }
    if json || !std::io::stdin().is_terminal() {
        if !json {
            show::line("Nothing was written: say --yes to have it done.");
        }
        return Ok(false);
    }
    let count = plan["change_count"].as_i64().unwrap_or_default();
    is_yes(&format!("Make these {count} changes on {router}, and keep them so? [y/N]"))
}

/// A terminal that does not show what is typed, until this is dropped.
struct Quiet(Termios);

impl Quiet {
    fn begin() -> rustix::io::Result<Self> {
        let before = tcgetattr(std::io::stdin())?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO);
        tcsetattr(std::io::stdin(), OptionalActions::Now, &quiet)?;
        Ok(Self(before))
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        // A terminal that is gone shows nothing.
        let _gone = tcsetattr(std::io::stdin(), OptionalActions::Now, &self.0);
    }
}

fn password(login: &RouterLogin) -> anyhow::Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::new());
    match &login.password_file {
        Some(path) if path.as_os_str() == "-" => {
            std::io::stdin()
                .take(PASSWORD_BYTES_MAX + 2)
                .read_to_string(&mut text)
                .context("reading the password")?;
        }
        Some(path) => {
            let file = std::fs::File::open(path).with_context(|| format!("opening {}", path.display()))?;
            file.take(PASSWORD_BYTES_MAX + 2).read_to_string(&mut text).context("reading the password")?;
        }
        None if std::io::stdin().is_terminal() => {
            let user = login.user.as_deref().unwrap_or_default();
            // Before it is asked for: who types ahead must not see it either.
            let _quiet = Quiet::begin().context("keeping the terminal from showing the password")?;
            write!(std::io::stderr(), "Password of {user}: ").context("asking for the password")?;
            text = Zeroizing::new(rpassword::read_password().context("reading the password")?);
        }
        None => {
            bail!("there is nobody to ask for the password: give --password-file, `-` for standard input")
        }
    }
    let trimmed = text.trim_end_matches(['\r', '\n']);
    Ok(Zeroizing::new(trimmed.to_owned()))
}
