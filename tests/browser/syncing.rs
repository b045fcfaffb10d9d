//! Starting syncs, watching them, and what went wrong in them.

use fantoccini::key::Key;

use crate::{
    chrome::with_page,
    page::{A_COOLDOWN, A_MOMENT, A_RUN},
    site::Site,
};

#[tokio::test]
async fn a_full_sync_started_by_click_is_seen_to_its_end_through_a_dropped_connection() {
    let site = Site::running();
    site.ghl.restart().await;
    with_page(&site, &site.dashboard_url, async |page| {
        page.until_ready().await;
        page.assert_clean_console().await;
        // Its words may be those of the run before: same minute, same counts.
        let newest =
            async || page.run("return document.querySelector('#runs details[data-run]')?.dataset.run ?? null").await;
        page.until("the runs are read", A_MOMENT, async || page.text("last-run").await != "Loading…").await;
        let before = newest().await;

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
        page.until("the run is told", A_MOMENT, async || newest().await != before).await;
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
async fn a_sync_is_cancelled_by_keyboard_after_a_confirmation() {
    let site = Site::running();
    // Forty seconds of GHL's limit: however slowly pictures are taken, something is left when it is cancelled.
    site.ghl.reset(400).await;
    with_page(&site, &site.dashboard_url, async |page| {
        page.until_ready().await;
        page.element("start-full").await.send_keys(&Key::Enter.to_string()).await.unwrap();
        page.until_status("Syncing", A_MOMENT).await;
        // Of a run that has listed nothing yet there is no rest.
        page.until("orders arrive", A_RUN, async || page.bar("orders-bar").await > 0.0).await;

        let focused = async || page.run("return document.activeElement.id").await;
        let press = async |key: Key| {
            let focused = page.browser.client().active_element().await.unwrap();
            focused.send_keys(&key.to_string()).await.unwrap();
        };
        assert_eq!(focused().await, "start-full", "starting keeps the focus");
        press(Key::Tab).await;
        press(Key::Tab).await;
        assert_eq!(focused().await, "cancel");

        for keep in [Key::Escape, Key::Enter] {
            press(Key::Enter).await;
            assert!(page.is_shown("cancel-dialog").await);
            assert_eq!(focused().await, "cancel-no", "the harmless answer is the first");
            page.screenshots("cancel").await;
            press(keep).await;
            assert!(!page.is_shown("cancel-dialog").await);
            assert_eq!(focused().await, "cancel", "the focus returns");
        }
        assert_eq!(page.text("cancel").await, "Cancel sync…");
        assert_eq!(page.attribute("status", "data-status").await, "Syncing", "it goes on");

        page.record_text("cancel").await;
        press(Key::Enter).await;
        press(Key::Tab).await;
        assert_eq!(focused().await, "cancel-yes");
        press(Key::Enter).await;
        page.until_status("Cancelled", A_MOMENT).await;
        assert!(page.recorded_text("cancel").await.iter().any(|text| text == "Cancelling…"));
        assert_eq!(focused().await, "start-full", "the cancel button is gone");
        page.until_text("last-run", "Cancelled", A_MOMENT).await;

        page.until("the rest can be synced", A_MOMENT, async || page.is_shown("sync-rest").await).await;
        page.screenshots("rest").await;
        page.click("sync-rest").await;
        page.until_status("Delay", A_RUN).await;
        page.until("nothing is left", A_MOMENT, async || !page.is_shown("sync-rest").await).await;
        page.assert_clean_console().await;
    })
    .await;
}

#[tokio::test]
async fn a_refusal_is_told_in_words() {
    let site = Site::running();
    site.ghl.restart().await;
    with_page(&site, &site.dashboard_url, async |page| {
        page.until_ready().await;
        page.click("start-full").await;
        page.until_status("Syncing", A_MOMENT).await;
        let title = page.attribute("start-full", "title").await;
        assert!(title.contains("A sync is running"), "{title}");

        // As a dashboard would that hasn't heard of the run yet.
        page.run("const b = document.getElementById('start-full'); b.removeAttribute('aria-disabled'); b.click()")
            .await;
        page.until_text("notice", "A sync is running already", A_MOMENT).await;
        let refused = page.browser.console().await;
        assert!(refused.iter().all(|line| line.contains("409")), "{refused:?}");
        assert_eq!(page.attribute("status", "data-status").await, "Syncing");

        page.click("cancel").await;
        page.click("cancel-yes").await;
        page.until_status("Cancelled", A_MOMENT).await;
        page.assert_clean_console().await;
    })
    .await;
}
