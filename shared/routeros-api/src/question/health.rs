//! How warm is the board, and what is it fed with?

use super::{Question, Unreadable};
use crate::command::{Command, Reply, Row};
use crate::value;

/// What the sensors say. Boards without sensors say nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Health;

/// What the sensors said.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct HealthNow {
    /// Volts.
    pub voltage: Option<f64>,
    /// Degrees Celsius: of the board, else of its processor.
    pub temperature: Option<f64>,
}

/// What boards call their warmth, the best first.
const WARMTHS: [&str; 4] = ["temperature", "board-temperature1", "cpu-temperature", "sfp-temperature"];

/// More volts than any board takes: then they are tenths.
const VOLTS_MAX: f64 = 100.0;

impl Question for Health {
    type Answer = HealthNow;

    /// Without a list of properties: the sensors of version 6 are properties, and boards differ in them.
    fn command(&self) -> Command {
        Command::new("/system/health/print")
    }

    /// One row with a property a sensor on version 6, one row a sensor on version 7.
    fn read(&self, reply: &Reply) -> Result<HealthNow, Unreadable> {
        let sensor = |name: &str| {
            let in_row = |row: &Row| match row.text("name") {
                Some(named) if named == name => row.text("value").and_then(|text| number(&text)),
                Some(_) => None,
                None => row.text(name).and_then(|text| number(&text)),
            };
            reply.rows.iter().find_map(in_row)
        };
        let volts = |said: f64| if said > VOLTS_MAX { said / 10.0 } else { said };
        Ok(HealthNow {
            voltage: sensor("voltage").map(volts),
            temperature: WARMTHS.iter().find_map(|name| sensor(name)),
        })
    }
}

fn number(text: &str) -> Option<f64> {
    value::number::<f64>(text).ok().filter(|number| number.is_finite())
}

#[cfg(test)]
mod tests {
    use super::super::tests::reply;
    use super::*;

    #[test]
    fn sensors_of_both_versions_are_read() {
        let both = Ok(HealthNow { voltage: Some(24.1), temperature: Some(38.0) });
        let old = reply(&[&["voltage=24.1", "temperature=38", "cpu-temperature=51"]]);
        assert_eq!(Health.read(&old), both);
        let new = reply(&[
            &["name=cpu-temperature", "value=51", "type=C"],
            &["name=voltage", "value=24.1", "type=V"],
            &["name=temperature", "value=38", "type=C"],
        ]);
        assert_eq!(Health.read(&new), both);
        let scaled = Health.read(&reply(&[&["voltage=241", "cpu-temperature=51"]]));
        assert_eq!(scaled, Ok(HealthNow { voltage: Some(24.1), temperature: Some(51.0) }));
    }

    #[test]
    fn a_board_without_sensors_has_no_health() {
        for silent in [reply(&[]), reply(&[&[]]), reply(&[&["name=state", "value=enabled", "type="]])] {
            assert_eq!(Health.read(&silent), Ok(HealthNow::default()));
        }
    }
}
