//! The scripts mastwatch places on routers.
//!
//! One text for RouterOS 6.45 and later. Each says one fact to ingest, with the router's boot and a
//! number that rises with everything the router says in that boot. Both are variables of the user
//! that hooks run as, so they are forgotten exactly when the router restarts. What cannot be sent in
//! three tries is kept in the source of the script [`PARKED`], for [`Pusher::drain`] to say later:
//! hooks may not write files, and the scheduler runs as another user and sees none of their variables.
//!
//! The texts are the files beside this one. They use only what versions 6 and 7 both know: an unknown
//! parameter of `/tool fetch` stops the whole script before its first line.

use std::fmt;

const PPP: &str = include_str!("scripts/ppp.rsc");
const NETWATCH: &str = include_str!("scripts/netwatch.rsc");
const LEASE: &str = include_str!("scripts/lease.rsc");
const DRAIN: &str = include_str!("scripts/drain.rsc");

/// The script whose source holds what could not be sent. The texts name it.
pub const PARKED: &str = "mastwatch-parked";

/// What a script says of its thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Says {
    /// `up`, or `online` of a session.
    Up,
    /// `down`, or `offline` of a session.
    Down,
}

impl Says {
    /// As it is said of a device, and in the signals API.
    pub fn of_device(self) -> &'static str {
        match self {
            Says::Up => "up",
            Says::Down => "down",
        }
    }

    /// As it is said of a session.
    pub fn of_session(self) -> &'static str {
        match self {
            Says::Up => "online",
            Says::Down => "offline",
        }
    }
}

/// Where the scripts of one router push to, and as whom.
#[derive(Clone, PartialEq, Eq)]
pub struct Pusher {
    /// The address of ingest as the router reaches it, before `/api/…`, without a slash at its end.
    pub url: String,
    /// The router's bearer token.
    pub token: String,
    /// Whether the router looks at the server's certificate: its trust store must hold the issuer.
    pub checks_certificate: bool,
}

impl fmt::Debug for Pusher {
    /// Without the token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pusher").field("url", &self.url).finish_non_exhaustive()
    }
}

impl Pusher {
    /// Our lines in the on-up or on-down script of a PPP profile.
    pub fn session(&self, says: Says) -> String {
        self.filled(PPP, "", says)
    }

    /// The up or down script of the netwatch entry for `thing`, a device's id in the network file.
    pub fn netwatch(&self, thing: &str, says: Says) -> String {
        // Once for the script, and before that once for the JSON text inside it.
        let thing = thing.replace('\\', "\\\\").replace('"', "\\\"");
        self.filled(NETWATCH, &thing, says)
    }

    /// Our lines in the lease script of a DHCP server. It says `bound` and `unbound` by itself.
    pub fn lease(&self) -> String {
        self.filled(LEASE, "", Says::Up)
    }

    /// What the scheduler runs to say what was kept in [`PARKED`].
    pub fn drain(&self) -> String {
        self.filled(DRAIN, "", Says::Up)
    }

    fn filled(&self, template: &str, thing: &str, says: Says) -> String {
        let mut text = String::with_capacity(template.len() + 200);
        let mut rest = template;
        while let Some(start) = rest.find('%') {
            text.push_str(&rest[..start]);
            let name = &rest[start + 1..];
            let end = name.find('%').expect("a placeholder in a template is closed");
            match &name[..end] {
                "URL" => text.push_str(&quoted(&self.url)),
                "TOKEN" => text.push_str(&quoted(&self.token)),
                "ID" => text.push_str(&quoted(thing)),
                // A netwatch entry is about a device, whose two words are the same everywhere.
                "STATUS" if template == NETWATCH => text.push_str(says.of_device()),
                "STATUS" => text.push_str(says.of_session()),
                "SAYS" => text.push_str(says.of_device()),
                "CHECK" => text.push_str(if self.checks_certificate { "yes" } else { "no" }),
                other => unreachable!("the templates have no placeholder `{other}`"),
            }
            rest = &name[end + 1..];
        }
        text.push_str(rest);
        text
    }
}

/// Whether a line stands in one of the texts that share a script with somebody else's lines, whatever
/// stands where a template has a placeholder.
pub(super) fn is_ours(line: &str) -> bool {
    let line = line.trim();
    PPP.lines().chain(LEASE.lines()).any(|known| fits(known.trim(), line))
}

fn fits(template: &str, line: &str) -> bool {
    // Every other part is the name of a placeholder.
    let fixed: Vec<&str> = template.split('%').step_by(2).collect();
    let [first, between @ .., last] = fixed.as_slice() else { return line == template };
    let Some(mut rest) = line.strip_prefix(first) else { return false };
    for part in between {
        let Some(at) = rest.find(*part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

/// A text as it stands between quotes in a script or on a router's command line.
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
