//! Our lines inside a script that is somebody else's.
//!
//! A PPP profile has one on-up script, and an operator may have lines of his own in it. Ours stand
//! between a line that begins them and one that ends them; everything else is kept to the byte.
//! What stands between the two is ours whoever wrote it. When the end is gone nobody can say where
//! ours stopped: then only lines that are in our texts are taken for ours.

use super::script;

/// How the first of our lines begins.
const BEGIN: &str = "# mastwatch begin";
/// The last of our lines.
const END: &str = "# mastwatch end";

/// `script` with `ours` where our lines stood before, or else at its end.
///
/// At the end, so that an operator's own lines never wait for a server that does not answer. A script
/// that is as it should be comes back unchanged.
pub(super) fn placed(script: &str, ours: &str) -> String {
    let (before, found, after, is_only) = parts(script);
    match found {
        Some(found) if is_only && same_text(&found, ours) => script.to_owned(),
        Some(_) => {
            let mut whole = before + ours.trim_end();
            if !after.is_empty() {
                whole.push('\n');
            }
            whole + &after
        }
        None if script.is_empty() => ours.trim_end().to_owned(),
        None => format!("{script}\n{}", ours.trim_end()),
    }
}

/// `script` without our lines.
pub(super) fn taken(script: &str) -> String {
    let (mut before, found, after, _) = parts(script);
    if found.is_none() {
        return script.to_owned();
    }
    // The line break before ours came with them.
    if after.is_empty() && before.ends_with('\n') {
        before.pop();
    }
    before + &after
}

/// Our lines, and how many there are of others: what may be told of a script that is somebody else's.
pub(super) fn shown(script: &str) -> String {
    let (before, ours, after, _) = parts(script);
    let others = |text: &str| match text.trim_end().lines().count() {
        0 => None,
        1 => Some("(1 line of others)".to_owned()),
        n => Some(format!("({n} lines of others)")),
    };
    let ours = ours.map(|ours| ours.trim_end().to_owned());
    let all = [others(&before), ours, others(&after)];
    all.into_iter().flatten().collect::<Vec<_>>().join("\n")
}

/// Whether this is not a script but the name of one.
pub(super) fn is_name(script: &str) -> bool {
    let script = script.trim();
    !script.is_empty() && script.chars().all(|c| c.is_alphanumeric() || matches!(c, '-' | '_' | '.'))
}

/// What stands before our lines, they themselves, what stands after them, and whether they stand there
/// once only.
fn parts(script: &str) -> (String, Option<String>, String, bool) {
    let lines: Vec<&str> = script.split_inclusive('\n').collect();
    let (mut before, mut ours, mut after, mut block_count) =
        (String::new(), None::<String>, String::new(), 0);
    let mut at = 0;
    while let Some(line) = lines.get(at) {
        at += 1;
        if !begins(line) {
            if ours.is_some() { &mut after } else { &mut before }.push_str(line);
            continue;
        }
        let end = at + ours_ahead(&lines[at..]);
        if block_count == 0 {
            ours = Some(lines[at - 1..end].concat());
        }
        block_count += 1;
        at = end;
    }
    (before, ours, after, block_count == 1)
}

/// How many of the lines after the one that begins ours are ours.
fn ours_ahead(lines: &[&str]) -> usize {
    let next = lines.iter().position(|line| begins(line)).unwrap_or(lines.len());
    match lines[..next].iter().position(|line| line.trim() == END) {
        Some(end) => end + 1,
        None => lines[..next].iter().take_while(|line| script::is_ours(line)).count(),
    }
}

fn begins(line: &str) -> bool {
    line.trim().starts_with(BEGIN)
}

/// Whether two scripts are the same but for the kind of line breaks and blanks at the end.
pub(super) fn same_text(one: &str, other: &str) -> bool {
    one.trim_end().lines().eq(other.trim_end().lines())
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: &str = "# mastwatch begin: ours\n:do {\n} on-error={}\n# mastwatch end\n";

    #[test]
    fn our_lines_are_placed_after_those_of_others_and_taken_out_again_without_a_trace() {
        for theirs in ["", "a", "a\n", "a\r\nb\r\n", "\n\n", "# about mastwatch\nx"] {
            let whole = placed(theirs, OURS);
            assert!(whole.ends_with("# mastwatch end") && whole.starts_with(theirs), "{whole:?}");
            assert_eq!(placed(&whole, OURS), whole);
            assert_eq!(taken(&whole), theirs);
        }
    }

    #[test]
    fn lines_that_others_added_around_ours_stay_where_they_are() {
        let script = "a\n# mastwatch begin\nold\r\n# mastwatch end\nb";
        let expected = "a\n# mastwatch begin: ours\n:do {\n} on-error={}\n# mastwatch end\nb";
        assert_eq!(placed(script, OURS), expected);
        assert_eq!(placed(expected, OURS), expected);
        assert_eq!(taken(expected), "a\nb");
    }

    #[test]
    fn only_what_is_certainly_ours_goes_when_its_end_is_gone() {
        let ours = script::Pusher { url: "http://x".into(), token: "t".into(), checks_certificate: false };
        let ours = ours.session(script::Says::Up);
        let cut: String = ours.split_inclusive('\n').take(12).collect();
        let script = format!("a\n{cut}:log info \"theirs\"\n");
        assert_eq!(taken(&script), "a\n:log info \"theirs\"\n");
        assert_eq!(taken(&placed(&script, &ours)), "a\n:log info \"theirs\"\n");
        // Twice, as after somebody's copy and paste.
        let twice = format!("{ours}b\n{ours}");
        assert_eq!(placed(&twice, &ours), format!("{ours}b\n"));
    }
}
