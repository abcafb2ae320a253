//! What goes wrong with webhooks on purpose.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Which part of the webhooks meets which fate. Fractions from 0 to 1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Faults {
    /// Never arrives, though the router believes it was sent.
    pub drop: f64,
    /// Arrives a second time, exactly the same.
    pub double: f64,
    /// Arrives late, though the router believes it was sent; so it may arrive after newer ones.
    pub delay: f64,
    /// How late at most, real milliseconds.
    pub delay_max_ms: u32,
}

/// Faults that cannot be.
#[derive(Debug, thiserror::Error)]
#[error("`{name}` is {value}: a fraction from 0 to 1 is possible")]
pub struct BadFaults {
    name: &'static str,
    value: f64,
}

/// What befalls one webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fate {
    /// It vanishes.
    pub dropped: bool,
    /// It is sent twice.
    pub doubled: bool,
    /// It is held back so long.
    pub delayed: Option<Duration>,
}

impl Faults {
    /// Whether all fractions are.
    ///
    /// # Errors
    ///
    /// [`BadFaults`] for the first that is none.
    pub fn check(&self) -> Result<(), BadFaults> {
        for (name, value) in [("drop", self.drop), ("double", self.double), ("delay", self.delay)] {
            if !(0.0..=1.0).contains(&value) {
                return Err(BadFaults { name, value });
            }
        }
        Ok(())
    }

    /// Throws the dice for one webhook.
    pub fn fate(&self, dice: &mut crate::dice::Dice) -> Fate {
        let dropped = dice.chance(self.drop);
        let doubled = !dropped && dice.chance(self.double);
        let delayed = (!dropped && dice.chance(self.delay))
            .then(|| dice.within(Duration::from_millis(self.delay_max_ms.into())));
        Fate { dropped, doubled, delayed }
    }
}
