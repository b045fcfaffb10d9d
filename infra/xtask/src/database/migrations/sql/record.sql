-- The whole file as one statement.
insert into supabase_migrations.schema_migrations (version, name, statements)
values (:'version', :'name', array[:'content']);
