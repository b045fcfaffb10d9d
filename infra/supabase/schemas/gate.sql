-- The gate: admits a ticket once. The order's lock comes first, as everywhere, so that a scan and a sync can't deadlock.

-- Admits a live ticket, by what its order says now: if the order's tickets are due, they are reconciled first.
-- A scan may name itself (scan_id). Who got no answer sends it again and is told for two minutes what was done, as long as nobody has
-- changed the ticket since: else a guest who was let in would be told to have been in before. It never admits a second time, whatever
-- it was told: a copy of a request can arrive late, when nobody stands at the gate.
-- request: {location_id, ticket_id, by, scan_id?, gate?}
--   -> {result: "admitted|already_validated|cancelled|scan_ended|scan_id_reused|not_found", repeated, ticket}
-- Locks: the order, its tickets by ticket_id if they are due, then the ticket, then the scan.
create or replace function public.validate_ticket(request jsonb) returns jsonb
language plpgsql set search_path = '' set lock_timeout = '3s' set jit = off
as $$
declare
  v_location text := sync_internal.location(request);
  v_ticket public.ghl_qr_tickets := sync_internal.lock_ticket(
    v_location, (sync_internal.required(request, 'ticket_id'))::bigint);
  v_now timestamptz := clock_timestamp();
  v_before public.gate_scans;
  v_was_scanned boolean;
  v_result text;
begin
  if v_ticket.ticket_id is null then
    return jsonb_build_object('result', 'not_found', 'ticket', null);
  end if;
  v_before := sync_internal.record_scan(v_location, v_ticket, request, v_now);
  v_was_scanned := v_before.scan_id is not null;

  v_result := case
    when v_was_scanned and (v_before.ticket_id <> v_ticket.ticket_id
      or v_before.scanned_by is distinct from request ->> 'by') then 'scan_id_reused'
    -- Its own admission, if nobody has touched that: whoever else changes the status dates it, or is noted as external.
    when v_was_scanned and v_ticket.status = 'validated' and v_ticket.status_by = 'gate'
      and v_ticket.validated_at = v_before.validated_at
      and v_before.scanned_at > v_now - interval '2 minutes' then 'admitted'
    when v_ticket.status in ('validated', 'used') then 'already_validated'
    -- Also a status we don't know: only a live ticket admits.
    when v_ticket.status is distinct from 'live' then 'cancelled'
    when v_was_scanned then 'scan_ended'
    else 'admitted' end;

  if v_result = 'admitted' and not v_was_scanned then
    update public.ghl_qr_tickets
    set status = 'validated', status_by = 'gate', status_at = v_now, status_reason = 'admitted',
      validated_at = v_now, validated_by = request ->> 'by'
    where ticket_id = v_ticket.ticket_id
    returning * into v_ticket;
  end if;
  return jsonb_build_object('result', v_result, 'repeated', v_was_scanned and v_result = 'admitted',
    'ticket', sync_internal.ticket_json(v_ticket));
end
$$;

revoke all on function public.validate_ticket(jsonb) from public, anon, authenticated;
grant execute on function public.validate_ticket(jsonb) to service_role;

-- Records a scan that names itself, with the admission that it makes if its ticket is live. Returns the row of before if there is one.
-- The caller holds the ticket's lock, so that a scan of the same ticket at the same time has been decided. One of another ticket is
-- waited for here; it waits for nobody any more.
create or replace function sync_internal.record_scan(
  p_location text, t public.ghl_qr_tickets, request jsonb, p_at timestamptz
) returns public.gate_scans
language plpgsql
as $$
declare
  v_scan_id text := nullif(request ->> 'scan_id', '');
  v_before public.gate_scans;
begin
  if v_scan_id is null then
    return null;
  end if;
  insert into public.gate_scans (location_id, scan_id, ticket_id, scanned_by, gate, scanned_at, validated_at)
  values (p_location, v_scan_id, t.ticket_id, request ->> 'by', request ->> 'gate', p_at,
    case when t.status = 'live' then p_at end)
  on conflict do nothing;
  if found then
    return null;
  end if;
  select * into v_before from public.gate_scans where location_id = p_location and scan_id = v_scan_id;
  return v_before;
end
$$;

revoke all on function sync_internal.record_scan(text, public.ghl_qr_tickets, jsonb, timestamptz) from public, anon, authenticated;
grant execute on function sync_internal.record_scan(text, public.ghl_qr_tickets, jsonb, timestamptz) to service_role;

-- Takes an admission back; what the order no longer entitles to is then cancelled. The scan that made it stays decided.
-- validated_at names the admission, to the millisecond, as answers do: an undo that is sent again for want of an answer must not take
-- back the next admission. Without it, as older clients ask, the one that stands is taken back.
-- request: {location_id, ticket_id, by, validated_at?}
--   -> {result: "undone|not_validated|other_admission|not_found", repeated, ticket}
-- Locks: the order, its tickets by ticket_id if they are due, the ticket, then all the order's tickets by ticket_id.
create or replace function public.undo_ticket(request jsonb) returns jsonb
language plpgsql set search_path = '' set lock_timeout = '3s' set jit = off
as $$
declare
  v_location text := sync_internal.location(request);
  v_ticket public.ghl_qr_tickets := sync_internal.lock_ticket(
    v_location, (sync_internal.required(request, 'ticket_id'))::bigint);
  v_admission timestamptz := date_trunc('milliseconds', (request ->> 'validated_at')::timestamptz);
  v_is_validated boolean := coalesce(v_ticket.status, '') in ('validated', 'used');
  v_was_undone boolean := false;
begin
  if v_ticket.ticket_id is null then
    return jsonb_build_object('result', 'not_found', 'ticket', null);
  end if;
  if not v_is_validated or v_admission <> coalesce(date_trunc('milliseconds', v_ticket.validated_at), '-infinity') then
    v_was_undone := v_admission is not null and exists (
      select from public.ghl_qr_ticket_changes c
      where c.order_id = v_ticket.order_id and c.ticket_id = v_ticket.ticket_id and c.changed_by = 'gate'
        and c.old_status in ('validated', 'used') and date_trunc('milliseconds', c.validated_at) = v_admission);
    return jsonb_build_object(
      'result', case when v_was_undone then 'undone' when v_is_validated then 'other_admission' else 'not_validated' end,
      'repeated', v_was_undone, 'ticket', sync_internal.ticket_json(v_ticket));
  end if;
  update public.ghl_qr_tickets
  set status = 'live', status_by = 'gate', status_at = clock_timestamp(),
    status_reason = 'admission undone by ' || coalesce(request ->> 'by', 'an admin'),
    validated_at = null, validated_by = null
  where ticket_id = v_ticket.ticket_id;
  perform from sync_internal.reconcile(v_location, array[v_ticket.order_id]);
  select * into v_ticket from public.ghl_qr_tickets where ticket_id = v_ticket.ticket_id;
  return jsonb_build_object('result', 'undone', 'repeated', false, 'ticket', sync_internal.ticket_json(v_ticket));
end
$$;

revoke all on function public.undo_ticket(jsonb) from public, anon, authenticated;
grant execute on function public.undo_ticket(jsonb) to service_role;

-- Locks the ticket's order, brings a due one in step, and returns the ticket locked; null if it isn't ours.
create or replace function sync_internal.lock_ticket(p_location text, p_ticket_id bigint) returns public.ghl_qr_tickets
language plpgsql
as $$
declare
  v_order public.ghl_qr_orders;
  v_ticket public.ghl_qr_tickets;
begin
  select o.* into v_order
  from public.ghl_qr_orders o
  where o.order_id = (select t.order_id from public.ghl_qr_tickets t where t.ticket_id = p_ticket_id)
    -- Old rows of the original app name no location.
    and coalesce(o.location_id, p_location) = p_location
  for update;
  if not found then
    return null;
  end if;
  if v_order.tickets_due is not null
    or exists (select from public.ghl_qr_tickets_touched where order_id = v_order.order_id) then
    perform from sync_internal.reconcile(p_location, array[v_order.order_id]);
  end if;
  select * into v_ticket from public.ghl_qr_tickets where ticket_id = p_ticket_id for update;
  return v_ticket;
end
$$;

revoke all on function sync_internal.lock_ticket(text, bigint) from public, anon, authenticated;
grant execute on function sync_internal.lock_ticket(text, bigint) to service_role;

-- A ticket as the gate shows it, with the reason why it doesn't admit; null if there is none.
create or replace function sync_internal.ticket_json(t public.ghl_qr_tickets) returns jsonb
language sql stable
as $$
  select jsonb_build_object('ticket_id', t.ticket_id, 'order_id', t.order_id, 'ticket_type', t.ticket_type,
    'status', t.status, 'validated_at', t.validated_at,
    'reason', case
      when t.status = 'cancelled' then coalesce(t.status_reason, 'cancelled outside ghl-sync')
      when t.status in ('live', 'validated', 'used') then null
      else format('its status is "%s"', coalesce(t.status, '')) end)
  where t.ticket_id is not null
$$;

revoke all on function sync_internal.ticket_json(public.ghl_qr_tickets) from public, anon, authenticated;
grant execute on function sync_internal.ticket_json(public.ghl_qr_tickets) to service_role;
