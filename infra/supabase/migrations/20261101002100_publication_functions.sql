-- What a dashboard sees of a run now, and who tells it.

-- request: {location_id, run_id} -> {publication}
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

-- The publication with these frames was sent. request: {location_id, run_id, seq, state}
-- A confirmation that comes late takes nothing back.
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

create or replace function sync_internal.state_rank(state text) returns int
language sql immutable
as $$
  select case when state = 'Syncing' then 1 when state = 'Delay' then 2 when sync_internal.is_final(state) then 3 end
$$;

-- The current or newest run, and whether its pulse was lost.
-- request: {location_id, next_seq, pulse_lost_after_ms?} -> {seq, run|null, needs_pulse, pulse, limiter_late_ms}
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
      (not sync_internal.is_final(v_run.state) or v_run.announced_state is distinct from v_run.state)
      and coalesce(v_run.last_pulse_at, v_run.started_at) < clock_timestamp()
        - sync_internal.milliseconds(coalesce((request ->> 'pulse_lost_after_ms')::numeric, 30000)), false),
    'pulse', v_run.pulse + 1,
    -- For how long no grant of the rate limit has come in time to be used.
    'limiter_late_ms', (
      select sync_internal.late_ms(l, clock_timestamp()) from public.sync_limiter l where l.location_id = v_location));
end
$$;
