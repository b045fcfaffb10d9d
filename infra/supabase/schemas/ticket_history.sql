-- Every change of a ticket is recorded, and changes made by others than sync are told apart by triggers: the original app
-- and people in the table editor write with plain UPDATEs and know nothing of our columns.
-- The triggers only add rows: by them a writer of tickets waits for nobody, so they can't bring about a deadlock.

-- Notes that somebody else changed a status. Sync and the gate date every status they set; who changes one without dating
-- it is somebody else.
create or replace function sync_internal.mark_external_status() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  new.status_by := 'external';
  new.status_at := clock_timestamp();
  new.status_reason := 'changed outside ghl-sync';
  if new.status in ('validated', 'used') then
    new.validated_at := coalesce(new.validated_at, new.status_at);
  else
    new.validated_at := null;
    new.validated_by := null;
  end if;
  return new;
end
$$;

revoke all on function sync_internal.mark_external_status() from public, anon, authenticated;
grant execute on function sync_internal.mark_external_status() to service_role;

create or replace trigger ghl_qr_tickets_mark_external
  before update on public.ghl_qr_tickets
  for each row
  when (new.status is distinct from old.status and new.status_at is not distinct from old.status_at)
  execute function sync_internal.mark_external_status();

-- Records new tickets, and marks the orders to which somebody else added one, so that they are reconciled.
create or replace function sync_internal.record_ticket_inserts() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  insert into public.ghl_qr_ticket_changes (ticket_id, order_id, changed_by, reason, new_status, new_type)
  select ticket_id, order_id, coalesce(status_by, 'external'), coalesce(status_reason, 'added'), status, ticket_type
  from added;

  insert into public.ghl_qr_tickets_touched (order_id)
  select distinct order_id from added where status_by is null and order_id is not null;
  return null;
end
$$;

revoke all on function sync_internal.record_ticket_inserts() from public, anon, authenticated;
grant execute on function sync_internal.record_ticket_inserts() to service_role;

create or replace trigger ghl_qr_tickets_record_inserts
  after insert on public.ghl_qr_tickets
  referencing new table as added
  for each statement execute function sync_internal.record_ticket_inserts();

-- Records changes of status and label, and marks the orders of which somebody else changed a ticket's status.
-- The planner takes both tables for empty; comparing 3,000 tickets row by row with each other would take seconds.
create or replace function sync_internal.record_ticket_updates() returns trigger
language plpgsql security definer set search_path = '' set enable_nestloop = off
as $$
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
$$;

revoke all on function sync_internal.record_ticket_updates() from public, anon, authenticated;
grant execute on function sync_internal.record_ticket_updates() to service_role;

create or replace trigger ghl_qr_tickets_record_updates
  after update on public.ghl_qr_tickets
  referencing old table as before_update new table as after_update
  for each statement execute function sync_internal.record_ticket_updates();

-- Records deleted tickets, and marks their orders, so that the tickets come back where they are due.
create or replace function sync_internal.record_ticket_deletes() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  -- Sync never deletes a ticket: whoever did is somebody else.
  insert into public.ghl_qr_ticket_changes (ticket_id, order_id, changed_by, reason, old_status, old_type)
  select ticket_id, order_id, 'external', 'deleted', status, ticket_type from removed;

  insert into public.ghl_qr_tickets_touched (order_id)
  select distinct order_id from removed where order_id is not null;
  return null;
end
$$;

revoke all on function sync_internal.record_ticket_deletes() from public, anon, authenticated;
grant execute on function sync_internal.record_ticket_deletes() to service_role;

create or replace trigger ghl_qr_tickets_record_deletes
  after delete on public.ghl_qr_tickets
  referencing old table as removed
  for each statement execute function sync_internal.record_ticket_deletes();
