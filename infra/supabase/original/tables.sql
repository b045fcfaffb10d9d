-- The two tables of the original app, exactly as it made them, open to the anonymous key as Supabase makes them.
-- For a database that stands for one of its projects (`cargo xtask up --original`, tests); no migration.

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

create table public.ghl_qr_tickets (
  ticket_id serial primary key,
  order_id text references public.ghl_qr_orders (order_id) on delete cascade,
  ticket_type text not null,
  status text default 'live'
);
