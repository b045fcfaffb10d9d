-- What the public key still reaches is told to an operator, on the page, and with the drift in a run's report: by one rule, whoever asks.

-- A function may call one that comes after it.
set check_function_bodies = off;

CREATE OR REPLACE FUNCTION sync_internal.open_relations()
 RETURNS TABLE(name name, reads boolean, writes boolean)
 LANGUAGE sql
 STABLE
AS $function$
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
$function$;

CREATE OR REPLACE FUNCTION sync_internal.open_tables()
 RETURNS jsonb
 LANGUAGE sql
 STABLE
AS $function$
  select coalesce(jsonb_agg(jsonb_build_object('table', o.name, 'reads', o.reads, 'writes', o.writes) order by o.name), '[]')
  from sync_internal.open_relations() o
  where o.name in ('ghl_qr_orders', 'ghl_qr_tickets')
$function$;

CREATE OR REPLACE FUNCTION public.open_to_public(request jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SET search_path TO ''
 SET lock_timeout TO '5s'
 SET jit TO 'off'
AS $function$
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
$function$;

CREATE OR REPLACE FUNCTION public.get_run(request jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SET search_path TO ''
 SET lock_timeout TO '5s'
 SET jit TO 'off'
AS $function$
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
    -- Whatever changed the tickets beside us may have come by the public key.
    'open', case when 'drift' = any (v_lists)
      then jsonb_path_query_array(sync_internal.open_tables(), '$[*] ? (@.writes == true).table') else '[]' end,
    'next', v_next);
end
$function$;

revoke all on function sync_internal.open_relations() from public, anon, authenticated, service_role;
grant execute on function sync_internal.open_relations() to service_role;

revoke all on function sync_internal.open_tables() from public, anon, authenticated;
grant execute on function sync_internal.open_tables() to service_role;

revoke all on function public.open_to_public(jsonb) from public, anon, authenticated;
grant execute on function public.open_to_public(jsonb) to service_role;

-- PostgREST learns of new functions.
notify pgrst, 'reload schema';
