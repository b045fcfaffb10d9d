//! What went wrong, and trying it again.

use crate::{
    chrome::with_page,
    page::{A_MOMENT, A_RUN, Page},
    site::Site,
};

/// The orders under "Needs attention" that are among these; its groups are opened.
async fn listed(page: &Page, orders: &[String]) -> Vec<String> {
    page.run("for (const group of document.querySelectorAll('#failures-list details')) group.open = true").await;
    let mut found = page.texts("#failures-list code").await;
    found.retain(|id| orders.contains(id));
    found.sort();
    found
}

fn sorted(orders: &[String]) -> Vec<String> {
    let mut orders = orders.to_vec();
    orders.sort();
    orders
}

#[tokio::test]
async fn failed_orders_are_tried_again_one_by_one_or_all_and_only_those_that_still_fail() {
    let site = Site::running();
    site.ghl.restart().await;
    site.execute("delete from public.sync_failures").await;
    let orders = site.some_orders().await;
    with_page(&site, &site.dashboard_url, async |page| {
        page.until_ready().await;
        site.change_and_lose(&orders).await;
        page.click("start-incremental").await;
        page.until_status("Delay", A_RUN).await;
        page.until("they are listed", A_MOMENT, async || listed(page, &orders).await == sorted(&orders)).await;
        assert!(page.texts("#failures-list .why").await.iter().all(|reason| !reason.is_empty()));
        page.screenshots("failures").await;
        site.ghl.heal().await;

        let [one, others @ ..] = &orders;
        page.press(&format!("[aria-label='Retry order {one}']")).await;
        page.until_text("notice", "is in step", A_MOMENT).await;
        page.until("the failure is gone", A_MOMENT, async || listed(page, &orders).await == sorted(others)).await;
        page.reload().await;
        page.until("the others are listed", A_MOMENT, async || listed(page, &orders).await == sorted(others)).await;
        page.press("#runs > li:first-child summary").await;
        let sections = async || page.texts("#runs section:not([hidden])").await;
        page.until("the run's record tells of both", A_MOMENT, async || {
            let told = sections().await;
            told.iter().any(|part| part.starts_with("Failed (2)") && !part.contains(one.as_str()))
                && told.iter().any(|part| part.starts_with("Synced since (1)") && part.contains(one.as_str()))
        })
        .await;
        page.screenshots("synced-since").await;

        page.until_ready().await;
        assert_eq!(page.text("retry-all").await, "Retry all 2");
        page.click("retry-all").await;
        page.until_text("notice", "Trying 2 orders again.", A_MOMENT).await;
        page.until_status("Delay", A_RUN).await;
        page.until("nothing fails any more", A_MOMENT, async || listed(page, &orders).await.is_empty()).await;
        let newest = "select listed from public.sync_runs where kind = 'retry' order by started_at desc limit 1";
        assert_eq!(site.value(newest).await, "2", "what was synced since isn't tried again");
        page.reload().await;
        page.until_text("failures", "Nothing failed.", A_MOMENT).await;
        page.assert_clean_console().await;
    })
    .await;
}

#[tokio::test]
async fn many_failures_of_one_reason_are_one_group_shown_some_at_a_time() {
    let site = Site::running();
    let forget = "delete from public.sync_failures where order_id like 'ManyFailures%'";
    site.execute(&format!(
        "{forget}; insert into public.sync_failures (location_id, order_id, cause, class, code, reason, attempts)
             select '{}', 'ManyFailures' || to_char(n, 'FM0000'), 'webhook', 'transient', 'ghl_unavailable',
               'Failed to fetch order details', 5 from generate_series(1, 230) as n",
        site.location_id
    ))
    .await;
    with_page(&site, &site.dashboard_url, async |page| {
        page.until_connection("live").await;
        let group = "#failures-list > li[data-code='ghl_unavailable'] details";
        page.until("they are one group", A_MOMENT, async || page.texts(group).await.len() == 1).await;
        let shown = async || {
            let mut ids = page.texts("#failures-list code").await;
            ids.retain(|id| id.starts_with("ManyFailures"));
            ids
        };
        assert_eq!(shown().await.len(), 0, "nothing is made before it is opened");
        page.press(&format!("{group} > summary")).await;
        page.until("the first are shown", A_MOMENT, async || !shown().await.is_empty()).await;
        assert!(shown().await.len() <= 25);
        page.screenshots("many-failures-open").await;
        while page.holds(&format!("!document.querySelector(`{group} > button`).hidden")).await {
            let before = shown().await.len();
            page.press(&format!("{group} > button")).await;
            page.until("more are shown", A_MOMENT, async || shown().await.len() > before).await;
        }
        let mut ids = shown().await;
        ids.sort();
        let expected: Vec<_> = (1..=230).map(|n| format!("ManyFailures{n:04}")).collect();
        assert_eq!(ids, expected);
        page.assert_clean_console().await;
    })
    .await;
    site.execute(forget).await;
}

#[tokio::test]
async fn a_problem_of_the_whole_system_stands_on_the_page_while_it_lasts() {
    let site = Site::running();
    let late = format!(
        "insert into public.sync_limiter (location_id) values ('{}') on conflict do nothing;
         update public.sync_limiter set late_since = clock_timestamp() - interval '90 seconds',
         late_at = clock_timestamp() + interval '5 minutes'",
        site.location_id
    );
    site.execute(&late).await;
    with_page(&site, &site.member_url(), async |page| {
        page.until_text("problems", "for a minute the database has answered too slowly", A_MOMENT).await;
        page.screenshots("problem").await;
        site.execute("update public.sync_limiter set late_since = null, late_at = null").await;
        page.reload().await;
        page.until("the problem's end", A_MOMENT, async || !page.is_shown("problems").await).await;
    })
    .await;
}
