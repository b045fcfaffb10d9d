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

alter table public.sync_run_bits enable row level security;

revoke all on function public.compare_stored(jsonb) from public, anon, authenticated, service_role;
grant execute on function public.compare_stored(jsonb) to service_role;

revoke all on function public.keep_valid_list(jsonb) from public, anon, authenticated, service_role;
grant execute on function public.keep_valid_list(jsonb) to service_role;

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
