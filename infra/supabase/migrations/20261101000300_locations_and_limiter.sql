-- Helpers live in a schema of their own that PostgREST doesn't expose.
create schema if not exists sync_internal;

-- One row per GHL location. Locked last and briefly by everybody: see "Lock order" in 20261101001000.
create table if not exists public.sync_locations (
  location_id text primary key,
  -- The last number given to a frame. Never reset, so that a dashboard can drop what isn't newer.
  seq bigint not null default 0,
  products_refreshed_at timestamptz,
  created_at timestamptz not null default now()
);

-- The shared rate limit: the very times of the last grants, which is exact for any window (a bucket isn't).
create table if not exists public.sync_limiter (
  location_id text primary key,
  learned_max int,
  bulk_grants timestamptz[] not null default '{}',
  -- Webhooks, single syncs, and calls of others that GHL told us about.
  priority_grants timestamptz[] not null default '{}',
  last_at timestamptz,
  closed_until timestamptz,
  daily_remaining int,
  daily_observed_at timestamptz
);
