//! What was: runs page by page, each with its details, and starts that were skipped.

use crate::{
    chrome::with_page,
    page::{A_MOMENT, Page},
    site::Site,
};

/// A run of long ago in which 240 orders failed, 120 had their tickets changed, and 30 were skipped.
const LONG_RUN: &str = "0a0a0a0a-0000-4000-8000-000000000000";

const FORGET: &str = "delete from public.sync_runs where run_id::text like '0a0a0a0a-%'";

/// 34 short runs of long ago around the long one.
async fn seed(site: &Site) {
    let location_id = &site.location_id;
    site
        .execute(&format!(
            "{FORGET};
             insert into public.sync_runs (run_id, location_id, kind, state, started_at, ended_at, listing_complete,
               announced_state, listed, synced, failed, skipped, tickets_added, tickets_cancelled, drift_orders)
             select ('0a0a0a0a-0000-4000-8000-' || to_char(n, 'FM000000000000'))::uuid, '{location_id}', 'full', 'Completed',
               '2026-01-01'::timestamptz + n * interval '1 hour', '2026-01-01'::timestamptz + n * interval '1 hour 1 minute',
               true, 'Completed', case n when 0 then 390 else 1 end, case n when 0 then 120 else 1 end,
               case n when 0 then 240 else 0 end, case n when 0 then 30 else 0 end, case n when 0 then 240 else 0 end,
               case n when 0 then 120 else 0 end, case n when 0 then 120 else 0 end
             from generate_series(0, 34) as n;
             insert into public.sync_outcomes (run_id, order_id, outcome, class, code, reason, attempts, tickets_added,
               tickets_cancelled, recorded_at)
             select '{LONG_RUN}', 'LongRun' || to_char(n, 'FM0000'), kind, 'permanent', 'order_not_found',
               'GoHighLevel has no such order', 1, case kind when 'synced' then 2 else 0 end,
               case kind when 'synced' then 1 else 0 end, '2026-01-01'
             from generate_series(0, 389) as n
             cross join lateral (select case when n % 13 < 4 then 'synced' when n % 13 < 12 then 'failed' else 'skipped' end as kind) as k"
        ))
        .await;
}

async fn runs_shown(page: &Page) -> Vec<String> {
    let runs =
        page.run("return [...document.querySelectorAll('#runs details[data-run]')].map((d) => d.dataset.run)").await;
    runs.as_array().unwrap().iter().map(|id| id.as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn every_run_and_all_of_its_details_can_be_read_page_by_page() {
    let site = Site::running();
    seed(&site).await;
    with_page(&site, &site.dashboard_url, async |page| {
        page.until_ready().await;
        page.until("there are older runs", A_MOMENT, async || page.is_shown("older").await).await;
        while page.is_shown("older").await {
            let before = runs_shown(page).await.len();
            page.click("older").await;
            let grown = async || runs_shown(page).await.len() > before || !page.is_shown("older").await;
            page.until("older runs are shown", A_MOMENT, grown).await;
        }
        let newest_first =
            "select string_agg(run_id::text, ' ' order by started_at desc, run_id desc) from public.sync_runs";
        let expected = site.value(newest_first).await;
        assert_eq!(runs_shown(page).await.join(" "), expected);

        let details = format!("#runs details[data-run='{LONG_RUN}']");
        page.press(&format!("{details} > summary")).await;
        page.until("they are read", A_MOMENT, async || !page.texts(&format!("{details} li")).await.is_empty()).await;
        page.screenshots("long-run").await;
        page.press(&format!("{details} .drift summary")).await;
        for (part, outcome, all) in [
            (".details > div:nth-of-type(1)", "failed", 240),
            (".details > div:nth-of-type(2)", "skipped", 30),
            (".drift", "synced", 120),
        ] {
            let shown = async || page.texts(&format!("{details} {part} li code")).await;
            assert_eq!(shown().await.len(), all.min(100), "{outcome}");
            let button = format!("{details} {part} button.small");
            let hidden = format!("return document.querySelector(`{button}`).hidden");
            while page.run(&hidden).await == false {
                let before = shown().await.len();
                page.press(&button).await;
                page.until("more is shown", A_MOMENT, async || shown().await.len() > before).await;
            }
            let expected = format!(
                "select string_agg(order_id, ' ' order by order_id) from public.sync_outcomes
                 where run_id = '{LONG_RUN}' and outcome = '{outcome}'"
            );
            assert_eq!(shown().await.join(" "), site.value(&expected).await, "{outcome}");
        }
        page.run(&format!("document.querySelector(`{details}`).scrollIntoView()")).await;
        page.screenshots("long-run-whole").await;
        page.assert_clean_console().await;
    })
    .await;
    site.execute(FORGET).await;
}

#[tokio::test]
async fn a_scheduled_start_that_was_skipped_says_why_and_is_not_the_last_run() {
    let site = Site::running();
    with_page(&site, &site.dashboard_url, async |page| {
        page.until_ready().await;
        let last_run = async || page.texts("#last-run .summary").await;
        let before = last_run().await;
        for (kind, reason) in [("incremental", "running"), ("full", "daily_budget"), ("incremental", "cooldown")] {
            let request =
                format!(r#"{{"location_id": "{}", "kind": "{kind}", "reason": "{reason}"}}"#, site.location_id);
            site.execute(&format!("select public.skip_run('{request}')")).await;
        }
        page.reload().await;
        for (row, words) in [
            (1, "Scheduled incremental sync skipped: the previous sync had only just ended."),
            (2, "Scheduled full sync skipped: too little of GoHighLevel's daily budget was left."),
            (3, "Scheduled incremental sync skipped: another sync was running."),
        ] {
            let told = page.texts(&format!("#runs > li:nth-child({row}) summary")).await;
            assert!(told[0].contains(words), "{told:?}");
        }
        page.press("#runs > li:nth-child(3) summary").await;
        let details = async || page.texts("#runs > li:nth-child(3) .details").await;
        let next = "The next scheduled sync starts by itself.";
        page.until(next, A_MOMENT, async || details().await[0].contains(next)).await;
        page.screenshots("skipped").await;
        assert_eq!(last_run().await, before, "a start that was skipped isn't a run");
        page.assert_clean_console().await;
    })
    .await;
}
