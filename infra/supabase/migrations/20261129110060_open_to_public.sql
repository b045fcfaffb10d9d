-- What the public keys still reach is told: to an operator, and with the drift in a run's report.

-- A function may call one that comes after it.
set check_function_bodies = off;

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

create or replace function public.get_run(request jsonb) returns jsonb
language plpgsql set search_path = '' set lock_timeout = '5s' set jit = off
as $$
declare
  v_location text := sync_internal.location(request);
  v_limit int := sync_internal.page_limit(request);
  v_after text := coalesce(request ->> 'after', '');
  v_lists text[] := case when request ->> 'only' is null then '{failures,skips,issues,drift}'
    else array[request ->> 'only'] end;
  v_run public.sync_runs;
  v_skips jsonb := '[]';
  v_next text;
begin
  select * into v_run from public.sync_runs
  where run_id = (sync_internal.required(request, 'run_id'))::uuid and location_id = v_location;
  if not found then
    return jsonb_build_object('run', null, 'failures', '[]'::jsonb, 'skips', '[]'::jsonb, 'issues', '[]'::jsonb,
      'drift', jsonb_build_object('orders', 0, 'added', 0, 'reinstated', 0, 'cancelled', 0, 'list', '[]'::jsonb),
      'next', null);
  end if;
  if 'skips' = any (v_lists) then
    v_skips := sync_internal.skips_page(v_run, v_after, v_limit);
  end if;

  -- One page reaches as far as the shortest of the lists does, so that `after` means the same for all of them: as far as the last
  -- order of a list that fills the page.
  select min(last_id) into v_next from (
    (select order_id as last_id from public.sync_outcomes
      where run_id = v_run.run_id and outcome = 'failed' and order_id > v_after and 'failures' = any (v_lists)
      order by order_id offset v_limit - 1 limit 1)
    union all
    select v_skips -> (v_limit - 1) ->> 'order_id'
    union all
    (select order_id from public.sync_outcomes
      where run_id = v_run.run_id and order_id > v_after and 'drift' = any (v_lists)
        and tickets_added + tickets_reinstated + tickets_cancelled > 0
      order by order_id offset v_limit - 1 limit 1)
    union all
    (select distinct order_id from public.sync_issues
      where run_id = v_run.run_id and order_id > v_after and 'issues' = any (v_lists)
      order by order_id offset v_limit - 1 limit 1)
  ) as ends;

  return jsonb_build_object(
    'run', sync_internal.run_json(v_run),
    'failures', case when 'failures' = any (v_lists)
      then sync_internal.failures_page(v_location, v_run.run_id, v_after, v_next, v_limit) else '[]' end,
    'skips', (
      select coalesce(jsonb_agg(skip order by nth), '[]')
      from jsonb_array_elements(v_skips) with ordinality as s (skip, nth)
      where v_next is null or skip ->> 'order_id' <= v_next),
    'issues', (
      select coalesce(jsonb_agg(jsonb_build_object(
        'order_id', nullif(order_id, ''), 'code', code, 'message', message) order by order_id, noted_at), '[]')
      from public.sync_issues
      -- What concerns the whole listing has no order and stands on the first page.
      where run_id = v_run.run_id and (order_id > v_after or v_after = '') and (v_next is null or order_id <= v_next)
        and 'issues' = any (v_lists)),
    'drift', jsonb_build_object('orders', v_run.drift_orders, 'added', v_run.tickets_added,
      'reinstated', v_run.tickets_reinstated, 'cancelled', v_run.tickets_cancelled,
      'list', case when 'drift' = any (v_lists)
        then sync_internal.drift_page(v_run.run_id, v_after, v_next, v_limit) else '[]' end),
    'open', case when 'drift' = any (v_lists) then sync_internal.open_to_public() else '[]' end,
    'next', v_next);
end
$$;

revoke all on function public.get_run(jsonb) from public, anon, authenticated;
grant execute on function public.get_run(jsonb) to service_role;

-- PostgREST learns of new functions.
notify pgrst, 'reload schema';
