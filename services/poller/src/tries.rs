//! The rhythm of a probe: three tries inside one deadline, and what is known after each.
//!
//! Tries begin at 0, 0.4 and 1.0 s, and the probe ends at 2.0 s. A later try does not end an earlier
//! one: an answer to any of them ends the probe. When a try's time is over and nothing has come, that is
//! told at once, so that whoever weighs evidence need not wait for the end: at 0.4 s of the first, at
//! 0.8 s of the second, although the third leaves only at 1.0 s.
//!
//! Silence is only what was waited for. A probe of a process that was frozen or starved finds its time
//! over without having listened: it ends without a word about the network.

use futures::{StreamExt, stream::FuturesUnordered};
use std::{
    pin::Pin,
    sync::atomic::{AtomicU8, Ordering},
    time::Duration,
};
use tokio::time::{Instant, sleep_until};

/// When each try begins, from the beginning of the probe.
pub const STARTS: [Duration; 3] = [Duration::ZERO, Duration::from_millis(400), Duration::from_millis(1_000)];

/// How long each try is waited for before it counts as unanswered.
pub const WAITS: [Duration; 3] =
    [Duration::from_millis(400), Duration::from_millis(400), Duration::from_millis(1_000)];

/// When the probe ends.
pub const WHOLE: Duration = Duration::from_millis(2_000);

/// What a router that has answered within this probe may take longer to say what became of its last echo.
pub const ROUTER_GRACE: Duration = Duration::from_millis(500);

/// A probe whose turn comes so much too late has not been listening.
const HELD_UP: Duration = Duration::from_millis(500);

/// Lateness that is worth a second look at what has come meanwhile.
const LATE: Duration = Duration::from_millis(10);

/// How many tries a probe has.
pub const TRIES: u8 = STARTS.len() as u8;

/// Until when, from the beginning of the probe, is listened before the try after `n` (from 0) begins or the
/// probe ends, and whether the time of try `n` is over then.
fn listens(n: usize) -> impl Iterator<Item = (Duration, bool)> {
    let over = STARTS[n] + WAITS[n];
    let next = STARTS.get(n + 1).copied().unwrap_or(WHOLE);
    [(over, true)].into_iter().chain((next > over).then_some((next, false)))
}

/// How long try `n` (from 0) may last before the probe ends.
pub fn rest(n: usize) -> Duration {
    WHOLE.saturating_sub(STARTS[n])
}

/// What came of one try at a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// A sign of life, after this time.
    Reply(Duration),
    /// Nothing came, and nothing more can.
    Nothing,
    /// It could not be tried: a fault on our side, and no word about the target.
    Cannot(String),
}

/// How a probe ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// The target is alive.
    Replied(Duration),
    /// All three tries went unanswered.
    Silent,
    /// The probe says nothing about the target.
    Unanswered(String),
}

/// Probes a target. `attempt` begins try `n` (from 0); `unanswered` is told how many tries have gone
/// unanswered as soon as the time of one is over, but for the last.
pub async fn three_tries<F: Future<Output = Heard>>(
    mut attempt: impl FnMut(usize) -> F,
    mut unanswered: impl FnMut(u8),
) -> Ended {
    let begun = Instant::now();
    let mut under_way = FuturesUnordered::new();
    let mut cannot = None;
    for n in 0..STARTS.len() {
        under_way.push(Box::pin(attempt(n)));
        for (ends, is_over) in listens(n) {
            let mut take = |heard| match heard {
                Heard::Reply(rtt) => Some(Ended::Replied(rtt)),
                Heard::Nothing => None,
                Heard::Cannot(why) => {
                    cannot = Some(why);
                    None
                }
            };
            match listen_well(&mut under_way, begun + ends, &mut take).await {
                Listened::Settled(ended) => return ended,
                Listened::HeldUp(late) => return Ended::Unanswered(held_up(late)),
                Listened::Over => {}
            }
            if is_over && cannot.is_none() && n + 1 < STARTS.len() {
                unanswered(n as u8 + 1);
            }
        }
    }
    cannot.map_or(Ended::Silent, Ended::Unanswered)
}

/// What came of one try at a target through a router.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ThroughHeard {
    /// The target answered the router, after this time.
    Reply(Duration),
    /// The router says that the target did not answer.
    TargetSilent,
    /// The router did not answer, and will not any more.
    RouterSilent,
    /// The router refuses, or it could not be tried.
    Cannot(String),
}

/// What is known of a probe through a router while it goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ThroughSoFar {
    /// The router says that so many tries went unanswered.
    Silent(u8),
    /// The router has left so many tries without a word.
    RouterSilent(u8),
}

/// How a probe through a router ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ThroughEnded {
    /// The target is alive.
    Replied(Duration),
    /// The router says that no try was answered.
    Silent,
    /// The router has left so many tries without a word: nothing about the target.
    RouterSilent(u8),
    /// The probe says nothing about either.
    Unanswered(String),
}

/// Probes a target through a router. `attempt` begins try `n` (from 0) and is told whether the router has
/// answered within this probe; `so_far` is told what is known when the time of a try is over, and what the
/// router said of it only later when another one begins.
///
/// A try counts against the target only if the router said so of that try, and against the router only if
/// it said nothing of it.
pub async fn three_tries_through<F: Future<Output = ThroughHeard>>(
    mut attempt: impl FnMut(usize, bool) -> F,
    mut so_far: impl FnMut(ThroughSoFar),
) -> ThroughEnded {
    let begun = Instant::now();
    let mut under_way = FuturesUnordered::new();
    // Only this task counts; it may go on on another thread.
    let told = AtomicU8::new(0);
    let heard = || told.load(Ordering::Relaxed);
    let mut said = 0;
    for n in 0..STARTS.len() {
        under_way.push(Box::pin(attempt(n, heard() > 0)));
        let mut take = |said| match said {
            ThroughHeard::Reply(rtt) => Some(ThroughEnded::Replied(rtt)),
            ThroughHeard::TargetSilent => {
                told.fetch_add(1, Ordering::Relaxed);
                None
            }
            ThroughHeard::RouterSilent => None,
            ThroughHeard::Cannot(why) => Some(ThroughEnded::Unanswered(why)),
        };
        let last = n + 1 == STARTS.len();
        for (ends, is_over) in listens(n) {
            let ends = begun + ends;
            let mut listened = listen_well(&mut under_way, ends, &mut take).await;
            if last && matches!(listened, Listened::Over) && (1..TRIES).contains(&heard()) {
                let mut all_told = |said| take(said).or((heard() == TRIES).then_some(ThroughEnded::Silent));
                listened = listen_well(&mut under_way, ends + ROUTER_GRACE, &mut all_told).await;
            }
            match listened {
                Listened::Settled(ended) => return ended,
                Listened::HeldUp(late) => return ThroughEnded::Unanswered(held_up(late)),
                Listened::Over => {}
            }
            if last {
                break;
            }
            if heard() > said {
                said = heard();
                so_far(ThroughSoFar::Silent(said));
            } else if heard() == 0 && is_over {
                so_far(ThroughSoFar::RouterSilent(n as u8 + 1));
            }
        }
    }
    match heard() {
        TRIES => ThroughEnded::Silent,
        told => ThroughEnded::RouterSilent(TRIES - told),
    }
}

enum Listened<E> {
    /// Something came that ends the probe.
    Settled(E),
    /// The time is over.
    Over,
    /// The time was over long ago.
    HeldUp(Duration),
}

type UnderWay<F> = FuturesUnordered<Pin<Box<F>>>;

/// Listens until `ends`; when that was noticed a little late, as much longer, because what has come
/// may be noticed as late.
async fn listen_well<F: Future, E>(
    under_way: &mut UnderWay<F>,
    ends: Instant,
    take: &mut impl FnMut(F::Output) -> Option<E>,
) -> Listened<E> {
    if let Some(ended) = listen(under_way, ends, take).await {
        return Listened::Settled(ended);
    }
    let late = ends.elapsed();
    if late > HELD_UP {
        return Listened::HeldUp(late);
    }
    if late > LATE
        && let Some(ended) = listen(under_way, Instant::now() + late, take).await
    {
        return Listened::Settled(ended);
    }
    Listened::Over
}

async fn listen<F: Future, E>(
    under_way: &mut UnderWay<F>,
    ends: Instant,
    take: &mut impl FnMut(F::Output) -> Option<E>,
) -> Option<E> {
    loop {
        tokio::select! {
            biased;
            Some(heard) = under_way.next(), if !under_way.is_empty() => {
                if let Some(ended) = take(heard) {
                    return Some(ended);
                }
            }
            () = sleep_until(ends) => return None,
        }
    }
}

fn held_up(late: Duration) -> String {
    format!("the poller was held up for {} ms", late.as_millis())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::pending;

    const MS: Duration = Duration::from_millis(1);

    /// Runs a probe whose tries are answered after so many milliseconds (none: never); tells what was
    /// told when, in milliseconds.
    async fn run(answers: [Option<u32>; 3]) -> (Ended, u128, Vec<(u128, u8)>) {
        let begun = Instant::now();
        let mut told = Vec::new();
        let ended = three_tries(
            |n| async move {
                match answers[n] {
                    Some(after) => {
                        tokio::time::sleep(after * MS).await;
                        Heard::Reply(after * MS)
                    }
                    None => pending().await,
                }
            },
            |tries| told.push((begun.elapsed().as_millis(), tries)),
        )
        .await;
        (ended, begun.elapsed().as_millis(), told)
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_told_after_each_try_and_ends_after_two_seconds() {
        assert_eq!(run([None; 3]).await, (Ended::Silent, 2_000, vec![(400, 1), (800, 2)]));
    }

    #[tokio::test(start_paused = true)]
    async fn one_reply_ends_it_whichever_try_it_answers() {
        assert_eq!(run([Some(30), None, None]).await, (Ended::Replied(30 * MS), 30, vec![]));
        let late = run([Some(1_500), None, None]).await;
        assert_eq!(late, (Ended::Replied(1_500 * MS), 1_500, vec![(400, 1), (800, 2)]));
        let second = run([None, Some(100), None]).await;
        assert_eq!(second, (Ended::Replied(100 * MS), 500, vec![(400, 1)]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_that_could_not_be_sent_is_no_silence() {
        let mut told = 0;
        let ended = three_tries(
            |n| async move { if n == 0 { Heard::Cannot("no buffer".into()) } else { Heard::Nothing } },
            |_| told += 1,
        )
        .await;
        assert_eq!((ended, told), (Ended::Unanswered("no buffer".into()), 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_try_that_fails_at_once_does_not_hurry_the_others() {
        let begun = Instant::now();
        let attempt = |n| async move { if n < 2 { Heard::Nothing } else { Heard::Reply(MS) } };
        assert_eq!(three_tries(attempt, |_| {}).await, Ended::Replied(MS));
        assert_eq!(begun.elapsed(), STARTS[2]);
    }

    #[tokio::test]
    async fn a_frozen_process_has_not_been_listening() {
        let attempt = |_| async {
            std::thread::sleep(HELD_UP + Duration::from_millis(500));
            Heard::Nothing
        };
        assert!(matches!(three_tries(attempt, |_| {}).await, Ended::Unanswered(_)));
    }

    /// The same through a router: after so many milliseconds it says of each try whether it was answered.
    async fn through(answers: [Option<(u32, bool)>; 3]) -> (ThroughEnded, u128, Vec<ThroughSoFar>) {
        let begun = Instant::now();
        let mut told = Vec::new();
        let ended = three_tries_through(
            |n, _| async move {
                match answers[n] {
                    Some((after, alive)) => {
                        tokio::time::sleep(after * MS).await;
                        if alive { ThroughHeard::Reply(after * MS) } else { ThroughHeard::TargetSilent }
                    }
                    None => pending().await,
                }
            },
            |so_far| told.push(so_far),
        )
        .await;
        (ended, begun.elapsed().as_millis(), told)
    }

    #[tokio::test(start_paused = true)]
    async fn a_target_is_silent_only_by_the_routers_own_word() {
        use ThroughSoFar::{RouterSilent, Silent};
        let all = [Some((300, false)), Some((500, false)), Some((800, false))];
        assert_eq!(through(all).await, (ThroughEnded::Silent, 2_000, vec![Silent(1), Silent(2)]));
        let none = through([None; 3]).await;
        assert_eq!(none, (ThroughEnded::RouterSilent(3), 2_000, vec![RouterSilent(1), RouterSilent(2)]));
        let died = through([Some((300, false)), None, None]).await;
        assert_eq!(died, (ThroughEnded::RouterSilent(2), 2_500, vec![Silent(1)]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_router_far_away_may_tell_of_its_last_echo_a_little_later() {
        let far = [Some((550, false)), Some((750, false)), Some((1_100, false))];
        let (ended, after, told) = through(far).await;
        assert_eq!((ended, after), (ThroughEnded::Silent, 2_100));
        assert_eq!(told, [ThroughSoFar::RouterSilent(1), ThroughSoFar::Silent(1)]);
        let nearer = through([Some((450, false)), Some((550, false)), Some((1_000, false))]).await;
        use ThroughSoFar::{RouterSilent, Silent};
        assert_eq!(nearer, (ThroughEnded::Silent, 2_000, vec![RouterSilent(1), Silent(1), Silent(2)]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_ends_a_probe_through_a_router_at_once() {
        let begun = Instant::now();
        let refuses = |_, _| async { ThroughHeard::Cannot("not permitted".into()) };
        let ended = three_tries_through(refuses, |_| panic!("nothing is known")).await;
        assert_eq!(ended, ThroughEnded::Unanswered("not permitted".into()));
        assert_eq!(begun.elapsed(), Duration::ZERO);
    }
}
