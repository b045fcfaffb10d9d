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
