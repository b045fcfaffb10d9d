//! The history of an order: what it is, its tickets, and what became of them.

use fantoccini::key::Key;
use serde_json::json;

use crate::{
    page::A_MOMENT,
    stage::{completed, failures, on_stage, runs, syncing},
};

#[tokio::test]
async fn an_orders_history_is_told_and_leads_back() {
    let history = json!({
        "orderId": "Order0000",
        "order": { "status": "completed", "paymentStatus": "paid", "totalPaid": "40.50", "amountRefunded": 0, "currency": "USD" },
        "tickets": [{ "ticketId": 11, "type": "VIP", "status": "live" }, { "ticketId": 12, "type": "Regular", "status": "cancelled" }],
        "changes": [
            { "at": "2026-11-28T10:00:00.000Z", "ticketId": 12, "from": "live", "to": "cancelled", "by": "admin", "reason": "Sent twice" },
            { "at": "2026-11-27T10:00:00.000Z", "ticketId": 12, "from": null, "to": "live", "by": "sync", "reason": null },
        ],
        "failures": failures(1), "issues": [], "next": null,
    });
    let staged = json!({
        "status": completed(json!({ "failedOrders": 2 })), "failures": failures(2),
        "answers": { "GET qrapp/orders/Order0000/history": [200, history] },
    });
    on_stage(staged, async |page| {
        page.until("it is listed", A_MOMENT, async || page.texts("#failures-list code").await.len() == 2).await;
        page.tab_to("History of order Order0000").await;
        page.key(Key::Enter).await;
        page.until_text("order-dialog", "Ticket 12: live → cancelled", A_MOMENT).await;
        let told = page.text("order-dialog").await;
        for words in [
            "completed",
            "40.50 USD",
            "VIP",
            "by admin · Sent twice",
            "Ticket 12: made, live",
            "Why ghl_unavailable",
            "It is tried again by the next sync",
        ] {
            assert!(told.contains(words), "{words}: {told}");
        }
        page.screenshots("order").await;
        page.key(Key::Escape).await;
        page.until("it is closed", A_MOMENT, async || !page.is_shown("order-dialog").await).await;
        assert_eq!(page.focused().await, "History of order Order0000", "the focus returns");
    })
    .await;
}

#[tokio::test]
async fn an_order_without_a_history_says_so() {
    let nothing = json!({
        "orderId": "Order0000", "order": null, "tickets": [], "changes": [], "failures": [], "issues": [], "next": null,
    });
    let staged = json!({
        "status": completed(json!({ "failedOrders": 1 })), "failures": failures(1),
        "answers": { "GET qrapp/orders/Order0000/history": [200, nothing] },
    });
    on_stage(staged, async |page| {
        page.until("it is listed", A_MOMENT, async || page.texts("#failures-list code").await.len() == 1).await;
        page.press("[aria-label='History of order Order0000']").await;
        page.until_text("order-dialog", "This order isn't stored here", A_MOMENT).await;
        page.click("order-close").await;

        let away = json!({ "error": "The database can't be reached", "code": "database_unavailable", "requestId": "request-7" });
        page.run(&format!("staged.answers['GET qrapp/orders/Order0000/history'] = [503, {away}]")).await;
        page.press("[aria-label='History of order Order0000']").await;
        page.until_text("order-dialog", "The database can't be reached (reference request-7)", A_MOMENT).await;
    })
    .await;
}

#[tokio::test]
async fn an_answer_that_comes_late_is_not_shown_as_another_orders() {
    let of = |id: &str, reason: &str| {
        let change = json!({ "at": "2026-11-28T10:00:00.000Z", "ticketId": 1, "from": null, "to": "live", "by": "sync", "reason": reason });
        json!([200, { "orderId": id, "order": null, "tickets": [], "changes": [change], "failures": [], "issues": [], "next": null }])
    };
    let staged = json!({
        "status": completed(json!({ "failedOrders": 2 })), "failures": failures(2),
        "answers": {
            "GET qrapp/orders/Order0000/history": of("Order0000", "of the first"),
            "GET qrapp/orders/Order0001/history": of("Order0001", "of the second"),
        },
    });
    on_stage(staged, async |page| {
        page.until("they are listed", A_MOMENT, async || page.texts("#failures-list code").await.len() == 2).await;
        page.run("stage.slow['GET qrapp/orders/Order0000/history'] = new Promise((answer) => (stage.answer = answer))")
            .await;
        page.press("[aria-label='History of order Order0000']").await;
        page.click("order-close").await;
        page.press("[aria-label='History of order Order0001']").await;
        page.until_text("order-body", "of the second", A_MOMENT).await;
        page.run("stage.answer()").await;
        page.until("the first one is answered", A_MOMENT, async || page.holds("stage.late.length === 1").await).await;
        assert!(!page.text("order-body").await.contains("of the first"));
    })
    .await;
}

/// What stood there was for somebody else to see and to press.
#[tokio::test]
async fn signing_out_clears_the_board_and_closes_what_is_open() {
    let nothing =
        json!({ "orderId": "Order0000", "order": null, "tickets": [], "changes": [], "failures": [], "issues": [] });
    let staged = json!({
        "status": syncing(json!({ "failedOrders": 2 })), "failures": failures(2), "runs": runs(3),
        "answers": { "GET qrapp/orders/Order0000/history": [200, nothing] },
    });
    on_stage(staged, async |page| {
        page.until("they are listed", A_MOMENT, async || page.texts("#failures-list code").await.len() == 2).await;
        page.press("[aria-label='History of order Order0000']").await;
        page.until_text("order-body", "isn't stored here", A_MOMENT).await;
        page.run("document.getElementById('sign-out').click()").await;
        page.until("the sign-in", A_MOMENT, async || page.is_shown("sign-in").await).await;
        assert!(!page.holds("document.querySelector('dialog[open]')").await);
        assert!(
            page.holds(
                "['failures-list', 'runs', 'order-body'].every((id) => !document.getElementById(id).hasChildNodes())"
            )
            .await
        );
        let is_hidden = async |id: &str| page.holds(&format!("document.getElementById('{id}').hidden")).await;
        for id in ["cancel", "sync-rest", "percent", "picture"] {
            assert!(is_hidden(id).await, "{id}");
        }
        assert!(page.holds("document.getElementById('orders-count').textContent === ''").await);
        assert!(!page.is_shown("notice").await, "who signs out needn't be told that the session has ended");
    })
    .await;
}
