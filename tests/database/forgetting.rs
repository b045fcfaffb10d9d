//! A person who is forgotten: nothing of them stays or comes back, and their tickets admit as before.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{LOCATION, TestDatabase, sql_state, try_call};
use crate::orders::{assert_in_step, line, order, sync, tickets, upsert, with};

/// An order of this buyer; without one, of a buyer whose id GHL left out.
pub(crate) fn order_of(contact: Option<&str>, id: &str, quantity: u32) -> Value {
    let mut order = order(id, &[line("p1", "vip", "VIP", quantity)]);
    order["row"]["contact_id"] = json!(contact);
    order["row"]["contact_phone"] = json!("+10000000");
    order
}

async fn forget_once(database: &TestDatabase, contact: &str, limit: u32) -> Value {
    database.call("forget_contact", json!({"contact_id": contact, "by": "admin-1", "limit": limit})).await
}

/// Until it is done.
pub(crate) async fn forget(database: &TestDatabase, contact: &str) -> Value {
    for _ in 0..10 {
        let answer = forget_once(database, contact, 500).await;
        if answer["done"] == true {
            return answer;
        }
    }
    panic!("forgetting {contact} doesn't end");
}

/// The orders that still tell who bought.
async fn telling(database: &TestDatabase) -> Vec<String> {
    let rows = database
        .rows(
            "select order_id from ghl_qr_orders
             where num_nonnulls(contact_firstname, contact_lastname, contact_email, contact_phone) > 0 order by order_id",
        )
        .await;
    rows.iter().map(|row| row["order_id"].as_str().unwrap().to_owned()).collect()
}

/// Which version of each row stands there: a write makes a new one.
async fn versions(database: &TestDatabase) -> Vec<Value> {
    database
        .rows(
            "select order_id as id, xmin::text, ctid::text from ghl_qr_orders
             union all select contact_id, xmin::text, ctid::text from sync_forgotten_contacts order by id",
        )
        .await
}

#[tokio::test]
async fn orders_lose_their_buyer_and_keep_everything_else() {
    let database = TestDatabase::new().await;
    for (contact, id) in [("ada", "o1"), ("ben", "o2"), ("ada", "o3")] {
        sync(&database, order_of(Some(contact), id, 2)).await;
    }
    let before = database.rows("select * from ghl_qr_orders where order_id = 'o1'").await.remove(0);
    let answer = forget(&database, "ada").await;
    assert_eq!((&answer["contact_id"], &answer["orders"]), (&json!("ada"), &json!(2)), "{answer}");
    assert_eq!(telling(&database).await, ["o2"]);

    let mut expected = before.clone();
    for column in ["contact_firstname", "contact_lastname", "contact_email", "contact_phone"] {
        assert!(before[column].is_string(), "{column} was there");
        expected[column] = Value::Null;
    }
    let after = database.rows("select * from ghl_qr_orders where order_id = 'o1'").await.remove(0);
    expected["updated_at"] = after["updated_at"].clone();
    assert_eq!(after, expected);
    assert_eq!(tickets(&database, "o1").await, ["VIP/live", "VIP/live"]);
    assert_in_step(&database).await;

    let record = database.rows("select * from sync_forgotten_contacts").await;
    assert_eq!(record.len(), 1);
    assert_eq!((&record[0]["forgotten_by"], &record[0]["orders"]), (&json!("admin-1"), &json!(2)));
    assert!(!record[0].to_string().contains("Ada"), "the record names nobody: {record:?}");
}

#[tokio::test]
async fn forgetting_again_answers_the_same_and_writes_nothing() {
    let database = TestDatabase::new().await;
    sync(&database, order_of(Some("ada"), "o1", 1)).await;
    let first = forget(&database, "ada").await;
    let before = versions(&database).await;
    for by in ["admin-1", "admin-2"] {
        assert_eq!(database.call("forget_contact", json!({"contact_id": "ada", "by": by})).await, first);
    }
    assert_eq!(versions(&database).await, before);
}

/// Nobody of that name is known: the mark stands all the same, for an order that is still to come.
#[tokio::test]
async fn somebody_without_an_order_is_forgotten_in_advance() {
    let database = TestDatabase::new().await;
    assert_eq!(forget(&database, "ada").await["orders"], 0);
    assert_eq!(sync(&database, order_of(Some("ada"), "o1", 2)).await["added"], 2);
    assert_eq!(telling(&database).await, [""; 0]);
    let missing = database.try_call("forget_contact", json!({"by": "admin-1"})).await.unwrap_err();
    assert_eq!(sql_state(&missing), "22023");
}

#[tokio::test]
async fn a_forgotten_order_is_synced_counted_and_admitted_and_unchanged_costs_no_write() {
    let database = TestDatabase::new().await;
    sync(&database, order_of(Some("ada"), "o1", 1)).await;
    forget(&database, "ada").await;
    let before = versions(&database).await;
    let later = |seconds: u32, order: Value| with(order, json!({"fetched_at": format!("2026-03-01T10:00:{seconds}Z")}));
    let unchanged = [
        later(10, order_of(Some("ada"), "o1", 1)),
        // GHL leaves the buyer's id out, and tells the name.
        later(11, order_of(None, "o1", 1)),
    ];
    for order in unchanged {
        assert_eq!(upsert(&database, order).await["result"], "unchanged");
        assert_eq!(versions(&database).await, before);
    }

    let newer = with(order_of(Some("ada"), "o1", 3), json!({"source_updated_at": "2026-03-02T00:00:00Z"}));
    assert_eq!(sync(&database, newer).await["added"], 2);
    assert_eq!(telling(&database).await, [""; 0]);
    let admitted = database.call("validate_ticket", json!({"ticket_id": 1, "by": "gate"})).await;
    assert_eq!(admitted["result"], "admitted");
    assert_eq!(tickets(&database, "o1").await, ["VIP/validated", "VIP/live", "VIP/live"]);

    // GHL says that it is somebody else's now.
    let given = with(order_of(Some("ben"), "o1", 3), json!({"source_updated_at": "2026-03-03T00:00:00Z"}));
    upsert(&database, given).await;
    assert_eq!(telling(&database).await, ["o1"]);
}

/// It writes with the anonymous key, may not read marks, and knows nothing of them.
#[tokio::test]
async fn what_the_original_app_writes_of_a_forgotten_person_is_blanked() {
    let database = TestDatabase::original().await;
    let app = database.connect_as("anon").await;
    let row =
        |id: &str, contact: &str| format!("('{id}', {contact}, 'Ada', 'Example', 'ada@example.test', '+10000000')");
    let insert = "insert into public.ghl_qr_orders
        (order_id, contact_id, contact_firstname, contact_lastname, contact_email, contact_phone) values";
    let rows = [row("o1", "'ada'"), row("o2", "'ben'"), row("o3", "null")].join(",");
    app.batch_execute(&format!("{insert} {rows}")).await.unwrap();
    assert_eq!(forget(&database, "ada").await["orders"], 1, "its rows name no location");
    assert_eq!(telling(&database).await, ["o2", "o3"]);

    app.batch_execute("update public.ghl_qr_orders set contact_email = 'ada@example.test'").await.unwrap();
    assert_eq!(telling(&database).await, ["o2", "o3"]);
    app.batch_execute(&format!(
        "{insert} {} on conflict (order_id) do update set contact_id = excluded.contact_id,
           contact_firstname = excluded.contact_firstname",
        [row("o1", "null"), row("o4", "'ada'")].join(",")
    ))
    .await
    .unwrap();
    assert_eq!(telling(&database).await, ["o2", "o3"]);
    assert_eq!(database.value("select contact_id from ghl_qr_orders where order_id = 'o1'").await, "ada");
    let refused = app.batch_execute("select * from public.sync_forgotten_contacts").await.unwrap_err();
    assert_eq!(sql_state(&refused), "42501");
}

/// A contact's id means somebody else in another location.
#[tokio::test]
async fn another_locations_people_are_not_forgotten_along() {
    let database = TestDatabase::new().await;
    upsert(&database, order_of(Some("ada"), "o1", 1)).await;
    let elsewhere = json!({"location_id": "Elsewhere", "orders": [order_of(Some("ada"), "o2", 1)]});
    database.call("upsert_orders", elsewhere.clone()).await;
    assert_eq!(forget(&database, "ada").await["orders"], 1);
    database.call("upsert_orders", elsewhere).await;
    database.execute("update ghl_qr_orders set event_name = 'Gala'").await;
    assert_eq!(telling(&database).await, ["o2"]);
}

/// Whoever calls may die in between: the next call goes on where the last one ended.
#[tokio::test]
async fn many_orders_are_blanked_in_portions() {
    let database = TestDatabase::new().await;
    for number in 0..5 {
        upsert(&database, order_of(Some("ada"), &format!("o{number}"), 1)).await;
    }
    let mut told = Vec::new();
    let mut left = Vec::new();
    for _ in 0..5 {
        let answer = forget_once(&database, "ada", 2).await;
        told.push((answer["orders"].as_u64().unwrap(), answer["done"] == true));
        left.push(telling(&database).await.len());
    }
    assert_eq!(told, [(0, false), (2, false), (4, false), (5, true), (5, true)]);
    assert_eq!(left, [5, 3, 1, 0, 0]);
}

/// A statement that writes every order, as a person does in the table editor, must not use up the server's locks.
#[tokio::test]
async fn writing_every_order_takes_a_bounded_number_of_locks() {
    let database = TestDatabase::new().await;
    database
        .execute(&format!(
            "begin;
             insert into ghl_qr_orders (order_id, location_id, contact_id, contact_firstname)
             select 'o' || n, '{LOCATION}', 'c' || n, 'Ada' from generate_series(1, 5000) as n"
        ))
        .await;
    let locks =
        database.value("select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()").await;
    database.execute("rollback").await;
    assert!((1..=64).contains(&locks.as_u64().unwrap()), "{locks}");
}

/// Orders of eight people, new ones and stored ones, are written in any order by workers and by the original app, while one after the
/// other is forgotten. What a lock's wait or a deadlock ended is tried again, as callers do.
#[tokio::test]
async fn nobody_slips_through_while_everybody_writes() {
    const PEOPLE: u32 = 8;
    const TRANSIENT: [&str; 3] = ["40P01", "55P03", "57014"];
    let database = TestDatabase::original().await;
    let until = Instant::now() + Duration::from_secs(6);
    let contact = |order: u32| format!("c{}", order % PEOPLE);
    let mut writers = Vec::new();
    for worker in 0..4 {
        let server = database.another_server().await;
        writers.push(tokio::spawn(async move {
            let mut version = 0;
            while Instant::now() < until {
                version += 1;
                let ids: Vec<u32> = (0..10).map(|_| rand::random_range(0..400)).collect();
                let orders = ids.iter().map(|id| {
                    let order = order_of(Some(&contact(*id)), &format!("o{id:03}"), 1 + version % 3);
                    with(order, json!({"source_updated_at": format!("2026-03-02T00:00:{:02}.{worker}Z", version % 60)}))
                });
                let request = json!({"orders": orders.collect::<Vec<_>>()});
                if let Err(error) = try_call(&server, "upsert_orders", request).await {
                    assert!(TRANSIENT.contains(&sql_state(&error).as_str()), "{error:?}");
                }
            }
        }));
    }
    for _ in 0..2 {
        let app = database.connect_as("anon").await;
        writers.push(tokio::spawn(async move {
            while Instant::now() < until {
                let ids: Vec<u32> = (0..3).map(|_| rand::random_range(0..400)).collect();
                let row = |id: &u32| format!("('o{id:03}', '{}', 'Ada', 'ada@example.test')", contact(*id));
                let insert = format!(
                    "insert into public.ghl_qr_orders (order_id, contact_id, contact_firstname, contact_email)
                     values {} on conflict (order_id) do update set contact_id = excluded.contact_id,
                       contact_firstname = excluded.contact_firstname, contact_email = excluded.contact_email",
                    ids.iter()
                        .collect::<std::collections::BTreeSet<_>>()
                        .into_iter()
                        .map(row)
                        .collect::<Vec<_>>()
                        .join(",")
                );
                if let Err(error) = app.batch_execute(&insert).await {
                    assert!(TRANSIENT.contains(&sql_state(&error).as_str()), "{error:?}");
                }
            }
        }));
    }
    for person in 0..PEOPLE - 1 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let request = json!({"contact_id": format!("c{person}"), "by": "admin-1", "limit": 7});
        for attempt in 0.. {
            assert!(attempt < 100, "c{person} isn't forgotten");
            match database.try_call("forget_contact", request.clone()).await {
                Ok(answer) if answer["done"] == true => break,
                Ok(_) => {}
                Err(error) => assert!(TRANSIENT.contains(&sql_state(&error).as_str()), "{error:?}"),
            }
        }
        let told = format!(
            "select count(*) from ghl_qr_orders where contact_id = 'c{person}'
             and num_nonnulls(contact_firstname, contact_lastname, contact_email, contact_phone) > 0"
        );
        assert_eq!(database.value(&told).await, 0, "c{person}, while others write");
    }
    for writer in writers {
        writer.await.unwrap();
    }
    let told = database
        .rows("select distinct contact_id from ghl_qr_orders where num_nonnulls(contact_firstname, contact_email) > 0")
        .await;
    assert_eq!(told, [json!({"contact_id": "c7"})], "only who wasn't forgotten");
}
