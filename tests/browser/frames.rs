//! What the page makes of frames: `progress.js`, run in the browser that will run it.

use serde_json::{Value, json};

use crate::{chrome::with_page, page::Page, site::Site};

/// The state after these frames, and the per cents shown for it.
async fn after(page: &Page, frames: Value) -> Value {
    let script = "const [frames, done] = arguments;
        import(new URL('progress.js', document.querySelector('script[type=module]').src)).then(({ NOTHING_YET, applyFrame, ordersPercent, ticketsPercent }) => {
            const state = frames.reduce((state, frame) => applyFrame(state, frame, 0), NOTHING_YET);
            done({ ...state, orders: ordersPercent(state), tickets: ticketsPercent(state) });
        });";
    page.browser.client().execute_async(script, vec![frames]).await.unwrap()
}

fn frame(seq: u64, run_id: &str, data: Value) -> Value {
    json!({ "event": "sync_progress", "seq": seq, "runId": run_id, "data": data })
}

#[tokio::test]
async fn an_error_says_nothing_of_a_run() {
    let site = Site::running();
    with_page(&site, site.page_url(), async |page| {
        let nothing = after(page, json!([])).await;
        for code in ["session_ended", "database_unavailable", "one_of_a_later_version"] {
            let error = json!({ "event": "error", "data": { "error": "Words for a person", "code": code } });
            assert_eq!(after(page, json!([error])).await, nothing, "{code}");
        }
    })
    .await;
}

#[tokio::test]
async fn frames_are_applied_in_their_order_and_once() {
    let site = Site::running();
    with_page(&site, site.page_url(), async |page| {
        let syncing = |synced: u32| json!({ "status": "Syncing", "totalOrders": 10, "syncedOrders": synced });
        let (first, late, last) = (frame(5, "a", syncing(2)), frame(6, "a", syncing(4)), frame(7, "a", syncing(6)));

        let state = after(page, json!([first, last, late, last])).await;
        assert_eq!((&state["syncedOrders"], &state["seq"], &state["orders"]), (&json!(6), &json!(7), &json!(60)));

        let next_run = frame(8, "b", json!({ "status": "Syncing" }));
        let state = after(page, json!([first, last, next_run])).await;
        assert_eq!(
            (&state["syncedOrders"], &state["orders"]),
            (&json!(0), &Value::Null),
            "a new run starts from nothing"
        );
    })
    .await;
}

#[tokio::test]
async fn the_ticket_bar_never_goes_back_and_ends_full() {
    let site = Site::running();
    with_page(&site, site.page_url(), async |page| {
        let orders = |synced: u32, tickets: u32| {
            json!({ "status": "Syncing", "totalOrders": 10, "syncedOrders": synced, "totalTickets": tickets })
        };
        let checked = |tickets: u32| json!({ "status": "Syncing", "totalTicketsChecked": tickets });
        let half = [frame(1, "a", orders(5, 15)), frame(2, "a", checked(15))];
        assert_eq!(after(page, json!(half)).await["tickets"], 50);

        let behind = [&half[..], &[frame(3, "a", orders(6, 40))]].concat();
        assert_eq!(after(page, json!(behind)).await["tickets"], 50);

        let end = [&half[..], &[frame(3, "a", json!({ "status": "Delay", "totalTickets": 40, "delay_in_sec": 30 }))]].concat();
        assert_eq!(after(page, json!(end)).await["tickets"], 100);
    })
    .await;
}
