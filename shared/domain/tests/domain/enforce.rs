//! What subscribers are entitled to comes into force at a router, once, and nobody else is touched.

use domain::enforce::{Access, MENUS, NotOurs, SUSPENDED, Service, Step, active_count, steps};
use domain::plan::{Actual, Change, Menu, Row, Unread};
use events::{NodeId, Rate, ServiceState, TenantId};
use proptest::{prelude::*, sample::Index};
use std::collections::{BTreeMap, BTreeSet};

fn row(id: usize, values: &[(&str, &str)]) -> Row {
    let values = values.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Row { id: format!("*{id:X}"), values: values.collect() }
}

/// A router with these rows, and none else in the menus that are read.
fn router(rows: &[(Menu, &[(&str, &str)])]) -> Actual {
    let mut told: BTreeMap<Menu, Vec<Row>> = MENUS.into_iter().map(|menu| (menu, vec![])).collect();
    for (n, (menu, values)) in rows.iter().enumerate() {
        told.get_mut(menu).unwrap().push(row(n + 1, values));
    }
    let mut actual = Actual::default();
    told.into_iter().for_each(|(menu, rows)| actual.told(menu, rows));
    actual
}

fn account(n: u8) -> String {
    format!("acct-{n}")
}

/// One who dials in as `cust-<n>`.
fn dials(n: u8, state: ServiceState) -> Service {
    let access = Access::Pppoe { user: format!("cust-{n}"), password: None, address: None };
    Service {
        node: NodeId::of_account(TenantId::of("hillside"), &account(n)),
        account: account(n),
        access,
        state,
        profile: None,
        rate: None,
        ends: vec![],
        is_password_due: false,
    }
}

/// One whose address is `10.1.0.<n>`.
fn fixed(n: u8, state: ServiceState) -> Service {
    Service { access: Access::Static([10, 1, 0, n].into()), ..dials(n, state) }
}

/// One who is added with a password, to a plan and an address.
fn whole(n: u8, state: ServiceState) -> Service {
    let access = Access::Pppoe {
        user: format!("cust-{n}"),
        password: Some("hunter2".into()),
        address: Some([10, 2, 0, n].into()),
    };
    let rate = Some(Rate { up_bps: 2_000_000, down_bps: 10_000_000 });
    Service { access, profile: Some("gold".into()), rate, ..dials(n, state) }
}

/// Every change of these steps, as it would be typed.
fn typed(steps: &[Step]) -> Vec<String> {
    steps.iter().flat_map(|step| &step.changes).map(ToString::to_string).collect()
}

fn one(actual: &Actual, service: Service) -> Step {
    steps(actual, &[service]).unwrap().remove(0)
}

#[test]
fn who_is_suspended_is_disabled_before_his_session_ends_and_back_he_is_enabled_alone() {
    use ServiceState::{Active, Suspended};
    let on = router(&[
        (Menu::Secrets, &[("name", "cust-1"), ("disabled", "false")]),
        (Menu::Sessions, &[("name", "cust-1"), ("session-id", "0x81")]),
        (Menu::Sessions, &[("name", "cust-2"), ("session-id", "0x82")]),
    ]);
    let step = one(&on, dials(1, Suspended));
    let expected = ["/ppp secret set *1 disabled=yes # cust-1", "/ppp active remove *2 # cust-1"];
    assert_eq!(typed(std::slice::from_ref(&step)), expected);
    assert_eq!((step.cuts, step.ends), (true, vec!["0x81".to_owned()]));
    assert!(one(&on, dials(1, Active)).is_empty(), "he is served already");
    let off = router(&[(Menu::Secrets, &[("name", "cust-1"), ("disabled", "true")])]);
    let step = one(&off, dials(1, Active));
    assert_eq!(typed(std::slice::from_ref(&step)), ["/ppp secret set *1 disabled=no # cust-1"]);
    assert!(!step.cuts && one(&off, dials(1, Suspended)).is_empty());
}

#[test]
fn another_plan_takes_effect_by_a_new_session_and_whoever_goes_on_ends_the_old_one_only() {
    let session = |id| [("name", "cust-1"), ("session-id", id)];
    let before = [("name", "cust-1"), ("profile", "default"), ("disabled", "false")];
    let actual = router(&[(Menu::Secrets, &before), (Menu::Sessions, &session("0x81"))]);
    let wished = Service { profile: Some("gold".into()), ..dials(1, ServiceState::Active) };
    let step = one(&actual, wished.clone());
    let expected = ["/ppp secret set *1 profile=gold # cust-1", "/ppp active remove *2 # cust-1"];
    assert_eq!(typed(std::slice::from_ref(&step)), expected);
    // Killed after the first change: the secret does not tell any more that the session is an old one.
    let mut half = actual;
    half.after(&step.changes[0], "");
    assert!(one(&half, wished.clone()).is_empty());
    let again = Service { ends: step.ends, ..wished };
    assert_eq!(typed(&[one(&half, again.clone())]), ["/ppp active remove *2 # cust-1"]);
    let newer = router(&[
        (Menu::Secrets, &[("name", "cust-1"), ("profile", "gold")]),
        (Menu::Sessions, &session("0x82")),
    ]);
    assert!(one(&newer, again).is_empty(), "he has dialled in since");
}

#[test]
fn who_is_nowhere_is_added_with_our_mark_and_goes_when_his_service_ends() {
    let step = one(&router(&[]), whole(1, ServiceState::Active));
    let expected = [
        "/ppp secret add name=cust-1 password=\"…\" service=pppoe disabled=no profile=gold remote-address=10.2.0.1 comment=mastwatch:acct-1",
        "/queue simple add name=mastwatch-acct-1 target=10.2.0.1 max-limit=2000000/10000000 disabled=no comment=mastwatch:acct-1",
    ];
    assert_eq!(typed(std::slice::from_ref(&step)), expected);
    assert!(step.changes[0].attributes().contains(&("password", "hunter2")), "it is sent");
    assert!(!format!("{step:?}{:?}", step.changes[0].told()).contains("hunter2"), "and never shown");
    assert!(!step.cuts && step.not_ours.is_empty());
    let mut there = router(&[(Menu::Sessions, &[("name", "cust-1"), ("session-id", "0x9")])]);
    step.changes.iter().zip(["*A", "*B"]).for_each(|(change, id)| there.after(change, id));
    let gone = one(&there, whole(1, ServiceState::Ended));
    let expected = [
        "/ppp secret remove *A # cust-1",
        "/ppp active remove *1 # cust-1",
        "/queue simple remove *B # mastwatch-acct-1",
    ];
    assert_eq!((typed(std::slice::from_ref(&gone)), gone.cuts), (expected.map(str::to_owned).to_vec(), true));
    // The operator's own is disabled and stays.
    let theirs = router(&[(Menu::Secrets, &[("name", "cust-1"), ("comment", "by hand")])]);
    let step = one(&theirs, whole(1, ServiceState::Ended));
    assert_eq!(typed(std::slice::from_ref(&step)), ["/ppp secret set *1 disabled=yes # cust-1"]);
    assert_eq!(step.not_ours, BTreeSet::from([NotOurs::Secret]));
}

#[test]
fn what_is_not_ours_is_told() {
    use ServiceState::{Active, Suspended};
    let radius =
        router(&[(Menu::Sessions, &[("name", "cust-1"), ("radius", "true"), ("session-id", "0x9")])]);
    let step = one(&radius, whole(1, Suspended));
    assert_eq!(typed(std::slice::from_ref(&step))[0], "/ppp active remove *1 # cust-1");
    assert_eq!(step.not_ours, BTreeSet::from([NotOurs::NoSecret]));
    // He is not added beside RADIUS, which would take him out of it.
    assert_eq!(one(&radius, dials(1, Active)).changes, []);
    let nobody = one(&router(&[]), dials(1, Active));
    assert_eq!((nobody.changes.len(), nobody.not_ours), (0, BTreeSet::from([NotOurs::NoSecret])));
    let unknown = Service { access: Access::Unknown, ..dials(1, Suspended) };
    assert_eq!(one(&router(&[]), unknown).not_ours, BTreeSet::from([NotOurs::NoAccess]));
    let rate = Some(Rate { up_bps: 1, down_bps: 2 });
    let secret = router(&[(Menu::Secrets, &[("name", "cust-1")])]);
    let step = one(&secret, Service { rate, ..dials(1, Active) });
    assert_eq!((step.changes.len(), step.not_ours), (0, BTreeSet::from([NotOurs::NoAddress])));
}

#[test]
fn somebody_elses_row_that_does_the_same_is_enough_and_one_that_does_not_is_in_the_way() {
    let rate = Some(Rate { up_bps: 1, down_bps: 2 });
    let service = Service { rate, ..fixed(7, ServiceState::Suspended) };
    let actual = router(&[
        (Menu::AddressLists, &[("list", SUSPENDED), ("address", "10.1.0.7")]),
        (Menu::Queues, &[("name", "mastwatch-acct-7"), ("target", "10.9.9.9/32")]),
    ]);
    let step = one(&actual, service.clone());
    assert_eq!(step.changes, []);
    assert_eq!(step.not_ours, BTreeSet::from([NotOurs::Taken { menu: Menu::Queues, by: "*2".into() }]));
    assert!(!step.cuts, "he is on the list already");
    // Ours moves with his address.
    let list = [("list", SUSPENDED), ("address", "10.1.0.9"), ("comment", "mastwatch:acct-7")];
    let moved = one(&router(&[(Menu::AddressLists, &list)]), fixed(7, ServiceState::Suspended));
    let expected = [
        "/ip firewall address-list remove *1 # mastwatch:acct-7".to_owned(),
        format!(
            "/ip firewall address-list add list={SUSPENDED} address=10.1.0.7 disabled=no comment=mastwatch:acct-7"
        ),
    ];
    assert_eq!(typed(&[moved]), expected);
}

#[test]
fn a_menu_that_was_not_read_is_not_empty() {
    assert_eq!(steps(&Actual::default(), &[]), Err(Unread(Menu::Secrets)));
}

#[test]
fn who_is_active_has_a_session_or_a_fixed_address() {
    let actual = router(&[(Menu::Sessions, &[("name", "a")]), (Menu::Sessions, &[("name", "b")])]);
    let all = [fixed(1, ServiceState::Active), dials(2, ServiceState::Active)];
    assert_eq!(active_count(&actual, &all), 3);
}

fn any_state() -> impl Strategy<Value = ServiceState> {
    prop::sample::select(vec![ServiceState::Active, ServiceState::Suspended, ServiceState::Ended])
}

/// Some of six subscribers.
fn services() -> impl Strategy<Value = Vec<Service>> {
    let one = (0_u8..4, any_state());
    prop::collection::btree_map(0_u8..6, one, 0..6).prop_map(|all| {
        let service = |(n, (kind, state))| match kind {
            0 => dials(n, state),
            1 => whole(n, state),
            2 => Service { profile: Some("gold".into()), ..dials(n, state) },
            _ => Service { rate: Some(Rate { up_bps: 5, down_bps: 7 }), ..fixed(n, state) },
        };
        all.into_iter().map(service).collect()
    })
}

/// A router on which some of the six are, by the operator's hand, by ours, or by RADIUS; and others.
fn any_router() -> impl Strategy<Value = Actual> {
    prop::collection::vec((0_u8..8, any::<[bool; 6]>()), 0..12).prop_map(|all| {
        let mut told: BTreeMap<Menu, Vec<Row>> = MENUS.into_iter().map(|menu| (menu, vec![])).collect();
        let mut there: BTreeSet<(Menu, String)> = BTreeSet::new();
        let mut id = 0;
        for (n, [ours, disabled, gold, on, radius, other]) in all {
            let mut put = |menu, like: String, values: &[(&str, &str)]| {
                id += 1;
                if there.insert((menu, like)) {
                    told.get_mut(&menu).unwrap().push(row(id, values));
                }
            };
            let (user, named, queue) = (format!("cust-{n}"), account(n), format!("mastwatch-acct-{n}"));
            let comment = if ours { format!("mastwatch:{named}") } else { "by hand".into() };
            let disabled = if disabled { "true" } else { "false" };
            let profile = if gold { "gold" } else { "default" };
            let secret =
                [("name", &*user), ("profile", profile), ("disabled", disabled), ("comment", &comment)];
            if !radius {
                put(Menu::Secrets, user.clone(), &secret);
            }
            if on {
                let (number, radius) = (format!("0x{n}"), radius.to_string());
                let session = [("name", &*user), ("session-id", &*number), ("radius", &*radius)];
                put(Menu::Sessions, number.clone(), &session);
            }
            let address = format!("10.1.0.{}", if other { n + 1 } else { n });
            let list = if gold { SUSPENDED } else { "blocked" };
            let row =
                [("list", list), ("address", &*address), ("disabled", disabled), ("comment", &*comment)];
            put(Menu::AddressLists, format!("{list}{address}"), &row);
            let row =
                [("name", &*queue), ("target", &*address), ("comment", &*comment), ("disabled", disabled)];
            put(Menu::Queues, queue.clone(), &row);
        }
        let mut actual = Actual::default();
        told.into_iter().for_each(|(menu, rows)| actual.told(menu, rows));
        actual
    })
}

/// What a router has after the first `count` changes.
fn applied(actual: &Actual, steps: &[Step], count: usize) -> Actual {
    let mut after = actual.clone();
    for (n, change) in steps.iter().flat_map(|step| &step.changes).take(count).enumerate() {
        after.after(change, &format!("*F{n:X}"));
    }
    after
}

/// The same services, with what was begun.
fn begun(services: &[Service], steps: &[Step]) -> Vec<Service> {
    let with = |(service, step): (&Service, &Step)| Service { ends: step.ends.clone(), ..service.clone() };
    services.iter().zip(steps).map(with).collect()
}

/// A router without the ids that it drew itself, in no order of rows.
fn shape(actual: &Actual) -> Vec<(Menu, BTreeMap<String, String>)> {
    let rows = |menu| actual.rows(menu).unwrap().iter().map(move |row: &Row| (menu, row.values.clone()));
    let mut shape: Vec<_> = MENUS.into_iter().flat_map(rows).collect();
    shape.sort();
    shape
}

/// Whose row it is by the test's own reckoning: a user's, or one with our mark.
fn is_of(row: &Row, menu: Menu, services: &[Service]) -> bool {
    services.iter().any(|service| match (&service.access, menu) {
        (Access::Pppoe { user, .. }, Menu::Secrets | Menu::Sessions) => row.get("name") == user,
        (_, Menu::AddressLists | Menu::Queues) => {
            row.get("comment") == format!("mastwatch:{}", service.account)
        }
        _ => false,
    })
}

proptest! {
    /// The second run writes nothing.
    #[test]
    fn a_router_that_did_as_planned_has_nothing_left_to_do(actual in any_router(), services in services()) {
        let first = steps(&actual, &services).unwrap();
        let after = applied(&actual, &first, usize::MAX);
        let second = steps(&after, &begun(&services, &first)).unwrap();
        prop_assert_eq!(typed(&second), Vec::<String>::new());
    }

    /// Killed after any change, whoever goes on ends at the same router.
    #[test]
    fn what_was_broken_off_anywhere_ends_at_the_same_state(
        actual in any_router(), services in services(), at in any::<Index>(),
    ) {
        let whole = steps(&actual, &services).unwrap();
        let count = typed(&whole).len();
        let half = applied(&actual, &whole, at.index(count + 1));
        let rest = steps(&half, &begun(&services, &whole)).unwrap();
        let ended = applied(&half, &rest, usize::MAX);
        prop_assert_eq!(shape(&ended), shape(&applied(&actual, &whole, usize::MAX)));
        // And nothing is done twice.
        prop_assert_eq!(typed(&rest).len(), count - at.index(count + 1));
    }

    /// Nobody who is not named is touched, and no row that is neither a named user's nor marked as his.
    #[test]
    fn nobody_else_is_touched(actual in any_router(), services in services()) {
        let after = applied(&actual, &steps(&actual, &services).unwrap(), usize::MAX);
        for menu in MENUS {
            let others = |actual: &Actual| -> Vec<Row> {
                let rows = actual.rows(menu).unwrap().iter();
                rows.filter(|row| !is_of(row, menu, &services)).cloned().collect()
            };
            prop_assert_eq!(others(&actual), others(&after));
        }
        // A secret that the operator made never goes.
        let made = |actual: &Actual| -> Vec<String> {
            let rows = actual.rows(Menu::Secrets).unwrap().iter();
            rows.filter(|row| row.get("comment") == "by hand").map(|row| row.id.clone()).collect()
        };
        prop_assert_eq!(made(&actual), made(&after));
    }

    /// Who is suspended is off, by whatever way he comes; who is served is not kept off by us.
    #[test]
    fn what_is_wanted_is_there_afterwards(actual in any_router(), services in services()) {
        let all = steps(&actual, &services).unwrap();
        let after = applied(&actual, &all, usize::MAX);
        for (service, step) in services.iter().zip(&all) {
            let is_off = service.state != ServiceState::Active;
            match &service.access {
                Access::Pppoe { user, .. } => {
                    let of_user = |menu| after.rows(menu).unwrap().iter().filter(|row| row.get("name") == user);
                    prop_assert!(!is_off || of_user(Menu::Sessions).next().is_none());
                    for secret in of_user(Menu::Secrets) {
                        let is_disabled = matches!(secret.get("disabled"), "yes" | "true");
                        prop_assert_eq!(is_disabled, is_off);
                    }
                }
                Access::Static(address) => {
                    let listed = after.rows(Menu::AddressLists).unwrap().iter().any(|row| {
                        row.get("list") == SUSPENDED && row.get("address") == address.to_string()
                            && row.get("comment") == format!("mastwatch:{}", service.account)
                    });
                    let is_taken = step.not_ours.iter().any(|not| matches!(not, NotOurs::Taken { menu: Menu::AddressLists, .. }));
                    let theirs = after.rows(Menu::AddressLists).unwrap().iter().any(|row| {
                        row.get("list") == SUSPENDED && row.get("address") == address.to_string() && row.get("comment") == "by hand"
                    });
                    let is_right = if service.state == ServiceState::Suspended { listed || is_taken || theirs } else { !listed };
                    prop_assert!(is_right);
                }
                Access::Unknown => {}
            }
        }
    }

    /// Only what cuts somebody off is counted, and all of it.
    #[test]
    fn what_cuts_somebody_off_says_so(actual in any_router(), services in services()) {
        for step in steps(&actual, &services).unwrap() {
            let cut = step.changes.iter().any(|change| match change {
                Change::Remove { menu: Menu::Sessions | Menu::Secrets, .. } | Change::Add { menu: Menu::AddressLists, .. } => true,
                Change::Set { menu: Menu::Secrets, .. } => change.attributes().contains(&("disabled", "yes")),
                Change::Set { menu: Menu::AddressLists, .. } => change.attributes().contains(&("disabled", "no")),
                Change::Add { .. } | Change::Set { .. } | Change::Remove { .. } => false,
            });
            prop_assert_eq!(cut, step.cuts);
        }
    }
}

/// One that the router shows is compared; one that it does not show is written when it is due, and only then.
#[test]
fn a_changed_password_is_set_without_ending_the_session() {
    let with = |password: Option<&'static str>| {
        let mut secret = vec![("name", "cust-1"), ("profile", "gold"), ("remote-address", "10.2.0.1")];
        secret.extend(password.map(|password| ("password", password)));
        secret
    };
    let session: &[(&str, &str)] = &[("name", "cust-1"), ("session-id", "0x1")];
    for (shown, is_due, is_set) in [
        (Some("hunter2"), false, false),
        (Some("hunter2"), true, false),
        (Some("hunter1"), false, true),
        (None, false, false),
        (None, true, true),
    ] {
        let secret = with(shown);
        let actual = router(&[(Menu::Secrets, &secret), (Menu::Sessions, session)]);
        let service = Service { rate: None, is_password_due: is_due, ..whole(1, ServiceState::Active) };
        let step = steps(&actual, &[service]).unwrap().remove(0);
        let set: Vec<_> =
            step.changes.iter().flat_map(Change::attributes).filter(|(n, _)| *n != ".id").collect();
        let expected = if is_set { vec![("password", "hunter2")] } else { vec![] };
        assert_eq!(set, expected, "{shown:?} {is_due}");
        assert!(!step.cuts && step.ends.is_empty());
        let told =
            format!("{step:?} {actual:?} {:?}", step.changes.iter().map(Change::told).collect::<Vec<_>>());
        assert!(!told.contains("hunter"), "{told}");
    }
}
