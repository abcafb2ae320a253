//! Whether two texts mean the same value to a router.
//!
//! A router shows `30s` for `00:00:30`, `true` for `yes` and `10000000/2000000` for `10M/2M`. Written
//! again at every look they would never come to rest.

/// Whether a router that was told `wished` for `attribute` may show `told`.
pub(super) fn same(attribute: &str, wished: &str, told: &str) -> bool {
    if wished == told {
        return true;
    }
    let like = |read: fn(&str) -> Option<u64>| read(wished).is_some_and(|wished| Some(wished) == read(told));
    match attribute {
        "disabled" | "dont-require-permissions" | "block-access" => like(truth),
        "interval" | "timeout" | "start-delay" | "lease-time" => like(span_ms),
        "max-limit" | "limit-at" | "burst-limit" | "burst-threshold" => {
            pair(wished).zip(pair(told)).is_some_and(|(wished, told)| wished == told)
        }
        "policy" => set(wished) == set(told),
        "target" | "address" => hosts(wished) == hosts(told),
        "on-up" | "on-down" | "up-script" | "down-script" | "lease-script" | "on-event" | "source" => {
            super::block::same_text(wished, told)
        }
        _ => false,
    }
}

fn truth(text: &str) -> Option<u64> {
    match text {
        "true" | "yes" => Some(1),
        "false" | "no" | "" => Some(0),
        _ => None,
    }
}

/// `1w2d3h4m5s6ms`, `1d02:03:04` or whole seconds, in milliseconds.
fn span_ms(text: &str) -> Option<u64> {
    let (mut sum, mut rest) = (0_u64, text);
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        if rest.contains(':') && !rest.contains(['w', 'd']) {
            let parts: Vec<u64> = rest.split(':').map(str::parse).collect::<Result<_, _>>().ok()?;
            let [h, m, s] = parts[..] else { return None };
            let s = h.checked_mul(3600)?.checked_add(m.checked_mul(60)?)?.checked_add(s)?;
            return sum.checked_add(s.checked_mul(1000)?);
        }
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number: u64 = rest.get(..digits)?.parse().ok()?;
        rest = &rest[digits..];
        let letters = rest.bytes().take_while(u8::is_ascii_lowercase).count();
        let unit_ms = match &rest[..letters] {
            "w" => 604_800_000,
            "d" => 86_400_000,
            "h" => 3_600_000,
            "m" => 60_000,
            "s" | "" => 1000,
            "ms" => 1,
            _ => return None,
        };
        rest = &rest[letters..];
        sum = sum.checked_add(number.checked_mul(unit_ms)?)?;
    }
    Some(sum)
}

/// Up and down, bits per second.
fn pair(text: &str) -> Option<(u64, u64)> {
    let rate = |text: &str| {
        let (number, factor) = match text.as_bytes().last()? {
            b'k' => (&text[..text.len() - 1], 1_000),
            b'M' => (&text[..text.len() - 1], 1_000_000),
            b'G' => (&text[..text.len() - 1], 1_000_000_000),
            _ => (text, 1),
        };
        number.parse::<u64>().ok()?.checked_mul(factor)
    };
    let (up, down) = text.split_once('/').unwrap_or((text, text));
    Some((rate(up)?, rate(down)?))
}

/// The members of a list that are not denied by `!`.
fn set(text: &str) -> std::collections::BTreeSet<&str> {
    text.split(',').map(str::trim).filter(|word| !word.is_empty() && !word.starts_with('!')).collect()
}

/// Addresses, a single host written without its mask.
fn hosts(text: &str) -> Vec<&str> {
    text.split(',').map(|host| host.trim().trim_end_matches("/32").trim_end_matches("/128")).collect()
}

#[cfg(test)]
mod tests {
    use super::same;

    #[test]
    fn what_a_router_shows_for_what_it_was_told_is_the_same() {
        for (attribute, wished, told) in [
            ("disabled", "yes", "true"),
            ("disabled", "no", ""),
            ("interval", "30s", "00:00:30"),
            ("interval", "1d90s", "1d00:01:30"),
            ("timeout", "1000ms", "1s"),
            ("max-limit", "10M/2M", "10000000/2000000"),
            ("max-limit", "512k", "512000/512000"),
            ("policy", "read,write,test", "test,write,read,!ftp"),
            ("target", "10.0.0.1", "10.0.0.1/32"),
            ("on-up", "a\nb\n", "a\r\nb"),
            ("comment", "x", "x"),
        ] {
            assert!(same(attribute, wished, told), "{attribute}: {wished} and {told}");
        }
        for (attribute, wished, told) in [
            ("disabled", "yes", ""),
            ("interval", "30s", "31s"),
            ("interval", "30s", "soon"),
            ("interval", "30s", "1:18446744073709551615:0"),
            ("max-limit", "10M/2M", "10M"),
            ("policy", "read", "read,write"),
            ("comment", "yes", "true"),
            ("on-up", "a\nb", "a b"),
            ("profile", "a", ""),
        ] {
            assert!(!same(attribute, wished, told), "{attribute}: {wished} and {told}");
        }
    }
}
