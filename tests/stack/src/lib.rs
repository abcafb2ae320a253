//! The real parts together: restarts, rebuilds, tenants, poison.
