-- What is to be changed on routers, and what was.

create table router_plan (
    tenant uuid not null,
    router uuid not null,
    state text not null,
    is_managed boolean not null,
    since timestamptz not null,
    version text,
    findings jsonb not null,
    obstacles jsonb not null,
    changes jsonb not null,
    change_count bigint not null,
    error text,
    event uuid not null,
    heard_at timestamptz not null,
    kept_until timestamptz,
    seq bigint not null,
    primary key (tenant, router)
);
comment on table router_plan is 'How each router stands against what it should be, as it was last said.';
comment on column router_plan.tenant is 'Whose.';
comment on column router_plan.router is 'Which router.';
comment on column router_plan.state is 'proposed (something would be changed, nothing was written), begun, as_desired, incomplete, unfit or unreachable.';
comment on column router_plan.is_managed is 'Whether the operator allows it to be changed.';
comment on column router_plan.since is 'Since when it stands so.';
comment on column router_plan.version is 'What software it said it runs.';
comment on column router_plan.findings is 'What it does not allow: a list of sentences.';
comment on column router_plan.obstacles is 'What is not ours to change and stands in the way: a list of sentences.';
comment on column router_plan.changes is 'The first changes that would be made: a list of {menu, change, row, called, before, after}.';
comment on column router_plan.change_count is 'How many changes there are in all.';
comment on column router_plan.error is 'Why it could not be looked at or changed.';
comment on column router_plan.event is 'The event that says it.';
comment on column router_plan.heard_at is 'When the log stored it.';
comment on column router_plan.kept_until is 'When the log forgets it and this row may go; null: never.';
comment on column router_plan.seq is 'The message this row says.';

create table repair (
    tenant uuid not null,
    seq bigint not null,
    event uuid not null,
    router uuid not null,
    plan_event uuid not null,
    number bigint not null,
    outcome text not null,
    menu text not null,
    change text not null,
    called text not null,
    before jsonb not null,
    after jsonb not null,
    row_id text,
    error text,
    heard_at timestamptz not null,
    kept_until timestamptz,
    primary key (tenant, seq)
);
create index repair_router on repair (tenant, router, seq desc);
comment on table repair is 'Every change that was made on a router, or refused by it.';
comment on column repair.tenant is 'Whose.';
comment on column repair.seq is 'The message this row says.';
comment on column repair.event is 'The event that says it.';
comment on column repair.router is 'Which router.';
comment on column repair.plan_event is 'The event that announced it.';
comment on column repair.number is 'Which of the changes announced there, from 0.';
comment on column repair.outcome is 'made, refused, unknown (it was sent and no answer came) or found (whoever made it ended before saying so).';
comment on column repair.menu is 'The menu of the router, such as /tool/netwatch.';
comment on column repair.change is 'add, set or remove.';
comment on column repair.called is 'What people know the row by.';
comment on column repair.before is 'What its properties were: a list of {name, value}, long values shortened.';
comment on column repair.after is 'What they became.';
comment on column repair.row_id is 'The id of the row at the router; null of one that is new.';
comment on column repair.error is 'Why the router refused, or why it is not known.';
comment on column repair.heard_at is 'When the log stored it.';
comment on column repair.kept_until is 'When the log forgets it and this row may go; null: never.';

do $$
declare
    name text;
begin
    foreach name in array array['router_plan', 'repair'] loop
        execute format('alter table %I enable row level security', name);
        execute format('alter table %I force row level security', name);
        execute format(
            'create policy own on %I using (tenant = (select current_tenant())) with check (tenant = (select current_tenant()))',
            name);
    end loop;
end $$;

comment on column audit.what is 'token_granted, token_revoked, keys_set, inventory_changed, acknowledge, close_as_wrong, live_check, draw_plan or repair.';
