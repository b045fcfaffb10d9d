-- What happens is told once: calls answer whether they were the first to do what they did. Tickets are numbered in the order of their
-- order's lines. And indexes on what people and the original app look for.
--
-- Writers of the two tables wait while the indexes are made: at a million rows for some seconds each. Where that is too long, make them
-- beforehand with the same names and `concurrently` (infra/docs/deploying.md); then nothing is made here.

create index if not exists ghl_qr_orders_event on public.ghl_qr_orders (event_id);
create index if not exists ghl_qr_orders_date_added on public.ghl_qr_orders (date_added);
create index if not exists ghl_qr_tickets_status on public.ghl_qr_tickets (status);

-- A function may call one that comes after it.
set check_function_bodies = off;

-- fail_silent, which answers what it did, takes its place in dispatch_orders.
drop function if exists sync_internal.give_up_silent(text, uuid, timestamptz);

create or replace function sync_internal.still_open(p_location text, orders jsonb) returns text[]
language plpgsql
as $$
begin
  perform sync_internal.lock_runs(p_location, orders);
  return array(
    select distinct c.order_id
    from jsonb_to_recordset(orders) as o (run_id uuid, order_id text)
    join public.sync_runs r on r.run_id = o.run_id and r.location_id = p_location and r.state = 'Syncing'
    join public.sync_outcomes c on c.run_id = o.run_id and c.order_id = o.order_id and c.outcome is null);
end
$$;

revoke all on function sync_internal.still_open(text, jsonb) from public, anon, authenticated;
grant execute on function sync_internal.still_open(text, jsonb) to service_role;

create or replace function sync_internal.line_position(p_lines jsonb, p_product text, p_price text, p_key text) returns bigint
language sql immutable
as $$
  select min(l.position) from jsonb_array_elements(p_lines) with ordinality as l (line, position)
  where coalesce(l.line ->> 'product_id', '') = p_product and coalesce(l.line ->> 'price_id', '') = p_price
    and (p_price <> '' or coalesce(l.line ->> 'ticket_type', 'General') = p_key)
$$;

revoke all on function sync_internal.line_position(jsonb, text, text, text) from public, anon, authenticated;
grant execute on function sync_internal.line_position(jsonb, text, text, text) to service_role;

create or replace function sync_internal.reconcile(p_location text, p_order_ids text[])
returns table (
  order_id text, found int, added int, reinstated int, cancelled int, kept int, relabelled int, over_validated int,
  tickets int, leftover jsonb
)
language plpgsql
as $$
#variable_conflict use_column
declare
  v_ids text[];
  v_leftover jsonb;
  v_relabelled jsonb;
begin
  -- Exactly what was locked is worked on: an order that appears a moment later isn't locked, and its turn comes.
  -- FOR UPDATE, not NO KEY: it also keeps the original app from inserting a ticket between adoption and the count.
  select coalesce(array_agg(locked.order_id), '{}') into v_ids from (
    select o.order_id from public.ghl_qr_orders o
    where o.order_id = any (p_order_ids) and o.location_id = p_location
    order by o.order_id for update
  ) as locked;
  perform from public.ghl_qr_tickets where order_id = any (v_ids) order by ticket_id for update;

  v_leftover := sync_internal.adopt_tickets(v_ids);
  v_relabelled := sync_internal.relabel_tickets(v_ids);

  return query
  with plan as materialized (
    select l.*, greatest(l.entitled - l.held, 0) - l.live as missing,
      max(l.top_ordinal) over (partition by l.order_id, l.product_id, l.price_id) as group_top
    from sync_internal.ticket_lines l where l.order_id = any (v_ids)
  ), tally as materialized (
    select order_id, count(*) as found, count(*) filter (where status = 'live') as live,
      count(*) filter (where status in ('validated', 'used')) as validated,
      count(*) filter (where status is distinct from 'live'
        and not (status is not distinct from 'cancelled' and status_by is not distinct from 'sync')) as held
    from public.ghl_qr_tickets where order_id = any (v_ids) group by order_id
  ), ranked as (
    -- The excess goes from the highest ordinal, what comes back from the lowest.
    select t.ticket_id, p.missing, p.label, o.entitled, o.entitlement_reason,
      row_number() over (
        partition by p.order_id, p.product_id, p.price_id, p.line_key
        order by t.ordinal * sign(p.missing) nulls first, t.ticket_id * sign(p.missing)) as nth
    from plan p
    join public.ghl_qr_orders o on o.order_id = p.order_id
    join public.ghl_qr_tickets t on t.order_id = p.order_id
      and coalesce(t.product_id, '') = p.product_id and coalesce(t.price_id, '') = p.price_id
      and case when coalesce(t.price_id, '') = '' then t.ticket_type else '' end = p.line_key
    where (p.missing < 0 and t.status = 'live')
      or (p.missing > 0 and t.status = 'cancelled' and t.status_by = 'sync')
  ), cancelled_now as (
    update public.ghl_qr_tickets as t
    set status = 'cancelled', status_by = 'sync', status_at = clock_timestamp(),
      status_reason = case
        when not coalesce(r.entitled, false) then coalesce(r.entitlement_reason, 'the order entitles to no tickets')
        when r.label is null then 'no longer on the order'
        else 'quantity lowered' end
    from ranked r
    -- The status again: what was validated meanwhile is never taken back.
    where t.ticket_id = r.ticket_id and r.missing < 0 and r.nth <= -r.missing and t.status = 'live'
    returning t.order_id
  ), reinstated_now as (
    update public.ghl_qr_tickets as t
    set status = 'live', status_by = 'sync', status_at = clock_timestamp(), status_reason = 'entitled again'
    from ranked r
    where t.ticket_id = r.ticket_id and r.missing > 0 and r.nth <= r.missing
      and t.status = 'cancelled' and t.status_by = 'sync'
    returning t.order_id
  ), lacking as materialized (
    select p.*, sync_internal.line_position(o.lines, p.product_id, p.price_id, p.line_key) as position
    from plan p join public.ghl_qr_orders o on o.order_id = p.order_id
    where p.missing > p.reinstatable
  ), added_now as (
    insert into public.ghl_qr_tickets
      (order_id, ticket_type, status, product_id, price_id, ordinal, status_by, status_at, status_reason)
    -- In the order of the lines, in which ticket_id counts up.
    select l.order_id, l.label, 'live', l.product_id, l.price_id,
      l.group_top + row_number() over (partition by l.order_id, l.product_id, l.price_id order by l.position, n),
      'sync', clock_timestamp(), 'added'
    from lacking l cross join lateral generate_series(1, l.missing - l.reinstatable) as n
    order by l.order_id, l.position, n
    returning order_id
  ), cleared as (
    update public.ghl_qr_orders set tickets_due = null where order_id = any (v_ids) and tickets_due is not null
  ), untouched as (
    delete from public.ghl_qr_tickets_touched where order_id = any (v_ids)
  ), changes as (
    select order_id, sum(a)::int as added, sum(r)::int as reinstated, sum(c)::int as cancelled
    from (
      select order_id, 1 as a, 0 as r, 0 as c from added_now
      union all select order_id, 0, 1, 0 from reinstated_now
      union all select order_id, 0, 0, 1 from cancelled_now
    ) as each_change group by order_id
  ), over as (
    select order_id, sum(greatest(validated - entitled, 0))::int as over_validated from plan group by order_id
  )
  select ids.order_id, coalesce(t.found, 0)::int, coalesce(c.added, 0), coalesce(c.reinstated, 0),
    coalesce(c.cancelled, 0), (coalesce(t.live + t.held, 0) - coalesce(c.cancelled, 0))::int,
    coalesce((v_relabelled ->> ids.order_id)::int, 0), coalesce(v.over_validated, 0),
    (coalesce(t.live + t.validated, 0) + coalesce(c.added + c.reinstated - c.cancelled, 0))::int,
    v_leftover -> ids.order_id
  from unnest(v_ids) as ids (order_id)
  left join tally t on t.order_id = ids.order_id
  left join changes c on c.order_id = ids.order_id
  left join over v on v.order_id = ids.order_id;
end
$$;

create or replace function public.reconcile_tickets(request jsonb) returns jsonb
language plpgsql set search_path = '' set lock_timeout = '5s' set jit = off set plan_cache_mode = force_custom_plan
as $$
declare
  v_location text := sync_internal.location(request);
  v_orders jsonb := coalesce(nullif(request -> 'orders', 'null'), '[]');
  v_ids text[];
  v_locked text[];
  v_first text[];
  v_results jsonb;
begin
  select coalesce(array_agg(distinct o ->> 'order_id'), '{}') into v_ids from jsonb_array_elements(v_orders) as o;
  -- Under the lock that reconciling takes: of two calls at once, one finds the order due. What appears a moment later isn't locked, and
  -- must not be any more: it would be out of order.
  select coalesce(array_agg(locked.order_id), '{}'),
    coalesce(array_agg(locked.order_id) filter (where locked.tickets_due is not null), '{}')
  into v_locked, v_first from (
    select order_id, tickets_due from public.ghl_qr_orders
    where order_id = any (v_ids) and location_id = v_location order by order_id for update
  ) as locked;

  select coalesce(jsonb_agg(
    to_jsonb(r) - 'leftover' || jsonb_build_object('issues', sync_internal.ticket_issues(r.over_validated, r.leftover))
    order by r.order_id), '[]')
  into v_results from sync_internal.reconcile(v_location, v_locked) as r;
  perform sync_internal.clear_failures(v_location, v_ids);

  if exists (select from jsonb_array_elements(v_orders) as o where o ->> 'run_id' is not null) then
    v_first := v_first || sync_internal.still_open(v_location, v_orders);
    perform sync_internal.settle_reconciled(v_location, v_orders, v_results);
  end if;
  return jsonb_build_object(
    'orders', (select coalesce(jsonb_agg(r - 'tickets'), '[]') from jsonb_array_elements(v_results) as r),
    'first', (
      select coalesce(jsonb_agg(r -> 'order_id' order by r ->> 'order_id'), '[]') from jsonb_array_elements(v_results) as r
      where r ->> 'order_id' = any (v_first)
        or (r ->> 'added')::int + (r ->> 'reinstated')::int + (r ->> 'cancelled')::int > 0),
    'publication_due', sync_internal.ask_for_batch(v_location, v_orders));
end
$$;

create or replace function sync_internal.fail_silent(p_location text, p_run uuid, p_since timestamptz) returns jsonb
language plpgsql
as $$
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
  return coalesce(v_silent, '[]');
end
$$;

revoke all on function sync_internal.fail_silent(text, uuid, timestamptz) from public, anon, authenticated;
grant execute on function sync_internal.fail_silent(text, uuid, timestamptz) to service_role;

create or replace function public.dispatch_orders(request jsonb) returns jsonb
language plpgsql set search_path = '' set lock_timeout = '5s' set jit = off
as $$
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
  v_given_up jsonb := '[]';
  v_left int;
begin
  select run_id into v_run from public.sync_runs
  where run_id = (sync_internal.required(request, 'run_id'))::uuid and location_id = v_location and state = 'Syncing'
  for update;
  if found then
    v_given_up := sync_internal.fail_silent(v_location, v_run, v_now - v_resend_after);
    select run_id into v_run from public.sync_runs where run_id = v_run and state = 'Syncing';
  end if;
  if v_run is null then
    return jsonb_build_object('order_ids', '[]'::jsonb, 'alone', '[]'::jsonb, 'outstanding', 0, 'budget_exhausted', false,
      'given_up', v_given_up);
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
    -- A small run may take all calls at once, but for those that its listing has still to make: it would wait for a window.
    v_free := greatest(v_free - coalesce((
      select ceil(greatest(r.total_count - r.listed, 0) / 90.0)
        + case r.kind when 'full' then ceil(r.total_count / 100.0) + 1 else 0 end
      from public.sync_runs r
      where r.run_id = v_run and not r.listing_complete
        and greatest(r.total_count, r.listed) - r.synced - r.failed - r.skipped < 2 * v_max), 0), 0);
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
    'given_up', v_given_up,
    'dispatched_at_ms', floor(extract(epoch from v_now) * 1000)::bigint,
    'in_ms', case when v_free_at is not null then sync_internal.until_ms(v_now, v_free_at) end,
    'next_ms', case when v_next_at is not null then sync_internal.until_ms(v_now, v_next_at) end,
    'budget_exhausted', coalesce(v_budget = 'exhausted', false));
end
$$;

create or replace function sync_internal.tells_end(p_location text, p_run uuid, p_state text) returns boolean
language sql volatile
as $$
  select p_state <> 'Syncing' and (
    exists (
      select from public.sync_runs r
      where r.run_id = p_run and r.location_id = p_location and coalesce(r.announced_state, 'Syncing') = 'Syncing')
    or exists (
      select from public.sync_locations l
      where l.location_id = p_location and l.last_words ->> 'run_id' = p_run::text
        and coalesce(l.last_words ->> 'announced_state', 'Syncing') = 'Syncing'))
$$;

revoke all on function sync_internal.tells_end(text, uuid, text) from public, anon, authenticated;
grant execute on function sync_internal.tells_end(text, uuid, text) to service_role;

create or replace function public.give_up_publication(request jsonb) returns jsonb
language plpgsql set search_path = '' set lock_timeout = '5s' set jit = off
as $$
declare
  v_location text := sync_internal.location(request);
  v_seq bigint := (sync_internal.required(request, 'seq_first'))::bigint;
begin
  update public.sync_locations set publication_seq = null
  where location_id = v_location and publication_seq >= v_seq;
  -- Each number is given once, and a publication has four.
  return jsonb_build_object('confirmed', exists (
    select from public.sync_runs where location_id = v_location and published_seq between v_seq and v_seq + 3));
end
$$;

create or replace function public.remove_connections(request jsonb) returns jsonb
language plpgsql set search_path = '' set lock_timeout = '5s' set jit = off
as $$
declare
  v_location text := sync_internal.location(request);
  v_ids text[] := sync_internal.texts(request -> 'connection_ids');
begin
  -- Exactly what was locked, in order, goes.
  select coalesce(array_agg(locked.connection_id), '{}') into v_ids from (
    select connection_id from public.sync_connections
    where location_id = v_location and connection_id = any (v_ids) order by connection_id for update
  ) as locked;
  delete from public.sync_connections where location_id = v_location and connection_id = any (v_ids);
  return jsonb_build_object('removed', to_jsonb(v_ids));
end
$$;

revoke all on function public.give_up_publication(jsonb) from public, anon, authenticated, service_role;
grant execute on function public.give_up_publication(jsonb) to service_role;

-- PostgREST learns of new functions.
notify pgrst, 'reload schema';
