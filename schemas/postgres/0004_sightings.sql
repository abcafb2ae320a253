-- What routers see around them, and who put a node into the inventory.

create table sighting (
    tenant uuid not null,
    id uuid not null,
    state text not null,
    since timestamptz not null,
    class text not null,
    tier text not null,
    parent_node uuid,
    parent_sighting uuid,
    node uuid,
    routers uuid[] not null,
    spots jsonb not null,
    reasons jsonb not null,
    platform text,
    board text,
    version text,
    has_address boolean not null,
    seen text not null,
    event uuid not null,
    heard_at timestamptz not null,
    kept_until timestamptz,
    seq bigint not null,
    primary key (tenant, id)
);
create index sighting_router on sighting using gin (routers);
comment on table sighting is 'Every device that a router sees around it, and whether the inventory has it.';
comment on column sighting.tenant is 'Whose.';
comment on column sighting.id is 'A keyed hash of what the device is told apart by.';
comment on column sighting.state is 'known (in the inventory, in its place), proposed, moved (in the inventory, seen elsewhere), rejected or gone (proposed once, seen no more).';
comment on column sighting.since is 'Since when it stands so.';
comment on column sighting.class is 'router, switch, sector_ap, backhaul, station, server or other: what it seems to be.';
comment on column sighting.tier is 'core, site, sector or station: how far up it would stand, or stands.';
comment on column sighting.parent_node is 'The node it would be put below.';
comment on column sighting.parent_sighting is 'The device it would be put below, which is not in the inventory yet.';
comment on column sighting.node is 'Which node it is, if the inventory has it.';
comment on column sighting.routers is 'The routers that see it.';
comment on column sighting.spots is 'Where it is seen: a list of {router, port, was}.';
comment on column sighting.reasons is 'Why it is taken for that and put there: a list of sentences.';
comment on column sighting.platform is 'Who made it, as it says.';
comment on column sighting.board is 'Which model it is, as it says.';
comment on column sighting.version is 'Which software it runs, as it says.';
comment on column sighting.has_address is 'Whether it has an address at which it could be watched.';
comment on column sighting.seen is 'What it is called and where it answers, sealed. Only console can open it.';
comment on column sighting.event is 'The event that says it.';
comment on column sighting.heard_at is 'When the log stored it.';
comment on column sighting.kept_until is 'When the log forgets it and this row may go; null: never.';
comment on column sighting.seq is 'The message this row says.';

create table router_scan (
    tenant uuid not null,
    router uuid not null,
    scanned_at timestamptz not null,
    device_count bigint not null,
    known_count bigint not null,
    proposed_count bigint not null,
    moved_count bigint not null,
    rejected_count bigint not null,
    left_out_count bigint not null,
    error text,
    event uuid not null,
    heard_at timestamptz not null,
    kept_until timestamptz,
    seq bigint not null,
    primary key (tenant, router)
);
comment on table router_scan is 'The last time each router was asked what it sees around it.';
comment on column router_scan.tenant is 'Whose.';
comment on column router_scan.router is 'Which router.';
comment on column router_scan.scanned_at is 'When it was asked.';
comment on column router_scan.device_count is 'How many devices it sees.';
comment on column router_scan.known_count is 'How many of them are in the inventory, in their place.';
comment on column router_scan.proposed_count is 'How many are proposed.';
comment on column router_scan.moved_count is 'How many moved.';
comment on column router_scan.rejected_count is 'How many somebody said no to.';
comment on column router_scan.left_out_count is 'How many it sees beyond those, that were left out because there are too many.';
comment on column router_scan.error is 'Why it could not be asked.';
comment on column router_scan.event is 'The event that says it.';
comment on column router_scan.heard_at is 'When the log stored it.';
comment on column router_scan.kept_until is 'When the log forgets it and this row may go; null: never.';
comment on column router_scan.seq is 'The message this row says.';

do $$
declare
    name text;
begin
    foreach name in array array['sighting', 'router_scan'] loop
        execute format('alter table %I enable row level security', name);
        execute format('alter table %I force row level security', name);
        execute format(
            'create policy own on %I using (tenant = (select current_tenant())) with check (tenant = (select current_tenant()))',
            name);
    end loop;
end $$;

alter table router_plan add column identity text, add column board text;
comment on column router_plan.identity is 'What it said it is called.';
comment on column router_plan.board is 'Which board it said it is.';

alter table node add column origin text not null default 'file';
comment on column node.origin is 'file (the network file), hand (a person) or scout (a person, who said yes to a device that was seen).';

comment on column audit.what is 'token_granted, token_revoked, keys_set, inventory_changed, entitlement_set, cutting_set, acknowledge, close_as_wrong, live_check, draw_plan, repair, cut_held, scan, add_sighting, reject_sighting or open_sightings.';
