-- What a database holds of ours, as one list: [{kind, name, definition, statement, position}], by kind and name. Two databases with equal
-- lists behave alike, whatever way they were made: by schemas/, or by the migrations in their order.
--
-- `name` finds an object without its definition; columns stand by their names, so that their order doesn't count.
-- `statement` makes the object what it is, where a migration may simply say so again; null where somebody has to decide what
-- becomes of the rows that are there. `position` tells what was made first.
--
-- Not-null constraints are told with their columns: Postgres 18 lists them among the constraints as well, 15 to 17 don't.

-- Names are told with their schemas, whatever the session's own path is.
set search_path = '';

with schemas as (
  select oid, nspname, nspowner, nspacl from pg_catalog.pg_namespace where nspname in ('public', 'sync_internal')
),
relations as (
  select c.*, s.nspname || '.' || c.relname as full_name
  from pg_catalog.pg_class c join schemas s on s.oid = c.relnamespace
  where not exists (select from pg_catalog.pg_depend d where d.objid = c.oid and d.deptype = 'e')
),
functions as (
  select p.*, s.nspname || '.' || p.proname || '(' || pg_catalog.oidvectortypes(p.proargtypes) || ')' as full_name
  from pg_catalog.pg_proc p join schemas s on s.oid = p.pronamespace
  where not exists (select from pg_catalog.pg_depend d where d.objid = p.oid and d.deptype = 'e')
),
-- Whoever may do something with an object: (what GRANT calls it, its name, owner, access list or null).
granted as (
  select 'schema' as word, nspname::text as full_name, nspowner as owner,
    coalesce(nspacl, pg_catalog.acldefault('n', nspowner)) as acl
  from schemas
  union all
  select case relkind when 'S' then 'sequence' else 'table' end, full_name, relowner,
    coalesce(relacl, pg_catalog.acldefault(case relkind when 'S' then 's' else 'r' end::"char", relowner))
  from relations where relkind in ('r', 'p', 'v', 'm', 'S')
  union all
  select 'function', full_name, proowner, coalesce(proacl, pg_catalog.acldefault('f', proowner)) from functions
),
rights as (
  select g.word, g.full_name, g.owner,
    case when a.grantee = 0 then 'public' else a.grantee::regrole::text end as grantee,
    lower(a.privilege_type) || case when a.is_grantable then ' with grant option' else '' end as privilege
  from granted g cross join lateral pg_catalog.aclexplode(g.acl) as a
  where a.grantee <> g.owner
    -- New in Postgres 17, and given to nobody by us.
    and a.privilege_type <> 'MAINTAIN'
),
entries (kind, name, definition, statement, position) as (
  select 'schema', nspname::text, 'is there', 'create schema if not exists ' || nspname || ';', oid::bigint from schemas

  union all
  select 'owner', word || ' ' || full_name, owner::regrole::text, null, 0 from granted

  union all
  select 'rights', g.word || ' ' || g.full_name,
    coalesce(string_agg(r.grantee || ': ' || r.privilege, ', ' order by r.grantee, r.privilege), 'nobody but the owner'),
    'revoke all on ' || g.word || ' ' || g.full_name || ' from public, anon, authenticated, service_role;'
      || coalesce(string_agg(
        E'\ngrant ' || r.privilege || ' on ' || g.word || ' ' || g.full_name || ' to ' || r.grantee || ';', ''
        order by r.grantee, r.privilege), ''),
    0
  from granted g left join rights r using (word, full_name)
  group by g.word, g.full_name

  union all
  select 'default rights', coalesce(s.nspname || ' ', '') || d.defaclrole::regrole || ' '
      || case d.defaclobjtype when 'r' then 'tables' when 'S' then 'sequences' when 'f' then 'functions' when 'T' then 'types' else 'schemas' end,
    (select string_agg(case when a.grantee = 0 then 'public' else a.grantee::regrole::text end || ': ' || a.privilege_type, ', '
        order by a.grantee::regrole::text, a.privilege_type)
      from pg_catalog.aclexplode(d.defaclacl) as a where a.privilege_type <> 'MAINTAIN'),
    null, 0
  from pg_catalog.pg_default_acl d left join schemas s on s.oid = d.defaclnamespace
  where d.defaclnamespace = 0 or s.oid is not null

  union all
  select 'function', f.full_name,
    pg_catalog.pg_get_functiondef(f.oid),
    regexp_replace(pg_catalog.pg_get_functiondef(f.oid), E'\n$', '') || ';', f.oid::bigint
  from functions f where f.prokind in ('f', 'p')

  union all
  select 'table', full_name,
    concat_ws(', ', case relpersistence when 'p' then 'kept' else 'lost in a crash' end,
      'options ' || array_to_string(reloptions, ' ')),
    null, oid::bigint
  from relations where relkind in ('r', 'p')

  union all
  select 'row level security', full_name,
    case when relrowsecurity then 'on' else 'off' end || case when relforcerowsecurity then ', also for the owner' else '' end,
    'alter table ' || full_name || case when relrowsecurity then ' enable' else ' disable' end || ' row level security;', 0
  from relations where relkind in ('r', 'p')

  union all
  select 'view', full_name,
    concat_ws(E'\n', 'options ' || array_to_string(reloptions, ' '), pg_catalog.pg_get_viewdef(oid)),
    'create or replace view ' || full_name || coalesce(' with (' || array_to_string(reloptions, ', ') || ')', '') || ' as' || E'\n'
      || pg_catalog.pg_get_viewdef(oid),
    oid::bigint
  from relations where relkind in ('v', 'm')

  union all
  select 'sequence', full_name,
    concat_ws(', ', s.seqtypid::regtype, 'from ' || s.seqstart, 'by ' || s.seqincrement,
      s.seqmin || ' to ' || s.seqmax, 'cache ' || s.seqcache, case when s.seqcycle then 'cycles' end,
      (select 'of ' || d.refobjid::regclass || '.' || a.attname
        from pg_catalog.pg_depend d join pg_catalog.pg_attribute a on a.attrelid = d.refobjid and a.attnum = d.refobjsubid
        where d.classid = 'pg_class'::regclass and d.objid = relations.oid and d.deptype in ('a', 'i'))),
    null, oid::bigint
  from relations join pg_catalog.pg_sequence s on s.seqrelid = relations.oid

  union all
  select 'column', r.full_name || '.' || a.attname,
    concat_ws(' ', pg_catalog.format_type(a.atttypid, a.atttypmod), case when a.attnotnull then 'not null' end,
      'default ' || pg_catalog.pg_get_expr(d.adbin, d.adrelid),
      case a.attidentity when 'a' then 'generated always as identity' when 'd' then 'generated by default as identity' end,
      case a.attgenerated when 's' then 'stored' when 'v' then 'virtual' end,
      case when a.attcollation <> t.typcollation then 'collate ' || a.attcollation::regcollation end,
      case when a.attstorage <> t.typstorage
        then 'storage ' || case a.attstorage when 'p' then 'plain' when 'e' then 'external' when 'm' then 'main' else 'extended' end end,
      'rights ' || array_to_string(a.attacl, ' ')),
    null, a.attnum
  from relations r
  join pg_catalog.pg_attribute a on a.attrelid = r.oid and a.attnum > 0 and not a.attisdropped
  join pg_catalog.pg_type t on t.oid = a.atttypid
  left join pg_catalog.pg_attrdef d on d.adrelid = r.oid and d.adnum = a.attnum
  where r.relkind in ('r', 'p', 'v', 'm')

  union all
  select 'constraint', r.full_name || '.' || c.conname,
    pg_catalog.pg_get_constraintdef(c.oid) || case when c.convalidated then '' else ' (not validated)' end, null, c.oid::bigint
  from pg_catalog.pg_constraint c join relations r on r.oid = c.conrelid
  where c.contype not in ('n', 't')

  union all
  select 'index', r.full_name,
    pg_catalog.pg_get_indexdef(r.oid) || case when i.indisvalid then '' else ' (invalid)' end,
    null, r.oid::bigint
  from relations r join pg_catalog.pg_index i on i.indexrelid = r.oid

  union all
  select 'trigger', r.full_name || '.' || t.tgname,
    pg_catalog.pg_get_triggerdef(t.oid) || case t.tgenabled when 'O' then '' else ' (enabled ' || t.tgenabled::text || ')' end,
    regexp_replace(pg_catalog.pg_get_triggerdef(t.oid), '^CREATE TRIGGER', 'create or replace trigger') || ';', t.oid::bigint
  from pg_catalog.pg_trigger t join relations r on r.oid = t.tgrelid where not t.tgisinternal

  union all
  select 'policy', r.full_name || '.' || p.polname,
    concat_ws(' ', case when p.polpermissive then 'permissive' else 'restrictive' end, p.polcmd::text,
      'to ' || (select string_agg(case when o = 0 then 'public' else o::regrole::text end, ', ' order by o::regrole::text)
        from unnest(p.polroles) as o),
      'using ' || pg_catalog.pg_get_expr(p.polqual, p.polrelid),
      'with check ' || pg_catalog.pg_get_expr(p.polwithcheck, p.polrelid)),
    null, p.oid::bigint
  from pg_catalog.pg_policy p join relations r on r.oid = p.polrelid

  union all
  select 'type', s.nspname || '.' || t.typname,
    concat_ws(' ', t.typtype::text, pg_catalog.format_type(t.typbasetype, t.typtypmod),
      (select string_agg(e.enumlabel, ', ' order by e.enumsortorder) from pg_catalog.pg_enum e where e.enumtypid = t.oid),
      (select string_agg(pg_catalog.pg_get_constraintdef(c.oid), ', ') from pg_catalog.pg_constraint c where c.contypid = t.oid)),
    null, t.oid::bigint
  from pg_catalog.pg_type t join schemas s on s.oid = t.typnamespace
  where t.typtype in ('d', 'e', 'r')
    and not exists (select from pg_catalog.pg_depend d where d.objid = t.oid and d.deptype = 'e')
)
select coalesce(jsonb_agg(jsonb_build_object(
  'kind', kind, 'name', name, 'definition', definition, 'statement', statement, 'position', position)
  order by kind, name), '[]') as catalogue
from entries
