-- The history of runs, page by page, and what there is to report of a run: failures, skips, issues and drift. Only reads.

-- The runs, newest first.
-- request: {location_id, before?, limit} -> {runs, next}; `next` is the `before` of the following page.
-- Locks nothing.
create or replace function public.list_runs(request jsonb) returns jsonb
language plpgsql set search_path = '' set lock_timeout = '5s' set jit = off
as $$
declare
  v_location text := sync_internal.location(request);
  v_limit int := sync_internal.page_limit(request);
  v_before text := nullif(request ->> 'before', '');
  v_before_at timestamptz := split_part(v_before, '_', 1)::timestamptz;
  -- A bare time stamp serves as a cursor too: everything before that moment.
  v_before_id uuid := coalesce(nullif(split_part(v_before, '_', 2), ''), '00000000-0000-0000-0000-000000000000')::uuid;
  v_runs jsonb;
  v_next text;
begin
  select coalesce(jsonb_agg(sync_internal.run_json(page.run) order by page.started_at desc, page.run_id desc), '[]'),
    case when count(*) = v_limit then (array_agg(
      -- Written so that it needs no escaping in a URL.
      to_char(page.started_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') || '_' || page.run_id
      order by page.started_at, page.run_id))[1] end
  into v_runs, v_next
  from (
    select r as run, r.started_at, r.run_id from public.sync_runs r
    where r.location_id = v_location
      and (v_before is null or (r.started_at, r.run_id) < (v_before_at, v_before_id))
    order by r.started_at desc, r.run_id desc limit v_limit
  ) as page;
  return jsonb_build_object('runs', v_runs, 'next', v_next);
end
$$;

revoke all on function public.list_runs(jsonb) from public, anon, authenticated;
grant execute on function public.list_runs(jsonb) to service_role;

-- One run with what there is to report, by order id.
-- `only` leaves the other lists out: whoever looks for failures needn't page through everything else.
-- With the drift it says what the public keys can still change (rights.sql): tickets may disagree because somebody did.
-- request: {location_id, run_id, after?, limit, only?: "failures|skips|issues|drift"}
--   -> {run|null, failures, skips, issues, drift, open, next}
-- Locks nothing.
create or replace function public.get_run(request jsonb) returns jsonb
language plpgsql set search_path = '' set lock_timeout = '5s' set jit = off
as $$
declare
  v_location text := sync_internal.location(request);
  v_limit int := sync_internal.page_limit(request);
  v_after text := coalesce(request ->> 'after', '');
  v_lists text[] := case when request ->> 'only' is null then '{failures,skips,issues,drift}'
    else array[request ->> 'only'] end;
  v_run public.sync_runs;
  v_skips jsonb := '[]';
  v_next text;
begin
  select * into v_run from public.sync_runs
  where run_id = (sync_internal.required(request, 'run_id'))::uuid and location_id = v_location;
  if not found then
    return jsonb_build_object('run', null, 'failures', '[]'::jsonb, 'skips', '[]'::jsonb, 'issues', '[]'::jsonb,
      'drift', jsonb_build_object('orders', 0, 'added', 0, 'reinstated', 0, 'cancelled', 0, 'list', '[]'::jsonb),
      'next', null);
  end if;
  if 'skips' = any (v_lists) then
    v_skips := sync_internal.skips_page(v_run, v_after, v_limit);
  end if;

  -- One page reaches as far as the shortest of the lists does, so that `after` means the same for all of them: as far as the last
  -- order of a list that fills the page.
  select min(last_id) into v_next from (
    (select order_id as last_id from public.sync_outcomes
      where run_id = v_run.run_id and outcome = 'failed' and order_id > v_after and 'failures' = any (v_lists)
      order by order_id offset v_limit - 1 limit 1)
    union all
    select v_skips -> (v_limit - 1) ->> 'order_id'
    union all
    (select order_id from public.sync_outcomes
      where run_id = v_run.run_id and order_id > v_after and 'drift' = any (v_lists)
        and tickets_added + tickets_reinstated + tickets_cancelled > 0
      order by order_id offset v_limit - 1 limit 1)
    union all
    (select distinct order_id from public.sync_issues
      where run_id = v_run.run_id and order_id > v_after and 'issues' = any (v_lists)
      order by order_id offset v_limit - 1 limit 1)
  ) as ends;

  return jsonb_build_object(
    'run', sync_internal.run_json(v_run),
    'failures', case when 'failures' = any (v_lists)
      then sync_internal.failures_page(v_location, v_run.run_id, v_after, v_next, v_limit) else '[]' end,
    'skips', (
      select coalesce(jsonb_agg(skip order by nth), '[]')
      from jsonb_array_elements(v_skips) with ordinality as s (skip, nth)
      where v_next is null or skip ->> 'order_id' <= v_next),
    'issues', (
      select coalesce(jsonb_agg(jsonb_build_object(
        'order_id', nullif(order_id, ''), 'code', code, 'message', message) order by order_id, noted_at), '[]')
      from public.sync_issues
      -- What concerns the whole listing has no order and stands on the first page.
      where run_id = v_run.run_id and (order_id > v_after or v_after = '') and (v_next is null or order_id <= v_next)
        and 'issues' = any (v_lists)),
    'drift', jsonb_build_object('orders', v_run.drift_orders, 'added', v_run.tickets_added,
      'reinstated', v_run.tickets_reinstated, 'cancelled', v_run.tickets_cancelled,
      'list', case when 'drift' = any (v_lists)
        then sync_internal.drift_page(v_run.run_id, v_after, v_next, v_limit) else '[]' end),
    'open', case when 'drift' = any (v_lists) then sync_internal.open_to_public() else '[]' end,
    'next', v_next);
end
$$;

revoke all on function public.get_run(jsonb) from public, anon, authenticated;
grant execute on function public.get_run(jsonb) to service_role;

-- The orders that failed in a run. The first outcome stands; `resolved_at` tells of what came after it: when the order was
-- synced since, null if it wasn't. An order's row needs a read that became or agreed with it and tickets that aren't due; an
-- order that isn't ours has no row, and having been read is all there is to do.
create or replace function sync_internal.failures_page(
  p_location text, p_run uuid, p_after text, p_until text, p_limit int
) returns jsonb
language sql stable
as $$
  select coalesce(jsonb_agg(to_jsonb(page) order by page.order_id), '[]')
  from (
    select c.order_id, c.class, c.code, c.reason, c.attempts, c.recorded_at as last_try_at,
      case when read.at > c.recorded_at and o.tickets_due is null and f.order_id is null then read.at end as resolved_at
    from public.sync_outcomes c
    left join public.sync_order_memory m on m.location_id = p_location and m.order_id = c.order_id
    left join public.ghl_qr_orders o on o.order_id = c.order_id and o.location_id = p_location
    left join public.sync_failures f on f.location_id = p_location and f.order_id = c.order_id
    cross join lateral (
      select case when o.order_id is null and m.valid is false then m.fetched_at else m.confirmed_at end as at
    ) as read
    where c.run_id = p_run and c.outcome = 'failed' and c.order_id > p_after
      and (p_until is null or c.order_id <= p_until)
    order by c.order_id limit p_limit
  ) as page
$$;

revoke all on function sync_internal.failures_page(text, uuid, text, text, int) from public, anon, authenticated;
grant execute on function sync_internal.failures_page(text, uuid, text, text, int) to service_role;

-- The next orders that a run skipped, with the reason, by order id: those with an outcome, and those of which only a bit is kept
-- (these were not tried, so they have no time).
create or replace function sync_internal.skips_page(p_run public.sync_runs, p_after text, p_limit int) returns jsonb
language plpgsql stable
as $$
declare
  v_first bigint;
  v_last bigint;
  v_bits bytea;
begin
  select min(block), max(block) into v_first, v_last
  from public.sync_run_bits where run_id = p_run.run_id and skipped is not null;
  -- In one piece, so that each remembered order's bit is at hand: its row would be looked up a million times otherwise.
  select string_agg(coalesce(b.skipped, decode(repeat('00', 2048), 'hex')), '' order by n.block) into v_bits
  from generate_series(v_first, v_last) as n (block)
  left join public.sync_run_bits b on b.run_id = p_run.run_id and b.block = n.block;

  return (
    select coalesce(jsonb_agg(to_jsonb(page) order by page.order_id), '[]')
    from (
      (select order_id, class, code, reason, attempts, recorded_at as last_try_at
        from public.sync_outcomes
        where run_id = p_run.run_id and outcome = 'skipped' and order_id > p_after
        order by order_id limit p_limit)
      union all
      (select m.order_id, null, 'no_valid_product', sync_internal.why_skipped('no_valid_product'), 0, null
        from public.sync_order_memory m
        where v_bits is not null and m.location_id = p_run.location_id and m.order_id > p_after
          and case when m.number between v_first * 16384 and v_last * 16384 + 16383
            then get_bit(v_bits, m.number - v_first * 16384) = 1 end
        order by m.order_id limit p_limit)
      order by order_id limit p_limit
    ) as page);
end
$$;

revoke all on function sync_internal.skips_page(public.sync_runs, text, int) from public, anon, authenticated;
grant execute on function sync_internal.skips_page(public.sync_runs, text, int) to service_role;

-- Orders whose tickets weren't what they should be before the run looked, new orders among them.
create or replace function sync_internal.drift_page(p_run uuid, p_after text, p_until text, p_limit int) returns jsonb
language sql stable
as $$
  select coalesce(jsonb_agg(to_jsonb(page) order by page.order_id), '[]')
  from (
    select order_id, tickets_added as added, tickets_reinstated as reinstated, tickets_cancelled as cancelled
    from public.sync_outcomes
    where run_id = p_run and order_id > p_after and (p_until is null or order_id <= p_until)
      and tickets_added + tickets_reinstated + tickets_cancelled > 0
    order by order_id limit p_limit
  ) as page
$$;

revoke all on function sync_internal.drift_page(uuid, text, text, int) from public, anon, authenticated;
grant execute on function sync_internal.drift_page(uuid, text, text, int) to service_role;
