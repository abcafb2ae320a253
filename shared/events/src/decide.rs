//! The shape of every decision: what is heard, and what follows from it.
//!
//! A decider is a memory without hands: no I/O, no clock, no randomness. Its memory has two
//! parts that never touch each other: what it has *said* (`apply`: a function of the last message of
//! each subject it says) and what it *heard lately* (`recall`: a function of the inputs of the
//! last [`RECALL_MS`]; the inventory counts as heard for ever). `decide` holds the two against each other
//! and says the difference. So a start that loads the first and reads the second again
//! knows exactly what the one before it knew, and goes on.

use crate::{Fact, Heard, Noun, Say, TenantId, Time, Timer};

/// How far back a start reads its inputs again, and live memory remembers: 15 minutes.
pub const RECALL_MS: i64 = 15 * 60_000;

/// What follows: at most as much as there was room for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Decision {
    /// What is said, in order.
    pub said: Vec<Say>,
    /// Timers to arm or disarm; at most one per tenant and key.
    pub timers: Vec<(TenantId, Timer)>,
    /// Whether more follows than there was room for: it will be asked again at once.
    pub owed: bool,
}

/// A decider: one per service and partition.
///
/// The order of calls is: any number of `recall`, one `decide`, and, once everything it said is
/// stored, `apply` for each thing said. When storing fails the whole decider is dropped and a new
/// one is loaded; so `decide` may keep books, but what it wants to remember it must say.
/// A due timer is heard as [`Fact::Due`](crate::Fact::Due), in the order of the log.
pub trait Decide: Send + 'static {
    /// The service's name: in ids, cuts and timers.
    const NAME: &'static str;
    /// What it hears, beside inventory, part and revision, which every decider hears.
    const HEARS: &'static [Noun];
    /// What it says, and loads when it starts.
    const SAYS: &'static [Noun];

    /// Takes in one input, in the order of the log. Says nothing and asks nothing.
    fn recall(&mut self, heard: &Heard);

    /// Remembers one thing that it said. Total: it has already happened.
    fn apply(&mut self, said: &Say);

    /// Forgets what was heard too long before `now` to matter. Called when loading is over, with the
    /// `now` of the cut: a start may have read more than is remembered.
    fn forget(&mut self, _now: Time) {}

    /// What follows from everything heard and said so far. `now` is the highest `heard` so far.
    /// At most `room` messages and timers together; new verdicts before what is owed.
    fn decide(&mut self, now: Time, room: usize) -> Decision;

    /// What is to be said again of `said`, the last message of its subject, which the log is about to forget;
    /// none when it need not be remembered. It must lead to the memory that there is: nothing has changed.
    fn restate(&self, said: &Say) -> Option<Fact> {
        let _ = said;
        None
    }

    /// A digest of everything remembered: equal memories have equal digests.
    fn digest(&self) -> u64;
}
