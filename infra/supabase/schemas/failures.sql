-- Orders that failed for good: in a run they are its outcomes, outside of one they stand here until the next success.

-- Records orders that failed for good; what has a run_id becomes an outcome of that run.
-- request: {location_id, failures: [{order_id, run_id?, cause, class, code, reason, attempts}]} -> {first, publication_due}
-- `first`: the orders of which this call was the first to say so; those outside of a run are always among them.
-- Locks: failures by order_id, runs by run_id, their outcomes, the location's row. It skips memory that others have locked.
create or replace function public.record_failures(request jsonb) returns jsonb
language plpgsql set search_path = '' set lock_timeout = '5s' set jit = off
as $$
declare
  v_location text := sync_internal.location(request);
  v_failures jsonb := coalesce(nullif(request -> 'failures', 'null'), '[]');
  v_first text[];
begin
  insert into public.sync_failures as f (location_id, order_id, cause, class, code, reason, attempts)
  select distinct on (i.order_id) v_location, i.order_id, i.cause, i.class, i.code, i.reason, coalesce(i.attempts, 1)
  from jsonb_to_recordset(v_failures) as i (
    order_id text, run_id uuid, cause text, class text, code text, reason text, attempts int)
  where i.run_id is null and i.order_id is not null
  order by i.order_id, i.attempts desc nulls last
  on conflict (location_id, order_id) do update set
    cause = excluded.cause, class = excluded.class, code = excluded.code, reason = excluded.reason,
    attempts = excluded.attempts, last_try_at = clock_timestamp();

  perform sync_internal.forget_unread(v_location, array(
    select i ->> 'order_id' from jsonb_array_elements(v_failures) as i where i ->> 'code' = 'order_not_found'));

  v_first := sync_internal.still_open(v_location, v_failures);
  perform sync_internal.record_outcomes(v_location, coalesce((
    select jsonb_agg(i || '{"outcome": "failed"}') from jsonb_array_elements(v_failures) as i
    where i ->> 'run_id' is not null), '[]'));
  return jsonb_build_object(
    'first', (
      select coalesce(jsonb_agg(distinct i ->> 'order_id'), '[]') from jsonb_array_elements(v_failures) as i
      where i ->> 'run_id' is null or i ->> 'order_id' = any (v_first)),
    'publication_due', sync_internal.ask_for_batch(v_location, v_failures));
end
$$;

revoke all on function public.record_failures(jsonb) from public, anon, authenticated;
grant execute on function public.record_failures(jsonb) to service_role;

-- Orders that GHL doesn't know, named by whoever: if none was ever read, nothing is remembered of it. What somebody has locked stays
-- (a webhook's order, on its way again), until `purge`.
create or replace function sync_internal.forget_unread(p_location text, p_order_ids text[]) returns void
language sql
as $$
  delete from public.sync_order_memory where (location_id, order_id) in (
    select location_id, order_id from public.sync_order_memory
    where location_id = p_location and order_id = any (p_order_ids) and fetched_at is null
    for update skip locked)
$$;

revoke all on function sync_internal.forget_unread(text, text[]) from public, anon, authenticated;
grant execute on function sync_internal.forget_unread(text, text[]) to service_role;

-- The failures that stand, by order id.
-- request: {location_id, after?, limit} -> {failures: [...], next}; `next` is the `after` of the following page.
-- Locks nothing.
create or replace function public.list_failures(request jsonb) returns jsonb
language plpgsql set search_path = '' set lock_timeout = '5s' set jit = off
as $$
declare
  v_location text := sync_internal.location(request);
  v_limit int := sync_internal.page_limit(request);
  v_failures jsonb;
begin
  select coalesce(jsonb_agg(to_jsonb(f) order by f.order_id), '[]') into v_failures
  from (
    select order_id, cause, class, code, reason, attempts, last_try_at
    from public.sync_failures
    where location_id = v_location and order_id > coalesce(request ->> 'after', '')
    order by order_id limit v_limit
  ) as f;
  return jsonb_build_object('failures', v_failures,
    'next', case when jsonb_array_length(v_failures) = v_limit then v_failures -> -1 -> 'order_id' end);
end
$$;

revoke all on function public.list_failures(jsonb) from public, anon, authenticated;
grant execute on function public.list_failures(jsonb) to service_role;

-- These orders' failures are over. Locked in order first, and exactly what was locked goes: a delete alone takes its rows as
-- they come, also those that were recorded since.
create or replace function sync_internal.clear_failures(p_location text, p_order_ids text[]) returns void
language plpgsql
as $$
declare
  v_locked text[];
begin
  select array_agg(locked.order_id) into v_locked from (
    select order_id from public.sync_failures
    where location_id = p_location and order_id = any (p_order_ids) order by order_id for update
  ) as locked;
  if v_locked is not null then
    delete from public.sync_failures where location_id = p_location and order_id = any (v_locked);
  end if;
end
$$;

revoke all on function sync_internal.clear_failures(text, text[]) from public, anon, authenticated;
grant execute on function sync_internal.clear_failures(text, text[]) to service_role;
