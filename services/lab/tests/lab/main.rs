//! The lab from outside: API clients, webhooks, dead routers, memory.

mod api;
mod dead;
mod isp;
mod webhooks;
