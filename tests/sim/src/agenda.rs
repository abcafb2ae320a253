//! Virtual time: what is to happen next. Nothing waits; the clock jumps from one thing to the next.

use std::{cmp::Ordering, collections::BinaryHeap};

/// What is to happen, in order of time and, at the same time, in the order it was planned.
#[derive(Debug)]
pub struct Agenda<T> {
    now_us: i64,
    planned: u64,
    heap: BinaryHeap<Entry<T>>,
}

#[derive(Debug)]
struct Entry<T> {
    at_us: i64,
    order: u64,
    what: T,
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<T> Eq for Entry<T> {}

impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Entry<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at_us, other.order).cmp(&(self.at_us, self.order))
    }
}

impl<T> Agenda<T> {
    /// Nothing planned, the clock at `now_us` microseconds.
    pub fn new(now_us: i64) -> Self {
        Self { now_us, planned: 0, heap: BinaryHeap::new() }
    }

    /// The time, microseconds.
    pub fn now_us(&self) -> i64 {
        self.now_us
    }

    /// Plans `what` for `delay_us` microseconds from now.
    pub fn after(&mut self, delay_us: i64, what: T) {
        self.at(self.now_us + delay_us, what);
    }

    /// Plans `what` for `at_us`, or for now if that has passed.
    pub fn at(&mut self, at_us: i64, what: T) {
        self.planned += 1;
        self.heap.push(Entry { at_us: at_us.max(self.now_us), order: self.planned, what });
    }

    /// Takes what comes next, and moves the clock there, unless that is later than `until_us`: then
    /// only the clock moves.
    pub fn next(&mut self, until_us: i64) -> Option<T> {
        if self.heap.peek().is_none_or(|entry| entry.at_us > until_us) {
            self.now_us = self.now_us.max(until_us);
            return None;
        }
        let entry = self.heap.pop()?;
        self.now_us = entry.at_us;
        Some(entry.what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn things_happen_in_order_of_time_and_then_of_planning() {
        let mut agenda = Agenda::new(10);
        agenda.after(5, 'c');
        agenda.after(1, 'a');
        agenda.after(1, 'b');
        agenda.at(3, 'z');
        let told: Vec<char> = std::iter::from_fn(|| agenda.next(12)).collect();
        assert_eq!(told, ['z', 'a', 'b']);
        assert_eq!(agenda.now_us(), 12);
        assert_eq!(agenda.next(100), Some('c'));
    }
}
