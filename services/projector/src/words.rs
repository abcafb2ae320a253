//! The words that stand in columns: the same as in the events themselves.

use events::{
    ChannelKind, Claim, DeliveryKind, DeviceClass, Flag, GroupMode, Health, IncidentClass, IncidentKind,
    IncidentState, Learned, NodeKind, NoticeKind, Probe, SignalSource, Tier, Urgency,
};

pub(crate) const fn tier(tier: Tier) -> &'static str {
    match tier {
        Tier::Core => "core",
        Tier::Site => "site",
        Tier::Sector => "sector",
        Tier::Station => "station",
        Tier::Subscriber => "subscriber",
    }
}

pub(crate) const fn kind(kind: NodeKind) -> &'static str {
    match kind {
        NodeKind::Device { .. } => "device",
        NodeKind::Link => "link",
        NodeKind::Subscriber => "subscriber",
        NodeKind::Service => "service",
        NodeKind::Upstream => "upstream",
    }
}

pub(crate) const fn class(class: DeviceClass) -> &'static str {
    match class {
        DeviceClass::Router => "router",
        DeviceClass::Switch => "switch",
        DeviceClass::SectorAp => "sector_ap",
        DeviceClass::Backhaul => "backhaul",
        DeviceClass::Station => "station",
        DeviceClass::Server => "server",
        DeviceClass::Other => "other",
    }
}

pub(crate) const fn probe(probe: Probe) -> &'static str {
    match probe {
        Probe::Icmp => "icmp",
        Probe::Tcp { .. } => "tcp",
        Probe::RouterOs => "router_os",
    }
}

pub(crate) const fn mode(mode: GroupMode) -> &'static str {
    match mode {
        GroupMode::Any => "any",
        GroupMode::All => "all",
        GroupMode::KOfN { .. } => "k_of_n",
    }
}

pub(crate) const fn via(kind: &ChannelKind) -> &'static str {
    match kind {
        ChannelKind::Webhook { .. } => "webhook",
        ChannelKind::Email { .. } => "email",
    }
}

pub(crate) const fn claim(claim: Claim) -> &'static str {
    match claim {
        Claim::Up => "up",
        Claim::Down => "down",
        Claim::Degraded => "degraded",
    }
}

pub(crate) const fn source(source: SignalSource) -> &'static str {
    match source {
        SignalSource::Ppp => "ppp",
        SignalSource::Dhcp => "dhcp",
        SignalSource::Netwatch => "netwatch",
        SignalSource::Heartbeat => "heartbeat",
        SignalSource::ProxyPing => "proxy_ping",
        SignalSource::RollCall => "roll_call",
        SignalSource::Snmp => "snmp",
        SignalSource::Reconcile => "reconcile",
        SignalSource::Syslog => "syslog",
        SignalSource::Radius => "radius",
        SignalSource::Zabbix => "zabbix",
        SignalSource::Api => "api",
        SignalSource::Person => "person",
    }
}

pub(crate) const fn health(health: Health) -> &'static str {
    match health {
        Health::Up => "up",
        Health::Down => "down",
        Health::Impacted => "impacted",
        Health::Degraded => "degraded",
        Health::Unknown => "unknown",
    }
}

pub(crate) const fn learned(learned: Learned) -> &'static str {
    match learned {
        Learned::Push => "push",
        Learned::Poll => "poll",
        Learned::Reconcile => "reconcile",
    }
}

pub(crate) const fn flag(flag: Flag) -> &'static str {
    match flag {
        Flag::Suspect => "suspect",
        Flag::Recovering => "recovering",
        Flag::Flapping => "flapping",
        Flag::AtRisk => "at_risk",
        Flag::Maintenance => "maintenance",
        Flag::MapDisagrees => "map_disagrees",
    }
}

pub(crate) const fn incident_class(class: IncidentClass) -> &'static str {
    match class {
        IncidentClass::Outage => "outage",
        IncidentClass::SessionsLost => "sessions_lost",
        IncidentClass::Redundancy => "redundancy",
        IncidentClass::Blind => "blind",
    }
}

pub(crate) const fn incident_state(state: IncidentState) -> &'static str {
    match state {
        IncidentState::Open => "open",
        IncidentState::Recovering => "recovering",
        IncidentState::Resolved => "resolved",
        IncidentState::Merged => "merged",
        IncidentState::Closed => "closed",
    }
}

pub(crate) const fn incident_kind(kind: IncidentKind) -> &'static str {
    match kind {
        IncidentKind::Opened => "opened",
        IncidentKind::Changed => "changed",
        IncidentKind::Recovering => "recovering",
        IncidentKind::Relapsed => "relapsed",
        IncidentKind::Merged => "merged",
        IncidentKind::Resolved => "resolved",
        IncidentKind::Acknowledged => "acknowledged",
        IncidentKind::Closed => "closed",
    }
}

pub(crate) const fn urgency(urgency: Urgency) -> &'static str {
    match urgency {
        Urgency::Low => "low",
        Urgency::Normal => "normal",
        Urgency::Urgent => "urgent",
    }
}

pub(crate) const fn notice(kind: NoticeKind) -> &'static str {
    match kind {
        NoticeKind::Addressed => "addressed",
        NoticeKind::Withdrawn => "withdrawn",
    }
}

pub(crate) const fn delivery(kind: DeliveryKind) -> &'static str {
    match kind {
        DeliveryKind::Attempted => "attempted",
        DeliveryKind::Delivered => "delivered",
        DeliveryKind::Deferred => "deferred",
        DeliveryKind::Refused => "refused",
        DeliveryKind::Unknown => "unknown",
        DeliveryKind::Dropped => "dropped",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, to_value};

    fn same(word: &str, value: impl serde::Serialize, tag: &str) {
        let json = to_value(value).unwrap();
        let said = if tag.is_empty() { &json } else { &json[tag] };
        assert_eq!(said, &Value::from(word));
    }

    #[test]
    fn every_word_is_that_of_the_event() {
        for t in Tier::ALL {
            same(tier(t), t, "");
        }
        use DeviceClass::{Backhaul, Other, Router, SectorAp, Server, Station, Switch};
        for c in [Router, Switch, SectorAp, Backhaul, Station, Server, Other] {
            same(class(c), c, "");
        }
        use NodeKind::{Device, Link, Service, Subscriber, Upstream};
        for k in [Device { class: Router }, Link, Service, Subscriber, Upstream] {
            same(kind(k), k, "kind");
        }
        for p in [Probe::Icmp, Probe::Tcp { port: 1 }, Probe::RouterOs] {
            same(probe(p), p, "method");
        }
        for m in [GroupMode::Any, GroupMode::All, GroupMode::KOfN { k: 2 }] {
            same(mode(m), m, "mode");
        }
        for c in [Claim::Up, Claim::Down, Claim::Degraded] {
            same(claim(c), c, "");
        }
        use SignalSource as S;
        for s in [
            S::Ppp,
            S::Dhcp,
            S::Netwatch,
            S::Heartbeat,
            S::ProxyPing,
            S::RollCall,
            S::Snmp,
            S::Reconcile,
            S::Syslog,
            S::Radius,
            S::Zabbix,
            S::Api,
            S::Person,
        ] {
            same(source(s), s, "");
        }
        for h in [Health::Up, Health::Down, Health::Impacted, Health::Degraded, Health::Unknown] {
            same(health(h), h, "");
        }
        use Flag::{AtRisk, Flapping, Maintenance, MapDisagrees, Recovering, Suspect};
        for f in [Suspect, Recovering, Flapping, AtRisk, Maintenance, MapDisagrees] {
            same(flag(f), f, "");
        }
        use IncidentClass::{Blind, Outage, Redundancy, SessionsLost};
        for c in [Outage, SessionsLost, Redundancy, Blind] {
            same(incident_class(c), c, "");
        }
        use IncidentState as I;
        for s in [I::Open, I::Recovering, I::Resolved, I::Merged, I::Closed] {
            same(incident_state(s), s, "");
        }
        use IncidentKind as K;
        for k in [
            K::Opened,
            K::Changed,
            K::Recovering,
            K::Relapsed,
            K::Merged,
            K::Resolved,
            K::Acknowledged,
            K::Closed,
        ] {
            same(incident_kind(k), k, "");
        }
        for u in [Urgency::Low, Urgency::Normal, Urgency::Urgent] {
            same(urgency(u), u, "");
        }
        for n in [NoticeKind::Addressed, NoticeKind::Withdrawn] {
            same(notice(n), n, "");
        }
        use DeliveryKind as D;
        for d in [D::Attempted, D::Delivered, D::Deferred, D::Refused, D::Unknown, D::Dropped] {
            same(delivery(d), d, "");
        }
    }
}
