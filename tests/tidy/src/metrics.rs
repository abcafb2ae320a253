//! The registry of metrics for people, and the schema of samples, made from the types of `events`.

use events::{Curve, Samples};

/// The page for people, below the root of the repository.
pub const PAGE: &str = "docs/reference/metrics.md";

/// The schema of a message of samples.
pub const SCHEMA: &str = "schemas/metrics/samples.v1.json";

/// A message of samples as it was once written. Never edited: it must decode for ever.
pub const SAMPLE: &str = "schemas/metrics/samples.v1.sample.json";

/// The page.
pub fn page() -> String {
    let mut text = String::from(
        "# Metrics\n\n\
         Everything that is measured, under the one name that it has everywhere: in the `METRICS` stream, in VictoriaMetrics, in\n\
         `GET /api/v1/nodes/{node}/history?metric=…`, in `mastwatch history` and in dashboards. A name says its unit. What is not in\n\
         this table is refused: as a metric of a sample it goes to the dead letters, as a question it is answered 400.\n\n\
         Every series has the labels `tenant` and `node` (ids of ours) and `source`: who measured it, `routeros` or `snmp`, which is the\n\
         only thing in which two measurements of one thing differ. Of some metrics a node has several series, told apart by one\n\
         more label. No label holds an address, a MAC, a user name or what an operator called an interface: `interface` is\n\
         the name that a hardware port was shipped with. Counters are stored as the router shows them; a rate is taken when it is asked for.\n\n\
         Raw values are kept for 30 days, with fifteen decimal digits. Where nothing was measured there is no value: a gap, never a zero.\n\n\
         *Written from `shared/events/src/sample.rs` by `MASTWATCH_WRITE=1 cargo nextest run -p tidy`.*\n\n\
         | name | unit | one more label | meaning |\n| --- | --- | --- | --- |\n",
    );
    for curve in Curve::all() {
        let stored = match curve {
            Curve::Stored(_) => "",
            Curve::BitsPerSecond { .. } => " Worked out when it is asked for.",
        };
        let label = curve.stored().of().label().map(|label| format!("`{label}`")).unwrap_or_default();
        let (name, unit, meaning) = (curve.name(), curve.unit(), curve.meaning());
        text.push_str(&format!("| `{name}` | {unit} | {label} | {meaning}{stored} |\n"));
    }
    text
}

/// The schema.
pub fn schema() -> String {
    crate::schemas::text(Samples::schema().to_value())
}
