-- Our own tables and functions are the server's alone. (RLS on the two original tables is a separate last step: see
-- ../last-step.)
--
-- Supabase grants every new object in public to anon and authenticated, so not granting isn't enough.

do $$
declare
  v_name text;
  v_function regprocedure;
begin
  foreach v_name in array array[
    'sync_locations', 'sync_limiter', 'sync_runs', 'sync_outcomes', 'sync_issues', 'sync_run_labels', 'sync_failures',
    'sync_products', 'sync_order_memory', 'sync_connections', 'ghl_qr_ticket_changes', 'ghl_qr_tickets_touched']
  loop
    execute format('alter table public.%I enable row level security', v_name);
    execute format('revoke all on public.%I from public, anon, authenticated', v_name);
    execute format('grant select, insert, update, delete on public.%I to service_role', v_name);
  end loop;

  for v_function in
    select p.oid::regprocedure from pg_catalog.pg_proc p
    where p.pronamespace = 'public'::regnamespace and p.proname = any (array[
      'acquire_slots', 'plan_orders', 'upsert_orders', 'reconcile_tickets', 'record_failures', 'start_run',
      'begin_pulse', 'record_page', 'dispatch_orders', 'due_orders', 'end_run', 'cancel_run', 'grant_publication',
      'confirm_publication', 'sync_snapshot', 'list_runs', 'get_run', 'list_failures', 'replace_products',
      'list_products', 'valid_orders', 'add_connection', 'remove_connections', 'list_connections', 'validate_ticket',
      'undo_ticket', 'purge', 'skip_run'])
      and pg_catalog.pg_get_function_identity_arguments(p.oid) = 'request jsonb'
  loop
    execute format('revoke all on function %s from public, anon, authenticated', v_function);
    execute format('grant execute on function %s to service_role', v_function);
  end loop;
end
$$;

revoke all on public.ghl_qr_tickets_out_of_step from public, anon, authenticated;
grant select on public.ghl_qr_tickets_out_of_step to service_role;

revoke all on schema sync_internal from public, anon, authenticated;
revoke all on all functions in schema sync_internal from public;
revoke all on all tables in schema sync_internal from public;
grant usage on schema sync_internal to service_role;
grant execute on all functions in schema sync_internal to service_role;
grant select on all tables in schema sync_internal to service_role;

grant select, insert, update, delete on public.ghl_qr_orders, public.ghl_qr_tickets to service_role;
grant usage on all sequences in schema public to service_role;

-- PostgREST learns of new functions.
notify pgrst, 'reload schema';
