-- What keeps the whole system from working, or will do so soon: the facts. What becomes a problem, and in which words, is decided in
-- shared/domain/src/problem.rs.

-- The facts of a location, as part of a snapshot: every dashboard asks for them again and again, so nothing here reads more than some rows.
-- -> {ghl_refused_ms, frames_failed_ms, known_ms, completed_ms, daily_remaining, open_tables}
-- The times tell how long ago it was: since GHL refused the access token and has accepted it no more; since frames reached nobody; since
-- this location is known; since a full or incremental run completed. `daily_remaining` is null if GHL hasn't said so for six hours.
-- Locks nothing.
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

-- Notes that GHL refuses the access token. Locks the location's row.
create or replace function sync_internal.note_ghl_refused(p_location text) returns void
language sql
as $$
  update public.sync_locations set ghl_refused_at = clock_timestamp() where location_id = p_location
$$;

revoke all on function sync_internal.note_ghl_refused(text) from public, anon, authenticated;
grant execute on function sync_internal.note_ghl_refused(text) to service_role;

-- Notes that GHL accepted the access token for what was read at p_at. Locks the location's row, and only if there is something to note.
create or replace function sync_internal.note_ghl_answered(p_location text, p_at timestamptz) returns void
language sql
as $$
  update public.sync_locations set ghl_refused_at = null where location_id = p_location and ghl_refused_at < p_at
$$;

revoke all on function sync_internal.note_ghl_answered(text, timestamptz) from public, anon, authenticated;
grant execute on function sync_internal.note_ghl_answered(text, timestamptz) to service_role;

-- Whole milliseconds since a moment; null without one.
create or replace function sync_internal.since_ms(p_at timestamptz) returns bigint
language sql volatile
as $$
  select case when p_at is not null then greatest(floor(extract(epoch from clock_timestamp() - p_at) * 1000), 0)::bigint end
$$;

revoke all on function sync_internal.since_ms(timestamptz) from public, anon, authenticated;
grant execute on function sync_internal.since_ms(timestamptz) to service_role;
