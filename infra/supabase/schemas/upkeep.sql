-- How long what nobody asks for any more is kept: outcomes, bits, issues and labels of ended runs, expired connections and the tickets
-- that opened them, scans of the gate, marks of touched tickets that no order waits for, and what was only ever named.

-- Forgets what nobody asks for any more, a bounded number of rows of a kind at a time, but labels all at once. Counts stay on
-- the runs; the tickets' history stays for good.
-- request: {location_id, limit} -> {deleted}
-- Locks: the rows it deletes, in no order. It skips those that others have locked, and waits for none but labels.
create or replace function public.purge(request jsonb) returns jsonb
language plpgsql set search_path = '' set lock_timeout = '5s' set jit = off
as $$
declare
  v_location text := sync_internal.location(request);
  v_limit int := greatest(coalesce((request ->> 'limit')::int, 1000), 1);
  v_old uuid[];
  v_finished uuid[];
  v_rows int;
  v_deleted int := 0;
begin
  select coalesce(array_agg(run_id) filter (where ended_at < clock_timestamp() - interval '30 days'), '{}'),
    -- The list of valid orders may still be written from these rows: leave them for a while.
    coalesce(array_agg(run_id) filter (where ended_at < clock_timestamp() - interval '1 hour'), '{}')
  into v_old, v_finished
  from public.sync_runs where location_id = v_location and sync_internal.is_final(state);

  delete from public.sync_outcomes where (run_id, order_id) in (
    select run_id, order_id from public.sync_outcomes
    where run_id = any (v_old)
    limit v_limit for update skip locked);
  get diagnostics v_rows = row_count;
  v_deleted := v_deleted + v_rows;

  delete from public.sync_outcomes where (run_id, order_id) in (
    select run_id, order_id from public.sync_outcomes
    where run_id = any (v_finished) and by_listing and outcome = 'synced'
    limit v_limit for update skip locked);
  get diagnostics v_rows = row_count;
  v_deleted := v_deleted + v_rows;

  delete from public.sync_run_bits where (run_id, block) in (
    select run_id, block from public.sync_run_bits
    where run_id = any (v_old)
    limit v_limit for update skip locked);
  get diagnostics v_rows = row_count;
  v_deleted := v_deleted + v_rows;

  delete from public.sync_issues where ctid = any (array(
    select ctid from public.sync_issues where run_id = any (v_old) limit v_limit for update skip locked));
  get diagnostics v_rows = row_count;
  v_deleted := v_deleted + v_rows;

  delete from public.sync_run_labels where run_id = any (v_finished);
  get diagnostics v_rows = row_count;
  v_deleted := v_deleted + v_rows;

  delete from public.sync_connections where (location_id, connection_id) in (
    select location_id, connection_id from public.sync_connections
    where location_id = v_location and expires_at < clock_timestamp()
    limit v_limit for update skip locked);
  get diagnostics v_rows = row_count;
  v_deleted := v_deleted + v_rows;

  -- A ticket is good for a minute.
  delete from public.sync_socket_tickets where (location_id, ticket_id) in (
    select location_id, ticket_id from public.sync_socket_tickets
    where location_id = v_location and used_at < clock_timestamp() - interval '10 minutes'
    limit v_limit for update skip locked);
  get diagnostics v_rows = row_count;
  v_deleted := v_deleted + v_rows;

  -- Two minutes after it nobody gets a scan's answer again. Kept for questions, and so that its name stays taken.
  delete from public.gate_scans where (location_id, scan_id) in (
    select location_id, scan_id from public.gate_scans
    where location_id = v_location and scanned_at < clock_timestamp() - interval '30 days'
    limit v_limit for update skip locked);
  get diagnostics v_rows = row_count;
  v_deleted := v_deleted + v_rows;

  -- Touched tickets of orders that are gone, or that were never fetched and so are left alone: their first fetch makes
  -- them due anyway.
  delete from public.ghl_qr_tickets_touched where touch_id = any (array(
    select t.touch_id from public.ghl_qr_tickets_touched t
    left join public.ghl_qr_orders o on o.order_id = t.order_id
    where o.lines is null and t.touched_at < clock_timestamp() - interval '1 hour'
    limit v_limit for update of t skip locked));
  get diagnostics v_rows = row_count;
  v_deleted := v_deleted + v_rows;

  -- What was named and never read: GHL has no such order, or the message died. It is found by its failure.
  delete from public.sync_order_memory where (location_id, order_id) in (
    select m.location_id, m.order_id
    from public.sync_failures f join public.sync_order_memory m using (location_id, order_id)
    where location_id = v_location and m.fetched_at is null and f.last_try_at < clock_timestamp() - interval '1 hour'
    limit v_limit for update of m skip locked);
  get diagnostics v_rows = row_count;
  v_deleted := v_deleted + v_rows;

  delete from public.sync_failures where (location_id, order_id) in (
    select location_id, order_id from public.sync_failures f
    where location_id = v_location and code = 'order_not_found' and last_try_at < clock_timestamp() - interval '30 days'
      and not exists (select from public.ghl_qr_orders o where o.order_id = f.order_id)
    limit v_limit for update skip locked);
  get diagnostics v_rows = row_count;
  return jsonb_build_object('deleted', v_deleted + v_rows);
end
$$;

revoke all on function public.purge(jsonb) from public, anon, authenticated;
grant execute on function public.purge(jsonb) to service_role;
