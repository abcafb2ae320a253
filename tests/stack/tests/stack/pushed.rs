//! Sessions are learned of by push: what routers are asked meanwhile names nobody.

use events::NodeId;
use lab::network::NodeIndex;
use network_file::{Concentrators, LabHints, Shape};
use sqlx::{Connection, PgConnection, Row, postgres::PgRow};
use stack::{Stack, free_port};
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};
use uuid::Uuid;

/// How long it may take until the last can be seen, on a machine that is busy with others.
const WITHIN: Duration = Duration::from_secs(100);
/// Transitions a second, of all routers together.
const RATE: u32 = 200;

/// Requirements, R6: a thousand sessions end and begin, twice, 200 a second, each told of by the script of its router, and
/// every one can be seen; no command that a router heard meanwhile named a customer.
///
/// The window is as long as the transitions last, and without reconciler: its visits, minutes apart, are not
/// what is learned from here. How soon each can be seen is measured by `./dev bench suspicion`.
#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_sessions_that_end_and_begin_are_learned_without_one_call_about_a_user() {
    let stack = Stack::start().await.unwrap();
    let shape = Shape {
        towers: 10,
        sectors: 5,
        clients: 10,
        heartbeat_s: 5,
        concentrators: Concentrators::Towers,
        api_port: free_port().unwrap().port(),
        ..Shape::default()
    };
    let mut network = network_file::generate(&shape).unwrap();
    stack.tell_the_sink(&mut network);
    network.policy.walks_per_hour = 1_000_000;
    network.lab.defaults = LabHints { session_timeout_ms: Some(0), boot_ms: Some(0), ..LabHints::default() };
    let running = stack
        .run(&["ingest", "poller", "diagnostician", "correlator", "notifier", "projector", "console"])
        .unwrap();
    let lab = stack.play(&network).await.unwrap();
    stack.import(&network).await.unwrap();
    stack.settled(&network.tenant.slug, Duration::from_secs(120)).await.unwrap();
    let tenant = network.tenant_id();
    let accounts = network.subscribers.iter().map(|one| one.account.as_str());
    let customers: Vec<(Uuid, NodeIndex)> = accounts
        .map(|account| (NodeId::of_account(tenant, account).0, lab.network().find(account).unwrap()))
        .collect();
    assert_eq!(customers.len(), 500);
    let mut rows = PgConnection::connect(&stack.postgres.url()).await.unwrap();
    let set = sqlx::query("select set_config('app.tenant_id', $1, false)").bind(tenant.0.to_string());
    set.execute(&mut rows).await.unwrap();

    let before = lab.counters().0;
    // The second time nobody waits until the last is seen to be down: the look at it and the word that it is back overtake
    // each other.
    for (is_broken, is_waited_for) in [(true, true), (false, true), (true, false), (false, true)] {
        let began = Instant::now();
        for (n, (_, place)) in (0_u32..).zip(&customers) {
            tokio::time::sleep_until((began + Duration::from_secs(1) * n / RATE).into()).await;
            lab.set_broken(&[*place], is_broken);
        }
        if !is_waited_for {
            continue;
        }
        // A down is seen as the report of it, an up as what is believed; then everything is settled.
        let seen = |now: &Standing| if is_broken { now.is_suspect || !now.is_up } else { now.is_up };
        let settled = |now: &Standing| !now.is_suspect && now.is_up != is_broken;
        for (wanted, is_so) in [("seen", &seen as &dyn Fn(&Standing) -> bool), ("settled", &settled)] {
            loop {
                let shown = standing(&mut rows, tenant.0).await;
                let late = customers.iter().filter(|(node, _)| !shown.get(node).is_some_and(is_so)).count();
                if late == 0 {
                    break;
                }
                assert!(
                    began.elapsed() < WITHIN,
                    "broken: {is_broken}: {late} are not {wanted}:\n{}",
                    running.said()
                );
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            println!("broken: {is_broken}: all are {wanted} after {:?}", began.elapsed());
        }
    }
    let after = lab.counters().0;
    let told = after.webhooks_sent - before.webhooks_sent;
    assert!(told >= 2_000, "{told} were told of by push");
    println!("{told} webhooks; the routers have heard {:?}, before that {:?}", after.calls, before.calls);
    assert_eq!(before.calls_about_one, 0);
    assert_eq!(after.calls_about_one, 0, "{:?}", after.calls);
    lab.stop().await;
}

/// What can be seen of one node.
struct Standing {
    is_up: bool,
    /// Reported down, and being checked.
    is_suspect: bool,
}

async fn standing(rows: &mut PgConnection, tenant: Uuid) -> BTreeMap<Uuid, Standing> {
    let sql = "select h.node, h.health = 'up' as is_up, s.node is not null as is_suspect
               from health h left join suspicion s on s.tenant = h.tenant and s.node = h.node
               where h.tenant = $1";
    let found = sqlx::query(sql).bind(tenant).fetch_all(rows).await.unwrap();
    let of = |row: &PgRow| {
        (row.get("node"), Standing { is_up: row.get("is_up"), is_suspect: row.get("is_suspect") })
    };
    found.iter().map(of).collect()
}
