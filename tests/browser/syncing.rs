//! Starting syncs, watching them, and what went wrong in them.

use fantoccini::key::Key;

use crate::{
    chrome::with_page,
    page::{A_COOLDOWN, A_MOMENT, A_RUN},
    stack::Stack,
};

#[tokio::test]
async fn a_full_sync_started_by_click_is_seen_to_its_end_through_a_dropped_connection() {
    let stack = Stack::running();
    stack.reset_ghl().await;
    with_page(&stack, &stack.dashboard_url, async |page| {
        page.until_ready().await;
        page.assert_clean_console().await;
        let before = page.text("last-run").await;

        page.click("start-full").await;
        page.until_status("Syncing", A_MOMENT).await;
        page.record("orders-bar").await;
        page.record("tickets-bar").await;
        page.until("orders arrive", A_RUN, async || page.bar("orders-bar").await >= 20.0).await;
        assert!(page.text("rate").await.ends_with("/s"));
        page.screenshots("syncing").await;

        page.relay.cut();
        page.until_connection("waiting").await;
        let missed = page.bar("orders-bar").await;
        page.relay.restore();
        page.until_connection("live").await;
        page.browser.console().await; // The browser names the failed requests of the outage.
        page.until("progress goes on", A_RUN, async || page.bar("orders-bar").await > missed).await;

        page.until("every order is handled", A_RUN, async || page.bar("orders-bar").await == 100.0).await;
        page.until("every ticket is handled", A_MOMENT, async || page.bar("tickets-bar").await == 100.0).await;
        page.until("the cool-down is counted", A_MOMENT, async || page.is_shown("countdown").await).await;
        let left = async || page.text("countdown-seconds").await.parse::<u32>().unwrap_or(0);
        let first = left().await;
        assert!((1..=30).contains(&first), "{first} seconds");
        page.until("the countdown goes down", A_MOMENT, async || left().await < first).await;
        page.screenshots("cooling-down").await;

        page.until_status("Completed", A_COOLDOWN).await;
        page.until("a start is possible", A_MOMENT, async || {
            page.attribute("start-full", "aria-disabled").await == "false"
        })
        .await;
        assert!(!page.is_shown("countdown").await);
        page.until("the last run is told", A_MOMENT, async || page.text("last-run").await != before).await;
        page.until_text("last-run", "Completed", A_MOMENT).await;
        for bar in ["orders-bar", "tickets-bar"] {
            let seen = page.recorded(bar).await;
            assert!(seen.is_sorted(), "{bar} went back: {seen:?}");
            assert!(seen.iter().any(|value| (1.0..100.0).contains(value)), "{bar} jumped: {seen:?}");
        }
        page.screenshots("completed").await;
        page.assert_clean_console().await;
    })
    .await;
}

#[tokio::test]
async fn a_failed_order_is_shown_with_its_reason_and_tried_again() {
    let stack = Stack::running();
    stack.reset_ghl().await;
    let order_id = stack.some_order().await;
    with_page(&stack, &stack.dashboard_url, async |page| {
        page.until_ready().await;
        stack.touch(&order_id).await;
        stack.lose(&order_id).await;
        page.click("start-incremental").await;
        page.until_status("Delay", A_RUN).await;
        page.until_text("failures", &order_id, A_MOMENT).await;
        page.screenshots("failures").await;
        stack.heal().await;

        let button = format!("document.querySelector(`[aria-label=\"Retry order {order_id}\"]`)");
        assert_ne!(page.run(&format!("return {button}.parentElement.querySelector('p').textContent")).await, "");
        page.run(&format!("{button}.click()")).await;
        page.until_text("notice", "is in step", A_MOMENT).await;
        page.until("the failure is gone", A_MOMENT, async || !page.text("failures").await.contains(&order_id)).await;
        page.assert_clean_console().await;
    })
    .await;
}

#[tokio::test]
async fn a_sync_is_cancelled_by_keyboard_after_a_confirmation() {
    let stack = Stack::running();
    stack.reset_ghl().await;
    with_page(&stack, &stack.dashboard_url, async |page| {
        page.until_ready().await;
        page.element("start-full").await.send_keys(&Key::Enter.to_string()).await.unwrap();
        page.until_status("Syncing", A_MOMENT).await;

        let focused = async || page.run("return document.activeElement.id").await;
        let press = async |key: Key| {
            let focused = page.browser.client().active_element().await.unwrap();
            focused.send_keys(&key.to_string()).await.unwrap();
        };
        assert_eq!(focused().await, "start-full", "starting keeps the focus");
        press(Key::Tab).await;
        press(Key::Tab).await;
        assert_eq!(focused().await, "cancel");
        press(Key::Enter).await;
        assert!(page.is_shown("cancel-dialog").await);
        assert_eq!(focused().await, "cancel-no", "the harmless answer is the first");
        page.screenshots("cancel").await;
        press(Key::Escape).await;
        assert!(!page.is_shown("cancel-dialog").await);

        page.click("cancel").await;
        page.click("cancel-yes").await;
        page.until_status("Cancelled", A_MOMENT).await;
        page.until_text("last-run", "Cancelled", A_MOMENT).await;
        page.assert_clean_console().await;
    })
    .await;
}
