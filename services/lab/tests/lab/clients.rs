//! Other people's API clients speak with the lab.
//!
//! They are fetched once, from the package registries, into `.dev/lab-clients` of the repository.

use std::path::{Path, PathBuf};
use std::process::Command;

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
