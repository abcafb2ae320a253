//! What the log and the read models hold, read from outside.

use crate::Stack;
use anyhow::{Context, bail, ensure};
use async_nats::jetstream;
use events::{EventId, Fact, Health, Incident, IncidentId, IncidentState, NodeId, Noun, TenantId};
use futures::StreamExt;
use kit::{Filter, From, Log};
use sqlx::{Connection, PgConnection, Row};
use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write as _,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

/// Nothing was said for so long: it is quiet.
const QUIET: Duration = Duration::from_millis(1_500);

/// How many rows that differ are shown.
const ROWS_SHOWN: usize = 5;

/// What leaves rows in the read models.
const LEAVES_ROWS: [Noun; 10] = [
    Noun::Inventory,
    Noun::Revision,
    Noun::Access,
    Noun::Order,
    Noun::Signal,
    Noun::Suspicion,
    Noun::Health,
    Noun::Incident,
    Noun::Notice,
    Noun::Delivery,
];

/// What the log says of one tenant.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Signals, by id.
    pub signals: BTreeSet<EventId>,
    /// Every node that was ever said to be broken itself, and where in the log first.
    pub down: BTreeMap<NodeId, u64>,
    /// What is believed of each node, as last said.
    pub health: BTreeMap<NodeId, Health>,
    /// Each incident as it stands.
    pub incidents: BTreeMap<IncidentId, Incident>,
}

impl Ledger {
    /// Reads the log of `tenant` from `from` to its end.
    ///
    /// # Errors
    ///
    /// When the log cannot be read.
    pub async fn read(log: &Log, tenant: TenantId, from: u64) -> anyhow::Result<Self> {
        let end = log.state().await?.last_seq;
        let filters =
            [Noun::Signal, Noun::Health, Noun::Incident].map(|noun| Filter::noun(noun).tenant(tenant));
        let (mut reader, mut ledger) = (log.read(&filters, From::Seq(from), Some(end)), Self::default());
        while let Some(raw) = reader.next().await? {
            // What is no fact goes to the dead letters, and is looked for there.
            let Ok(heard) = raw.decode() else { continue };
            match heard.fact {
                Fact::Signal(_) => {
                    ledger.signals.insert(heard.id);
                }
                Fact::Health(said) => {
                    ledger.health.insert(said.now.node, said.now.health);
                    if said.now.health == Health::Down {
                        ledger.down.entry(said.now.node).or_insert(raw.seq);
                    }
                }
                Fact::Incident(said) => {
                    ledger.incidents.insert(said.now.id, said.now);
                }
                _ => bail!("the reader let through a `{}`", raw.subject),
            }
        }
        Ok(ledger)
    }

    /// Incidents that were opened and are neither over nor part of one that is.
    pub fn never_ended(&self) -> Vec<String> {
        let mut left = Vec::new();
        for incident in self.incidents.values() {
            let (mut now, mut steps) = (incident, 0);
            while let (IncidentState::Merged, Some(into)) = (now.state, now.merged_into)
                && let Some(upper) = self.incidents.get(&into)
                && steps < self.incidents.len()
            {
                (now, steps) = (upper, steps + 1);
            }
            if now.state != IncidentState::Resolved {
                left.push(format!("{:?}: {}", now.state, incident.title));
            }
        }
        left
    }
}

/// Waits until nothing more is said.
///
/// # Errors
///
/// When it does not become quiet in time.
pub async fn quiet(log: &Log, within: Duration) -> anyhow::Result<()> {
    let began = Instant::now();
    let (mut last, mut since) = (0, Instant::now());
    loop {
        let now = log.state().await?.last_seq;
        if now != last {
            (last, since) = (now, Instant::now());
        }
        if since.elapsed() >= QUIET {
            return Ok(());
        }
        ensure!(began.elapsed() < within, "something was still said after {} s", within.as_secs());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Writes every fact of a tenant, one a line; ids of nodes as `names` calls them.
///
/// # Errors
///
/// When the log cannot be read or the file not be written.
pub async fn trace(
    log: &Log,
    tenant: TenantId,
    names: &BTreeMap<String, String>,
    file: &Path,
) -> anyhow::Result<()> {
    let mut out = std::io::BufWriter::new(std::fs::File::create(file).context("making the file of facts")?);
    let end = log.state().await?.last_seq;
    let filters = Noun::ALL.map(|noun| Filter::noun(noun).tenant(tenant));
    let mut reader = log.read(&filters, From::Start, Some(end));
    while let Some(raw) = reader.next().await? {
        let noun = raw.noun().map_or("?", |noun| noun.token());
        let body = String::from_utf8_lossy(&raw.body);
        let words = body.split('"').map(|word| names.get(word).map_or(word, String::as_str));
        writeln!(out, "{} {} {noun} {}", raw.seq, raw.heard, words.collect::<Vec<_>>().join("\""))?;
    }
    out.flush().context("writing the file of facts")
}

/// A dead letter.
#[derive(Debug, Clone)]
pub struct Letter {
    /// Its subject among the dead letters.
    pub subject: String,
    /// Why it lies there.
    pub reason: String,
    /// Where it lay in the log.
    pub seq: String,
    /// What it said.
    pub body: Vec<u8>,
}

/// A connection of our own to the server, past the kit.
///
/// # Errors
///
/// When the server does not answer.
pub async fn jetstream(stack: &Stack) -> anyhow::Result<jetstream::Context> {
    Ok(jetstream::new(async_nats::connect(stack.nats.url()).await.context("connecting to the server")?))
}

/// Every dead letter there is.
///
/// # Errors
///
/// When the server does not answer.
pub async fn dead(stack: &Stack) -> anyhow::Result<Vec<Letter>> {
    let mut stream = jetstream(stack).await?.get_stream("DEAD").await?;
    let count = stream.info().await?.state.messages;
    let consumer = stream
        .create_consumer(jetstream::consumer::pull::OrderedConfig::default())
        .await
        .context("reading the dead letters")?;
    let mut messages = consumer.messages().await?;
    let mut letters = Vec::new();
    for _ in 0..count {
        let message = messages.next().await.context("a dead letter is there")??;
        let header = |name| {
            let headers = message.headers.as_ref();
            headers.and_then(|h| h.get(name)).map(|v| v.as_str().to_owned()).unwrap_or_default()
        };
        letters.push(Letter {
            subject: message.subject.to_string(),
            reason: header(kit::dead::REASON),
            seq: header(kit::dead::SEQUENCE),
            body: message.payload.to_vec(),
        });
    }
    Ok(letters)
}

/// Waits until the read models have every row that the log of `tenants` leaves.
///
/// # Errors
///
/// When they have not in time.
pub async fn written(stack: &Stack, tenants: &[TenantId], within: Duration) -> anyhow::Result<()> {
    let began = Instant::now();
    for tenant in tenants {
        let end = stack.log.state().await?.last_seq;
        let filters = LEAVES_ROWS.map(|noun| Filter::noun(noun).tenant(*tenant));
        let mut reader = stack.log.read(&filters, From::Start, Some(end));
        let mut last = 0;
        while let Some(raw) = reader.next().await? {
            last = raw.seq;
        }
        loop {
            let written = position(stack, *tenant).await;
            if matches!(written, Ok(seq) if seq >= last) {
                break;
            }
            ensure!(
                began.elapsed() < within,
                "the rows of {tenant} are those of {written:?}, not of {last}, after {} s",
                within.as_secs()
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    Ok(())
}

async fn position(stack: &Stack, tenant: TenantId) -> anyhow::Result<u64> {
    let mut owner = PgConnection::connect(&stack.postgres.superuser_url()).await?;
    let row = sqlx::query("select seq from projected_tenant where tenant = $1")
        .bind(tenant.0)
        .fetch_optional(&mut owner)
        .await?;
    owner.close().await?;
    row.map_or(Ok(0), |row| Ok(u64::try_from(row.try_get::<i64, _>(0)?)?))
}

/// Runs `mastwatch rebuild`: it must find the same rows again. Tried again when something was said meanwhile.
///
/// # Errors
///
/// When the rows are others, or it fails; says which rows.
pub async fn rebuilt(stack: &Stack) -> anyhow::Result<()> {
    let mut tries = 3;
    loop {
        let (said, before) = (stack.log.state().await?.last_seq, rows(stack).await?);
        let ran = tokio::process::Command::new(crate::binary()?)
            .args(["--json", "rebuild", "--config"])
            .arg(stack.config())
            .stdin(Stdio::null())
            .output()
            .await
            .context("running mastwatch rebuild")?;
        if ran.status.success() {
            return Ok(());
        }
        tries -= 1;
        if stack.log.state().await?.last_seq == said || tries == 0 {
            let after = rows(stack).await?;
            let some = |these: &BTreeSet<String>, others: &BTreeSet<String>| {
                let only: Vec<&str> = these.difference(others).map(String::as_str).collect();
                format!("{}: {:#?}", only.len(), only.iter().take(ROWS_SHOWN).collect::<Vec<_>>())
            };
            bail!(
                "a rebuild gives other rows: {}{}\nonly before: {}\nonly after: {}",
                String::from_utf8_lossy(&ran.stdout),
                String::from_utf8_lossy(&ran.stderr).trim(),
                some(&before, &after),
                some(&after, &before),
            );
        }
    }
}

/// Every row of the read models, with the name of its table.
async fn rows(stack: &Stack) -> anyhow::Result<BTreeSet<String>> {
    let mut owner = PgConnection::connect(&stack.postgres.superuser_url()).await?;
    let mut all = BTreeSet::new();
    for (table, _) in projector::TABLES {
        // The names are constants of the projector.
        let sql = sqlx::AssertSqlSafe(format!("select t::text from {table} t"));
        for row in sqlx::query(sql).fetch_all(&mut owner).await? {
            all.insert(format!("{table} {}", row.try_get::<String, _>(0)?));
        }
    }
    owner.close().await?;
    Ok(all)
}
