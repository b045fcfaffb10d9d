-- How results reach a run, and how it ends by itself: with the last of them. A run's outcomes, bits, issues and labels are written
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

-- The orders of a batch whose run still waits for them: what is recorded of these next is the first word on them.
-- Elements of `orders` have an order_id, and may have a run_id. Locks the runs by run_id.
create or replace function sync_internal.still_open(p_location text, orders jsonb) returns text[]
language plpgsql
as $$
begin
  perform sync_internal.lock_runs(p_location, orders);
  return array(
    select distinct c.order_id
    from jsonb_to_recordset(orders) as o (run_id uuid, order_id text)
    join public.sync_runs r on r.run_id = o.run_id and r.location_id = p_location and r.state = 'Syncing'
    join public.sync_outcomes c on c.run_id = o.run_id and c.order_id = o.order_id and c.outcome is null);
end
$$;

revoke all on function sync_internal.still_open(text, jsonb) from public, anon, authenticated;
grant execute on function sync_internal.still_open(text, jsonb) to service_role;

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
