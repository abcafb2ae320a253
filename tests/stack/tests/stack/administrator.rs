//! The first administrator of an installation of many machines: made by a command or by the consoles' configuration, by
//! however many at once, as the user `console` of the log's server.

use kit::permissions;
use serde_json::Value;
use stack::{Stack, binary, fleet::Fleet, free_port, password_of};
use std::{
    collections::BTreeSet,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

/// `mastwatch administrator …`, as a user of the log's server.
fn administrator(stack: &Stack, user: &str, words: &[&str]) -> Command {
    let password = stack.path(&format!("{user}.password"));
    std::fs::write(&password, password_of(user)).unwrap();
    let mut command = Command::new(binary().unwrap());
    command
        .arg("administrator")
        .args(words)
        .arg("--json")
        .env("MASTWATCH_CONFIG", stack.config())
        .env("MASTWATCH_NATS_USER", user)
        .env("MASTWATCH_NATS_PASSWORD_FILE", password)
        .env("MASTWATCH_DECLARE_STREAMS", "false")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// What it said, if it ended with this code.
fn said(output: &Output, code: i32) -> Value {
    let [out, err] =
        [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    assert_eq!(output.status.code(), Some(code), "{out}{err}");
    serde_json::from_str(if code == 0 { &out } else { &err }).unwrap_or_else(|e| panic!("{e}: {out}{err}"))
}

fn does(stack: &Stack, words: &[&str]) -> Value {
    said(&administrator(stack, "console", words).output().unwrap(), 0)
}

fn all_at_once(commands: Vec<Command>) -> Vec<Output> {
    let running: Vec<_> = commands.into_iter().map(|mut command| command.spawn().unwrap()).collect();
    running.into_iter().map(|child| child.wait_with_output().unwrap()).collect()
}

/// Whether a token opens to an administrator what is at `console`; an error as long as nobody is there.
async fn opens(console: &str, token: &str) -> reqwest::Result<bool> {
    let url = format!("http://{console}/api/v1/keys/rewrap");
    let answer = reqwest::Client::new().post(url).bearer_auth(token).send().await?;
    assert!(answer.status() == 200 || answer.status() == 401, "{}", answer.status());
    Ok(answer.status() == 200)
}

fn token_in(file: &Path) -> String {
    std::fs::read_to_string(file).unwrap().trim().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn however_many_make_the_first_administrators_token_there_is_one() {
    let users: Vec<_> =
        Fleet::SERVICES.into_iter().map(permissions::service).chain([permissions::setup()]).collect();
    let stack = Stack::start_with_users(&users, []).await.unwrap();
    let path = |name: &str| stack.path(name).to_str().unwrap().to_owned();
    // Whom the other tests have from the beginning is not wanted here.
    assert_eq!(does(&stack, &["revoke", "firstadmin00"])["already"], false);

    // Printed: one token, and the others say why they have none.
    let outputs = all_at_once((0..5).map(|_| administrator(&stack, "console", &["first"])).collect());
    let (made, refused): (Vec<_>, Vec<_>) = outputs.iter().partition(|output| output.status.success());
    assert_eq!((made.len(), refused.len()), (1, 4), "{outputs:?}");
    let printed = said(made[0], 0);
    assert_eq!(printed["made"], true);
    for output in refused {
        let why = said(output, 1);
        assert!(why.to_string().contains("there is an administrator already"), "{why}");
        assert!(why.to_string().contains("`mastwatch administrator add` makes one more"), "{why}");
    }
    let in_vain = path("in-vain");
    said(&administrator(&stack, "console", &["first", "--file", &in_vain]).output().unwrap(), 1);
    assert!(!Path::new(&in_vain).exists(), "a token that opens nothing is left behind");

    // In one file that all share, as containers of one pod: the same token for all, and for whoever comes later.
    does(&stack, &["revoke", "firstadmin00"]);
    let shared = path("administrator.token");
    let words = ["first", "--file", &shared];
    let outputs = all_at_once((0..5).map(|_| administrator(&stack, "console", &words)).collect());
    let made = outputs.iter().filter(|output| said(output, 0)["made"] == true).count();
    assert_eq!(made, 1, "{outputs:?}");
    let again = does(&stack, &words);
    assert_eq!((&again["made"], &again["token"]), (&false.into(), &Value::Null));
    assert_eq!(std::fs::metadata(&shared).unwrap().permissions().mode() & 0o777, 0o600);

    // One more has a name, and who may not speak of access makes nobody an administrator.
    let ana = path("ana.token");
    assert_eq!(does(&stack, &["add", "Ana", "--file", &ana])["made"], true);
    let denied = said(&administrator(&stack, "correlator", &["add", "Eve"]).output().unwrap(), 1);
    assert!(denied.to_string().to_lowercase().contains("permissions violation"), "{denied}");
    let listed = administrator(&stack, "console", &["list"]).output().unwrap();
    let listed: Vec<Value> =
        String::from_utf8(listed.stdout).unwrap().lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let names: BTreeSet<&str> = listed.iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(names, BTreeSet::from(["Ana", "first administrator"]));

    // Consoles that are each given a token find that somebody administrates already, and then that nobody does.
    let mut consoles = Vec::new();
    for round in 0..2 {
        consoles.clear();
        let mut tokens = Vec::new();
        for n in 0..3 {
            let (port, file) = (free_port().unwrap().to_string(), path(&format!("given-{round}-{n}")));
            let drawn = does(&stack, &["draw"]);
            std::fs::write(&file, drawn["token"].as_str().unwrap()).unwrap();
            let variables = [
                ("MASTWATCH_CONSOLE__LISTEN", port.as_str()),
                ("MASTWATCH_CONSOLE__ADMINISTRATOR_TOKEN_FILE", file.as_str()),
            ];
            let running = stack.run_as(&["console"], Some("console"), &variables).unwrap();
            tokens.push(token_in(Path::new(&file)));
            consoles.push((port, running));
        }
        let began = Instant::now();
        for (console, running) in &consoles {
            while opens(console, &tokens[0]).await.is_err() {
                assert!(began.elapsed() < Duration::from_secs(60), "{}", running.said());
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        for (console, running) in &consoles {
            let mut opening = Vec::new();
            for token in &tokens {
                opening.push(opens(console, token).await.unwrap());
            }
            let given = opening.iter().filter(|opens| **opens).count();
            assert_eq!(given, round, "round {round}: {opening:?}\n{}", running.said());
            assert_eq!(opens(console, &token_in(Path::new(&ana))).await.unwrap(), round == 0);
            assert!(!opens(console, printed["token"].as_str().unwrap()).await.unwrap(), "it was revoked");
            assert!(tokens.iter().all(|token| !running.said_in_all().contains(token.as_str())));
        }
        for listed in &listed {
            does(&stack, &["revoke", listed["prefix"].as_str().unwrap()]);
        }
    }
}
