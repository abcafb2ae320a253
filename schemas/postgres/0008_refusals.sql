-- Who was turned away is on record beside what people did.

comment on table audit is 'What people did: changes of access, of the inventory, and orders; and who was turned away. Holds no secrets and no digests of them.';
comment on column audit.done_by is 'Who did it. Of who was refused: the public part of the token that was shown; empty where that is nobody''s, or not told apart any more.';
comment on column audit.what is 'token_granted, token_revoked, keys_set, inventory_changed, entitlement_set, cutting_set, acknowledge, close_as_wrong, live_check, draw_plan, repair, cut_held, scan, add_sighting, reject_sighting, open_sightings or refused.';
comment on column audit.subject is 'To what: a token''s prefix, a revision''s number, an incident, a node. Of who was refused: from which address; empty where it was many.';
