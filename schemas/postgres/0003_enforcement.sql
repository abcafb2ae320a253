-- What subscribers are entitled to, and how far routers show it.

create table entitlement (
    tenant uuid not null,
    node uuid not null,
    state text not null,
    profile text,
    up_bps bigint,
    down_bps bigint,
    has_address boolean not null,
    has_password boolean not null,
    set_by text not null,
    event uuid not null,
    heard_at timestamptz not null,
    kept_until timestamptz,
    seq bigint not null,
    primary key (tenant, node)
);
comment on table entitlement is 'What each subscriber is to get, as it was last said. Of whom nothing was said, nothing is enforced.';
comment on column entitlement.tenant is 'Whose.';
comment on column entitlement.node is 'Which subscriber.';
comment on column entitlement.state is 'active, suspended, ended, or released (not ours any more: what is on routers stays).';
comment on column entitlement.profile is 'The PPP profile of its plan; null: as the router has it.';
comment on column entitlement.up_bps is 'How fast it may send, bits per second; null: it has no queue of ours.';
comment on column entitlement.down_bps is 'How fast it may receive, bits per second.';
comment on column entitlement.has_address is 'Whether it always gets the same address when it dials in. The address is with the person.';
comment on column entitlement.has_password is 'Whether a user is added where no router knows it.';
comment on column entitlement.set_by is 'Who said it.';
comment on column entitlement.event is 'The event that says it.';
comment on column entitlement.heard_at is 'When the log stored it: since when it is wanted.';
comment on column entitlement.kept_until is 'When the log forgets it and this row may go; null: never.';
comment on column entitlement.seq is 'The message this row says.';

create table cutting (
    tenant uuid not null,
    is_halted boolean not null,
    why text,
    set_by text not null,
    event uuid not null,
    heard_at timestamptz not null,
    seq bigint not null,
    primary key (tenant)
);
comment on table cutting is 'The switch that stops all cutting off of subscribers. Without a row nothing is halted.';
comment on column cutting.tenant is 'Whose.';
comment on column cutting.is_halted is 'Whether nobody is cut off.';
comment on column cutting.why is 'Why, as somebody said.';
comment on column cutting.set_by is 'Who said it.';
comment on column cutting.event is 'The event that says it.';
comment on column cutting.heard_at is 'When the log stored it.';
comment on column cutting.seq is 'The message this row says.';

create table enforcement (
    tenant uuid not null,
    node uuid not null,
    router uuid not null,
    state text not null,
    since timestamptz not null,
    wanted uuid not null,
    wanted_since timestamptz not null,
    in_force_since timestamptz,
    attempt_count bigint not null,
    cut_at timestamptz,
    not_ours text,
    error text,
    event uuid not null,
    heard_at timestamptz not null,
    kept_until timestamptz,
    seq bigint not null,
    primary key (tenant, node, router)
);
create index enforcement_router on enforcement (tenant, router, state);
comment on table enforcement is 'How far each router shows what a subscriber is entitled to.';
comment on column enforcement.tenant is 'Whose.';
comment on column enforcement.node is 'Which subscriber.';
comment on column enforcement.router is 'At which router.';
comment on column enforcement.state is 'waiting (the router was not reached since), begun, in_force, partly (the rest is not ours), held (it would cut the subscriber off, and is held back) or failed.';
comment on column enforcement.since is 'Since when it stands so.';
comment on column enforcement.wanted is 'The event with the entitlement that is pursued.';
comment on column enforcement.wanted_since is 'When the log stored that.';
comment on column enforcement.in_force_since is 'Since when the router shows it; null: it does not.';
comment on column enforcement.attempt_count is 'How often changes were begun for this entitlement.';
comment on column enforcement.cut_at is 'When it was last cut off by us.';
comment on column enforcement.not_ours is 'What of it is not ours to do there.';
comment on column enforcement.error is 'What stands in the way.';
comment on column enforcement.event is 'The event that says it.';
comment on column enforcement.heard_at is 'When the log stored it.';
comment on column enforcement.kept_until is 'When the log forgets it and this row may go; null: never.';
comment on column enforcement.seq is 'The message this row says.';

create table router_enforcement (
    tenant uuid not null,
    router uuid not null,
    state text not null,
    since timestamptz not null,
    entitled_count bigint not null,
    active_count bigint not null,
    held_count bigint not null,
    held_plan uuid,
    error text,
    event uuid not null,
    heard_at timestamptz not null,
    kept_until timestamptz,
    seq bigint not null,
    primary key (tenant, router)
);
comment on table router_enforcement is 'How each router stands against what its subscribers are entitled to.';
comment on column router_enforcement.tenant is 'Whose.';
comment on column router_enforcement.router is 'Which router.';
comment on column router_enforcement.state is 'begun, in_force, incomplete, held (subscribers would be cut off, and are not) or unreachable.';
comment on column router_enforcement.since is 'Since when it stands so.';
comment on column router_enforcement.entitled_count is 'Subscribers of whom it should show something.';
comment on column router_enforcement.active_count is 'Subscribers with a session there, and those with a fixed address who are entitled to something.';
comment on column router_enforcement.held_count is 'Those who would be cut off and are not.';
comment on column router_enforcement.held_plan is 'What an operator names to have those cut off who are too many; null: nobody can say yes, or nobody has to.';
comment on column router_enforcement.error is 'Why it could not be looked at or changed, or why it is held.';
comment on column router_enforcement.event is 'The event that says it.';
comment on column router_enforcement.heard_at is 'When the log stored it.';
comment on column router_enforcement.kept_until is 'When the log forgets it and this row may go; null: never.';
comment on column router_enforcement.seq is 'The message this row says.';

alter table repair add column subscriber uuid;
comment on column repair.subscriber is 'The subscriber for whom it was changed; null: for the router itself.';

do $$
declare
    name text;
begin
    foreach name in array array['entitlement', 'cutting', 'enforcement', 'router_enforcement'] loop
        execute format('alter table %I enable row level security', name);
        execute format('alter table %I force row level security', name);
        execute format(
            'create policy own on %I using (tenant = (select current_tenant())) with check (tenant = (select current_tenant()))',
            name);
    end loop;
end $$;

comment on column audit.what is 'token_granted, token_revoked, keys_set, inventory_changed, entitlement_set, cutting_set, acknowledge, close_as_wrong, live_check, draw_plan, repair or cut_held.';
