//! The README's pictures, of invented orders. `cargo xtask screenshots` runs this, and `IMAGES` says where they go.

use std::{env, fs, path::PathBuf, time::Instant};

use serde_json::json;

use crate::{
    chrome::{DESK, PHONE, with_page},
    page::{A_COOLDOWN, A_MOMENT, A_RUN, Page},
    site::Site,
};

/// Of the orders that need attention, one each.
const FAILURES: &str = "#failures-list [aria-label^='Retry order']";

/// A state that may end by itself: a picture of its end is taken again.
async fn picture(page: &Page, name: &str, lasts: impl AsyncFn() -> bool) {
    let begun = Instant::now();
    loop {
        page.until(name, A_RUN, async || lasts().await).await;
        let picture = page.browser.picture().await;
        if lasts().await {
            let folder = PathBuf::from(env::var_os("IMAGES").expect("IMAGES names a folder"));
            fs::create_dir_all(&folder).unwrap();
            return fs::write(folder.join(format!("{name}.png")), picture).unwrap();
        }
        assert!(begun.elapsed() < A_RUN, "{name}: it never lasts as long as a picture takes");
    }
}

async fn is_in(page: &Page, status: &str) -> bool {
    page.attribute("status", "data-status").await == status
}

async fn is_waiting(page: &Page) -> bool {
    page.run("return document.body.innerText.includes('Waiting for GoHighLevel')").await == true
}

#[tokio::test]
#[ignore = "takes the README's pictures: cargo xtask screenshots"]
async fn the_readmes_pictures() {
    let site = Site::running();
    site.ghl.reset(300).await;
    with_page(&site, &site.dashboard_url, async |page| {
        page.browser.look(DESK.0, DESK.1, "light").await;
        // A bar that is on its way would be caught there.
        page.browser.emulate_reduced_motion().await;
        page.until_ready().await;
        page.until_text("failures", "Nothing", A_MOMENT).await;
        picture(page, "empty", async || is_in(page, "Idle").await).await;

        // So slow that the limit isn't reached: otherwise nearly all of a run is waiting for it.
        site.ghl.settings(json!({ "latencyMs": 2_500 })).await;
        page.click("start-full").await;
        let begun = async || (20.0..80.0).contains(&page.bar("orders-bar").await);
        picture(page, "syncing", async || begun().await && is_in(page, "Syncing").await && !is_waiting(page).await)
            .await;
        site.ghl.settings(json!({ "latencyMs": 300 })).await;
        picture(page, "waiting", async || begun().await && is_waiting(page).await).await;
        page.until_status("Completed", A_RUN + A_COOLDOWN).await;
        page.reload().await;
        picture(page, "completed", async || is_in(page, "Completed").await).await;

        site.change_and_lose(&site.some_orders().await).await;
        page.click("start-incremental").await;
        page.until_status("Syncing", A_MOMENT).await;
        page.until_status("Completed", A_RUN + A_COOLDOWN).await;
        page.reload().await;
        page.until("the failures are read", A_MOMENT, async || page.texts(FAILURES).await.len() == 3).await;
        page.press("#runs > li:first-child summary").await;
        let sections = async || page.texts("#runs section:not([hidden])").await;
        page.until("the run's record is read", A_MOMENT, async || !sections().await.is_empty()).await;
        page.run("document.querySelector('.attention').scrollIntoView()").await;
        picture(page, "attention", async || true).await;

        site.ghl.heal().await;
        page.run("scrollTo(0, 0)").await;
        page.click("start-full").await;
        page.until("some orders are done", A_RUN, async || page.bar("orders-bar").await >= 40.0).await;
        page.click("cancel").await;
        page.click("cancel-yes").await;
        page.until_status("Cancelled", A_MOMENT).await;
        page.browser.look(PHONE.0, PHONE.1, "dark").await;
        page.until("the rest can be synced", A_MOMENT, async || page.is_shown("sync-rest").await).await;
        picture(page, "cancelled", async || is_in(page, "Cancelled").await).await;
    })
    .await;
}
