//! The page as the stack serves it, with its servers played by the test (`stage.js`): states that a stack has seldom, or never at
//! the moment that a test needs.

use serde_json::{Value, json};

use crate::{
    chrome::with_page,
    page::{A_MOMENT, Page},
    site::Site,
};

/// A run of the stage.
pub(crate) const RUN: &str = "0a0a0a0a-0000-4000-8000-000000000001";

/// Opens the page with what its servers answer: `{status, runs?, failures?, issues?, outside?, answers?, config?}`.
pub(crate) async fn on_stage(staged: Value, test: impl AsyncFnOnce(&Page)) {
    let site = Site::running();
    with_page(&site, "about:blank", async |page| {
        page.browser.before_pages(&format!("window.staged = {staged};\n{}", include_str!("stage.js"))).await;
        page.browser.client().goto(&site.dashboard_url).await.unwrap();
        page.until_connection("live").await;
        page.until("the lists are read", A_MOMENT, async || !page.text("no-failures").await.contains("Loading")).await;
        test(page).await;
        page.assert_clean_console().await;
    })
    .await;
}

impl Page {
    /// The page is told of a frame of the run that it knows.
    pub(crate) async fn tell(&self, event: &str, data: Value) {
        self.tell_of(RUN, event, data).await;
    }

    pub(crate) async fn tell_of(&self, run_id: &str, event: &str, data: Value) {
        let arguments = vec![json!(event), data, json!(run_id)];
        self.browser.client().execute("stage.tell(...arguments)", arguments).await.unwrap();
    }

    /// What was asked of the API: method, path and body.
    pub(crate) async fn calls(&self) -> Vec<Value> {
        self.run("return stage.calls").await.as_array().unwrap().clone()
    }
}

/// A full sync of 159 orders that completed.
pub(crate) fn completed(changes: Value) -> Value {
    with(
        json!({
            "syncInProgress": false, "status": "Completed", "runId": RUN, "kind": "full", "seq": 100, "delay_in_sec": 0,
            "startTime": "2026-11-29T10:00:00.000Z", "endTime": "2026-11-29T10:00:20.000Z",
            "totalOrders": 159, "listedOrders": 160, "syncedOrders": 159, "failedOrders": 0, "notAttemptedOrders": 0,
            "skippedOrders": 1, "unchangedOrders": 20, "totalTickets": 610,
            "totalTicketsChecked": 610, "totalTicketTypes": 4, "ticketsAdded": 57, "ticketsCancelled": 3,
        }),
        changes,
    )
}

/// The same after 66 orders.
pub(crate) fn syncing(changes: Value) -> Value {
    let so_far = json!({
        "syncInProgress": true, "status": "Syncing", "endTime": null, "syncedOrders": 66, "totalTickets": 257,
        "totalTicketsChecked": 257, "ordersPerSecond": 8.43, "etaSeconds": 90,
    });
    completed(with(so_far, changes))
}

/// As many failures, of three codes in turn.
pub(crate) fn failures(number: usize) -> Value {
    let failure = |at: usize| {
        let code = ["ghl_unavailable", "order_not_found", "one_of_a_later_version"][at % 3];
        json!({
            "orderId": format!("Order{at:04}"), "class": "permanent", "code": code, "reason": format!("Why {code}"),
            "attempts": 5, "lastTryAt": "2026-11-29T10:00:10.000Z", "resolvedAt": null,
        })
    };
    (0..number).map(failure).collect()
}

/// As many runs, the newest first, each an hour before the last.
pub(crate) fn runs(number: usize) -> Value {
    let run = |at: usize| {
        completed(json!({
            "runId": format!("0a0a0a0a-0000-4000-8000-{:012}", at + 1),
            "startTime": format!("2026-11-{:02}T{:02}:00:00.000Z", 29 - at / 24, 23 - at % 24),
            "endTime": format!("2026-11-{:02}T{:02}:00:{:02}.000Z", 29 - at / 24, 23 - at % 24, 20 + at % 30),
            "requestedBy": "schedule", "ticketsReinstated": 0,
        }))
    };
    (0..number).map(run).collect()
}

fn with(mut value: Value, changes: Value) -> Value {
    let Value::Object(changes) = changes else { panic!("changes are an object") };
    value.as_object_mut().unwrap().extend(changes);
    value
}
