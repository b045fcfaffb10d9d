-- What the public keys reach. Nothing, once the original app's two tables are closed (last-step).

-- The tables, views and functions of ours that whoever has the anonymous key, or is signed in, may use: in `public` by the names that ours
-- have, since other objects there are other people's. Row level security closes what was granted, unless a policy lets one of the two in.
create or replace function sync_internal.open_to_public() returns jsonb
language sql stable
as $$
  select coalesce(jsonb_agg(o.name order by o.name), '[]')
  from (
    select c.relname as name
    from pg_class c
    where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p', 'f', 'v', 'm')
      and (c.relname ~ '^(ghl_qr|sync)_' or c.relname = 'gate_scans')
      and exists (
        select from pg_roles r
        where r.rolname in ('anon', 'authenticated')
          and (has_any_column_privilege(r.oid, c.oid, 'select,insert,update') or has_table_privilege(r.oid, c.oid, 'delete'))
          and (not c.relrowsecurity
            or exists (select from pg_policy p where p.polrelid = c.oid and p.polroles && array[0::oid, r.oid])))
    union all
    select p.proname
    from pg_proc p
    where p.pronamespace = 'public'::regnamespace and p.proargnames = array['request'] and p.prorettype = 'jsonb'::regtype
      and exists (
        select from pg_roles r
        where r.rolname in ('anon', 'authenticated') and has_function_privilege(r.oid, p.oid, 'execute'))
  ) as o
$$;

revoke all on function sync_internal.open_to_public() from public, anon, authenticated;
grant execute on function sync_internal.open_to_public() to service_role;

-- The same for `cargo xtask configure`.
-- request: {location_id} -> {open: [name]}
-- Locks nothing.
create or replace function public.open_to_public(request jsonb) returns jsonb
language plpgsql set search_path = '' set lock_timeout = '5s' set jit = off
as $$
begin
  perform sync_internal.location(request);
  return jsonb_build_object('open', sync_internal.open_to_public());
end
$$;

revoke all on function public.open_to_public(jsonb) from public, anon, authenticated;
grant execute on function public.open_to_public(jsonb) to service_role;
