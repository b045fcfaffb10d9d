-- Orders: what was fetched becomes rows, guarded against stale reads. Decided here: whether a webhook's order needs a fetch,
-- which of two reads counts, what stands in for lines that can't be read, and whether an order's tickets are due. The tickets
-- themselves follow in tickets.sql.

-- What webhooks' orders need: nothing (served: a fetch was granted after the message was sent), patience (busy: somebody is
-- fetching it just now), or a fetch, which this caller claims. So a burst of webhooks for one order costs one fetch. What is
-- served and still has its tickets due (`due`) is handed over to them again: whoever stored it may have died before it did.
--
-- A grant's time is this server's, a message's the queue's. The message was received before now, so this server's clock is
-- ahead of the queue's by at most now - received_at; 2 s are allowed where that isn't known or is more.
-- request: {location_id, claim_ms, orders: [{order_id, sent_at, received_at?, first_try}]} -> {served, due, busy, now}
-- Locks: order memory by order_id.
create or replace function public.plan_orders(request jsonb) returns jsonb
language plpgsql set search_path = '' set lock_timeout = '5s' set jit = off
as $$
declare
  v_location text := sync_internal.location(request);
  v_claim interval := sync_internal.milliseconds(coalesce((request ->> 'claim_ms')::numeric, 0));
  v_ids text[];
  v_now timestamptz;
  v_served jsonb;
  v_due jsonb;
  v_busy jsonb;
begin
  select coalesce(array_agg(distinct o ->> 'order_id'), '{}') into v_ids
  from jsonb_array_elements(coalesce(nullif(request -> 'orders', 'null'), '[]')) as o;
  perform sync_internal.remember(v_location, v_ids);
  perform from public.sync_order_memory
  where location_id = v_location and order_id = any (v_ids) order by order_id for update;
  v_now := clock_timestamp();

  with asked as (
    select o.order_id, max(o.sent_at) as sent_at, bool_and(coalesce(o.first_try, true)) as first_try,
      max(case when o.received_at is null then interval '2 seconds'
        else least(greatest(v_now - o.received_at, interval '0'), interval '2 seconds') end) as clock_error
    from jsonb_to_recordset(request -> 'orders') as o (
      order_id text, sent_at timestamptz, received_at timestamptz, first_try boolean)
    group by o.order_id
  ), judged as (
    select a.order_id,
      -- The queue's time is cut to whole milliseconds.
      m.acted_at > a.sent_at + interval '1 millisecond' + a.clock_error as is_served,
      -- A retry has waited long enough.
      a.first_try and m.claimed_until > v_now as is_busy
    from asked a
    join public.sync_order_memory m on m.location_id = v_location and m.order_id = a.order_id
  ), claimed as (
    update public.sync_order_memory as m set claimed_until = v_now + v_claim
    from judged j
    where m.location_id = v_location and m.order_id = j.order_id
      and not coalesce(j.is_served, false) and not coalesce(j.is_busy, false)
  )
  select coalesce(jsonb_agg(order_id order by order_id) filter (where is_served), '[]'),
    coalesce(jsonb_agg(order_id order by order_id) filter (where is_busy and not coalesce(is_served, false)), '[]')
  into v_served, v_busy
  from judged;
  select coalesce(jsonb_agg(order_id order by order_id), '[]') into v_due
  from public.ghl_qr_orders
  where order_id in (select jsonb_array_elements_text(v_served)) and tickets_due is not null;
  return jsonb_build_object('served', v_served, 'due', v_due, 'busy', v_busy, 'now', v_now);
end
$$;

revoke all on function public.plan_orders(jsonb) from public, anon, authenticated;
grant execute on function public.plan_orders(jsonb) to service_role;

-- Gives orders their row of memory. Only those that have none are inserted: an insert that finds a row spends a number all the
-- same, and numbers should stay close together.
create or replace function sync_internal.remember(p_location text, p_order_ids text[]) returns void
language sql
as $$
  insert into public.sync_order_memory (location_id, order_id)
  select p_location, id from unnest(p_order_ids) as id
  where not exists (select from public.sync_order_memory m where m.location_id = p_location and m.order_id = id)
  order by id
  on conflict do nothing
$$;

revoke all on function sync_internal.remember(text, text[]) from public, anon, authenticated;
grant execute on function sync_internal.remember(text, text[]) to service_role;

-- Writes the orders that were fetched, remembers each read, and records the outcome of those that need no tickets.
-- request: {location_id, orders: [{order_id, run_id?, cause, fetched_at, source_updated_at?, foreign, valid, remember_only,
--   force, attempts, product_ids, lines_readable, lines, ticket_quantities, entitled, entitlement_reason?, live_mode,
--   issues, row}]} -> {orders: [{order_id, result, reason?, issues}], publication_due}
-- Locks: order memory, orders, failures, each by order_id; runs by run_id; the location's row.
create or replace function public.upsert_orders(request jsonb) returns jsonb
language plpgsql set search_path = '' set lock_timeout = '5s' set jit = off
as $$
declare
  v_location text := sync_internal.location(request);
  v_orders jsonb := coalesce(nullif(request -> 'orders', 'null'), '[]');
  v_ids text[];
  v_listed jsonb;
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
  perform sync_internal.remember(v_location, v_ids);
  perform from public.sync_order_memory
  where location_id = v_location and order_id = any (v_ids) order by order_id for update;
  perform from public.ghl_qr_orders where order_id = any (v_ids) order by order_id for no key update;

  select coalesce(jsonb_object_agg(c.order_id, c.listed), '{}') into v_listed
  from jsonb_array_elements(v_orders) as o
  join public.sync_outcomes c on c.run_id = (o ->> 'run_id')::uuid and c.order_id = o ->> 'order_id'
  where c.listed is not null;

  -- One statement from here, begun after the locks: it decides by what is true now, and writes what it decided.
  with judged as materialized (
    select * from sync_internal.judge_orders(v_location, sync_internal.without_forgotten(v_location, v_orders))
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
        and (m.fetched_at is null or j.fetched_at >= m.fetched_at) then j.valid else m.valid end,
      listed = case when v_listed ? j.order_id and j.result in ('written', 'unchanged') and not j.remember_only
        then sync_internal.shown_otherwise(v_listed -> j.order_id, j.next) else m.listed end
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
    'publication_due', sync_internal.ask_for_batch(v_location, v_orders));
end
$$;

revoke all on function public.upsert_orders(jsonb) from public, anon, authenticated;
grant execute on function public.upsert_orders(jsonb) to service_role;

-- Of what GHL's list showed of an order, {status, payment_status, amount}, what its row says otherwise; null if nothing.
create or replace function sync_internal.shown_otherwise(listed jsonb, p_row public.ghl_qr_orders) returns jsonb
language sql immutable
as $$
  select nullif(jsonb_strip_nulls(jsonb_build_object(
    'status', case when lower(listed ->> 'status') is distinct from lower(p_row.order_status)
      then lower(listed ->> 'status') end,
    'payment_status', case when lower(listed ->> 'payment_status') is distinct from lower(p_row.payment_status)
      then lower(listed ->> 'payment_status') end,
    'amount', case when (listed ->> 'amount')::numeric is distinct from p_row.total_paid
      then (listed ->> 'amount')::numeric end)), '{}')
$$;

revoke all on function sync_internal.shown_otherwise(jsonb, public.ghl_qr_orders) from public, anon, authenticated;
grant execute on function sync_internal.shown_otherwise(jsonb, public.ghl_qr_orders) to service_role;

-- The orders of a request, each with what is to become of it. Decides only; the caller holds the locks and writes.
-- `next` is the whole row as it should be. (plpgsql, as elsewhere, because it keeps its plan between calls.)
create or replace function sync_internal.judge_orders(p_location text, orders jsonb)
returns table (
  order_id text, result text, reason text, fetched_at timestamptz, source_updated_at timestamptz,
  remember_only boolean, keeps_lines boolean, due boolean, product_ids text[], valid boolean,
  issues jsonb, next public.ghl_qr_orders
)
language plpgsql
as $$
#variable_conflict use_column
begin
  return query
  with incoming as (
    -- The same order twice in one batch (a webhook's and a run's message): the later read decides.
    select distinct on (i.order_id) i.*
    from jsonb_to_recordset(orders) as i (
      order_id text, fetched_at timestamptz, source_updated_at timestamptz, "foreign" boolean, valid boolean,
      remember_only boolean, force boolean, product_ids text[], lines_readable boolean, lines jsonb,
      ticket_quantities jsonb, entitled boolean, entitlement_reason text, live_mode boolean, issues jsonb, "row" jsonb)
    order by i.order_id, i.fetched_at desc
  ), known as (
    select i.*, s as stored, s.order_id is not null as is_stored,
      s.fetched_at is null as is_first_fetch,
      greatest(s.fetched_at, m.confirmed_at) as stored_read_at,
      -- Lines that vanished or can't be read don't take the tickets along, unless an admin insists.
      not coalesce(i.force, false)
        and (not coalesce(i.lines_readable, true) or coalesce(nullif(i.lines, 'null'), '[]') = '[]')
        and s.order_id is not null
        and (jsonb_array_length(s.lines) > 0 or (s.lines is null and coalesce(i.entitled, false))) as keeps_lines
    from incoming i
    left join public.ghl_qr_orders s on s.order_id = i.order_id
    left join public.sync_order_memory m on m.location_id = p_location and m.order_id = i.order_id
  ), guarded as (
    select k.*,
      case
        when k.is_first_fetch then 'newer'
        when k.source_updated_at is null and (k.stored).source_updated_at is not null then 'stale'
        when (k.stored).source_updated_at is null and k.source_updated_at is not null then 'newer'
        when k.source_updated_at > (k.stored).source_updated_at then 'newer'
        when k.source_updated_at is not distinct from (k.stored).source_updated_at
          then case when k.fetched_at >= k.stored_read_at then 'newer' else 'stale' end
        -- A bogus stamp in the future must not freeze an order for ever.
        when k.fetched_at > k.stored_read_at + interval '15 minutes' then 'overruled'
        else 'stale'
      end as age
    from known k
  ), planned as (
    select g.*,
      jsonb_populate_record(g.stored,
        case when g.keeps_lines
          then coalesce(g."row", '{}') - array['event_id', 'event_name', 'event_image', 'event_ticket_price',
            'event_ticket_currency', 'event_available_qty', 'event_ticket_qty', 'event_ticket_type']
          when settled.lines is not null then coalesce(g."row", '{}') || jsonb_build_object(
            'lines', settled.lines, 'ticket_quantities', sync_internal.quantities_by_label(settled.lines),
            'event_ticket_qty', (select sum((line ->> 'quantity')::int) from jsonb_array_elements(settled.lines) as line
              where line ->> 'product_id' = g."row" ->> 'event_id'))
          else coalesce(g."row", '{}') || jsonb_build_object(
            'lines', coalesce(nullif(g.lines, 'null'), '[]'),
            'ticket_quantities', coalesce(nullif(g.ticket_quantities, 'null'), '{}'))
        end
        || jsonb_build_object(
          'order_id', g.order_id, 'location_id', p_location, 'source_updated_at', g.source_updated_at,
          'entitled', coalesce(g.entitled, false), 'entitlement_reason', g.entitlement_reason,
          'live_mode', g.live_mode)) as next
    from guarded g
    left join lateral (
      select sync_internal.settle_quantities(g.lines, g.stored, coalesce(g.force, false)) as lines
      where g.lines @? '$[*] ? (@.quantity == null)'
    ) as settled on true
  )
  select p.order_id,
    case
      when p."foreign" then 'skipped'
      when p.remember_only then case when p.valid then 'unchanged' else 'skipped' end
      when not coalesce(p.valid, false) and not p.is_stored then 'skipped'
      when p.age = 'stale' then 'stale'
      -- As jsonb, so that a column we don't know of, of whatever type, can't break the comparison.
      when p.is_stored and not p.is_first_fetch and to_jsonb(p.next) = to_jsonb(p.stored) then 'unchanged'
      else 'written'
    end,
    case
      when p."foreign" then 'other_location'
      when not coalesce(p.valid, false) and (coalesce(p.remember_only, false) or not p.is_stored) then 'no_valid_product'
    end,
    p.fetched_at, p.source_updated_at, coalesce(p.remember_only, false), p.keeps_lines,
    (p.next).lines is distinct from (p.stored).lines or (p.next).entitled is distinct from (p.stored).entitled,
    coalesce(p.product_ids, '{}'), coalesce(p.valid, false),
    -- Said once, in the words of what was done about it.
    case when p.keeps_lines and p.entitled then coalesce((
        select jsonb_agg(i) from jsonb_array_elements(coalesce(nullif(p.issues, 'null'), '[]')) as i
        where i ->> 'code' <> 'items_unreadable'), '[]')
      else coalesce(nullif(p.issues, 'null'), '[]') end
      || case when p.keeps_lines and p.entitled and p.age <> 'stale' then jsonb_build_array(jsonb_build_object(
          'code', 'lines_unreadable',
          'message', 'The paid order has no readable lines any more; its tickets were kept. '
            || 'Check it in GHL, then sync it with force to apply what it says now.')) else '[]' end
      || case when p.age = 'overruled' then jsonb_build_array(jsonb_build_object(
          'code', 'older_version_applied',
          'message', format('GHL''s updatedAt went back from %s to %s; the version read later was applied.',
            (p.stored).source_updated_at, p.source_updated_at))) else '[]' end,
    p.next
  from planned p;
end
$$;

revoke all on function sync_internal.judge_orders(text, jsonb) from public, anon, authenticated;
grant execute on function sync_internal.judge_orders(text, jsonb) to service_role;

-- The lines of an order as read. A quantity that couldn't be read (null) stays what it was stored as, or, in a row of the
-- original app, what that counted for the label; 0 where nothing is known or an admin insists.
create or replace function sync_internal.settle_quantities(
  p_lines jsonb, p_stored public.ghl_qr_orders, p_force boolean
) returns jsonb
language sql immutable
as $$
  select coalesce(jsonb_agg(
    case when line ->> 'quantity' is not null then line
      else line || jsonb_build_object('quantity', case when p_force then 0 else coalesce(
        (select (s ->> 'quantity')::int from jsonb_array_elements(p_stored.lines) as s
          where s ->> 'product_id' = line ->> 'product_id' and s ->> 'price_id' = line ->> 'price_id'
            and (line ->> 'price_id' <> '' or s ->> 'ticket_type' = line ->> 'ticket_type')
          limit 1),
        case when p_stored.lines is null then substring(
          jsonb_extract_path_text(p_stored.ticket_quantities, line ->> 'ticket_type') from '^\d{1,6}$')::int end,
        0) end)
    end order by position), '[]')
  from jsonb_array_elements(p_lines) with ordinality as l (line, position)
$$;

revoke all on function sync_internal.settle_quantities(jsonb, public.ghl_qr_orders, boolean) from public, anon, authenticated;
grant execute on function sync_internal.settle_quantities(jsonb, public.ghl_qr_orders, boolean) to service_role;

-- The seed's form of an order's lines: {"VIP": 2, "Regular": 3}.
create or replace function sync_internal.quantities_by_label(p_lines jsonb) returns jsonb
language sql immutable
as $$
  select coalesce(jsonb_object_agg(label, quantity), '{}') from (
    select line ->> 'ticket_type' as label, sum((line ->> 'quantity')::int) as quantity
    from jsonb_array_elements(p_lines) as line group by 1
  ) as sums
$$;

revoke all on function sync_internal.quantities_by_label(jsonb) from public, anon, authenticated;
grant execute on function sync_internal.quantities_by_label(jsonb) to service_role;

-- What an upsert alone settles: orders that need no tickets have their outcome, and their failure is over.
-- Locks failures by order_id, then the runs by run_id.
create or replace function sync_internal.settle_upserted(p_location text, orders jsonb, results jsonb) returns void
language plpgsql
as $$
declare
  v_settled text[];
begin
  select coalesce(array_agg(r ->> 'order_id'), '{}') into v_settled
  from jsonb_array_elements(results) as r where r ->> 'result' = 'skipped' or (r ->> 'remember_only')::boolean;
  perform sync_internal.clear_failures(p_location, v_settled);

  perform sync_internal.lock_runs(p_location, orders);
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

revoke all on function sync_internal.settle_upserted(text, jsonb, jsonb) from public, anon, authenticated;
grant execute on function sync_internal.settle_upserted(text, jsonb, jsonb) to service_role;
