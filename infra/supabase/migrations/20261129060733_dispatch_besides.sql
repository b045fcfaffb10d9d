-- What claims a pulse or records pages dispatches in the same call: a third fewer calls of the database while a run waits for the limit.
--
-- Runs of the version before that are under way go on: it asks for nothing besides.

-- A function may call one that comes after it.
set check_function_bodies = off;

CREATE OR REPLACE FUNCTION public.begin_pulse(request jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SET search_path TO ''
 SET lock_timeout TO '5s'
 SET jit TO 'off'
AS $function$
declare
  v_location text := sync_internal.location(request);
  v_pulse bigint := (sync_internal.required(request, 'pulse'))::bigint;
  v_run public.sync_runs;
  v_now timestamptz;
  v_due boolean := false;
  v_dispatch jsonb;
begin
  select * into v_run from public.sync_runs
  where run_id = (sync_internal.required(request, 'run_id'))::uuid and location_id = v_location for update;
  v_now := clock_timestamp();
  if not found
    or v_pulse < v_run.pulse
    or (v_pulse = v_run.pulse and v_run.claimed_until > v_now)
    or not sync_internal.needs_pulses(v_run) then
    return jsonb_build_object('accepted', false, 'run', sync_internal.run_json(v_run), 'publication_due', false);
  end if;

  update public.sync_runs
  set pulse = v_pulse, last_pulse_at = v_now,
    claimed_until = v_now + sync_internal.milliseconds(coalesce((request ->> 'claim_ms')::numeric, 0))
  where run_id = v_run.run_id;
  perform sync_internal.end_if_lease_expired(v_run.run_id);
  perform sync_internal.end_cooldown(v_run.run_id);
  if v_run.listing_complete then
    v_dispatch := sync_internal.dispatch_besides(request);
  end if;

  v_due := sync_internal.ask_publication(v_location, v_run.run_id);
  select * into v_run from public.sync_runs where run_id = v_run.run_id;
  return jsonb_build_object(
    'accepted', true, 'run', sync_internal.run_json(v_run), 'publication_due', v_due, 'dispatch', v_dispatch);
end
$function$;

CREATE OR REPLACE FUNCTION sync_internal.dispatch_besides(request jsonb)
 RETURNS jsonb
 LANGUAGE sql
AS $function$
  select public.dispatch_orders((request -> 'dispatch')
    || jsonb_build_object('location_id', request -> 'location_id', 'run_id', request -> 'run_id'))
  where jsonb_typeof(request -> 'dispatch') = 'object'
$function$;

revoke all on function sync_internal.dispatch_besides(jsonb) from public, anon, authenticated, service_role;
grant execute on function sync_internal.dispatch_besides(jsonb) to service_role;

-- PostgREST learns of new functions.
notify pgrst, 'reload schema';
