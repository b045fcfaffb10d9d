-- Progress is published by a way of its own: whoever changes a run is told whether to ask for a publication, and one publisher per
-- location takes the newest state.
--
-- Functions of the version before go on without publishing: they find no `publication` in an answer, and take a missing one for
-- none. A run of theirs that is under way is published by the new ones.

alter table public.sync_locations
  add column if not exists publication_asked_at timestamptz,
  add column if not exists publication_seq bigint,
  add column if not exists publication_begins_at timestamptz,
  add column if not exists last_words jsonb;

alter table public.sync_runs
  drop column if exists granted_at,
  drop column if exists granted_state;

drop function if exists public.grant_publication(jsonb);
drop function if exists public.list_connections(jsonb);
drop function if exists sync_internal.grant_for_batch(text, jsonb);
drop function if exists sync_internal.grant_publication(text, uuid);

-- A function may call one that comes after it.
set check_function_bodies = off;

CREATE OR REPLACE FUNCTION public.take_rest(request jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SET search_path TO ''
 SET lock_timeout TO '5s'
 SET jit TO 'off'
AS $function$
declare
  v_location text := sync_internal.location(request);
  v_run public.sync_runs;
  v_due boolean := false;
begin
  select * into v_run from public.sync_runs
  where run_id = (sync_internal.required(request, 'run_id'))::uuid and location_id = v_location for update;
  if found and v_run.kind = 'retry' and v_run.state = 'Syncing' and not v_run.listing_complete then
    perform sync_internal.take_rest(v_run.run_id);
    perform sync_internal.finish_if_complete(v_run.run_id);
  end if;
  v_due := sync_internal.ask_publication(v_location, v_run.run_id);
  select * into v_run from public.sync_runs where run_id = v_run.run_id;
  return jsonb_build_object('run', sync_internal.run_json(v_run), 'publication_due', v_due);
end
$function$;

CREATE OR REPLACE FUNCTION public.cancel_run(request jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SET search_path TO ''
 SET lock_timeout TO '5s'
 SET jit TO 'off'
AS $function$
declare
  v_location text := sync_internal.location(request);
  v_run public.sync_runs;
  v_cancelled boolean;
  v_due boolean := false;
begin
  select * into v_run from public.sync_runs where location_id = v_location and state = 'Syncing' for update;
  if not found then
    return jsonb_build_object('cancelled', false, 'run', null, 'publication_due', false);
  end if;
  v_cancelled := sync_internal.break_off(v_run.run_id, 'Cancelled', null, null, request ->> 'requested_by');
  v_due := sync_internal.ask_publication(v_location, v_run.run_id);
  select * into v_run from public.sync_runs where run_id = v_run.run_id;
  return jsonb_build_object('cancelled', v_cancelled, 'run', sync_internal.run_json(v_run), 'publication_due', v_due);
end
$function$;

CREATE OR REPLACE FUNCTION sync_internal.ask_for_batch(p_location text, elements jsonb)
 RETURNS boolean
 LANGUAGE sql
AS $function$
  select sync_internal.ask_publication(p_location, (
    select r.run_id from public.sync_runs r
    where r.location_id = p_location
      and r.run_id in (select (e ->> 'run_id')::uuid from jsonb_array_elements(elements) as e)
    order by r.started_at desc limit 1))
$function$;

CREATE OR REPLACE FUNCTION sync_internal.ask_publication(p_location text, p_run uuid)
 RETURNS boolean
 LANGUAGE plpgsql
AS $function$
declare
  v_run public.sync_runs;
  v_now timestamptz;
begin
  select * into v_run from public.sync_runs where run_id = p_run and location_id = p_location for update;
  if not found or not sync_internal.has_news(v_run) or not sync_internal.speaks(v_run) then
    return false;
  end if;
  v_now := clock_timestamp();
  update public.sync_locations as l set publication_asked_at = v_now
  where l.location_id = p_location and not sync_internal.is_publishing(l, v_now)
    and (l.publication_asked_at is null or l.publication_asked_at <= v_now - interval '2 seconds');
  return found;
end
$function$;

CREATE OR REPLACE FUNCTION sync_internal.begin_publication(p_location text, p_run uuid)
 RETURNS jsonb
 LANGUAGE plpgsql
AS $function$
declare
  v_run public.sync_runs;
  v_place public.sync_locations;
  v_now timestamptz;
  v_interval interval := '0';
  v_begins_at timestamptz;
begin
  select * into v_place from public.sync_locations where location_id = p_location for update;
  select * into v_run from public.sync_runs where run_id = p_run and location_id = p_location;
  v_now := clock_timestamp();
  -- A newer run speaks for the location: its start has asked for a publication of its own.
  if sync_internal.is_publishing(v_place, v_now)
    or (v_place.last_words is null and not coalesce(sync_internal.speaks(v_run), false)) then
    return sync_internal.publication_json(p_location, null, null, v_now, v_now);
  end if;
  if v_place.last_words is null and not sync_internal.has_news(v_run) then
    update public.sync_locations set publication_asked_at = null
    where location_id = p_location and publication_asked_at is not null;
    return sync_internal.publication_json(p_location, null, null, v_now, v_now);
  end if;

  if v_place.last_words is null and v_run.state is not distinct from v_run.announced_state then
    v_interval := sync_internal.milliseconds(v_run.publish_interval_ms);
  end if;
  -- Never longer than the interval, whatever became of the clock.
  v_begins_at := least(greatest(v_now, v_place.publication_begins_at + v_interval), v_now + v_interval);
  update public.sync_locations
  set seq = seq + 4, publication_seq = seq + 1, publication_begins_at = v_begins_at, publication_asked_at = null
  where location_id = p_location
  returning * into v_place;
  if v_place.last_words is null then
    update public.sync_runs set granted_version = version, granted_seq = v_place.publication_seq
    where run_id = p_run returning * into v_run;
  end if;
  return sync_internal.publication_json(p_location, v_place.publication_seq,
    coalesce(v_place.last_words, sync_internal.run_json(v_run)), v_now, v_begins_at);
end
$function$;

CREATE OR REPLACE FUNCTION sync_internal.publication_json(p_location text, p_seq bigint, p_run jsonb, p_now timestamp with time zone, p_begins_at timestamp with time zone)
 RETURNS jsonb
 LANGUAGE sql
AS $function$
  select case when p_run is null
    then jsonb_build_object('publication', null, 'wait_ms', 0, 'connection_ids', jsonb_build_array())
    else jsonb_build_object(
      'publication', jsonb_build_object('location_id', p_location, 'seq_first', p_seq, 'run', p_run),
      'wait_ms', ceil(extract(epoch from p_begins_at - p_now) * 1000)::int,
      'connection_ids', sync_internal.open_connections(p_location)) end
$function$;

CREATE OR REPLACE FUNCTION sync_internal.newest_run(p_location text)
 RETURNS uuid
 LANGUAGE sql
AS $function$
  select run_id from public.sync_runs
  where location_id = p_location and state <> 'Skipped'
  order by started_at desc, run_id desc limit 1
$function$;

CREATE OR REPLACE FUNCTION sync_internal.speaks(p_run public.sync_runs)
 RETURNS boolean
 LANGUAGE sql
AS $function$
  select p_run.state <> 'Skipped' and not exists (
    select from public.sync_runs n
    where n.location_id = p_run.location_id and n.state <> 'Skipped'
      and (n.started_at, n.run_id) > (p_run.started_at, p_run.run_id))
$function$;

CREATE OR REPLACE FUNCTION sync_internal.has_news(p_run public.sync_runs)
 RETURNS boolean
 LANGUAGE sql
 IMMUTABLE
AS $function$
  select p_run.state is distinct from p_run.announced_state
    or (not sync_internal.is_final(p_run.state)
      and (p_run.version > p_run.granted_version or p_run.granted_seq > p_run.published_seq))
$function$;

CREATE OR REPLACE FUNCTION sync_internal.is_publishing(p_place public.sync_locations, p_now timestamp with time zone)
 RETURNS boolean
 LANGUAGE sql
 IMMUTABLE
AS $function$
  select p_place.publication_seq is not null and p_place.publication_begins_at > p_now - interval '15 seconds'
$function$;

CREATE OR REPLACE FUNCTION sync_internal.open_connections(p_location text)
 RETURNS jsonb
 LANGUAGE sql
AS $function$
  select coalesce(jsonb_agg(connection_id order by connection_id), '[]') from public.sync_connections
  where location_id = p_location and (expires_at is null or expires_at > clock_timestamp())
$function$;

revoke all on function sync_internal.ask_for_batch(text, jsonb) from public, anon, authenticated, service_role;
grant execute on function sync_internal.ask_for_batch(text, jsonb) to service_role;

revoke all on function sync_internal.ask_publication(text, uuid) from public, anon, authenticated, service_role;
grant execute on function sync_internal.ask_publication(text, uuid) to service_role;

revoke all on function sync_internal.begin_publication(text, uuid) from public, anon, authenticated, service_role;
grant execute on function sync_internal.begin_publication(text, uuid) to service_role;

revoke all on function sync_internal.has_news(public.sync_runs) from public, anon, authenticated, service_role;
grant execute on function sync_internal.has_news(public.sync_runs) to service_role;

revoke all on function sync_internal.is_publishing(public.sync_locations, timestamp with time zone) from public, anon, authenticated, service_role;
grant execute on function sync_internal.is_publishing(public.sync_locations, timestamp with time zone) to service_role;

revoke all on function sync_internal.newest_run(text) from public, anon, authenticated, service_role;
grant execute on function sync_internal.newest_run(text) to service_role;

revoke all on function sync_internal.open_connections(text) from public, anon, authenticated, service_role;
grant execute on function sync_internal.open_connections(text) to service_role;

revoke all on function sync_internal.publication_json(text, bigint, jsonb, timestamp with time zone, timestamp with time zone) from public, anon, authenticated, service_role;
grant execute on function sync_internal.publication_json(text, bigint, jsonb, timestamp with time zone, timestamp with time zone) to service_role;

revoke all on function sync_internal.speaks(public.sync_runs) from public, anon, authenticated, service_role;
grant execute on function sync_internal.speaks(public.sync_runs) to service_role;

revoke all on function public.take_rest(jsonb) from public, anon, authenticated, service_role;
grant execute on function public.take_rest(jsonb) to service_role;

-- PostgREST learns of new functions.
notify pgrst, 'reload schema';
