//! What it takes for a router to show what its subscribers are entitled to.
//!
//! A subscriber who dials in and is suspended has a disabled secret and no session: disabling alone ends none.
//! One with a fixed address is put on an address list, for which the operator has a rule. A plan is a PPP profile,
//! an address that is always the same is the secret's, and a rate is a queue of the address.
//!
//! Each subscriber is a [`Step`] of its own, and nobody who is not named is touched: not even a row of ours whose
//! subscriber is not named any more. A secret that the operator made is changed, because it is the only one of its
//! name, but never removed. A user who lives in RADIUS has no secret here: his session is ended, and that the
//! rest is not ours is told.
//!
//! What a session got when it began does not show: so whoever changes a plan remembers the sessions that
//! [end](Step::ends) by it, and hands them in again if he did not come to that.

mod bound;
mod rows;

pub use self::bound::{Bound, Hold};

use crate::plan::{Actual, Change, Menu, Row, Unread, attributes};
use events::{NodeId, Rate, ServiceState};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::IpAddr,
};

/// The address list on which suspended subscribers with a fixed address are.
pub const SUSPENDED: &str = "mastwatch-suspended";

/// The menus that have to be read first.
pub const MENUS: [Menu; 4] = [Menu::Secrets, Menu::AddressLists, Menu::Queues, Menu::Sessions];

/// How a subscriber is connected.
#[derive(Clone, PartialEq, Eq)]
pub enum Access {
    /// He dials in.
    Pppoe {
        /// With this user name.
        user: String,
        /// What he is added with where nobody knows him, and logs in with where somebody does; `None`: he is not
        /// added, and keeps the one he has.
        password: Option<String>,
        /// The address that he always gets; `None`: whatever the router says.
        address: Option<IpAddr>,
    },
    /// He has a fixed address.
    Static(IpAddr),
    /// By neither: nothing can be enforced.
    Unknown,
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Access::Pppoe { .. } => "Pppoe(…)",
            Access::Static(_) => "Static(…)",
            Access::Unknown => "Unknown",
        })
    }
}

/// What one subscriber is to get at a router.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Who.
    pub node: NodeId,
    /// The account in the operator's books.
    pub account: String,
    /// How he is connected.
    pub access: Access,
    /// Whether he is served. One who is released is not named at all.
    pub state: ServiceState,
    /// The PPP profile; `None`: whatever the router says.
    pub profile: Option<String>,
    /// How fast he may be; `None`: he has no queue of ours.
    pub rate: Option<Rate>,
    /// The sessions that were to end when somebody began this before.
    pub ends: Vec<String>,
    /// Whether the password was never written as it is now: a router that shows none is given it once.
    pub is_password_due: bool,
}

/// What of an entitlement is not ours to do at a router.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum NotOurs {
    /// No secret has the user's name: he lives in RADIUS, or nowhere, and nobody gave a password to add one with.
    NoSecret,
    /// The secret was not added by us: it is disabled and stays.
    Secret,
    /// He is known by neither user name nor address.
    NoAccess,
    /// A queue needs an address that is always the same.
    NoAddress,
    /// A row that is not ours stands where ours should.
    Taken {
        /// Where.
        menu: Menu,
        /// Its id.
        by: String,
    },
}

impl fmt::Display for NotOurs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NotOurs::NoSecret => f.write_str(
                "the router has no secret of that user, who lives in RADIUS or nowhere: only his session can be ended",
            ),
            NotOurs::Secret => f.write_str("the user's secret was not added by us: it is disabled and stays"),
            NotOurs::NoAccess => {
                f.write_str("the subscriber is known by neither a PPP user name nor a fixed address")
            }
            NotOurs::NoAddress => f.write_str(
                "a rate needs an address that is always the same: give one, or a profile with a rate",
            ),
            NotOurs::Taken { menu, by } => {
                write!(f, "row {by} of `{}` is not ours and stands where ours should", menu.path())
            }
        }
    }
}

/// What has to change for one subscriber, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Who.
    pub node: NodeId,
    /// The changes; none: the router shows it, as far as it is ours.
    pub changes: Vec<Change>,
    /// Whether he is cut off by them, if only until he dials in again.
    pub cuts: bool,
    /// The sessions that end, by the router's own numbers.
    pub ends: Vec<String>,
    /// What is not ours to do.
    pub not_ours: BTreeSet<NotOurs>,
}

/// What has to change so that `actual` shows what `services` say, one step each, in their order.
///
/// # Errors
///
/// [`Unread`] when one of [`MENUS`] was not read: a menu that was not read is not empty.
pub fn steps(actual: &Actual, services: &[Service]) -> Result<Vec<Step>, Unread> {
    let read = |menu: Menu| actual.rows(menu).ok_or(Unread(menu));
    let by_name = |menu| -> Result<BTreeMap<&str, Vec<&Row>>, Unread> {
        let mut named: BTreeMap<&str, Vec<&Row>> = BTreeMap::new();
        for row in read(menu)?.iter().filter(|row| row.get("dynamic") != "true") {
            named.entry(row.get("name")).or_default().push(row);
        }
        Ok(named)
    };
    let (secrets, sessions) = (by_name(Menu::Secrets)?, by_name(Menu::Sessions)?);
    let lists = rows::Rows::of(Menu::AddressLists, read(Menu::AddressLists)?, &["list", "address"]);
    let queues = rows::Rows::of(Menu::Queues, read(Menu::Queues)?, &["name"]);
    let none: &[&Row] = &[];
    Ok(services
        .iter()
        .map(|service| {
            let mut step = Step::new(service.node);
            let address = match &service.access {
                Access::Pppoe { user, password, address } => {
                    let of_user = |all: &BTreeMap<&str, Vec<&'_ Row>>| all.get(user.as_str()).is_some();
                    let secret = secrets.get(user.as_str()).and_then(|all| all.first()).copied();
                    let dialled = if of_user(&sessions) { sessions[user.as_str()].as_slice() } else { none };
                    step.dialling(service, (user, password.as_deref(), *address), secret, dialled);
                    *address
                }
                Access::Static(address) => {
                    step.listed(service, *address, &lists);
                    Some(*address)
                }
                Access::Unknown => {
                    step.not_ours.insert(NotOurs::NoAccess);
                    return step;
                }
            };
            step.queued(service, address, &queues);
            step
        })
        .collect())
}

/// How many subscribers use a router: sessions, and those with a fixed address of whom we know.
pub fn active_count(actual: &Actual, services: &[Service]) -> usize {
    let fixed = services.iter().filter(|service| matches!(service.access, Access::Static(_))).count();
    actual.rows(Menu::Sessions).map_or(0, <[Row]>::len) + fixed
}

impl Step {
    fn new(node: NodeId) -> Self {
        Self { node, changes: Vec::new(), cuts: false, ends: Vec::new(), not_ours: BTreeSet::new() }
    }

    /// Nothing has to change.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// One who dials in: his secret, then his sessions.
    fn dialling(
        &mut self,
        service: &Service,
        (user, password, address): (&str, Option<&str>, Option<IpAddr>),
        secret: Option<&Row>,
        sessions: &[&Row],
    ) {
        let is_served = service.state == ServiceState::Active;
        let mut wished = attributes([("disabled", if is_served { "no" } else { "yes" })]);
        wished.extend(service.profile.iter().map(|profile| ("profile".to_owned(), profile.clone())));
        wished.extend(address.map(|address| ("remote-address".to_owned(), address.to_string())));
        let mut restarts = false;
        match secret {
            Some(row) if service.state == ServiceState::Ended => {
                if row.key(Menu::Secrets) == Some(service.account.as_str()) {
                    self.changes.push(Change::removal(Menu::Secrets, row));
                    self.cuts = true;
                } else {
                    self.not_ours.insert(NotOurs::Secret);
                    wished.truncate(1);
                    self.set(row, &wished);
                }
            }
            Some(row) => {
                // One that is shown is compared. A session goes on with the one it began with.
                let is_wished = !row.get("password").is_empty() || service.is_password_due;
                if let Some(password) = password.filter(|_| is_wished) {
                    wished.extend(attributes([("password", password)]));
                }
                restarts = self.set(row, &wished);
            }
            // Added here he would be taken out of RADIUS.
            None if sessions.iter().any(|session| session.get("radius") == "true") => {
                self.not_ours.insert(NotOurs::NoSecret);
            }
            None => match (service.state, password) {
                (ServiceState::Active, Some(password)) => {
                    let (_, marker) = Menu::Secrets.marker();
                    let comment = format!("{marker}{}", service.account);
                    let mut row = attributes([("name", user), ("password", password), ("service", "pppoe")]);
                    row.extend(wished);
                    row.extend(attributes([("comment", comment.as_str())]));
                    self.changes.push(Change::Add { menu: Menu::Secrets, attributes: row });
                }
                (ServiceState::Active | ServiceState::Suspended, None) => {
                    self.not_ours.insert(NotOurs::NoSecret);
                }
                // Whom nobody knows cannot dial in.
                (ServiceState::Suspended | ServiceState::Ended | ServiceState::Released, _) => {}
            },
        }
        let ends = |session: &&&Row| !is_served || restarts || service.ends.contains(&number_of(session));
        for session in sessions.iter().filter(ends) {
            self.ends.push(number_of(session));
            self.changes.push(Change::removal(Menu::Sessions, session));
            self.cuts = true;
        }
    }

    /// Sets a secret right; whether a session that began before shows what was so far.
    fn set(&mut self, secret: &Row, wished: &[(String, String)]) -> bool {
        let Some(change) = Change::setting(Menu::Secrets, secret, wished) else { return false };
        let changed = change.attributes();
        self.cuts |= changed.contains(&("disabled", "yes"));
        let restarts = changed.iter().any(|(name, _)| matches!(*name, "profile" | "remote-address"));
        self.changes.push(change);
        restarts
    }

    /// One with a fixed address: on the list while he is suspended.
    fn listed(&mut self, service: &Service, address: IpAddr, lists: &rows::Rows<'_>) {
        let address = address.to_string();
        let row = attributes([("list", SUSPENDED), ("address", address.as_str()), ("disabled", "no")]);
        let wished = (service.state == ServiceState::Suspended).then_some(row);
        let adds = lists.one(&service.account, wished.as_deref(), self);
        self.cuts |= adds;
    }

    /// His queue, while he is served or may be again.
    fn queued(&mut self, service: &Service, address: Option<IpAddr>, queues: &rows::Rows<'_>) {
        let rate = service.rate.filter(|_| service.state != ServiceState::Ended);
        if rate.is_some() && address.is_none() {
            self.not_ours.insert(NotOurs::NoAddress);
        }
        let wished = rate.zip(address).map(|(rate, address)| {
            let limit = format!("{}/{}", rate.up_bps, rate.down_bps);
            let (name, target) = (format!("mastwatch-{}", service.account), address.to_string());
            attributes([("name", &*name), ("target", &*target), ("max-limit", &*limit), ("disabled", "no")])
        });
        queues.one(&service.account, wished.as_deref(), self);
    }
}

/// The number of a session: the router gives the number of a row to another one day.
fn number_of(session: &Row) -> String {
    let number = session.get("session-id");
    if number.is_empty() { session.id.clone() } else { number.to_owned() }
}
