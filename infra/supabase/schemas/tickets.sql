-- Tickets: brought into step with the lines of their orders. Top down: the call; the lines, with what each should have and has;
-- reconciling (what is added, reinstated and cancelled); adoption of the original app's tickets; tickets whose ids appear; relabelling;
-- what the run is told; the orders still due; and a view of the lines that are out of step.

-- Tickets and the outcome `synced` in one transaction: a run never counts an order whose tickets weren't reconciled.
-- Planned anew for each call: the plan that suits one order took 8 s for a thousand.
-- request: {location_id, orders: [{order_id, run_id?, change: "written|unchanged|stale", attempts}]}
--   -> {orders: [{order_id, found, added, reinstated, cancelled, kept, relabelled, over_validated, issues}], first, publication_due}
-- `first`: the orders that this call has brought in step or told their run of; repeated, it names none.
-- Locks: orders by order_id, tickets by ticket_id, failures by order_id; runs with issues, all, the newest; the location's row.
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

revoke all on function public.reconcile_tickets(jsonb) from public, anon, authenticated;
grant execute on function public.reconcile_tickets(jsonb) to service_role;

-- What each line of an order should have: its quantity, or nothing where the order entitles to no tickets.
-- A line is (product_id, price_id); where GHL gave no price id, its label tells lines apart (line_key).
create or replace view sync_internal.order_lines with (security_invoker = true) as
select order_id, product_id, price_id, line_key,
  (array_agg(label order by position))[1] as label,
  least(sum(line_quantity), 1000000)::int as line_quantity,
  case when bool_or(entitled) then least(sum(line_quantity), 1000000)::int else 0 end as entitled
from (
  select o.order_id, coalesce(o.entitled, false) as entitled, l.position,
    coalesce(l.line ->> 'product_id', '') as product_id,
    coalesce(l.line ->> 'price_id', '') as price_id,
    case when coalesce(l.line ->> 'price_id', '') = '' then coalesce(l.line ->> 'ticket_type', 'General') else '' end
      as line_key,
    coalesce(l.line ->> 'ticket_type', 'General') as label,
    greatest(coalesce((l.line ->> 'quantity')::bigint, 0), 0) as line_quantity
  from public.ghl_qr_orders o
  cross join lateral jsonb_array_elements(o.lines) with ordinality as l (line, position)
) as each_line
group by order_id, product_id, price_id, line_key;

revoke all on sync_internal.order_lines from public, anon, authenticated;
grant select on sync_internal.order_lines to service_role;

-- What each line of an order should have, beside what it has. Reconciling and the invariant view read the same numbers.
-- held: validated, used (the original app's word for it), cancelled by anyone but sync, or of a status we don't know.
create or replace view sync_internal.ticket_lines with (security_invoker = true) as
select order_id, product_id, price_id, line_key,
  max(label) as label,
  sum(line_quantity)::int as line_quantity,
  sum(entitled)::int as entitled,
  sum(live)::int as live,
  sum(held)::int as held,
  sum(validated)::int as validated,
  sum(reinstatable)::int as reinstatable,
  max(top_ordinal) as top_ordinal
from (
  select order_id, product_id, price_id, line_key, label, line_quantity, entitled,
    0 as live, 0 as held, 0 as validated, 0 as reinstatable, 0 as top_ordinal
  from sync_internal.order_lines
  union all
  select t.order_id, coalesce(t.product_id, ''), coalesce(t.price_id, ''),
    case when coalesce(t.price_id, '') = '' then t.ticket_type else '' end, null, 0, 0,
    (t.status is not distinct from 'live')::int,
    (case when t.status = 'live' then false
      when t.status = 'cancelled' then t.status_by is distinct from 'sync'
      else true end)::int,
    (t.status is not null and t.status in ('validated', 'used'))::int,
    (t.status is not distinct from 'cancelled' and t.status_by is not distinct from 'sync')::int,
    coalesce(t.ordinal, 0)
  from public.ghl_qr_tickets t
  join public.ghl_qr_orders o on o.order_id = t.order_id
  where o.lines is not null
) as both_sides
group by order_id, product_id, price_id, line_key;

revoke all on sync_internal.ticket_lines from public, anon, authenticated;
grant select on sync_internal.ticket_lines to service_role;

-- Brings tickets in step with their orders' rows. Level-triggered: it looks at what is, not at what happened, so that
-- doing it twice, late or out of order converges to the same rows, and doing it again writes nothing.
--
-- READ COMMITTED matters: each statement sees what was committed before it began. The first locks the orders, the second
-- their tickets (the original scanner updates tickets without any order lock), and only then anything is decided.
-- Locks orders by order_id, then their tickets by ticket_id, and last the marks of touched tickets that it deletes.
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

revoke all on function sync_internal.reconcile(text, text[]) from public, anon, authenticated;
grant execute on function sync_internal.reconcile(text, text[]) to service_role;

-- The place of a line on its order: that of its first item.
create or replace function sync_internal.line_position(p_lines jsonb, p_product text, p_price text, p_key text) returns bigint
language sql immutable
as $$
  select min(l.position) from jsonb_array_elements(p_lines) with ordinality as l (line, position)
  where coalesce(l.line ->> 'product_id', '') = p_product and coalesce(l.line ->> 'price_id', '') = p_price
    and (p_price <> '' or coalesce(l.line ->> 'ticket_type', 'General') = p_key)
$$;

revoke all on function sync_internal.line_position(jsonb, text, text, text) from public, anon, authenticated;
grant execute on function sync_internal.line_position(jsonb, text, text, text) to service_role;

-- Tickets of the original app have only a label. Once their order's lines are known they are adopted by its lines, up to
-- each line's quantity: by the exact label first, then trimmed and case-folded; validated ones before live ones before
-- the rest, each by ticket_id. Nothing but the identity changes here.
-- Returns how many tickets of each order no line wanted: {order_id: {left, live, validated}}.
-- The caller holds the locks of the orders and their tickets.
create or replace function sync_internal.adopt_tickets(p_order_ids text[]) returns jsonb
language plpgsql
as $$
declare
  v_ids text[];
  v_left jsonb;
begin
  -- An order without any line has nothing to compare with: its tickets wait for lines.
  select array_agg(distinct t.order_id) into v_ids
  from public.ghl_qr_tickets t join public.ghl_qr_orders o on o.order_id = t.order_id
  where t.order_id = any (p_order_ids) and t.product_id is null and jsonb_array_length(o.lines) > 0;
  if v_ids is null then
    return '{}';
  end if;

  perform sync_internal.adopt_by_label(v_ids, false);
  perform sync_internal.adopt_by_label(v_ids, true);

  with tops as (
    select order_id, max(ordinal) as top_ordinal from public.ghl_qr_tickets
    where order_id = any (v_ids) and product_id = 'legacy' and price_id = '' group by order_id
  ), numbered as (
    select t.ticket_id, coalesce(tops.top_ordinal, 0)
      + row_number() over (partition by t.order_id order by t.ticket_id) as ordinal
    from public.ghl_qr_tickets t left join tops on tops.order_id = t.order_id
    where t.order_id = any (v_ids) and t.product_id is null
  ), left_over as (
    update public.ghl_qr_tickets as t
    set product_id = 'legacy', price_id = '', ordinal = n.ordinal
    from numbered n where t.ticket_id = n.ticket_id
    returning t.order_id, t.status
  ), counted as (
    select order_id, count(*) as total, count(*) filter (where status = 'live') as live,
      count(*) filter (where status in ('validated', 'used')) as validated
    from left_over group by order_id
  )
  select jsonb_object_agg(order_id, jsonb_build_object('left', total, 'live', live, 'validated', validated))
  into v_left from counted;
  return coalesce(v_left, '{}');
end
$$;

revoke all on function sync_internal.adopt_tickets(text[]) from public, anon, authenticated;
grant execute on function sync_internal.adopt_tickets(text[]) to service_role;

-- One round of adoption: tickets without a line take the free places of lines with their label, which is compared exactly
-- or folded (trimmed and in lower case). The caller holds the locks of the orders and their tickets.
create or replace function sync_internal.adopt_by_label(p_order_ids text[], p_folded boolean) returns void
language sql
as $$
  with all_lines as (
    -- Tickets of a line that was renamed and has no price id count too: their ordinals are taken.
    select *, max(top_ordinal) over (partition by order_id, product_id, price_id) as group_top
    from sync_internal.ticket_lines where order_id = any (p_order_ids)
  ), free_places as (
    select l.order_id, l.product_id, l.price_id, l.line_key, l.label,
      case when p_folded then lower(btrim(l.label)) else l.label end as match,
      l.group_top as top_ordinal,
      place
    from all_lines l
    cross join lateral generate_series(1, l.line_quantity - l.live - l.held) as place
    where l.label is not null
  ), places as (
    select *,
      row_number() over (partition by order_id, match order by product_id, price_id, line_key, place) as nth,
      top_ordinal + row_number() over (
        partition by order_id, product_id, price_id order by line_key, place) as ordinal
    from free_places
  ), orphans as (
    select ticket_id, order_id,
      case when p_folded then lower(btrim(ticket_type)) else ticket_type end as match,
      row_number() over (
        partition by order_id, case when p_folded then lower(btrim(ticket_type)) else ticket_type end
        order by case when status in ('validated', 'used') then 1 when status = 'live' then 2 else 3 end, ticket_id
      ) as nth
    from public.ghl_qr_tickets
    where order_id = any (p_order_ids) and product_id is null
  )
  update public.ghl_qr_tickets as t
  set product_id = p.product_id, price_id = p.price_id, ordinal = p.ordinal, ticket_type = p.label
  from orphans o join places p using (order_id, match, nth)
  where t.ticket_id = o.ticket_id
$$;

revoke all on function sync_internal.adopt_by_label(text[], boolean) from public, anon, authenticated;
grant execute on function sync_internal.adopt_by_label(text[], boolean) to service_role;

-- Ids that GHL left out of an order are there now, or a line without a price id has another label: its tickets go over to the
-- line as it is called now, whatever their status. Places are those of lines that weren't on the order before (p_before: {order_id:
-- the lines before}), up to each line's quantity; tickets those without an id of lines that are gone with this read, and of lines that are left the
-- live and validated ones beyond the quantity. By the exact label first, then trimmed and case-folded, then any of the product;
-- those that have the product first, validated before live before the rest, each by ticket_id.
-- Ordinals are new, since a cancelled ticket may have the old one; ticket_id stays for good.
-- Locks the orders' tickets by ticket_id; the caller holds the locks of the orders.
create or replace function sync_internal.take_on_tickets(p_before jsonb) returns void
language plpgsql
as $$
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
$$;

revoke all on function sync_internal.take_on_tickets(jsonb) from public, anon, authenticated;
grant execute on function sync_internal.take_on_tickets(jsonb) to service_role;

-- A label is not an identity: a renamed price renames the tickets of its line, and nothing else of them.
-- Returns how many tickets of each order: {order_id: count}. The caller holds the locks of the orders and their tickets.
create or replace function sync_internal.relabel_tickets(p_order_ids text[]) returns jsonb
language plpgsql
as $$
declare
  v_relabelled jsonb;
begin
  with relabelled as (
    update public.ghl_qr_tickets as t
    set ticket_type = l.label
    from sync_internal.order_lines l
    where l.order_id = any (p_order_ids) and l.price_id <> ''
      and t.order_id = l.order_id and t.product_id = l.product_id and t.price_id = l.price_id
      and t.ticket_type is distinct from l.label
    returning t.order_id
  )
  select coalesce(jsonb_object_agg(order_id, changed), '{}') into v_relabelled
  from (select order_id, count(*) as changed from relabelled group by order_id) as counted;
  return v_relabelled;
end
$$;

revoke all on function sync_internal.relabel_tickets(text[]) from public, anon, authenticated;
grant execute on function sync_internal.relabel_tickets(text[]) to service_role;

-- What reconciling can't mend, for a person to look at.
create or replace function sync_internal.ticket_issues(p_over_validated int, p_leftover jsonb) returns jsonb
language sql immutable
as $$
  select case when p_over_validated > 0 then jsonb_build_array(jsonb_build_object(
      'code', 'over_validated',
      'message', format('%s validated ticket(s) more than the order entitles to. They stay validated.',
        p_over_validated))) else '[]' end
    || case when p_leftover is not null then jsonb_build_array(jsonb_build_object(
      'code', 'legacy_tickets',
      'message', format('%s ticket(s) of the original app match no place on the order: %s live one(s) cancelled, '
        || '%s validated one(s) left as they are.',
        p_leftover ->> 'left', p_leftover ->> 'live', p_leftover ->> 'validated'))) else '[]' end
$$;

revoke all on function sync_internal.ticket_issues(int, jsonb) from public, anon, authenticated;
grant execute on function sync_internal.ticket_issues(int, jsonb) to service_role;

-- What runs are told once tickets are reconciled: issues, labels, and the outcome `synced`.
-- Locks the runs by run_id.
create or replace function sync_internal.settle_reconciled(p_location text, orders jsonb, results jsonb) returns void
language plpgsql
as $$
declare
  v_joined jsonb;
begin
  select coalesce(jsonb_agg(r || jsonb_build_object(
      'run_id', o ->> 'run_id', 'outcome', 'synced', 'change', o ->> 'change', 'attempts', o -> 'attempts')), '[]')
  into v_joined
  from jsonb_array_elements(orders) as o
  join jsonb_array_elements(results) as r on r ->> 'order_id' = o ->> 'order_id'
  where o ->> 'run_id' is not null;

  perform sync_internal.lock_runs(p_location, orders);
  -- Issues and labels first: the last outcome ends the run.
  perform sync_internal.note_issues(p_location, coalesce((
    select jsonb_agg(i || jsonb_build_object('run_id', j ->> 'run_id', 'order_id', j ->> 'order_id'))
    from jsonb_array_elements(v_joined) as j cross join lateral jsonb_array_elements(j -> 'issues') as i), '[]'));
  perform sync_internal.note_labels(p_location, v_joined);
  perform sync_internal.record_outcomes(p_location, v_joined);
end
$$;

revoke all on function sync_internal.settle_reconciled(text, jsonb, jsonb) from public, anon, authenticated;
grant execute on function sync_internal.settle_reconciled(text, jsonb, jsonb) to service_role;

-- Counts the distinct labels a run met. Locks the runs by run_id.
create or replace function sync_internal.note_labels(p_location text, joined jsonb) returns void
language plpgsql
as $$
begin
  perform sync_internal.lock_runs(p_location, joined);

  with met as (
    select distinct r.run_id, md5(t.ticket_type) as label_hash
    from jsonb_to_recordset(joined) as j (run_id uuid, order_id text)
    join public.sync_runs r on r.run_id = j.run_id and r.location_id = p_location and r.state = 'Syncing'
    join public.ghl_qr_tickets t on t.order_id = j.order_id
  ), new_labels as (
    insert into public.sync_run_labels (run_id, label_hash)
    select run_id, label_hash from met on conflict do nothing returning run_id
  )
  update public.sync_runs as r set ticket_types = r.ticket_types + n.labels
  from (select run_id, count(*) as labels from new_labels group by run_id) as n
  where r.run_id = n.run_id;
end
$$;

revoke all on function sync_internal.note_labels(text, jsonb) from public, anon, authenticated;
grant execute on function sync_internal.note_labels(text, jsonb) to service_role;

-- Orders whose tickets are to be reconciled since longer than older_than_ms, because a hand-over was lost or because
-- somebody else changed a ticket; with the run that still waits for the order, if one does. Not those that the database has
-- refused since: handed over again, they would be refused again.
-- request: {location_id, older_than_ms, limit} -> {orders: [{order_id, run_id|null}]}
-- Locks nothing.
create or replace function public.due_orders(request jsonb) returns jsonb
language plpgsql set search_path = '' set lock_timeout = '5s' set jit = off
as $$
declare
  v_location text := sync_internal.location(request);
  v_before timestamptz := clock_timestamp()
    - sync_internal.milliseconds(coalesce((request ->> 'older_than_ms')::numeric, 0));
  v_orders jsonb;
begin
  with due as (
    select order_id, tickets_due as since from public.ghl_qr_orders
    where location_id = v_location and tickets_due <= v_before
    union all
    select t.order_id, t.touched_at from public.ghl_qr_tickets_touched t
    join public.ghl_qr_orders o on o.order_id = t.order_id
    where o.location_id = v_location and o.lines is not null and t.touched_at <= v_before
  ), oldest as (
    select order_id, min(since) as since from due
    where not exists (
      select from public.sync_failures f
      where f.location_id = v_location and f.order_id = due.order_id and f.code = 'tickets_refused'
        and f.last_try_at >= due.since)
    group by order_id
    order by min(since) limit sync_internal.page_limit(request)
  )
  select coalesce(jsonb_agg(jsonb_build_object('order_id', d.order_id, 'run_id', open_row.run_id) order by d.since), '[]')
  into v_orders
  from oldest d
  left join lateral (
    select c.run_id from public.sync_outcomes c
    join public.sync_runs r on r.run_id = c.run_id
    where r.location_id = v_location and r.state = 'Syncing' and c.order_id = d.order_id and c.outcome is null
    limit 1
  ) as open_row on true;
  return jsonb_build_object('orders', v_orders);
end
$$;

revoke all on function public.due_orders(jsonb) from public, anon, authenticated;
grant execute on function public.due_orders(jsonb) to service_role;

-- The promise, checkable at any time: lists the lines that break it. Empty at rest; an order with tickets_due set is
-- about to be reconciled.
create or replace view public.ghl_qr_tickets_out_of_step with (security_invoker = true) as
select l.order_id, o.location_id, l.product_id, l.price_id, l.label, l.entitled, l.live, l.held, o.tickets_due
from sync_internal.ticket_lines l
join public.ghl_qr_orders o on o.order_id = l.order_id
where l.live + l.held <> greatest(l.entitled, l.held);

revoke all on public.ghl_qr_tickets_out_of_step from public, anon, authenticated;
grant select on public.ghl_qr_tickets_out_of_step to service_role;
