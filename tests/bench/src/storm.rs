//! An outage through the front door, from the first report to the last recovery.
//!
//! The release build runs as a process of its own against a real nats-server, which writes through before
//! every acknowledgement, and a real Postgres. The lab plays core and towers, so that what is dead is dead for
//! probes too. Everything that hangs below what broke reports it, in random order, some reports lost and
//! some doubled; later everything reports that it is back. The verdict: people hear of each cause once, and
//! of its end once, and nothing that was acknowledged is lost.

mod plan;
mod send;
mod told;

use crate::{
    limits::{
        self,
        Limit::{self, AtMost},
    },
    machine::{self, Groups, quantile, round},
    progress,
};
use anyhow::{Context, bail};
use clap::ValueEnum;
use events::{Health, IncidentState, NodeId, Phase, Time};
use network_file::{LabHints, NetworkFile, Opens, Position, Secret, Shape, TokenEntry, generate};
use plan::{Says, Story};
use send::Wave;
use serde_json::{Value, json};
use stack::{Running, Stack};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, atomic::Ordering},
    time::{Duration, Instant},
};
use told::{Incidents, Notice};

/// How many sectors break in scenario C.
const UNRELATED: usize = 50;
/// The claims' token. It guards nothing: the servers live for this run.
const TOKEN: &str = "mw_benchstorm01_0123456789abcdefghijklmnopqrstuv";
/// Where the played routers' API listens: another port than that of the tests, which may run too.
pub(crate) const API_PORT: u16 = 18_729;
/// Every root must have been up for so long.
const RESOLVE_HOLD: Duration = Duration::from_secs(5);
/// How long people may be left without the notices they should get.
const PATIENCE: Duration = Duration::from_secs(90);
/// How long it may take until everything is known at first.
const SETTLED_WITHIN: Duration = Duration::from_secs(180);
/// For how long it is watched while nothing happens.
const REST: Duration = Duration::from_secs(5);
/// Nothing was said for so long: it is quiet.
const QUIET: Duration = Duration::from_secs(2);
/// How long it may take until it is quiet.
const QUIET_WITHIN: Duration = Duration::from_secs(60);
/// How long it may take until everything is known to be up again.
const ALL_UP_WITHIN: Duration = Duration::from_secs(60);

/// What breaks, and how it is reported.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Args {
    /// Towers below the core.
    #[arg(long, default_value_t = 10)]
    towers: u32,
    /// Sectors of each tower.
    #[arg(long, default_value_t = 10)]
    sectors: u32,
    /// Clients of each sector.
    #[arg(long, default_value_t = 100)]
    clients: u32,
    /// A: the core dies. B: one sector. C: 50 unrelated sectors at once.
    #[arg(long, value_enum, ignore_case = true, default_value = "A")]
    scenario: Scenario,
    /// When what broke is itself reported.
    #[arg(long, value_enum, default_value = "last")]
    root: Root,
    /// Over how many seconds the reports trickle in.
    #[arg(long, default_value_t = 0)]
    spread: u64,
    /// In which order recovery is reported.
    #[arg(long, value_enum, default_value = "at-once")]
    recovery: Recovery,
    /// Over how many seconds.
    #[arg(long, default_value_t = 0)]
    recovery_spread: u64,
    /// Which fraction of the reports never arrives.
    #[arg(long, default_value_t = 0.1, value_parser = fraction)]
    loss: f64,
    /// Which fraction is sent twice.
    #[arg(long, default_value_t = 0.1, value_parser = fraction)]
    dup: f64,
    /// When everything of ours is killed (SIGKILL) and started again.
    #[arg(long, value_enum, default_value = "none")]
    kill: Kill,
    /// Reports in a request: 1 is a webhook as scripts send it, more an array of the signals API.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    array: u16,
    /// Connections the reports come over.
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u16).range(1..=4_000))]
    connections: u16,
    /// What chance follows from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Also print what was said of incidents, and the end of our log.
    #[arg(long)]
    verbose: bool,
    /// Where every fact of the run is written, one a line.
    #[arg(long)]
    trace: Option<std::path::PathBuf>,
}

/// What breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scenario {
    /// The core.
    #[value(name = "A")]
    A,
    /// One sector.
    #[value(name = "B")]
    B,
    /// 50 unrelated sectors.
    #[value(name = "C")]
    C,
}

/// When what broke is itself reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Root {
    Last,
    Never,
}

/// In which order recovery is reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Recovery {
    AtOnce,
    RootFirst,
}

/// When everything of ours is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kill {
    None,
    /// When half of the reports were acknowledged.
    Half,
    /// As soon as somebody was told.
    Told,
}

/// Where the roots stand in a wave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    RootsFirst,
    RootsLast,
    RootsNever,
    Mixed,
}

fn fraction(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(share) if (0.0..1.0).contains(&share) => Ok(share),
        Ok(_) | Err(_) => Err(format!("`{text}` is no fraction: 0 to 0.99 is possible")),
    }
}

/// What is told of one wave beside its notices.
struct Waved {
    wave: Arc<Wave>,
    /// What time it was by the log's clock when the first report was sent.
    began: Time,
    costs: BTreeMap<&'static str, Duration>,
}

/// Runs it.
///
/// # Errors
///
/// When it could not be carried through: a server or our own process does not start, a report is refused.
pub(crate) async fn run(args: &Args) -> anyhow::Result<Value> {
    let load = machine::load();
    let stack = Stack::start().await?;
    let network = network(args, &stack)?;
    let tenant = network.tenant_id();
    let mut story = Story::of(args, &network, TOKEN)?;
    progress(format_args!(
        "storm: {} nodes, {} of them concerned",
        network.nodes.len() + network.subscribers.len(),
        story.size()
    ));
    let mut bench = Bench::start(args, stack, &network).await?;
    let roots: BTreeSet<NodeId> = story.roots.iter().map(|id| NodeId::of(tenant, id)).collect();
    let names: Vec<String> =
        story.roots.iter().filter_map(|id| Some(network.node(id)?.name.clone())).collect();

    // It breaks.
    let from = bench.stack.log.state().await?.last_seq + 1;
    bench.set_broken(&story.roots, true)?;
    let order = match args.root {
        Root::Last => Order::RootsLast,
        Root::Never => Order::RootsNever,
    };
    let steps = story.wave(args, Says::Down, order, Duration::from_secs(args.spread));
    let reports: usize = steps.iter().map(|step| step.reports).sum();
    progress(format_args!("storm: it breaks; {reports} reports over {} s", args.spread));
    let down = bench.wave(steps, args.kill, |told, incidents| {
        told.iter().filter(|notice| notice.phase == Some(Phase::Opened)).count() >= names.len()
            && incidents.named(&roots).is_some()
    });
    let down = down.await?;
    let (told_down, calls_down) = told::notices(&bench.stack.sink);
    let named_at = bench.incidents.named(&roots);

    // It is mended.
    let order = match args.recovery {
        Recovery::AtOnce => Order::Mixed,
        Recovery::RootFirst => Order::RootsFirst,
    };
    let steps = story.wave(args, Says::Up, order, Duration::from_secs(args.recovery_spread));
    let recovery_reports: usize = steps.iter().map(|step| step.reports).sum();
    progress(format_args!("storm: it is mended; {recovery_reports} reports over {} s", args.recovery_spread));
    let mended = bench.stack.log.state().await?.last_seq + 1;
    bench.set_broken(&story.roots, false)?;
    let up = bench.wave(steps, Kill::None, |told, incidents| {
        told.iter().filter(|notice| notice.phase == Some(Phase::Resolved)).count() >= names.len()
            && incidents.count(IncidentState::Resolved) >= names.len()
    });
    let up = up.await?;
    let (beliefs, all_up_after) = bench.all_up(tenant, &up).await?;

    // What came of it.
    let (told, calls) = told::notices(&bench.stack.sink);
    let told_up = &told[told_down.len()..];
    let stored = told::Stored::read(&bench.stack.log, tenant, from).await?;
    let stored_after = told::Stored::read(&bench.stack.log, tenant, mended).await?;
    let (sent, resent) = (down.wave.sent(), up.wave.sent());
    let lost = sent.ids.iter().chain(&resent.ids).filter(|id| !stored.signals.contains(id)).count();
    let said = bench.incidents.so_far();
    let never_ended = told::never_ended(&said);
    let falsely_down = stored.down.keys().filter(|node| !roots.contains(node)).count();
    let count = |told: &[Notice], phase| told.iter().filter(|notice| notice.phase == Some(phase)).count();
    let right: Vec<Option<&Notice>> = names
        .iter()
        .map(|name| {
            told_down.iter().find(|n| n.phase == Some(Phase::Opened) && told::is_about(&n.title, name))
        })
        .collect();
    let right_at =
        right.iter().copied().collect::<Option<Vec<_>>>().and_then(|all| all.iter().map(|n| n.at).max());
    let opened_late = count(told_up, Phase::Opened);

    let mut reasons = Vec::new();
    let mut must = |holds: bool, reason: String| {
        if !holds {
            reasons.push(reason);
        }
    };
    let wanted = names.len();
    must(told_down.len() == wanted, format!("{} notices while it was down, not {wanted}", told_down.len()));
    let missing: Vec<&str> = names
        .iter()
        .zip(&right)
        .filter(|(_, found)| found.is_none())
        .map(|(name, _)| name.as_str())
        .collect();
    must(missing.is_empty(), format!("no notice named {}", missing.join(", ")));
    let resolved = count(told_up, Phase::Resolved);
    must(resolved == wanted, format!("{resolved} notices of recovery, not {wanted}"));
    must(told_up.len() == resolved, format!("{} other notices during recovery", told_up.len() - resolved));
    must(never_ended.is_empty(), format!("named down and never up: {}", never_ended.join("; ")));
    must(lost == 0, format!("{lost} acknowledged reports are not in the log"));
    must(falsely_down == 0, format!("{falsely_down} nodes were called down that only hang below"));
    must(
        calls == told.len() || args.kill != Kill::None,
        format!("{} notices were repeated", calls - told.len()),
    );

    if args.verbose {
        for line in bench.incidents.story() {
            progress(line);
        }
        progress(bench.running.said());
    }
    if let Some(file) = &args.trace {
        told::trace(&bench.stack.log, &ids_and_names(&network), file).await?;
    }
    let accepted = down.wave.accepted.load(Ordering::Relaxed);
    let took = span(sent.first, sent.done);
    let cpu = |waved: &Waved, reports: usize| -> BTreeMap<&str, f64> {
        let each = |spent: &Duration| round(spent.as_micros() as f64 / reports.max(1) as f64);
        let mut per: BTreeMap<&str, f64> =
            waved.costs.iter().map(|(name, spent)| (*name, each(spent))).collect();
        per.insert("all", each(&waved.costs.values().sum()));
        per
    };
    let since = |began: Time, at: Option<Time>| at.map(|at| round((at.us() - began.us()) as f64 / 1e6));
    let mut latencies = sent.took_us.clone();
    latencies.sort_unstable();
    let mut line = json!({ "bench": "storm", "ok": reasons.is_empty(), "reasons": reasons });
    machine::lay(&mut line, asked_for(args, &network, story.size()));
    let through_the_door = json!({
        "reports": reports,
        "reports_accepted": accepted,
        "reports_accepted_per_second": took.map(|s| (accepted as f64 / s.max(1e-6)) as u64),
        "requests_sent_again": down.wave.retries.load(Ordering::Relaxed),
        "answer_us_p50": quantile(&latencies, 0.5),
        "answer_us_p99": quantile(&latencies, 0.99),
        "cpu_us_per_report": cpu(&down, accepted),
        "recovery_cpu_us_per_report": cpu(&up, up.wave.accepted.load(Ordering::Relaxed)),
    });
    machine::lay(&mut line, through_the_door);
    let told_to_people = json!({
        "notices": told_down.len(),
        "notices_wanted": wanted,
        "notice_calls": calls_down,
        "notices_decided": bench.incidents.notices(),
        "seconds_from_first_report_to_notice": span(sent.first, right_at),
        "seconds_from_last_report_to_notice": right_at.zip(sent.last).map(|(at, last)| {
            if at >= last { round((at - last).as_secs_f64()) } else { -round((last - at).as_secs_f64()) }
        }),
        "seconds_from_first_report_to_incident": since(down.began, named_at),
        "seconds_from_first_report_to_all_impacted": since(down.began, stored.impacted_at.filter(|_| !stored.impacted.is_empty())),
        "impacted": stored.impacted.len(),
        "recovery_notices": resolved,
        "recovery_seconds_to_last_notice": span(resent.first, told_up.iter().map(|n| n.at).max()),
        "recovery_seconds_to_all_up": all_up_after,
        "false_downs_during_recovery": opened_late + stored_after.down.keys().filter(|node| !roots.contains(node)).count(),
        "nodes_called_down_falsely": falsely_down,
        "named_down_never_up": never_ended.len(),
        "acknowledged_reports_lost": lost,
        "beliefs_at_the_end": beliefs.iter().map(|(h, n)| (format!("{h:?}").to_lowercase(), json!(n))).collect::<serde_json::Map<_, _>>(),
        "cpu_percent_at_rest": bench.rest_percent,
        "pss_mb_max": bench.groups.lock().expect("nobody panics while holding it").pss_mb_max(),
        "nats_version": bench.stack.log.server_version(),
        "postgres_version": bench.stack.postgres.programs().version.to_string(),
        "durability": machine::durability(bench.stack.nats.durability()),
    });
    machine::lay(&mut line, told_to_people);
    if args.scenario == Scenario::A && args.kill == Kill::None {
        limits::hold(&mut line, limits_of(network.nodes.len() + network.subscribers.len()));
    }
    machine::lay(&mut line, machine::facts(load));
    bench.stop().await;
    Ok(line)
}

/// What the network file calls each node, by its id in the log.
fn ids_and_names(network: &NetworkFile) -> BTreeMap<String, String> {
    let tenant = network.tenant_id();
    let devices = network.nodes.iter().map(|node| (NodeId::of(tenant, &node.id), node.id.clone()));
    let subscribers =
        network.subscribers.iter().map(|one| (NodeId::of_account(tenant, &one.account), one.account.clone()));
    devices.chain(subscribers).map(|(id, name)| (id.to_string(), name)).collect()
}

/// What an outage of everything in a network of so many nodes may take: at 10,000 and at 100,000.
fn limits_of(nodes: usize) -> &'static [(&'static str, Limit)] {
    const LARGE: usize = 50_000;
    if nodes < LARGE {
        &[
            ("seconds_from_first_report_to_notice", AtMost(3.0)),
            ("cpu_us_per_report.all", AtMost(97.0)),
            ("pss_mb_max.all", AtMost(400.0)),
        ]
    } else {
        &[
            ("seconds_from_first_report_to_notice", AtMost(10.0)),
            ("seconds_from_first_report_to_all_impacted", AtMost(30.0)),
            ("pss_mb_max.all", AtMost(1_000.0)),
        ]
    }
}

/// What the run was to be.
fn asked_for(args: &Args, network: &NetworkFile, concerned: usize) -> Value {
    json!({
        "scenario": format!("{:?}", args.scenario),
        "nodes": network.nodes.len() + network.subscribers.len(),
        "concerned": concerned,
        "root": format!("{:?}", args.root).to_lowercase(),
        "spread_s": args.spread,
        "recovery": format!("{:?}", args.recovery).to_lowercase(),
        "recovery_spread_s": args.recovery_spread,
        "loss": args.loss,
        "dup": args.dup,
        "kill": format!("{:?}", args.kill).to_lowercase(),
        "array": args.array,
        "seed": args.seed,
    })
}

fn span(from: Option<Instant>, to: Option<Instant>) -> Option<f64> {
    from.zip(to).map(|(from, to)| round(to.saturating_duration_since(from).as_secs_f64()))
}

/// The network of a run: its sink is where everybody is told. Its lab is told of no front door, so its
/// routers watch and answer, but report nothing by themselves.
fn network(args: &Args, stack: &Stack) -> anyhow::Result<NetworkFile> {
    let shape = Shape {
        towers: args.towers,
        sectors: args.sectors,
        clients: args.clients,
        seed: args.seed,
        api_port: API_PORT,
        ..Shape::default()
    };
    let mut network = generate(&shape)?;
    stack.tell_the_sink(&mut network);
    network.policy.resolve_hold_ms = RESOLVE_HOLD.as_millis() as u32;
    network.policy.walks_per_hour = 10_000_000;
    network.lab.defaults = LabHints { session_timeout_ms: Some(0), boot_ms: Some(0), ..LabHints::default() };
    network.tokens.push(TokenEntry {
        name: "storm".into(),
        opens: Opens::Signals,
        token: Secret::new(TOKEN),
        from: vec![],
        at: Position::default(),
    });
    Ok(network)
}

/// Everything that runs.
struct Bench {
    stack: Stack,
    lab: Arc<lab::Lab>,
    running: Running,
    incidents: Incidents,
    groups: Arc<Mutex<Groups>>,
    connections: usize,
    /// Of one core, when nothing happens.
    rest_percent: BTreeMap<&'static str, f64>,
}

/// What everything has cost by the time something was last said.
struct Spent {
    cpu: BTreeMap<&'static str, Duration>,
    last_seq: u64,
    looked_at: Instant,
}

impl Bench {
    /// Servers, lab and our own process; everything imported and known to be up.
    async fn start(args: &Args, stack: Stack, network: &NetworkFile) -> anyhow::Result<Self> {
        let settings = lab::Settings { sessions_return_over: Duration::ZERO, ..lab::Settings::default() };
        let lab = lab::Lab::start(lab::network::Network::from_file(network)?, settings).await?;
        let running = stack.run(&["all"])?;
        let mut groups = Groups::default();
        groups.is("mastwatch", Some(running.pid()));
        groups.is("nats_server", stack.nats.pid());
        groups.is("postgres", stack.postgres.pid());
        let groups = Arc::new(Mutex::new(groups));
        tokio::spawn(watch_memory(Arc::downgrade(&groups)));
        let began = Instant::now();
        stack.import(network).await.with_context(|| format!("importing; our log:\n{}", running.said()))?;
        progress(format_args!("storm: imported after {:.1} s", began.elapsed().as_secs_f64()));
        if let Err(error) = stack.settled(&network.tenant.slug, SETTLED_WITHIN).await {
            let beliefs = told::beliefs(&stack.log, network.tenant_id()).await?;
            return Err(error.context(format!("believed so far: {beliefs:?}; our log:\n{}", running.said())));
        }
        progress(format_args!("storm: everything known after {:.1} s", began.elapsed().as_secs_f64()));
        let incidents = Incidents::follow(&stack.log, network.tenant_id());
        let connections = usize::from(args.connections);
        let rest_percent = BTreeMap::new();
        let mut bench = Self { stack, lab, running, incidents, groups, connections, rest_percent };
        bench.quiet(None).await?;
        let before = bench.cpu();
        let waited = Instant::now();
        tokio::time::sleep(REST).await;
        let share = |(name, spent): (&'static str, Duration)| {
            let percent =
                spent.saturating_sub(before[name]).as_secs_f64() / waited.elapsed().as_secs_f64() * 100.0;
            (name, round(percent))
        };
        bench.rest_percent = bench.cpu().into_iter().map(share).collect();
        progress(format_args!("storm: at rest after {:.1} s", began.elapsed().as_secs_f64()));
        let (told, _) = told::notices(&bench.stack.sink);
        if !told.is_empty() {
            bail!("people were told before anything broke: {told:?}");
        }
        Ok(bench)
    }

    fn set_broken(&self, ids: &[String], broken: bool) -> anyhow::Result<()> {
        let find =
            |id: &String| self.lab.network().find(id).with_context(|| format!("the lab has no `{id}`"));
        let nodes = ids.iter().map(find).collect::<anyhow::Result<Vec<_>>>()?;
        self.lab.set_broken(&nodes, broken);
        Ok(())
    }

    /// Sends a wave; returns when `enough` was said or patience has ended, and it is quiet.
    async fn wave(
        &mut self,
        steps: Vec<plan::Step>,
        kill: Kill,
        enough: impl Fn(&[Notice], &Incidents) -> bool,
    ) -> anyhow::Result<Waved> {
        let half = steps.iter().map(|step| step.reports).sum::<usize>() / 2;
        let before = self.cpu();
        let wave = Arc::new(Wave::default());
        let began = Time::from_us(machine::now_us());
        let sending = tokio::spawn(Arc::clone(&wave).send(steps, self.stack.ingest, self.connections));
        let (mut killed, mut over_at) = (kill == Kill::None, None);
        let mut spent = Spent { cpu: before.clone(), last_seq: 0, looked_at: Instant::now() };
        loop {
            self.look_at_cpu(&mut spent).await?;
            let (told, _) = told::notices(&self.stack.sink);
            let is_due = match kill {
                Kill::None => false,
                Kill::Half => wave.accepted.load(Ordering::Relaxed) >= half,
                Kill::Told => told.iter().any(|notice| notice.phase == Some(Phase::Opened)),
            };
            if is_due && !killed {
                self.kill_and_restart()?;
                killed = true;
            }
            if sending.is_finished() || wave.over.load(Ordering::Relaxed) {
                let over = *over_at.get_or_insert_with(Instant::now);
                if killed && enough(&told, &self.incidents) {
                    break;
                }
                if over.elapsed() > PATIENCE {
                    progress(format_args!(
                        "storm: what was awaited did not come within {} s",
                        PATIENCE.as_secs()
                    ));
                    break;
                }
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        sending.await.context("the senders ended")??;
        self.quiet(Some(&mut spent)).await?;
        let costs =
            spent.cpu.into_iter().map(|(name, spent)| (name, spent.saturating_sub(before[name]))).collect();
        Ok(Waved { wave, began, costs })
    }

    fn kill_and_restart(&mut self) -> anyhow::Result<()> {
        progress("storm: everything of ours is killed");
        self.cpu();
        self.running.kill();
        self.running = self.stack.run(&["all"])?;
        self.groups.lock().expect("nobody panics while holding it").is("mastwatch", Some(self.running.pid()));
        Ok(())
    }

    fn cpu(&self) -> BTreeMap<&'static str, Duration> {
        self.groups.lock().expect("nobody panics while holding it").cpu()
    }

    /// Twice a second: what everything has cost as long as something is still said.
    async fn look_at_cpu(&self, spent: &mut Spent) -> anyhow::Result<()> {
        if spent.looked_at.elapsed() < Duration::from_millis(500) {
            return Ok(());
        }
        spent.looked_at = Instant::now();
        // While everything of ours is away the log may not answer for a moment either.
        let Ok(state) = self.stack.log.state().await else { return Ok(()) };
        if state.last_seq != spent.last_seq {
            (spent.last_seq, spent.cpu) = (state.last_seq, self.cpu());
        }
        Ok(())
    }

    /// Waits until nothing more is said.
    async fn quiet(&self, mut spent: Option<&mut Spent>) -> anyhow::Result<()> {
        let began = Instant::now();
        let (mut last, mut since) = (0, Instant::now());
        loop {
            if let Some(spent) = spent.as_deref_mut() {
                self.look_at_cpu(spent).await?;
            }
            let now = self.stack.log.state().await?.last_seq;
            if now != last {
                (last, since) = (now, Instant::now());
            }
            if since.elapsed() >= QUIET {
                return Ok(());
            }
            if began.elapsed() > QUIET_WITHIN {
                progress(format_args!("storm: it did not become quiet within {} s", QUIET_WITHIN.as_secs()));
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Waits until everything is believed to be up, as long as that may take; says after how many seconds.
    async fn all_up(
        &self,
        tenant: events::TenantId,
        up: &Waved,
    ) -> anyhow::Result<(BTreeMap<Health, usize>, Option<f64>)> {
        let first = up.wave.sent().first;
        loop {
            let beliefs = told::beliefs(&self.stack.log, tenant).await?;
            if beliefs.keys().all(|health| *health == Health::Up) {
                return Ok((beliefs, span(first, Some(Instant::now()))));
            }
            if first.is_none_or(|first| first.elapsed() > ALL_UP_WITHIN) {
                return Ok((beliefs, None));
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    async fn stop(mut self) {
        self.running.kill();
        self.lab.stop().await;
    }
}

/// Looks at memory once a second for as long as somebody wants to know.
async fn watch_memory(groups: std::sync::Weak<Mutex<Groups>>) {
    while let Some(groups) = groups.upgrade() {
        let look = move || groups.lock().expect("nobody panics while holding it").look_at_memory();
        if tokio::task::spawn_blocking(look).await.is_err() {
            return;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}
