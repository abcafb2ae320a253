//! `/user`: who may log in, and what his group lets him do.

use routeros_api::value;

use super::{Asked, Menu};
use crate::network::RouterIndex;
use crate::router::table::{Column, Form};
use crate::router::{Attributes, Refusal, Row};
use crate::state::State;

/// Every menu of this family.
pub(super) const MENUS: &[&dyn Menu] = &[&Active, &ACCOUNTS, &GROUPS];

/// `/user/active`.
struct Active;

/// `/user`.
pub(crate) const ACCOUNTS: Form = Form {
    path: "/user",
    noun: "user",
    columns: &[
        Column::text("name"),
        Column::text("group"),
        Column::text("address"),
        Column::hidden("password"),
        Column::truth("disabled"),
        Column::text("comment"),
    ],
    required: &["name", "group"],
    unique: &["name"],
    taken: "failure: user with the same name already exists",
    flags: &["disabled"],
};

/// `/user/group`.
pub(crate) const GROUPS: Form = Form {
    path: "/user/group",
    noun: "group",
    columns: &[Column::text("name"), Column::policies("policy"), Column::text("comment")],
    required: &["name"],
    unique: &["name"],
    taken: "failure: group with the same name already exists",
    flags: &[],
};

/// What a group may let its members do, in the order in which a router lists it.
pub(crate) const POLICIES: [&str; 17] = [
    "local",
    "telnet",
    "ssh",
    "ftp",
    "reboot",
    "read",
    "write",
    "policy",
    "test",
    "winbox",
    "password",
    "web",
    "sniff",
    "sensitive",
    "api",
    "romon",
    "rest-api",
];

/// The groups every router has, and what they lack. Source: `/user/group` of a router as shipped.
pub(crate) const BUILT_IN: [(&str, &[&str]); 3] =
    [("read", &["ftp", "write", "policy"]), ("write", &["ftp", "policy"]), ("full", &[])];

/// What somebody needs for a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Policy {
    /// To look.
    Read,
    /// To change.
    Write,
    /// To change users and groups.
    Grant,
    /// To ping.
    Test,
    /// To log in here.
    Api,
    /// To see passwords.
    Sensitive,
}

impl Policy {
    fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// What somebody may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rights(u8);

impl Rights {
    /// Nothing.
    pub const NONE: Self = Self(0);

    fn of(policies: &str) -> Self {
        let named = [
            ("read", Policy::Read),
            ("write", Policy::Write),
            ("policy", Policy::Grant),
            ("test", Policy::Test),
            ("api", Policy::Api),
            ("sensitive", Policy::Sensitive),
        ];
        let has = |name: &str| policies.split(',').any(|policy| policy == name);
        let bits = named.iter().filter(|(name, _)| has(name));
        Self(bits.fold(0, |bits, (_, policy)| bits | policy.bit()))
    }

    /// Whether that is among them.
    pub(crate) fn has(self, policy: Policy) -> bool {
        self.0 & policy.bit() != 0
    }

    /// Refuses who lacks it.
    pub(crate) fn need(self, policy: Policy) -> Result<(), Refusal> {
        if self.has(policy) { Ok(()) } else { Err(Refusal::not_permitted()) }
    }
}

impl State {
    /// Gives a router its groups, and the one user that the network file names.
    pub(crate) fn place_users(&mut self, router: RouterIndex) {
        let plan = self.network.router(router).clone();
        for (group, lacks) in BUILT_IN {
            let has: Vec<&str> = POLICIES.into_iter().filter(|policy| !lacks.contains(policy)).collect();
            let group = Attributes::from(&[("name", group), ("policy", &has.join(","))]);
            self.place(router, &GROUPS, &group);
        }
        let account = [("name", &*plan.user), ("group", &*plan.habits.group), ("password", &plan.password)];
        self.place(router, &ACCOUNTS, &Attributes::from(&account));
    }

    /// The password of a user who may log in.
    pub(crate) fn password(&self, router: RouterIndex, user: &str) -> Option<String> {
        let table = self.routers[router.at()].tables.get(ACCOUNTS.path)?;
        let (_, row) = table.find("name", user)?;
        let is_on = row.get("disabled") != Some("true") && self.rights(router, user).has(Policy::Api);
        is_on.then(|| row.get("password").unwrap_or_default().to_owned())
    }

    /// What a user may do.
    pub(crate) fn rights(&self, router: RouterIndex, user: &str) -> Rights {
        let tables = &self.routers[router.at()].tables;
        let policies = self.group(router, user).and_then(|group| {
            let (_, row) = tables.get(GROUPS.path)?.find("name", &group)?;
            row.get("policy")
        });
        policies.map_or(Rights::NONE, Rights::of)
    }

    /// Puts a user into another group, for who plays with the lab.
    pub(crate) fn regroup(&mut self, router: RouterIndex, user: &str, group: &str) -> Result<(), Refusal> {
        let table = self.routers[router.at()].tables.get(ACCOUNTS.path);
        let id = table.and_then(|table| Some(table.find("name", user)?.0)).ok_or_else(Refusal::no_item)?;
        if self.routers[router.at()]
            .tables
            .get(GROUPS.path)
            .is_none_or(|table| table.find("name", group).is_none())
        {
            return Err(Refusal::argument("input does not match any value of group"));
        }
        ACCOUNTS.set(self, router, id, &Attributes::single("group", group))
    }

    /// The group of a user.
    pub(crate) fn group(&self, router: RouterIndex, user: &str) -> Option<String> {
        let (_, row) = self.routers[router.at()].tables.get(ACCOUNTS.path)?.find("name", user)?;
        row.get("group").map(str::to_owned)
    }
}

impl Menu for Active {
    fn path(&self) -> &'static str {
        "/user/active"
    }

    fn noun(&self) -> &'static str {
        "session"
    }

    fn rows(&self, state: &State, router: RouterIndex, _rights: super::Rights) -> Vec<Row> {
        let this = &state.routers[router.at()];
        let row =
            |(id, (name, address, when)): (&u32, &(String, std::net::IpAddr, crate::clock::SimTime))| {
                let mut row = Row::of(*id);
                row.put("when", state.stamp(router, *when));
                row.put("name", name);
                row.put("address", address.to_string());
                row.put("via", "api");
                row.put_if("group", state.group(router, name).unwrap_or_default());
                row
            };
        this.users.iter().map(row).collect()
    }
}

/// A list of policies as a router shows it: those denied with `!` where `whole`, else only those that are.
///
/// # Errors
///
/// When one of them is none.
pub(crate) fn policies(name: &str, text: &str, whole: bool) -> Result<String, Refusal> {
    let words: Vec<&str> = text.split(',').map(str::trim).filter(|word| !word.is_empty()).collect();
    if words.iter().any(|word| !POLICIES.contains(&word.trim_start_matches('!'))) {
        let name = value::printable(name.as_bytes(), 64);
        return Err(Refusal::argument(format!("input does not match any value of {name}")));
    }
    let shown = POLICIES.iter().filter_map(|policy| match (words.contains(policy), whole) {
        (true, _) => Some((*policy).to_owned()),
        (false, true) => Some(format!("!{policy}")),
        (false, false) => None,
    });
    Ok(shown.collect::<Vec<_>>().join(","))
}

impl State {
    /// Adds a row that was there before the lab began.
    pub(crate) fn place(&mut self, router: RouterIndex, menu: &dyn Menu, attributes: &Attributes) -> u32 {
        let asked = Asked { attributes, user: "admin" };
        menu.add(self, router, &asked).expect("what a router is shipped with fits into it")
    }
}
