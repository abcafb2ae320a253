//! Spans of time as people write them: `250ms`, `60s`, `5m`, `1h30m`, `2d`.

/// The units, largest first, with their milliseconds.
const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// The milliseconds `text` means.
///
/// # Errors
///
/// What is wrong with it, as a sentence without its full stop.
pub(crate) fn parse_ms(text: &str) -> Result<u64, String> {
    let mut rest = text;
    let mut total: u64 = 0;
    let mut last_unit = u64::MAX;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (number, after) = rest.split_at(digits);
        let letters = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        let Ok(number) = number.parse::<u64>() else { return Err(malformed(text)) };
        if unit.is_empty() {
            return Err(format!(
                "`{text}` has no unit; write `{text}s` for seconds or `{text}m` for minutes"
            ));
        }
        let Some((_, unit_ms)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            return Err(malformed(text));
        };
        if *unit_ms >= last_unit {
            return Err(malformed(text));
        }
        last_unit = *unit_ms;
        total = number
            .checked_mul(*unit_ms)
            .and_then(|ms| total.checked_add(ms))
            .ok_or_else(|| format!("`{text}` is too long"))?;
        rest = after;
    }
    if last_unit == u64::MAX { Err(malformed(text)) } else { Ok(total) }
}

/// How `ms` is written; [`parse_ms`] reads it back.
pub(crate) fn write_ms(ms: u64) -> String {
    let mut text = String::new();
    let mut rest = ms;
    for (unit, unit_ms) in UNITS {
        if rest >= unit_ms {
            text.push_str(&format!("{}{unit}", rest / unit_ms));
            rest %= unit_ms;
        }
    }
    if text.is_empty() { "0s".into() } else { text }
}

fn malformed(text: &str) -> String {
    let shown: String = text.chars().take(40).collect();
    format!(
        "`{shown}` is no span of time; write a number and a unit of ms, s, m, h or d, like `60s` or `1h30m`"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn spans_are_read_with_their_units() {
        for (text, ms) in [
            ("250ms", 250),
            ("60s", 60_000),
            ("5m", 300_000),
            ("1h30m", 5_400_000),
            ("2d", 172_800_000),
            ("0s", 0),
            ("1m500ms", 60_500),
        ] {
            assert_eq!(parse_ms(text), Ok(ms), "{text}");
        }
    }

    #[test]
    fn what_is_no_span_says_what_would_be() {
        assert_eq!(
            parse_ms("60").unwrap_err(),
            "`60` has no unit; write `60s` for seconds or `60m` for minutes"
        );
        for text in [
            "",
            "s",
            "60sec",
            "1.5m",
            "-5s",
            "5m1h",
            "5s5s",
            "60 s",
            "99999999999999999999s",
            "99999999999999999d",
        ] {
            assert!(parse_ms(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_span_survives_its_text_form(ms in 0u64..10_000_000_000) {
            prop_assert_eq!(parse_ms(&write_ms(ms)), Ok(ms));
        }
    }
}
