-- What a point of presence watches is unknown while it is blind.

alter table node add column watch_slot integer;
comment on column node.watch_slot is 'In which slot of a point of presence it is watched; null where the server itself does not.';
alter table incident add column blind jsonb;
comment on column incident.blind is 'The point of presence that is blind: its name, in which of its slots, since when each of them is, and how many devices it watches there; null where an incident is about something else.';
create index incident_blind on incident (tenant) where blind is not null and ended_at is null;

-- Of tables that were filled before: a node has its slot, and an incident what is blind, when it is said again, and by a
-- rebuild.

create view blind_slot with (security_invoker = true) as
select i.tenant, s.slot::integer as slot,
    min(coalesce((i.blind -> 'since' ->> (s.place - 1)::integer)::timestamptz, i.opened_at)) as since
from incident i cross join lateral jsonb_array_elements(i.blind -> 'slots') with ordinality as s (slot, place)
where i.ended_at is null and i.state = 'open' and i.blind is not null
group by i.tenant, s.slot;
comment on view blind_slot is 'Slots in which a point of presence sees nothing, not even its own references.';
comment on column blind_slot.tenant is 'Whose.';
comment on column blind_slot.slot is 'Which slot.';
comment on column blind_slot.since is 'Since when.';

create view health_now with (security_invoker = true) as
select h.tenant, h.node,
    case when b.since is null then h.health else 'unknown' end as health,
    h.flags
        || case when s.node is null then '{}' else array['suspect'] end
        || case when m.is_on then array['maintenance'] else '{}' end
        || case when b.since is null then '{}' else array['unwatched'] end as flags,
    coalesce(b.since, h.since) as since,
    h.health as health_before,
    h.claimed_at,
    case when b.since is null then h.roots else '{}' end as roots,
    case when b.since is null then h.confidence_percent end as confidence_percent,
    case when b.since is null then h.evidence else '[]' end as evidence,
    h.event, h.cause, h.heard_at
from health h
left join node n on n.tenant = h.tenant and n.id = h.node
left join suspicion s on s.tenant = h.tenant and s.node = h.node
left join blind_slot b on b.tenant = n.tenant and b.slot = n.watch_slot and b.since > h.since
left join lateral (
    select bool_or((w ->> 'from')::timestamptz <= now() and now() < (w ->> 'until')::timestamptz) as is_on
    from jsonb_array_elements(n.maintenance) as w
) m on n.maintenance <> '[]';
comment on view health_now is 'What is believed of a node, and that nothing is known of it while who watches it is blind, unless it was found to be something else since.';
comment on column health_now.tenant is 'Whose.';
comment on column health_now.node is 'Which node.';
comment on column health_now.health is 'up, down (broken itself), impacted (cut off by something else), degraded or unknown.';
comment on column health_now.flags is 'Any of suspect (a claim against it is being checked), recovering, flapping, at_risk, maintenance, map_disagrees, unwatched (who watches it is blind).';
comment on column health_now.since is 'Since when it is so.';
comment on column health_now.health_before is 'What was believed before who watches it became blind; the same as health where it sees.';
comment on column health_now.claimed_at is 'Since when it was so, as far as its source can tell.';
comment on column health_now.roots is 'The nodes that explain it, when it is impacted.';
comment on column health_now.confidence_percent is 'The sum of the weights of the evidence, at most 100.';
comment on column health_now.evidence is 'Why it is believed: a list of {kind, count, weight, event}.';
comment on column health_now.event is 'The event that says so, or said last what was believed before.';
comment on column health_now.cause is 'The event it followed from: the first link of the chain of causes.';
comment on column health_now.heard_at is 'When the log stored it.';
comment on column health.flags is 'Any of recovering, flapping, at_risk, map_disagrees; the view health_now has what follows from the moment as well.';
