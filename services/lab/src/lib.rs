//! A simulated ISP: routers, radios and subscribers that speak network protocols.
