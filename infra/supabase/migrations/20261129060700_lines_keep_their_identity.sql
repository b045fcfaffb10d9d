-- Lines keep their identity when GHL leaves ids out, and tickets their numbers when ids appear. What couldn't be read is looked at
-- again, a status that nobody knows takes no tickets, an admin forces the lines that were reported, and orders that never existed
-- are forgotten.
--
-- The version before goes on working: it sends lines that are summed, and forces whatever it reads.

alter table public.sync_order_memory
  add column if not exists awaited_until timestamptz,
  add column if not exists incomplete boolean,
  add column if not exists lines_hash text,
  add column if not exists lines_since timestamptz;

-- judge_reads and match_lines take their places.
drop function if exists sync_internal.judge_orders(text, jsonb);
drop function if exists sync_internal.settle_quantities(jsonb, public.ghl_qr_orders, boolean);

-- A function may call one that comes after it.
set check_function_bodies = off;

CREATE OR REPLACE FUNCTION public.plan_orders(request jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SET search_path TO ''
 SET lock_timeout TO '5s'
 SET jit TO 'off'
AS $function$
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
$function$;

CREATE OR REPLACE FUNCTION public.await_orders(request jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SET search_path TO ''
 SET lock_timeout TO '5s'
 SET jit TO 'off'
AS $function$
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
$function$;

CREATE OR REPLACE FUNCTION sync_internal.lock_memory(p_location text, p_order_ids text[])
 RETURNS void
 LANGUAGE plpgsql
AS $function$
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
$function$;

CREATE OR REPLACE FUNCTION sync_internal.judge_reads(p_location text, orders jsonb)
 RETURNS TABLE(order_id text, result text, reason text, fetched_at timestamp with time zone, source_updated_at timestamp with time zone, remember_only boolean, keeps_lines boolean, due boolean, product_ids text[], valid boolean, issues jsonb, entitled boolean, next public.ghl_qr_orders, lines_before jsonb, lines_hash text, incomplete boolean)
 LANGUAGE plpgsql
AS $function$
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
$function$;

CREATE OR REPLACE FUNCTION sync_internal.upsert_issues(issues jsonb, kept text[])
 RETURNS jsonb
 LANGUAGE sql
 IMMUTABLE
AS $function$
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
$function$;

CREATE OR REPLACE FUNCTION sync_internal.match_lines(p_lines jsonb, p_stored public.ghl_qr_orders, p_force boolean)
 RETURNS jsonb
 LANGUAGE plpgsql
 IMMUTABLE
AS $function$
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
$function$;

CREATE OR REPLACE FUNCTION sync_internal.may_be_same(one text, other text)
 RETURNS boolean
 LANGUAGE sql
 IMMUTABLE
AS $function$
  select one = '' or other = '' or one = other
$function$;

CREATE OR REPLACE FUNCTION sync_internal.event_tickets(p_lines jsonb, p_event text)
 RETURNS jsonb
 LANGUAGE sql
 IMMUTABLE
AS $function$
  select jsonb_build_object('event_ticket_qty', coalesce(sum((line ->> 'quantity')::int), 0),
    'event_ticket_type', (array_agg(line ->> 'ticket_type' order by position))[1])
  from jsonb_array_elements(p_lines) with ordinality as l (line, position)
  where line ->> 'product_id' = p_event
$function$;

CREATE OR REPLACE FUNCTION sync_internal.take_on_tickets(p_before jsonb)
 RETURNS void
 LANGUAGE plpgsql
AS $function$
declare
  v_ids text[] := array(select jsonb_object_keys(p_before));
  v_line record;
begin
  perform from public.ghl_qr_tickets where order_id = any (v_ids) order by ticket_id for update;

  for v_line in
    select l.*, round from sync_internal.order_lines l cross join generate_series(1, 3) as round
    where l.order_id = any (v_ids)
      and not exists (
        select from jsonb_array_elements(p_before -> l.order_id) as b
        where b ->> 'product_id' = l.product_id and b ->> 'price_id' = l.price_id
          and (l.price_id <> '' or b ->> 'ticket_type' = l.line_key)
          -- A line that never gave anything, because nobody could read how many, is as good as new.
          and ((b ->> 'quantity')::int > 0 or exists (
            select from public.ghl_qr_tickets t
            where t.order_id = l.order_id and t.product_id = l.product_id and t.price_id = l.price_id
              and (l.price_id <> '' or t.ticket_type = l.line_key))))
    order by l.order_id, round, l.product_id, l.price_id, l.line_key
  loop
    with tickets as (
      select t.ticket_id, t.product_id, t.price_id, t.ordinal, t.ticket_type, ranked.rank,
        (t.product_id, t.price_id) = (v_line.product_id, v_line.price_id)
          and (v_line.price_id <> '' or t.ticket_type = v_line.line_key) as is_own,
        l.line_quantity,
        exists (
          select from jsonb_array_elements(p_before -> t.order_id) as b
          where b ->> 'product_id' = t.product_id and b ->> 'price_id' = t.price_id
            and (t.price_id <> '' or b ->> 'ticket_type' = t.ticket_type)) as was_on_order,
        -- What isn't live has its place whatever happens.
        row_number() over (
          partition by t.product_id, t.price_id, l.line_key
          order by case ranked.rank when 2 then 3 when 3 then 2 else ranked.rank end, t.ticket_id) as nth_of_line
      from public.ghl_qr_tickets t
      cross join lateral (
        select case when t.status in ('validated', 'used') then 1 when t.status = 'live' then 2
          when t.status = 'cancelled' and t.status_by = 'sync' then 4 else 3 end as rank) as ranked
      left join sync_internal.order_lines l on l.order_id = t.order_id
        and l.product_id = t.product_id and l.price_id = t.price_id
        and l.line_key = case when t.price_id = '' then t.ticket_type else '' end
      where t.order_id = v_line.order_id and t.product_id is not null
    ), free as (
      select v_line.line_quantity - count(*) filter (where is_own and rank < 4) as places,
        coalesce(max(ordinal) filter (where (product_id, price_id) = (v_line.product_id, v_line.price_id)), 0) as top_ordinal
      from tickets
    ), candidates as (
      select ticket_id, row_number() over (order by product_id <> v_line.product_id, rank, ticket_id) as nth
      from tickets
      where not is_own and (product_id = '' or price_id = '') and product_id <> 'legacy' and was_on_order
        and product_id in ('', v_line.product_id) and price_id in ('', v_line.price_id)
        and (line_quantity is null or nth_of_line > line_quantity and rank < 3)
        and case v_line.round
          when 1 then ticket_type = v_line.label
          when 2 then lower(btrim(ticket_type)) = lower(btrim(v_line.label))
          else true end
    )
    update public.ghl_qr_tickets as t
    set product_id = v_line.product_id, price_id = v_line.price_id, ordinal = f.top_ordinal + c.nth, ticket_type = v_line.label
    from candidates c, free f
    where t.ticket_id = c.ticket_id and c.nth <= f.places;
  end loop;
end
$function$;

CREATE OR REPLACE FUNCTION sync_internal.forget_unread(p_location text, p_order_ids text[])
 RETURNS void
 LANGUAGE sql
AS $function$
  delete from public.sync_order_memory where (location_id, order_id) in (
    select location_id, order_id from public.sync_order_memory
    where location_id = p_location and order_id = any (p_order_ids) and fetched_at is null
    for update skip locked)
$function$;

revoke all on function public.await_orders(jsonb) from public, anon, authenticated, service_role;
grant execute on function public.await_orders(jsonb) to service_role;

revoke all on function sync_internal.lock_memory(text, text[]) from public, anon, authenticated, service_role;
grant execute on function sync_internal.lock_memory(text, text[]) to service_role;

revoke all on function sync_internal.judge_reads(text, jsonb) from public, anon, authenticated, service_role;
grant execute on function sync_internal.judge_reads(text, jsonb) to service_role;

revoke all on function sync_internal.upsert_issues(jsonb, text[]) from public, anon, authenticated, service_role;
grant execute on function sync_internal.upsert_issues(jsonb, text[]) to service_role;

revoke all on function sync_internal.match_lines(jsonb, public.ghl_qr_orders, boolean) from public, anon, authenticated, service_role;
grant execute on function sync_internal.match_lines(jsonb, public.ghl_qr_orders, boolean) to service_role;

revoke all on function sync_internal.may_be_same(text, text) from public, anon, authenticated, service_role;
grant execute on function sync_internal.may_be_same(text, text) to service_role;

revoke all on function sync_internal.event_tickets(jsonb, text) from public, anon, authenticated, service_role;
grant execute on function sync_internal.event_tickets(jsonb, text) to service_role;

revoke all on function sync_internal.take_on_tickets(jsonb) from public, anon, authenticated, service_role;
grant execute on function sync_internal.take_on_tickets(jsonb) to service_role;

revoke all on function sync_internal.forget_unread(text, text[]) from public, anon, authenticated, service_role;
grant execute on function sync_internal.forget_unread(text, text[]) to service_role;

-- PostgREST learns of new functions.
notify pgrst, 'reload schema';
