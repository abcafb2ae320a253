//! How many subscribers may be cut off without somebody's yes.
//!
//! An accounting system that goes wrong suspends everybody, one by one or all at once. So what counts is how
//! many are cut off at one router within one interval, not in one run.

use std::fmt;

/// The most that are cut off at a router within an interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bound {
    /// Not more than so many.
    pub count_max: usize,
    /// And not more than this share of the router's active subscribers, percent; at least one.
    pub percent_max: usize,
}

impl Default for Bound {
    fn default() -> Self {
        Self { count_max: 50, percent_max: 10 }
    }
}

/// Why subscribers who would be cut off are not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hold {
    /// Somebody has said that nobody is cut off.
    Halted {
        /// Why, if he said so.
        why: Option<String>,
    },
    /// They are too many.
    TooMany {
        /// So many would be cut off now.
        count: usize,
        /// So many were, within the interval.
        lately: usize,
        /// And so many may be.
        most: usize,
    },
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Hold::Halted { why: None } => f.write_str("cutting off is halted"),
            Hold::Halted { why: Some(why) } => write!(f, "cutting off is halted: {why}"),
            Hold::TooMany { count, lately, most } => write!(
                f,
                "{count} would be cut off and {lately} were lately, of at most {most}: somebody has to confirm it"
            ),
        }
    }
}

impl Bound {
    /// How many may be cut off within an interval at a router with so many active subscribers.
    pub fn most(self, active_count: usize) -> usize {
        self.count_max.min((active_count.saturating_mul(self.percent_max) / 100).max(1))
    }

    /// Why `count` more are not cut off at a router with so many active subscribers, if they are not. All of them
    /// or none: who is held back is to be looked at by somebody.
    pub fn hold(self, count: usize, lately: usize, active_count: usize) -> Option<Hold> {
        // Those who were cut off were active too.
        let most = self.most(active_count.saturating_add(lately));
        (count > 0 && count.saturating_add(lately) > most).then_some(Hold::TooMany { count, lately, most })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smaller_of_a_count_and_a_share_may_be_cut_off_and_at_least_one() {
        let bound = Bound::default();
        for (active, most) in [(0, 1), (1, 1), (19, 1), (20, 2), (300, 30), (500, 50), (3_000, 50)] {
            assert_eq!(bound.most(active), most, "of {active}");
        }
        assert_eq!(Bound { count_max: 0, percent_max: 100 }.most(10), 0);
    }

    #[test]
    fn one_by_one_is_not_more_than_at_once() {
        let bound = Bound { count_max: 50, percent_max: 10 };
        assert_eq!(bound.hold(3, 0, 30), None);
        assert_eq!(bound.hold(1, 2, 28), None);
        assert_eq!(bound.hold(1, 3, 27), Some(Hold::TooMany { count: 1, lately: 3, most: 3 }));
        assert_eq!(bound.hold(0, 9, 1), None, "nobody is held back when nobody is cut off");
    }
}
