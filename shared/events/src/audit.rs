//! What is kept on record of what people did.

/// Everything that a record of the audit can say was done, as it stands in tables and in the API.
pub const AUDITED: [&str; 17] = [
    "token_granted",
    "token_revoked",
    "keys_set",
    "inventory_changed",
    "entitlement_set",
    "cutting_set",
    "acknowledge",
    "close_as_wrong",
    "live_check",
    "draw_plan",
    "repair",
    "cut_held",
    "scan",
    "add_sighting",
    "reject_sighting",
    "open_sightings",
    "refused",
];
