-- What a listing decides of remembered orders is a bit, what a run that broke off didn't attempt is derived, and nothing grows with
-- a run: comparing, retrying and the list of valid orders work in portions.
--
-- The new column of numbers rewrites sync_order_memory, which takes some seconds for a million orders and lets nobody read it
-- meanwhile. Runs of the version before that are under way go on: what they have as rows counts as before.

alter table public.sync_order_memory
  add column if not exists number bigint generated always as identity,
  add column if not exists listed jsonb;

alter table public.sync_outcomes add column if not exists listed jsonb;

alter table public.sync_runs
  add column if not exists listing_deficit int,
  add column if not exists known_deficit int not null default 0,
  add column if not exists listing_short boolean not null default false,
  add column if not exists not_listed jsonb,
  add column if not exists taken_until text,
  add column if not exists valid_list jsonb;

create table if not exists public.sync_run_bits (
  run_id uuid not null references public.sync_runs (run_id) on delete cascade,
  block bigint not null,
  unchanged bytea,
  skipped bytea,
  primary key (run_id, block)
) with (fillfactor = 50);

alter table public.sync_run_bits alter column unchanged set storage main, alter column skipped set storage main;

alter table public.sync_run_bits enable row level security;

create index if not exists sync_outcomes_drift
  on public.sync_outcomes (run_id, order_id) where tickets_added + tickets_reinstated + tickets_cancelled > 0;

-- Replaced by functions of other arguments, or needed no more; none is called from outside.
drop function if exists sync_internal.note_orders_not_listed(public.sync_runs);
drop function if exists sync_internal.reopen_for_sweep(public.sync_runs, jsonb);
drop function if exists sync_internal.skips_page(uuid, text, text, integer);
drop function if exists sync_internal.triage_listed(text, text, boolean, jsonb);

-- A function may call one that comes after it.
set check_function_bodies = off;

CREATE OR REPLACE FUNCTION public.plan_orders(request jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SET search_path TO ''
 SET lock_timeout TO '5s'
 SET jit TO 'off'
AS $function$
declare
  v_location text := sync_internal.location(request);
  v_claim interval := sync_internal.milliseconds(coalesce((request ->> 'claim_ms')::numeric, 0));
  v_ids text[];
  v_now timestamptz;
  v_served jsonb;
  v_due jsonb;
  v_busy jsonb;
begin
  select coalesce(array_agg(distinct o ->> 'order_id'), '{}') into v_ids
  from jsonb_array_elements(coalesce(nullif(request -> 'orders', 'null'), '[]')) as o;
  perform sync_internal.remember(v_location, v_ids);
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
  select coalesce(jsonb_agg(order_id order by order_id), '[]') into v_due
  from public.ghl_qr_orders
  where order_id in (select jsonb_array_elements_text(v_served)) and tickets_due is not null;
  return jsonb_build_object('served', v_served, 'due', v_due, 'busy', v_busy, 'now', v_now);
end
$function$;

CREATE OR REPLACE FUNCTION sync_internal.remember(p_location text, p_order_ids text[])
 RETURNS void
 LANGUAGE sql
AS $function$
  insert into public.sync_order_memory (location_id, order_id)
  select p_location, id from unnest(p_order_ids) as id
  where not exists (select from public.sync_order_memory m where m.location_id = p_location and m.order_id = id)
  order by id
  on conflict do nothing
$function$;

CREATE OR REPLACE FUNCTION public.upsert_orders(request jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SET search_path TO ''
 SET lock_timeout TO '5s'
 SET jit TO 'off'
AS $function$
declare
  v_location text := sync_internal.location(request);
  v_orders jsonb := coalesce(nullif(request -> 'orders', 'null'), '[]');
  v_ids text[];
  v_listed jsonb;
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
  perform sync_internal.remember(v_location, v_ids);
  perform from public.sync_order_memory
  where location_id = v_location and order_id = any (v_ids) order by order_id for update;
  perform from public.ghl_qr_orders where order_id = any (v_ids) order by order_id for no key update;

  select coalesce(jsonb_object_agg(c.order_id, c.listed), '{}') into v_listed
  from jsonb_array_elements(v_orders) as o
  join public.sync_outcomes c on c.run_id = (o ->> 'run_id')::uuid and c.order_id = o ->> 'order_id'
  where c.listed is not null;

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
        and (m.fetched_at is null or j.fetched_at >= m.fetched_at) then j.valid else m.valid end,
      listed = case when v_listed ? j.order_id and j.result in ('written', 'unchanged') and not j.remember_only
        then sync_internal.shown_otherwise(v_listed -> j.order_id, j.next) else m.listed end
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
$function$;

CREATE OR REPLACE FUNCTION sync_internal.shown_otherwise(listed jsonb, p_row public.ghl_qr_orders)
 RETURNS jsonb
 LANGUAGE sql
 IMMUTABLE
AS $function$
  select nullif(jsonb_strip_nulls(jsonb_build_object(
    'status', case when lower(listed ->> 'status') is distinct from lower(p_row.order_status)
      then lower(listed ->> 'status') end,
    'payment_status', case when lower(listed ->> 'payment_status') is distinct from lower(p_row.payment_status)
      then lower(listed ->> 'payment_status') end,
    'amount', case when (listed ->> 'amount')::numeric is distinct from p_row.total_paid
      then (listed ->> 'amount')::numeric end)), '{}')
$function$;

CREATE OR REPLACE FUNCTION public.start_run(request jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SET search_path TO ''
 SET lock_timeout TO '5s'
 SET jit TO 'off'
AS $function$
declare
  v_location text := sync_internal.location(request);
  v_kind text := sync_internal.required(request, 'kind');
  v_retry_of uuid := (request ->> 'retry_of')::uuid;
  v_ids text[] := sync_internal.texts(request -> 'order_ids');
  v_run public.sync_runs;
  v_old public.sync_runs;
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
  if v_kind = 'incremental' and request ->> 'requested_by' = 'schedule' and sync_internal.owes_full_run(v_location, (request ->> 'full_run_within_hours')::int)
    and not sync_internal.lacks_daily_budget(v_location, 'full', (request ->> 'daily_reserve')::int) then
    v_kind := 'full';
  end if;
  if sync_internal.lacks_daily_budget(v_location, v_kind, (request ->> 'daily_reserve')::int) then
    return sync_internal.not_started('daily_budget', v_run) || jsonb_build_object('finished', v_finished);
  end if;

  if v_kind = 'retry' then
    select * into v_old from public.sync_runs where run_id = v_retry_of and location_id = v_location;
    if v_retry_of is not null and not found then
      return sync_internal.not_started('unknown_run', null);
    end if;
    if cardinality(v_ids) = 0 and not v_old.listing_complete then
      -- A retry that broke off while it took orders is begun again, as any other kind.
      v_kind := v_old.kind;
      v_retry_of := coalesce(v_old.retry_of, v_retry_of);
    end if;
    if v_kind = 'retry' and cardinality(v_ids) = 0 and not sync_internal.has_rest(v_retry_of) then
      return sync_internal.not_started('nothing_to_retry', v_old);
    end if;
  end if;

  -- From now on the new run speaks for the location: whatever the ones before had left to say, nobody waits for it.
  update public.sync_runs set announced_state = state
  where location_id = v_location and announced_state is distinct from state and sync_internal.is_final(state);

  v_now := clock_timestamp();
  insert into public.sync_runs (
    location_id, kind, state, requested_by, retry_of, cooldown_ms, lease_ms, publish_interval_ms,
    started_at, last_progress_at, known_deficit)
  values (
    v_location, v_kind, 'Syncing', request ->> 'requested_by', v_retry_of,
    coalesce((request ->> 'cooldown_ms')::bigint, 30000), coalesce((request ->> 'lease_ms')::bigint, 1800000),
    coalesce((request ->> 'publish_interval_ms')::bigint, 250), v_now, v_now, sync_internal.known_deficit(v_location))
  returning * into v_run;

  if v_kind = 'retry' and cardinality(v_ids) > 0 then
    insert into public.sync_outcomes (run_id, order_id)
    select distinct v_run.run_id, id from unnest(v_ids) as id;
    update public.sync_runs
    set listed = (select count(*) from public.sync_outcomes where run_id = v_run.run_id),
      total_count = (select count(*) from public.sync_outcomes where run_id = v_run.run_id), listing_complete = true
    where run_id = v_run.run_id;
  elsif v_kind = 'retry' then
    update public.sync_runs as r
    set total_count = old.failed + sync_internal.not_attempted(old)
    from public.sync_runs old
    where r.run_id = v_run.run_id and old.run_id = v_retry_of;
    perform sync_internal.take_rest(v_run.run_id);
  end if;
  select * into v_run from public.sync_runs where run_id = v_run.run_id;
  return jsonb_build_object(
    'started', true, 'run', sync_internal.run_json(v_run), 'pulse', v_run.pulse + 1, 'finished', v_finished);
end
$function$;

CREATE OR REPLACE FUNCTION sync_internal.has_rest(p_run uuid)
 RETURNS boolean
 LANGUAGE sql
 STABLE
AS $function$
  select exists (select from public.sync_outcomes where run_id = p_run and outcome = 'failed')
    -- Two questions, since there is an index for each.
    or exists (select from public.sync_outcomes where run_id = p_run and outcome is null and dispatched_at is null)
    or exists (select from public.sync_outcomes where run_id = p_run and outcome is null and dispatched_at is not null)
$function$;

CREATE OR REPLACE FUNCTION public.take_rest(request jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SET search_path TO ''
 SET lock_timeout TO '5s'
 SET jit TO 'off'
AS $function$
declare
  v_location text := sync_internal.location(request);
  v_run public.sync_runs;
  v_publication jsonb;
begin
  select * into v_run from public.sync_runs
  where run_id = (sync_internal.required(request, 'run_id'))::uuid and location_id = v_location for update;
  if found and v_run.kind = 'retry' and v_run.state = 'Syncing' and not v_run.listing_complete then
    perform sync_internal.take_rest(v_run.run_id);
    perform sync_internal.finish_if_complete(v_run.run_id);
  end if;
  v_publication := sync_internal.grant_publication(v_location, v_run.run_id);
  select * into v_run from public.sync_runs where run_id = v_run.run_id;
  return jsonb_build_object('run', sync_internal.run_json(v_run), 'publication', v_publication);
end
$function$;

CREATE OR REPLACE FUNCTION sync_internal.take_rest(p_run uuid)
 RETURNS void
 LANGUAGE plpgsql
AS $function$
declare
  v_portion constant int := 10000;
  v_run public.sync_runs;
begin
  select * into v_run from public.sync_runs where run_id = p_run;
  -- By variables, so that no more than the portion is read: joined to the run's row, all of the old run's outcomes would be.
  with portion as materialized (
    select order_id, outcome from public.sync_outcomes
    where run_id = v_run.retry_of and order_id > coalesce(v_run.taken_until, '')
    order by order_id limit v_portion
  ), taken as (
    insert into public.sync_outcomes (run_id, order_id)
    select p_run, order_id from portion where outcome is null or outcome = 'failed' order by order_id
    on conflict do nothing
    returning 1
  )
  update public.sync_runs as r
  set listed = r.listed + (select count(*) from taken),
    taken_until = coalesce((select max(order_id) from portion), r.taken_until),
    listing_complete = (select count(*) < v_portion from portion),
    version = r.version + 1, last_progress_at = clock_timestamp()
  where r.run_id = p_run;
end
$function$;

CREATE OR REPLACE FUNCTION sync_internal.known_deficit(p_location text)
 RETURNS integer
 LANGUAGE sql
 STABLE
AS $function$
  select coalesce((
    select r.listing_deficit from public.sync_runs r
    where r.location_id = p_location and r.listing_complete and r.listing_deficit is not null
    order by r.started_at desc, r.run_id desc limit 1), 0)
$function$;

CREATE OR REPLACE FUNCTION public.begin_pulse(request jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SET search_path TO ''
 SET lock_timeout TO '5s'
 SET jit TO 'off'
AS $function$
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
    or not sync_internal.needs_pulses(v_run) then
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
$function$;

CREATE OR REPLACE FUNCTION sync_internal.needs_pulses(p_run public.sync_runs)
 RETURNS boolean
 LANGUAGE sql
 IMMUTABLE
AS $function$
  select not sync_internal.is_final(p_run.state) or p_run.announced_state is distinct from p_run.state
    or sync_internal.is_comparing(p_run)
    or (p_run.state = 'Completed' and p_run.valid_list is not null and not p_run.valid_list ? 'done')
$function$;

CREATE OR REPLACE FUNCTION sync_internal.break_off(p_run uuid, p_state text, p_code text, p_message text, p_by text DEFAULT NULL::text)
 RETURNS boolean
 LANGUAGE plpgsql
AS $function$
begin
  update public.sync_runs
  set state = p_state, ended_at = clock_timestamp(), version = version + 1,
    error_code = p_code, error_message = p_message, cancelled_by = p_by
  where run_id = p_run and state = 'Syncing';
  return found;
end
$function$;

CREATE OR REPLACE FUNCTION sync_internal.not_attempted(p_run public.sync_runs)
 RETURNS integer
 LANGUAGE sql
 IMMUTABLE
AS $function$
  select case when p_run.state in ('Error', 'Cancelled')
    then p_run.listed - p_run.synced - p_run.failed - p_run.skipped else 0 end
$function$;

CREATE OR REPLACE FUNCTION sync_internal.run_json(r public.sync_runs)
 RETURNS jsonb
 LANGUAGE sql
AS $function$
  select case when r.run_id is not null then jsonb_build_object(
    'run_id', r.run_id, 'location_id', r.location_id, 'kind', r.kind, 'state', r.state,
    'started_at', r.started_at, 'ended_at', r.ended_at, 'cooldown_until', r.cooldown_until,
    'listing', r.listing, 'listing_complete', r.listing_complete, 'total_count', r.total_count,
    'known_deficit', r.known_deficit, 'listing_short', r.listing_short, 'comparing', sync_internal.is_comparing(r),
    'valid_list', r.valid_list,
    'listed', r.listed, 'synced', r.synced, 'failed', r.failed, 'skipped', r.skipped, 'unchanged', r.unchanged,
    'not_attempted', sync_internal.not_attempted(r),
    'tickets_total', r.tickets_total, 'tickets_checked', r.tickets_checked, 'ticket_types', r.ticket_types,
    'tickets_added', r.tickets_added, 'tickets_reinstated', r.tickets_reinstated,
    'tickets_cancelled', r.tickets_cancelled, 'drift_orders', r.drift_orders,
    'error_code', r.error_code, 'error_message', r.error_message,
    'requested_by', r.requested_by, 'cancelled_by', r.cancelled_by, 'retry_of', r.retry_of,
    'pulse', r.pulse, 'last_pulse_at', r.last_pulse_at, 'last_progress_at', r.last_progress_at,
    'announced_state', r.announced_state, 'now', clock_timestamp()
  ) end
$function$;

CREATE OR REPLACE FUNCTION public.record_page(request jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SET search_path TO ''
 SET lock_timeout TO '5s'
 SET jit TO 'off'
AS $function$
declare
  v_location text := sync_internal.location(request);
  v_run public.sync_runs;
  v_recorded int := 0;
  v_completes boolean := coalesce((request ->> 'listing_complete')::boolean, false);
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
    v_recorded := sync_internal.record_listed(v_run, coalesce((request ->> 'sweep')::boolean, false),
      coalesce(nullif(request -> 'orders', 'null'), '[]'));

    update public.sync_runs
    set listing = coalesce(nullif(request -> 'listing', 'null'), listing),
      listing_complete = listing_complete or v_completes,
      listing_deficit = coalesce((request ->> 'deficit')::int, listing_deficit),
      listing_short = listing_short or coalesce((request ->> 'short')::boolean, false),
      total_count = coalesce((request ->> 'total_count')::int, total_count),
      version = version + 1, last_progress_at = clock_timestamp()
    where run_id = v_run.run_id;
    if v_run.kind = 'full' and v_completes and not v_run.listing_complete
      and not coalesce((request ->> 'short')::boolean, false) then
      perform sync_internal.compare_stored(v_run.run_id);
    end if;
    perform sync_internal.finish_if_complete(v_run.run_id);
  end if;

  v_publication := sync_internal.grant_publication(v_location, v_run.run_id);
  select * into v_run from public.sync_runs where run_id = v_run.run_id;
  return jsonb_build_object(
    'run', sync_internal.run_json(v_run), 'recorded', v_recorded, 'publication', v_publication);
end
$function$;

CREATE OR REPLACE FUNCTION sync_internal.record_listed(p_run public.sync_runs, p_sweep boolean, orders jsonb)
 RETURNS integer
 LANGUAGE plpgsql
AS $function$
declare
  v_recorded int;
begin
  with triaged as materialized (
    select t.*, t.decision <> 'fetch' and t.number is not null as is_bit,
      case when t.decision = 'unchanged' then (
        select count(*) from public.ghl_qr_tickets k
        where k.order_id = t.order_id and k.status in ('live', 'validated', 'used')) else 0 end as tickets
    from sync_internal.triage_listed(p_run, p_sweep, orders) as t
    where t.decision is not null
  ), recorded as (
    insert into public.sync_outcomes
      (run_id, order_id, outcome, by_listing, change, code, reason, tickets, recorded_at, listed)
    select p_run.run_id, t.order_id,
      case t.decision when 'unchanged' then 'synced' when 'skip' then 'skipped' end,
      t.decision <> 'fetch',
      case t.decision when 'unchanged' then 'unchanged' end,
      case t.decision when 'skip' then t.code end,
      case when t.decision = 'skip' then sync_internal.why_skipped(t.code) end,
      t.tickets, case when t.decision <> 'fetch' then clock_timestamp() end,
      case when t.decision = 'fetch' then t.listed end
    from triaged t
    where not t.is_bit
    on conflict do nothing
  ), blocks as materialized (
    select number / 16384 as block,
      array_agg((number % 16384)::int) filter (where decision = 'unchanged') as unchanged,
      array_agg((number % 16384)::int) filter (where decision = 'skip') as skipped
    from triaged where is_bit group by 1
  ), noted as (
    insert into public.sync_run_bits as b (run_id, block, unchanged, skipped)
    select p_run.run_id, block, sync_internal.with_bits(null, unchanged), sync_internal.with_bits(null, skipped)
    from blocks order by block
    on conflict (run_id, block) do update set
      unchanged = sync_internal.with_bits(b.unchanged, (select n.unchanged from blocks n where n.block = b.block)),
      skipped = sync_internal.with_bits(b.skipped, (select n.skipped from blocks n where n.block = b.block))
  ), tally as (
    select count(*) as listed, count(*) filter (where decision = 'unchanged') as synced,
      count(*) filter (where decision = 'skip') as skipped, coalesce(sum(tickets), 0) as tickets
    from triaged
  ), counted as (
    update public.sync_runs as r
    set listed = r.listed + t.listed, synced = r.synced + t.synced, unchanged = r.unchanged + t.synced,
      skipped = r.skipped + t.skipped, tickets_total = r.tickets_total + t.tickets
    from tally t where r.run_id = p_run.run_id
  )
  select listed into v_recorded from tally;
  return v_recorded;
end
$function$;

CREATE OR REPLACE FUNCTION sync_internal.with_bits(p_row bytea, p_bits integer[])
 RETURNS bytea
 LANGUAGE plpgsql
 IMMUTABLE
AS $function$
declare
  v_row bytea := p_row;
  v_bit int;
begin
  if p_bits is null then
    return v_row;
  end if;
  v_row := coalesce(v_row, decode(repeat('00', 2048), 'hex'));
  foreach v_bit in array p_bits loop
    v_row := set_bit(v_row, v_bit, 1);
  end loop;
  return v_row;
end
$function$;

CREATE OR REPLACE FUNCTION sync_internal.has_bit(p_row bytea, p_number bigint)
 RETURNS boolean
 LANGUAGE sql
 IMMUTABLE
AS $function$
  select p_row is not null and get_bit(p_row, p_number % 16384) = 1
$function$;

CREATE OR REPLACE FUNCTION sync_internal.why_skipped(p_code text)
 RETURNS text
 LANGUAGE sql
 IMMUTABLE
AS $function$
  select case when p_code = 'other_location' then 'The order belongs to another location'
    else 'None of its products is in the product list' end
$function$;

CREATE OR REPLACE FUNCTION sync_internal.triage_listed(p_run public.sync_runs, p_sweep boolean, orders jsonb)
 RETURNS TABLE(order_id text, number bigint, listed jsonb, decision text, code text)
 LANGUAGE plpgsql
AS $function$
#variable_conflict use_column
begin
  return query
  with named as (
    select distinct on (i.order_id) i.order_id, i.source_updated_at, coalesce(i."foreign", false) as is_foreign,
      i.status, i.payment_status, i.amount
    from jsonb_to_recordset(orders) as i (
      order_id text, source_updated_at timestamptz, "foreign" boolean, status text, payment_status text, amount numeric)
    where nullif(i.order_id, '') is not null
    order by i.order_id, i.source_updated_at desc nulls last
  ), products as materialized (
    select sync_internal.listed_products(p_run.location_id) as listed_products
  ), known as (
    select l.*, m.number, m.fetched_at is not null as remembered, o.order_id is not null as is_stored,
      sync_internal.is_valid_now(m.valid, m.product_ids, p.listed_products) as valid_now,
      m.product_ids && p.listed_products as product_listed,
      m.source_updated_at = l.source_updated_at as same_as_remembered,
      lower(o.payment_status) = 'refunded' as is_refunded,
      -- The row tells, not the memory: it is what must be in step. An order that failed or whose tickets are due isn't.
      coalesce(o.fetched_at is not null and o.source_updated_at = l.source_updated_at and o.tickets_due is null, false)
        -- A field shows another value than the row, and than the list showed when the order was last fetched.
        and not (l.status is not null and lower(l.status) is distinct from lower(o.order_status)
          and lower(l.status) is distinct from m.listed ->> 'status')
        and not (l.payment_status is not null and lower(l.payment_status) is distinct from lower(o.payment_status)
          and lower(l.payment_status) is distinct from m.listed ->> 'payment_status')
        and not (l.amount is not null and l.amount is distinct from o.total_paid
          and l.amount is distinct from (m.listed ->> 'amount')::numeric)
        and not exists (select from public.ghl_qr_tickets_touched t where t.order_id = l.order_id)
        and not exists (
          select from public.sync_failures f
          where f.location_id = p_run.location_id and f.order_id = l.order_id) as in_step
    from named l
    cross join products p
    left join public.sync_order_memory m on m.location_id = p_run.location_id and m.order_id = l.order_id
    left join public.ghl_qr_orders o on o.order_id = l.order_id and o.location_id = p_run.location_id
    -- Limited, so that each is looked up by its key: joined at once, all of the run's outcomes would be read.
    left join lateral (
      select true as has_row from public.sync_outcomes c
      where c.run_id = p_run.run_id and c.order_id = l.order_id limit 1) as outcome on true
    left join public.sync_run_bits b on b.run_id = p_run.run_id and b.block = m.number / 16384
    where outcome.has_row is null
      and not coalesce(sync_internal.has_bit(b.unchanged, m.number) or sync_internal.has_bit(b.skipped, m.number), false)
  ), decided as (
    select k.*,
      -- Not ours when last fetched, unchanged since, and none of its products is listed now: no need to look again.
      k.remembered and not k.is_stored and not k.valid_now and coalesce(k.same_as_remembered, false)
        and not coalesce(k.product_listed, false) as known_invalid
    from known k
  )
  select d.order_id, case when not d.is_foreign then d.number end,
    nullif(jsonb_strip_nulls(
      jsonb_build_object('status', d.status, 'payment_status', d.payment_status, 'amount', d.amount)), '{}'),
    case
      when p_sweep then case
        when not d.is_foreign and not coalesce(d.is_refunded, false) and not d.known_invalid then 'fetch' end
      when d.is_foreign then 'skip'
      when p_run.kind = 'valid_list' then case
        when not d.remembered then 'fetch' when d.valid_now then 'unchanged' else 'skip' end
      when d.known_invalid then 'skip'
      when p_run.kind = 'incremental' and d.in_step then 'unchanged'
      else 'fetch'
    end,
    case when d.is_foreign then 'other_location' else 'no_valid_product' end
  from decided d;
end
$function$;

CREATE OR REPLACE FUNCTION public.compare_stored(request jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SET search_path TO ''
 SET lock_timeout TO '5s'
 SET jit TO 'off'
AS $function$
declare
  v_location text := sync_internal.location(request);
  v_run public.sync_runs;
begin
  select * into v_run from public.sync_runs
  where run_id = (sync_internal.required(request, 'run_id'))::uuid and location_id = v_location for update;
  if found and sync_internal.is_comparing(v_run) then
    perform sync_internal.compare_stored(v_run.run_id);
    select * into v_run from public.sync_runs where run_id = v_run.run_id;
  end if;
  return jsonb_build_object('run', sync_internal.run_json(v_run));
end
$function$;

CREATE OR REPLACE FUNCTION sync_internal.compare_stored(p_run uuid)
 RETURNS void
 LANGUAGE plpgsql
AS $function$
declare
  v_portion constant int := 10000;
  v_run public.sync_runs;
  v_so_far jsonb;
begin
  select * into v_run from public.sync_runs where run_id = p_run;
  v_so_far := coalesce(v_run.not_listed, '{"after": "", "orders": 0, "tickets": 0, "some": []}');

  with portion as materialized (
    select o.order_id,
      -- What came by webhook while pages were read may stand on none of them; old rows of the original app name no location.
      coalesce(o.location_id, v_run.location_id) = v_run.location_id
        and coalesce(o.fetched_at, o.inserted_at, '-infinity') < v_run.started_at as is_expected
    from public.ghl_qr_orders o
    where o.order_id > v_so_far ->> 'after' order by o.order_id limit v_portion
  ), not_listed as materialized (
    select p.order_id
    from portion p
    -- Limited, so that each is looked up by its key: joined at once, all of the run's outcomes would be read.
    left join lateral (
      select true as is_listed from public.sync_outcomes c
      where c.run_id = p_run and c.order_id = p.order_id limit 1) as outcome on true
    left join lateral (
      select sync_internal.has_bit(b.unchanged, m.number) or sync_internal.has_bit(b.skipped, m.number) as is_listed
      from public.sync_order_memory m
      join public.sync_run_bits b on b.run_id = p_run and b.block = m.number / 16384
      where m.location_id = v_run.location_id and m.order_id = p.order_id limit 1) as bit on true
    where p.is_expected and outcome.is_listed is null and not coalesce(bit.is_listed, false)
  )
  select jsonb_build_object(
    'after', coalesce((select max(order_id) from portion), ''),
    'orders', (v_so_far ->> 'orders')::int + (select count(*) from not_listed),
    'tickets', (v_so_far ->> 'tickets')::int + (
      select count(*) from not_listed n join public.ghl_qr_tickets t on t.order_id = n.order_id and t.status = 'live'),
    'some', (
      select coalesce(jsonb_agg(id), '[]') from (
        (select id from jsonb_array_elements_text(v_so_far -> 'some') as id)
        union all (select order_id from not_listed order by order_id limit 5)
        limit 5) as first_five),
    'done', (select count(*) from portion) < v_portion)
  into v_so_far;
  update public.sync_runs set not_listed = v_so_far where run_id = p_run;

  if (v_so_far ->> 'done')::boolean and (v_so_far ->> 'orders')::int > 0 then
    insert into public.sync_issues (run_id, code, message)
    values (p_run, 'orders_not_listed', format(
      '%s stored order(s) with %s live ticket(s) aren''t in GHL''s list: %s%s. Their tickets were left as they are and still '
        || 'admit. Look the orders up in GHL, and cancel the tickets of those that are gone.',
      v_so_far ->> 'orders', v_so_far ->> 'tickets',
      (select string_agg(id, ', ') from jsonb_array_elements_text(v_so_far -> 'some') as id),
      case when (v_so_far ->> 'orders')::int > 5 then ', ...' else '' end))
    on conflict do nothing;
  end if;
end
$function$;

CREATE OR REPLACE FUNCTION sync_internal.is_comparing(p_run public.sync_runs)
 RETURNS boolean
 LANGUAGE sql
 IMMUTABLE
AS $function$
  select p_run.state in ('Syncing', 'Delay', 'Completed') and p_run.not_listed is not null
    and not (p_run.not_listed ->> 'done')::boolean
$function$;

CREATE OR REPLACE FUNCTION public.dispatch_orders(request jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SET search_path TO ''
 SET lock_timeout TO '5s'
 SET jit TO 'off'
AS $function$
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
    (select run_id, order_id, position from public.sync_outcomes
      where run_id = v_run and outcome is null and dispatched_at <= v_silent_since
      order by dispatched_at limit 1000)
    union all
    (select run_id, order_id, position from public.sync_outcomes
      where run_id = v_run and outcome is null and dispatched_at is null
      order by position limit 1000)
  ), chosen as (
    select run_id, order_id, position from candidates order by position
    limit greatest(least((sync_internal.required(request, 'max_outstanding'))::int - v_outstanding,
      sync_internal.page_limit(request)), 0)
  ), dispatched as (
    -- By both parts of the key from `chosen`: with v_run here, all of the run's outcomes would be compared with what is chosen
    -- as long as the planner doesn't know the run yet.
    update public.sync_outcomes as o set dispatched_at = clock_timestamp()
    from chosen c where o.run_id = c.run_id and o.order_id = c.order_id
    returning o.order_id, o.position
  )
  select coalesce(jsonb_agg(order_id order by position), '[]') into v_ids from dispatched;
  return jsonb_build_object(
    'order_ids', v_ids, 'outstanding', v_outstanding + jsonb_array_length(v_ids));
end
$function$;

CREATE OR REPLACE FUNCTION public.valid_orders(request jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SET search_path TO ''
 SET lock_timeout TO '5s'
 SET jit TO 'off'
AS $function$
declare
  v_location text := sync_internal.location(request);
  v_run uuid := (sync_internal.required(request, 'run_id'))::uuid;
  v_limit int := greatest(1, least(coalesce((request ->> 'limit')::int, 100), 10000));
  v_products text[] := sync_internal.listed_products(v_location);
begin
  return (
    with page as materialized (
      select m.order_id, m.number, sync_internal.is_valid_now(m.valid, m.product_ids, v_products) as valid_now
      from public.sync_order_memory m
      where m.location_id = v_location and m.order_id > coalesce(request ->> 'after', '')
      order by m.order_id limit v_limit
    )
    select jsonb_build_object(
      'order_ids', coalesce(jsonb_agg(p.order_id order by p.order_id)
        filter (where p.valid_now and coalesce(outcome.is_listed, bit.is_listed, false)), '[]'),
      'next', case when count(*) = v_limit then max(p.order_id) end)
    from page p
    -- Limited, so that each is looked up by its key: joined at once, all of the run's outcomes would be read.
    left join lateral (
      select true as is_listed from public.sync_outcomes c
      where c.run_id = v_run and c.order_id = p.order_id limit 1) as outcome on true
    left join lateral (
      select sync_internal.has_bit(b.unchanged, p.number) or sync_internal.has_bit(b.skipped, p.number) as is_listed
      from public.sync_run_bits b where b.run_id = v_run and b.block = p.number / 16384 limit 1) as bit on true);
end
$function$;

CREATE OR REPLACE FUNCTION public.keep_valid_list(request jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SET search_path TO ''
 SET lock_timeout TO '5s'
 SET jit TO 'off'
AS $function$
declare
  v_location text := sync_internal.location(request);
begin
  update public.sync_runs set valid_list = nullif(request -> 'upload', 'null')
  where run_id = (sync_internal.required(request, 'run_id'))::uuid and location_id = v_location;
  return '{}';
end
$function$;

CREATE OR REPLACE FUNCTION public.sync_snapshot(request jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SET search_path TO ''
 SET lock_timeout TO '5s'
 SET jit TO 'off'
AS $function$
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
      sync_internal.needs_pulses(v_run)
      and coalesce(v_run.last_pulse_at, v_run.started_at) < clock_timestamp()
        - sync_internal.milliseconds(coalesce((request ->> 'pulse_lost_after_ms')::numeric, 30000)), false),
    'pulse', v_run.pulse + 1,
    -- For how long no grant of the rate limit has come in time to be used.
    'limiter_late_ms', (
      select sync_internal.late_ms(l, clock_timestamp()) from public.sync_limiter l where l.location_id = v_location));
end
$function$;

CREATE OR REPLACE FUNCTION public.get_run(request jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SET search_path TO ''
 SET lock_timeout TO '5s'
 SET jit TO 'off'
AS $function$
declare
  v_location text := sync_internal.location(request);
  v_limit int := sync_internal.page_limit(request);
  v_after text := coalesce(request ->> 'after', '');
  v_lists text[] := case when request ->> 'only' is null then '{failures,skips,issues,drift}'
    else array[request ->> 'only'] end;
  v_run public.sync_runs;
  v_skips jsonb := '[]';
  v_next text;
begin
  select * into v_run from public.sync_runs
  where run_id = (sync_internal.required(request, 'run_id'))::uuid and location_id = v_location;
  if not found then
    return jsonb_build_object('run', null, 'failures', '[]'::jsonb, 'skips', '[]'::jsonb, 'issues', '[]'::jsonb,
      'drift', jsonb_build_object('orders', 0, 'added', 0, 'reinstated', 0, 'cancelled', 0, 'list', '[]'::jsonb),
      'next', null);
  end if;
  if 'skips' = any (v_lists) then
    v_skips := sync_internal.skips_page(v_run, v_after, v_limit);
  end if;

  -- One page reaches as far as the shortest of the lists does, so that `after` means the same for all of them: as far as the last
  -- order of a list that fills the page.
  select min(last_id) into v_next from (
    (select order_id as last_id from public.sync_outcomes
      where run_id = v_run.run_id and outcome = 'failed' and order_id > v_after and 'failures' = any (v_lists)
      order by order_id offset v_limit - 1 limit 1)
    union all
    select v_skips -> (v_limit - 1) ->> 'order_id'
    union all
    (select order_id from public.sync_outcomes
      where run_id = v_run.run_id and order_id > v_after and 'drift' = any (v_lists)
        and tickets_added + tickets_reinstated + tickets_cancelled > 0
      order by order_id offset v_limit - 1 limit 1)
    union all
    (select distinct order_id from public.sync_issues
      where run_id = v_run.run_id and order_id > v_after and 'issues' = any (v_lists)
      order by order_id offset v_limit - 1 limit 1)
  ) as ends;

  return jsonb_build_object(
    'run', sync_internal.run_json(v_run),
    'failures', case when 'failures' = any (v_lists)
      then sync_internal.failures_page(v_location, v_run.run_id, v_after, v_next, v_limit) else '[]' end,
    'skips', (
      select coalesce(jsonb_agg(skip order by nth), '[]')
      from jsonb_array_elements(v_skips) with ordinality as s (skip, nth)
      where v_next is null or skip ->> 'order_id' <= v_next),
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
$function$;

CREATE OR REPLACE FUNCTION sync_internal.skips_page(p_run public.sync_runs, p_after text, p_limit integer)
 RETURNS jsonb
 LANGUAGE plpgsql
 STABLE
AS $function$
declare
  v_first bigint;
  v_last bigint;
  v_bits bytea;
begin
  select min(block), max(block) into v_first, v_last
  from public.sync_run_bits where run_id = p_run.run_id and skipped is not null;
  -- In one piece, so that each remembered order's bit is at hand: its row would be looked up a million times otherwise.
  select string_agg(coalesce(b.skipped, decode(repeat('00', 2048), 'hex')), '' order by n.block) into v_bits
  from generate_series(v_first, v_last) as n (block)
  left join public.sync_run_bits b on b.run_id = p_run.run_id and b.block = n.block;

  return (
    select coalesce(jsonb_agg(to_jsonb(page) order by page.order_id), '[]')
    from (
      (select order_id, class, code, reason, attempts, recorded_at as last_try_at
        from public.sync_outcomes
        where run_id = p_run.run_id and outcome = 'skipped' and order_id > p_after
        order by order_id limit p_limit)
      union all
      (select m.order_id, null, 'no_valid_product', sync_internal.why_skipped('no_valid_product'), 0, null
        from public.sync_order_memory m
        where v_bits is not null and m.location_id = p_run.location_id and m.order_id > p_after
          and case when m.number between v_first * 16384 and v_last * 16384 + 16383
            then get_bit(v_bits, m.number - v_first * 16384) = 1 end
        order by m.order_id limit p_limit)
      order by order_id limit p_limit
    ) as page);
end
$function$;

CREATE OR REPLACE FUNCTION public.purge(request jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SET search_path TO ''
 SET lock_timeout TO '5s'
 SET jit TO 'off'
AS $function$
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

  delete from public.sync_run_bits where (run_id, block) in (
    select run_id, block from public.sync_run_bits
    where run_id = any (v_old)
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
$function$;

alter table public.sync_run_bits enable row level security;

revoke all on function public.compare_stored(jsonb) from public, anon, authenticated, service_role;
grant execute on function public.compare_stored(jsonb) to service_role;

revoke all on function public.keep_valid_list(jsonb) from public, anon, authenticated, service_role;
grant execute on function public.keep_valid_list(jsonb) to service_role;

revoke all on function public.take_rest(jsonb) from public, anon, authenticated, service_role;
grant execute on function public.take_rest(jsonb) to service_role;

revoke all on function sync_internal.compare_stored(uuid) from public, anon, authenticated, service_role;
grant execute on function sync_internal.compare_stored(uuid) to service_role;

revoke all on function sync_internal.has_bit(bytea, bigint) from public, anon, authenticated, service_role;
grant execute on function sync_internal.has_bit(bytea, bigint) to service_role;

revoke all on function sync_internal.has_rest(uuid) from public, anon, authenticated, service_role;
grant execute on function sync_internal.has_rest(uuid) to service_role;

revoke all on function sync_internal.is_comparing(public.sync_runs) from public, anon, authenticated, service_role;
grant execute on function sync_internal.is_comparing(public.sync_runs) to service_role;

revoke all on function sync_internal.known_deficit(text) from public, anon, authenticated, service_role;
grant execute on function sync_internal.known_deficit(text) to service_role;

revoke all on function sync_internal.needs_pulses(public.sync_runs) from public, anon, authenticated, service_role;
grant execute on function sync_internal.needs_pulses(public.sync_runs) to service_role;

revoke all on function sync_internal.not_attempted(public.sync_runs) from public, anon, authenticated, service_role;
grant execute on function sync_internal.not_attempted(public.sync_runs) to service_role;

revoke all on function sync_internal.remember(text, text[]) from public, anon, authenticated, service_role;
grant execute on function sync_internal.remember(text, text[]) to service_role;

revoke all on function sync_internal.shown_otherwise(jsonb, public.ghl_qr_orders) from public, anon, authenticated, service_role;
grant execute on function sync_internal.shown_otherwise(jsonb, public.ghl_qr_orders) to service_role;

revoke all on function sync_internal.skips_page(public.sync_runs, text, integer) from public, anon, authenticated, service_role;
grant execute on function sync_internal.skips_page(public.sync_runs, text, integer) to service_role;

revoke all on function sync_internal.take_rest(uuid) from public, anon, authenticated, service_role;
grant execute on function sync_internal.take_rest(uuid) to service_role;

revoke all on function sync_internal.triage_listed(public.sync_runs, boolean, jsonb) from public, anon, authenticated, service_role;
grant execute on function sync_internal.triage_listed(public.sync_runs, boolean, jsonb) to service_role;

revoke all on function sync_internal.why_skipped(text) from public, anon, authenticated, service_role;
grant execute on function sync_internal.why_skipped(text) to service_role;

revoke all on function sync_internal.with_bits(bytea, integer[]) from public, anon, authenticated, service_role;
grant execute on function sync_internal.with_bits(bytea, integer[]) to service_role;

revoke all on sequence public.sync_order_memory_number_seq from public, anon, authenticated;
grant usage on sequence public.sync_order_memory_number_seq to service_role;

revoke all on public.sync_run_bits from public, anon, authenticated;
grant select, insert, update, delete on public.sync_run_bits to service_role;

-- PostgREST learns of new functions.
notify pgrst, 'reload schema';
