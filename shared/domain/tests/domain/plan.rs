//! A plan leads from what a router is to what it should be, and touches nothing that is not ours.

use std::collections::BTreeMap;

use domain::plan::script::{Pusher, Says};
use domain::plan::{Actual, Desired, Menu, Plan, Row, Snitches, Unread, Watched, plan, without_snitches};
use proptest::prelude::*;
use proptest::sample::Index;

const MENUS: [Menu; 9] = [
    Menu::Scripts,
    Menu::Tasks,
    Menu::DhcpServers,
    Menu::Profiles,
    Menu::Netwatch,
    Menu::Secrets,
    Menu::AddressLists,
    Menu::Queues,
    Menu::Sessions,
];

fn pusher(url: &str) -> Pusher {
    Pusher { url: url.into(), token: "mw_pg2c5dgruwdz_0123456789".into(), checks_certificate: false }
}

fn row(id: usize, values: &[(&str, &str)]) -> Row {
    let values = values.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Row { id: format!("*{id:X}"), values: values.collect() }
}

/// Lines that somebody else wrote, none of which is ours.
fn theirs() -> impl Strategy<Value = String> {
    let line = prop::sample::select(vec![
        ":log info \"hello\"",
        "",
        "  # about mastwatch",
        ":local url \"http://elsewhere\"",
        "}\r",
        "/ip firewall address-list add list=seen address=$\"remote-address\"",
    ]);
    prop::collection::vec(line, 0..4).prop_map(|lines| lines.join("\n"))
}

/// Somebody's script, perhaps with ours in it: as it was installed by this or an earlier mastwatch.
fn script(says: Says) -> impl Strategy<Value = String> {
    let ours = prop::sample::select(vec![None, Some("http://now"), Some("http://before")]);
    (theirs(), ours, theirs()).prop_map(move |(before, ours, after)| match ours {
        None => before,
        Some(url) => {
            let lines = pusher(url).session(says);
            let before = if before.is_empty() { String::new() } else { before + "\n" };
            format!("{before}{lines}{after}")
        }
    })
}

fn snitches() -> impl Strategy<Value = Snitches> {
    let watched = prop::collection::btree_set(0_u8..8, 0..6);
    (watched, any::<[bool; 4]>()).prop_map(|(watched, [sessions, leases, scheduler, has_types])| Snitches {
        pusher: pusher("http://now"),
        sessions,
        leases,
        scheduler,
        watched: watched
            .into_iter()
            .map(|n| Watched { id: format!("ap-{n}"), host: [10, 0, 0, n].into() })
            .collect(),
        interval_s: 30,
        timeout_ms: 2000,
        has_types,
    })
}

/// A router somebody uses, on which earlier plans of ours may have left things.
fn router() -> impl Strategy<Value = Actual> {
    let netwatch = prop::collection::vec((0_u8..8, any::<[bool; 3]>()), 0..8);
    let profiles = prop::collection::vec((script(Says::Up), script(Says::Down)), 1..4);
    let parked = any::<[bool; 2]>();
    (netwatch, profiles, parked, theirs(), 0_u8..6).prop_map(
        |(netwatch, profiles, [script, task], lease, secrets)| {
            let mut actual = Actual::default();
            let mut id = 0;
            let mut next = || {
                id += 1;
                id
            };
            let mut told: BTreeMap<Menu, Vec<Row>> = MENUS.into_iter().map(|menu| (menu, vec![])).collect();
            let mut put =
                |menu, values: &[(&str, &str)]| told.get_mut(&menu).unwrap().push(row(next(), values));
            put(Menu::Scripts, &[("name", "nightly"), ("policy", "read")]);
            if script {
                put(Menu::Scripts, &[("name", "mastwatch-parked"), ("policy", "read")]);
            }
            if task {
                put(
                    Menu::Tasks,
                    &[("name", "mastwatch-parked"), ("interval", "00:01:00"), ("on-event", "old")],
                );
                put(Menu::Tasks, &[("name", "mastwatch-older"), ("on-event", "old")]);
            }
            put(Menu::DhcpServers, &[("name", "dhcp1"), ("lease-script", &lease)]);
            for (n, (up, down)) in profiles.iter().enumerate() {
                put(Menu::Profiles, &[("name", &format!("profile-{n}")), ("on-up", up), ("on-down", down)]);
            }
            for (n, [ours, right, disabled]) in netwatch {
                let (host, up) =
                    (format!("10.0.0.{n}"), pusher("http://now").netwatch(&format!("ap-{n}"), Says::Up));
                let comment = if ours { format!("mastwatch:ap-{n}") } else { "theirs".to_owned() };
                let up = if right { up.as_str() } else { "old" };
                let disabled = if disabled { "true" } else { "false" };
                let entry =
                    [("host", &*host), ("up-script", up), ("disabled", disabled), ("comment", &comment)];
                put(Menu::Netwatch, &entry);
            }
            for n in 0..secrets {
                put(Menu::Secrets, &[("name", &format!("cust-{n}")), ("profile", "default")]);
            }
            for (menu, rows) in told {
                actual.told(menu, rows);
            }
            actual
        },
    )
}

/// What a router has after the first `count` changes.
fn applied(actual: &Actual, plan: &Plan, count: usize) -> Actual {
    let mut after = actual.clone();
    for (n, change) in plan.changes.iter().take(count).enumerate() {
        after.after(change, &format!("*F{n:X}"));
    }
    after
}

/// What of a router is not ours: rows without our marker, their scripts without our lines.
fn foreign(actual: &Actual) -> Vec<(Menu, Row)> {
    let mut foreign = Vec::new();
    for menu in MENUS {
        for row in actual.rows(menu).unwrap() {
            if row.key(menu).is_some() {
                continue;
            }
            let mut row = row.clone();
            for script in ["on-up", "on-down", "lease-script"] {
                if let Some(text) = row.values.get_mut(script) {
                    *text = without_ours(text);
                }
            }
            foreign.push((menu, row));
        }
    }
    foreign
}

/// The lines of a script that stand outside of our marks: what the program is held against shares no code with it.
fn without_ours(text: &str) -> String {
    let mut inside = false;
    let mut kept = Vec::new();
    for line in text.lines() {
        inside |= line.trim().starts_with("# mastwatch begin");
        if !inside && !line.trim().is_empty() {
            kept.push(line.trim_end());
        }
        inside &= line.trim() != "# mastwatch end";
    }
    kept.join("\n")
}

/// A router without the ids that it drew itself, in no order of rows.
fn shape(actual: &Actual) -> Vec<(Menu, BTreeMap<String, String>)> {
    let mut shape: Vec<_> = MENUS
        .into_iter()
        .flat_map(|menu| actual.rows(menu).unwrap().iter().map(move |row| (menu, row.values.clone())))
        .collect();
    shape.sort();
    shape
}

fn any_desired() -> impl Strategy<Value = Desired> {
    prop_oneof![snitches().prop_map(|snitches| snitches.desired()), Just(without_snitches()),]
}

proptest! {
    /// The second run writes nothing.
    #[test]
    fn a_router_that_did_as_planned_has_nothing_left_to_do(actual in router(), desired in any_desired()) {
        let first = plan(&actual, &desired).unwrap();
        let second = plan(&applied(&actual, &first, usize::MAX), &desired).unwrap();
        prop_assert_eq!(second.changes, []);
    }

    /// Killed at any step, the next run finishes it, and nothing is doubled.
    #[test]
    fn a_plan_that_was_broken_off_and_made_anew_ends_at_the_same_state(
        actual in router(), desired in any_desired(), at in any::<Index>(),
    ) {
        let whole = plan(&actual, &desired).unwrap();
        let broken_off = applied(&actual, &whole, at.index(whole.changes.len() + 1));
        let rest = plan(&broken_off, &desired).unwrap();
        let ended = applied(&broken_off, &rest, usize::MAX);
        prop_assert_eq!(shape(&ended), shape(&applied(&actual, &whole, usize::MAX)));
    }

    /// Nobody's row goes, nobody's line changes.
    #[test]
    fn nothing_that_is_not_ours_is_touched(actual in router(), desired in any_desired()) {
        let plan = plan(&actual, &desired).unwrap();
        prop_assert_eq!(foreign(&applied(&actual, &plan, usize::MAX)), foreign(&actual));
    }

    /// Uninstalling leaves what was there before we came, and nothing of ours.
    #[test]
    fn what_was_installed_can_be_taken_out_without_a_trace(actual in router(), snitches in snitches()) {
        let clean = plan(&actual, &without_snitches()).unwrap();
        let clean = applied(&actual, &clean, usize::MAX);
        let installed = applied(&clean, &plan(&clean, &snitches.desired()).unwrap(), usize::MAX);
        let taken = plan(&installed, &without_snitches()).unwrap();
        prop_assert_eq!(shape(&applied(&installed, &taken, usize::MAX)), shape(&clean));
        prop_assert!(MENUS[..5].iter().all(|menu| clean.rows(*menu).unwrap().iter().all(|r| r.key(*menu).is_none())));
    }

    /// What is desired is what is there afterwards.
    #[test]
    fn a_router_is_as_desired_afterwards(actual in router(), snitches in snitches()) {
        let after = applied(&actual, &plan(&actual, &snitches.desired()).unwrap(), usize::MAX);
        for watched in &snitches.watched {
            let marked: Vec<&Row> = after.rows(Menu::Netwatch).unwrap().iter()
                .filter(|row| row.get("comment") == format!("mastwatch:{}", watched.id)).collect();
            prop_assert_eq!(marked.len(), 1);
            prop_assert_eq!(marked[0].get("host"), watched.host.to_string());
            prop_assert_eq!(marked[0].get("interval"), "30s");
            prop_assert!(marked[0].get("disabled") == "no" || marked[0].get("disabled") == "false");
            prop_assert_eq!(marked[0].get("down-script"), snitches.pusher.netwatch(&watched.id, Says::Down));
        }
        for profile in after.rows(Menu::Profiles).unwrap() {
            let count = profile.get("on-up").matches("# mastwatch begin").count();
            prop_assert_eq!(count, usize::from(snitches.sessions));
        }
    }
}

fn quiet() -> Actual {
    let mut actual = Actual::default();
    for menu in MENUS {
        actual.told(menu, vec![]);
    }
    actual
}

#[test]
fn a_menu_that_was_not_read_is_not_empty() {
    let mut desired = Desired::default();
    desired.keep(Menu::Netwatch);
    assert_eq!(plan(&Actual::default(), &desired), Err(Unread(Menu::Netwatch)));
}

/// Nothing that is printed of a plan can be used by who reads it.
#[test]
fn no_token_is_ever_printed() {
    let snitches = Snitches {
        pusher: pusher("http://now"),
        sessions: true,
        leases: true,
        scheduler: true,
        watched: vec![Watched { id: "ap".into(), host: [10, 0, 0, 1].into() }],
        interval_s: 30,
        timeout_ms: 2000,
        has_types: true,
    };
    let desired = snitches.desired();
    let planned = plan(&quiet(), &desired).unwrap();
    let after = applied(&quiet(), &planned, usize::MAX);
    let printed = [
        format!("{snitches:?}"),
        format!("{desired:?}"),
        format!("{planned:?}"),
        format!("{after:?}"),
        planned.shown(),
    ];
    for text in printed {
        assert!(!text.contains("0123456789"), "{text}");
    }
}

proptest! {
    /// A router may tell anything.
    #[test]
    fn whatever_a_router_tells_a_plan_is_made(texts in prop::collection::vec("[0-9a-zMk:/,!# \n.%ü]{0,24}", 8)) {
        let mut actual = quiet();
        let names = ["interval", "timeout", "disabled", "policy", "on-event", "up-script", "down-script", "host"];
        let values = names.into_iter().zip(texts.iter().map(String::as_str));
        let values: Vec<(&str, &str)> = values.chain([("comment", "mastwatch:ap"), ("name", "mastwatch-parked")]).collect();
        actual.told(Menu::Netwatch, vec![row(1, &values)]);
        actual.told(Menu::Tasks, vec![row(1, &values)]);
        actual.told(Menu::Profiles, vec![row(1, &[("on-up", &texts[0]), ("on-down", &texts[1])])]);
        let watched = vec![Watched { id: "ap".into(), host: [10, 0, 0, 1].into() }];
        let snitches = Snitches {
            pusher: pusher("http://now"), sessions: true, leases: false, scheduler: true, watched,
            interval_s: 30, timeout_ms: 2000, has_types: true,
        };
        let first = plan(&actual, &snitches.desired()).unwrap();
        let second = plan(&applied(&actual, &first, usize::MAX), &snitches.desired()).unwrap();
        prop_assert_eq!(second.changes, []);
    }
}

#[test]
fn where_a_script_is_named_no_lines_are_added_and_the_operator_is_told() {
    let mut actual = quiet();
    actual.told(Menu::DhcpServers, vec![row(1, &[("name", "dhcp1"), ("lease-script", "on-lease")])]);
    let mut desired = Desired::default();
    desired.block(Menu::DhcpServers, "lease-script", Some(pusher("http://now").lease()));
    let planned = plan(&actual, &desired).unwrap();
    assert!(planned.is_empty() && planned.obstacles.len() == 1, "{planned:?}");
    let told =
        "`lease-script` of row *1 of `/ip/dhcp-server` names the script `on-lease`: write it out there";
    assert_eq!(planned.obstacles[0].to_string(), told);
}

/// The reviewed texts: what stands in these files is what routers run.
#[test]
fn the_scripts_are_as_they_were_reviewed() {
    let pusher = Pusher {
        url: "http://192.0.2.10:8081".into(),
        token: "mw_pg2c5dgruwdz_0123456789".into(),
        checks_certificate: false,
    };
    let texts = [
        ("on-up", pusher.session(Says::Up)),
        ("on-down", pusher.session(Says::Down)),
        ("lease", pusher.lease()),
        ("netwatch-up", pusher.netwatch("sector-7", Says::Up)),
        ("netwatch-down", pusher.netwatch("sector-7", Says::Down)),
        ("drain", pusher.drain()),
    ];
    for (name, text) in texts {
        let path = format!("{}/tests/scripts/{name}.rsc", env!("CARGO_MANIFEST_DIR"));
        if std::env::var_os("MASTWATCH_WRITE").is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        let reviewed = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(text, reviewed, "{path}");
        // Version 6 takes 4 KiB of text in a variable, and this is one value of a row.
        assert!(text.len() < 4096, "{name}: {} bytes", text.len());
    }
}

/// A dry run shows the operator what would be written, and no token.
#[test]
fn a_dry_run_reads_as_it_would_be_typed() {
    let snitches = Snitches {
        pusher: Pusher {
            url: "http://192.0.2.10:8081".into(),
            token: "mw_pg2c5dgruwdz_0123456789".into(),
            checks_certificate: false,
        },
        sessions: true,
        leases: false,
        scheduler: true,
        watched: vec![Watched { id: "sector-7".into(), host: [10, 0, 0, 7].into() }],
        interval_s: 30,
        timeout_ms: 2000,
        has_types: true,
    };
    let mut actual = quiet();
    actual.told(Menu::Profiles, vec![row(1, &[("name", "default"), ("on-up", ":log info \"hello\"")])]);
    let shown = plan(&actual, &snitches.desired()).unwrap().shown();
    let path = format!("{}/tests/scripts/dry-run.txt", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("MASTWATCH_WRITE").is_some() {
        std::fs::write(&path, &shown).unwrap();
    }
    assert_eq!(shown, std::fs::read_to_string(&path).unwrap_or_default());
    assert!(!shown.contains("0123456789") && shown.lines().count() == 4, "{shown}");
}
