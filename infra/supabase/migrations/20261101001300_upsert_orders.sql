-- request: {location_id, orders: [{order_id, run_id?, cause, fetched_at, source_updated_at?, foreign, valid, remember_only,
--   force, attempts, product_ids, lines_readable, lines, ticket_quantities, entitled, entitlement_reason?, live_mode,
--   issues, row}]} -> {orders: [{order_id, result, reason?, issues}], publication}
create or replace function public.upsert_orders(request jsonb) returns jsonb
language plpgsql set search_path = '' set lock_timeout = '5s' set jit = off
as $$
declare
  v_location text := sync_internal.location(request);
  v_orders jsonb := coalesce(nullif(request -> 'orders', 'null'), '[]');
  v_ids text[];
  v_results jsonb;
begin
  if exists (
    select from jsonb_array_elements(v_orders) as o
    where nullif(o ->> 'order_id', '') is null or o ->> 'fetched_at' is null
  ) then
    raise exception 'every order needs an order_id and a fetched_at' using errcode = '22023';
  end if;

  -- Another location's order leaves no trace.
  select coalesce(array_agg(distinct o ->> 'order_id'), '{}') into v_ids
  from jsonb_array_elements(v_orders) as o where not coalesce((o ->> 'foreign')::boolean, false);

  -- The memory's row is the order's lock, since the order's own row may not exist yet; then the rows that do.
  insert into public.sync_order_memory (location_id, order_id)
  select v_location, id from unnest(v_ids) as id order by id
  on conflict do nothing;
  perform from public.sync_order_memory
  where location_id = v_location and order_id = any (v_ids) order by order_id for update;
  perform from public.ghl_qr_orders where order_id = any (v_ids) order by order_id for no key update;

  -- One statement from here, begun after the locks: it decides by what is true now, and writes what it decided.
  with judged as materialized (
    select * from sync_internal.judge_orders(v_location, v_orders)
  ), written as (
    insert into public.ghl_qr_orders as o (
      order_id, location_id, total_paid, payment_status, payment_currency, order_status, contact_id,
      contact_firstname, contact_lastname, contact_email, contact_phone, date_added, updated_at,
      event_id, event_name, event_image, event_ticket_price, event_ticket_currency, event_available_qty,
      event_ticket_qty, event_ticket_type, ticket_quantities, source_updated_at, fetched_at,
      lines, entitled, entitlement_reason, live_mode, tickets_due)
    select n.order_id, n.location_id, n.total_paid, n.payment_status, n.payment_currency, n.order_status, n.contact_id,
      n.contact_firstname, n.contact_lastname, n.contact_email, n.contact_phone, n.date_added, clock_timestamp(),
      n.event_id, n.event_name, n.event_image, n.event_ticket_price, n.event_ticket_currency, n.event_available_qty,
      n.event_ticket_qty, n.event_ticket_type, n.ticket_quantities, n.source_updated_at, j.fetched_at,
      n.lines, n.entitled, n.entitlement_reason, n.live_mode,
      case when j.due then coalesce(n.tickets_due, clock_timestamp()) else n.tickets_due end
    from judged j cross join lateral (select (j.next).*) as n
    where j.result = 'written'
    order by n.order_id
    on conflict (order_id) do update set
      location_id = excluded.location_id, total_paid = excluded.total_paid,
      payment_status = excluded.payment_status, payment_currency = excluded.payment_currency,
      order_status = excluded.order_status, contact_id = excluded.contact_id,
      contact_firstname = excluded.contact_firstname, contact_lastname = excluded.contact_lastname,
      contact_email = excluded.contact_email, contact_phone = excluded.contact_phone,
      date_added = excluded.date_added, updated_at = excluded.updated_at,
      event_id = excluded.event_id, event_name = excluded.event_name, event_image = excluded.event_image,
      event_ticket_price = excluded.event_ticket_price, event_ticket_currency = excluded.event_ticket_currency,
      event_available_qty = excluded.event_available_qty, event_ticket_qty = excluded.event_ticket_qty,
      event_ticket_type = excluded.event_ticket_type, ticket_quantities = excluded.ticket_quantities,
      source_updated_at = excluded.source_updated_at, fetched_at = excluded.fetched_at,
      lines = excluded.lines, entitled = excluded.entitled, entitlement_reason = excluded.entitlement_reason,
      live_mode = excluded.live_mode, tickets_due = excluded.tickets_due
  ), remembered as (
    update public.sync_order_memory as m
    set fetched_at = greatest(m.fetched_at, j.fetched_at),
      acted_at = case when j.remember_only then m.acted_at else greatest(m.acted_at, j.fetched_at) end,
      claimed_until = case when j.remember_only then m.claimed_until end,
      confirmed_at = case when j.result in ('written', 'unchanged') and not j.remember_only
        then greatest(m.confirmed_at, j.fetched_at) else m.confirmed_at end,
      source_updated_at = case when j.result <> 'stale' and (m.fetched_at is null or j.fetched_at >= m.fetched_at)
        then j.source_updated_at else m.source_updated_at end,
      product_ids = case when j.result <> 'stale' and not j.keeps_lines
        and (m.fetched_at is null or j.fetched_at >= m.fetched_at) then j.product_ids else m.product_ids end,
      valid = case when j.result <> 'stale' and not (j.keeps_lines and m.valid is not null)
        and (m.fetched_at is null or j.fetched_at >= m.fetched_at) then j.valid else m.valid end
    from judged j
    where m.location_id = v_location and m.order_id = j.order_id and j.reason is distinct from 'other_location'
  )
  select coalesce(jsonb_agg(jsonb_build_object(
      'order_id', j.order_id, 'result', j.result, 'reason', j.reason, 'issues', j.issues,
      'remember_only', j.remember_only) order by j.order_id), '[]')
  into v_results from judged j;

  perform sync_internal.settle_upserted(v_location, v_orders, v_results);
  return jsonb_build_object(
    'orders', (select coalesce(jsonb_agg(r - 'remember_only'), '[]') from jsonb_array_elements(v_results) as r),
    'publication', sync_internal.grant_for_batch(v_location, v_orders));
end
$$;

-- What an upsert alone settles: orders that need no tickets have their outcome, and their failure is over.
create or replace function sync_internal.settle_upserted(p_location text, orders jsonb, results jsonb) returns void
language plpgsql
as $$
declare
  v_settled text[];
begin
  select coalesce(array_agg(r ->> 'order_id'), '{}') into v_settled
  from jsonb_array_elements(results) as r where r ->> 'result' = 'skipped' or (r ->> 'remember_only')::boolean;
  perform sync_internal.clear_failures(p_location, v_settled);

  -- Issues first: the last outcome ends the run, and an ended run takes no more issues.
  perform sync_internal.note_issues(p_location, coalesce((
    select jsonb_agg(i || jsonb_build_object('run_id', o ->> 'run_id', 'order_id', o ->> 'order_id'))
    from jsonb_array_elements(orders) as o
    join jsonb_array_elements(results) as r on r ->> 'order_id' = o ->> 'order_id'
    cross join lateral jsonb_array_elements(r -> 'issues') as i
    where o ->> 'run_id' is not null), '[]'));

  perform sync_internal.record_outcomes(p_location, coalesce((
    select jsonb_agg(jsonb_build_object(
      'run_id', o ->> 'run_id', 'order_id', o ->> 'order_id', 'attempts', o -> 'attempts',
      'outcome', case r ->> 'result' when 'skipped' then 'skipped' else 'synced' end,
      'change', r ->> 'result', 'code', r ->> 'reason',
      'reason', case r ->> 'reason'
        when 'other_location' then 'The order belongs to another location'
        when 'no_valid_product' then 'None of its products is in the product list' end))
    from jsonb_array_elements(orders) as o
    join jsonb_array_elements(results) as r on r ->> 'order_id' = o ->> 'order_id'
    where o ->> 'run_id' is not null and o ->> 'order_id' = any (v_settled)), '[]'));
end
$$;

-- Locked in order first, and exactly what was locked goes: a delete alone takes its rows as they come, also those that
-- were recorded since.
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
