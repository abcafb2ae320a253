//! What proves which requirement: the table of `docs/reference/requirements.md`, held to the tests there are.
//!
//! A row is `| R14 | what must hold | proofs |`. A proof stands between backquotes: `path::name` for a
//! test, `./dev command` for what is measured. It must exist, and not be left out of test runs.

use std::{collections::BTreeSet, fs};

/// Where the table lies, below the root of the repository.
pub const PATH: &str = "docs/reference/requirements.md";

/// The numbers that must stand in the table.
pub const NUMBERS: [&str; 38] = [
    "R1", "R3", "R4", "R5", "R6", "R7", "R8", "R9", "R10", "R11", "R12", "R13", "R14", "R15", "R18", "R19",
    "R20", "R21", "R22", "R23", "R25", "R26", "R27", "R28", "R30", "R31", "R38", "R39", "R59", "R60", "R62",
    "R65", "R76", "R83", "N1", "N7", "N8", "N9",
];

/// Everything that is wrong with the table.
///
/// # Errors
///
/// When it cannot be read.
pub fn wrong_proofs() -> anyhow::Result<Vec<String>> {
    Ok(wrong_in(&fs::read_to_string(crate::root().join(PATH))?))
}

fn wrong_in(text: &str) -> Vec<String> {
    let mut wrong = vec![];
    let mut seen = BTreeSet::new();
    for line in text.lines().filter(|line| line.starts_with("| R") || line.starts_with("| N")) {
        let mut cells = line.trim_matches('|').split('|').map(str::trim);
        let (Some(number), Some(_), Some(proofs), None) =
            (cells.next(), cells.next(), cells.next(), cells.next())
        else {
            wrong.push(format!("{PATH}: three columns are wanted: {line}"));
            continue;
        };
        if !seen.insert(number.to_owned()) {
            wrong.push(format!("{PATH}: {number} stands there twice"));
        }
        let quoted: Vec<&str> = proofs.split('`').skip(1).step_by(2).collect();
        if !quoted.iter().any(|proof| proof.contains("::")) {
            wrong.push(format!("{PATH}: {number} names no test"));
        }
        wrong.extend(
            quoted.iter().filter_map(|proof| fault(proof)).map(|why| format!("{PATH}: {number}: {why}")),
        );
    }
    let missing = NUMBERS.iter().filter(|number| !seen.contains(**number));
    wrong.extend(missing.map(|number| format!("{PATH}: {number} is missing")));
    wrong
}

/// What is wrong with one proof.
fn fault(proof: &str) -> Option<String> {
    if let Some(command) = proof.strip_prefix("./dev ") {
        let dev = fs::read_to_string(crate::root().join("dev")).unwrap_or_default();
        let name = command.split(' ').next().unwrap_or_default();
        return (!dev.contains(&format!("\ncommand_{name}() {{")))
            .then(|| format!("there is no `./dev {name}`"));
    }
    let Some((path, name)) = proof.split_once("::") else {
        return Some(format!("`{proof}` is neither a test nor a command"));
    };
    let Ok(source) = fs::read_to_string(crate::root().join(path)) else {
        return Some(format!("there is no {path}"));
    };
    let lines: Vec<&str> = source.lines().map(str::trim).collect();
    let is_named = |line: &str| {
        let line = line.strip_prefix("async ").unwrap_or(line);
        line.strip_prefix("fn ")
            .is_some_and(|rest| rest.strip_prefix(name).is_some_and(|r| r.starts_with('(')))
    };
    let Some(at) = lines.iter().position(|line| is_named(line)) else {
        return Some(format!("{path} has no `{name}`"));
    };
    let attributes: Vec<&str> =
        lines[..at].iter().rev().take_while(|l| l.starts_with("#[")).copied().collect();
    if attributes.iter().any(|a| a.starts_with("#[ignore")) {
        return Some(format!("`{name}` is ignored"));
    }
    // Laws by property have their attribute within a macro.
    let is_a_test = attributes.iter().any(|a| a.starts_with("#[test]") || a.starts_with("#[tokio::test"));
    (!is_a_test).then(|| format!("`{name}` in {path} is no test"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_that_is_not_there_is_found() {
        for (proof, says) in [
            ("tests/tidy/src/requirements.rs::nowhere", "has no `nowhere`"),
            ("tests/tidy/src/no.rs::x", "there is no tests/tidy/src/no.rs"),
            ("tests/tidy/src/requirements.rs::fault", "is no test"),
            ("./dev nonsense", "there is no `./dev nonsense`"),
            ("somewhere", "neither a test nor a command"),
        ] {
            assert!(fault(proof).unwrap().contains(says), "{proof}");
        }
        assert_eq!(fault("tests/tidy/src/requirements.rs::a_proof_that_is_not_there_is_found"), None);
        assert_eq!(fault("./dev bench storm --scenario A"), None);
        let wrong = wrong_in("| R1 | it works | somebody says so |\n| R1 | `a::b` |\n");
        assert!(wrong.iter().any(|w| w.contains("R1 names no test")), "{wrong:?}");
        assert!(
            wrong.iter().any(|w| w.contains("three columns"))
                && wrong.iter().any(|w| w.contains("R14 is missing"))
        );
    }
}
