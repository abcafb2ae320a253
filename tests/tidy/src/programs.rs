//! Which programs the tests are: few, because each is compiled and linked by itself.
//!
//! The tests in a crate's folder `tests` are one program: a folder with a `main.rs`, and a module for each concept.
//! What measures or changes its own process is a program beside it, and says so where it opens. A library or
//! program without tests is not built as if it had some.

use crate::layers::{Member, Target};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Everything about the programs of one crate's tests that costs time for nothing, or leaves a test out.
///
/// # Errors
///
/// When a source cannot be read.
pub fn wrong_programs(member: &Member) -> io::Result<Vec<String>> {
    let mut wrong = alone_without_reason(member)?;
    for target in member.targets.iter().filter(|t| t.kind == "lib" || t.kind == "bin") {
        let own = sources_of(member, target)?;
        let name = format!("{} ({} {})", member.name, target.kind, target.name);
        match (target.is_tested, own.iter().any(|text| has_test(text))) {
            (true, false) => wrong.push(format!("{name} holds no test: say `test = false` in its manifest")),
            (false, true) => wrong.push(format!("{name} holds tests that are never run: `test = false`")),
            (true, true) | (false, false) => {}
        }
    }
    Ok(wrong)
}

/// The test programs that could be modules of another.
fn alone_without_reason(member: &Member) -> io::Result<Vec<String>> {
    let programs: Vec<&Target> = member.targets.iter().filter(|t| t.kind == "test").collect();
    let mut wrong = vec![];
    if programs.iter().filter(|p| p.path.ends_with("main.rs")).count() > 1 {
        wrong.push(format!("{}: one `main.rs` in the folder `tests` is enough", member.name));
    }
    for program in programs.iter().filter(|p| programs.len() > 1 && !p.path.ends_with("main.rs")) {
        let text = fs::read_to_string(&program.path)?;
        let opening: Vec<&str> = text.lines().map_while(|line| line.strip_prefix("//!")).collect();
        if !opening.concat().contains("process of its own") {
            wrong.push(format!(
                "{}: {} could be a module of the other tests; its opening does not say that it needs a process of its own",
                member.name,
                program.path.display()
            ));
        }
    }
    Ok(wrong)
}

/// What `target` is made of: its file alone beside a library, everything below it otherwise.
fn sources_of(member: &Member, target: &Target) -> io::Result<Vec<String>> {
    let is_beside_a_library = target.kind == "bin" && member.targets.iter().any(|t| t.kind == "lib");
    if is_beside_a_library {
        return Ok(vec![fs::read_to_string(&target.path)?]);
    }
    let mut texts = vec![];
    let mut folders: Vec<PathBuf> = target.path.parent().map(Path::to_owned).into_iter().collect();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                texts.push(fs::read_to_string(&path)?);
            }
        }
    }
    Ok(texts)
}

fn has_test(text: &str) -> bool {
    text.lines().map(str::trim).any(|line| line.starts_with("#[test]") || line.starts_with("#[tokio::test"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(kind: &str, path: &str) -> Target {
        let path = crate::root().join(path);
        Target { kind: kind.into(), name: "x".into(), path, is_tested: true }
    }

    fn member(targets: Vec<Target>) -> Member {
        let folder = String::new();
        Member { name: "x".into(), folder, names: vec![], targets, manifest: PathBuf::new() }
    }

    #[test]
    fn a_program_beside_the_others_must_say_why() {
        let [many, measured] = ["tests/lab/main.rs", "tests/memory.rs"];
        let at = |file: &str| target("test", &format!("services/lab/{file}"));
        assert!(wrong_programs(&member(vec![at(many), at(measured)])).unwrap().is_empty());
        let careless = target("test", "tests/tidy/src/programs.rs");
        let wrong = wrong_programs(&member(vec![at(many), careless])).unwrap();
        assert!(wrong.len() == 1 && wrong[0].contains("programs.rs"), "{wrong:?}");
        let wrong = wrong_programs(&member(vec![at(many), at(many)])).unwrap();
        assert!(wrong.len() == 1 && wrong[0].contains("is enough"), "{wrong:?}");
    }

    #[test]
    fn a_library_is_built_for_tests_exactly_when_it_holds_some() {
        let tested = target("lib", "shared/vault/src/lib.rs");
        let empty = target("bin", "services/mastwatch/src/main.rs");
        assert!(
            wrong_programs(&member(vec![tested.clone(), empty.clone()])).unwrap()[0]
                .contains("holds no test")
        );
        let never_run = Target { is_tested: false, ..tested };
        let quiet = Target { is_tested: false, ..empty };
        let wrong = wrong_programs(&member(vec![never_run, quiet])).unwrap();
        assert!(wrong.len() == 1 && wrong[0].contains("never run"), "{wrong:?}");
    }
}
