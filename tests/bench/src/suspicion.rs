//! From a claim to what people can see of it in Postgres.
//!
//! Customers drop one after another, and their routers report each through the front door at a steady rate.
//! Meanwhile a session of the services' role asks the read models again and again who is reported or known to
//! be down. A claim is visible as a suspicion, or as the health that settled it when that was faster.

use crate::{
    client::{Connection, post},
    limits::{self, Limit},
    machine::{self, quantile, round},
    progress,
};
use anyhow::{Context, bail, ensure};
use events::NodeId;
use network_file::{LabHints, Opens, Position, Secret, Session, Shape, TokenEntry, generate};
use rand::{SeedableRng, rngs::StdRng, seq::SliceRandom};
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection, Row};
use stack::Stack;
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use uuid::Uuid;

/// The claims' token. It guards nothing: the servers live for this run.
const TOKEN: &str = "mw_benchsuspi01_0123456789abcdefghijklmnopqrstuv";
/// Where the played routers' API listens: another port than that of the tests, which may run too.
const API_PORT: u16 = 18_731;
/// Customers of a sector, and sectors of a tower.
const CLIENTS: u32 = 40;
const SECTORS: u32 = 10;
/// Connections the claims come over.
const CONNECTIONS: usize = 16;
/// How long it may take until everything is known at first.
const SETTLED_WITHIN: Duration = Duration::from_secs(180);
/// How long the last claims may take to become visible.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long the reader rests between two looks: the figures are coarser by it.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// The most that 99 of 100 claims may take, milliseconds (R6).
const P99_MS_MAX: f64 = 1_000.0;

/// How much, how fast.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Args {
    /// Claims a second.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=2_000))]
    rate: u32,
    /// For how many seconds.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=60))]
    seconds: u32,
    /// What the order of the customers follows from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// One claim: whom it is about, and the whole request.
struct Claim {
    node: Uuid,
    text: String,
}

/// When each claim was sent, and how long its 202 took.
type Sent = Arc<Mutex<BTreeMap<Uuid, (Instant, Duration)>>>;

/// Runs it.
///
/// # Errors
///
/// When it could not be carried through: a server or our own process does not start, a claim is refused.
pub(crate) async fn run(args: &Args) -> anyhow::Result<Value> {
    let load = machine::load();
    let stack = Stack::start().await?;
    let count = (args.rate * args.seconds) as usize;
    let towers = args.rate * args.seconds / (SECTORS * CLIENTS) + 1;
    let shape = Shape {
        towers,
        sectors: SECTORS,
        clients: CLIENTS,
        seed: args.seed,
        api_port: API_PORT,
        ..Shape::default()
    };
    let mut network = generate(&shape)?;
    stack.tell_the_sink(&mut network);
    network.policy.walks_per_hour = 10_000_000;
    network.lab.defaults = LabHints { session_timeout_ms: Some(0), boot_ms: Some(0), ..LabHints::default() };
    network.tokens.push(TokenEntry {
        name: "suspicion".into(),
        opens: Opens::Signals,
        token: Secret::new(TOKEN),
        from: vec![],
        at: Position::default(),
    });
    let settings = lab::Settings { sessions_return_over: Duration::ZERO, ..lab::Settings::default() };
    let lab = lab::Lab::start(lab::network::Network::from_file(&network)?, settings).await?;
    let running = stack.run(&["all"])?;
    stack.import(&network).await.with_context(|| format!("importing; our log:\n{}", running.said()))?;
    let slug = network.tenant.slug.as_str();
    stack.settled(slug, SETTLED_WITHIN).await.with_context(|| format!("our log:\n{}", running.said()))?;
    progress(format_args!("suspicion: {count} of {} customers drop", network.subscribers.len()));

    // Who drops, in which order. Numbers rise in the order of sending.
    let (tenant, mut numbers) = (network.tenant_id(), BTreeMap::<&str, u64>::new());
    let mut dropping: Vec<_> = network.subscribers.iter().collect();
    dropping.shuffle(&mut StdRng::seed_from_u64(args.seed));
    dropping.truncate(count);
    let (mut claims, mut nodes) = (Vec::with_capacity(count), Vec::with_capacity(count));
    for one in dropping {
        let Session::Pppoe(user) = &one.session else { bail!("{} has no user name", one.account) };
        let router = network.session_routers(one).next().context("a customer without a concentrator")?;
        let number = numbers.entry(router).or_default();
        *number += 1;
        let body =
            format!("user={}&status=offline&router={router}&boot=suspicion&seq={number}", user.reveal());
        let path = "/api/webhooks/mikrotik/ppp-status";
        let text = post(path, TOKEN, "application/x-www-form-urlencoded", &body);
        claims.push(Claim { node: NodeId::of_account(tenant, &one.account).0, text });
        nodes.push(lab.network().find(&one.account).with_context(|| format!("no `{}`", one.account))?);
    }

    let from = i64::try_from(stack.log.state().await?.last_seq)?;
    let sent: Sent = Arc::default();
    let (claims, next, began) = (Arc::new(claims), Arc::new(AtomicUsize::new(0)), Instant::now());
    let mut senders = tokio::task::JoinSet::new();
    for _ in 0..CONNECTIONS {
        let (claims, next, sent) = (Arc::clone(&claims), Arc::clone(&next), Arc::clone(&sent));
        let (lab, nodes) = (Arc::clone(&lab), nodes.clone());
        let (mut connection, rate) = (Connection::open(stack.ingest).await?, args.rate);
        senders.spawn(async move {
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                let Some(claim) = claims.get(n) else { return anyhow::Ok(()) };
                let due = began + Duration::from_secs_f64(n as f64 / f64::from(rate));
                tokio::time::sleep_until(due.into()).await;
                lab.set_broken(&nodes[n..=n], true);
                let at = Instant::now();
                let status = connection.ask(&claim.text).await?.status;
                ensure!(status == 202, "a claim was answered {status}");
                let mut sent = sent.lock().expect("nobody panics while holding it");
                sent.insert(claim.node, (at, at.elapsed()));
            }
        });
    }
    let seen = watch(&stack, tenant.0, from, claims.len(), &mut senders).await?;
    lab.stop().await;

    let sent = sent.lock().expect("nobody panics while holding it");
    let mut visible_us = Vec::with_capacity(sent.len());
    let mut accepted_us: Vec<u64> = sent.values().map(|(_, took)| took.as_micros() as u64).collect();
    for (node, (at, _)) in sent.iter() {
        visible_us.extend(seen.get(node).map(|seen| seen.saturating_duration_since(*at).as_micros() as u64));
    }
    visible_us.sort_unstable();
    accepted_us.sort_unstable();
    let ms = |sorted: &[u64], share| round(quantile(sorted, share) as f64 / 1e3);
    let never = sent.len() - visible_us.len();
    let p99 = ms(&visible_us, 0.99);
    let mut line = json!({
        "bench": "suspicion",
        "ok": never == 0,
        "claims": sent.len(),
        "claims_per_second": args.rate,
        "nodes": network.nodes.len() + network.subscribers.len(),
        "never_visible": never,
        "visible_ms_p50": ms(&visible_us, 0.5),
        "visible_ms_p99": p99,
        "visible_ms_max": ms(&visible_us, 1.0),
        "accepted_ms_p50": ms(&accepted_us, 0.5),
        "accepted_ms_p99": ms(&accepted_us, 0.99),
        "durability": machine::durability(stack.nats.durability()),
        "nats_version": stack.log.server_version(),
        "postgres_version": stack.postgres.programs().version.to_string(),
    });
    limits::hold(&mut line, &[("visible_ms_p99", Limit::AtMost(P99_MS_MAX))]);
    machine::lay(&mut line, machine::facts(load));
    Ok(line)
}

/// When each node was first seen to be reported or known to be down.
async fn watch(
    stack: &Stack,
    tenant: Uuid,
    from: i64,
    count: usize,
    senders: &mut tokio::task::JoinSet<anyhow::Result<()>>,
) -> anyhow::Result<BTreeMap<Uuid, Instant>> {
    let mut session = PgConnection::connect(&stack.postgres.url()).await.context("connecting to Postgres")?;
    sqlx::query("select set_config('app.tenant_id', $1, false)")
        .bind(tenant.to_string())
        .execute(&mut session)
        .await?;
    let (mut seen, mut last, mut over) = (BTreeMap::new(), from, None::<Instant>);
    while seen.len() < count && over.is_none_or(|over| over.elapsed() < PATIENCE) {
        while let Some(ended) = senders.try_join_next() {
            ended.context("a sender ended")??;
        }
        if senders.is_empty() {
            over.get_or_insert_with(Instant::now);
        }
        // One statement is one state of the rows, and what is written later has a higher place.
        let rows = sqlx::query(
            "select node, seq from suspicion where tenant = $1 and seq > $2
             union all select node, seq from health where tenant = $1 and seq > $2 and health <> 'up'",
        )
        .bind(tenant)
        .bind(last)
        .fetch_all(&mut session)
        .await?;
        let now = Instant::now();
        for row in rows {
            seen.entry(row.try_get::<Uuid, _>("node")?).or_insert(now);
            last = last.max(row.try_get("seq")?);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    session.close().await?;
    Ok(seen)
}
