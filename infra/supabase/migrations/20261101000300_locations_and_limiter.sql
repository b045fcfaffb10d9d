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
alter table public.sync_locations enable row level security;
revoke all on public.sync_locations from public, anon, authenticated;

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
  daily_observed_at timestamptz,
  -- The widest margin of the grants since `margin_since`, and of those before it that may still be used.
  margin_ms numeric not null default 0,
  margin_before_ms numeric not null default 0,
  margin_since timestamptz,
  -- Since when every grant that was told about came too late to be used, and the last such word.
  late_since timestamptz,
  late_at timestamptz
);
alter table public.sync_limiter enable row level security;
revoke all on public.sync_limiter from public, anon, authenticated;
