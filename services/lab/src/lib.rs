//! A simulated ISP: routers, radios and subscribers that speak network protocols.

pub mod network;
pub mod script;
pub mod world;
