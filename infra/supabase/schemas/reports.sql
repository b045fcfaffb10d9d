-- The history of runs, page by page, what there is to report of a run (failures, skips, issues and drift), and of an order, and how long
-- ago runs completed. Only reads.

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
    -- Whatever changed the tickets beside us may have come by the public key.
    'open', case when 'drift' = any (v_lists)
      then jsonb_path_query_array(sync_internal.open_tables(), '$[*] ? (@.writes == true).table') else '[]' end,
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

-- What is known of one order: its row, its tickets and what was done to them, and what failed or couldn't be honoured in the last 30
-- days. Nothing here says who the buyer is.
-- request: {location_id, order_id, before?, limit} -> {found, order|null, tickets, changes, failures, issues, next}
-- The changes come newest first; `next` is the `before` of their following page. Everything else stands on each page.
-- Locks nothing.
create or replace function public.order_history(request jsonb) returns jsonb
language plpgsql set search_path = '' set lock_timeout = '5s' set jit = off
as $$
declare
  v_location text := sync_internal.location(request);
  v_id text := sync_internal.required(request, 'order_id');
  v_limit int := sync_internal.page_limit(request);
  v_before bigint := nullif(request ->> 'before', '')::bigint;
  v_order jsonb := sync_internal.order_facts(v_location, v_id);
  v_is_ours boolean;
  v_tickets jsonb := '[]';
  v_changes jsonb := '[]';
  v_failures jsonb := sync_internal.failures_of_order(v_location, v_id);
begin
  -- The history outlives a deleted order, and doesn't say whose it was: what is remembered of it does.
  v_is_ours := v_order is not null or (
    exists (select from public.sync_order_memory where location_id = v_location and order_id = v_id)
    and not exists (select from public.ghl_qr_orders where order_id = v_id));
  if v_is_ours then
    select coalesce(jsonb_agg(jsonb_build_object('ticket_id', ticket_id, 'ticket_type', ticket_type, 'status', status,
      'validated_at', validated_at) order by ticket_id), '[]') into v_tickets
    from public.ghl_qr_tickets where order_id = v_id;
    select coalesce(jsonb_agg(to_jsonb(page) order by page.change_id desc), '[]') into v_changes
    from (
      select change_id, ticket_id, changed_at, changed_by, reason, old_status, new_status, old_type, new_type
      from public.ghl_qr_ticket_changes
      where order_id = v_id and (v_before is null or change_id < v_before)
      order by change_id desc limit v_limit
    ) as page;
  end if;
  return jsonb_build_object('found', v_is_ours or v_failures <> '[]', 'order', v_order, 'tickets', v_tickets,
    'changes', v_changes, 'failures', v_failures, 'issues', sync_internal.issues_of_order(v_location, v_id),
    'next', case when jsonb_array_length(v_changes) = v_limit then v_changes -> -1 ->> 'change_id' end);
end
$$;

revoke all on function public.order_history(jsonb) from public, anon, authenticated;
grant execute on function public.order_history(jsonb) to service_role;

-- What an order's row says, without its buyer; null if there is none. `forgotten`: its buyer is; `refunded`: by its transactions;
-- `valid` is null before it was first read.
create or replace function sync_internal.order_facts(p_location text, p_order_id text) returns jsonb
language sql stable
as $$
  select jsonb_build_object(
    'status', o.order_status, 'payment_status', o.payment_status, 'total_paid', trim_scale(o.total_paid),
    'refunded', trim_scale(r.refunded), 'currency', o.payment_currency, 'event_name', o.event_name,
    'date_added', o.date_added, 'source_updated_at', o.source_updated_at, 'fetched_at', o.fetched_at,
    'live_mode', o.live_mode, 'entitled', o.entitled, 'entitlement_reason', o.entitlement_reason, 'lines', o.lines,
    'is_due', o.tickets_due is not null,
    'valid', case when m.fetched_at is not null
      then sync_internal.is_valid_now(m.valid, m.product_ids, sync_internal.listed_products(p_location)) end,
    'forgotten', exists (
      select from public.sync_forgotten_contacts f
      where f.contact_id = o.contact_id and f.location_id = p_location))
  from public.ghl_qr_orders o
  left join public.sync_order_memory m on m.location_id = p_location and m.order_id = o.order_id
  left join public.sync_refunds r on r.location_id = p_location and r.order_id = o.order_id
  -- Old rows of the original app name no location.
  where o.order_id = p_order_id and coalesce(o.location_id, p_location) = p_location
$$;

revoke all on function sync_internal.order_facts(text, text) from public, anon, authenticated;
grant execute on function sync_internal.order_facts(text, text) to service_role;

-- An order's failures: the one that stands, and those of runs in the last 30 days, a hundred at most. By run: there is no index of
-- outcomes by order, and `offset 0` keeps the planner from reading them all.
create or replace function sync_internal.failures_of_order(p_location text, p_order_id text) returns jsonb
language sql volatile
as $$
  select coalesce(jsonb_agg(to_jsonb(newest) order by newest.at desc), '[]')
  from (
    select *
    from (
      select null::uuid as run_id, f.last_try_at as at, f.cause, f.class, f.code, f.reason, f.attempts
      from public.sync_failures f
      where f.location_id = p_location and f.order_id = p_order_id
      union all
      select r.run_id, c.recorded_at, 'run', c.class, c.code, c.reason, c.attempts
      from public.sync_runs r
      cross join lateral (
        select * from public.sync_outcomes o
        where o.run_id = r.run_id and o.order_id = p_order_id and o.outcome = 'failed' offset 0
      ) as c
      where r.location_id = p_location and r.failed > 0 and r.started_at > clock_timestamp() - interval '30 days'
    ) as every_one
    order by at desc limit 100
  ) as newest
$$;

revoke all on function sync_internal.failures_of_order(text, text) from public, anon, authenticated;
grant execute on function sync_internal.failures_of_order(text, text) to service_role;

-- What of an order couldn't be honoured by runs in the last 30 days, newest first, a hundred at most.
create or replace function sync_internal.issues_of_order(p_location text, p_order_id text) returns jsonb
language sql volatile
as $$
  select coalesce(jsonb_agg(to_jsonb(newest) order by newest.at desc), '[]')
  from (
    select r.run_id, i.noted_at as at, i.code, i.message
    from public.sync_runs r
    cross join lateral (
      select * from public.sync_issues n where n.run_id = r.run_id and n.order_id = p_order_id offset 0
    ) as i
    where r.location_id = p_location and r.started_at > clock_timestamp() - interval '30 days'
    order by i.noted_at desc limit 100
  ) as newest
$$;

revoke all on function sync_internal.issues_of_order(text, text) from public, anon, authenticated;
grant execute on function sync_internal.issues_of_order(text, text) to service_role;

-- Hours since a run that lists completed, and since a full one did; since the location is known, if none has. A run that makes
-- progress stands for now: while it lasts no other can complete. A full run that ends with an error was none.
-- request: {location_id} -> {sync, full_sync}
-- Locks nothing.
create or replace function public.hours_since_sync(request jsonb) returns jsonb
language plpgsql set search_path = '' set lock_timeout = '5s' set jit = off
as $$
declare
  v_location text := sync_internal.location(request);
  v_now timestamptz := clock_timestamp();
  -- Of a location that nothing was called for yet nothing is late.
  v_known timestamptz := coalesce((select created_at from public.sync_locations where location_id = v_location), v_now);
  v_running text;
  v_full timestamptz := sync_internal.completed_at(v_location, '{full}');
  v_any timestamptz := sync_internal.completed_at(v_location, '{full,incremental}');
begin
  select kind into v_running from public.sync_runs
  where location_id = v_location and state = 'Syncing'
    and last_progress_at > v_now - make_interval(secs => lease_ms / 1000.0);
  if v_running is not null then
    v_any := v_now;
  end if;
  if v_running = 'full' then
    v_full := v_now;
  end if;
  return jsonb_build_object(
    'sync', extract(epoch from v_now - greatest(v_any, v_known)) / 3600,
    'full_sync', extract(epoch from v_now - greatest(v_full, v_known)) / 3600);
end
$$;

revoke all on function public.hours_since_sync(jsonb) from public, anon, authenticated;
grant execute on function public.hours_since_sync(jsonb) to service_role;

-- When the newest run of these kinds that has completed ended; null if none has.
create or replace function sync_internal.completed_at(p_location text, p_kinds text[]) returns timestamptz
language sql stable
as $$
  -- What began later is the newer, since one runs at a time.
  select ended_at from public.sync_runs
  where location_id = p_location and kind = any (p_kinds) and state in ('Delay', 'Completed')
  order by started_at desc, run_id desc limit 1
$$;

revoke all on function sync_internal.completed_at(text, text[]) from public, anon, authenticated;
grant execute on function sync_internal.completed_at(text, text[]) to service_role;
