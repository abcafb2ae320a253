//! The scripts mastwatch places on routers.
//!
//! One text for RouterOS 6.45 and later. Each says one fact to ingest, with the router's boot and
//! a number that rises with everything the router says in that boot. Both are variables of the
//! user the scripts run as, so they are forgotten exactly when the router restarts.

/// The script of a PPP profile.
const PPP: &str = include_str!("../../scripts/ppp.rsc");
/// The script of a netwatch entry.
const NETWATCH: &str = include_str!("../../scripts/netwatch.rsc");

/// What a script says of its thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// `up`, or `online` of a session.
    Up,
    /// `down`, or `offline` of a session.
    Down,
}

impl Status {
    /// As it is said of a device.
    pub fn of_device(self) -> &'static str {
        match self {
            Status::Up => "up",
            Status::Down => "down",
        }
    }

    /// As it is said of a session.
    pub fn of_session(self) -> &'static str {
        match self {
            Status::Up => "online",
            Status::Down => "offline",
        }
    }
}

/// The on-up or on-down script of every PPP profile: posts user and status to `url`.
pub fn ppp_script(url: &str, token: &str, status: Status) -> String {
    filled(PPP, url, token, "", status.of_session())
}

/// The up or down script of the netwatch entry for `thing`: posts id and status to `url`.
pub fn netwatch_script(url: &str, token: &str, thing: &str, status: Status) -> String {
    // Once for the script, and before that once for the JSON text inside it.
    let thing = thing.replace('\\', "\\\\").replace('"', "\\\"");
    filled(NETWATCH, url, token, &thing, status.of_device())
}

fn filled(template: &str, url: &str, token: &str, thing: &str, status: &str) -> String {
    let mut text = String::with_capacity(template.len() + 200);
    let mut rest = template;
    while let Some(start) = rest.find('%') {
        text.push_str(&rest[..start]);
        let name = &rest[start + 1..];
        let end = name.find('%').expect("a placeholder in a template is closed");
        match &name[..end] {
            "URL" => text.push_str(&quoted(url)),
            "TOKEN" => text.push_str(&quoted(token)),
            "ID" => text.push_str(&quoted(thing)),
            "STATUS" => text.push_str(status),
            other => unreachable!("the templates have no placeholder `{other}`"),
        }
        rest = &name[end + 1..];
    }
    text.push_str(rest);
    text
}

/// A text as it stands between quotes in a script.
pub fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' | '\\' | '$' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            c if c.is_ascii_control() => quoted.push_str(&format!("\\{:02X}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted
}
