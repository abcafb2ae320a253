//! What is due when, in the routers' time.
//!
//! One heap for all routers: an entry costs a few dozen bytes, not a task. An entry is never taken
//! out early; whoever is called looks whether it still matters.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::clock::SimTime;
use crate::network::{NodeIndex, RouterIndex};

/// Something that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Due {
    /// A netwatch entry probes its host.
    Probe {
        /// On which router.
        router: RouterIndex,
        /// Which entry.
        entry: u32,
        /// Of which [`generation`](crate::netwatch::Entry::generation).
        generation: u32,
    },
    /// A netwatch probe that got no answer is over.
    Silence {
        /// On which router.
        router: RouterIndex,
        /// Which entry.
        entry: u32,
        /// Of which generation.
        generation: u32,
    },
    /// A session whose other side is gone is given up.
    Lost {
        /// On which router.
        router: RouterIndex,
        /// Whose secret.
        secret: u32,
        /// Of which [`generation`](crate::ppp::Secret::generation).
        generation: u32,
    },
    /// A node that was mended is up.
    Started {
        /// Which.
        node: NodeIndex,
        /// Which start: one that was broken off no longer matters.
        start: u32,
    },
    /// A task of the scheduler runs.
    Task {
        /// On which router.
        router: RouterIndex,
        /// Which.
        task: u32,
        /// Of which generation.
        generation: u32,
    },
    /// A customer asks for an address.
    Bind {
        /// On which router.
        router: RouterIndex,
        /// Of which lease.
        lease: u32,
        /// Of which generation.
        generation: u32,
    },
    /// A lease that is not renewed runs out.
    Expire {
        /// On which router.
        router: RouterIndex,
        /// Which.
        lease: u32,
        /// Of which generation.
        generation: u32,
    },
    /// A customer dials in.
    Dial {
        /// On which router.
        router: RouterIndex,
        /// With which secret.
        secret: u32,
        /// Of which generation.
        generation: u32,
    },
}

/// All that is due.
#[derive(Debug, Default)]
pub struct Agenda {
    heap: BinaryHeap<Reverse<(SimTime, u64, Due)>>,
    count: u64,
}

impl Agenda {
    /// Adds something. What is due at the same moment comes in the order it was added.
    pub fn add(&mut self, at: SimTime, due: Due) {
        self.count += 1;
        self.heap.push(Reverse((at, self.count, due)));
    }

    /// Takes out the earliest thing if it is due by `now`.
    pub fn take(&mut self, now: SimTime) -> Option<Due> {
        self.next().filter(|at| *at <= now)?;
        self.heap.pop().map(|Reverse((_, _, due))| due)
    }

    /// When the earliest thing is due.
    pub fn next(&self) -> Option<SimTime> {
        self.heap.peek().map(|Reverse((at, _, _))| *at)
    }

    /// How many things are due at some time.
    pub fn len(&self) -> usize {
        self.heap.len()
    }

    /// Whether nothing ever happens again by itself.
    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }
}
