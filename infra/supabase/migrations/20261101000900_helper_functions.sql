-- What the public functions share. Every public function takes and returns one jsonb value, because PostgREST cuts
-- result sets at 1,000 rows. None raises 40001: PostgREST retries that for ever.

-- The request's location, which gets its row on first use.
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

create or replace function sync_internal.texts(list jsonb) returns text[]
language sql immutable
as $$
  select coalesce(array_agg(item), '{}') from jsonb_array_elements_text(coalesce(nullif(list, 'null'), '[]')) as item
$$;

create or replace function sync_internal.milliseconds(amount numeric) returns interval
language sql immutable
as $$
  select amount * interval '1 millisecond'
$$;

-- A page's size: what was asked for, within reason.
create or replace function sync_internal.page_limit(request jsonb) returns int
language sql immutable
as $$
  select greatest(1, least(coalesce((request ->> 'limit')::int, 100), 1000))
$$;

-- Whoever does `what` for this location does it alone until the transaction ends. An advisory lock of its own, taken
-- before any row lock, so that waiting for one's turn can't be part of a deadlock.
create or replace function sync_internal.serialize(what text, p_location text) returns void
language sql
as $$
  select pg_advisory_xact_lock(hashtextextended('ghl-sync ' || what || ' ' || p_location, 0))
$$;

create or replace function sync_internal.is_final(state text) returns boolean
language sql immutable
as $$
  select state in ('Completed', 'Error', 'Cancelled', 'Skipped')
$$;

create or replace function sync_internal.run_json(r public.sync_runs) returns jsonb
language sql volatile
as $$
  select case when r.run_id is not null then jsonb_build_object(
    'run_id', r.run_id, 'location_id', r.location_id, 'kind', r.kind, 'state', r.state,
    'started_at', r.started_at, 'ended_at', r.ended_at, 'cooldown_until', r.cooldown_until,
    'listing', r.listing, 'listing_complete', r.listing_complete, 'total_count', r.total_count,
    'listed', r.listed, 'synced', r.synced, 'failed', r.failed, 'skipped', r.skipped, 'unchanged', r.unchanged,
    'tickets_total', r.tickets_total, 'tickets_checked', r.tickets_checked, 'ticket_types', r.ticket_types,
    'tickets_added', r.tickets_added, 'tickets_reinstated', r.tickets_reinstated,
    'tickets_cancelled', r.tickets_cancelled, 'drift_orders', r.drift_orders,
    'error_code', r.error_code, 'error_message', r.error_message,
    'requested_by', r.requested_by, 'cancelled_by', r.cancelled_by, 'retry_of', r.retry_of,
    'pulse', r.pulse, 'last_pulse_at', r.last_pulse_at, 'last_progress_at', r.last_progress_at,
    'announced_state', r.announced_state, 'now', clock_timestamp()
  ) end
$$;

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

create or replace function sync_internal.listed_products(p_location text) returns text[]
language sql stable
as $$
  select coalesce(array_agg(product_id), '{}') from public.sync_products where location_id = p_location
$$;
