//! Every state of the page, as people with a phone, in the dark, or with large letters meet it: axe-core finds nothing, and nobody has
//! to scroll sideways.

use std::time::Instant;

use serde_json::json;

use crate::{
    chrome::with_page,
    page::{A_COOLDOWN, A_MOMENT, A_RUN, Page},
    site::Site,
};

/// Of the orders that need attention, one each.
const FAILURES: &str = "#failures-list [aria-label^='Retry order']";

#[derive(Clone, Copy, Debug)]
enum Look {
    Phone,
    PhoneDark,
    DeskDark,
    /// At 200 %.
    Zoomed,
    /// The last one: it is left to the test.
    Desk,
}

const LOOKS: [Look; 5] = [Look::Phone, Look::PhoneDark, Look::DeskDark, Look::Zoomed, Look::Desk];

impl Look {
    async fn take(self, page: &Page) {
        let browser = &page.browser;
        browser.emulate_dark(matches!(self, Self::PhoneDark | Self::DeskDark)).await;
        match self {
            Self::Phone | Self::PhoneDark => browser.phone().await,
            Self::Zoomed => browser.zoom(2.0).await,
            Self::Desk | Self::DeskDark => browser.desk().await,
        }
    }
}

/// The page in a state that stays.
async fn accessible(page: &Page, state: &str) {
    accessible_while(page, state, &LOOKS, async || true).await;
}

/// The page in a state that may end by itself: what was looked at while it did doesn't count, and the next time does.
async fn accessible_while(page: &Page, state: &str, looks: &[Look], lasts: impl AsyncFn() -> bool) {
    for look in looks {
        look.take(page).await;
        let begun = Instant::now();
        loop {
            page.until(state, A_RUN, async || lasts().await).await;
            let barriers = page.barriers().await;
            let wider = page.run("return document.documentElement.scrollWidth - innerWidth").await;
            if lasts().await {
                assert!(barriers.is_empty(), "{state}, {look:?}: {barriers:#?}");
                assert!(wider.as_i64().is_some_and(|wider| wider <= 0), "{state}, {look:?}: {wider} pixels too wide");
                break;
            }
            assert!(begun.elapsed() < A_RUN, "{state}, {look:?}: it never lasts as long as it is looked at");
        }
    }
}

async fn is_in(page: &Page, status: &str) -> bool {
    page.attribute("status", "data-status").await == status
}

/// Whether it says that GHL's limit is waited for.
async fn is_waiting(page: &Page) -> bool {
    page.run("return document.body.innerText.includes('Waiting for GoHighLevel')").await == true
}

#[tokio::test]
async fn what_axe_finds_is_told_with_its_place() {
    let site = Site::running();
    with_page(&site, site.page_url(), async |page| {
        page.until("the sign-in", A_MOMENT, async || page.is_shown("sign-in").await).await;
        page.axe("as it is").await;
        page.run(
            "const image = document.createElement('img');
             image.src = 'assets/icon.svg'; image.id = 'planted'; document.querySelector('main').append(image);
             document.getElementById('sign-in-title').style.color = getComputedStyle(document.body).backgroundColor;",
        )
        .await;
        let barriers = page.barriers().await;
        for found in ["image-alt at #planted:", "color-contrast at #sign-in-title:"] {
            assert!(barriers.iter().any(|barrier| barrier.starts_with(found)), "{found} isn't in {barriers:#?}");
        }
    })
    .await;
}

#[tokio::test]
async fn the_sign_in_is_accessible() {
    let site = Site::running();
    with_page(&site, site.page_url(), async |page| {
        page.until("the sign-in", A_MOMENT, async || page.is_shown("sign-in").await).await;
        accessible(page, "signed out").await;
        page.element("email").await.send_keys("admin@example.com").await.unwrap();
        page.element("password").await.send_keys("not this one").await.unwrap();
        page.click("sign-in-submit").await;
        page.until("the refusal", A_MOMENT, async || page.is_shown("notice").await).await;
        accessible(page, "a wrong password").await;
    })
    .await;
}

/// As on the first day: what runs there were are another location's for a while.
#[tokio::test]
async fn the_page_before_the_first_sync_is_accessible() {
    let site = Site::running();
    with_page(&site, &site.dashboard_url, async |page| page.until_ready().await).await;
    site.execute("update public.sync_runs set location_id = 'Hidden' || location_id; delete from public.sync_failures")
        .await;
    with_page(&site, &site.dashboard_url, async |page| {
        page.until_ready().await;
        page.until_status("Idle", A_MOMENT).await;
        accessible(page, "nothing was synced yet").await;
    })
    .await;
    with_page(&site, &site.member_url(), async |page| {
        page.until_status("Idle", A_MOMENT).await;
        accessible(page, "a member's, and nothing was synced yet").await;
    })
    .await;
    site.execute("update public.sync_runs set location_id = substr(location_id, 7) where location_id like 'Hidden%'")
        .await;
}

#[tokio::test]
async fn a_sync_is_accessible_while_it_runs_waits_and_is_cancelled() {
    let site = Site::running();
    // A minute and a half of GHL's limit: it is cancelled before that.
    site.ghl.reset(900).await;
    with_page(&site, &site.dashboard_url, async |page| {
        page.until_ready().await;
        page.click("start-full").await;
        page.until_status("Syncing", A_MOMENT).await;
        page.until("orders arrive", A_RUN, async || page.bar("orders-bar").await > 0.0).await;
        accessible_while(page, "syncing", &LOOKS, async || is_in(page, "Syncing").await).await;
        // That lasts for three seconds at most, which is too short for all looks.
        accessible_while(page, "waiting for GHL's limit", &LOOKS[..1], async || is_waiting(page).await).await;
        page.click("cancel").await;
        accessible(page, "asked whether to cancel").await;
        page.click("cancel-yes").await;
        page.until_status("Cancelled", A_MOMENT).await;
        page.until("the rest can be synced", A_MOMENT, async || page.is_shown("sync-rest").await).await;
        accessible(page, "cancelled").await;
    })
    .await;
    site.ghl.restart().await;
}

#[tokio::test]
async fn what_failed_and_what_was_is_accessible() {
    let site = Site::running();
    site.ghl.restart().await;
    let orders = site.some_orders().await;
    with_page(&site, &site.dashboard_url, async |page| {
        page.until_ready().await;
        site.change_and_lose(&orders).await;
        page.click("start-incremental").await;
        page.until_status("Delay", A_RUN).await;
        page.until("they are listed", A_MOMENT, async || !page.texts(FAILURES).await.is_empty()).await;
        accessible_while(page, "cooling down", &LOOKS, async || is_in(page, "Delay").await).await;
        page.until_status("Completed", A_COOLDOWN).await;
        page.until_ready().await;
        accessible(page, "completed with failures").await;
        page.press("#runs > li:first-child summary").await;
        let sections = async || page.texts("#runs section:not([hidden])").await;
        page.until("the run's record is read", A_MOMENT, async || !sections().await.is_empty()).await;
        accessible(page, "a run's record is open").await;
        page.press("#failures-list [aria-label^='History of order']").await;
        let told = async || page.text("order-body").await;
        page.until("the order's history", A_MOMENT, async || !matches!(told().await.as_str(), "" | "Loading…")).await;
        accessible(page, "an order's history is open").await;
        page.click("order-close").await;
        page.relay.cut();
        page.until("it is grey", A_MOMENT, async || page.attribute("board", "data-heard").await == "no").await;
        accessible(page, "out of touch").await;
        page.relay.restore();
    })
    .await;
    site.ghl.restart().await;
    site.execute("delete from public.sync_failures").await;
}

#[tokio::test]
async fn an_error_is_accessible() {
    let site = Site::running();
    site.ghl.restart().await;
    with_page(&site, &site.dashboard_url, async |page| {
        page.until_ready().await;
        site.ghl.delist_all_products().await;
        page.click("start-full").await;
        page.until_status("Error", A_RUN).await;
        accessible(page, "broken off by an error").await;
    })
    .await;
    site.ghl.restart().await;
}

#[tokio::test]
async fn a_problem_of_the_system_is_accessible() {
    let site = Site::running();
    site.execute(&format!(
        "insert into public.sync_limiter (location_id) values ('{}') on conflict do nothing;
         update public.sync_limiter set late_since = clock_timestamp() - interval '90 seconds',
         late_at = clock_timestamp() + interval '5 minutes'",
        site.location_id
    ))
    .await;
    with_page(&site, &site.dashboard_url, async |page| {
        page.until("the problem is shown", A_MOMENT, async || page.is_shown("problems").await).await;
        accessible(page, "a problem of the system").await;
    })
    .await;
    site.execute("update public.sync_limiter set late_since = null, late_at = null").await;
}

#[tokio::test]
async fn nothing_moves_where_less_motion_is_asked_for() {
    let site = Site::running();
    site.ghl.restart().await;
    let moving = "document.getAnimations().filter((a) => a.playState === 'running').map((a) => a.animationName ?? a.transitionProperty)";
    with_page(&site, &site.dashboard_url, async |page| {
        page.until_ready().await;
        page.click("start-full").await;
        page.until_status("Syncing", A_MOMENT).await;
        let moves = async || page.browser.evaluate(moving).await;
        page.until("something moves", A_MOMENT, async || moves().await != json!([])).await;
        page.browser.emulate_reduced_motion().await;
        for _ in 0..20 {
            assert_eq!(moves().await, json!([]));
        }
        assert!(is_in(page, "Syncing").await, "it ended before anything could have moved");
        page.click("cancel").await;
        page.click("cancel-yes").await;
        page.until_status("Cancelled", A_MOMENT).await;
    })
    .await;
}
