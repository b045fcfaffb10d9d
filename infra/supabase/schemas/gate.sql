-- The gate: admits a ticket once. The order's lock comes first, as everywhere, so that a scan and a sync can't deadlock.

-- Admits a live ticket, by what its order says now: if the order's tickets are due, they are reconciled first.
-- request: {location_id, ticket_id, by}
--   -> {result: "admitted|already_validated|cancelled|not_found", ticket}
-- Locks: the order, its tickets by ticket_id if they are due, then the ticket.
create or replace function public.validate_ticket(request jsonb) returns jsonb
language plpgsql set search_path = '' set lock_timeout = '3s' set jit = off
as $$
declare
  v_location text := sync_internal.location(request);
  v_ticket public.ghl_qr_tickets := sync_internal.lock_ticket(
    v_location, (sync_internal.required(request, 'ticket_id'))::bigint);
  v_result text;
begin
  if v_ticket.ticket_id is null then
    return jsonb_build_object('result', 'not_found', 'ticket', null);
  end if;
  if v_ticket.status = 'live' then
    update public.ghl_qr_tickets
    set status = 'validated', status_by = 'gate', status_at = clock_timestamp(), status_reason = 'admitted',
      validated_at = clock_timestamp(), validated_by = request ->> 'by'
    where ticket_id = v_ticket.ticket_id
    returning * into v_ticket;
    v_result := 'admitted';
  elsif v_ticket.status in ('validated', 'used') then
    v_result := 'already_validated';
  else
    -- Also a status we don't know: only a live ticket admits.
    v_result := 'cancelled';
  end if;
  return jsonb_build_object('result', v_result, 'ticket', sync_internal.ticket_json(v_ticket));
end
$$;

revoke all on function public.validate_ticket(jsonb) from public, anon, authenticated;
grant execute on function public.validate_ticket(jsonb) to service_role;

-- Takes an admission back; what the order no longer entitles to is then cancelled.
-- request: {location_id, ticket_id, by} -> {result: "undone|not_validated|not_found", ticket}
-- Locks: the order, its tickets by ticket_id if they are due, the ticket, then all the order's tickets by ticket_id.
create or replace function public.undo_ticket(request jsonb) returns jsonb
language plpgsql set search_path = '' set lock_timeout = '3s' set jit = off
as $$
declare
  v_location text := sync_internal.location(request);
  v_ticket public.ghl_qr_tickets := sync_internal.lock_ticket(
    v_location, (sync_internal.required(request, 'ticket_id'))::bigint);
begin
  if v_ticket.ticket_id is null then
    return jsonb_build_object('result', 'not_found', 'ticket', null);
  end if;
  if coalesce(v_ticket.status, '') not in ('validated', 'used') then
    return jsonb_build_object('result', 'not_validated', 'ticket', sync_internal.ticket_json(v_ticket));
  end if;
  update public.ghl_qr_tickets
  set status = 'live', status_by = 'gate', status_at = clock_timestamp(),
    status_reason = 'admission undone by ' || coalesce(request ->> 'by', 'an admin'),
    validated_at = null, validated_by = null
  where ticket_id = v_ticket.ticket_id;
  perform from sync_internal.reconcile(v_location, array[v_ticket.order_id]);
  select * into v_ticket from public.ghl_qr_tickets where ticket_id = v_ticket.ticket_id;
  return jsonb_build_object('result', 'undone', 'ticket', sync_internal.ticket_json(v_ticket));
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
