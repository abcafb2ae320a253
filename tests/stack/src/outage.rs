//! One outage, from the first report to the last recovery, while something of ours or one of the servers is
//! killed or frozen.
//!
//! Says everything that is not as it must be, under the name of the scenario, and leaves the log of the
//! tenant in a file then.

use crate::{
    Call, Stack,
    fleet::Fleet,
    isp::Isp,
    ledger::{self, Ledger},
    narrate,
    reports::{Answer, Routers, Says, Wave, dice},
};
use anyhow::Context;
use events::{Health, NodeId};
use std::{
    fmt,
    time::{Duration, Instant},
};

/// What breaks.
pub const ROOT: &str = "core-1";
/// Over which time things report.
const SPREAD: Duration = Duration::from_secs(4);
/// People hear of a storm within this after its first report, when nothing of ours is struck: for debug builds
/// beside other tests. What a release build takes is measured by `./dev bench storm`.
const TOLD_WITHIN: Duration = Duration::from_secs(8);

/// How long something frozen stays so.
pub const FROZEN: Duration = Duration::from_secs(10);
/// How long it takes until a service that was killed is started again.
const STARTED_AGAIN: Duration = Duration::from_millis(400);
/// How long a server that was killed is away.
const SERVER_AWAY: Duration = Duration::from_secs(10);
/// How long people may be left without the notice they should get, once everything is there again.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long everything may take to be known to be up again, and all to be quiet and written.
const SETTLES: Duration = Duration::from_secs(90);
/// How long the sink thinks, so that there is time to strike while it is called.
const SINK_THINKS: Duration = Duration::from_millis(300);
/// As long as nothing can be stored, how long may ingest leave a sender without an answer.
const ANSWERS_WITHIN: Duration = Duration::from_secs(7);

/// What is struck.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Victim {
    /// One service's process.
    Service(&'static str),
    /// The log's server.
    Nats,
    /// The read models' server.
    Postgres,
}

/// How.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blow {
    /// SIGKILL; started again.
    Kill,
    /// SIGSTOP, and SIGCONT after ten seconds.
    Freeze,
}

/// In which half of an outage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Half {
    /// While things report that they are down.
    Breaks,
    /// While they report that they are back.
    Mends,
}

/// When in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// When so many percent of the reports were taken.
    Percent(usize),
    /// When the notice of that half is at the receiver's door, unanswered.
    Told,
}

impl Moment {
    /// Whether most of the reports are still to come.
    fn is_early(self) -> bool {
        matches!(self, Moment::Percent(percent) if percent < 50)
    }
}

/// One thing that goes wrong on our side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Strike {
    /// What is struck.
    pub victim: Victim,
    /// How.
    pub blow: Blow,
    /// In which half.
    pub half: Half,
    /// When in it.
    pub moment: Moment,
}

impl fmt::Display for Strike {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let victim = match self.victim {
            Victim::Service(name) => name,
            Victim::Nats => "nats-server",
            Victim::Postgres => "Postgres",
        };
        let blow = match self.blow {
            Blow::Kill => "killed",
            Blow::Freeze => "frozen",
        };
        let half = match self.half {
            Half::Breaks => "it breaks",
            Half::Mends => "it is mended",
        };
        write!(f, "{victim} {blow} when {half}, ")?;
        match self.moment {
            Moment::Percent(percent) => write!(f, "{percent} % reported"),
            Moment::Told => write!(f, "while it is told"),
        }
    }
}

/// How far a strike is.
enum Stage {
    Due,
    Under(Instant),
    Over,
}

/// What one half showed.
struct Seen {
    answers: Vec<Answer>,
    /// From when to when something was away.
    away: Option<(Instant, Instant)>,
}

/// One outage of an ISP.
pub struct Outage<'a> {
    /// Where everything stands.
    pub stack: &'a Stack,
    /// Our processes.
    pub fleet: &'a mut Fleet,
    /// Whose router breaks. Nothing broke there before.
    pub isp: &'a Isp,
    /// What chance follows from.
    pub seed: u64,
    /// What goes wrong: at most one thing a half.
    pub strikes: Vec<Strike>,
    /// Something in the log cannot be read, and whoever reads it for the first time buries it.
    pub is_poisoned: bool,
}

impl Outage<'_> {
    /// What it is called in failures.
    pub fn name(&self) -> String {
        let strikes: Vec<String> = self.strikes.iter().map(ToString::to_string).collect();
        format!("{}, seed {}: {}", self.isp.slug(), self.seed, strikes.join("; "))
    }

    /// Carries it through and says all that is not as it must be.
    pub async fn run(mut self) -> Vec<String> {
        let (name, began) = (self.name(), Instant::now());
        let mut wrong = Vec::new();
        if let Err(error) = self.carry_through(&mut wrong).await {
            wrong.push(format!("{error:#}"));
        }
        wrong.extend(self.fleet.ended());
        narrate(format_args!(
            "{name}: {} s, {}",
            began.elapsed().as_secs(),
            if wrong.is_empty() { "held" } else { "BROKEN" }
        ));
        if !wrong.is_empty() {
            wrong.push(self.evidence().await);
        }
        wrong.into_iter().map(|what| format!("[{name}] {what}")).collect()
    }

    async fn carry_through(&mut self, wrong: &mut Vec<String>) -> anyhow::Result<()> {
        self.stack.settled(self.isp.slug(), SETTLES).await.context("before anything broke")?;
        let from = self.stack.log.state().await?.last_seq + 1;
        let buried = ledger::dead(self.stack).await?.len();
        let mut random = dice(self.seed);
        let mut routers = Routers::of(&self.isp.network, self.stack.ingest)?;
        let mut ids = Vec::new();
        for (half, says, kind) in
            [(Half::Breaks, Says::Down, "incident.opened"), (Half::Mends, Says::Up, "incident.resolved")]
        {
            self.isp.set_broken(ROOT, half == Half::Breaks)?;
            let wave = routers.report(says, SPREAD, &mut random)?;
            let strike = self.strikes.iter().copied().find(|strike| strike.half == half);
            let began = Instant::now();
            let mut wave = wave;
            let carried = self.half(&mut wave, strike, kind).await;
            if let Some(call) = self.calls(kind).next() {
                let after = call.at - began;
                narrate(format_args!("`{kind}` came {:.1} s after the first report", after.as_secs_f64()));
                if self.strikes.is_empty() && half == Half::Breaks && after > TOLD_WITHIN {
                    wrong.push(format!("`{kind}` came {after:?} after the first report, with nothing amiss"));
                }
            }
            ids.extend(wave.ids());
            let seen = carried.with_context(|| format!("waiting for `{kind}`"))?;
            if let Some(strike) = strike {
                self.look_at_answers(strike, &seen, kind, wrong);
            }
        }
        self.judge(from, &ids, wrong).await?;
        let dead = ledger::dead(self.stack).await?;
        if dead.len() != buried && !self.is_poisoned {
            wrong.push(format!("new dead letters: {:?}", &dead[buried.min(dead.len())..]));
        }
        // Last of all, so that nothing else goes unsaid when it fails.
        ledger::written(self.stack, &[self.isp.tenant], SETTLES).await?;
        ledger::rebuilt(self.stack).await
    }

    /// One half: from the first report until the notice has come and nothing is away any more.
    async fn half(&mut self, wave: &mut Wave, strike: Option<Strike>, kind: &str) -> anyhow::Result<Seen> {
        let (mut stage, mut away) = (if strike.is_some() { Stage::Due } else { Stage::Over }, None);
        let slow =
            if strike.is_some_and(|s| s.moment == Moment::Told) { SINK_THINKS } else { Duration::ZERO };
        self.stack.sink.answer_after(slow);
        let mut since = Instant::now();
        loop {
            let is_over = wave.is_over()?;
            let is_told = self.calls(kind).next().is_some();
            match (&stage, strike) {
                (Stage::Due, Some(strike)) => {
                    let is_due = match strike.moment {
                        Moment::Percent(percent) => wave.accepted() * 100 >= wave.count * percent,
                        Moment::Told => is_told,
                    };
                    if is_due {
                        narrate(format_args!(
                            "{strike}: after {} of {} reports",
                            wave.accepted(),
                            wave.count
                        ));
                        self.begin(strike)?;
                        stage = Stage::Under(Instant::now());
                    }
                }
                (Stage::Under(at), Some(strike)) => {
                    if at.elapsed() >= lasts(strike) {
                        away = Some((*at, Instant::now()));
                        self.end(strike).await?;
                        stage = Stage::Over;
                        since = Instant::now();
                    }
                }
                (Stage::Over, _) | (_, None) => {}
            }
            let struck = match (&stage, strike) {
                (Stage::Under(_), Some(Strike { victim: Victim::Service(name), blow: Blow::Kill, .. })) => {
                    vec![name]
                }
                _ => vec![],
            };
            self.fleet.mind(self.stack, &struck)?;
            if is_over && is_told && matches!(stage, Stage::Over) {
                return Ok(Seen { answers: wave.answers(), away });
            }
            if matches!(stage, Stage::Under(_)) || !is_over {
                since = Instant::now();
            }
            anyhow::ensure!(
                since.elapsed() < PATIENCE,
                "nothing came within {} s after the last report; told: {:?}",
                PATIENCE.as_secs(),
                self.stack.sink.told_to(self.isp.slug())
            );
            tokio::time::sleep(Duration::from_millis(15)).await;
        }
    }

    fn begin(&mut self, strike: Strike) -> anyhow::Result<()> {
        match (strike.victim, strike.blow) {
            (Victim::Service(name), Blow::Kill) => self.fleet.of(name).kill(),
            (Victim::Service(name), Blow::Freeze) => self.fleet.of(name).signal("STOP")?,
            (Victim::Nats, Blow::Kill) => self.stack.nats.kill(),
            (Victim::Nats, Blow::Freeze) => self.stack.nats.freeze()?,
            (Victim::Postgres, Blow::Kill) => self.stack.postgres.kill(),
            (Victim::Postgres, Blow::Freeze) => self.stack.postgres.freeze()?,
        }
        Ok(())
    }

    async fn end(&mut self, strike: Strike) -> anyhow::Result<()> {
        match (strike.victim, strike.blow) {
            (Victim::Service(name), Blow::Kill) => self.fleet.start_again(self.stack, name)?,
            (Victim::Service(name), Blow::Freeze) => self.fleet.of(name).signal("CONT")?,
            (Victim::Nats, Blow::Kill) => self.stack.nats.restart().await?,
            (Victim::Nats, Blow::Freeze) => self.stack.nats.thaw()?,
            (Victim::Postgres, Blow::Kill) => self.stack.postgres.restart().await?,
            (Victim::Postgres, Blow::Freeze) => self.stack.postgres.thaw()?,
        }
        Ok(())
    }

    fn calls(&self, kind: &str) -> impl Iterator<Item = Call> {
        let calls = self.stack.sink.calls_to(self.isp.slug()).into_iter();
        calls.filter(move |call| call.kind() == kind)
    }

    /// What senders were told while something was away.
    fn look_at_answers(&self, strike: Strike, seen: &Seen, kind: &str, wrong: &mut Vec<String>) {
        for answer in seen.answers.iter().filter(|answer| answer.status == Some(503)) {
            if !answer.is_problem || answer.retry_after_s.is_none() {
                wrong.push(format!("a 503 that is no problem+json with Retry-After: {answer:?}"));
            }
        }
        let Some((from, until)) = seen.away else { return };
        let meanwhile: Vec<&Answer> =
            seen.answers.iter().filter(|a| a.sent >= from && a.sent < until).collect();
        match strike.victim {
            Victim::Nats => {
                let refused = meanwhile.iter().filter(|a| a.status == Some(503)).count();
                let silent = meanwhile.iter().filter(|a| a.status.is_none()).count();
                // Late in a half every sender may have sent its last report before the blow.
                let all_sent = meanwhile.is_empty() && !strike.moment.is_early();
                if refused == 0 && !all_sent {
                    wrong.push(format!("nothing could be stored and nobody was told so: {meanwhile:?}"));
                }
                if silent > 0 {
                    wrong.push(format!(
                        "{silent} senders got no answer within {} s while nothing could be stored",
                        ANSWERS_WITHIN.as_secs()
                    ));
                }
            }
            Victim::Postgres => {
                let others = meanwhile.iter().filter(|a| a.status != Some(202)).count();
                if others > 0 {
                    wrong.push(format!("{others} reports were not taken because Postgres was away"));
                }
                let mut took: Vec<Duration> = meanwhile.iter().map(|a| a.took).collect();
                took.sort_unstable();
                let median = took.get(took.len() / 2).copied().unwrap_or_default();
                narrate(format_args!(
                    "{strike}: {} reports taken meanwhile, half of them within {median:?}",
                    took.len()
                ));
                if median > Duration::from_millis(100) {
                    wrong.push(format!("while Postgres was away, half of the answers took over {median:?}"));
                }
                if !self.calls(kind).any(|call| call.at < until) {
                    wrong.push(format!("`{kind}` was not told while Postgres was away"));
                }
            }
            Victim::Service(_) => {}
        }
    }

    /// Waits until all has settled, and looks whether it is as it must be.
    async fn judge(
        &mut self,
        from: u64,
        ids: &[events::EventId],
        wrong: &mut Vec<String>,
    ) -> anyhow::Result<()> {
        let (stack, isp) = (self.stack, self.isp);
        let began = Instant::now();
        let ledger = loop {
            self.fleet.mind(stack, &[])?;
            let ledger = Ledger::read(&stack.log, isp.tenant, 1).await?;
            let settled = ledger.health.values().all(|health| *health == Health::Up);
            if settled && ledger.health.len() == isp.size() && ledger.never_ended().is_empty() {
                narrate(format_args!("all is up {:.1} s after it was told", began.elapsed().as_secs_f64()));
                ledger::quiet(&stack.log, SETTLES).await?;
                break Ledger::read(&stack.log, isp.tenant, from).await?;
            }
            if began.elapsed() > SETTLES {
                let left: Vec<_> = ledger.health.iter().filter(|(_, h)| **h != Health::Up).collect();
                wrong.push(format!("not all is up after {} s: {left:?}", SETTLES.as_secs()));
                break Ledger::read(&stack.log, isp.tenant, from).await?;
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
        };
        let lost = ids.iter().filter(|id| !ledger.signals.contains(id)).count();
        let mut must = |holds: bool, what: String| {
            if !holds {
                wrong.push(what);
            }
        };
        must(lost == 0, format!("{lost} acknowledged reports are not in the log"));
        let root = NodeId::of(isp.tenant, ROOT);
        let names = isp.names();
        let falsely: Vec<_> = ledger
            .down
            .iter()
            .filter(|(node, _)| **node != root)
            .map(|(node, seq)| format!("{} at {seq}", names[&node.to_string()]))
            .collect();
        must(falsely.is_empty(), format!("called down, but only hang below: {}", falsely.join(", ")));
        must(ledger.never_ended().is_empty(), format!("never ended: {:?}", ledger.never_ended()));

        let (calls, told) = (stack.sink.calls_to(isp.slug()), stack.sink.told_to(isp.slug()));
        let kinds: Vec<&str> = told.iter().map(|(kind, _)| kind.as_str()).collect();
        let is_once = kinds == ["incident.opened", "incident.resolved"];
        must(is_once, format!("told once and resolved once, it should be, and not {told:?}"));
        let core = isp.network.node(ROOT).map(|node| node.name.as_str()).unwrap_or_default();
        must(
            told.iter().all(|(_, title)| title.trim_start_matches("Resolved: ").starts_with(core)),
            format!("not about {core}: {told:?}"),
        );
        // Who was killed between the call and its record calls again under the same id.
        let may_repeat = self
            .strikes
            .iter()
            .filter(|s| matches!(s.victim, Victim::Service("notifier") | Victim::Nats))
            .count();
        let repeated = calls.len() - told.len();
        must(repeated <= may_repeat, format!("{repeated} calls were repeated"));
        Ok(())
    }

    /// What helps to understand a failure.
    async fn evidence(&self) -> String {
        let file = std::env::temp_dir().join(format!("mastwatch-{}-{}.log", self.isp.slug(), self.seed));
        let traced = ledger::trace(&self.stack.log, self.isp.tenant, &self.isp.names(), &file).await;
        let services: Vec<&str> = self
            .strikes
            .iter()
            .filter_map(|s| match s.victim {
                Victim::Service(name) => Some(name),
                Victim::Nats | Victim::Postgres => None,
            })
            .collect();
        format!("all that was said is in {} ({traced:?})\n{}", file.display(), self.fleet.said(&services))
    }
}

/// How long a strike lasts.
fn lasts(strike: Strike) -> Duration {
    match (strike.victim, strike.blow) {
        (_, Blow::Freeze) => FROZEN,
        (Victim::Service(_), Blow::Kill) => STARTED_AGAIN,
        (Victim::Nats | Victim::Postgres, Blow::Kill) => SERVER_AWAY,
    }
}
