//! Private copies of nats-server, Postgres and VictoriaMetrics for one machine.
