-- A run's listing: its pages become orders of the run. Decided here: which of them are fetched, skipped, or taken for
-- unchanged without a fetch, which are handed out next, and which stored orders the list doesn't name.
-- What needs no fetch is a bit of the run (sync_run_bits), everything else a row (sync_outcomes); what has either is decided.

-- Takes pages of the listing, or of the sweep for refunds, into the run; ends the run if nothing is open any more.
-- request: {location_id, run_id, listing, listing_complete, deficit?, short?, total_count, sweep, orders: [{order_id,
--   source_updated_at, foreign, status?, payment_status?, amount?}], issues?: [{code, message}], dispatch?}
--   -> {run, recorded, publication_due, dispatch}
-- `short`: orders may be missing of the complete listing, so that none is reported as not listed. `dispatch`: as in dispatch_besides.
-- Locks: the run, its outcomes, the limiter's row if it dispatches, the location's row.
create or replace function public.record_page(request jsonb) returns jsonb
language plpgsql set search_path = '' set lock_timeout = '5s' set jit = off
as $$
declare
  v_location text := sync_internal.location(request);
  v_run public.sync_runs;
  v_recorded int := 0;
  v_completes boolean := coalesce((request ->> 'listing_complete')::boolean, false);
  v_due boolean := false;
  v_dispatch jsonb;
begin
  select * into v_run from public.sync_runs
  where run_id = (sync_internal.required(request, 'run_id'))::uuid and location_id = v_location for update;
  if not found then
    return jsonb_build_object('run', null, 'recorded', 0, 'publication_due', false);
  end if;

  if v_run.state = 'Syncing' then
    perform sync_internal.note_issues(v_location, coalesce((
      select jsonb_agg(i || jsonb_build_object('run_id', v_run.run_id))
      from jsonb_array_elements(coalesce(nullif(request -> 'issues', 'null'), '[]')) as i), '[]'));
    v_recorded := sync_internal.record_listed(v_run, coalesce((request ->> 'sweep')::boolean, false),
      coalesce(nullif(request -> 'orders', 'null'), '[]'));

    update public.sync_runs
    set listing = coalesce(nullif(request -> 'listing', 'null'), listing),
      listing_complete = listing_complete or v_completes,
      listing_deficit = coalesce((request ->> 'deficit')::int, listing_deficit),
      listing_short = listing_short or coalesce((request ->> 'short')::boolean, false),
      total_count = coalesce((request ->> 'total_count')::int, total_count),
      version = version + 1, last_progress_at = clock_timestamp()
    where run_id = v_run.run_id;
    if v_run.kind = 'full' and v_completes and not v_run.listing_complete
      and not coalesce((request ->> 'short')::boolean, false) then
      perform sync_internal.compare_stored(v_run.run_id);
    end if;
    perform sync_internal.finish_if_complete(v_run.run_id);
    v_dispatch := sync_internal.dispatch_besides(request);
  end if;

  v_due := sync_internal.ask_publication(v_location, v_run.run_id);
  if v_run.state = 'Syncing' then
    perform sync_internal.note_ghl_answered(v_location, clock_timestamp());
  end if;
  select * into v_run from public.sync_runs where run_id = v_run.run_id;
  return jsonb_build_object(
    'run', sync_internal.run_json(v_run), 'recorded', v_recorded, 'publication_due', v_due, 'dispatch', v_dispatch);
end
$$;

revoke all on function public.record_page(jsonb) from public, anon, authenticated;
grant execute on function public.record_page(jsonb) to service_role;

-- Records listed orders; those met before (pages overlap, pulses are redelivered) are neither decided nor counted again.
-- Returns how many are new. The caller holds the run's row lock.
create or replace function sync_internal.record_listed(p_run public.sync_runs, p_sweep boolean, orders jsonb)
returns int
language plpgsql
as $$
declare
  v_recorded int;
begin
  with triaged as materialized (
    select t.*, t.decision <> 'fetch' and t.number is not null as is_bit,
      case when t.decision = 'unchanged' then (
        select count(*) from public.ghl_qr_tickets k
        where k.order_id = t.order_id and k.status in ('live', 'validated', 'used')) else 0 end as tickets
    from sync_internal.triage_listed(p_run, p_sweep, orders) as t
    where t.decision is not null
  ), recorded as (
    insert into public.sync_outcomes
      (run_id, order_id, outcome, by_listing, change, code, reason, tickets, recorded_at, listed)
    select p_run.run_id, t.order_id,
      case t.decision when 'unchanged' then 'synced' when 'skip' then 'skipped' end,
      t.decision <> 'fetch',
      case t.decision when 'unchanged' then 'unchanged' end,
      case t.decision when 'skip' then t.code end,
      case when t.decision = 'skip' then sync_internal.why_skipped(t.code) end,
      t.tickets, case when t.decision <> 'fetch' then clock_timestamp() end,
      case when t.decision = 'fetch' then t.listed end
    from triaged t
    where not t.is_bit
    on conflict do nothing
  ), blocks as materialized (
    select number / 16384 as block,
      array_agg((number % 16384)::int) filter (where decision = 'unchanged') as unchanged,
      array_agg((number % 16384)::int) filter (where decision = 'skip') as skipped
    from triaged where is_bit group by 1
  ), noted as (
    insert into public.sync_run_bits as b (run_id, block, unchanged, skipped)
    select p_run.run_id, block, sync_internal.with_bits(null, unchanged), sync_internal.with_bits(null, skipped)
    from blocks order by block
    on conflict (run_id, block) do update set
      unchanged = sync_internal.with_bits(b.unchanged, (select n.unchanged from blocks n where n.block = b.block)),
      skipped = sync_internal.with_bits(b.skipped, (select n.skipped from blocks n where n.block = b.block))
  ), tally as (
    select count(*) as listed, count(*) filter (where decision = 'unchanged') as synced,
      count(*) filter (where decision = 'skip') as skipped, coalesce(sum(tickets), 0) as tickets
    from triaged
  ), counted as (
    update public.sync_runs as r
    set listed = r.listed + t.listed, synced = r.synced + t.synced, unchanged = r.unchanged + t.synced,
      skipped = r.skipped + t.skipped, tickets_total = r.tickets_total + t.tickets
    from tally t where r.run_id = p_run.run_id
  )
  select listed into v_recorded from tally;
  return v_recorded;
end
$$;

revoke all on function sync_internal.record_listed(public.sync_runs, boolean, jsonb) from public, anon, authenticated;
grant execute on function sync_internal.record_listed(public.sync_runs, boolean, jsonb) to service_role;

-- A row of bits (null: none yet) with these set as well.
create or replace function sync_internal.with_bits(p_row bytea, p_bits int[]) returns bytea
language plpgsql immutable
as $$
declare
  v_row bytea := p_row;
  v_bit int;
begin
  if p_bits is null then
    return v_row;
  end if;
  v_row := coalesce(v_row, decode(repeat('00', 2048), 'hex'));
  foreach v_bit in array p_bits loop
    v_row := set_bit(v_row, v_bit, 1);
  end loop;
  return v_row;
end
$$;

revoke all on function sync_internal.with_bits(bytea, int[]) from public, anon, authenticated;
grant execute on function sync_internal.with_bits(bytea, int[]) to service_role;

-- Whether the order of this number has its bit in a row of bits.
create or replace function sync_internal.has_bit(p_row bytea, p_number bigint) returns boolean
language sql immutable
as $$
  select p_row is not null and get_bit(p_row, p_number % 16384) = 1
$$;

revoke all on function sync_internal.has_bit(bytea, bigint) from public, anon, authenticated;
grant execute on function sync_internal.has_bit(bytea, bigint) to service_role;

-- Why an order that the listing names is none of ours, for a person.
create or replace function sync_internal.why_skipped(p_code text) returns text
language sql immutable
as $$
  select case when p_code = 'other_location' then 'The order belongs to another location'
    else 'None of its products is in the product list' end
$$;

revoke all on function sync_internal.why_skipped(text) from public, anon, authenticated;
grant execute on function sync_internal.why_skipped(text) to service_role;

-- What the listing alone decides of each order that the run hasn't decided yet: 'fetch', 'unchanged' (in step, no fetch
-- needed), 'skip', or nothing (a refund sweep records only what it wants fetched). The caller holds the run's row lock.
create or replace function sync_internal.triage_listed(p_run public.sync_runs, p_sweep boolean, orders jsonb)
returns table (order_id text, number bigint, listed jsonb, decision text, code text)
language plpgsql
as $$
#variable_conflict use_column
begin
  return query
  with named as (
    select distinct on (i.order_id) i.order_id, i.source_updated_at, coalesce(i."foreign", false) as is_foreign,
      i.status, i.payment_status, i.amount
    from jsonb_to_recordset(orders) as i (
      order_id text, source_updated_at timestamptz, "foreign" boolean, status text, payment_status text, amount numeric)
    where nullif(i.order_id, '') is not null
    order by i.order_id, i.source_updated_at desc nulls last
  ), products as materialized (
    select sync_internal.listed_products(p_run.location_id) as listed_products
  ), known as (
    select l.*, m.number, m.incomplete, m.fetched_at is not null as remembered, o.order_id is not null as is_stored,
      sync_internal.is_valid_now(m.valid, m.product_ids, p.listed_products) as valid_now,
      m.product_ids && p.listed_products as product_listed,
      m.source_updated_at = l.source_updated_at as same_as_remembered,
      lower(o.payment_status) = 'refunded' as is_refunded,
      -- The row tells, not the memory: it is what must be in step. An order that failed or whose tickets are due isn't.
      coalesce(o.fetched_at is not null and o.source_updated_at = l.source_updated_at and o.tickets_due is null, false)
        -- A field shows another value than the row, and than the list showed when the order was last fetched.
        and not (l.status is not null and lower(l.status) is distinct from lower(o.order_status)
          and lower(l.status) is distinct from m.listed ->> 'status')
        and not (l.payment_status is not null and lower(l.payment_status) is distinct from lower(o.payment_status)
          and lower(l.payment_status) is distinct from m.listed ->> 'payment_status')
        and not (l.amount is not null and l.amount is distinct from o.total_paid
          and l.amount is distinct from (m.listed ->> 'amount')::numeric)
        -- Transactions told of a refund since it was fetched.
        and not exists (
          select from public.sync_refunds r
          where r.location_id = p_run.location_id and r.order_id = l.order_id and r.changed_at > m.fetched_at)
        and not exists (select from public.ghl_qr_tickets_touched t where t.order_id = l.order_id)
        and not exists (
          select from public.sync_failures f
          where f.location_id = p_run.location_id and f.order_id = l.order_id) as in_step
    from named l
    cross join products p
    left join public.sync_order_memory m on m.location_id = p_run.location_id and m.order_id = l.order_id
    left join public.ghl_qr_orders o on o.order_id = l.order_id and o.location_id = p_run.location_id
    -- Limited, so that each is looked up by its key: joined at once, all of the run's outcomes would be read.
    left join lateral (
      select true as has_row from public.sync_outcomes c
      where c.run_id = p_run.run_id and c.order_id = l.order_id limit 1) as outcome on true
    left join public.sync_run_bits b on b.run_id = p_run.run_id and b.block = m.number / 16384
    where outcome.has_row is null
      and not coalesce(sync_internal.has_bit(b.unchanged, m.number) or sync_internal.has_bit(b.skipped, m.number), false)
  ), decided as (
    select k.*,
      -- Not ours when last fetched, unchanged since, and none of its products is listed now: no need to look again.
      k.remembered and not k.is_stored and not k.valid_now and coalesce(k.same_as_remembered, false)
        and not coalesce(k.product_listed, false) as known_invalid
    from known k
  )
  select d.order_id, case when not d.is_foreign then d.number end,
    nullif(jsonb_strip_nulls(
      jsonb_build_object('status', d.status, 'payment_status', d.payment_status, 'amount', d.amount)), '{}'),
    case
      when p_sweep then case
        when not d.is_foreign and not coalesce(d.is_refunded, false) and not d.known_invalid then 'fetch' end
      when d.is_foreign then 'skip'
      when p_run.kind = 'valid_list' then case
        when not d.remembered then 'fetch' when d.valid_now then 'unchanged' else 'skip' end
      -- A full run looks again at what couldn't be read.
      when d.known_invalid and not (p_run.kind = 'full' and coalesce(d.incomplete, false)) then 'skip'
      when p_run.kind = 'incremental' and d.in_step then 'unchanged'
      else 'fetch'
    end,
    case when d.is_foreign then 'other_location' else 'no_valid_product' end
  from decided d;
end
$$;

revoke all on function sync_internal.triage_listed(public.sync_runs, boolean, jsonb) from public, anon, authenticated;
grant execute on function sync_internal.triage_listed(public.sync_runs, boolean, jsonb) to service_role;

-- Goes on comparing the stored orders with a full run's complete listing, where record_page left off.
-- request: {location_id, run_id} -> {run}; `run.comparing` tells whether there is more to do.
-- Locks: the run.
create or replace function public.compare_stored(request jsonb) returns jsonb
language plpgsql set search_path = '' set lock_timeout = '5s' set jit = off
as $$
declare
  v_location text := sync_internal.location(request);
  v_run public.sync_runs;
begin
  select * into v_run from public.sync_runs
  where run_id = (sync_internal.required(request, 'run_id'))::uuid and location_id = v_location for update;
  if found and sync_internal.is_comparing(v_run) then
    perform sync_internal.compare_stored(v_run.run_id);
    select * into v_run from public.sync_runs where run_id = v_run.run_id;
  end if;
  return jsonb_build_object('run', sync_internal.run_json(v_run));
end
$$;

revoke all on function public.compare_stored(jsonb) from public, anon, authenticated;
grant execute on function public.compare_stored(jsonb) to service_role;

-- Looks for stored orders that a complete listing doesn't name, such as the original app's that GHL has no more: neither bit nor
-- outcome. Absence changes no ticket, so a person must look. A portion of the orders each time, so that no statement grows with
-- their number; the last one notes what was found. The caller holds the run's row lock.
create or replace function sync_internal.compare_stored(p_run uuid) returns void
language plpgsql
as $$
declare
  v_portion constant int := 10000;
  v_run public.sync_runs;
  v_so_far jsonb;
begin
  select * into v_run from public.sync_runs where run_id = p_run;
  v_so_far := coalesce(v_run.not_listed, '{"after": "", "orders": 0, "tickets": 0, "some": []}');

  with portion as materialized (
    select o.order_id,
      -- What came by webhook while pages were read may stand on none of them; old rows of the original app name no location.
      coalesce(o.location_id, v_run.location_id) = v_run.location_id
        and coalesce(o.fetched_at, o.inserted_at, '-infinity') < v_run.started_at as is_expected
    from public.ghl_qr_orders o
    where o.order_id > v_so_far ->> 'after' order by o.order_id limit v_portion
  ), not_listed as materialized (
    select p.order_id
    from portion p
    -- Limited, so that each is looked up by its key: joined at once, all of the run's outcomes would be read.
    left join lateral (
      select true as is_listed from public.sync_outcomes c
      where c.run_id = p_run and c.order_id = p.order_id limit 1) as outcome on true
    left join lateral (
      select sync_internal.has_bit(b.unchanged, m.number) or sync_internal.has_bit(b.skipped, m.number) as is_listed
      from public.sync_order_memory m
      join public.sync_run_bits b on b.run_id = p_run and b.block = m.number / 16384
      where m.location_id = v_run.location_id and m.order_id = p.order_id limit 1) as bit on true
    where p.is_expected and outcome.is_listed is null and not coalesce(bit.is_listed, false)
  )
  select jsonb_build_object(
    'after', coalesce((select max(order_id) from portion), ''),
    'orders', (v_so_far ->> 'orders')::int + (select count(*) from not_listed),
    'tickets', (v_so_far ->> 'tickets')::int + (
      select count(*) from not_listed n join public.ghl_qr_tickets t on t.order_id = n.order_id and t.status = 'live'),
    'some', (
      select coalesce(jsonb_agg(id), '[]') from (
        (select id from jsonb_array_elements_text(v_so_far -> 'some') as id)
        union all (select order_id from not_listed order by order_id limit 5)
        limit 5) as first_five),
    'done', (select count(*) from portion) < v_portion)
  into v_so_far;
  update public.sync_runs set not_listed = v_so_far where run_id = p_run;

  if (v_so_far ->> 'done')::boolean and (v_so_far ->> 'orders')::int > 0 then
    insert into public.sync_issues (run_id, code, message)
    values (p_run, 'orders_not_listed', format(
      '%s stored order(s) with %s live ticket(s) aren''t in GHL''s list: %s%s. Their tickets were left as they are and still '
        || 'admit. Look the orders up in GHL, and cancel the tickets of those that are gone.',
      v_so_far ->> 'orders', v_so_far ->> 'tickets',
      (select string_agg(id, ', ') from jsonb_array_elements_text(v_so_far -> 'some') as id),
      case when (v_so_far ->> 'orders')::int > 5 then ', ...' else '' end))
    on conflict do nothing;
  end if;
end
$$;

revoke all on function sync_internal.compare_stored(uuid) from public, anon, authenticated;
grant execute on function sync_internal.compare_stored(uuid) to service_role;

-- Whether the stored orders are still to be compared with the run's listing. A run that broke off concludes nothing.
create or replace function sync_internal.is_comparing(p_run public.sync_runs) returns boolean
language sql immutable
as $$
  select p_run.state in ('Syncing', 'Delay', 'Completed') and p_run.not_listed is not null
    and not (p_run.not_listed ->> 'done')::boolean
$$;

revoke all on function sync_internal.is_comparing(public.sync_runs) from public, anon, authenticated;
grant execute on function sync_internal.is_comparing(public.sync_runs) to service_role;

-- Hands out orders to fetch just before the rate limit has calls for them: as many as will be free within ahead_ms, less those of
-- orders that were handed out and haven't asked for their calls yet; and so that at most max_outstanding are under way. What has
-- been silent too long goes again, and alone, so that it can't harm others; after the third silence it has failed.
-- request: {location_id, run_id, max_outstanding, resend_after_ms, limit, ahead_ms?, limits?: {max, window_ms, daily_reserve?}}
--   -> {order_ids, alone, dispatched_at_ms, in_ms, next_ms, outstanding, budget_exhausted, given_up}
-- `alone` are those of order_ids that go alone. `in_ms`: when their calls will be free. `next_ms`: when the next calls will be free;
-- null if nothing is left to hand out, or nobody can tell. `given_up`: what has failed with this call, as its outcomes say it.
-- Without `limits`, the limiter isn't asked: so it was called by the version before.
-- Locks: the run, its outcomes that have been silent, the limiter's row, then the outcomes of the orders it hands out.
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

revoke all on function public.dispatch_orders(jsonb) from public, anon, authenticated;
grant execute on function public.dispatch_orders(jsonb) to service_role;

-- Dispatches in the same call what a request asks for besides: its `dispatch` is a request of dispatch_orders without location and
-- run, which are the request's own. Null if it asks for nothing. The caller holds the run's row lock.
create or replace function sync_internal.dispatch_besides(request jsonb) returns jsonb
language sql
as $$
  select public.dispatch_orders((request -> 'dispatch')
    || jsonb_build_object('location_id', request -> 'location_id', 'run_id', request -> 'run_id'))
  where jsonb_typeof(request -> 'dispatch') = 'object'
$$;

revoke all on function sync_internal.dispatch_besides(jsonb) from public, anon, authenticated;
grant execute on function sync_internal.dispatch_besides(jsonb) to service_role;

-- When there will be calls for more orders than are awaited. Calls become free in the pieces in which they were granted: a piece of
-- less than `p_worth` waits for others that make it larger, for a fifth of a window at most from when the first was free
-- (`p_waits_since`, null if none is). Whoever takes each piece at once never gets them together again.
create or replace function sync_internal.worth_a_message(
  p_times timestamptz[], p_calls int[], p_awaited int, p_left int, p_worth int, p_window_ms numeric, p_waits_since timestamptz
) returns timestamptz
language sql immutable
as $$
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
$$;

revoke all on function sync_internal.worth_a_message(timestamptz[], int[], int, int, int, numeric, timestamptz) from public, anon, authenticated;
grant execute on function sync_internal.worth_a_message(timestamptz[], int[], int, int, int, numeric, timestamptz) to service_role;

-- Records as failed what was sent three times and heard of never. Returns these failures. The caller holds the run's row lock.
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

-- Gives back orders for which there were no calls in time: they are dispatched again when there are. Only what hasn't been dispatched
-- anew since.
-- request: {location_id, run_id, dispatched_at_ms, order_ids} -> {given_back}
-- Locks: the run, the outcomes, the limiter's row.
create or replace function public.give_back_orders(request jsonb) returns jsonb
language plpgsql set search_path = '' set lock_timeout = '5s' set jit = off
as $$
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
$$;

revoke all on function public.give_back_orders(jsonb) from public, anon, authenticated;
grant execute on function public.give_back_orders(jsonb) to service_role;

-- The run's listed orders that are valid, for valid_order_list.json: those among the next `limit` remembered orders, at most 10,000.
-- request: {location_id, run_id, after?, limit} -> {order_ids, next}; `next` is the `after` of the following page, null at the
-- end. A page may hold fewer orders than `limit`, also none.
-- Locks nothing.
create or replace function public.valid_orders(request jsonb) returns jsonb
language plpgsql set search_path = '' set lock_timeout = '5s' set jit = off
as $$
declare
  v_location text := sync_internal.location(request);
  v_run uuid := (sync_internal.required(request, 'run_id'))::uuid;
  v_limit int := greatest(1, least(coalesce((request ->> 'limit')::int, 100), 10000));
  v_products text[] := sync_internal.listed_products(v_location);
begin
  return (
    with page as materialized (
      select m.order_id, m.number, sync_internal.is_valid_now(m.valid, m.product_ids, v_products) as valid_now
      from public.sync_order_memory m
      where m.location_id = v_location and m.order_id > coalesce(request ->> 'after', '')
      order by m.order_id limit v_limit
    )
    select jsonb_build_object(
      'order_ids', coalesce(jsonb_agg(p.order_id order by p.order_id)
        filter (where p.valid_now and coalesce(outcome.is_listed, bit.is_listed, false)), '[]'),
      'next', case when count(*) = v_limit then max(p.order_id) end)
    from page p
    -- Limited, so that each is looked up by its key: joined at once, all of the run's outcomes would be read.
    left join lateral (
      select true as is_listed from public.sync_outcomes c
      where c.run_id = v_run and c.order_id = p.order_id limit 1) as outcome on true
    left join lateral (
      select sync_internal.has_bit(b.unchanged, p.number) or sync_internal.has_bit(b.skipped, p.number) as is_listed
      from public.sync_run_bits b where b.run_id = v_run and b.block = p.number / 16384 limit 1) as bit on true);
end
$$;

revoke all on function public.valid_orders(jsonb) from public, anon, authenticated;
grant execute on function public.valid_orders(jsonb) to service_role;

-- Keeps how far the upload of the list of valid orders is, so that a later pulse goes on with it: null to begin anew, {done} once
-- the list is written, else whatever the worker needs.
-- request: {location_id, run_id, upload} -> {}
-- Locks: the run.
create or replace function public.keep_valid_list(request jsonb) returns jsonb
language plpgsql set search_path = '' set lock_timeout = '5s' set jit = off
as $$
declare
  v_location text := sync_internal.location(request);
begin
  update public.sync_runs set valid_list = nullif(request -> 'upload', 'null')
  where run_id = (sync_internal.required(request, 'run_id'))::uuid and location_id = v_location;
  return '{}';
end
$$;

revoke all on function public.keep_valid_list(jsonb) from public, anon, authenticated;
grant execute on function public.keep_valid_list(jsonb) to service_role;
