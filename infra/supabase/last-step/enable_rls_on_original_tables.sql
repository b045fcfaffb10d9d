-- The last step of moving to ghl-sync, run by hand: closes the two original tables to the anonymous key.
-- Not a migration, because the original app and its scanner write with that key until they have moved to ghl-sync's API.
-- Afterwards only the service key reads and writes them.

alter table public.ghl_qr_orders enable row level security;
alter table public.ghl_qr_tickets enable row level security;
revoke all on public.ghl_qr_orders, public.ghl_qr_tickets from public, anon, authenticated;
do $$
begin
  execute format('revoke all on sequence %s from public, anon, authenticated',
    pg_get_serial_sequence('public.ghl_qr_tickets', 'ticket_id'));
end
$$;
