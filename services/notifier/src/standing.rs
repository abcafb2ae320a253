//! What to do next with a notice, from what was said of its delivery last. Pure.

use crate::call::{Outcome, Repeats};
use events::{Delivery, DeliveryKind, NoticeId, Time};
use std::time::Duration;

/// A consumer's delay may end a little early.
const EARLY: Duration = Duration::from_millis(50);

/// The last thing that was said of a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) kind: DeliveryKind,
    pub(crate) now: Delivery,
    /// When the log stored it.
    pub(crate) heard: Time,
    /// Where.
    pub(crate) seq: u64,
}

/// What comes next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Next {
    /// Nothing: it is over.
    Over,
    /// Look again after this time.
    Wait(Duration),
    /// The `n`th attempt, perhaps to be marked as possibly a repetition.
    Attempt { n: u32, possibly_repeated: bool },
    /// It ends without another attempt.
    End(DeliveryKind, &'static str),
}

/// The rules: how often, how far apart, and how long a call may be under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rules {
    /// The pause before each further try.
    pub(crate) retries: Vec<Duration>,
    /// An attempt that began longer ago than this has ended, whether it was said or not.
    pub(crate) call_max: Duration,
}

const USED_UP: &str = "the tries are used up";

impl Rules {
    /// What follows `standing` at `now`.
    pub(crate) fn next(&self, standing: Option<&Standing>, repeats: Repeats, now: Time) -> Next {
        let Some(last) = standing else { return Next::Attempt { n: 1, possibly_repeated: false } };
        let Delivery { attempts, possibly_repeated, .. } = last.now;
        match last.kind {
            DeliveryKind::Delivered | DeliveryKind::Refused | DeliveryKind::Dropped => Next::Over,
            DeliveryKind::Deferred => self.again(last, possibly_repeated, now),
            DeliveryKind::Attempted => match remaining(last.heard, self.call_max, now) {
                // Somebody may be at it.
                Some(rest) => Next::Wait(rest),
                None => match repeats {
                    Repeats::ByKey => self.retry(attempts, possibly_repeated),
                    Repeats::Untold if possibly_repeated => {
                        Next::End(DeliveryKind::Unknown, "the marked repetition has no known end either")
                    }
                    Repeats::Untold => Next::Attempt { n: attempts + 1, possibly_repeated: true },
                },
            },
            DeliveryKind::Unknown => match repeats {
                Repeats::ByKey => self.again(last, possibly_repeated, now),
                Repeats::Untold if possibly_repeated => Next::Over,
                Repeats::Untold => self.again(last, true, now),
            },
        }
    }

    fn again(&self, last: &Standing, possibly_repeated: bool, now: Time) -> Next {
        let pause = self.pause(last.now.attempts).unwrap_or_default();
        match remaining(last.heard, pause, now) {
            Some(rest) => Next::Wait(rest),
            None => self.retry(last.now.attempts, possibly_repeated),
        }
    }

    fn retry(&self, attempts: u32, possibly_repeated: bool) -> Next {
        match self.pause(attempts) {
            Some(_) => Next::Attempt { n: attempts + 1, possibly_repeated },
            None => Next::End(DeliveryKind::Refused, USED_UP),
        }
    }

    /// The pause after the `attempts`th attempt; none after the last.
    fn pause(&self, attempts: u32) -> Option<Duration> {
        self.retries.get(usize::try_from(attempts.checked_sub(1)?).ok()?).copied()
    }

    /// What is said after the `n`th attempt, and after how long it is tried again.
    pub(crate) fn ended(
        &self,
        outcome: &Outcome,
        attempt: Attempt,
        now: Time,
    ) -> (Delivery, DeliveryKind, Option<Duration>) {
        let Attempt { notice, n, possibly_repeated, repeats, expires } = attempt;
        let said = |answer: String| Delivery { notice, attempts: n, answer: Some(answer), possibly_repeated };
        let again = |after: Option<Duration>| {
            let pause = self.pause(n)?.max(after.unwrap_or_default());
            let at = now.plus_ms(i64::try_from(pause.as_millis()).unwrap_or(i64::MAX));
            (at < expires).then_some(pause)
        };
        match outcome {
            Outcome::Delivered(answer) => (said(answer.clone()), DeliveryKind::Delivered, None),
            Outcome::Rejected(why) | Outcome::Gone(why) => (said(why.clone()), DeliveryKind::Refused, None),
            Outcome::Retry { why, after } => match again(*after) {
                Some(pause) => (said(why.clone()), DeliveryKind::Deferred, Some(pause)),
                None => (said(format!("{why}; {USED_UP}")), DeliveryKind::Refused, None),
            },
            Outcome::Unknown(why) => {
                let may_repeat = repeats == Repeats::ByKey || !possibly_repeated;
                (said(why.clone()), DeliveryKind::Unknown, again(None).filter(|_| may_repeat))
            }
        }
    }
}

/// One attempt that has ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attempt {
    pub(crate) notice: NoticeId,
    pub(crate) n: u32,
    pub(crate) possibly_repeated: bool,
    pub(crate) repeats: Repeats,
    pub(crate) expires: Time,
}

/// How much of `span` from `since` is still to come; none when hardly any.
fn remaining(since: Time, span: Duration, now: Time) -> Option<Duration> {
    let passed = Duration::from_millis(u64::try_from(now.ms_since(since)).unwrap_or(0));
    span.checked_sub(passed).filter(|rest| *rest > EARLY)
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: Time = Time::from_ms(1_795_000_000_000);

    fn rules() -> Rules {
        Rules {
            retries: vec![Duration::from_secs(5), Duration::from_secs(300)],
            call_max: Duration::from_secs(20),
        }
    }

    fn standing(kind: DeliveryKind, attempts: u32, possibly_repeated: bool) -> Standing {
        let now = Delivery { notice: NoticeId::default(), attempts, answer: None, possibly_repeated };
        Standing { kind, now, heard: T, seq: 7 }
    }

    fn next(kind: DeliveryKind, attempts: u32, marked: bool, repeats: Repeats, after_s: i64) -> Next {
        rules().next(Some(&standing(kind, attempts, marked)), repeats, T.plus_ms(after_s * 1_000))
    }

    fn attempt(n: u32, possibly_repeated: bool) -> Next {
        Next::Attempt { n, possibly_repeated }
    }

    #[test]
    fn what_is_over_is_never_begun_again() {
        for kind in [DeliveryKind::Delivered, DeliveryKind::Refused, DeliveryKind::Dropped] {
            for repeats in [Repeats::ByKey, Repeats::Untold] {
                assert_eq!(next(kind, 1, false, repeats, 1_000_000), Next::Over);
            }
        }
    }

    #[test]
    fn an_attempt_under_way_is_left_alone_until_it_must_have_ended() {
        let kind = DeliveryKind::Attempted;
        assert_eq!(next(kind, 1, false, Repeats::ByKey, 5), Next::Wait(Duration::from_secs(15)));
        assert_eq!(next(kind, 1, false, Repeats::ByKey, 20), attempt(2, false));
    }

    #[test]
    fn an_attempt_without_an_end_is_repeated_by_key_or_once_and_marked() {
        let kind = DeliveryKind::Attempted;
        assert_eq!(next(kind, 2, false, Repeats::ByKey, 60), attempt(3, false));
        assert_eq!(next(kind, 1, false, Repeats::Untold, 60), attempt(2, true));
        assert!(matches!(next(kind, 2, true, Repeats::Untold, 60), Next::End(DeliveryKind::Unknown, _)));
        assert_eq!(next(DeliveryKind::Unknown, 1, false, Repeats::Untold, 60), attempt(2, true));
        assert_eq!(next(DeliveryKind::Unknown, 2, true, Repeats::Untold, 600), Next::Over);
    }

    #[test]
    fn tries_lie_apart_and_come_to_an_end() {
        let kind = DeliveryKind::Deferred;
        assert_eq!(next(kind, 1, false, Repeats::Untold, 2), Next::Wait(Duration::from_secs(3)));
        assert_eq!(next(kind, 1, false, Repeats::Untold, 5), attempt(2, false));
        assert_eq!(next(kind, 2, false, Repeats::Untold, 100), Next::Wait(Duration::from_secs(200)));
        assert_eq!(next(kind, 2, true, Repeats::Untold, 300), attempt(3, true));
        assert_eq!(next(kind, 3, false, Repeats::ByKey, 9_999), Next::End(DeliveryKind::Refused, USED_UP));
    }

    #[test]
    fn an_end_says_what_comes_of_it() {
        let attempt = |n, possibly_repeated, repeats| Attempt {
            notice: NoticeId::default(),
            n,
            possibly_repeated,
            repeats,
            expires: T.plus_ms(3_600_000),
        };
        let retry = |s: Option<u64>| Outcome::Retry { why: "503".into(), after: s.map(Duration::from_secs) };
        let unknown = Outcome::Unknown("timeout".into());
        for (outcome, n, marked, repeats, kind, again_s) in [
            (Outcome::Delivered("200".into()), 1, false, Repeats::ByKey, DeliveryKind::Delivered, None),
            (Outcome::Rejected("400".into()), 1, false, Repeats::ByKey, DeliveryKind::Refused, None),
            (Outcome::Gone("410".into()), 1, false, Repeats::ByKey, DeliveryKind::Refused, None),
            (retry(None), 1, false, Repeats::ByKey, DeliveryKind::Deferred, Some(5)),
            (retry(Some(60)), 1, false, Repeats::ByKey, DeliveryKind::Deferred, Some(60)),
            (retry(Some(1)), 2, false, Repeats::Untold, DeliveryKind::Deferred, Some(300)),
            (retry(None), 3, false, Repeats::ByKey, DeliveryKind::Refused, None),
            // Nobody wants to hear it by then.
            (retry(Some(7_200)), 1, false, Repeats::ByKey, DeliveryKind::Refused, None),
            (unknown.clone(), 1, false, Repeats::ByKey, DeliveryKind::Unknown, Some(5)),
            (unknown.clone(), 1, false, Repeats::Untold, DeliveryKind::Unknown, Some(5)),
            (unknown, 2, true, Repeats::Untold, DeliveryKind::Unknown, None),
        ] {
            let (now, said, again) = rules().ended(&outcome, attempt(n, marked, repeats), T);
            assert_eq!((said, again.map(|d| d.as_secs())), (kind, again_s), "{outcome:?}");
            assert_eq!((now.attempts, now.possibly_repeated), (n, marked));
        }
    }
}
