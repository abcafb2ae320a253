//! What a test's hand does: types commands, waits, counts, and reads the log.

use crate::{Running, Stack, binary};
use events::{Fact, NodeId, Noun};
use kit::{Filter, From};
use lab::Lab;
use serde_json::Value;
use std::{
    io::{Read, Write},
    path::Path,
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

/// Who types commands, and where.
#[derive(Debug, Clone, Copy, Default)]
pub struct Typist<'t> {
    /// The token; the administrator's if absent.
    pub token: Option<&'t str>,
    /// The tenant that is spoken of.
    pub tenant: Option<&'t str>,
    /// The directory it is typed in; the test's own if absent.
    pub dir: Option<&'t Path>,
}

/// What a command said.
#[derive(Debug)]
pub struct Said {
    /// Its exit code; -1 where a signal ended it.
    pub code: i32,
    /// What it said to programs.
    pub out: String,
    /// What it said beside that.
    pub err: String,
}

impl Said {
    /// Every line as JSON.
    ///
    /// # Panics
    ///
    /// When a line is none.
    pub fn objects(&self) -> Vec<Value> {
        let objects = self.out.lines().map(serde_json::from_str);
        objects.collect::<Result<_, _>>().unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    /// The only object there is.
    ///
    /// # Panics
    ///
    /// When there are several or none.
    pub fn object(&self) -> Value {
        let objects = self.objects();
        assert_eq!(objects.len(), 1, "{self:?}");
        objects.into_iter().next().expect("there is one")
    }

    /// The same, if it ended so.
    ///
    /// # Panics
    ///
    /// When it ended with another code.
    pub fn with_code(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:?}");
        self
    }
}

impl Typist<'_> {
    /// A command as it is typed, with something to read at its standard input.
    ///
    /// # Panics
    ///
    /// When the program is not there.
    pub fn types(&self, stack: &Stack, words: &[&str], input: Option<&str>) -> Said {
        let mut command = Command::new(binary().expect("the binary was built"));
        command
            .args(words)
            .env("MASTWATCH_CONSOLE_URL", format!("http://{}", stack.console))
            .env("MASTWATCH_TOKEN", self.token.unwrap_or_else(|| stack.administrator()))
            .stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if let Some(tenant) = self.tenant {
            command.env("MASTWATCH_TENANT", tenant);
        }
        if let Some(dir) = self.dir {
            command.current_dir(dir);
        }
        let mut child = command.spawn().expect("the binary starts");
        if let Some((mut stdin, input)) = child.stdin.take().zip(input) {
            stdin.write_all(input.as_bytes()).expect("it reads what is typed");
        }
        let ran = child.wait_with_output().expect("it ends");
        let [out, err] = [ran.stdout, ran.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        Said { code: ran.status.code().unwrap_or(-1), out, err }
    }
}

/// A command as the administrator types it about a tenant: exit code and what it said.
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
    let said = Typist { tenant: Some(tenant), ..Typist::default() }.types(stack, words, input);
    (said.code, said.out + &said.err)
}

/// Gives a program a terminal, copies what passes through it, and ends as the program does.
const TERMINAL: &str = "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))";

/// The same as a person at a terminal, who types each answer as soon as its question is seen. What was said is as the
/// terminal shows it: questions, and the echo of answers unless that is off.
///
/// # Panics
///
/// When the program or `python3` is not there, or when a question never came.
pub fn types_at_a_terminal(
    stack: &Stack,
    tenant: &str,
    words: &[&str],
    answers: &[(&str, &str)],
) -> (i32, String) {
    let mut child = Command::new("python3")
        .args(["-c", TERMINAL])
        .arg(binary().expect("the binary was built"))
        .args(words)
        .env("MASTWATCH_CONSOLE_URL", format!("http://{}", stack.console))
        .env("MASTWATCH_TOKEN", stack.administrator())
        .env("MASTWATCH_TENANT", tenant)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("`python3` is there");
    let (mut types, mut shows) = child.stdin.take().zip(child.stdout.take()).expect("both are piped");
    let (mut shown, mut answered, mut waiting) = (Vec::new(), 0, answers.iter());
    let mut next = waiting.next();
    let mut some = [0; 4_096];
    loop {
        let count = shows.read(&mut some).expect("the terminal can be read");
        if count == 0 {
            break;
        }
        shown.extend_from_slice(&some[..count]);
        let is_asked = |question: &str| String::from_utf8_lossy(&shown[answered..]).contains(question);
        if let Some((_, answer)) = next.filter(|(question, _)| is_asked(question)) {
            writeln!(types, "{answer}").expect("the program reads what is typed");
            answered = shown.len();
            next = waiting.next();
        }
    }
    let code = child.wait().expect("it ends").code().unwrap_or(-1);
    let shown = String::from_utf8_lossy(&shown).into_owned();
    assert!(next.is_none(), "{next:?} was never asked: {shown}");
    (code, shown)
}

/// Every fact of a noun.
///
/// # Panics
///
/// When the log cannot be read.
pub async fn facts(stack: &Stack, noun: Noun) -> Vec<Fact> {
    facts_of(stack, &[noun]).await
}

/// Every fact of these nouns as the log is at one moment: what one commit said is there as a whole or not at all.
///
/// # Panics
///
/// When the log cannot be read.
pub async fn facts_of(stack: &Stack, nouns: &[Noun]) -> Vec<Fact> {
    let filters: Vec<Filter> = nouns.iter().map(|noun| Filter::noun(*noun)).collect();
    let end = stack.log.state().await.expect("the log can be read").last_seq;
    let mut reader = stack.log.read(&filters, From::Start, Some(end));
    let mut all = Vec::new();
    while let Some(raw) = reader.next().await.expect("the log can be read") {
        all.push(raw.decode().expect("the log can be read").fact);
    }
    all
}

/// Everything in the log that names a node, a line each: for whoever must find out why a test failed.
///
/// # Panics
///
/// When the log cannot be read.
pub async fn said_of(stack: &Stack, node: NodeId) -> String {
    let end = stack.log.state().await.expect("the log can be read").last_seq;
    let mut reader = stack.log.read(&Noun::ALL.map(Filter::noun), From::Start, Some(end));
    let (name, mut lines) = (node.to_string(), String::new());
    while let Some(raw) = reader.next().await.expect("the log can be read") {
        let body = String::from_utf8_lossy(&raw.body);
        if raw.subject.contains(&name) || body.contains(&name) {
            lines.push_str(&format!("{} {} {} {body}\n", raw.seq, raw.heard, raw.subject));
        }
    }
    lines
}
