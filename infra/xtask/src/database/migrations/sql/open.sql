-- Sets the variable `open`: which of the original app's tables the public key still reaches, as a list of names.
select coalesce(string_agg(c.relname, ' and ' order by c.relname), '') as open
from pg_catalog.pg_class c
where c.oid in (to_regclass('public.ghl_qr_orders'), to_regclass('public.ghl_qr_tickets'))
  and exists (
    select from pg_catalog.pg_roles r
    where r.rolname in ('anon', 'authenticated')
      and (has_any_column_privilege(r.oid, c.oid, 'select,insert,update') or has_table_privilege(r.oid, c.oid, 'delete')))
  -- With row level security a policy has to let them in.
  and (not c.relrowsecurity or exists (select from pg_catalog.pg_policy p where p.polrelid = c.oid)) \gset
-- Sets `made`: whether there are tables of ours.
select to_regclass('public.sync_runs') is not null as made \gset
