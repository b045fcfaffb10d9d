-- The two tables of the original app, exactly as it made them. An existing database keeps its own, as open as they are:
-- the original app writes with the anonymous key until the last step. Where they are made here, nobody but the server
-- reaches them from the start: Supabase grants every new table, and its sequence, to anon and authenticated.

do $$
begin
  if to_regclass('public.ghl_qr_orders') is null then
    create table public.ghl_qr_orders (
      order_id text primary key,
      location_id text,
      total_paid numeric,
      payment_status text,
      payment_currency text,
      order_status text,
      contact_id text,
      contact_firstname text,
      contact_lastname text,
      contact_email text,
      contact_phone text,
      date_added timestamptz,
      inserted_at timestamptz default now(),
      updated_at timestamptz default now(),
      event_id text,
      event_name text,
      event_image text,
      event_ticket_price numeric,
      event_ticket_currency text,
      event_available_qty int,
      event_ticket_qty int,
      event_ticket_type text,
      qr_code_image text,
      ticket_quantities jsonb
    );
    alter table public.ghl_qr_orders enable row level security;
    revoke all on public.ghl_qr_orders from public, anon, authenticated;
  end if;
end
$$;

do $$
begin
  if to_regclass('public.ghl_qr_tickets') is null then
    create table public.ghl_qr_tickets (
      ticket_id serial primary key,
      order_id text references public.ghl_qr_orders (order_id) on delete cascade,
      ticket_type text not null,
      status text default 'live'
    );
    alter table public.ghl_qr_tickets enable row level security;
    revoke all on public.ghl_qr_tickets from public, anon, authenticated;
    revoke all on sequence public.ghl_qr_tickets_ticket_id_seq from public, anon, authenticated;
  end if;
end
$$;
