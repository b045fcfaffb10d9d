//! Webhooks' notices: which of them a fetch has served, which wait for one under way, which are to be fetched.

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::harness::{TestDatabase, call};
use crate::orders::{READ_AT, line, order, reconcile, sync, upsert, with};

/// Asks about notices, each `{order_id, sent_at, received_at?, first_try?}`.
async fn plan(database: &TestDatabase, notices: Value) -> Value {
    let mut plan = database.call("plan_orders", json!({"orders": notices, "claim_ms": 60000})).await;
    let plan_fields = plan.as_object_mut().unwrap();
    assert!(plan_fields.remove("now").is_some() && plan_fields.remove("due").is_some());
    plan
}

/// A time of the database's clock, so many milliseconds from now.
async fn from_now(database: &TestDatabase, ms: i32) -> Value {
    database.value(&format!("clock_timestamp() + {ms} * interval '1 millisecond'")).await
}

#[tokio::test]
async fn a_fetch_granted_after_the_message_serves_it() {
    let database = TestDatabase::new().await;
    upsert(&database, order("o1", &[])).await;
    let asked =
        json!([{"order_id": "o1", "sent_at": "2026-03-01T09:59:57.998Z"}, {"order_id": "unknown", "sent_at": READ_AT}]);
    assert_eq!(plan(&database, asked).await, json!({"served": ["o1"], "busy": []}));
    let asked = json!([{"order_id": "o1", "sent_at": "2026-03-01T09:59:58Z"}]);
    assert_eq!(plan(&database, asked).await["served"], json!([]), "2 s are allowed for clocks");
}

#[tokio::test]
async fn what_is_served_is_due_until_its_tickets_are_reconciled() {
    let database = TestDatabase::new().await;
    upsert(&database, order("o1", &[line("p1", "price1", "VIP", 2)])).await;
    let notices = json!([{"order_id": "o1", "sent_at": "2026-03-01T09:59:57.998Z"}]);
    let asked = json!({"orders": notices, "claim_ms": 60000});
    let plan = database.call("plan_orders", asked.clone()).await;
    assert_eq!((&plan["served"], &plan["due"]), (&json!(["o1"]), &json!(["o1"])));
    reconcile(&database, "o1").await;
    let plan = database.call("plan_orders", asked).await;
    assert_eq!((&plan["served"], &plan["due"]), (&json!(["o1"]), &json!([])));
    let newer = json!({"orders": [{"order_id": "o1", "sent_at": "2026-03-01T11:00:00Z"}], "claim_ms": 60000});
    database.execute("update ghl_qr_orders set tickets_due = now()").await;
    assert_eq!(database.call("plan_orders", newer).await["due"], json!([]), "its own fetch will hand it over");
}

/// The list of valid orders reads an order and writes neither row nor tickets.
#[tokio::test]
async fn a_fetch_that_was_only_remembered_serves_nobody() {
    let database = TestDatabase::new().await;
    let notice = json!([{"order_id": "o1", "sent_at": from_now(&database, -5_000).await}]);
    let read = |ms| from_now(&database, ms);
    upsert(&database, with(order("o1", &[]), json!({"fetched_at": read(0).await, "remember_only": true}))).await;
    assert_eq!(plan(&database, notice.clone()).await, json!({"served": [], "busy": []}), "this one fetches");
    upsert(&database, with(order("o1", &[]), json!({"fetched_at": read(0).await, "remember_only": true}))).await;
    assert_eq!(plan(&database, notice.clone()).await["busy"], json!(["o1"]), "and is still doing so");
    upsert(&database, with(order("o1", &[]), json!({"fetched_at": read(0).await}))).await;
    assert_eq!(plan(&database, notice).await["served"], json!(["o1"]));
}

#[tokio::test]
async fn clocks_differ_by_no_more_than_what_receiving_shows() {
    let database = TestDatabase::new().await;
    upsert(&database, with(order("o1", &[]), json!({"fetched_at": from_now(&database, 0).await}))).await;
    // The queue's clock: sent 600 ms ago, received just now or 500 ms ago. This server's clock is ahead by at most that.
    let sent_at = from_now(&database, -600).await;
    let notice = |received_at: Value| json!([{"order_id": "o1", "sent_at": sent_at, "received_at": received_at}]);
    let just_now = notice(from_now(&database, 0).await);
    assert_eq!(plan(&database, just_now).await["served"], json!(["o1"]));
    let a_while_ago = notice(from_now(&database, -10_000).await);
    assert_eq!(plan(&database, a_while_ago).await["served"], json!([]), "2 s at most, and the fetch is 0.6 s younger");
    let queue_ahead = notice(from_now(&database, 5_000).await);
    assert_eq!(
        plan(&database, queue_ahead).await["served"],
        json!(["o1"]),
        "a slow clock here only errs to the safe side"
    );
}

#[tokio::test]
async fn one_fetches_and_the_others_wait() {
    let database = TestDatabase::new().await;
    let sent_at = from_now(&database, 0).await;
    let notice = |first_try: bool| json!([{"order_id": "o1", "sent_at": sent_at, "first_try": first_try}]);
    assert_eq!(plan(&database, notice(true)).await, json!({"served": [], "busy": []}), "this one fetches");
    assert_eq!(plan(&database, notice(true)).await, json!({"served": [], "busy": ["o1"]}));
    assert_eq!(plan(&database, notice(false)).await["busy"], json!([]), "a retry has waited long enough");
    upsert(&database, with(order("o1", &[]), json!({"fetched_at": from_now(&database, 3_000).await}))).await;
    assert_eq!(plan(&database, notice(true)).await, json!({"served": ["o1"], "busy": []}));
    // What changes after that fetch is fetched at once, without waiting for the old claim to end.
    let later = json!([{"order_id": "o1", "sent_at": from_now(&database, 4_000).await}]);
    assert_eq!(plan(&database, later).await, json!({"served": [], "busy": []}));
}

#[tokio::test]
async fn a_claim_of_a_worker_that_died_runs_out() {
    let database = TestDatabase::new().await;
    let asked = json!({"orders": [{"order_id": "o1", "sent_at": READ_AT}], "claim_ms": 0});
    database.call("plan_orders", asked.clone()).await;
    assert_eq!(database.call("plan_orders", asked).await["busy"], json!([]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_at_once_one_fetches() {
    let database = TestDatabase::new().await;
    let mut workers = JoinSet::new();
    for _ in 0..12 {
        let client = database.another_server().await;
        let asked = json!({"orders": [{"order_id": "o1", "sent_at": READ_AT}], "claim_ms": 60000});
        workers.spawn(async move { call(&client, "plan_orders", asked).await });
    }
    let plans = workers.join_all().await;
    assert_eq!(plans.iter().filter(|plan| plan["busy"] == json!([])).count(), 1);
}

/// One message waits and will fetch it; what the others say, that fetch will know.
#[tokio::test]
async fn an_order_that_ghl_does_not_know_costs_one_fetch_for_each_wait() {
    let database = TestDatabase::new().await;
    let notice = async |first_try: bool| {
        let sent_at = from_now(&database, 0).await;
        plan(&database, json!([{"order_id": "o1", "sent_at": sent_at, "first_try": first_try}])).await
    };
    let fetches = json!({"served": [], "busy": []});
    assert_eq!(notice(true).await, fetches);
    database
        .call("await_orders", json!({"orders": [{"order_id": "o1", "in_ms": 60_000}, {"order_id": "o2", "in_ms": 0}]}))
        .await;
    for _ in 0..3 {
        assert_eq!(notice(true).await, json!({"served": ["o1"], "busy": []}), "the message that waits will fetch it");
    }
    assert_eq!(notice(false).await, fetches, "this is the one that waited");
    assert_eq!(notice(true).await["busy"], json!(["o1"]), "and is fetching it: a later notice may know more");
    database.call("await_orders", json!({"orders": [{"order_id": "o1", "in_ms": 60_000}]})).await;
    // It appears.
    upsert(&database, order("o1", &[line("p1", "vip", "VIP", 1)])).await;
    assert_eq!(notice(true).await, fetches, "what changes after that is fetched");
    // A message that died keeps nobody waiting.
    database.call("await_orders", json!({"orders": [{"order_id": "o1", "in_ms": 0}]})).await;
    assert_eq!(notice(true).await, fetches);
}

#[tokio::test]
async fn an_order_that_never_existed_leaves_no_memory() {
    let database = TestDatabase::new().await;
    let failure = |id: &str, code: &str| json!({"order_id": id, "run_id": null, "cause": "webhook", "class": "permanent", "code": code, "reason": "x", "attempts": 5});
    let remembered = "select coalesce(jsonb_agg(order_id order by order_id), '[]') from sync_order_memory";
    sync(&database, order("read once", &[line("p1", "vip", "VIP", 1)])).await;
    let notices: Vec<_> = ["never", "busy", "read once", "unread"]
        .map(|id| json!({"order_id": id, "sent_at": READ_AT, "first_try": true}))
        .to_vec();
    plan(&database, json!(notices)).await;
    let other = database.another_server().await;
    other.batch_execute("begin").await.unwrap();
    other.execute("select from public.sync_order_memory where order_id = 'busy' for update", &[]).await.unwrap();
    let failures = [
        failure("never", "order_not_found"),
        failure("busy", "order_not_found"),
        failure("read once", "order_not_found"),
        failure("unread", "ghl_unavailable"),
    ];
    database.call("record_failures", json!({"failures": failures})).await;
    assert_eq!(database.value(remembered).await, json!(["busy", "read once", "unread"]), "nobody is waited for");
    other.batch_execute("rollback").await.unwrap();

    database.call("purge", json!({"limit": 100})).await;
    assert_eq!(database.value(remembered).await, json!(["busy", "read once", "unread"]), "not at once");
    database.execute("update sync_failures set last_try_at = now() - interval '2 hours'").await;
    database.call("purge", json!({"limit": 100})).await;
    assert_eq!(database.value(remembered).await, json!(["read once"]));
    database.execute("update sync_failures set last_try_at = now() - interval '31 days'").await;
    database.call("purge", json!({"limit": 100})).await;
    let standing = "select jsonb_agg(order_id order by order_id) from sync_failures";
    assert_eq!(database.value(standing).await, json!(["read once", "unread"]), "what GHL has, and what it may have");
}

/// Forgotten in between, it is remembered and locked anew.
#[tokio::test]
async fn an_order_that_is_forgotten_meanwhile_is_locked_all_the_same() {
    let database = TestDatabase::new().await;
    plan(&database, json!([{"order_id": "o1", "sent_at": READ_AT}])).await;
    let other = database.another_server().await;
    other.batch_execute("begin; delete from public.sync_order_memory where order_id = 'o1'").await.unwrap();
    let writer = database.another_server().await;
    let upserts = tokio::spawn(async move {
        call(&writer, "upsert_orders", json!({"orders": [order("o1", &[line("p1", "vip", "VIP", 1)])]})).await
    });
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    other.batch_execute("commit").await.unwrap();
    assert_eq!(upserts.await.unwrap()["orders"][0]["result"], "written");
    assert_eq!(
        database.value("select jsonb_agg(fetched_at) from sync_order_memory").await,
        json!(["2026-03-01T10:00:00+00:00"])
    );
}
