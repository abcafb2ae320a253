-- Of which site it may be that it failed as a whole.

alter table incident add column site_hypothesis jsonb;
comment on column incident.site_hypothesis is 'The site that may have failed as a whole, its power for one: its id, name, confidence in percent and evidence. A guess, by which nothing is decided; null where there is none.';
