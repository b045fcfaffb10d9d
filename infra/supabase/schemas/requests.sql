-- What every function shares: how a request is read, and how callers take turns. The rules of calling stand in ../README.md.

-- The request's location, which gets its row on first use.
-- Locks: a new row, until the transaction ends. Here it comes first, not last, but whoever waits for it holds nothing yet,
-- since every public function begins with this. What these say of their locks leaves it out.
create or replace function sync_internal.location(request jsonb) returns text
language plpgsql
as $$
declare
  v_location text := nullif(request ->> 'location_id', '');
begin
  if v_location is null then
    raise exception 'location_id is missing' using errcode = '22023';
  end if;
  if not exists (select from public.sync_locations where location_id = v_location) then
    insert into public.sync_locations (location_id) values (v_location) on conflict do nothing;
  end if;
  return v_location;
end
$$;

revoke all on function sync_internal.location(jsonb) from public, anon, authenticated;
grant execute on function sync_internal.location(jsonb) to service_role;

-- A value that the request can't do without. If it is missing or empty, the caller is at fault, and a retry wouldn't help.
create or replace function sync_internal.required(request jsonb, key text) returns text
language plpgsql
as $$
begin
  if nullif(request ->> key, '') is null then
    raise exception '% is missing', key using errcode = '22023';
  end if;
  return request ->> key;
end
$$;

revoke all on function sync_internal.required(jsonb, text) from public, anon, authenticated;
grant execute on function sync_internal.required(jsonb, text) to service_role;

-- A JSON list of strings as an array; empty where the list is missing or null.
create or replace function sync_internal.texts(list jsonb) returns text[]
language sql immutable
as $$
  select coalesce(array_agg(item), '{}') from jsonb_array_elements_text(coalesce(nullif(list, 'null'), '[]')) as item
$$;

revoke all on function sync_internal.texts(jsonb) from public, anon, authenticated;
grant execute on function sync_internal.texts(jsonb) to service_role;

-- A number of milliseconds as an interval: requests and columns give all durations in milliseconds.
create or replace function sync_internal.milliseconds(amount numeric) returns interval
language sql immutable
as $$
  select amount * interval '1 millisecond'
$$;

revoke all on function sync_internal.milliseconds(numeric) from public, anon, authenticated;
grant execute on function sync_internal.milliseconds(numeric) to service_role;

-- The moment so many milliseconds after 1970; whole milliseconds come back as they were.
create or replace function sync_internal.from_epoch_ms(amount numeric) returns timestamptz
language sql immutable
as $$
  select timestamptz 'epoch' + sync_internal.milliseconds(amount)
$$;

revoke all on function sync_internal.from_epoch_ms(numeric) from public, anon, authenticated;
grant execute on function sync_internal.from_epoch_ms(numeric) to service_role;

-- A page's size: what was asked for, within reason.
create or replace function sync_internal.page_limit(request jsonb) returns int
language sql immutable
as $$
  select greatest(1, least(coalesce((request ->> 'limit')::int, 100), 1000))
$$;

revoke all on function sync_internal.page_limit(jsonb) from public, anon, authenticated;
grant execute on function sync_internal.page_limit(jsonb) to service_role;

-- Whoever does `what` for this location does it alone until the transaction ends. An advisory lock of its own, taken
-- before any row lock, so that waiting for one's turn can't be part of a deadlock.
create or replace function sync_internal.serialize(what text, p_location text) returns void
language sql
as $$
  select pg_advisory_xact_lock(hashtextextended('ghl-sync ' || what || ' ' || p_location, 0))
$$;

revoke all on function sync_internal.serialize(text, text) from public, anon, authenticated;
grant execute on function sync_internal.serialize(text, text) to service_role;
