//! What is published of metrics is what the types say, and old messages are still understood.

use events::{Metric, Samples};
use std::{collections::BTreeSet, fs};
use tidy::metrics;

#[test]
fn the_page_of_metrics_and_the_schema_of_samples_are_those_of_the_registry() {
    tidy::agree(metrics::PAGE, &metrics::page()).unwrap();
    tidy::agree(metrics::SCHEMA, &metrics::schema()).unwrap();
}

#[test]
fn a_message_of_every_metric_decodes_and_is_of_its_schema() {
    let text = fs::read_to_string(tidy::root().join(metrics::SAMPLE)).unwrap();
    let read: Samples = serde_json::from_str(&text).unwrap();
    let there: BTreeSet<Metric> = read.samples.iter().map(|sample| sample.metric).collect();
    assert_eq!(there, Metric::ALL.into(), "left: those of the sample, right: those there are");
    let schema = serde_json::from_str(&metrics::schema()).unwrap();
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    jsonschema::validate(&schema, &value).unwrap();
    assert_eq!(serde_json::to_value(&read).unwrap(), value, "nothing of it is lost");
}
