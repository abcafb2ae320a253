//! What a test's hand does: types commands, waits, counts, and reads the log.

use crate::{Running, Stack, binary};
use events::{Fact, Noun};
use kit::{Filter, From};
use lab::Lab;
use std::{
    io::Write,
    process::{Command, Stdio},
    time::Duration,
};

/// Looks again and again, for about two minutes of its own time: the machine may be busy with others.
///
/// # Panics
///
/// When it never comes to that.
pub async fn until<T>(what: &str, running: &Running, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    for _ in 0..1_200 {
        if let Some(found) = look().await {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("it never came to this: {what}\n{}", running.said());
}

/// How many commands that change something the routers have heard.
pub fn writes(lab: &Lab) -> u64 {
    let (all, _) = lab.counters();
    let is_write = |path: &&str| ["/add", "/set", "/remove"].iter().any(|verb| path.ends_with(verb));
    all.calls.iter().filter(|(path, _)| is_write(&path.as_str())).map(|(_, count)| count).sum()
}

/// A command as a person types it: exit code and what it said.
///
/// # Panics
///
/// When the program is not there.
pub fn types(stack: &Stack, tenant: &str, words: &[&str]) -> (i32, String) {
    types_with(stack, tenant, words, None)
}

/// The same, with something to read at its standard input.
///
/// # Panics
///
/// When the program is not there.
pub fn types_with(stack: &Stack, tenant: &str, words: &[&str], input: Option<&str>) -> (i32, String) {
    let mut child = Command::new(binary().expect("the binary was built"))
        .args(words)
        .env("MASTWATCH_CONSOLE_URL", format!("http://{}", stack.console))
        .env("MASTWATCH_TOKEN", stack.administrator())
        .env("MASTWATCH_TENANT", tenant)
        .stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    if let Some((mut stdin, input)) = child.stdin.take().zip(input) {
        stdin.write_all(input.as_bytes()).expect("it reads what is typed");
    }
    let ran = child.wait_with_output().expect("it ends");
    let text = [ran.stdout, ran.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    (ran.status.code().unwrap_or(-1), text)
}

/// Every fact of a noun.
///
/// # Panics
///
/// When the log cannot be read.
pub async fn facts(stack: &Stack, noun: Noun) -> Vec<Fact> {
    let end = stack.log.state().await.expect("the log can be read").last_seq;
    let mut reader = stack.log.read(&[Filter::noun(noun)], From::Start, Some(end));
    let mut all = Vec::new();
    while let Some(raw) = reader.next().await.expect("the log can be read") {
        all.push(raw.decode().expect("the log can be read").fact);
    }
    all
}
