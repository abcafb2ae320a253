//! Watches what cannot report its own death, and answers what deciders ask.
