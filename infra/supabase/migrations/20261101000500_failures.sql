-- Orders that failed outside a run (a webhook's order): stand here until the next success.

create table if not exists public.sync_failures (
  location_id text not null,
  order_id text not null,
  cause text,
  class text,
  code text,
  reason text,
  attempts int not null default 0,
  first_failed_at timestamptz not null default clock_timestamp(),
  last_try_at timestamptz not null default clock_timestamp(),
  primary key (location_id, order_id)
);
alter table public.sync_failures enable row level security;
revoke all on public.sync_failures from public, anon, authenticated;
