-- Supabase's newer projects hand out nothing by default: what isn't granted isn't there. Applied after ../local, where a missing
-- grant is to be seen, as a missing revoke is seen with what older projects hand out.

alter default privileges in schema public revoke all on tables from anon, authenticated, service_role;
alter default privileges in schema public revoke all on functions from anon, authenticated, service_role;
alter default privileges in schema public revoke all on sequences from anon, authenticated, service_role;
