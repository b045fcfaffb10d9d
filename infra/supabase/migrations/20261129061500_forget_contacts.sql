-- A person can be forgotten: by a mark, and by a trigger on the orders that blanks the buyer, whoever writes.
--
-- The index is made while nobody writes orders: at a million it takes a few seconds.

create index if not exists ghl_qr_orders_contact on public.ghl_qr_orders (contact_id, order_id) where contact_id is not null;

create table if not exists public.sync_forgotten_contacts (
  location_id text not null,
  contact_id text not null,
  forgotten_at timestamptz not null default clock_timestamp(),
  forgotten_by text,
  orders int not null default 0,
  blanked_until text not null default '',
  blanked_at timestamptz,
  primary key (contact_id, location_id)
);

alter table public.sync_forgotten_contacts enable row level security;

-- A function may call one that comes after it.
set check_function_bodies = off;

CREATE OR REPLACE FUNCTION public.forget_contact(request jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SET search_path TO ''
 SET lock_timeout TO '2s'
 SET jit TO 'off'
AS $function$
declare
  v_location text := sync_internal.location(request);
  v_contact text := sync_internal.required(request, 'contact_id');
  v_limit int := greatest(coalesce((request ->> 'limit')::int, 500), 1);
  v_mark public.sync_forgotten_contacts;
  v_ids text[];
begin
  select * into v_mark from public.sync_forgotten_contacts
  where contact_id = v_contact and location_id = v_location for update;
  if not found then
    perform pg_advisory_xact_lock(sync_internal.contact_door(v_contact));
    insert into public.sync_forgotten_contacts (location_id, contact_id, forgotten_by)
    values (v_location, v_contact, request ->> 'by') on conflict do nothing;
    select * into v_mark from public.sync_forgotten_contacts where contact_id = v_contact and location_id = v_location;
  elsif v_mark.blanked_at is null then
    select coalesce(array_agg(o.order_id order by o.order_id), '{}') into v_ids from (
      select order_id from public.ghl_qr_orders
      -- Old rows of the original app name no location.
      where contact_id = v_contact and coalesce(location_id, v_location) = v_location and order_id > v_mark.blanked_until
      order by order_id limit v_limit for no key update) as o;
    update public.ghl_qr_orders
    set contact_firstname = null, contact_lastname = null, contact_email = null, contact_phone = null,
      updated_at = clock_timestamp()
    where order_id = any (v_ids)
      and num_nonnulls(contact_firstname, contact_lastname, contact_email, contact_phone) > 0;
    update public.sync_forgotten_contacts
    set orders = orders + cardinality(v_ids),
      blanked_until = coalesce(v_ids[cardinality(v_ids)], blanked_until),
      blanked_at = case when cardinality(v_ids) < v_limit then clock_timestamp() end
    where contact_id = v_contact and location_id = v_location
    returning * into v_mark;
  end if;
  return jsonb_build_object('contact_id', v_mark.contact_id, 'forgotten_at', v_mark.forgotten_at,
    'forgotten_by', v_mark.forgotten_by, 'orders', v_mark.orders, 'done', v_mark.blanked_at is not null);
end
$function$;

CREATE OR REPLACE FUNCTION public.upsert_orders(request jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SET search_path TO ''
 SET lock_timeout TO '5s'
 SET jit TO 'off'
AS $function$
declare
  v_location text := sync_internal.location(request);
  v_orders jsonb := coalesce(nullif(request -> 'orders', 'null'), '[]');
  v_ids text[];
  v_listed jsonb;
  v_results jsonb;
  v_lines_before jsonb;
begin
  if exists (
    select from jsonb_array_elements(v_orders) as o
    where nullif(o ->> 'order_id', '') is null or o ->> 'fetched_at' is null
  ) then
    raise exception 'every order needs an order_id and a fetched_at' using errcode = '22023';
  end if;

  -- Another location's order leaves no trace.
  select coalesce(array_agg(distinct o ->> 'order_id'), '{}') into v_ids
  from jsonb_array_elements(v_orders) as o where not coalesce((o ->> 'foreign')::boolean, false);

  -- The memory's row is the order's lock, since the order's own row may not exist yet; then the rows that do.
  perform sync_internal.lock_memory(v_location, v_ids);
  perform from public.ghl_qr_orders where order_id = any (v_ids) order by order_id for no key update;

  select coalesce(jsonb_object_agg(c.order_id, c.listed), '{}') into v_listed
  from jsonb_array_elements(v_orders) as o
  join public.sync_outcomes c on c.run_id = (o ->> 'run_id')::uuid and c.order_id = o ->> 'order_id'
  where c.listed is not null;

  -- One statement from here, begun after the locks: it decides by what is true now, and writes what it decided.
  with judged as materialized (
    select * from sync_internal.judge_reads(v_location, sync_internal.without_forgotten(v_location, v_orders))
  ), written as (
    insert into public.ghl_qr_orders as o (
      order_id, location_id, total_paid, payment_status, payment_currency, order_status, contact_id,
      contact_firstname, contact_lastname, contact_email, contact_phone, date_added, updated_at,
      event_id, event_name, event_image, event_ticket_price, event_ticket_currency, event_available_qty,
      event_ticket_qty, event_ticket_type, ticket_quantities, source_updated_at, fetched_at,
      lines, entitled, entitlement_reason, live_mode, tickets_due)
    select n.order_id, n.location_id, n.total_paid, n.payment_status, n.payment_currency, n.order_status, n.contact_id,
      n.contact_firstname, n.contact_lastname, n.contact_email, n.contact_phone, n.date_added, clock_timestamp(),
      n.event_id, n.event_name, n.event_image, n.event_ticket_price, n.event_ticket_currency, n.event_available_qty,
      n.event_ticket_qty, n.event_ticket_type, n.ticket_quantities, n.source_updated_at, j.fetched_at,
      n.lines, n.entitled, n.entitlement_reason, n.live_mode,
      case when j.due then coalesce(n.tickets_due, clock_timestamp()) else n.tickets_due end
    from judged j cross join lateral (select (j.next).*) as n
    where j.result = 'written'
    order by n.order_id
    on conflict (order_id) do update set
      location_id = excluded.location_id, total_paid = excluded.total_paid,
      payment_status = excluded.payment_status, payment_currency = excluded.payment_currency,
      order_status = excluded.order_status, contact_id = excluded.contact_id,
      contact_firstname = excluded.contact_firstname, contact_lastname = excluded.contact_lastname,
      contact_email = excluded.contact_email, contact_phone = excluded.contact_phone,
      date_added = excluded.date_added, updated_at = excluded.updated_at,
      event_id = excluded.event_id, event_name = excluded.event_name, event_image = excluded.event_image,
      event_ticket_price = excluded.event_ticket_price, event_ticket_currency = excluded.event_ticket_currency,
      event_available_qty = excluded.event_available_qty, event_ticket_qty = excluded.event_ticket_qty,
      event_ticket_type = excluded.event_ticket_type, ticket_quantities = excluded.ticket_quantities,
      source_updated_at = excluded.source_updated_at, fetched_at = excluded.fetched_at,
      lines = excluded.lines, entitled = excluded.entitled, entitlement_reason = excluded.entitlement_reason,
      live_mode = excluded.live_mode, tickets_due = excluded.tickets_due
  ), remembered as (
    update public.sync_order_memory as m
    set fetched_at = greatest(m.fetched_at, j.fetched_at),
      acted_at = case when j.remember_only then m.acted_at else greatest(m.acted_at, j.fetched_at) end,
      claimed_until = case when j.remember_only then m.claimed_until end,
      awaited_until = null,
      confirmed_at = case when j.result in ('written', 'unchanged') and not j.remember_only
        then greatest(m.confirmed_at, j.fetched_at) else m.confirmed_at end,
      source_updated_at = case when j.result <> 'stale' and (m.fetched_at is null or j.fetched_at >= m.fetched_at)
        then j.source_updated_at else m.source_updated_at end,
      product_ids = case when j.result <> 'stale' and not j.keeps_lines
        and (m.fetched_at is null or j.fetched_at >= m.fetched_at) then j.product_ids else m.product_ids end,
      valid = case when j.result <> 'stale' and not (j.keeps_lines and m.valid is not null)
        and (m.fetched_at is null or j.fetched_at >= m.fetched_at) then j.valid else m.valid end,
      incomplete = case when j.result <> 'stale' and (m.fetched_at is null or j.fetched_at >= m.fetched_at)
        then j.incomplete else m.incomplete end,
      lines_hash = case when j.result <> 'stale' and not j.remember_only then j.lines_hash else m.lines_hash end,
      lines_since = case when j.result = 'stale' or j.remember_only or j.lines_hash is not distinct from m.lines_hash
        then m.lines_since when j.lines_hash is not null then clock_timestamp() end,
      listed = case when v_listed ? j.order_id and j.result in ('written', 'unchanged') and not j.remember_only
        then sync_internal.shown_otherwise(v_listed -> j.order_id, j.next) else m.listed end
    from judged j
    where m.location_id = v_location and m.order_id = j.order_id and j.reason is distinct from 'other_location'
  )
  select coalesce(jsonb_agg(jsonb_build_object(
      'order_id', j.order_id, 'result', j.result, 'reason', j.reason, 'issues', j.issues, 'lines_hash', j.lines_hash,
      'valid', j.valid, 'entitled', j.entitled,
      'remember_only', j.remember_only) order by j.order_id), '[]'),
    jsonb_object_agg(j.order_id, j.lines_before) filter (where j.lines_before is not null)
  into v_results, v_lines_before from judged j;

  if v_lines_before is not null then
    perform sync_internal.take_on_tickets(v_lines_before);
  end if;

  perform sync_internal.settle_upserted(v_location, v_orders, v_results);
  return jsonb_build_object(
    'orders', (select coalesce(jsonb_agg(r - 'remember_only'), '[]') from jsonb_array_elements(v_results) as r),
    'publication_due', sync_internal.ask_for_batch(v_location, v_orders));
end
$function$;

CREATE OR REPLACE FUNCTION sync_internal.blank_forgotten()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO ''
AS $function$
declare
  v_contact text := coalesce(new.contact_id, old.contact_id);
begin
  if v_contact is null then
    return new;
  end if;
  -- Before the mark is looked for: who makes it waits for this transaction, and then sees the order.
  perform pg_advisory_xact_lock_shared(sync_internal.contact_door(v_contact));
  if exists (
    select from public.sync_forgotten_contacts
    where contact_id = v_contact and location_id = coalesce(new.location_id, location_id)
  ) then
    new.contact_id := v_contact;
    new.contact_firstname := null;
    new.contact_lastname := null;
    new.contact_email := null;
    new.contact_phone := null;
  end if;
  return new;
end
$function$;

CREATE OR REPLACE FUNCTION sync_internal.contact_door(p_contact text)
 RETURNS bigint
 LANGUAGE sql
 IMMUTABLE
AS $function$
  select hashtextextended('ghl-sync contact ' || (hashtextextended(p_contact, 0) & 63), 0)
$function$;

CREATE OR REPLACE FUNCTION sync_internal.without_forgotten(p_location text, orders jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 STABLE
AS $function$
begin
  return (
    select coalesce(jsonb_agg(case when f.contact_id is null then o
      else jsonb_set(o, '{row}', coalesce(nullif(o -> 'row', 'null'), '{}') || jsonb_build_object(
        'contact_id', f.contact_id, 'contact_firstname', null, 'contact_lastname', null, 'contact_email', null,
        'contact_phone', null)) end order by place), '[]')
    from jsonb_array_elements(orders) with ordinality as e (o, place)
    left join public.ghl_qr_orders s on s.order_id = o ->> 'order_id'
    left join public.sync_forgotten_contacts f
      on f.contact_id = coalesce(o -> 'row' ->> 'contact_id', s.contact_id) and f.location_id = p_location);
end
$function$;

create or replace trigger ghl_qr_orders_blank_forgotten
  before insert or update on public.ghl_qr_orders
  for each row execute function sync_internal.blank_forgotten();

revoke all on function public.forget_contact(jsonb) from public, anon, authenticated, service_role;
grant execute on function public.forget_contact(jsonb) to service_role;

revoke all on function sync_internal.blank_forgotten() from public, anon, authenticated, service_role;
grant execute on function sync_internal.blank_forgotten() to service_role;

revoke all on function sync_internal.contact_door(text) from public, anon, authenticated, service_role;
grant execute on function sync_internal.contact_door(text) to service_role;

revoke all on function sync_internal.without_forgotten(text, jsonb) from public, anon, authenticated, service_role;
grant execute on function sync_internal.without_forgotten(text, jsonb) to service_role;

revoke all on public.sync_forgotten_contacts from public, anon, authenticated;
grant select, insert, update, delete on public.sync_forgotten_contacts to service_role;

-- PostgREST learns of new functions.
notify pgrst, 'reload schema';
