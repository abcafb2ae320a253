-- The read models: answers that can be thrown away and told again from the log.
--
-- Every table belongs to tenants, and its rows are seen and written only by who has said which
-- tenant is meant: `select set_config('app.tenant_id', '<tenant>', true)`, for one transaction.
-- Without it there are no rows. Names of tables and columns are an interface: columns are added,
-- never renamed. The comments here are what docs/reference/read-models.md is made of.

create function current_tenant() returns uuid
    language sql stable parallel safe
    as $$ select nullif(current_setting('app.tenant_id', true), '')::uuid $$;
comment on function current_tenant() is 'The tenant that this transaction is about; null when it has not said so.';

-- Where the projector is -------------------------------------------------------------------

-- The kit makes this one before any migration runs.
comment on table projection_position is 'How far each read model has read each partition of the log. Moves in the transaction that writes the rows; belongs to no tenant.';
comment on column projection_position.model is 'Which read model.';
comment on column projection_position.part is 'Which partition of the log.';
comment on column projection_position.seq is 'The last sequence whose rows are written.';
comment on column projection_position.moved_at is 'When it last moved, by the clock of the database.';

create table projected_tenant (
    tenant uuid primary key,
    part integer not null,
    seq bigint not null,
    heard_at timestamptz not null
);
comment on table projected_tenant is 'Which tenants have rows, and as of when those are. With `app.every_tenant` set to `on` all of it can be read.';
comment on column projected_tenant.tenant is 'The tenant.';
comment on column projected_tenant.part is 'The partition of the log it lies in.';
comment on column projected_tenant.seq is 'The last message that was heard of it.';
comment on column projected_tenant.heard_at is 'When the log stored that message: the answers are as of then.';

-- The network ------------------------------------------------------------------------------

create table tenant (
    tenant uuid primary key,
    slug text not null,
    name text not null,
    seq bigint not null
);
comment on table tenant is 'One ISP. With `app.every_tenant` set to `on` all of them can be read.';
comment on column tenant.tenant is 'Its id.';
comment on column tenant.slug is 'What operators type.';
comment on column tenant.name is 'What people read.';
comment on column tenant.seq is 'The message this row says.';

create table policy (
    tenant uuid primary key,
    resolve_hold_ms bigint not null,
    recover_hold_ms bigint not null,
    blind_after_boot_ms bigint not null,
    escalate_after_ms bigint not null,
    walks_per_hour bigint not null,
    seq bigint not null
);
comment on table policy is 'How long things are held, per tenant.';
comment on column policy.tenant is 'Whose.';
comment on column policy.resolve_hold_ms is 'Every root must have been up for so long before an incident is resolved.';
comment on column policy.recover_hold_ms is 'After a root is back, how long nothing is said of what it cut off.';
comment on column policy.blind_after_boot_ms is 'A router up for less than this is blind, not down.';
comment on column policy.escalate_after_ms is 'An urgent incident nobody acknowledged escalates after this.';
comment on column policy.walks_per_hour is 'Walks a tenant may start in an hour.';
comment on column policy.seq is 'The message this row says.';

create table site (
    tenant uuid not null,
    id uuid not null,
    file_id text not null,
    name text not null,
    address text,
    latitude_udeg integer,
    longitude_udeg integer,
    seq bigint not null,
    primary key (tenant, id)
);
comment on table site is 'A physical place: building, tower, point of presence.';
comment on column site.tenant is 'Whose.';
comment on column site.id is 'Its id.';
comment on column site.file_id is 'Its id in the network file.';
comment on column site.name is 'What people say on the phone.';
comment on column site.address is 'Where a technician drives to.';
comment on column site.latitude_udeg is 'Microdegrees north.';
comment on column site.longitude_udeg is 'Microdegrees east.';
comment on column site.seq is 'The message this row says.';

create table node (
    tenant uuid not null,
    id uuid not null,
    file_id text not null,
    name text not null,
    kind text not null,
    class text,
    tier text not null,
    site uuid,
    address text,
    seen_by uuid,
    probe text,
    probe_port integer,
    probe_every_seconds bigint,
    login_port integer,
    login_tls boolean,
    plan text,
    owner_account text,
    owner_ticket_url text,
    maintenance jsonb not null,
    seq bigint not null,
    primary key (tenant, id)
);
create index node_by_site on node (tenant, site);
create index node_by_router on node (tenant, seen_by);
comment on table node is 'Anything in the dependency graph: device, link, subscriber, service, upstream.';
comment on column node.tenant is 'Whose.';
comment on column node.id is 'Its id.';
comment on column node.file_id is 'Its id in the network file: a device''s id, a subscriber''s account.';
comment on column node.name is 'What people read. Never a person''s name, user name, MAC or address.';
comment on column node.kind is 'device, link, subscriber, service or upstream.';
comment on column node.class is 'Of a device: router, switch, sector_ap, backhaul, station, server or other.';
comment on column node.tier is 'core, site, sector, station or subscriber: drives who is told.';
comment on column node.site is 'Where it is, if it says so itself; otherwise it is where what it depends on is.';
comment on column node.address is 'The IP address where it answers.';
comment on column node.seen_by is 'The router that sees it.';
comment on column node.probe is 'How the server itself watches it: icmp, tcp or router_os.';
comment on column node.probe_port is 'Where to, of a tcp probe.';
comment on column node.probe_every_seconds is 'How often it is probed.';
comment on column node.login_port is 'The API port of a router the server can log in to.';
comment on column node.login_tls is 'Whether that API is spoken over TLS.';
comment on column node.plan is 'The plan a subscriber pays for.';
comment on column node.owner_account is 'Whose it is, in the operator''s books.';
comment on column node.owner_ticket_url is 'Where the owner''s ticket is.';
comment on column node.maintenance is 'When it may be down quietly: a list of {from, until, reason}.';
comment on column node.seq is 'The message this row says.';

create table node_claim (
    tenant uuid not null,
    node uuid not null,
    claim uuid not null,
    seq bigint not null,
    primary key (tenant, node, claim)
);
create index node_claim_by_claim on node_claim (tenant, claim);
comment on table node_claim is 'Under which keyed hashes claims about a node''s sessions arrive.';
comment on column node_claim.tenant is 'Whose.';
comment on column node_claim.node is 'The node.';
comment on column node_claim.claim is 'The keyed hash.';
comment on column node_claim.seq is 'The message this row says.';

create table dependency_group (
    tenant uuid not null,
    node uuid not null,
    number integer not null,
    parent integer,
    mode text not null,
    k integer,
    seq bigint not null,
    primary key (tenant, node, number)
);
comment on table dependency_group is 'What a node needs in order to work: all of its groups that have no parent.';
comment on column dependency_group.tenant is 'Whose.';
comment on column dependency_group.node is 'The node that needs it.';
comment on column dependency_group.number is 'Which group of that node, from 0; a parent comes before what is in it.';
comment on column dependency_group.parent is 'The group of the same node that it is a member of.';
comment on column dependency_group.mode is 'How many of its members must work: any, all or k_of_n.';
comment on column dependency_group.k is 'How many, of k_of_n.';
comment on column dependency_group.seq is 'The message this row says.';

create table dependency_member (
    tenant uuid not null,
    node uuid not null,
    group_number integer not null,
    ordinal integer not null,
    member uuid,
    member_group integer,
    seq bigint not null,
    primary key (tenant, node, group_number, ordinal),
    check ((member is null) <> (member_group is null))
);
create index dependency_member_by_member on dependency_member (tenant, member);
comment on table dependency_member is 'Who can supply a group: a node, or a group of its own.';
comment on column dependency_member.tenant is 'Whose.';
comment on column dependency_member.node is 'The node that needs the group.';
comment on column dependency_member.group_number is 'The group.';
comment on column dependency_member.ordinal is 'Which member, from 0.';
comment on column dependency_member.member is 'The node that supplies, if it is one.';
comment on column dependency_member.member_group is 'The group of the same node that supplies, if it is one.';
comment on column dependency_member.seq is 'The message this row says.';

create table channel (
    tenant uuid not null,
    id uuid not null,
    name text not null,
    audience text not null,
    via text not null,
    endpoint text not null,
    recipients jsonb not null,
    seq bigint not null,
    primary key (tenant, id)
);
comment on table channel is 'A way to reach people. Holds no secrets: of an address only scheme, host and port.';
comment on column channel.tenant is 'Whose.';
comment on column channel.id is 'Its id.';
comment on column channel.name is 'What operators call it.';
comment on column channel.audience is 'Whom it reaches: engineers, technicians or support.';
comment on column channel.via is 'webhook or email.';
comment on column channel.endpoint is 'The server it goes to, without path, user and password.';
comment on column channel.recipients is 'Who gets the mail: a list of addresses.';
comment on column channel.seq is 'The message this row says.';

create table revision (
    tenant uuid not null,
    number bigint not null,
    made_from text not null,
    count bigint not null,
    digest text,
    file_digest text,
    made_by text not null,
    made_at timestamptz not null,
    seq bigint not null,
    primary key (tenant, number)
);
comment on table revision is 'The one order of a tenant''s inventory.';
comment on column revision.tenant is 'Whose.';
comment on column revision.number is 'From 1, without gaps.';
comment on column revision.made_from is 'Where its things are: commit (in the same commit) or parts (laid down before).';
comment on column revision.count is 'How many things of a commit, or how many parts.';
comment on column revision.digest is 'What names the parts.';
comment on column revision.file_digest is 'The digest of the file it came from.';
comment on column revision.made_by is 'Who made it.';
comment on column revision.made_at is 'When the log stored it.';
comment on column revision.seq is 'The message this row says.';

-- What is believed -------------------------------------------------------------------------

create table session_claim (
    tenant uuid not null,
    claim uuid not null,
    says text not null,
    source text not null,
    sender uuid,
    sealed_name text,
    detail text,
    claimed_at timestamptz not null,
    heard_at timestamptz not null,
    kept_until timestamptz not null,
    seq bigint not null,
    primary key (tenant, claim)
);
comment on table session_claim is 'The last thing a router said of each session, for 7 days.';
comment on column session_claim.tenant is 'Whose.';
comment on column session_claim.claim is 'The keyed hash that names the session.';
comment on column session_claim.says is 'up, down or degraded.';
comment on column session_claim.source is 'What made the claim: ppp, dhcp, radius, …';
comment on column session_claim.sender is 'The router whose token it came with.';
comment on column session_claim.sealed_name is 'The user name, sealed, of a session nobody was known by. Only console can open it.';
comment on column session_claim.detail is 'What else the sender said.';
comment on column session_claim.claimed_at is 'When it happened, as the sender says.';
comment on column session_claim.heard_at is 'When the log stored it.';
comment on column session_claim.kept_until is 'When this row may go.';
comment on column session_claim.seq is 'The message this row says.';

create view unmatched_claim with (security_invoker = true) as
    select * from session_claim c
    where not exists (select from node_claim n where n.tenant = c.tenant and n.claim = c.claim);
comment on view unmatched_claim is 'Session claims that belong to no node of the inventory: parked, not dropped. Columns as in session_claim.';

create table suspicion (
    tenant uuid not null,
    node uuid not null,
    since timestamptz not null,
    source text not null,
    sender uuid,
    claim_event uuid not null,
    asked_count integer not null,
    held_until timestamptz,
    heard_at timestamptz not null,
    kept_until timestamptz,
    seq bigint not null,
    primary key (tenant, node)
);
comment on table suspicion is 'Down claims that are being checked now. Gone when settled.';
comment on column suspicion.tenant is 'Whose.';
comment on column suspicion.node is 'Who is suspected to be down.';
comment on column suspicion.since is 'When the first claim was heard.';
comment on column suspicion.source is 'What raised it: netwatch, heartbeat, ppp, …';
comment on column suspicion.sender is 'The router that claimed it.';
comment on column suspicion.claim_event is 'The event that claimed it.';
comment on column suspicion.asked_count is 'How many probes were asked for to settle it.';
comment on column suspicion.held_until is 'Until when it waits or waited for its turn, because the tenant''s walks of that hour were used up; null: it did not have to.';
comment on column suspicion.heard_at is 'When the log stored this.';
comment on column suspicion.kept_until is 'When the log forgets it and this row may go; null: never.';
comment on column suspicion.seq is 'The message this row says.';

create table health (
    tenant uuid not null,
    node uuid not null,
    health text not null,
    flags text[] not null,
    since timestamptz not null,
    claimed_at timestamptz,
    roots uuid[] not null,
    confidence_percent integer not null,
    evidence jsonb not null,
    event uuid not null,
    cause uuid,
    heard_at timestamptz not null,
    kept_until timestamptz,
    seq bigint not null,
    primary key (tenant, node)
);
create index health_not_up on health (tenant, health) where health <> 'up';
comment on table health is 'What is believed of a node.';
comment on column health.tenant is 'Whose.';
comment on column health.node is 'Which node.';
comment on column health.health is 'up, down (broken itself), impacted (cut off by something else), degraded or unknown.';
comment on column health.flags is 'Any of suspect, recovering, flapping, at_risk, maintenance, map_disagrees.';
comment on column health.since is 'Since when it is believed.';
comment on column health.claimed_at is 'Since when it was so, as far as its source can tell.';
comment on column health.roots is 'The nodes that explain it, when it is impacted.';
comment on column health.confidence_percent is 'The sum of the weights of the evidence, at most 100.';
comment on column health.evidence is 'Why it is believed: a list of {kind, count, weight, event}.';
comment on column health.event is 'The event that says so.';
comment on column health.cause is 'The event it followed from: the first link of the chain of causes.';
comment on column health.heard_at is 'When the log stored it.';
comment on column health.kept_until is 'When the log forgets it and this row may go; null: never.';
comment on column health.seq is 'The message this row says.';

create table downtime (
    tenant uuid not null,
    node uuid not null,
    believed_at timestamptz not null,
    from_at timestamptz not null,
    until_at timestamptz,
    duration_ms bigint,
    health text not null,
    roots uuid[] not null,
    event uuid not null,
    heard_at timestamptz not null,
    kept_until timestamptz,
    seq bigint not null,
    primary key (tenant, node, believed_at)
);
create index downtime_open on downtime (tenant, node) where until_at is null;
comment on table downtime is 'When nodes did not work: one row for each time that one of them was believed down or impacted, until something else was believed. Nothing is added up over a time of which nothing is known.';
comment on column downtime.tenant is 'Whose.';
comment on column downtime.node is 'Which node; subscribers are nodes too.';
comment on column downtime.believed_at is 'Since when it was believed.';
comment on column downtime.from_at is 'When it began, as far as the source can tell.';
comment on column downtime.until_at is 'When it ended; null while it runs.';
comment on column downtime.duration_ms is 'How long it took; null while it runs.';
comment on column downtime.health is 'down (broken itself) or impacted (cut off).';
comment on column downtime.roots is 'What caused it: itself if it was down, else the nodes that cut it off. The view downtime_incident has the incidents.';
comment on column downtime.event is 'The health event that says so.';
comment on column downtime.heard_at is 'When the log stored the last event about it.';
comment on column downtime.kept_until is 'When the log forgets it and this row may go; null: never.';
comment on column downtime.seq is 'The message this row says.';

-- Outages ----------------------------------------------------------------------------------

create table incident (
    tenant uuid not null,
    id uuid not null,
    state text not null,
    class text not null,
    title text not null,
    urgency text not null,
    tier text not null,
    site uuid,
    site_name text,
    site_address text,
    owner_account text,
    owner_ticket_url text,
    opened_at timestamptz not null,
    ended_at timestamptz,
    ended_because text,
    merged_into uuid,
    acknowledged_by text,
    subscriber_count bigint not null,
    site_count bigint not null,
    at_risk_count bigint not null,
    observed_count bigint not null,
    impact jsonb not null,
    heard_at timestamptz not null,
    seq bigint not null,
    primary key (tenant, id)
);
create index incident_by_opening on incident (tenant, opened_at);
create index incident_not_over on incident (tenant) where ended_at is null;
comment on table incident is 'One outage as people speak of it.';
comment on column incident.tenant is 'Whose.';
comment on column incident.id is 'Its id; never changes.';
comment on column incident.state is 'open, recovering, resolved, merged or closed.';
comment on column incident.class is 'outage, sessions_lost, redundancy or blind.';
comment on column incident.title is 'What is broken and who is cut off, in one line.';
comment on column incident.urgency is 'low, normal or urgent.';
comment on column incident.tier is 'The highest tier among the causes: decides who is told.';
comment on column incident.site is 'Where the first cause is.';
comment on column incident.site_name is 'What people call that place.';
comment on column incident.site_address is 'Where a technician drives to.';
comment on column incident.owner_account is 'Whose the first cause is.';
comment on column incident.owner_ticket_url is 'Where the owner''s ticket is.';
comment on column incident.opened_at is 'When the first cause was found.';
comment on column incident.ended_at is 'When it ended.';
comment on column incident.ended_because is 'Why it ended, when not by recovery.';
comment on column incident.merged_into is 'The incident that carries it now.';
comment on column incident.acknowledged_by is 'Who took it.';
comment on column incident.subscriber_count is 'Subscribers cut off.';
comment on column incident.site_count is 'Sites with something cut off or broken.';
comment on column incident.at_risk_count is 'Nodes that one more failure would cut off.';
comment on column incident.observed_count is 'Of the nodes cut off, how many were seen to be.';
comment on column incident.impact is 'Who is cut off: counts by tier, site and plan.';
comment on column incident.heard_at is 'When the log stored its last change.';
comment on column incident.seq is 'The message this row says.';

create table incident_cause (
    tenant uuid not null,
    incident uuid not null,
    ordinal integer not null,
    node uuid not null,
    name text not null,
    tier text not null,
    is_primary boolean not null,
    is_down boolean not null,
    is_quiet boolean not null,
    since timestamptz not null,
    confidence_percent bigint not null,
    evidence jsonb not null,
    seq bigint not null,
    primary key (tenant, incident, ordinal)
);
create index incident_cause_by_node on incident_cause (tenant, node);
comment on table incident_cause is 'What is broken: the root causes of an incident.';
comment on column incident_cause.tenant is 'Whose.';
comment on column incident_cause.incident is 'Of which incident.';
comment on column incident_cause.ordinal is 'Which cause, from 0; the first one first.';
comment on column incident_cause.node is 'Which node.';
comment on column incident_cause.name is 'What people called it then.';
comment on column incident_cause.tier is 'Its tier.';
comment on column incident_cause.is_primary is 'Repairing it alone would restore what it cut off; otherwise it contributes.';
comment on column incident_cause.is_down is 'Whether it is down, or was and is back.';
comment on column incident_cause.is_quiet is 'Whether it is in maintenance.';
comment on column incident_cause.since is 'Since when it is down, or up again.';
comment on column incident_cause.confidence_percent is 'How sure we are; 0: undetermined.';
comment on column incident_cause.evidence is 'Why: a list of {kind, count, weight, event}.';
comment on column incident_cause.seq is 'The message this row says.';

create table incident_event (
    tenant uuid not null,
    incident uuid not null,
    seq bigint not null,
    event uuid not null,
    cause uuid,
    kind text not null,
    state text not null,
    title text not null,
    what text,
    subscriber_count bigint not null,
    heard_at timestamptz not null,
    primary key (tenant, incident, seq)
);
comment on table incident_event is 'The story of an incident: everything that happened to it, in order.';
comment on column incident_event.tenant is 'Whose.';
comment on column incident_event.incident is 'Of which incident.';
comment on column incident_event.seq is 'The message this row says; orders the story.';
comment on column incident_event.event is 'The event that said it.';
comment on column incident_event.cause is 'The event it followed from.';
comment on column incident_event.kind is 'opened, changed, recovering, relapsed, merged, resolved, acknowledged or closed.';
comment on column incident_event.state is 'Where the incident stood after it.';
comment on column incident_event.title is 'Its title after it.';
comment on column incident_event.what is 'What happened, for people: the newest line of its timeline.';
comment on column incident_event.subscriber_count is 'Subscribers cut off, as known then.';
comment on column incident_event.heard_at is 'When the log stored it.';

create view downtime_incident with (security_invoker = true) as
    select distinct d.tenant, d.node, d.believed_at, coalesce(i.merged_into, i.id) as incident
    from downtime d
    join incident_cause c on c.tenant = d.tenant and c.node = any (d.roots)
    join incident i on i.tenant = c.tenant and i.id = c.incident
    where i.opened_at <= coalesce(d.until_at, 'infinity') and coalesce(i.ended_at, 'infinity') >= d.from_at;
comment on view downtime_incident is 'The incidents that a downtime (tenant, node, believed_at) was part of: those whose root causes caused it, in its time. A merged incident is named by the one it was merged into.';

-- Telling people ---------------------------------------------------------------------------

create table notice (
    tenant uuid not null,
    id uuid not null,
    incident uuid not null,
    audience text not null,
    channel uuid not null,
    phase text not null,
    step bigint not null,
    urgency text not null,
    title text not null,
    text text not null,
    state text not null,
    decided_at timestamptz not null,
    expires_at timestamptz not null,
    heard_at timestamptz not null,
    seq bigint not null,
    primary key (tenant, id)
);
create index notice_by_incident on notice (tenant, incident);
comment on table notice is 'One message to one audience through one channel about one change of one incident.';
comment on column notice.tenant is 'Whose.';
comment on column notice.id is 'Its id.';
comment on column notice.incident is 'About which incident: the one it was first told as.';
comment on column notice.audience is 'To whom: engineers, technicians or support.';
comment on column notice.channel is 'Through what.';
comment on column notice.phase is 'Which change is told: opened, changed, escalated or resolved.';
comment on column notice.step is 'Which repetition of that phase, from 0.';
comment on column notice.urgency is 'low, normal or urgent.';
comment on column notice.title is 'The first line.';
comment on column notice.text is 'The rest.';
comment on column notice.state is 'addressed or withdrawn.';
comment on column notice.decided_at is 'When it was decided.';
comment on column notice.expires_at is 'After this it is not sent any more.';
comment on column notice.heard_at is 'When the log stored it.';
comment on column notice.seq is 'The message this row says.';

create table delivery (
    tenant uuid not null,
    notice uuid not null,
    state text not null,
    attempt_count bigint not null,
    answer text,
    is_possibly_repeated boolean not null,
    heard_at timestamptz not null,
    seq bigint not null,
    primary key (tenant, notice)
);
comment on table delivery is 'What became of sending a notice.';
comment on column delivery.tenant is 'Whose.';
comment on column delivery.notice is 'Which notice.';
comment on column delivery.state is 'attempted, delivered, deferred, refused, unknown or dropped.';
comment on column delivery.attempt_count is 'How many attempts were begun.';
comment on column delivery.answer is 'What the other side answered.';
comment on column delivery.is_possibly_repeated is 'Whether the message may have arrived twice, and says so.';
comment on column delivery.heard_at is 'When the log stored it.';
comment on column delivery.seq is 'The message this row says.';

-- Who did what -----------------------------------------------------------------------------

create table audit (
    tenant uuid not null,
    seq bigint not null,
    event uuid not null,
    heard_at timestamptz not null,
    done_by text not null,
    what text not null,
    subject text not null,
    detail jsonb not null,
    kept_until timestamptz,
    primary key (tenant, seq)
);
comment on table audit is 'What people did: changes of access, of the inventory, and orders. Holds no secrets and no digests of them.';
comment on column audit.tenant is 'Whose.';
comment on column audit.seq is 'The message this row says.';
comment on column audit.event is 'The event that says it.';
comment on column audit.heard_at is 'When the log stored it.';
comment on column audit.done_by is 'Who did it.';
comment on column audit.what is 'token_granted, token_revoked, keys_set, inventory_changed, acknowledge, close_as_wrong or live_check.';
comment on column audit.subject is 'To what: a token''s prefix, a revision''s number, an incident, a node.';
comment on column audit.detail is 'What else there is to say, without secrets.';
comment on column audit.kept_until is 'When this row may go; null: never.';

-- The wall ---------------------------------------------------------------------------------

do $$
declare
    name text;
begin
    foreach name in array array[
        'projected_tenant', 'tenant', 'policy', 'site', 'node', 'node_claim', 'dependency_group',
        'dependency_member', 'channel', 'revision', 'session_claim', 'suspicion', 'health', 'downtime',
        'incident', 'incident_cause', 'incident_event', 'notice', 'delivery', 'audit'
    ] loop
        execute format('alter table %I enable row level security', name);
        execute format('alter table %I force row level security', name);
        execute format(
            'create policy own on %I using (tenant = (select current_tenant())) with check (tenant = (select current_tenant()))',
            name);
    end loop;
end $$;

create policy every_tenant on tenant for select using ((select current_setting('app.every_tenant', true)) = 'on');
create policy every_tenant on projected_tenant for select using ((select current_setting('app.every_tenant', true)) = 'on');
