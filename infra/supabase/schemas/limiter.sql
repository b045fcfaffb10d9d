-- The shared rate limit. Grants only slots that are free now, never a reservation, so that a bulk caller can't push a
-- webhook back. The limiter's row is locked by nothing else.

-- Grants as many of the wanted calls to GHL as are free now, and tells how long to wait for one more.
-- request: {location_id, lane: "bulk"|"priority", wanted, run_id?,
--   limits: {max, window_ms, margin_ms, bulk_percent, daily_reserve?},
--   observed?: {max?, remaining?, daily_remaining?, closed_for_ms?, age_ms?, took_ms?}, late?}
--   -> {granted, granted_at, wait_ms, daily_remaining, budget_exhausted, run_state, late_ms}
-- `late` tells whether the caller's last grant came too late to be used; `late_ms`, for how long none has come in time.
-- Locks: the limiter's row.
create or replace function public.acquire_slots(request jsonb) returns jsonb
language plpgsql set search_path = '' set lock_timeout = '5s' set jit = off
as $$
declare
  v_location text := sync_internal.location(request);
  v_bulk_lane boolean := sync_internal.required(request, 'lane') = 'bulk';
  v_wanted int := greatest(coalesce((request ->> 'wanted')::int, 0), 0);
  v_observed jsonb := coalesce(nullif(request -> 'observed', 'null'), '{}');
  v_window interval := sync_internal.milliseconds((sync_internal.required(request -> 'limits', 'window_ms'))::numeric);
  v_limiter public.sync_limiter;
  v_now timestamptz;
  v_max int;
  v_bulk_max int;
  v_bulk timestamptz[];
  v_all timestamptz[];
  v_granted int;
  v_free_at timestamptz;
  v_daily_remaining int;
  v_budget_exhausted boolean;
  v_run_state text;
begin
  insert into public.sync_limiter (location_id) values (v_location) on conflict do nothing;
  select * into v_limiter from public.sync_limiter where location_id = v_location for update;
  -- Read after the lock, and never below the last grant: a clock set back must not open a second window.
  v_now := greatest(clock_timestamp(), v_limiter.last_at);

  v_limiter := sync_internal.widest_margin(
    v_limiter, coalesce((request -> 'limits' ->> 'margin_ms')::numeric, 0), v_now, v_window);
  v_window := v_window + sync_internal.milliseconds(greatest(v_limiter.margin_ms, v_limiter.margin_before_ms));
  v_limiter := sync_internal.note_lateness(v_limiter, (request ->> 'late')::boolean, v_now);
  v_limiter := sync_internal.observe(v_limiter, v_observed, v_now, v_window);
  v_max := greatest(coalesce(v_limiter.learned_max, (sync_internal.required(request -> 'limits', 'max'))::int), 1);
  v_bulk_max := greatest(floor(v_max * coalesce((request -> 'limits' ->> 'bulk_percent')::numeric, 80) / 100), 1);

  select coalesce(array_agg(t order by t), '{}') into v_bulk
  from unnest(v_limiter.bulk_grants) as t where t > v_now - v_window;
  select coalesce(array_agg(t order by t), '{}') into v_all
  from unnest(v_limiter.bulk_grants || v_limiter.priority_grants) as t where t > v_now - v_window;

  v_granted := least(v_wanted, v_max - cardinality(v_all));
  if v_bulk_lane then
    v_granted := least(v_granted, v_bulk_max - cardinality(v_bulk));
  end if;
  if v_limiter.closed_until > v_now then
    v_granted := 0;
  end if;
  if request ->> 'run_id' is not null then
    -- A run we don't know is over, for whoever works for it.
    select coalesce(max(state), 'Cancelled') into v_run_state
    from public.sync_runs where run_id = (request ->> 'run_id')::uuid and location_id = v_location;
    if v_run_state <> 'Syncing' then
      v_granted := 0;
      v_wanted := 0;
    end if;
  end if;
  -- The budget is a day's: what was seen yesterday says nothing. The rest of it belongs to webhooks and single syncs.
  v_daily_remaining := case when v_limiter.daily_observed_at > v_now - interval '1 day' then v_limiter.daily_remaining end;
  v_budget_exhausted := v_bulk_lane
    and coalesce(v_daily_remaining < (request -> 'limits' ->> 'daily_reserve')::numeric, false);
  if v_budget_exhausted then
    -- When GHL's day ends isn't known: now and then one call asks.
    v_budget_exhausted := v_limiter.daily_observed_at > v_now - interval '10 minutes';
    v_granted := case when v_budget_exhausted then 0 else least(v_granted, 1) end;
  end if;
  v_granted := greatest(v_granted, 0);

  v_all := v_all || array_fill(v_now, array[v_granted]);
  if v_bulk_lane then
    v_bulk := v_bulk || array_fill(v_now, array[v_granted]);
    v_limiter.bulk_grants := v_limiter.bulk_grants || array_fill(v_now, array[v_granted]);
  else
    v_limiter.priority_grants := v_limiter.priority_grants || array_fill(v_now, array[v_granted]);
  end if;

  -- When one more could be granted: once enough of the oldest grants have left the window.
  v_free_at := v_limiter.closed_until;
  if cardinality(v_all) >= v_max then
    v_free_at := greatest(v_free_at, v_all[cardinality(v_all) - v_max + 1] + v_window);
  end if;
  if v_bulk_lane and cardinality(v_bulk) >= v_bulk_max then
    v_free_at := greatest(v_free_at, v_bulk[cardinality(v_bulk) - v_bulk_max + 1] + v_window);
  end if;

  update public.sync_limiter
  set learned_max = v_limiter.learned_max, bulk_grants = v_limiter.bulk_grants,
    priority_grants = v_limiter.priority_grants, last_at = v_now, closed_until = v_limiter.closed_until,
    daily_remaining = v_limiter.daily_remaining, daily_observed_at = v_limiter.daily_observed_at,
    margin_ms = v_limiter.margin_ms, margin_before_ms = v_limiter.margin_before_ms,
    margin_since = v_limiter.margin_since, late_since = v_limiter.late_since, late_at = v_limiter.late_at
  where location_id = v_location;

  return jsonb_build_object(
    'granted', v_granted,
    'granted_at', v_now,
    'wait_ms', case when v_granted >= v_wanted then 0
      else greatest(ceil(extract(epoch from coalesce(v_free_at, v_now) - v_now) * 1000), 1)::bigint end,
    'daily_remaining', v_daily_remaining,
    'budget_exhausted', v_budget_exhausted,
    'run_state', v_run_state,
    'late_ms', sync_internal.late_ms(v_limiter, v_now));
end
$$;

revoke all on function public.acquire_slots(jsonb) from public, anon, authenticated;
grant execute on function public.acquire_slots(jsonb) to service_role;

-- A grant is used within its caller's margin, so its slot is taken for the window and that margin: a caller with a
-- smaller one must not count it as free before. The widest margin is kept for at least as long as its grants take.
create or replace function sync_internal.widest_margin(
  p_limiter public.sync_limiter, p_margin_ms numeric, p_now timestamptz, p_window interval
) returns public.sync_limiter
language plpgsql
as $$
begin
  if p_now < p_limiter.margin_since + p_window
    + sync_internal.milliseconds(greatest(p_limiter.margin_ms, p_limiter.margin_before_ms)) then
    p_limiter.margin_ms := greatest(p_limiter.margin_ms, p_margin_ms);
  else
    p_limiter.margin_before_ms := p_limiter.margin_ms;
    p_limiter.margin_ms := p_margin_ms;
    p_limiter.margin_since := p_now;
  end if;
  return p_limiter;
end
$$;

revoke all on function sync_internal.widest_margin(public.sync_limiter, numeric, timestamptz, interval) from public, anon, authenticated;
grant execute on function sync_internal.widest_margin(public.sync_limiter, numeric, timestamptz, interval) to service_role;

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

-- Applies what GHL's response headers said, and forgets grants older than two windows.
create or replace function sync_internal.observe(
  p_limiter public.sync_limiter, p_observed jsonb, p_now timestamptz, p_window interval
) returns public.sync_limiter
language plpgsql
as $$
declare
  v_seen_at timestamptz := p_now - sync_internal.milliseconds(coalesce((p_observed ->> 'age_ms')::numeric, 0));
  -- Without its age an observation may stem from a window that has passed: then a foreign call is believed only if not
  -- even two windows of our own explain it. Inventing foreign calls would close the lane for a window.
  v_behind interval := p_window * case when p_observed ? 'age_ms' then 1 else 2 end;
  v_sent_at timestamptz := v_seen_at - sync_internal.milliseconds(coalesce((p_observed ->> 'took_ms')::numeric, 0));
  v_used int;
  v_ours int;
begin
  select coalesce(array_agg(t order by t), '{}') into p_limiter.bulk_grants
  from unnest(p_limiter.bulk_grants) as t where t > p_now - p_window * 2;
  select coalesce(array_agg(t order by t), '{}') into p_limiter.priority_grants
  from unnest(p_limiter.priority_grants) as t where t > p_now - p_window * 2;

  -- Bounded, since a nonsensical header must not stop every call.
  if (p_observed ->> 'max')::numeric > 0 then
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
      p_limiter.closed_until, p_now + sync_internal.milliseconds((p_observed ->> 'closed_for_ms')::numeric));
  end if;

  -- A call sent a window ago tells nothing of this one.
  if p_observed ->> 'remaining' is not null and p_limiter.learned_max is not null and v_sent_at > p_now - p_window then
    v_used := p_limiter.learned_max - least((p_observed ->> 'remaining')::numeric, p_limiter.learned_max);
    -- GHL counted at some moment between the call's sending and its answer: at the one that explains most of it by
    -- calls of our own. A call may take longer than the window has left to run.
    select max(ours.count) into v_ours
    from (
      select v_sent_at as at
      union
      select t from unnest(p_limiter.bulk_grants || p_limiter.priority_grants) as t
      where t > v_sent_at and t <= v_seen_at
    ) as moment
    cross join lateral (
      select count(*) from unnest(p_limiter.bulk_grants || p_limiter.priority_grants) as t
      where t > moment.at - v_behind and t <= moment.at
    ) as ours;
    -- Upwards only: GHL counting fewer than we granted means calls still on their way.
    if v_used > v_ours then
      p_limiter.priority_grants := p_limiter.priority_grants || array_fill(v_seen_at, array[v_used - v_ours]);
    end if;
  end if;
  return p_limiter;
end
$$;

revoke all on function sync_internal.observe(public.sync_limiter, jsonb, timestamptz, interval) from public, anon, authenticated;
grant execute on function sync_internal.observe(public.sync_limiter, jsonb, timestamptz, interval) to service_role;

-- For how long no grant has come in time; null if the last one did, or if nobody has said anything for a minute.
create or replace function sync_internal.late_ms(p_limiter public.sync_limiter, p_now timestamptz) returns bigint
language sql immutable
as $$
  select floor(extract(epoch from p_now - p_limiter.late_since) * 1000)::bigint
  where p_limiter.late_at > p_now - interval '1 minute'
$$;

revoke all on function sync_internal.late_ms(public.sync_limiter, timestamptz) from public, anon, authenticated;
grant execute on function sync_internal.late_ms(public.sync_limiter, timestamptz) to service_role;
