//! What there is to read and to change.

use routeros_api::value;
use routeros_api::wire::Sentence;

use super::query::Query;
use super::table::{FORMS, Form};
use super::{Attributes, Refusal, Row};
use crate::clock::Clock;
use crate::network::RouterIndex;
use crate::state::{Change, LogLine, State};
use crate::version::{Version, duration};
use crate::{netwatch, ppp};

/// A menu that can be printed.
#[derive(Debug, Clone, Copy)]
pub enum Menu {
    /// `/system/identity`.
    Identity,
    /// `/system/resource`.
    Resource,
    /// `/system/clock`.
    Clock,
    /// `/system/routerboard`.
    Routerboard,
    /// `/interface`.
    Interface,
    /// `/user/active`.
    Users,
    /// `/log`.
    Log,
    /// `/ppp/active`.
    Sessions,
    /// `/ppp/secret`.
    Secrets,
    /// `/ppp/profile`.
    Profiles,
    /// `/tool/netwatch`.
    Netwatch,
    /// One that only holds what is put there.
    Table(&'static Form),
}

impl Menu {
    /// The menu at a path.
    pub fn at(path: &str) -> Option<Self> {
        Some(match path {
            "/system/identity" => Menu::Identity,
            "/system/resource" => Menu::Resource,
            "/system/clock" => Menu::Clock,
            "/system/routerboard" => Menu::Routerboard,
            "/interface" => Menu::Interface,
            "/user/active" => Menu::Users,
            "/log" => Menu::Log,
            ppp::ACTIVE => Menu::Sessions,
            ppp::SECRET => Menu::Secrets,
            ppp::PROFILE => Menu::Profiles,
            netwatch::MENU => Menu::Netwatch,
            path => Menu::Table(FORMS.iter().find(|form| form.path == path)?),
        })
    }

    /// Its path.
    pub fn path(self) -> &'static str {
        match self {
            Menu::Identity => "/system/identity",
            Menu::Resource => "/system/resource",
            Menu::Clock => "/system/clock",
            Menu::Routerboard => "/system/routerboard",
            Menu::Interface => "/interface",
            Menu::Users => "/user/active",
            Menu::Log => "/log",
            Menu::Sessions => ppp::ACTIVE,
            Menu::Secrets => ppp::SECRET,
            Menu::Profiles => ppp::PROFILE,
            Menu::Netwatch => netwatch::MENU,
            Menu::Table(form) => form.path,
        }
    }
}

/// What one command is answered, but for the tag.
#[derive(Debug, Default)]
pub struct Answer {
    /// Each `!re`, ready to be tagged.
    pub rows: Vec<Sentence>,
    /// `=ret=` of the end.
    pub ret: Option<String>,
    /// Whether it is one that says `!empty` when it has no rows.
    pub has_rows: bool,
}

/// A `print` or `listen` as it was asked for: which rows, and of them which properties.
#[derive(Debug, Default)]
pub struct View {
    query: Query,
    proplist: Option<Vec<String>>,
}

impl View {
    /// Of a sentence.
    pub fn read(said: &Sentence) -> Result<Self, Refusal> {
        let proplist = said.attribute(".proplist").filter(|list| !list.is_empty());
        let proplist =
            proplist.map(|list| value::text(list).split(',').map(|name| name.trim().to_owned()).collect());
        Ok(Self { query: Query::read(said.queries())?, proplist })
    }

    /// The row as it is seen, or `None` when it is not chosen.
    pub fn of(&self, row: &Row) -> Option<Sentence> {
        self.query.passes(row).then(|| row.sentence(self.proplist.as_deref()))
    }
}

impl State {
    /// Does what reads or changes a menu.
    pub(crate) fn answer(
        &mut self,
        router: RouterIndex,
        menu: Menu,
        verb: &str,
        said: &Sentence,
    ) -> Result<Answer, Refusal> {
        match verb {
            "print" | "getall" => {
                let view = View::read(said)?;
                let rows: Vec<Sentence> =
                    self.rows(router, menu).iter().filter_map(|row| view.of(row)).collect();
                if said.attribute("count-only").is_some() {
                    return Ok(Answer { ret: Some(rows.len().to_string()), ..Answer::default() });
                }
                Ok(Answer { rows, ret: None, has_rows: true })
            }
            "add" => {
                let id = self.add(router, menu, &Attributes::of(said))?;
                Ok(Answer { ret: Some(format!("*{id:X}")), ..Answer::default() })
            }
            "set" => self.change(router, menu, said, &Attributes::of(said)),
            "enable" => self.change(router, menu, said, &Attributes::single("disabled", "no")),
            "disable" => self.change(router, menu, said, &Attributes::single("disabled", "yes")),
            "remove" => {
                for id in self.chosen(router, menu, said)? {
                    self.remove(router, menu, id)?;
                }
                Ok(Answer::default())
            }
            _ => Err(Refusal::no_command()),
        }
    }

    fn rows(&self, router: RouterIndex, menu: Menu) -> Vec<Row> {
        let this = &self.routers[router.at()];
        let now = self.clock.now();
        match menu {
            Menu::Identity => single(&[("name", &this.identity)]),
            Menu::Resource => single(&[
                ("uptime", &duration(this.uptime(now))),
                ("version", this.version.text()),
                ("free-memory", "1811939328"),
                ("total-memory", "2147483648"),
                ("cpu", "ARM64"),
                ("cpu-count", "4"),
                ("cpu-load", &(3 + (now.0.as_secs() / 7 + u64::from(router.0)) % 9).to_string()),
                ("free-hdd-space", "98000000"),
                ("total-hdd-space", "134217728"),
                ("architecture-name", "arm64"),
                ("board-name", "CCR2004-16G-2S+"),
                ("platform", "MikroTik"),
            ]),
            Menu::Clock => {
                let at = self.clock.wall(now);
                let (date, time) = self.date_and_time(router, at);
                single(&[
                    ("time", &time),
                    ("date", &date),
                    ("time-zone-name", "UTC"),
                    ("gmt-offset", "+00:00"),
                ])
            }
            Menu::Routerboard => single(&[
                ("routerboard", "true"),
                ("model", "CCR2004-16G-2S+"),
                ("serial-number", &format!("LAB{:08X}", router.0)),
                ("current-firmware", this.version.text().split(' ').next().unwrap_or_default()),
            ]),
            Menu::Interface => {
                let mut rows = vec![self.uplink_row(router)];
                rows.extend(self.session_interface_rows(router));
                rows
            }
            Menu::Users => {
                let row = |(id, (name, address, when)): (
                    &u32,
                    &(String, std::net::IpAddr, crate::clock::SimTime),
                )| {
                    let mut row = Row::of(*id);
                    row.put("when", this.version.timestamp(self.clock.wall(*when)));
                    row.put("name", name);
                    row.put("address", address.to_string());
                    row.put("via", "api");
                    row.put("group", "full");
                    row
                };
                this.users.iter().map(row).collect()
            }
            Menu::Log => this.log.iter().map(|line| log_row(line, &this.version, &self.clock)).collect(),
            Menu::Sessions => self.session_rows(router),
            Menu::Secrets => self.secret_rows(router),
            Menu::Profiles => self.profile_rows(router),
            Menu::Netwatch => self.netwatch_rows(router),
            Menu::Table(form) => this.tables.get(form.path).map(|table| table.rows(form)).unwrap_or_default(),
        }
    }

    /// The router's date and time of day.
    pub(crate) fn date_and_time(
        &self,
        router: RouterIndex,
        at: chrono::DateTime<chrono::Utc>,
    ) -> (String, String) {
        let stamp = self.routers[router.at()].version.timestamp(at);
        match stamp.split_once(' ') {
            Some((date, time)) => (date.to_owned(), time.to_owned()),
            None => (stamp, String::new()),
        }
    }

    fn uplink_row(&self, router: RouterIndex) -> Row {
        /// Above the ids of everything that is added, below those of sessions.
        const UPLINK_ID: u32 = 0x0fff_ff01;
        let this = &self.routers[router.at()];
        let mut row = Row::of(UPLINK_ID);
        row.put("name", "ether1");
        row.put("default-name", "ether1");
        row.put("type", "ether");
        row.put("mtu", "1500");
        row.put("actual-mtu", "1500");
        row.put("mac-address", format!("06:00:{:02X}:{:02X}:00:01", router.0 >> 8 & 0xff, router.0 & 0xff));
        row.put("last-link-up-time", this.version.timestamp(self.clock.wall(this.booted_at)));
        row.put("link-downs", "0");
        row.put("running", "true");
        row.put("disabled", "false");
        row
    }

    fn add(&mut self, router: RouterIndex, menu: Menu, attributes: &Attributes) -> Result<u32, Refusal> {
        match menu {
            Menu::Netwatch => self.add_netwatch(router, attributes),
            Menu::Secrets => self.add_secret(router, attributes),
            Menu::Profiles => self.add_profile(router, attributes),
            Menu::Table(form) if !form.columns.is_empty() => {
                let created = self.routers[router.at()].version.timestamp(self.clock.wall(self.clock.now()));
                let this = self.router(router);
                let id = this.last_id + 1;
                this.tables.entry(form.path).or_default().add(form, id, attributes, created)?;
                this.last_id = id;
                self.tell_table(router, form, id);
                Ok(id)
            }
            Menu::Identity
            | Menu::Resource
            | Menu::Clock
            | Menu::Routerboard
            | Menu::Interface
            | Menu::Users
            | Menu::Log
            | Menu::Sessions
            | Menu::Table(_) => Err(Refusal::no_command()),
        }
    }

    fn change(
        &mut self,
        router: RouterIndex,
        menu: Menu,
        said: &Sentence,
        attributes: &Attributes,
    ) -> Result<Answer, Refusal> {
        if let Menu::Identity = menu {
            let name = attributes
                .get("name")
                .ok_or_else(|| Refusal::argument("missing value(s) of argument(s) name"))?;
            self.router(router).identity = name.to_owned();
            return Ok(Answer::default());
        }
        for id in self.chosen(router, menu, said)? {
            match menu {
                Menu::Netwatch => self.set_netwatch(router, id, attributes)?,
                Menu::Secrets => self.set_secret(router, id, attributes)?,
                Menu::Profiles => self.set_profile(router, id, attributes)?,
                Menu::Table(form) => {
                    let this = self.router(router);
                    this.tables.entry(form.path).or_default().set(form, id, attributes)?;
                    self.tell_table(router, form, id);
                }
                Menu::Identity
                | Menu::Resource
                | Menu::Clock
                | Menu::Routerboard
                | Menu::Interface
                | Menu::Users
                | Menu::Log
                | Menu::Sessions => return Err(Refusal::no_command()),
            }
        }
        Ok(Answer::default())
    }

    fn remove(&mut self, router: RouterIndex, menu: Menu, id: u32) -> Result<(), Refusal> {
        match menu {
            Menu::Netwatch => self.remove_netwatch(router, id),
            Menu::Secrets => self.remove_secret(router, id),
            Menu::Profiles => self.remove_profile(router, id),
            Menu::Sessions => self.remove_session(router, id),
            Menu::Table(form) => {
                let this = self.router(router);
                this.tables.entry(form.path).or_default().remove(id)?;
                this.tell(form.path, |_| Some(Change::Dead(format!("*{id:X}"))));
                Ok(())
            }
            Menu::Identity
            | Menu::Resource
            | Menu::Clock
            | Menu::Routerboard
            | Menu::Interface
            | Menu::Users
            | Menu::Log => Err(Refusal::no_command()),
        }
    }

    fn tell_table(&mut self, router: RouterIndex, form: &'static Form, id: u32) {
        let id = format!("*{id:X}");
        self.router(router).tell(form.path, |this| {
            let rows = this.tables.get(form.path)?.rows(form);
            rows.into_iter().find(|row| row.get(".id") == Some(&id)).map(Change::Row)
        });
    }

    /// The items a command names by `.id` or `numbers`: ids or names, comma separated. All or none.
    fn chosen(&self, router: RouterIndex, menu: Menu, said: &Sentence) -> Result<Vec<u32>, Refusal> {
        let Some(named) = said.attribute(".id").or_else(|| said.attribute("numbers")) else {
            return Err(Refusal::argument("missing value(s) of argument(s) numbers"));
        };
        let named = value::text(named);
        let rows = self.rows(router, menu);
        let find = |item: &str| {
            let key = if item.starts_with('*') { ".id" } else { "name" };
            let row = rows.iter().find(|row| row.get(key) == Some(item))?;
            u32::from_str_radix(row.get(".id")?.strip_prefix('*')?, 16).ok()
        };
        named.split(',').map(|item| find(item.trim()).ok_or_else(Refusal::no_item)).collect()
    }
}

fn single(properties: &[(&'static str, &str)]) -> Vec<Row> {
    let mut row = Row::default();
    for (name, value) in properties {
        row.put(*name, *value);
    }
    vec![row]
}

/// A line of the log as a row.
pub(crate) fn log_row(line: &LogLine, version: &Version, clock: &Clock) -> Row {
    let mut row = Row::of(line.id);
    row.put("time", version.timestamp(clock.wall(line.at)));
    row.put("topics", line.topics);
    row.put("message", &*line.message);
    row
}
