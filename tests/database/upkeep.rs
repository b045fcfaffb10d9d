//! Failures outside a run, the product list, connections, and forgetting.

use serde_json::{Value, json};

use crate::harness::{LOCATION, TestDatabase};
use crate::orders::{line, order, page, start, sync, upsert, with};

fn failure(id: &str, attempts: u32) -> Value {
    json!({"order_id": id, "run_id": null, "cause": "webhook", "class": "transient", "code": "ghl_unavailable",
        "reason": "Failed to fetch order details", "attempts": attempts})
}

#[tokio::test]
async fn a_failure_outside_a_run_stands_until_the_next_success() {
    let database = TestDatabase::new().await;
    let failures = [failure("b", 1), failure("a", 2), failure("c", 1), failure("d", 1)];
    database.call("record_failures", json!({"failures": failures})).await;
    database.call("record_failures", json!({"failures": [failure("b", 5)]})).await;
    let first = database.call("list_failures", json!({"limit": 2})).await;
    assert_eq!(
        (&first["failures"][1]["order_id"], &first["failures"][1]["attempts"], &first["next"]),
        (&json!("b"), &json!(5), &json!("b"))
    );
    let rest = database.call("list_failures", json!({"limit": 10, "after": "b"})).await;
    assert_eq!((rest["failures"].as_array().unwrap().len(), &rest["next"]), (2, &Value::Null));

    upsert(&database, order("a", &[line("p1", "vip", "VIP", 1)])).await;
    let standing = "select jsonb_agg(order_id order by order_id) from sync_failures";
    assert_eq!(database.value(standing).await, json!(["a", "b", "c", "d"]), "its tickets aren't in step yet");
    sync(&database, order("a", &[line("p1", "vip", "VIP", 1)])).await;
    // Not ours after all: settled without tickets.
    upsert(&database, with(order("b", &[]), json!({"valid": false}))).await;
    upsert(&database, with(order("c", &[]), json!({"foreign": true}))).await;
    assert_eq!(database.value(standing).await, json!(["d"]));
}

#[tokio::test]
async fn the_product_list_is_replaced() {
    let database = TestDatabase::new().await;
    assert_eq!(database.call("list_products", json!({})).await, json!({"product_ids": [], "refreshed_at": null}));
    let product = |id: &str, name: &str| json!({"product_id": id, "name": name, "image": null});
    let request = json!({"products": [product("b", "B"), product("a", "A"), product("a", "A")]});
    assert_eq!(database.call("replace_products", request).await["count"], 2);
    let version = "select xmin::text from sync_products where product_id = 'b'";
    let before = database.value(version).await;
    let request = json!({"products": [product("b", "B"), product("c", "C")]});
    assert_eq!(database.call("replace_products", request).await["count"], 2);
    let listed = database.call("list_products", json!({})).await;
    assert_eq!((&listed["product_ids"], listed["refreshed_at"].is_string()), (&json!(["b", "c"]), true));
    assert_eq!(database.value(version).await, before, "what stayed isn't rewritten");
}

#[tokio::test]
async fn a_product_list_that_is_not_whole_removes_none() {
    let database = TestDatabase::new().await;
    let replace = async |ids: &[&str], whole: Value| {
        let products: Vec<_> = ids.iter().map(|id| json!({"product_id": id, "name": id})).collect();
        let answer = database.call("replace_products", json!({"products": products, "whole": whole})).await;
        assert_eq!(answer["product_ids"], database.call("list_products", json!({})).await["product_ids"]);
        answer["product_ids"].clone()
    };
    assert_eq!(replace(&["a", "b"], json!(true)).await, json!(["a", "b"]));
    assert_eq!(replace(&["b", "c"], json!(false)).await, json!(["a", "b", "c"]));
    assert_eq!(replace(&[], json!(false)).await, json!(["a", "b", "c"]));
    // So the version before calls it.
    assert_eq!(replace(&["c"], Value::Null).await, json!(["c"]));
}

#[tokio::test]
async fn connections_are_capped_per_user_and_in_all() {
    let database = TestDatabase::new().await;
    let add = |id: &str, user: &str, expires: &str| {
        json!({"connection_id": id, "user_id": user, "role": "admin",
        "expires_at": expires, "max_per_user": 2, "max_total": 3})
    };
    let soon = "2099-01-01T00:00:00Z";
    for (id, user, expires, accepted, added) in [
        ("1", "ada", soon, true, json!(true)),
        ("2", "ada", soon, true, json!(true)),
        ("3", "ada", soon, false, Value::Null),
        ("2", "ada", soon, true, json!(false)),
        ("4", "bob", "2020-01-01T00:00:00Z", true, json!(true)),
        ("5", "bob", soon, true, json!(true)),
        ("6", "cleo", soon, false, Value::Null),
    ] {
        let answer = database.call("add_connection", add(id, user, expires)).await;
        assert_eq!((&answer["accepted"], &answer["added"]), (&json!(accepted), &added), "{id}");
    }
    let open = format!("select sync_internal.open_connections('{LOCATION}')");
    assert_eq!(database.value(&open).await, json!(["1", "2", "5"]));
    let remove = json!({"connection_ids": ["1", "gone"]});
    assert_eq!(database.call("remove_connections", remove.clone()).await["removed"], json!(["1"]));
    assert_eq!(database.call("remove_connections", remove).await["removed"], json!([]), "told once");
    assert_eq!(database.value(&open).await, json!(["2", "5"]));
}

#[tokio::test]
async fn a_ticket_opens_one_connection_and_is_remembered_for_longer_than_it_is_good() {
    let database = TestDatabase::new().await;
    let add = async |connection: &str, ticket: Option<&str>, max_total: u32| {
        let request = json!({"connection_id": connection, "ticket_id": ticket, "user_id": "ada", "role": "admin",
            "expires_at": "2099-01-01T00:00:00Z", "max_per_user": 20, "max_total": max_total});
        database.call("add_connection", request).await["reason"].clone()
    };
    assert_eq!(add("1", Some("t1"), 1).await, Value::Null);
    assert_eq!(add("1", Some("t1"), 1).await, Value::Null, "its answer was lost");
    assert_eq!(add("2", Some("t1"), 9).await, "ticket_used");
    // Refused for another reason, it is still good.
    assert_eq!(add("2", Some("t2"), 1).await, "too_many_connections");
    assert_eq!(add("2", Some("t2"), 9).await, Value::Null);
    database.call("remove_connections", json!({"connection_ids": ["1", "2"]})).await;
    assert_eq!(add("3", Some("t1"), 9).await, "ticket_used", "also once its connection is closed");
    assert_eq!(add("1", None, 9).await, Value::Null, "a connection that was lost here registers anew");

    let kept = "select coalesce(jsonb_agg(ticket_id order by ticket_id), '[]') from sync_socket_tickets";
    database.execute("update sync_socket_tickets set used_at = now() - interval '9 minutes 59 seconds'").await;
    database.call("purge", json!({"limit": 100})).await;
    assert_eq!(database.value(kept).await, json!(["t1", "t2"]));
    database
        .execute("update sync_socket_tickets set used_at = now() - interval '10 minutes' where ticket_id = 't1'")
        .await;
    database.call("purge", json!({"limit": 100})).await;
    assert_eq!(database.value(kept).await, json!(["t2"]));
}

#[tokio::test]
async fn purge_forgets_old_rows_and_keeps_the_counts() {
    let database = TestDatabase::new().await;
    sync(&database, order("stored", &[line("p1", "vip", "VIP", 1)])).await;
    let run_id = start(&database, "incremental").await;
    page(&database, &run_id, &[("stored", "2026-03-01T09:00:00Z"), ("b", "2026-03-01T09:00:00Z")], false).await;
    database.call("cancel_run", json!({})).await;
    let count = "select count(*) from sync_outcomes";
    assert_eq!(database.call("purge", json!({"limit": 100})).await["deleted"], 0);
    database.execute("update sync_runs set ended_at = now() - interval '2 hours'").await;
    database.call("purge", json!({"limit": 100})).await;
    let bits = "select count(*) from sync_run_bits";
    assert_eq!((database.value(count).await, database.value(bits).await), (json!(1), json!(1)));
    database.execute("update sync_runs set ended_at = now() - interval '31 days'").await;
    database.call("purge", json!({"limit": 100})).await;
    assert_eq!((database.value(count).await, database.value(bits).await), (json!(0), json!(0)));
    let run = crate::orders::run(&database, &run_id).await;
    assert_eq!([&run["run"]["listed"], &run["run"]["synced"], &run["run"]["not_attempted"]], [2, 1, 1]);
}
