//! `POST /api/ghl/orders`: the list of valid orders, and nothing else; `GET /api/qrapp/valid-orders`: the way to it.

use reqwest::StatusCode;
use serde_json::{Value, json};
use tests::{
    api::As,
    waiting::{A_MOMENT, A_SMALL_RUN, until},
    world::World,
};

const LIST: &str = "/api/ghl/orders";

#[tokio::test]
async fn the_list_of_valid_orders_is_written_without_touching_a_ticket() {
    let world = World::with_orders(12).await;
    let mut valid = world.ghl.census().await.valid;
    valid.sort_unstable();
    let published = async || {
        let document = world.cloud().document("valid_order_list.json").await;
        if document == Some(json!(valid)) { Ok(()) } else { Err(format!("{document:?}")) }
    };
    let run = world.complete(LIST, A_SMALL_RUN).await;
    assert_eq!((&run["kind"], &run["synced"]), (&json!("valid_list"), &json!(valid.len())), "{run}");
    until("the list", A_MOMENT, published).await;
    let stored = world.database.rows("select order_id from public.ghl_qr_orders").await;
    assert!(stored.is_empty(), "orders were stored: {stored:?}");

    // Remembered orders aren't fetched again, whether they are valid or not.
    world.ghl.clear_counters().await;
    world.complete(LIST, A_SMALL_RUN).await;
    assert_eq!(world.ghl.counters().await["requests"]["detail"], 0);
}

const ROUTE: &str = "/api/qrapp/valid-orders";

#[tokio::test]
async fn the_route_leads_a_member_to_the_list_and_nobody_else() {
    let world = World::with_orders(12).await;
    let mut valid = world.ghl.census().await.valid;
    valid.sort_unstable();
    world.complete(LIST, A_SMALL_RUN).await;
    let read = async |address: &str| {
        let answer = tests::http().get(address).send().await.expect("S3 answers");
        let status = answer.status();
        (status, answer.json::<Value>().await.unwrap_or_default())
    };
    // Whoever follows the address needs no session.
    until("the list", A_MOMENT, async || {
        let (answer, address) = world.api.led_by(As::Member, ROUTE).await;
        assert_eq!((answer.status, &answer.body), (302, &json!("")), "{answer:?}");
        let (status, list) = read(&address).await;
        if (status, &list) == (StatusCode::OK, &json!(valid)) { Ok(()) } else { Err(format!("{status} {list}")) }
    })
    .await;
    let (answer, address) = world.api.led_by(As::Nobody, ROUTE).await;
    assert!([401, 403].contains(&answer.status) && address.is_empty(), "{answer:?}");

    // It is an address of this document, for a minute.
    let (_, address) = world.api.led_by(As::Admin, ROUTE).await;
    assert!(address.contains("X-Amz-Expires=60"), "{address}");
    for other in [
        address.replace("valid_order_list.json", "sync_status.json"),
        address.replace("X-Amz-Expires=60", "X-Amz-Expires=600"),
        address.split_once('?').unwrap().0.to_owned(),
    ] {
        let (status, _) = read(&other).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{other}");
    }
}

#[tokio::test]
async fn without_a_list_the_route_says_how_to_make_one() {
    let world = World::with_orders(4).await;
    world.complete(LIST, A_SMALL_RUN).await;
    until("the list", A_MOMENT, async || {
        world.cloud().document("valid_order_list.json").await.map(drop).ok_or_else(|| "none".to_owned())
    })
    .await;
    world.cloud().remove_document("valid_order_list.json").await;
    let (answer, _) = world.api.led_by(As::Member, ROUTE).await;
    answer.refused(404, "no_valid_orders", &[]);
    assert!(answer.body["error"].as_str().unwrap().contains("POST /api/ghl/orders"), "{answer:?}");
    // Others read it, and `traces` after them.
    world.complete(LIST, A_SMALL_RUN).await;
    until("the list", A_MOMENT, async || {
        world.cloud().document("valid_order_list.json").await.map(drop).ok_or_else(|| "none".to_owned())
    })
    .await;
}
