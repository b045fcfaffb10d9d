-- Sets the variable `state`: what is recorded, as [{"version", "sha256"}]. Creates nothing.
select to_regclass('supabase_migrations.schema_migrations') is not null as recorded,
       to_regclass('supabase_migrations.ghl_sync_checksums') is not null as checked \gset
\set state '[]'
\if :recorded
  \if :checked
    select coalesce(jsonb_agg(jsonb_build_object('version', version, 'sha256', sha256) order by version), '[]') as state
    from supabase_migrations.schema_migrations left join supabase_migrations.ghl_sync_checksums using (version) \gset
  \else
    select coalesce(jsonb_agg(jsonb_build_object('version', version, 'sha256', null) order by version), '[]') as state
    from supabase_migrations.schema_migrations \gset
  \endif
\endif
