-- Tickets cancelled and reinstated by hand, where no order says so: a guest who gave a place back, a ticket that was stolen. The order's
-- lock comes first, as everywhere. A ticket's reason names what the admin gave as such, and who it was.

-- Cancels a ticket. It is held then: it stays cancelled, and sync puts no other in its place, until somebody reinstates it.
-- Not what sync has cancelled: held, it would take up a place of its line, and another guest's ticket would go instead.
-- request: {location_id, ticket_id, by, reason}
--   -> {result: "cancelled_by_hand|already_validated|cancelled_by_sync|not_found", repeated, ticket}
-- Locks: the order, its tickets by ticket_id if they are due, then the ticket.
create or replace function public.cancel_ticket(request jsonb) returns jsonb
language plpgsql set search_path = '' set lock_timeout = '3s' set jit = off
as $$
declare
  v_location text := sync_internal.location(request);
  v_reason text := format('%s (cancelled by %s)', sync_internal.required(request, 'reason'), request ->> 'by');
  v_ticket public.ghl_qr_tickets := sync_internal.lock_ticket(
    v_location, (sync_internal.required(request, 'ticket_id'))::bigint);
  v_was_cancelled boolean := v_ticket.status is not distinct from 'cancelled';
  v_result text;
begin
  if v_ticket.ticket_id is null then
    return jsonb_build_object('result', 'not_found', 'ticket', null);
  end if;
  v_result := case
    when v_ticket.status in ('validated', 'used') then 'already_validated'
    when v_was_cancelled and v_ticket.status_by = 'sync' then 'cancelled_by_sync'
    else 'cancelled_by_hand' end;
  -- Who cancels it again gets the same answer; the first reason stays.
  if v_result = 'cancelled_by_hand' and not v_was_cancelled then
    update public.ghl_qr_tickets
    set status = 'cancelled', status_by = 'admin', status_at = clock_timestamp(), status_reason = v_reason
    where ticket_id = v_ticket.ticket_id
    returning * into v_ticket;
  end if;
  return jsonb_build_object('result', v_result, 'repeated', v_result = 'cancelled_by_hand' and v_was_cancelled,
    'ticket', sync_internal.ticket_json(v_ticket));
end
$$;

revoke all on function public.cancel_ticket(jsonb) from public, anon, authenticated;
grant execute on function public.cancel_ticket(jsonb) to service_role;

-- Makes a ticket live that a person had cancelled, here or elsewhere, if its order has a place for it.
-- request: {location_id, ticket_id, by, reason}
--   -> {result: "reinstated|not_entitled|not_cancelled|not_found", repeated, why_not, ticket}
-- Locks: the order, its tickets by ticket_id if they are due, then the ticket.
create or replace function public.reinstate_ticket(request jsonb) returns jsonb
language plpgsql set search_path = '' set lock_timeout = '3s' set jit = off
as $$
declare
  v_location text := sync_internal.location(request);
  v_reason text := format('%s (reinstated by %s)', sync_internal.required(request, 'reason'), request ->> 'by');
  v_ticket public.ghl_qr_tickets := sync_internal.lock_ticket(
    v_location, (sync_internal.required(request, 'ticket_id'))::bigint);
  -- As long as nothing else was done to it.
  v_was_reinstated boolean := coalesce(v_ticket.status = 'live' and v_ticket.status_by = 'admin', false);
  v_why_not text;
  v_result text;
begin
  if v_ticket.ticket_id is null then
    return jsonb_build_object('result', 'not_found', 'ticket', null);
  end if;
  v_why_not := sync_internal.why_not_live(v_ticket);
  v_result := case
    when v_was_reinstated then 'reinstated'
    when v_ticket.status is distinct from 'cancelled' then 'not_cancelled'
    when v_why_not is not null then 'not_entitled'
    else 'reinstated' end;
  if v_result = 'reinstated' and not v_was_reinstated then
    update public.ghl_qr_tickets
    set status = 'live', status_by = 'admin', status_at = clock_timestamp(), status_reason = v_reason
    where ticket_id = v_ticket.ticket_id
    returning * into v_ticket;
  end if;
  return jsonb_build_object('result', v_result, 'repeated', v_was_reinstated, 'why_not', v_why_not,
    'ticket', sync_internal.ticket_json(v_ticket));
end
$$;

revoke all on function public.reinstate_ticket(jsonb) from public, anon, authenticated;
grant execute on function public.reinstate_ticket(jsonb) to service_role;

-- Why reconciling would cancel this cancelled ticket again if it were live, in its words; null if it would let it be.
-- What sync has cancelled comes back by itself as soon as there is a place. Of what people have cancelled each takes up a place: with it
-- live, its line has as many live and held tickets as before. Tickets of an order without lines aren't sync's.
create or replace function sync_internal.why_not_live(t public.ghl_qr_tickets) returns text
language sql stable
as $$
  select case
    when not coalesce(o.entitled, false) then coalesce(o.entitlement_reason, 'the order entitles to no tickets')
    when l.label is null then 'no longer on the order'
    else 'other tickets take its places' end
  from public.ghl_qr_orders o
  join sync_internal.ticket_lines l on l.order_id = o.order_id
  where o.order_id = t.order_id and t.status = 'cancelled'
    and l.product_id = coalesce(t.product_id, '') and l.price_id = coalesce(t.price_id, '')
    and l.line_key = case when coalesce(t.price_id, '') = '' then t.ticket_type else '' end
    and (t.status_by = 'sync' or l.live + l.held > l.entitled)
$$;

revoke all on function sync_internal.why_not_live(public.ghl_qr_tickets) from public, anon, authenticated;
grant execute on function sync_internal.why_not_live(public.ghl_qr_tickets) to service_role;
