-- A run and what became of each order it listed.

create table if not exists public.sync_runs (
  run_id uuid primary key default gen_random_uuid(),
  location_id text not null,
  kind text not null check (kind in ('full', 'incremental', 'valid_list', 'retry')),
  state text not null check (state in ('Syncing', 'Delay', 'Completed', 'Error', 'Cancelled', 'Skipped')),
  requested_by text,
  cancelled_by text,
  retry_of uuid,
  started_at timestamptz not null default clock_timestamp(),
  ended_at timestamptz,
  cooldown_until timestamptz,
  cooldown_ms bigint not null default 30000,
  lease_ms bigint not null default 1800000,
  publish_interval_ms bigint not null default 250,
  error_code text,
  error_message text,

  -- How far the listing is; opaque here, owned by the run worker.
  listing jsonb not null default '{}',
  listing_complete boolean not null default false,
  total_count int,

  -- Counted with the outcomes, in the same transaction: listed = synced + skipped + failed + still open.
  listed int not null default 0,
  synced int not null default 0,
  failed int not null default 0,
  skipped int not null default 0,
  unchanged int not null default 0,
  tickets_total int not null default 0,
  tickets_checked int not null default 0,
  ticket_types int not null default 0,
  tickets_added int not null default 0,
  tickets_reinstated int not null default 0,
  tickets_cancelled int not null default 0,
  drift_orders int not null default 0,

  -- The pulse that keeps the run alive: its number, and until when a worker has claimed it.
  pulse bigint not null default 0,
  claimed_until timestamptz,
  last_pulse_at timestamptz,
  last_progress_at timestamptz not null default clock_timestamp(),

  -- What was published: `version` counts changes, a grant notes the version it hands out.
  version bigint not null default 0,
  granted_version bigint not null default -1,
  granted_at timestamptz,
  granted_state text,
  granted_seq bigint not null default 0,
  published_seq bigint not null default 0,
  announced_state text
);
alter table public.sync_runs enable row level security;
revoke all on public.sync_runs from public, anon, authenticated;

create index if not exists sync_runs_newest on public.sync_runs (location_id, started_at desc, run_id desc);

-- start_run serialises starts; this holds even if somebody inserts by hand.
create unique index if not exists sync_runs_one_syncing on public.sync_runs (location_id) where state = 'Syncing';

create table if not exists public.sync_outcomes (
  run_id uuid not null references public.sync_runs (run_id) on delete cascade,
  order_id text not null,
  position bigint generated always as identity,
  dispatched_at timestamptz,
  -- Null while open. The first outcome stands.
  outcome text check (outcome in ('synced', 'failed', 'skipped')),
  -- Decided by the listing alone, without a fetch.
  by_listing boolean not null default false,
  change text,
  class text,
  code text,
  reason text,
  attempts int not null default 0,
  tickets int not null default 0,
  tickets_added int not null default 0,
  tickets_reinstated int not null default 0,
  tickets_cancelled int not null default 0,
  recorded_at timestamptz,
  primary key (run_id, order_id)
);
alter table public.sync_outcomes enable row level security;
revoke all on public.sync_outcomes from public, anon, authenticated;
revoke all on sequence public.sync_outcomes_position_seq from public, anon, authenticated;

create index if not exists sync_outcomes_waiting
  on public.sync_outcomes (run_id, position) where outcome is null and dispatched_at is null;
create index if not exists sync_outcomes_outstanding
  on public.sync_outcomes (run_id, dispatched_at) where outcome is null and dispatched_at is not null;
create index if not exists sync_outcomes_to_report
  on public.sync_outcomes (run_id, outcome, order_id) where outcome in ('failed', 'skipped');
create index if not exists sync_outcomes_by_listing
  on public.sync_outcomes (run_id) where by_listing;

-- Data that couldn't be honoured, in words a person can act on. order_id '' for what concerns the whole listing.
create table if not exists public.sync_issues (
  run_id uuid not null references public.sync_runs (run_id) on delete cascade,
  order_id text not null default '',
  code text not null,
  message text not null,
  noted_at timestamptz not null default clock_timestamp()
);
alter table public.sync_issues enable row level security;
revoke all on public.sync_issues from public, anon, authenticated;
-- Hashed: a message can be longer than an index entry may be.
create unique index if not exists sync_issues_once
  on public.sync_issues (run_id, order_id, code, md5(message));

-- The distinct ticket labels a run met, hashed because names of 10 kB exist.
create table if not exists public.sync_run_labels (
  run_id uuid not null references public.sync_runs (run_id) on delete cascade,
  label_hash text not null,
  primary key (run_id, label_hash)
);
alter table public.sync_run_labels enable row level security;
revoke all on public.sync_run_labels from public, anon, authenticated;
