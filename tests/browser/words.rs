//! The words of the page that this one replaces: people and their notes know them.

use crate::{
    chrome::with_page,
    page::{A_MOMENT, A_RUN, Page},
    site::Site,
};

/// The value beside a name in "Sync Status".
async fn fact(page: &Page, name: &str) -> String {
    let facts = page.texts(".facts > div").await;
    let fact = facts.iter().find_map(|fact| fact.strip_prefix(name));
    fact.unwrap_or_else(|| panic!("no {name} among {facts:?}")).to_owned()
}

/// `66 / 159`
async fn orders(page: &Page) -> (u32, u32) {
    let shown = page.text("orders-count").await;
    let read = shown.split_once(" / ").and_then(|(synced, all)| Some((synced.parse().ok()?, all.parse().ok()?)));
    read.unwrap_or_else(|| panic!("orders are shown as {shown:?}"))
}

#[tokio::test]
async fn the_page_says_what_the_original_said() {
    let site = Site::running();
    site.ghl.restart().await;
    with_page(&site, &site.dashboard_url, async |page| {
        page.until_ready().await;
        assert_eq!(page.texts("h1").await, ["Data Synchronization"]);
        let sections = page.texts("h2").await;
        for section in ["Sync Status", "Progress"] {
            assert!(sections.iter().any(|title| title == section), "{section} isn't among {sections:?}");
        }
        assert_eq!(page.text("start-full").await, "Start Manual Sync");
        assert_eq!(fact(page, "In Progress").await, "No");

        page.click("start-full").await;
        page.until_status("Syncing", A_MOMENT).await;
        assert_eq!((fact(page, "Status").await, fact(page, "In Progress").await), ("Syncing".into(), "Yes".into()));
        page.until("orders arrive", A_RUN, async || page.bar("orders-bar").await > 0.0).await;
        let (synced, all) = orders(page).await;
        assert!(0 < synced && synced <= all, "{synced} of {all} orders");
        let counted: u32 = fact(page, "Synced Orders").await.parse().unwrap();
        assert!(counted >= synced, "{counted} and {synced} orders are synced");
        let (tickets, word) =
            page.text("tickets-count").await.split_once(' ').map(|(n, w)| (n.to_owned(), w.to_owned())).unwrap();
        assert_eq!((tickets.parse::<u32>().is_ok(), word.as_str()), (true, "valid"));

        page.until_text("toast", "Sync completed successfully!", A_RUN).await;
        assert_eq!(fact(page, "In Progress").await, "No");
        let (synced, all) = orders(page).await;
        assert_eq!((synced, page.bar("orders-bar").await), (all, 100.0));
        let told = (fact(page, "Total Orders").await, fact(page, "Synced Orders").await);
        assert_eq!(told, (all.to_string(), all.to_string()));

        let diagnosis = page.browser.diagnosis().await;
        for words in ["Sync triggered:", "Sync status:", "Sync progress:", "Sync complete:"] {
            assert!(diagnosis.iter().any(|line| line.contains(words)), "{words} isn't in the console: {diagnosis:?}");
        }
    })
    .await;
}
