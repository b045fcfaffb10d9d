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
