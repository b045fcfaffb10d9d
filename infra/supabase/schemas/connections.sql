-- The dashboards that are open: where frames are sent, and how many a person and a location may have.

-- Adds a dashboard, unless there are too many; what has expired doesn't count.
-- request: {location_id, connection_id, user_id, role, expires_at, max_per_user, max_total} -> {accepted, reason, added}
-- `added`: it wasn't known.
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
  v_added boolean;
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
  set user_id = excluded.user_id, role = excluded.role, expires_at = excluded.expires_at
  -- A row that this statement has inserted was updated by nobody.
  returning xmax = 0 into v_added;
  return jsonb_build_object('accepted', true, 'reason', null, 'added', v_added);
end
$$;

revoke all on function public.add_connection(jsonb) from public, anon, authenticated;
grant execute on function public.add_connection(jsonb) to service_role;

-- Forgets dashboards that are gone.
-- request: {location_id, connection_ids} -> {removed}: those that were known.
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
  return jsonb_build_object('removed', to_jsonb(v_ids));
end
$$;

revoke all on function public.remove_connections(jsonb) from public, anon, authenticated;
grant execute on function public.remove_connections(jsonb) to service_role;

-- The ids of the dashboards that frames are to be sent to, as a JSON list. Part of the call that begins a publication.
create or replace function sync_internal.open_connections(p_location text) returns jsonb
language sql volatile
as $$
  select coalesce(jsonb_agg(connection_id order by connection_id), '[]') from public.sync_connections
  where location_id = p_location and (expires_at is null or expires_at > clock_timestamp())
$$;

revoke all on function sync_internal.open_connections(text) from public, anon, authenticated;
grant execute on function sync_internal.open_connections(text) to service_role;
