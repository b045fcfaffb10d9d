//! Every state on a phone, at 200 % zoom, in dark and light, without motion, and by keyboard alone; and the picture of the runs.

use fantoccini::key::Key;
use serde_json::{Value, json};

use crate::{
    page::A_MOMENT,
    stage::{completed, failures, on_stage, runs, syncing},
};

/// A state of the page, by name.
fn states() -> [(&'static str, Value); 5] {
    let nothing = json!({
        "status": "Idle", "runId": null, "kind": null, "startTime": null, "endTime": null, "totalOrders": 0, "listedOrders": 0,
        "syncedOrders": 0, "skippedOrders": 0, "unchangedOrders": 0, "totalTickets": 0, "totalTicketsChecked": 0,
        "totalTicketTypes": 0, "ticketsAdded": 0, "ticketsCancelled": 0,
    });
    let problems = json!([{ "code": "tables_open", "message": "Buyers can be read with the public key.", "action": "Close the tables." }]);
    let broken = json!({ "status": "Cancelled", "syncedOrders": 40, "notAttemptedOrders": 119 });
    [
        ("idle", json!({ "status": completed(nothing) })),
        ("completed", json!({ "status": completed(json!({})), "runs": runs(30) })),
        ("waiting", json!({ "status": syncing(json!({ "waitSeconds": 9 })), "runs": runs(30) })),
        ("cancelled", json!({ "status": completed(broken), "runs": runs(3) })),
        (
            "failures",
            json!({ "status": completed(json!({ "failedOrders": 40, "problems": problems })), "failures": failures(40), "runs": runs(30) }),
        ),
    ]
}

#[tokio::test]
async fn every_state_fits_a_phone_and_a_desk_at_200_percent() {
    for (name, staged) in states() {
        on_stage(staged, async |page| {
            for (look, width, height) in [("phone", 360, 780), ("zoom", 600, 430), ("narrow", 320, 568)] {
                page.browser.look(width, height, "light").await;
                page.until("it fits", A_MOMENT, async || page.fits().await).await;
                assert!(page.is_shown("status").await && page.is_shown("start-full").await, "{name} on a {look}");
                page.browser.screenshot(&format!("{name}-{look}")).await;
            }
        })
        .await;
    }
}

#[tokio::test]
async fn dark_and_light_follow_the_system() {
    on_stage(json!({ "status": completed(json!({})), "runs": runs(3) }), async |page| {
        let colours =
            async || page.run("const s = getComputedStyle(document.body); return [s.backgroundColor, s.color]").await;
        page.browser.look(1200, 860, "light").await;
        let light = colours().await;
        page.browser.look(1200, 860, "dark").await;
        let dark = colours().await;
        assert_ne!(light[0], dark[0]);
        assert_ne!(light[1], dark[1]);
    })
    .await;
}

/// Parts of the browser's own elements that move by the rules that apply now: no script sees them do it.
const MOVING_PARTS: &str = "
    const applying = (rules) => [...rules].flatMap((rule) =>
        !(rule instanceof CSSMediaRule) ? [rule] : matchMedia(rule.media.mediaText).matches ? applying(rule.cssRules) : []);
    return [...document.styleSheets].flatMap((sheet) => applying(sheet.cssRules))
        .filter(({ selectorText, style }) => selectorText?.includes('::-') && (style.transition || style.animation))
        .map(({ selectorText }) => selectorText);";

#[tokio::test]
async fn nothing_moves_for_whoever_wants_no_motion() {
    on_stage(json!({ "status": syncing(json!({ "totalOrders": 0, "syncedOrders": 0 })) }), async |page| {
        let moving =
            async || page.run("return document.getAnimations().filter((a) => a.playState === 'running').length").await;
        let moving_parts = async || page.run(MOVING_PARTS).await;
        page.browser.look_with(1200, 860, &[("prefers-reduced-motion", "no-preference")]).await;
        page.until("something moves", A_MOMENT, async || moving().await != 0).await;
        assert_eq!(moving_parts().await, json!(["progress::-webkit-progress-value"]));
        page.browser.look_with(1200, 860, &[("prefers-reduced-motion", "reduce")]).await;
        page.until("nothing moves", A_MOMENT, async || moving().await == 0).await;
        assert_eq!(moving_parts().await, json!([]));
    })
    .await;
}

#[tokio::test]
async fn the_keyboard_reaches_everything_and_is_seen() {
    let staged = json!({
        "status": completed(json!({ "failedOrders": 40 })), "failures": failures(40), "runs": runs(12),
    });
    on_stage(staged, async |page| {
        page.until("they are grouped", A_MOMENT, async || page.texts("#failures-list > li").await.len() == 3).await;
        page.tab_to("start-full").await;
        let mut seen = Vec::new();
        for _ in 0..40 {
            let focused = page.focused().await;
            let outline = page.run("return getComputedStyle(document.activeElement).outlineStyle").await;
            assert_eq!(outline, "solid", "{focused} has the focus and doesn't show it");
            if focused == "SUMMARY" && !page.holds("document.querySelector('#failures-list details').open").await {
                page.key(Key::Enter).await;
                page.until("the group opens", A_MOMENT, async || !page.texts("#failures-list code").await.is_empty())
                    .await;
            }
            seen.push(focused);
            page.key(Key::Tab).await;
        }
        for place in [
            "start-full",
            "start-incremental",
            "retry-all",
            "Retry order Order0000",
            "History of order Order0000",
            "Copy id of order Order0000",
        ] {
            assert!(seen.iter().any(|name| name == place), "{place} isn't among {seen:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn the_picture_of_the_runs_is_also_a_text_and_a_table() {
    on_stage(json!({ "status": completed(json!({})), "runs": runs(12) }), async |page| {
        page.until("it is drawn", A_MOMENT, async || page.is_shown("picture").await).await;
        for (rows, bars) in [("took", 12), ("orders", 12), ("failed", 12)] {
            assert_eq!(page.texts(&format!("#picture rect.{rows}")).await.len(), bars);
        }
        assert_eq!(page.texts("#picture svg > title").await, ["The last 12 runs"]);
        let told = page.texts("#picture svg > desc").await.join("");
        assert!(told.contains("Orders failed in 0 runs; 0 runs ended early."), "{told}");
        let each = page.texts("#picture .area title").await;
        assert!(each[11].contains("Completed after 0:20, 159 orders, 0 failed"), "{each:?}");
        page.press("#picture summary").await;
        assert_eq!(page.texts("#picture tbody tr").await.len(), 12);
        page.screenshots("picture").await;
    })
    .await;
}

#[tokio::test]
async fn times_are_relative_and_exact_where_one_looks() {
    on_stage(json!({ "status": completed(json!({})), "runs": runs(3) }), async |page| {
        let time = "#last-run time";
        let start = "new Date(Date.now() - 3 * 60e3 - 5e3).toISOString()";
        page.run(&format!("staged.runs[0].startTime = {start}; staged.runs[0].endTime = new Date().toISOString()"))
            .await;
        page.tell("sync_status", completed(json!({ "status": "Delay", "delay_in_sec": 30 }))).await;
        page.until("it is told from now on", A_MOMENT, async || page.texts(time).await == ["3 minutes ago"]).await;
        let attributes = page
            .run(&format!("const t = document.querySelector('{time}'); return [t.dateTime, t.title, t.tabIndex]"))
            .await;
        assert!(
            attributes[0].as_str().unwrap().ends_with('Z') && attributes[1].as_str().unwrap().contains("20"),
            "{attributes}"
        );
        page.run(&format!("document.querySelector('{time}').focus({{ focusVisible: true }})")).await;
        let exact =
            page.run(&format!("return getComputedStyle(document.querySelector('{time}'), '::after').content")).await;
        assert_eq!(exact.as_str().unwrap().trim_matches('"'), attributes[1].as_str().unwrap());
    })
    .await;
}

#[tokio::test]
async fn a_page_without_a_run_says_what_to_do_first() {
    let [(_, idle), ..] = states();
    on_stage(idle, async |page| {
        for id in ["sentence", "last-run", "runs"] {
            assert!(page.text(id).await.contains("Start Manual Sync"), "{id}: {}", page.text(id).await);
        }
        assert!(!page.is_shown("picture").await);
        assert_eq!(page.text("no-failures").await, "Nothing failed.");

        page.run(
            "staged.runs = [{ runId: 'first', status: 'Syncing', kind: 'full', failedOrders: 0 }]; stage.lookUp()",
        )
        .await;
        for id in ["last-run", "runs"] {
            page.until_text(id, "The first run is going on.", A_MOMENT).await;
        }
    })
    .await;
}
