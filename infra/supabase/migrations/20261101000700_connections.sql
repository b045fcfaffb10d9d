-- The dashboards listening now (WebSocket connections).

create table if not exists public.sync_connections (
  location_id text not null,
  connection_id text not null,
  user_id text,
  role text,
  connected_at timestamptz not null default clock_timestamp(),
  expires_at timestamptz,
  primary key (location_id, connection_id)
);
alter table public.sync_connections enable row level security;
revoke all on public.sync_connections from public, anon, authenticated;
