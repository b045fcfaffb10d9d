-- The products that GHL lists now, and which orders they make valid. While a location's list is empty, nothing is known, and
-- what was decided when an order was fetched stands.

-- Makes the list what GHL has now; what didn't change isn't rewritten. A list that GHL counts more products for (not `whole`) adds,
-- and removes none: the orders of a product that is missing by mistake would become invalid.
-- request: {location_id, products: [{product_id, name, image}], whole?} -> {count, product_ids}
-- Locks: the advisory lock 'products', the products that go, those listed by product_id, the location's row.
create or replace function public.replace_products(request jsonb) returns jsonb
language plpgsql set search_path = '' set lock_timeout = '5s' set jit = off
as $$
declare
  v_location text := sync_internal.location(request);
  v_products jsonb := coalesce(nullif(request -> 'products', 'null'), '[]');
  v_ids text[];
begin
  perform sync_internal.serialize('products', v_location);

  delete from public.sync_products
  where location_id = v_location and coalesce((request ->> 'whole')::boolean, true)
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
  v_ids := sync_internal.listed_products(v_location);
  return jsonb_build_object('count', cardinality(v_ids), 'product_ids', v_ids);
end
$$;

revoke all on function public.replace_products(jsonb) from public, anon, authenticated;
grant execute on function public.replace_products(jsonb) to service_role;

-- The products listed now, and when the list was last replaced.
-- request: {location_id} -> {product_ids, refreshed_at|null}
-- Locks nothing.
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

revoke all on function public.list_products(jsonb) from public, anon, authenticated;
grant execute on function public.list_products(jsonb) to service_role;

-- The ids of the products listed now, as is_valid_now wants them.
create or replace function sync_internal.listed_products(p_location text) returns text[]
language sql stable
as $$
  select coalesce(array_agg(product_id), '{}') from public.sync_products where location_id = p_location
$$;

revoke all on function sync_internal.listed_products(text) from public, anon, authenticated;
grant execute on function sync_internal.listed_products(text) to service_role;

-- Is the order valid, by the products listed now? What was decided when it was fetched stands where nothing is known
-- of either side.
create or replace function sync_internal.is_valid_now(p_valid boolean, p_product_ids text[], p_listed text[])
returns boolean
language sql immutable
as $$
  select case
    when cardinality(p_listed) > 0 and cardinality(p_product_ids) > 0 then p_product_ids && p_listed
    else coalesce(p_valid, false)
  end
$$;

revoke all on function sync_internal.is_valid_now(boolean, text[], text[]) from public, anon, authenticated;
grant execute on function sync_internal.is_valid_now(boolean, text[], text[]) to service_role;
