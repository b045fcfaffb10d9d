-- Progress is published by a way of its own: whoever changes a run is told whether to ask for a publication, and one publisher per
-- location takes the newest state.
--
-- Functions of the version before go on without publishing: they find no `publication` in an answer, and take a missing one for
-- none. A run of theirs that is under way is published by the new ones.

alter table public.sync_locations
  add column if not exists publication_asked_at timestamptz,
  add column if not exists publication_seq bigint,
  add column if not exists publication_begins_at timestamptz,
  add column if not exists last_words jsonb;

alter table public.sync_runs
  drop column if exists granted_at,
  drop column if exists granted_state;

drop function if exists public.grant_publication(jsonb);
drop function if exists public.list_connections(jsonb);
drop function if exists sync_internal.grant_for_batch(text, jsonb);
drop function if exists sync_internal.grant_publication(text, uuid);

-- A function may call one that comes after it.
set check_function_bodies = off;

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
    'publication_due', sync_internal.ask_for_batch(v_location, v_orders));
end
$function$;

CREATE OR REPLACE FUNCTION public.reconcile_tickets(request jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SET search_path TO ''
 SET lock_timeout TO '5s'
 SET jit TO 'off'
 SET plan_cache_mode TO 'force_custom_plan'
AS $function$
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
    'publication_due', sync_internal.ask_for_batch(v_location, v_orders));
end
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
  v_due boolean := false;
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
    v_due := sync_internal.ask_publication(v_location, v_run.run_id);
  end if;
  if v_kind = 'incremental' and request ->> 'requested_by' = 'schedule' and sync_internal.owes_full_run(v_location, (request ->> 'full_run_within_hours')::int)
    and not sync_internal.lacks_daily_budget(v_location, 'full', (request ->> 'daily_reserve')::int) then
    v_kind := 'full';
  end if;
  if sync_internal.lacks_daily_budget(v_location, v_kind, (request ->> 'daily_reserve')::int) then
    return sync_internal.not_started('daily_budget', v_run) || jsonb_build_object('publication_due', v_due);
  end if;

  if v_kind = 'retry' then
    select * into v_old from public.sync_runs where run_id = v_retry_of and location_id = v_location;
    if v_retry_of is not null and not found then
      return sync_internal.not_started('unknown_run', null) || jsonb_build_object('publication_due', v_due);
    end if;
    if cardinality(v_ids) = 0 and not v_old.listing_complete then
      -- A retry that broke off while it took orders is begun again, as any other kind.
      v_kind := v_old.kind;
      v_retry_of := coalesce(v_old.retry_of, v_retry_of);
    end if;
    if v_kind = 'retry' and cardinality(v_ids) = 0 and not sync_internal.has_rest(v_retry_of) then
      return sync_internal.not_started('nothing_to_retry', v_old) || jsonb_build_object('publication_due', v_due);
    end if;
  end if;

  -- From now on the new run speaks for the location. The end of the one before is published first; whatever else there was left
  -- to say, nobody waits for it.
  update public.sync_locations as l set last_words = sync_internal.run_json(r)
  from public.sync_runs r
  where l.location_id = v_location and r.run_id = v_run.run_id and r.announced_state is distinct from r.state;
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
  return jsonb_build_object('started', true, 'run', sync_internal.run_json(v_run), 'pulse', v_run.pulse + 1,
    'publication_due', sync_internal.ask_publication(v_location, v_run.run_id) or v_due);
end
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
  v_due boolean := false;
begin
  select * into v_run from public.sync_runs
  where run_id = (sync_internal.required(request, 'run_id'))::uuid and location_id = v_location for update;
  if found and v_run.kind = 'retry' and v_run.state = 'Syncing' and not v_run.listing_complete then
    perform sync_internal.take_rest(v_run.run_id);
    perform sync_internal.finish_if_complete(v_run.run_id);
  end if;
  v_due := sync_internal.ask_publication(v_location, v_run.run_id);
  select * into v_run from public.sync_runs where run_id = v_run.run_id;
  return jsonb_build_object('run', sync_internal.run_json(v_run), 'publication_due', v_due);
end
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
  v_due boolean := false;
begin
  select * into v_run from public.sync_runs
  where run_id = (sync_internal.required(request, 'run_id'))::uuid and location_id = v_location for update;
  v_now := clock_timestamp();
  if not found
    or v_pulse < v_run.pulse
    or (v_pulse = v_run.pulse and v_run.claimed_until > v_now)
    or not sync_internal.needs_pulses(v_run) then
    return jsonb_build_object('accepted', false, 'run', sync_internal.run_json(v_run), 'publication_due', false);
  end if;

  update public.sync_runs
  set pulse = v_pulse, last_pulse_at = v_now,
    claimed_until = v_now + sync_internal.milliseconds(coalesce((request ->> 'claim_ms')::numeric, 0))
  where run_id = v_run.run_id;
  perform sync_internal.end_if_lease_expired(v_run.run_id);
  perform sync_internal.end_cooldown(v_run.run_id);

  v_due := sync_internal.ask_publication(v_location, v_run.run_id);
  select * into v_run from public.sync_runs where run_id = v_run.run_id;
  return jsonb_build_object('accepted', true, 'run', sync_internal.run_json(v_run), 'publication_due', v_due);
end
$function$;

CREATE OR REPLACE FUNCTION public.end_run(request jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SET search_path TO ''
 SET lock_timeout TO '5s'
 SET jit TO 'off'
AS $function$
declare
  v_location text := sync_internal.location(request);
  v_run public.sync_runs;
  v_ended boolean := false;
  v_due boolean := false;
begin
  if sync_internal.required(request, 'state') not in ('Error', 'Cancelled') then
    raise exception 'a run can only be ended as Error or Cancelled' using errcode = '22023';
  end if;
  select * into v_run from public.sync_runs
  where run_id = (sync_internal.required(request, 'run_id'))::uuid and location_id = v_location for update;
  if found and not (request ? 'dead_pulse' and sync_internal.lives_after(v_run, (request ->> 'dead_pulse')::bigint,
    sync_internal.milliseconds(coalesce((request ->> 'pulse_lost_after_ms')::numeric, 30000)))) then
    v_ended := sync_internal.break_off(v_run.run_id, request ->> 'state', request ->> 'code', request ->> 'message');
    v_due := sync_internal.ask_publication(v_location, v_run.run_id);
    select * into v_run from public.sync_runs where run_id = v_run.run_id;
  end if;
  return jsonb_build_object('ended', v_ended, 'run', sync_internal.run_json(v_run), 'publication_due', v_due);
end
$function$;

CREATE OR REPLACE FUNCTION public.cancel_run(request jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SET search_path TO ''
 SET lock_timeout TO '5s'
 SET jit TO 'off'
AS $function$
declare
  v_location text := sync_internal.location(request);
  v_run public.sync_runs;
  v_cancelled boolean;
  v_due boolean := false;
begin
  select * into v_run from public.sync_runs where location_id = v_location and state = 'Syncing' for update;
  if not found then
    return jsonb_build_object('cancelled', false, 'run', null, 'publication_due', false);
  end if;
  v_cancelled := sync_internal.break_off(v_run.run_id, 'Cancelled', null, null, request ->> 'requested_by');
  v_due := sync_internal.ask_publication(v_location, v_run.run_id);
  select * into v_run from public.sync_runs where run_id = v_run.run_id;
  return jsonb_build_object('cancelled', v_cancelled, 'run', sync_internal.run_json(v_run), 'publication_due', v_due);
end
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
  v_due boolean := false;
begin
  select * into v_run from public.sync_runs
  where run_id = (sync_internal.required(request, 'run_id'))::uuid and location_id = v_location for update;
  if not found then
    return jsonb_build_object('run', null, 'recorded', 0, 'publication_due', false);
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

  v_due := sync_internal.ask_publication(v_location, v_run.run_id);
  select * into v_run from public.sync_runs where run_id = v_run.run_id;
  return jsonb_build_object(
    'run', sync_internal.run_json(v_run), 'recorded', v_recorded, 'publication_due', v_due);
end
$function$;

CREATE OR REPLACE FUNCTION public.begin_publication(request jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SET search_path TO ''
 SET lock_timeout TO '5s'
 SET jit TO 'off'
AS $function$
declare
  v_location text := sync_internal.location(request);
  v_newest uuid := sync_internal.newest_run(v_location);
begin
  perform from public.sync_runs where run_id = v_newest for update;
  return sync_internal.begin_publication(v_location, v_newest);
end
$function$;

CREATE OR REPLACE FUNCTION public.confirm_publication(request jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SET search_path TO ''
 SET lock_timeout TO '5s'
 SET jit TO 'off'
AS $function$
declare
  v_location text := sync_internal.location(request);
  v_run uuid := (sync_internal.required(request, 'run_id'))::uuid;
  v_seq bigint := (sync_internal.required(request, 'seq'))::bigint;
  v_newest uuid := sync_internal.newest_run(v_location);
begin
  perform from public.sync_runs
  where location_id = v_location and run_id in (v_run, v_newest) order by run_id for update;
  update public.sync_runs
  set published_seq = greatest(published_seq, v_seq),
    announced_state = case
      when sync_internal.state_rank(request ->> 'state') >= coalesce(sync_internal.state_rank(announced_state), 0)
        then request ->> 'state'
      else announced_state end
  where run_id = v_run and location_id = v_location;
  -- It used up to four numbers from its first one on.
  update public.sync_locations
  set publication_seq = case when publication_seq between v_seq - 3 and v_seq then null else publication_seq end,
    last_words = case when last_words ->> 'run_id' = v_run::text and last_words ->> 'state' = request ->> 'state'
      then null else last_words end
  where location_id = v_location
    and (publication_seq between v_seq - 3 and v_seq or last_words ->> 'run_id' = v_run::text);

  if coalesce((request ->> 'next')::boolean, false) then
    return sync_internal.begin_publication(v_location, v_newest);
  end if;
  return jsonb_build_object('publication_due', sync_internal.ask_publication(v_location, v_newest));
end
$function$;

CREATE OR REPLACE FUNCTION public.give_up_publication(request jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SET search_path TO ''
 SET lock_timeout TO '5s'
 SET jit TO 'off'
AS $function$
declare
  v_location text := sync_internal.location(request);
begin
  update public.sync_locations set publication_seq = null
  where location_id = v_location and publication_seq >= (sync_internal.required(request, 'seq_first'))::bigint;
  return '{}';
end
$function$;

CREATE OR REPLACE FUNCTION sync_internal.ask_for_batch(p_location text, elements jsonb)
 RETURNS boolean
 LANGUAGE sql
AS $function$
  select sync_internal.ask_publication(p_location, (
    select r.run_id from public.sync_runs r
    where r.location_id = p_location
      and r.run_id in (select (e ->> 'run_id')::uuid from jsonb_array_elements(elements) as e)
    order by r.started_at desc limit 1))
$function$;

CREATE OR REPLACE FUNCTION sync_internal.ask_publication(p_location text, p_run uuid)
 RETURNS boolean
 LANGUAGE plpgsql
AS $function$
declare
  v_run public.sync_runs;
  v_now timestamptz;
begin
  select * into v_run from public.sync_runs where run_id = p_run and location_id = p_location for update;
  if not found or not sync_internal.has_news(v_run) or not sync_internal.speaks(v_run) then
    return false;
  end if;
  v_now := clock_timestamp();
  update public.sync_locations as l set publication_asked_at = v_now
  where l.location_id = p_location and not sync_internal.is_publishing(l, v_now)
    and (l.publication_asked_at is null or l.publication_asked_at <= v_now - interval '2 seconds');
  return found;
end
$function$;

CREATE OR REPLACE FUNCTION sync_internal.begin_publication(p_location text, p_run uuid)
 RETURNS jsonb
 LANGUAGE plpgsql
AS $function$
declare
  v_run public.sync_runs;
  v_place public.sync_locations;
  v_now timestamptz;
  v_interval interval := '0';
  v_begins_at timestamptz;
begin
  select * into v_place from public.sync_locations where location_id = p_location for update;
  select * into v_run from public.sync_runs where run_id = p_run and location_id = p_location;
  v_now := clock_timestamp();
  -- A newer run speaks for the location: its start has asked for a publication of its own.
  if sync_internal.is_publishing(v_place, v_now)
    or (v_place.last_words is null and not coalesce(sync_internal.speaks(v_run), false)) then
    return sync_internal.publication_json(p_location, null, null, v_now, v_now);
  end if;
  if v_place.last_words is null and not sync_internal.has_news(v_run) then
    update public.sync_locations set publication_asked_at = null
    where location_id = p_location and publication_asked_at is not null;
    return sync_internal.publication_json(p_location, null, null, v_now, v_now);
  end if;

  if v_place.last_words is null and v_run.state is not distinct from v_run.announced_state then
    v_interval := sync_internal.milliseconds(v_run.publish_interval_ms);
  end if;
  -- Never longer than the interval, whatever became of the clock.
  v_begins_at := least(greatest(v_now, v_place.publication_begins_at + v_interval), v_now + v_interval);
  update public.sync_locations
  set seq = seq + 4, publication_seq = seq + 1, publication_begins_at = v_begins_at, publication_asked_at = null
  where location_id = p_location
  returning * into v_place;
  if v_place.last_words is null then
    update public.sync_runs set granted_version = version, granted_seq = v_place.publication_seq
    where run_id = p_run returning * into v_run;
  end if;
  return sync_internal.publication_json(p_location, v_place.publication_seq,
    coalesce(v_place.last_words, sync_internal.run_json(v_run)), v_now, v_begins_at);
end
$function$;

CREATE OR REPLACE FUNCTION sync_internal.publication_json(p_location text, p_seq bigint, p_run jsonb, p_now timestamp with time zone, p_begins_at timestamp with time zone)
 RETURNS jsonb
 LANGUAGE sql
AS $function$
  select case when p_run is null
    then jsonb_build_object('publication', null, 'wait_ms', 0, 'connection_ids', jsonb_build_array())
    else jsonb_build_object(
      'publication', jsonb_build_object('location_id', p_location, 'seq_first', p_seq, 'run', p_run),
      'wait_ms', ceil(extract(epoch from p_begins_at - p_now) * 1000)::int,
      'connection_ids', sync_internal.open_connections(p_location)) end
$function$;

CREATE OR REPLACE FUNCTION sync_internal.newest_run(p_location text)
 RETURNS uuid
 LANGUAGE sql
AS $function$
  select run_id from public.sync_runs
  where location_id = p_location and state <> 'Skipped'
  order by started_at desc, run_id desc limit 1
$function$;

CREATE OR REPLACE FUNCTION sync_internal.speaks(p_run public.sync_runs)
 RETURNS boolean
 LANGUAGE sql
AS $function$
  select p_run.state <> 'Skipped' and not exists (
    select from public.sync_runs n
    where n.location_id = p_run.location_id and n.state <> 'Skipped'
      and (n.started_at, n.run_id) > (p_run.started_at, p_run.run_id))
$function$;

CREATE OR REPLACE FUNCTION sync_internal.has_news(p_run public.sync_runs)
 RETURNS boolean
 LANGUAGE sql
 IMMUTABLE
AS $function$
  select p_run.state is distinct from p_run.announced_state
    or (not sync_internal.is_final(p_run.state)
      and (p_run.version > p_run.granted_version or p_run.granted_seq > p_run.published_seq))
$function$;

CREATE OR REPLACE FUNCTION sync_internal.is_publishing(p_place public.sync_locations, p_now timestamp with time zone)
 RETURNS boolean
 LANGUAGE sql
 IMMUTABLE
AS $function$
  select p_place.publication_seq is not null and p_place.publication_begins_at > p_now - interval '15 seconds'
$function$;

CREATE OR REPLACE FUNCTION public.record_failures(request jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SET search_path TO ''
 SET lock_timeout TO '5s'
 SET jit TO 'off'
AS $function$
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
  return jsonb_build_object('publication_due', sync_internal.ask_for_batch(v_location, v_failures));
end
$function$;

CREATE OR REPLACE FUNCTION sync_internal.open_connections(p_location text)
 RETURNS jsonb
 LANGUAGE sql
AS $function$
  select coalesce(jsonb_agg(connection_id order by connection_id), '[]') from public.sync_connections
  where location_id = p_location and (expires_at is null or expires_at > clock_timestamp())
$function$;

revoke all on function public.begin_publication(jsonb) from public, anon, authenticated, service_role;
grant execute on function public.begin_publication(jsonb) to service_role;

revoke all on function public.give_up_publication(jsonb) from public, anon, authenticated, service_role;
grant execute on function public.give_up_publication(jsonb) to service_role;

revoke all on function sync_internal.ask_for_batch(text, jsonb) from public, anon, authenticated, service_role;
grant execute on function sync_internal.ask_for_batch(text, jsonb) to service_role;

revoke all on function sync_internal.ask_publication(text, uuid) from public, anon, authenticated, service_role;
grant execute on function sync_internal.ask_publication(text, uuid) to service_role;

revoke all on function sync_internal.begin_publication(text, uuid) from public, anon, authenticated, service_role;
grant execute on function sync_internal.begin_publication(text, uuid) to service_role;

revoke all on function sync_internal.has_news(public.sync_runs) from public, anon, authenticated, service_role;
grant execute on function sync_internal.has_news(public.sync_runs) to service_role;

revoke all on function sync_internal.is_publishing(public.sync_locations, timestamp with time zone) from public, anon, authenticated, service_role;
grant execute on function sync_internal.is_publishing(public.sync_locations, timestamp with time zone) to service_role;

revoke all on function sync_internal.newest_run(text) from public, anon, authenticated, service_role;
grant execute on function sync_internal.newest_run(text) to service_role;

revoke all on function sync_internal.open_connections(text) from public, anon, authenticated, service_role;
grant execute on function sync_internal.open_connections(text) to service_role;

revoke all on function sync_internal.publication_json(text, bigint, jsonb, timestamp with time zone, timestamp with time zone) from public, anon, authenticated, service_role;
grant execute on function sync_internal.publication_json(text, bigint, jsonb, timestamp with time zone, timestamp with time zone) to service_role;

revoke all on function sync_internal.speaks(public.sync_runs) from public, anon, authenticated, service_role;
grant execute on function sync_internal.speaks(public.sync_runs) to service_role;

-- PostgREST learns of new functions.
notify pgrst, 'reload schema';
