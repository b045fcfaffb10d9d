-- Orders: what was fetched becomes rows, guarded against stale reads. Decided here: whether a webhook's order needs a fetch,
-- which of two reads counts, what stands in for lines that can't be read, and whether an order's tickets are due. The tickets
-- themselves follow in tickets.sql.

-- What webhooks' orders need: nothing (served: a fetch was granted after the message was sent, or a message waits that will fetch
-- an order which GHL doesn't know yet), patience (busy: somebody is fetching it just now), or a fetch, which this caller claims. So
-- a burst of webhooks for one order costs one fetch, and an order that doesn't exist one each time it is tried again. What is
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
  perform sync_internal.lock_memory(v_location, v_ids);
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
      m.acted_at > a.sent_at + interval '1 millisecond' + a.clock_error
        or a.first_try and m.awaited_until > v_now as is_served,
      -- A retry has waited long enough.
      a.first_try and m.claimed_until > v_now as is_busy
    from asked a
    join public.sync_order_memory m on m.location_id = v_location and m.order_id = a.order_id
  ), claimed as (
    -- Who is awaited is here: a notice that comes from now on may know more than its fetch.
    update public.sync_order_memory as m set claimed_until = v_now + v_claim, awaited_until = null
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

-- Notes that a message was sent which will fetch these orders again, since GHL doesn't know them yet: until then a webhook that
-- names one of them needs no fetch of its own.
-- request: {location_id, orders: [{order_id, in_ms}]} -> {}
-- Locks: order memory by order_id.
create or replace function public.await_orders(request jsonb) returns jsonb
language plpgsql set search_path = '' set lock_timeout = '5s' set jit = off
as $$
declare
  v_location text := sync_internal.location(request);
begin
  perform sync_internal.lock_memory(v_location, array(
    select distinct o ->> 'order_id' from jsonb_array_elements(coalesce(nullif(request -> 'orders', 'null'), '[]')) as o));
  update public.sync_order_memory as m
  set claimed_until = null, awaited_until = clock_timestamp() + sync_internal.milliseconds(o.in_ms)
  from (
    select order_id, max(in_ms) as in_ms
    from jsonb_to_recordset(request -> 'orders') as i (order_id text, in_ms numeric) group by order_id
  ) as o
  where m.location_id = v_location and m.order_id = o.order_id;
  return '{}';
end
$$;

revoke all on function public.await_orders(jsonb) from public, anon, authenticated;
grant execute on function public.await_orders(jsonb) to service_role;

-- Gives orders their row of memory and locks it, by order_id.
create or replace function sync_internal.lock_memory(p_location text, p_order_ids text[]) returns void
language plpgsql
as $$
declare
  v_locked int;
begin
  loop
    perform sync_internal.remember(p_location, p_order_ids);
    perform from public.sync_order_memory
    where location_id = p_location and order_id = any (p_order_ids) order by order_id for update;
    get diagnostics v_locked = row_count;
    -- One may be forgotten in between.
    exit when v_locked >= cardinality(p_order_ids);
  end loop;
end
$$;

revoke all on function sync_internal.lock_memory(text, text[]) from public, anon, authenticated;
grant execute on function sync_internal.lock_memory(text, text[]) to service_role;

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
--   force, force_lines?, force_asked_at?, attempts, product_ids, lines_readable, lines, ticket_quantities, entitled,
--   entitlement_known?, entitlement_reason?, live_mode, issues, row}]}
--   -> {orders: [{order_id, result, reason?, issues, valid, entitled, lines_hash?}], publication_due}
-- A line is {product_id, price_id, ticket_type, quantity, price_named?}; each item without an id is one of its own.
-- `lines_hash` names lines of which not everything was applied. With `force` it is: with `force_lines` only if they are those,
-- with `force_asked_at` only if they are those that were reported before.
-- Locks: order memory, orders, each by order_id; tickets by ticket_id; failures by order_id; runs by run_id; the location's row.
create or replace function public.upsert_orders(request jsonb) returns jsonb
language plpgsql set search_path = '' set lock_timeout = '5s' set jit = off
as $$
declare
  v_location text := sync_internal.location(request);
  v_orders jsonb := coalesce(nullif(request -> 'orders', 'null'), '[]');
  v_ids text[];
  v_listed jsonb;
  v_results jsonb;
  v_lines_before jsonb;
  v_due boolean;
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
  perform sync_internal.lock_memory(v_location, v_ids);
  perform from public.ghl_qr_orders where order_id = any (v_ids) order by order_id for no key update;

  select coalesce(jsonb_object_agg(c.order_id, c.listed), '{}') into v_listed
  from jsonb_array_elements(v_orders) as o
  join public.sync_outcomes c on c.run_id = (o ->> 'run_id')::uuid and c.order_id = o ->> 'order_id'
  where c.listed is not null;

  -- One statement from here, begun after the locks: it decides by what is true now, and writes what it decided.
  with judged as materialized (
    select * from sync_internal.judge_reads(v_location, sync_internal.without_forgotten(v_location, v_orders))
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
      awaited_until = null,
      confirmed_at = case when j.result in ('written', 'unchanged') and not j.remember_only
        then greatest(m.confirmed_at, j.fetched_at) else m.confirmed_at end,
      source_updated_at = case when j.result <> 'stale' and (m.fetched_at is null or j.fetched_at >= m.fetched_at)
        then j.source_updated_at else m.source_updated_at end,
      product_ids = case when j.result <> 'stale' and not j.keeps_lines
        and (m.fetched_at is null or j.fetched_at >= m.fetched_at) then j.product_ids else m.product_ids end,
      valid = case when j.result <> 'stale' and not (j.keeps_lines and m.valid is not null)
        and (m.fetched_at is null or j.fetched_at >= m.fetched_at) then j.valid else m.valid end,
      incomplete = case when j.result <> 'stale' and (m.fetched_at is null or j.fetched_at >= m.fetched_at)
        then j.incomplete else m.incomplete end,
      lines_hash = case when j.result <> 'stale' and not j.remember_only then j.lines_hash else m.lines_hash end,
      lines_since = case when j.result = 'stale' or j.remember_only or j.lines_hash is not distinct from m.lines_hash
        then m.lines_since when j.lines_hash is not null then clock_timestamp() end,
      listed = case when v_listed ? j.order_id and j.result in ('written', 'unchanged') and not j.remember_only
        then sync_internal.shown_otherwise(v_listed -> j.order_id, j.next) else m.listed end
    from judged j
    where m.location_id = v_location and m.order_id = j.order_id and j.reason is distinct from 'other_location'
  )
  select coalesce(jsonb_agg(jsonb_build_object(
      'order_id', j.order_id, 'result', j.result, 'reason', j.reason, 'issues', j.issues, 'lines_hash', j.lines_hash,
      'valid', j.valid, 'entitled', j.entitled,
      'remember_only', j.remember_only) order by j.order_id), '[]'),
    jsonb_object_agg(j.order_id, j.lines_before) filter (where j.lines_before is not null)
  into v_results, v_lines_before from judged j;

  if v_lines_before is not null then
    perform sync_internal.take_on_tickets(v_lines_before);
  end if;

  perform sync_internal.settle_upserted(v_location, v_orders, v_results);
  v_due := sync_internal.ask_for_batch(v_location, v_orders);
  perform sync_internal.note_ghl_answered(v_location, (
    select max((o ->> 'fetched_at')::timestamptz) from jsonb_array_elements(v_orders) as o));
  return jsonb_build_object(
    'orders', (select coalesce(jsonb_agg(r - 'remember_only'), '[]') from jsonb_array_elements(v_results) as r),
    'publication_due', v_due);
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
-- `next` is the whole row as it should be; `lines_before` the stored lines, if tickets may go over from them to the next ones;
-- `lines_hash` names the lines as read, if not all of them was applied; `incomplete` says that another read of the same version may
-- tell more. (plpgsql, as elsewhere, because it keeps its plan between calls.)
create or replace function sync_internal.judge_reads(p_location text, orders jsonb)
returns table (
  order_id text, result text, reason text, fetched_at timestamptz, source_updated_at timestamptz,
  remember_only boolean, keeps_lines boolean, due boolean, product_ids text[], valid boolean,
  issues jsonb, entitled boolean, next public.ghl_qr_orders, lines_before jsonb, lines_hash text, incomplete boolean
)
language plpgsql
as $$
#variable_conflict use_column
declare
  v_event constant text[] := array['event_id', 'event_name', 'event_image', 'event_ticket_price', 'event_ticket_currency',
    'event_available_qty', 'event_ticket_qty', 'event_ticket_type'];
begin
  return query
  with incoming as (
    -- The same order twice in one batch (a webhook's and a run's message): the later read decides, and what is to be forced is
    -- forced by whichever it is.
    select distinct on (i.order_id) i.*, coalesce(nullif(i.lines, 'null'), '[]') as read_lines,
      bool_or(i.force) over same as to_force, max(i.force_lines) over same as to_force_lines,
      max(i.force_asked_at) over same as to_force_asked_at
    from jsonb_to_recordset(orders) as i (
      order_id text, fetched_at timestamptz, source_updated_at timestamptz, "foreign" boolean, valid boolean,
      remember_only boolean, force boolean, force_lines text, force_asked_at timestamptz, product_ids text[],
      lines_readable boolean, lines jsonb, ticket_quantities jsonb, entitled boolean, entitlement_known boolean,
      entitlement_reason text, live_mode boolean, issues jsonb, "row" jsonb)
    window same as (partition by i.order_id)
    order by i.order_id, i.fetched_at desc
  ), known as (
    select i.*, s as stored, s.order_id is not null as is_stored,
      s.fetched_at is null as is_first_fetch,
      greatest(s.fetched_at, m.confirmed_at) as stored_read_at,
      coalesce(i.to_force, false) and case
        when i.to_force_lines is not null then i.to_force_lines = md5(i.read_lines::text)
        -- Whoever asked had seen what was reported last.
        when i.to_force_asked_at is not null
          then coalesce(m.lines_hash = md5(i.read_lines::text) and m.lines_since <= i.to_force_asked_at, false)
        else true end as is_forced,
      i.read_lines @? '$[*] ? (@.product_id == "" || @.price_id == "")' as lacks_ids,
      -- What the order was found to be stands while GHL says something that nobody knows; of the original app's rows, what
      -- they say themselves.
      not coalesce(i.entitlement_known, true)
        and coalesce(s.entitled, s.order_id is not null and coalesce(lower(s.payment_status), 'paid') = 'paid')
        as was_entitled
    from incoming i
    left join public.ghl_qr_orders s on s.order_id = i.order_id
    left join public.sync_order_memory m on m.location_id = p_location and m.order_id = i.order_id
  ), entitling as (
    select k.*, k.was_entitled and not k.is_forced as keeps_entitlement,
      coalesce(k.entitled, false) or k.was_entitled and not k.is_forced as is_entitled
    from known k
  ), keeping as materialized (
    select e.*,
      -- Lines that vanished or can't be read don't take the tickets along, unless an admin insists.
      not e.is_forced and (not coalesce(e.lines_readable, true) or e.read_lines = '[]') and e.is_stored
        and (jsonb_array_length((e.stored).lines) > 0 or ((e.stored).lines is null and e.is_entitled)) as keeps_vanished,
      -- Tickets of the original app have nothing but a label: what leaves labels out can't tell whose they are.
      not e.is_forced and e.read_lines @? '$[*] ? (@.price_named == false)'
        and coalesce(jsonb_array_length((e.stored).lines), 0) = 0
        and exists (
          select from public.ghl_qr_tickets t where t.order_id = e.order_id and t.product_id is null) as keeps_original
    from entitling e
  ), guarded as (
    select k.*, k.keeps_vanished or k.keeps_original as keeps_lines,
      case
        when k.is_first_fetch then 'newer'
        when (k.stored).source_updated_at is null and k.source_updated_at is not null then 'newer'
        when k.source_updated_at > (k.stored).source_updated_at then 'newer'
        when k.source_updated_at is not distinct from (k.stored).source_updated_at
          then case when k.fetched_at >= k.stored_read_at then 'newer' else 'stale' end
        -- A bogus stamp in the future, or one that is no longer there, must not freeze an order for ever.
        when k.fetched_at > k.stored_read_at + interval '15 minutes' then 'overruled'
        else 'stale'
      end as age
    from keeping k
  ), matching as materialized (
    -- A case, since a condition of its own would be looked at only after matching.
    select g.*, case when not g.keeps_lines and g.read_lines
        @? '$[*] ? (@.quantity == null || @.product_id == "" || @.price_id == "" || @.price_named == false)'
      then sync_internal.match_lines(g.read_lines, g.stored, g.is_forced) end as matched
    from guarded g
  ), planned as materialized (
    select g.*, coalesce((g.matched ->> 'unclear')::boolean, false) as is_unclear,
      jsonb_populate_record(g.stored,
        case
          -- Unpaid, the original app's tickets are no good, whoever they belong to.
          when g.keeps_original and not g.is_entitled
            then coalesce(g."row", '{}') || '{"lines": [], "ticket_quantities": {}}'
          when g.keeps_lines then coalesce(g."row", '{}') - v_event
          when g.matched is not null then
            coalesce(g."row", '{}') - case when event.is_kept then v_event else '{}' end || jsonb_build_object(
              'lines', g.matched -> 'lines', 'ticket_quantities', sync_internal.quantities_by_label(g.matched -> 'lines'))
            || case when event.id is not null then sync_internal.event_tickets(g.matched -> 'lines', event.id) else '{}' end
          else coalesce(g."row", '{}') || jsonb_build_object(
            'lines', g.read_lines, 'ticket_quantities', coalesce(nullif(g.ticket_quantities, 'null'), '{}'))
        end
        || jsonb_build_object(
          'order_id', g.order_id, 'location_id', p_location,
          -- Kept where the read has none: an older read that arrives later must not win.
          'source_updated_at', coalesce(g.source_updated_at, (g.stored).source_updated_at),
          'entitled', g.is_entitled,
          'entitlement_reason', case when g.keeps_entitlement then coalesce((g.stored).entitlement_reason, 'paid')
            else g.entitlement_reason end,
          'live_mode', g.live_mode)) as next
    from matching g
    cross join lateral (
      select kept as is_kept, case when kept then (g.stored).event_id else g."row" ->> 'event_id' end as id
      from (select g.lacks_ids and not g.is_forced and (g.stored).event_id is not null) as e (kept)
    ) as event
  ), valued as (
    -- The products of matched lines count, whatever this read says of them.
    select p.*, products.ids as all_product_ids,
      coalesce(p.valid, false) or p.lacks_ids and p.is_stored and products.ids && sync_internal.listed_products(p_location)
        as is_valid
    from planned p
    cross join lateral (
      select case when p.lacks_ids then array(
          select id from unnest(p.product_ids) as id
          union select line ->> 'product_id' from jsonb_array_elements((p.next).lines) as line where line ->> 'product_id' <> ''
          order by 1)
        else coalesce(p.product_ids, '{}') end as ids
    ) as products
  ), decided as materialized (
    select v.*,
      case
        when v."foreign" then 'skipped'
        when v.remember_only then case when v.is_valid then 'unchanged' else 'skipped' end
        when not v.is_valid and not v.is_stored then 'skipped'
        when v.age = 'stale' then 'stale'
        -- As jsonb, so that a column we don't know of, of whatever type, can't break the comparison.
        when v.is_stored and not v.is_first_fetch and to_jsonb(v.next) = to_jsonb(v.stored) then 'unchanged'
        else 'written'
      end as what
    from valued v
  )
  select d.order_id, d.what,
    case
      when d."foreign" then 'other_location'
      when not d.is_valid and (coalesce(d.remember_only, false) or not d.is_stored) then 'no_valid_product'
    end,
    d.fetched_at, d.source_updated_at, coalesce(d.remember_only, false), d.keeps_lines,
    (d.next).lines is distinct from (d.stored).lines or (d.next).entitled is distinct from (d.stored).entitled,
    d.all_product_ids, d.is_valid,
    case when d.age = 'stale' then coalesce(nullif(d.issues, 'null'), '[]')
      else sync_internal.upsert_issues(coalesce(nullif(d.issues, 'null'), '[]'), array_remove(array[
        case when d.keeps_vanished and d.is_entitled then 'lines_unreadable' end,
        case when d.keeps_original and d.is_entitled then 'original_tickets_unclear' end,
        case when d.is_unclear then 'lines_unclear' end,
        case when d.keeps_entitlement then 'status_unclear' end,
        case when d.to_force and not d.is_forced then 'force_outdated' end], null))
        || case when d.age = 'overruled' and (d.source_updated_at is not null or d.what = 'written')
          then jsonb_build_array(jsonb_build_object('code', 'older_version_applied',
            'message', case when d.source_updated_at is null then 'GHL''s updatedAt is missing; the version read later was applied.'
              else format('GHL''s updatedAt went back from %s to %s; the version read later was applied.',
                (d.stored).source_updated_at, d.source_updated_at) end)) else '[]' end end,
    d.is_entitled, d.next,
    case when d.what = 'written' and (d.next).lines is distinct from (d.stored).lines
      and (d.stored).lines @? '$[*] ? (@.product_id == "" || @.price_id == "")' then (d.stored).lines end,
    case when not d.is_forced and (d.keeps_lines or d.is_unclear or d.keeps_entitlement
      or d.read_lines @? '$[*] ? (@.quantity == null)') then md5(d.read_lines::text) end,
    not coalesce(d.lines_readable, true) or d.read_lines = '[]' or d.read_lines @? '$[*] ? (@.product_id == "")'
  from decided d;
end
$$;

revoke all on function sync_internal.judge_reads(text, jsonb) from public, anon, authenticated;
grant execute on function sync_internal.judge_reads(text, jsonb) to service_role;

-- The issues of a read, and those of what was kept (`kept`, codes): each said once, in the words of what was done about it.
create or replace function sync_internal.upsert_issues(issues jsonb, kept text[]) returns jsonb
language sql immutable
as $$
  select coalesce((
      select jsonb_agg(i order by position) from jsonb_array_elements(issues) with ordinality as e (i, position)
      where not ('lines_unreadable' = any (kept) and i ->> 'code' = 'items_unreadable')
        and not ('status_unclear' = any (kept) and i ->> 'code' in ('unknown_status', 'unknown_payment_status'))), '[]')
    || coalesce((
      select jsonb_agg(jsonb_build_object('code', code, 'message', case code
        when 'lines_unreadable' then 'The paid order has no readable lines any more; its tickets were kept. '
          || 'Check it in GHL, then sync it with force to apply what it says now.'
        when 'original_tickets_unclear' then 'GHL sent no names of prices, so nobody can tell which tickets of the original app '
          || 'belong to which line; they were left as they are. Check the order in GHL, then sync it with force.'
        when 'lines_unclear' then 'GHL left out ids of items, and more than one line can be meant; the lines and their tickets were '
          || 'kept. Check the order in GHL, then sync it with force to apply what it says now.'
        when 'status_unclear' then 'The paid order has a status that this version doesn''t know; its tickets were kept. '
          || 'Check it in GHL, then sync it with force to apply that it gives none.'
        when 'force_outdated' then 'The lines in GHL are no longer those that were to be forced, so nothing was forced. '
          || 'Look at the order again, then sync it with force.' end) order by position)
      from unnest(kept) with ordinality as k (code, position)), '[]')
$$;

revoke all on function sync_internal.upsert_issues(jsonb, text[]) from public, anon, authenticated;
grant execute on function sync_internal.upsert_issues(jsonb, text[]) to service_role;

-- The lines of an order as read, matched with the stored ones: GHL may leave out of an item what it had, and a line is still the
-- same line. Items that lack an id come each by itself. In this order:
--   1. both ids are the same;
--   2. an item without product id: the price id is the same;
--   -. an item with both, as a line without: the label is the same, unique on both sides;
--   -. an item without price id, as a line that never had one: product and label are the same, and the label is the price's own
--      name or no other line could be meant;
--   3. an item without price id: the only line left of its product, if it is the only such item left; then likewise an item with
--      one and a line without;
--   4. an item without either id, or a line without both: the same name (not the default one), unique on both sides.
-- Ids that both have never differ. A matched line keeps its ids and, unless GHL sent a price's name, its label. What could be
-- more than one line leaves those lines as they are (`unclear`), unless an admin insists (p_force).
--
-- A quantity that couldn't be read (null) stays what it was stored as, or, in a row of the original app, what that counted for the
-- label; 0 where nothing is known or an admin insists.
-- Returns {lines, unclear}.
create or replace function sync_internal.match_lines(p_lines jsonb, p_stored public.ghl_qr_orders, p_force boolean)
returns jsonb
language plpgsql immutable
as $$
begin
  return (
    with items as (
      select i.position, coalesce(i.line ->> 'product_id', '') as product_id, coalesce(i.line ->> 'price_id', '') as price_id,
        i.line ->> 'ticket_type' as label, (i.line ->> 'quantity')::int as quantity,
        coalesce((i.line ->> 'price_named')::boolean, true) as is_named,
        count(*) over (partition by i.line ->> 'product_id', i.line ->> 'price_id', i.line ->> 'ticket_type') as alike
      from jsonb_array_elements(p_lines) with ordinality as i (line, position)
    ), stored as (
      select s.place, coalesce(s.line ->> 'product_id', '') as product_id, coalesce(s.line ->> 'price_id', '') as price_id,
        s.line ->> 'ticket_type' as label, (s.line ->> 'quantity')::int as quantity
      from jsonb_array_elements(coalesce(p_stored.lines, '[]')) with ordinality as s (line, place)
    ), by_ids as (
      select i.position, s.place from items i join stored s using (product_id, price_id)
      where i.product_id <> '' and i.price_id <> ''
    ), by_price as (
      select i.position, min(s.place) as place from items i join stored s using (price_id)
      where i.product_id = '' and i.price_id <> ''
      group by i.position having count(*) = 1
    ), by_new_ids as (
      select min(i.position) as position, min(s.place) as place
      from items i join stored s on s.label = i.label and s.product_id in ('', i.product_id)
      where i.product_id <> '' and i.price_id <> '' and s.price_id = ''
        and i.position not in (select position from by_ids)
      group by i.label having count(*) = 1
    ), known_ids as (
      select * from by_ids union all select * from by_price union all select * from by_new_ids
    ), as_before as (
      select i.position, s.place from items i join stored s using (product_id, price_id, label)
      where i.price_id = '' and (i.is_named or not exists (
        select from stored o
        where sync_internal.may_be_same(i.product_id, o.product_id)
          and (o.price_id <> '' or o.product_id <> '' and i.product_id = ''
            -- One of several items of a name that isn't their price's may be a line whose own item isn't there.
            or i.alike > 1 and o.label <> i.label and not exists (
              select from items c where c.product_id = o.product_id and c.price_id = '' and c.label = o.label))
          and o.place not in (select place from known_ids)))
        and s.place not in (select place from by_new_ids)
    ), matched_1 as (
      select * from known_ids union all select * from as_before
    ), by_product as (
      select min(i.position) as position, min(s.place) as place
      from items i join stored s using (product_id)
      where i.product_id <> '' and i.price_id = ''
        and i.position not in (select position from matched_1) and s.place not in (select place from matched_1)
      group by i.product_id having count(*) = 1
    ), by_new_price as (
      select min(i.position) as position, min(s.place) as place
      from items i join stored s using (product_id)
      where i.product_id <> '' and i.price_id <> '' and s.price_id = ''
        and i.position not in (select position from matched_1)
        and s.place not in (select place from matched_1 union all select place from by_product)
      group by i.product_id having count(*) = 1
    ), matched_2 as (
      select * from matched_1 union all select * from by_product union all select * from by_new_price
    ), by_name as (
      select min(i.position) as position, min(s.place) as place
      from items i join stored s using (label)
      where i.label <> 'General' and i.price_id = '' and sync_internal.may_be_same(i.product_id, s.product_id)
        and i.position not in (select position from matched_2) and s.place not in (select place from matched_2)
      group by i.label having count(*) = 1 and bool_and(i.product_id = '' or s.product_id = '' and s.price_id = '')
    ), matched as (
      select * from matched_2 union all select * from by_name
    ), possible as (
      select i.position, s.place, i.product_id = '' or i.price_id = '' as lacks_ids
      from items i join stored s
        on sync_internal.may_be_same(i.product_id, s.product_id) and sync_internal.may_be_same(i.price_id, s.price_id)
      where not p_force
        and i.position not in (select position from matched) and s.place not in (select place from matched)
    ), unclear as (
      select position, place from possible where place in (select place from possible where lacks_ids)
    ), next as (
      select min(i.position) as position, coalesce(nullif(s.product_id, ''), max(i.product_id)) as product_id,
        coalesce(nullif(s.price_id, ''), max(i.price_id)) as price_id,
        coalesce((array_agg(i.label order by i.position) filter (where i.is_named))[1], s.label) as label,
        case when bool_or(i.quantity is null) and not p_force then s.quantity else coalesce(sum(i.quantity), 0) end as quantity
      from matched m join items i using (position) join stored s using (place)
      group by s.place, s.product_id, s.price_id, s.label, s.quantity
      union all
      select min(i.position), i.product_id, i.price_id, (array_agg(i.label order by i.position))[1],
        case when bool_or(i.quantity is null) and not p_force then coalesce(
          case when p_stored.lines is null then substring(
            jsonb_extract_path_text(p_stored.ticket_quantities, min(i.label)) from '^\d{1,6}$')::int end, 0)
        else coalesce(sum(i.quantity), 0) end
      from items i
      where i.position not in (select position from matched) and i.position not in (select position from unclear)
      group by i.product_id, i.price_id, case when i.price_id = '' then i.label end
      union all
      select 1000000 + s.place, s.product_id, s.price_id, s.label, s.quantity
      from stored s where s.place in (select place from unclear)
    )
    select jsonb_build_object(
      'lines', coalesce(jsonb_agg(jsonb_build_object(
        'product_id', product_id, 'price_id', price_id, 'ticket_type', label, 'quantity', least(quantity, 1000000))
        order by position), '[]'),
      'unclear', exists (select from unclear))
    from next);
end
$$;

revoke all on function sync_internal.match_lines(jsonb, public.ghl_qr_orders, boolean) from public, anon, authenticated;
grant execute on function sync_internal.match_lines(jsonb, public.ghl_qr_orders, boolean) to service_role;

-- Whether two ids may be the same one; one that is missing may be any.
create or replace function sync_internal.may_be_same(one text, other text) returns boolean
language sql immutable
as $$
  select one = '' or other = '' or one = other
$$;

revoke all on function sync_internal.may_be_same(text, text) from public, anon, authenticated;
grant execute on function sync_internal.may_be_same(text, text) to service_role;

-- What an order's lines say of its event: the label of the first, and how many tickets.
create or replace function sync_internal.event_tickets(p_lines jsonb, p_event text) returns jsonb
language sql immutable
as $$
  select jsonb_build_object('event_ticket_qty', coalesce(sum((line ->> 'quantity')::int), 0),
    'event_ticket_type', (array_agg(line ->> 'ticket_type' order by position))[1])
  from jsonb_array_elements(p_lines) with ordinality as l (line, position)
  where line ->> 'product_id' = p_event
$$;

revoke all on function sync_internal.event_tickets(jsonb, text) from public, anon, authenticated;
grant execute on function sync_internal.event_tickets(jsonb, text) to service_role;

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
