-- What Supabase's newer projects hand out by default, and all projects for new tables since October 2026: nothing that its API could use.
-- What it can't use (truncate, references, triggers) stays with all three roles. Applied after ../local: a grant that is missing is
-- seen, as a revoke that is missing is seen with what older projects hand out.

alter default privileges in schema public
  revoke select, insert, update, delete on tables from anon, authenticated, service_role;
alter default privileges in schema public revoke usage, select on sequences from anon, authenticated, service_role;
alter default privileges in schema public revoke execute on functions from anon, authenticated, service_role;
