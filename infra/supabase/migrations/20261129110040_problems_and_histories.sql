-- The status tells what keeps the whole system from working; an order's history can be read; a ticket to the WebSocket opens one
-- connection.
--
-- The version before goes on working: it names no tickets, doesn't say whom its frames reached, and leaves `system` unread.

alter table public.sync_locations add column if not exists ghl_refused_at timestamptz;
alter table public.sync_locations add column if not exists frames_failed_at timestamptz;

create table if not exists public.sync_socket_tickets (
  location_id text not null,
  ticket_id text not null,
  connection_id text not null,
  used_at timestamptz not null default clock_timestamp(),
  primary key (location_id, ticket_id)
);

alter table public.sync_socket_tickets enable row level security;
revoke all on public.sync_socket_tickets from public, anon, authenticated;
grant select, insert, update, delete on public.sync_socket_tickets to service_role;

-- A function may call one that comes after it.
set check_function_bodies = off;

create or replace function sync_internal.since_ms(p_at timestamptz) returns bigint
language sql volatile
as $$
  select case when p_at is not null then greatest(floor(extract(epoch from clock_timestamp() - p_at) * 1000), 0)::bigint end
$$;

revoke all on function sync_internal.since_ms(timestamptz) from public, anon, authenticated;
grant execute on function sync_internal.since_ms(timestamptz) to service_role;

create or replace function sync_internal.note_ghl_answered(p_location text, p_at timestamptz) returns void
language sql
as $$
  update public.sync_locations set ghl_refused_at = null where location_id = p_location and ghl_refused_at < p_at
$$;

revoke all on function sync_internal.note_ghl_answered(text, timestamptz) from public, anon, authenticated;
grant execute on function sync_internal.note_ghl_answered(text, timestamptz) to service_role;

create or replace function sync_internal.note_ghl_refused(p_location text) returns void
language sql
as $$
  update public.sync_locations set ghl_refused_at = clock_timestamp() where location_id = p_location
$$;

revoke all on function sync_internal.note_ghl_refused(text) from public, anon, authenticated;
grant execute on function sync_internal.note_ghl_refused(text) to service_role;

create or replace function sync_internal.completed_at(p_location text, p_kinds text[]) returns timestamptz
language sql stable
as $$
  -- What began later is the newer, since one runs at a time.
  select ended_at from public.sync_runs
  where location_id = p_location and kind = any (p_kinds) and state in ('Delay', 'Completed')
  order by started_at desc, run_id desc limit 1
$$;

revoke all on function sync_internal.completed_at(text, text[]) from public, anon, authenticated;
grant execute on function sync_internal.completed_at(text, text[]) to service_role;

create or replace function sync_internal.system_state(p_location text) returns jsonb
language sql volatile
as $$
  select jsonb_build_object(
    'ghl_refused_ms', sync_internal.since_ms(l.ghl_refused_at),
    'frames_failed_ms', sync_internal.since_ms(l.frames_failed_at),
    'known_ms', sync_internal.since_ms(l.created_at),
    'completed_ms', sync_internal.since_ms(sync_internal.completed_at(p_location, '{full,incremental}')),
    'daily_remaining', (
      select m.daily_remaining from public.sync_limiter m
      where m.location_id = p_location and m.daily_observed_at > clock_timestamp() - interval '6 hours'),
    'open_tables', sync_internal.open_tables())
  from public.sync_locations l where l.location_id = p_location
$$;

revoke all on function sync_internal.system_state(text) from public, anon, authenticated;
grant execute on function sync_internal.system_state(text) to service_role;

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
    'run', sync_internal.shown_run(v_run),
    'needs_pulse', coalesce(
      sync_internal.needs_pulses(v_run)
      and coalesce(v_run.last_pulse_at, v_run.started_at) < clock_timestamp()
        - sync_internal.milliseconds(coalesce((request ->> 'pulse_lost_after_ms')::numeric, 30000)), false),
    'pulse', v_run.pulse + 1,
    -- For how long no grant of the rate limit has come in time to be used.
    'limiter_late_ms', (
      select sync_internal.late_ms(l, clock_timestamp()) from public.sync_limiter l where l.location_id = v_location),
    'system', sync_internal.system_state(v_location));
end
$function$;

revoke all on function public.sync_snapshot(jsonb) from public, anon, authenticated;
grant execute on function public.sync_snapshot(jsonb) to service_role;

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
  v_ended boolean;
begin
  perform from public.sync_runs
  where location_id = v_location and run_id in (v_run, v_newest) order by run_id for update;
  v_ended := sync_internal.tells_end(v_location, v_run, request ->> 'state');
  update public.sync_runs
  set published_seq = greatest(published_seq, v_seq),
    announced_state = case
      when sync_internal.state_rank(request ->> 'state') >= coalesce(sync_internal.state_rank(announced_state), 0)
        then request ->> 'state'
      else announced_state end,
    announced_count = announced_count or coalesce((request ->> 'counted')::boolean, false)
  where run_id = v_run and location_id = v_location;
  -- It used up to four numbers from its first one on.
  update public.sync_locations
  set publication_seq = case when publication_seq between v_seq - 3 and v_seq then null else publication_seq end,
    last_words = case when last_words ->> 'run_id' = v_run::text and last_words ->> 'state' = request ->> 'state'
      then null else last_words end,
    frames_failed_at = case (request ->> 'reached')::boolean
      when false then clock_timestamp() when true then null else frames_failed_at end
  where location_id = v_location
    and (publication_seq between v_seq - 3 and v_seq or last_words ->> 'run_id' = v_run::text);

  if coalesce((request ->> 'next')::boolean, false) then
    return sync_internal.begin_publication(v_location, v_newest, (request ->> 'count_within_ms')::numeric)
      || jsonb_build_object('ended', v_ended);
  end if;
  return jsonb_build_object('publication_due', sync_internal.ask_publication(v_location, v_newest), 'ended', v_ended);
end
$function$;

revoke all on function public.confirm_publication(jsonb) from public, anon, authenticated;
grant execute on function public.confirm_publication(jsonb) to service_role;

create or replace function public.end_run(request jsonb) returns jsonb
language plpgsql set search_path = '' set lock_timeout = '5s' set jit = off
as $$
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
    if v_ended and request ->> 'code' = 'ghl_unauthorized' then
      perform sync_internal.note_ghl_refused(v_location);
    end if;
    select * into v_run from public.sync_runs where run_id = v_run.run_id;
  end if;
  return jsonb_build_object('ended', v_ended, 'run', sync_internal.run_json(v_run), 'publication_due', v_due);
end
$$;

revoke all on function public.end_run(jsonb) from public, anon, authenticated;
grant execute on function public.end_run(jsonb) to service_role;

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
  v_first text[];
  v_due boolean;
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

  perform sync_internal.forget_unread(v_location, array(
    select i ->> 'order_id' from jsonb_array_elements(v_failures) as i where i ->> 'code' = 'order_not_found'));

  v_first := sync_internal.still_open(v_location, v_failures);
  perform sync_internal.record_outcomes(v_location, coalesce((
    select jsonb_agg(i || '{"outcome": "failed"}') from jsonb_array_elements(v_failures) as i
    where i ->> 'run_id' is not null), '[]'));
  v_due := sync_internal.ask_for_batch(v_location, v_failures);
  if exists (select from jsonb_array_elements(v_failures) as i where i ->> 'code' = 'ghl_unauthorized') then
    perform sync_internal.note_ghl_refused(v_location);
  end if;
  return jsonb_build_object(
    'first', (
      select coalesce(jsonb_agg(distinct i ->> 'order_id'), '[]') from jsonb_array_elements(v_failures) as i
      where i ->> 'run_id' is null or i ->> 'order_id' = any (v_first)),
    'publication_due', v_due);
end
$function$;

revoke all on function public.record_failures(jsonb) from public, anon, authenticated;
grant execute on function public.record_failures(jsonb) to service_role;

create or replace function public.upsert_orders(request jsonb) returns jsonb
language plpgsql set search_path = '' set lock_timeout = '5s' set jit = off
as $$
declare
  v_location text := sync_internal.location(request);
  v_orders jsonb := coalesce(nullif(request -> 'orders', 'null'), '[]');
  v_ids text[];
  v_listed jsonb;
  v_results jsonb;
  v_lines_before jsonb;
  v_due boolean;
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
  perform sync_internal.lock_memory(v_location, v_ids);
  perform from public.ghl_qr_orders where order_id = any (v_ids) order by order_id for no key update;

  select coalesce(jsonb_object_agg(c.order_id, c.listed), '{}') into v_listed
  from jsonb_array_elements(v_orders) as o
  join public.sync_outcomes c on c.run_id = (o ->> 'run_id')::uuid and c.order_id = o ->> 'order_id'
  where c.listed is not null;

  -- One statement from here, begun after the locks: it decides by what is true now, and writes what it decided.
  with judged as materialized (
    select * from sync_internal.judge_reads(v_location, sync_internal.without_forgotten(v_location, v_orders))
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
      awaited_until = null,
      confirmed_at = case when j.result in ('written', 'unchanged') and not j.remember_only
        then greatest(m.confirmed_at, j.fetched_at) else m.confirmed_at end,
      source_updated_at = case when j.result <> 'stale' and (m.fetched_at is null or j.fetched_at >= m.fetched_at)
        then j.source_updated_at else m.source_updated_at end,
      product_ids = case when j.result <> 'stale' and not j.keeps_lines
        and (m.fetched_at is null or j.fetched_at >= m.fetched_at) then j.product_ids else m.product_ids end,
      valid = case when j.result <> 'stale' and not (j.keeps_lines and m.valid is not null)
        and (m.fetched_at is null or j.fetched_at >= m.fetched_at) then j.valid else m.valid end,
      incomplete = case when j.result <> 'stale' and (m.fetched_at is null or j.fetched_at >= m.fetched_at)
        then j.incomplete else m.incomplete end,
      lines_hash = case when j.result <> 'stale' and not j.remember_only then j.lines_hash else m.lines_hash end,
      lines_since = case when j.result = 'stale' or j.remember_only or j.lines_hash is not distinct from m.lines_hash
        then m.lines_since when j.lines_hash is not null then clock_timestamp() end,
      listed = case when v_listed ? j.order_id and j.result in ('written', 'unchanged') and not j.remember_only
        then sync_internal.shown_otherwise(v_listed -> j.order_id, j.next) else m.listed end
    from judged j
    where m.location_id = v_location and m.order_id = j.order_id and j.reason is distinct from 'other_location'
  )
  select coalesce(jsonb_agg(jsonb_build_object(
      'order_id', j.order_id, 'result', j.result, 'reason', j.reason, 'issues', j.issues, 'lines_hash', j.lines_hash,
      'valid', j.valid, 'entitled', j.entitled,
      'remember_only', j.remember_only) order by j.order_id), '[]'),
    jsonb_object_agg(j.order_id, j.lines_before) filter (where j.lines_before is not null)
  into v_results, v_lines_before from judged j;

  if v_lines_before is not null then
    perform sync_internal.take_on_tickets(v_lines_before);
  end if;

  perform sync_internal.settle_upserted(v_location, v_orders, v_results);
  v_due := sync_internal.ask_for_batch(v_location, v_orders);
  perform sync_internal.note_ghl_answered(v_location, (
    select max((o ->> 'fetched_at')::timestamptz) from jsonb_array_elements(v_orders) as o));
  return jsonb_build_object(
    'orders', (select coalesce(jsonb_agg(r - 'remember_only'), '[]') from jsonb_array_elements(v_results) as r),
    'publication_due', v_due);
end
$$;

revoke all on function public.upsert_orders(jsonb) from public, anon, authenticated;
grant execute on function public.upsert_orders(jsonb) to service_role;

create or replace function public.record_page(request jsonb) returns jsonb
language plpgsql set search_path = '' set lock_timeout = '5s' set jit = off
as $$
declare
  v_location text := sync_internal.location(request);
  v_run public.sync_runs;
  v_recorded int := 0;
  v_completes boolean := coalesce((request ->> 'listing_complete')::boolean, false);
  v_due boolean := false;
  v_dispatch jsonb;
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
    v_dispatch := sync_internal.dispatch_besides(request);
  end if;

  v_due := sync_internal.ask_publication(v_location, v_run.run_id);
  if v_run.state = 'Syncing' then
    perform sync_internal.note_ghl_answered(v_location, clock_timestamp());
  end if;
  select * into v_run from public.sync_runs where run_id = v_run.run_id;
  return jsonb_build_object(
    'run', sync_internal.run_json(v_run), 'recorded', v_recorded, 'publication_due', v_due, 'dispatch', v_dispatch);
end
$$;

revoke all on function public.record_page(jsonb) from public, anon, authenticated;
grant execute on function public.record_page(jsonb) to service_role;

CREATE OR REPLACE FUNCTION public.add_connection(request jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SET search_path TO ''
 SET lock_timeout TO '5s'
 SET jit TO 'off'
AS $function$
declare
  v_location text := sync_internal.location(request);
  v_connection text := sync_internal.required(request, 'connection_id');
  v_ticket text := nullif(request ->> 'ticket_id', '');
  v_user text := request ->> 'user_id';
  v_of_user int;
  v_total int;
  v_added boolean;
begin
  -- One at a time, or two could both take the last place.
  perform sync_internal.serialize('connections', v_location);
  if exists (
    select from public.sync_socket_tickets
    where location_id = v_location and ticket_id = v_ticket and connection_id <> v_connection
  ) then
    return jsonb_build_object('accepted', false, 'reason', 'ticket_used');
  end if;
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

  if v_ticket is not null then
    insert into public.sync_socket_tickets (location_id, ticket_id, connection_id)
    values (v_location, v_ticket, v_connection) on conflict do nothing;
  end if;
  insert into public.sync_connections (location_id, connection_id, user_id, role, expires_at)
  values (v_location, v_connection, v_user, request ->> 'role', (request ->> 'expires_at')::timestamptz)
  on conflict (location_id, connection_id) do update
  set user_id = excluded.user_id, role = excluded.role, expires_at = excluded.expires_at
  -- A row that this statement has inserted was updated by nobody.
  returning xmax = 0 into v_added;
  return jsonb_build_object('accepted', true, 'reason', null, 'added', v_added);
end
$function$;

revoke all on function public.add_connection(jsonb) from public, anon, authenticated;
grant execute on function public.add_connection(jsonb) to service_role;

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

  -- A ticket is good for a minute.
  delete from public.sync_socket_tickets where (location_id, ticket_id) in (
    select location_id, ticket_id from public.sync_socket_tickets
    where location_id = v_location and used_at < clock_timestamp() - interval '10 minutes'
    limit v_limit for update skip locked);
  get diagnostics v_rows = row_count;
  v_deleted := v_deleted + v_rows;

  -- Two minutes after it nobody gets a scan's answer again. Kept for questions, and so that its name stays taken.
  delete from public.gate_scans where (location_id, scan_id) in (
    select location_id, scan_id from public.gate_scans
    where location_id = v_location and scanned_at < clock_timestamp() - interval '30 days'
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
  v_deleted := v_deleted + v_rows;

  -- What was named and never read: GHL has no such order, or the message died. It is found by its failure.
  delete from public.sync_order_memory where (location_id, order_id) in (
    select m.location_id, m.order_id
    from public.sync_failures f join public.sync_order_memory m using (location_id, order_id)
    where location_id = v_location and m.fetched_at is null and f.last_try_at < clock_timestamp() - interval '1 hour'
    limit v_limit for update of m skip locked);
  get diagnostics v_rows = row_count;
  v_deleted := v_deleted + v_rows;

  delete from public.sync_failures where (location_id, order_id) in (
    select location_id, order_id from public.sync_failures f
    where location_id = v_location and code = 'order_not_found' and last_try_at < clock_timestamp() - interval '30 days'
      and not exists (select from public.ghl_qr_orders o where o.order_id = f.order_id)
    limit v_limit for update skip locked);
  get diagnostics v_rows = row_count;
  return jsonb_build_object('deleted', v_deleted + v_rows);
end
$$;

revoke all on function public.purge(jsonb) from public, anon, authenticated;
grant execute on function public.purge(jsonb) to service_role;

create or replace function sync_internal.order_facts(p_location text, p_order_id text) returns jsonb
language sql stable
as $$
  select jsonb_build_object(
    'status', o.order_status, 'payment_status', o.payment_status, 'total_paid', trim_scale(o.total_paid),
    'refunded', trim_scale(r.refunded), 'currency', o.payment_currency, 'event_name', o.event_name,
    'date_added', o.date_added, 'source_updated_at', o.source_updated_at, 'fetched_at', o.fetched_at,
    'live_mode', o.live_mode, 'entitled', o.entitled, 'entitlement_reason', o.entitlement_reason, 'lines', o.lines,
    'is_due', o.tickets_due is not null,
    'valid', case when m.fetched_at is not null
      then sync_internal.is_valid_now(m.valid, m.product_ids, sync_internal.listed_products(p_location)) end,
    'forgotten', exists (
      select from public.sync_forgotten_contacts f
      where f.contact_id = o.contact_id and f.location_id = p_location))
  from public.ghl_qr_orders o
  left join public.sync_order_memory m on m.location_id = p_location and m.order_id = o.order_id
  left join public.sync_refunds r on r.location_id = p_location and r.order_id = o.order_id
  -- Old rows of the original app name no location.
  where o.order_id = p_order_id and coalesce(o.location_id, p_location) = p_location
$$;

revoke all on function sync_internal.order_facts(text, text) from public, anon, authenticated;
grant execute on function sync_internal.order_facts(text, text) to service_role;

create or replace function sync_internal.failures_of_order(p_location text, p_order_id text) returns jsonb
language sql volatile
as $$
  select coalesce(jsonb_agg(to_jsonb(newest) order by newest.at desc), '[]')
  from (
    select *
    from (
      select null::uuid as run_id, f.last_try_at as at, f.cause, f.class, f.code, f.reason, f.attempts
      from public.sync_failures f
      where f.location_id = p_location and f.order_id = p_order_id
      union all
      select r.run_id, c.recorded_at, 'run', c.class, c.code, c.reason, c.attempts
      from public.sync_runs r
      cross join lateral (
        select * from public.sync_outcomes o
        where o.run_id = r.run_id and o.order_id = p_order_id and o.outcome = 'failed' offset 0
      ) as c
      where r.location_id = p_location and r.failed > 0 and r.started_at > clock_timestamp() - interval '30 days'
    ) as every_one
    order by at desc limit 100
  ) as newest
$$;

revoke all on function sync_internal.failures_of_order(text, text) from public, anon, authenticated;
grant execute on function sync_internal.failures_of_order(text, text) to service_role;

create or replace function sync_internal.issues_of_order(p_location text, p_order_id text) returns jsonb
language sql volatile
as $$
  select coalesce(jsonb_agg(to_jsonb(newest) order by newest.at desc), '[]')
  from (
    select r.run_id, i.noted_at as at, i.code, i.message
    from public.sync_runs r
    cross join lateral (
      select * from public.sync_issues n where n.run_id = r.run_id and n.order_id = p_order_id offset 0
    ) as i
    where r.location_id = p_location and r.started_at > clock_timestamp() - interval '30 days'
    order by i.noted_at desc limit 100
  ) as newest
$$;

revoke all on function sync_internal.issues_of_order(text, text) from public, anon, authenticated;
grant execute on function sync_internal.issues_of_order(text, text) to service_role;

create or replace function public.order_history(request jsonb) returns jsonb
language plpgsql set search_path = '' set lock_timeout = '5s' set jit = off
as $$
declare
  v_location text := sync_internal.location(request);
  v_id text := sync_internal.required(request, 'order_id');
  v_limit int := sync_internal.page_limit(request);
  v_before bigint := nullif(request ->> 'before', '')::bigint;
  v_order jsonb := sync_internal.order_facts(v_location, v_id);
  v_is_ours boolean;
  v_tickets jsonb := '[]';
  v_changes jsonb := '[]';
  v_failures jsonb := sync_internal.failures_of_order(v_location, v_id);
begin
  -- The history outlives a deleted order, and doesn't say whose it was: what is remembered of it does.
  v_is_ours := v_order is not null or (
    exists (select from public.sync_order_memory where location_id = v_location and order_id = v_id)
    and not exists (select from public.ghl_qr_orders where order_id = v_id));
  if v_is_ours then
    select coalesce(jsonb_agg(jsonb_build_object('ticket_id', ticket_id, 'ticket_type', ticket_type, 'status', status,
      'validated_at', validated_at) order by ticket_id), '[]') into v_tickets
    from public.ghl_qr_tickets where order_id = v_id;
    select coalesce(jsonb_agg(to_jsonb(page) order by page.change_id desc), '[]') into v_changes
    from (
      select change_id, ticket_id, changed_at, changed_by, reason, old_status, new_status, old_type, new_type
      from public.ghl_qr_ticket_changes
      where order_id = v_id and (v_before is null or change_id < v_before)
      order by change_id desc limit v_limit
    ) as page;
  end if;
  return jsonb_build_object('found', v_is_ours or v_failures <> '[]', 'order', v_order, 'tickets', v_tickets,
    'changes', v_changes, 'failures', v_failures, 'issues', sync_internal.issues_of_order(v_location, v_id),
    'next', case when jsonb_array_length(v_changes) = v_limit then v_changes -> -1 ->> 'change_id' end);
end
$$;

revoke all on function public.order_history(jsonb) from public, anon, authenticated;
grant execute on function public.order_history(jsonb) to service_role;

-- PostgREST learns of new functions.
notify pgrst, 'reload schema';
