-- What sync needs to know beside the original columns. All nullable: the original app goes on writing rows without them.

alter table public.ghl_qr_orders
  -- GHL's updatedAt, and when this version was read (a limiter grant, by the database's clock): the stale guard.
  add column if not exists source_updated_at timestamptz,
  add column if not exists fetched_at timestamptz,
  -- [{product_id, price_id, ticket_type, quantity}]. Null: its lines were never read, so its tickets stay untouched.
  add column if not exists lines jsonb,
  add column if not exists entitled boolean,
  add column if not exists entitlement_reason text,
  add column if not exists live_mode boolean,
  -- Set by the statement that changes lines or entitlement, cleared only by reconciling: a crash between can't hide work.
  add column if not exists tickets_due timestamptz;

create index if not exists ghl_qr_orders_tickets_due
  on public.ghl_qr_orders (tickets_due) where tickets_due is not null;

alter table public.ghl_qr_tickets
  -- With order_id a ticket's identity. Null: a ticket of the original app, not adopted yet. Missing ids are ''.
  add column if not exists product_id text,
  add column if not exists price_id text,
  add column if not exists ordinal int,
  -- Who gave the ticket its present status ('sync', 'gate', 'external'; null: the original app), when and why.
  add column if not exists status_by text,
  add column if not exists status_at timestamptz,
  add column if not exists status_reason text,
  add column if not exists validated_at timestamptz,
  add column if not exists validated_by text;

-- Also serves every look-up by order.
create unique index if not exists ghl_qr_tickets_identity
  on public.ghl_qr_tickets (order_id, product_id, price_id, ordinal);
