//! One delivery: what stands, what comes next, the attempt said before it is made, and how it ended.

use crate::{
    Config,
    call::{Letter, Outcome, Repeats, kind_of},
    directory::Directory,
    email::{self, Mailer},
    figures::Figures,
    lanes::Lanes,
    standing::{Attempt, Next, Rules, Standing},
    target::Targets,
    webhook::{self, Web},
};
use events::{
    Channel, ChannelId, ChannelKind, Delivery, DeliveryKind, DeliverySaid, EventId, Fact, Heard, Notice,
    NoticeId, NoticeKind, NoticeSaid, Noun, Phase, Say, Subject, TenantId, Time,
};
use kit::{Job, Log, LogError, Outgoing, PublishError, Service, Stored, Verdict, message::Undecodable};
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;
use url::Url;
use uuid::Uuid;
use vault::{Field, TenantKeys};

/// When a notice is looked at again whose channel has no room now.
const BUSY_AGAIN: Duration = Duration::from_secs(1);
/// When a notice is looked at again after the log or another replica was in the way.
const AGAIN: Duration = Duration::from_secs(2);
/// When a notice is looked at again whose channel's secrets do not open.
const SECRETS_AGAIN: Duration = Duration::from_secs(30);
/// How often a notice is looked at again whose channel is not known, before the channel counts as removed.
const UNKNOWN_CHANNEL_MAX: u32 = 5;
/// A later notice looks at the first one of its incident again after at most this.
const FIRST_AGAIN_MAX: Duration = Duration::from_secs(30);
/// How long the end of an attempt is tried to be said; after that it counts as an attempt without an end.
const END_WITHIN: Duration = Duration::from_secs(30);
/// Beyond how long a call may take, after which it has surely ended.
const CALL_MARGIN: Duration = Duration::from_secs(5);

const SUPERSEDED: &str = "the incident was over before it left";

/// Why a delivery did not come further. It is looked at again.
#[derive(Debug, thiserror::Error)]
enum Hindered {
    #[error(transparent)]
    Read(#[from] LogError),
    #[error(transparent)]
    Say(#[from] PublishError),
    #[error("reading what was said last of it")]
    Unreadable(#[from] Undecodable),
}

/// What every delivery needs.
#[derive(Debug)]
pub(crate) struct Desk {
    log: Log,
    said_by: Arc<str>,
    directory: Arc<Directory>,
    web: Web,
    mailer: Mailer,
    rules: Rules,
    stale_after: Duration,
    console: Option<Url>,
    lanes: Lanes,
    figures: Figures,
}

/// One notice and whose it is.
#[derive(Debug, Clone, Copy)]
struct Matter<'a> {
    tenant: TenantId,
    notice: &'a Notice,
    /// The event that addressed it.
    cause: EventId,
    traceparent: Option<&'a str>,
}

/// What is needed to make a call, with every secret opened.
enum Prepared {
    Webhook(webhook::Post),
    Email(email::Server, Option<email::Login>, email::Post),
}

/// Why there is nothing to send.
enum Unprepared {
    /// The settings can never work.
    Settings(String),
    /// The keys are not known or do not open the secrets.
    Secrets(String),
}

impl Desk {
    pub(crate) fn new(config: Config, service: &Service, directory: Arc<Directory>) -> anyhow::Result<Self> {
        let targets = Targets { allow_private: config.allow_private_targets };
        let ms = Duration::from_millis;
        let figures = Figures::new(&service.metrics);
        Ok(Self {
            log: service.log.clone(),
            said_by: Arc::from(service.name),
            directory,
            web: Web::new(targets, ms(config.webhook_within_ms))?,
            mailer: Mailer::new(targets, ms(config.email_within_ms)),
            rules: Rules {
                retries: config.retries_ms.iter().copied().map(ms).collect(),
                call_max: config.call_max() + CALL_MARGIN,
            },
            stale_after: ms(config.stale_after_ms),
            console: config.console_url,
            lanes: Lanes::new(config.at_once_per_channel, figures.off.clone()),
            figures,
        })
    }

    /// Takes one notice as far as it gets now.
    pub(crate) async fn work(&self, heard: Heard, job: &Job) -> Verdict {
        let NoticeSaid { kind, now } = match heard.fact {
            Fact::Notice(said) => said,
            other => return Verdict::Poison(format!("not a notice but a `{}`", other.noun().token())),
        };
        match kind {
            NoticeKind::Withdrawn => return Verdict::Done,
            NoticeKind::Addressed => {}
        }
        let matter = Matter {
            tenant: heard.tenant,
            notice: &now,
            cause: heard.id,
            traceparent: job.raw.traceparent(),
        };
        match self.deliver(matter, job.attempt).await {
            Ok(verdict) => verdict,
            Err(hindered) => {
                tracing::warn!(notice = %now.id, error = %hindered, "a delivery is put off");
                Verdict::Later(AGAIN)
            }
        }
    }

    async fn deliver(&self, matter: Matter<'_>, handed_out: u32) -> Result<Verdict, Hindered> {
        let Matter { tenant, notice, .. } = matter;
        let standing = self.standing(tenant, notice.id).await?;
        let Some((channel, keys)) = self.directory.channel(tenant, notice.channel) else {
            // It was decided on an inventory that has not come here yet, or the channel is gone since.
            if handed_out <= UNKNOWN_CHANNEL_MAX {
                return Ok(Verdict::Later(AGAIN));
            }
            return self
                .end(matter, standing.as_ref(), DeliveryKind::Dropped, "the channel is no more")
                .await;
        };
        let (via, repeats) = kind_of(&channel);
        let now = clock();
        let (n, possibly_repeated) = match self.rules.next(standing.as_ref(), repeats, now) {
            Next::Over => return Ok(Verdict::Done),
            Next::Wait(rest) => return Ok(Verdict::Later(rest)),
            Next::End(kind, why) => return self.end(matter, standing.as_ref(), kind, why).await,
            Next::Attempt { n, possibly_repeated } => (n, possibly_repeated),
        };
        if now >= notice.expires {
            return self.end(matter, standing.as_ref(), DeliveryKind::Dropped, "it expired").await;
        }
        let first = match self.first(matter, repeats, now).await? {
            First::None => None,
            First::Told(first) => Some(first),
            First::Pending(rest) => return Ok(Verdict::Later(rest.clamp(BUSY_AGAIN, FIRST_AGAIN_MAX))),
            First::NeverTold => {
                let why = "its receiver was never told of the incident";
                return self.end(matter, standing.as_ref(), DeliveryKind::Dropped, why).await;
            }
        };
        let Some(_place) = self.lanes.place(tenant, &channel, |tenant, id| self.is_known(tenant, id)) else {
            self.figures.busy.inc();
            return Ok(Verdict::Later(BUSY_AGAIN));
        };
        if self.lanes.is_off(tenant, &channel) {
            let why = "the endpoint is off: it answered 410";
            return self.end(matter, standing.as_ref(), DeliveryKind::Refused, why).await;
        }
        let letter = Letter { notice, first, possibly_repeated, console: self.console.as_ref() };
        let prepared = match prepare(&letter, &channel, keys.as_deref(), now) {
            Ok(prepared) => prepared,
            Err(Unprepared::Settings(why)) => {
                return self.end(matter, standing.as_ref(), DeliveryKind::Refused, &why).await;
            }
            Err(Unprepared::Secrets(why)) => {
                tracing::error!(channel = channel.name, %tenant, why, "a channel's secrets do not open");
                return Ok(Verdict::Later(SECRETS_AGAIN));
            }
        };
        // The last look before the attempt: it may have been withdrawn since it was handed out.
        if self.is_withdrawn(tenant, notice.id).await? {
            return self.end(matter, standing.as_ref(), DeliveryKind::Dropped, "it was withdrawn").await;
        }
        if self.is_superseded(matter, now).await? {
            return self.end(matter, standing.as_ref(), DeliveryKind::Dropped, SUPERSEDED).await;
        }
        let begun = Delivery { notice: notice.id, attempts: n, answer: None, possibly_repeated };
        let after = standing.as_ref().map_or(0, |standing| standing.seq);
        let Some(begun) = self.begin(matter, begun, after).await? else {
            return Ok(Verdict::Later(AGAIN));
        };
        if possibly_repeated {
            self.figures.marked.inc();
        }
        let call = Instant::now();
        let outcome = self.call(prepared).await;
        self.figures.call(via, outcome.name(), call.elapsed().as_secs_f64());
        let attempt = Attempt { notice: notice.id, n, possibly_repeated, repeats, expires: notice.expires };
        let (said, kind, again) = self.rules.ended(&outcome, attempt, clock());
        self.note(matter, &channel, &outcome, n, again);
        self.say_end(matter, said, kind, begun.seq).await?;
        match again {
            Some(pause) => Ok(Verdict::Later(pause)),
            None => Ok(self.over(matter, kind)),
        }
    }

    async fn call(&self, prepared: Prepared) -> Outcome {
        match prepared {
            Prepared::Webhook(post) => self.web.send(post, clock()).await,
            Prepared::Email(server, login, post) => self.mailer.send(&server, login, &post).await,
        }
    }

    /// The last thing that was said of a delivery, as the log's leader knows it.
    async fn standing(&self, tenant: TenantId, notice: NoticeId) -> Result<Option<Standing>, Hindered> {
        let Some(raw) = self.log.last(&Subject::of(tenant, Noun::Delivery, notice.0).to_string()).await?
        else {
            return Ok(None);
        };
        let heard = raw.decode()?;
        Ok(match heard.fact {
            Fact::Delivery(DeliverySaid { kind, now }) => {
                Some(Standing { kind, now, heard: heard.heard, seq: heard.seq })
            }
            // Nothing else lies under that subject.
            _ => None,
        })
    }

    /// The last thing that was said of a notice, and by which event.
    async fn notice(
        &self,
        tenant: TenantId,
        id: NoticeId,
    ) -> Result<Option<(EventId, NoticeSaid)>, Hindered> {
        let Some(raw) = self.log.last(&Subject::of(tenant, Noun::Notice, id.0).to_string()).await? else {
            return Ok(None);
        };
        let heard = raw.decode()?;
        match heard.fact {
            Fact::Notice(said) => Ok(Some((heard.id, said))),
            // Nothing else lies under that subject.
            _ => Ok(None),
        }
    }

    async fn is_withdrawn(&self, tenant: TenantId, id: NoticeId) -> Result<bool, Hindered> {
        let said = self.notice(tenant, id).await?;
        Ok(said.is_some_and(|(_, said)| said.kind == NoticeKind::Withdrawn))
    }

    /// Whether it is no news any more: late, and the same contact is being told that it is over.
    async fn is_superseded(&self, matter: Matter<'_>, now: Time) -> Result<bool, Hindered> {
        match matter.notice.phase {
            Phase::Resolved => return Ok(false),
            Phase::Opened | Phase::Changed | Phase::Escalated => {}
        }
        if !self.is_late(matter.notice, now) {
            return Ok(false);
        }
        let said = self.notice(matter.tenant, of_contact(matter.notice, Phase::Resolved)).await?;
        Ok(said.is_some_and(|(_, said)| said.kind == NoticeKind::Addressed))
    }

    fn is_late(&self, notice: &Notice, now: Time) -> bool {
        let passed = Duration::from_millis(u64::try_from(now.ms_since(notice.at)).unwrap_or(0));
        passed >= self.stale_after
    }

    /// What became of the notice that told this contact of the incident first. What follows on it keeps
    /// its place behind it, and nobody who was never told hears how it ended.
    async fn first(&self, matter: Matter<'_>, repeats: Repeats, now: Time) -> Result<First, Hindered> {
        let Matter { tenant, notice, .. } = matter;
        let candidates: &[Phase] = match notice.phase {
            Phase::Opened => &[],
            Phase::Changed if notice.step == 0 => &[Phase::Opened],
            Phase::Changed | Phase::Escalated | Phase::Resolved => &[Phase::Opened, Phase::Changed],
        };
        for phase in candidates {
            let id = of_contact(notice, *phase);
            let Some((cause, said)) = self.notice(tenant, id).await? else { continue };
            match said.kind {
                NoticeKind::Addressed => {}
                NoticeKind::Withdrawn => continue,
            }
            let standing = self.standing(tenant, id).await?;
            let first = Matter { notice: &said.now, cause, ..matter };
            return self.became(first, standing, notice.phase, repeats, now).await;
        }
        Ok(First::None)
    }

    /// What became of the notice `first`, towards one of the phase `next` that follows on it.
    async fn became(
        &self,
        first: Matter<'_>,
        standing: Option<Standing>,
        next: Phase,
        repeats: Repeats,
        now: Time,
    ) -> Result<First, Hindered> {
        let (id, ends) = (first.notice.id, next == Phase::Resolved);
        // Surely nobody has it.
        let has_not_left = standing.as_ref().is_none_or(|s| s.kind == DeliveryKind::Deferred);
        let pending = match self.rules.next(standing.as_ref(), repeats, now) {
            Next::Wait(rest) => rest,
            Next::Attempt { .. } | Next::End(..) => BUSY_AGAIN,
            Next::Over => {
                return Ok(match standing.map(|standing| (standing.kind, standing.heard)) {
                    // Dropped before it expired: what is over took its place.
                    Some((DeliveryKind::Dropped, at)) if ends && at < first.notice.expires => First::None,
                    Some((DeliveryKind::Refused | DeliveryKind::Dropped, _)) => First::NeverTold,
                    Some((
                        DeliveryKind::Delivered
                        | DeliveryKind::Unknown
                        | DeliveryKind::Attempted
                        | DeliveryKind::Deferred,
                        _,
                    ))
                    | None => First::Told(id),
                });
            }
        };
        if ends && has_not_left && self.is_late(first.notice, now) {
            // It would only sleep on: said here, by the same compare-and-set that its attempt would need.
            return Ok(match self.end(first, standing.as_ref(), DeliveryKind::Dropped, SUPERSEDED).await? {
                Verdict::Done => First::None,
                Verdict::Later(_) | Verdict::Poison(_) => First::Pending(BUSY_AGAIN),
            });
        }
        Ok(First::Pending(pending))
    }

    fn is_known(&self, tenant: TenantId, id: ChannelId) -> bool {
        self.directory.channel(tenant, id).is_some()
    }

    /// Says that an attempt begins. `None`: somebody else was faster.
    async fn begin(
        &self,
        matter: Matter<'_>,
        begun: Delivery,
        after: u64,
    ) -> Result<Option<Stored>, Hindered> {
        // A fresh id: two replicas that begin the same attempt must not take each other's word for their own.
        let id = EventId(Uuid::now_v7());
        match self.say(matter, id, DeliveryKind::Attempted, begun, after, &self.log).await {
            Ok(stored) => Ok(Some(stored)),
            Err(PublishError::Conflict { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Says how an attempt ended. Somebody who took over meanwhile has the last word.
    async fn say_end(
        &self,
        matter: Matter<'_>,
        said: Delivery,
        kind: DeliveryKind,
        after: u64,
    ) -> Result<(), Hindered> {
        let id = end_id(matter.notice.id, kind, said.attempts);
        match self.say(matter, id, kind, said, after, &self.log.within(END_WITHIN)).await {
            Ok(_) => Ok(()),
            Err(PublishError::Conflict { .. }) => {
                tracing::warn!(notice = %matter.notice.id, "a delivery was taken over before its end was said");
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Ends a delivery without another attempt.
    async fn end(
        &self,
        matter: Matter<'_>,
        standing: Option<&Standing>,
        kind: DeliveryKind,
        why: &str,
    ) -> Result<Verdict, Hindered> {
        let (attempts, possibly_repeated) =
            standing.map_or((0, false), |standing| (standing.now.attempts, standing.now.possibly_repeated));
        let notice = matter.notice.id;
        let said = Delivery { notice, attempts, answer: Some(why.to_owned()), possibly_repeated };
        let after = standing.map_or(0, |standing| standing.seq);
        match self.say(matter, end_id(notice, kind, attempts), kind, said, after, &self.log).await {
            Ok(_) => {
                tracing::info!(%notice, ?kind, why, "a delivery ends");
                Ok(self.over(matter, kind))
            }
            Err(PublishError::Conflict { .. }) => Ok(Verdict::Later(AGAIN)),
            Err(error) => Err(error.into()),
        }
    }

    async fn say(
        &self,
        matter: Matter<'_>,
        id: EventId,
        kind: DeliveryKind,
        now: Delivery,
        after: u64,
        log: &Log,
    ) -> Result<Stored, PublishError> {
        let fact = Fact::Delivery(DeliverySaid { kind, now });
        let say = Say { id, tenant: matter.tenant, at: clock(), cause: Some(matter.cause), fact };
        let out = Outgoing::new(say, Arc::clone(&self.said_by)).traced(matter.traceparent.map(str::to_owned));
        log.publish_if(out, after).await
    }

    /// Counts a delivery that is over.
    fn over(&self, matter: Matter<'_>, kind: DeliveryKind) -> Verdict {
        let end = match kind {
            DeliveryKind::Delivered => {
                let ms = clock().ms_since(matter.notice.at).max(0);
                self.figures.told.observe(Duration::from_millis(ms.unsigned_abs()).as_secs_f64());
                "delivered"
            }
            DeliveryKind::Refused => "refused",
            DeliveryKind::Unknown => "unknown",
            DeliveryKind::Dropped => "dropped",
            DeliveryKind::Attempted | DeliveryKind::Deferred => "open",
        };
        self.figures.end(end);
        Verdict::Done
    }

    /// Writes down how a call ended, and keeps a channel off that wants nothing any more.
    fn note(
        &self,
        matter: Matter<'_>,
        channel: &Arc<Channel>,
        outcome: &Outcome,
        n: u32,
        again: Option<Duration>,
    ) {
        let (notice, tenant, channel_name) = (matter.notice.id, matter.tenant, channel.name.as_str());
        let again_s = again.map(|pause| pause.as_secs_f64());
        match outcome {
            Outcome::Delivered(answer) => {
                tracing::info!(%notice, %tenant, channel = channel_name, n, answer, "delivered");
            }
            Outcome::Retry { why, .. } | Outcome::Rejected(why) => {
                tracing::warn!(%notice, %tenant, channel = channel_name, n, why, again_s, "not taken");
            }
            Outcome::Unknown(why) => {
                tracing::warn!(%notice, %tenant, channel = channel_name, n, why, again_s, "perhaps taken");
            }
            Outcome::Gone(why) => {
                tracing::error!(%notice, %tenant, channel = channel_name, why, "the channel switched itself off");
                self.lanes.switch_off(tenant, channel, |tenant, id| self.is_known(tenant, id));
            }
        }
    }
}

/// What became of the first notice of an incident to a contact.
enum First {
    /// There is none but this.
    None,
    /// It was told, or may have been.
    Told(NoticeId),
    /// It is still on its way.
    Pending(Duration),
    /// It never left, or was never taken.
    NeverTold,
}

fn prepare(
    letter: &Letter<'_>,
    channel: &Channel,
    keys: Option<&TenantKeys>,
    now: Time,
) -> Result<Prepared, Unprepared> {
    let keys = || keys.ok_or_else(|| Unprepared::Secrets("the tenant's keys are not known".into()));
    let sealed = |error: vault::OpenError| Unprepared::Secrets(error.to_string());
    match &channel.kind {
        ChannelKind::Webhook { url, secret } => {
            let settings = |error: webhook::SettingsError| Unprepared::Settings(error.to_string());
            let url = webhook::address(url).map_err(settings)?;
            let secret = keys()?.open(Field::ChannelSecret(channel.id), secret).map_err(sealed)?;
            let text = std::str::from_utf8(&secret)
                .map_err(|_| Unprepared::Settings("the channel's secret is no text".into()))?;
            Ok(Prepared::Webhook(webhook::request(letter, url, text, now).map_err(settings)?))
        }
        ChannelKind::Email { server, from, to, login } => {
            let settings = |error: email::SettingsError| Unprepared::Settings(error.to_string());
            let server = email::Server::parse(server).map_err(settings)?;
            let login = match login {
                Some(login) => {
                    Some(keys()?.open_login(Field::ChannelLogin(channel.id), login).map_err(sealed)?)
                }
                None => None,
            };
            let post = email::request(letter, email::Addresses { from, to }).map_err(settings)?;
            Ok(Prepared::Email(server, login, post))
        }
    }
}

/// The notice that tells the same contact of the same incident, in the first step of `phase`.
fn of_contact(notice: &Notice, phase: Phase) -> NoticeId {
    NoticeId::of(notice.incident, notice.audience.name(), notice.channel, phase.name(), 0)
}

fn end_id(notice: NoticeId, kind: DeliveryKind, attempts: u32) -> EventId {
    EventId::following(EventId(notice.0), "notifier", &format!("{kind:?} {attempts}"))
}

fn clock() -> Time {
    Time::from_us(chrono::Utc::now().timestamp_micros())
}
