-- Every table, with its indexes and who may use it. Nobody but the server reaches one: the public keys are granted nothing, and
-- row level security without a policy keeps them out a second time.

-- In the files after this one a function may call another that comes later.
set check_function_bodies = off;

-- Helpers live in a schema of their own that PostgREST doesn't expose.
create schema sync_internal;
revoke all on schema sync_internal from public, anon, authenticated;
grant usage on schema sync_internal to service_role;

-- ---------------------------------------------------------------- the original app's two tables
-- Its columns as it made them, and behind them what sync needs to know. These may all be null: the original app goes on
-- writing rows without them.

create table public.ghl_qr_orders (
  order_id text primary key,
  location_id text,
  total_paid numeric,
  payment_status text,
  payment_currency text,
  order_status text,
  contact_id text,
  contact_firstname text,
  contact_lastname text,
  contact_email text,
  contact_phone text,
  date_added timestamptz,
  inserted_at timestamptz default now(),
  updated_at timestamptz default now(),
  event_id text,
  event_name text,
  event_image text,
  event_ticket_price numeric,
  event_ticket_currency text,
  event_available_qty int,
  event_ticket_qty int,
  event_ticket_type text,
  qr_code_image text,
  ticket_quantities jsonb,

  -- GHL's updatedAt, and when this version was read (a limiter grant, by the database's clock): the stale guard.
  source_updated_at timestamptz,
  fetched_at timestamptz,
  -- [{product_id, price_id, ticket_type, quantity}]. Null: its lines were never read, so its tickets stay untouched.
  lines jsonb,
  entitled boolean,
  entitlement_reason text,
  live_mode boolean,
  -- Set by the statement that changes lines or entitlement, cleared only by reconciling: a crash between can't hide work.
  tickets_due timestamptz
);

create index ghl_qr_orders_tickets_due on public.ghl_qr_orders (tickets_due) where tickets_due is not null;
-- The orders of a person, in their order.
create index ghl_qr_orders_contact on public.ghl_qr_orders (contact_id, order_id) where contact_id is not null;
-- What people and the original app look for.
create index ghl_qr_orders_event on public.ghl_qr_orders (event_id);
create index ghl_qr_orders_date_added on public.ghl_qr_orders (date_added);

alter table public.ghl_qr_orders enable row level security;
revoke all on public.ghl_qr_orders from public, anon, authenticated;
grant select, insert, update, delete on public.ghl_qr_orders to service_role;

create table public.ghl_qr_tickets (
  ticket_id serial primary key,
  order_id text references public.ghl_qr_orders (order_id) on delete cascade,
  ticket_type text not null,
  status text default 'live',

  -- With order_id a ticket's identity. Null: a ticket of the original app, not adopted yet. Missing ids are ''.
  product_id text,
  price_id text,
  ordinal int,
  -- Who gave the ticket its present status ('sync', 'gate', 'admin', 'external'; null: the original app), when and why.
  status_by text,
  status_at timestamptz,
  status_reason text,
  validated_at timestamptz,
  validated_by text
);

-- Also serves every look-up by order.
create unique index ghl_qr_tickets_identity on public.ghl_qr_tickets (order_id, product_id, price_id, ordinal);
create index ghl_qr_tickets_status on public.ghl_qr_tickets (status);

alter table public.ghl_qr_tickets enable row level security;
revoke all on public.ghl_qr_tickets from public, anon, authenticated;
grant select, insert, update, delete on public.ghl_qr_tickets to service_role;
revoke all on sequence public.ghl_qr_tickets_ticket_id_seq from public, anon, authenticated;
grant usage on sequence public.ghl_qr_tickets_ticket_id_seq to service_role;

-- ---------------------------------------------------------------- ours

-- One row per GHL location. Locked last and briefly by everybody.
create table public.sync_locations (
  location_id text primary key,
  -- The last number given to a frame. Never reset, so that a dashboard can drop what isn't newer.
  seq bigint not null default 0,
  products_refreshed_at timestamptz,
  created_at timestamptz not null default now(),
  -- Since when a publication is asked for and not begun; null: it isn't.
  publication_asked_at timestamptz,
  -- The first number of the publication under way, null if there is none; and when the newest one began, or begins after its wait.
  publication_seq bigint,
  publication_begins_at timestamptz,
  -- The run before the newest, as it ended, if that isn't published yet: it comes before the newest.
  last_words jsonb
);

alter table public.sync_locations enable row level security;
revoke all on public.sync_locations from public, anon, authenticated;
grant select, insert, update, delete on public.sync_locations to service_role;

-- The shared rate limit: the very times of the last grants, which is exact for any window (a bucket isn't). Lists are arrays side
-- by side, one element for each grant: read five times as fast as JSON, and the row is read whole with every call.
create table public.sync_limiter (
  location_id text primary key,
  learned_max int,
  -- Of the limiter before, and not used any more: these two and the three margins.
  bulk_grants timestamptz[] not null default '{}',
  priority_grants timestamptz[] not null default '{}',
  last_at timestamptz,
  closed_until timestamptz,
  daily_remaining int,
  daily_observed_at timestamptz,
  margin_ms numeric not null default 0,
  margin_before_ms numeric not null default 0,
  margin_since timestamptz,
  -- Grants: how many calls, when, and until when they may be in GHL's window.
  grant_ids uuid[] not null default '{}',
  grant_is_bulk boolean[] not null default '{}',
  grant_calls int[] not null default '{}',
  grant_is_handed_back boolean[] not null default '{}',
  grant_times timestamptz[] not null default '{}',
  grant_ends timestamptz[] not null default '{}',
  -- Calls of other apps that GHL told us about.
  others_times timestamptz[] not null default '{}',
  others_calls int[] not null default '{}',
  -- What was asked for lately, and until when that is remembered.
  asked_ids uuid[] not null default '{}',
  asked_is_bulk boolean[] not null default '{}',
  asked_calls int[] not null default '{}',
  asked_ends timestamptz[] not null default '{}',
  -- Orders that were dispatched and haven't asked for their calls yet: when, how many, and until when they are waited for.
  awaited_times timestamptz[] not null default '{}',
  awaited_calls int[] not null default '{}',
  awaited_ends timestamptz[] not null default '{}',
  -- Since when calls are free that aren't worth a message yet.
  waits_since timestamptz,
  -- Since when every grant that was told about came too late to be used, and the last such word.
  late_since timestamptz,
  late_at timestamptz
);

alter table public.sync_limiter enable row level security;
revoke all on public.sync_limiter from public, anon, authenticated;
grant select, insert, update, delete on public.sync_limiter to service_role;

-- The products GHL lists now: they decide which orders are ours to admit.
create table public.sync_products (
  location_id text not null,
  product_id text not null,
  name text,
  image text,
  primary key (location_id, product_id)
);

alter table public.sync_products enable row level security;
revoke all on public.sync_products from public, anon, authenticated;
grant select, insert, update, delete on public.sync_products to service_role;

-- Every order ever fetched, also the invalid ones that have no row: so that these aren't fetched again until they change,
-- and so that an unchanged order costs a write here and none in the orders table.
-- Its row is also the lock under which an order is upserted, because the order's own row may not exist yet.
create table public.sync_order_memory (
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
  -- Its bit in the bitmaps of runs (sync_run_bits).
  number bigint generated always as identity,
  -- What GHL's list showed when a run last fetched it, of that only what the order itself says otherwise:
  -- {status, payment_status, amount}. The two may differ for good.
  listed jsonb,
  -- Until then a message waits that will fetch it: GHL didn't know it yet.
  awaited_until timestamptz,
  -- Something couldn't be read when it was last fetched: its items, or a product. So it may be ours in spite of `valid`.
  incomplete boolean,
  -- The lines as last read, if not everything of them was applied: what an admin may force, and since when GHL shows them.
  lines_hash text,
  lines_since timestamptz,
  primary key (location_id, order_id)
);

alter table public.sync_order_memory enable row level security;
revoke all on public.sync_order_memory from public, anon, authenticated;
grant select, insert, update, delete on public.sync_order_memory to service_role;
revoke all on sequence public.sync_order_memory_number_seq from public, anon, authenticated;
grant usage on sequence public.sync_order_memory_number_seq to service_role;

-- What its transactions said was refunded of an order, when that was last looked at because it had changed.
create table public.sync_refunds (
  location_id text not null,
  order_id text not null,
  -- In all, in the order's currency: what was given back, and what was paid.
  refunded numeric not null,
  received numeric not null,
  -- {<transaction id>: <refunded>}, as the list showed them.
  transactions jsonb not null,
  -- When the sum last changed: an order that was fetched before isn't in step. Null: nothing was ever refunded.
  changed_at timestamptz,
  -- All was given back: reported if the order still has tickets once it was fetched since.
  to_report boolean not null default false,
  primary key (location_id, order_id)
);

alter table public.sync_refunds enable row level security;
revoke all on public.sync_refunds from public, anon, authenticated;
grant select, insert, update, delete on public.sync_refunds to service_role;

-- No foreign keys: the history outlives a deleted order, and a key would lock the order against its ticket's writer.
create table public.ghl_qr_ticket_changes (
  change_id bigint generated always as identity primary key,
  ticket_id bigint not null,
  order_id text,
  changed_at timestamptz not null default clock_timestamp(),
  changed_by text not null,
  reason text,
  old_status text,
  new_status text,
  old_type text,
  new_type text,
  -- Of an admission that this change made or took back.
  validated_at timestamptz
);

create index ghl_qr_ticket_changes_order on public.ghl_qr_ticket_changes (order_id, changed_at);

alter table public.ghl_qr_ticket_changes enable row level security;
revoke all on public.ghl_qr_ticket_changes from public, anon, authenticated;
grant select, insert, update, delete on public.ghl_qr_ticket_changes to service_role;
revoke all on sequence public.ghl_qr_ticket_changes_change_id_seq from public, anon, authenticated;
grant usage on sequence public.ghl_qr_ticket_changes_change_id_seq to service_role;

-- Orders whose tickets somebody else touched, to be reconciled. Insert-only for the writer: setting tickets_due would
-- take the order's lock after the ticket's, the reverse of what reconciling does, and deadlock with it.
create table public.ghl_qr_tickets_touched (
  touch_id bigint generated always as identity primary key,
  order_id text not null,
  touched_at timestamptz not null default clock_timestamp()
);

create index ghl_qr_tickets_touched_order on public.ghl_qr_tickets_touched (order_id);

alter table public.ghl_qr_tickets_touched enable row level security;
revoke all on public.ghl_qr_tickets_touched from public, anon, authenticated;
grant select, insert, update, delete on public.ghl_qr_tickets_touched to service_role;
revoke all on sequence public.ghl_qr_tickets_touched_touch_id_seq from public, anon, authenticated;
grant usage on sequence public.ghl_qr_tickets_touched_touch_id_seq to service_role;

-- Scans that named themselves: whoever got no answer asks again with the same name. No foreign keys, as for the history.
create table public.gate_scans (
  location_id text not null,
  -- Made by the scanner.
  scan_id text not null,
  ticket_id bigint not null,
  scanned_by text,
  -- Where, in the scanner's words.
  gate text,
  scanned_at timestamptz not null,
  -- The admission that it made, as the ticket has it; null: it was refused.
  validated_at timestamptz,
  primary key (location_id, scan_id)
);

create index gate_scans_oldest on public.gate_scans (location_id, scanned_at);

alter table public.gate_scans enable row level security;
revoke all on public.gate_scans from public, anon, authenticated;
grant select, insert, update, delete on public.gate_scans to service_role;

-- A run, its counts, its pulse and what was published of it.
create table public.sync_runs (
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
  -- How many orders fewer than GHL counts the complete listing has, and the last complete one before this run had.
  listing_deficit int,
  known_deficit int not null default 0,
  -- Orders may be missing of the listing, so nothing follows from an order's absence.
  listing_short boolean not null default false,
  -- What is compared in portions after a full listing: {after, orders, tickets, some, done}. Null: nothing is.
  not_listed jsonb,
  -- Where reading the transactions stands: opaque here, owned by the run worker.
  transactions jsonb,
  -- Of a retry: the last order that it took of the run it repeats.
  taken_until text,
  -- The list of valid orders while it is uploaded, opaque here and owned by the run worker; {done} once it is written.
  valid_list jsonb,

  -- Counted with the outcomes, in the same transaction: listed = synced + skipped + failed + still open. What is open when
  -- the run breaks off was not attempted.
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

  -- What was published: `version` counts changes, a publication notes the version it hands out.
  version bigint not null default 0,
  granted_version bigint not null default -1,
  granted_seq bigint not null default 0,
  published_seq bigint not null default 0,
  announced_state text
);

create index sync_runs_newest on public.sync_runs (location_id, started_at desc, run_id desc);
-- start_run serialises starts; this holds even if somebody inserts by hand.
create unique index sync_runs_one_syncing on public.sync_runs (location_id) where state = 'Syncing';

alter table public.sync_runs enable row level security;
revoke all on public.sync_runs from public, anon, authenticated;
grant select, insert, update, delete on public.sync_runs to service_role;

-- What became of each order that a run fetched, or has yet to fetch; and of other locations' orders, which no row remembers.
-- What the listing decided of remembered orders stands in sync_run_bits.
create table public.sync_outcomes (
  run_id uuid not null references public.sync_runs (run_id) on delete cascade,
  order_id text not null,
  position bigint generated always as identity,
  dispatched_at timestamptz,
  -- How often it was dispatched and nothing was heard of it: from the first time on it goes alone, the third is a failure.
  silences smallint not null default 0,
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
  -- What GHL's list showed of an order to fetch: {status, payment_status, amount}.
  listed jsonb,
  primary key (run_id, order_id)
);

create index sync_outcomes_waiting
  on public.sync_outcomes (run_id, position) where outcome is null and dispatched_at is null;
create index sync_outcomes_outstanding
  on public.sync_outcomes (run_id, dispatched_at) where outcome is null and dispatched_at is not null;
create index sync_outcomes_to_report
  on public.sync_outcomes (run_id, outcome, order_id) where outcome in ('failed', 'skipped');
create index sync_outcomes_by_listing
  on public.sync_outcomes (run_id) where by_listing;
create index sync_outcomes_drift
  on public.sync_outcomes (run_id, order_id) where tickets_added + tickets_reinstated + tickets_cancelled > 0;

alter table public.sync_outcomes enable row level security;
revoke all on public.sync_outcomes from public, anon, authenticated;
grant select, insert, update, delete on public.sync_outcomes to service_role;
revoke all on sequence public.sync_outcomes_position_seq from public, anon, authenticated;
grant usage on sequence public.sync_outcomes_position_seq to service_role;

-- What the listing alone decided of a remembered order: a bit of a run, in a row of 16,384 orders by their numbers. Written only
-- under the run's row lock. From 2 kB on Postgres compresses a row: one of orders that are all unchanged takes some 100 bytes. While
-- bits of all ages are set, it takes 2 kB: half of each page stays free, so that it is written in the same place again and again.
create table public.sync_run_bits (
  run_id uuid not null references public.sync_runs (run_id) on delete cascade,
  -- The orders with the numbers block * 16384 to block * 16384 + 16383.
  block bigint not null,
  -- In step, no fetch needed. Null: none.
  unchanged bytea,
  -- Known not to be a valid order. Null: none.
  skipped bytea,
  primary key (run_id, block)
) with (fillfactor = 50);

-- In the row itself, as it grows: what is stored beside a row is freed by vacuum only.
alter table public.sync_run_bits alter column unchanged set storage main, alter column skipped set storage main;

alter table public.sync_run_bits enable row level security;
revoke all on public.sync_run_bits from public, anon, authenticated;
grant select, insert, update, delete on public.sync_run_bits to service_role;

-- Data that couldn't be honoured, in words a person can act on. order_id '' for what concerns the whole listing.
create table public.sync_issues (
  run_id uuid not null references public.sync_runs (run_id) on delete cascade,
  order_id text not null default '',
  code text not null,
  message text not null,
  noted_at timestamptz not null default clock_timestamp()
);

-- Hashed: a message can be longer than an index entry may be.
create unique index sync_issues_once
  on public.sync_issues (run_id, order_id, code, md5(message));

alter table public.sync_issues enable row level security;
revoke all on public.sync_issues from public, anon, authenticated;
grant select, insert, update, delete on public.sync_issues to service_role;

-- The distinct ticket labels a run met, hashed because names of 10 kB exist.
create table public.sync_run_labels (
  run_id uuid not null references public.sync_runs (run_id) on delete cascade,
  label_hash text not null,
  primary key (run_id, label_hash)
);

alter table public.sync_run_labels enable row level security;
revoke all on public.sync_run_labels from public, anon, authenticated;
grant select, insert, update, delete on public.sync_run_labels to service_role;

-- Orders that failed outside a run (a webhook's order): stand here until the next success.
create table public.sync_failures (
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
grant select, insert, update, delete on public.sync_failures to service_role;

-- The dashboards listening now (WebSocket connections).
create table public.sync_connections (
  location_id text not null,
  connection_id text not null,
  user_id text,
  role text,
  connected_at timestamptz not null default clock_timestamp(),
  expires_at timestamptz,
  primary key (location_id, connection_id)
);

alter table public.sync_connections enable row level security;
revoke all on public.sync_connections from public, anon, authenticated;
grant select, insert, update, delete on public.sync_connections to service_role;

-- People to be forgotten, by their id in GHL: nothing else of them may stand here. It stays, so that what is written later is blanked too.
-- The contact comes first in the key: rows of the original app may name no location.
create table public.sync_forgotten_contacts (
  location_id text not null,
  contact_id text not null,
  forgotten_at timestamptz not null default clock_timestamp(),
  forgotten_by text,
  -- Their orders that stood here then.
  orders int not null default 0,
  -- The last order that was blanked, and when the last of all was. Null: not all are yet.
  blanked_until text not null default '',
  blanked_at timestamptz,
  primary key (contact_id, location_id)
);

alter table public.sync_forgotten_contacts enable row level security;
revoke all on public.sync_forgotten_contacts from public, anon, authenticated;
grant select, insert, update, delete on public.sync_forgotten_contacts to service_role;
