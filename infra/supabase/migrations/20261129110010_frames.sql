-- What frames tell: when GHL's limit will have let a run's calls pass, and how many orders it has from its first frame on.
--
-- The version before goes on with it: it asks for nothing new, and what it is told beside the old it doesn't read.

-- A function may call one that comes after it.
set check_function_bodies = off;

alter table public.sync_limiter add column if not exists max_calls int;
alter table public.sync_limiter add column if not exists window_ms int;
alter table public.sync_runs add column if not exists expected_orders int;
alter table public.sync_runs add column if not exists announced_count boolean not null default false;

drop function if exists sync_internal.begin_publication(text, uuid);

create or replace function public.acquire_slots(request jsonb) returns jsonb
language plpgsql set search_path = '' set lock_timeout = '5s' set jit = off
as $$
declare
  v_location text := sync_internal.location(request);
  v_is_bulk boolean := sync_internal.required(request, 'lane') = 'bulk';
  v_id uuid := nullif(request ->> 'id', '')::uuid;
  v_wanted int := greatest(coalesce((request ->> 'wanted')::int, 0), 0);
  v_window_ms numeric := (sync_internal.required(request -> 'limits', 'window_ms'))::numeric;
  v_margin_ms numeric := greatest(coalesce((request -> 'limits' ->> 'margin_ms')::numeric, 0), 0);
  v_limiter public.sync_limiter;
  v_now timestamptz;
  v_max int;
  v_run record;
  v_is_nearly_done boolean;
  v_budget text;
  v_place int;
  v_granted int;
  v_granted_at timestamptz;
  v_again_at timestamptz;
begin
  v_limiter := sync_internal.lock_limiter(v_location, v_window_ms);
  v_now := v_limiter.last_at;
  v_granted_at := v_now;
  v_limiter := sync_internal.note_lateness(v_limiter, (request ->> 'late')::boolean, v_now);
  v_limiter := sync_internal.observe(
    v_limiter, coalesce(nullif(request -> 'observed', 'null'), '{}'), v_window_ms, v_margin_ms);

  v_max := greatest(coalesce(v_limiter.learned_max, (sync_internal.required(request -> 'limits', 'max'))::int), 1);
  v_limiter.max_calls := v_max;
  v_budget := sync_internal.budget(v_limiter, v_is_bulk, (request -> 'limits' ->> 'daily_reserve')::numeric);
  select * into v_run from sync_internal.work_of_run(v_location, (request ->> 'run_id')::uuid);
  if v_run.state <> 'Syncing' then
    v_wanted := 0;
  end if;
  v_is_nearly_done := coalesce((request ->> 'remaining')::numeric, v_run.remaining) < 2 * v_max;

  select g.place into v_place
  from unnest(v_limiter.grant_ids, v_limiter.grant_ends) with ordinality as g (id, ends, place)
  where g.id = v_id and g.ends > v_now;
  if v_place is not null and v_wanted > 0 then
    v_granted := v_limiter.grant_calls[v_place];
    v_granted_at := v_limiter.grant_times[v_place];
  elsif v_wanted > 0 then
    select (array_agg(s.calls order by s.at))[1], min(s.at) filter (where s.calls > 0) into v_granted, v_again_at
    from sync_internal.free_slots(v_limiter, v_is_bulk, v_window_ms, v_max, v_is_nearly_done) as s;
    v_granted := least(v_granted, v_wanted);
    if v_limiter.closed_until > v_now or v_budget = 'exhausted' then
      v_granted := 0;
    elsif v_budget = 'one asks' then
      v_granted := least(v_granted, 1);
    end if;
    if v_granted > 0 then
      v_limiter.grant_ids := v_limiter.grant_ids || v_id;
      v_limiter.grant_is_bulk := v_limiter.grant_is_bulk || v_is_bulk;
      v_limiter.grant_calls := v_limiter.grant_calls || v_granted;
      v_limiter.grant_is_handed_back := v_limiter.grant_is_handed_back || false;
      v_limiter.grant_times := v_limiter.grant_times || v_now;
      v_limiter.grant_ends := v_limiter.grant_ends || v_now + sync_internal.milliseconds(v_margin_ms + v_window_ms);
      v_limiter := sync_internal.no_longer_awaited(v_limiter, (request ->> 'dispatched_at_ms')::numeric, v_granted);
      v_again_at := null;
    end if;
  else
    v_granted := 0;
  end if;
  if v_granted < v_wanted and v_again_at is null then
    select min(s.at) into v_again_at
    from sync_internal.free_slots(v_limiter, v_is_bulk, v_window_ms, v_max, v_is_nearly_done) as s where s.calls > 0;
  end if;
  v_again_at := case when v_granted < v_wanted then greatest(v_again_at, v_limiter.closed_until) end;

  -- Of webhooks all that they want, since more of them may follow; of a run what it didn't get.
  v_limiter := sync_internal.note_asked(
    v_limiter, v_id, v_is_bulk, case when v_is_bulk then v_wanted - v_granted else v_wanted end, v_again_at, v_window_ms);
  perform sync_internal.store_limiter(v_limiter);

  return jsonb_build_object(
    'granted', v_granted,
    'granted_at', v_granted_at,
    'wait_ms', case when v_granted >= v_wanted then 0 else greatest(sync_internal.until_ms(v_now, v_again_at), 1) end,
    'daily_remaining', case when v_limiter.daily_observed_at > v_now - interval '1 day' then v_limiter.daily_remaining end,
    'budget_exhausted', coalesce(v_budget = 'exhausted', false),
    'run_state', v_run.state,
    'late_ms', sync_internal.late_ms(v_limiter, v_now));
end
$$;

revoke all on function public.acquire_slots(jsonb) from public, anon, authenticated;
grant execute on function public.acquire_slots(jsonb) to service_role;

create or replace function sync_internal.lock_limiter(p_location text, p_window_ms numeric) returns public.sync_limiter
language plpgsql
as $$
declare
  v_limiter public.sync_limiter;
  v_now timestamptz;
  v_window interval := sync_internal.milliseconds(p_window_ms);
begin
  select * into v_limiter from public.sync_limiter where location_id = p_location for update;
  if not found then
    insert into public.sync_limiter (location_id) values (p_location) on conflict do nothing;
    select * into v_limiter from public.sync_limiter where location_id = p_location for update;
  end if;
  -- Read after the lock, and never below the last one: a clock set back must not open a second window.
  v_now := greatest(clock_timestamp(), v_limiter.last_at);
  v_limiter.last_at := v_now;
  if v_window is not null then
    v_limiter.window_ms := p_window_ms;
    select coalesce(array_agg(g.id), '{}'), coalesce(array_agg(g.is_bulk), '{}'), coalesce(array_agg(g.calls), '{}'),
      coalesce(array_agg(g.is_handed_back), '{}'), coalesce(array_agg(g.at), '{}'), coalesce(array_agg(g.ends), '{}')
    into v_limiter.grant_ids, v_limiter.grant_is_bulk, v_limiter.grant_calls,
      v_limiter.grant_is_handed_back, v_limiter.grant_times, v_limiter.grant_ends
    from unnest(v_limiter.grant_ids, v_limiter.grant_is_bulk, v_limiter.grant_calls,
      v_limiter.grant_is_handed_back, v_limiter.grant_times, v_limiter.grant_ends)
      as g (id, is_bulk, calls, is_handed_back, at, ends)
    where g.ends + (g.ends - g.at) > v_now;
    select coalesce(array_agg(o.at), '{}'), coalesce(array_agg(o.calls), '{}')
    into v_limiter.others_times, v_limiter.others_calls
    from unnest(v_limiter.others_times, v_limiter.others_calls) as o (at, calls) where o.at + v_window * 2 > v_now;
    select coalesce(array_agg(a.id order by a.place), '{}'), coalesce(array_agg(a.is_bulk order by a.place), '{}'),
      coalesce(array_agg(a.calls order by a.place), '{}'), coalesce(array_agg(a.ends order by a.place), '{}')
    into v_limiter.asked_ids, v_limiter.asked_is_bulk, v_limiter.asked_calls, v_limiter.asked_ends
    from unnest(v_limiter.asked_ids, v_limiter.asked_is_bulk, v_limiter.asked_calls, v_limiter.asked_ends) with ordinality
      as a (id, is_bulk, calls, ends, place)
    where a.ends > v_now;
    select coalesce(array_agg(a.at), '{}'), coalesce(array_agg(a.calls), '{}'), coalesce(array_agg(a.ends), '{}')
    into v_limiter.awaited_times, v_limiter.awaited_calls, v_limiter.awaited_ends
    from unnest(v_limiter.awaited_times, v_limiter.awaited_calls, v_limiter.awaited_ends) as a (at, calls, ends)
    where a.ends > v_now and a.calls > 0;
  end if;
  return v_limiter;
end
$$;

revoke all on function sync_internal.lock_limiter(text, numeric) from public, anon, authenticated;
grant execute on function sync_internal.lock_limiter(text, numeric) to service_role;

create or replace function sync_internal.store_limiter(p_limiter public.sync_limiter) returns void
language plpgsql
as $$
begin
  update public.sync_limiter
  set learned_max = p_limiter.learned_max, last_at = p_limiter.last_at, closed_until = p_limiter.closed_until,
    grant_ids = p_limiter.grant_ids, grant_is_bulk = p_limiter.grant_is_bulk, grant_calls = p_limiter.grant_calls,
    grant_is_handed_back = p_limiter.grant_is_handed_back, grant_times = p_limiter.grant_times,
    grant_ends = p_limiter.grant_ends,
    others_times = p_limiter.others_times, others_calls = p_limiter.others_calls,
    asked_ids = p_limiter.asked_ids, asked_is_bulk = p_limiter.asked_is_bulk, asked_calls = p_limiter.asked_calls,
    asked_ends = p_limiter.asked_ends,
    awaited_times = p_limiter.awaited_times, awaited_calls = p_limiter.awaited_calls, awaited_ends = p_limiter.awaited_ends,
    waits_since = p_limiter.waits_since,
    daily_remaining = p_limiter.daily_remaining, daily_observed_at = p_limiter.daily_observed_at,
    late_since = p_limiter.late_since, late_at = p_limiter.late_at,
    max_calls = p_limiter.max_calls, window_ms = p_limiter.window_ms
  where location_id = p_limiter.location_id;
end
$$;

revoke all on function sync_internal.store_limiter(public.sync_limiter) from public, anon, authenticated;
grant execute on function sync_internal.store_limiter(public.sync_limiter) to service_role;

create or replace function sync_internal.outlook(p_run public.sync_runs) returns jsonb
language sql volatile
as $$
  select jsonb_build_object(
    'max', l.max_calls, 'window_ms', l.window_ms,
    'closed_ms', sync_internal.until_ms(t.now, l.closed_until),
    'asked', (
      select coalesce(sum(a.calls), 0) from unnest(l.asked_is_bulk, l.asked_calls, l.asked_ends) as a (is_bulk, calls, ends)
      where not a.is_bulk and a.ends > t.now),
    'awaited', (
      select coalesce(sum(a.calls), 0) from unnest(l.awaited_calls, l.awaited_ends) as a (calls, ends) where a.ends > t.now),
    'dispatched', (
      select count(*) from public.sync_outcomes o
      where o.run_id = p_run.run_id and o.outcome is null and o.dispatched_at is not null),
    'grants', (
      select coalesce(jsonb_agg(jsonb_build_object(
        'bulk', g.is_bulk, 'calls', g.calls, 'age_ms', g.age * 100, 'left_ms', g.remaining * 100)), '[]')
      from (
        select known.is_bulk, sum(known.calls) as calls,
          floor(extract(epoch from t.now - known.at) * 10)::bigint as age,
          ceil(extract(epoch from known.ends - t.now) * 10)::bigint as remaining
        from (
          select n.is_bulk, n.calls, n.at, n.ends
          from unnest(l.grant_is_bulk, l.grant_calls, l.grant_times, l.grant_ends) as n (is_bulk, calls, at, ends)
          union all
          select false, o.calls, o.at, o.at + sync_internal.milliseconds(l.window_ms)
          from unnest(l.others_times, l.others_calls) as o (at, calls)
        ) as known
        where known.calls > 0
        group by known.is_bulk, age, remaining
      ) as g))
  from public.sync_limiter l
  cross join (select clock_timestamp() as now) as t
  where l.location_id = p_run.location_id and p_run.state = 'Syncing' and l.max_calls is not null and l.window_ms is not null
$$;

revoke all on function sync_internal.outlook(public.sync_runs) from public, anon, authenticated;
grant execute on function sync_internal.outlook(public.sync_runs) to service_role;

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
    started_at, last_progress_at, known_deficit, expected_orders)
  values (
    v_location, v_kind, 'Syncing', request ->> 'requested_by', v_retry_of,
    coalesce((request ->> 'cooldown_ms')::bigint, 30000), coalesce((request ->> 'lease_ms')::bigint, 1800000),
    coalesce((request ->> 'publish_interval_ms')::bigint, 250), v_now, v_now, sync_internal.known_deficit(v_location),
    sync_internal.expected_orders(v_location, v_kind))
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

create or replace function sync_internal.expected_orders(p_location text, p_kind text) returns int
language sql stable
as $$
  select r.listed - r.skipped from public.sync_runs r
  where r.location_id = p_location and p_kind <> 'retry' and r.kind <> 'retry' and r.listing_complete
    and r.state in ('Delay', 'Completed')
  order by r.started_at desc, r.run_id desc limit 1
$$;

revoke all on function sync_internal.expected_orders(text, text) from public, anon, authenticated;
grant execute on function sync_internal.expected_orders(text, text) to service_role;

create or replace function sync_internal.run_json(r public.sync_runs) returns jsonb
language sql volatile
as $$
  select case when r.run_id is not null then jsonb_build_object(
    'run_id', r.run_id, 'location_id', r.location_id, 'kind', r.kind, 'state', r.state,
    'started_at', r.started_at, 'ended_at', r.ended_at, 'cooldown_until', r.cooldown_until,
    'listing', r.listing, 'listing_complete', r.listing_complete, 'total_count', r.total_count,
    'known_deficit', r.known_deficit, 'expected_orders', r.expected_orders, 'listing_short', r.listing_short,
    'comparing', sync_internal.is_comparing(r),
    'transactions', r.transactions, 'valid_list', r.valid_list,
    'listed', r.listed, 'synced', r.synced, 'failed', r.failed, 'skipped', r.skipped, 'unchanged', r.unchanged,
    'not_attempted', sync_internal.not_attempted(r),
    'tickets_total', r.tickets_total, 'tickets_checked', r.tickets_checked, 'ticket_types', r.ticket_types,
    'tickets_added', r.tickets_added, 'tickets_reinstated', r.tickets_reinstated,
    'tickets_cancelled', r.tickets_cancelled, 'drift_orders', r.drift_orders,
    'error_code', r.error_code, 'error_message', r.error_message,
    'requested_by', r.requested_by, 'cancelled_by', r.cancelled_by, 'retry_of', r.retry_of,
    'pulse', r.pulse, 'last_pulse_at', r.last_pulse_at, 'last_progress_at', r.last_progress_at,
    'announced_state', r.announced_state, 'announced_count', r.announced_count, 'now', clock_timestamp()
  ) end
$$;

revoke all on function sync_internal.run_json(public.sync_runs) from public, anon, authenticated;
grant execute on function sync_internal.run_json(public.sync_runs) to service_role;

revoke all on function public.sync_snapshot(jsonb) from public, anon, authenticated;
grant execute on function public.sync_snapshot(jsonb) to service_role;

create or replace function public.begin_publication(request jsonb) returns jsonb
language plpgsql set search_path = '' set lock_timeout = '5s' set jit = off
as $$
declare
  v_location text := sync_internal.location(request);
  v_newest uuid := sync_internal.newest_run(v_location);
begin
  perform from public.sync_runs where run_id = v_newest for update;
  return sync_internal.begin_publication(v_location, v_newest, (request ->> 'count_within_ms')::numeric);
end
$$;

revoke all on function public.begin_publication(jsonb) from public, anon, authenticated;
grant execute on function public.begin_publication(jsonb) to service_role;

revoke all on function public.confirm_publication(jsonb) from public, anon, authenticated;
grant execute on function public.confirm_publication(jsonb) to service_role;

create or replace function sync_internal.begin_publication(p_location text, p_run uuid, p_count_within_ms numeric) returns jsonb
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

  -- The first words of a run tell how many orders there are, if that takes but a moment.
  if v_place.last_words is null and v_run.state = 'Syncing' and v_run.announced_state is null and v_run.total_count is null
    and not v_run.listing_complete and v_run.started_at > v_now - sync_internal.milliseconds(p_count_within_ms) then
    return sync_internal.publication_json(p_location, null, null, v_now, v_now + interval '200 milliseconds');
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
    coalesce(v_place.last_words, sync_internal.shown_run(v_run)), v_now, v_begins_at);
end
$$;

revoke all on function sync_internal.begin_publication(text, uuid, numeric) from public, anon, authenticated;
grant execute on function sync_internal.begin_publication(text, uuid, numeric) to service_role;

create or replace function sync_internal.shown_run(p_run public.sync_runs) returns jsonb
language sql volatile
as $$
  select sync_internal.run_json(p_run) || jsonb_build_object('outlook', sync_internal.outlook(p_run))
$$;

revoke all on function sync_internal.shown_run(public.sync_runs) from public, anon, authenticated;
grant execute on function sync_internal.shown_run(public.sync_runs) to service_role;

create or replace function sync_internal.publication_json(
  p_location text, p_seq bigint, p_run jsonb, p_now timestamptz, p_begins_at timestamptz
) returns jsonb
language sql volatile
as $$
  select case when p_run is null
    then jsonb_build_object('publication', null, 'connection_ids', jsonb_build_array())
    else jsonb_build_object(
      'publication', jsonb_build_object('location_id', p_location, 'seq_first', p_seq, 'run', p_run),
      'connection_ids', sync_internal.open_connections(p_location)) end
    || jsonb_build_object('wait_ms', ceil(extract(epoch from p_begins_at - p_now) * 1000)::int)
$$;

revoke all on function sync_internal.publication_json(text, bigint, jsonb, timestamptz, timestamptz) from public, anon, authenticated;
grant execute on function sync_internal.publication_json(text, bigint, jsonb, timestamptz, timestamptz) to service_role;
