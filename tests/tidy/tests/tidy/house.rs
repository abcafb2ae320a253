//! The house is in order: arrows, manifests, names and words.

use tidy::{layers, programs, requirements, sources};

fn none(wrong: &[String]) {
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn every_arrow_points_the_right_way() {
    let members = layers::members().unwrap();
    assert!(members.len() > 10, "cargo metadata lists the workspace");
    none(&layers::wrong_arrows(&members));
}

#[test]
fn every_crate_takes_its_lints_and_versions_from_the_workspace() {
    for member in layers::members().unwrap() {
        none(&layers::wrong_lines(&member).unwrap());
    }
}

#[test]
fn the_tests_of_a_crate_are_one_program_and_nothing_is_built_for_tests_it_does_not_hold() {
    for member in layers::members().unwrap() {
        none(&programs::wrong_programs(&member).unwrap());
    }
}

#[test]
fn every_name_says_something() {
    none(&sources::empty_names(&sources::all().unwrap()));
}

#[test]
fn every_file_opens_by_saying_what_it_is_for() {
    none(&sources::without_opening(&sources::all().unwrap()));
}

#[test]
fn nothing_promises_work_instead_of_doing_it() {
    none(&sources::promises(&sources::all().unwrap()));
}

#[test]
fn no_file_names_a_place_on_a_machine() {
    none(&sources::machine_paths(&sources::all().unwrap()));
}

#[test]
fn no_file_names_a_private_registry() {
    none(&sources::private_registries(&sources::all().unwrap()));
}

#[test]
fn decisions_depend_on_nothing_but_what_was_heard() {
    let sources = sources::all().unwrap();
    assert!(sources.iter().any(|s| s.path == "shared/domain/src/lib.rs"));
    none(&sources::impurities(&sources));
}

/// Requirements, R18: what is known is known without SNMP, because nothing of this could speak it.
#[test]
fn nothing_that_runs_can_speak_snmp() {
    let sources = sources::all().unwrap();
    assert!(sources.iter().any(|s| s.path == "Cargo.lock" && s.text.contains("name = \"tokio\"")));
    none(&sources::ways_to_speak_snmp(&sources));
}

#[test]
fn every_requirement_is_proven_by_tests_that_exist() {
    none(&requirements::wrong_proofs().unwrap());
}
