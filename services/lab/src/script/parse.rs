//! Text to statements.

use super::ScriptError;

/// Blocks and parentheses inside one another.
const DEPTH_MAX: u32 = 32;
/// The longest text that is read as a script: what `:execute` takes on a router.
const TEXT_BYTES_MAX: usize = 64 << 10;

/// A script that can be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script(pub(super) Block);

pub(super) type Block = Vec<Statement>;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Statement {
    pub(super) line: u32,
    pub(super) does: Does,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Does {
    Local {
        name: String,
        value: Option<Expr>,
    },
    Global {
        name: String,
        value: Option<Expr>,
    },
    Set {
        name: String,
        value: Expr,
    },
    If {
        condition: Expr,
        then: Block,
        otherwise: Block,
    },
    While {
        condition: Expr,
        body: Block,
    },
    Do {
        body: Block,
        on_error: Option<Block>,
    },
    Delay(Expr),
    Log {
        level: String,
        message: Expr,
    },
    Fetch(Vec<(String, Expr)>),
    /// `/system script set item source=value`.
    SetSource {
        script: Expr,
        source: Expr,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Expr {
    Text(String),
    /// A word without quotes: a number, `true`, `false`, or text.
    Word(String),
    Variable(String),
    /// Quoted text with variables in it.
    Joined(Vec<Expr>),
    Not(Box<Expr>),
    /// The first, and then each operator with its right side, from left to right.
    Chain(Box<Expr>, Operator, Vec<Expr>),
    Length(Box<Expr>),
    Pick {
        from: Box<Expr>,
        start: Box<Expr>,
        end: Option<Box<Expr>>,
    },
    /// `[/menu get item property]`.
    Get {
        menu: String,
        item: Option<Box<Expr>>,
        property: String,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    Join,
    Add,
    Subtract,
    Equal,
    Unequal,
    Less,
    Greater,
    AtMost,
    AtLeast,
    And,
    Or,
}

const OPERATORS: [(&str, Operator); 11] = [
    ("&&", Operator::And),
    ("||", Operator::Or),
    ("!=", Operator::Unequal),
    ("<=", Operator::AtMost),
    (">=", Operator::AtLeast),
    ("=", Operator::Equal),
    ("<", Operator::Less),
    (">", Operator::Greater),
    (".", Operator::Join),
    ("+", Operator::Add),
    ("-", Operator::Subtract),
];

/// Reads a script.
///
/// # Errors
///
/// [`ScriptError`] for the first thing that is not of the language, with its line.
pub fn parse(text: &str) -> Result<Script, ScriptError> {
    let mut parser = Parser { rest: text, line: 1, depth: 0 };
    if text.len() > TEXT_BYTES_MAX {
        return Err(parser.wrong(format!("a script of {} bytes; {TEXT_BYTES_MAX} are allowed", text.len())));
    }
    let block = parser.block(false)?;
    Ok(Script(block))
}

struct Parser<'a> {
    rest: &'a str,
    line: u32,
    depth: u32,
}

type Parsed<T> = Result<T, ScriptError>;

impl Parser<'_> {
    fn wrong(&self, what: impl Into<String>) -> ScriptError {
        ScriptError { line: self.line, what: what.into() }
    }

    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.rest = &self.rest[c.len_utf8()..];
        if c == '\n' {
            self.line += 1;
        }
        Some(c)
    }

    fn take(&mut self, text: &str) -> bool {
        match self.rest.strip_prefix(text) {
            Some(rest) => {
                self.line += text.matches('\n').count() as u32;
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn shown(&self) -> String {
        let end = self.rest.find([' ', '\n', '\r', ';']).unwrap_or(self.rest.len());
        let shown: String = self.rest[..end].chars().take(40).collect();
        if shown.is_empty() { "the end of the line".to_owned() } else { format!("`{shown}`") }
    }

    fn expect(&mut self, text: &str, after: &str) -> Parsed<()> {
        if self.take(text) {
            return Ok(());
        }
        Err(self.wrong(format!("`{text}` belongs after {after}, not {}", self.shown())))
    }

    /// Blanks within a line, and line ends that are escaped.
    fn blanks(&mut self) {
        while self.take(" ") || self.take("\t") || self.take("\\\n") || self.take("\\\r\n") {}
    }

    /// Everything between statements.
    fn between(&mut self) {
        loop {
            self.blanks();
            if self.take("\r") || self.take("\n") || self.take(";") {
                continue;
            }
            if self.peek() != Some('#') {
                return;
            }
            while self.peek().is_some_and(|c| c != '\n') {
                self.next();
            }
        }
    }

    fn deeper<T>(&mut self, parse: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(self.wrong(format!("more than {DEPTH_MAX} blocks inside one another")));
        }
        let parsed = parse(self);
        self.depth -= 1;
        parsed
    }

    fn block(&mut self, closed: bool) -> Parsed<Block> {
        let opened = self.line;
        let mut statements = Vec::new();
        loop {
            self.between();
            match self.peek() {
                None if closed => {
                    return Err(self.wrong(format!("the block that line {opened} opens is not closed")));
                }
                None => return Ok(statements),
                Some('}') if closed => {
                    self.next();
                    return Ok(statements);
                }
                Some(_) => {
                    let line = self.line;
                    let does = self.statement()?;
                    statements.push(Statement { line, does });
                    self.blanks();
                    if !matches!(self.peek(), None | Some(';' | '\n' | '\r' | '}')) {
                        return Err(self.wrong(format!("the statement should end before {}", self.shown())));
                    }
                }
            }
        }
    }

    fn braces(&mut self) -> Parsed<Block> {
        self.expect("{", "`=` or `:do`")?;
        self.deeper(|parser| parser.block(true))
    }

    fn name(&mut self) -> Parsed<String> {
        self.blanks();
        let end = self.rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(self.rest.len());
        if end == 0 || !self.rest.starts_with(|c: char| c.is_ascii_alphabetic()) {
            return Err(
                self.wrong(format!("a variable's name (letters and digits) belongs before {}", self.shown()))
            );
        }
        let name = self.rest[..end].to_owned();
        self.rest = &self.rest[end..];
        Ok(name)
    }

    fn ends_here(&mut self) -> bool {
        self.blanks();
        matches!(self.peek(), None | Some(';' | '\n' | '\r' | '}'))
    }

    fn statement(&mut self) -> Parsed<Does> {
        if self.take("/tool fetch") {
            return self.fetch();
        }
        if self.take("/system script set ") {
            let script = self.item()?;
            self.blanks();
            self.expect("source=", "the script")?;
            return Ok(Does::SetSource { script, source: self.value()? });
        }
        if !self.take(":") {
            return Err(self.wrong(format!("{} is no command of this language", self.shown())));
        }
        let end = self.rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(self.rest.len());
        let command = &self.rest[..end];
        let wrong = self.wrong(format!("`:{command}` is no command of this language"));
        let command = command.to_owned();
        self.rest = &self.rest[end..];
        match command.as_str() {
            "local" => {
                let name = self.name()?;
                let value = if self.ends_here() { None } else { Some(self.value()?) };
                Ok(Does::Local { name, value })
            }
            "global" => {
                let name = self.name()?;
                let value = if self.ends_here() { None } else { Some(self.value()?) };
                Ok(Does::Global { name, value })
            }
            "set" => {
                let name = self.name()?;
                self.blanks();
                Ok(Does::Set { name, value: self.value()? })
            }
            "if" => {
                let condition = self.condition()?;
                self.expect("do=", "the condition")?;
                let then = self.braces()?;
                self.blanks();
                let otherwise = if self.take("else=") { self.braces()? } else { Vec::new() };
                Ok(Does::If { condition, then, otherwise })
            }
            "while" => {
                let condition = self.condition()?;
                self.expect("do=", "the condition")?;
                Ok(Does::While { condition, body: self.braces()? })
            }
            "do" => {
                self.blanks();
                let body = self.braces()?;
                self.blanks();
                let on_error = if self.take("on-error=") { Some(self.braces()?) } else { None };
                Ok(Does::Do { body, on_error })
            }
            "delay" => {
                self.blanks();
                Ok(Does::Delay(self.value()?))
            }
            "log" => {
                self.blanks();
                let level = ["info", "warning", "error", "debug"].into_iter().find(|level| self.take(level));
                let Some(level) = level else {
                    return Err(self.wrong(format!(
                        "`info`, `warning`, `error` or `debug` belongs after `:log`, not {}",
                        self.shown()
                    )));
                };
                self.blanks();
                Ok(Does::Log { level: level.to_owned(), message: self.value()? })
            }
            _ => Err(wrong),
        }
    }

    fn condition(&mut self) -> Parsed<Expr> {
        self.blanks();
        if self.peek() != Some('(') {
            return Err(self.wrong(format!("a condition in parentheses belongs before {}", self.shown())));
        }
        let condition = self.value()?;
        self.blanks();
        Ok(condition)
    }

    fn fetch(&mut self) -> Parsed<Does> {
        /// What versions 6 and 7 both know; any other would stop the whole script on one of them.
        const KNOWN: [&str; 6] =
            ["url", "http-method", "http-data", "http-header-field", "check-certificate", "output"];
        let mut arguments: Vec<(String, Expr)> = Vec::new();
        while !self.ends_here() {
            let end = self.rest.find(['=', ' ', '\n']).unwrap_or(self.rest.len());
            let name = self.rest[..end].to_owned();
            if !KNOWN.contains(&name.as_str()) {
                return Err(
                    self.wrong(format!("`/tool fetch` has no `{name}` that versions 6 and 7 both know"))
                );
            }
            if arguments.iter().any(|(known, _)| *known == name) {
                return Err(self.wrong(format!("`{name}` is given twice")));
            }
            self.rest = &self.rest[end..];
            self.expect("=", &format!("`{name}`"))?;
            arguments.push((name, self.value()?));
        }
        if !arguments.iter().any(|(name, _)| name == "url") {
            return Err(self.wrong("`/tool fetch` needs a `url`"));
        }
        Ok(Does::Fetch(arguments))
    }

    fn value(&mut self) -> Parsed<Expr> {
        match self.peek() {
            Some('"') => {
                self.next();
                self.quoted()
            }
            Some('$') => {
                self.next();
                self.variable()
            }
            Some('(') => {
                self.next();
                self.deeper(Self::chain)
            }
            Some('[') => {
                self.next();
                self.deeper(Self::command)
            }
            Some(_) | None => self.word(),
        }
    }

    fn word(&mut self) -> Parsed<Expr> {
        let part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '/' | ':' | '*');
        let end = self.rest.find(|c: char| !part(c)).unwrap_or(self.rest.len());
        if end == 0 {
            return Err(self.wrong(format!("a value belongs before {}", self.shown())));
        }
        let word = self.rest[..end].to_owned();
        self.rest = &self.rest[end..];
        Ok(Expr::Word(word))
    }

    fn variable(&mut self) -> Parsed<Expr> {
        if !self.take("\"") {
            return self.name().map(Expr::Variable);
        }
        let Some(end) = self.rest.find(['"', '\n']).filter(|end| self.rest[*end..].starts_with('"')) else {
            return Err(self.wrong("the quoted name of a variable is not closed"));
        };
        let name = self.rest[..end].to_owned();
        self.rest = &self.rest[end + 1..];
        Ok(Expr::Variable(name))
    }

    fn quoted(&mut self) -> Parsed<Expr> {
        let opened = self.line;
        let mut parts = Vec::new();
        let mut text = String::new();
        loop {
            match self.next() {
                None => return Err(self.wrong(format!("the text that line {opened} opens is not closed"))),
                Some('"') => break,
                Some('$') => {
                    if matches!(self.peek(), Some('[' | '(')) {
                        return Err(
                            self.wrong("`$[` and `$(` in a text are not of this language: join with `.`")
                        );
                    }
                    parts.push(Expr::Text(std::mem::take(&mut text)));
                    parts.push(self.variable()?);
                }
                Some('\\') => text.push(self.escape()?),
                Some(c) => text.push(c),
            }
        }
        if parts.is_empty() {
            return Ok(Expr::Text(text));
        }
        parts.push(Expr::Text(text));
        Ok(Expr::Joined(parts))
    }

    fn escape(&mut self) -> Parsed<char> {
        match self.next() {
            Some(c @ ('"' | '\\' | '$')) => Ok(c),
            Some('n') => Ok('\n'),
            Some('r') => Ok('\r'),
            Some('t') => Ok('\t'),
            Some('_') => Ok(' '),
            Some(high @ ('0'..='9' | 'A'..='F')) => {
                let low = self.next().and_then(|low| low.to_digit(16));
                match (high.to_digit(16), low) {
                    (Some(high), Some(low)) if high < 8 => Ok(char::from((high * 16 + low) as u8)),
                    _ => Err(self.wrong(format!("`\\{high}` needs a second upper-case hexadecimal digit"))),
                }
            }
            Some(c) => Err(self.wrong(format!("`\\{}` is no escape", c.escape_default()))),
            None => Err(self.wrong("the text ends after a backslash")),
        }
    }

    /// What stands inside parentheses, with the closing one.
    fn chain(&mut self) -> Parsed<Expr> {
        self.blanks();
        if self.take("!") {
            self.blanks();
            let denied = self.value()?;
            self.blanks();
            self.expect(")", "what `!` denies")?;
            return Ok(Expr::Not(Box::new(denied)));
        }
        let first = self.value()?;
        let mut chain: Option<(Operator, Vec<Expr>)> = None;
        loop {
            self.blanks();
            if self.take(")") {
                return Ok(match chain {
                    None => first,
                    Some((operator, others)) => Expr::Chain(Box::new(first), operator, others),
                });
            }
            if matches!(self.peek(), None | Some('\n' | '\r')) {
                return Err(self.wrong("the line ends inside parentheses"));
            }
            let found = OPERATORS.iter().find(|(sign, _)| self.take(sign));
            let Some((sign, operator)) = found else {
                return Err(self.wrong(format!("an operator belongs before {}", self.shown())));
            };
            self.blanks();
            let right = self.value()?;
            match &mut chain {
                None => chain = Some((*operator, vec![right])),
                Some((before, others))
                    if before == operator
                        && matches!(
                            operator,
                            Operator::Join | Operator::Add | Operator::And | Operator::Or
                        ) =>
                {
                    others.push(right);
                }
                Some(_) => {
                    return Err(self.wrong(format!("put parentheses around what stands before `{sign}`")));
                }
            }
        }
    }

    /// What stands inside brackets, with the closing one.
    fn command(&mut self) -> Parsed<Expr> {
        self.blanks();
        let parsed = if self.take(":len ") {
            self.blanks();
            Expr::Length(Box::new(self.value()?))
        } else if self.take(":pick ") {
            self.blanks();
            let from = Box::new(self.value()?);
            self.blanks();
            let start = Box::new(self.value()?);
            self.blanks();
            let end = if self.peek() == Some(']') { None } else { Some(Box::new(self.value()?)) };
            Expr::Pick { from, start, end }
        } else if self.peek() == Some('/') {
            self.get()?
        } else {
            return Err(self.wrong(format!("{} is no command of this language", self.shown())));
        };
        self.blanks();
        self.expect("]", "the command")?;
        Ok(parsed)
    }

    /// Which item is meant: its id or name, or `[find name=…]`.
    fn item(&mut self) -> Parsed<Expr> {
        self.blanks();
        if !self.take("[find name=") {
            return self.value();
        }
        let name = self.value()?;
        self.blanks();
        self.expect("]", "the name")?;
        Ok(name)
    }

    fn get(&mut self) -> Parsed<Expr> {
        /// Menus that can be read, and whether an item is named.
        const MENUS: [(&str, bool); 5] = [
            ("/system script get ", true),
            ("/system resource get ", false),
            ("/system clock get ", false),
            ("/system identity get ", false),
            ("/interface get ", true),
        ];
        let Some((menu, named)) = MENUS.into_iter().find(|(menu, _)| self.take(menu)) else {
            return Err(self.wrong(format!("{} cannot be read in this language", self.shown())));
        };
        self.blanks();
        let item = if named { Some(Box::new(self.item()?)) } else { None };
        self.blanks();
        let Expr::Word(property) = self.word()? else {
            return Err(self.wrong("a property belongs after `get`"));
        };
        Ok(Expr::Get { menu: menu.trim_end_matches(" get ").to_owned(), item, property })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(text: &str, line: u32, part: &str) {
        let error = parse(text).unwrap_err();
        assert_eq!(error.line, line, "{error}");
        assert!(error.what.contains(part), "{error}");
    }

    #[test]
    fn what_is_not_of_the_language_is_refused_with_its_line() {
        refused(":local a 1\n:foreach i in=$a do={}", 2, "`:foreach` is no command");
        refused("# one\n\n/ip address add address=1", 3, "`/ip` is no command");
        refused(":local a (1 + 2 - 3)", 1, "put parentheses around what stands before `-`");
        refused(":local a\n:set a (1 +\n 2)", 2, "a value belongs before the end of the line");
        refused(":local a\n:set a (1\n + 2)", 2, "the line ends inside parentheses");
        refused(":if ($a = 1) do={\n:delay 1s\n", 3, "the block that line 1 opens is not closed");
        refused(":local a \"open\n\n", 3, "the text that line 1 opens is not closed");
        refused("/tool fetch url=$u idle-timeout=3s", 1, "no `idle-timeout`");
        refused(":do {\n  /tool fetch http-method=post\n}", 2, "needs a `url`");
        refused(":local a [:typeof 1]", 1, "`:typeof` is no command");
        refused(":local a [/ip address get 1]", 1, "`/ip` cannot be read");
        refused(":local a 1 2", 1, "should end before `2`");
        refused(":log shout \"x\"", 1, "`info`, `warning`");
        refused(":local a \"\\q\"", 1, "`\\q` is no escape");
        refused(":local a-b 1", 1, "should end before `1`");
        refused("}", 1, "no command");
        refused(&":do {".repeat(100), 1, "blocks inside one another");
        refused(&"#".repeat(70_000), 1, "a script of 70000 bytes");
    }

    #[test]
    fn statements_end_at_line_ends_and_semicolons_and_a_backslash_joins_lines() {
        let script = parse("# first\r\n:local a 1; :local b 2\r\n:set a \\\r\n 3").unwrap();
        assert_eq!(script.0.iter().map(|s| s.line).collect::<Vec<_>>(), [2, 2, 3]);
    }
}
