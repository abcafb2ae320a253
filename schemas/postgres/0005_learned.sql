-- How it came to be known that something had failed, and that it was back.

alter table downtime add column began_by text, add column ended_by text;
comment on column downtime.began_by is 'Who spoke of it first: push (a script, another system, a person), poll (we looked) or reconcile (nobody had told us); null if it was inferred.';
comment on column downtime.ended_by is 'Who spoke first of its end; null while it runs, or if it was inferred.';
