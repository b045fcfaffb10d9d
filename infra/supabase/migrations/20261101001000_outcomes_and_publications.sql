-- How results reach a run, how a run ends, and who publishes it.
--
-- Lock order, the same in every function, so that none can deadlock with another: advisory locks; order memory and
-- orders by order_id; tickets by ticket_id; failures by order_id; runs by run_id; the location's row last.
-- A run's outcomes, issues and labels are written only under its row lock.

-- Writes outcomes where none stands yet and counts exactly those. Elements of `outcomes`:
-- {run_id, order_id, outcome, change, class, code, reason, attempts, found, tickets, added, reinstated, cancelled}.
create or replace function sync_internal.record_outcomes(p_location text, outcomes jsonb) returns void
language plpgsql
as $$
declare
  v_runs uuid[];
begin
  select array_agg(distinct (o ->> 'run_id')::uuid) into v_runs
  from jsonb_array_elements(outcomes) as o where o ->> 'run_id' is not null;
  if v_runs is null then
    return;
  end if;
  perform from public.sync_runs
  where run_id = any (v_runs) and location_id = p_location order by run_id for update;

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

-- Ends the run once everything listed has its outcome. The caller holds the run's row lock, so exactly one does it.
create or replace function sync_internal.finish_if_complete(p_run uuid) returns void
language sql
as $$
  update public.sync_runs
  set state = 'Delay', ended_at = clock_timestamp(),
    cooldown_until = clock_timestamp() + sync_internal.milliseconds(cooldown_ms), version = version + 1
  where run_id = p_run and state = 'Syncing' and listing_complete and listed = synced + failed + skipped
$$;

-- The caller holds the run's row lock.
create or replace function sync_internal.end_cooldown(p_run uuid) returns void
language sql
as $$
  update public.sync_runs set state = 'Completed', version = version + 1
  where run_id = p_run and state = 'Delay' and cooldown_until <= clock_timestamp()
$$;

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

-- Issues as {run_id, order_id, code, message}, each noted once, while the run is syncing.
create or replace function sync_internal.note_issues(p_location text, issues jsonb) returns void
language plpgsql
as $$
begin
  if not exists (select from jsonb_array_elements(issues) as i where i ->> 'run_id' is not null) then
    return;
  end if;
  perform from public.sync_runs
  where run_id in (select (i ->> 'run_id')::uuid from jsonb_array_elements(issues) as i) and location_id = p_location
  order by run_id for update;

  insert into public.sync_issues (run_id, order_id, code, message)
  select i.run_id, coalesce(i.order_id, ''), coalesce(i.code, 'unknown'), coalesce(i.message, '')
  from jsonb_to_recordset(issues) as i (run_id uuid, order_id text, code text, message text)
  join public.sync_runs r on r.run_id = i.run_id and r.location_id = p_location and r.state = 'Syncing'
  on conflict do nothing;
end
$$;

-- Hands out at most one publication per interval, to whoever asks when something new is to be said.
-- A change of state is granted at once. What was granted but not confirmed for 2 s is granted anew.
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

-- The publication after a batch that may name several runs (a late message of an older one): the newest one's.
create or replace function sync_internal.grant_for_batch(p_location text, elements jsonb) returns jsonb
language sql
as $$
  select sync_internal.grant_publication(p_location, (
    select r.run_id from public.sync_runs r
    where r.location_id = p_location
      and r.run_id in (select (e ->> 'run_id')::uuid from jsonb_array_elements(elements) as e)
    order by r.started_at desc limit 1))
$$;
