//! Writes the read models that people and dashboards look at.
