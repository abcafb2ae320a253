//! The file as text again: [`crate::parse`] reads it back to the same.

use crate::{
    NetworkFile,
    duration::write_ms,
    lab::{Lab, LabHints},
    model::{
        ChannelEntry, Need, NodeEntry, Opens, SeenBy, ServiceEntry, Session, SiteEntry, Subscriber,
        TokenEntry, Via,
    },
    read::{class_name, tier_name, tier_of},
};
use events::{NodeKind, Policy, Probe, Tier, Watch, Window};
use std::fmt::Write;

/// From how many alike subscribers on they stand in a table.
const TABLE_MIN: usize = 5;

impl NetworkFile {
    /// All of it as YAML. Secrets stand in it written out: treat the text as one.
    ///
    /// What is as it would be anyway is left out. Comments of a file that was read are gone.
    pub fn to_yaml(&self) -> String {
        let mut out = String::with_capacity(200 * (self.nodes.len() + self.subscribers.len()) + 1_000);
        let tenant = Flow::new().text("id", &self.tenant.slug).text("name", &self.tenant.name).done();
        line(&mut out, format_args!("version: 1\ntenant: {tenant}"));
        let policy = policy(&self.policy);
        if policy != "{}" {
            line(&mut out, format_args!("policy: {policy}"));
        }
        section(&mut out, "channels", &self.channels, channel);
        section(&mut out, "tokens", &self.tokens, token);
        section(&mut out, "sites", &self.sites, site);
        for (key, is_of) in [
            ("devices", (|kind| matches!(kind, NodeKind::Device { .. })) as fn(NodeKind) -> bool),
            ("links", |kind| kind == NodeKind::Link),
            ("services", |kind| kind == NodeKind::Service),
            ("upstreams", |kind| kind == NodeKind::Upstream),
        ] {
            let nodes: Vec<&NodeEntry> = self.nodes.iter().filter(|node| is_of(node.kind)).collect();
            section(&mut out, key, &nodes, |node| self::node(node));
        }
        section(&mut out, "meshes", &self.meshes, |mesh| {
            Flow::new()
                .text("id", &mesh.id)
                .texts("members", &mesh.members)
                .texts("links", &mesh.links)
                .texts("gateways", &mesh.gateways)
                .done()
        });
        subscribers(&mut out, &self.subscribers);
        lab(&mut out, &self.lab);
        out
    }
}

fn section<T>(out: &mut String, key: &str, items: &[T], write: impl Fn(&T) -> String) {
    if !items.is_empty() {
        line(out, format_args!("\n{key}:"));
        for item in items {
            line(out, format_args!("  - {}", write(item)));
        }
    }
}

fn line(out: &mut String, what: std::fmt::Arguments<'_>) {
    writeln!(out, "{what}").expect("writing to a string does not fail");
}

/// A mapping that is being written: on one line, or as an item of a list with a line for each key.
struct Flow {
    text: String,
    block: bool,
}

impl Flow {
    fn new() -> Self {
        Self { text: String::from("{"), block: false }
    }

    fn block() -> Self {
        Self { text: String::new(), block: true }
    }

    /// `value` as it is.
    fn raw(mut self, key: &str, value: impl std::fmt::Display) -> Self {
        if self.text.len() > 1 {
            self.text.push_str(if self.block { "\n    " } else { ", " });
        }
        write!(self.text, "{key}: {value}").expect("writing to a string does not fail");
        self
    }

    fn text(self, key: &str, value: &str) -> Self {
        self.raw(key, scalar(value))
    }

    fn maybe(self, key: &str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.text(key, value),
            None => self,
        }
    }

    /// A list, if there is anything in it.
    fn texts(self, key: &str, values: &[String]) -> Self {
        if values.is_empty() { self } else { self.raw(key, list(values.iter().map(|value| scalar(value)))) }
    }

    fn done(mut self) -> String {
        if !self.block {
            self.text.push('}');
        }
        self.text
    }
}

fn list(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(", "))
}

/// `text` plain where that cannot be read as anything else, else in double quotes.
fn scalar(text: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || matches!(c, ' ' | '.' | '_' | '-' | '/' | '@' | '+' | '%');
    let edge = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    let is_plain = text.chars().all(plain)
        && edge(text.chars().next())
        && text.chars().next_back().is_some_and(|c| c != ' ')
        && text != "null";
    if is_plain {
        return text.to_owned();
    }
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            // Such as the line separators of Unicode, which YAML would fold.
            c if c.is_control()
                || matches!(c, '\u{85}' | '\u{a0}' | '\u{2028}' | '\u{2029}' | '\u{feff}') =>
            {
                write!(quoted, "\\U{:08X}", u32::from(c)).expect("writing to a string does not fail");
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

fn policy(policy: &Policy) -> String {
    let default = Policy::default();
    let mut flow = Flow::new();
    for (key, ms, default_ms) in [
        ("resolve_hold", policy.resolve_hold_ms, default.resolve_hold_ms),
        ("recover_hold", policy.recover_hold_ms, default.recover_hold_ms),
        ("blind_after_boot", policy.blind_after_boot_ms, default.blind_after_boot_ms),
        ("escalate_after", policy.escalate_after_ms, default.escalate_after_ms),
    ] {
        if ms != default_ms {
            flow = flow.raw(key, write_ms(u64::from(ms)));
        }
    }
    if policy.walks_per_hour != default.walks_per_hour {
        flow = flow.raw("walks_per_hour", policy.walks_per_hour);
    }
    flow.done()
}

fn channel(channel: &ChannelEntry) -> String {
    let flow = Flow::new().text("name", &channel.name).text("audience", channel.audience.name());
    match &channel.via {
        Via::Webhook { url, secret } => {
            flow.raw("webhook", Flow::new().text("url", url).text("secret", secret.reveal()).done())
        }
        Via::Email { server, from, to, login } => {
            let mut email = Flow::new().text("server", server).text("from", from).texts("to", to);
            if let Some((user, password)) = login {
                email = email.text("user", user.reveal()).text("password", password.reveal());
            }
            flow.raw("email", email.done())
        }
    }
    .done()
}

fn token(token: &TokenEntry) -> String {
    let opens = match token.opens {
        Opens::Signals => "signals",
        Opens::Console => "console",
    };
    Flow::new()
        .text("name", &token.name)
        .text("for", opens)
        .text("token", token.token.reveal())
        .texts("from", &token.from)
        .done()
}

fn site(site: &SiteEntry) -> String {
    let flow = Flow::new()
        .text("id", &site.id)
        .maybe("name", (site.name != site.id).then_some(&site.name))
        .maybe("address", site.address.as_deref());
    match site.coordinates_udeg {
        Some((north, east)) => flow.raw("coordinates", list([degrees(north), degrees(east)].into_iter())),
        None => flow,
    }
    .done()
}

fn degrees(udeg: i32) -> String {
    let sign = if udeg < 0 { "-" } else { "" };
    let udeg = udeg.unsigned_abs();
    format!("{sign}{}.{:06}", udeg / 1_000_000, udeg % 1_000_000)
}

/// A router as a block, since there is much to say of it; anything else on one line.
fn node(node: &NodeEntry) -> String {
    let flow = if node.login.is_some() { Flow::block() } else { Flow::new() };
    let mut flow = flow.text("id", &node.id);
    flow = flow.maybe("name", (node.name != node.id).then_some(&node.name));
    let usual_tier = match node.kind {
        NodeKind::Device { class } => {
            flow = flow.raw("class", class_name(class));
            tier_of(class)
        }
        NodeKind::Link => Tier::Sector,
        NodeKind::Service | NodeKind::Subscriber => Tier::Site,
        NodeKind::Upstream => Tier::Core,
    };
    if node.tier != usual_tier {
        flow = flow.raw("tier", tier_name(node.tier));
    }
    if let Some((a, b)) = &node.ends {
        flow = flow.raw("ends", list([scalar(a), scalar(b)].into_iter()));
    }
    flow = needs(flow.maybe("site", node.site.as_deref()), &node.needs);
    if let Some(address) = node.address {
        flow = flow.text("address", &address.to_string());
    }
    if let Some(watch) = &node.watch {
        flow = flow.raw("heartbeat", heartbeat(watch));
    }
    if let SeenBy::Written(router) = &node.seen_by {
        flow = flow.text("seen_by", router);
    }
    if let Some(login) = &node.login {
        let mut inner =
            Flow::new().text("user", login.user.reveal()).text("password", login.password.reveal());
        if login.port != if login.tls { 8729 } else { 8728 } {
            inner = inner.raw("port", login.port);
        }
        if login.tls {
            inner = inner.raw("tls", "on");
        }
        if let Some(certificate) = login.certificate {
            inner = inner.text("certificate", &certificate.to_string());
        }
        if login.manage {
            inner = inner.raw("manage", "on");
        }
        if login.enforce {
            inner = inner.raw("enforce", "on");
        }
        flow = flow.raw("login", inner.done());
    }
    if let Some(webhook) = &node.webhook {
        let inner = Flow::new().text("token", webhook.token.reveal()).texts("from", &webhook.from);
        flow = flow.raw("webhook", inner.done());
    }
    if let Some(owner) = &node.owner {
        let inner = Flow::new().text("account", &owner.account).maybe("ticket", owner.ticket_url.as_deref());
        flow = flow.raw("owner", inner.done());
    }
    maintenance(flow, &node.maintenance).done()
}

fn heartbeat(watch: &Watch) -> String {
    let probe = match watch.probe {
        Probe::Icmp => "icmp".to_owned(),
        Probe::Tcp { port } => format!("tcp:{port}"),
        Probe::RouterOs => "routeros".to_owned(),
    };
    let every = write_ms(u64::from(watch.every_s) * 1_000);
    Flow::new().text("probe", &probe).raw("every", every).done()
}

fn needs(flow: Flow, needs: &[Need]) -> Flow {
    match needs {
        [] => flow,
        [Need::Node(parent)] => flow.text("parent", parent),
        several => flow.raw("needs", list(several.iter().map(need))),
    }
}

fn need(needed: &Need) -> String {
    match needed {
        Need::Node(id) => scalar(id),
        Need::Any(of) => Flow::new().raw("any", list(of.iter().map(need))).done(),
        Need::All(of) => Flow::new().raw("all", list(of.iter().map(need))).done(),
        Need::KOfN { k, of } => Flow::new().raw("k_of_n", k).raw("of", list(of.iter().map(need))).done(),
    }
}

fn maintenance(flow: Flow, windows: &[Window]) -> Flow {
    if windows.is_empty() {
        return flow;
    }
    let windows = windows.iter().map(|window| {
        let reason = (!window.reason.is_empty()).then_some(window.reason.as_str());
        Flow::new()
            .text("from", &window.from.to_string())
            .text("until", &window.until.to_string())
            .maybe("reason", reason)
            .done()
    });
    flow.raw("maintenance", list(windows))
}

fn subscribers(out: &mut String, all: &[Subscriber]) {
    let runs: Vec<&[Subscriber]> = all.chunk_by(is_alike).collect();
    let fit_tables = runs.iter().all(|run| run.len() >= TABLE_MIN && run.iter().all(fits_a_row));
    if fit_tables && !all.is_empty() {
        line(out, format_args!("\nsubscriber_tables:"));
        runs.iter().for_each(|run| table(out, run));
    } else {
        section(out, "subscribers", all, subscriber);
    }
}

/// Whether two subscribers can stand in one table.
fn is_alike(a: &Subscriber, b: &Subscriber) -> bool {
    a.plan == b.plan
        && a.concentrators == b.concentrators
        && session_key(&a.session).0 == session_key(&b.session).0
}

/// Whether nothing has to be said of it but account, parent and session.
fn fits_a_row(subscriber: &Subscriber) -> bool {
    matches!(subscriber.needs.as_slice(), [Need::Node(_)])
        && subscriber.site.is_none()
        && subscriber.ticket.is_none()
        && subscriber.person.is_none()
        && subscriber.service.is_none()
        && subscriber.maintenance.is_empty()
}

fn session_key(session: &Session) -> (Option<&'static str>, String) {
    match session {
        Session::Pppoe(user) => (Some("user"), scalar(user.reveal())),
        Session::Mac(mac) => (Some("mac"), scalar(mac.reveal())),
        Session::Static(address) => (Some("address"), scalar(&address.to_string())),
        Session::None => (None, String::new()),
    }
}

fn table(out: &mut String, run: &[Subscriber]) {
    let Some(first) = run.first() else { return };
    let (session, _) = session_key(&first.session);
    let columns = ["account", "parent"].into_iter().chain(session).map(str::to_owned);
    line(out, format_args!("  - columns: {}", list(columns)));
    if let Some(plan) = &first.plan {
        line(out, format_args!("    plan: {}", scalar(plan)));
    }
    if !first.concentrators.is_empty() {
        line(
            out,
            format_args!("    concentrator: {}", list(first.concentrators.iter().map(|id| scalar(id)))),
        );
    }
    line(out, format_args!("    rows:"));
    for subscriber in run {
        let parent = subscriber.needs.iter().map(need);
        let (_, session) = session_key(&subscriber.session);
        let session = (!session.is_empty()).then_some(session);
        let cells = std::iter::once(scalar(&subscriber.account)).chain(parent).chain(session);
        line(out, format_args!("      - {}", list(cells)));
    }
}

fn subscriber(subscriber: &Subscriber) -> String {
    let mut flow = needs(Flow::new().text("account", &subscriber.account), &subscriber.needs);
    if let (Some(key), text) = session_key(&subscriber.session) {
        flow = flow.raw(key, text);
    }
    flow = flow
        .texts("concentrator", &subscriber.concentrators)
        .maybe("site", subscriber.site.as_deref())
        .maybe("plan", subscriber.plan.as_deref())
        .maybe("ticket", subscriber.ticket.as_deref());
    if let Some(person) = &subscriber.person {
        let inner = Flow::new()
            .maybe("name", person.name.as_ref().map(crate::Secret::reveal))
            .maybe("phone", person.phone.as_ref().map(crate::Secret::reveal))
            .maybe("address", person.address.as_ref().map(crate::Secret::reveal));
        flow = flow.raw("person", inner.done());
    }
    if let Some(service) = &subscriber.service {
        flow = flow.raw("service", entitled(service));
    }
    maintenance(flow, &subscriber.maintenance).done()
}

fn entitled(service: &ServiceEntry) -> String {
    let rate = service.rate.map(|rate| format!("{}/{}", rate.up_bps, rate.down_bps));
    let address = service.address.map(|address| address.to_string());
    Flow::new()
        .text("state", service.state.name())
        .maybe("profile", service.profile.as_deref())
        .maybe("rate", rate.as_deref())
        .maybe("address", address.as_deref())
        .maybe("password", service.password.as_ref().map(crate::Secret::reveal))
        .done()
}

fn lab(out: &mut String, lab: &Lab) {
    if *lab == Lab::default() {
        return;
    }
    line(out, format_args!("\nlab:"));
    if let Some(url) = &lab.reports_to {
        line(out, format_args!("  reports_to: {}", scalar(url)));
    }
    for (key, value) in hints(&lab.defaults) {
        line(out, format_args!("  {key}: {value}"));
    }
    if !lab.nodes.is_empty() {
        line(out, format_args!("  nodes:"));
        for (id, of_node) in &lab.nodes {
            let flow =
                hints(of_node).into_iter().fold(Flow::new(), |flow, (key, value)| flow.raw(key, value));
            line(out, format_args!("    {}: {}", scalar(id), flow.done()));
        }
    }
}

fn hints(hints: &LabHints) -> Vec<(&'static str, String)> {
    let switch = |on: bool| if on { "on" } else { "off" }.to_owned();
    let span = |ms: u32| write_ms(u64::from(ms));
    let all = [
        ("version", hints.version.as_deref().map(scalar)),
        ("latency", hints.latency_us.map(|us| span(us / 1_000))),
        ("loss", hints.loss_ppm.map(|ppm| format!("{}.{:04}%", ppm / 10_000, ppm % 10_000))),
        ("netwatch", hints.netwatch.map(switch)),
        ("netwatch_every", hints.netwatch_every_ms.map(span)),
        ("netwatch_delay", hints.netwatch_delay_ms.map(span)),
        ("ppp_scripts", hints.ppp_scripts.map(switch)),
        ("session_timeout", hints.session_timeout_ms.map(span)),
        ("boot", hints.boot_ms.map(span)),
        ("lease_time", hints.lease_time_ms.map(span)),
        ("rights", hints.rights.map(|rights| rights.name().to_owned())),
        ("device_mode", hints.device_mode.map(|mode| mode.name().to_owned())),
        ("radius", hints.radius.map(switch)),
        ("lived_in", hints.lived_in.map(switch)),
        ("clock_behind", hints.clock_behind_s.map(|s| write_ms(u64::from(s) * 1_000))),
        ("bridges", hints.bridges.map(switch)),
    ];
    all.into_iter().filter_map(|(key, value)| Some((key, value?))).collect()
}
