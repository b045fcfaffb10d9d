//! Sessions that end while the page is open: it goes on with a new one, or says that it is signed out. It never looks live
//! when nobody tells it anything any more.
//!
//! Each session is entered from a page that waited, in a longer one, for whatever earlier tests have left.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::{
    chrome::with_page,
    page::{A_MOMENT, A_RUN, Page},
    site::Site,
    stage::{completed, on_stage, runs},
};

const ENDED: &str = "Your session has ended. Sign in again.";

/// Loads the page anew with another session, as after signing in with it. A link wouldn't replace the one that is there.
async fn enter(page: &Page, access_token: &str, refresh_token: Option<&str>) {
    let session = json!({ "access": access_token, "refresh": refresh_token, "ends": null });
    page.run(&format!("sessionStorage.setItem('ghl-sync.session', JSON.stringify({session}))")).await;
    page.browser.client().refresh().await.unwrap();
    page.until_connection("live").await;
}

async fn assert_signed_out(page: &Page) {
    page.until("the sign-in", A_MOMENT, async || page.is_shown("sign-in").await).await;
    assert_eq!(page.text("notice-text").await, ENDED);
    assert!(!page.is_shown("board").await, "what was known stays on show");
    assert_eq!(page.attribute("connection", "data-state").await, "stopped");
}

/// Failed requests are named by the browser; what no code caught isn't to be among them.
async fn assert_nothing_uncaught(page: &Page) {
    let shown = page.browser.console().await;
    assert!(!shown.iter().any(|line| line.contains("Uncaught")), "the console shows {shown:#?}");
}

#[tokio::test]
async fn a_session_that_ends_during_a_run_leads_to_the_sign_in() {
    let site = Site::running();
    site.ghl.restart().await;
    with_page(&site, &site.dashboard_url, async |page| {
        page.until_ready().await;
        let ends = Instant::now() + Duration::from_secs(10);
        enter(page, &site.token(10, json!({})), None).await;
        page.click("start-full").await;
        page.until_status("Syncing", A_MOMENT).await;
        assert_signed_out(page).await;
        assert!(ends.elapsed() < Duration::from_secs(5), "{:?} after its end", ends.elapsed());
        assert_nothing_uncaught(page).await;
    })
    .await;
}

#[tokio::test]
async fn a_session_is_renewed_during_a_run_and_nothing_of_it_is_missed() {
    let site = Site::running();
    site.ghl.restart().await;
    with_page(&site, &site.dashboard_url, async |page| {
        page.until_ready().await;
        enter(page, &site.token(6, json!({})), Some(&Site::refresh_token(3600, 6))).await;
        page.record_text("connection").await;
        page.click("start-full").await;
        page.until_status("Syncing", A_MOMENT).await;
        // Longer than the session it began in.
        page.until_status("Delay", A_RUN).await;
        page.until_connection("live").await;
        let told = page.recorded_text("connection").await;
        assert!(told.iter().any(|text| text == "Live"), "it connected anew: {told:?}");
        assert!(page.is_shown("board").await && !page.is_shown("sign-in").await);
        assert_nothing_uncaught(page).await;
    })
    .await;
}

#[tokio::test]
async fn a_session_that_is_not_renewed_leads_to_the_sign_in() {
    let site = Site::running();
    with_page(&site, &site.dashboard_url, async |page| {
        page.until_connection("live").await;
        enter(page, &site.token(5, json!({})), Some(&Site::refresh_token(10, 5))).await;
        assert_signed_out(page).await;
        assert_nothing_uncaught(page).await;
    })
    .await;
}

#[tokio::test]
async fn nobody_is_signed_out_because_the_sign_in_service_is_away() {
    let site = Site::running();
    with_page(&site, &site.dashboard_url, async |page| {
        page.until_connection("live").await;
        enter(page, &site.token(6, json!({})), Some(&Site::refresh_token(3600, 6))).await;
        assert_eq!(page.attribute("board", "data-heard").await, "yes");
        page.run(
            "window.connected = window.fetch;
             window.fetch = (url, ...more) => String(url).includes('/auth/v1/')
                 ? Promise.reject(new TypeError('away')) : window.connected(url, ...more);",
        )
        .await;
        page.until_text("connection", "Reconnecting", A_MOMENT).await;
        let heard = async || page.attribute("board", "data-heard").await;
        page.until("what stands there is grey", A_MOMENT, async || heard().await == "no").await;
        assert!(page.is_shown("board").await && !page.is_shown("sign-in").await && !page.is_shown("notice").await);
        page.screenshots("unheard").await;

        page.run("window.fetch = window.connected").await;
        // The back-off may have grown to half a minute.
        page.until("it is live", 2 * A_MOMENT, async || page.attribute("connection", "data-state").await == "live")
            .await;
        assert_eq!(heard().await, "yes");
        assert_nothing_uncaught(page).await;
    })
    .await;
}

#[tokio::test]
async fn a_browser_whose_clock_is_behind_is_told_of_the_end_by_the_server() {
    let site = Site::running();
    with_page(&site, &site.dashboard_url, async |page| {
        page.until_connection("live").await;
        let (access, refresh) = (site.token(8, json!({})), Site::refresh_token(3600, 3600));
        page.run(&format!(
            "sessionStorage.setItem('ghl-sync.session',
                 JSON.stringify({{ access: '{access}', refresh: '{refresh}', ends: Date.now() + 3600e3 }}))"
        ))
        .await;
        page.reload().await;
        page.record_text("connection").await;
        // It asks then, as it does whenever it has heard nothing for a while.
        page.until("another session", A_MOMENT, async || {
            page.run("dispatchEvent(new Event('online'))").await;
            let kept = page.run("return JSON.parse(sessionStorage.getItem('ghl-sync.session'))?.access").await;
            kept.is_string() && kept != access.as_str()
        })
        .await;
        page.until("it is live anew", A_MOMENT, async || {
            page.recorded_text("connection").await.iter().any(|text| text == "Live")
        })
        .await;
        assert!(page.is_shown("board").await && !page.is_shown("sign-in").await);
        assert_nothing_uncaught(page).await;
    })
    .await;
}

#[tokio::test]
async fn a_link_does_not_replace_the_session_that_is_there() {
    let site = Site::running();
    with_page(&site, &site.dashboard_url, async |page| {
        page.until_connection("live").await;
        let kept = async || page.run("return sessionStorage.getItem('ghl-sync.session')").await;
        let (before, who) = (kept().await, page.text("who").await);
        let other = site.token(3600, json!({ "email": "mallory@example.com", "sub": "mallory" }));
        let fragment = format!("access_token={other}&token_type=bearer");

        // Opened on the page that is there, which isn't loaded anew; then as a page of its own in the same tab.
        for elsewhere in [None, Some("about:blank")] {
            for url in elsewhere.into_iter().map(str::to_owned).chain([format!("{}#{fragment}", site.page_url())]) {
                page.browser.client().goto(&url).await.unwrap();
            }
            page.until_text("notice", "You are signed in already", A_MOMENT).await;
            page.until("the token leaves the address bar", A_MOMENT, async || page.holds("location.hash === ''").await)
                .await;
            assert_eq!((kept().await, page.text("who").await), (before.clone(), who.clone()));
            page.until_connection("live").await;
        }

        page.click("sign-out").await;
        assert!(!page.is_shown("board").await);
        page.run(&format!("location.hash = '{fragment}'")).await;
        page.until_text("who", "mallory@example.com", A_MOMENT).await;
        assert_nothing_uncaught(page).await;
    })
    .await;
}

/// Somebody has worked in that one: whoever sent the link must not have them go on in another.
#[tokio::test]
async fn a_link_takes_no_place_of_a_session_that_was_accepted() {
    let site = Site::running();
    on_stage(json!({ "status": completed(json!({})), "runs": runs(3) }), async |page| {
        enter(page, &site.token(3600, json!({})), None).await;
        page.until("it is accepted", A_MOMENT, async || !page.texts("#runs > li").await.is_empty()).await;
        let other = site.token(3600, json!({ "email": "mallory@example.com", "sub": "mallory" }));
        page.run(&format!("location.hash = 'access_token={other}'")).await;
        page.until_text("notice", "You are signed in already", A_MOMENT).await;
        // Once: another session would be accepted.
        let refused = "{ get 'GET qrapp/runs'() { staged.answers = {}; return [401, { message: 'Unauthorized' }]; } }";
        page.run(&format!("staged.answers = {refused}; stage.lookUp()")).await;
        page.until("the sign-in", A_MOMENT, async || page.is_shown("sign-in").await).await;
        assert!(page.holds("sessionStorage.getItem('ghl-sync.session') === null").await);
    })
    .await;
}
