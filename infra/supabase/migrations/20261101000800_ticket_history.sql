-- Every change of a ticket is recorded, and changes made by others than sync are told apart by triggers:
-- the original app and people in the table editor write with plain UPDATEs and know nothing of our columns.

-- No foreign keys: the history outlives a deleted order, and a key would lock the order against its ticket's writer.
create table if not exists public.ghl_qr_ticket_changes (
  change_id bigint generated always as identity primary key,
  ticket_id bigint not null,
  order_id text,
  changed_at timestamptz not null default clock_timestamp(),
  changed_by text not null,
  reason text,
  old_status text,
  new_status text,
  old_type text,
  new_type text
);
alter table public.ghl_qr_ticket_changes enable row level security;
revoke all on public.ghl_qr_ticket_changes from public, anon, authenticated;
revoke all on sequence public.ghl_qr_ticket_changes_change_id_seq from public, anon, authenticated;
create index if not exists ghl_qr_ticket_changes_order on public.ghl_qr_ticket_changes (order_id, changed_at);

-- Orders whose tickets somebody else touched, to be reconciled. Insert-only for the writer: setting tickets_due would
-- take the order's lock after the ticket's, the reverse of what reconciling does, and deadlock with it.
create table if not exists public.ghl_qr_tickets_touched (
  touch_id bigint generated always as identity primary key,
  order_id text not null,
  touched_at timestamptz not null default clock_timestamp()
);
alter table public.ghl_qr_tickets_touched enable row level security;
revoke all on public.ghl_qr_tickets_touched from public, anon, authenticated;
revoke all on sequence public.ghl_qr_tickets_touched_touch_id_seq from public, anon, authenticated;
create index if not exists ghl_qr_tickets_touched_order on public.ghl_qr_tickets_touched (order_id);

-- Sync and the gate date every status they set. Who changes a status without dating it is somebody else.
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

create or replace trigger ghl_qr_tickets_mark_external
  before update on public.ghl_qr_tickets
  for each row
  when (new.status is distinct from old.status and new.status_at is not distinct from old.status_at)
  execute function sync_internal.mark_external_status();

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

-- The planner takes both tables for empty; comparing 3,000 tickets row by row with each other would take seconds.
create or replace function sync_internal.record_ticket_updates() returns trigger
language plpgsql security definer set search_path = '' set enable_nestloop = off
as $$
begin
  insert into public.ghl_qr_ticket_changes
    (ticket_id, order_id, changed_by, reason, old_status, new_status, old_type, new_type)
  select n.ticket_id, n.order_id,
    case when n.status is distinct from o.status then coalesce(n.status_by, 'external') else 'sync' end,
    case when n.status is distinct from o.status then n.status_reason else 'relabelled' end,
    o.status, n.status, o.ticket_type, n.ticket_type
  from before_update o join after_update n using (ticket_id)
  where n.status is distinct from o.status or n.ticket_type is distinct from o.ticket_type;

  insert into public.ghl_qr_tickets_touched (order_id)
  select distinct n.order_id
  from before_update o join after_update n using (ticket_id)
  where n.status is distinct from o.status and n.status_by = 'external' and n.order_id is not null;
  return null;
end
$$;

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

create or replace trigger ghl_qr_tickets_record_inserts
  after insert on public.ghl_qr_tickets
  referencing new table as added
  for each statement execute function sync_internal.record_ticket_inserts();

create or replace trigger ghl_qr_tickets_record_updates
  after update on public.ghl_qr_tickets
  referencing old table as before_update new table as after_update
  for each statement execute function sync_internal.record_ticket_updates();

create or replace trigger ghl_qr_tickets_record_deletes
  after delete on public.ghl_qr_tickets
  referencing old table as removed
  for each statement execute function sync_internal.record_ticket_deletes();
