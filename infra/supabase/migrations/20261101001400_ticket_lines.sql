-- What each line of an order should have, beside what it has. Reconciling and the invariant view read the same numbers.
--
-- A line is (product_id, price_id); where GHL gave no price id, its label tells lines apart (line_key).
-- held: validated, used (the original app's word for it), cancelled by anyone but sync, or of a status we don't know.

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

-- The promise, checkable at any time: lists the lines that break it. Empty at rest; an order with tickets_due set is
-- about to be reconciled.
create or replace view public.ghl_qr_tickets_out_of_step with (security_invoker = true) as
select l.order_id, o.location_id, l.product_id, l.price_id, l.label, l.entitled, l.live, l.held, o.tickets_due
from sync_internal.ticket_lines l
join public.ghl_qr_orders o on o.order_id = l.order_id
where l.live + l.held <> greatest(l.entitled, l.held);
