-- Asks the limiter what it could grant, as `dispatch_orders` does, and tells it as the model does.
-- request: {location_id, lane, wanted?, remaining?, limits: {max, window_ms, daily_reserve?}} -> {steps: [{in_ms, calls}]}
create or replace function public.peek_slots(request jsonb) returns jsonb
language plpgsql
as $$
declare
  v_location text := sync_internal.location(request);
  v_is_bulk boolean := sync_internal.required(request, 'lane') = 'bulk';
  v_window_ms numeric := (sync_internal.required(request -> 'limits', 'window_ms'))::numeric;
  v_limiter public.sync_limiter := sync_internal.lock_limiter(v_location, v_window_ms);
  v_now timestamptz := v_limiter.last_at;
  v_max int := greatest(coalesce(v_limiter.learned_max, (sync_internal.required(request -> 'limits', 'max'))::int), 1);
  v_budget text := sync_internal.budget(v_limiter, v_is_bulk, (request -> 'limits' ->> 'daily_reserve')::numeric);
  v_steps jsonb;
  v_again_at timestamptz;
begin
  select jsonb_agg(jsonb_build_object('in_ms', sync_internal.until_ms(v_now, p.at), 'calls', p.calls) order by p.at)
      filter (where p.place <= 32),
    min(p.at) filter (where p.calls > 0)
  into v_steps, v_again_at
  from sync_internal.peek_slots(
    v_limiter, v_is_bulk, v_window_ms, v_max, coalesce((request ->> 'remaining')::numeric < 2 * v_max, false))
    with ordinality as p (at, calls, place);
  if v_budget = 'exhausted' then
    v_steps := jsonb_build_array(jsonb_build_object('in_ms', 0, 'calls', 0));
  end if;
  if v_is_bulk then
    v_limiter := sync_internal.note_asked(
      v_limiter, null, true, greatest(coalesce((request ->> 'wanted')::int, 0), 0), v_again_at, v_window_ms);
  end if;
  perform sync_internal.store_limiter(v_limiter);
  return jsonb_build_object('steps', v_steps);
end
$$;
