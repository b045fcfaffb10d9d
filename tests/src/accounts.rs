//! What is told of a run and of orders agrees, wherever one looks.

use serde_json::{Value, json};

use crate::{
    api::As,
    times::assert_times,
    waiting::{A_MOMENT, until},
    world::{World, assert_adds_up, not_attempted},
};

/// Last frame, published document, HTTP API and run row tell the same numbers.
pub async fn assert_every_account_agrees(world: &World, run_id: &str, told: &Value) {
    until("the document of the last frame", A_MOMENT, async || {
        let document = world.cloud().document("sync_status.json").await;
        document.iter().for_each(assert_times);
        if document.as_ref() == Some(told) { Ok(()) } else { Err(format!("{document:?} instead of {told}")) }
    })
    .await;

    let mut status = world.status().await;
    // The API tells the newest number given out, the frame its own.
    status["seq"] = told["seq"].clone();
    // Nor do frames tell of the whole system's problems.
    status.as_object_mut().unwrap().remove("problems");
    assert_eq!(&status, told, "GET sync-status");

    let row = world.database.run(run_id).await;
    assert_adds_up(&row);
    let detail = world.api.run(run_id).await;
    for (frame, column) in [
        ("listedOrders", "listed"),
        ("syncedOrders", "synced"),
        ("failedOrders", "failed"),
        ("skippedOrders", "skipped"),
        ("unchangedOrders", "unchanged"),
        ("totalTickets", "tickets_total"),
        ("status", "state"),
        ("kind", "kind"),
    ] {
        assert_eq!(told[frame], row[column], "{frame}: frame and row");
        assert_eq!(told[frame], detail["run"][frame], "{frame}: frame and GET runs/{{id}}");
    }
    for field in ["startTime", "endTime", "totalOrders", "notAttemptedOrders"] {
        assert_eq!(told[field], detail["run"][field], "{field}");
    }
    assert_eq!(told["notAttemptedOrders"], not_attempted(&row), "notAttemptedOrders: frame and row");
    let count = |key: &str| told[key].as_u64().unwrap();
    let attempted = count("syncedOrders") + count("failedOrders");
    assert_eq!(count("totalOrders"), attempted + count("notAttemptedOrders"));
    assert_eq!(count("listedOrders"), count("totalOrders") + count("skippedOrders"));
    assert_eq!(detail["skips"].as_array().unwrap().len() as u64, count("skippedOrders"), "each skipped order is named");
    let runs = world.api.get(As::Member, "/api/qrapp/runs?limit=1").await.ok();
    assert_eq!(runs["runs"][0], detail["run"]);
}

/// Each order's live tickets are what a right sync makes of it.
pub async fn assert_tickets(world: &World, ids: &[String]) {
    let rows = world
        .database
        .rows(
            "select order_id, jsonb_object_agg(ticket_type, n) as tickets from (
               select order_id, ticket_type, count(*) as n from public.ghl_qr_tickets where status = 'live' group by 1, 2
             ) as t group by order_id",
        )
        .await;
    for id in ids {
        let stored =
            rows.iter().find(|row| row["order_id"] == id.as_str()).map_or(json!({}), |row| row["tickets"].clone());
        assert_eq!(stored, world.ghl.expected(id).await["ticketQuantities"], "tickets of {id}");
    }
}
