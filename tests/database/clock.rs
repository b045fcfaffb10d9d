//! A clock that stands until a test moves it.

use serde_json::Value;

use crate::harness::TestDatabase;

/// A database whose clock stands until a test moves it: what happens a millisecond before a time and at that time is
/// then the same on every machine, and nobody waits for it. The functions are those of the migrations but for the clock
/// they read.
pub(crate) async fn with_stopped_clock() -> TestDatabase {
    let database = TestDatabase::new().await;
    database
        .execute(
            "create table sync_internal.stopped_clock as select clock_timestamp() as time;
             create function sync_internal.stopped_time() returns timestamptz
             language sql security definer set search_path = '' as 'select time from sync_internal.stopped_clock';
             do $$
             declare
               v_function text;
             begin
               for v_function in
                 select pg_get_functiondef(oid) from pg_proc
                 where pronamespace in ('public'::regnamespace, 'sync_internal'::regnamespace)
                   and prosrc like '%clock_timestamp()%'
               loop
                 execute replace(v_function, 'clock_timestamp()', 'sync_internal.stopped_time()');
               end loop;
             end
             $$",
        )
        .await;
    database.execute(include_str!("peek.sql")).await;
    let unstopped = "select oid::regprocedure::text as function from pg_proc
        where pronamespace in ('public'::regnamespace, 'sync_internal'::regnamespace)
          and prosrc ~ '(clock_timestamp|statement_timestamp|transaction_timestamp|\\mnow) *\\(|\\mcurrent_timestamp'";
    assert_eq!(database.rows(unstopped).await, Vec::<Value>::new(), "these read another clock");
    database
}

/// Moves a stopped clock, back where `ms` is negative.
pub(crate) async fn pass(database: &TestDatabase, ms: i64) {
    let moved = format!("update sync_internal.stopped_clock set time = time + interval '{ms} milliseconds'");
    database.execute(&moved).await;
}
