-- What dashboards see of a run, and which caller publishes it. A caller that has changed the run asks for a publication. It is
-- granted to one caller at a time, with sequence numbers by which a dashboard drops frames that aren't newer than its last one.

-- The current or newest run, and whether its pulse was lost.
-- request: {location_id, next_seq, pulse_lost_after_ms?} -> {seq, run|null, needs_pulse, pulse, limiter_late_ms}
-- Locks: the location's row if next_seq is set, otherwise nothing.
create or replace function public.sync_snapshot(request jsonb) returns jsonb
language plpgsql set search_path = '' set lock_timeout = '5s' set jit = off
as $$
declare
  v_location text := sync_internal.location(request);
  v_run public.sync_runs;
  v_seq bigint;
begin
  -- The number before the run: a snapshot must not stand above frames that tell of something newer.
  if coalesce((request ->> 'next_seq')::boolean, false) then
    update public.sync_locations set seq = seq + 1 where location_id = v_location returning seq into v_seq;
  else
    select seq into v_seq from public.sync_locations where location_id = v_location;
  end if;
  select * into v_run from public.sync_runs
  where location_id = v_location and state <> 'Skipped'
  order by started_at desc, run_id desc limit 1;

  return jsonb_build_object(
    'seq', v_seq,
    'run', sync_internal.run_json(v_run),
    'needs_pulse', coalesce(
      sync_internal.needs_pulses(v_run)
      and coalesce(v_run.last_pulse_at, v_run.started_at) < clock_timestamp()
        - sync_internal.milliseconds(coalesce((request ->> 'pulse_lost_after_ms')::numeric, 30000)), false),
    'pulse', v_run.pulse + 1,
    -- For how long no grant of the rate limit has come in time to be used.
    'limiter_late_ms', (
      select sync_internal.late_ms(l, clock_timestamp()) from public.sync_limiter l where l.location_id = v_location));
end
$$;

revoke all on function public.sync_snapshot(jsonb) from public, anon, authenticated;
grant execute on function public.sync_snapshot(jsonb) to service_role;

-- A publication for a caller that changed nothing itself, if one is due.
-- request: {location_id, run_id} -> {publication}
-- Locks: the run, then the location's row.
create or replace function public.grant_publication(request jsonb) returns jsonb
language plpgsql set search_path = '' set lock_timeout = '5s' set jit = off
as $$
declare
  v_location text := sync_internal.location(request);
begin
  return jsonb_build_object('publication', sync_internal.grant_publication(
    v_location, (sync_internal.required(request, 'run_id'))::uuid));
end
$$;

revoke all on function public.grant_publication(jsonb) from public, anon, authenticated;
grant execute on function public.grant_publication(jsonb) to service_role;

-- The publication after a batch, which may name several runs (by a late message of an older one): that of the newest run.
-- Locks that run, then the location's row.
create or replace function sync_internal.grant_for_batch(p_location text, elements jsonb) returns jsonb
language sql
as $$
  select sync_internal.grant_publication(p_location, (
    select r.run_id from public.sync_runs r
    where r.location_id = p_location
      and r.run_id in (select (e ->> 'run_id')::uuid from jsonb_array_elements(elements) as e)
    order by r.started_at desc limit 1))
$$;

revoke all on function sync_internal.grant_for_batch(text, jsonb) from public, anon, authenticated;
grant execute on function sync_internal.grant_for_batch(text, jsonb) to service_role;

-- Grants the caller a publication of the run, or returns null. In positive words, a publication is granted if the run is the
-- location's newest one (skipped starts aside) and one of these holds:
--   * The run's state isn't confirmed as published yet (state <> announced_state), and
--       - this state was not granted to anybody yet, or
--       - the newest grant was confirmed already (so it was of another state), or
--       - the newest grant was lost: it was not confirmed within 2 s, as when its worker died.
--     So a change of state is granted at once, and to one caller.
--   * The state is published, the run isn't final, publish_interval_ms have passed since the newest grant, and
--       - the run has changed since that grant (version > granted_version), or
--       - that grant was lost (as above).
--     So progress is granted once per interval, and only if there is any.
-- v_unheard is "never granted, or lost". The caller has seq_first to seq_first + 3: four numbers, one for each of the four
-- events (FRAMES_PER_PUBLICATION in shared/domain). The counter moves by 4 at once, so the first number is its new value less 3.
-- Locks the run, then the location's row.
create or replace function sync_internal.grant_publication(p_location text, p_run uuid) returns jsonb
language plpgsql
as $$
declare
  v_run public.sync_runs;
  v_now timestamptz := clock_timestamp();
  v_unheard boolean;
  v_seq bigint;
begin
  select * into v_run from public.sync_runs where run_id = p_run and location_id = p_location for update;
  -- A newer run speaks for the location: late words of an older one would put it back on the screen.
  if not found or v_run.state = 'Skipped' or exists (
    select from public.sync_runs n
    where n.location_id = p_location and n.state <> 'Skipped'
      and (n.started_at, n.run_id) > (v_run.started_at, v_run.run_id)
  ) then
    return null;
  end if;

  v_unheard := v_run.granted_at is null
    or (v_run.granted_seq > v_run.published_seq and v_run.granted_at <= v_now - interval '2 seconds');
  if v_run.state is distinct from v_run.announced_state then
    if v_run.granted_state is not distinct from v_run.state and not v_unheard
      and not (v_run.granted_seq <= v_run.published_seq) then
      return null;
    end if;
  elsif sync_internal.is_final(v_run.state)
    or not (v_unheard or v_run.version > v_run.granted_version)
    or v_run.granted_at > v_now - sync_internal.milliseconds(v_run.publish_interval_ms) then
    return null;
  end if;

  update public.sync_locations set seq = seq + 4 where location_id = p_location returning seq into v_seq;
  update public.sync_runs
  set granted_version = version, granted_at = v_now, granted_state = state, granted_seq = v_seq - 3
  where run_id = p_run
  returning * into v_run;
  return jsonb_build_object('location_id', p_location, 'seq_first', v_seq - 3, 'run', sync_internal.run_json(v_run));
end
$$;

revoke all on function sync_internal.grant_publication(text, uuid) from public, anon, authenticated;
grant execute on function sync_internal.grant_publication(text, uuid) to service_role;

-- Confirms that a publication was published. A late confirmation never lowers the number or the state.
-- request: {location_id, run_id, seq, state} -> {}
-- Locks: the run.
create or replace function public.confirm_publication(request jsonb) returns jsonb
language plpgsql set search_path = '' set lock_timeout = '5s' set jit = off
as $$
declare
  v_location text := sync_internal.location(request);
begin
  update public.sync_runs
  set published_seq = greatest(published_seq, (sync_internal.required(request, 'seq'))::bigint),
    announced_state = case
      when sync_internal.state_rank(request ->> 'state') >= coalesce(sync_internal.state_rank(announced_state), 0)
        then request ->> 'state'
      else announced_state end
  where run_id = (sync_internal.required(request, 'run_id'))::uuid and location_id = v_location;
  return '{}';
end
$$;

revoke all on function public.confirm_publication(jsonb) from public, anon, authenticated;
grant execute on function public.confirm_publication(jsonb) to service_role;

-- Raises the counter of sequence numbers to a published one that is above it: after the database was restored from a backup it
-- would count again what dashboards and the status document have seen already, and be ignored by them.
-- request: {location_id, seq} -> {raised}
-- Locks: the location's row.
create or replace function public.raise_seq(request jsonb) returns jsonb
language plpgsql set search_path = '' set lock_timeout = '5s' set jit = off
as $$
declare
  v_location text := sync_internal.location(request);
  v_seq bigint := (sync_internal.required(request, 'seq'))::bigint;
begin
  -- Browsers count exactly up to 2^53: what is above was never ours.
  update public.sync_locations set seq = v_seq
  where location_id = v_location and seq < v_seq and v_seq < 9007199254740992;
  return jsonb_build_object('raised', found);
end
$$;

revoke all on function public.raise_seq(jsonb) from public, anon, authenticated;
grant execute on function public.raise_seq(jsonb) to service_role;

-- The order of the states of a run: a late confirmation of an earlier state doesn't replace a later one.
create or replace function sync_internal.state_rank(state text) returns int
language sql immutable
as $$
  select case when state = 'Syncing' then 1 when state = 'Delay' then 2 when sync_internal.is_final(state) then 3 end
$$;

revoke all on function sync_internal.state_rank(text) from public, anon, authenticated;
grant execute on function sync_internal.state_rank(text) to service_role;
