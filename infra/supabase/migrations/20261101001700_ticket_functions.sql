-- request: {location_id, orders: [{order_id, run_id?, change: "written|unchanged|stale", attempts}]}
--   -> {orders: [{order_id, found, added, reinstated, cancelled, kept, relabelled, over_validated, issues}], publication}
-- Tickets and the outcome `synced` in one transaction: a run never counts an order whose tickets weren't reconciled.
-- Planned anew for each call: the plan that suits one order took 8 s for a thousand.
create or replace function public.reconcile_tickets(request jsonb) returns jsonb
language plpgsql set search_path = '' set lock_timeout = '5s' set jit = off set plan_cache_mode = force_custom_plan
as $$
declare
  v_location text := sync_internal.location(request);
  v_orders jsonb := coalesce(nullif(request -> 'orders', 'null'), '[]');
  v_ids text[];
  v_results jsonb;
begin
  select coalesce(array_agg(distinct o ->> 'order_id'), '{}') into v_ids from jsonb_array_elements(v_orders) as o;

  select coalesce(jsonb_agg(
    to_jsonb(r) - 'leftover' || jsonb_build_object('issues', sync_internal.ticket_issues(r.over_validated, r.leftover))
    order by r.order_id), '[]')
  into v_results from sync_internal.reconcile(v_location, v_ids) as r;
  perform sync_internal.clear_failures(v_location, v_ids);

  if exists (select from jsonb_array_elements(v_orders) as o where o ->> 'run_id' is not null) then
    perform sync_internal.settle_reconciled(v_location, v_orders, v_results);
  end if;
  return jsonb_build_object(
    'orders', (select coalesce(jsonb_agg(r - 'tickets'), '[]') from jsonb_array_elements(v_results) as r),
    'publication', sync_internal.grant_for_batch(v_location, v_orders));
end
$$;

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

  -- Issues and labels first: the last outcome ends the run.
  perform sync_internal.note_issues(p_location, coalesce((
    select jsonb_agg(i || jsonb_build_object('run_id', j ->> 'run_id', 'order_id', j ->> 'order_id'))
    from jsonb_array_elements(v_joined) as j cross join lateral jsonb_array_elements(j -> 'issues') as i), '[]'));
  perform sync_internal.note_labels(p_location, v_joined);
  perform sync_internal.record_outcomes(p_location, v_joined);
end
$$;

-- Counts the distinct labels a run met.
create or replace function sync_internal.note_labels(p_location text, joined jsonb) returns void
language plpgsql
as $$
begin
  perform from public.sync_runs
  where run_id in (select (j ->> 'run_id')::uuid from jsonb_array_elements(joined) as j) and location_id = p_location
  order by run_id for update;

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

-- Orders whose tickets are to be reconciled since longer than older_than_ms, because a hand-over was lost or because
-- somebody else changed a ticket. request: {location_id, older_than_ms, limit}
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
    select order_id, min(since) as since from due group by order_id
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
