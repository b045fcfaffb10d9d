-- Brings tickets in step with their orders' rows. Level-triggered: it looks at what is, not at what happened, so that
-- doing it twice, late or out of order converges to the same rows, and doing it again writes nothing.
--
-- READ COMMITTED matters: each statement sees what was committed before it began. The first locks the orders, the second
-- their tickets (the original scanner updates tickets without any order lock), and only then anything is decided.
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
  ), added_now as (
    insert into public.ghl_qr_tickets
      (order_id, ticket_type, status, product_id, price_id, ordinal, status_by, status_at, status_reason)
    select p.order_id, p.label, 'live', p.product_id, p.price_id,
      p.group_top + row_number() over (partition by p.order_id, p.product_id, p.price_id order by p.line_key, n),
      'sync', clock_timestamp(), 'added'
    from plan p cross join lateral generate_series(1, p.missing - p.reinstatable) as n
    order by p.order_id, p.product_id, p.price_id, p.line_key, n
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

-- A label is not an identity: a renamed price renames the tickets of its line, and nothing else of them.
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
