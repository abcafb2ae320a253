//! How a router is spoken to: the RouterOS API protocol, sessions and a pool of them.
