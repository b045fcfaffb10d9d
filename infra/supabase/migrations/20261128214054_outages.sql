-- outages.

-- A function may call one that comes after it.
set check_function_bodies = off;

CREATE OR REPLACE FUNCTION public.plan_orders(request jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SET search_path TO ''
 SET lock_timeout TO '5s'
 SET jit TO 'off'
AS $function$
declare
  v_location text := sync_internal.location(request);
  v_claim interval := sync_internal.milliseconds(coalesce((request ->> 'claim_ms')::numeric, 0));
  v_ids text[];
  v_now timestamptz;
  v_served jsonb;
  v_due jsonb;
  v_busy jsonb;
begin
  select coalesce(array_agg(distinct o ->> 'order_id'), '{}') into v_ids
  from jsonb_array_elements(coalesce(nullif(request -> 'orders', 'null'), '[]')) as o;
  insert into public.sync_order_memory (location_id, order_id)
  select v_location, id from unnest(v_ids) as id order by id
  on conflict do nothing;
  perform from public.sync_order_memory
  where location_id = v_location and order_id = any (v_ids) order by order_id for update;
  v_now := clock_timestamp();

  with asked as (
    select o.order_id, max(o.sent_at) as sent_at, bool_and(coalesce(o.first_try, true)) as first_try,
      max(case when o.received_at is null then interval '2 seconds'
        else least(greatest(v_now - o.received_at, interval '0'), interval '2 seconds') end) as clock_error
    from jsonb_to_recordset(request -> 'orders') as o (
      order_id text, sent_at timestamptz, received_at timestamptz, first_try boolean)
    group by o.order_id
  ), judged as (
    select a.order_id,
      -- The queue's time is cut to whole milliseconds.
      m.acted_at > a.sent_at + interval '1 millisecond' + a.clock_error as is_served,
      -- A retry has waited long enough.
      a.first_try and m.claimed_until > v_now as is_busy
    from asked a
    join public.sync_order_memory m on m.location_id = v_location and m.order_id = a.order_id
  ), claimed as (
    update public.sync_order_memory as m set claimed_until = v_now + v_claim
    from judged j
    where m.location_id = v_location and m.order_id = j.order_id
      and not coalesce(j.is_served, false) and not coalesce(j.is_busy, false)
  )
  select coalesce(jsonb_agg(order_id order by order_id) filter (where is_served), '[]'),
    coalesce(jsonb_agg(order_id order by order_id) filter (where is_busy and not coalesce(is_served, false)), '[]')
  into v_served, v_busy
  from judged;
  select coalesce(jsonb_agg(order_id order by order_id), '[]') into v_due
  from public.ghl_qr_orders
  where order_id in (select jsonb_array_elements_text(v_served)) and tickets_due is not null;
  return jsonb_build_object('served', v_served, 'due', v_due, 'busy', v_busy, 'now', v_now);
end
$function$;

CREATE OR REPLACE FUNCTION public.start_run(request jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SET search_path TO ''
 SET lock_timeout TO '5s'
 SET jit TO 'off'
AS $function$
declare
  v_location text := sync_internal.location(request);
  v_kind text := sync_internal.required(request, 'kind');
  v_retry_of uuid := (request ->> 'retry_of')::uuid;
  v_ids text[] := sync_internal.texts(request -> 'order_ids');
  v_run public.sync_runs;
  v_finished jsonb;
  v_reason text;
  v_now timestamptz;
begin
  if v_kind not in ('full', 'incremental', 'valid_list', 'retry') then
    raise exception 'unknown kind of run: %', v_kind using errcode = '22023';
  end if;
  perform sync_internal.serialize('start', v_location);

  select * into v_run from public.sync_runs
  where location_id = v_location and state <> 'Skipped'
  order by started_at desc, run_id desc limit 1 for update;
  if found then
    v_reason := sync_internal.why_busy(v_run);
    if v_reason is not null then
      select * into v_run from public.sync_runs where run_id = v_run.run_id;
      return sync_internal.not_started(v_reason, v_run);
    end if;
    v_finished := sync_internal.grant_publication(v_location, v_run.run_id);
  end if;
  if v_kind = 'incremental' and request ->> 'requested_by' = 'schedule' and sync_internal.owes_full_run(v_location)
    and not sync_internal.lacks_daily_budget(v_location, 'full', (request ->> 'daily_reserve')::int) then
    v_kind := 'full';
  end if;
  if sync_internal.lacks_daily_budget(v_location, v_kind, (request ->> 'daily_reserve')::int) then
    return sync_internal.not_started('daily_budget', v_run) || jsonb_build_object('finished', v_finished);
  end if;

  if v_kind = 'retry' then
    select * into v_run from public.sync_runs where run_id = v_retry_of and location_id = v_location;
    if v_retry_of is not null and not found then
      return sync_internal.not_started('unknown_run', null);
    end if;
    if cardinality(v_ids) = 0 then
      select coalesce(array_agg(order_id), '{}') into v_ids
      from public.sync_outcomes where run_id = v_retry_of and outcome = 'failed';
    end if;
    if cardinality(v_ids) = 0 then
      return sync_internal.not_started('nothing_to_retry', v_run);
    end if;
  end if;

  -- From now on the new run speaks for the location: whatever the ones before had left to say, nobody waits for it.
  update public.sync_runs set announced_state = state
  where location_id = v_location and announced_state is distinct from state and sync_internal.is_final(state);

  v_now := clock_timestamp();
  insert into public.sync_runs (
    location_id, kind, state, requested_by, retry_of, cooldown_ms, lease_ms, publish_interval_ms,
    started_at, last_progress_at, listing_complete)
  values (
    v_location, v_kind, 'Syncing', request ->> 'requested_by', v_retry_of,
    coalesce((request ->> 'cooldown_ms')::bigint, 30000), coalesce((request ->> 'lease_ms')::bigint, 1800000),
    coalesce((request ->> 'publish_interval_ms')::bigint, 250), v_now, v_now, v_kind = 'retry')
  returning * into v_run;

  if v_kind = 'retry' then
    insert into public.sync_outcomes (run_id, order_id)
    select distinct v_run.run_id, id from unnest(v_ids) as id;
    update public.sync_runs
    set listed = (select count(*) from public.sync_outcomes where run_id = v_run.run_id),
      total_count = (select count(*) from public.sync_outcomes where run_id = v_run.run_id)
    where run_id = v_run.run_id
    returning * into v_run;
  end if;
  return jsonb_build_object(
    'started', true, 'run', sync_internal.run_json(v_run), 'pulse', v_run.pulse + 1, 'finished', v_finished);
end
$function$;

CREATE OR REPLACE FUNCTION sync_internal.owes_full_run(p_location text)
 RETURNS boolean
 LANGUAGE sql
 STABLE
AS $function$
  select coalesce((
    select state = 'Skipped' from public.sync_runs
    where location_id = p_location and kind = 'full'
    order by started_at desc, run_id desc limit 1), false)
$function$;

CREATE OR REPLACE FUNCTION public.end_run(request jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SET search_path TO ''
 SET lock_timeout TO '5s'
 SET jit TO 'off'
AS $function$
declare
  v_location text := sync_internal.location(request);
  v_run public.sync_runs;
  v_ended boolean := false;
  v_publication jsonb;
begin
  if sync_internal.required(request, 'state') not in ('Error', 'Cancelled') then
    raise exception 'a run can only be ended as Error or Cancelled' using errcode = '22023';
  end if;
  select * into v_run from public.sync_runs
  where run_id = (sync_internal.required(request, 'run_id'))::uuid and location_id = v_location for update;
  if found and not (request ? 'dead_pulse' and sync_internal.lives_after(v_run, (request ->> 'dead_pulse')::bigint,
    sync_internal.milliseconds(coalesce((request ->> 'pulse_lost_after_ms')::numeric, 30000)))) then
    v_ended := sync_internal.break_off(v_run.run_id, request ->> 'state', request ->> 'code', request ->> 'message');
    v_publication := sync_internal.grant_publication(v_location, v_run.run_id);
    select * into v_run from public.sync_runs where run_id = v_run.run_id;
  end if;
  return jsonb_build_object('ended', v_ended, 'run', sync_internal.run_json(v_run), 'publication', v_publication);
end
$function$;

CREATE OR REPLACE FUNCTION sync_internal.lives_after(p_run public.sync_runs, p_dead_pulse bigint, p_lost_after interval)
 RETURNS boolean
 LANGUAGE sql
AS $function$
  select coalesce(p_run.pulse > p_dead_pulse, p_run.last_pulse_at > clock_timestamp() - p_lost_after, false)
$function$;

CREATE OR REPLACE FUNCTION public.raise_seq(request jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SET search_path TO ''
 SET lock_timeout TO '5s'
 SET jit TO 'off'
AS $function$
declare
  v_location text := sync_internal.location(request);
  v_seq bigint := (sync_internal.required(request, 'seq'))::bigint;
begin
  -- Browsers count exactly up to 2^53: what is above was never ours.
  update public.sync_locations set seq = v_seq
  where location_id = v_location and seq < v_seq and v_seq < 9007199254740992;
  return jsonb_build_object('raised', found);
end
$function$;

revoke all on function public.raise_seq(jsonb) from public, anon, authenticated, service_role;
grant execute on function public.raise_seq(jsonb) to service_role;

revoke all on function sync_internal.lives_after(public.sync_runs, bigint, interval) from public, anon, authenticated, service_role;
grant execute on function sync_internal.lives_after(public.sync_runs, bigint, interval) to service_role;

revoke all on function sync_internal.owes_full_run(text) from public, anon, authenticated, service_role;
grant execute on function sync_internal.owes_full_run(text) to service_role;

-- PostgREST learns of new functions.
notify pgrst, 'reload schema';
