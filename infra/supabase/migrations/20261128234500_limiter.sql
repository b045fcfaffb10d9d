-- The rate limit: grants have ids and margins of their own and can be handed back, calls of other apps are kept apart, and lanes follow
-- what webhooks ask for.

alter table public.sync_limiter
  add column if not exists grant_ids uuid[] not null default '{}',
  add column if not exists grant_is_bulk boolean[] not null default '{}',
  add column if not exists grant_calls int[] not null default '{}',
  add column if not exists grant_is_handed_back boolean[] not null default '{}',
  add column if not exists grant_times timestamptz[] not null default '{}',
  add column if not exists grant_ends timestamptz[] not null default '{}',
  add column if not exists others_times timestamptz[] not null default '{}',
  add column if not exists others_calls int[] not null default '{}',
  add column if not exists asked_ids uuid[] not null default '{}',
  add column if not exists asked_is_bulk boolean[] not null default '{}',
  add column if not exists asked_calls int[] not null default '{}',
  add column if not exists asked_ends timestamptz[] not null default '{}';

-- Grants of the limiter before aren't taken over: whoever has granted in the last window and widest margin stays closed for as long.
update public.sync_limiter
set closed_until = greatest(closed_until, clock_timestamp() + interval '13 seconds')
where last_at > clock_timestamp() - interval '13 seconds' and grant_ids = '{}';

drop function if exists sync_internal.observe(public.sync_limiter, jsonb, timestamptz, interval);
drop function if exists sync_internal.widest_margin(public.sync_limiter, numeric, timestamptz, interval);

-- A function may call one that comes after it.
set check_function_bodies = off;

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

CREATE OR REPLACE FUNCTION public.hand_back_slots(request jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SET search_path TO ''
 SET lock_timeout TO '5s'
 SET jit TO 'off'
AS $function$
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
    daily_remaining = p_limiter.daily_remaining, daily_observed_at = p_limiter.daily_observed_at,
    late_since = p_limiter.late_since, late_at = p_limiter.late_at
  where location_id = p_limiter.location_id;
end
$function$;

CREATE OR REPLACE FUNCTION sync_internal.free_slots(p_limiter public.sync_limiter, p_is_bulk boolean, p_window_ms numeric, p_max integer, p_is_nearly_done boolean)
 RETURNS TABLE(at timestamp with time zone, calls integer)
 LANGUAGE plpgsql
AS $function$
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
$function$;

CREATE OR REPLACE FUNCTION sync_internal.note_asked(p_limiter public.sync_limiter, p_id uuid, p_is_bulk boolean, p_calls integer, p_again_at timestamp with time zone, p_window_ms numeric)
 RETURNS public.sync_limiter
 LANGUAGE plpgsql
AS $function$
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
$function$;

CREATE OR REPLACE FUNCTION sync_internal.budget(p_limiter public.sync_limiter, p_is_bulk boolean, p_reserve numeric)
 RETURNS text
 LANGUAGE sql
 IMMUTABLE
AS $function$
  select case when p_limiter.daily_observed_at > p_limiter.last_at - interval '10 minutes' then 'exhausted' else 'one asks' end
  where p_is_bulk and p_limiter.daily_observed_at > p_limiter.last_at - interval '1 day'
    and p_limiter.daily_remaining < p_reserve
$function$;

CREATE OR REPLACE FUNCTION sync_internal.work_of_run(p_location text, p_run_id uuid, OUT state text, OUT remaining integer)
 RETURNS record
 LANGUAGE sql
 STABLE
AS $function$
  select coalesce(max(r.state), 'Cancelled'),
    max(greatest(r.listed, case when not r.listing_complete then r.total_count end) - r.synced - r.failed - r.skipped)
      filter (where r.listing_complete or r.total_count is not null)
  from public.sync_runs r where r.run_id = p_run_id and r.location_id = p_location
  having p_run_id is not null
$function$;

CREATE OR REPLACE FUNCTION sync_internal.until_ms(p_now timestamp with time zone, p_at timestamp with time zone)
 RETURNS bigint
 LANGUAGE sql
 IMMUTABLE
AS $function$
  select greatest(ceil(extract(epoch from p_at - p_now) * 1000), 0)::bigint
$function$;

CREATE OR REPLACE FUNCTION sync_internal.observe(p_limiter public.sync_limiter, p_observed jsonb, p_window_ms numeric, p_margin_ms numeric)
 RETURNS public.sync_limiter
 LANGUAGE plpgsql
AS $function$
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
$function$;

revoke all on function public.hand_back_slots(jsonb) from public, anon, authenticated, service_role;
grant execute on function public.hand_back_slots(jsonb) to service_role;


revoke all on function sync_internal.budget(public.sync_limiter, boolean, numeric) from public, anon, authenticated, service_role;
grant execute on function sync_internal.budget(public.sync_limiter, boolean, numeric) to service_role;

revoke all on function sync_internal.free_slots(public.sync_limiter, boolean, numeric, integer, boolean) from public, anon, authenticated, service_role;
grant execute on function sync_internal.free_slots(public.sync_limiter, boolean, numeric, integer, boolean) to service_role;

revoke all on function sync_internal.lock_limiter(text, numeric) from public, anon, authenticated, service_role;
grant execute on function sync_internal.lock_limiter(text, numeric) to service_role;

revoke all on function sync_internal.note_asked(public.sync_limiter, uuid, boolean, integer, timestamp with time zone, numeric) from public, anon, authenticated, service_role;
grant execute on function sync_internal.note_asked(public.sync_limiter, uuid, boolean, integer, timestamp with time zone, numeric) to service_role;

revoke all on function sync_internal.observe(public.sync_limiter, jsonb, numeric, numeric) from public, anon, authenticated, service_role;
grant execute on function sync_internal.observe(public.sync_limiter, jsonb, numeric, numeric) to service_role;

revoke all on function sync_internal.store_limiter(public.sync_limiter) from public, anon, authenticated, service_role;
grant execute on function sync_internal.store_limiter(public.sync_limiter) to service_role;

revoke all on function sync_internal.until_ms(timestamp with time zone, timestamp with time zone) from public, anon, authenticated, service_role;
grant execute on function sync_internal.until_ms(timestamp with time zone, timestamp with time zone) to service_role;

revoke all on function sync_internal.work_of_run(text, uuid) from public, anon, authenticated, service_role;
grant execute on function sync_internal.work_of_run(text, uuid) to service_role;

-- PostgREST learns of new functions.
notify pgrst, 'reload schema';
