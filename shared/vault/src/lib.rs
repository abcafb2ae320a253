//! What must not be read: sealing, keys and keyed digests.
