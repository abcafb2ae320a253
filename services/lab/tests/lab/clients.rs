//! Other people's API clients speak with the lab.
//!
//! They are fetched once, from the package registries, into `.dev/lab-clients` of the repository.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use domain::plan::script::{Pusher, Says};
use domain::plan::{Actual, Row, Snitches, Watched, plan};
use routeros_api::Credentials;
use routeros_api::session::{Options, Session};

use crate::isp::{CORE, fast, started};

const LIBROUTEROS: &str = "librouteros==4.2.2";
const ROUTEROS_API: &str = "RouterOS-api==0.21.0";
const NODE_ROUTEROS: &str = "node-routeros@1.6.9";
/// An address the core sees.
const ANSWERS: &str = "127.20.0.2";

fn home() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
    let home = root.join(".dev/lab-clients");
    std::fs::create_dir_all(&home).unwrap();
    home
}

/// Runs a command to its end and gives what it wrote; says clearly what failed and why.
fn run(what: &str, command: &mut Command) -> String {
    let output = match command.output() {
        Ok(output) => output,
        Err(error) => panic!("{what}: `{}` cannot be run: {error}", command.get_program().display()),
    };
    let written = String::from_utf8_lossy(&output.stdout).into_owned();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{what}: {}\n{written}\n{said}", output.status);
    written
}

/// One directory per set of packages, marked when it is whole.
fn fetched(name: &str, packages: &str, fetch: impl Fn(&Path)) -> PathBuf {
    let place = home().join(name);
    // Tests run in processes of their own: one fetches, the others wait.
    let turn = std::fs::File::create(home().join(format!("{name}.lock"))).unwrap();
    turn.lock().unwrap();
    let mark = place.join("whole");
    if std::fs::read_to_string(&mark).is_ok_and(|found| found == packages) {
        return place;
    }
    if place.exists() {
        std::fs::remove_dir_all(&place).unwrap();
    }
    std::fs::create_dir_all(&place).unwrap();
    fetch(&place);
    std::fs::write(mark, packages).unwrap();
    place
}

fn python() -> PathBuf {
    let packages = format!("{LIBROUTEROS} {ROUTEROS_API}");
    let place = fetched("python", &packages, |place| {
        run("making a Python environment", Command::new("python3").args(["-m", "venv"]).arg(place));
        let pip =
            ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", LIBROUTEROS, ROUTEROS_API];
        run(&format!("installing {packages} with pip"), Command::new(place.join("bin/python")).args(pip));
    });
    place.join("bin/python")
}

fn node_modules() -> PathBuf {
    let place = fetched("node", NODE_ROUTEROS, |place| {
        let install =
            ["install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", NODE_ROUTEROS, "--prefix"];
        run(&format!("installing {NODE_ROUTEROS} with npm"), Command::new("npm").args(install).arg(place));
    });
    place.join("node_modules")
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(name)
}

/// What mastwatch would write to the core, written to it over its API; gives what every client has to read.
async fn write_ours(lab: &lab::Lab) -> BTreeMap<String, String> {
    let snitches = Snitches {
        pusher: Pusher {
            url: "http://192.0.2.10:8081".into(),
            token: "mw_pg2c5dgruwdz_d34bpu8b830euayaqc8kgi4bbks2an9n".into(),
            checks_certificate: false,
        },
        sessions: true,
        leases: false,
        scheduler: true,
        watched: vec![Watched { id: "a \"b\" \\c $d".into(), host: [10, 9, 9, 9].into() }],
        interval_s: 30,
        timeout_ms: 2000,
        has_types: true,
    };
    let desired = snitches.desired();
    let credentials = Credentials::new("nms", "s3cret");
    let session =
        Session::connect(lab.api_address(CORE), None, &credentials, &Options::default()).await.unwrap();
    let within = std::time::Duration::from_secs(5);
    let mut actual = Actual::default();
    for menu in desired.menus() {
        let print = routeros_api::Command::new(&format!("{}/print", menu.path())).proplist(menu.properties());
        let rows = session.call(&print, within).await.unwrap().rows;
        let row = |row: &routeros_api::Row| Row {
            id: row.text(".id").unwrap_or_default().into_owned(),
            values: menu
                .properties()
                .iter()
                .filter_map(|name| Some(((*name).to_owned(), row.text(name)?.into_owned())))
                .collect(),
        };
        actual.told(menu, rows.iter().map(row).collect());
    }
    let planned = plan(&actual, &desired).unwrap();
    // A script, a task, two profiles, an entry; and the lab's own entry goes, which nobody wishes here.
    assert_eq!(planned.changes.len(), 6, "{}", planned.shown());
    for change in &planned.changes {
        let command = routeros_api::Command::new(&change.command());
        let command =
            change.attributes().into_iter().fold(command, |command, (name, value)| command.with(name, value));
        session.call(&command, within).await.unwrap();
    }
    let (pusher, entry) = (&snitches.pusher, &snitches.watched[0].id);
    // Our lines are placed without the line break after the last.
    let trimmed = |text: String| text.trim_end().to_owned();
    BTreeMap::from([
        ("comment".to_owned(), format!("mastwatch:{entry}")),
        ("up-script".to_owned(), pusher.netwatch(entry, Says::Up)),
        ("down-script".to_owned(), pusher.netwatch(entry, Says::Down)),
        ("on-up".to_owned(), trimmed(pusher.session(Says::Up))),
        ("on-down".to_owned(), trimmed(pusher.session(Says::Down))),
        ("on-event".to_owned(), pusher.drain()),
    ])
}

/// A client prints what it reads of ours as one JSON object.
async fn reads_what_was_written(client: &'static str, command: impl FnOnce() -> Command + Send + 'static) {
    let lab = started(fast(None)).await;
    let written = write_ours(&lab).await;
    let port = forward(lab.api_address(CORE)).await;
    let said = tokio::task::spawn_blocking(move || {
        let mut command = command();
        command.args([client, &port.to_string(), "nms", "s3cret"]);
        run(client, &mut command)
    });
    let read: BTreeMap<String, String> = serde_json::from_str(&said.await.unwrap()).unwrap();
    assert_eq!(read, written, "{client}");
    lab.stop().await;
}

async fn is_content(client: &'static str, command: impl FnOnce() -> Command + Send + 'static) {
    let lab = started(fast(None)).await;
    // Clients are told 127.0.0.1 and the router listens on its own address: they meet there.
    let port = forward(lab.api_address(CORE)).await;
    let said = tokio::task::spawn_blocking(move || {
        let mut command = command();
        command.args([&port.to_string(), "nms", "s3cret", ANSWERS]);
        run(client, &mut command)
    });
    assert_eq!(said.await.unwrap().trim(), format!("{client} is content"));
    lab.stop().await;
}

/// A port of 127.0.0.1 that leads to an address.
async fn forward(to: std::net::SocketAddr) -> u16 {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            client.set_nodelay(true).unwrap();
            let mut router = tokio::net::TcpStream::connect(to).await.unwrap();
            router.set_nodelay(true).unwrap();
            tokio::spawn(async move { tokio::io::copy_bidirectional(&mut client, &mut router).await });
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread")]
async fn other_peoples_clients_read_exactly_what_mastwatch_wrote() {
    let (python, modules) = tokio::task::spawn_blocking(|| (python(), node_modules())).await.unwrap();
    for client in ["librouteros", "RouterOS-api"] {
        let python = python.clone();
        reads_what_was_written(client, move || {
            let mut command = Command::new(python);
            command.arg(script("read_ours.py"));
            command
        })
        .await;
    }
    reads_what_was_written("node-routeros", move || {
        let mut command = Command::new("node");
        command.env("NODE_PATH", modules).arg(script("read_ours.js"));
        command
    })
    .await;
}

/// Both Python clients share one environment, so they are one test.
#[tokio::test(flavor = "multi_thread")]
async fn librouteros_and_routeros_api_are_content() {
    let python = tokio::task::spawn_blocking(python).await.unwrap();
    for (client, name) in
        [("librouteros", "librouteros_client.py"), ("RouterOS-api", "routeros_api_client.py")]
    {
        let python = python.clone();
        is_content(client, move || {
            let mut command = Command::new(python);
            command.arg(script(name));
            command
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn node_routeros_is_content() {
    let modules = tokio::task::spawn_blocking(node_modules).await.unwrap();
    is_content("node-routeros", move || {
        let mut command = Command::new("node");
        command.env("NODE_PATH", modules).arg(script("node_routeros_client.js"));
        command
    })
    .await;
}
