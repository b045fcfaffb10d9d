-- The product list, and who is listening.

-- Makes the list what GHL has now; what didn't change isn't rewritten.
-- request: {location_id, products: [{product_id, name, image}]} -> {count}
create or replace function public.replace_products(request jsonb) returns jsonb
language plpgsql set search_path = '' set lock_timeout = '5s' set jit = off
as $$
declare
  v_location text := sync_internal.location(request);
  v_products jsonb := coalesce(nullif(request -> 'products', 'null'), '[]');
  v_count int;
begin
  perform sync_internal.serialize('products', v_location);

  delete from public.sync_products
  where location_id = v_location
    and product_id not in (
      select p ->> 'product_id' from jsonb_array_elements(v_products) as p where p ->> 'product_id' is not null);

  insert into public.sync_products as s (location_id, product_id, name, image)
  select distinct on (p.product_id) v_location, p.product_id, p.name, p.image
  from jsonb_to_recordset(v_products) as p (product_id text, name text, image text)
  where nullif(p.product_id, '') is not null
  order by p.product_id
  on conflict (location_id, product_id) do update set name = excluded.name, image = excluded.image
  where (s.name, s.image) is distinct from (excluded.name, excluded.image);

  update public.sync_locations set products_refreshed_at = clock_timestamp() where location_id = v_location;
  select count(*) into v_count from public.sync_products where location_id = v_location;
  return jsonb_build_object('count', v_count);
end
$$;

-- request: {location_id} -> {product_ids, refreshed_at|null}
create or replace function public.list_products(request jsonb) returns jsonb
language plpgsql set search_path = '' set lock_timeout = '5s' set jit = off
as $$
declare
  v_location text := sync_internal.location(request);
begin
  return jsonb_build_object(
    'product_ids', (select coalesce(jsonb_agg(product_id order by product_id), '[]')
      from public.sync_products where location_id = v_location),
    'refreshed_at', (select products_refreshed_at from public.sync_locations where location_id = v_location));
end
$$;

-- request: {location_id, connection_id, user_id, role, expires_at, max_per_user, max_total} -> {accepted, reason}
create or replace function public.add_connection(request jsonb) returns jsonb
language plpgsql set search_path = '' set lock_timeout = '5s' set jit = off
as $$
declare
  v_location text := sync_internal.location(request);
  v_connection text := sync_internal.required(request, 'connection_id');
  v_user text := request ->> 'user_id';
  v_of_user int;
  v_total int;
begin
  -- One at a time, or two could both take the last place.
  perform sync_internal.serialize('connections', v_location);
  select count(*) filter (where user_id = v_user), count(*) into v_of_user, v_total
  from public.sync_connections
  where location_id = v_location and connection_id <> v_connection
    and (expires_at is null or expires_at > clock_timestamp());
  if v_total >= coalesce((request ->> 'max_total')::int, 1000) then
    return jsonb_build_object('accepted', false, 'reason', 'too_many_connections');
  end if;
  if v_of_user >= coalesce((request ->> 'max_per_user')::int, 20) then
    return jsonb_build_object('accepted', false, 'reason', 'too_many_connections_of_user');
  end if;

  insert into public.sync_connections (location_id, connection_id, user_id, role, expires_at)
  values (v_location, v_connection, v_user, request ->> 'role', (request ->> 'expires_at')::timestamptz)
  on conflict (location_id, connection_id) do update
  set user_id = excluded.user_id, role = excluded.role, expires_at = excluded.expires_at;
  return jsonb_build_object('accepted', true, 'reason', null);
end
$$;

-- request: {location_id, connection_ids}
create or replace function public.remove_connections(request jsonb) returns jsonb
language plpgsql set search_path = '' set lock_timeout = '5s' set jit = off
as $$
declare
  v_location text := sync_internal.location(request);
  v_ids text[] := sync_internal.texts(request -> 'connection_ids');
begin
  -- Exactly what was locked, in order, goes.
  select coalesce(array_agg(locked.connection_id), '{}') into v_ids from (
    select connection_id from public.sync_connections
    where location_id = v_location and connection_id = any (v_ids) order by connection_id for update
  ) as locked;
  delete from public.sync_connections where location_id = v_location and connection_id = any (v_ids);
  return '{}';
end
$$;

-- request: {location_id} -> {connection_ids}
create or replace function public.list_connections(request jsonb) returns jsonb
language plpgsql set search_path = '' set lock_timeout = '5s' set jit = off
as $$
declare
  v_location text := sync_internal.location(request);
begin
  return jsonb_build_object('connection_ids', (
    select coalesce(jsonb_agg(connection_id order by connection_id), '[]') from public.sync_connections
    where location_id = v_location and (expires_at is null or expires_at > clock_timestamp())));
end
$$;
