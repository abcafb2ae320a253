//! What may be said: every event, its subject, its identifier and its versions.
