//! Who may see and do what, and for how long the page listens.

use std::time::{Duration, Instant};

use serde_json::json;

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
async fn a_short_address_signs_in_once_and_then_says_how_to_get_another() {
    let site = Site::running();
    let address = site.sign_in_address().await;
    with_page(&site, &address, async |page| {
        page.until_connection("live").await;
        let place = page.run("return [location.href, document.referrer]").await;
        assert_eq!(place, json!([site.page_url(), ""]), "neither the session nor the address is left there");
        page.assert_clean_console().await;

        page.browser.client().goto(&address).await.unwrap();
        let words = page.run("return document.body.innerText").await;
        let words = words.as_str().unwrap();
        assert!(words.contains("has been used") && words.contains("cargo xtask sign-in"), "{words}");
        page.axe("an address that was used").await;

        page.browser.client().back().await.unwrap();
        page.until_connection("live").await;
    })
    .await;
}

/// Its keys are made anew when a developer deletes them, or starts another stack on the same ports.
#[tokio::test]
async fn the_session_of_a_former_stack_keeps_nobody_out() {
    let site = Site::running();
    let former = site.former_token();
    with_page(&site, &format!("{}#access_token={former}", site.page_url()), async |page| {
        let is_out = async || page.is_shown("sign-in").await;
        page.until("the sign-in", A_MOMENT, is_out).await;
        page.until_text("notice", "Sign in again", A_MOMENT).await;
        page.browser.client().goto(&site.sign_in_address().await).await.unwrap();
        page.until_connection("live").await;

        // In a tab that still has it, the link's session takes its place once it is refused.
        let kept = json!({ "access": former, "refresh": null, "ends": null }).to_string();
        page.run(&format!("sessionStorage.setItem('ghl-sync.session', `{kept}`)")).await;
        let client = page.browser.client();
        client.goto(&site.sign_in_address().await).await.unwrap();
        // The page loads itself again then, in the midst of which it can't be asked.
        let kept = async || client.execute("return sessionStorage.getItem('ghl-sync.session')", Vec::new()).await;
        let is_taken =
            async || kept().await.is_ok_and(|kept| kept.as_str().is_some_and(|kept| !kept.contains(&former)));
        page.until("the link's session is taken", A_MOMENT, is_taken).await;
        client.refresh().await.unwrap();
        page.until_connection("live").await;
    })
    .await;
}

#[tokio::test]
async fn a_page_that_lacks_a_part_is_loaded_again() {
    let site = Site::running();
    with_page(&site, "about:blank", async |page| {
        page.browser.withhold(&["*/picture.js"]).await;
        page.browser.client().goto(&site.dashboard_url).await.unwrap();
        let loads = async || page.run("return Number(sessionStorage.getItem('ghl-sync.loads'))").await;
        page.until("it tries again", A_MOMENT, async || loads().await != 0).await;
        page.until("it gives up", A_MOMENT, async || page.is_shown("load-failed").await).await;

        page.browser.withhold(&[]).await;
        page.browser.client().refresh().await.unwrap();
        page.until_connection("live").await;
        assert!(!page.is_shown("load-failed").await);
        assert_eq!(loads().await, 0);
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
