-- A run's listing: its pages become orders of the run. Decided here: which of them are fetched, skipped, or taken for
-- unchanged without a fetch, which are handed out next, and which stored orders the list doesn't name.

-- Takes a page of the listing, or of the sweep for refunds, into the run; ends the run if nothing is open any more.
-- request: {location_id, run_id, listing, listing_complete, total_count, sweep, orders: [{order_id, source_updated_at,
--   foreign}], issues?: [{code, message}]} -> {run, recorded, publication}
-- Locks: the run, its outcomes, the location's row.
create or replace function public.record_page(request jsonb) returns jsonb
language plpgsql set search_path = '' set lock_timeout = '5s' set jit = off
as $$
declare
  v_location text := sync_internal.location(request);
  v_run public.sync_runs;
  v_sweep boolean := coalesce((request ->> 'sweep')::boolean, false);
  v_recorded int := 0;
  v_publication jsonb;
begin
  select * into v_run from public.sync_runs
  where run_id = (sync_internal.required(request, 'run_id'))::uuid and location_id = v_location for update;
  if not found then
    return jsonb_build_object('run', null, 'recorded', 0, 'publication', null);
  end if;

  if v_run.state = 'Syncing' then
    perform sync_internal.note_issues(v_location, coalesce((
      select jsonb_agg(i || jsonb_build_object('run_id', v_run.run_id))
      from jsonb_array_elements(coalesce(nullif(request -> 'issues', 'null'), '[]')) as i), '[]'));
    if v_sweep then
      perform sync_internal.reopen_for_sweep(v_run, request -> 'orders');
    end if;
    v_recorded := sync_internal.record_listed(v_run, v_sweep, coalesce(nullif(request -> 'orders', 'null'), '[]'));

    update public.sync_runs
    set listing = coalesce(nullif(request -> 'listing', 'null'), listing),
      listing_complete = listing_complete or coalesce((request ->> 'listing_complete')::boolean, false),
      total_count = coalesce((request ->> 'total_count')::int, total_count),
      version = version + 1, last_progress_at = clock_timestamp()
    where run_id = v_run.run_id;
    if v_run.kind = 'full' and not v_run.listing_complete and (request ->> 'listing_complete')::boolean then
      perform sync_internal.note_orders_not_listed(v_run);
    end if;
    perform sync_internal.finish_if_complete(v_run.run_id);
  end if;

  v_publication := sync_internal.grant_publication(v_location, v_run.run_id);
  select * into v_run from public.sync_runs where run_id = v_run.run_id;
  return jsonb_build_object(
    'run', sync_internal.run_json(v_run), 'recorded', v_recorded, 'publication', v_publication);
end
$$;

revoke all on function public.record_page(jsonb) from public, anon, authenticated;
grant execute on function public.record_page(jsonb) to service_role;

-- A refund that didn't bump updatedAt: the listing took the order for unchanged, the sweep knows better. Such an order is
-- opened again; sweeping before listing avoids that counts step back for it.
-- The caller holds the run's row lock.
create or replace function sync_internal.reopen_for_sweep(p_run public.sync_runs, orders jsonb) returns void
language sql
as $$
  with reopened as (
    update public.sync_outcomes as o
    set outcome = null, by_listing = false, change = null, tickets = 0, recorded_at = null
    from sync_internal.triage_listed(p_run.location_id, p_run.kind, true, orders) as t
    join public.sync_outcomes before on before.order_id = t.order_id and before.run_id = p_run.run_id
    where t.decision = 'fetch' and o.run_id = p_run.run_id and o.order_id = t.order_id
      and o.by_listing and o.outcome = 'synced'
    returning before.tickets
  )
  update public.sync_runs as r
  set synced = r.synced - n.reopened, unchanged = r.unchanged - n.reopened, tickets_total = r.tickets_total - n.tickets
  from (select count(*) as reopened, coalesce(sum(tickets), 0) as tickets from reopened) as n
  where r.run_id = p_run.run_id and n.reopened > 0
$$;

revoke all on function sync_internal.reopen_for_sweep(public.sync_runs, jsonb) from public, anon, authenticated;
grant execute on function sync_internal.reopen_for_sweep(public.sync_runs, jsonb) to service_role;

-- Records a page's orders; those met before (pages overlap, pulses are redelivered) count nothing. Returns how many are
-- new. The caller holds the run's row lock.
create or replace function sync_internal.record_listed(p_run public.sync_runs, p_sweep boolean, orders jsonb)
returns int
language plpgsql
as $$
declare
  v_recorded int;
begin
  with triaged as (
    select * from sync_internal.triage_listed(p_run.location_id, p_run.kind, p_sweep, orders)
    where decision is not null
  ), recorded as (
    insert into public.sync_outcomes
      (run_id, order_id, outcome, by_listing, change, code, reason, tickets, recorded_at)
    select p_run.run_id, t.order_id,
      case t.decision when 'unchanged' then 'synced' when 'skip' then 'skipped' end,
      t.decision <> 'fetch',
      case t.decision when 'unchanged' then 'unchanged' end,
      case t.decision when 'skip' then t.code end,
      case when t.decision <> 'skip' then null
        when t.code = 'other_location' then 'The order belongs to another location'
        else 'None of its products is in the product list' end,
      case when t.decision = 'unchanged' then (
        select count(*) from public.ghl_qr_tickets k
        where k.order_id = t.order_id and k.status in ('live', 'validated', 'used')) else 0 end,
      case when t.decision <> 'fetch' then clock_timestamp() end
    from triaged t
    on conflict do nothing
    returning outcome, tickets
  ), tally as (
    select count(*) as listed, count(*) filter (where outcome = 'synced') as synced,
      count(*) filter (where outcome = 'skipped') as skipped, coalesce(sum(tickets), 0) as tickets
    from recorded
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

-- What the listing alone decides of each order: 'fetch', 'unchanged' (in step, no fetch needed), 'skip', or nothing
-- (a refund sweep records only what it wants fetched).
create or replace function sync_internal.triage_listed(p_location text, p_kind text, p_sweep boolean, orders jsonb)
returns table (order_id text, source_updated_at timestamptz, decision text, code text)
language plpgsql
as $$
#variable_conflict use_column
begin
  return query
  with listed as (
    select distinct on (i.order_id) i.order_id, i.source_updated_at, coalesce(i."foreign", false) as is_foreign
    from jsonb_to_recordset(orders) as i (order_id text, source_updated_at timestamptz, "foreign" boolean)
    where nullif(i.order_id, '') is not null
    order by i.order_id, i.source_updated_at desc nulls last
  ), products as materialized (
    select sync_internal.listed_products(p_location) as listed_products
  ), known as (
    select l.*, m.fetched_at is not null as remembered, o.order_id is not null as is_stored,
      sync_internal.is_valid_now(m.valid, m.product_ids, p.listed_products) as valid_now,
      m.product_ids && p.listed_products as product_listed,
      m.source_updated_at = l.source_updated_at as same_as_remembered,
      lower(o.payment_status) = 'refunded' as is_refunded,
      -- The row tells, not the memory: it is what must be in step. An order that failed or whose tickets are due isn't.
      coalesce(o.fetched_at is not null and o.source_updated_at = l.source_updated_at and o.tickets_due is null, false)
        and not exists (select from public.ghl_qr_tickets_touched t where t.order_id = l.order_id)
        and not exists (
          select from public.sync_failures f where f.location_id = p_location and f.order_id = l.order_id) as in_step
    from listed l
    cross join products p
    left join public.sync_order_memory m on m.location_id = p_location and m.order_id = l.order_id
    left join public.ghl_qr_orders o on o.order_id = l.order_id and o.location_id = p_location
  ), decided as (
    select k.*,
      -- Not ours when last fetched, unchanged since, and none of its products is listed now: no need to look again.
      k.remembered and not k.is_stored and not k.valid_now and coalesce(k.same_as_remembered, false)
        and not coalesce(k.product_listed, false) as known_invalid
    from known k
  )
  select d.order_id, d.source_updated_at,
    case
      when p_sweep then case
        when not d.is_foreign and not coalesce(d.is_refunded, false) and not d.known_invalid then 'fetch' end
      when d.is_foreign then 'skip'
      when p_kind = 'valid_list' then case
        when not d.remembered then 'fetch' when d.valid_now then 'unchanged' else 'skip' end
      when d.known_invalid then 'skip'
      when p_kind = 'incremental' and d.in_step then 'unchanged'
      else 'fetch'
    end,
    case when d.is_foreign then 'other_location' else 'no_valid_product' end
  from decided d;
end
$$;

revoke all on function sync_internal.triage_listed(text, text, boolean, jsonb) from public, anon, authenticated;
grant execute on function sync_internal.triage_listed(text, text, boolean, jsonb) to service_role;

-- Stored orders that a complete listing doesn't name, such as the original app's that GHL has no more. Absence changes no
-- ticket, so a person must look. Once per full run; the caller holds the run's row lock.
create or replace function sync_internal.note_orders_not_listed(p_run public.sync_runs) returns void
language plpgsql
as $$
declare
  v_orders int;
  v_tickets int;
  v_some text;
begin
  with not_listed as (
    select o.order_id from public.ghl_qr_orders o
    -- What came by webhook while pages were read may stand on none of them; old rows of the original app name no location.
    where coalesce(o.location_id, p_run.location_id) = p_run.location_id
      and coalesce(o.fetched_at, o.inserted_at, '-infinity') < p_run.started_at
      and not exists (select from public.sync_outcomes c where c.run_id = p_run.run_id and c.order_id = o.order_id)
  )
  select count(*), (select count(*) from public.ghl_qr_tickets t
      where t.status = 'live' and t.order_id in (select order_id from not_listed)),
    (select string_agg(order_id, ', ') from (select order_id from not_listed order by order_id limit 5) as first_five)
  into v_orders, v_tickets, v_some
  from not_listed;

  if v_orders > 0 then
    perform sync_internal.note_issues(p_run.location_id, jsonb_build_array(jsonb_build_object(
      'run_id', p_run.run_id, 'code', 'orders_not_listed',
      'message', format('%s stored order(s) with %s live ticket(s) aren''t in GHL''s list: %s%s. Their tickets were left '
        || 'as they are and still admit. Look the orders up in GHL, and cancel the tickets of those that are gone.',
        v_orders, v_tickets, v_some, case when v_orders > 5 then ', ...' else '' end))));
  end if;
end
$$;

revoke all on function sync_internal.note_orders_not_listed(public.sync_runs) from public, anon, authenticated;
grant execute on function sync_internal.note_orders_not_listed(public.sync_runs) to service_role;

-- Hands out orders to fetch, so that at most max_outstanding are under way; what has been silent too long goes again.
-- request: {location_id, run_id, max_outstanding, resend_after_ms, limit} -> {order_ids, outstanding}
-- Locks: the run, then the outcomes of the orders it hands out.
create or replace function public.dispatch_orders(request jsonb) returns jsonb
language plpgsql set search_path = '' set lock_timeout = '5s' set jit = off
as $$
declare
  v_location text := sync_internal.location(request);
  v_run uuid;
  v_silent_since timestamptz := clock_timestamp()
    - sync_internal.milliseconds((sync_internal.required(request, 'resend_after_ms'))::numeric);
  v_outstanding int;
  v_ids jsonb;
begin
  select run_id into v_run from public.sync_runs
  where run_id = (sync_internal.required(request, 'run_id'))::uuid and location_id = v_location and state = 'Syncing'
  for update;
  if not found then
    return jsonb_build_object('order_ids', '[]'::jsonb, 'outstanding', 0);
  end if;

  select count(*) into v_outstanding from public.sync_outcomes
  where run_id = v_run and outcome is null and dispatched_at > v_silent_since;

  with candidates as (
    (select order_id, position from public.sync_outcomes
      where run_id = v_run and outcome is null and dispatched_at <= v_silent_since
      order by dispatched_at limit 1000)
    union all
    (select order_id, position from public.sync_outcomes
      where run_id = v_run and outcome is null and dispatched_at is null
      order by position limit 1000)
  ), chosen as (
    select order_id, position from candidates order by position
    limit greatest(least((sync_internal.required(request, 'max_outstanding'))::int - v_outstanding,
      sync_internal.page_limit(request)), 0)
  ), dispatched as (
    update public.sync_outcomes as o set dispatched_at = clock_timestamp()
    from chosen c where o.run_id = v_run and o.order_id = c.order_id
    returning o.order_id, o.position
  )
  select coalesce(jsonb_agg(order_id order by position), '[]') into v_ids from dispatched;
  return jsonb_build_object(
    'order_ids', v_ids, 'outstanding', v_outstanding + jsonb_array_length(v_ids));
end
$$;

revoke all on function public.dispatch_orders(jsonb) from public, anon, authenticated;
grant execute on function public.dispatch_orders(jsonb) to service_role;

-- The run's listed orders that are valid, for valid_order_list.json.
-- request: {location_id, run_id, after?, limit} -> {order_ids, next}; `next` is the `after` of the following page.
-- Locks nothing.
create or replace function public.valid_orders(request jsonb) returns jsonb
language plpgsql set search_path = '' set lock_timeout = '5s' set jit = off
as $$
declare
  v_location text := sync_internal.location(request);
  v_limit int := sync_internal.page_limit(request);
  v_products text[] := sync_internal.listed_products(v_location);
  v_ids jsonb;
begin
  select coalesce(jsonb_agg(page.order_id order by page.order_id), '[]') into v_ids
  from (
    select o.order_id
    from public.sync_outcomes o
    join public.sync_order_memory m on m.location_id = v_location and m.order_id = o.order_id
    where o.run_id = (sync_internal.required(request, 'run_id'))::uuid
      and o.order_id > coalesce(request ->> 'after', '')
      and sync_internal.is_valid_now(m.valid, m.product_ids, v_products)
    order by o.order_id limit v_limit
  ) as page;
  return jsonb_build_object('order_ids', v_ids,
    'next', case when jsonb_array_length(v_ids) = v_limit then v_ids -> -1 end);
end
$$;

revoke all on function public.valid_orders(jsonb) from public, anon, authenticated;
grant execute on function public.valid_orders(jsonb) to service_role;
