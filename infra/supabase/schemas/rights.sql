-- What the public keys reach. Nothing, once the original app's two tables are closed (last-step).

-- The one rule by which a table or view of ours is open: somebody can read or write it who has nothing but the public key, or has only
-- signed up. By rights that row level security doesn't limit, or by a policy. A policy that lets nobody in (`false`) opens nothing; one
-- that lets some of the signed-in users in was somebody's decision, one that lets in all of them (`true`) lets in whoever signs up.
-- Ours are, in `public`, those with the names that ours have: other objects there are other people's. Which ones are asked for is for
-- the caller to say; the planner then looks at these only. `cargo xtask migrate` asks the same (migrations/sql/open.sql).
create or replace function sync_internal.open_relations() returns table (name name, reads boolean, writes boolean)
language sql stable
as $$
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
$$;

revoke all on function sync_internal.open_relations() from public, anon, authenticated;
grant execute on function sync_internal.open_relations() to service_role;

-- Of them the original app's two tables, for an admin to close: [{table, reads, writes}].
create or replace function sync_internal.open_tables() returns jsonb
language sql stable
as $$
  select coalesce(jsonb_agg(jsonb_build_object('table', o.name, 'reads', o.reads, 'writes', o.writes) order by o.name), '[]')
  from sync_internal.open_relations() o
  where o.name in ('ghl_qr_orders', 'ghl_qr_tickets')
$$;

revoke all on function sync_internal.open_tables() from public, anon, authenticated;
grant execute on function sync_internal.open_tables() to service_role;

-- The names of all of them and of the functions of ours that one of the two keys may call, for `cargo xtask configure`.
-- request: {location_id} -> {open: [name]}
-- Locks nothing.
create or replace function public.open_to_public(request jsonb) returns jsonb
language plpgsql set search_path = '' set lock_timeout = '5s' set jit = off
as $$
begin
  perform sync_internal.location(request);
  return jsonb_build_object('open', (
    select coalesce(jsonb_agg(o.name order by o.name), '[]')
    from (
      select r.name from sync_internal.open_relations() r
      union all
      select p.proname
      from pg_proc p
      where p.pronamespace = 'public'::regnamespace and p.proargnames = array['request'] and p.prorettype = 'jsonb'::regtype
        and exists (
          select from pg_roles k
          where k.rolname in ('anon', 'authenticated') and has_function_privilege(k.oid, p.oid, 'execute'))
    ) as o));
end
$$;

revoke all on function public.open_to_public(jsonb) from public, anon, authenticated;
grant execute on function public.open_to_public(jsonb) to service_role;
