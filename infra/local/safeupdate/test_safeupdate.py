"""No function of ours updates or deletes without a condition, which hosted projects refuse. Run by `cargo xtask test mends`."""

import unittest
from pathlib import Path

from safeupdate import refused

SUPABASE = Path(__file__).resolve().parents[2] / "supabase"


def sql(body: str) -> str:
    return f"create function f() returns setof int language sql as $$ {body} $$"


def plpgsql(body: str, variables: str = "") -> str:
    return f"create function f() returns setof int language plpgsql as $$ declare n int; {variables} begin {body} end $$"


class OurFunctions(unittest.TestCase):
    def test_none_is_refused(self):
        functions = {}
        for directory in ("schemas", "last-step"):
            for file in sorted((SUPABASE / directory).glob("*.sql")):
                functions |= refused(file.read_text())
        self.assertGreater(len(functions), 70, "the files aren't read as they are meant")
        self.assertEqual({name: found for name, found in functions.items() if found}, {})

    def test_a_condition_that_goes_missing_in_them_is_named(self):
        for file, whole, without, function, what in [
            ("publications", "set publication_asked_at = null\n    where location_id = p_location and publication_asked_at is not null",
             "set publication_asked_at = null", "sync_internal.begin_publication", "update of sync_locations"),
            ("upkeep", "delete from public.sync_run_labels where run_id = any (v_finished)", "delete from public.sync_run_labels",
             "public.purge", "delete of sync_run_labels"),
            ("outcomes", "where run_id = p_run and state = 'Syncing' and listing_complete and listed = synced + failed + skipped", "",
             "sync_internal.finish_if_complete", "update of sync_runs"),
            ("tickets", "update public.ghl_qr_orders set tickets_due = null where order_id = any (v_ids) and tickets_due is not null",
             "update public.ghl_qr_orders set tickets_due = null", "sync_internal.reconcile", "update of ghl_qr_orders"),
        ]:
            with self.subTest(file):
                text = (SUPABASE / f"schemas/{file}.sql").read_text()
                self.assertEqual(text.count(whole), 1)
                found = refused(text.replace(whole, without))
                self.assertEqual(found[function], [f"{what} without a condition"])


class WhereAStatementMayStand(unittest.TestCase):
    def test_without_a_condition_it_is_found(self):
        for text in [
            sql("select 1; delete from t returning id"),
            sql("with gone as (delete from t returning id) select id from gone"),
            sql("with gone as (delete from t returning id) update u set n = 1 from gone where u.id = gone.id returning u.id"),
            # A join's condition isn't the statement's.
            sql("update t set n = 1 from u join v on u.id = v.id returning t.id"),
            "create function f() returns void begin atomic; select 1; delete from t; end",
            plpgsql("delete from t;"),
            plpgsql("if n > 1 then begin loop update t set n = 1; end loop; exception when others then null; end; end if;"),
            plpgsql("return query update t set n = 1 returning id;"),
            plpgsql("for n in delete from t returning id loop null; end loop;"),
            plpgsql("with gone as (delete from t returning id) select count(*) into n from gone;"),
            plpgsql("open c; close c;", variables="c cursor for with g as (delete from t returning id) select id from g;"),
            "create function f() returns trigger language plpgsql as $$ begin delete from t; return null; end $$",
            "create procedure f() language plpgsql as $$ begin delete from t; end $$",
        ]:
            with self.subTest(text):
                (found,) = refused(text).values()
                self.assertEqual(len(found), 1, found)
                self.assertRegex(found[0], "(update|delete) of t without a condition")

    def test_with_one_it_is_not(self):
        for text in [
            sql("delete from t where true returning id"),
            sql("insert into t values (1) on conflict (id) do update set n = 1 returning id"),
            plpgsql("update t set n = 1 where id = n; return query select 1 for update;"),
            plpgsql("n := (select max(id) from t where note = 'delete from t'); -- update t set n = 1\n"),
        ]:
            with self.subTest(text):
                self.assertEqual(refused(text), {"f": []})

    def test_what_nobody_can_read_is_refused(self):
        for text in [
            plpgsql("execute 'delete from t';"),
            plpgsql("for n in execute 'delete from t returning id' loop null; end loop;"),
            plpgsql("return query execute 'delete from t returning id';"),
            plpgsql("open c for execute 'select 1';", variables="c refcursor;"),
            "create function f() returns int language plpython3u as $$ return 1 $$",
        ]:
            with self.subTest(text):
                (found,) = refused(text).values()
                self.assertIn("can't be read here", "".join(found))


if __name__ == "__main__":
    unittest.main()
