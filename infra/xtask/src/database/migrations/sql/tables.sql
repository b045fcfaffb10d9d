begin;
-- As the Supabase CLI makes it.
create schema if not exists supabase_migrations;
create table if not exists supabase_migrations.schema_migrations (version text not null primary key);
alter table supabase_migrations.schema_migrations add column if not exists statements text[];
alter table supabase_migrations.schema_migrations add column if not exists name text;
-- No foreign key: the CLI truncates its table.
create table if not exists supabase_migrations.ghl_sync_checksums (
  version text not null primary key,
  sha256 text not null,
  recorded_at timestamptz not null default now()
);
commit;
