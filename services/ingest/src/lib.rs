//! The front door: authenticates what routers push and stores it as signals.
