-- What dashboards see of a run, and when it is published. Whoever changes a run is told by the same call whether to ask for a
-- publication (`publication_due`), by a message in the queue of runs: at most one is asked for or under way per location, and the
-- newest wins. A publication has sequence numbers by which a dashboard drops frames that aren't newer than its last one.

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

-- Begins a publication of the location's progress, unless one is under way (which looks again at its end) or nothing is new.
-- request: {location_id} -> {publication: {location_id, seq_first, run}|null, wait_ms, connection_ids}
-- `wait_ms`: what is left of the interval to the publication before. A change of state waits for nothing.
-- Locks: the newest run, then the location's row.
create or replace function public.begin_publication(request jsonb) returns jsonb
language plpgsql set search_path = '' set lock_timeout = '5s' set jit = off
as $$
declare
  v_location text := sync_internal.location(request);
  v_newest uuid := sync_internal.newest_run(v_location);
begin
  perform from public.sync_runs where run_id = v_newest for update;
  return sync_internal.begin_publication(v_location, v_newest);
end
$$;

revoke all on function public.begin_publication(jsonb) from public, anon, authenticated;
grant execute on function public.begin_publication(jsonb) to service_role;

-- Confirms that a publication was published, which is over with that. A late confirmation never lowers the number or the state.
-- `next`: the caller goes on with the next publication, if something is new by now; otherwise it is told whether to ask for one.
-- request: {location_id, run_id, seq, state, next?}
--   -> {publication: {location_id, seq_first, run}|null, wait_ms, connection_ids, ended} | {publication_due, ended}
-- `ended`: this publication was the first that told the end of its run. Only one is.
-- Locks: the run and the newest run by run_id, then the location's row.
create or replace function public.confirm_publication(request jsonb) returns jsonb
language plpgsql set search_path = '' set lock_timeout = '5s' set jit = off
as $$
declare
  v_location text := sync_internal.location(request);
  v_run uuid := (sync_internal.required(request, 'run_id'))::uuid;
  v_seq bigint := (sync_internal.required(request, 'seq'))::bigint;
  v_newest uuid := sync_internal.newest_run(v_location);
  v_ended boolean;
begin
  perform from public.sync_runs
  where location_id = v_location and run_id in (v_run, v_newest) order by run_id for update;
  v_ended := sync_internal.tells_end(v_location, v_run, request ->> 'state');
  update public.sync_runs
  set published_seq = greatest(published_seq, v_seq),
    announced_state = case
      when sync_internal.state_rank(request ->> 'state') >= coalesce(sync_internal.state_rank(announced_state), 0)
        then request ->> 'state'
      else announced_state end
  where run_id = v_run and location_id = v_location;
  -- It used up to four numbers from its first one on.
  update public.sync_locations
  set publication_seq = case when publication_seq between v_seq - 3 and v_seq then null else publication_seq end,
    last_words = case when last_words ->> 'run_id' = v_run::text and last_words ->> 'state' = request ->> 'state'
      then null else last_words end
  where location_id = v_location
    and (publication_seq between v_seq - 3 and v_seq or last_words ->> 'run_id' = v_run::text);

  if coalesce((request ->> 'next')::boolean, false) then
    return sync_internal.begin_publication(v_location, v_newest) || jsonb_build_object('ended', v_ended);
  end if;
  return jsonb_build_object('publication_due', sync_internal.ask_publication(v_location, v_newest), 'ended', v_ended);
end
$$;

revoke all on function public.confirm_publication(jsonb) from public, anon, authenticated;
grant execute on function public.confirm_publication(jsonb) to service_role;

-- Whether a publication that tells this state of a run is the first that tells of its end. Who starts the next run notes an end that
-- nobody was told of as announced, and keeps it as the last words of the run. The caller holds the run's row lock.
create or replace function sync_internal.tells_end(p_location text, p_run uuid, p_state text) returns boolean
language sql volatile
as $$
  select p_state <> 'Syncing' and (
    exists (
      select from public.sync_runs r
      where r.run_id = p_run and r.location_id = p_location and coalesce(r.announced_state, 'Syncing') = 'Syncing')
    or exists (
      select from public.sync_locations l
      where l.location_id = p_location and l.last_words ->> 'run_id' = p_run::text
        and coalesce(l.last_words ->> 'announced_state', 'Syncing') = 'Syncing'))
$$;

revoke all on function sync_internal.tells_end(text, uuid, text) from public, anon, authenticated;
grant execute on function sync_internal.tells_end(text, uuid, text) to service_role;

-- Gives up a publication that its publisher couldn't make, or the next one that a confirmation began whose answer was lost: who
-- asks then needn't wait until it counts as lost.
-- request: {location_id, seq_first} -> {confirmed}; `confirmed`: it was made, and only the answer to its confirmation was lost.
-- Locks: the location's row.
create or replace function public.give_up_publication(request jsonb) returns jsonb
language plpgsql set search_path = '' set lock_timeout = '5s' set jit = off
as $$
declare
  v_location text := sync_internal.location(request);
  v_seq bigint := (sync_internal.required(request, 'seq_first'))::bigint;
begin
  update public.sync_locations set publication_seq = null
  where location_id = v_location and publication_seq >= v_seq;
  -- Each number is given once, and a publication has four.
  return jsonb_build_object('confirmed', exists (
    select from public.sync_runs where location_id = v_location and published_seq between v_seq and v_seq + 3));
end
$$;

revoke all on function public.give_up_publication(jsonb) from public, anon, authenticated;
grant execute on function public.give_up_publication(jsonb) to service_role;

-- The request after a batch, which may name several runs (by a late message of an older one): for the newest of them.
-- Locks that run, then the location's row.
create or replace function sync_internal.ask_for_batch(p_location text, elements jsonb) returns boolean
language sql
as $$
  select sync_internal.ask_publication(p_location, (
    select r.run_id from public.sync_runs r
    where r.location_id = p_location
      and r.run_id in (select (e ->> 'run_id')::uuid from jsonb_array_elements(elements) as e)
    order by r.started_at desc limit 1))
$$;

revoke all on function sync_internal.ask_for_batch(text, jsonb) from public, anon, authenticated;
grant execute on function sync_internal.ask_for_batch(text, jsonb) to service_role;

-- Whether the caller, who has changed the run or looked at it, should ask for a publication now: something of the run is new, and
-- nobody has asked or publishes. Who was told so and doesn't ask, or asks in vain, is forgotten after 2 s.
-- Under the run's lock, and a publication begins and ends under it as well: so either its end sees the change, or this call sees
-- its end. The location's row is locked only if the answer is yes.
-- Locks the run, then the location's row.
create or replace function sync_internal.ask_publication(p_location text, p_run uuid) returns boolean
language plpgsql
as $$
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
$$;

revoke all on function sync_internal.ask_publication(text, uuid) from public, anon, authenticated;
grant execute on function sync_internal.ask_publication(text, uuid) to service_role;

-- Begins a publication of the newest run, or of what the run before it has still to say. It has seq_first to seq_first + 3: four
-- numbers (FRAMES_PER_PUBLICATION in shared/domain). The counter moves by 4 at once, so the first
-- number is its new value less 3. The caller holds the run's row lock. Locks the location's row.
create or replace function sync_internal.begin_publication(p_location text, p_run uuid) returns jsonb
language plpgsql
as $$
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
$$;

revoke all on function sync_internal.begin_publication(text, uuid) from public, anon, authenticated;
grant execute on function sync_internal.begin_publication(text, uuid) to service_role;

-- A publication as its publisher needs it; without a run there is none.
create or replace function sync_internal.publication_json(
  p_location text, p_seq bigint, p_run jsonb, p_now timestamptz, p_begins_at timestamptz
) returns jsonb
language sql volatile
as $$
  select case when p_run is null
    then jsonb_build_object('publication', null, 'wait_ms', 0, 'connection_ids', jsonb_build_array())
    else jsonb_build_object(
      'publication', jsonb_build_object('location_id', p_location, 'seq_first', p_seq, 'run', p_run),
      'wait_ms', ceil(extract(epoch from p_begins_at - p_now) * 1000)::int,
      'connection_ids', sync_internal.open_connections(p_location)) end
$$;

revoke all on function sync_internal.publication_json(text, bigint, jsonb, timestamptz, timestamptz) from public, anon, authenticated;
grant execute on function sync_internal.publication_json(text, bigint, jsonb, timestamptz, timestamptz) to service_role;

-- The location's current or newest run; skipped starts are none.
create or replace function sync_internal.newest_run(p_location text) returns uuid
language sql volatile
as $$
  select run_id from public.sync_runs
  where location_id = p_location and state <> 'Skipped'
  order by started_at desc, run_id desc limit 1
$$;

revoke all on function sync_internal.newest_run(text) from public, anon, authenticated;
grant execute on function sync_internal.newest_run(text) to service_role;

-- Whether the run speaks for its location, as the newest one does: late words of an older one would put it back on the screen.
create or replace function sync_internal.speaks(p_run public.sync_runs) returns boolean
language sql volatile
as $$
  select p_run.state <> 'Skipped' and not exists (
    select from public.sync_runs n
    where n.location_id = p_run.location_id and n.state <> 'Skipped'
      and (n.started_at, n.run_id) > (p_run.started_at, p_run.run_id))
$$;

revoke all on function sync_internal.speaks(public.sync_runs) from public, anon, authenticated;
grant execute on function sync_internal.speaks(public.sync_runs) to service_role;

-- Whether something of the run isn't published: its state, or, until it is over, its counts: they have changed since the newest
-- publication began, or that one was never confirmed.
create or replace function sync_internal.has_news(p_run public.sync_runs) returns boolean
language sql immutable
as $$
  select p_run.state is distinct from p_run.announced_state
    or (not sync_internal.is_final(p_run.state)
      and (p_run.version > p_run.granted_version or p_run.granted_seq > p_run.published_seq))
$$;

revoke all on function sync_internal.has_news(public.sync_runs) from public, anon, authenticated;
grant execute on function sync_internal.has_news(public.sync_runs) to service_role;

-- Whether a publication is under way: it was begun, and neither confirmed nor given up. After 15 s it counts as lost, as when its
-- worker died: a publication takes 10 s at most.
create or replace function sync_internal.is_publishing(p_place public.sync_locations, p_now timestamptz) returns boolean
language sql immutable
as $$
  select p_place.publication_seq is not null and p_place.publication_begins_at > p_now - interval '15 seconds'
$$;

revoke all on function sync_internal.is_publishing(public.sync_locations, timestamptz) from public, anon, authenticated;
grant execute on function sync_internal.is_publishing(public.sync_locations, timestamptz) to service_role;

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
