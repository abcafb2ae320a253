//! Looking at something through a router: echoes that the router sends, and what it says became of them.

use crate::{
    routers::{Line, Trouble},
    tries::{
        ROUTER_GRACE, TRIES, ThroughEnded, ThroughHeard, ThroughSoFar, WAITS, rest, three_tries_through,
    },
};
use routeros_api::question::{EchoStatus, Ping, Pong};
use std::{net::IpAddr, num::NonZeroU16, time::Duration};
use tokio::time::Instant;

/// How much earlier than it is waited for the time of a try's echo is over: the router has to say so.
const SLACK: Duration = Duration::from_millis(100);

/// The same of the last try.
const LAST_SLACK: Duration = Duration::from_millis(200);

/// Probes `address` in three tries through a router; `so_far` is told what is known on the way. Takes none of the
/// router's places: whoever asks has one.
pub(crate) async fn ping(line: &Line, address: IpAddr, so_far: impl FnMut(ThroughSoFar)) -> ThroughEnded {
    three_tries_through(|n, has_answered| echo(line, address, n, has_answered), so_far).await
}

/// One try: one echo, whose time is over early enough for the router to say so.
async fn echo(line: &Line, address: IpAddr, n: usize, has_answered: bool) -> ThroughHeard {
    let slack = if n + 1 < usize::from(TRIES) { SLACK } else { LAST_SLACK };
    let question = match Ping::new(address, NonZeroU16::MIN, WAITS[n].saturating_sub(slack)) {
        Ok(question) => question,
        Err(error) => return ThroughHeard::Cannot(error.to_string()),
    };
    let begun = Instant::now();
    let way = line.way(n, has_answered);
    match line.ask(&question, rest(n) + ROUTER_GRACE, way).await {
        Ok(pong) if pong.received_count > 0 => {
            ThroughHeard::Reply(rtt_of(&pong).unwrap_or_else(|| begun.elapsed()))
        }
        Ok(_) => ThroughHeard::TargetSilent,
        Err(Trouble::Silent) => ThroughHeard::RouterSilent,
        Err(trouble) => ThroughHeard::Cannot(trouble.why()),
    }
}

/// How long an echo took, there and back, if the router says it.
pub(crate) fn rtt_of(pong: &Pong) -> Option<Duration> {
    let of_echo = pong.echoes.iter().find_map(|echo| match &echo.status {
        EchoStatus::Answered { rtt } => *rtt,
        EchoStatus::TimedOut | EchoStatus::Failed(_) => None,
    });
    of_echo.or(pong.rtt_avg)
}
