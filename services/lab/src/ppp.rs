//! `/ppp`: who may dial in, who has, and what is run when that changes.
//!
//! A session lasts while its customer can be reached. When the way breaks the router notices by
//! silence, some seconds later, and runs the profile's on-down; when the way is free again the
//! customer dials in, at a time of his own. A router that loses power runs nothing at all.

use std::net::{IpAddr, Ipv4Addr};

use routeros_api::wire::Sentence;

use crate::agenda::Due;
use crate::clock::SimTime;
use crate::jobs::Job;
use crate::netwatch::Text;
use crate::network::{NodeIndex, RouterIndex, Sight};
use crate::router::{Attributes, Refusal, Row};
use crate::script::Status;
use crate::state::{Change, Router, State};
use crate::version::duration;

/// `/ppp/active`.
pub const ACTIVE: &str = "/ppp/active";
/// `/ppp/secret`.
pub const SECRET: &str = "/ppp/secret";
/// `/ppp/profile`.
pub const PROFILE: &str = "/ppp/profile";

/// How a customer stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Not connected.
    Off,
    /// Will dial in, unless the way breaks before.
    Dialling,
    /// Connected, by this session.
    On(u32),
    /// Connected as far as the router knows, but silent.
    Silent(u32),
}

/// Who may dial in.
#[derive(Debug, Clone)]
pub struct Secret {
    /// User name.
    pub name: Box<str>,
    /// Whose service it is; one that somebody else added is nobody's and never dials in.
    pub node: Option<NodeIndex>,
    password: Box<str>,
    profile: Box<str>,
    disabled: bool,
    comment: Box<str>,
    /// What else was set, in the order in which it is shown.
    more: Vec<(&'static str, Box<str>)>,
    /// Whether a RADIUS server knows him and this router has no secret of his.
    is_remote: bool,
    /// How he stands.
    pub standing: Standing,
    last_out: Option<(SimTime, &'static str)>,
    /// Rises with every change of standing; what was due for an earlier one no longer matters.
    pub generation: u32,
}

/// What is done with sessions.
#[derive(Debug, Clone)]
pub struct Profile {
    name: Box<str>,
    pub(crate) on_up: Text,
    pub(crate) on_down: Text,
    comment: Box<str>,
    /// What else was set, in the order in which it is shown.
    more: Vec<(&'static str, Box<str>)>,
    is_built_in: bool,
}

impl Profile {
    /// The one that secrets have when nobody says.
    pub(crate) fn is_default(&self) -> bool {
        &*self.name == "default"
    }
}

/// A customer who is connected.
#[derive(Debug, Clone)]
pub struct Session {
    /// By which secret.
    pub secret: u32,
    /// The customer's address.
    pub address: IpAddr,
    since: SimTime,
}

impl Router {
    /// Whether a command names one customer: the user name, or the address of a session or lease.
    pub(crate) fn names_a_customer(&self, said: &Sentence) -> bool {
        let after_the_name = |query: &[u8]| query.splitn(2, |byte| *byte == b'=').nth(1).map(<[u8]>::to_vec);
        let given =
            said.attributes().filter(|(name, _)| *name != b".proplist").map(|(_, value)| value.to_vec());
        given.chain(said.queries().filter_map(after_the_name)).any(|value| {
            let address: Option<IpAddr> = str::from_utf8(&value).ok().and_then(|text| text.parse().ok());
            self.secrets.values().any(|secret| secret.name.as_bytes() == value)
                || address.is_some_and(|address| {
                    self.sessions.values().any(|session| session.address == address)
                        || self.leases.values().any(|lease| lease.address() == address)
                })
        })
    }
}

impl State {
    /// Puts our scripts into every profile a router has.
    pub(crate) fn place_profiles(&mut self, router: RouterIndex) {
        let placed = self.habits(router).reports_sessions && self.pusher(router).is_some();
        let script = |status| if placed { Text::Placed(status) } else { Text::Absent };
        let this = self.router(router);
        for name in ["default", "default-encryption"] {
            let id = this.next_id();
            let profile = Profile {
                name: name.into(),
                on_up: script(Status::Up),
                on_down: script(Status::Down),
                comment: Box::default(),
                more: Vec::new(),
                is_built_in: true,
            };
            this.profiles.insert(id, profile);
        }
    }

    /// Gives a customer a secret; he has been connected for a while.
    pub(crate) fn place_session(&mut self, router: RouterIndex, node: NodeIndex, user: &str) {
        let is_remote = self.habits(router).radius;
        let this = self.router(router);
        let id = this.next_id();
        let secret = Secret {
            name: user.into(),
            node: Some(node),
            password: format!("pw-{user}").into(),
            profile: "default".into(),
            disabled: false,
            comment: Box::default(),
            more: Vec::new(),
            is_remote,
            standing: Standing::Off,
            last_out: None,
            generation: 0,
        };
        this.secrets.insert(id, secret);
        if self.may_hold(router, node) {
            self.connect(router, id);
        }
    }

    /// Whether a customer's session may be on this router: it is on no other, and no router that
    /// comes before this one sees him.
    fn may_hold(&mut self, router: RouterIndex, node: NodeIndex) -> bool {
        let network = std::sync::Arc::clone(&self.network);
        let node_is = network.node(node);
        if node_is.stand_ins.is_empty() {
            return true;
        }
        if self.holders.get(&node).is_some_and(|holder| *holder != router) {
            return false;
        }
        let first = node_is.seen_by.as_ref().map(|(first, _)| *first);
        let mut before =
            first.into_iter().chain(node_is.stand_ins.iter().copied()).take_while(|at| *at != router);
        !before.any(|before| self.world.sees(before, node))
    }

    /// Looks at every customer of a router after something in the world changed.
    pub(crate) fn look_at_sessions(&mut self, router: RouterIndex) {
        if !self.routers[router.at()].is_powered {
            return;
        }
        let ids: Vec<u32> = self.routers[router.at()].secrets.keys().copied().collect();
        for id in ids {
            self.look_at_secret(router, id);
        }
    }

    fn look_at_secret(&mut self, router: RouterIndex, id: u32) {
        let secret = &self.routers[router.at()].secrets[&id];
        let (standing, disabled) = (secret.standing, secret.disabled);
        let Some(node) = secret.node else { return };
        let is_there = self.world.sees(router, node);
        match (standing, is_there) {
            (Standing::On(session), false) => {
                let generation = self.stand(router, id, Standing::Silent(session));
                let bound = self.habits(router).session_lost_after;
                let at = self.clock.now().after(bound / 2 + self.dice.within(bound / 2));
                self.agenda.add(at, Due::Lost { router, secret: id, generation });
            }
            (Standing::Silent(session), true) => {
                self.stand(router, id, Standing::On(session));
            }
            (Standing::Off, true) if !disabled && self.may_hold(router, node) => {
                let generation = self.stand(router, id, Standing::Dialling);
                let at = self.clock.now().after(self.dice.within(self.settings.sessions_return_over));
                self.agenda.add(at, Due::Dial { router, secret: id, generation });
            }
            (Standing::Dialling, false) => {
                self.stand(router, id, Standing::Off);
            }
            (Standing::Off | Standing::On(_) | Standing::Dialling, _) | (Standing::Silent(_), false) => {}
        }
    }

    fn stand(&mut self, router: RouterIndex, id: u32, standing: Standing) -> u32 {
        let secret = self.router(router).secrets.get_mut(&id).expect("only known secrets are looked at");
        secret.standing = standing;
        secret.generation += 1;
        secret.generation
    }

    /// All sessions end without a word: the power is gone.
    pub(crate) fn forget_sessions(&mut self, router: RouterIndex) {
        let this = self.router(router);
        this.sessions.clear();
        let mut nodes = Vec::new();
        for secret in this.secrets.values_mut() {
            secret.standing = Standing::Off;
            secret.generation += 1;
            nodes.push(secret.node);
        }
        this.is_powered = false;
        for node in nodes {
            self.let_go(router, node);
        }
    }

    /// A silent session is given up.
    pub(crate) fn lost(&mut self, router: RouterIndex, id: u32, generation: u32) {
        let Some(secret) = self.routers[router.at()].secrets.get(&id) else { return };
        let Standing::Silent(session) = secret.standing else { return };
        if secret.generation == generation {
            self.disconnect(router, session, "peer is not responding", "hung-up");
        }
    }

    /// A customer dials in.
    pub(crate) fn dial(&mut self, router: RouterIndex, id: u32, generation: u32) {
        let this = &self.routers[router.at()];
        let Some(secret) = this.secrets.get(&id) else { return };
        if secret.generation != generation || secret.standing != Standing::Dialling || secret.disabled {
            return;
        }
        if let Some(node) = secret.node
            && !self.may_hold(router, node)
        {
            self.stand(router, id, Standing::Off);
            return;
        }
        let secret = &self.routers[router.at()].secrets[&id];
        let name = secret.name.clone();
        let session = self.connect(router, id);
        let caller = caller_id(router, id);
        self.log(router, "pppoe,info", format!("PPPoE connection established from {caller}"));
        let this = &self.routers[router.at()];
        let address = this.sessions[&session].address;
        self.log(router, "pppoe,ppp,info,account", format!("{name} logged in, {address} from {caller}"));
        self.log(router, "pppoe,ppp,info", format!("<pppoe-{name}>: connected"));
        if !self.routers[router.at()].listeners.is_empty() {
            let row = self.session_row(router, session);
            self.router(router).tell(ACTIVE, |_| row.clone().map(Change::Row));
        }
        self.run_script(router, Job::Session { secret: id, session, address, name, status: Status::Up });
    }

    fn connect(&mut self, router: RouterIndex, id: u32) -> u32 {
        let since = self.clock.now();
        let node = self.routers[router.at()].secrets[&id].node;
        let fixed = node.and_then(|node| self.network.node(node).address);
        if let Some(node) = node
            && !self.network.node(node).stand_ins.is_empty()
        {
            self.holders.insert(node, router);
        }
        let this = self.router(router);
        this.last_session_id = this.last_session_id.wrapping_add(1);
        let session = this.last_session_id;
        let address = fixed.unwrap_or_else(|| pool_address(router, id));
        this.sessions.insert(session, Session { secret: id, address, since });
        self.stand(router, id, Standing::On(session));
        session
    }

    /// The session of a customer is over here; another router may take him now.
    fn let_go(&mut self, router: RouterIndex, node: Option<NodeIndex>) {
        let Some(node) = node.filter(|node| self.holders.get(node) == Some(&router)) else { return };
        self.holders.remove(&node);
        let network = std::sync::Arc::clone(&self.network);
        let node_is = network.node(node);
        let first = node_is.seen_by.as_ref().map(|(first, _)| *first);
        for other in first.into_iter().chain(node_is.stand_ins.iter().copied()) {
            let secrets = &self.routers[other.at()].secrets;
            let secret = secrets.iter().find_map(|(id, secret)| (secret.node == Some(node)).then_some(*id));
            if let Some(secret) = secret.filter(|_| self.routers[other.at()].is_powered) {
                self.look_at_secret(other, secret);
            }
        }
    }

    fn disconnect(&mut self, router: RouterIndex, session: u32, why: &str, reason: &'static str) {
        let now = self.clock.now();
        let this = self.router(router);
        let Some(ended) = this.sessions.remove(&session) else { return };
        this.tell(ACTIVE, |_| Some(Change::Dead(format!("*{session:X}"))));
        let Some(secret) = this.secrets.get_mut(&ended.secret) else { return };
        secret.last_out = Some((now, reason));
        let name = secret.name.clone();
        let node = secret.node;
        self.stand(router, ended.secret, Standing::Off);
        self.let_go(router, node);
        let caller = caller_id(router, ended.secret);
        self.log(router, "pppoe,ppp,info", format!("<pppoe-{name}>: terminating... - {why}"));
        let lasted_s = now.since(ended.since).as_secs();
        self.log(
            router,
            "pppoe,ppp,info,account",
            format!("{name} logged out, {lasted_s} 0 0 0 0 from {caller}"),
        );
        self.log(router, "pppoe,ppp,info", format!("<pppoe-{name}>: disconnected"));
        let Session { secret, address, .. } = ended;
        self.run_script(router, Job::Session { secret, session, address, name, status: Status::Down });
    }

    /// Ends a session as an operator does; the customer dials in again unless he is disabled.
    pub(crate) fn remove_session(&mut self, router: RouterIndex, session: u32) -> Result<(), Refusal> {
        let secret = self.routers[router.at()].sessions.get(&session).ok_or_else(Refusal::no_item)?.secret;
        self.disconnect(router, session, "administrator request", "nas-request");
        if self.routers[router.at()].secrets.contains_key(&secret) {
            self.look_at_secret(router, secret);
        }
        Ok(())
    }

    /// The profile's script for a session.
    pub(crate) fn session_script(&self, router: RouterIndex, secret: u32, status: Status) -> Option<String> {
        let this = &self.routers[router.at()];
        let wanted = this.secrets.get(&secret).map_or("default", |secret| &*secret.profile);
        let profile = this.profiles.values().find(|profile| &*profile.name == wanted)?;
        Some(self.inline_or_named(router, self.profile_script(router, profile, status)?))
    }

    fn profile_script(&self, router: RouterIndex, profile: &Profile, status: Status) -> Option<String> {
        let text = match status {
            Status::Up => &profile.on_up,
            Status::Down => &profile.on_down,
        };
        match text {
            Text::Absent => None,
            Text::Own(text) => Some(text.to_string()),
            Text::Placed(status) => Some(self.pusher(router)?.session(status.says())),
        }
    }

    /// Every row of `/ppp/active`.
    pub(crate) fn session_rows(&self, router: RouterIndex) -> Vec<Row> {
        self.routers[router.at()].sessions.keys().filter_map(|id| self.session_row(router, *id)).collect()
    }

    fn session_row(&self, router: RouterIndex, id: u32) -> Option<Row> {
        let this = &self.routers[router.at()];
        let session = this.sessions.get(&id)?;
        let now = self.clock.now();
        let before = if session.since <= this.booted_at { this.up_before } else { std::time::Duration::ZERO };
        let mut row = Row::of(id);
        row.put("name", &*this.secrets.get(&session.secret)?.name);
        row.put("service", "pppoe");
        row.put("caller-id", caller_id(router, session.secret));
        row.put("address", session.address.to_string());
        row.put("uptime", duration(now.since(session.since) + before));
        row.put("session-id", format!("0x{:08X}", 0x8100_0000 | (id & 0x00ff_ffff)));
        row.put("limit-bytes-in", "0");
        row.put("limit-bytes-out", "0");
        row.put("radius", this.secrets.get(&session.secret)?.is_remote.to_string());
        Some(row)
    }

    /// Every row of `/ppp/secret`, with passwords for who may see them.
    pub(crate) fn secret_rows(&self, router: RouterIndex, sees_passwords: bool) -> Vec<Row> {
        let ids = self.routers[router.at()].secrets.keys();
        ids.filter_map(|id| self.secret_row(router, *id, sees_passwords)).collect()
    }

    fn secret_row(&self, router: RouterIndex, id: u32, sees_passwords: bool) -> Option<Row> {
        let this = &self.routers[router.at()];
        let secret = this.secrets.get(&id).filter(|secret| !secret.is_remote)?;
        let mut row = Row::of(id);
        row.put("name", &*secret.name);
        row.put("service", "pppoe");
        if sees_passwords {
            row.put_if("password", &*secret.password);
        }
        row.put("profile", &*secret.profile);
        for (name, value) in &secret.more {
            row.put_if(*name, &**value);
        }
        row.put(
            "last-logged-out",
            match secret.last_out {
                Some((at, _)) => self.stamp(router, at),
                None => this.version.timestamp(chrono::DateTime::UNIX_EPOCH),
            },
        );
        if let Some((_, reason)) = secret.last_out {
            row.put("last-caller-id", caller_id(router, id));
            row.put("last-disconnect-reason", reason);
        }
        row.put("disabled", secret.disabled.to_string());
        row.put_if("comment", &*secret.comment);
        Some(row)
    }

    /// Adds a secret. A customer of this router who is called so dials in with it; anybody else is
    /// nobody in the network.
    pub(crate) fn add_secret(
        &mut self,
        router: RouterIndex,
        attributes: &Attributes,
    ) -> Result<u32, Refusal> {
        if attributes.get("name").is_none_or(str::is_empty) {
            return Err(Refusal::argument("missing value(s) of argument(s) name"));
        }
        let mut secret = Secret {
            name: Box::default(),
            node: None,
            password: Box::default(),
            profile: "default".into(),
            disabled: false,
            comment: Box::default(),
            more: Vec::new(),
            is_remote: false,
            standing: Standing::Off,
            last_out: None,
            generation: 0,
        };
        self.change_secret(router, None, &mut secret, attributes)?;
        secret.node = self.customer_called(router, &secret.name);
        let this = self.router(router);
        let id = this.next_id();
        this.secrets.insert(id, secret);
        self.look_at_secret(router, id);
        self.tell_secret(router, id);
        Ok(id)
    }

    fn customer_called(&self, router: RouterIndex, user: &str) -> Option<NodeIndex> {
        let is_his = |node: &&NodeIndex| match &self.network.node(**node).seen_by {
            Some((_, Sight::Session(name))) => &**name == user,
            Some((_, Sight::Netwatch | Sight::Lease(_))) | None => false,
        };
        let node = self.network.children(router).iter().find(is_his).copied()?;
        // Whom a RADIUS server knows is there already.
        let is_known = self.routers[router.at()].secrets.values().any(|secret| secret.node == Some(node));
        (!is_known).then_some(node)
    }

    /// Changes a secret. Disabling it does not end a session that lasts.
    pub(crate) fn set_secret(
        &mut self,
        router: RouterIndex,
        id: u32,
        attributes: &Attributes,
    ) -> Result<(), Refusal> {
        let mut secret = self.routers[router.at()].secrets.get(&id).cloned().ok_or_else(Refusal::no_item)?;
        self.change_secret(router, Some(id), &mut secret, attributes)?;
        if secret.disabled && secret.standing == Standing::Dialling {
            secret.standing = Standing::Off;
            secret.generation += 1;
        }
        self.router(router).secrets.insert(id, secret);
        self.look_at_secret(router, id);
        self.tell_secret(router, id);
        Ok(())
    }

    /// Removes a secret. A session that lasts ends as well: nobody is left who it could belong to.
    pub(crate) fn remove_secret(&mut self, router: RouterIndex, id: u32) -> Result<(), Refusal> {
        let secret = self.routers[router.at()].secrets.get(&id).ok_or_else(Refusal::no_item)?;
        if let Standing::On(session) | Standing::Silent(session) = secret.standing {
            self.disconnect(router, session, "user removed", "nas-request");
        }
        let this = self.router(router);
        this.secrets.remove(&id);
        this.tell(SECRET, |_| Some(Change::Dead(format!("*{id:X}"))));
        Ok(())
    }

    fn tell_secret(&mut self, router: RouterIndex, id: u32) {
        let row = self.secret_row(router, id, false);
        self.router(router).tell(SECRET, |_| row.clone().map(Change::Row));
    }

    fn change_secret(
        &self,
        router: RouterIndex,
        id: Option<u32>,
        secret: &mut Secret,
        attributes: &Attributes,
    ) -> Result<(), Refusal> {
        let this = &self.routers[router.at()];
        for (name, value) in attributes.iter() {
            match name {
                "name" => {
                    let is_like = |(other, known): (&u32, &Secret)| {
                        Some(*other) != id && !known.is_remote && &*known.name == value
                    };
                    let taken = this.secrets.iter().any(is_like);
                    if taken {
                        return Err(Refusal::failure("failure: secret with the same name already exists"));
                    }
                    secret.name = value.into();
                }
                "password" => secret.password = value.into(),
                "profile" => {
                    if this.profiles.values().all(|profile| &*profile.name != value) {
                        return Err(Refusal::argument("input does not match any value of profile"));
                    }
                    secret.profile = value.into();
                }
                "service" if matches!(value, "pppoe" | "any") => {}
                "caller-id" | "local-address" | "remote-address" | "routes" | "limit-bytes-in"
                | "limit-bytes-out" => {
                    let known = ["caller-id", "local-address", "remote-address", "routes"];
                    let known = known.into_iter().chain(["limit-bytes-in", "limit-bytes-out"]);
                    keep_more(&mut secret.more, known, name, value);
                }
                "service" => return Err(Refusal::argument("input does not match any value of service")),
                "disabled" => secret.disabled = crate::router::truth(name, value)?,
                "comment" => secret.comment = value.into(),
                _ => return Err(Refusal::unknown_parameter(name)),
            }
        }
        Ok(())
    }

    /// Every row of `/ppp/profile`.
    pub(crate) fn profile_rows(&self, router: RouterIndex) -> Vec<Row> {
        let profiles = &self.routers[router.at()].profiles;
        let row = |(id, profile): (&u32, &Profile)| {
            let mut row = Row::of(*id);
            row.put("name", &*profile.name);
            for (name, value) in &profile.more {
                row.put_if(*name, &**value);
            }
            row.put_if("on-up", self.profile_script(router, profile, Status::Up).unwrap_or_default());
            row.put_if("on-down", self.profile_script(router, profile, Status::Down).unwrap_or_default());
            row.put("default", profile.is_built_in.to_string());
            row.put_if("comment", &*profile.comment);
            row
        };
        profiles.iter().map(row).collect()
    }

    /// Adds a profile.
    pub(crate) fn add_profile(
        &mut self,
        router: RouterIndex,
        attributes: &Attributes,
    ) -> Result<u32, Refusal> {
        if attributes.get("name").is_none_or(str::is_empty) {
            return Err(Refusal::argument("missing value(s) of argument(s) name"));
        }
        let mut profile = Profile {
            name: Box::default(),
            on_up: Text::Absent,
            on_down: Text::Absent,
            comment: Box::default(),
            more: Vec::new(),
            is_built_in: false,
        };
        self.change_profile(router, None, &mut profile, attributes)?;
        let this = self.router(router);
        let id = this.next_id();
        this.profiles.insert(id, profile);
        Ok(id)
    }

    /// Changes a profile.
    pub(crate) fn set_profile(
        &mut self,
        router: RouterIndex,
        id: u32,
        attributes: &Attributes,
    ) -> Result<(), Refusal> {
        let mut profile =
            self.routers[router.at()].profiles.get(&id).cloned().ok_or_else(Refusal::no_item)?;
        let name_before = profile.name.clone();
        self.change_profile(router, Some(id), &mut profile, attributes)?;
        let this = self.router(router);
        // Secrets name a profile by what it is, not by how it is called.
        for secret in this.secrets.values_mut().filter(|secret| secret.profile == name_before) {
            secret.profile.clone_from(&profile.name);
        }
        this.profiles.insert(id, profile);
        Ok(())
    }

    /// Removes a profile that is not built in.
    pub(crate) fn remove_profile(&mut self, router: RouterIndex, id: u32) -> Result<(), Refusal> {
        let this = self.router(router);
        if this.profiles.get(&id).ok_or_else(Refusal::no_item)?.is_built_in {
            return Err(Refusal::failure("failure: default profile cannot be removed"));
        }
        this.profiles.remove(&id);
        Ok(())
    }

    fn change_profile(
        &self,
        router: RouterIndex,
        id: Option<u32>,
        profile: &mut Profile,
        attributes: &Attributes,
    ) -> Result<(), Refusal> {
        for (name, value) in attributes.iter() {
            match name {
                "name" => {
                    let known = &self.routers[router.at()].profiles;
                    if known.iter().any(|(other, known)| Some(*other) != id && &*known.name == value) {
                        return Err(Refusal::failure("failure: profile with the same name already exists"));
                    }
                    profile.name = value.into();
                }
                "on-up" => profile.on_up = Text::own(value),
                "on-down" => profile.on_down = Text::own(value),
                "local-address" | "remote-address" | "rate-limit" | "only-one" | "dns-server"
                | "session-timeout" | "idle-timeout" | "address-list" => {
                    let known = ["local-address", "remote-address", "rate-limit", "only-one"];
                    let more = ["dns-server", "session-timeout", "idle-timeout", "address-list"];
                    keep_more(&mut profile.more, known.into_iter().chain(more), name, value);
                }
                "comment" => profile.comment = value.into(),
                _ => return Err(Refusal::unknown_parameter(name)),
            }
        }
        Ok(())
    }

    /// The dynamic interface of every session.
    pub(crate) fn session_interface_rows(&self, router: RouterIndex) -> Vec<Row> {
        let this = &self.routers[router.at()];
        let row = |(id, session): (&u32, &Session)| {
            let mut row = Row::of(*id);
            row.put("name", format!("<pppoe-{}>", this.secrets.get(&session.secret)?.name));
            row.put("type", "pppoe-in");
            row.put("mtu", "1480");
            row.put("actual-mtu", "1480");
            row.put("last-link-up-time", self.stamp(router, session.since));
            row.put("link-downs", "0");
            row.put("dynamic", "true");
            row.put("running", "true");
            row.put("disabled", "false");
            Some(row)
        };
        this.sessions.iter().filter_map(row).collect()
    }
}

/// Remembers a property that has no meaning to the simulation.
fn keep_more(
    more: &mut Vec<(&'static str, Box<str>)>,
    mut known: impl Iterator<Item = &'static str>,
    name: &str,
    value: &str,
) {
    more.retain(|(kept, _)| *kept != name);
    if let Some(name) = known.find(|known| *known == name) {
        more.push((name, value.into()));
    }
}

/// The hardware address of a customer, as PPPoE shows it: in capitals.
pub(crate) fn caller_id(router: RouterIndex, secret: u32) -> String {
    let (r, s) = (router.0.to_be_bytes(), secret.to_be_bytes());
    format!("02:{:02X}:{:02X}:{:02X}:{:02X}:{:02X}", r[2], r[3], s[1], s[2], s[3])
}

/// An address of 100.64.0.0/10 for a customer without one of his own.
fn pool_address(router: RouterIndex, secret: u32) -> IpAddr {
    let n = router.0.wrapping_mul(4096).wrapping_add(secret) & 0x003f_ffff;
    IpAddr::V4(Ipv4Addr::from(0x6440_0000 | n))
}
