-- Tickets of the original app have only a label. Once their order's lines are known they are adopted by its lines, up to
-- each line's quantity: by the exact label first, then trimmed and case-folded; validated ones before live ones before
-- the rest, each by ticket_id. Nothing but the identity changes here.

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
