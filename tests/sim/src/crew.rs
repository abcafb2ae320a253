//! Who decides: the deciders under test, behind one shape that can be held in a list.

use events::{Decide, Decision, Heard, Noun, Say, Time};

/// A decider whose type is forgotten. See [`Decide`].
pub trait Mind: Send {
    /// Takes in one input.
    fn recall(&mut self, heard: &Heard);
    /// Remembers one thing that it said.
    fn apply(&mut self, said: &Say);
    /// Forgets what is too old to matter.
    fn forget(&mut self, now: Time);
    /// What follows.
    fn decide(&mut self, now: Time, room: usize) -> Decision;
    /// A digest of everything remembered.
    fn digest(&self) -> u64;
}

impl<D: Decide> Mind for D {
    fn recall(&mut self, heard: &Heard) {
        Decide::recall(self, heard);
    }
    fn apply(&mut self, said: &Say) {
        Decide::apply(self, said);
    }
    fn forget(&mut self, now: Time) {
        Decide::forget(self, now);
    }
    fn decide(&mut self, now: Time, room: usize) -> Decision {
        Decide::decide(self, now, room)
    }
    fn digest(&self) -> u64 {
        Decide::digest(self)
    }
}

/// One decider: what it is called, hears and says, and how a new one is made.
#[derive(Clone, Copy)]
pub struct Member {
    /// Its name.
    pub name: &'static str,
    /// What it hears, beside the inventory.
    pub hears: &'static [Noun],
    /// What it says.
    pub says: &'static [Noun],
    /// A new one that remembers nothing.
    pub build: fn() -> Box<dyn Mind>,
}

impl Member {
    /// The decider `D`.
    pub fn of<D: Decide + Default>() -> Self {
        Self { name: D::NAME, hears: D::HEARS, says: D::SAYS, build: || Box::<D>::default() }
    }

    /// Whether it hears facts of `noun`.
    pub fn hears(&self, noun: Noun) -> bool {
        matches!(noun, Noun::Inventory | Noun::Part | Noun::Revision) || self.hears.contains(&noun)
    }
}

/// The deciders of mastwatch.
pub fn real() -> Vec<Member> {
    vec![
        Member::of::<domain::Diagnosis>(),
        Member::of::<domain::Correlation>(),
        Member::of::<domain::Announcing>(),
    ]
}
