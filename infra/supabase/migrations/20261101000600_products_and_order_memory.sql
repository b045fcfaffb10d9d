-- The products GHL lists now: they decide which orders are ours to admit.
create table if not exists public.sync_products (
  location_id text not null,
  product_id text not null,
  name text,
  image text,
  primary key (location_id, product_id)
);
alter table public.sync_products enable row level security;
revoke all on public.sync_products from public, anon, authenticated;

-- Every order ever fetched, also the invalid ones that have no row: so that these aren't fetched again until they change,
-- and so that an unchanged order costs a write here and none in the orders table.
-- Its row is also the lock under which an order is upserted, because the order's own row may not exist yet.
create table if not exists public.sync_order_memory (
  location_id text not null,
  order_id text not null,
  source_updated_at timestamptz,
  -- The newest successful read, by its limiter grant.
  fetched_at timestamptz,
  -- The newest read that was acted upon, not only remembered: a webhook sent before it needs no fetch.
  acted_at timestamptz,
  -- The newest read that became or agreed with the stored row (a stale read doesn't): what the stale guard compares with.
  confirmed_at timestamptz,
  product_ids text[] not null default '{}',
  valid boolean,
  -- Until then somebody is fetching it on account of a webhook.
  claimed_until timestamptz,
  primary key (location_id, order_id)
);
alter table public.sync_order_memory enable row level security;
revoke all on public.sync_order_memory from public, anon, authenticated;
alter table public.sync_order_memory add column if not exists claimed_until timestamptz;
alter table public.sync_order_memory add column if not exists acted_at timestamptz;
