//! What is published under `schemas/` is what the types say, and old messages are still understood.

use events::Noun;
use std::{collections::BTreeSet, fs};
use tidy::{asyncapi, samples, schemas};

#[test]
fn the_published_schemas_are_those_of_the_types() {
    for (path, text) in schemas::generated() {
        tidy::agree(&path, &text).unwrap();
    }
    tidy::agree(asyncapi::HEADERS_PATH, &schemas::text(asyncapi::headers())).unwrap();
}

#[test]
fn every_version_has_its_schema_and_nothing_else_is_published() {
    let folder = tidy::root().join("schemas/events");
    let folders: BTreeSet<String> = fs::read_dir(&folder)
        .unwrap()
        .map(|e| e.unwrap())
        .filter(|e| e.file_type().unwrap().is_dir() && e.file_name() != "samples")
        .map(|e| e.file_name().into_string().unwrap())
        .collect();
    assert_eq!(folders, schemas::nouns().map(schemas::event).collect());
    for noun in schemas::nouns() {
        let files: BTreeSet<String> = fs::read_dir(folder.join(schemas::event(noun)))
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        let newest = noun.verb_and_version().1;
        assert_eq!(files, (1..=newest).map(|v| format!("v{v}.json")).collect(), "{noun:?}");
        for version in 1..=newest {
            let id = format!("urn:mastwatch:{}:{version}", schemas::event(noun));
            assert_eq!(schemas::published(noun, version).unwrap()["$id"], id);
        }
    }
}

#[test]
fn the_asyncapi_document_is_that_of_the_types() {
    tidy::agree(asyncapi::PATH, &asyncapi::generated().unwrap()).unwrap();
}

#[test]
fn every_reference_of_the_asyncapi_document_leads_somewhere() {
    let text = asyncapi::generated().unwrap();
    let document: serde_json::Value = yaml_serde::from_str(&text).unwrap();
    let mut open = vec![&document];
    let mut followed = 0;
    while let Some(value) = open.pop() {
        match value {
            serde_json::Value::Object(map) => {
                if let Some(target) = map.get("$ref").and_then(|r| r.as_str()) {
                    followed += 1;
                    match target.strip_prefix('#') {
                        Some(pointer) => assert!(document.pointer(pointer).is_some(), "{target}"),
                        None => assert!(tidy::root().join("schemas").join(target).is_file(), "{target}"),
                    }
                }
                open.extend(map.values());
            }
            serde_json::Value::Array(list) => open.extend(list),
            _ => {}
        }
    }
    assert!(followed > schemas::nouns().count());
}

#[test]
fn every_sample_decodes_and_is_of_its_schema() {
    let wrong: Vec<String> = samples::all()
        .unwrap()
        .iter()
        .filter_map(|s| Some(format!("{}: {:#}", s.file, samples::holds(s).err()?)))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_kind_and_every_version_has_a_sample() {
    let samples = samples::all().unwrap();
    for noun in schemas::nouns() {
        let newest = noun.verb_and_version().1;
        let of = |v: u16| samples.iter().filter(move |s| s.noun == noun && s.version == v);
        let there: BTreeSet<String> = of(newest).map(|s| s.kind.clone()).collect();
        let wanted = samples::kinds(noun);
        assert!(!wanted.is_empty(), "{noun:?} has no kinds");
        assert_eq!(there, wanted, "samples of {noun:?}, left: there, right: wanted");
        for version in 1..newest {
            assert!(of(version).next().is_some(), "no sample of {noun:?} in version {version}");
        }
    }
}

#[test]
fn no_sample_was_edited_or_removed() {
    samples::are_as_recorded(&samples::all().unwrap()).unwrap();
}

#[test]
fn a_sample_that_lost_a_field_is_found() {
    let mut all = samples::all().unwrap();
    let sample = all.iter_mut().find(|s| s.noun == Noun::Incident).unwrap();
    let mut body = sample.json().unwrap();
    body["now"].as_object_mut().unwrap().remove("title");
    sample.body = serde_json::to_vec(&body).unwrap();
    assert!(samples::holds(sample).is_err());
    assert!(samples::are_as_recorded(&all).is_err());
}
