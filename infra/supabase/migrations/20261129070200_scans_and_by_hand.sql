-- A scan can name itself and be sent again, an undo names the admission that it takes back, and an admin cancels and reinstates tickets
-- by hand.
--
-- The version before goes on working: it names neither scans nor admissions.

alter table public.ghl_qr_ticket_changes add column if not exists validated_at timestamptz;

create table if not exists public.gate_scans (
  location_id text not null,
  scan_id text not null,
  ticket_id bigint not null,
  scanned_by text,
  gate text,
  scanned_at timestamptz not null,
  validated_at timestamptz,
  primary key (location_id, scan_id)
);

create index if not exists gate_scans_oldest on public.gate_scans (location_id, scanned_at);

alter table public.gate_scans enable row level security;

-- A function may call one that comes after it.
set check_function_bodies = off;

CREATE OR REPLACE FUNCTION sync_internal.record_ticket_updates()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO ''
 SET enable_nestloop TO 'off'
AS $function$
begin
  insert into public.ghl_qr_ticket_changes
    (ticket_id, order_id, changed_by, reason, old_status, new_status, old_type, new_type, validated_at)
  select n.ticket_id, n.order_id,
    case when n.status is distinct from o.status then coalesce(n.status_by, 'external') else 'sync' end,
    case when n.status is distinct from o.status then n.status_reason else 'relabelled' end,
    o.status, n.status, o.ticket_type, n.ticket_type,
    case when n.status is distinct from o.status then coalesce(n.validated_at, o.validated_at) end
  from before_update o join after_update n using (ticket_id)
  where n.status is distinct from o.status or n.ticket_type is distinct from o.ticket_type;

  insert into public.ghl_qr_tickets_touched (order_id)
  select distinct n.order_id
  from before_update o join after_update n using (ticket_id)
  where n.status is distinct from o.status and n.status_by = 'external' and n.order_id is not null;
  return null;
end
$function$;

CREATE OR REPLACE FUNCTION public.validate_ticket(request jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SET search_path TO ''
 SET lock_timeout TO '3s'
 SET jit TO 'off'
AS $function$
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
$function$;

CREATE OR REPLACE FUNCTION sync_internal.record_scan(p_location text, t public.ghl_qr_tickets, request jsonb, p_at timestamp with time zone)
 RETURNS public.gate_scans
 LANGUAGE plpgsql
AS $function$
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
$function$;

CREATE OR REPLACE FUNCTION public.undo_ticket(request jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SET search_path TO ''
 SET lock_timeout TO '3s'
 SET jit TO 'off'
AS $function$
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
$function$;

CREATE OR REPLACE FUNCTION public.cancel_ticket(request jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SET search_path TO ''
 SET lock_timeout TO '3s'
 SET jit TO 'off'
AS $function$
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
$function$;

CREATE OR REPLACE FUNCTION public.reinstate_ticket(request jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SET search_path TO ''
 SET lock_timeout TO '3s'
 SET jit TO 'off'
AS $function$
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
$function$;

CREATE OR REPLACE FUNCTION sync_internal.why_not_live(t public.ghl_qr_tickets)
 RETURNS text
 LANGUAGE sql
 STABLE
AS $function$
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
$function$;

revoke all on public.gate_scans from public, anon, authenticated;
grant select, insert, update, delete on public.gate_scans to service_role;

revoke all on function public.cancel_ticket(jsonb) from public, anon, authenticated, service_role;
grant execute on function public.cancel_ticket(jsonb) to service_role;

revoke all on function public.reinstate_ticket(jsonb) from public, anon, authenticated, service_role;
grant execute on function public.reinstate_ticket(jsonb) to service_role;

revoke all on function sync_internal.record_scan(text, public.ghl_qr_tickets, jsonb, timestamp with time zone) from public, anon, authenticated, service_role;
grant execute on function sync_internal.record_scan(text, public.ghl_qr_tickets, jsonb, timestamp with time zone) to service_role;

revoke all on function sync_internal.why_not_live(public.ghl_qr_tickets) from public, anon, authenticated, service_role;
grant execute on function sync_internal.why_not_live(public.ghl_qr_tickets) to service_role;

-- PostgREST learns of new functions.
notify pgrst, 'reload schema';
