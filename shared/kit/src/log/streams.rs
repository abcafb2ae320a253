//! The streams as they are declared.

use async_nats::jetstream::stream::{self, DiscardPolicy, RetentionPolicy, StorageType};
use std::time::Duration;

/// Consumers a stream may have: every partition of every service reads by one of its own while it catches up.
const CONSUMERS_MAX: i32 = 4_000;

/// How long the server remembers message ids (design: 2 min; 225 bytes each).
pub(crate) const DUPLICATE_WINDOW: Duration = Duration::from_secs(120);

/// The log itself.
pub(super) fn log_stream(name: &str, replicas: usize) -> stream::Config {
    stream::Config {
        name: name.to_owned(),
        subjects: vec!["mw.>".into()],
        storage: StorageType::File,
        num_replicas: replicas,
        retention: RetentionPolicy::Limits,
        // Without `max_bytes`: a full store then refuses, and drops nothing.
        discard: DiscardPolicy::Old,
        max_bytes: -1,
        max_messages: -1,
        max_messages_per_subject: -1,
        allow_atomic_publish: true,
        allow_message_ttl: true,
        allow_message_schedules: true,
        allow_rollup: true,
        duplicate_window: DUPLICATE_WINDOW,
        max_consumers: CONSUMERS_MAX,
        allow_direct: true,
        ..Default::default()
    }
}

const DAY: Duration = Duration::from_secs(24 * 3_600);

/// Samples on their way to where series are kept.
pub(super) fn metrics_stream(replicas: usize) -> stream::Config {
    stream::Config {
        name: "METRICS".into(),
        subjects: vec!["metrics.>".into()],
        num_replicas: replicas,
        max_age: 3 * DAY,
        duplicate_window: DUPLICATE_WINDOW,
        max_bytes: -1,
        max_messages: -1,
        max_messages_per_subject: -1,
        ..Default::default()
    }
}

/// Who people are.
pub(super) fn personal_stream(replicas: usize) -> stream::Config {
    stream::Config {
        name: "PERSONAL".into(),
        subjects: vec!["personal.>".into()],
        num_replicas: replicas,
        // One sealed message per subscriber; erasure purges it.
        max_messages_per_subject: 1,
        allow_atomic_publish: true,
        allow_direct: true,
        duplicate_window: DUPLICATE_WINDOW,
        max_bytes: -1,
        max_messages: -1,
        ..Default::default()
    }
}

/// What could not be read.
pub(super) fn dead_stream(replicas: usize) -> stream::Config {
    stream::Config {
        name: crate::dead::STREAM.into(),
        subjects: vec!["dead.>".into()],
        num_replicas: replicas,
        max_age: 30 * DAY,
        allow_direct: true,
        duplicate_window: DUPLICATE_WINDOW,
        max_bytes: -1,
        max_messages: -1,
        max_messages_per_subject: -1,
        ..Default::default()
    }
}
