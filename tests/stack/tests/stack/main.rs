//! The real parts together: restarts, rebuilds, tenants, webhooks, poison.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod administrator;
mod blind;
mod certificates;
mod commands;
mod figures;
mod forgetting;
mod history;
mod keys;
mod path;
mod permissions;
mod poison;
mod pushed;
mod requirements;
mod routers;
mod scout;
mod statics;
mod storms;
mod wall;
