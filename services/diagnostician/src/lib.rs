//! Decides what is broken: suspicions, walks and health.
