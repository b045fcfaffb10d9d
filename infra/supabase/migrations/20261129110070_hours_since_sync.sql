-- The watch tells how long ago runs completed, for the alarms.
--
-- Functions of the version before don't ask.

CREATE OR REPLACE FUNCTION public.hours_since_sync(request jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SET search_path TO ''
 SET lock_timeout TO '5s'
 SET jit TO 'off'
AS $function$
declare
  v_location text := sync_internal.location(request);
  v_now timestamptz := clock_timestamp();
  -- Of a location that nothing was called for yet nothing is late.
  v_known timestamptz := coalesce((select created_at from public.sync_locations where location_id = v_location), v_now);
  v_running text;
  v_full timestamptz := sync_internal.completed_at(v_location, '{full}');
  v_any timestamptz := sync_internal.completed_at(v_location, '{full,incremental}');
begin
  select kind into v_running from public.sync_runs
  where location_id = v_location and state = 'Syncing'
    and last_progress_at > v_now - make_interval(secs => lease_ms / 1000.0);
  if v_running is not null then
    v_any := v_now;
  end if;
  if v_running = 'full' then
    v_full := v_now;
  end if;
  return jsonb_build_object(
    'sync', extract(epoch from v_now - greatest(v_any, v_known)) / 3600,
    'full_sync', extract(epoch from v_now - greatest(v_full, v_known)) / 3600);
end
$function$;

revoke all on function public.hours_since_sync(jsonb) from public, anon, authenticated, service_role;
grant execute on function public.hours_since_sync(jsonb) to service_role;

-- PostgREST learns of new functions.
notify pgrst, 'reload schema';
