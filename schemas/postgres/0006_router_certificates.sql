-- By which certificate a router is known, and which one it showed when nobody vouched for it.

alter table node add column login_certificate text;
comment on column node.login_certificate is 'The certificate that its API must show: sha256: and 64 hexadecimal digits; null: one that an authority has signed.';

alter table router_plan add column certificate_shown text;
comment on column router_plan.certificate_shown is 'The certificate that it showed, if that is why it could not be looked at: nobody vouches for it.';
