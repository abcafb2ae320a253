-- Where a node is, also if it does not say so itself.

alter table node add column at_site uuid;
comment on column node.at_site is 'Where it is: the site it names itself, or else the first that is named above it, depth first, in the order in which its groups and their members are numbered.';

-- Nodes are looked for by where they are, in the order of their ids.
create index node_by_place on node (tenant, at_site, id);
drop index node_by_site;

-- Of tables that were filled before: what is inherited is worked out when a node or something above it is said again,
-- and by a rebuild.
alter table node no force row level security;
update node set at_site = site where site is not null;
alter table node force row level security;
