//! Where the shared consumer leaves what is for one partition.

use crate::message::Raw;
use std::{collections::VecDeque, sync::Mutex};
use tokio::sync::Notify;

/// One partition's inbox. It never holds more than its bound: a partition that is too slow is
/// taken out, and catches up by a consumer of its own.
pub(super) struct Inbox {
    state: Mutex<State>,
    arrived: Notify,
    max: usize,
}

struct State {
    mode: Mode,
    queue: VecDeque<Raw>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// The partition is another replica's.
    Foreign,
    /// Nothing has been said in the partition yet.
    Asleep,
    /// The partition reads by a consumer of its own; whether something came by meanwhile.
    Away { missed: bool },
    /// What comes is kept for it.
    Joined,
}

/// What an inbox has.
pub(super) enum Taken {
    /// These, in order.
    Some(Vec<Raw>),
    /// Nothing yet.
    Nothing,
    /// There was no room: what comes next has to be read by a consumer of one's own.
    Left,
}

impl Inbox {
    pub(super) fn new(max: usize) -> Self {
        let state = State { mode: Mode::Foreign, queue: VecDeque::new() };
        Self { state: Mutex::new(state), arrived: Notify::new(), max }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics while holding an inbox")
    }

    /// Leaves one message here; true when the partition was asleep and has to be woken.
    pub(super) fn offer(&self, raw: Raw) -> bool {
        let mut state = self.state();
        match state.mode {
            Mode::Foreign => false,
            Mode::Asleep => {
                state.mode = Mode::Away { missed: true };
                true
            }
            Mode::Away { .. } => {
                state.mode = Mode::Away { missed: true };
                false
            }
            Mode::Joined if state.queue.len() >= self.max => {
                state.mode = Mode::Away { missed: true };
                drop(state);
                self.arrived.notify_one();
                false
            }
            Mode::Joined => {
                state.queue.push_back(raw);
                let is_first = state.queue.len() == 1;
                drop(state);
                if is_first {
                    self.arrived.notify_one();
                }
                false
            }
        }
    }

    /// The partition is another replica's now.
    pub(super) fn let_go(&self) {
        let mut state = self.state();
        state.mode = Mode::Foreign;
        state.queue = VecDeque::new();
    }

    /// The partition begins to read by itself.
    pub(super) fn wake(&self) {
        let mut state = self.state();
        state.mode = Mode::Away { missed: false };
        state.queue = VecDeque::new();
    }

    /// From now on what comes is kept.
    pub(super) fn join(&self) {
        let mut state = self.state();
        if state.mode != Mode::Foreign {
            state.mode = Mode::Joined;
            state.queue = VecDeque::new();
        }
    }

    /// Falls asleep unless something came by; whether it did.
    pub(super) fn sleep(&self) -> bool {
        let mut state = self.state();
        match state.mode {
            Mode::Away { missed: true } => {
                state.mode = Mode::Away { missed: false };
                false
            }
            Mode::Foreign => true,
            Mode::Asleep | Mode::Away { missed: false } | Mode::Joined => {
                state.mode = Mode::Asleep;
                true
            }
        }
    }

    pub(super) fn is_asleep(&self) -> bool {
        self.state().mode == Mode::Asleep
    }

    pub(super) fn len(&self) -> usize {
        self.state().queue.len()
    }

    /// At most `max` messages that are here.
    pub(super) fn take(&self, max: usize) -> Taken {
        let mut state = self.state();
        if !state.queue.is_empty() {
            let n = state.queue.len().min(max);
            return Taken::Some(state.queue.drain(..n).collect());
        }
        match state.mode {
            Mode::Joined => Taken::Nothing,
            Mode::Foreign | Mode::Asleep | Mode::Away { .. } => Taken::Left,
        }
    }

    /// Resolves when something may have arrived.
    pub(super) async fn arrived(&self) {
        self.arrived.notified().await;
    }
}
