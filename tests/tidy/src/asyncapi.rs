//! The AsyncAPI document: which facts there are, where they lie, how long, and who says them.

use crate::schemas::{event, in_order, nouns, path};
use events::{Noun, Retention, header, subject::PARTITIONS};
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Where the document lies, below the root of the repository.
pub const PATH: &str = "schemas/asyncapi.yaml";

/// Where the schema of the headers lies.
pub const HEADERS_PATH: &str = "schemas/events/headers.json";

/// Who says a noun, as operations name them.
fn sayers(noun: Noun) -> &'static [&'static str] {
    if noun == Noun::Due { &["server"] } else { noun.said_by() }
}

/// What the key of a noun's subject is made of.
fn key(noun: Noun) -> &'static str {
    match noun {
        Noun::Inventory => "tenant, policy, site-<id>, node-<id> or channel-<id>",
        Noun::Part => "<digest>.<n>",
        Noun::Revision => "inventory",
        Noun::Access => "token-<prefix> or keys",
        Noun::Entitlement => "node id, or cutting for the tenant's switch",
        Noun::Order => "order id",
        Noun::Signal => "node id, or s-<claim key> for a session",
        Noun::Ask => "<point of presence>.<slot>.<via>",
        Noun::Answer | Noun::Suspicion | Noun::Health => "node id",
        Noun::Incident => "incident id",
        Noun::Notice | Noun::Delivery => "notice id",
        Noun::Repair | Noun::Plan => "router id",
        Noun::Enforcement => "router id, or <node id>.<router id> of a subscriber",
        Noun::Refusal => "token-<prefix> or no-token",
        Noun::View => "point of presence",
        Noun::Sighting => "device-<id> or router-<id>",
        Noun::Timer | Noun::Due => "<service>.<key>",
        Noun::Cut => "<service>",
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    asyncapi: &'static str,
    info: Value,
    default_content_type: &'static str,
    servers: Value,
    channels: BTreeMap<String, Value>,
    operations: BTreeMap<String, Value>,
    components: Value,
}

/// `healthChanged`.
fn camel(noun: Noun) -> String {
    let verb = noun.verb_and_version().0;
    format!("{}{}{}", noun.token(), verb[..1].to_uppercase(), &verb[1..])
}

/// `healthChangedV1`.
fn message(noun: Noun, version: u16) -> String {
    format!("{}V{version}", camel(noun))
}

fn channel(noun: Noun) -> Value {
    let messages: BTreeMap<String, Value> = (1..=noun.verb_and_version().1)
        .map(|v| message(noun, v))
        .map(|m| (m.clone(), json!({ "$ref": format!("#/components/messages/{m}") })))
        .collect();
    let kept = match noun.retention() {
        Retention::Forever => json!("for ever"),
        Retention::Seconds(s) => json!({ "ttl_seconds": s }),
    };
    json!({
        "address": format!("mw.{{part}}.{{tenant}}.{}.{{key}}", noun.token()),
        "parameters": {
            "part": { "description": format!("FNV-1a of the tenant id, modulo {PARTITIONS}") },
            "tenant": { "description": "tenant id" },
            "key": { "description": key(noun) },
        },
        "messages": messages,
        "x-jetstream": { "stream": "LOG", "storage": "file", "retention": "limits", "discard": "old", "kept": kept },
    })
}

/// The whole document as YAML.
///
/// # Errors
///
/// When it has no text form.
pub fn generated() -> anyhow::Result<String> {
    let mut operations = BTreeMap::new();
    let mut messages = BTreeMap::new();
    for noun in nouns() {
        let (channel, newest) = (camel(noun), noun.verb_and_version().1);
        for service in sayers(noun) {
            operations.insert(
                format!("{service}.{}", event(noun)),
                in_order(json!({
                    "action": "send",
                    "channel": { "$ref": format!("#/channels/{channel}") },
                    "messages": [{ "$ref": format!("#/channels/{channel}/messages/{}", message(noun, newest)) }],
                })),
            );
        }
        for version in 1..=newest {
            let payload = path(noun, version).replacen("schemas/", "./", 1);
            messages.insert(
                message(noun, version),
                json!({
                    "name": format!("net.mastwatch.{}.v{version}", event(noun)),
                    "headers": { "$ref": HEADERS_PATH.replacen("schemas/", "./", 1) },
                    "payload": { "$ref": payload },
                }),
            );
        }
    }
    let document = Document {
        asyncapi: "3.0.0",
        info: in_order(json!({
            "title": "mastwatch events",
            "version": "1.0.0",
            "description": "Every fact of the log. Generated from shared/events.",
            "license": { "name": "Apache-2.0" },
        })),
        default_content_type: "application/json",
        servers: in_order(json!({ "bus": { "host": "nats:4222", "protocol": "nats" } })),
        channels: nouns().map(|noun| (camel(noun), in_order(channel(noun)))).collect(),
        operations,
        components: in_order(json!({ "messages": messages })),
    };
    let text = yaml_serde::to_string(&document)?;
    Ok(format!(
        "# Generated from shared/events. `MASTWATCH_WRITE=1 cargo nextest run -p tidy` writes it.\n{text}"
    ))
}

/// The JSON Schema of the headers that every message carries.
pub fn headers() -> Value {
    let uuid = |what: &str| json!({ "type": "string", "format": "uuid", "description": what });
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:mastwatch:headers:1",
        "title": "Headers",
        "description": "CloudEvents 1.0 attributes, carried as NATS headers.",
        "type": "object",
        "required": [
            header::name::SPEC_VERSION, header::name::ID, header::name::SOURCE, header::name::TYPE,
            header::name::TIME, header::name::TENANT,
        ],
        "properties": {
            header::name::SPEC_VERSION: { "const": "1.0" },
            header::name::ID: uuid("The event."),
            header::name::SOURCE: { "type": "string", "pattern": "^/mastwatch/", "description": "Who says it." },
            header::name::TYPE: {
                "type": "string",
                "pattern": "^net\\.mastwatch\\.[a-z]+\\.[a-z]+\\.v[0-9]+$",
                "description": "What happened, and the version of the body.",
            },
            header::name::TIME: {
                "type": "string", "format": "date-time", "description": "When it happened, as its source says.",
            },
            header::name::TENANT: uuid("Whose it is."),
            header::name::CAUSE: uuid("The event it follows from."),
            header::name::CORRELATION: uuid("The first event of the chain."),
            header::name::TRACEPARENT: { "type": "string", "description": "W3C trace context." },
        },
    })
}
