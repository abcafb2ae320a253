//! Decisions under faults, in virtual time, by seed.
