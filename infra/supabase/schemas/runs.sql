-- A run's life: started once, kept alive by numbered pulses, ended by its last outcome, an error, or a person. Decided here:
-- whether a location can start a run now, which pulse counts, and which orders a retry takes.
-- How a run ends by its last outcome stands in outcomes.sql.

-- Starts a run, or tells why not: one is running or cooling down, the day's budget is short, or there is nothing to retry.
-- A retry without order_ids takes what failed in the run `retry_of` and, if that run broke off, what it didn't attempt. If it
-- broke off before its listing was complete, nobody knows the rest: then a new run of its kind starts.
-- request: {location_id, kind, requested_by, cooldown_ms, lease_ms, publish_interval_ms, order_ids?, retry_of?,
--   daily_reserve?, full_run_within_hours?}
--   -> {started: true, run, pulse, publication_due} | {started: false, reason, run, retry_after_seconds, publication_due?}
-- The end of the run before, if it isn't published yet, is published before the new run.
-- A scheduled incremental run becomes a full one if the last full one couldn't start when it was due, or is too long ago.
-- Locks: the advisory lock 'start', the newest run, the location's row, older runs not announced, the new run.
create or replace function public.start_run(request jsonb) returns jsonb
language plpgsql set search_path = '' set lock_timeout = '5s' set jit = off
as $$
declare
  v_location text := sync_internal.location(request);
  v_kind text := sync_internal.required(request, 'kind');
  v_retry_of uuid := (request ->> 'retry_of')::uuid;
  v_ids text[] := sync_internal.texts(request -> 'order_ids');
  v_run public.sync_runs;
  v_old public.sync_runs;
  v_due boolean := false;
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
    v_due := sync_internal.ask_publication(v_location, v_run.run_id);
  end if;
  if v_kind = 'incremental' and request ->> 'requested_by' = 'schedule' and sync_internal.owes_full_run(v_location, (request ->> 'full_run_within_hours')::int)
    and not sync_internal.lacks_daily_budget(v_location, 'full', (request ->> 'daily_reserve')::int) then
    v_kind := 'full';
  end if;
  if sync_internal.lacks_daily_budget(v_location, v_kind, (request ->> 'daily_reserve')::int) then
    return sync_internal.not_started('daily_budget', v_run) || jsonb_build_object('publication_due', v_due);
  end if;

  if v_kind = 'retry' then
    select * into v_old from public.sync_runs where run_id = v_retry_of and location_id = v_location;
    if v_retry_of is not null and not found then
      return sync_internal.not_started('unknown_run', null) || jsonb_build_object('publication_due', v_due);
    end if;
    if cardinality(v_ids) = 0 and not v_old.listing_complete then
      -- A retry that broke off while it took orders is begun again, as any other kind.
      v_kind := v_old.kind;
      v_retry_of := coalesce(v_old.retry_of, v_retry_of);
    end if;
    if v_kind = 'retry' and cardinality(v_ids) = 0 and not sync_internal.has_rest(v_retry_of) then
      return sync_internal.not_started('nothing_to_retry', v_old) || jsonb_build_object('publication_due', v_due);
    end if;
  end if;

  -- From now on the new run speaks for the location. The end of the one before is published first; whatever else there was left
  -- to say, nobody waits for it.
  update public.sync_locations as l set last_words = sync_internal.run_json(r)
  from public.sync_runs r
  where l.location_id = v_location and r.run_id = v_run.run_id and r.announced_state is distinct from r.state;
  update public.sync_runs set announced_state = state
  where location_id = v_location and announced_state is distinct from state and sync_internal.is_final(state);

  v_now := clock_timestamp();
  insert into public.sync_runs (
    location_id, kind, state, requested_by, retry_of, cooldown_ms, lease_ms, publish_interval_ms,
    started_at, last_progress_at, known_deficit)
  values (
    v_location, v_kind, 'Syncing', request ->> 'requested_by', v_retry_of,
    coalesce((request ->> 'cooldown_ms')::bigint, 30000), coalesce((request ->> 'lease_ms')::bigint, 1800000),
    coalesce((request ->> 'publish_interval_ms')::bigint, 250), v_now, v_now, sync_internal.known_deficit(v_location))
  returning * into v_run;

  if v_kind = 'retry' and cardinality(v_ids) > 0 then
    insert into public.sync_outcomes (run_id, order_id)
    select distinct v_run.run_id, id from unnest(v_ids) as id;
    update public.sync_runs
    set listed = (select count(*) from public.sync_outcomes where run_id = v_run.run_id),
      total_count = (select count(*) from public.sync_outcomes where run_id = v_run.run_id), listing_complete = true
    where run_id = v_run.run_id;
  elsif v_kind = 'retry' then
    update public.sync_runs as r
    set total_count = old.failed + sync_internal.not_attempted(old)
    from public.sync_runs old
    where r.run_id = v_run.run_id and old.run_id = v_retry_of;
    perform sync_internal.take_rest(v_run.run_id);
  end if;
  select * into v_run from public.sync_runs where run_id = v_run.run_id;
  return jsonb_build_object('started', true, 'run', sync_internal.run_json(v_run), 'pulse', v_run.pulse + 1,
    'publication_due', sync_internal.ask_publication(v_location, v_run.run_id) or v_due);
end
$$;

revoke all on function public.start_run(jsonb) from public, anon, authenticated;
grant execute on function public.start_run(jsonb) to service_role;

-- Whether a retry of the run would take an order.
create or replace function sync_internal.has_rest(p_run uuid) returns boolean
language sql stable
as $$
  select exists (select from public.sync_outcomes where run_id = p_run and outcome = 'failed')
    -- Two questions, since there is an index for each.
    or exists (select from public.sync_outcomes where run_id = p_run and outcome is null and dispatched_at is null)
    or exists (select from public.sync_outcomes where run_id = p_run and outcome is null and dispatched_at is not null)
$$;

revoke all on function sync_internal.has_rest(uuid) from public, anon, authenticated;
grant execute on function sync_internal.has_rest(uuid) to service_role;

-- Goes on with a retry's orders, where start_run left off.
-- request: {location_id, run_id} -> {run, publication_due}; the run's listing is complete once all are taken.
-- Locks: the run, the location's row.
create or replace function public.take_rest(request jsonb) returns jsonb
language plpgsql set search_path = '' set lock_timeout = '5s' set jit = off
as $$
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
$$;

revoke all on function public.take_rest(jsonb) from public, anon, authenticated;
grant execute on function public.take_rest(jsonb) to service_role;

-- Takes what failed in the run that this retry repeats, and what that run didn't attempt: of its next 10,000 outcomes, so that no
-- statement grows with the run. The caller holds the run's row lock.
create or replace function sync_internal.take_rest(p_run uuid) returns void
language plpgsql
as $$
declare
  v_portion constant int := 10000;
  v_run public.sync_runs;
begin
  select * into v_run from public.sync_runs where run_id = p_run;
  -- By variables, so that no more than the portion is read: joined to the run's row, all of the old run's outcomes would be.
  with portion as materialized (
    select order_id, outcome from public.sync_outcomes
    where run_id = v_run.retry_of and order_id > coalesce(v_run.taken_until, '')
    order by order_id limit v_portion
  ), taken as (
    insert into public.sync_outcomes (run_id, order_id)
    select p_run, order_id from portion where outcome is null or outcome = 'failed' order by order_id
    on conflict do nothing
    returning 1
  )
  update public.sync_runs as r
  set listed = r.listed + (select count(*) from taken),
    taken_until = coalesce((select max(order_id) from portion), r.taken_until),
    listing_complete = (select count(*) < v_portion from portion),
    version = r.version + 1, last_progress_at = clock_timestamp()
  where r.run_id = p_run;
end
$$;

revoke all on function sync_internal.take_rest(uuid) from public, anon, authenticated;
grant execute on function sync_internal.take_rest(uuid) to service_role;

-- By how many orders the last complete listing fell short of GHL's count: if the next one does so as well, GHL miscounts.
create or replace function sync_internal.known_deficit(p_location text) returns int
language sql stable
as $$
  select coalesce((
    select r.listing_deficit from public.sync_runs r
    where r.location_id = p_location and r.listing_complete and r.listing_deficit is not null
    order by r.started_at desc, r.run_id desc limit 1), 0)
$$;

revoke all on function sync_internal.known_deficit(text) from public, anon, authenticated;
grant execute on function sync_internal.known_deficit(text) to service_role;

-- Why the location can't start a run now; null if it can. Ends a run whose time is over on the way: the clock counts,
-- whatever the state column still says.
-- The caller holds the run's row lock.
create or replace function sync_internal.why_busy(p_run public.sync_runs) returns text
language plpgsql
as $$
begin
  perform sync_internal.end_if_lease_expired(p_run.run_id);
  perform sync_internal.end_cooldown(p_run.run_id);
  return (select case state when 'Syncing' then 'running' when 'Delay' then 'cooldown' end
    from public.sync_runs where run_id = p_run.run_id);
end
$$;

revoke all on function sync_internal.why_busy(public.sync_runs) from public, anon, authenticated;
grant execute on function sync_internal.why_busy(public.sync_runs) to service_role;

-- What start_run answers when it starts nothing, with the time after which another try makes sense.
create or replace function sync_internal.not_started(p_reason text, p_run public.sync_runs) returns jsonb
language sql volatile
as $$
  select jsonb_build_object('started', false, 'reason', p_reason, 'run', sync_internal.run_json(p_run),
    'retry_after_seconds', case p_reason
      when 'cooldown' then greatest(ceil(extract(epoch from p_run.cooldown_until - clock_timestamp())), 1)::int
      -- Nobody knows when a run ends; its cool-down follows in any case.
      when 'running' then greatest(ceil(p_run.cooldown_ms / 1000.0), 1)::int
      else 0 end)
$$;

revoke all on function sync_internal.not_started(text, public.sync_runs) from public, anon, authenticated;
grant execute on function sync_internal.not_started(text, public.sync_runs) to service_role;

-- Whether the calls that a run will probably make are over half of the day's remaining budget, less the reserve. Used for
-- scheduled starts only: a person may spend what is left. If GHL has sent no budget for six hours, the answer is that there is
-- enough: it isn't known when GHL's day ends, so a start now and then has to find out.
-- The estimate, from the last complete listing: listed / 45 calls for pages, because a page of 100 shares 10 rows with the one
-- before (so 90 are new), and an incremental run may list every order twice, once among the refunded ones; 10 for the product
-- list and the last pages; one call per order and 1/100 for its transactions in a full run, and one for 2 % of the orders in an
-- incremental one.
create or replace function sync_internal.lacks_daily_budget(p_location text, p_kind text, p_reserve int) returns boolean
language sql stable
as $$
  select coalesce((
    -- Pages of 100 overlap by 10; a listing of refunds, of products, and a few changed orders come on top.
    select 10 + n.listed / 45.0 + case when p_kind = 'full' then n.listed * 1.01 else n.listed * 0.02 end
      > greatest(l.daily_remaining - p_reserve, 0) / 2.0
    from public.sync_limiter l
    cross join lateral (
      select r.listed from public.sync_runs r
      where r.location_id = p_location and r.listing_complete and r.kind in ('full', 'incremental')
        and r.state in ('Delay', 'Completed')
      order by r.started_at desc limit 1
    ) as n
    where l.location_id = p_location and l.daily_observed_at > clock_timestamp() - interval '6 hours'
      and p_reserve is not null
  ), false)
$$;

revoke all on function sync_internal.lacks_daily_budget(text, text, int) from public, anon, authenticated;
grant execute on function sync_internal.lacks_daily_budget(text, text, int) to service_role;

-- Whether the schedule's last full run wasn't started, and none was under way then or started since; or whether the last one started
-- more than p_within_hours ago, as after an outage at the time of the schedule. A location without full runs owes none.
create or replace function sync_internal.owes_full_run(p_location text, p_within_hours int) returns boolean
language sql stable
as $$
  with made as (
    select started_at, coalesce(cooldown_until, ended_at, 'infinity') as busy_until from public.sync_runs
    where location_id = p_location and kind = 'full' and state <> 'Skipped'
  ), missed as (
    select max(started_at) as at from public.sync_runs
    where location_id = p_location and kind = 'full' and state = 'Skipped'
  )
  select (missed.at is not null and not exists (select from made where made.busy_until >= missed.at))
    or coalesce((select max(made.started_at) from made) < clock_timestamp() - make_interval(hours => p_within_hours), false)
  from missed
$$;

revoke all on function sync_internal.owes_full_run(text, int) from public, anon, authenticated;
grant execute on function sync_internal.owes_full_run(text, int) to service_role;

-- A scheduled start that was not made, so that the list of runs says why.
-- request: {location_id, kind, reason} -> {}
-- Locks nothing but the row it adds.
create or replace function public.skip_run(request jsonb) returns jsonb
language plpgsql set search_path = '' set lock_timeout = '5s' set jit = off
as $$
declare
  v_location text := sync_internal.location(request);
begin
  insert into public.sync_runs (
    location_id, kind, state, requested_by, ended_at, listing_complete, error_code, error_message, announced_state)
  values (v_location, sync_internal.required(request, 'kind'), 'Skipped', 'schedule', clock_timestamp(), true,
    'skipped', request ->> 'reason', 'Skipped');
  return '{}';
end
$$;

revoke all on function public.skip_run(jsonb) from public, anon, authenticated;
grant execute on function public.skip_run(jsonb) to service_role;

-- Compare-and-set on the pulse's number: a redelivered older pulse dies here, so a run never has two chains of pulses.
-- Also ends a run whose lease or cool-down is over.
-- request: {location_id, run_id, pulse, claim_ms, dispatch?} -> {accepted, run, publication_due, dispatch}
-- `dispatch`: as in dispatch_besides, once the listing is complete; before, there is more to record first.
-- Locks: the run, its outcomes and the limiter's row if it dispatches, the location's row.
create or replace function public.begin_pulse(request jsonb) returns jsonb
language plpgsql set search_path = '' set lock_timeout = '5s' set jit = off
as $$
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
$$;

revoke all on function public.begin_pulse(jsonb) from public, anon, authenticated;
grant execute on function public.begin_pulse(jsonb) to service_role;

-- Whether a run has anything left to do: it isn't over, its end isn't published, or its listing's conclusions aren't all drawn.
create or replace function sync_internal.needs_pulses(p_run public.sync_runs) returns boolean
language sql immutable
as $$
  select not sync_internal.is_final(p_run.state) or p_run.announced_state is distinct from p_run.state
    or sync_internal.is_comparing(p_run)
    or (p_run.state = 'Completed' and p_run.valid_list is not null and not p_run.valid_list ? 'done')
$$;

revoke all on function sync_internal.needs_pulses(public.sync_runs) from public, anon, authenticated;
grant execute on function sync_internal.needs_pulses(public.sync_runs) to service_role;

-- Ends a run that made no progress for as long as its lease allows. The caller holds the run's row lock.
create or replace function sync_internal.end_if_lease_expired(p_run uuid) returns void
language plpgsql
as $$
begin
  if exists (
    select from public.sync_runs
    where run_id = p_run and state = 'Syncing'
      and last_progress_at + sync_internal.milliseconds(lease_ms) <= clock_timestamp()
  ) then
    perform sync_internal.break_off(p_run, 'Error', 'lease_expired', 'The run made no progress for too long and was ended');
  end if;
end
$$;

revoke all on function sync_internal.end_if_lease_expired(uuid) from public, anon, authenticated;
grant execute on function sync_internal.end_if_lease_expired(uuid) to service_role;

-- Completes a run whose cool-down is over. The caller holds the run's row lock.
create or replace function sync_internal.end_cooldown(p_run uuid) returns void
language sql
as $$
  update public.sync_runs set state = 'Completed', version = version + 1
  where run_id = p_run and state = 'Delay' and cooldown_until <= clock_timestamp()
$$;

revoke all on function sync_internal.end_cooldown(uuid) from public, anon, authenticated;
grant execute on function sync_internal.end_cooldown(uuid) to service_role;

-- Ends a run before its last outcome, on account of an error or because it was cancelled. If it is on account of a pulse that
-- failed for good, `dead_pulse` is its number (null: not known): a run that has had another since goes on.
-- request: {location_id, run_id, state: "Error"|"Cancelled", code, message, dead_pulse?, pulse_lost_after_ms?}
--   -> {ended, run, publication_due}
-- Locks: the run, the location's row.
create or replace function public.end_run(request jsonb) returns jsonb
language plpgsql set search_path = '' set lock_timeout = '5s' set jit = off
as $$
declare
  v_location text := sync_internal.location(request);
  v_run public.sync_runs;
  v_ended boolean := false;
  v_due boolean := false;
begin
  if sync_internal.required(request, 'state') not in ('Error', 'Cancelled') then
    raise exception 'a run can only be ended as Error or Cancelled' using errcode = '22023';
  end if;
  select * into v_run from public.sync_runs
  where run_id = (sync_internal.required(request, 'run_id'))::uuid and location_id = v_location for update;
  if found and not (request ? 'dead_pulse' and sync_internal.lives_after(v_run, (request ->> 'dead_pulse')::bigint,
    sync_internal.milliseconds(coalesce((request ->> 'pulse_lost_after_ms')::numeric, 30000)))) then
    v_ended := sync_internal.break_off(v_run.run_id, request ->> 'state', request ->> 'code', request ->> 'message');
    v_due := sync_internal.ask_publication(v_location, v_run.run_id);
    if v_ended and request ->> 'code' = 'ghl_unauthorized' then
      perform sync_internal.note_ghl_refused(v_location);
    end if;
    select * into v_run from public.sync_runs where run_id = v_run.run_id;
  end if;
  return jsonb_build_object('ended', v_ended, 'run', sync_internal.run_json(v_run), 'publication_due', v_due);
end
$$;

revoke all on function public.end_run(jsonb) from public, anon, authenticated;
grant execute on function public.end_run(jsonb) to service_role;

-- Whether a run has a pulse of its own after one that failed for good: a later number, or a sign of life within p_lost_after (a pulse
-- that had to wait for the database has a number that the run never reached).
create or replace function sync_internal.lives_after(
  p_run public.sync_runs, p_dead_pulse bigint, p_lost_after interval
) returns boolean
language sql volatile
as $$
  select coalesce(p_run.pulse > p_dead_pulse, false)
    or coalesce(p_run.last_pulse_at > clock_timestamp() - p_lost_after, false)
$$;

revoke all on function sync_internal.lives_after(public.sync_runs, bigint, interval) from public, anon, authenticated;
grant execute on function sync_internal.lives_after(public.sync_runs, bigint, interval) to service_role;

-- Cancels whatever run of the location is syncing, for somebody who doesn't know its id.
-- request: {location_id, requested_by} -> {cancelled, run|null, publication_due}
-- Locks: the run, the location's row.
create or replace function public.cancel_run(request jsonb) returns jsonb
language plpgsql set search_path = '' set lock_timeout = '5s' set jit = off
as $$
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
$$;

revoke all on function public.cancel_run(jsonb) from public, anon, authenticated;
grant execute on function public.cancel_run(jsonb) to service_role;

-- Leaves Syncing by Error or Cancelled. What is still open was not attempted: that follows from the run's state (not_attempted)
-- and isn't written, since there may be a million of them. The caller holds the run's row lock. True if it was this call that
-- ended it.
create or replace function sync_internal.break_off(
  p_run uuid, p_state text, p_code text, p_message text, p_by text default null
) returns boolean
language plpgsql
as $$
begin
  update public.sync_runs
  set state = p_state, ended_at = clock_timestamp(), version = version + 1,
    error_code = p_code, error_message = p_message, cancelled_by = p_by
  where run_id = p_run and state = 'Syncing';
  return found;
end
$$;

revoke all on function sync_internal.break_off(uuid, text, text, text, text) from public, anon, authenticated;
grant execute on function sync_internal.break_off(uuid, text, text, text, text) to service_role;

-- How many orders a run that broke off left without an outcome.
create or replace function sync_internal.not_attempted(p_run public.sync_runs) returns int
language sql immutable
as $$
  select case when p_run.state in ('Error', 'Cancelled')
    then p_run.listed - p_run.synced - p_run.failed - p_run.skipped else 0 end
$$;

revoke all on function sync_internal.not_attempted(public.sync_runs) from public, anon, authenticated;
grant execute on function sync_internal.not_attempted(public.sync_runs) to service_role;

-- Whether a run stays in this state for good.
create or replace function sync_internal.is_final(state text) returns boolean
language sql immutable
as $$
  select state in ('Completed', 'Error', 'Cancelled', 'Skipped')
$$;

revoke all on function sync_internal.is_final(text) from public, anon, authenticated;
grant execute on function sync_internal.is_final(text) to service_role;

-- A run as callers get it, null if there is none; with the database's time, since callers' clocks differ.
create or replace function sync_internal.run_json(r public.sync_runs) returns jsonb
language sql volatile
as $$
  select case when r.run_id is not null then jsonb_build_object(
    'run_id', r.run_id, 'location_id', r.location_id, 'kind', r.kind, 'state', r.state,
    'started_at', r.started_at, 'ended_at', r.ended_at, 'cooldown_until', r.cooldown_until,
    'listing', r.listing, 'listing_complete', r.listing_complete, 'total_count', r.total_count,
    'known_deficit', r.known_deficit, 'listing_short', r.listing_short, 'comparing', sync_internal.is_comparing(r),
    'transactions', r.transactions, 'valid_list', r.valid_list,
    'listed', r.listed, 'synced', r.synced, 'failed', r.failed, 'skipped', r.skipped, 'unchanged', r.unchanged,
    'not_attempted', sync_internal.not_attempted(r),
    'tickets_total', r.tickets_total, 'tickets_checked', r.tickets_checked, 'ticket_types', r.ticket_types,
    'tickets_added', r.tickets_added, 'tickets_reinstated', r.tickets_reinstated,
    'tickets_cancelled', r.tickets_cancelled, 'drift_orders', r.drift_orders,
    'error_code', r.error_code, 'error_message', r.error_message,
    'requested_by', r.requested_by, 'cancelled_by', r.cancelled_by, 'retry_of', r.retry_of,
    'pulse', r.pulse, 'last_pulse_at', r.last_pulse_at, 'last_progress_at', r.last_progress_at,
    'announced_state', r.announced_state, 'now', clock_timestamp()
  ) end
$$;

revoke all on function sync_internal.run_json(public.sync_runs) from public, anon, authenticated;
grant execute on function sync_internal.run_json(public.sync_runs) to service_role;
