-- Orders are dispatched just before the rate limit has calls for them, several in one message, and given back if there were none.
--
-- Runs of the version before that are under way go on: it dispatches without asking the limiter, as before.

alter table public.sync_limiter
  add column if not exists awaited_times timestamptz[] not null default '{}',
  add column if not exists awaited_calls int[] not null default '{}',
  add column if not exists awaited_ends timestamptz[] not null default '{}',
  add column if not exists waits_since timestamptz;

alter table public.sync_outcomes add column if not exists silences smallint not null default 0;

-- A function may call one that comes after it.
set check_function_bodies = off;

CREATE OR REPLACE FUNCTION sync_internal.from_epoch_ms(amount numeric)
 RETURNS timestamp with time zone
 LANGUAGE sql
 IMMUTABLE
AS $function$
  select timestamptz 'epoch' + sync_internal.milliseconds(amount)
$function$;

CREATE OR REPLACE FUNCTION public.acquire_slots(request jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SET search_path TO ''
 SET lock_timeout TO '5s'
 SET jit TO 'off'
AS $function$
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
$function$;

CREATE OR REPLACE FUNCTION sync_internal.peek_slots(p_limiter public.sync_limiter, p_is_bulk boolean, p_window_ms numeric, p_max integer, p_is_nearly_done boolean)
 RETURNS TABLE(at timestamp with time zone, calls integer)
 LANGUAGE sql
AS $function$
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
$function$;

CREATE OR REPLACE FUNCTION sync_internal.no_longer_awaited(p_limiter public.sync_limiter, p_dispatched_at_ms numeric, p_calls integer)
 RETURNS public.sync_limiter
 LANGUAGE plpgsql
AS $function$
declare
  v_place int := array_position(p_limiter.awaited_times, sync_internal.from_epoch_ms(p_dispatched_at_ms));
begin
  if v_place is not null then
    p_limiter.awaited_calls[v_place] := greatest(p_limiter.awaited_calls[v_place] - p_calls, 0);
  end if;
  return p_limiter;
end
$function$;

CREATE OR REPLACE FUNCTION sync_internal.lock_limiter(p_location text, p_window_ms numeric)
 RETURNS public.sync_limiter
 LANGUAGE plpgsql
AS $function$
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
$function$;

CREATE OR REPLACE FUNCTION sync_internal.store_limiter(p_limiter public.sync_limiter)
 RETURNS void
 LANGUAGE plpgsql
AS $function$
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
    late_since = p_limiter.late_since, late_at = p_limiter.late_at
  where location_id = p_limiter.location_id;
end
$function$;

CREATE OR REPLACE FUNCTION public.dispatch_orders(request jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SET search_path TO ''
 SET lock_timeout TO '5s'
 SET jit TO 'off'
AS $function$
declare
  v_location text := sync_internal.location(request);
  v_limits jsonb := nullif(request -> 'limits', 'null');
  v_ahead interval := sync_internal.milliseconds(coalesce((request ->> 'ahead_ms')::numeric, 0));
  v_resend_after interval := sync_internal.milliseconds((sync_internal.required(request, 'resend_after_ms'))::numeric);
  v_room int := (sync_internal.required(request, 'max_outstanding'))::int;
  v_run uuid;
  v_limiter public.sync_limiter;
  v_now timestamptz := clock_timestamp();
  v_outstanding int;
  v_free int;
  v_free_at timestamptz;
  v_next_at timestamptz;
  v_budget text;
  v_window_ms numeric;
  v_max int;
  -- A third of the maximum, which is what a run may take in a third of a window, but for one: then it needn't wait for the last.
  v_worth int;
  v_awaited int;
  v_times timestamptz[];
  v_calls int[];
  v_answer jsonb;
  v_dispatched int;
  v_left int;
begin
  select run_id into v_run from public.sync_runs
  where run_id = (sync_internal.required(request, 'run_id'))::uuid and location_id = v_location and state = 'Syncing'
  for update;
  if found then
    perform sync_internal.give_up_silent(v_location, v_run, v_now - v_resend_after);
    select run_id into v_run from public.sync_runs where run_id = v_run and state = 'Syncing';
  end if;
  if v_run is null then
    return jsonb_build_object('order_ids', '[]'::jsonb, 'alone', '[]'::jsonb, 'outstanding', 0, 'budget_exhausted', false);
  end if;

  select count(*) into v_outstanding from public.sync_outcomes
  where run_id = v_run and outcome is null and dispatched_at > v_now - v_resend_after;
  v_room := greatest(least(v_room - v_outstanding, sync_internal.page_limit(request)), 0);

  if v_limits is not null then
    v_window_ms := (sync_internal.required(v_limits, 'window_ms'))::numeric;
    v_limiter := sync_internal.lock_limiter(v_location, v_window_ms);
    v_now := v_limiter.last_at;
    v_max := greatest(coalesce(v_limiter.learned_max, (sync_internal.required(v_limits, 'max'))::int), 1);
    v_budget := sync_internal.budget(v_limiter, true, (v_limits ->> 'daily_reserve')::numeric);
    select coalesce(sum(calls), 0) into v_awaited from unnest(v_limiter.awaited_calls) as calls;
    select array_agg(p.at order by p.at), array_agg(p.calls order by p.at) into v_times, v_calls
    from sync_internal.peek_slots(v_limiter, true, v_window_ms, v_max, coalesce((
      select w.remaining < 2 * v_max from sync_internal.work_of_run(v_location, v_run) as w), false)) as p;
    select count(*) into v_left from (
      select from public.sync_outcomes where run_id = v_run and outcome is null and dispatched_at is null limit v_max) as l;
    v_limiter.waits_since := case when v_times[1] <= v_now and v_calls[1] > v_awaited then coalesce(v_limiter.waits_since, v_now) end;
    v_worth := v_max / 3 - 1;
    v_free_at := sync_internal.worth_a_message(
      v_times, v_calls, v_awaited, v_left, v_worth, v_window_ms, v_limiter.waits_since);
    select greatest(max(p.calls) filter (where p.at <= v_now + v_ahead and v_free_at <= v_now + v_ahead) - v_awaited, 0) into v_free
    from unnest(v_times, v_calls) as p (at, calls);
    v_free := coalesce(v_free, 0);
    v_free := case v_budget when 'exhausted' then 0 when 'one asks' then least(v_free, 1) else v_free end;
  end if;

  with candidates as (
    (select run_id, order_id, position, 1 as silence from public.sync_outcomes
      where run_id = v_run and outcome is null and dispatched_at <= v_now - v_resend_after
      order by dispatched_at limit 1000)
    union all
    (select run_id, order_id, position, 0 from public.sync_outcomes
      where run_id = v_run and outcome is null and dispatched_at is null
      order by position limit 1000)
  ), chosen as (
    select run_id, order_id, position, silence from candidates order by position limit least(v_room, v_free)
  ), dispatched as (
    -- By both parts of the key from `chosen`: with v_run here, all of the run's outcomes would be compared with what is chosen
    -- as long as the planner doesn't know the run yet.
    update public.sync_outcomes as o
    set dispatched_at = date_trunc('milliseconds', v_now), silences = o.silences + c.silence
    from chosen c where o.run_id = c.run_id and o.order_id = c.order_id
    returning o.order_id, o.position, o.silences
  )
  select jsonb_build_object(
      'order_ids', coalesce(jsonb_agg(order_id order by position), '[]'),
      'alone', coalesce(jsonb_agg(order_id order by position) filter (where silences > 0), '[]'),
      'outstanding', v_outstanding + count(*)),
    count(*)
  into v_answer, v_dispatched from dispatched;

  if v_limits is not null then
    if v_dispatched > 0 then
      v_limiter.waits_since := null;
      v_limiter.awaited_times := v_limiter.awaited_times || date_trunc('milliseconds', v_now);
      v_limiter.awaited_calls := v_limiter.awaited_calls || v_dispatched;
      -- Workers wait for a second at most. Whoever is later than that gives back, or finds others there before.
      v_limiter.awaited_ends := v_limiter.awaited_ends
        || greatest(v_free_at, v_now) + least(interval '1500 milliseconds', sync_internal.milliseconds(floor(v_window_ms / 3)));
    end if;
    v_left := v_left - v_dispatched;
    if v_left > 0 then
      if v_dispatched < v_free then
        -- As many are under way as may be, and some of them soon won't be.
        v_next_at := v_now + interval '500 milliseconds';
      else
        v_next_at := sync_internal.worth_a_message(
          v_times, v_calls, v_awaited + v_dispatched, v_left, v_worth, v_window_ms, v_limiter.waits_since);
      end if;
      if v_dispatched > 0 then
        -- What these take now is a run's share of a third of a window.
        v_next_at := least(v_next_at, greatest(v_free_at, v_now) + sync_internal.milliseconds(floor(v_window_ms / 3)));
      end if;
      v_limiter := sync_internal.note_asked(v_limiter, null, true, v_left, v_next_at, v_window_ms);
    end if;
    perform sync_internal.store_limiter(v_limiter);
  end if;
  return v_answer || jsonb_build_object(
    'dispatched_at_ms', floor(extract(epoch from v_now) * 1000)::bigint,
    'in_ms', case when v_free_at is not null then sync_internal.until_ms(v_now, v_free_at) end,
    'next_ms', case when v_next_at is not null then sync_internal.until_ms(v_now, v_next_at) end,
    'budget_exhausted', coalesce(v_budget = 'exhausted', false));
end
$function$;

CREATE OR REPLACE FUNCTION sync_internal.worth_a_message(p_times timestamp with time zone[], p_calls integer[], p_awaited integer, p_left integer, p_worth integer, p_window_ms numeric, p_waits_since timestamp with time zone)
 RETURNS timestamp with time zone
 LANGUAGE sql
 IMMUTABLE
AS $function$
  with steps as (
    select s.at, s.calls from unnest(p_times, p_calls) as s (at, calls) where s.calls > p_awaited
  ),
  first as (
    select min(s.at) as at from steps s
  ),
  soon as (
    select s.at, s.calls from steps s, first f
    where s.at <= greatest(coalesce(p_waits_since, f.at) + sync_internal.milliseconds(floor(p_window_ms / 5)), f.at)
  )
  select coalesce(
    min(s.at) filter (where s.calls >= p_awaited + greatest(least(p_worth, p_left), 1)),
    -- A few calls more, as webhooks' become free one by one, are worth no wait.
    min(s.at) filter (where 5 * (s.calls - p_awaited) >= 4 * (select max(l.calls) - p_awaited from soon l)))
  from soon s
$function$;

CREATE OR REPLACE FUNCTION sync_internal.give_up_silent(p_location text, p_run uuid, p_since timestamp with time zone)
 RETURNS void
 LANGUAGE plpgsql
AS $function$
declare
  v_silent jsonb;
begin
  select jsonb_agg(jsonb_build_object(
    'run_id', p_run, 'order_id', s.order_id, 'outcome', 'failed', 'class', 'permanent', 'code', 'no_outcome',
    'reason', 'It was sent to the workers three times, and none of them came to an end with it. Look at the logs of that time, then retry it.',
    'attempts', 3))
  into v_silent
  from (
    select order_id from public.sync_outcomes
    where run_id = p_run and outcome is null and dispatched_at <= p_since and silences >= 2
    order by dispatched_at limit 1000) as s;
  if v_silent is not null then
    perform sync_internal.record_outcomes(p_location, v_silent);
  end if;
end
$function$;

CREATE OR REPLACE FUNCTION public.give_back_orders(request jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SET search_path TO ''
 SET lock_timeout TO '5s'
 SET jit TO 'off'
AS $function$
declare
  v_location text := sync_internal.location(request);
  v_at_ms numeric := (sync_internal.required(request, 'dispatched_at_ms'))::numeric;
  v_ids text[] := sync_internal.texts(request -> 'order_ids');
  v_run uuid;
  v_limiter public.sync_limiter;
  v_given_back int;
begin
  select run_id into v_run from public.sync_runs
  where run_id = (sync_internal.required(request, 'run_id'))::uuid and location_id = v_location for update;
  update public.sync_outcomes set dispatched_at = null
  where run_id = v_run and order_id = any (v_ids) and outcome is null
    and dispatched_at = sync_internal.from_epoch_ms(v_at_ms);
  get diagnostics v_given_back = row_count;
  v_limiter := sync_internal.lock_limiter(v_location, null);
  perform sync_internal.store_limiter(sync_internal.no_longer_awaited(v_limiter, v_at_ms, cardinality(v_ids)));
  return jsonb_build_object('given_back', v_given_back);
end
$function$;

revoke all on function public.give_back_orders(jsonb) from public, anon, authenticated, service_role;
grant execute on function public.give_back_orders(jsonb) to service_role;

revoke all on function sync_internal.from_epoch_ms(numeric) from public, anon, authenticated, service_role;
grant execute on function sync_internal.from_epoch_ms(numeric) to service_role;

revoke all on function sync_internal.give_up_silent(text, uuid, timestamp with time zone) from public, anon, authenticated, service_role;
grant execute on function sync_internal.give_up_silent(text, uuid, timestamp with time zone) to service_role;

revoke all on function sync_internal.no_longer_awaited(public.sync_limiter, numeric, integer) from public, anon, authenticated, service_role;
grant execute on function sync_internal.no_longer_awaited(public.sync_limiter, numeric, integer) to service_role;

revoke all on function sync_internal.peek_slots(public.sync_limiter, boolean, numeric, integer, boolean) from public, anon, authenticated, service_role;
grant execute on function sync_internal.peek_slots(public.sync_limiter, boolean, numeric, integer, boolean) to service_role;

revoke all on function sync_internal.worth_a_message(timestamp with time zone[], integer[], integer, integer, integer, numeric, timestamp with time zone) from public, anon, authenticated, service_role;
grant execute on function sync_internal.worth_a_message(timestamp with time zone[], integer[], integer, integer, integer, numeric, timestamp with time zone) to service_role;

-- PostgREST learns of new functions.
notify pgrst, 'reload schema';
