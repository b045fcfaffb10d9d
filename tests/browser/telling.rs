//! The end of a run is told, also to whoever looks elsewhere; a run that broke off says what it did and what it left.

use serde_json::{Value, json};

use crate::{
    page::{A_MOMENT, Page},
    stage::{RUN, completed, failures, on_stage, runs, syncing},
};

/// Notifications that the page shows, and an answer to its question for them.
const NOTIFICATIONS: &str = "window.shown = [];
    window.Notification = class {
        static permission = 'default';
        static async requestPermission() { return (this.permission = 'granted'); }
        constructor(title, { body }) { shown.push([title, body]); }
    };
    document.hasFocus = () => false;";

async fn title(page: &Page) -> String {
    page.browser.client().title().await.unwrap()
}

fn end(changes: Value) -> Value {
    let Value::Object(mut end) = completed(json!({ "status": "Delay", "delay_in_sec": 30 })) else { unreachable!() };
    end.remove("seq");
    end.extend(changes.as_object().unwrap().clone());
    Value::Object(end)
}

#[tokio::test]
async fn a_good_end_is_told_by_toast_title_and_notification() {
    on_stage(json!({ "status": syncing(json!({})), "runs": runs(3) }), async |page| {
        assert_eq!(title(page).await, "(41 %) Data Synchronization");
        page.run(NOTIFICATIONS).await;
        page.until("it is offered", A_MOMENT, async || page.is_shown("notify").await).await;
        page.click("notify").await;
        page.until("it was answered", A_MOMENT, async || !page.is_shown("notify").await).await;

        page.tell("sync_progress", json!({ "syncInProgress": true, "status": "Syncing Orders", "syncedOrders": 120 }))
            .await;
        assert_eq!(title(page).await, "(75 %) Data Synchronization");
        page.tell("sync_progress", json!({ "syncInProgress": false, "status": "Delay", "syncedOrders": 159 })).await;
        assert_eq!(page.text("status").await, "Syncing", "the state is told by sync_status alone");
        page.tell("sync_status", end(json!({}))).await;
        assert_eq!(page.text("toast-text").await, "Sync completed successfully!");
        assert_eq!(title(page).await, "✓ 159 orders · Data Synchronization");
        assert_eq!(page.run("return shown").await, json!([["✓ 159 orders", "Sync completed successfully!"]]));
        page.until_text("announcer", "Sync completed successfully!", A_MOMENT).await;
        page.screenshots("end").await;

        page.tell("sync_complete", json!({ "message": "Sync Process Complete!", "syncedOrders": 159 })).await;
        page.tell("sync_status", json!({ "status": "Completed", "delay_in_sec": 0 })).await;
        assert_eq!(page.run("return shown.length").await, json!(1), "an end is told once");
        page.click("toast-close").await;
        assert!(!page.is_shown("toast").await);
        assert_eq!(title(page).await, "Data Synchronization");

        page.tell_of("another", "sync_status", syncing(json!({ "runId": "another", "syncedOrders": 0 }))).await;
        assert_eq!(title(page).await, "(0 %) Data Synchronization");
    })
    .await;
}

#[tokio::test]
async fn failures_are_told_first_and_never_as_success() {
    on_stage(json!({ "status": syncing(json!({})), "runs": runs(3), "failures": failures(3) }), async |page| {
        page.tell("sync_status", end(json!({ "syncedOrders": 156, "failedOrders": 3 }))).await;
        assert_eq!(page.text("toast-text").await, "Sync completed, but 3 orders failed.");
        assert_eq!(title(page).await, "! 3 failed · Data Synchronization");
        assert!(page.text("sentence").await.starts_with("3 orders failed, 156 in step."));
        assert_eq!(page.bar("orders-bar").await, 98.0, "what failed isn't in step");
        page.until_text("failures-badge", "3", A_MOMENT).await;
        let first = page.run("return document.querySelector('.side h2').id").await;
        assert_eq!(first, "failures-title", "what needs attention stands before what went well");
    })
    .await;
}

#[tokio::test]
async fn a_run_that_fails_says_why() {
    on_stage(json!({ "status": syncing(json!({})) }), async |page| {
        let failed =
            json!({ "status": "Error", "error": "No valid products found", "totalOrders": 0, "syncedOrders": 0 });
        page.tell("sync_status", end(failed)).await;
        assert_eq!(page.text("toast-text").await, "Sync failed: No valid products found");
        assert_eq!(title(page).await, "! Sync failed · Data Synchronization");
        assert_eq!(page.text("sentence").await, "No valid products found. No order was synced.");
    })
    .await;
}

#[tokio::test]
async fn a_cancelled_run_says_what_it_did_and_offers_the_rest() {
    let cancelled = json!({
        "status": "Cancelled", "totalOrders": 98, "listedOrders": 98, "syncedOrders": 0, "notAttemptedOrders": 98,
        "skippedOrders": 0, "unchangedOrders": 0, "totalTickets": 0, "totalTicketsChecked": 0, "totalTicketTypes": 0,
        "ticketsAdded": 0, "ticketsCancelled": 0, "endTime": "2026-11-29T10:00:00.114Z",
    });
    let not_attempted: Vec<_> = (0..98)
        .map(|at| json!({ "orderId": format!("Left{at:02}"), "code": "not_attempted", "class": "transient", "resolvedAt": null }))
        .collect();
    let retry = format!("POST qrapp/runs/{RUN}/retry");
    let staged = json!({
        "status": completed(cancelled.clone()), "runs": [completed(cancelled)], "failures": not_attempted,
        "answers": { retry.clone(): [202, { "message": "started", "runId": "the-rest" }] },
    });
    on_stage(staged, async |page| {
        assert_eq!(page.text("sentence").await, "Cancelled. 0 of 98 orders were synced; 98 weren't attempted.");
        assert_eq!((page.bar("orders-bar").await, page.bar("tickets-bar").await), (0.0, 0.0));
        assert_eq!(page.text("orders-count").await, "0 / 98");
        assert_eq!(page.text("rate").await, "–", "what was hardly begun has no speed");
        assert_eq!(page.text("no-failures").await, "Nothing failed.");
        assert!(page.texts("#failures-list code").await.is_empty(), "not attempted is not failed");
        let offers = page.texts("button:not([hidden])").await;
        assert_eq!(offers.iter().filter(|offer| offer.contains("rest")).count(), 1, "{offers:?}");
        page.screenshots("cancelled").await;

        page.click("sync-rest").await;
        page.until("it was asked for", A_MOMENT, async || {
            page.calls().await.iter().any(|call| call["call"] == retry.as_str())
        })
        .await;
        page.tell_of("the-rest", "sync_status", syncing(json!({ "runId": "the-rest", "kind": "retry" }))).await;
        page.until("the rest is on its way", A_MOMENT, async || !page.is_shown("sync-rest").await).await;
        assert_eq!(page.focused().await, "start-full", "the button is gone, the place on the keyboard isn't");
    })
    .await;
}

/// Of a run that nobody saw going on, such as one during a laptop's sleep.
#[tokio::test]
async fn an_end_does_not_stand_beside_that_of_a_later_run() {
    on_stage(json!({ "status": syncing(json!({})), "runs": runs(3) }), async |page| {
        page.tell("sync_status", end(json!({}))).await;
        page.until("it is told", A_MOMENT, async || page.is_shown("toast").await).await;
        page.tell_of("later", "sync_status", end(json!({ "status": "Error", "error": "No valid products found" })))
            .await;
        page.until_status("Error", A_MOMENT).await;
        assert!(!page.is_shown("toast").await);
        assert_eq!(title(page).await, "Data Synchronization");
    })
    .await;
}
