//! The lab from outside: API clients, webhooks, dead routers, memory.

#![allow(clippy::unwrap_used)] // Helpers of tests fail the test.

mod api;
mod clients;
mod control;
mod dead;
mod isp;
mod menus;
mod program;
mod radios;
mod webhooks;
