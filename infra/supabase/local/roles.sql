-- Supabase's roles on a plain Postgres, so that grants and RLS mean the same on one machine as in the cloud.
-- Applied only locally, before the migrations; a Supabase project has these roles already.

do $$
begin
  if not exists (select from pg_roles where rolname = 'anon') then
    create role anon nologin noinherit;
  end if;
  if not exists (select from pg_roles where rolname = 'authenticated') then
    create role authenticated nologin noinherit;
  end if;
  if not exists (select from pg_roles where rolname = 'service_role') then
    create role service_role nologin noinherit bypassrls;
  end if;
  -- PostgREST logs in as authenticator and becomes the role that the JWT names.
  if not exists (select from pg_roles where rolname = 'authenticator') then
    create role authenticator login noinherit;
  end if;
exception
  -- Roles belong to the whole server: somebody setting up another database made them at the same moment.
  when duplicate_object or unique_violation then null;
end
$$;

grant anon, authenticated, service_role to authenticator;

-- How long a statement may take, as in a project: PostgREST logs in as authenticator, whose limits hold for service_role too, which
-- has none of its own; anon and authenticated have theirs. Set only where they aren't: two sessions that set them at once collide.
do $$
declare
  wanted record;
begin
  for wanted in
    select * from (values
      ('authenticator', 'statement_timeout', '8s'), ('authenticator', 'lock_timeout', '8s'),
      ('authenticated', 'statement_timeout', '8s'), ('anon', 'statement_timeout', '3s')) as w (role, setting, value)
    where not exists (
      select from pg_roles r
      where r.rolname = w.role and format('%s=%s', w.setting, w.value) = any (r.rolconfig))
  loop
    execute format('alter role %I set %I = %L', wanted.role, wanted.setting, wanted.value);
  end loop;
end
$$;

grant usage on schema public to anon, authenticated, service_role;

-- Supabase hands every new object in public to all three roles. Repeating that here makes a missing revoke show up in tests.
alter default privileges in schema public grant all on tables to anon, authenticated, service_role;
alter default privileges in schema public grant all on functions to anon, authenticated, service_role;
alter default privileges in schema public grant all on sequences to anon, authenticated, service_role;
