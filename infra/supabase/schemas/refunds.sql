-- Refunds that move no date of their order: only its transactions tell. Decided here: which orders' sums may have changed, and what
-- follows from one that did: it is stored, reported once if tickets stay, and the next listing that meets the order has it fetched
-- (in_step, in listing.sql), since its status decides about tickets.

-- The stored orders of which these transactions show something else than when their sum was last taken. What isn't stored yet will be
-- looked at by a later run; what is refunded already can't be refunded any further.
-- request: {location_id, transactions: [{transaction_id, order_id, refunded}]} -> {order_ids}
-- Locks nothing.
create or replace function public.changed_refunds(request jsonb) returns jsonb
language plpgsql set search_path = '' set lock_timeout = '5s' set jit = off
as $$
declare
  v_location text := sync_internal.location(request);
begin
  return (
    select jsonb_build_object('order_ids', coalesce(jsonb_agg(distinct t.order_id order by t.order_id), '[]'))
    from jsonb_to_recordset(coalesce(nullif(request -> 'transactions', 'null'), '[]')) as t (
      transaction_id text, order_id text, refunded numeric)
    join public.ghl_qr_orders o on o.order_id = t.order_id and o.location_id = v_location
    left join public.sync_refunds r on r.location_id = v_location and r.order_id = t.order_id
    left join public.sync_order_memory m on m.location_id = v_location and m.order_id = t.order_id
    where (coalesce((r.transactions ->> t.transaction_id)::numeric, 0) <> coalesce(t.refunded, 0)
        or (r.to_report and o.entitled and m.fetched_at > r.changed_at))
      and (r.order_id is not null or lower(o.payment_status) is distinct from 'refunded'));
end
$$;

revoke all on function public.changed_refunds(jsonb) from public, anon, authenticated;
grant execute on function public.changed_refunds(jsonb) to service_role;

-- Takes the sums of orders whose transactions were read, and keeps where the run's reading stands (`transactions`; null: where it
-- was). A sum that was taken before does nothing.
-- request: {location_id, run_id, transactions|null, refunds: [{order_id, refunded, received, transactions: {<id>: <refunded>}}],
--   issues?: [{code, message}]} -> {run, publication_due}
-- Locks: the run, the refunds by order_id, the location's row.
create or replace function public.record_refunds(request jsonb) returns jsonb
language plpgsql set search_path = '' set lock_timeout = '5s' set jit = off
as $$
declare
  v_location text := sync_internal.location(request);
  v_run public.sync_runs;
  v_due boolean := false;
begin
  select * into v_run from public.sync_runs
  where run_id = (sync_internal.required(request, 'run_id'))::uuid and location_id = v_location for update;
  if not found then
    return jsonb_build_object('run', null, 'publication_due', false);
  end if;

  if v_run.state = 'Syncing' then
    perform sync_internal.note_issues(v_location, coalesce((
      select jsonb_agg(i || jsonb_build_object('run_id', v_run.run_id))
      from jsonb_array_elements(coalesce(nullif(request -> 'issues', 'null'), '[]')) as i), '[]'));
    perform sync_internal.take_refunds(v_run, coalesce(nullif(request -> 'refunds', 'null'), '[]'));
    update public.sync_runs
    set transactions = coalesce(nullif(request -> 'transactions', 'null'), transactions),
      version = version + 1, last_progress_at = clock_timestamp()
    where run_id = v_run.run_id;
  end if;

  v_due := sync_internal.ask_publication(v_location, v_run.run_id);
  select * into v_run from public.sync_runs where run_id = v_run.run_id;
  return jsonb_build_object('run', sync_internal.run_json(v_run), 'publication_due', v_due);
end
$$;

revoke all on function public.record_refunds(jsonb) from public, anon, authenticated;
grant execute on function public.record_refunds(jsonb) to service_role;

-- Stores the sums, and notes an issue of each partial one that is new while its order has tickets. Of a full one the order's own status
-- decides: it is noted by a later reading, if the order was fetched since and still has tickets. The caller holds the run's row lock,
-- under which alone refunds are written.
create or replace function sync_internal.take_refunds(p_run public.sync_runs, refunds jsonb) returns void
language plpgsql
as $$
declare
  v_changed jsonb;
begin
  with reported as materialized (
    select distinct on (i.order_id) i.order_id, greatest(i.refunded, 0) as refunded, greatest(i.received, 0) as received,
      coalesce(nullif(i.transactions, 'null'), '{}') as transactions, coalesce(r.refunded, 0) as refunded_before,
      o.payment_currency, coalesce(o.entitled, false) as entitled,
      coalesce(r.to_report and o.entitled and m.fetched_at > r.changed_at and r.refunded = i.refunded, false) as is_contradicted,
      coalesce(r.to_report, false) as to_report_before
    from jsonb_to_recordset(refunds) as i (order_id text, refunded numeric, received numeric, transactions jsonb)
    join public.ghl_qr_orders o on o.order_id = i.order_id and o.location_id = p_run.location_id
    left join public.sync_refunds r on r.location_id = p_run.location_id and r.order_id = i.order_id
    left join public.sync_order_memory m on m.location_id = p_run.location_id and m.order_id = i.order_id
    where i.refunded is not null
    order by i.order_id, i.refunded desc
  ), stored as (
    insert into public.sync_refunds as r (location_id, order_id, refunded, received, transactions, changed_at, to_report)
    select p_run.location_id, order_id, refunded, received, transactions,
      case when refunded <> 0 then clock_timestamp() end,
      case when refunded <> refunded_before then refunded >= received and received > 0 and entitled
        else to_report_before and not is_contradicted end
    from reported order by order_id
    on conflict (location_id, order_id) do update set
      refunded = excluded.refunded, received = excluded.received, transactions = excluded.transactions,
      changed_at = case when r.refunded <> excluded.refunded then clock_timestamp() else r.changed_at end,
      to_report = excluded.to_report
    where (r.refunded, r.received, r.transactions, r.to_report)
      is distinct from (excluded.refunded, excluded.received, excluded.transactions, excluded.to_report)
  )
  select jsonb_agg(jsonb_build_object('run_id', p_run.run_id, 'order_id', order_id,
    'code', case when is_contradicted then 'full_refund' else 'partial_refund' end,
    'message', format('By its transactions, %s of %s were refunded. ',
        concat_ws(' ', trim_scale(refunded), payment_currency), trim_scale(received))
      || case when is_contradicted
        then 'GoHighLevel still shows the order as paid, so its tickets stay: look it up there.'
        else 'All its tickets stay. Cancel single tickets by hand if that is what was agreed.' end))
  into v_changed
  from reported
  where entitled and refunded > 0
    and (is_contradicted or (refunded <> refunded_before and (refunded < received or received = 0)));
  perform sync_internal.note_issues(p_run.location_id, coalesce(v_changed, '[]'));
end
$$;

revoke all on function sync_internal.take_refunds(public.sync_runs, jsonb) from public, anon, authenticated;
grant execute on function sync_internal.take_refunds(public.sync_runs, jsonb) to service_role;
