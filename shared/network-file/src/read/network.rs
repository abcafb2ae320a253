//! Sites, devices, links, services, upstreams and meshes.

use super::{
    Reader, Wanted,
    field::{Fields, ID_MAX, NAME_MAX, TEXT_MAX, short},
};
use crate::{
    model::{LoginEntry, Mesh, Need, NodeEntry, SeenBy, SiteEntry, WebhookEntry},
    problem::{Position, did_you_mean},
    yaml::{Value, Yaml},
};
use events::{DeviceClass, Fingerprint, NodeKind, Owner, Probe, Tier, Time, Watch, Window};
use std::net::IpAddr;

/// How deep groups may nest.
const GROUP_DEPTH_MAX: usize = 8;
/// How many nodes one thing may name as what it needs: an event is at most 64 KiB.
const NEEDS_MAX: usize = 256;
/// How many maintenance windows one thing may have.
const WINDOWS_MAX: usize = 50;
/// How often a heartbeat may be, milliseconds.
const EVERY_MS: (u64, u64) = (1_000, 3_600_000);
/// How often a heartbeat is when the file does not say, seconds (requirements, R10).
const EVERY_S_DEFAULT: u32 = 60;

const CLASSES: [(&str, DeviceClass); 7] = [
    ("router", DeviceClass::Router),
    ("switch", DeviceClass::Switch),
    ("sector_ap", DeviceClass::SectorAp),
    ("backhaul", DeviceClass::Backhaul),
    ("station", DeviceClass::Station),
    ("server", DeviceClass::Server),
    ("other", DeviceClass::Other),
];

const TIERS: [(&str, Tier); 5] = [
    ("core", Tier::Core),
    ("site", Tier::Site),
    ("sector", Tier::Sector),
    ("station", Tier::Station),
    ("subscriber", Tier::Subscriber),
];

/// The keys that everything with a node's place in the graph may have.
const NODE_KEYS: [&str; 11] = [
    "id",
    "name",
    "tier",
    "site",
    "parent",
    "needs",
    "address",
    "heartbeat",
    "seen_by",
    "maintenance",
    "owner",
];

/// The tier of a device whose file does not say one.
pub(crate) fn tier_of(class: DeviceClass) -> Tier {
    match class {
        DeviceClass::Router | DeviceClass::Switch | DeviceClass::Server | DeviceClass::Other => Tier::Site,
        DeviceClass::SectorAp | DeviceClass::Backhaul => Tier::Sector,
        DeviceClass::Station => Tier::Station,
    }
}

/// How a class is written.
pub(crate) fn class_name(class: DeviceClass) -> &'static str {
    CLASSES.iter().find(|(_, c)| *c == class).map_or("other", |(name, _)| name)
}

/// How a tier is written.
pub(crate) fn tier_name(tier: Tier) -> &'static str {
    TIERS.iter().find(|(_, t)| *t == tier).map_or("site", |(name, _)| name)
}

impl Reader<'_> {
    pub(super) fn site(&mut self, yaml: &Yaml<'_>) -> Option<SiteEntry> {
        let fields = self.fields(yaml, "a site", &["id", "name", "address", "coordinates"])?;
        let (_, id) = self.required_id(&fields, "id")?;
        let name = self.optional_text(&fields, "name", NAME_MAX).map_or(id, |(_, name)| name);
        let address = self.optional_text(&fields, "address", TEXT_MAX).map(|(_, address)| address.to_owned());
        let coordinates_udeg = self.coordinates(&fields);
        Some(SiteEntry { id: id.to_owned(), name: name.to_owned(), address, coordinates_udeg, at: fields.at })
    }

    fn coordinates(&mut self, fields: &Fields<'_, '_>) -> Option<(i32, i32)> {
        if !fields.has("coordinates") {
            return None;
        }
        let texts = self.texts(fields, "coordinates");
        let degrees = |text: &str, most: i32| -> Option<i32> {
            let (sign, text) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
            let (whole, part) = text.split_once('.').unwrap_or((text, ""));
            let digits = |t: &str| !t.is_empty() && t.bytes().all(|c| c.is_ascii_digit());
            if !digits(whole) || whole.len() > 3 || !(part.is_empty() || digits(part)) {
                return None;
            }
            let micro: String = part.chars().chain("000000".chars()).take(6).collect();
            let udeg = whole.parse::<i32>().ok()? * 1_000_000 + micro.parse::<i32>().ok()?;
            (udeg <= most * 1_000_000).then_some(sign * udeg)
        };
        let read = match texts.as_slice() {
            [(_, north), (_, east)] => degrees(north, 90).zip(degrees(east, 180)),
            _ => None,
        };
        if read.is_none() {
            let what = "`coordinates` are two numbers: degrees north and degrees east".into();
            self.note_at(fields, "coordinates", what, "write them like `[51.614, -0.247]`");
        }
        read
    }

    pub(super) fn device(&mut self, yaml: &Yaml<'_>) -> Option<NodeEntry> {
        let mut keys = vec!["id", "name", "class"];
        keys.extend(NODE_KEYS.iter().skip(2));
        keys.extend(["login", "webhook"]);
        let fields = self.fields(yaml, "a device", &keys)?;
        if !fields.has("class") {
            let hint = "add `class: router`, switch, sector_ap, backhaul, station, server or other";
            self.note(fields.at, "a device has no `class`".into(), Some(hint));
        }
        let class = self.choice(&fields, "class", &CLASSES).unwrap_or(DeviceClass::Other);
        let mut node = self.node(&fields, NodeKind::Device { class }, tier_of(class))?;
        node.login = self.login(&fields);
        node.webhook = self.webhook(&fields);
        let is_router = class == DeviceClass::Router;
        if !is_router && fields.has("class") {
            for key in ["login", "webhook"] {
                if fields.has(key) {
                    let what = format!("only a router has a `{key}`");
                    self.note_at(&fields, key, what, "write `class: router`, or remove it");
                }
            }
        }
        if node.login.is_some() && node.address.is_none() && !fields.has("address") {
            let what = "a router with a `login` needs an `address`".into();
            self.note(fields.at, what, Some("add `address: …`"));
        }
        let logs_in = node.watch.is_some_and(|watch| watch.probe == Probe::RouterOs);
        if logs_in && !fields.has("login") {
            let what = "a heartbeat by `routeros` needs a `login`".into();
            self.note_at(&fields, "heartbeat", what, "add `login: {user: …, password: …}`");
        }
        Some(node)
    }

    pub(super) fn link(&mut self, yaml: &Yaml<'_>) -> Option<NodeEntry> {
        let mut keys = vec!["id", "name", "ends"];
        keys.extend(NODE_KEYS.iter().skip(2));
        let fields = self.fields(yaml, "a link", &keys)?;
        let mut node = self.node(&fields, NodeKind::Link, Tier::Sector)?;
        self.logs_in_nowhere(&fields, &node);
        if fields.has("ends") {
            let ends = self.texts(&fields, "ends");
            match ends.as_slice() {
                [(at_a, a), (at_b, b)] if a != b => {
                    self.reference(a, *at_a, Wanted::Node);
                    self.reference(b, *at_b, Wanted::Node);
                    node.ends = Some(((*a).to_owned(), (*b).to_owned()));
                }
                _ => {
                    let what = "`ends` are the ids of two different things".into();
                    self.note_at(&fields, "ends", what, "write them like `[tower-1, tower-2]`");
                }
            }
        }
        Some(node)
    }

    pub(super) fn service(&mut self, yaml: &Yaml<'_>) -> Option<NodeEntry> {
        let fields = self.fields(yaml, "a service", &NODE_KEYS)?;
        let node = self.node(&fields, NodeKind::Service, Tier::Site)?;
        self.logs_in_nowhere(&fields, &node);
        Some(node)
    }

    pub(super) fn upstream(&mut self, yaml: &Yaml<'_>) -> Option<NodeEntry> {
        let fields = self.fields(yaml, "an upstream", &NODE_KEYS)?;
        let node = self.node(&fields, NodeKind::Upstream, Tier::Core)?;
        self.logs_in_nowhere(&fields, &node);
        Some(node)
    }

    fn logs_in_nowhere(&mut self, fields: &Fields<'_, '_>, node: &NodeEntry) {
        if node.watch.is_some_and(|watch| watch.probe == Probe::RouterOs) {
            let what = format!("{} cannot be logged in to", fields.what);
            self.note_at(fields, "heartbeat", what, "use `icmp` or `tcp:PORT`");
        }
    }

    /// What all of these have in common.
    fn node(&mut self, fields: &Fields<'_, '_>, kind: NodeKind, tier: Tier) -> Option<NodeEntry> {
        let id = self.required_id(fields, "id").map(|(_, id)| id);
        let name = self.optional_text(fields, "name", NAME_MAX).map(|(_, name)| name);
        let tier = self.choice(fields, "tier", &TIERS).unwrap_or(tier);
        let site = self.site_reference(fields);
        let needs = self.needs(fields, id);
        let address = self.address(fields, "address");
        let watch = self.heartbeat(fields, address);
        let seen_by = match self.optional_text(fields, "seen_by", ID_MAX) {
            Some((at, router)) => {
                self.reference(router, at, Wanted::RouterWithLogin);
                if !fields.has("address") {
                    let what = "what is `seen_by` a router needs an `address`".into();
                    self.note(at, what, Some("add `address: …`, or remove `seen_by`"));
                }
                if Some(router) == id {
                    self.note(at, "a router cannot be seen by itself".into(), Some("name another router"));
                }
                SeenBy::Written(router.to_owned())
            }
            None => SeenBy::Nobody,
        };
        let owner = self.owner(fields);
        let maintenance = self.maintenance(fields);
        let id = id?;
        Some(NodeEntry {
            id: id.to_owned(),
            name: name.unwrap_or(id).to_owned(),
            kind,
            tier,
            site,
            needs,
            ends: None,
            address,
            watch,
            seen_by,
            login: None,
            webhook: None,
            owner,
            maintenance,
            at: fields.at,
        })
    }

    /// The site that is named under `site`.
    pub(super) fn site_reference(&mut self, fields: &Fields<'_, '_>) -> Option<String> {
        let (at, site) = self.optional_text(fields, "site", ID_MAX)?;
        self.reference(site, at, Wanted::Site);
        Some(site.to_owned())
    }

    /// What is written under `parent` and `needs`.
    pub(super) fn needs(&mut self, fields: &Fields<'_, '_>, own_id: Option<&str>) -> Vec<Need> {
        let mut needs = Vec::new();
        let mut count = 0;
        if let Some((at, parent)) = self.optional_text(fields, "parent", ID_MAX) {
            needs.push(self.need_of(at, parent, own_id));
        }
        if let Some(entry) = fields.get("needs") {
            match &entry.value.value {
                Value::List(items) => {
                    for item in items {
                        needs.extend(self.need(item, own_id, 1, &mut count));
                    }
                }
                Value::Text { .. } | Value::Map(_) => {
                    needs.extend(self.need(&entry.value, own_id, 1, &mut count));
                }
            }
        }
        if count > NEEDS_MAX {
            let what = format!("`needs` names {count} nodes; at most {NEEDS_MAX} are allowed");
            self.note_at(fields, "needs", what, "put something between that they all supply");
        }
        needs
    }

    fn need_of(&mut self, at: Position, id: &str, own_id: Option<&str>) -> Need {
        if Some(id) == own_id {
            self.note(at, format!("`{id}` cannot need itself"), Some("name what is above it"));
        } else {
            self.reference(id, at, Wanted::Node);
        }
        Need::Node(id.to_owned())
    }

    fn need(
        &mut self,
        yaml: &Yaml<'_>,
        own_id: Option<&str>,
        depth: usize,
        count: &mut usize,
    ) -> Option<Need> {
        const HOW: &str = "write an id, `{any: […]}`, `{all: […]}` or `{k_of_n: 2, of: […]}`";
        if depth > GROUP_DEPTH_MAX {
            self.note(yaml.at, format!("groups nest deeper than {GROUP_DEPTH_MAX}"), None);
            return None;
        }
        match &yaml.value {
            Value::Text { .. } => {
                *count += 1;
                let id = self.text(yaml, "needs", ID_MAX)?;
                Some(self.need_of(yaml.at, id, own_id))
            }
            Value::List(_) => {
                self.note(yaml.at, "a need is an id or a group, found a list".into(), Some(HOW));
                None
            }
            Value::Map(entries) => {
                let fields = self.fields(yaml, "a group", &["any", "all", "k_of_n", "of"])?;
                let modes = ["any", "all", "k_of_n"].iter().filter(|mode| fields.has(mode)).count();
                if modes != 1 {
                    let all_known =
                        entries.iter().all(|e| ["any", "all", "k_of_n", "of"].contains(&e.key.as_ref()));
                    if modes > 1 || all_known {
                        let what = "a group has exactly one of `any`, `all` and `k_of_n`".into();
                        self.note(yaml.at, what, Some(HOW));
                    }
                    return None;
                }
                if fields.has("of") && !fields.has("k_of_n") {
                    let what = "`of` belongs to `k_of_n`".into();
                    self.note_at(&fields, "of", what, "write the members after `any:` or `all:`");
                    return None;
                }
                let key = if fields.has("any") {
                    "any"
                } else if fields.has("all") {
                    "all"
                } else {
                    "of"
                };
                let members = self.members(&fields, key, own_id, depth, count)?;
                match key {
                    "any" => Some(Need::Any(members)),
                    "all" => Some(Need::All(members)),
                    _ => {
                        let k = self.number::<u16>(&fields, "k_of_n", 1, u16::MAX)?;
                        if usize::from(k) > members.len() {
                            let what = format!("{k} of {} members can never be up", members.len());
                            let hint = format!("`k_of_n` is from 1 to {}", members.len());
                            self.note_at(&fields, "k_of_n", what, &hint);
                        }
                        Some(Need::KOfN { k, of: members })
                    }
                }
            }
        }
    }

    fn members(
        &mut self,
        fields: &Fields<'_, '_>,
        key: &'static str,
        own_id: Option<&str>,
        depth: usize,
        count: &mut usize,
    ) -> Option<Vec<Need>> {
        let Some(entry) = fields.get(key) else {
            let what = format!("a group by `k_of_n` has no `{key}`");
            self.note(fields.at, what, Some("write it like `{k_of_n: 2, of: [a, b, c]}`"));
            return None;
        };
        let Value::List(items) = &entry.value.value else {
            let what = format!("`{key}` is a list of ids and groups, found {}", entry.value.what());
            self.note(entry.value.at, what, Some("write it like `[a, b]`"));
            return None;
        };
        if items.is_empty() {
            let what = format!("`{key}` has no members");
            self.note(entry.value.at, what, Some("name at least one, or remove the group"));
            return None;
        }
        if items.len() > NEEDS_MAX {
            let what = format!("`{key}` has {} members; at most {NEEDS_MAX} are allowed", items.len());
            self.note(entry.value.at, what, Some("put something between that they all supply"));
            return None;
        }
        let members: Vec<Need> =
            items.iter().filter_map(|item| self.need(item, own_id, depth + 1, count)).collect();
        for (n, member) in members.iter().enumerate() {
            if let Need::Node(id) = member
                && members.iter().take(n).any(|other| other == member)
            {
                let what = format!("`{}` stands twice in one group", short(id));
                self.note(entry.value.at, what, Some("remove one of them"));
            }
        }
        (members.len() == items.len()).then_some(members)
    }

    fn heartbeat(&mut self, fields: &Fields<'_, '_>, address: Option<IpAddr>) -> Option<Watch> {
        let entry = fields.get("heartbeat")?;
        let (probe, every_s) = match &entry.value.value {
            Value::Map(_) => {
                let inner = self.fields(&entry.value, "a heartbeat", &["probe", "every"])?;
                let probe = self.required_text(&inner, "probe", NAME_MAX);
                let every_s = self.every_s(&inner);
                (probe.and_then(|(at, text)| self.probe(at, text))?, every_s)
            }
            Value::Text { .. } | Value::List(_) => {
                let text = self.text(&entry.value, "heartbeat", NAME_MAX)?;
                (self.probe(entry.value.at, text)?, EVERY_S_DEFAULT)
            }
        };
        if !fields.has("address") {
            let what = "a `heartbeat` needs an `address`".into();
            self.note(entry.at, what, Some("add `address: …`"));
        }
        if probe == Probe::Icmp && address.is_some_and(|address| address.is_loopback()) {
            let what = "a loopback address answers `icmp` even when nothing is there".into();
            self.note(entry.value.at, what, Some("use `tcp:PORT` or `routeros`"));
        }
        Some(Watch { probe, every_s })
    }

    fn every_s(&mut self, fields: &Fields<'_, '_>) -> u32 {
        let (least, most) = EVERY_MS;
        let Some(ms) = self.span_ms(fields, "every", least, most) else { return EVERY_S_DEFAULT };
        if ms % 1_000 != 0 {
            let what = "`every` is in whole seconds".into();
            self.note_at(fields, "every", what, "write it like `5s`");
        }
        u32::try_from(ms / 1_000).expect("an hour of seconds fits into 32 bits")
    }

    fn probe(&mut self, at: Position, text: &str) -> Option<Probe> {
        match text {
            "icmp" => return Some(Probe::Icmp),
            "routeros" => return Some(Probe::RouterOs),
            _ => {}
        }
        if let Some(port) = text.strip_prefix("tcp:") {
            if let Some(port) = port.parse::<u16>().ok().filter(|port| *port > 0) {
                return Some(Probe::Tcp { port });
            }
            let what = format!("`{}` has no port from 1 to 65535", short(text));
            self.note(at, what, Some("write it like `tcp:8728`"));
            return None;
        }
        let hint = did_you_mean(text, ["icmp", "routeros"])
            .unwrap_or_else(|| "write `icmp`, `tcp:PORT` or `routeros`".into());
        self.note(at, format!("`{}` is no probe", short(text)), Some(&hint));
        None
    }

    fn login(&mut self, fields: &Fields<'_, '_>) -> Option<LoginEntry> {
        let entry = fields.get("login")?;
        let login = self.fields(
            &entry.value,
            "a login",
            &["user", "password", "port", "tls", "certificate", "manage", "enforce"],
        )?;
        let tls = self.switch(&login, "tls").unwrap_or(false);
        let certificate = self.certificate(&login, tls);
        let port = self.number(&login, "port", 1, u16::MAX).unwrap_or(if tls { 8729 } else { 8728 });
        let manage = self.switch(&login, "manage").unwrap_or(false);
        let enforce = self.switch(&login, "enforce").unwrap_or(false);
        let user = self.required_secret(&login, "user");
        let password = self.required_secret(&login, "password");
        Some(LoginEntry { user: user?, password: password?, port, tls, certificate, manage, enforce })
    }

    /// The certificate that a router must show; without TLS it shows none.
    fn certificate(&mut self, login: &Fields<'_, '_>, tls: bool) -> Option<Fingerprint> {
        let (at, text) = self.optional_text(login, "certificate", TEXT_MAX)?;
        if !tls {
            self.note(
                at,
                "`certificate` without TLS: the router would show none".into(),
                Some("write `tls: on` beside it"),
            );
            return None;
        }
        let fingerprint = text.parse();
        if let Err(error) = &fingerprint {
            self.note(
                at,
                format!("`certificate`: {error}"),
                Some("`mastwatch router plan` shows which one the router has"),
            );
        }
        fingerprint.ok()
    }

    fn webhook(&mut self, fields: &Fields<'_, '_>) -> Option<WebhookEntry> {
        let entry = fields.get("webhook")?;
        match &entry.value.value {
            Value::Text { .. } | Value::List(_) => {
                let token = self.secret(fields, "webhook")?;
                self.is_token(fields, "webhook", &token).then(|| WebhookEntry { token, from: Vec::new() })
            }
            Value::Map(_) => {
                let webhook = self.fields(&entry.value, "a webhook", &["token", "from"])?;
                let token = self.token_text(&webhook, "token");
                let from = self.networks(&webhook, "from");
                Some(WebhookEntry { token: token?, from })
            }
        }
    }

    fn owner(&mut self, fields: &Fields<'_, '_>) -> Option<Owner> {
        let entry = fields.get("owner")?;
        let owner = self.fields(&entry.value, "an owner", &["account", "ticket"])?;
        let account = self.required_text(&owner, "account", NAME_MAX).map(|(_, account)| account.to_owned());
        let ticket_url = self.url(&owner, "ticket", &["http", "https"], false);
        Some(Owner { account: account?, ticket_url })
    }

    pub(super) fn maintenance(&mut self, fields: &Fields<'_, '_>) -> Vec<Window> {
        let windows = self.list(fields, "maintenance", Reader::window);
        if windows.len() > WINDOWS_MAX {
            let what = format!("more than {WINDOWS_MAX} maintenance windows");
            self.note_at(fields, "maintenance", what, "remove those that are over");
        }
        windows
    }

    fn window(&mut self, yaml: &Yaml<'_>) -> Option<Window> {
        let fields = self.fields(yaml, "a maintenance window", &["from", "until", "reason"])?;
        let mut time = |key| {
            self.required_text(&fields, key, NAME_MAX)?;
            self.parsed::<Time>(&fields, key, "time", "2026-12-01T22:00:00Z")
        };
        let (from, until) = (time("from"), time("until"));
        let reason =
            self.optional_text(&fields, "reason", TEXT_MAX).map_or("", |(_, reason)| reason).to_owned();
        let (from, until) = (from?, until?);
        if until <= from {
            let what = "a maintenance window ends before it begins".into();
            self.note_at(&fields, "until", what, "`until` is later than `from`");
        }
        Some(Window { from, until, reason })
    }

    pub(super) fn mesh(&mut self, yaml: &Yaml<'_>) -> Option<Mesh> {
        let fields = self.fields(yaml, "a mesh", &["id", "members", "links", "gateways"])?;
        let id = self.required_id(&fields, "id").map(|(_, id)| id.to_owned());
        let members = self.mesh_part(&fields, "members", Wanted::Node);
        let links = self.mesh_part(&fields, "links", Wanted::Link);
        let gateways = self.mesh_part(&fields, "gateways", Wanted::Node);
        for (at, gateway) in self.texts(&fields, "gateways") {
            if !members.iter().any(|member| member == gateway) {
                let hint = did_you_mean(gateway, members.iter().map(String::as_str))
                    .unwrap_or_else(|| "add it to `members`".into());
                let what = format!("the gateway `{}` is no member of the mesh", short(gateway));
                self.note(at, what, Some(&hint));
            }
        }
        Some(Mesh { id: id?, members, links, gateways, at: fields.at })
    }

    fn mesh_part(&mut self, fields: &Fields<'_, '_>, key: &'static str, wanted: Wanted) -> Vec<String> {
        let texts = self.texts(fields, key);
        if texts.is_empty() {
            let what = format!("a mesh has no `{key}`");
            self.note_at(fields, key, what, &format!("add `{key}: [a, b]`"));
        }
        if texts.len() > NEEDS_MAX {
            let what = format!("a mesh has {} {key}; at most {NEEDS_MAX} are allowed", texts.len());
            self.note_at(fields, key, what, "make several meshes of it");
            return Vec::new();
        }
        for (n, (at, text)) in texts.iter().enumerate() {
            self.reference(text, *at, wanted);
            if texts.iter().take(n).any(|(_, other)| other == text) {
                let what = format!("`{}` stands twice in `{key}`", short(text));
                self.note(*at, what, Some("remove one of them"));
            }
        }
        texts.into_iter().map(|(_, text)| text.to_owned()).collect()
    }
}
