-- All of it, as it stood when this became the first migration: an empty database becomes ours, and one of the original app keeps its two
-- tables with their rows. What is true today stands in ../schemas.

-- Every table, with its indexes and who may use it. Nobody but the server reaches one: the public keys are granted nothing, and
-- row level security without a policy keeps them out a second time.

-- In the files after this one a function may call another that comes later.
set check_function_bodies = off;

-- Helpers live in a schema of their own that PostgREST doesn't expose.
create schema if not exists sync_internal;
revoke all on schema sync_internal from public, anon, authenticated;
grant usage on schema sync_internal to service_role;

-- ---------------------------------------------------------------- the original app's two tables
-- Where it made them they keep their rows and stay as open as they are, until the last step: it writes with the public key. Each
-- is judged by itself. Where they are made here, they are closed from the start.
-- Its columns as it made them, and behind them what sync needs to know. These may all be null: the original app goes on
-- writing rows without them.

do $$
begin
  if to_regclass('public.ghl_qr_orders') is null then
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
      ticket_quantities jsonb
    );
    alter table public.ghl_qr_orders enable row level security;
    revoke all on public.ghl_qr_orders from public, anon, authenticated;
  end if;
end
$$;

alter table public.ghl_qr_orders
  -- GHL's updatedAt, and when this version was read (a limiter grant, by the database's clock): the stale guard.
  add column if not exists source_updated_at timestamptz,
  add column if not exists fetched_at timestamptz,
  -- [{product_id, price_id, ticket_type, quantity}]. Null: its lines were never read, so its tickets stay untouched.
  add column if not exists lines jsonb,
  add column if not exists entitled boolean,
  add column if not exists entitlement_reason text,
  add column if not exists live_mode boolean,
  -- Set by the statement that changes lines or entitlement, cleared only by reconciling: a crash between can't hide work.
  add column if not exists tickets_due timestamptz;

create index if not exists ghl_qr_orders_tickets_due on public.ghl_qr_orders (tickets_due) where tickets_due is not null;

grant select, insert, update, delete on public.ghl_qr_orders to service_role;

do $$
begin
  if to_regclass('public.ghl_qr_tickets') is null then
    create table public.ghl_qr_tickets (
      ticket_id serial primary key,
      order_id text references public.ghl_qr_orders (order_id) on delete cascade,
      ticket_type text not null,
      status text default 'live'
    );
    alter table public.ghl_qr_tickets enable row level security;
    revoke all on public.ghl_qr_tickets from public, anon, authenticated;
    revoke all on sequence public.ghl_qr_tickets_ticket_id_seq from public, anon, authenticated;
  end if;
end
$$;

alter table public.ghl_qr_tickets
  -- With order_id a ticket's identity. Null: a ticket of the original app, not adopted yet. Missing ids are ''.
  add column if not exists product_id text,
  add column if not exists price_id text,
  add column if not exists ordinal int,
  -- Who gave the ticket its present status ('sync', 'gate', 'external'; null: the original app), when and why.
  add column if not exists status_by text,
  add column if not exists status_at timestamptz,
  add column if not exists status_reason text,
  add column if not exists validated_at timestamptz,
  add column if not exists validated_by text;

-- Also serves every look-up by order.
create unique index if not exists ghl_qr_tickets_identity on public.ghl_qr_tickets (order_id, product_id, price_id, ordinal);

grant select, insert, update, delete on public.ghl_qr_tickets to service_role;
do $$
begin
  execute format('grant usage on sequence %s to service_role', pg_get_serial_sequence('public.ghl_qr_tickets', 'ticket_id'));
end
$$;

-- ---------------------------------------------------------------- ours

-- One row per GHL location. Locked last and briefly by everybody.
create table if not exists public.sync_locations (
  location_id text primary key,
  -- The last number given to a frame. Never reset, so that a dashboard can drop what isn't newer.
  seq bigint not null default 0,
  products_refreshed_at timestamptz,
  created_at timestamptz not null default now()
);

alter table public.sync_locations enable row level security;
revoke all on public.sync_locations from public, anon, authenticated;
grant select, insert, update, delete on public.sync_locations to service_role;

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
grant select, insert, update, delete on public.sync_limiter to service_role;

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
grant select, insert, update, delete on public.sync_products to service_role;

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
grant select, insert, update, delete on public.sync_order_memory to service_role;

-- No foreign keys: the history outlives a deleted order, and a key would lock the order against its ticket's writer.
create table if not exists public.ghl_qr_ticket_changes (
  change_id bigint generated always as identity primary key,
  ticket_id bigint not null,
  order_id text,
  changed_at timestamptz not null default clock_timestamp(),
  changed_by text not null,
  reason text,
  old_status text,
  new_status text,
  old_type text,
  new_type text
);

create index if not exists ghl_qr_ticket_changes_order on public.ghl_qr_ticket_changes (order_id, changed_at);

alter table public.ghl_qr_ticket_changes enable row level security;
revoke all on public.ghl_qr_ticket_changes from public, anon, authenticated;
grant select, insert, update, delete on public.ghl_qr_ticket_changes to service_role;
revoke all on sequence public.ghl_qr_ticket_changes_change_id_seq from public, anon, authenticated;
grant usage on sequence public.ghl_qr_ticket_changes_change_id_seq to service_role;

-- Orders whose tickets somebody else touched, to be reconciled. Insert-only for the writer: setting tickets_due would
-- take the order's lock after the ticket's, the reverse of what reconciling does, and deadlock with it.
create table if not exists public.ghl_qr_tickets_touched (
  touch_id bigint generated always as identity primary key,
  order_id text not null,
  touched_at timestamptz not null default clock_timestamp()
);

create index if not exists ghl_qr_tickets_touched_order on public.ghl_qr_tickets_touched (order_id);

alter table public.ghl_qr_tickets_touched enable row level security;
revoke all on public.ghl_qr_tickets_touched from public, anon, authenticated;
grant select, insert, update, delete on public.ghl_qr_tickets_touched to service_role;
revoke all on sequence public.ghl_qr_tickets_touched_touch_id_seq from public, anon, authenticated;
grant usage on sequence public.ghl_qr_tickets_touched_touch_id_seq to service_role;

-- A run, its counts, its pulse and what was published of it.
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

create index if not exists sync_runs_newest on public.sync_runs (location_id, started_at desc, run_id desc);
-- start_run serialises starts; this holds even if somebody inserts by hand.
create unique index if not exists sync_runs_one_syncing on public.sync_runs (location_id) where state = 'Syncing';

alter table public.sync_runs enable row level security;
revoke all on public.sync_runs from public, anon, authenticated;
grant select, insert, update, delete on public.sync_runs to service_role;

-- What became of each order that a run listed.
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

create index if not exists sync_outcomes_waiting
  on public.sync_outcomes (run_id, position) where outcome is null and dispatched_at is null;
create index if not exists sync_outcomes_outstanding
  on public.sync_outcomes (run_id, dispatched_at) where outcome is null and dispatched_at is not null;
create index if not exists sync_outcomes_to_report
  on public.sync_outcomes (run_id, outcome, order_id) where outcome in ('failed', 'skipped');
create index if not exists sync_outcomes_by_listing
  on public.sync_outcomes (run_id) where by_listing;

alter table public.sync_outcomes enable row level security;
revoke all on public.sync_outcomes from public, anon, authenticated;
grant select, insert, update, delete on public.sync_outcomes to service_role;
revoke all on sequence public.sync_outcomes_position_seq from public, anon, authenticated;
grant usage on sequence public.sync_outcomes_position_seq to service_role;

-- Data that couldn't be honoured, in words a person can act on. order_id '' for what concerns the whole listing.
create table if not exists public.sync_issues (
  run_id uuid not null references public.sync_runs (run_id) on delete cascade,
  order_id text not null default '',
  code text not null,
  message text not null,
  noted_at timestamptz not null default clock_timestamp()
);

-- Hashed: a message can be longer than an index entry may be.
create unique index if not exists sync_issues_once
  on public.sync_issues (run_id, order_id, code, md5(message));

alter table public.sync_issues enable row level security;
revoke all on public.sync_issues from public, anon, authenticated;
grant select, insert, update, delete on public.sync_issues to service_role;

-- The distinct ticket labels a run met, hashed because names of 10 kB exist.
create table if not exists public.sync_run_labels (
  run_id uuid not null references public.sync_runs (run_id) on delete cascade,
  label_hash text not null,
  primary key (run_id, label_hash)
);

alter table public.sync_run_labels enable row level security;
revoke all on public.sync_run_labels from public, anon, authenticated;
grant select, insert, update, delete on public.sync_run_labels to service_role;

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
grant select, insert, update, delete on public.sync_failures to service_role;

-- The dashboards listening now (WebSocket connections).
create table if not exists public.sync_connections (
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

-- The shared rate limit. Grants only slots that are free now, never a reservation, so that a bulk caller can't push a
-- webhook back. The limiter's row is locked by nothing else.

-- Grants as many of the wanted calls to GHL as are free now, and tells how long to wait for one more.
-- request: {location_id, lane: "bulk"|"priority", wanted, run_id?,
--   limits: {max, window_ms, margin_ms, bulk_percent, daily_reserve?},
--   observed?: {max?, remaining?, daily_remaining?, closed_for_ms?, age_ms?, took_ms?}, late?}
--   -> {granted, granted_at, wait_ms, daily_remaining, budget_exhausted, run_state, late_ms}
-- `late` tells whether the caller's last grant came too late to be used; `late_ms`, for how long none has come in time.
-- Locks: the limiter's row.
create or replace function public.acquire_slots(request jsonb) returns jsonb
language plpgsql set search_path = '' set lock_timeout = '5s' set jit = off
as $$
declare
  v_location text := sync_internal.location(request);
  v_bulk_lane boolean := sync_internal.required(request, 'lane') = 'bulk';
  v_wanted int := greatest(coalesce((request ->> 'wanted')::int, 0), 0);
  v_observed jsonb := coalesce(nullif(request -> 'observed', 'null'), '{}');
  v_window interval := sync_internal.milliseconds((sync_internal.required(request -> 'limits', 'window_ms'))::numeric);
  v_limiter public.sync_limiter;
  v_now timestamptz;
  v_max int;
  v_bulk_max int;
  v_bulk timestamptz[];
  v_all timestamptz[];
  v_granted int;
  v_free_at timestamptz;
  v_daily_remaining int;
  v_budget_exhausted boolean;
  v_run_state text;
begin
  insert into public.sync_limiter (location_id) values (v_location) on conflict do nothing;
  select * into v_limiter from public.sync_limiter where location_id = v_location for update;
  -- Read after the lock, and never below the last grant: a clock set back must not open a second window.
  v_now := greatest(clock_timestamp(), v_limiter.last_at);

  v_limiter := sync_internal.widest_margin(
    v_limiter, coalesce((request -> 'limits' ->> 'margin_ms')::numeric, 0), v_now, v_window);
  v_window := v_window + sync_internal.milliseconds(greatest(v_limiter.margin_ms, v_limiter.margin_before_ms));
  v_limiter := sync_internal.note_lateness(v_limiter, (request ->> 'late')::boolean, v_now);
  v_limiter := sync_internal.observe(v_limiter, v_observed, v_now, v_window);
  v_max := greatest(coalesce(v_limiter.learned_max, (sync_internal.required(request -> 'limits', 'max'))::int), 1);
  v_bulk_max := greatest(floor(v_max * coalesce((request -> 'limits' ->> 'bulk_percent')::numeric, 80) / 100), 1);

  select coalesce(array_agg(t order by t), '{}') into v_bulk
  from unnest(v_limiter.bulk_grants) as t where t > v_now - v_window;
  select coalesce(array_agg(t order by t), '{}') into v_all
  from unnest(v_limiter.bulk_grants || v_limiter.priority_grants) as t where t > v_now - v_window;

  v_granted := least(v_wanted, v_max - cardinality(v_all));
  if v_bulk_lane then
    v_granted := least(v_granted, v_bulk_max - cardinality(v_bulk));
  end if;
  if v_limiter.closed_until > v_now then
    v_granted := 0;
  end if;
  if request ->> 'run_id' is not null then
    -- A run we don't know is over, for whoever works for it.
    select coalesce(max(state), 'Cancelled') into v_run_state
    from public.sync_runs where run_id = (request ->> 'run_id')::uuid and location_id = v_location;
    if v_run_state <> 'Syncing' then
      v_granted := 0;
      v_wanted := 0;
    end if;
  end if;
  -- The budget is a day's: what was seen yesterday says nothing. The rest of it belongs to webhooks and single syncs.
  v_daily_remaining := case when v_limiter.daily_observed_at > v_now - interval '1 day' then v_limiter.daily_remaining end;
  v_budget_exhausted := v_bulk_lane
    and coalesce(v_daily_remaining < (request -> 'limits' ->> 'daily_reserve')::numeric, false);
  if v_budget_exhausted then
    -- When GHL's day ends isn't known: now and then one call asks.
    v_budget_exhausted := v_limiter.daily_observed_at > v_now - interval '10 minutes';
    v_granted := case when v_budget_exhausted then 0 else least(v_granted, 1) end;
  end if;
  v_granted := greatest(v_granted, 0);

  v_all := v_all || array_fill(v_now, array[v_granted]);
  if v_bulk_lane then
    v_bulk := v_bulk || array_fill(v_now, array[v_granted]);
    v_limiter.bulk_grants := v_limiter.bulk_grants || array_fill(v_now, array[v_granted]);
  else
    v_limiter.priority_grants := v_limiter.priority_grants || array_fill(v_now, array[v_granted]);
  end if;

  -- When one more could be granted: once enough of the oldest grants have left the window.
  v_free_at := v_limiter.closed_until;
  if cardinality(v_all) >= v_max then
    v_free_at := greatest(v_free_at, v_all[cardinality(v_all) - v_max + 1] + v_window);
  end if;
  if v_bulk_lane and cardinality(v_bulk) >= v_bulk_max then
    v_free_at := greatest(v_free_at, v_bulk[cardinality(v_bulk) - v_bulk_max + 1] + v_window);
  end if;

  update public.sync_limiter
  set learned_max = v_limiter.learned_max, bulk_grants = v_limiter.bulk_grants,
    priority_grants = v_limiter.priority_grants, last_at = v_now, closed_until = v_limiter.closed_until,
    daily_remaining = v_limiter.daily_remaining, daily_observed_at = v_limiter.daily_observed_at,
    margin_ms = v_limiter.margin_ms, margin_before_ms = v_limiter.margin_before_ms,
    margin_since = v_limiter.margin_since, late_since = v_limiter.late_since, late_at = v_limiter.late_at
  where location_id = v_location;

  return jsonb_build_object(
    'granted', v_granted,
    'granted_at', v_now,
    'wait_ms', case when v_granted >= v_wanted then 0
      else greatest(ceil(extract(epoch from coalesce(v_free_at, v_now) - v_now) * 1000), 1)::bigint end,
    'daily_remaining', v_daily_remaining,
    'budget_exhausted', v_budget_exhausted,
    'run_state', v_run_state,
    'late_ms', sync_internal.late_ms(v_limiter, v_now));
end
$$;

revoke all on function public.acquire_slots(jsonb) from public, anon, authenticated;
grant execute on function public.acquire_slots(jsonb) to service_role;

-- A grant is used within its caller's margin, so its slot is taken for the window and that margin: a caller with a
-- smaller one must not count it as free before. The widest margin is kept for at least as long as its grants take.
create or replace function sync_internal.widest_margin(
  p_limiter public.sync_limiter, p_margin_ms numeric, p_now timestamptz, p_window interval
) returns public.sync_limiter
language plpgsql
as $$
begin
  if p_now < p_limiter.margin_since + p_window
    + sync_internal.milliseconds(greatest(p_limiter.margin_ms, p_limiter.margin_before_ms)) then
    p_limiter.margin_ms := greatest(p_limiter.margin_ms, p_margin_ms);
  else
    p_limiter.margin_before_ms := p_limiter.margin_ms;
    p_limiter.margin_ms := p_margin_ms;
    p_limiter.margin_since := p_now;
  end if;
  return p_limiter;
end
$$;

revoke all on function sync_internal.widest_margin(public.sync_limiter, numeric, timestamptz, interval) from public, anon, authenticated;
grant execute on function sync_internal.widest_margin(public.sync_limiter, numeric, timestamptz, interval) to service_role;

-- Takes down whether a grant came too late. After a minute without any word the count begins anew.
create or replace function sync_internal.note_lateness(
  p_limiter public.sync_limiter, p_late boolean, p_now timestamptz
) returns public.sync_limiter
language plpgsql
as $$
begin
  if p_late then
    if p_limiter.late_since is null or p_limiter.late_at < p_now - interval '1 minute' then
      p_limiter.late_since := p_now;
    end if;
    p_limiter.late_at := p_now;
  elsif not p_late then
    p_limiter.late_since := null;
    p_limiter.late_at := null;
  end if;
  return p_limiter;
end
$$;

revoke all on function sync_internal.note_lateness(public.sync_limiter, boolean, timestamptz) from public, anon, authenticated;
grant execute on function sync_internal.note_lateness(public.sync_limiter, boolean, timestamptz) to service_role;

-- Applies what GHL's response headers said, and forgets grants older than two windows.
create or replace function sync_internal.observe(
  p_limiter public.sync_limiter, p_observed jsonb, p_now timestamptz, p_window interval
) returns public.sync_limiter
language plpgsql
as $$
declare
  v_seen_at timestamptz := p_now - sync_internal.milliseconds(coalesce((p_observed ->> 'age_ms')::numeric, 0));
  -- Without its age an observation may stem from a window that has passed: then a foreign call is believed only if not
  -- even two windows of our own explain it. Inventing foreign calls would close the lane for a window.
  v_behind interval := p_window * case when p_observed ? 'age_ms' then 1 else 2 end;
  v_sent_at timestamptz := v_seen_at - sync_internal.milliseconds(coalesce((p_observed ->> 'took_ms')::numeric, 0));
  v_used int;
  v_ours int;
begin
  select coalesce(array_agg(t order by t), '{}') into p_limiter.bulk_grants
  from unnest(p_limiter.bulk_grants) as t where t > p_now - p_window * 2;
  select coalesce(array_agg(t order by t), '{}') into p_limiter.priority_grants
  from unnest(p_limiter.priority_grants) as t where t > p_now - p_window * 2;

  -- Bounded, since a nonsensical header must not stop every call.
  if (p_observed ->> 'max')::numeric > 0 then
    p_limiter.learned_max := least((p_observed ->> 'max')::numeric, 100000);
  end if;
  -- Workers tell what they saw with their next call: some have it from before others.
  if p_observed ->> 'daily_remaining' is not null
    and v_seen_at >= coalesce(p_limiter.daily_observed_at, '-infinity') then
    p_limiter.daily_remaining := least((p_observed ->> 'daily_remaining')::numeric, 2000000000);
    p_limiter.daily_observed_at := v_seen_at;
  end if;
  if (p_observed ->> 'closed_for_ms')::numeric > 0 then
    p_limiter.closed_until := greatest(
      p_limiter.closed_until, p_now + sync_internal.milliseconds((p_observed ->> 'closed_for_ms')::numeric));
  end if;

  -- A call sent a window ago tells nothing of this one.
  if p_observed ->> 'remaining' is not null and p_limiter.learned_max is not null and v_sent_at > p_now - p_window then
    v_used := p_limiter.learned_max - least((p_observed ->> 'remaining')::numeric, p_limiter.learned_max);
    -- GHL counted at some moment between the call's sending and its answer: at the one that explains most of it by
    -- calls of our own. A call may take longer than the window has left to run.
    select max(ours.count) into v_ours
    from (
      select v_sent_at as at
      union
      select t from unnest(p_limiter.bulk_grants || p_limiter.priority_grants) as t
      where t > v_sent_at and t <= v_seen_at
    ) as moment
    cross join lateral (
      select count(*) from unnest(p_limiter.bulk_grants || p_limiter.priority_grants) as t
      where t > moment.at - v_behind and t <= moment.at
    ) as ours;
    -- Upwards only: GHL counting fewer than we granted means calls still on their way.
    if v_used > v_ours then
      p_limiter.priority_grants := p_limiter.priority_grants || array_fill(v_seen_at, array[v_used - v_ours]);
    end if;
  end if;
  return p_limiter;
end
$$;

revoke all on function sync_internal.observe(public.sync_limiter, jsonb, timestamptz, interval) from public, anon, authenticated;
grant execute on function sync_internal.observe(public.sync_limiter, jsonb, timestamptz, interval) to service_role;

-- For how long no grant has come in time; null if the last one did, or if nobody has said anything for a minute.
create or replace function sync_internal.late_ms(p_limiter public.sync_limiter, p_now timestamptz) returns bigint
language sql immutable
as $$
  select floor(extract(epoch from p_now - p_limiter.late_since) * 1000)::bigint
  where p_limiter.late_at > p_now - interval '1 minute'
$$;

revoke all on function sync_internal.late_ms(public.sync_limiter, timestamptz) from public, anon, authenticated;
grant execute on function sync_internal.late_ms(public.sync_limiter, timestamptz) to service_role;

-- The products that GHL lists now, and which orders they make valid. While a location's list is empty, nothing is known, and
-- what was decided when an order was fetched stands.

-- Makes the list what GHL has now; what didn't change isn't rewritten.
-- request: {location_id, products: [{product_id, name, image}]} -> {count}
-- Locks: the advisory lock 'products', the products that go, those listed by product_id, the location's row.
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

-- Orders: what was fetched becomes rows, guarded against stale reads. Decided here: whether a webhook's order needs a fetch,
-- which of two reads counts, what stands in for lines that can't be read, and whether an order's tickets are due. The tickets
-- themselves follow in tickets.sql.

-- What webhooks' orders need: nothing (served: a fetch was granted after the message was sent), patience (busy: somebody is
-- fetching it just now), or a fetch, which this caller claims. So a burst of webhooks for one order costs one fetch.
--
-- A grant's time is this server's, a message's the queue's. The message was received before now, so this server's clock is
-- ahead of the queue's by at most now - received_at; 2 s are allowed where that isn't known or is more.
-- request: {location_id, claim_ms, orders: [{order_id, sent_at, received_at?, first_try}]} -> {served, busy, now}
-- Locks: order memory by order_id.
create or replace function public.plan_orders(request jsonb) returns jsonb
language plpgsql set search_path = '' set lock_timeout = '5s' set jit = off
as $$
declare
  v_location text := sync_internal.location(request);
  v_claim interval := sync_internal.milliseconds(coalesce((request ->> 'claim_ms')::numeric, 0));
  v_ids text[];
  v_now timestamptz;
  v_served jsonb;
  v_busy jsonb;
begin
  select coalesce(array_agg(distinct o ->> 'order_id'), '{}') into v_ids
  from jsonb_array_elements(coalesce(nullif(request -> 'orders', 'null'), '[]')) as o;
  insert into public.sync_order_memory (location_id, order_id)
  select v_location, id from unnest(v_ids) as id order by id
  on conflict do nothing;
  perform from public.sync_order_memory
  where location_id = v_location and order_id = any (v_ids) order by order_id for update;
  v_now := clock_timestamp();

  with asked as (
    select o.order_id, max(o.sent_at) as sent_at, bool_and(coalesce(o.first_try, true)) as first_try,
      max(case when o.received_at is null then interval '2 seconds'
        else least(greatest(v_now - o.received_at, interval '0'), interval '2 seconds') end) as clock_error
    from jsonb_to_recordset(request -> 'orders') as o (
      order_id text, sent_at timestamptz, received_at timestamptz, first_try boolean)
    group by o.order_id
  ), judged as (
    select a.order_id,
      -- The queue's time is cut to whole milliseconds.
      m.acted_at > a.sent_at + interval '1 millisecond' + a.clock_error as is_served,
      -- A retry has waited long enough.
      a.first_try and m.claimed_until > v_now as is_busy
    from asked a
    join public.sync_order_memory m on m.location_id = v_location and m.order_id = a.order_id
  ), claimed as (
    update public.sync_order_memory as m set claimed_until = v_now + v_claim
    from judged j
    where m.location_id = v_location and m.order_id = j.order_id
      and not coalesce(j.is_served, false) and not coalesce(j.is_busy, false)
  )
  select coalesce(jsonb_agg(order_id order by order_id) filter (where is_served), '[]'),
    coalesce(jsonb_agg(order_id order by order_id) filter (where is_busy and not coalesce(is_served, false)), '[]')
  into v_served, v_busy
  from judged;
  return jsonb_build_object('served', v_served, 'busy', v_busy, 'now', v_now);
end
$$;

revoke all on function public.plan_orders(jsonb) from public, anon, authenticated;
grant execute on function public.plan_orders(jsonb) to service_role;

-- Writes the orders that were fetched, remembers each read, and records the outcome of those that need no tickets.
-- request: {location_id, orders: [{order_id, run_id?, cause, fetched_at, source_updated_at?, foreign, valid, remember_only,
--   force, attempts, product_ids, lines_readable, lines, ticket_quantities, entitled, entitlement_reason?, live_mode,
--   issues, row}]} -> {orders: [{order_id, result, reason?, issues}], publication}
-- Locks: order memory, orders, failures, each by order_id; runs by run_id; the location's row.
create or replace function public.upsert_orders(request jsonb) returns jsonb
language plpgsql set search_path = '' set lock_timeout = '5s' set jit = off
as $$
declare
  v_location text := sync_internal.location(request);
  v_orders jsonb := coalesce(nullif(request -> 'orders', 'null'), '[]');
  v_ids text[];
  v_results jsonb;
begin
  if exists (
    select from jsonb_array_elements(v_orders) as o
    where nullif(o ->> 'order_id', '') is null or o ->> 'fetched_at' is null
  ) then
    raise exception 'every order needs an order_id and a fetched_at' using errcode = '22023';
  end if;

  -- Another location's order leaves no trace.
  select coalesce(array_agg(distinct o ->> 'order_id'), '{}') into v_ids
  from jsonb_array_elements(v_orders) as o where not coalesce((o ->> 'foreign')::boolean, false);

  -- The memory's row is the order's lock, since the order's own row may not exist yet; then the rows that do.
  insert into public.sync_order_memory (location_id, order_id)
  select v_location, id from unnest(v_ids) as id order by id
  on conflict do nothing;
  perform from public.sync_order_memory
  where location_id = v_location and order_id = any (v_ids) order by order_id for update;
  perform from public.ghl_qr_orders where order_id = any (v_ids) order by order_id for no key update;

  -- One statement from here, begun after the locks: it decides by what is true now, and writes what it decided.
  with judged as materialized (
    select * from sync_internal.judge_orders(v_location, v_orders)
  ), written as (
    insert into public.ghl_qr_orders as o (
      order_id, location_id, total_paid, payment_status, payment_currency, order_status, contact_id,
      contact_firstname, contact_lastname, contact_email, contact_phone, date_added, updated_at,
      event_id, event_name, event_image, event_ticket_price, event_ticket_currency, event_available_qty,
      event_ticket_qty, event_ticket_type, ticket_quantities, source_updated_at, fetched_at,
      lines, entitled, entitlement_reason, live_mode, tickets_due)
    select n.order_id, n.location_id, n.total_paid, n.payment_status, n.payment_currency, n.order_status, n.contact_id,
      n.contact_firstname, n.contact_lastname, n.contact_email, n.contact_phone, n.date_added, clock_timestamp(),
      n.event_id, n.event_name, n.event_image, n.event_ticket_price, n.event_ticket_currency, n.event_available_qty,
      n.event_ticket_qty, n.event_ticket_type, n.ticket_quantities, n.source_updated_at, j.fetched_at,
      n.lines, n.entitled, n.entitlement_reason, n.live_mode,
      case when j.due then coalesce(n.tickets_due, clock_timestamp()) else n.tickets_due end
    from judged j cross join lateral (select (j.next).*) as n
    where j.result = 'written'
    order by n.order_id
    on conflict (order_id) do update set
      location_id = excluded.location_id, total_paid = excluded.total_paid,
      payment_status = excluded.payment_status, payment_currency = excluded.payment_currency,
      order_status = excluded.order_status, contact_id = excluded.contact_id,
      contact_firstname = excluded.contact_firstname, contact_lastname = excluded.contact_lastname,
      contact_email = excluded.contact_email, contact_phone = excluded.contact_phone,
      date_added = excluded.date_added, updated_at = excluded.updated_at,
      event_id = excluded.event_id, event_name = excluded.event_name, event_image = excluded.event_image,
      event_ticket_price = excluded.event_ticket_price, event_ticket_currency = excluded.event_ticket_currency,
      event_available_qty = excluded.event_available_qty, event_ticket_qty = excluded.event_ticket_qty,
      event_ticket_type = excluded.event_ticket_type, ticket_quantities = excluded.ticket_quantities,
      source_updated_at = excluded.source_updated_at, fetched_at = excluded.fetched_at,
      lines = excluded.lines, entitled = excluded.entitled, entitlement_reason = excluded.entitlement_reason,
      live_mode = excluded.live_mode, tickets_due = excluded.tickets_due
  ), remembered as (
    update public.sync_order_memory as m
    set fetched_at = greatest(m.fetched_at, j.fetched_at),
      acted_at = case when j.remember_only then m.acted_at else greatest(m.acted_at, j.fetched_at) end,
      claimed_until = case when j.remember_only then m.claimed_until end,
      confirmed_at = case when j.result in ('written', 'unchanged') and not j.remember_only
        then greatest(m.confirmed_at, j.fetched_at) else m.confirmed_at end,
      source_updated_at = case when j.result <> 'stale' and (m.fetched_at is null or j.fetched_at >= m.fetched_at)
        then j.source_updated_at else m.source_updated_at end,
      product_ids = case when j.result <> 'stale' and not j.keeps_lines
        and (m.fetched_at is null or j.fetched_at >= m.fetched_at) then j.product_ids else m.product_ids end,
      valid = case when j.result <> 'stale' and not (j.keeps_lines and m.valid is not null)
        and (m.fetched_at is null or j.fetched_at >= m.fetched_at) then j.valid else m.valid end
    from judged j
    where m.location_id = v_location and m.order_id = j.order_id and j.reason is distinct from 'other_location'
  )
  select coalesce(jsonb_agg(jsonb_build_object(
      'order_id', j.order_id, 'result', j.result, 'reason', j.reason, 'issues', j.issues,
      'remember_only', j.remember_only) order by j.order_id), '[]')
  into v_results from judged j;

  perform sync_internal.settle_upserted(v_location, v_orders, v_results);
  return jsonb_build_object(
    'orders', (select coalesce(jsonb_agg(r - 'remember_only'), '[]') from jsonb_array_elements(v_results) as r),
    'publication', sync_internal.grant_for_batch(v_location, v_orders));
end
$$;

revoke all on function public.upsert_orders(jsonb) from public, anon, authenticated;
grant execute on function public.upsert_orders(jsonb) to service_role;

-- The orders of a request, each with what is to become of it. Decides only; the caller holds the locks and writes.
-- `next` is the whole row as it should be. (plpgsql, as elsewhere, because it keeps its plan between calls.)
create or replace function sync_internal.judge_orders(p_location text, orders jsonb)
returns table (
  order_id text, result text, reason text, fetched_at timestamptz, source_updated_at timestamptz,
  remember_only boolean, keeps_lines boolean, due boolean, product_ids text[], valid boolean,
  issues jsonb, next public.ghl_qr_orders
)
language plpgsql
as $$
#variable_conflict use_column
begin
  return query
  with incoming as (
    -- The same order twice in one batch (a webhook's and a run's message): the later read decides.
    select distinct on (i.order_id) i.*
    from jsonb_to_recordset(orders) as i (
      order_id text, fetched_at timestamptz, source_updated_at timestamptz, "foreign" boolean, valid boolean,
      remember_only boolean, force boolean, product_ids text[], lines_readable boolean, lines jsonb,
      ticket_quantities jsonb, entitled boolean, entitlement_reason text, live_mode boolean, issues jsonb, "row" jsonb)
    order by i.order_id, i.fetched_at desc
  ), known as (
    select i.*, s as stored, s.order_id is not null as is_stored,
      s.fetched_at is null as is_first_fetch,
      greatest(s.fetched_at, m.confirmed_at) as stored_read_at,
      -- Lines that vanished or can't be read don't take the tickets along, unless an admin insists.
      not coalesce(i.force, false)
        and (not coalesce(i.lines_readable, true) or coalesce(nullif(i.lines, 'null'), '[]') = '[]')
        and s.order_id is not null
        and (jsonb_array_length(s.lines) > 0 or (s.lines is null and coalesce(i.entitled, false))) as keeps_lines
    from incoming i
    left join public.ghl_qr_orders s on s.order_id = i.order_id
    left join public.sync_order_memory m on m.location_id = p_location and m.order_id = i.order_id
  ), guarded as (
    select k.*,
      case
        when k.is_first_fetch then 'newer'
        when k.source_updated_at is null and (k.stored).source_updated_at is not null then 'stale'
        when (k.stored).source_updated_at is null and k.source_updated_at is not null then 'newer'
        when k.source_updated_at > (k.stored).source_updated_at then 'newer'
        when k.source_updated_at is not distinct from (k.stored).source_updated_at
          then case when k.fetched_at >= k.stored_read_at then 'newer' else 'stale' end
        -- A bogus stamp in the future must not freeze an order for ever.
        when k.fetched_at > k.stored_read_at + interval '15 minutes' then 'overruled'
        else 'stale'
      end as age
    from known k
  ), planned as (
    select g.*,
      jsonb_populate_record(g.stored,
        case when g.keeps_lines
          then coalesce(g."row", '{}') - array['event_id', 'event_name', 'event_image', 'event_ticket_price',
            'event_ticket_currency', 'event_available_qty', 'event_ticket_qty', 'event_ticket_type']
          when settled.lines is not null then coalesce(g."row", '{}') || jsonb_build_object(
            'lines', settled.lines, 'ticket_quantities', sync_internal.quantities_by_label(settled.lines),
            'event_ticket_qty', (select sum((line ->> 'quantity')::int) from jsonb_array_elements(settled.lines) as line
              where line ->> 'product_id' = g."row" ->> 'event_id'))
          else coalesce(g."row", '{}') || jsonb_build_object(
            'lines', coalesce(nullif(g.lines, 'null'), '[]'),
            'ticket_quantities', coalesce(nullif(g.ticket_quantities, 'null'), '{}'))
        end
        || jsonb_build_object(
          'order_id', g.order_id, 'location_id', p_location, 'source_updated_at', g.source_updated_at,
          'entitled', coalesce(g.entitled, false), 'entitlement_reason', g.entitlement_reason,
          'live_mode', g.live_mode)) as next
    from guarded g
    left join lateral (
      select sync_internal.settle_quantities(g.lines, g.stored, coalesce(g.force, false)) as lines
      where g.lines @? '$[*] ? (@.quantity == null)'
    ) as settled on true
  )
  select p.order_id,
    case
      when p."foreign" then 'skipped'
      when p.remember_only then case when p.valid then 'unchanged' else 'skipped' end
      when not coalesce(p.valid, false) and not p.is_stored then 'skipped'
      when p.age = 'stale' then 'stale'
      -- As jsonb, so that a column we don't know of, of whatever type, can't break the comparison.
      when p.is_stored and not p.is_first_fetch and to_jsonb(p.next) = to_jsonb(p.stored) then 'unchanged'
      else 'written'
    end,
    case
      when p."foreign" then 'other_location'
      when not coalesce(p.valid, false) and (coalesce(p.remember_only, false) or not p.is_stored) then 'no_valid_product'
    end,
    p.fetched_at, p.source_updated_at, coalesce(p.remember_only, false), p.keeps_lines,
    (p.next).lines is distinct from (p.stored).lines or (p.next).entitled is distinct from (p.stored).entitled,
    coalesce(p.product_ids, '{}'), coalesce(p.valid, false),
    -- Said once, in the words of what was done about it.
    case when p.keeps_lines and p.entitled then coalesce((
        select jsonb_agg(i) from jsonb_array_elements(coalesce(nullif(p.issues, 'null'), '[]')) as i
        where i ->> 'code' <> 'items_unreadable'), '[]')
      else coalesce(nullif(p.issues, 'null'), '[]') end
      || case when p.keeps_lines and p.entitled and p.age <> 'stale' then jsonb_build_array(jsonb_build_object(
          'code', 'lines_unreadable',
          'message', 'The paid order has no readable lines any more; its tickets were kept. '
            || 'Check it in GHL, then sync it with force to apply what it says now.')) else '[]' end
      || case when p.age = 'overruled' then jsonb_build_array(jsonb_build_object(
          'code', 'older_version_applied',
          'message', format('GHL''s updatedAt went back from %s to %s; the version read later was applied.',
            (p.stored).source_updated_at, p.source_updated_at))) else '[]' end,
    p.next
  from planned p;
end
$$;

revoke all on function sync_internal.judge_orders(text, jsonb) from public, anon, authenticated;
grant execute on function sync_internal.judge_orders(text, jsonb) to service_role;

-- The lines of an order as read. A quantity that couldn't be read (null) stays what it was stored as, or, in a row of the
-- original app, what that counted for the label; 0 where nothing is known or an admin insists.
create or replace function sync_internal.settle_quantities(
  p_lines jsonb, p_stored public.ghl_qr_orders, p_force boolean
) returns jsonb
language sql immutable
as $$
  select coalesce(jsonb_agg(
    case when line ->> 'quantity' is not null then line
      else line || jsonb_build_object('quantity', case when p_force then 0 else coalesce(
        (select (s ->> 'quantity')::int from jsonb_array_elements(p_stored.lines) as s
          where s ->> 'product_id' = line ->> 'product_id' and s ->> 'price_id' = line ->> 'price_id'
            and (line ->> 'price_id' <> '' or s ->> 'ticket_type' = line ->> 'ticket_type')
          limit 1),
        case when p_stored.lines is null then substring(
          jsonb_extract_path_text(p_stored.ticket_quantities, line ->> 'ticket_type') from '^\d{1,6}$')::int end,
        0) end)
    end order by position), '[]')
  from jsonb_array_elements(p_lines) with ordinality as l (line, position)
$$;

revoke all on function sync_internal.settle_quantities(jsonb, public.ghl_qr_orders, boolean) from public, anon, authenticated;
grant execute on function sync_internal.settle_quantities(jsonb, public.ghl_qr_orders, boolean) to service_role;

-- The seed's form of an order's lines: {"VIP": 2, "Regular": 3}.
create or replace function sync_internal.quantities_by_label(p_lines jsonb) returns jsonb
language sql immutable
as $$
  select coalesce(jsonb_object_agg(label, quantity), '{}') from (
    select line ->> 'ticket_type' as label, sum((line ->> 'quantity')::int) as quantity
    from jsonb_array_elements(p_lines) as line group by 1
  ) as sums
$$;

revoke all on function sync_internal.quantities_by_label(jsonb) from public, anon, authenticated;
grant execute on function sync_internal.quantities_by_label(jsonb) to service_role;

-- What an upsert alone settles: orders that need no tickets have their outcome, and their failure is over.
-- Locks failures by order_id, then the runs by run_id.
create or replace function sync_internal.settle_upserted(p_location text, orders jsonb, results jsonb) returns void
language plpgsql
as $$
declare
  v_settled text[];
begin
  select coalesce(array_agg(r ->> 'order_id'), '{}') into v_settled
  from jsonb_array_elements(results) as r where r ->> 'result' = 'skipped' or (r ->> 'remember_only')::boolean;
  perform sync_internal.clear_failures(p_location, v_settled);

  perform sync_internal.lock_runs(p_location, orders);
  -- Issues first: the last outcome ends the run, and an ended run takes no more issues.
  perform sync_internal.note_issues(p_location, coalesce((
    select jsonb_agg(i || jsonb_build_object('run_id', o ->> 'run_id', 'order_id', o ->> 'order_id'))
    from jsonb_array_elements(orders) as o
    join jsonb_array_elements(results) as r on r ->> 'order_id' = o ->> 'order_id'
    cross join lateral jsonb_array_elements(r -> 'issues') as i
    where o ->> 'run_id' is not null), '[]'));

  perform sync_internal.record_outcomes(p_location, coalesce((
    select jsonb_agg(jsonb_build_object(
      'run_id', o ->> 'run_id', 'order_id', o ->> 'order_id', 'attempts', o -> 'attempts',
      'outcome', case r ->> 'result' when 'skipped' then 'skipped' else 'synced' end,
      'change', r ->> 'result', 'code', r ->> 'reason',
      'reason', case r ->> 'reason'
        when 'other_location' then 'The order belongs to another location'
        when 'no_valid_product' then 'None of its products is in the product list' end))
    from jsonb_array_elements(orders) as o
    join jsonb_array_elements(results) as r on r ->> 'order_id' = o ->> 'order_id'
    where o ->> 'run_id' is not null and o ->> 'order_id' = any (v_settled)), '[]'));
end
$$;

revoke all on function sync_internal.settle_upserted(text, jsonb, jsonb) from public, anon, authenticated;
grant execute on function sync_internal.settle_upserted(text, jsonb, jsonb) to service_role;

-- Tickets: brought into step with the lines of their orders. Top down: the call; the lines, with what each should have and has;
-- reconciling (what is added, reinstated and cancelled); adoption of the original app's tickets; relabelling; what the run is
-- told; the orders still due; and a view of the lines that are out of step.

-- Tickets and the outcome `synced` in one transaction: a run never counts an order whose tickets weren't reconciled.
-- Planned anew for each call: the plan that suits one order took 8 s for a thousand.
-- request: {location_id, orders: [{order_id, run_id?, change: "written|unchanged|stale", attempts}]}
--   -> {orders: [{order_id, found, added, reinstated, cancelled, kept, relabelled, over_validated, issues}], publication}
-- Locks: orders by order_id, tickets by ticket_id, failures by order_id; runs with issues, all, the newest; the location's row.
create or replace function public.reconcile_tickets(request jsonb) returns jsonb
language plpgsql set search_path = '' set lock_timeout = '5s' set jit = off set plan_cache_mode = force_custom_plan
as $$
declare
  v_location text := sync_internal.location(request);
  v_orders jsonb := coalesce(nullif(request -> 'orders', 'null'), '[]');
  v_ids text[];
  v_results jsonb;
begin
  select coalesce(array_agg(distinct o ->> 'order_id'), '{}') into v_ids from jsonb_array_elements(v_orders) as o;

  select coalesce(jsonb_agg(
    to_jsonb(r) - 'leftover' || jsonb_build_object('issues', sync_internal.ticket_issues(r.over_validated, r.leftover))
    order by r.order_id), '[]')
  into v_results from sync_internal.reconcile(v_location, v_ids) as r;
  perform sync_internal.clear_failures(v_location, v_ids);

  if exists (select from jsonb_array_elements(v_orders) as o where o ->> 'run_id' is not null) then
    perform sync_internal.settle_reconciled(v_location, v_orders, v_results);
  end if;
  return jsonb_build_object(
    'orders', (select coalesce(jsonb_agg(r - 'tickets'), '[]') from jsonb_array_elements(v_results) as r),
    'publication', sync_internal.grant_for_batch(v_location, v_orders));
end
$$;

revoke all on function public.reconcile_tickets(jsonb) from public, anon, authenticated;
grant execute on function public.reconcile_tickets(jsonb) to service_role;

-- What each line of an order should have: its quantity, or nothing where the order entitles to no tickets.
-- A line is (product_id, price_id); where GHL gave no price id, its label tells lines apart (line_key).
create or replace view sync_internal.order_lines with (security_invoker = true) as
select order_id, product_id, price_id, line_key,
  (array_agg(label order by position))[1] as label,
  least(sum(line_quantity), 1000000)::int as line_quantity,
  case when bool_or(entitled) then least(sum(line_quantity), 1000000)::int else 0 end as entitled
from (
  select o.order_id, coalesce(o.entitled, false) as entitled, l.position,
    coalesce(l.line ->> 'product_id', '') as product_id,
    coalesce(l.line ->> 'price_id', '') as price_id,
    case when coalesce(l.line ->> 'price_id', '') = '' then coalesce(l.line ->> 'ticket_type', 'General') else '' end
      as line_key,
    coalesce(l.line ->> 'ticket_type', 'General') as label,
    greatest(coalesce((l.line ->> 'quantity')::bigint, 0), 0) as line_quantity
  from public.ghl_qr_orders o
  cross join lateral jsonb_array_elements(o.lines) with ordinality as l (line, position)
) as each_line
group by order_id, product_id, price_id, line_key;

revoke all on sync_internal.order_lines from public, anon, authenticated;
grant select on sync_internal.order_lines to service_role;

-- What each line of an order should have, beside what it has. Reconciling and the invariant view read the same numbers.
-- held: validated, used (the original app's word for it), cancelled by anyone but sync, or of a status we don't know.
create or replace view sync_internal.ticket_lines with (security_invoker = true) as
select order_id, product_id, price_id, line_key,
  max(label) as label,
  sum(line_quantity)::int as line_quantity,
  sum(entitled)::int as entitled,
  sum(live)::int as live,
  sum(held)::int as held,
  sum(validated)::int as validated,
  sum(reinstatable)::int as reinstatable,
  max(top_ordinal) as top_ordinal
from (
  select order_id, product_id, price_id, line_key, label, line_quantity, entitled,
    0 as live, 0 as held, 0 as validated, 0 as reinstatable, 0 as top_ordinal
  from sync_internal.order_lines
  union all
  select t.order_id, coalesce(t.product_id, ''), coalesce(t.price_id, ''),
    case when coalesce(t.price_id, '') = '' then t.ticket_type else '' end, null, 0, 0,
    (t.status is not distinct from 'live')::int,
    (case when t.status = 'live' then false
      when t.status = 'cancelled' then t.status_by is distinct from 'sync'
      else true end)::int,
    (t.status is not null and t.status in ('validated', 'used'))::int,
    (t.status is not distinct from 'cancelled' and t.status_by is not distinct from 'sync')::int,
    coalesce(t.ordinal, 0)
  from public.ghl_qr_tickets t
  join public.ghl_qr_orders o on o.order_id = t.order_id
  where o.lines is not null
) as both_sides
group by order_id, product_id, price_id, line_key;

revoke all on sync_internal.ticket_lines from public, anon, authenticated;
grant select on sync_internal.ticket_lines to service_role;

-- Brings tickets in step with their orders' rows. Level-triggered: it looks at what is, not at what happened, so that
-- doing it twice, late or out of order converges to the same rows, and doing it again writes nothing.
--
-- READ COMMITTED matters: each statement sees what was committed before it began. The first locks the orders, the second
-- their tickets (the original scanner updates tickets without any order lock), and only then anything is decided.
-- Locks orders by order_id, then their tickets by ticket_id, and last the marks of touched tickets that it deletes.
create or replace function sync_internal.reconcile(p_location text, p_order_ids text[])
returns table (
  order_id text, found int, added int, reinstated int, cancelled int, kept int, relabelled int, over_validated int,
  tickets int, leftover jsonb
)
language plpgsql
as $$
#variable_conflict use_column
declare
  v_ids text[];
  v_leftover jsonb;
  v_relabelled jsonb;
begin
  -- Exactly what was locked is worked on: an order that appears a moment later isn't locked, and its turn comes.
  -- FOR UPDATE, not NO KEY: it also keeps the original app from inserting a ticket between adoption and the count.
  select coalesce(array_agg(locked.order_id), '{}') into v_ids from (
    select o.order_id from public.ghl_qr_orders o
    where o.order_id = any (p_order_ids) and o.location_id = p_location
    order by o.order_id for update
  ) as locked;
  perform from public.ghl_qr_tickets where order_id = any (v_ids) order by ticket_id for update;

  v_leftover := sync_internal.adopt_tickets(v_ids);
  v_relabelled := sync_internal.relabel_tickets(v_ids);

  return query
  with plan as materialized (
    select l.*, greatest(l.entitled - l.held, 0) - l.live as missing,
      max(l.top_ordinal) over (partition by l.order_id, l.product_id, l.price_id) as group_top
    from sync_internal.ticket_lines l where l.order_id = any (v_ids)
  ), tally as materialized (
    select order_id, count(*) as found, count(*) filter (where status = 'live') as live,
      count(*) filter (where status in ('validated', 'used')) as validated,
      count(*) filter (where status is distinct from 'live'
        and not (status is not distinct from 'cancelled' and status_by is not distinct from 'sync')) as held
    from public.ghl_qr_tickets where order_id = any (v_ids) group by order_id
  ), ranked as (
    -- The excess goes from the highest ordinal, what comes back from the lowest.
    select t.ticket_id, p.missing, p.label, o.entitled, o.entitlement_reason,
      row_number() over (
        partition by p.order_id, p.product_id, p.price_id, p.line_key
        order by t.ordinal * sign(p.missing) nulls first, t.ticket_id * sign(p.missing)) as nth
    from plan p
    join public.ghl_qr_orders o on o.order_id = p.order_id
    join public.ghl_qr_tickets t on t.order_id = p.order_id
      and coalesce(t.product_id, '') = p.product_id and coalesce(t.price_id, '') = p.price_id
      and case when coalesce(t.price_id, '') = '' then t.ticket_type else '' end = p.line_key
    where (p.missing < 0 and t.status = 'live')
      or (p.missing > 0 and t.status = 'cancelled' and t.status_by = 'sync')
  ), cancelled_now as (
    update public.ghl_qr_tickets as t
    set status = 'cancelled', status_by = 'sync', status_at = clock_timestamp(),
      status_reason = case
        when not coalesce(r.entitled, false) then coalesce(r.entitlement_reason, 'the order entitles to no tickets')
        when r.label is null then 'no longer on the order'
        else 'quantity lowered' end
    from ranked r
    -- The status again: what was validated meanwhile is never taken back.
    where t.ticket_id = r.ticket_id and r.missing < 0 and r.nth <= -r.missing and t.status = 'live'
    returning t.order_id
  ), reinstated_now as (
    update public.ghl_qr_tickets as t
    set status = 'live', status_by = 'sync', status_at = clock_timestamp(), status_reason = 'entitled again'
    from ranked r
    where t.ticket_id = r.ticket_id and r.missing > 0 and r.nth <= r.missing
      and t.status = 'cancelled' and t.status_by = 'sync'
    returning t.order_id
  ), added_now as (
    insert into public.ghl_qr_tickets
      (order_id, ticket_type, status, product_id, price_id, ordinal, status_by, status_at, status_reason)
    select p.order_id, p.label, 'live', p.product_id, p.price_id,
      p.group_top + row_number() over (partition by p.order_id, p.product_id, p.price_id order by p.line_key, n),
      'sync', clock_timestamp(), 'added'
    from plan p cross join lateral generate_series(1, p.missing - p.reinstatable) as n
    order by p.order_id, p.product_id, p.price_id, p.line_key, n
    returning order_id
  ), cleared as (
    update public.ghl_qr_orders set tickets_due = null where order_id = any (v_ids) and tickets_due is not null
  ), untouched as (
    delete from public.ghl_qr_tickets_touched where order_id = any (v_ids)
  ), changes as (
    select order_id, sum(a)::int as added, sum(r)::int as reinstated, sum(c)::int as cancelled
    from (
      select order_id, 1 as a, 0 as r, 0 as c from added_now
      union all select order_id, 0, 1, 0 from reinstated_now
      union all select order_id, 0, 0, 1 from cancelled_now
    ) as each_change group by order_id
  ), over as (
    select order_id, sum(greatest(validated - entitled, 0))::int as over_validated from plan group by order_id
  )
  select ids.order_id, coalesce(t.found, 0)::int, coalesce(c.added, 0), coalesce(c.reinstated, 0),
    coalesce(c.cancelled, 0), (coalesce(t.live + t.held, 0) - coalesce(c.cancelled, 0))::int,
    coalesce((v_relabelled ->> ids.order_id)::int, 0), coalesce(v.over_validated, 0),
    (coalesce(t.live + t.validated, 0) + coalesce(c.added + c.reinstated - c.cancelled, 0))::int,
    v_leftover -> ids.order_id
  from unnest(v_ids) as ids (order_id)
  left join tally t on t.order_id = ids.order_id
  left join changes c on c.order_id = ids.order_id
  left join over v on v.order_id = ids.order_id;
end
$$;

revoke all on function sync_internal.reconcile(text, text[]) from public, anon, authenticated;
grant execute on function sync_internal.reconcile(text, text[]) to service_role;

-- Tickets of the original app have only a label. Once their order's lines are known they are adopted by its lines, up to
-- each line's quantity: by the exact label first, then trimmed and case-folded; validated ones before live ones before
-- the rest, each by ticket_id. Nothing but the identity changes here.
-- Returns how many tickets of each order no line wanted: {order_id: {left, live, validated}}.
-- The caller holds the locks of the orders and their tickets.
create or replace function sync_internal.adopt_tickets(p_order_ids text[]) returns jsonb
language plpgsql
as $$
declare
  v_ids text[];
  v_left jsonb;
begin
  -- An order without any line has nothing to compare with: its tickets wait for lines.
  select array_agg(distinct t.order_id) into v_ids
  from public.ghl_qr_tickets t join public.ghl_qr_orders o on o.order_id = t.order_id
  where t.order_id = any (p_order_ids) and t.product_id is null and jsonb_array_length(o.lines) > 0;
  if v_ids is null then
    return '{}';
  end if;

  perform sync_internal.adopt_by_label(v_ids, false);
  perform sync_internal.adopt_by_label(v_ids, true);

  with tops as (
    select order_id, max(ordinal) as top_ordinal from public.ghl_qr_tickets
    where order_id = any (v_ids) and product_id = 'legacy' and price_id = '' group by order_id
  ), numbered as (
    select t.ticket_id, coalesce(tops.top_ordinal, 0)
      + row_number() over (partition by t.order_id order by t.ticket_id) as ordinal
    from public.ghl_qr_tickets t left join tops on tops.order_id = t.order_id
    where t.order_id = any (v_ids) and t.product_id is null
  ), left_over as (
    update public.ghl_qr_tickets as t
    set product_id = 'legacy', price_id = '', ordinal = n.ordinal
    from numbered n where t.ticket_id = n.ticket_id
    returning t.order_id, t.status
  ), counted as (
    select order_id, count(*) as total, count(*) filter (where status = 'live') as live,
      count(*) filter (where status in ('validated', 'used')) as validated
    from left_over group by order_id
  )
  select jsonb_object_agg(order_id, jsonb_build_object('left', total, 'live', live, 'validated', validated))
  into v_left from counted;
  return coalesce(v_left, '{}');
end
$$;

revoke all on function sync_internal.adopt_tickets(text[]) from public, anon, authenticated;
grant execute on function sync_internal.adopt_tickets(text[]) to service_role;

-- One round of adoption: tickets without a line take the free places of lines with their label, which is compared exactly
-- or folded (trimmed and in lower case). The caller holds the locks of the orders and their tickets.
create or replace function sync_internal.adopt_by_label(p_order_ids text[], p_folded boolean) returns void
language sql
as $$
  with all_lines as (
    -- Tickets of a line that was renamed and has no price id count too: their ordinals are taken.
    select *, max(top_ordinal) over (partition by order_id, product_id, price_id) as group_top
    from sync_internal.ticket_lines where order_id = any (p_order_ids)
  ), free_places as (
    select l.order_id, l.product_id, l.price_id, l.line_key, l.label,
      case when p_folded then lower(btrim(l.label)) else l.label end as match,
      l.group_top as top_ordinal,
      place
    from all_lines l
    cross join lateral generate_series(1, l.line_quantity - l.live - l.held) as place
    where l.label is not null
  ), places as (
    select *,
      row_number() over (partition by order_id, match order by product_id, price_id, line_key, place) as nth,
      top_ordinal + row_number() over (
        partition by order_id, product_id, price_id order by line_key, place) as ordinal
    from free_places
  ), orphans as (
    select ticket_id, order_id,
      case when p_folded then lower(btrim(ticket_type)) else ticket_type end as match,
      row_number() over (
        partition by order_id, case when p_folded then lower(btrim(ticket_type)) else ticket_type end
        order by case when status in ('validated', 'used') then 1 when status = 'live' then 2 else 3 end, ticket_id
      ) as nth
    from public.ghl_qr_tickets
    where order_id = any (p_order_ids) and product_id is null
  )
  update public.ghl_qr_tickets as t
  set product_id = p.product_id, price_id = p.price_id, ordinal = p.ordinal, ticket_type = p.label
  from orphans o join places p using (order_id, match, nth)
  where t.ticket_id = o.ticket_id
$$;

revoke all on function sync_internal.adopt_by_label(text[], boolean) from public, anon, authenticated;
grant execute on function sync_internal.adopt_by_label(text[], boolean) to service_role;

-- A label is not an identity: a renamed price renames the tickets of its line, and nothing else of them.
-- Returns how many tickets of each order: {order_id: count}. The caller holds the locks of the orders and their tickets.
create or replace function sync_internal.relabel_tickets(p_order_ids text[]) returns jsonb
language plpgsql
as $$
declare
  v_relabelled jsonb;
begin
  with relabelled as (
    update public.ghl_qr_tickets as t
    set ticket_type = l.label
    from sync_internal.order_lines l
    where l.order_id = any (p_order_ids) and l.price_id <> ''
      and t.order_id = l.order_id and t.product_id = l.product_id and t.price_id = l.price_id
      and t.ticket_type is distinct from l.label
    returning t.order_id
  )
  select coalesce(jsonb_object_agg(order_id, changed), '{}') into v_relabelled
  from (select order_id, count(*) as changed from relabelled group by order_id) as counted;
  return v_relabelled;
end
$$;

revoke all on function sync_internal.relabel_tickets(text[]) from public, anon, authenticated;
grant execute on function sync_internal.relabel_tickets(text[]) to service_role;

-- What reconciling can't mend, for a person to look at.
create or replace function sync_internal.ticket_issues(p_over_validated int, p_leftover jsonb) returns jsonb
language sql immutable
as $$
  select case when p_over_validated > 0 then jsonb_build_array(jsonb_build_object(
      'code', 'over_validated',
      'message', format('%s validated ticket(s) more than the order entitles to. They stay validated.',
        p_over_validated))) else '[]' end
    || case when p_leftover is not null then jsonb_build_array(jsonb_build_object(
      'code', 'legacy_tickets',
      'message', format('%s ticket(s) of the original app match no place on the order: %s live one(s) cancelled, '
        || '%s validated one(s) left as they are.',
        p_leftover ->> 'left', p_leftover ->> 'live', p_leftover ->> 'validated'))) else '[]' end
$$;

revoke all on function sync_internal.ticket_issues(int, jsonb) from public, anon, authenticated;
grant execute on function sync_internal.ticket_issues(int, jsonb) to service_role;

-- What runs are told once tickets are reconciled: issues, labels, and the outcome `synced`.
-- Locks the runs by run_id.
create or replace function sync_internal.settle_reconciled(p_location text, orders jsonb, results jsonb) returns void
language plpgsql
as $$
declare
  v_joined jsonb;
begin
  select coalesce(jsonb_agg(r || jsonb_build_object(
      'run_id', o ->> 'run_id', 'outcome', 'synced', 'change', o ->> 'change', 'attempts', o -> 'attempts')), '[]')
  into v_joined
  from jsonb_array_elements(orders) as o
  join jsonb_array_elements(results) as r on r ->> 'order_id' = o ->> 'order_id'
  where o ->> 'run_id' is not null;

  perform sync_internal.lock_runs(p_location, orders);
  -- Issues and labels first: the last outcome ends the run.
  perform sync_internal.note_issues(p_location, coalesce((
    select jsonb_agg(i || jsonb_build_object('run_id', j ->> 'run_id', 'order_id', j ->> 'order_id'))
    from jsonb_array_elements(v_joined) as j cross join lateral jsonb_array_elements(j -> 'issues') as i), '[]'));
  perform sync_internal.note_labels(p_location, v_joined);
  perform sync_internal.record_outcomes(p_location, v_joined);
end
$$;

revoke all on function sync_internal.settle_reconciled(text, jsonb, jsonb) from public, anon, authenticated;
grant execute on function sync_internal.settle_reconciled(text, jsonb, jsonb) to service_role;

-- Counts the distinct labels a run met. Locks the runs by run_id.
create or replace function sync_internal.note_labels(p_location text, joined jsonb) returns void
language plpgsql
as $$
begin
  perform sync_internal.lock_runs(p_location, joined);

  with met as (
    select distinct r.run_id, md5(t.ticket_type) as label_hash
    from jsonb_to_recordset(joined) as j (run_id uuid, order_id text)
    join public.sync_runs r on r.run_id = j.run_id and r.location_id = p_location and r.state = 'Syncing'
    join public.ghl_qr_tickets t on t.order_id = j.order_id
  ), new_labels as (
    insert into public.sync_run_labels (run_id, label_hash)
    select run_id, label_hash from met on conflict do nothing returning run_id
  )
  update public.sync_runs as r set ticket_types = r.ticket_types + n.labels
  from (select run_id, count(*) as labels from new_labels group by run_id) as n
  where r.run_id = n.run_id;
end
$$;

revoke all on function sync_internal.note_labels(text, jsonb) from public, anon, authenticated;
grant execute on function sync_internal.note_labels(text, jsonb) to service_role;

-- Orders whose tickets are to be reconciled since longer than older_than_ms, because a hand-over was lost or because
-- somebody else changed a ticket; with the run that still waits for the order, if one does.
-- request: {location_id, older_than_ms, limit} -> {orders: [{order_id, run_id|null}]}
-- Locks nothing.
create or replace function public.due_orders(request jsonb) returns jsonb
language plpgsql set search_path = '' set lock_timeout = '5s' set jit = off
as $$
declare
  v_location text := sync_internal.location(request);
  v_before timestamptz := clock_timestamp()
    - sync_internal.milliseconds(coalesce((request ->> 'older_than_ms')::numeric, 0));
  v_orders jsonb;
begin
  with due as (
    select order_id, tickets_due as since from public.ghl_qr_orders
    where location_id = v_location and tickets_due <= v_before
    union all
    select t.order_id, t.touched_at from public.ghl_qr_tickets_touched t
    join public.ghl_qr_orders o on o.order_id = t.order_id
    where o.location_id = v_location and o.lines is not null and t.touched_at <= v_before
  ), oldest as (
    select order_id, min(since) as since from due group by order_id
    order by min(since) limit sync_internal.page_limit(request)
  )
  select coalesce(jsonb_agg(jsonb_build_object('order_id', d.order_id, 'run_id', open_row.run_id) order by d.since), '[]')
  into v_orders
  from oldest d
  left join lateral (
    select c.run_id from public.sync_outcomes c
    join public.sync_runs r on r.run_id = c.run_id
    where r.location_id = v_location and r.state = 'Syncing' and c.order_id = d.order_id and c.outcome is null
    limit 1
  ) as open_row on true;
  return jsonb_build_object('orders', v_orders);
end
$$;

revoke all on function public.due_orders(jsonb) from public, anon, authenticated;
grant execute on function public.due_orders(jsonb) to service_role;

-- The promise, checkable at any time: lists the lines that break it. Empty at rest; an order with tickets_due set is
-- about to be reconciled.
create or replace view public.ghl_qr_tickets_out_of_step with (security_invoker = true) as
select l.order_id, o.location_id, l.product_id, l.price_id, l.label, l.entitled, l.live, l.held, o.tickets_due
from sync_internal.ticket_lines l
join public.ghl_qr_orders o on o.order_id = l.order_id
where l.live + l.held <> greatest(l.entitled, l.held);

revoke all on public.ghl_qr_tickets_out_of_step from public, anon, authenticated;
grant select on public.ghl_qr_tickets_out_of_step to service_role;

-- Every change of a ticket is recorded, and changes made by others than sync are told apart by triggers: the original app
-- and people in the table editor write with plain UPDATEs and know nothing of our columns.
-- The triggers only add rows: by them a writer of tickets waits for nobody, so they can't bring about a deadlock.

-- Notes that somebody else changed a status. Sync and the gate date every status they set; who changes one without dating
-- it is somebody else.
create or replace function sync_internal.mark_external_status() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  new.status_by := 'external';
  new.status_at := clock_timestamp();
  new.status_reason := 'changed outside ghl-sync';
  if new.status in ('validated', 'used') then
    new.validated_at := coalesce(new.validated_at, new.status_at);
  else
    new.validated_at := null;
    new.validated_by := null;
  end if;
  return new;
end
$$;

revoke all on function sync_internal.mark_external_status() from public, anon, authenticated;
grant execute on function sync_internal.mark_external_status() to service_role;

create or replace trigger ghl_qr_tickets_mark_external
  before update on public.ghl_qr_tickets
  for each row
  when (new.status is distinct from old.status and new.status_at is not distinct from old.status_at)
  execute function sync_internal.mark_external_status();

-- Records new tickets, and marks the orders to which somebody else added one, so that they are reconciled.
create or replace function sync_internal.record_ticket_inserts() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  insert into public.ghl_qr_ticket_changes (ticket_id, order_id, changed_by, reason, new_status, new_type)
  select ticket_id, order_id, coalesce(status_by, 'external'), coalesce(status_reason, 'added'), status, ticket_type
  from added;

  insert into public.ghl_qr_tickets_touched (order_id)
  select distinct order_id from added where status_by is null and order_id is not null;
  return null;
end
$$;

revoke all on function sync_internal.record_ticket_inserts() from public, anon, authenticated;
grant execute on function sync_internal.record_ticket_inserts() to service_role;

create or replace trigger ghl_qr_tickets_record_inserts
  after insert on public.ghl_qr_tickets
  referencing new table as added
  for each statement execute function sync_internal.record_ticket_inserts();

-- Records changes of status and label, and marks the orders of which somebody else changed a ticket's status.
-- The planner takes both tables for empty; comparing 3,000 tickets row by row with each other would take seconds.
create or replace function sync_internal.record_ticket_updates() returns trigger
language plpgsql security definer set search_path = '' set enable_nestloop = off
as $$
begin
  insert into public.ghl_qr_ticket_changes
    (ticket_id, order_id, changed_by, reason, old_status, new_status, old_type, new_type)
  select n.ticket_id, n.order_id,
    case when n.status is distinct from o.status then coalesce(n.status_by, 'external') else 'sync' end,
    case when n.status is distinct from o.status then n.status_reason else 'relabelled' end,
    o.status, n.status, o.ticket_type, n.ticket_type
  from before_update o join after_update n using (ticket_id)
  where n.status is distinct from o.status or n.ticket_type is distinct from o.ticket_type;

  insert into public.ghl_qr_tickets_touched (order_id)
  select distinct n.order_id
  from before_update o join after_update n using (ticket_id)
  where n.status is distinct from o.status and n.status_by = 'external' and n.order_id is not null;
  return null;
end
$$;

revoke all on function sync_internal.record_ticket_updates() from public, anon, authenticated;
grant execute on function sync_internal.record_ticket_updates() to service_role;

create or replace trigger ghl_qr_tickets_record_updates
  after update on public.ghl_qr_tickets
  referencing old table as before_update new table as after_update
  for each statement execute function sync_internal.record_ticket_updates();

-- Records deleted tickets, and marks their orders, so that the tickets come back where they are due.
create or replace function sync_internal.record_ticket_deletes() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  -- Sync never deletes a ticket: whoever did is somebody else.
  insert into public.ghl_qr_ticket_changes (ticket_id, order_id, changed_by, reason, old_status, old_type)
  select ticket_id, order_id, 'external', 'deleted', status, ticket_type from removed;

  insert into public.ghl_qr_tickets_touched (order_id)
  select distinct order_id from removed where order_id is not null;
  return null;
end
$$;

revoke all on function sync_internal.record_ticket_deletes() from public, anon, authenticated;
grant execute on function sync_internal.record_ticket_deletes() to service_role;

create or replace trigger ghl_qr_tickets_record_deletes
  after delete on public.ghl_qr_tickets
  referencing old table as removed
  for each statement execute function sync_internal.record_ticket_deletes();

-- A run's life: started once, kept alive by numbered pulses, ended by its last outcome, an error, or a person. Decided here:
-- whether a location can start a run now, which pulse counts, and what becomes of the orders of a run that is broken off.
-- How a run ends by its last outcome stands in outcomes.sql.

-- Starts a run, or tells why not: one is running or cooling down, the day's budget is short, or there is nothing to retry.
-- request: {location_id, kind, requested_by, cooldown_ms, lease_ms, publish_interval_ms, order_ids?, retry_of?,
--   daily_reserve?}
--   -> {started: true, run, pulse, finished} | {started: false, reason, run, retry_after_seconds, finished?}
-- `finished`: the last publication of the run before, if it was this call that found it over; to be published first.
-- Locks: the advisory lock 'start', the newest run, its outcomes, the location's row, older runs not announced, the new run.
create or replace function public.start_run(request jsonb) returns jsonb
language plpgsql set search_path = '' set lock_timeout = '5s' set jit = off
as $$
declare
  v_location text := sync_internal.location(request);
  v_kind text := sync_internal.required(request, 'kind');
  v_retry_of uuid := (request ->> 'retry_of')::uuid;
  v_ids text[] := sync_internal.texts(request -> 'order_ids');
  v_run public.sync_runs;
  v_finished jsonb;
  v_reason text;
  v_now timestamptz;
begin
  if v_kind not in ('full', 'incremental', 'valid_list', 'retry') then
    raise exception 'unknown kind of run: %', v_kind using errcode = '22023';
  end if;
  perform sync_internal.serialize('start', v_location);

  select * into v_run from public.sync_runs
  where location_id = v_location and state <> 'Skipped'
  order by started_at desc, run_id desc limit 1 for update;
  if found then
    v_reason := sync_internal.why_busy(v_run);
    if v_reason is not null then
      select * into v_run from public.sync_runs where run_id = v_run.run_id;
      return sync_internal.not_started(v_reason, v_run);
    end if;
    v_finished := sync_internal.grant_publication(v_location, v_run.run_id);
  end if;
  if sync_internal.lacks_daily_budget(v_location, v_kind, (request ->> 'daily_reserve')::int) then
    return sync_internal.not_started('daily_budget', v_run) || jsonb_build_object('finished', v_finished);
  end if;

  if v_kind = 'retry' then
    select * into v_run from public.sync_runs where run_id = v_retry_of and location_id = v_location;
    if v_retry_of is not null and not found then
      return sync_internal.not_started('unknown_run', null);
    end if;
    if cardinality(v_ids) = 0 then
      select coalesce(array_agg(order_id), '{}') into v_ids
      from public.sync_outcomes where run_id = v_retry_of and outcome = 'failed';
    end if;
    if cardinality(v_ids) = 0 then
      return sync_internal.not_started('nothing_to_retry', v_run);
    end if;
  end if;

  -- From now on the new run speaks for the location: whatever the ones before had left to say, nobody waits for it.
  update public.sync_runs set announced_state = state
  where location_id = v_location and announced_state is distinct from state and sync_internal.is_final(state);

  v_now := clock_timestamp();
  insert into public.sync_runs (
    location_id, kind, state, requested_by, retry_of, cooldown_ms, lease_ms, publish_interval_ms,
    started_at, last_progress_at, listing_complete)
  values (
    v_location, v_kind, 'Syncing', request ->> 'requested_by', v_retry_of,
    coalesce((request ->> 'cooldown_ms')::bigint, 30000), coalesce((request ->> 'lease_ms')::bigint, 1800000),
    coalesce((request ->> 'publish_interval_ms')::bigint, 250), v_now, v_now, v_kind = 'retry')
  returning * into v_run;

  if v_kind = 'retry' then
    insert into public.sync_outcomes (run_id, order_id)
    select distinct v_run.run_id, id from unnest(v_ids) as id;
    update public.sync_runs
    set listed = (select count(*) from public.sync_outcomes where run_id = v_run.run_id),
      total_count = (select count(*) from public.sync_outcomes where run_id = v_run.run_id)
    where run_id = v_run.run_id
    returning * into v_run;
  end if;
  return jsonb_build_object(
    'started', true, 'run', sync_internal.run_json(v_run), 'pulse', v_run.pulse + 1, 'finished', v_finished);
end
$$;

revoke all on function public.start_run(jsonb) from public, anon, authenticated;
grant execute on function public.start_run(jsonb) to service_role;

-- Why the location can't start a run now; null if it can. Ends a run whose time is over on the way: the clock counts,
-- whatever the state column still says.
-- The caller holds the run's row lock.
create or replace function sync_internal.why_busy(p_run public.sync_runs) returns text
language plpgsql
as $$
begin
  perform sync_internal.end_if_lease_expired(p_run.run_id);
  perform sync_internal.end_cooldown(p_run.run_id);
  return (select case state when 'Syncing' then 'running' when 'Delay' then 'cooldown' end
    from public.sync_runs where run_id = p_run.run_id);
end
$$;

revoke all on function sync_internal.why_busy(public.sync_runs) from public, anon, authenticated;
grant execute on function sync_internal.why_busy(public.sync_runs) to service_role;

-- What start_run answers when it starts nothing, with the time after which another try makes sense.
create or replace function sync_internal.not_started(p_reason text, p_run public.sync_runs) returns jsonb
language sql volatile
as $$
  select jsonb_build_object('started', false, 'reason', p_reason, 'run', sync_internal.run_json(p_run),
    'retry_after_seconds', case p_reason
      when 'cooldown' then greatest(ceil(extract(epoch from p_run.cooldown_until - clock_timestamp())), 1)::int
      -- Nobody knows when a run ends; its cool-down follows in any case.
      when 'running' then greatest(ceil(p_run.cooldown_ms / 1000.0), 1)::int
      else 0 end)
$$;

revoke all on function sync_internal.not_started(text, public.sync_runs) from public, anon, authenticated;
grant execute on function sync_internal.not_started(text, public.sync_runs) to service_role;

-- Whether the calls a run will probably make are over half of what is left of the day's budget beside the reserve. Asked
-- for scheduled starts only: a person may spend what is left. Where nothing new is known, there is enough: when GHL's day
-- ends isn't known, so a start now and then must find out.
create or replace function sync_internal.lacks_daily_budget(p_location text, p_kind text, p_reserve int) returns boolean
language sql stable
as $$
  select coalesce((
    -- Pages of 100 overlap by 10; a listing of refunds, of products, and a few changed orders come on top.
    select 10 + n.listed / 45.0 + case when p_kind = 'full' then n.listed else n.listed * 0.02 end
      > greatest(l.daily_remaining - p_reserve, 0) / 2.0
    from public.sync_limiter l
    cross join lateral (
      select r.listed from public.sync_runs r
      where r.location_id = p_location and r.listing_complete and r.kind in ('full', 'incremental')
        and r.state in ('Delay', 'Completed')
      order by r.started_at desc limit 1
    ) as n
    where l.location_id = p_location and l.daily_observed_at > clock_timestamp() - interval '6 hours'
      and p_reserve is not null
  ), false)
$$;

revoke all on function sync_internal.lacks_daily_budget(text, text, int) from public, anon, authenticated;
grant execute on function sync_internal.lacks_daily_budget(text, text, int) to service_role;

-- A scheduled start that was not made, so that the list of runs says why.
-- request: {location_id, kind, reason} -> {}
-- Locks nothing but the row it adds.
create or replace function public.skip_run(request jsonb) returns jsonb
language plpgsql set search_path = '' set lock_timeout = '5s' set jit = off
as $$
declare
  v_location text := sync_internal.location(request);
begin
  insert into public.sync_runs (
    location_id, kind, state, requested_by, ended_at, listing_complete, error_code, error_message, announced_state)
  values (v_location, sync_internal.required(request, 'kind'), 'Skipped', 'schedule', clock_timestamp(), true,
    'skipped', request ->> 'reason', 'Skipped');
  return '{}';
end
$$;

revoke all on function public.skip_run(jsonb) from public, anon, authenticated;
grant execute on function public.skip_run(jsonb) to service_role;

-- Compare-and-set on the pulse's number: a redelivered older pulse dies here, so a run never has two chains of pulses.
-- Also ends a run whose lease or cool-down is over.
-- request: {location_id, run_id, pulse, claim_ms} -> {accepted, run, publication}
-- Locks: the run, its open outcomes if its lease is over, the location's row.
create or replace function public.begin_pulse(request jsonb) returns jsonb
language plpgsql set search_path = '' set lock_timeout = '5s' set jit = off
as $$
declare
  v_location text := sync_internal.location(request);
  v_pulse bigint := (sync_internal.required(request, 'pulse'))::bigint;
  v_run public.sync_runs;
  v_now timestamptz;
  v_publication jsonb;
begin
  select * into v_run from public.sync_runs
  where run_id = (sync_internal.required(request, 'run_id'))::uuid and location_id = v_location for update;
  v_now := clock_timestamp();
  if not found
    or v_pulse < v_run.pulse
    or (v_pulse = v_run.pulse and v_run.claimed_until > v_now)
    or (sync_internal.is_final(v_run.state) and v_run.announced_state is not distinct from v_run.state) then
    return jsonb_build_object('accepted', false, 'run', sync_internal.run_json(v_run), 'publication', null);
  end if;

  update public.sync_runs
  set pulse = v_pulse, last_pulse_at = v_now,
    claimed_until = v_now + sync_internal.milliseconds(coalesce((request ->> 'claim_ms')::numeric, 0))
  where run_id = v_run.run_id;
  perform sync_internal.end_if_lease_expired(v_run.run_id);
  perform sync_internal.end_cooldown(v_run.run_id);

  v_publication := sync_internal.grant_publication(v_location, v_run.run_id);
  select * into v_run from public.sync_runs where run_id = v_run.run_id;
  return jsonb_build_object('accepted', true, 'run', sync_internal.run_json(v_run), 'publication', v_publication);
end
$$;

revoke all on function public.begin_pulse(jsonb) from public, anon, authenticated;
grant execute on function public.begin_pulse(jsonb) to service_role;

-- Ends a run that made no progress for as long as its lease allows. The caller holds the run's row lock.
create or replace function sync_internal.end_if_lease_expired(p_run uuid) returns void
language plpgsql
as $$
begin
  if exists (
    select from public.sync_runs
    where run_id = p_run and state = 'Syncing'
      and last_progress_at + sync_internal.milliseconds(lease_ms) <= clock_timestamp()
  ) then
    perform sync_internal.break_off(p_run, 'Error', 'lease_expired', 'The run made no progress for too long and was ended');
  end if;
end
$$;

revoke all on function sync_internal.end_if_lease_expired(uuid) from public, anon, authenticated;
grant execute on function sync_internal.end_if_lease_expired(uuid) to service_role;

-- Completes a run whose cool-down is over. The caller holds the run's row lock.
create or replace function sync_internal.end_cooldown(p_run uuid) returns void
language sql
as $$
  update public.sync_runs set state = 'Completed', version = version + 1
  where run_id = p_run and state = 'Delay' and cooldown_until <= clock_timestamp()
$$;

revoke all on function sync_internal.end_cooldown(uuid) from public, anon, authenticated;
grant execute on function sync_internal.end_cooldown(uuid) to service_role;

-- Ends a run before its last outcome, on account of an error or because it was cancelled.
-- request: {location_id, run_id, state: "Error"|"Cancelled", code, message} -> {ended, run, publication}
-- Locks: the run, its open outcomes, the location's row.
create or replace function public.end_run(request jsonb) returns jsonb
language plpgsql set search_path = '' set lock_timeout = '5s' set jit = off
as $$
declare
  v_location text := sync_internal.location(request);
  v_run public.sync_runs;
  v_ended boolean := false;
  v_publication jsonb;
begin
  if sync_internal.required(request, 'state') not in ('Error', 'Cancelled') then
    raise exception 'a run can only be ended as Error or Cancelled' using errcode = '22023';
  end if;
  select * into v_run from public.sync_runs
  where run_id = (sync_internal.required(request, 'run_id'))::uuid and location_id = v_location for update;
  if found then
    v_ended := sync_internal.break_off(v_run.run_id, request ->> 'state', request ->> 'code', request ->> 'message');
    v_publication := sync_internal.grant_publication(v_location, v_run.run_id);
    select * into v_run from public.sync_runs where run_id = v_run.run_id;
  end if;
  return jsonb_build_object('ended', v_ended, 'run', sync_internal.run_json(v_run), 'publication', v_publication);
end
$$;

revoke all on function public.end_run(jsonb) from public, anon, authenticated;
grant execute on function public.end_run(jsonb) to service_role;

-- Cancels whatever run of the location is syncing, for somebody who doesn't know its id.
-- request: {location_id, requested_by} -> {cancelled, run|null, publication}
-- Locks: the run, its open outcomes, the location's row.
create or replace function public.cancel_run(request jsonb) returns jsonb
language plpgsql set search_path = '' set lock_timeout = '5s' set jit = off
as $$
declare
  v_location text := sync_internal.location(request);
  v_run public.sync_runs;
  v_cancelled boolean;
  v_publication jsonb;
begin
  select * into v_run from public.sync_runs where location_id = v_location and state = 'Syncing' for update;
  if not found then
    return jsonb_build_object('cancelled', false, 'run', null, 'publication', null);
  end if;
  v_cancelled := sync_internal.break_off(v_run.run_id, 'Cancelled', null, null, request ->> 'requested_by');
  v_publication := sync_internal.grant_publication(v_location, v_run.run_id);
  select * into v_run from public.sync_runs where run_id = v_run.run_id;
  return jsonb_build_object('cancelled', v_cancelled, 'run', sync_internal.run_json(v_run), 'publication', v_publication);
end
$$;

revoke all on function public.cancel_run(jsonb) from public, anon, authenticated;
grant execute on function public.cancel_run(jsonb) to service_role;

-- Leaves Syncing by Error or Cancelled: what is still open failed as not attempted, in this transaction, so the run
-- adds up. The caller holds the run's row lock. True if it was this call that ended it.
create or replace function sync_internal.break_off(
  p_run uuid, p_state text, p_code text, p_message text, p_by text default null
) returns boolean
language plpgsql
as $$
declare
  v_open int;
begin
  if not exists (select from public.sync_runs where run_id = p_run and state = 'Syncing') then
    return false;
  end if;
  update public.sync_outcomes
  set outcome = 'failed', class = 'transient', code = 'not_attempted',
    reason = 'The run ended before this order was synced', recorded_at = clock_timestamp()
  where run_id = p_run and outcome is null;
  get diagnostics v_open = row_count;

  update public.sync_runs
  set state = p_state, ended_at = clock_timestamp(), failed = failed + v_open, version = version + 1,
    error_code = p_code, error_message = p_message, cancelled_by = p_by
  where run_id = p_run;
  return true;
end
$$;

revoke all on function sync_internal.break_off(uuid, text, text, text, text) from public, anon, authenticated;
grant execute on function sync_internal.break_off(uuid, text, text, text, text) to service_role;

-- Whether a run stays in this state for good.
create or replace function sync_internal.is_final(state text) returns boolean
language sql immutable
as $$
  select state in ('Completed', 'Error', 'Cancelled', 'Skipped')
$$;

revoke all on function sync_internal.is_final(text) from public, anon, authenticated;
grant execute on function sync_internal.is_final(text) to service_role;

-- A run as callers get it, null if there is none; with the database's time, since callers' clocks differ.
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

revoke all on function sync_internal.run_json(public.sync_runs) from public, anon, authenticated;
grant execute on function sync_internal.run_json(public.sync_runs) to service_role;

-- A run's listing: its pages become orders of the run. Decided here: which of them are fetched, skipped, or taken for
-- unchanged without a fetch, which are handed out next, and which stored orders the list doesn't name.

-- Takes a page of the listing, or of the sweep for refunds, into the run; ends the run if nothing is open any more.
-- request: {location_id, run_id, listing, listing_complete, total_count, sweep, orders: [{order_id, source_updated_at,
--   foreign}], issues?: [{code, message}]} -> {run, recorded, publication}
-- Locks: the run, its outcomes, the location's row.
create or replace function public.record_page(request jsonb) returns jsonb
language plpgsql set search_path = '' set lock_timeout = '5s' set jit = off
as $$
declare
  v_location text := sync_internal.location(request);
  v_run public.sync_runs;
  v_sweep boolean := coalesce((request ->> 'sweep')::boolean, false);
  v_recorded int := 0;
  v_publication jsonb;
begin
  select * into v_run from public.sync_runs
  where run_id = (sync_internal.required(request, 'run_id'))::uuid and location_id = v_location for update;
  if not found then
    return jsonb_build_object('run', null, 'recorded', 0, 'publication', null);
  end if;

  if v_run.state = 'Syncing' then
    perform sync_internal.note_issues(v_location, coalesce((
      select jsonb_agg(i || jsonb_build_object('run_id', v_run.run_id))
      from jsonb_array_elements(coalesce(nullif(request -> 'issues', 'null'), '[]')) as i), '[]'));
    if v_sweep then
      perform sync_internal.reopen_for_sweep(v_run, request -> 'orders');
    end if;
    v_recorded := sync_internal.record_listed(v_run, v_sweep, coalesce(nullif(request -> 'orders', 'null'), '[]'));

    update public.sync_runs
    set listing = coalesce(nullif(request -> 'listing', 'null'), listing),
      listing_complete = listing_complete or coalesce((request ->> 'listing_complete')::boolean, false),
      total_count = coalesce((request ->> 'total_count')::int, total_count),
      version = version + 1, last_progress_at = clock_timestamp()
    where run_id = v_run.run_id;
    if v_run.kind = 'full' and not v_run.listing_complete and (request ->> 'listing_complete')::boolean then
      perform sync_internal.note_orders_not_listed(v_run);
    end if;
    perform sync_internal.finish_if_complete(v_run.run_id);
  end if;

  v_publication := sync_internal.grant_publication(v_location, v_run.run_id);
  select * into v_run from public.sync_runs where run_id = v_run.run_id;
  return jsonb_build_object(
    'run', sync_internal.run_json(v_run), 'recorded', v_recorded, 'publication', v_publication);
end
$$;

revoke all on function public.record_page(jsonb) from public, anon, authenticated;
grant execute on function public.record_page(jsonb) to service_role;

-- A refund that didn't bump updatedAt: the listing took the order for unchanged, the sweep knows better. Such an order is
-- opened again; sweeping before listing avoids that counts step back for it.
-- The caller holds the run's row lock.
create or replace function sync_internal.reopen_for_sweep(p_run public.sync_runs, orders jsonb) returns void
language sql
as $$
  with reopened as (
    update public.sync_outcomes as o
    set outcome = null, by_listing = false, change = null, tickets = 0, recorded_at = null
    from sync_internal.triage_listed(p_run.location_id, p_run.kind, true, orders) as t
    join public.sync_outcomes before on before.order_id = t.order_id and before.run_id = p_run.run_id
    where t.decision = 'fetch' and o.run_id = p_run.run_id and o.order_id = t.order_id
      and o.by_listing and o.outcome = 'synced'
    returning before.tickets
  )
  update public.sync_runs as r
  set synced = r.synced - n.reopened, unchanged = r.unchanged - n.reopened, tickets_total = r.tickets_total - n.tickets
  from (select count(*) as reopened, coalesce(sum(tickets), 0) as tickets from reopened) as n
  where r.run_id = p_run.run_id and n.reopened > 0
$$;

revoke all on function sync_internal.reopen_for_sweep(public.sync_runs, jsonb) from public, anon, authenticated;
grant execute on function sync_internal.reopen_for_sweep(public.sync_runs, jsonb) to service_role;

-- Records a page's orders; those met before (pages overlap, pulses are redelivered) count nothing. Returns how many are
-- new. The caller holds the run's row lock.
create or replace function sync_internal.record_listed(p_run public.sync_runs, p_sweep boolean, orders jsonb)
returns int
language plpgsql
as $$
declare
  v_recorded int;
begin
  with triaged as (
    select * from sync_internal.triage_listed(p_run.location_id, p_run.kind, p_sweep, orders)
    where decision is not null
  ), recorded as (
    insert into public.sync_outcomes
      (run_id, order_id, outcome, by_listing, change, code, reason, tickets, recorded_at)
    select p_run.run_id, t.order_id,
      case t.decision when 'unchanged' then 'synced' when 'skip' then 'skipped' end,
      t.decision <> 'fetch',
      case t.decision when 'unchanged' then 'unchanged' end,
      case t.decision when 'skip' then t.code end,
      case when t.decision <> 'skip' then null
        when t.code = 'other_location' then 'The order belongs to another location'
        else 'None of its products is in the product list' end,
      case when t.decision = 'unchanged' then (
        select count(*) from public.ghl_qr_tickets k
        where k.order_id = t.order_id and k.status in ('live', 'validated', 'used')) else 0 end,
      case when t.decision <> 'fetch' then clock_timestamp() end
    from triaged t
    on conflict do nothing
    returning outcome, tickets
  ), tally as (
    select count(*) as listed, count(*) filter (where outcome = 'synced') as synced,
      count(*) filter (where outcome = 'skipped') as skipped, coalesce(sum(tickets), 0) as tickets
    from recorded
  ), counted as (
    update public.sync_runs as r
    set listed = r.listed + t.listed, synced = r.synced + t.synced, unchanged = r.unchanged + t.synced,
      skipped = r.skipped + t.skipped, tickets_total = r.tickets_total + t.tickets
    from tally t where r.run_id = p_run.run_id
  )
  select listed into v_recorded from tally;
  return v_recorded;
end
$$;

revoke all on function sync_internal.record_listed(public.sync_runs, boolean, jsonb) from public, anon, authenticated;
grant execute on function sync_internal.record_listed(public.sync_runs, boolean, jsonb) to service_role;

-- What the listing alone decides of each order: 'fetch', 'unchanged' (in step, no fetch needed), 'skip', or nothing
-- (a refund sweep records only what it wants fetched).
create or replace function sync_internal.triage_listed(p_location text, p_kind text, p_sweep boolean, orders jsonb)
returns table (order_id text, source_updated_at timestamptz, decision text, code text)
language plpgsql
as $$
#variable_conflict use_column
begin
  return query
  with listed as (
    select distinct on (i.order_id) i.order_id, i.source_updated_at, coalesce(i."foreign", false) as is_foreign
    from jsonb_to_recordset(orders) as i (order_id text, source_updated_at timestamptz, "foreign" boolean)
    where nullif(i.order_id, '') is not null
    order by i.order_id, i.source_updated_at desc nulls last
  ), products as materialized (
    select sync_internal.listed_products(p_location) as listed_products
  ), known as (
    select l.*, m.fetched_at is not null as remembered, o.order_id is not null as is_stored,
      sync_internal.is_valid_now(m.valid, m.product_ids, p.listed_products) as valid_now,
      m.product_ids && p.listed_products as product_listed,
      m.source_updated_at = l.source_updated_at as same_as_remembered,
      lower(o.payment_status) = 'refunded' as is_refunded,
      -- The row tells, not the memory: it is what must be in step. An order that failed or whose tickets are due isn't.
      coalesce(o.fetched_at is not null and o.source_updated_at = l.source_updated_at and o.tickets_due is null, false)
        and not exists (select from public.ghl_qr_tickets_touched t where t.order_id = l.order_id)
        and not exists (
          select from public.sync_failures f where f.location_id = p_location and f.order_id = l.order_id) as in_step
    from listed l
    cross join products p
    left join public.sync_order_memory m on m.location_id = p_location and m.order_id = l.order_id
    left join public.ghl_qr_orders o on o.order_id = l.order_id and o.location_id = p_location
  ), decided as (
    select k.*,
      -- Not ours when last fetched, unchanged since, and none of its products is listed now: no need to look again.
      k.remembered and not k.is_stored and not k.valid_now and coalesce(k.same_as_remembered, false)
        and not coalesce(k.product_listed, false) as known_invalid
    from known k
  )
  select d.order_id, d.source_updated_at,
    case
      when p_sweep then case
        when not d.is_foreign and not coalesce(d.is_refunded, false) and not d.known_invalid then 'fetch' end
      when d.is_foreign then 'skip'
      when p_kind = 'valid_list' then case
        when not d.remembered then 'fetch' when d.valid_now then 'unchanged' else 'skip' end
      when d.known_invalid then 'skip'
      when p_kind = 'incremental' and d.in_step then 'unchanged'
      else 'fetch'
    end,
    case when d.is_foreign then 'other_location' else 'no_valid_product' end
  from decided d;
end
$$;

revoke all on function sync_internal.triage_listed(text, text, boolean, jsonb) from public, anon, authenticated;
grant execute on function sync_internal.triage_listed(text, text, boolean, jsonb) to service_role;

-- Stored orders that a complete listing doesn't name, such as the original app's that GHL has no more. Absence changes no
-- ticket, so a person must look. Once per full run; the caller holds the run's row lock.
create or replace function sync_internal.note_orders_not_listed(p_run public.sync_runs) returns void
language plpgsql
as $$
declare
  v_orders int;
  v_tickets int;
  v_some text;
begin
  with not_listed as (
    select o.order_id from public.ghl_qr_orders o
    -- What came by webhook while pages were read may stand on none of them; old rows of the original app name no location.
    where coalesce(o.location_id, p_run.location_id) = p_run.location_id
      and coalesce(o.fetched_at, o.inserted_at, '-infinity') < p_run.started_at
      and not exists (select from public.sync_outcomes c where c.run_id = p_run.run_id and c.order_id = o.order_id)
  )
  select count(*), (select count(*) from public.ghl_qr_tickets t
      where t.status = 'live' and t.order_id in (select order_id from not_listed)),
    (select string_agg(order_id, ', ') from (select order_id from not_listed order by order_id limit 5) as first_five)
  into v_orders, v_tickets, v_some
  from not_listed;

  if v_orders > 0 then
    perform sync_internal.note_issues(p_run.location_id, jsonb_build_array(jsonb_build_object(
      'run_id', p_run.run_id, 'code', 'orders_not_listed',
      'message', format('%s stored order(s) with %s live ticket(s) aren''t in GHL''s list: %s%s. Their tickets were left '
        || 'as they are and still admit. Look the orders up in GHL, and cancel the tickets of those that are gone.',
        v_orders, v_tickets, v_some, case when v_orders > 5 then ', ...' else '' end))));
  end if;
end
$$;

revoke all on function sync_internal.note_orders_not_listed(public.sync_runs) from public, anon, authenticated;
grant execute on function sync_internal.note_orders_not_listed(public.sync_runs) to service_role;

-- Hands out orders to fetch, so that at most max_outstanding are under way; what has been silent too long goes again.
-- request: {location_id, run_id, max_outstanding, resend_after_ms, limit} -> {order_ids, outstanding}
-- Locks: the run, then the outcomes of the orders it hands out.
create or replace function public.dispatch_orders(request jsonb) returns jsonb
language plpgsql set search_path = '' set lock_timeout = '5s' set jit = off
as $$
declare
  v_location text := sync_internal.location(request);
  v_run uuid;
  v_silent_since timestamptz := clock_timestamp()
    - sync_internal.milliseconds((sync_internal.required(request, 'resend_after_ms'))::numeric);
  v_outstanding int;
  v_ids jsonb;
begin
  select run_id into v_run from public.sync_runs
  where run_id = (sync_internal.required(request, 'run_id'))::uuid and location_id = v_location and state = 'Syncing'
  for update;
  if not found then
    return jsonb_build_object('order_ids', '[]'::jsonb, 'outstanding', 0);
  end if;

  select count(*) into v_outstanding from public.sync_outcomes
  where run_id = v_run and outcome is null and dispatched_at > v_silent_since;

  with candidates as (
    (select order_id, position from public.sync_outcomes
      where run_id = v_run and outcome is null and dispatched_at <= v_silent_since
      order by dispatched_at limit 1000)
    union all
    (select order_id, position from public.sync_outcomes
      where run_id = v_run and outcome is null and dispatched_at is null
      order by position limit 1000)
  ), chosen as (
    select order_id, position from candidates order by position
    limit greatest(least((sync_internal.required(request, 'max_outstanding'))::int - v_outstanding,
      sync_internal.page_limit(request)), 0)
  ), dispatched as (
    update public.sync_outcomes as o set dispatched_at = clock_timestamp()
    from chosen c where o.run_id = v_run and o.order_id = c.order_id
    returning o.order_id, o.position
  )
  select coalesce(jsonb_agg(order_id order by position), '[]') into v_ids from dispatched;
  return jsonb_build_object(
    'order_ids', v_ids, 'outstanding', v_outstanding + jsonb_array_length(v_ids));
end
$$;

revoke all on function public.dispatch_orders(jsonb) from public, anon, authenticated;
grant execute on function public.dispatch_orders(jsonb) to service_role;

-- The run's listed orders that are valid, for valid_order_list.json.
-- request: {location_id, run_id, after?, limit} -> {order_ids, next}; `next` is the `after` of the following page.
-- Locks nothing.
create or replace function public.valid_orders(request jsonb) returns jsonb
language plpgsql set search_path = '' set lock_timeout = '5s' set jit = off
as $$
declare
  v_location text := sync_internal.location(request);
  v_limit int := sync_internal.page_limit(request);
  v_products text[] := sync_internal.listed_products(v_location);
  v_ids jsonb;
begin
  select coalesce(jsonb_agg(page.order_id order by page.order_id), '[]') into v_ids
  from (
    select o.order_id
    from public.sync_outcomes o
    join public.sync_order_memory m on m.location_id = v_location and m.order_id = o.order_id
    where o.run_id = (sync_internal.required(request, 'run_id'))::uuid
      and o.order_id > coalesce(request ->> 'after', '')
      and sync_internal.is_valid_now(m.valid, m.product_ids, v_products)
    order by o.order_id limit v_limit
  ) as page;
  return jsonb_build_object('order_ids', v_ids,
    'next', case when jsonb_array_length(v_ids) = v_limit then v_ids -> -1 end);
end
$$;

revoke all on function public.valid_orders(jsonb) from public, anon, authenticated;
grant execute on function public.valid_orders(jsonb) to service_role;

-- How results reach a run, and how it ends by itself: with the last of them. A run's outcomes, issues and labels are written
-- only under its row lock; upkeep.sql deletes them without it, but only once the run is over.

-- Whatever a batch writes of its runs, it locks them once and in this order first. Those of other locations aren't ours to lock.
-- `elements` may have a run_id each. Locks the runs by run_id.
create or replace function sync_internal.lock_runs(p_location text, elements jsonb) returns uuid[]
language sql
as $$
  select coalesce(array_agg(run_id), '{}')
  from (
    select run_id from public.sync_runs
    where run_id in (select (e ->> 'run_id')::uuid from jsonb_array_elements(elements) as e) and location_id = p_location
    order by run_id for update
  ) as locked
$$;

revoke all on function sync_internal.lock_runs(text, jsonb) from public, anon, authenticated;
grant execute on function sync_internal.lock_runs(text, jsonb) to service_role;

-- Writes outcomes where none stands yet and counts exactly those. Elements of `outcomes`:
-- {run_id, order_id, outcome, change, class, code, reason, attempts, found, tickets, added, reinstated, cancelled}.
-- Locks the runs by run_id, then the outcomes.
create or replace function sync_internal.record_outcomes(p_location text, outcomes jsonb) returns void
language plpgsql
as $$
declare
  v_runs uuid[] := sync_internal.lock_runs(p_location, outcomes);
begin
  if v_runs = '{}' then
    return;
  end if;
  with incoming as (
    select distinct on (i.run_id, i.order_id) i.*
    from jsonb_to_recordset(outcomes) as i (
      run_id uuid, order_id text, outcome text, change text, class text, code text, reason text, attempts int,
      found int, tickets int, added int, reinstated int, cancelled int)
    join public.sync_runs r on r.run_id = i.run_id and r.location_id = p_location and r.state = 'Syncing'
    order by i.run_id, i.order_id, i.attempts desc
  ), closed as (
    update public.sync_outcomes as o
    set outcome = i.outcome, change = i.change, class = i.class, code = i.code, reason = i.reason,
      attempts = coalesce(i.attempts, 0), tickets = coalesce(i.tickets, 0), tickets_added = coalesce(i.added, 0),
      tickets_reinstated = coalesce(i.reinstated, 0), tickets_cancelled = coalesce(i.cancelled, 0),
      recorded_at = clock_timestamp()
    from incoming i
    where o.run_id = i.run_id and o.order_id = i.order_id and o.outcome is null
    returning o.*, coalesce(i.found, 0) + coalesce(i.added, 0) as looked_at,
      coalesce(i.added, 0) + coalesce(i.reinstated, 0) + coalesce(i.cancelled, 0) as ticket_changes
  ), tally as (
    select run_id,
      count(*) filter (where outcome = 'synced') as synced,
      count(*) filter (where outcome = 'failed') as failed,
      count(*) filter (where outcome = 'skipped') as skipped,
      count(*) filter (where outcome = 'synced' and change in ('unchanged', 'stale') and ticket_changes = 0) as unchanged,
      sum(tickets) as tickets, sum(looked_at) as looked_at, sum(tickets_added) as added,
      sum(tickets_reinstated) as reinstated, sum(tickets_cancelled) as cancelled,
      count(*) filter (where ticket_changes > 0) as drift
    from closed group by run_id
  )
  update public.sync_runs as r
  set synced = r.synced + t.synced, failed = r.failed + t.failed, skipped = r.skipped + t.skipped,
    unchanged = r.unchanged + t.unchanged, tickets_total = r.tickets_total + t.tickets,
    tickets_checked = r.tickets_checked + t.looked_at, tickets_added = r.tickets_added + t.added,
    tickets_reinstated = r.tickets_reinstated + t.reinstated, tickets_cancelled = r.tickets_cancelled + t.cancelled,
    drift_orders = r.drift_orders + t.drift, version = r.version + 1, last_progress_at = clock_timestamp()
  from tally t
  where r.run_id = t.run_id;

  perform sync_internal.finish_if_complete(run) from unnest(v_runs) as run order by run;
end
$$;

revoke all on function sync_internal.record_outcomes(text, jsonb) from public, anon, authenticated;
grant execute on function sync_internal.record_outcomes(text, jsonb) to service_role;

-- Ends the run once everything listed has its outcome. The caller holds the run's row lock, so exactly one does it.
create or replace function sync_internal.finish_if_complete(p_run uuid) returns void
language sql
as $$
  update public.sync_runs
  set state = 'Delay', ended_at = clock_timestamp(),
    cooldown_until = clock_timestamp() + sync_internal.milliseconds(cooldown_ms), version = version + 1
  where run_id = p_run and state = 'Syncing' and listing_complete and listed = synced + failed + skipped
$$;

revoke all on function sync_internal.finish_if_complete(uuid) from public, anon, authenticated;
grant execute on function sync_internal.finish_if_complete(uuid) to service_role;

-- Issues as {run_id, order_id, code, message}, each noted once, while the run is syncing.
-- Locks the runs by run_id.
create or replace function sync_internal.note_issues(p_location text, issues jsonb) returns void
language plpgsql
as $$
begin
  if not exists (select from jsonb_array_elements(issues) as i where i ->> 'run_id' is not null) then
    return;
  end if;
  perform sync_internal.lock_runs(p_location, issues);

  insert into public.sync_issues (run_id, order_id, code, message)
  select i.run_id, coalesce(i.order_id, ''), coalesce(i.code, 'unknown'), coalesce(i.message, '')
  from jsonb_to_recordset(issues) as i (run_id uuid, order_id text, code text, message text)
  join public.sync_runs r on r.run_id = i.run_id and r.location_id = p_location and r.state = 'Syncing'
  on conflict do nothing;
end
$$;

revoke all on function sync_internal.note_issues(text, jsonb) from public, anon, authenticated;
grant execute on function sync_internal.note_issues(text, jsonb) to service_role;

-- What dashboards see of a run, and who tells it. Whoever changed the run asks for a publication; one caller at a time is
-- granted it, with numbers by which a dashboard drops what isn't newer than what it has.

-- The current or newest run, and whether its pulse was lost.
-- request: {location_id, next_seq, pulse_lost_after_ms?} -> {seq, run|null, needs_pulse, pulse, limiter_late_ms}
-- Locks: the location's row if next_seq is set, otherwise nothing.
create or replace function public.sync_snapshot(request jsonb) returns jsonb
language plpgsql set search_path = '' set lock_timeout = '5s' set jit = off
as $$
declare
  v_location text := sync_internal.location(request);
  v_run public.sync_runs;
  v_seq bigint;
begin
  -- The number before the run: a snapshot must not stand above frames that tell of something newer.
  if coalesce((request ->> 'next_seq')::boolean, false) then
    update public.sync_locations set seq = seq + 1 where location_id = v_location returning seq into v_seq;
  else
    select seq into v_seq from public.sync_locations where location_id = v_location;
  end if;
  select * into v_run from public.sync_runs
  where location_id = v_location and state <> 'Skipped'
  order by started_at desc, run_id desc limit 1;

  return jsonb_build_object(
    'seq', v_seq,
    'run', sync_internal.run_json(v_run),
    'needs_pulse', coalesce(
      (not sync_internal.is_final(v_run.state) or v_run.announced_state is distinct from v_run.state)
      and coalesce(v_run.last_pulse_at, v_run.started_at) < clock_timestamp()
        - sync_internal.milliseconds(coalesce((request ->> 'pulse_lost_after_ms')::numeric, 30000)), false),
    'pulse', v_run.pulse + 1,
    -- For how long no grant of the rate limit has come in time to be used.
    'limiter_late_ms', (
      select sync_internal.late_ms(l, clock_timestamp()) from public.sync_limiter l where l.location_id = v_location));
end
$$;

revoke all on function public.sync_snapshot(jsonb) from public, anon, authenticated;
grant execute on function public.sync_snapshot(jsonb) to service_role;

-- A publication for a caller that changed nothing itself, if one is due.
-- request: {location_id, run_id} -> {publication}
-- Locks: the run, then the location's row.
create or replace function public.grant_publication(request jsonb) returns jsonb
language plpgsql set search_path = '' set lock_timeout = '5s' set jit = off
as $$
declare
  v_location text := sync_internal.location(request);
begin
  return jsonb_build_object('publication', sync_internal.grant_publication(
    v_location, (sync_internal.required(request, 'run_id'))::uuid));
end
$$;

revoke all on function public.grant_publication(jsonb) from public, anon, authenticated;
grant execute on function public.grant_publication(jsonb) to service_role;

-- The publication after a batch that may name several runs (a late message of an older one): the newest one's.
-- Locks that run, then the location's row.
create or replace function sync_internal.grant_for_batch(p_location text, elements jsonb) returns jsonb
language sql
as $$
  select sync_internal.grant_publication(p_location, (
    select r.run_id from public.sync_runs r
    where r.location_id = p_location
      and r.run_id in (select (e ->> 'run_id')::uuid from jsonb_array_elements(elements) as e)
    order by r.started_at desc limit 1))
$$;

revoke all on function sync_internal.grant_for_batch(text, jsonb) from public, anon, authenticated;
grant execute on function sync_internal.grant_for_batch(text, jsonb) to service_role;

-- Hands out at most one publication per interval, to whoever asks when something new is to be said.
-- A change of state is granted at once. What was granted but not confirmed for 2 s is granted anew.
-- Locks the run, then the location's row.
create or replace function sync_internal.grant_publication(p_location text, p_run uuid) returns jsonb
language plpgsql
as $$
declare
  v_run public.sync_runs;
  v_now timestamptz := clock_timestamp();
  v_unheard boolean;
  v_seq bigint;
begin
  select * into v_run from public.sync_runs where run_id = p_run and location_id = p_location for update;
  -- A newer run speaks for the location: late words of an older one would put it back on the screen.
  if not found or v_run.state = 'Skipped' or exists (
    select from public.sync_runs n
    where n.location_id = p_location and n.state <> 'Skipped'
      and (n.started_at, n.run_id) > (v_run.started_at, v_run.run_id)
  ) then
    return null;
  end if;

  v_unheard := v_run.granted_at is null
    or (v_run.granted_seq > v_run.published_seq and v_run.granted_at <= v_now - interval '2 seconds');
  if v_run.state is distinct from v_run.announced_state then
    if v_run.granted_state is not distinct from v_run.state and not v_unheard
      and not (v_run.granted_seq <= v_run.published_seq) then
      return null;
    end if;
  elsif sync_internal.is_final(v_run.state)
    or not (v_unheard or v_run.version > v_run.granted_version)
    or v_run.granted_at > v_now - sync_internal.milliseconds(v_run.publish_interval_ms) then
    return null;
  end if;

  update public.sync_locations set seq = seq + 4 where location_id = p_location returning seq into v_seq;
  update public.sync_runs
  set granted_version = version, granted_at = v_now, granted_state = state, granted_seq = v_seq - 3
  where run_id = p_run
  returning * into v_run;
  return jsonb_build_object('location_id', p_location, 'seq_first', v_seq - 3, 'run', sync_internal.run_json(v_run));
end
$$;

revoke all on function sync_internal.grant_publication(text, uuid) from public, anon, authenticated;
grant execute on function sync_internal.grant_publication(text, uuid) to service_role;

-- The publication with these frames was sent. A confirmation that comes late takes nothing back.
-- request: {location_id, run_id, seq, state} -> {}
-- Locks: the run.
create or replace function public.confirm_publication(request jsonb) returns jsonb
language plpgsql set search_path = '' set lock_timeout = '5s' set jit = off
as $$
declare
  v_location text := sync_internal.location(request);
begin
  update public.sync_runs
  set published_seq = greatest(published_seq, (sync_internal.required(request, 'seq'))::bigint),
    announced_state = case
      when sync_internal.state_rank(request ->> 'state') >= coalesce(sync_internal.state_rank(announced_state), 0)
        then request ->> 'state'
      else announced_state end
  where run_id = (sync_internal.required(request, 'run_id'))::uuid and location_id = v_location;
  return '{}';
end
$$;

revoke all on function public.confirm_publication(jsonb) from public, anon, authenticated;
grant execute on function public.confirm_publication(jsonb) to service_role;

-- How far a run has come with this state: a later one is never confirmed away by an earlier one.
create or replace function sync_internal.state_rank(state text) returns int
language sql immutable
as $$
  select case when state = 'Syncing' then 1 when state = 'Delay' then 2 when sync_internal.is_final(state) then 3 end
$$;

revoke all on function sync_internal.state_rank(text) from public, anon, authenticated;
grant execute on function sync_internal.state_rank(text) to service_role;

-- Orders that failed for good: in a run they are its outcomes, outside of one they stand here until the next success.

-- Records orders that failed for good; what has a run_id becomes an outcome of that run.
-- request: {location_id, failures: [{order_id, run_id?, cause, class, code, reason, attempts}]} -> {publication}
-- Locks: failures by order_id, runs by run_id, their outcomes, the location's row.
create or replace function public.record_failures(request jsonb) returns jsonb
language plpgsql set search_path = '' set lock_timeout = '5s' set jit = off
as $$
declare
  v_location text := sync_internal.location(request);
  v_failures jsonb := coalesce(nullif(request -> 'failures', 'null'), '[]');
begin
  insert into public.sync_failures as f (location_id, order_id, cause, class, code, reason, attempts)
  select distinct on (i.order_id) v_location, i.order_id, i.cause, i.class, i.code, i.reason, coalesce(i.attempts, 1)
  from jsonb_to_recordset(v_failures) as i (
    order_id text, run_id uuid, cause text, class text, code text, reason text, attempts int)
  where i.run_id is null and i.order_id is not null
  order by i.order_id, i.attempts desc nulls last
  on conflict (location_id, order_id) do update set
    cause = excluded.cause, class = excluded.class, code = excluded.code, reason = excluded.reason,
    attempts = excluded.attempts, last_try_at = clock_timestamp();

  perform sync_internal.record_outcomes(v_location, coalesce((
    select jsonb_agg(i || '{"outcome": "failed"}') from jsonb_array_elements(v_failures) as i
    where i ->> 'run_id' is not null), '[]'));
  return jsonb_build_object('publication', sync_internal.grant_for_batch(v_location, v_failures));
end
$$;

revoke all on function public.record_failures(jsonb) from public, anon, authenticated;
grant execute on function public.record_failures(jsonb) to service_role;

-- The failures that stand, by order id.
-- request: {location_id, after?, limit} -> {failures: [...], next}; `next` is the `after` of the following page.
-- Locks nothing.
create or replace function public.list_failures(request jsonb) returns jsonb
language plpgsql set search_path = '' set lock_timeout = '5s' set jit = off
as $$
declare
  v_location text := sync_internal.location(request);
  v_limit int := sync_internal.page_limit(request);
  v_failures jsonb;
begin
  select coalesce(jsonb_agg(to_jsonb(f) order by f.order_id), '[]') into v_failures
  from (
    select order_id, cause, class, code, reason, attempts, last_try_at
    from public.sync_failures
    where location_id = v_location and order_id > coalesce(request ->> 'after', '')
    order by order_id limit v_limit
  ) as f;
  return jsonb_build_object('failures', v_failures,
    'next', case when jsonb_array_length(v_failures) = v_limit then v_failures -> -1 -> 'order_id' end);
end
$$;

revoke all on function public.list_failures(jsonb) from public, anon, authenticated;
grant execute on function public.list_failures(jsonb) to service_role;

-- These orders' failures are over. Locked in order first, and exactly what was locked goes: a delete alone takes its rows as
-- they come, also those that were recorded since.
create or replace function sync_internal.clear_failures(p_location text, p_order_ids text[]) returns void
language plpgsql
as $$
declare
  v_locked text[];
begin
  select array_agg(locked.order_id) into v_locked from (
    select order_id from public.sync_failures
    where location_id = p_location and order_id = any (p_order_ids) order by order_id for update
  ) as locked;
  if v_locked is not null then
    delete from public.sync_failures where location_id = p_location and order_id = any (v_locked);
  end if;
end
$$;

revoke all on function sync_internal.clear_failures(text, text[]) from public, anon, authenticated;
grant execute on function sync_internal.clear_failures(text, text[]) to service_role;

-- The gate: admits a ticket once. The order's lock comes first, as everywhere, so that a scan and a sync can't deadlock.

-- Admits a live ticket, by what its order says now: if the order's tickets are due, they are reconciled first.
-- request: {location_id, ticket_id, by}
--   -> {result: "admitted|already_validated|cancelled|not_found", ticket}
-- Locks: the order, its tickets by ticket_id if they are due, then the ticket.
create or replace function public.validate_ticket(request jsonb) returns jsonb
language plpgsql set search_path = '' set lock_timeout = '5s' set jit = off
as $$
declare
  v_location text := sync_internal.location(request);
  v_ticket public.ghl_qr_tickets := sync_internal.lock_ticket(
    v_location, (sync_internal.required(request, 'ticket_id'))::bigint);
  v_result text;
begin
  if v_ticket.ticket_id is null then
    return jsonb_build_object('result', 'not_found', 'ticket', null);
  end if;
  if v_ticket.status = 'live' then
    update public.ghl_qr_tickets
    set status = 'validated', status_by = 'gate', status_at = clock_timestamp(), status_reason = 'admitted',
      validated_at = clock_timestamp(), validated_by = request ->> 'by'
    where ticket_id = v_ticket.ticket_id
    returning * into v_ticket;
    v_result := 'admitted';
  elsif v_ticket.status in ('validated', 'used') then
    v_result := 'already_validated';
  else
    -- Also a status we don't know: only a live ticket admits.
    v_result := 'cancelled';
  end if;
  return jsonb_build_object('result', v_result, 'ticket', sync_internal.ticket_json(v_ticket));
end
$$;

revoke all on function public.validate_ticket(jsonb) from public, anon, authenticated;
grant execute on function public.validate_ticket(jsonb) to service_role;

-- Takes an admission back; what the order no longer entitles to is then cancelled.
-- request: {location_id, ticket_id, by} -> {result: "undone|not_validated|not_found", ticket}
-- Locks: the order, its tickets by ticket_id if they are due, the ticket, then all the order's tickets by ticket_id.
create or replace function public.undo_ticket(request jsonb) returns jsonb
language plpgsql set search_path = '' set lock_timeout = '5s' set jit = off
as $$
declare
  v_location text := sync_internal.location(request);
  v_ticket public.ghl_qr_tickets := sync_internal.lock_ticket(
    v_location, (sync_internal.required(request, 'ticket_id'))::bigint);
begin
  if v_ticket.ticket_id is null then
    return jsonb_build_object('result', 'not_found', 'ticket', null);
  end if;
  if coalesce(v_ticket.status, '') not in ('validated', 'used') then
    return jsonb_build_object('result', 'not_validated', 'ticket', sync_internal.ticket_json(v_ticket));
  end if;
  update public.ghl_qr_tickets
  set status = 'live', status_by = 'gate', status_at = clock_timestamp(),
    status_reason = 'admission undone by ' || coalesce(request ->> 'by', 'an admin'),
    validated_at = null, validated_by = null
  where ticket_id = v_ticket.ticket_id;
  perform from sync_internal.reconcile(v_location, array[v_ticket.order_id]);
  select * into v_ticket from public.ghl_qr_tickets where ticket_id = v_ticket.ticket_id;
  return jsonb_build_object('result', 'undone', 'ticket', sync_internal.ticket_json(v_ticket));
end
$$;

revoke all on function public.undo_ticket(jsonb) from public, anon, authenticated;
grant execute on function public.undo_ticket(jsonb) to service_role;

-- Locks the ticket's order, brings a due one in step, and returns the ticket locked; null if it isn't ours.
create or replace function sync_internal.lock_ticket(p_location text, p_ticket_id bigint) returns public.ghl_qr_tickets
language plpgsql
as $$
declare
  v_order public.ghl_qr_orders;
  v_ticket public.ghl_qr_tickets;
begin
  select o.* into v_order
  from public.ghl_qr_orders o
  where o.order_id = (select t.order_id from public.ghl_qr_tickets t where t.ticket_id = p_ticket_id)
    -- Old rows of the original app name no location.
    and coalesce(o.location_id, p_location) = p_location
  for update;
  if not found then
    return null;
  end if;
  if v_order.tickets_due is not null
    or exists (select from public.ghl_qr_tickets_touched where order_id = v_order.order_id) then
    perform from sync_internal.reconcile(p_location, array[v_order.order_id]);
  end if;
  select * into v_ticket from public.ghl_qr_tickets where ticket_id = p_ticket_id for update;
  return v_ticket;
end
$$;

revoke all on function sync_internal.lock_ticket(text, bigint) from public, anon, authenticated;
grant execute on function sync_internal.lock_ticket(text, bigint) to service_role;

-- A ticket as the gate shows it, with the reason why it doesn't admit; null if there is none.
create or replace function sync_internal.ticket_json(t public.ghl_qr_tickets) returns jsonb
language sql stable
as $$
  select jsonb_build_object('ticket_id', t.ticket_id, 'order_id', t.order_id, 'ticket_type', t.ticket_type,
    'status', t.status, 'validated_at', t.validated_at,
    'reason', case
      when t.status = 'cancelled' then coalesce(t.status_reason, 'cancelled outside ghl-sync')
      when t.status in ('live', 'validated', 'used') then null
      else format('its status is "%s"', coalesce(t.status, '')) end)
  where t.ticket_id is not null
$$;

revoke all on function sync_internal.ticket_json(public.ghl_qr_tickets) from public, anon, authenticated;
grant execute on function sync_internal.ticket_json(public.ghl_qr_tickets) to service_role;

-- The history of runs, page by page, and what there is to report of a run: failures, skips, issues and drift. Only reads.

-- The runs, newest first.
-- request: {location_id, before?, limit} -> {runs, next}; `next` is the `before` of the following page.
-- Locks nothing.
create or replace function public.list_runs(request jsonb) returns jsonb
language plpgsql set search_path = '' set lock_timeout = '5s' set jit = off
as $$
declare
  v_location text := sync_internal.location(request);
  v_limit int := sync_internal.page_limit(request);
  v_before text := nullif(request ->> 'before', '');
  v_before_at timestamptz := split_part(v_before, '_', 1)::timestamptz;
  -- A bare time stamp serves as a cursor too: everything before that moment.
  v_before_id uuid := coalesce(nullif(split_part(v_before, '_', 2), ''), '00000000-0000-0000-0000-000000000000')::uuid;
  v_runs jsonb;
  v_next text;
begin
  select coalesce(jsonb_agg(sync_internal.run_json(page.run) order by page.started_at desc, page.run_id desc), '[]'),
    case when count(*) = v_limit then (array_agg(
      -- Written so that it needs no escaping in a URL.
      to_char(page.started_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') || '_' || page.run_id
      order by page.started_at, page.run_id))[1] end
  into v_runs, v_next
  from (
    select r as run, r.started_at, r.run_id from public.sync_runs r
    where r.location_id = v_location
      and (v_before is null or (r.started_at, r.run_id) < (v_before_at, v_before_id))
    order by r.started_at desc, r.run_id desc limit v_limit
  ) as page;
  return jsonb_build_object('runs', v_runs, 'next', v_next);
end
$$;

revoke all on function public.list_runs(jsonb) from public, anon, authenticated;
grant execute on function public.list_runs(jsonb) to service_role;

-- One run with what there is to report, by order id.
-- `only` leaves the other lists out: whoever looks for failures needn't page through everything else.
-- request: {location_id, run_id, after?, limit, only?: "failures|skips|issues|drift"}
--   -> {run|null, failures, skips, issues, drift, next}
-- Locks nothing.
create or replace function public.get_run(request jsonb) returns jsonb
language plpgsql set search_path = '' set lock_timeout = '5s' set jit = off
as $$
declare
  v_location text := sync_internal.location(request);
  v_limit int := sync_internal.page_limit(request);
  v_after text := coalesce(request ->> 'after', '');
  v_lists text[] := case when request ->> 'only' is null then '{failures,skips,issues,drift}'
    else array[request ->> 'only'] end;
  v_run public.sync_runs;
  v_next text;
begin
  select * into v_run from public.sync_runs
  where run_id = (sync_internal.required(request, 'run_id'))::uuid and location_id = v_location;
  if not found then
    return jsonb_build_object('run', null, 'failures', '[]'::jsonb, 'skips', '[]'::jsonb, 'issues', '[]'::jsonb,
      'drift', jsonb_build_object('orders', 0, 'added', 0, 'reinstated', 0, 'cancelled', 0, 'list', '[]'::jsonb),
      'next', null);
  end if;

  -- One page reaches as far as the shortest of the lists does, so that `after` means the same for all of them.
  select min(last_id) into v_next from (
    select (array_agg(order_id order by order_id))[v_limit] as last_id
    from (
      select outcome as list, order_id,
        row_number() over (partition by outcome order by order_id) as nth
      from public.sync_outcomes
      where run_id = v_run.run_id and outcome in ('failed', 'skipped') and order_id > v_after
        and case outcome when 'failed' then 'failures' else 'skips' end = any (v_lists)
      union all
      select 'drift', order_id, row_number() over (order by order_id)
      from public.sync_outcomes
      where run_id = v_run.run_id and order_id > v_after and 'drift' = any (v_lists)
        and tickets_added + tickets_reinstated + tickets_cancelled > 0
      union all
      select 'issue', order_id, row_number() over (order by order_id)
      from (
        select distinct order_id from public.sync_issues
        where run_id = v_run.run_id and order_id > v_after and 'issues' = any (v_lists)
      ) as i
    ) as numbered
    where nth <= v_limit group by list
  ) as ends;

  return jsonb_build_object(
    'run', sync_internal.run_json(v_run),
    'failures', case when 'failures' = any (v_lists)
      then sync_internal.failures_page(v_location, v_run.run_id, v_after, v_next, v_limit) else '[]' end,
    'skips', case when 'skips' = any (v_lists)
      then sync_internal.skips_page(v_run.run_id, v_after, v_next, v_limit) else '[]' end,
    'issues', (
      select coalesce(jsonb_agg(jsonb_build_object(
        'order_id', nullif(order_id, ''), 'code', code, 'message', message) order by order_id, noted_at), '[]')
      from public.sync_issues
      -- What concerns the whole listing has no order and stands on the first page.
      where run_id = v_run.run_id and (order_id > v_after or v_after = '') and (v_next is null or order_id <= v_next)
        and 'issues' = any (v_lists)),
    'drift', jsonb_build_object('orders', v_run.drift_orders, 'added', v_run.tickets_added,
      'reinstated', v_run.tickets_reinstated, 'cancelled', v_run.tickets_cancelled,
      'list', case when 'drift' = any (v_lists)
        then sync_internal.drift_page(v_run.run_id, v_after, v_next, v_limit) else '[]' end),
    'next', v_next);
end
$$;

revoke all on function public.get_run(jsonb) from public, anon, authenticated;
grant execute on function public.get_run(jsonb) to service_role;

-- The orders that failed in a run. The first outcome stands; `resolved_at` tells of what came after it: when the order was
-- synced since, null if it wasn't. An order's row needs a read that became or agreed with it and tickets that aren't due; an
-- order that isn't ours has no row, and having been read is all there is to do.
create or replace function sync_internal.failures_page(
  p_location text, p_run uuid, p_after text, p_until text, p_limit int
) returns jsonb
language sql stable
as $$
  select coalesce(jsonb_agg(to_jsonb(page) order by page.order_id), '[]')
  from (
    select c.order_id, c.class, c.code, c.reason, c.attempts, c.recorded_at as last_try_at,
      case when read.at > c.recorded_at and o.tickets_due is null and f.order_id is null then read.at end as resolved_at
    from public.sync_outcomes c
    left join public.sync_order_memory m on m.location_id = p_location and m.order_id = c.order_id
    left join public.ghl_qr_orders o on o.order_id = c.order_id and o.location_id = p_location
    left join public.sync_failures f on f.location_id = p_location and f.order_id = c.order_id
    cross join lateral (
      select case when o.order_id is null and m.valid is false then m.fetched_at else m.confirmed_at end as at
    ) as read
    where c.run_id = p_run and c.outcome = 'failed' and c.order_id > p_after
      and (p_until is null or c.order_id <= p_until)
    order by c.order_id limit p_limit
  ) as page
$$;

revoke all on function sync_internal.failures_page(text, uuid, text, text, int) from public, anon, authenticated;
grant execute on function sync_internal.failures_page(text, uuid, text, text, int) to service_role;

-- The orders that a run skipped, with the reason.
create or replace function sync_internal.skips_page(p_run uuid, p_after text, p_until text, p_limit int) returns jsonb
language sql stable
as $$
  select coalesce(jsonb_agg(to_jsonb(page) order by page.order_id), '[]')
  from (
    select order_id, class, code, reason, attempts, recorded_at as last_try_at
    from public.sync_outcomes
    where run_id = p_run and outcome = 'skipped' and order_id > p_after and (p_until is null or order_id <= p_until)
    order by order_id limit p_limit
  ) as page
$$;

revoke all on function sync_internal.skips_page(uuid, text, text, int) from public, anon, authenticated;
grant execute on function sync_internal.skips_page(uuid, text, text, int) to service_role;

-- Orders whose tickets weren't what they should be before the run looked, new orders among them.
create or replace function sync_internal.drift_page(p_run uuid, p_after text, p_until text, p_limit int) returns jsonb
language sql stable
as $$
  select coalesce(jsonb_agg(to_jsonb(page) order by page.order_id), '[]')
  from (
    select order_id, tickets_added as added, tickets_reinstated as reinstated, tickets_cancelled as cancelled
    from public.sync_outcomes
    where run_id = p_run and order_id > p_after and (p_until is null or order_id <= p_until)
      and tickets_added + tickets_reinstated + tickets_cancelled > 0
    order by order_id limit p_limit
  ) as page
$$;

revoke all on function sync_internal.drift_page(uuid, text, text, int) from public, anon, authenticated;
grant execute on function sync_internal.drift_page(uuid, text, text, int) to service_role;

-- The dashboards that are open: where frames are sent, and how many a person and a location may have.

-- Adds a dashboard, unless there are too many; what has expired doesn't count.
-- request: {location_id, connection_id, user_id, role, expires_at, max_per_user, max_total} -> {accepted, reason}
-- Locks: the advisory lock 'connections', then the connection's row.
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

revoke all on function public.add_connection(jsonb) from public, anon, authenticated;
grant execute on function public.add_connection(jsonb) to service_role;

-- Forgets dashboards that are gone.
-- request: {location_id, connection_ids} -> {}
-- Locks: the connections by connection_id.
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

revoke all on function public.remove_connections(jsonb) from public, anon, authenticated;
grant execute on function public.remove_connections(jsonb) to service_role;

-- The dashboards that a frame is to be sent to.
-- request: {location_id} -> {connection_ids}
-- Locks nothing.
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

revoke all on function public.list_connections(jsonb) from public, anon, authenticated;
grant execute on function public.list_connections(jsonb) to service_role;

-- How long what nobody asks for any more is kept: outcomes, issues and labels of ended runs, expired connections, and marks of
-- touched tickets that no order waits for.

-- Forgets what nobody asks for any more, a bounded number of rows of a kind at a time, but labels all at once. Counts stay on
-- the runs; the tickets' history stays for good.
-- request: {location_id, limit} -> {deleted}
-- Locks: the rows it deletes, in no order. It skips those that others have locked, and waits for none but labels.
create or replace function public.purge(request jsonb) returns jsonb
language plpgsql set search_path = '' set lock_timeout = '5s' set jit = off
as $$
declare
  v_location text := sync_internal.location(request);
  v_limit int := greatest(coalesce((request ->> 'limit')::int, 1000), 1);
  v_old uuid[];
  v_finished uuid[];
  v_rows int;
  v_deleted int := 0;
begin
  select coalesce(array_agg(run_id) filter (where ended_at < clock_timestamp() - interval '30 days'), '{}'),
    -- The list of valid orders may still be written from these rows: leave them for a while.
    coalesce(array_agg(run_id) filter (where ended_at < clock_timestamp() - interval '1 hour'), '{}')
  into v_old, v_finished
  from public.sync_runs where location_id = v_location and sync_internal.is_final(state);

  delete from public.sync_outcomes where (run_id, order_id) in (
    select run_id, order_id from public.sync_outcomes
    where run_id = any (v_old)
    limit v_limit for update skip locked);
  get diagnostics v_rows = row_count;
  v_deleted := v_deleted + v_rows;

  delete from public.sync_outcomes where (run_id, order_id) in (
    select run_id, order_id from public.sync_outcomes
    where run_id = any (v_finished) and by_listing and outcome = 'synced'
    limit v_limit for update skip locked);
  get diagnostics v_rows = row_count;
  v_deleted := v_deleted + v_rows;

  delete from public.sync_issues where ctid = any (array(
    select ctid from public.sync_issues where run_id = any (v_old) limit v_limit for update skip locked));
  get diagnostics v_rows = row_count;
  v_deleted := v_deleted + v_rows;

  delete from public.sync_run_labels where run_id = any (v_finished);
  get diagnostics v_rows = row_count;
  v_deleted := v_deleted + v_rows;

  delete from public.sync_connections where (location_id, connection_id) in (
    select location_id, connection_id from public.sync_connections
    where location_id = v_location and expires_at < clock_timestamp()
    limit v_limit for update skip locked);
  get diagnostics v_rows = row_count;
  v_deleted := v_deleted + v_rows;

  -- Touched tickets of orders that are gone, or that were never fetched and so are left alone: their first fetch makes
  -- them due anyway.
  delete from public.ghl_qr_tickets_touched where touch_id = any (array(
    select t.touch_id from public.ghl_qr_tickets_touched t
    left join public.ghl_qr_orders o on o.order_id = t.order_id
    where o.lines is null and t.touched_at < clock_timestamp() - interval '1 hour'
    limit v_limit for update of t skip locked));
  get diagnostics v_rows = row_count;
  return jsonb_build_object('deleted', v_deleted + v_rows);
end
$$;

revoke all on function public.purge(jsonb) from public, anon, authenticated;
grant execute on function public.purge(jsonb) to service_role;

-- PostgREST learns of new functions.
notify pgrst, 'reload schema';
