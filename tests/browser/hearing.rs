//! The page is never live when nobody has told it anything for 15 seconds; what it knew stays, greyed, with since when.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::{
    page::A_MOMENT,
    stage::{on_stage, runs, syncing},
};

#[tokio::test]
async fn a_connection_that_says_nothing_is_not_live() {
    on_stage(json!({ "status": syncing(json!({})), "runs": runs(3) }), async |page| {
        page.run("stage.mute = true").await;
        let begun = Instant::now();
        page.until_connection("silent").await;
        let took = begun.elapsed();
        assert!(took < Duration::from_secs(16), "{took:?} without a word");
        assert_eq!(page.text("connection").await, "No answer");
        assert_eq!(page.attribute("board", "data-heard").await, "no");
        let since = page.text("unheard").await;
        assert!(since.starts_with("No live updates since ") && since.contains(':'), "{since}");
        // What was known stays, and no clock goes on that nobody has set.
        page.run("stage.refuse = true").await;
        assert_eq!(page.text("orders-count").await, "66 / 159");
        let (left, elapsed) = (page.text("eta").await, page.text("elapsed").await);
        page.screenshots("silent").await;
        assert_eq!((page.text("eta").await, page.text("elapsed").await), (left, elapsed));

        page.run("stage.mute = stage.refuse = false").await;
        page.until("it is live again", 2 * A_MOMENT, async || {
            page.attribute("connection", "data-state").await == "live"
        })
        .await;
        assert_eq!(page.attribute("board", "data-heard").await, "yes");
        assert!(!page.is_shown("unheard").await);
    })
    .await;
}

#[tokio::test]
async fn an_idle_connection_stays_live_since_it_is_asked() {
    on_stage(json!({ "status": syncing(json!({})) }), async |page| {
        page.run("stage.told.length = 0").await;
        page.record_text("connection").await;
        page.until("it was asked", A_MOMENT, async || page.holds("stage.told.includes('ping')").await).await;
        page.until("and again", A_MOMENT, async || {
            page.holds("stage.told.filter((a) => a === 'ping').length > 1").await
        })
        .await;
        assert!(page.recorded_text("connection").await.is_empty(), "it was live all the time");
    })
    .await;
}

#[tokio::test]
async fn an_open_connection_is_not_live_before_its_first_word() {
    on_stage(json!({ "status": syncing(json!({})) }), async |page| {
        page.record_text("connection").await;
        page.run("stage.mute = true; stage.sockets[0].onclose({})").await;
        page.until("it is open again", A_MOMENT, async || page.holds("stage.sockets[0].readyState === 1").await).await;
        let asked = "stage.told.filter((action) => action === 'status').length";
        page.until("it was given up", A_MOMENT, async || page.holds(&format!("{asked} > 2")).await).await;
        // Read aloud: one word for all attempts.
        assert_eq!(page.recorded_text("connection").await, ["Reconnecting…"]);
    })
    .await;
}

#[tokio::test]
async fn live_updates_that_do_not_come_through_are_a_problem() {
    on_stage(json!({ "status": syncing(json!({})) }), async |page| {
        // The API goes on to answer.
        page.run("window.WebSocket = class { constructor() { setTimeout(() => this.onclose?.({})); } close() {} }; stage.sockets[0].onclose({})")
            .await;
        page.until_text("problems", "Live updates don't come through", 2 * A_MOMENT).await;
        let heard = async || page.attribute("board", "data-heard").await;
        page.until("what stands there is grey", A_MOMENT, async || heard().await == "no").await;
    })
    .await;
}

#[tokio::test]
async fn problems_of_the_system_stand_on_top_with_what_to_do() {
    let problems = json!([
        { "code": "ghl_unauthorized", "message": "GoHighLevel refuses the access token.", "action": "Make a new one and configure it." },
        { "code": "one_of_a_later_version", "message": "Something else is wrong." },
    ]);
    on_stage(json!({ "status": syncing(json!({ "problems": problems })) }), async |page| {
        page.until_text("problems", "GoHighLevel refuses the access token.\nMake a new one and configure it.", A_MOMENT).await;
        assert!(page.text("problems").await.ends_with("Something else is wrong."));
        assert!(page.holds("document.getElementById('problems').getBoundingClientRect().bottom <= document.getElementById('board').getBoundingClientRect().top").await);
        page.screenshots("problems").await;
        page.tell("sync_status", json!({ "problems": [] })).await;
        page.until("they are over", A_MOMENT, async || !page.is_shown("problems").await).await;
    })
    .await;
}

#[tokio::test]
async fn why_nothing_is_told_stands_on_the_page_until_something_is() {
    on_stage(json!({ "status": syncing(json!({ "problems": [] })) }), async |page| {
        let error = json!({ "event": "error", "data": { "code": "database_unavailable", "error": "Database connection error" } });
        // Who asks again isn't answered meanwhile.
        page.run(&format!("stage.mute = true; stage.sockets[0].hear({error})")).await;
        page.until_text("problems", "Database connection error", A_MOMENT).await;
        page.until_text("announcer", "Database connection error", A_MOMENT).await;
        // A frame says nothing of it; who asks again is told.
        page.tell("sync_progress", json!({ "syncInProgress": true, "syncedOrders": 67 })).await;
        assert!(page.is_shown("problems").await);
        page.run("stage.mute = false").await;
        page.run(&format!("stage.sockets[0].hear({error})")).await;
        page.until("it is over", A_MOMENT, async || !page.is_shown("problems").await).await;
    })
    .await;
}

#[tokio::test]
async fn what_went_wrong_with_nobody_asking_is_over_when_it_goes_well() {
    on_stage(json!({ "status": syncing(json!({})), "runs": runs(3) }), async |page| {
        page.run("staged.answers = { 'GET qrapp/runs': [503, { error: 'Database connection error', code: 'database_unavailable', requestId: 'r-1' }] }; stage.lookUp()").await;
        page.until_text("notice", "Database connection error (reference r-1)", A_MOMENT).await;
        page.record_text("notice-text").await;
        page.run("staged.answers['GET qrapp/runs'][1].requestId = 'r-2'; stage.calls.length = 0; stage.lookUp()").await;
        page.until("it is asked again", A_MOMENT, async || page.holds("stage.calls.length > 1").await).await;
        assert!(page.recorded_text("notice-text").await.is_empty(), "the same again is no news");
        page.run("staged.answers = {}; stage.lookUp()").await;
        page.until("it is over", A_MOMENT, async || !page.is_shown("notice").await).await;
    })
    .await;
}
