//! The mastwatch binary: every service, the private servers and the command line.
