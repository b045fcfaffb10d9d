-- A row may be left from a record that `supabase migration repair` has removed.
insert into supabase_migrations.ghl_sync_checksums (version, sha256)
values (:'version', :'sha256')
on conflict (version) do update set sha256 = excluded.sha256, recorded_at = excluded.recorded_at;
