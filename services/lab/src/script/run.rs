//! Statements to deeds.
//!
//! What a script can reach of the router is its [`Host`]. A script that runs too long is stopped:
//! a loop that never ends must not hold the simulation.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use super::ScriptError;
use super::parse::{Block, Does, Expr, Operator, Script};

/// Statements one run may execute.
const STEPS_MAX: u32 = 100_000;
/// The longest text a script may build, as versions 6 and 7 both allow.
const TEXT_BYTES_MAX: usize = 64 << 10;

/// What a variable holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Declared, but nothing was put in.
    Nothing,
    /// Text, as the bytes it is on a router: a piece of it may be part of a character.
    Text(Vec<u8>),
    /// A whole number.
    Number(i64),
    /// A truth value.
    Truth(bool),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Nothing => Ok(()),
            Value::Text(text) => f.write_str(&String::from_utf8_lossy(text)),
            Value::Number(number) => write!(f, "{number}"),
            Value::Truth(truth) => write!(f, "{truth}"),
        }
    }
}

impl Value {
    /// As it is joined to other text.
    fn into_bytes(self) -> Vec<u8> {
        match self {
            Value::Text(text) => text,
            Value::Nothing | Value::Number(_) | Value::Truth(_) => self.to_string().into_bytes(),
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Value::Text(text.as_bytes().to_vec())
    }
}

/// Variables that outlive a run, until the router's next boot.
pub type Globals = BTreeMap<String, Value>;

/// One `/tool fetch`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Fetch {
    /// Where to.
    pub url: String,
    /// `get` when absent, as on a router.
    pub method: Option<String>,
    /// The body.
    pub data: Option<String>,
    /// Name and value of each header field.
    pub headers: Vec<(String, String)>,
}

impl Fetch {
    /// Takes header fields as `http-header-field` has them: `name: value`, several with commas between them.
    ///
    /// # Errors
    ///
    /// The first field that has no colon.
    pub(crate) fn take_header_fields<'f>(&mut self, fields: &'f str) -> Result<(), &'f str> {
        for field in fields.split(',').filter(|field| !field.is_empty()) {
            let (name, value) = field.split_once(':').ok_or(field)?;
            self.headers.push((name.trim().to_owned(), value.trim().to_owned()));
        }
        Ok(())
    }
}

/// What a script can reach of the router it runs on.
pub trait Host: Send {
    /// Works on the variables that outlive a run. Runs of one router share them.
    fn with_globals<T>(&mut self, work: impl FnOnce(&mut Globals) -> T) -> T;
    /// A property of a menu, such as `uptime` of `/system resource`; of an item where the menu has items.
    ///
    /// # Errors
    ///
    /// What is wrong, when there is no such thing. `on-error` catches it.
    fn get(&mut self, menu: &str, item: Option<&str>, property: &str) -> Result<Value, String>;
    /// Gives a script of `/system script` another text. One that is not there is passed over.
    ///
    /// # Errors
    ///
    /// What the router says to it. `on-error` catches it.
    fn set_source(&mut self, script: &str, source: &str) -> Result<(), String>;
    /// Sends a request and waits for its answer.
    ///
    /// # Errors
    ///
    /// What went wrong; any status outside 2xx counts. `on-error` catches it.
    fn fetch(&mut self, fetch: Fetch) -> impl Future<Output = Result<(), String>> + Send;
    /// Waits.
    fn delay(&mut self, time: Duration) -> impl Future<Output = ()> + Send;
    /// Writes a line into the router's log.
    fn log(&mut self, level: &str, message: &str);
}

/// Runs a script with these variables already there.
///
/// # Errors
///
/// The first error that no `on-error` caught, with its line.
pub async fn run<H: Host>(
    script: &Script,
    variables: &[(&str, Value)],
    host: &mut H,
) -> Result<(), ScriptError> {
    let mut run = Run {
        host,
        locals: variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), Slot::Local(value.clone())))
            .collect(),
        line: 0,
        steps: 0,
    };
    run.block(&script.0).await
}

enum Slot {
    Local(Value),
    Global,
}

struct Run<'a, H> {
    host: &'a mut H,
    /// Innermost last; a block forgets what it added.
    locals: Vec<(String, Slot)>,
    line: u32,
    steps: u32,
}

type Ran<T> = Result<T, ScriptError>;

impl<H: Host> Run<'_, H> {
    fn wrong(&self, what: impl Into<String>) -> ScriptError {
        ScriptError { line: self.line, what: what.into() }
    }

    fn block<'b>(&'b mut self, block: &'b Block) -> Pin<Box<dyn Future<Output = Ran<()>> + Send + 'b>> {
        Box::pin(async move {
            let known = self.locals.len();
            let mut ended = Ok(());
            for statement in block {
                self.line = statement.line;
                self.steps += 1;
                if self.steps > STEPS_MAX {
                    return Err(self.wrong(format!("stopped after {STEPS_MAX} statements")));
                }
                ended = self.step(&statement.does).await;
                if ended.is_err() {
                    break;
                }
            }
            self.locals.truncate(known);
            ended
        })
    }

    async fn step(&mut self, does: &Does) -> Ran<()> {
        match does {
            Does::Local { name, value } => {
                let value = value.as_ref().map_or(Ok(Value::Nothing), |value| self.value(value))?;
                self.locals.push((name.clone(), Slot::Local(value)));
            }
            Does::Global { name, value } => {
                let value = value.as_ref().map(|value| self.value(value)).transpose()?;
                self.host.with_globals(|globals| match value {
                    Some(value) => {
                        globals.insert(name.clone(), value);
                    }
                    None => {
                        globals.entry(name.clone()).or_insert(Value::Nothing);
                    }
                });
                self.locals.push((name.clone(), Slot::Global));
            }
            Does::Set { name, value } => {
                let value = self.value(value)?;
                match self.locals.iter_mut().rev().find(|(known, _)| known == name) {
                    Some((_, Slot::Local(slot))) => *slot = value,
                    Some((_, Slot::Global)) => {
                        self.host.with_globals(|globals| globals.insert(name.clone(), value));
                    }
                    None => return Err(self.wrong(format!("`{name}` was never declared"))),
                }
            }
            Does::If { condition, then, otherwise } => {
                let chosen = if self.truth(condition)? { then } else { otherwise };
                self.block(chosen).await?;
            }
            Does::While { condition, body } => {
                let line = self.line;
                while self.truth(condition)? {
                    self.steps += 1;
                    if self.steps > STEPS_MAX {
                        return Err(self.wrong(format!("stopped after {STEPS_MAX} statements")));
                    }
                    self.block(body).await?;
                    self.line = line;
                }
            }
            Does::Do { body, on_error } => match (self.block(body).await, on_error) {
                (Ok(()), _) => {}
                (Err(error), None) => return Err(error),
                (Err(error), Some(_)) if self.steps > STEPS_MAX => return Err(error),
                (Err(_), Some(on_error)) => self.block(on_error).await?,
            },
            Does::Delay(time) => {
                let time = self.value(time)?.to_string();
                let Ok(Some(time)) = routeros_api::value::duration(&time) else {
                    return Err(self.wrong(format!("`{time}` is no length of time")));
                };
                self.host.delay(time).await;
            }
            Does::Log { level, message } => {
                let message = self.value(message)?.to_string();
                self.host.log(level, &message);
            }
            Does::SetSource { script, source } => {
                let (script, source) = (self.value(script)?.to_string(), self.value(source)?.to_string());
                let set = self.host.set_source(&script, &source);
                set.map_err(|what| self.wrong(what))?;
            }
            Does::Fetch(arguments) => {
                let fetch = self.fetch(arguments)?;
                if let Err(what) = self.host.fetch(fetch).await {
                    return Err(self.wrong(what));
                }
            }
        }
        Ok(())
    }

    fn fetch(&mut self, arguments: &[(String, Expr)]) -> Ran<Fetch> {
        let mut fetch = Fetch::default();
        for (name, value) in arguments {
            let value = self.value(value)?.to_string();
            match name.as_str() {
                "url" => fetch.url = value,
                "http-method" => fetch.method = Some(value),
                "http-data" => fetch.data = Some(value),
                "http-header-field" => fetch
                    .take_header_fields(&value)
                    .map_err(|field| self.wrong(format!("the header field `{field}` has no colon")))?,
                "output" if value == "none" || value == "user" => {}
                "output" => {
                    return Err(self.wrong("`output` must be `none` or `user`: files need the policy `ftp`"));
                }
                // `yes` and `no` are truth values once they are read.
                "check-certificate" if matches!(value.as_str(), "true" | "false") => {}
                _ => return Err(self.wrong(format!("`{value}` is no value of `{name}`"))),
            }
        }
        Ok(fetch)
    }

    fn truth(&mut self, condition: &Expr) -> Ran<bool> {
        match self.value(condition)? {
            Value::Truth(truth) => Ok(truth),
            other @ (Value::Nothing | Value::Text(_) | Value::Number(_)) => {
                Err(self.wrong(format!("`{other}` is neither true nor false")))
            }
        }
    }

    fn number(&mut self, expr: &Expr) -> Ran<i64> {
        match self.value(expr)? {
            Value::Number(number) => Ok(number),
            other @ (Value::Nothing | Value::Text(_) | Value::Truth(_)) => {
                Err(self.wrong(format!("`{other}` is no number")))
            }
        }
    }

    fn value(&mut self, expr: &Expr) -> Ran<Value> {
        match expr {
            Expr::Text(text) => Ok(Value::from(text.as_str())),
            Expr::Word(word) => Ok(match (word.as_str(), word.parse()) {
                ("true" | "yes", _) => Value::Truth(true),
                ("false" | "no", _) => Value::Truth(false),
                (_, Ok(number)) => Value::Number(number),
                (_, Err(_)) => Value::from(word.as_str()),
            }),
            Expr::Variable(name) => {
                let found = self.locals.iter().rev().find(|(known, _)| known == name);
                let value = match found {
                    Some((_, Slot::Local(value))) => Some(value.clone()),
                    Some((_, Slot::Global)) => self.host.with_globals(|globals| globals.get(name).cloned()),
                    None => None,
                };
                value.ok_or_else(|| self.wrong(format!("`{name}` was never declared")))
            }
            Expr::Joined(parts) => self.joined(parts),
            Expr::Not(denied) => Ok(Value::Truth(!self.truth(denied)?)),
            Expr::Chain(first, operator, others) => self.chain(first, *operator, others),
            Expr::Length(of) => {
                let length = self.value(of)?.into_bytes().len();
                Ok(Value::Number(length as i64))
            }
            Expr::Pick { from, start, end } => {
                let text = self.value(from)?.into_bytes();
                let start = self.number(start)?;
                let end = match end {
                    Some(end) => self.number(end)?,
                    None => start.saturating_add(1),
                };
                let length = text.len() as i64;
                let (start, end) = (start.clamp(0, length) as usize, end.clamp(0, length) as usize);
                Ok(Value::Text(text[start..end.max(start)].to_vec()))
            }
            Expr::Get { menu, item, property } => {
                let item =
                    item.as_ref().map(|item| self.value(item)).transpose()?.map(|item| item.to_string());
                let got = self.host.get(menu, item.as_deref(), property);
                got.map_err(|what| self.wrong(what))
            }
        }
    }

    fn joined(&mut self, parts: &[Expr]) -> Ran<Value> {
        let mut text = Vec::new();
        for part in parts {
            text.append(&mut self.value(part)?.into_bytes());
        }
        self.bounded(text)
    }

    fn bounded(&self, text: Vec<u8>) -> Ran<Value> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(self.wrong(format!("a text of {} bytes; {TEXT_BYTES_MAX} are allowed", text.len())));
        }
        Ok(Value::Text(text))
    }

    fn chain(&mut self, first: &Expr, operator: Operator, others: &[Expr]) -> Ran<Value> {
        match operator {
            Operator::Join => {
                let mut text = self.value(first)?.into_bytes();
                for other in others {
                    text.append(&mut self.value(other)?.into_bytes());
                }
                self.bounded(text)
            }
            Operator::Add => self.reckoned(first, others, i64::checked_add),
            Operator::Subtract => self.reckoned(first, others, i64::checked_sub),
            Operator::And => self.decided(first, others, false),
            Operator::Or => self.decided(first, others, true),
            Operator::Equal => Ok(Value::Truth(self.value(first)? == self.value(&others[0])?)),
            Operator::Unequal => Ok(Value::Truth(self.value(first)? != self.value(&others[0])?)),
            Operator::Less => self.compared(first, others, Ordering::is_lt),
            Operator::Greater => self.compared(first, others, Ordering::is_gt),
            Operator::AtMost => self.compared(first, others, Ordering::is_le),
            Operator::AtLeast => self.compared(first, others, Ordering::is_ge),
        }
    }

    fn reckoned(&mut self, first: &Expr, others: &[Expr], with: fn(i64, i64) -> Option<i64>) -> Ran<Value> {
        let mut sum = self.number(first)?;
        for other in others {
            let other = self.number(other)?;
            sum = with(sum, other).ok_or_else(|| self.wrong("the number is too large"))?;
        }
        Ok(Value::Number(sum))
    }

    /// `and` and `or`, which look no further than they must.
    fn decided(&mut self, first: &Expr, others: &[Expr], by: bool) -> Ran<Value> {
        let mut truth = self.truth(first)?;
        for other in others {
            if truth == by {
                break;
            }
            truth = self.truth(other)?;
        }
        Ok(Value::Truth(truth))
    }

    fn compared(&mut self, first: &Expr, others: &[Expr], with: fn(Ordering) -> bool) -> Ran<Value> {
        let (left, right) = (self.number(first)?, self.number(&others[0])?);
        Ok(Value::Truth(with(left.cmp(&right))))
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;
    use domain::plan::script::{PARKED, Pusher, Says};

    /// A router that writes down what is done with it, and whose collector fails so many times.
    #[derive(Default)]
    struct Notebook {
        globals: Globals,
        fails: u32,
        sent: Vec<Fetch>,
        waited: Duration,
        log: Vec<String>,
        parked: Option<String>,
    }

    impl Host for Notebook {
        fn with_globals<T>(&mut self, work: impl FnOnce(&mut Globals) -> T) -> T {
            work(&mut self.globals)
        }

        fn get(&mut self, menu: &str, item: Option<&str>, property: &str) -> Result<Value, String> {
            match (menu, item, property) {
                ("/system clock", None, "date") => Ok("2026-11-20".into()),
                ("/system clock", None, "time") => Ok("09:00:00".into()),
                ("/system resource", None, "uptime") => Ok("5m3s".into()),
                ("/system script", Some(PARKED), "source") => {
                    self.parked.as_deref().map(Value::from).ok_or_else(|| "no such item".to_owned())
                }
                _ => Err("no such item".to_owned()),
            }
        }

        fn set_source(&mut self, script: &str, source: &str) -> Result<(), String> {
            assert_eq!(script, PARKED);
            self.parked = Some(source.to_owned());
            Ok(())
        }

        async fn fetch(&mut self, fetch: Fetch) -> Result<(), String> {
            if self.fails > 0 {
                self.fails -= 1;
                return Err("connection timeout".to_owned());
            }
            self.sent.push(fetch);
            Ok(())
        }

        async fn delay(&mut self, time: Duration) {
            self.waited += time;
        }

        fn log(&mut self, level: &str, message: &str) {
            self.log.push(format!("{level}: {message}"));
        }
    }

    async fn ran(text: &str, variables: &[(&str, Value)], host: &mut Notebook) -> Ran<()> {
        run(&parse(text).unwrap(), variables, host).await
    }

    const URL: &str = "http://127.0.0.1:8081/api/webhooks/mikrotik/ppp-status";

    fn pusher() -> Pusher {
        Pusher { url: "http://127.0.0.1:8081".into(), token: "mwr_abc".into(), checks_certificate: false }
    }

    #[tokio::test]
    async fn a_session_script_says_who_with_boot_and_rising_sequence() {
        let mut host = Notebook::default();
        let (on_up, on_down) = (pusher().session(Says::Up), pusher().session(Says::Down));
        ran(&on_up, &[("user", "a\"b\\c".into())], &mut host).await.unwrap();
        ran(&on_down, &[("user", "Žofie".into())], &mut host).await.unwrap();
        let said: Vec<serde_json::Value> = host
            .sent
            .iter()
            .map(|sent| serde_json::from_str(sent.data.as_deref().unwrap()).unwrap())
            .collect();
        let boot = "2026-11-20-09:00:00-5m3s";
        let up = serde_json::json!({"user": "a\"b\\c", "status": "online", "boot": boot, "seq": 1});
        let down = serde_json::json!({"user": "Žofie", "status": "offline", "boot": boot, "seq": 2});
        assert_eq!(said, [up, down]);
        let bearer = ("Authorization".to_owned(), "Bearer mwr_abc".to_owned());
        assert!(host.sent.iter().all(|sent| sent.url == URL && sent.headers.contains(&bearer)));
        assert_eq!(host.sent[0].method.as_deref(), Some("post"));
        assert!(host.log.is_empty());
    }

    #[tokio::test]
    async fn a_script_tries_three_times_and_then_leaves_a_line_in_the_log() {
        let text = pusher().netwatch("ap-17", Says::Down);
        let mut host = Notebook { fails: 2, ..Notebook::default() };
        ran(&text, &[], &mut host).await.unwrap();
        assert_eq!((host.sent.len(), host.waited), (1, Duration::from_secs(6)));
        host.fails = 3;
        ran(&text, &[], &mut host).await.unwrap();
        assert_eq!((host.sent.len(), host.waited), (1, Duration::from_secs(12)));
        let lost = "warning: mastwatch: could not say that ap-17 is down";
        assert_eq!(host.log, [lost, "warning: mastwatch: there is no place to keep it"]);
        let said: serde_json::Value = serde_json::from_str(host.sent[0].data.as_deref().unwrap()).unwrap();
        assert_eq!(
            (&said["id"], &said["status"], &said["seq"]),
            (&"ap-17".into(), &"down".into(), &1.into())
        );
    }

    #[tokio::test]
    async fn what_a_device_is_called_cannot_break_its_script() {
        let text = pusher().netwatch("a\"; :log info \"$b\\", Says::Up);
        let mut host = Notebook::default();
        ran(&text, &[], &mut host).await.unwrap();
        let said: serde_json::Value = serde_json::from_str(host.sent[0].data.as_deref().unwrap()).unwrap();
        assert_eq!(said["id"], "a\"; :log info \"$b\\");
    }

    #[tokio::test]
    async fn the_running_script_names_the_line_of_its_error() {
        let known = [
            (":local a 1\n:set b 2", 2, "`b` was never declared"),
            (":local a\n\n:if ($a) do={}", 3, "neither true nor false"),
            (":local a (1 + \"x\")", 1, "`x` is no number"),
            (":delay soon", 1, "`soon` is no length of time"),
            (":local i 0\n:while (true) do={\n:set i ($i + 1)\n}", 2, "stopped after"),
            ("/tool fetch url=\"x\" output=file", 1, "`output` must be"),
            (":do {\n:local x [/interface get 1 name]\n}", 2, "no such item"),
            ("\n/tool fetch url=x", 2, "connection timeout"),
            (":local a \"12345678\"\n:while (true) do={ :set a ($a . $a) }", 2, "are allowed"),
        ];
        for (text, line, part) in known {
            let mut host = Notebook { fails: 1, ..Notebook::default() };
            let error = ran(text, &[], &mut host).await.unwrap_err();
            assert!(error.line == line && error.what.contains(part), "{text}: {error}");
        }
    }

    #[tokio::test]
    async fn values_are_reckoned_as_a_router_does() {
        let mut host = Notebook::default();
        let text = ":local a \"h\\$llo\"\n:local n 2; :local $\"x\" 1"
            .replace(":local $\"x\" 1", ":local m ($n - 3)");
        let text = text
            + "\n:log info \"$a $n\" ; :log info ($m . [:pick $a 0 2] . [:pick $a 4] . [:len $a])"
            + "\n:if (($n >= 2) && (!($m = 1))) do={ :log debug yes } else={ :log debug no }"
            + "\n:if (($n != 2) || ($m > 0)) do={ :log debug yes } else={ :log debug no }"
            + "\n:do { :local g 1; :set g ($g . [/interface get 9 name]) } on-error={ :log error caught }"
            + "\n:log info $\"caller-id\"";
        ran(&text, &[("caller-id", "AA".into())], &mut host).await.unwrap();
        assert_eq!(
            host.log,
            ["info: h$llo 2", "info: -1h$o5", "debug: true", "debug: false", "error: caught", "info: AA"]
        );
    }
}
