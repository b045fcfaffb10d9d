//! Who may see and do what, and for how long the page listens.

use std::time::{Duration, Instant};

use crate::{chrome::with_page, page::A_MOMENT, site::Site};

#[tokio::test]
async fn a_member_watches_but_has_nothing_to_start() {
    let site = Site::running();
    with_page(&site, &site.member_url(), async |page| {
        page.until_connection("live").await;
        assert!(page.is_shown("status").await);
        assert!(page.is_shown("member-help").await);
        for id in ["start-full", "start-incremental"] {
            assert!(page.is_shown(id).await, "{id} is hidden");
            assert_eq!(page.attribute(id, "aria-disabled").await, "true", "{id}");
            assert_eq!(page.attribute(id, "title").await, "This needs an admin account.", "{id}");
            page.click(id).await;
        }
        assert!(!page.is_shown("notice").await, "nothing was asked of the server");
        page.screenshots("member").await;
        page.assert_clean_console().await;
    })
    .await;
}

#[tokio::test]
async fn a_session_leaves_the_address_bar_survives_a_reload_and_ends_with_sign_out() {
    let site = Site::running();
    with_page(&site, &site.dashboard_url, async |page| {
        page.until_connection("live").await;
        assert_eq!(page.run("return location.hash").await, "");

        page.browser.client().refresh().await.unwrap();
        page.until_connection("live").await;
        page.click("sign-out").await;
        assert!(page.is_shown("sign-in").await);
        assert!(!page.is_shown("board").await);
        page.browser.client().refresh().await.unwrap();
        page.until("signed out for good", A_MOMENT, async || page.is_shown("sign-in").await).await;
        page.assert_clean_console().await;
    })
    .await;
}

#[tokio::test]
async fn a_session_that_is_refused_leads_back_to_the_sign_in() {
    let site = Site::running();
    let url = format!("{}#access_token=not.a.token", site.page_url());
    with_page(&site, &url, async |page| {
        page.until("sign-in", A_MOMENT, async || page.is_shown("sign-in").await).await;
        page.until_text("notice", "Sign in again", A_MOMENT).await;
    })
    .await;
}

#[tokio::test]
async fn the_page_connects_when_it_is_opened_and_disconnects_when_it_is_left() {
    let site = Site::running();
    with_page(&site, &site.member_url(), async |page| {
        page.until_connection("live").await;
        let newest = "select connection_id from sync_connections order by connected_at desc limit 1";
        let connection = site.value(newest).await;
        page.browser.client().goto("about:blank").await.unwrap();
        let gone = format!("select not exists (select from sync_connections where connection_id = '{connection}')");
        let begun = Instant::now();
        while site.value(&gone).await != "true" {
            assert!(begun.elapsed() < A_MOMENT, "{connection} is still registered");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await;
}
