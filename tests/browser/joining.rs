//! Whoever joins in the middle of a run has everything from the first snapshot; time left and waits go on by themselves.

use serde_json::json;

use crate::{
    page::A_MOMENT,
    stage::{on_stage, syncing},
};

#[tokio::test]
async fn the_first_snapshot_has_tickets_speed_and_time_left() {
    on_stage(json!({ "status": syncing(json!({})) }), async |page| {
        assert_eq!((page.bar("orders-bar").await, page.bar("tickets-bar").await), (41.0, 41.0));
        assert_eq!(page.text("rate").await, "8.4/s");
        assert!(page.text("eta").await.starts_with("1:"), "{}", page.text("eta").await);
        // One number, one meaning, and its name.
        assert_eq!(page.text("tickets-count").await, "257 valid");
        assert_eq!(page.text("tickets-detail").await, "57 added · 3 cancelled · 4 types");
        page.screenshots("joined").await;
    })
    .await;
}

#[tokio::test]
async fn elapsed_time_goes_by_the_servers_clock() {
    // By this browser's clock it began hours ago.
    on_stage(json!({ "status": syncing(json!({ "elapsedSeconds": 3605 })) }), async |page| {
        let shown = page.text("elapsed").await;
        assert!(shown.starts_with("1:00:"), "{shown}");
        page.until("it goes on", A_MOMENT, async || page.text("elapsed").await > shown).await;
    })
    .await;
}

#[tokio::test]
async fn time_left_counts_down_between_frames_and_does_not_jump_up() {
    on_stage(json!({ "status": syncing(json!({})) }), async |page| {
        let seconds = async || {
            let shown = page.text("eta").await;
            let read =
                shown.split_once(':').and_then(|(m, s)| Some(m.parse::<u32>().ok()? * 60 + s.parse::<u32>().ok()?));
            read.unwrap_or_else(|| panic!("the time left is shown as {shown:?}"))
        };
        let first = seconds().await;
        page.until("it counts down", A_MOMENT, async || seconds().await + 2 <= first).await;
        page.record_text("eta").await;
        let before = seconds().await;
        for more in [2, 4, 3] {
            let told = json!({ "syncInProgress": true, "status": "Syncing Orders", "etaSeconds": before + more });
            page.tell("sync_progress", told).await;
            assert!(seconds().await <= before, "it jumped up from {before}");
        }
        page.until("it goes on", A_MOMENT, async || seconds().await < before).await;
    })
    .await;
}

#[tokio::test]
async fn a_wait_for_the_limit_is_counted_down_and_named() {
    on_stage(json!({ "status": syncing(json!({ "waitSeconds": 6 })) }), async |page| {
        page.record("orders-bar").await;
        page.until_text("sentence", "Waiting for GoHighLevel's limit, ", A_MOMENT).await;
        assert!(page.is_shown("countdown").await);
        page.screenshots("waiting").await;
        page.tell("sync_progress", json!({ "syncInProgress": true, "status": "Syncing Orders", "waitSeconds": 4 }))
            .await;
        page.until_text("sentence", "limit, 2 s", A_MOMENT).await;
        assert_eq!(page.text("countdown-seconds").await, "2");
        page.until_text("sentence", "93 orders to go", A_MOMENT).await;
        assert!(!page.is_shown("countdown").await);

        page.tell("sync_progress", json!({ "syncInProgress": true, "status": "Syncing Orders", "waitSeconds": 9 }))
            .await;
        page.until_text("sentence", "Waiting", A_MOMENT).await;
        page.tell("sync_progress", json!({ "syncInProgress": true, "status": "Syncing Orders", "syncedOrders": 67 }))
            .await;
        page.until_text("sentence", "92 orders to go", A_MOMENT).await;
        assert!(page.recorded("orders-bar").await.iter().all(|value| *value >= 41.0), "the bar stands");
    })
    .await;
}
