//! Lines keep their identity when GHL leaves ids out, and tickets their numbers when ids appear.

use serde_json::{Value, json};

use crate::harness::TestDatabase;
use crate::orders::{assert_in_step, line, order, reconcile, sync, tickets, upsert, with};

/// An item without a name of its price: the label is the item's.
fn nameless(product: &str, price: &str, label: &str, quantity: u32) -> Value {
    with(line(product, price, label, quantity), json!({"price_named": false}))
}

/// An item that lost its price.
fn priceless(quantity: u32) -> Value {
    nameless("p1", "", "Gala", quantity)
}

fn vip(quantity: u32) -> Value {
    line("p1", "vip", "VIP", quantity)
}

fn regular(quantity: u32) -> Value {
    line("p1", "reg", "Regular", quantity)
}

/// The order's next version, with these lines.
fn version(number: u32, lines: &[Value]) -> Value {
    with(order("o1", lines), json!({"source_updated_at": format!("2026-03-01T09:{number:02}:00Z")}))
}

/// The tickets as `id product/price label status`, by their ids; the first of a database has the id 1.
async fn identities(database: &TestDatabase) -> Vec<String> {
    let query = "select ticket_id, product_id, price_id, ticket_type, status from ghl_qr_tickets order by ticket_id";
    let text = |row: &Value, key: &str| row[key].as_str().unwrap_or("-").to_owned();
    let ticket = |row: &Value| {
        let [product, price, label, status] =
            ["product_id", "price_id", "ticket_type", "status"].map(|it| text(row, it));
        format!("{} {product}/{price} {label} {status}", row["ticket_id"])
    };
    database.rows(query).await.iter().map(ticket).collect()
}

/// The lines as `product/price label quantity`.
async fn stored_lines(database: &TestDatabase) -> Vec<String> {
    let lines = database.value("select lines from ghl_qr_orders where order_id = 'o1'").await;
    let lines = lines.as_array().unwrap();
    assert!(lines.iter().all(|line| line.as_object().unwrap().len() == 4), "nothing else is stored: {lines:?}");
    lines.iter().map(in_short).collect()
}

fn in_short(line: &Value) -> String {
    let [product, price, label] = ["product_id", "price_id", "ticket_type"].map(|key| line[key].as_str().unwrap());
    format!("{product}/{price} {label} {}", line["quantity"])
}

fn codes(result: &Value) -> Vec<&str> {
    result["issues"].as_array().unwrap().iter().map(|issue| issue["code"].as_str().unwrap()).collect()
}

/// What it is, the stored lines, the lines as read, those expected, and whether they are unclear.
type Case = (&'static str, Vec<Value>, Vec<Value>, &'static [&'static str], bool);

#[tokio::test]
async fn the_matching_rule() {
    let late = |quantity| line("p1", "", "Late", quantity);
    let early = |quantity| line("p1", "", "Early", quantity);
    let cases: Vec<Case> = vec![
        ("both ids", vec![vip(2)], vec![vip(3)], &["p1/vip VIP 3"], false),
        ("the price vanished", vec![vip(2)], vec![priceless(2)], &["p1/vip VIP 2"], false),
        ("the price vanished, another quantity", vec![vip(2)], vec![priceless(3)], &["p1/vip VIP 3"], false),
        ("only the name vanished", vec![vip(2)], vec![nameless("p1", "vip", "Gala", 2)], &["p1/vip VIP 2"], false),
        ("renamed", vec![vip(2)], vec![line("p1", "vip", "Gold", 2)], &["p1/vip Gold 2"], false),
        ("renamed, and its id vanished", vec![vip(2)], vec![line("p1", "", "Gold", 2)], &["p1/vip Gold 2"], false),
        ("the product vanished", vec![vip(2)], vec![line("", "vip", "VIP", 1)], &["p1/vip VIP 1"], false),
        (
            "the product of one price twice vanished from one of both",
            vec![vip(2)],
            vec![vip(1), nameless("", "vip", "Gala", 1)],
            &["p1/vip VIP 2"],
            false,
        ),
        (
            "one price vanished, the other tells which",
            vec![vip(2), regular(1)],
            vec![priceless(1), regular(3)],
            &["p1/vip VIP 1", "p1/reg Regular 3"],
            false,
        ),
        (
            "both prices vanished",
            vec![vip(2), regular(1)],
            vec![priceless(2), priceless(1)],
            &["p1/vip VIP 2", "p1/reg Regular 1"],
            true,
        ),
        (
            "one price vanished, and the other line",
            vec![vip(2), regular(1)],
            vec![priceless(1)],
            &["p1/vip VIP 2", "p1/reg Regular 1"],
            true,
        ),
        ("one line, two items", vec![vip(2)], vec![priceless(1), priceless(1)], &["p1/vip VIP 2"], true),
        (
            "what is clear is applied",
            vec![vip(2), regular(1), line("p2", "x", "Mug", 1)],
            vec![line("p2", "x", "Mug", 2), priceless(2), priceless(1)],
            &["p2/x Mug 2", "p1/vip VIP 2", "p1/reg Regular 1"],
            true,
        ),
        (
            "of another product",
            vec![vip(2)],
            vec![vip(2), nameless("p2", "", "Mug", 1)],
            &["p1/vip VIP 2", "p2/ Mug 1"],
            false,
        ),
        (
            "neither id, a name that only one has",
            vec![vip(2), regular(1)],
            vec![line("", "", "Regular", 2), vip(2)],
            &["p1/reg Regular 2", "p1/vip VIP 2"],
            false,
        ),
        (
            "neither id, both by their names",
            vec![vip(2), regular(1)],
            vec![line("", "", "Regular", 1), line("", "", "VIP", 1)],
            &["p1/reg Regular 1", "p1/vip VIP 1"],
            false,
        ),
        (
            "neither id, a name that two have",
            vec![vip(2), line("p2", "vip2", "VIP", 1)],
            vec![line("", "", "VIP", 2), line("", "", "VIP", 1)],
            &["p1/vip VIP 2", "p2/vip2 VIP 1"],
            true,
        ),
        (
            "the default name is none",
            vec![line("p1", "vip", "General", 2)],
            vec![nameless("", "", "General", 1)],
            &["p1/vip General 2"],
            true,
        ),
        ("never a price", vec![late(2), early(3)], vec![late(1), early(2)], &["p1/ Late 1", "p1/ Early 2"], false),
        ("never a price, each read by itself", vec![late(2)], vec![late(1), late(2)], &["p1/ Late 3"], false),
        (
            "never a price, and another's vanished",
            vec![late(2), vip(1)],
            vec![late(2), priceless(1)],
            &["p1/ Late 2", "p1/vip VIP 1"],
            false,
        ),
        (
            "a makeshift twice, and the line of one of them by its name",
            vec![priceless(2), late(1)],
            vec![priceless(2), priceless(1)],
            &["p1/ Gala 2", "p1/ Late 1"],
            true,
        ),
        ("never a price, and another line is gone", vec![late(2), vip(1)], vec![late(1)], &["p1/ Late 1"], false),
        (
            "never a price nor its name, and another line is gone or isn't",
            vec![priceless(2), vip(1)],
            vec![priceless(1)],
            &["p1/ Gala 2", "p1/vip VIP 1"],
            true,
        ),
        ("ids that differ are others", vec![vip(2)], vec![regular(2)], &["p1/reg Regular 2"], false),
        (
            "ids that differ are others, whatever is missing",
            vec![line("p1", "vip", "VIP", 2)],
            vec![nameless("p2", "", "VIP", 2)],
            &["p2/ VIP 2"],
            false,
        ),
        (
            "a price that couldn't be counted",
            vec![vip(2)],
            vec![with(priceless(0), json!({"quantity": null}))],
            &["p1/vip VIP 2"],
            false,
        ),
    ];
    let database = TestDatabase::new().await;
    for (what, stored, read, expected, unclear) in cases {
        database.execute("delete from ghl_qr_orders; delete from sync_order_memory").await;
        sync(&database, version(0, &stored)).await;
        let before = identities(&database).await;
        let result = upsert(&database, version(1, &read)).await;
        assert_eq!(stored_lines(&database).await, expected, "{what}");
        assert_eq!(codes(&result).contains(&"lines_unclear"), unclear, "{what}: {result}");
        assert_eq!(result["lines_hash"].is_string(), unclear || what.contains("counted"), "{what}: {result}");
        reconcile(&database, "o1").await;
        assert_in_step(&database).await;
        if stored.iter().map(in_short).collect::<Vec<_>>() == expected {
            assert_eq!(identities(&database).await, before, "{what}");
        }
        let again = upsert(&database, version(1, &read)).await;
        assert_eq!(again["result"], "unchanged", "{what}, read once more");
    }
}

/// The row's columns of the event stay, and the order is still one of ours.
#[tokio::test]
async fn a_price_or_product_that_vanishes_takes_nothing_along() {
    let database = TestDatabase::new().await;
    database.call("replace_products", json!({"products": [{"product_id": "p1", "name": "Gala", "image": null}]})).await;
    let event = json!({"event_id": "p1", "event_name": "Gala", "event_ticket_price": "40", "event_ticket_currency": "EUR",
        "event_ticket_type": "VIP", "event_ticket_qty": 2, "order_status": "completed", "payment_status": "paid"});
    sync(&database, with(version(0, &[vip(2)]), json!({"row": event}))).await;
    database.execute("update ghl_qr_tickets set status = 'validated' where ticket_id = 1").await;
    reconcile(&database, "o1").await;
    let before = identities(&database).await;
    let lost = json!({"event_id": null, "event_name": "Gala", "event_ticket_price": null, "event_ticket_type": "Gala",
        "event_ticket_qty": 2, "order_status": "completed", "payment_status": "paid"});
    for (number, item) in [(1, priceless(2)), (2, nameless("", "vip", "Gala", 2)), (3, line("", "", "VIP", 2))] {
        let read = with(version(number, &[item]), json!({"row": lost, "valid": false, "product_ids": []}));
        let result = sync(&database, read).await;
        assert_eq!(
            (&result["added"], &result["cancelled"], &result["over_validated"]),
            (&json!(0), &json!(0), &json!(0))
        );
        assert_eq!(identities(&database).await, before);
        let columns = "select event_id, event_ticket_price, event_ticket_type, event_ticket_qty, ticket_quantities from ghl_qr_orders";
        let expected = json!({"event_id": "p1", "event_ticket_price": 40, "event_ticket_type": "VIP", "event_ticket_qty": 2,
            "ticket_quantities": {"VIP": 2}});
        assert_eq!(database.rows(columns).await, [expected]);
        let memory = "select valid, product_ids from sync_order_memory";
        assert_eq!(database.rows(memory).await, [json!({"valid": true, "product_ids": ["p1"]})]);
    }
}

#[tokio::test]
async fn status_and_entitlement_apply_while_lines_are_unclear() {
    let database = TestDatabase::new().await;
    sync(&database, version(0, &[vip(1), regular(1)])).await;
    let refunded = json!({"entitled": false, "entitlement_reason": "refunded"});
    let result = sync(&database, with(version(1, &[priceless(1), priceless(1)]), refunded)).await;
    assert_eq!(result["cancelled"], 2);
    assert_eq!(sync(&database, version(2, &[priceless(1), priceless(1)])).await["reinstated"], 2);
    assert_eq!(identities(&database).await, ["1 p1/vip VIP live", "2 p1/reg Regular live"]);
}

#[tokio::test]
async fn tickets_are_taken_on_when_ids_appear() {
    let database = TestDatabase::new().await;
    sync(&database, version(0, &[nameless("p1", "", "VIP", 2), nameless("", "", "Door", 1)])).await;
    assert_eq!(identities(&database).await, ["1 p1/ VIP live", "2 p1/ VIP live", "3 / Door live"]);
    database.execute("update ghl_qr_tickets set status = 'validated' where ticket_id = 2").await;
    // One ticket fewer, so that it matters who goes first.
    let result = sync(&database, version(1, &[vip(1), line("p2", "door", "Door", 1)])).await;
    assert_eq!((&result["added"], &result["over_validated"]), (&json!(0), &json!(0)), "{result}");
    assert_eq!(identities(&database).await, ["1 p1/ VIP cancelled", "2 p1/vip VIP validated", "3 p2/door Door live"]);
    assert_in_step(&database).await;
}

/// Nobody could read how many it gives, so it had no tickets of its own: those that are its product's are what it is for.
#[tokio::test]
async fn a_line_that_gave_nothing_takes_tickets_on_like_a_new_one() {
    let database = TestDatabase::new().await;
    let unreadable = with(vip(0), json!({"quantity": null}));
    sync(&database, version(0, &[line("p1", "", "Gala", 2), unreadable])).await;
    assert_eq!(stored_lines(&database).await, ["p1/ Gala 2", "p1/vip VIP 0"]);
    sync(&database, version(1, &[vip(2)])).await;
    assert_eq!(identities(&database).await, ["1 p1/vip VIP live", "2 p1/vip VIP live"]);
    assert_in_step(&database).await;
}

/// It has tickets of its own, which come back before others are taken on.
#[tokio::test]
async fn a_line_that_gave_nothing_for_a_while_has_its_own_tickets_back() {
    let database = TestDatabase::new().await;
    let regular = |quantity| line("p1", "", "Regular", quantity);
    sync(&database, version(0, &[vip(2), regular(2)])).await;
    sync(&database, version(1, &[vip(0), regular(2)])).await;
    sync(&database, version(2, &[vip(2), regular(1)])).await;
    let expected = ["1 p1/vip VIP live", "2 p1/vip VIP live", "3 p1/ Regular live", "4 p1/ Regular cancelled"];
    assert_eq!(identities(&database).await, expected);
    assert_in_step(&database).await;
}

#[tokio::test]
async fn a_ticket_keeps_its_number_under_a_label_that_was_only_a_makeshift() {
    let database = TestDatabase::new().await;
    sync(&database, version(0, &[priceless(2), priceless(1)])).await;
    assert_eq!(stored_lines(&database).await, ["p1/ Gala 3"], "without stored lines they are summed");
    database.execute("update ghl_qr_tickets set status = 'cancelled' where ticket_id = 2").await;
    // One price appears, then the other.
    sync(&database, version(1, &[vip(2), priceless(1)])).await;
    let result = sync(&database, version(2, &[vip(2), regular(1)])).await;
    assert_eq!((&result["added"], &result["cancelled"]), (&json!(0), &json!(0)), "{result}");
    assert_eq!(identities(&database).await.len(), 3);
    assert_in_step(&database).await;
    let by_hand = database
        .value("select count(*) from ghl_qr_tickets where status = 'cancelled' and status_by = 'external'")
        .await;
    assert_eq!(by_hand, 1, "what a person cancelled isn't replaced");
}

#[tokio::test]
async fn a_cancelled_ticket_in_the_way_costs_an_ordinal_and_no_number() {
    let database = TestDatabase::new().await;
    sync(&database, version(0, &[vip(1)])).await;
    sync(&database, version(1, &[line("p2", "x", "Mug", 1)])).await;
    // An admin insists that nothing is left of it but an item without a price.
    sync(&database, with(version(2, &[nameless("p1", "", "VIP", 1)]), json!({"force": true}))).await;
    assert_eq!(identities(&database).await, ["1 p1/vip VIP cancelled", "2 p2/x Mug cancelled", "3 p1/ VIP live"]);
    sync(&database, version(3, &[vip(1)])).await;
    assert_eq!(identities(&database).await[2], "3 p1/vip VIP live");
    assert_eq!(database.value("select ordinal from ghl_qr_tickets where ticket_id = 3").await, 2);
    assert_in_step(&database).await;
}

#[tokio::test]
async fn a_line_without_a_price_id_may_be_renamed() {
    let database = TestDatabase::new().await;
    sync(&database, version(0, &[line("p1", "", "Late", 2), vip(1)])).await;
    let before = identities(&database).await.len();
    let result = sync(&database, version(1, &[line("p1", "", "Later", 2), vip(1)])).await;
    assert_eq!((&result["added"], &result["cancelled"]), (&json!(0), &json!(0)), "{result}");
    assert_eq!(stored_lines(&database).await[0], "p1/ Later 2");
    assert_eq!(identities(&database).await.len(), before);
    // A makeshift isn't a name.
    sync(&database, version(2, &[nameless("p1", "", "Gala", 2), vip(1)])).await;
    assert_eq!(stored_lines(&database).await[0], "p1/ Later 2");
    assert_in_step(&database).await;
}

#[tokio::test]
async fn what_is_bought_anew_takes_nobodys_ticket() {
    let database = TestDatabase::new().await;
    sync(&database, version(0, &[line("p1", "", "Late", 1), vip(1)])).await;
    // Not one line for the other: Late is gone, and VIP was there before.
    let result = sync(&database, version(1, &[vip(2)])).await;
    assert_eq!((&result["added"], &result["cancelled"]), (&json!(1), &json!(1)));
    let other = sync(&database, version(2, &[vip(2), line("p2", "x", "Mug", 1)])).await;
    assert_eq!(other["added"], 1);
    assert_in_step(&database).await;
}

#[tokio::test]
async fn an_admin_insists_on_what_is_unclear() {
    let database = TestDatabase::new().await;
    sync(&database, version(0, &[vip(2), regular(1)])).await;
    let read = version(1, &[priceless(2), priceless(1)]);
    let kept = upsert(&database, read.clone()).await;
    let forced = with(read, json!({"force": true, "force_lines": kept["lines_hash"]}));
    let result = upsert(&database, forced).await;
    assert_eq!(
        (&result["result"], &result["issues"], &result["lines_hash"]),
        (&json!("written"), &json!([]), &Value::Null)
    );
    assert_eq!(stored_lines(&database).await, ["p1/ Gala 3"]);
    reconcile(&database, "o1").await;
    assert_in_step(&database).await;
}

#[tokio::test]
async fn tickets_of_the_original_app_wait_for_names() {
    let database = TestDatabase::new().await;
    database
        .execute(
            "insert into ghl_qr_orders (order_id) values ('o1');
             insert into ghl_qr_tickets (order_id, ticket_type, status) values ('o1', 'VIP', 'used'), ('o1', 'Regular', 'live')",
        )
        .await;
    let items = [nameless("p1", "vip", "Gala", 1), nameless("p1", "reg", "Gala", 1)];
    let result = upsert(&database, version(0, &items)).await;
    assert_eq!((&result["result"], codes(&result)), (&json!("written"), vec!["original_tickets_unclear"]));
    assert_eq!(reconcile(&database, "o1").await["kept"], 2);
    let untouched = ["1 -/- VIP used", "2 -/- Regular live"];
    assert_eq!(identities(&database).await, untouched);
    assert_eq!(upsert(&database, version(0, &items)).await["result"], "unchanged");

    let refunded = json!({"entitled": false, "entitlement_reason": "refunded"});
    sync(&database, with(version(1, &items), refunded)).await;
    assert_eq!(tickets(&database, "o1").await, ["VIP/used", "Regular/cancelled"], "the refund applies all the same");
    sync(&database, version(2, &[vip(1), regular(1)])).await;
    assert_eq!(identities(&database).await, ["1 p1/vip VIP used", "2 p1/reg Regular live"], "adopted by their names");
    assert_in_step(&database).await;
}

#[tokio::test]
async fn an_unknown_status_keeps_the_tickets_of_a_paid_order() {
    let database = TestDatabase::new().await;
    let unknown = json!({"entitled": false, "entitlement_known": false, "entitlement_reason": "unknown_status",
        "issues": [{"code": "unknown_status", "message": "it gives no tickets"}]});
    sync(&database, version(0, &[vip(2)])).await;
    let result = upsert(&database, with(version(1, &[vip(2)]), unknown.clone())).await;
    assert_eq!(codes(&result), ["status_unclear"], "what was done, once: {result}");
    assert_eq!(reconcile(&database, "o1").await["kept"], 2);
    assert_eq!(tickets(&database, "o1").await, ["VIP/live", "VIP/live"]);
    // Lines apply; and a hash of them, for whoever insists.
    let more = with(version(2, &[vip(3)]), unknown.clone());
    assert_eq!(sync(&database, more.clone()).await["added"], 1);
    let forced = with(more, json!({"force": true, "fetched_at": "2026-03-01T10:01:00Z"}));
    assert_eq!(codes(&upsert(&database, forced).await), ["unknown_status"]);
    assert_eq!(reconcile(&database, "o1").await["cancelled"], 3);

    // It was refunded before, or is new: nothing says that it is paid.
    sync(&database, with(version(3, &[vip(1)]), unknown.clone())).await;
    assert_eq!(tickets(&database, "o1").await, ["VIP/cancelled"; 3]);
    let new = with(with(order("o2", &[vip(1)]), unknown.clone()), json!({}));
    assert_eq!(codes(&upsert(&database, new).await), ["unknown_status"]);
    assert_eq!(reconcile(&database, "o2").await["added"], 0);

    database
        .execute("insert into ghl_qr_orders (order_id, payment_status) values ('o3', 'paid'), ('o4', 'refunded')")
        .await;
    database.execute("insert into ghl_qr_tickets (order_id, ticket_type) values ('o3', 'VIP'), ('o4', 'VIP')").await;
    for (id, expected) in [("o3", "VIP/live"), ("o4", "VIP/cancelled")] {
        sync(&database, with(order(id, &[vip(1)]), unknown.clone())).await;
        assert_eq!(tickets(&database, id).await, [expected], "what the original app said");
    }
}

/// A ticket that was left over stays so, whatever ids appear on other lines.
#[tokio::test]
async fn tickets_of_lines_that_went_before_are_nobodys() {
    let database = TestDatabase::new().await;
    let door = line("", "", "Door", 1);
    sync(&database, version(0, &[door, nameless("p2", "", "Mug", 1)])).await;
    database.execute("update ghl_qr_tickets set status = 'validated' where ticket_type = 'Door'").await;
    sync(&database, version(1, &[nameless("p2", "", "Mug", 1)])).await;
    sync(&database, version(2, &[line("p2", "mug", "Large", 1)])).await;
    assert_eq!(identities(&database).await, ["1 / Door validated", "2 p2/mug Large live"]);
}
