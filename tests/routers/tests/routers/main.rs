//! Reconciler and poller on played routers, over their API.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bulkheads;
mod certificates;
mod enforcer;
mod ground;
mod killed;
mod many;
mod plans;
mod reconciler;
mod scout;
mod served;
