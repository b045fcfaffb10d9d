-- Sets the variable `open`: which of the original app's tables the public key still reaches, and how, in words. The rule is that of the
-- function sync_internal.open_relations (infra/supabase/schemas/rights.sql), word for word: where it isn't yet, the tables may be.
select coalesce(string_agg(o.name, ' and ' order by o.name) || ' can be '
  || concat_ws(' and ', case when bool_or(o.reads) then 'read' end, case when bool_or(o.writes) then 'written' end), '') as open
from (
  select c.relname, bool_or(way.command = 'r'), bool_or(way.command <> 'r')
  from pg_class c
  cross join pg_roles k
  cross join (values ('r'::"char", 'select'), ('a', 'insert'), ('w', 'update'), ('d', 'delete')) as way (command, privilege)
  where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p', 'f', 'v', 'm')
    and (c.relname ~ '^(ghl_qr|sync)_' or c.relname = 'gate_scans')
    and k.rolname in ('anon', 'authenticated')
    and case when way.command = 'd' then has_table_privilege(k.oid, c.oid, way.privilege)
      else has_any_column_privilege(k.oid, c.oid, way.privilege) end
    and (not c.relrowsecurity or exists (
      select from pg_policy p
      cross join lateral coalesce(pg_get_expr(
        case when way.command = 'a' then coalesce(p.polwithcheck, p.polqual)
          else coalesce(p.polqual, p.polwithcheck) end, p.polrelid), 'true') as condition
      where p.polrelid = c.oid and p.polpermissive and p.polcmd in (way.command, '*')
        and (0::oid = any (p.polroles) or k.oid = any (p.polroles))
        and case k.rolname when 'anon' then condition <> 'false' else condition = 'true' end))
  group by c.relname
) as o (name, reads, writes)
where o.name in ('ghl_qr_orders', 'ghl_qr_tickets') \gset
-- Sets `made`: whether there are tables of ours.
select to_regclass('public.sync_runs') is not null as made \gset
