-- The shared rate limit. Grants only slots that are free now, never a reservation, so that a bulk caller can't push a
-- webhook back. The limiter's row is locked by nothing else. tests/limiter-model says the same rules in Rust.
--
-- A grant takes its slots until its calls can't be in GHL's window any more: until its caller's margin, within which they are
-- sent, and a window are over. So one caller's margin never shortens another's.
-- Lanes: bulk leaves webhooks two slots, or one more than they have lately asked for. Of what other apps leave it always keeps a
-- quarter. It takes at most a third of the maximum in a third of a window, so that slots become free often, unless its run is
-- nearly done.

-- Grants as many of the wanted calls to GHL as are free now, and tells how long to wait for one more. Asked again with the same
-- id it tells the same grant, less what was handed back.
-- request: {location_id, lane: "bulk"|"priority", wanted, id?, remaining?, run_id?,
--   limits: {max, window_ms, margin_ms, daily_reserve?},
--   observed?: {max?, remaining?, daily_remaining?, closed_for_ms?, age_ms?, took_ms?}, late?, dispatched_at_ms?}
--   -> {granted, granted_at, wait_ms, daily_remaining, budget_exhausted, run_state, late_ms}
-- `id` is a uuid, new for each ask. `remaining` tells how many calls the run has still to make; by default what its listing
-- has left. `dispatched_at_ms` tells which dispatched orders the calls are for: those granted aren't awaited any more. `late` tells whether the caller's last grant came too late to be used; `late_ms`, for how long none has come in time.
-- Locks: the limiter's row.
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

-- What could be granted from each moment on if nobody asked in between: the first is now, each later one is more than the one before.
create or replace function sync_internal.peek_slots(
  p_limiter public.sync_limiter, p_is_bulk boolean, p_window_ms numeric, p_max int, p_is_nearly_done boolean
) returns table (at timestamptz, calls int)
language sql
as $$
  with opened as (
    select greatest(f.at, p_limiter.closed_until, p_limiter.last_at) as at, max(f.calls) as calls
    from sync_internal.free_slots(p_limiter, p_is_bulk, p_window_ms, p_max, p_is_nearly_done) as f group by 1
    union all
    select p_limiter.last_at, 0 where p_limiter.closed_until > p_limiter.last_at
  ),
  steps as (
    select o.at, o.calls, max(o.calls) over (order by o.at rows between unbounded preceding and 1 preceding) as before
    from opened o
  )
  select s.at, s.calls from steps s where s.before is null or s.calls > s.before order by s.at
$$;

revoke all on function sync_internal.peek_slots(public.sync_limiter, boolean, numeric, int, boolean) from public, anon, authenticated;
grant execute on function sync_internal.peek_slots(public.sync_limiter, boolean, numeric, int, boolean) to service_role;

-- Takes so many calls off what is awaited of the orders that were dispatched then.
create or replace function sync_internal.no_longer_awaited(
  p_limiter public.sync_limiter, p_dispatched_at_ms numeric, p_calls int
) returns public.sync_limiter
language plpgsql
as $$
declare
  v_place int := array_position(p_limiter.awaited_times, sync_internal.from_epoch_ms(p_dispatched_at_ms));
begin
  if v_place is not null then
    p_limiter.awaited_calls[v_place] := greatest(p_limiter.awaited_calls[v_place] - p_calls, 0);
  end if;
  return p_limiter;
end
$$;

revoke all on function sync_internal.no_longer_awaited(public.sync_limiter, numeric, int) from public, anon, authenticated;
grant execute on function sync_internal.no_longer_awaited(public.sync_limiter, numeric, int) to service_role;

-- Frees calls of a grant that will never be sent: once for each grant, and only as long as it takes slots.
-- request: {location_id, id, unused} -> {handed_back}
-- Locks: the limiter's row.
create or replace function public.hand_back_slots(request jsonb) returns jsonb
language plpgsql set search_path = '' set lock_timeout = '5s' set jit = off
as $$
declare
  v_location text := sync_internal.location(request);
  v_id uuid := (sync_internal.required(request, 'id'))::uuid;
  v_unused int := (sync_internal.required(request, 'unused'))::int;
  v_limiter public.sync_limiter;
  v_place int;
begin
  v_limiter := sync_internal.lock_limiter(v_location, null);
  select g.place into v_place
  from unnest(v_limiter.grant_ids, v_limiter.grant_ends, v_limiter.grant_is_handed_back) with ordinality
    as g (id, ends, is_handed_back, place)
  where g.id = v_id and g.ends > v_limiter.last_at and not g.is_handed_back;
  if v_place is null or v_unused <= 0 then
    return jsonb_build_object('handed_back', 0);
  end if;
  v_unused := least(v_unused, v_limiter.grant_calls[v_place]);
  v_limiter.grant_calls[v_place] := v_limiter.grant_calls[v_place] - v_unused;
  v_limiter.grant_is_handed_back[v_place] := true;
  perform sync_internal.store_limiter(v_limiter);
  return jsonb_build_object('handed_back', v_unused);
end
$$;

revoke all on function public.hand_back_slots(jsonb) from public, anon, authenticated;
grant execute on function public.hand_back_slots(jsonb) to service_role;

-- The location's limiter, locked, with the time as `last_at`. What is too old is forgotten, if the window is given: grants are kept
-- for twice as long as they take slots, since GHL's counts may tell of them so late.
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

-- Writes what a function has made of the locked limiter.
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

-- How many calls a lane could be granted now, and from each moment on at which that may become more.
create or replace function sync_internal.free_slots(
  p_limiter public.sync_limiter, p_is_bulk boolean, p_window_ms numeric, p_max int, p_is_nearly_done boolean
) returns table (at timestamptz, calls int)
language plpgsql
as $$
declare
  v_now timestamptz := p_limiter.last_at;
  v_window interval := sync_internal.milliseconds(p_window_ms);
  v_third interval := sync_internal.milliseconds(floor(p_window_ms / 3));
begin
  return query
  -- What is there now, with the moment at which it goes: slots that are taken, by bulk, by bulk lately, by other apps, and what the
  -- other lane has asked for.
  with going as (
    select g.ends as at, g.calls as taken, case when g.is_bulk then g.calls else 0 end as bulk, 0 as lately, 0 as others,
      0 as asked
    from unnest(p_limiter.grant_is_bulk, p_limiter.grant_calls, p_limiter.grant_ends) as g (is_bulk, calls, ends)
    where g.ends > v_now
    union all
    select g.at + v_third, 0, 0, g.calls, 0, 0
    from unnest(p_limiter.grant_is_bulk, p_limiter.grant_calls, p_limiter.grant_times) as g (is_bulk, calls, at)
    where p_is_bulk and g.is_bulk and g.at + v_third > v_now
    union all
    select o.at + v_window, o.calls, 0, 0, o.calls, 0
    from unnest(p_limiter.others_times, p_limiter.others_calls) as o (at, calls) where o.at + v_window > v_now
    union all
    select a.ends, 0, 0, 0, 0, a.calls
    from unnest(p_limiter.asked_is_bulk, p_limiter.asked_calls, p_limiter.asked_ends) as a (is_bulk, calls, ends)
    where a.is_bulk <> p_is_bulk and a.ends > v_now
    union all
    select v_now, 0, 0, 0, 0, 0
  ),
  -- What is left of it from each moment on.
  remaining as (
    select g.at, (sum(sum(g.taken)) over w - sum(g.taken))::int as taken, (sum(sum(g.bulk)) over w - sum(g.bulk))::int as bulk,
      (sum(sum(g.lately)) over w - sum(g.lately))::int as lately,
      (sum(sum(g.others)) over w - sum(g.others))::int as others,
      (sum(sum(g.asked)) over w - sum(g.asked))::int as asked
    from going g group by g.at window w as (order by g.at desc)
  ),
  shares as (
    select r.*, p_max - r.taken as free, greatest(p_max - r.others, 0) / 4 as quarter from remaining r
  )
  select s.at, greatest(case
      when p_is_bulk then least(
        s.free,
        greatest(s.free - greatest(2, s.asked + 1), greatest(s.quarter, 1) - s.bulk),
        case when p_is_nearly_done then s.free else greatest(p_max / 3, 1) - s.lately end)
      else s.free - least(s.asked, greatest(s.quarter - s.bulk, 0))
    end, 0)
  from shares s order by s.at;
end
$$;

revoke all on function sync_internal.free_slots(public.sync_limiter, boolean, numeric, int, boolean) from public, anon, authenticated;
grant execute on function sync_internal.free_slots(public.sync_limiter, boolean, numeric, int, boolean) to service_role;

-- Remembers what was asked for until a fifth of a window after it could be granted: the other lane leaves it that much.
create or replace function sync_internal.note_asked(
  p_limiter public.sync_limiter, p_id uuid, p_is_bulk boolean, p_calls int, p_again_at timestamptz, p_window_ms numeric
) returns public.sync_limiter
language plpgsql
as $$
declare
  -- Of so many asks there are notes at most.
  v_most constant int := 100;
  v_place int := array_position(p_limiter.asked_ids, p_id);
begin
  if p_id is not null and v_place is not null then
    p_limiter.asked_ids := p_limiter.asked_ids[:v_place - 1] || p_limiter.asked_ids[v_place + 1:];
    p_limiter.asked_is_bulk := p_limiter.asked_is_bulk[:v_place - 1] || p_limiter.asked_is_bulk[v_place + 1:];
    p_limiter.asked_calls := p_limiter.asked_calls[:v_place - 1] || p_limiter.asked_calls[v_place + 1:];
    p_limiter.asked_ends := p_limiter.asked_ends[:v_place - 1] || p_limiter.asked_ends[v_place + 1:];
  end if;
  if p_calls > 0 then
    p_limiter.asked_ids := (p_limiter.asked_ids || p_id)[greatest(cardinality(p_limiter.asked_ids) + 2 - v_most, 1):];
    p_limiter.asked_is_bulk := (p_limiter.asked_is_bulk || p_is_bulk)[greatest(cardinality(p_limiter.asked_is_bulk) + 2 - v_most, 1):];
    p_limiter.asked_calls := (p_limiter.asked_calls || p_calls)[greatest(cardinality(p_limiter.asked_calls) + 2 - v_most, 1):];
    p_limiter.asked_ends := (p_limiter.asked_ends
      || greatest(p_again_at, p_limiter.last_at) + sync_internal.milliseconds(floor(p_window_ms / 5))
    )[greatest(cardinality(p_limiter.asked_ends) + 2 - v_most, 1):];
  end if;
  return p_limiter;
end
$$;

revoke all on function sync_internal.note_asked(public.sync_limiter, uuid, boolean, int, timestamptz, numeric) from public, anon, authenticated;
grant execute on function sync_internal.note_asked(public.sync_limiter, uuid, boolean, int, timestamptz, numeric) to service_role;

-- Whether a lane may use the day's budget: null, or 'exhausted', or 'one asks'. The budget is a day's: what was seen yesterday says
-- nothing. What is left below the reserve belongs to webhooks and single syncs. When GHL's day ends isn't known: now and then one
-- call asks.
create or replace function sync_internal.budget(p_limiter public.sync_limiter, p_is_bulk boolean, p_reserve numeric) returns text
language sql immutable
as $$
  select case when p_limiter.daily_observed_at > p_limiter.last_at - interval '10 minutes' then 'exhausted' else 'one asks' end
  where p_is_bulk and p_limiter.daily_observed_at > p_limiter.last_at - interval '1 day'
    and p_limiter.daily_remaining < p_reserve
$$;

revoke all on function sync_internal.budget(public.sync_limiter, boolean, numeric) from public, anon, authenticated;
grant execute on function sync_internal.budget(public.sync_limiter, boolean, numeric) to service_role;

-- The state of a run and how many orders it has left: while it lists, as many as GHL says there are; nulls without a run, and without
-- a number as long as GHL hasn't said any. A run we don't know is over, for whoever works for it.
create or replace function sync_internal.work_of_run(p_location text, p_run_id uuid, out state text, out remaining int)
language sql stable
as $$
  select coalesce(max(r.state), 'Cancelled'),
    max(greatest(r.listed, case when not r.listing_complete then r.total_count end) - r.synced - r.failed - r.skipped)
      filter (where r.listing_complete or r.total_count is not null)
  from public.sync_runs r where r.run_id = p_run_id and r.location_id = p_location
  having p_run_id is not null
$$;

revoke all on function sync_internal.work_of_run(text, uuid) from public, anon, authenticated;
grant execute on function sync_internal.work_of_run(text, uuid) to service_role;

-- What the limiter knows of when a syncing run's calls will pass, in milliseconds from now: `Outlook` in shared/domain makes the time left
-- of it. Null if the run isn't syncing, or nobody has asked the limiter yet. Grants of the same tenth of a second are one.
-- Locks nothing: whoever only looks on must not hold up the limiter.
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

-- Milliseconds until a moment, rounded up.
create or replace function sync_internal.until_ms(p_now timestamptz, p_at timestamptz) returns bigint
language sql immutable
as $$
  select greatest(ceil(extract(epoch from p_at - p_now) * 1000), 0)::bigint
$$;

revoke all on function sync_internal.until_ms(timestamptz, timestamptz) from public, anon, authenticated;
grant execute on function sync_internal.until_ms(timestamptz, timestamptz) to service_role;

-- Takes down whether a grant came too late. After a minute without any word the count begins anew.
create or replace function sync_internal.note_lateness(
  p_limiter public.sync_limiter, p_late boolean, p_now timestamptz
) returns public.sync_limiter
language plpgsql
as $$
begin
  if p_late then
    if p_limiter.late_since is null or p_limiter.late_at < p_now - interval '1 minute' then
      p_limiter.late_since := p_now;
    end if;
    p_limiter.late_at := p_now;
  elsif not p_late then
    p_limiter.late_since := null;
    p_limiter.late_at := null;
  end if;
  return p_limiter;
end
$$;

revoke all on function sync_internal.note_lateness(public.sync_limiter, boolean, timestamptz) from public, anon, authenticated;
grant execute on function sync_internal.note_lateness(public.sync_limiter, boolean, timestamptz) to service_role;

-- Applies what GHL's response headers said.
create or replace function sync_internal.observe(
  p_limiter public.sync_limiter, p_observed jsonb, p_window_ms numeric, p_margin_ms numeric
) returns public.sync_limiter
language plpgsql
as $$
declare
  v_now timestamptz := p_limiter.last_at;
  v_window interval := sync_internal.milliseconds(p_window_ms);
  v_seen_at timestamptz := v_now - sync_internal.milliseconds(coalesce((p_observed ->> 'age_ms')::numeric, 0));
  v_sent_at timestamptz := v_seen_at - sync_internal.milliseconds(coalesce((p_observed ->> 'took_ms')::numeric, 0));
  -- What the caller told was under way to here for half a margin.
  v_from timestamptz := v_sent_at - sync_internal.milliseconds(p_margin_ms);
  v_used int;
  v_known int;
begin
  -- Bounded, since a nonsensical header must not stop every call. What a worker heard a window ago may have changed since,
  -- unless nothing else is known.
  if (p_observed ->> 'max')::numeric > 0 and (p_limiter.learned_max is null or v_sent_at > v_now - v_window) then
    p_limiter.learned_max := least((p_observed ->> 'max')::numeric, 100000);
  end if;
  -- Workers tell what they saw with their next call: some have it from before others.
  if p_observed ->> 'daily_remaining' is not null
    and v_seen_at >= coalesce(p_limiter.daily_observed_at, '-infinity') then
    p_limiter.daily_remaining := least((p_observed ->> 'daily_remaining')::numeric, 2000000000);
    p_limiter.daily_observed_at := v_seen_at;
  end if;
  if (p_observed ->> 'closed_for_ms')::numeric > 0 then
    p_limiter.closed_until := greatest(
      p_limiter.closed_until, v_now + sync_internal.milliseconds((p_observed ->> 'closed_for_ms')::numeric));
  end if;

  -- A call sent a window ago tells nothing of this one.
  if p_observed ->> 'remaining' is null or p_limiter.learned_max is null or v_sent_at <= v_now - v_window then
    return p_limiter;
  end if;
  v_used := p_limiter.learned_max - least((p_observed ->> 'remaining')::numeric, p_limiter.learned_max);
  if p_observed ? 'age_ms' then
    -- GHL counted at some moment between the call's sending and its answer: at the one that explains most of it by calls
    -- that are known. A call may take longer than the window has left to run.
    select max(counted.calls) into v_known
    from (
      select sum(sum(change.calls)) over (order by greatest(change.at, v_from)) as calls
      from (
        select g.at, g.calls from unnest(p_limiter.grant_times, p_limiter.grant_calls) as g (at, calls)
        union all
        select g.ends, -g.calls from unnest(p_limiter.grant_ends, p_limiter.grant_calls) as g (ends, calls)
        union all
        select o.at, o.calls from unnest(p_limiter.others_times, p_limiter.others_calls) as o (at, calls)
        union all
        select o.at + v_window, -o.calls from unnest(p_limiter.others_times, p_limiter.others_calls) as o (at, calls)
      ) as change
      where change.at <= v_seen_at
      group by greatest(change.at, v_from)
    ) as counted;
  else
    -- Without its age it may be from any window: then all that is remembered explains it. Inventing calls of others would
    -- close the lane for a window.
    select sum(known.calls) into v_known
    from unnest(p_limiter.grant_calls || p_limiter.others_calls) as known (calls);
  end if;
  -- Upwards only: GHL counting fewer than we granted means calls still on their way.
  if v_used > coalesce(v_known, 0) then
    p_limiter.others_times := p_limiter.others_times || v_seen_at;
    p_limiter.others_calls := p_limiter.others_calls || v_used - greatest(coalesce(v_known, 0), 0);
  end if;
  return p_limiter;
end
$$;

revoke all on function sync_internal.observe(public.sync_limiter, jsonb, numeric, numeric) from public, anon, authenticated;
grant execute on function sync_internal.observe(public.sync_limiter, jsonb, numeric, numeric) to service_role;

-- For how long no grant has come in time; null if the last one did, or if nobody has said anything for a minute.
create or replace function sync_internal.late_ms(p_limiter public.sync_limiter, p_now timestamptz) returns bigint
language sql immutable
as $$
  select floor(extract(epoch from p_now - p_limiter.late_since) * 1000)::bigint
  where p_limiter.late_at > p_now - interval '1 minute'
$$;

revoke all on function sync_internal.late_ms(public.sync_limiter, timestamptz) from public, anon, authenticated;
grant execute on function sync_internal.late_ms(public.sync_limiter, timestamptz) to service_role;
