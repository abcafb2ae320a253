//! Which subscribers are connected?

use std::time::Duration;

use super::{Question, Unreadable, required, span, told, told_as};
use crate::command::{Command, Reply};

/// The PPP sessions of a concentrator, all of them or those of one user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PppActive {
    name: Option<String>,
}

impl PppActive {
    /// Every session.
    pub fn all() -> Self {
        Self { name: None }
    }

    /// The sessions of the user called `name`. There may be several, for a moment or on purpose.
    pub fn of(name: impl Into<String>) -> Self {
        Self { name: Some(name.into()) }
    }
}

/// One PPP session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PppSession {
    /// The user.
    pub name: String,
    /// The item's id, which a reboot changes.
    pub id: Option<String>,
    /// `pppoe`, `l2tp` and so on.
    pub service: Option<String>,
    /// The address given to the subscriber.
    pub address: Option<String>,
    /// Where the call comes from: a MAC address for PPPoE.
    pub caller_id: Option<String>,
    /// How long the session has lasted.
    pub uptime: Option<Duration>,
    /// The router's name for this session and no other, such as `0x81F00A2B`.
    pub session_id: Option<String>,
}

impl Question for PppActive {
    type Answer = Vec<PppSession>;

    fn command(&self) -> Command {
        let properties = [".id", "name", "service", "address", "caller-id", "uptime", "session-id"];
        let command = Command::new("/ppp/active/print").proplist(&properties);
        match &self.name {
            Some(name) => command.equal("name", name),
            None => command,
        }
    }

    fn read(&self, reply: &Reply) -> Result<Vec<PppSession>, Unreadable> {
        let session = |row| {
            Ok(PppSession {
                name: required(row, "name")?.into_owned(),
                id: told(row, ".id"),
                service: told(row, "service"),
                address: told(row, "address"),
                caller_id: told(row, "caller-id"),
                uptime: told_as(row, "uptime", span),
                session_id: told(row, "session-id"),
            })
        };
        reply.rows.iter().map(session).collect()
    }
}

/// Which profile each user's secret names. Users that RADIUS knows have none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProfileOfSecrets;

impl Question for ProfileOfSecrets {
    type Answer = Vec<(String, String)>;

    fn command(&self) -> Command {
        Command::new("/ppp/secret/print").proplist(&["name", "profile"])
    }

    /// User and profile; a secret that names no profile is of the one called `default`.
    fn read(&self, reply: &Reply) -> Result<Vec<(String, String)>, Unreadable> {
        let secret = |row| {
            let profile = told(row, "profile").unwrap_or_else(|| "default".to_owned());
            Ok((required(row, "name")?.into_owned(), profile))
        };
        reply.rows.iter().map(secret).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::reply;
    use super::*;

    #[test]
    fn sessions_of_both_versions_are_read() {
        let rows = reply(&[
            &[".id=*8000000A", "name=cust-0042", "service=pppoe", "uptime=3d4h7m12s", "address=100.64.3.9"],
            &["name=cust-0043", "uptime=1w2d03:04:05", "session-id=0x81F00A2B"],
            &["name=cust-0044", "uptime=a while", "caller-id="],
        ]);
        let sessions = PppActive::all().read(&rows).unwrap();
        let uptimes: Vec<Option<u64>> =
            sessions.iter().map(|session| session.uptime.map(|uptime| uptime.as_secs())).collect();
        assert_eq!(uptimes, [Some(274_032), Some(788_645), None]);
        assert_eq!(sessions[0].address.as_deref(), Some("100.64.3.9"));
        assert_eq!(sessions[1].session_id.as_deref(), Some("0x81F00A2B"));
        assert_eq!(sessions[2].caller_id, None);
    }

    #[test]
    fn nobody_connected_is_an_answer_and_a_session_of_nobody_is_not() {
        assert_eq!(PppActive::all().read(&reply(&[])), Ok(vec![]));
        let nameless = PppActive::all().read(&reply(&[&["uptime=1s"]]));
        assert_eq!(nameless, Err(Unreadable::Missing { property: "name" }));
    }

    #[test]
    fn one_user_is_looked_up_by_the_router() {
        let command = PppActive::of("a=b #|").command();
        let queries: Vec<&[u8]> = command.sentence().queries().collect();
        assert_eq!(queries, [b"name=a=b #|"]);
    }
}
